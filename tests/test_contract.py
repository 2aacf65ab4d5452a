"""What every kind promises in its slot: at its defaults, as its variants, and with every other part inside it.

The suite runs over the tables of kinds: a kind that stands in its table is tested.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

import pytest
import torch
from onnx_outputs import onnx_outputs
from torch import Tensor, nn
from toy_weights import enliven

from hrnas.nets import tables
from hrnas.reading import Options
from hrnas.space.kinds import SLOTS, kinds_of

TABLES = {
    "stem": tables.STEMS,
    "row": tables.ROWS,
    "cross": tables.CROSSES,
    "attention": tables.ATTENTIONS,
    "fusion": tables.FUSIONS,
    "transition": tables.TRANSITIONS,
    "context": tables.CONTEXTS,
    "head": tables.HEADS,
}

# slot -> kind -> numbers that build something else than the defaults do; words and switches are varied by themselves
VARIANTS: dict[str, dict[str, list[dict[str, Any]]]] = {
    "stem": {
        "bottleneck": [{"blocks": 1, "out": 64}],
        "l_block": [{"blocks": 1, "out": 64}],
        "shuffle": [{"out": 48}, {"expand": 2}],
        "lks": [{"out": 48}, {"expand": 2}],
    },
    "row": {"weighted_shuffle": [{"cross": {"kind": "none"}, "single": {"kind": "none"}}]},
    "cross": {"gcw": [{"stack": 1}]},
    "attention": {"coordinate": [{"reduction": 4}]},
    "context": {"sem": [{"reduction": 4}]},
    "fusion": {"cmffm": [{"reduction": 4}]},
    "head": {"dasp": [{"growth": 4, "dilations": [1, 2], "width": 16}]},
}

Size = tuple[int, int]
Shape = tuple[int, ...]

WIDTHS = (32, 48, 64, 96)
STEM, KEYPOINTS = 24, 5
SMALLEST, SMALL, LARGEST = (64, 64), (128, 96), (384, 288)
ODD = (96, 160)  # 3x5 on the coarsest of four branches


# ---------------------------------------------------------------------------------------------------------------------
# a kind in its slot


@dataclass(frozen=True)
class Case:
    """Options in a slot of a stage of `branches`; shapes are without the batch, for an input of `size`."""

    slot: str
    options: Any
    branches: int = len(WIDTHS)

    @property
    def widths(self) -> tuple[int, ...]:
        return WIDTHS[: self.branches]

    @property
    def before(self) -> tuple[int, ...]:
        """The widths that a transition finds."""
        return WIDTHS[: self.branches - 1] if self.branches > 2 else (STEM,)

    def build(self) -> nn.Module:
        match self.slot:
            case "stem":
                return tables.build_stem(self.options)
            case "row":
                return tables.build_row(self.options, self.widths)
            case "cross":
                part = tables.build_cross(self.options, self.widths)
            case "attention":
                part = tables.build_attention(self.options, self.widths[-1])
            case "fusion":
                return tables.build_fusion(self.options, self.widths, last=True)
            case "transition":
                return tables.build_transition(self.options, self.before, self.widths)
            case "context":
                part = tables.build_context(self.options, self.widths[-1])
            case "head":
                return tables.build_head(self.options, self.widths, STEM, KEYPOINTS)
        assert part is not None
        return part

    def takes(self, size: Size) -> tuple[Any, ...]:
        match self.slot:
            case "stem":
                return ((3, *size),)
            case "transition":
                return (shapes(self.before, size),)
            case "attention" | "context":
                return (shapes(self.widths, size)[-1],)
            case "head":
                return (shapes(self.widths, size), *shapes((STEM,), size))
        return (shapes(self.widths, size),)

    def gives(self, size: Size) -> Any:
        match self.slot:
            case "stem":
                return shapes((self.options.out,), size)[0]
            case "attention" | "context":
                return shapes(self.widths, size)[-1]
            case "fusion" if self.options.outputs == "first":
                return shapes(self.widths[:1], size)
            case "head":
                if self.options.kind == "simcc":
                    return KEYPOINTS, sum(size) * self.options.split
                return shapes((KEYPOINTS,), size)[0]
        return shapes(self.widths, size)


def shapes(widths: tuple[int, ...], size: Size) -> list[Shape]:
    """Of features, the first at a quarter of the size, each half of the one before."""
    return [(width, size[0] >> (branch + 2), size[1] >> (branch + 2)) for branch, width in enumerate(widths)]


def param(slot: str, kind: str, changes: dict[str, Any], branches: int = len(WIDTHS)) -> Any:
    options = kinds_of(slot)[kind].model_validate({"kind": kind, **changes})
    words = [slot, kind, *_words(changes)]
    words += [f"on {branches} branches"] if branches < len(WIDTHS) else []
    return pytest.param(Case(slot, options, branches), id=" ".join(words))


def _words(changes: dict[str, Any], place: str = "") -> Iterator[str]:
    for name, value in changes.items():
        if isinstance(value, dict):
            yield from _words(value, f"{place}{name}.")
        else:
            yield f"{place}{name}={value}"


def other_words(options: type[Options]) -> Iterator[dict[str, Any]]:
    """Each choice among words, switches or listed numbers, taken otherwise: every word, of numbers the farthest."""
    for name, field in options.model_fields.items():
        kind, default = field.annotation, field.default
        if isinstance(kind, type) and issubclass(kind, Options):
            yield from ({name: words} for words in other_words(kind))
        values = [False, True] if kind is bool else list(get_args(kind)) if get_origin(kind) is Literal else []
        if values and type(default) is int:
            values = [max(values, key=lambda value: abs(value - default))]
        yield from ({name: value} for value in values if value != default and name != "kind")


def parts_inside(options: type[Options]) -> Iterator[dict[str, Any]]:
    """Each option that is a slot itself, filled with each kind that can stand there."""
    slots = {get_args(union)[0]: slot for slot, union in SLOTS.items()}
    for name, field in options.model_fields.items():
        if field.annotation in slots:
            yield from ({name: {"kind": kind}} for kind in kinds_of(slots[field.annotation]))


KINDS = [(slot, kind) for slot in SLOTS for kind in kinds_of(slot) if kind != "none"]  # where none is, nothing is built
DEFAULTS = [param(slot, kind, {}) for slot, kind in KINDS]
VARIED = [
    param(slot, kind, changes)
    for slot, kind in KINDS
    for changes in [*other_words(kinds_of(slot)[kind]), *VARIANTS.get(slot, {}).get(kind, [])]
]
CASES = [*DEFAULTS, *VARIED]
SLOWLY = [*DEFAULTS, *(pytest.param(*p.values, id=p.id, marks=pytest.mark.slow) for p in VARIED)]
EVERYWHERE = [
    *CASES,
    *(param(slot, kind, {}, branches) for slot, kind in KINDS if slot != "stem" for branches in (3, 2)),
    *(param(slot, kind, changes) for slot, kind in KINDS for changes in parts_inside(kinds_of(slot)[kind])),
]


def few(case: Case) -> Case:
    """With as few branches and blocks as its slot needs to be itself: tracing takes long for every layer."""
    blocks = {"blocks": 2} if hasattr(case.options, "blocks") else {}
    return Case(case.slot, case.options.model_copy(update=blocks), branches=3 if case.slot == "cross" else 2)


def draw(taken: Any, batch: int) -> Any:
    """Random numbers in the place of shapes."""
    if isinstance(taken, list):
        return [draw(shape, batch) for shape in taken]
    return torch.randn(batch, *taken)


def inputs(case: Case, size: Size = SMALL, batch: int = 2) -> tuple[Any, ...]:
    return tuple(draw(taken, batch) for taken in case.takes(size))


def shapes_of(out: Any) -> Any:
    return [shapes_of(x) for x in out] if isinstance(out, list) else tuple(out.shape[1:])


def flat(values: Any) -> list[Tensor]:
    return [x for value in values for x in flat(value)] if isinstance(values, (list, tuple)) else [values]


def learn(module: nn.Module, given: tuple[Any, ...]) -> None:
    loss = sum(((x.float() * torch.randn(x.shape)).sum() for x in flat(module(*given))), torch.zeros(()))
    loss.backward()


# ---------------------------------------------------------------------------------------------------------------------
# the promises


def test_every_kind_has_its_options_and_its_module() -> None:
    assert {slot: set(table) for slot, table in TABLES.items()} == {slot: set(kinds_of(slot)) for slot in SLOTS}


@pytest.mark.parametrize("case", EVERYWHERE)
@torch.no_grad()
def test_shapes_are_those_of_the_slot_at_every_input(case: Case) -> None:
    module = case.build().eval()
    for size in (SMALLEST, ODD, LARGEST):
        given = inputs(case, size, batch=1)
        assert shapes_of(module(*given)) == case.gives(size), size


@pytest.mark.parametrize("case", EVERYWHERE)
def test_every_parameter_hears_the_loss(case: Case) -> None:
    module = enliven(case.build())
    learn(module, inputs(case, batch=4))
    silent = {name for name, p in module.named_parameters() if p.grad is None or not p.grad.any()}
    assert silent == {name for name, p in module.named_parameters() if not p.requires_grad}


@torch.no_grad()
def test_what_is_declared_to_never_learn_changes_nothing() -> None:
    for case in (param.values[0] for param in CASES):
        module, given = enliven(case.build()).eval(), inputs(case)
        fixed = [parameter for parameter in module.parameters() if not parameter.requires_grad]
        if fixed:
            before = module(*given)
            for parameter in fixed:
                parameter += torch.randn_like(parameter)
            torch.testing.assert_close(module(*given), before, rtol=1e-5, atol=1e-5, msg=lambda m, c=case: f"{c}: {m}")


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_evaluation_is_the_same_again_and_hears_each_picture_alone(case: Case) -> None:
    module = enliven(case.build()).eval()
    state = {name: value.clone() for name, value in module.state_dict().items()}
    given = inputs(case)
    first = module(*given)
    torch.testing.assert_close(module(*given), first, rtol=0, atol=0)
    torch.testing.assert_close(module.state_dict(), state, rtol=0, atol=0)
    alone = module(*(([x[1:] for x in taken] if isinstance(taken, list) else taken[1:]) for taken in given))
    torch.testing.assert_close(flat(alone), [x[1:] for x in flat(first)], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_what_is_given_stays_as_it_was(case: Case) -> None:
    module, given = case.build(), inputs(case)
    before = [x.clone() for x in flat(given)]
    for training in (True, False):
        module.train(training)(*given)
        torch.testing.assert_close(flat(given), before, rtol=0, atol=0)


@pytest.mark.parametrize("case", CASES)
def test_half_precision_stays_in_the_features(case: Case) -> None:
    module, given = enliven(case.build()), inputs(case, SMALLEST, batch=4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        learn(module, given)
        outputs = flat(module(*given))
    assert all(x.isfinite().all() for x in outputs)
    assert all(x.dtype == torch.float32 for x in module.parameters())
    gradients = [x.grad for x in module.parameters() if x.grad is not None]
    assert all(x.dtype == torch.float32 and x.isfinite().all() for x in gradients)


@pytest.mark.parametrize("case", SLOWLY)
@torch.no_grad()
def test_it_compiles_in_one_piece(case: Case) -> None:
    torch.compiler.reset()
    case = few(case)
    module, given = enliven(case.build()).eval(), inputs(case)
    compiled = torch.compile(module, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(*given), module(*given), rtol=0, atol=0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")  # torch's exporter warns of torch
@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_it_leaves_for_onnx_with_equal_outputs(case: Case) -> None:
    case = few(case)
    module, given = enliven(case.build()).eval(), inputs(case, batch=1)
    torch.testing.assert_close(onnx_outputs(module, given), flat(module(*given)), rtol=1e-4, atol=1e-4)


def test_only_the_networks_last_module_ends_in_its_first_output() -> None:
    for kind, options in kinds_of("fusion").items():
        inner = tables.build_fusion(options.model_validate({"kind": kind, "outputs": "first"}), WIDTHS, last=False)
        given = [draw(shape, 2) for shape in shapes(WIDTHS, SMALL)]
        assert shapes_of(inner(given)) == shapes(WIDTHS, SMALL), kind


@pytest.mark.parametrize("case", [p for p in DEFAULTS if p.values[0].slot == "transition"])
def test_a_transition_leaves_branches_that_fit_alone(case: Case) -> None:
    (given,) = inputs(case)
    assert all(x is y for x, y in zip(given, case.build()(given), strict=False))
