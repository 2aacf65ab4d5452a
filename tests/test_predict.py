"""What a network sees in pictures and videos: the same as where it is evaluated, drawn in the right places."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from safetensors.torch import save
from test_cli import fields, rows, rows_of_files, say, section
from torch import nn
from toy_architectures import lite_tree
from toy_weights import enliven
from workshop import write_coco

import hrnas.predict
from hrnas.cards.reading import ReadingCard
from hrnas.cards.trainer import Codec
from hrnas.cli import main
from hrnas.nets.pose_net import PoseNet
from hrnas.pose.coco import read_people
from hrnas.pose.codecs import make_codec
from hrnas.pose.crops import open_pictures
from hrnas.pose.frames import list_files, unique_stems
from hrnas.pose.heat import draw_heat
from hrnas.pose.keypoints import COCO_17
from hrnas.pose.results import read_results
from hrnas.predict import predict
from hrnas.reading import UserError, write_yaml
from hrnas.space.architecture import Architecture
from hrnas.training.evaluation import predict_people
from hrnas.training.loop import pick_device
from hrnas.training.trained import Trained, load_trained


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a network with lively weights, as import leaves it."""
    folder = tmp_path_factory.mktemp("trained")
    architecture = Architecture.from_tree(lite_tree())
    net = enliven(PoseNet(architecture, 17))
    final = net.get_submodule("head.iterative.final")
    assert isinstance(final, nn.Conv2d) and final.bias is not None
    final.weight.data *= 0.01  # so that heatmaps are above 0, and have their peaks anywhere
    final.bias.data.fill_(2.0)
    (folder / "weights.safetensors").write_bytes(save(net.state_dict()))
    write_yaml(folder / "architecture.yaml", {"architecture": architecture.tree()})
    write_yaml(folder / "reading.yaml", ReadingCard(input=(64, 64)).model_dump(mode="json"))
    write_yaml(folder / "keypoints.yaml", COCO_17.to_category())
    return folder


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """Five pictures in COCO's layout with one person in each."""
    write_coco(tmp_path / "coco", pictures=5)
    return tmp_path / "coco"


ANNOTATIONS = "annotations/person_keypoints_val2017.json"


def results(out: Path) -> list[dict[str, Any]]:
    return json.loads((out / "keypoints.json").read_text())


def picture(height: int = 60, width: int = 80, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)


def write_video(path: Path, frames: int, size: tuple[int, int] = (60, 80)) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, size[::-1])
    for number in range(frames):
        writer.write(picture(*size, seed=number))
    writer.release()


# ---------------------------------------------------------------------------------------------------------------------
# what is found


@pytest.mark.parametrize("batch", [64, 2])
def test_keypoints_are_those_of_an_evaluation(
    batch: int, trained: Path, coco: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("hrnas.predict.EVALUATION_BATCH", batch)
    network, out = load_trained(trained), tmp_path / "out"
    files = list_files([coco / "val2017"])
    told = predict(network, files, out, boxes=coco / ANNOTATIONS)
    assert (told.frames, told.persons, told.without_boxes, told.broken) == (5, 5, 0, ())
    people = read_people(coco / ANNOTATIONS, coco / "val2017")
    expected = predict_people(network.net, people, open_pictures(people), network.reading, pick_device())
    found = np.array([row["keypoints"] for row in results(out)]).reshape(-1, 17, 3)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)
    assert (expected.std(axis=(0, 1)) > (5, 5, 0.01)).all()
    assert [row["image_id"] for row in results(out)] == [1, 2, 3, 4, 5]
    _, judged = read_results(out / "keypoints.json", coco / ANNOTATIONS)
    assert judged.boxes is None, "sizes are measured by keypoints, as in papers"
    above = expected[0, expected[0, :, 2] > 0.2, 2]
    assert results(out)[0]["score"] == pytest.approx(above.mean() if len(above) else 0.0, rel=1e-4)


def test_a_detectors_boxes_are_taken_with_their_scores(trained: Path, coco: Path, tmp_path: Path):
    box = {"category_id": 1, "bbox": [10.5, 10, 60, 90]}
    boxes = [
        box | {"image_id": 2, "score": 0.5},
        box | {"image_id": 2, "score": 1.0},
        box | {"image_id": 99, "score": 1},
    ]
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    told = predict(load_trained(trained), list_files([coco / "val2017"]), tmp_path / "out", tmp_path / "boxes.json")
    assert (told.frames, told.persons, told.without_boxes) == (1, 2, 4)
    half, whole = results(tmp_path / "out")
    assert half["keypoints"] == whole["keypoints"] and half["score"] == pytest.approx(whole["score"] / 2)
    assert half["image_id"] == 2 and half["file_name"] == "000000000002.jpg" and half["box"] == box["bbox"]
    assert [path.name for path in (tmp_path / "out" / "skeletons").iterdir()] == ["000000000002.jpg"]


def test_without_boxes_each_picture_is_one_persons(trained: Path, tmp_path: Path):
    for name in ("b.png", "a.jpg", "notes.txt", "7.jpg"):
        cv2.imwrite(str(tmp_path / name), picture()) if name != "notes.txt" else (tmp_path / name).write_text("")
    network = load_trained(trained)
    predict(network, list_files([tmp_path, tmp_path / "b.png"]), tmp_path / "out")
    found = [(row["file_name"], row["image_id"], row["box"]) for row in results(tmp_path / "out")]
    assert found == [(name, place + 1, [0, 0, 80, 60]) for place, name in enumerate(["7.jpg", "a.jpg", "b.png"])]
    predict(network, [tmp_path / "7.jpg"], tmp_path / "out")
    assert [row["image_id"] for row in results(tmp_path / "out")] == [7], (
        "a name that is a number is the picture's number"
    )


def test_a_video_is_looked_at_frame_by_frame(trained: Path, tmp_path: Path):
    write_video(tmp_path / "walk.mp4", 5)
    told = predict(load_trained(trained), [tmp_path / "walk.mp4"], tmp_path / "out", heatmaps=True)
    assert told.frames == told.persons == 5
    assert [row["frame"] for row in results(tmp_path / "out")] == [1, 2, 3, 4, 5]
    for folder in ("skeletons", "heatmaps"):
        drawn = cv2.VideoCapture(str(tmp_path / "out" / folder / "walk.mp4"))
        assert drawn.get(cv2.CAP_PROP_FRAME_COUNT) == 5 and drawn.get(cv2.CAP_PROP_FPS) == 10
        assert (drawn.get(cv2.CAP_PROP_FRAME_HEIGHT), drawn.get(cv2.CAP_PROP_FRAME_WIDTH)) == (60, 80)


# ---------------------------------------------------------------------------------------------------------------------
# what is drawn


@pytest.mark.parametrize("kind", ["gaussian", "dark", "udp", "simcc"])
def test_skeleton_and_heat_are_where_the_network_sees_a_keypoint(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The network answers with what it should have learnt of one place, whatever it is shown."""
    codec = make_codec(Codec.model_validate({"kind": kind}), (128, 96))
    nose = np.array([[[60.0, 40.0]] + [[-1.0, -1.0]] * 16])
    answer, _ = codec.targets(nose, np.eye(1, 17))
    network = Trained(
        PoseNet(Architecture.from_tree(lite_tree()), 17),
        ReadingCard(input=(128, 96), codec=Codec.model_validate({"kind": kind}), flip_test=False),
        COCO_17,
    )
    monkeypatch.setattr("hrnas.training.evaluation._confidences", lambda *_: answer)
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((400, 500, 3), 100, np.uint8))
    predict(network, [tmp_path / "grey.png"], tmp_path / "out", heatmaps=True)
    x, y, score = results(tmp_path / "out")[0]["keypoints"][:3]
    # the whole picture is a box: grown to the input's aspect and by a quarter, its middle in the middle
    scale = 1.25 * 500 / 96
    assert (x, y) == pytest.approx((250 + (60 - 48) * scale, 200 + (40 - 64) * scale), abs=1.5 * scale) and score > 0.9
    skeleton = cv2.imread(str(tmp_path / "out" / "skeletons" / "grey.jpg")).astype(int)
    assert np.abs(skeleton[round(y), round(x)] - 255).max() < 40, "a nose is white"
    assert np.abs(skeleton[20, 20] - 100).max() < 10
    heat = cv2.imread(str(tmp_path / "out" / "heatmaps" / "grey.jpg"), cv2.IMREAD_GRAYSCALE)
    brightest = np.unravel_index(heat.argmax(), heat.shape)
    assert np.hypot(brightest[0] - y, brightest[1] - x) < 4 * scale  # within a cell
    assert abs(int(heat[20, 20]) - 50) < 5, "the picture is darkened"


def test_heat_has_the_colours_of_the_sides():
    image = np.full((100, 100, 3), 200, np.uint8)
    maps = np.zeros((17, 10, 10), np.float32)
    names = COCO_17.names
    maps[names.index("left_wrist"), 2, 2] = maps[names.index("right_wrist"), 2, 8] = 0.5
    maps[names.index("left_hip"), 8, 5] = maps[names.index("right_hip"), 8, 5] = 0.25
    draw_heat(image, [(maps, np.array([[10.0, 0, 0], [0, 10, 0]]))], COCO_17)
    np.testing.assert_array_equal(image[20, 20], hrnas.pose.skeletons.LEFT)
    np.testing.assert_array_equal(image[20, 80], hrnas.pose.skeletons.RIGHT)
    both = (np.array(hrnas.pose.skeletons.LEFT) + hrnas.pose.skeletons.RIGHT) / 2
    np.testing.assert_allclose(image[80, 50], 0.5 * both + 0.5 * 100, atol=1)
    np.testing.assert_array_equal(image[50, 50], [100, 100, 100])


def test_names_do_not_collide(tmp_path: Path):
    files = [tmp_path / "one" / "a.jpg", tmp_path / "two" / "a.jpg", tmp_path / "a.png", tmp_path / "a-2.png"]
    assert list(unique_stems(files).values()) == ["a", "a-2", "a-3", "a-2-2"]


# ---------------------------------------------------------------------------------------------------------------------
# pictures as they really are


def _text(path: Path) -> None:
    path.write_text("no picture")


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _cut_off(path: Path) -> None:
    cv2.imwrite(str(path), picture(200, 200))
    path.write_bytes(path.read_bytes()[:5000])


BROKEN: dict[str, Callable[[Path], None]] = {
    "text.jpg": _text,
    "empty.png": _empty,
    "cut.jpg": _cut_off,
    "text.mp4": _text,
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_read_is_left_out_and_named_and_stops_when_strict(
    name: str, trained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    (tmp_path / "in").mkdir()
    for whole in ("a.jpg", "z.jpg"):
        cv2.imwrite(str(tmp_path / "in" / whole), picture())
    BROKEN[name](tmp_path / "in" / name)
    command = ["predict", str(trained), str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--quiet"]
    assert main(command) == 1
    said = capfd.readouterr()
    assert f"{tmp_path / 'in' / name}: " in said.err and "2 persons" in said.out
    assert [row["file_name"] for row in results(tmp_path / "out")] == ["a.jpg", "z.jpg"]
    shutil.rmtree(tmp_path / "out")
    assert main([*command, "--strict"]) == 2
    assert f"{tmp_path / 'in' / name}: " in capfd.readouterr().err
    assert not (tmp_path / "out" / "keypoints.json").exists()


def test_every_kind_of_picture_is_read(trained: Path, tmp_path: Path):
    grey = picture()[:, :, 0]
    cv2.imwrite(str(tmp_path / "grey.png"), grey)
    cv2.imwrite(str(tmp_path / "deep.png"), grey.astype(np.uint16) * 257)
    cv2.imwrite(str(tmp_path / "clear.png"), np.dstack([picture(), grey]))
    predict(load_trained(trained), list_files([tmp_path]), tmp_path / "out")
    by_name = {row["file_name"]: row["keypoints"] for row in results(tmp_path / "out")}
    np.testing.assert_allclose(by_name["deep.png"], by_name["grey.png"], rtol=1e-4)
    assert np.abs(np.subtract(by_name["clear.png"], by_name["grey.png"])).max() > 1


def test_a_picture_is_turned_as_its_camera_says_unless_boxes_refer_to_it(trained: Path, tmp_path: Path):
    raw = cv2.imencode(".jpg", picture(60, 80))[1].tobytes()
    turned = bytes.fromhex("ffe1002245786966000049492a0008000000010012010300010000000600000000000000")  # EXIF: by 90
    (tmp_path / "1.jpg").write_bytes(raw[:2] + turned + raw[2:])
    predict(load_trained(trained), [tmp_path / "1.jpg"], tmp_path / "out")
    assert results(tmp_path / "out")[0]["box"] == [0, 0, 60, 80]
    boxes = [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 80, 60], "score": 1.0}]
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    predict(load_trained(trained), [tmp_path / "1.jpg"], tmp_path / "out", tmp_path / "boxes.json")
    assert cv2.imread(str(tmp_path / "out/skeletons/1.jpg")).shape == (60, 80, 3)


# ---------------------------------------------------------------------------------------------------------------------
# what is refused


def test_what_makes_no_sense_is_refused_before_anything_is_written(trained: Path, tmp_path: Path):
    network, out = load_trained(trained), tmp_path / "out"
    (tmp_path / "bare").mkdir()
    for path, says in {tmp_path / "nowhere": "no such file", tmp_path / "bare": "no picture and no video"}.items():
        with pytest.raises(UserError, match=says):
            list_files([path])
    (out / "skeletons").mkdir(parents=True)
    cv2.imwrite(str(out / "skeletons" / "a.jpg"), picture())
    with pytest.raises(UserError, match=r"a\.jpg: a drawing would overwrite this picture"):
        predict(network, [out / "skeletons" / "a.jpg"], out)
    write_video(tmp_path / "walk.mp4", 1)
    (tmp_path / "boxes.json").write_text("[]")
    with pytest.raises(UserError, match=r"walk\.mp4: boxes of a video's frames cannot be told"):
        predict(network, [tmp_path / "walk.mp4"], out, tmp_path / "boxes.json")
    cv2.imwrite(str(tmp_path / "a.jpg"), picture())
    for text, says in {
        "[]": "names none of the 1 pictures",
        "{}": "names none of the 1 pictures",
        "[": "not JSON",
    }.items():
        (tmp_path / "boxes.json").write_text(text)
        with pytest.raises(UserError, match=rf"boxes\.json: .*{says}"):
            predict(network, [tmp_path / "a.jpg"], out, tmp_path / "boxes.json")
    assert not (out / "keypoints.json").exists()


# ---------------------------------------------------------------------------------------------------------------------
# the word


def test_the_word_says_what_the_page_says(
    trained: Path, coco: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    (coco / "val2017" / "extra.jpg").write_bytes((coco / "val2017" / "000000000001.jpg").read_bytes())
    command = f"predict {trained} coco/val2017 --out out --boxes coco/{ANNOTATIONS} --heatmaps"
    assert set(say(capsys, f"{command} --quiet --json")) == set(rows(section("predict"), "field"))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {n.rstrip("/") for n in rows_of_files("predict")}
    told = say(capsys, command)
    assert "5 persons in 5 pictures and frames: out" in told and "1 pictures have no box" in told
    assert fields(results(tmp_path / "out")[:1]) == {
        *("[].image_id", "[].category_id", "[].keypoints", "[].score", "[].box", "[].file_name")
    }
    assert main(f"predict {trained} coco/val2017/extra.jpg coco/val2017 --out two --quiet".split()) == 0
    assert len(results(tmp_path / "two")) == 6
    assert main(["predict", str(trained), "--out", "two"]) == 2
    assert "PICTURES" in capsys.readouterr().err
