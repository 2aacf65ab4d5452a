"""Weights that authors trained, brought into our networks: checkpoints of HRNet, Lite-HRNet and Dite-HRNet.

checkpoint -> its tensors, nothing else (no code of the file runs) -> family, by a tensor that only one family has
-> the published point that has all of its tensors, no more, in the same shapes -> a folder as `hrnas train` leaves it

The same network has the same names in three layouts: as HRNet's code writes them, as mmpose 0.x does, behind
`backbone.` and `keypoint_head.`, and as mmpose 1.x does, behind `backbone.` and `head.`.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickletools
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch
from torch import Tensor

from hrnas.cards.keypoints import KeypointCard
from hrnas.cards.reading import ReadingCard
from hrnas.nets.pose_net import PoseNet
from hrnas.pose.keypoints import COCO_17, MPII_16, KeypointSet
from hrnas.reading import UserError, format_size, read_json, read_yaml, validate, write_atomically, write_yaml
from hrnas.space.architecture import Architecture
from hrnas.space.published import load_architecture
from hrnas.training.trained import ARCHITECTURE, KEYPOINTS, READING, WEIGHTS, save_weights

# what mmpose and torch.nn.DataParallel put before the names of a network's tensors
PREFIXES = ("module.", "backbone.", "keypoint_head.", "head.")
# what may stand beside a network, and is no part of it: the averages of mmcv's hook, the pictures' mean and deviation
BESIDE = ("ema_", "data_preprocessor.")
OLD_MODULES = {"__builtin__": "builtins", "copy_reg": "copyreg"}  # protocol 2 says the names of Python 2
COUNTER = "num_batches_tracked"  # of a norm: no output hears of it, and old checkpoints lack it
Shapes = Mapping[str, tuple[int, ...]]


class Rule(NamedTuple):
    """A module of ours and the authors' name for it; `{s}` is any number, `{s-2}` that number less 2.

    `parts` names the layers inside it, ours and theirs.
    """

    ours: str
    theirs: str
    parts: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class Family:
    """Networks that share their authors' code.

    Attributes:
        sign: a tensor that every one of them has, and no network of another family.
        points: the published points to choose from.
    """

    name: str
    sign: str
    points: tuple[str, ...]
    rules: tuple[Rule, ...]


# ---------------------------------------------------------------------------------------------------------------------
# the names

LAYER = {"conv": "conv", "norm": "bn"}
LISTED = {"conv": "0", "norm": "1"}
SEPARABLE = {"depthwise.conv": "0", "depthwise.norm": "1", "pointwise.conv": "2", "pointwise.norm": "3"}
CONVS = {
    **{"conv1.conv": "conv1", "conv2.conv": "conv2", "conv3.conv": "conv3"},
    **{"conv1.norm": "bn1", "conv2.norm": "bn2", "conv3.norm": "bn3"},
}
WEIGHTING = {
    **{"reduce.conv": "conv1.conv", "reduce.norm": "conv1.bn"},
    **{"expand.conv": "conv2.conv", "expand.norm": "conv2.bn"},
}
SQUEEZE = {"reduce": "conv1.conv", "expand": "conv2.conv"}
SHUFFLE = {
    f"{ours}.{layer}": f"branch2.{place}.{theirs}"
    for place, ours in enumerate(("conv1", "depthwise", "conv2"))
    for layer, theirs in LAYER.items()
}
CONTEXT = {
    "mask": "conv_mask",
    "reduce.conv": "channel_attention.0",
    "reduce.norm": "channel_attention.1",
    "expand": "channel_attention.3",
    "norm": "bn",
}
DYNAMIC = {
    "attention.reduce.conv": "conv.attention.conv1",
    "attention.reduce.norm": "conv.attention.bn",
    "attention.expand": "conv.attention.conv2",
    "mixture": "conv.aggregation",
    **LAYER,
}
ITSELF = {"": ""}


def _transitions(kind: str, less: int, parts: Mapping[str, str]) -> tuple[Rule, ...]:
    """The paths of a transition; its number is that of our stage less `less`. The new branch stands in a list."""
    return (
        *(
            Rule(f"stages.{b + 1}.transition.{kind}.paths.{b}", f"transition{b + 1 - less}.{b}.0", parts)
            for b in (1, 2, 3)
        ),
        Rule(f"stages.{{s}}.transition.{kind}.paths.{{b}}", f"transition{{s-{less}}}.{{b}}", parts),
    )


def _fusions(ours: str, theirs: str, down: Mapping[str, str]) -> tuple[Rule, ...]:
    """The paths of a fusion: a coarser branch comes by one layer, a finer one by a list of steps."""
    return (
        *(Rule(f"{ours}.paths.{i}_to_{o}.0", f"{theirs}.fuse_layers.{o}.{i}", LISTED) for o, i in PAIRS),
        *(Rule(f"{ours}.paths.{i}_to_{o}.{{k}}", f"{theirs}.fuse_layers.{o}.{i}.{{k}}", down) for i, o in PAIRS),
    )


PAIRS = [(fine, coarse) for coarse in range(4) for fine in range(coarse)]  # of branches
MODULE = "stages.{s}.steps.{m}"
BLOCK = MODULE + ".blocks.{b}"
LITE_BLOCK = "stage{s-2}.{m}.layers.{b}"

HRNET = (
    Rule("stem.bottleneck", "", CONVS),
    Rule("stem.bottleneck.blocks.{b}", "layer1.{b}", CONVS),
    Rule("stem.bottleneck.blocks.{b}.shortcut", "layer1.{b}.downsample", LISTED),
    *_transitions("conv", 1, LISTED),
    Rule(BLOCK + ".residual.{r}", "stage{s}.{m}.branches.{r}.{b}", CONVS),
    *_fusions(MODULE + ".fusion.full", "stage{s}.{m}", LISTED),
    Rule("head.conv.final", "final_layer", ITSELF),
)

LITE_FRAME = (  # what Dite-HRNet's code took over from Lite-HRNet's
    *_transitions("lite", 2, SEPARABLE),
    *_fusions(MODULE + ".fusion.lite", "stage{s-2}.{m}", SEPARABLE),
    Rule("head.iterative.projects.{r}.depthwise", "head_layer.projects.{r}.depthwise_conv", LAYER),
    Rule("head.iterative.projects.{r}.pointwise", "head_layer.projects.{r}.pointwise_conv", LAYER),
    Rule("head.iterative.final", "final_layer", ITSELF),
)

LITE_HRNET = (
    Rule("stem.shuffle.conv", "stem.conv1", LAYER),
    Rule("stem.shuffle.first.depthwise", "stem.branch1.0", LAYER),
    Rule("stem.shuffle.first.pointwise", "stem.branch1.1", LAYER),
    Rule("stem.shuffle.expand", "stem.expand_conv", LAYER),
    Rule("stem.shuffle.depthwise", "stem.depthwise_conv", LAYER),
    Rule("stem.shuffle.project", "stem.linear_conv", LAYER),
    Rule(BLOCK + ".weighted_shuffle.cross.ccw", LITE_BLOCK + ".cross_resolution_weighting", WEIGHTING),
    Rule(BLOCK + ".weighted_shuffle.depthwise.{r}", LITE_BLOCK + ".depthwise_convs.{r}", LAYER),
    Rule(BLOCK + ".weighted_shuffle.single.se.{r}", LITE_BLOCK + ".spatial_weighting.{r}", SQUEEZE),
    Rule(BLOCK + ".shuffle.{r}", "stage{s-2}.{m}.layers.{r}.{b}", SHUFFLE),  # the naive networks, branch by branch
    *LITE_FRAME,
)

DITE_HRNET = (
    Rule("stem.dgc.conv", "stem.conv1", LAYER),
    Rule("stem.dgc.first.1", "stem.branch1.1", CONTEXT),
    Rule("stem.dgc.first.{n}", "stem.branch1.{n}", DYNAMIC),
    Rule("stem.dgc.second.1", "stem.branch2.1", CONTEXT),
    Rule("stem.dgc.second.{n}", "stem.branch2.{n}", DYNAMIC),
    Rule(BLOCK + ".dmc.cross.dcm.masks.{r}", LITE_BLOCK + ".dcm.conv_mask.{r}", ITSELF),
    Rule(BLOCK + ".dmc.cross.dcm", LITE_BLOCK + ".dcm", CONTEXT),
    Rule(BLOCK + ".dmc.depthwise.{r}.convs.{g}_of_{n}", LITE_BLOCK + ".conv.{r}.conv.{g}", DYNAMIC),
    Rule(BLOCK + ".dmc.single.gcm.{r}", LITE_BLOCK + ".gcm.{r}", CONTEXT),
    *LITE_FRAME,
)

FAMILIES = (
    Family(
        "HRNet",
        "stage2.0.branches.0.0.conv1.weight",
        ("published/small_hrnet_w16", "published/hrnet_w32"),
        HRNET,
    ),
    Family(
        "Lite-HRNet",
        "stem.linear_conv.conv.weight",
        (
            "published/lite_hrnet_18",
            "published/lite_hrnet_30",
            "published/naive_lite_hrnet_18",
            "published/wider_naive_lite_hrnet_18",
        ),
        LITE_HRNET,
    ),
    Family(
        "Dite-HRNet",
        "stage0.0.layers.0.dcm.conv_mask.0.weight",
        ("published/dite_hrnet_18", "published/dite_hrnet_30"),
        DITE_HRNET,
    ),
)


def official_name(ours: str, family: Family) -> str | None:
    """What a family's authors call a tensor of ours, before any layout's prefix; None where they have none."""
    module, _, tensor = ours.rpartition(".")
    for pattern, template in _patterns(family):
        if found := pattern.fullmatch(module):
            numbers = {letter: int(number) for letter, number in found.groupdict().items()}
            theirs = re.sub(r"\{(\w)(-\d)?\}", lambda m: str(numbers[m[1]] + int(m[2] or 0)), template)  # noqa: B023
            return f"{theirs}.{tensor}"
    return None


@lru_cache
def _patterns(family: Family) -> list[tuple[re.Pattern[str], str]]:
    """The rules, one for each layer, as patterns of our names and templates of theirs."""
    return [
        (
            re.compile(re.sub(r"\\\{(\w)\\\}", r"(?P<\1>\\d+)", re.escape(_joined(rule.ours, part)))),
            _joined(rule.theirs, name),
        )
        for rule in family.rules
        for part, name in rule.parts.items()
    ]


def _joined(*names: str) -> str:
    return ".".join(name for name in names if name)


# ---------------------------------------------------------------------------------------------------------------------
# which network it is


@dataclass(frozen=True, eq=False)
class Recognised:
    """A checkpoint's network.

    Attributes:
        point: the published point's name; None where the user said another architecture.
        tensors: our name of every tensor that came -> the checkpoint's.
        new: our counters that the checkpoint lacks; they begin at 0.
        left: what the checkpoint holds beside the network.
    """

    family: str
    point: str | None
    architecture: Architecture
    keypoints: int
    tensors: Mapping[str, str]
    new: tuple[str, ...]
    left: tuple[str, ...]


def recognise(shapes: Shapes, said: Architecture | None = None) -> Recognised:
    """Find the network that a checkpoint's tensors belong to.

    Args:
        shapes: of the checkpoint's tensors, by their names in it.
        said: the architecture, where it is not to be found among the published points.

    Raises:
        UserError: no family has such tensors, or no network of it has exactly these.
    """
    named = {_without_prefix(name): name for name in shapes if not name.removeprefix("module.").startswith(BESIDE)}
    family = next((family for family in FAMILIES if family.sign in named), None)
    if family is None:
        raise UserError(
            f"its {len(shapes)} tensors ({', '.join(list(shapes)[:3])}, ...) are not those of a network that hrnas can "
            f"take over: {', '.join(family.name for family in FAMILIES)}, as their authors' code or mmpose writes them"
        )
    if "final_layer.weight" not in named:
        raise UserError(
            f"it is {family.name}'s backbone alone: the convolution that gives the heatmaps (final_layer) is missing; "
            "take a checkpoint that was trained on keypoints"
        )
    keypoints = shapes[named["final_layer.weight"]][0]
    theirs = {name: shapes[full] for name, full in named.items()}
    tried = []
    for point in [None] if said else family.points:
        architecture = said if point is None else load_architecture(point)
        assert architecture is not None
        names, problems = _compare(architecture, keypoints, theirs, family)
        if not problems:
            return Recognised(
                family.name,
                point,
                architecture,
                keypoints,
                {ours: named[name] for ours, name in names.items() if name in named},
                tuple(ours for ours, name in names.items() if name not in named),
                tuple(name for name in shapes if name not in named.values()),
            )
        tried.append((len(problems), point or "the architecture that --as says", problems))
    count, nearest, problems = min(tried)
    raise UserError(
        f"it looks like {family.name}, but is not {nearest}: {'; '.join(problems[:3])}"
        f"{f'; and {count - 3} more' if count > 3 else ''}"
        + ("" if said else "; if it is one of other sizes, write its architecture and give it with --as")
    )


def _compare(
    architecture: Architecture, keypoints: int, theirs: Shapes, family: Family
) -> tuple[dict[str, str], list[str]]:
    """Our names with those of the authors, and in what a checkpoint differs from this architecture."""
    with torch.device("meta"):
        ours = {name: tuple(tensor.shape) for name, tensor in PoseNet(architecture, keypoints).state_dict().items()}
    names: dict[str, str] = {}
    problems = []
    for name, shape in ours.items():
        theirs_name = official_name(name, family)
        if theirs_name is None:
            problems.append(f"{family.name} has nothing like {name}")
            continue
        names[name] = theirs_name
        if theirs_name not in theirs:
            if not name.endswith(COUNTER):
                problems.append(f"{theirs_name} is missing")
        elif theirs[theirs_name] != shape:
            problems.append(f"{theirs_name} is {_shape(theirs[theirs_name])} instead of {_shape(shape)}")
    asked = set(names.values())
    problems += [f"{name} is too much" for name in theirs if name not in asked]
    return names, problems


def _without_prefix(name: str) -> str:
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "one number"


# ---------------------------------------------------------------------------------------------------------------------
# the folder


def import_checkpoint(
    checkpoint: Path,
    out: Path,
    input: tuple[int, int] | None = None,
    said: Architecture | None = None,
    keypoint_card: Path | None = None,
) -> dict[str, Any]:
    """Bring a checkpoint into a folder as `hrnas train` leaves it, with a reading card instead of a recipe.

    Args:
        input: (height, width) that the network was trained for; COCO's and MPII's usual one where it is not said.
        said: the architecture, where it is not to be found among the published points.
        keypoint_card: what the keypoints are, where they are neither COCO's 17 nor MPII's 16.

    Returns:
        The document that import.json holds.

    Raises:
        UserError: it is no checkpoint of a network that hrnas knows, nobody says what its keypoints are, or `out` holds
            something else; then nothing was written.
    """
    tensors = read_tensors(checkpoint)
    try:
        found = recognise({name: tuple(tensor.shape) for name, tensor in tensors.items()}, said)
        points = _keypoint_set(found.keypoints, keypoint_card)
    except UserError as error:
        raise UserError(f"{checkpoint}: {error}") from None
    size = input or ((256, 256) if points == MPII_16 else (256, 192))
    document: dict[str, Any] = {
        "checkpoint": checkpoint.name,
        "sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
        "family": found.family,
        "point": found.point,
        "key": found.architecture.key,
        "keypoints": found.keypoints,
        "input": format_size(size),
        "matched": len(found.tensors),
        "new": list(found.new),
        "left": list(found.left),
        "tensors": {theirs: ours for ours, theirs in found.tensors.items()},
    }
    _refuse_other(out, document["sha256"])
    net = PoseNet(found.architecture, found.keypoints)
    fresh = net.state_dict()
    net.load_state_dict(
        {name: tensors[found.tensors[name]] if name in found.tensors else fresh[name] for name in fresh}
    )
    save_weights(out / WEIGHTS, net)
    write_yaml(out / ARCHITECTURE, {"architecture": found.architecture.tree()})
    write_yaml(out / READING, ReadingCard(input=size).model_dump(mode="json"))
    write_yaml(out / KEYPOINTS, points.to_category())
    write_atomically(out / "import.json", json.dumps(document, indent=2))
    return document


def _keypoint_set(count: int, card: Path | None) -> KeypointSet:
    if card is not None:
        points = KeypointSet.from_card(validate(KeypointCard, read_yaml(card), str(card)))
        if len(points) != count:
            raise UserError(f"it finds {count} keypoints, and {card} names {len(points)}")
        return points
    known = {len(points): points for points in (COCO_17, MPII_16)}
    if count not in known:
        raise UserError(f"it finds {count} keypoints, neither COCO's 17 nor MPII's 16: give a card with --keypoints")
    return known[count]


def _refuse_other(out: Path, sha256: str) -> None:
    """See that nothing but the same import was written here."""
    same = (out / "import.json").is_file() and read_json(out / "import.json").get("sha256") == sha256
    if not same and out.exists() and any(out.iterdir()):
        raise UserError(f"{out}: this folder holds something else; say another one with --out")


# ---------------------------------------------------------------------------------------------------------------------
# reading a checkpoint


class _Nothing:
    """Stands for whatever a checkpoint holds beside tensors and plain values: arrays, histories, dates."""

    def __init__(self, *anything: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by their names, as torch.save wrote them in any of its formats.

    Nothing in the file is run: torch's `weights_only` builds tensors and plain values, and what else stands beside them
    (mmpose's arrays and histories) is read as nothing.

    Raises:
        UserError: the file cannot be read so, or there is no network in it.
    """
    if not path.is_file():
        raise UserError(f"{path}: there is no such file; a checkpoint (.pth) is expected")
    try:
        with _read_as_nothing(_asked_for(path)):
            held = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen types for a file that is not a checkpoint
        asked = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"it would have to run {asked[1]}" if asked else type(error).__name__
        raise UserError(f"{path}: no checkpoint can be read from it ({reason})") from None
    if isinstance(held, dict) and isinstance(held.get("state_dict"), dict):
        held = held["state_dict"]
    tensors = {name: held[name] for name in held if isinstance(held[name], Tensor)} if isinstance(held, dict) else {}
    if not tensors:
        raise UserError(f"{path}: there are no named tensors in it; a network's state_dict is expected")
    return tensors


@contextmanager
def _read_as_nothing(names: Iterable[tuple[str, str]]) -> Iterator[None]:
    """While it lasts, torch takes these classes and functions (module, name) for nothing; those it knows stay."""
    serialization = torch.serialization
    before = serialization.get_safe_globals()
    serialization.add_safe_globals([type(name, (_Nothing,), {"__module__": module}) for module, name in names])
    try:
        yield
    finally:
        serialization.clear_safe_globals()
        serialization.add_safe_globals(before)


def _asked_for(path: Path) -> set[tuple[str, str]]:
    """The classes and functions that a file's pickles ask for, as (module, name)."""
    asked = set()
    for stream in _pickles(path):
        for operation, argument, _ in pickletools.genops(stream):
            if operation.name == "GLOBAL":  # torch pickles with protocol 2, which has no other way to ask
                module, _, name = str(argument).partition(" ")
                asked.add((OLD_MODULES.get(module, module), name))
    return asked


def _pickles(path: Path) -> Iterator[BinaryIO]:
    """The pickles in a checkpoint: one in a zip archive, or (torch before 1.6, and mmpose) the first four of a file."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.endswith("data.pkl"):
                    yield io.BytesIO(archive.read(name))
    else:
        with path.open("rb") as file:
            for _ in range(4):
                yield file
