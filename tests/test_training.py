"""The training loop keeps its promises: exact resume, moving average, bf16, a guard against NaN, schedules."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from toy_architectures import lite_tree

from hrnas.cards.trainer import Recipe, Schedule, load_recipe
from hrnas.nets.pose_net import PoseNet
from hrnas.reading import UserError
from hrnas.space.architecture import Architecture, repair
from hrnas.space.kinds import kinds_of
from hrnas.training.checkpoint import load_checkpoint, save_checkpoint
from hrnas.training.loop import Diverged, OtherTraining, Stopped, Training
from hrnas.training.losses import as_confidence, cross_entropy, mean_squared_error
from hrnas.training.schedule import rate_factor

TREE = {"name": "little", "data": {"kind": "drawn"}, "input": (32, 32), "epochs": 3, "batch_size": 2}


@dataclass(frozen=True)
class Batch:
    images: np.ndarray
    targets: np.ndarray
    weights: np.ndarray


class Noise:
    """Three steps of noise an epoch, the same for the same epoch and step; `poison` makes one of them infinite."""

    def __init__(self, poison: tuple[int, int] | None = None) -> None:
        self.poison = poison

    def __len__(self) -> int:
        return 3

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        for step in range(first_step, len(self)):
            rng = np.random.default_rng((epoch, step))
            targets = rng.random((2, 3, 8, 8), dtype=np.float32)
            if self.poison == (epoch, step):
                targets[0, 0, 0, 0] = np.inf
            yield Batch(rng.integers(0, 256, (2, 32, 32, 3), np.uint8), targets, np.ones((2, 3), np.float32))


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, 1))


def training(**changes: object) -> Training:
    recipe = Recipe.model_validate({**TREE, "schedule": {"kind": "cosine", "warmup_steps": 2}, "ema": 0.9, **changes})
    return Training(network(), recipe)


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


class Interrupted(Exception):
    pass


OPTIONS: list[dict[str, object]] = [
    {},
    {"ema": None, "schedule": {"kind": "constant"}},
    {"optimiser": {"kind": "sgd", "rate": 0.1, "weight_decay": 1e-4}, "clip": 0.1},
    {"optimiser": {"kind": "adamw", "weight_decay": 0.1}, "schedule": {"kind": "step", "milestones": [1, 2]}},
    {"loss": {"kind": "cross_entropy"}, "amp": "bf16"},
    {"amp": "fp16"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("steps", [1, 3, 5, 8])
def test_an_interrupted_run_ends_with_the_same_bits(tmp_path: Path, steps: int, options: dict[str, object]) -> None:
    whole = training(**options)
    whole.run(Noise(), 3)

    broken, taken = training(**options), 0

    def stop(_: object) -> None:
        nonlocal taken
        taken += 1
        if taken == steps:
            raise Interrupted

    with pytest.raises(Interrupted):
        broken.run(Noise(), 3, on_progress=stop)
    broken.save(tmp_path / "training.pt")
    torch.manual_seed(99)  # whatever else the new process did
    resumed = training(**options)
    assert resumed.resume(tmp_path / "training.pt")
    resumed.run(Noise(), 3)
    assert same(whole.net.state_dict(), resumed.net.state_dict())
    assert same(whole.best_net.state_dict(), resumed.best_net.state_dict())
    assert (whole.epoch, whole.step) == (resumed.epoch, resumed.step) == (3, 0)
    assert torch.equal(whole.state()["random"], resumed.state()["random"])
    assert (whole.loss, whole.scaler.state_dict()) == (resumed.loss, resumed.scaler.state_dict())


@pytest.mark.parametrize("calls", [1, 2, 4, 6, 9])
def test_who_is_asked_to_stop_saves_and_goes_on_with_the_same_bits(tmp_path: Path, calls: int) -> None:
    whole, stopped = training(), training()
    whole.run(Noise(), 3)
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked == calls

    epoch, step = divmod(calls - 1, 3)
    with pytest.raises(Stopped, match=f"stopped in epoch {epoch + 1} of 3, before step {step + 1}"):
        stopped.run(Noise(), 3, checkpoint=tmp_path / "training.pt", stop=stop)
    resumed = training()
    assert resumed.resume(tmp_path / "training.pt") and (resumed.epoch, resumed.step) == (epoch, step)
    resumed.run(Noise(), 3)
    assert same(whole.net.state_dict(), resumed.net.state_dict()) and whole.loss == resumed.loss


def test_a_crash_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(Diverged):
        training().run(Noise(poison=(1, 1)), 3, checkpoint=tmp_path / "training.pt")
    assert load_checkpoint(tmp_path / "training.pt")["epoch"] == 1


def test_checkpoints_are_written_inside_a_long_epoch(tmp_path: Path) -> None:
    with pytest.raises(Diverged):
        training().run(Noise(poison=(0, 2)), 3, checkpoint=tmp_path / "training.pt", save_every_seconds=0)
    assert load_checkpoint(tmp_path / "training.pt")["step"] == 2


def test_a_full_disk_leaves_the_checkpoint_from_before(tmp_path: Path) -> None:
    """The system refuses to write more than a KiB into a file, as a full disk refuses."""
    resource = pytest.importorskip("resource")
    path, run = tmp_path / "training.pt", training()
    run.run(Noise(), 1, checkpoint=path)
    before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**10, limits[1]))
    try:
        with pytest.raises(OSError, match="the checkpoint from before is whole; make room for .* MiB") as refused:
            run.run(Noise(), 2, checkpoint=path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert refused.value.filename == str(path) and path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path], "no half of a file stays"


def test_the_time_without_a_batch_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time passes only where batches are made (3 s each) and where a step is taken (1 s)."""
    now = 0.0

    class Slow(Noise):
        def epoch(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
            nonlocal now
            for batch in super().epoch(epoch, first_step):
                now += 3.0
                yield batch

    def step(_: object) -> None:
        nonlocal now
        now += 1.0

    monkeypatch.setattr("hrnas.training.loop.time", SimpleNamespace(monotonic=lambda: now))
    run, told = training(), list[float]()
    run.net.register_forward_hook(lambda *_: step(None))
    run.run(Noise(), 1, on_progress=lambda at: told.append(at.waiting))
    assert told == [0.0, 0.0, 0.0] and run.waiting == 0.0
    run.run(Slow(), 2, on_progress=lambda at: told.append(at.waiting))
    assert told[3:] == [0.75, 0.75, 0.75] and run.waiting == 0.75


def test_a_loss_that_is_no_number_ends_the_training_before_it_harms_the_weights() -> None:
    run = training()
    run.run(Noise(), 1)
    before = {name: value.clone() for name, value in run.net.named_parameters()}
    with pytest.raises(Diverged, match="epoch 2, step 1"):
        run.run(Noise(poison=(1, 0)), 3)
    assert same(before, dict(run.net.named_parameters()))


@pytest.mark.parametrize("clip", [None, 1.0])
def test_a_gradient_that_is_no_number_ends_the_training_before_it_harms_the_weights(clip: float | None) -> None:
    """The loss is finite all the while: the square root of 0 is 0, and its slope there infinite."""
    run = training(clip=clip)
    run.run(Noise(), 1)
    before = {name: value.clone() for name, value in run.best_net.state_dict().items()}
    weights = {name: value.clone() for name, value in run.net.named_parameters()}
    run.net.append(RootOfNothing())
    with pytest.raises(Diverged, match="gradient's norm is .* in epoch 2, step 1"):
        run.run(Noise(), 3)
    assert same(weights, dict(run.net.named_parameters())) and same(before, run.best_net.state_dict())


class RootOfNothing(nn.Module):
    def forward(self, heatmaps: Tensor) -> Tensor:
        return heatmaps + (0 * heatmaps).sqrt()


def test_a_checkpoint_of_another_training_is_named_and_not_loaded(tmp_path: Path) -> None:
    path = tmp_path / "training.pt"
    recipe = Recipe.model_validate(TREE)
    one = Training(network(), recipe, identity={"architecture": "abc", "seed": 1})
    one.run(Noise(), 1, checkpoint=path)
    other = Training(network(1), recipe, identity={"architecture": "abc", "seed": 2})
    before = {name: value.clone() for name, value in other.net.state_dict().items()}
    with pytest.raises(OtherTraining, match=r"training\.pt: .* \(seed: there 1, here 2\); remove it"):
        other.resume(path)
    assert same(before, other.net.state_dict()) and other.epoch == 0
    again = Training(network(1), recipe, identity={"architecture": "abc", "seed": 1})
    assert again.resume(path) and again.loss == one.loss and one.loss is not None and one.loss > 0


def test_a_card_says_none_for_full_precision_because_yaml_reads_off_as_false(tmp_path: Path) -> None:
    assert Recipe.model_validate(TREE).amp == "none"
    card = tmp_path / "card.yaml"
    text = "data: {kind: drawn}\ninput: 32x32\nepochs: 1\nbatch_size: 2\namp: "
    for amp in ("none", "bf16", "fp16"):
        card.write_text(text + amp)
        assert load_recipe(str(card)).amp == amp
    card.write_text(text + "off")
    with pytest.raises(UserError, match="amp: expected 'none', 'bf16' or 'fp16'"):
        load_recipe(str(card))


def test_the_moving_average_is_the_average() -> None:
    run = training(ema=0.5)
    seen: list[Tensor] = []
    run.run(Noise(), 3, on_progress=lambda _: seen.append(run.net[0].weight.detach().clone()))
    expected = seen[0].clone()
    for n, weight in enumerate(seen[1:], start=1):
        decay = min(0.5, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * weight
    torch.testing.assert_close(run.best_net[0].weight.detach(), expected)
    assert not torch.equal(run.best_net[0].weight, run.net[0].weight)
    assert int(run.best_net[1].num_batches_tracked) == 9


def test_without_ema_the_network_itself_is_the_best() -> None:
    run = training(ema=None)
    assert run.best_net is run.net


def test_bf16_computes_in_bf16_and_learns_in_fp32() -> None:
    seen: list[torch.dtype] = []
    run = training(amp="bf16")
    run.net[0].register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    run.run(Noise(), 1)
    assert set(seen) == {torch.bfloat16}
    assert {parameter.dtype for parameter in run.net.parameters()} == {torch.float32}
    full = training()
    full.run(Noise(), 1)
    torch.testing.assert_close(run.net[0].weight, full.net[0].weight, atol=2e-2, rtol=0.1)


def test_fp16_computes_in_fp16_and_learns_in_fp32() -> None:
    seen: list[torch.dtype] = []
    run, full = training(amp="fp16"), training()
    run.net[0].register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    run.run(Noise(), 1)
    full.run(Noise(), 1)
    assert set(seen) == {torch.float16}
    assert {parameter.dtype for parameter in run.net.parameters()} == {torch.float32}
    torch.testing.assert_close(run.net[0].weight, full.net[0].weight, atol=1e-4, rtol=1e-2)


def test_a_gradient_that_fp16_cannot_hold_halves_the_scale_and_only_one_without_a_scale_ends_the_training() -> None:
    run = training(amp="fp16")
    run.net.append(Steep(1.0))
    run.run(Noise(), 1)
    assert run.scaler.get_scale() == 2**16
    run = training(amp="fp16")
    run.net.append(Steep(2.0**12))
    before = {name: value.clone() for name, value in run.net.named_parameters()}
    run.run(Noise(), 10)
    assert 1 < run.scaler.get_scale() < 2**16 and not same(before, dict(run.net.named_parameters()))
    run = training(amp="fp16")
    run.net.append(Steep(math.inf))
    before = {name: value.clone() for name, value in run.net.named_parameters()}
    with pytest.raises(Diverged, match=r"gradient's norm is .* in epoch 6, step 2"):  # after 16 halvings
        run.run(Noise(), 10)
    assert same(before, dict(run.net.named_parameters()))


class Steep(nn.Module):
    """Its output is its input, its slope another."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, heatmaps: Tensor) -> Tensor:
        if heatmaps.requires_grad:
            heatmaps.register_hook(lambda gradient: gradient * self.slope)
        return heatmaps * 1


@pytest.mark.gpu
@pytest.mark.parametrize("amp", ["none", "bf16", "fp16"])
def test_a_gpu_learns_in_every_precision_what_the_cpu_learns_and_goes_on_from_a_checkpoint(
    amp: str, tmp_path: Path
) -> None:
    recipe, alone = training(amp=amp).recipe, training()
    first, again = (Training(network(seed), recipe, "cuda") for seed in (0, 1))
    first.run(Noise(), 1, until_rate=2, checkpoint=tmp_path / "training.pt")
    assert again.resume(tmp_path / "training.pt")
    again.run(Noise(), 2)
    alone.run(Noise(), 2)
    assert again.loss == pytest.approx(alone.loss, rel=0.02)
    torch.testing.assert_close(again.net[0].weight.cpu(), alone.net[0].weight, atol=2e-2, rtol=0.1)


def test_gradients_are_clipped() -> None:
    clipped, free = training(clip=1e-9, optimiser={"kind": "sgd", "momentum": 0.0, "rate": 1.0}), training()
    before = clipped.net[0].weight.detach().clone()
    clipped.run(Noise(), 1)
    free.run(Noise(), 1)
    assert (clipped.net[0].weight - before).abs().max() < 1e-7 < (free.net[0].weight - before).abs().max()


def test_a_network_learns_what_it_is_shown() -> None:
    losses: list[float] = []
    run = training(optimiser={"rate": 0.05}, schedule={"kind": "constant"}, ema=None)

    class Same(Noise):
        def epoch(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
            return super().epoch(0, first_step)

    run.run(Same(), 40, on_progress=lambda at: losses.append(at.loss))
    assert losses[-1] < 0.6 * losses[2]


@pytest.mark.parametrize("row", kinds_of("row"))
def test_a_network_of_any_row_can_be_trained(row: str) -> None:
    """Weights of five dimensions among them, which torch cannot bring into the layout of the others."""
    tree = lite_tree()
    tree["stages"] = [stage | {"row": {"kind": row}} for stage in tree["stages"]]
    run = Training(PoseNet(Architecture.from_tree(repair(tree)), keypoints=3), Recipe.model_validate(TREE))
    run.run(Noise(), 1)
    weights = [p for p in run.net.parameters() if p.dim() == 4 and min(p.shape[1:]) > 1]
    assert weights and all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)


def test_a_step_schedule_drops_at_its_milestones() -> None:
    schedule = Schedule(kind="step", warmup_steps=4, milestones=(2, 3))
    factors = [rate_factor(schedule, step, 10, 0, 4) for step in range(40)]
    assert factors[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert factors[19] == 1.0 and factors[20] == pytest.approx(0.1) and factors[30] == pytest.approx(0.01)


def test_a_cosine_ends_each_rung_low_and_begins_the_next_high() -> None:
    schedule = Schedule(kind="cosine")
    first = [rate_factor(schedule, step, 10, 0, 2) for step in range(20)]
    second = [rate_factor(schedule, step, 10, 2, 5) for step in range(20, 50)]
    assert first[0] == second[0] == 1.0
    assert first[10] == pytest.approx(0.5) and second[15] == pytest.approx(0.5)
    assert first[-1] < 0.01 and second[-1] < 0.01
    assert all(a >= b for a, b in zip(first, first[1:], strict=False))


def test_the_squared_error_is_hrnets() -> None:
    rng = torch.Generator().manual_seed(0)
    heatmaps, targets = torch.rand(2, 5, 4, 3, generator=rng), torch.rand(2, 5, 4, 3, generator=rng)
    weights = torch.tensor([[1.0, 0, 1, 1, 0]] * 2)
    expected = 0.0  # JointsMSELoss, spelt out: for each joint half the mean squared error, then the mean over joints
    for joint in range(5):
        w = weights[:, joint, None]
        a, b = heatmaps[:, joint].flatten(1) * w, targets[:, joint].flatten(1) * w
        expected += 0.5 * nn.functional.mse_loss(a, b).item()
    assert mean_squared_error(heatmaps, targets, weights, ()).item() == pytest.approx(expected / 5)


def test_the_cross_entropy_is_torchs_with_soft_targets() -> None:
    rng = torch.Generator().manual_seed(0)
    heatmaps, targets = torch.randn(2, 5, 4, 3, generator=rng), torch.rand(2, 5, 4, 3, generator=rng)
    weights = torch.tensor([[1.0, 0, 1, 1, 0]] * 2)
    kept = weights.bool()
    wanted = targets.flatten(2)[kept]
    expected = nn.functional.cross_entropy(heatmaps.flatten(2)[kept], wanted / wanted.sum(1, keepdim=True))
    torch.testing.assert_close(cross_entropy(heatmaps, targets, weights, (heatmaps[0, 0].numel(),)), expected)
    assert math.isclose(cross_entropy(heatmaps, targets * 0, weights * 0, (heatmaps[0, 0].numel(),)).item(), 0.0)


def test_confidences_of_the_cross_entropy_are_probabilities() -> None:
    heatmaps = torch.randn(2, 5, 4, 3)
    torch.testing.assert_close(
        as_confidence(heatmaps, "cross_entropy", (heatmaps[0, 0].numel(),)).sum((2, 3)), torch.ones(2, 5)
    )
    assert as_confidence(heatmaps, "mse", ()) is heatmaps


def test_a_file_that_is_no_checkpoint_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.pt"
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(UserError, match="broken.pt: no checkpoint can be read"):
        load_checkpoint(path)
    torch.save({"format": 99}, path)
    with pytest.raises(UserError, match="not a checkpoint of format"):
        load_checkpoint(path)


def test_a_checkpoint_runs_no_code(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (tmp_path / "sprung",))  # type: ignore[return-value]

    torch.save({"format": 1, "net": Trap()}, tmp_path / "trap.pt")
    with pytest.raises(UserError):
        load_checkpoint(tmp_path / "trap.pt")
    assert not (tmp_path / "sprung").exists()


def test_checkpoints_hold_what_was_put_in(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a" / "c.pt", {"net": {"w": torch.arange(3)}, "epoch": 2})
    state = load_checkpoint(tmp_path / "a" / "c.pt")
    assert state["epoch"] == 2 and torch.equal(state["net"]["w"], torch.arange(3))
