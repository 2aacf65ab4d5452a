"""A search space: genomes and architectures go over into each other, and nothing inactive is ever seen."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrnas.reading import UserError
from hrnas.space.census import estimate_architectures
from hrnas.space.published import load_architecture
from hrnas.space.search_space import SpaceCard, load_space, space_from_card

QUICKSTART = load_space("quickstart")
LITTLE = {
    "name": "little",
    "base": "published/naive_lite_hrnet_18",
    "choices": {
        "widths[0]": {"from": 16, "to": 32, "step": 16},
        "stages[0].row.kind": ["shuffle", "weighted_shuffle", "residual"],
        "stages[0].row.cross.kind": ["none", "ccw"],
        "stages[0].row.cross.reduction": {"ordered": [2, 4]},
        "stages[2].modules": {"from": 1, "to": 3, "when": {"stages[0].row.kind": ["shuffle", "residual"]}},
    },
}


def space_of(**changes: object):
    return space_from_card(SpaceCard.model_validate({**LITTLE, **changes}), "little.yaml")


def genomes(space):
    return st.tuples(*(st.integers(0, gene.size - 1) for gene in space.genes))


@settings(max_examples=60, deadline=None)
@given(genome=genomes(QUICKSTART))
def test_encode_undoes_decode(genome: tuple[int, ...]) -> None:
    architecture = QUICKSTART.decode(genome)
    assert architecture.problems() == []
    assert QUICKSTART.encode(architecture) == QUICKSTART.canonical(genome)
    assert QUICKSTART.contains(architecture)


@settings(max_examples=60, deadline=None)
@given(genome=genomes(QUICKSTART), other=genomes(QUICKSTART))
def test_inactive_genes_never_change_the_key(genome: tuple[int, ...], other: tuple[int, ...]) -> None:
    canonical = QUICKSTART.canonical(genome)
    _, active = QUICKSTART._grow(genome)
    mixed = tuple(g if on else o for g, o, on in zip(genome, other, active, strict=True))
    assert QUICKSTART.decode(mixed).key == QUICKSTART.decode(canonical).key
    assert QUICKSTART.canonical(canonical) == canonical


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_mutant_is_another_architecture_of_the_space(seed: int) -> None:
    rng = np.random.default_rng(seed)
    parent = QUICKSTART.sample(rng)
    child = QUICKSTART.mutate(parent, rng)
    assert QUICKSTART.decode(child).key != QUICKSTART.decode(parent).key
    assert QUICKSTART.encode(QUICKSTART.decode(child)) == child


def test_the_size_is_the_number_of_distinct_architectures() -> None:
    space = space_of()
    keys = {space.decode(genome).key for genome in product(*(range(gene.size) for gene in space.genes))}
    assert space.size == len(keys) == len(list(space.enumerate()))


def test_neighbours_are_one_step_away_and_mutual() -> None:
    space = space_of()
    for genome in space.enumerate():
        near = space.neighbours(genome)
        assert len(set(near)) == len(near) and genome not in near
        assert all(space.canonical(other) == other for other in near)
    shuffle = space.canonical((0, 0, 0, 0, 1))
    assert len(space.neighbours(shuffle)) == 1 + 2 + 2  # width up; two other rows; one module fewer, one more


# a card may say each of these in any order, and each with any of the conditions
CHOICES = {
    "widths[0]": {"any": [16, 32]},
    "widths[2]": {"any": [48, 96]},
    "stages[0].row.kind": {"any": ["shuffle", "weighted_shuffle"]},
    "stages[0].row.cross.kind": {"any": ["none", "ccw"]},
    "stages[1].modules": {"any": [1, 2, 3]},
    "stages[1].row.kind": {"any": ["shuffle", "residual"]},
    "stages[2].blocks": {"any": [1, 2]},
}
CONDITIONS = [
    {"stages[0].row.kind": "shuffle"},
    {"stages[0].row.cross.kind": "none"},
    {"stages[1].row.kind": ["residual"]},
    {"stages[1].modules": [2, 3]},
    {"stages[-1].blocks": 2},
    {"widths[1]": 64},
    {"widths[-1]": [64, 192]},
]
condition = st.none() | st.sampled_from(CONDITIONS)


@settings(max_examples=25, deadline=None)
@given(order=st.permutations(list(CHOICES)), conditions=st.tuples(*(condition for _ in CHOICES)))
def test_a_condition_reads_what_was_chosen_wherever_it_stands(order: list[str], conditions: tuple) -> None:
    when = dict(zip(CHOICES, conditions, strict=True))
    choices = {path: CHOICES[path] | ({"when": when[path]} if when[path] else {}) for path in order}
    try:
        space = space_of(choices=choices)
    except UserError as error:
        assert any(text in str(error) for text in ("wait for each other", "itself can change", "can never act"))
        return
    every = {}
    for genome in product(*(range(gene.size) for gene in space.genes)):
        architecture = space.decode(genome)
        every[architecture.key] = space.canonical(genome)
        assert space.encode(architecture) == space.canonical(genome)
        tree = architecture.tree()
        for gene, on in zip(space.genes, space._grow(genome)[1], strict=True):  # the second opinion: on the end's tree
            holds = all(_found(tree, path) in allowed for path, allowed in gene.when)
            assert on == (holds and _found(tree, gene.path) is not None), gene.path
    assert space.size == len(every) == len(set(every.values()))


def _found(tree, path: str):
    """What stands at a path, or `None`."""
    for part in path.replace("[", ".").replace("]", "").split("."):
        tree = tree[int(part)] if part.isdigit() else tree.get(part)
        if tree is None:
            return None
    return tree


def test_a_shallow_choice_may_wait_for_a_deep_one() -> None:
    choices = {
        "widths[0]": {"from": 16, "to": 32, "step": 16, "when": {"stages[0].row.kind": "residual"}},
        "stages[0].row.kind": ["shuffle", "residual"],
    }
    space = space_of(choices=choices)
    assert space.size == 3
    widths = {(a.stages[0].row.kind, a.widths[0]) for a in map(space.decode, space.enumerate())}
    assert widths == {("shuffle", 30), ("residual", 16), ("residual", 32)}


def test_conditions_in_a_circle_are_refused_with_their_paths() -> None:
    row, blocks = "stages[0].row.kind", "stages[0].blocks"
    circle = {
        row: {"any": ["shuffle", "residual"], "when": {blocks: 2}},
        blocks: {"any": [1, 2], "when": {row: "shuffle"}},
    }
    with pytest.raises(UserError, match=r"little.yaml: choices: these wait for each other: .* waits for .* waits for"):
        space_of(choices=circle)
    with pytest.raises(
        UserError, match=r"row\.kind: its `when` names stages\[0\]\.row\.kernel, which .* itself can change"
    ):
        space_of(choices={row: {"any": ["shuffle", "residual"], "when": {"stages[0].row.kernel": 3}}})


@pytest.mark.parametrize(
    ("choices", "says"),
    [
        (
            {"stages[7].blocks": [1, 2]},
            "choices.stages[7].blocks: there is no stages[7]; there are stages[0] to stages[2]",
        ),
        ({"widths[9]": [16]}, "choices.widths[9]: there is no widths[9]; there are widths[0] to widths[3]"),
        ({"widths[-5]": [16]}, "choices.widths[-5]: there is no widths[-5]"),
        ({"stem.blocks": [1, 2]}, "choices.stem.blocks: this can never act"),
        (
            {"stages[0].modules": {"any": [1, 2], "when": {"head.kind": "conv"}}},
            "choices.stages[0].modules: this can never",
        ),
        ({"widths[3]": [16, 32], "widths[-1]": [64, 128]}, "choices.widths[-1]: widths[3] is chosen twice"),
        ({"stages[0].blocks": {"any": [1], "when": {"stages[3].blocks": 2}}}, "there is no stages[3]"),
        (
            {"stages[0].blocks": [1, 2], "stages[all].blocks": [3, 4]},
            "choices.stages[all].blocks: stages[0].blocks decides the same",
        ),
    ],
)
def test_a_choice_that_can_never_act_is_refused(choices: dict, says: str) -> None:
    with pytest.raises(UserError) as caught:
        space_of(base="published/lite_hrnet_18", choices=choices)
    assert f"little.yaml: {says}" in str(caught.value) or says in str(caught.value)


def test_an_index_from_the_end_is_the_same_choice() -> None:
    space = space_of(choices={"widths[0]": [16, 32], "widths[-1]": [96, 160]})
    assert [gene.path for gene in space.genes] == ["widths[0]", "widths[3]"]
    assert space.decode((1, 1)).widths == (32, 64, 128, 160), "what is chosen is not doubled"


def test_other_branches_double_unless_they_are_chosen() -> None:
    assert space_of().decode((1, 0, 0, 0, 0)).widths == (32, 64, 128, 256)
    free = space_of(choices={"widths[0]": [16, 32], "widths[2]": {"ordered": [48, 96]}})
    assert free.decode((0, 1)).widths == (16, 32, 96, 192)


def test_an_architecture_outside_is_named_with_its_place() -> None:
    space = space_of()
    assert not space.contains(load_architecture("published/hrnet_w32"))
    with pytest.raises(UserError, match=r"stages\[1\]\.row\.kind|widths|stem"):
        space.encode(load_architecture("published/hrnet_w32"))


@pytest.mark.parametrize(
    ("path", "choice", "says"),
    [
        ("stages[*].rwo.kind", ["shuffle"], "no option 'rwo'"),
        (
            "stages[*].row.kind",
            ["shufle"],
            "no kind 'shufle'; there are: residual, bottleneck, shuffle, weighted_shuffle",
        ),
        ("stages[*].row.colour", [1], "no option 'colour'"),
        ("widths[0]", {"from": 16, "to": 30, "step": 8}, "no whole number of steps of 8"),
        ("widths[0]", {"from": 16, "to": 32, "stop": 8}, "expected a list"),
        ("widths[0]", [], "at least one value"),
        ("widths[0]", {"ordered": [32, 16]}, "must grow"),
        ("widths[0]", [16, 16], "stands twice"),
        ("stages[0].modules", ["many"], "many"),
        ("stages[0", [1], "is no path"),
    ],
)
def test_a_wrong_choice_is_named(path: str, choice: object, says: str) -> None:
    with pytest.raises(UserError) as caught:
        space_of(choices={path: choice})
    assert "little.yaml: choices." in str(caught.value) and says in str(caught.value)


def test_a_space_must_contain_what_it_promises() -> None:
    with pytest.raises(UserError, match="must_contain: published/hrnet_w32 does not lie in the space"):
        space_of(must_contain=("published/hrnet_w32",))


def test_a_space_card_may_not_be_read_as_an_architecture() -> None:
    with pytest.raises(UserError, match="this is a search space"):
        load_architecture(str(Path(__file__).parents[1] / "search_spaces" / "quickstart.yaml"))


def test_an_even_sample_draws_every_genome_equally_often() -> None:
    space = space_of()
    everything = list(space.enumerate())
    rng = np.random.default_rng(1)
    draws = [space.sample_evenly(rng) for _ in range(200 * len(everything))]
    counts = np.array([draws.count(genome) for genome in everything])
    assert counts.sum() == len(draws) and space.size == len(everything)
    chi_square = ((counts - 200) ** 2 / 200).sum()
    assert chi_square < len(everything) + 4 * (2 * len(everything)) ** 0.5  # four standard deviations


@pytest.mark.parametrize("name", ["joint", "greit_hrnet_family", "mobile"])
def test_what_a_space_decodes_lies_in_it_also_where_a_rule_mended_it(name: str) -> None:
    space, rng = load_space(name), np.random.default_rng(3)
    for _ in range(40):
        architecture = space.decode(space.sample(rng))
        assert space.decode(space.encode(architecture)).key == architecture.key


def test_architectures_that_several_genomes_share_count_once() -> None:
    # the row's half of 16 channels is 8: all of these reductions leave 1 channel of it, or are mended to leave one
    sharing = {"stages[0].row.kind": ["weighted_shuffle"], "stages[0].row.single.reduction": {"ordered": [5, 6, 7, 8]}}
    space = space_of(choices={"widths[0]": [16], "widths[1]": [16], **sharing})
    assert (space.size, estimate_architectures(space)) == (4, 1)
    assert len({space.decode(genome).key for genome in space.enumerate()}) == 1
    assert estimate_architectures(QUICKSTART, draws=5) == QUICKSTART.size
