"""One store of weights for all networks of a space: what is trained is what is extracted, bit for bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hrnas.cards.supernet import SupernetCard
from hrnas.cards.trainer import Recipe
from hrnas.nets.layout import lay_out
from hrnas.nets.pose_net import PoseNet
from hrnas.nets.segments import parameter_segments
from hrnas.nets.supernet import Supernet, calibrate
from hrnas.nets.windows import cut, hull, shape_of, window
from hrnas.reading import UserError
from hrnas.space.architecture import Architecture
from hrnas.space.published import load_point, published_names
from hrnas.space.search_space import SearchSpace, SpaceCard, load_space, space_from_card
from hrnas.training.loop import Diverged, Training
from hrnas.training.paths import PathSampler
from hrnas.training.supernet import MOST_SKIPPED, GradientSums, SupernetTraining

KEYPOINTS = 5
CHOICES: dict[str, Any] = {
    "widths[0]": {"ordered": [8, 12, 16]},
    "stages[1].modules": {"ordered": [1, 2]},
    "stages[all].row.kind": ["residual", "weighted_shuffle", "le_ghost", "scr"],
    "stages[all].row.kernel": {"ordered": [3, 5]},
    "stages[all].row.cross.kind": ["none", "ccw"],
    "stages[all].fusion.kind": ["full", "lite"],
}


def tiny_space(**changes: Any) -> SearchSpace:
    stage = {"modules": 1, "blocks": 1, "transition": {"kind": "lite"}, "row": {"kind": "residual"}}
    base = {
        "stem": {"kind": "shuffle", "width": 8, "out": 8},
        "widths": [8, 16, 32],
        "stages": [{**stage, "fusion": {"kind": "lite"}} for _ in range(2)],
        "head": {"kind": "iterative"},
    }
    choices = {path: choice for path, choice in {**CHOICES, **changes}.items() if choice is not None}
    return space_from_card(SpaceCard.model_validate({"name": "tiny", "base": base, "choices": choices}), "tiny.yaml")


@pytest.fixture(scope="module")
def tiny() -> SearchSpace:
    return tiny_space()


def members(space: SearchSpace, count: int, seed: int = 0) -> list[Architecture]:
    rng = np.random.default_rng(seed)
    return [space.decode(space.sample(rng)) for _ in range(count)]


def picture(count: int = 2, size: int = 64) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0))


def assert_same(supernet: Supernet, architecture: Architecture, x: Tensor) -> None:
    """The supernet's outputs and gradients are the extracted network's own, bit for bit, in training mode."""
    net = supernet.extract(architecture).train()
    ours, theirs = supernet(x, architecture), net(x)
    assert torch.equal(ours, theirs)
    ours.square().sum().backward()
    theirs.square().sum().backward()
    path = supernet.path(architecture)  # says which stored weight a parameter is cut from
    segments = parameter_segments(net)
    leaves = iter(path.leaves.items())
    for name, parameter in net.named_parameters():
        if not parameter.requires_grad:
            continue
        stored, (leaf, part) = next(leaves)
        assert segments[name] == part and torch.equal(leaf, parameter)
        weight = supernet.weights[stored]
        if parameter.grad is None:  # nobody hears of it: an output of a fusion that the head does not read
            assert weight.grad is None, name
            continue
        assert weight.grad is not None, name
        assert torch.equal(cut(weight.grad, supernet.segments[stored], part), parameter.grad), name
        inside = torch.zeros_like(weight)
        for there, _ in window(supernet.segments[stored], part):
            inside[there] = 1
        assert not weight.grad[inside == 0].any(), "a gradient landed outside the window"
    assert next(leaves, None) is None
    for weight in supernet.weights.values():
        weight.grad = None


# -- the rule


def test_a_window_has_leading_channels_and_centred_kernels() -> None:
    stored = torch.arange(4 * 3 * 5 * 5).view(4, 3, 5, 5)
    part = cut(stored, ((4,), (3,), (5,), (5,)), ((2,), (1,), (3,), (3,)))
    assert torch.equal(part, stored[:2, :1, 1:4, 1:4])


def test_a_window_cuts_each_part_by_itself() -> None:
    stored = torch.arange(10.0)
    assert cut(stored, ((6, 4),), ((2, 3),)).tolist() == [0, 1, 6, 7, 8]


def test_windows_of_windows_are_windows() -> None:
    full, middle, small = ((8, 6), (5,), (7,), (7,)), ((6, 5), (4,), (5,), (5,)), ((3, 2), (1,), (3,), (3,))
    stored = torch.randn(14, 5, 7, 7)
    assert torch.equal(cut(cut(stored, full, middle), middle, small), cut(stored, full, small))
    assert hull(middle, ((2, 6), (5,), (3,), (3,))) == ((6, 6), (5,), (5,), (5,))


@pytest.mark.parametrize("part", [((5,),), ((2, 2),), ((2,), (1,))])
def test_what_does_not_fit_is_no_window(part: Any) -> None:
    with pytest.raises(ValueError):
        window(((4,),), part)


# -- the store


def test_every_network_of_a_small_space_is_the_extracted_one_bit_for_bit(tiny: SearchSpace) -> None:
    supernet = Supernet(tiny, KEYPOINTS)
    every = {(architecture := tiny.decode(genome)).key: architecture for genome in tiny.enumerate()}
    for architecture in list(every.values())[::7]:
        assert_same(supernet, architecture, picture())


@pytest.mark.slow
def test_members_of_joint_and_the_published_points_find_all_their_weights() -> None:
    joint = load_space("joint")
    layout = lay_out(joint, 17)
    supernet = Supernet.__new__(Supernet)  # its names alone: the whole store would be 1.2 GB
    supernet.norms = "shared"
    points = [
        load_point(f"published/{name}").architecture
        for name in ("sdhrnet", "le_hrnet", "greit_hrnet_18", "lite_csw_hrnet")
    ]
    for architecture in [*members(joint, 12), *points]:
        net, places = Supernet._make_skeleton(_named(supernet, joint), architecture)
        for place in places:
            assert window(layout.segments[place.stored], place.segments)
    assert layout.params < 300e6


def _named(supernet: Supernet, space: SearchSpace) -> Supernet:
    supernet.space, supernet.keypoints = space, 17
    return supernet


@pytest.mark.slow
def test_two_hundred_members_of_joint_and_all_its_published_points_are_the_extracted_ones_bit_for_bit() -> None:
    joint = load_space("joint")
    supernet = Supernet(joint, 17)
    published = {
        point.name: point.architecture
        for point in map(load_point, published_names())
        if joint.contains(point.architecture)
    }
    assert {"sdhrnet", "le_hrnet", "hr_litenet", "lite_csw_hrnet", "greit_hrnet_18", "hrnet_w32"} <= published.keys()
    for architecture in [*members(joint, 200), *published.values()]:
        assert_same(supernet, architecture, picture(2, 32))


def test_a_narrower_group_of_mcam_may_have_a_longer_last_third() -> None:
    rows = {"stages[all].row.kind": ["residual"], "stages[all].row.attention.kind": ["mcam"]}
    groups = {"stages[all].row.attention.groups": {"ordered": [4, 8]}, "widths[0]": {"ordered": [40, 48]}}
    space = tiny_space(**({path: None for path in CHOICES} | rows | groups))
    supernet = Supernet(space, KEYPOINTS)
    for genome in space.enumerate():
        assert_same(supernet, space.decode(genome), picture())


def test_the_same_seed_draws_the_same_store_and_start_says_how(tiny: SearchSpace) -> None:
    one, same, other = Supernet(tiny, 3, seed=1), Supernet(tiny, 3, seed=1), Supernet(tiny, 3, seed=2)
    assert all(torch.equal(one.weights[name], same.weights[name]) for name in one.weights)
    assert not all(torch.equal(one.weights[name], other.weights[name]) for name in one.weights)
    small = Supernet(tiny, 3, start="paper").weights
    assert max(weight.std() for weight in small.values() if weight.dim() == 4) < 0.005


def test_norms_by_width_are_the_only_weights_that_widths_do_not_share(tiny: SearchSpace) -> None:
    supernet = Supernet(tiny, KEYPOINTS, norms="by_width")
    narrow, wide = (tiny.decode((width, *[0] * (len(tiny.genes) - 1))) for width in (0, 2))
    one, other = (set(supernet.path(architecture).leaves) for architecture in (narrow, wide))
    differ = {name for name in one ^ other if ".transition." not in name}  # the wide one brings the stem's 8 to 16
    assert differ and all("norm@" in name for name in differ)
    assert any(name.endswith("conv.weight") for name in one & other)
    assert_same(supernet, wide, picture())


def test_a_store_of_another_space_is_refused_by_name_and_shape(tiny: SearchSpace) -> None:
    stored = Supernet(tiny, KEYPOINTS).weights
    wider = tiny_space(**{"widths[0]": {"ordered": [8, 12, 24]}})
    with pytest.raises(UserError, match=r"space tiny has changed .*\n.*: was \(.*\), now \("):
        Supernet(wider, KEYPOINTS, weights=stored)
    fewer = tiny_space(**{"stages[all].row.kind": ["residual", "scr"], "stages[all].row.cross.kind": None})
    with pytest.raises(UserError, match="now absent"):
        Supernet(fewer, KEYPOINTS, weights=stored)


def test_an_architecture_outside_the_space_is_named(tiny: SearchSpace) -> None:
    supernet = Supernet(tiny, KEYPOINTS)
    with pytest.raises(UserError, match="tiny"):
        supernet.extract(load_point("published/lite_hrnet_18").architecture)
    with pytest.raises(UserError, match="tiny"):
        supernet.path(load_point("published/lite_hrnet_18").architecture)


# -- calibration


def test_calibration_measures_mean_and_variance_of_all_crops(tiny: SearchSpace) -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(3)
    nn.init.constant_(norm.get_buffer("running_mean"), 99)
    crops = [picture(3) + 1, picture(1) * 2]  # of unequal sizes
    calibrate(norm, crops)
    means = torch.stack([batch.mean((0, 2, 3)) for batch in crops])
    assert torch.allclose(norm.get_buffer("running_mean"), (3 * means[0] + means[1]) / 4, atol=1e-6)
    variances = torch.stack([batch.var((0, 2, 3)) for batch in crops])
    assert torch.allclose(norm.get_buffer("running_var"), (3 * variances[0] + variances[1]) / 4, atol=1e-5)


def test_calibration_is_the_same_every_time_and_touches_no_other_network(tiny: SearchSpace) -> None:
    supernet = Supernet(tiny, KEYPOINTS)
    one, other = members(tiny, 2)
    crops = [picture(4)]
    first = supernet.extract(one)
    calibrate(first, crops)
    before = supernet.extract(other)(picture()), {name: weight.clone() for name, weight in supernet.weights.items()}
    second = supernet.extract(one)
    calibrate(second, crops)
    assert torch.equal(first(picture()), second(picture())) and not first.training
    assert torch.equal(supernet.extract(other)(picture()), before[0])
    assert all(torch.equal(weight, before[1][name]) for name, weight in supernet.weights.items())


def test_one_crop_has_no_variance(tiny: SearchSpace) -> None:
    with pytest.raises(UserError, match="at least 2 crops"):
        calibrate(nn.BatchNorm2d(3), [picture(1)])


# -- training


class Lesson:
    """A batch as the loop reads it."""

    def __init__(self, seed: int, size: int = 64) -> None:
        rng = np.random.default_rng(seed)
        self.images = rng.integers(0, 256, (4, size, size, 3), np.uint8)
        self.targets = rng.random((4, KEYPOINTS, size // 4, size // 4), np.float32)
        self.weights = np.ones((4, KEYPOINTS), np.float32)


class Lessons:
    def __init__(self, steps: int = 3) -> None:
        self.steps = steps

    def __len__(self) -> int:
        return self.steps

    def epoch(self, epoch: int, first_step: int = 0) -> Any:
        return (Lesson(100 * epoch + step) for step in range(first_step, self.steps))


def recipe(**changes: Any) -> Recipe:
    card = {
        "name": "toy",
        "data": {"kind": "drawn"},
        "input": "64x64",
        "epochs": 2,
        "batch_size": 4,
        "codec": {"kind": "gaussian", "sigma": 1},
        "start": "scaled",
        "clip": 1.0,
        "schedule": {"kind": "constant"},
    }
    return Recipe.model_validate({**card, **changes})


def learner(space: SearchSpace, rule: str = "sandwich", optimiser: str = "adam", **changes: Any) -> SupernetTraining:
    card = SupernetCard.model_validate({"trainer": "toy", "rule": {"kind": rule}, **changes})
    rate = 0.1 if optimiser == "sgd" else 2e-3
    toy = recipe(optimiser={"kind": optimiser, "rate": rate, "weight_decay": 1e-3})
    return SupernetTraining(Supernet(space, KEYPOINTS, card.norms), toy, card)


@pytest.mark.parametrize("optimiser", ["adam", "adamw", "sgd"])
def test_steps_of_one_path_are_the_steps_of_the_network_alone(tiny: SearchSpace, optimiser: str) -> None:
    only = tiny_space(**{path: None for path in CHOICES if path != "widths[0]"}, **{"widths[0]": {"ordered": [12]}})
    ours = learner(only, "single_path", optimiser)
    architecture = only.decode((0,) * len(only.genes))
    alone = Training(ours.supernet.extract(architecture).train(), ours.recipe)
    ours.run(Lessons(), 2)
    alone.run(Lessons(), 2)
    net = ours.supernet.extract(architecture)
    assert ours.loss == pytest.approx(alone.loss, rel=1e-6)
    for mine, theirs in zip(net.parameters(), alone.net.parameters(), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-6)


def test_what_a_step_does_not_use_does_not_move_and_has_no_moments(tiny: SearchSpace) -> None:
    ours = learner(tiny, "single_path")
    before = {name: weight.detach().clone() for name, weight in ours.supernet.weights.items()}
    [turn] = ours.sampler.turns(0, 0)
    used = ours.supernet.path(tiny.decode(turn.genome)).leaves
    ours._learn(Lesson(0), 1.0)
    assert ours.optimiser.moments.keys() == used.keys()
    for name, weight in ours.supernet.weights.items():
        moved = weight.detach() != before[name]
        inside = torch.zeros_like(moved)
        for there, _ in window(ours.supernet.segments[name], used[name][1]) if name in used else ():
            inside[there] = True
        assert not moved[~inside].any(), name
        assert name not in used or weight.grad is None
    assert any((weight.detach() != before[name]).any() for name, weight in ours.supernet.weights.items())


def test_gradients_of_several_paths_add_up_as_in_one_store(tiny: SearchSpace) -> None:
    supernet = Supernet(tiny, KEYPOINTS)
    sums, x = GradientSums(supernet), picture()
    architectures = members(tiny, 4)
    for architecture in architectures:
        path = supernet.path(architecture)
        path.net(x).square().mean().backward()
        sums.add(path, 1 / 4)
        (supernet(x, architecture).square().mean() / 4).backward()
    for update in sums.updates():
        theirs = cut(update.weight.grad, update.full, update.part)  # type: ignore[arg-type]
        assert torch.allclose(update.gradient, theirs, atol=1e-6), update.name
        update.weight.grad = None
    assert all(weight.grad is None for weight in supernet.weights.values())


def test_a_sandwich_has_the_largest_the_smallest_and_some_between_of_the_same_kinds(tiny: SearchSpace) -> None:
    card = SupernetCard.model_validate({"trainer": "toy", "rule": {"kind": "sandwich", "random": 3}})
    sampler = PathSampler(tiny, lay_out(tiny, KEYPOINTS).ends, card)
    for step in range(5):
        turns = sampler.turns(0, step)
        assert [turn.role for turn in turns] == ["teacher", *["student"] * 4]
        nets = [PoseNet(tiny.decode(turn.genome), KEYPOINTS) for turn in turns]
        sizes = [sum(parameter.numel() for parameter in net.parameters()) for net in nets]
        assert sizes[0] == max(sizes) and sizes[1] == min(sizes)
        assert len({net.architecture.stages[0].row.kind for net in nets}) == 1
        assert turns == sampler.turns(0, step), "the same step, other turns"
    assert len({turn.genome for step in range(20) for turn in sampler.turns(0, step)}) > 20


def test_strict_fairness_lets_each_kind_learn_once_a_step(tiny: SearchSpace) -> None:
    card = SupernetCard.model_validate({"trainer": "toy", "rule": {"kind": "fair"}})
    sampler = PathSampler(tiny, lay_out(tiny, KEYPOINTS).ends, card)
    for step in range(10):
        rows = [tiny.decode(turn.genome).stages[0].row.kind for turn in sampler.turns(0, step)]
        assert sorted(rows) == ["le_ghost", "residual", "scr", "weighted_shuffle"]


def test_warm_up_and_curriculum_open_the_space_little_by_little(tiny: SearchSpace) -> None:
    plan = {"trainer": "toy", "rule": {"kind": "single_path"}, "warmup": 1, "depths_from": 3, "sizes_from": 2}
    sampler = PathSampler(tiny, lay_out(tiny, KEYPOINTS).ends, SupernetCard.model_validate(plan))

    def seen(epoch: int) -> tuple[set[int], set[int]]:
        nets = [tiny.decode(turn.genome) for step in range(40) for turn in sampler.turns(epoch, step)]
        return {net.widths[0] for net in nets}, {net.stages[1].modules for net in nets}

    assert seen(0) == ({16}, {2})
    assert seen(1) == ({16}, {2})
    assert seen(2) == ({8, 12, 16}, {2})
    assert seen(3) == ({8, 12, 16}, {1, 2})


def test_training_that_is_interrupted_goes_on_with_the_same_bits(tiny: SearchSpace, tmp_path: Path) -> None:
    whole, part = learner(tiny), learner(tiny)
    whole.run(Lessons(), 2)
    part.run(Lessons(), 1, until_rate=2, checkpoint=tmp_path / "training.pt")
    after = learner(tiny)
    assert after.resume(tmp_path / "training.pt")
    after.run(Lessons(), 2)
    assert all(torch.equal(whole.supernet.weights[name], weight) for name, weight in after.supernet.weights.items())


def test_a_network_that_is_not_finite_is_skipped_counted_and_named(tiny: SearchSpace) -> None:
    ours = learner(tiny, "fair")
    for name, weight in ours.supernet.weights.items():
        if ".scr." in name:
            weight.data.fill_(float("nan"))
    for step in range(3):
        ours.step = step
        assert np.isfinite(ours._learn(Lesson(step), 1.0))
    assert sum(ours.skipped.values()) == 3
    sick = {
        tiny.decode(turn.genome).key
        for step in range(3)
        for turn in ours.sampler.turns(0, step)
        if "scr" in tiny.decode(turn.genome).stages[0].row.kind
    }
    assert set(ours.skipped) == sick
    assert all(weight.isfinite().all() for name, weight in ours.supernet.weights.items() if ".scr." not in name)


def test_a_supernet_of_which_nothing_learns_stops(tiny: SearchSpace) -> None:
    ours = learner(tiny, "single_path")
    for weight in ours.supernet.weights.values():
        weight.data.fill_(float("nan"))
    with pytest.raises(Diverged, match=f"in {MOST_SKIPPED} steps no network had finite gradients"):
        ours.run(Lessons(MOST_SKIPPED), 1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"ema": 0.9}, "ema: a supernet keeps no moving average"),
        ({"amp": "fp16"}, "amp: "),
        ({"sync_norm": True}, "sync_norm: "),
    ],
)
def test_what_a_supernet_cannot_do_is_said(tiny: SearchSpace, change: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        SupernetTraining(Supernet(tiny, 3), recipe(**change), SupernetCard(trainer="toy"))


def test_distilled_students_learn_from_the_teacher_alone(tiny: SearchSpace) -> None:
    blind = learner(tiny)
    output = torch.randn(2, KEYPOINTS, 16, 16)
    labels, weights = torch.rand_like(output), torch.ones(2, KEYPOINTS)
    shown = torch.randn_like(output)
    one = blind._loss(output, labels, weights, "student", shown)
    other = blind._loss(output, torch.rand_like(output), weights, "student", shown)
    assert torch.equal(one, other) and not torch.equal(one, blind._loss(output, labels, weights, "student", -shown))
    assert torch.equal(
        blind._loss(output, shown, weights, "teacher", None), one
    )  # mse: the teacher's map is the target


def test_the_store_is_counted(tiny: SearchSpace) -> None:
    layout = lay_out(tiny, KEYPOINTS)
    supernet = Supernet(tiny, KEYPOINTS)
    assert layout.params == sum(weight.numel() for weight in supernet.weights.values())
    assert {name: shape_of(segments) for name, segments in layout.segments.items()} == {
        name: tuple(weight.shape) for name, weight in supernet.weights.items()
    }
    json.dumps(dict(layout.segments))
