"""Checkpoints as other people's code writes them become our networks, and compute what that code computed.

`golden/official_tensors.txt.xz` holds the names and shapes of their tensors, `golden/official_heatmaps.npz` what they
gave with weights by a formula (see `golden/README.md`). Nothing of their code or weights stands here.
"""

from __future__ import annotations

import datetime
import json
import lzma
import os
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_cli import fields, rows, rows_of_files, say, section
from test_official_outputs import EVERY, architecture, formula, noise, official_order
from torch import Tensor

from hrnas.cli import main
from hrnas.nets.pose_net import PoseNet
from hrnas.official import FAMILIES, import_checkpoint, official_name, read_tensors, recognise
from hrnas.pose.keypoints import COCO_17, MPII_16
from hrnas.reading import UserError, read_yaml, write_yaml
from hrnas.space.architecture import Architecture
from hrnas.space.published import load_point
from hrnas.training.trained import load_trained

GOLDEN = Path(__file__).parent / "golden"
State = dict[str, Tensor]


def _read_shapes() -> dict[str, dict[str, tuple[int, ...]]]:
    """Network -> tensor -> shape."""
    networks: dict[str, dict[str, tuple[int, ...]]] = {}
    for line in lzma.decompress((GOLDEN / "official_tensors.txt.xz").read_bytes()).decode().splitlines():
        name, _, shape = line.partition(" ")
        if name == "#":
            networks[shape] = {}
        else:
            list(networks.values())[-1][name] = tuple(map(int, shape.split("x"))) if shape else ()
    return networks


SHAPES = _read_shapes()
NETWORKS = [name for name in SHAPES if name != "hrnet_w32"]  # the formula takes seconds at its width
EVERY_NETWORK = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if "30" in name or "wider" in name else ()) for name in NETWORKS]
)


def state_of(name: str) -> State:
    """The state that the authors' code had: every tensor by the formula, in their order."""
    state: State = OrderedDict()
    for place, (tensor, shape) in enumerate(SHAPES[name].items()):
        counts = tensor.endswith("num_batches_tracked")
        state[tensor] = torch.tensor(0) if counts else formula(tensor, place, torch.Size(shape))
    return state


def write_checkpoint(path: Path, state: State, by: str = "HRNet") -> Path:
    """Write a state as HRNet's code, mmpose 0.x or mmpose 1.x does, with what they put beside it."""
    if by == "HRNet":
        torch.save(state, path)
    elif by == "mmpose 0.x":  # its tool that publishes checkpoints keeps to the old format
        meta = {"epoch": 210, "config": "x = 1", "CLASSES": None, "hook_msgs": {"best_score": np.float64(0.648)}}
        torch.save({"meta": meta, "state_dict": state}, path, _use_new_zipfile_serialization=False)
    else:
        meta = {"dataset_meta": {"sigmas": np.ones(17, np.float32)}, "time": datetime.datetime(2023, 1, 1)}
        torch.save({"meta": meta, "state_dict": state, "message_hub": {"is_scalar": getattr}, "optimizer": {}}, path)
    return path


def writer(name: str) -> str:
    """Whose code writes the checkpoints of a network."""
    if name.startswith("mmpose1"):
        return "mmpose 1.x"
    return "HRNet" if name.startswith("hrnet") else "mmpose 0.x"


def heatmaps(net: PoseNet) -> Tensor:
    """What the golden values are of."""
    with torch.no_grad():
        return net.eval()(noise(0, torch.Size([1, 3, 64, 96]))).flatten()[::EVERY]


# ---------------------------------------------------------------------------------------------------------------------
# their networks are ours


@EVERY_NETWORK
def test_what_was_taken_over_computes_what_their_code_computed(name: str, tmp_path: Path):
    checkpoint = write_checkpoint(tmp_path / "their.pth", state_of(name), writer(name))
    point = name.removeprefix("mmpose1_")
    said = architecture(point) if point == "hrnet_w8" else None
    document = import_checkpoint(checkpoint, tmp_path / "ours", said=said)
    assert document["point"] == (None if said else f"published/{point}")
    assert document["matched"] == len(SHAPES[name]) and document["new"] == document["left"] == []
    assert list(document["tensors"]) and set(document["tensors"]) == set(SHAPES[name])
    trained = load_trained(tmp_path / "ours")
    with np.load(GOLDEN / "official_heatmaps.npz") as golden:
        expected = torch.from_numpy(golden[name])
    found = heatmaps(trained.net)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3 * expected.abs().max().item())
    assert expected.std() > 0.1 * expected.abs().max() > 0
    assert trained.keypoint_set == COCO_17 and trained.reading.input == (256, 192)
    assert trained.net.architecture.key == document["key"] == architecture(point).key


@EVERY_NETWORK
def test_names_agree_with_the_order_in_which_their_code_makes_its_layers(name: str):
    """A second opinion on the rules: an order knows nothing of names."""
    point = name.removeprefix("mmpose1_")
    found = recognise(SHAPES[name], architecture(point) if point == "hrnet_w8" else None)
    with torch.device("meta"):
        ours = official_order(list(PoseNet(found.architecture, 17).state_dict()))
    assert [found.tensors[tensor] for tensor in ours] == list(SHAPES[name])


def test_hrnet_w32_is_recognised():
    found = recognise(SHAPES["hrnet_w32"])
    assert (found.family, found.point, found.keypoints) == ("HRNet", "published/hrnet_w32", 17)
    assert len(found.tensors) == len(SHAPES["hrnet_w32"]) and not found.left and not found.new


@pytest.mark.parametrize("point", [point for family in FAMILIES for point in family.points])
def test_every_tensor_of_every_point_has_a_name_of_its_own(point: str):
    family = next(family for family in FAMILIES if point in family.points)
    with torch.device("meta"):
        ours = list(PoseNet(load_point(point).architecture, 17).state_dict())
    theirs = [official_name(name, family) for name in ours]
    assert None not in theirs and len(set(theirs)) == len(ours) and family.sign in theirs


# ---------------------------------------------------------------------------------------------------------------------
# what may stand in a checkpoint


@pytest.fixture(scope="module")
def small() -> State:
    """Small HRNet-W16 in HRNet's names: the smallest network that checkpoints are known of."""
    torch.manual_seed(0)
    net = PoseNet(load_point("published/small_hrnet_w16").architecture, 17)
    return OrderedDict((str(official_name(name, FAMILIES[0])), tensor) for name, tensor in net.state_dict().items())


def test_names_may_have_the_prefixes_of_mmpose_and_of_several_gpus(small: State, tmp_path: Path):
    layouts = {
        "module": {f"module.{name}": tensor for name, tensor in small.items()},
        "mmpose 0.x": {f"{'keypoint_head' if 'final' in name else 'backbone'}.{name}": t for name, t in small.items()},
        "mmpose 1.x": {f"{'head' if 'final' in name else 'backbone'}.{name}": t for name, t in small.items()},
    }
    for name, state in layouts.items():
        document = import_checkpoint(write_checkpoint(tmp_path / "their.pth", state), tmp_path / name)
        assert document["point"] == "published/small_hrnet_w16" and document["matched"] == len(small), name


def test_what_stands_beside_the_network_is_left_and_named(small: State, tmp_path: Path):
    beside = {"ema_conv1_weight": torch.zeros(3), "data_preprocessor.mean": torch.zeros(3)}
    document = import_checkpoint(write_checkpoint(tmp_path / "their.pth", {**small, **beside}), tmp_path / "ours")
    assert document["left"] == list(beside) and document["matched"] == len(small)


def test_counters_may_be_missing(small: State, tmp_path: Path):
    old = {name: tensor for name, tensor in small.items() if not name.endswith("num_batches_tracked")}
    document = import_checkpoint(write_checkpoint(tmp_path / "their.pth", old), tmp_path / "ours")
    assert document["matched"] == len(old) and len(document["new"]) == len(small) - len(old) > 0
    assert all(name.endswith("num_batches_tracked") for name in document["new"])


class Trap:
    """Pickled, it asks for a function to be called with an argument."""

    def __init__(self, function: Callable[..., Any], argument: object) -> None:
        self._asks = function, (argument,)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self._asks


@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_in_a_checkpoint_is_run(zipped: bool, small: State, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A function of Python's own is never called; one of the system's is refused by torch with the whole file."""
    traps = {"print": Trap(print, "I ran"), "mkdir": Trap(os.mkdir, str(tmp_path / "made"))}
    for name, trap in traps.items():
        held = {"state_dict": small, "meta": trap}
        torch.save(held, tmp_path / f"{name}.pth", _use_new_zipfile_serialization=zipped)
    assert set(read_tensors(tmp_path / "print.pth")) == set(small)
    assert capsys.readouterr().out == ""
    with pytest.raises(UserError, match=r"mkdir\.pth: no checkpoint can be read .*it would have to run posix\.mkdir"):
        read_tensors(tmp_path / "mkdir.pth")
    assert not (tmp_path / "made").exists()
    before = torch.serialization.get_safe_globals()
    assert not any(issubclass(safe, Trap) for safe in before if isinstance(safe, type)), "nothing stays allowed"


# ---------------------------------------------------------------------------------------------------------------------
# what is refused


def without(state: State, name: str) -> State:
    return {tensor: value for tensor, value in state.items() if tensor != name}


REFUSED: dict[str, tuple[Callable[[State], dict[str, Any]], list[str]]] = {
    "a tensor is missing": (
        lambda state: without(state, "stage3.0.branches.1.0.conv2.weight"),
        ["looks like HRNet", "stage3.0.branches.1.0.conv2.weight is missing"],
    ),
    "a tensor too much": (
        lambda state: {**state, "stage4.1.branches.0.0.conv1.weight": torch.zeros(16, 16, 3, 3)},
        ["looks like HRNet", "stage4.1.branches.0.0.conv1.weight is too much"],
    ),
    "another shape": (
        lambda state: {**state, "conv1.weight": torch.zeros(32, 3, 3, 3)},
        ["not published/small_hrnet_w16", "conv1.weight is 32x3x3x3 instead of 64x3x3x3", "--as"],
    ),
    "a backbone alone": (
        lambda state: {name: tensor for name, tensor in state.items() if "final" not in name},
        ["HRNet's backbone alone", "final_layer"],
    ),
    "another network": (
        lambda state: {"layer1.0.conv1.weight": torch.zeros(64, 64, 1, 1), "fc.bias": torch.zeros(1000)},
        ["2 tensors (layer1.0.conv1.weight, fc.bias", "HRNet, Lite-HRNet, Dite-HRNet"],
    ),
    "no tensors": (lambda state: {"epoch": 3}, ["no named tensors", "state_dict"]),
    "14 keypoints": (
        lambda state: {**state, "final_layer.weight": torch.zeros(14, 16, 1, 1), "final_layer.bias": torch.zeros(14)},
        ["finds 14 keypoints", "--keypoints"],
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_it_does_not_know_is_refused_in_words(case: str, small: State, tmp_path: Path):
    change, says = REFUSED[case]
    checkpoint = write_checkpoint(tmp_path / "their.pth", change(small))
    with pytest.raises(UserError) as caught:
        import_checkpoint(checkpoint, tmp_path / "ours")
    assert str(caught.value).startswith(f"{checkpoint}: ")
    assert [phrase for phrase in says if phrase not in str(caught.value)] == []
    assert not (tmp_path / "ours").exists()


def test_what_is_no_checkpoint_is_refused(small: State, tmp_path: Path):
    whole = write_checkpoint(tmp_path / "whole.pth", small).read_bytes()
    for name, raw in {"empty": b"", "text": b"no checkpoint", "cut": whole[: len(whole) // 2]}.items():
        (tmp_path / name).write_bytes(raw)
        with pytest.raises(UserError, match=f"{name}: no checkpoint can be read from it"):
            read_tensors(tmp_path / name)
    with pytest.raises(UserError, match="there is no such file"):
        read_tensors(tmp_path / "nowhere.pth")


def test_another_network_than_the_user_says_is_refused(small: State):
    shapes = {name: tuple(tensor.shape) for name, tensor in small.items()}
    assert recognise(shapes, load_point("published/small_hrnet_w16").architecture).point is None
    with pytest.raises(UserError, match="HRNet has nothing like stem.shuffle"):
        recognise(shapes, load_point("published/lite_hrnet_18").architecture)
    with pytest.raises(UserError, match="stage1.4.layers.0.cross_resolution_weighting.*is too much"):
        # all of the smaller one's tensors are in the larger one's checkpoint
        recognise(
            {k: v for k, v in SHAPES["lite_hrnet_30"].items() if "stage2" not in k and "stage0.2" not in k}
            | {k: v for k, v in SHAPES["lite_hrnet_18"].items() if "stage2" in k},
            load_point("published/lite_hrnet_18").architecture,
        )


# ---------------------------------------------------------------------------------------------------------------------
# the folder


def test_the_word_says_what_the_page_says(
    small: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    write_checkpoint(tmp_path / "their.pth", small)
    document = say(capsys, "import their.pth --json")
    assert fields(document) == set(rows(section("import"), "field"))
    assert {path.name for path in (tmp_path / "runs/imported/their").iterdir()} == set(rows_of_files("import"))
    assert json.loads((tmp_path / "runs/imported/their/import.json").read_text()) == document
    told = say(capsys, "import their.pth --as small_hrnet_w16 --out other --input 128x96")
    assert "HRNet: small_hrnet_w16" in told and f"{len(small)} tensors matched" in told and "128x96" in told
    assert read_yaml(tmp_path / "other/reading.yaml")["input"] == "128x96"
    write_checkpoint(tmp_path / "other.pth", {**small, "conv1.weight": small["conv1.weight"] + 1})
    assert main(["import", "other.pth", "--out", "other"]) == 2
    assert "other: this folder holds something else" in capsys.readouterr().err
    assert say(capsys, "import their.pth --out other --json")["matched"] == len(small)


def test_keypoints_are_mpiis_or_what_a_card_says(small: State, tmp_path: Path):
    def with_points(count: int) -> Path:
        final = {"final_layer.weight": torch.zeros(count, 16, 1, 1), "final_layer.bias": torch.zeros(count)}
        return write_checkpoint(tmp_path / f"{count}.pth", {**small, **final})

    import_checkpoint(with_points(16), tmp_path / "mpii")
    mpii = load_trained(tmp_path / "mpii")
    assert mpii.keypoint_set == MPII_16 and mpii.reading.input == (256, 256)
    write_yaml(tmp_path / "card.yaml", {"keypoints": ["head", "left_paw", "right_paw"]})
    import_checkpoint(with_points(3), tmp_path / "three", keypoint_card=tmp_path / "card.yaml")
    assert load_trained(tmp_path / "three").keypoint_set.flip_pairs == ((1, 2),)
    with pytest.raises(UserError, match=r"finds 16 keypoints, and .*card\.yaml names 3"):
        import_checkpoint(tmp_path / "16.pth", tmp_path / "wrong", keypoint_card=tmp_path / "card.yaml")


def test_a_folder_whose_files_do_not_belong_together_is_refused(small: State, tmp_path: Path):
    folder = tmp_path / "ours"
    import_checkpoint(write_checkpoint(tmp_path / "their.pth", small), folder)
    assert load_trained(folder / "weights.safetensors").net.architecture == load_trained(folder).net.architecture
    with pytest.raises(UserError, match="there are no weights here"):
        load_trained(tmp_path)
    with pytest.raises(UserError, match="hrnas import"):
        load_trained(tmp_path / "their.pth")
    spoilt: dict[str, tuple[str, Any, str]] = {
        "another architecture": ("architecture.yaml", _other_architecture(), "not the weights of"),
        "broken weights": ("weights.safetensors", b"nothing", "not weights in the format safetensors"),
        "no reading": ("reading.yaml", None, "says how the network looks at pictures"),
        "no architecture": ("architecture.yaml", None, "there is no architecture.yaml"),
        "a misspelt reading": (
            "reading.yaml",
            {"input": "256x192", "flip": True},
            "flip: there is no such key",
        ),
    }
    for case, (name, content, says) in spoilt.items():
        before = (folder / name).read_bytes()
        if content is None:
            (folder / name).unlink()
        elif isinstance(content, bytes):
            (folder / name).write_bytes(content)
        else:
            write_yaml(folder / name, content)
        with pytest.raises(UserError) as caught:
            load_trained(folder)
        assert says in str(caught.value), case
        (folder / name).write_bytes(before)


def _other_architecture() -> dict[str, Any]:
    tree = load_point("published/small_hrnet_w16").architecture.tree()
    return {"architecture": Architecture.from_tree(tree | {"widths": [8, 16, 32, 64]}).tree()}
