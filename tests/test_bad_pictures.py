"""Annotations and pictures as they really are: odd, broken, missing. What is broken is left out and named."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from small_coco import CATEGORY, annotation, load, points, write

from hrnas.pose.check import find_broken, look_at_pictures
from hrnas.pose.coco import People, cut_boxes, read_coco_folder, read_people
from hrnas.pose.keypoints import COCO_17
from hrnas.pose.pictures import decode, find_damage
from hrnas.reading import UserError

# ---------------------------------------------------------------------------------------------------------------------
# as they should be


def test_persons_are_read_as_hrnet_reads_them(small_coco: Path) -> None:
    people = read_coco_folder(small_coco, "val2017")
    assert people.ids.tolist() == [11, 12, 13]
    assert people.picture.tolist() == [0, 0, 1]
    np.testing.assert_array_equal(people.boxes[0], [5, 10, 39, 49])
    np.testing.assert_array_equal(people.boxes[1], [0, 70, 59, 9])  # cut to the picture
    assert people.keypoint_set.names == COCO_17.names
    beside = people.bystanders
    assert beside.picture.tolist() == [2, 1] and beside.crowd.tolist() == [True, False]
    assert people.load_picture(0).shape == (80, 60, 3)
    np.testing.assert_allclose(people.load_picture(0)[5, 5], [230, 120, 10], atol=3)  # RGB
    assert people.faults == ()


def test_boxes_outside_the_picture_have_no_size() -> None:
    cut = cut_boxes(np.array([[200.0, 5, 10, 10]]), np.array([[60, 80]]))
    assert (cut[:, 2:] < 0).any()


def test_any_keypoint_set_is_read(small_coco: Path) -> None:
    data = load(small_coco)
    data["categories"] = [{"id": 7, "name": "hand", "keypoints": ["thumb", "palm"]}]
    data["annotations"] = [annotation(1, 1, category_id=7, keypoints=[1, 2, 2, 0, 0, 0])]
    people = read_people(write(small_coco, data), small_coco / "val2017")
    assert people.keypoint_set.names == ("thumb", "palm")
    np.testing.assert_array_equal(people.keypoints, [[[1, 2, 2], [0, 0, 0]]])


# ---------------------------------------------------------------------------------------------------------------------
# nothing of it can be used


def _drop_folder(root: Path) -> None:
    for file in sorted(root.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    root.rmdir()


def _empty_folder(root: Path) -> None:
    _drop_folder(root)
    root.mkdir()


def _other_pictures(root: Path) -> None:
    for number in (1, 2, 3):
        (root / "val2017" / f"{number}.jpg").rename(root / "val2017" / f"{number + 10}.jpg")


def _change(**changes: Any) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        write(root, load(root) | changes)

    return change


UNUSABLE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (_drop_folder, r"coco: there is no such folder; expected .*person_keypoints_val2017.json"),
    "nothing in the folder": (_empty_folder, r"coco: the folder is empty; expected .*coco/val2017"),
    "no annotations": (
        lambda root: _drop_folder(root / "annotations"),
        r"person_keypoints_val2017.json: there is no such file; expected .*; annotations there: none",
    ),
    "annotations of another name": (
        lambda root: write(root, load(root)).rename(root / "annotations" / "mine.json"),
        r"annotations there: annotations/mine.json; if these are meant, the trainer card has to name them",
    ),
    "no folder of pictures": (lambda root: _drop_folder(root / "val2017"), r"val2017: there is no such folder"),
    "no pictures": (lambda root: _empty_folder(root / "val2017"), r"val2017: the folder is empty"),
    "other pictures": (_other_pictures, r"1.jpg: the picture is missing, and so are all 2 annotated pictures"),
    "no JSON": (lambda root: write(root, "{"), r"val2017.json: not JSON"),
    "half of a format": (
        lambda root: write(root, {"images": []}),
        r"val2017.json: not annotations in COCO's format: no annotations, categories",
    ),
    "a list": (lambda root: write(root, [1]), r"val2017.json: not annotations in COCO's format"),
    "boxes only": (
        _change(categories=[{"id": 1, "name": "person"}]),
        r"val2017.json: none of its categories \(person\) names keypoints",
    ),
    "nobody labelled": (
        _change(annotations=[annotation(1, 1, keypoints=[0] * 51)]),
        r"val2017.json: no person in it has a labelled keypoint; keypoint annotations are expected",
    ),
    "nobody right": (
        _change(annotations=[annotation(21, 1, bbox=[1, 2, 3])]),
        r"no person in it has a labelled keypoint, but 1 broken annotations, the first: annotation 21: bbox \[1, ",
    ),
    "no pictures listed": (_change(images=[]), r"but 5 broken annotations, the first: annotation 11: image_id 1, but"),
    "a category that is a word": (_change(categories=["person"]), r"not annotations in COCO's keypoint format"),
    "a flat skeleton": (
        _change(categories=[CATEGORY | {"skeleton": [1, 2]}]),
        r"val2017.json: category 'person': skeleton\[0\]: expected a valid array",
    ),
    "pictures without a size": (_change(images=[{"id": 1, "file_name": "1.jpg"}]), r"the key 'height' is missing"),
}


@pytest.mark.parametrize(("spoil", "message"), UNUSABLE.values(), ids=UNUSABLE.keys())
def test_what_cannot_be_used_at_all_is_refused(spoil: Callable[[Path], object], message: str, small_coco: Path) -> None:
    spoil(small_coco)
    with pytest.raises(UserError, match=message):
        read_coco_folder(small_coco, "val2017")


# ---------------------------------------------------------------------------------------------------------------------
# a part of it is broken

NAN = float("nan")
BROKEN_ANNOTATIONS: dict[str, tuple[dict[str, Any], str]] = {
    "too few numbers": ({"keypoints": [1, 2, 2]}, "3 numbers for its keypoints; 51 are expected"),
    "too many numbers": ({"keypoints": [1, 2, 2] * 18}, "54 numbers for its keypoints"),
    "a keypoint that is not a number": ({"keypoints": [NAN, *points(10)[1:]]}, "its keypoints are not all numbers"),
    "a flag that is not a number": ({"keypoints": [1, 2, NAN, *[0] * 48]}, "its keypoints are not all numbers"),
    "a keypoint in words": ({"keypoints": ["left", *points(10)[1:]]}, "its keypoints are not all numbers"),
    "keypoints in a word": ({"keypoints": "none"}, "'none' for its keypoints"),
    "a box that is not a number": ({"bbox": [5, NAN, 40, 50]}, r"bbox \[5, nan, 40, 50\]; four numbers are expected"),
    "an endless box": ({"bbox": [5, 10, float("inf"), 50]}, "four numbers are expected"),
    "a box of three": ({"bbox": [5, 10, 40]}, r"bbox \[5, 10, 40\]; four numbers"),
    "a box in words": ({"bbox": ["a", "b", "c", "d"]}, "four numbers are expected"),
    "no box": ({"bbox": None}, "bbox None; four numbers"),
    "a box without area": ({"bbox": [5, 10, 0, 50]}, r"bbox \[5, 10, 0, 50\] has no area"),
    "a box turned over": ({"bbox": [45, 60, -40, -50]}, "has no area"),
    "a box elsewhere": ({"bbox": [500, 10, 40, 50]}, "lies outside its picture"),
    "no area": ({"area": 0}, "area 0; a number above 0 is expected"),
    "an area that is not a number": ({"area": NAN}, "area nan; a number above 0"),
    "a picture that is not listed": ({"image_id": 99}, "image_id 99, but no picture has this id"),
    "no picture": ({"image_id": None}, "image_id None, but no picture has this id"),
    "no id": ({"id": None}, "its id is no whole number"),
}


@pytest.mark.parametrize(("change", "what"), BROKEN_ANNOTATIONS.values(), ids=BROKEN_ANNOTATIONS.keys())
def test_a_broken_annotation_is_left_out_and_named(change: dict[str, Any], what: str, small_coco: Path) -> None:
    whole, data = read_coco_folder(small_coco, "val2017"), load(small_coco)
    data["annotations"].insert(1, annotation(20, 2) | change)
    write(small_coco, data)
    people = read_coco_folder(small_coco, "val2017")
    assert [(fault.kind, fault.persons) for fault in people.faults] == [("annotation", 1)]
    assert people.faults[0].where == f"annotation {change.get('id', 20)}" and re.search(what, people.faults[0].what)
    same(people, whole)


def same(people: People, other: People) -> None:
    for name in ("picture", "boxes", "keypoints", "areas", "ids"):
        np.testing.assert_array_equal(getattr(people, name), getattr(other, name))
    for name in ("picture", "boxes", "areas", "crowd"):
        np.testing.assert_array_equal(getattr(people.bystanders, name), getattr(other.bystanders, name))


def test_a_broken_crowd_costs_nobody_but_is_named(small_coco: Path) -> None:
    data = load(small_coco)
    data["annotations"][3]["bbox"] = [1, 2]
    write(small_coco, data)
    people = read_coco_folder(small_coco, "val2017")
    assert [(fault.where, fault.persons) for fault in people.faults] == [("annotation 14", 0)]
    assert len(people) == 3 and people.bystanders.crowd.tolist() == [False]


def test_a_labelled_crowd_is_no_person_to_learn_from(small_coco: Path) -> None:
    data = load(small_coco)
    data["annotations"][0] |= {"iscrowd": 1}
    write(small_coco, data)
    people = read_coco_folder(small_coco, "val2017")
    assert people.ids.tolist() == [12, 13] and people.bystanders.crowd.tolist() == [True, True, False]
    assert people.faults == ()


def test_a_negative_flag_is_no_label(small_coco: Path) -> None:
    data = load(small_coco)
    data["annotations"][0]["keypoints"][:6] = [1, 2, -1, NAN, NAN, 0]
    write(small_coco, data)
    people = read_coco_folder(small_coco, "val2017")
    assert people.faults == () and not people.keypoints[0, :2].any() and people.keypoints[0, 2:].all()


def test_where_no_area_is_given_a_part_of_the_box_stands(small_coco: Path) -> None:
    """CrowdPose has none, and its evaluation takes 0.53 of the box."""
    data = load(small_coco)
    del data["annotations"][0]["area"]
    write(small_coco, data)
    assert read_coco_folder(small_coco, "val2017").areas.tolist() == [0.53 * 40 * 50, 900, 900]


def test_of_two_pictures_with_one_id_the_first_counts(small_coco: Path) -> None:
    data = load(small_coco)
    data["images"].append(data["images"][0] | {"file_name": "3.jpg"})
    write(small_coco, data)
    people = read_coco_folder(small_coco, "val2017")
    assert {str(people.pictures[index].path)[-5:] for index in people.picture} == {"1.jpg", "2.jpg"}


# ---------------------------------------------------------------------------------------------------------------------
# broken pictures


def jpeg(quality: int = 95, **flags: int) -> bytes:
    image = np.random.default_rng(0).integers(0, 255, (80, 60, 3), dtype=np.uint8)
    options = [(getattr(cv2, f"IMWRITE_JPEG_{name.upper()}"), value) for name, value in flags.items()]
    options.append((cv2.IMWRITE_JPEG_QUALITY, quality))
    return cv2.imencode(".jpg", image, [number for option in options for number in option])[1].tobytes()


def png(*shape: int) -> bytes:
    image = np.random.default_rng(0).integers(0, 255, shape or (80, 60, 3), dtype=np.uint8)
    return cv2.imencode(".png", image)[1].tobytes()


def with_orientation(raw: bytes, orientation: int, thumbnail: bytes = b"") -> bytes:
    """A JPEG with a camera's flag that says how to turn it, and a small picture in its header."""
    tag = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0" + bytes((orientation, 0, 0, 0)) + bytes(4)
    return raw[:2] + b"\xff\xe1" + (len(tag + thumbnail) + 2).to_bytes(2, "big") + tag + thumbnail + raw[2:]


WHOLE = {
    "grainy": jpeg(100),
    "smooth": jpeg(5),
    "progressive": jpeg(progressive=1),
    "restarting": jpeg(rst_interval=2),
    "from a camera": with_orientation(jpeg(), 6, thumbnail=jpeg(5)),
    "with something after its end": jpeg() + b"\0" * 99,
}
BROKEN_PICTURES: dict[str, tuple[bytes, str]] = {
    "0 bytes": (b"", "the file is empty"),
    "no picture": (b"this is no picture", r"not a picture that can be decoded \(JPEG or PNG expected\)"),
    "cut off": (jpeg()[:-40], "the file is cut off"),
    "cut off, progressive": (jpeg(progressive=1)[:3000], "the file is cut off"),
    "cut off after the end of its thumbnail": (WHOLE["from a camera"][:-40], "the file is cut off"),
    "cut off, and filled": (jpeg()[:-900] + bytes(900), "the file is cut off"),
    "written over": (jpeg()[:2000] + b"\xff\x5a" * 30 + jpeg()[2060:], "the file is damaged"),
    "tables broken": (jpeg().replace(jpeg()[180:240], b"\x77" * 60), "not a picture that can be decoded|damaged|cut"),
    "PNG cut off": (png()[:-3000], "not a picture that can be decoded"),
    "PNG with a wrong bit": (
        png()[:5000] + bytes([png()[5000] ^ 1]) + png()[5001:],
        "not a picture that can be decode",
    ),
    "another size": (png(60, 80, 3)[:], "the picture is 80x60 pixels, but its annotation says 60x80"),
}


@pytest.mark.parametrize(("raw", "what"), BROKEN_PICTURES.values(), ids=BROKEN_PICTURES.keys())
def test_a_broken_picture_is_found_before_it_is_learnt_from(raw: bytes, what: str, small_coco: Path) -> None:
    people = read_coco_folder(small_coco, "val2017")
    assert find_broken(look_at_pictures(people)) == {}
    (small_coco / "val2017" / "2.jpg").write_bytes(raw)
    broken = find_broken(look_at_pictures(people))
    assert list(broken) == [1] and re.search(what, broken[1])


def test_a_picture_that_cannot_be_opened_is_broken_too(small_coco: Path) -> None:
    people = read_coco_folder(small_coco, "val2017")
    (small_coco / "val2017" / "2.jpg").unlink()
    assert find_broken(look_at_pictures(people)) == {1: "the picture cannot be read"}
    people = read_coco_folder(small_coco, "val2017")
    assert people.ids.tolist() == [11, 12]
    assert [(fault.kind, fault.what, fault.persons) for fault in people.faults] == [
        ("picture", "the picture is missing", 1)
    ]


@pytest.mark.parametrize("raw", WHOLE.values(), ids=WHOLE.keys())
def test_a_whole_jpeg_passes_and_each_beginning_of_it_does_not(raw: bytes) -> None:
    assert find_damage(raw) is None and decode(raw, (80, 60)) is not None
    end = raw.rindex(b"\xff\xd9")
    for length in range(2, end + 2, max(1, end // 60)):
        assert find_damage(raw[:length]) is not None, length
        assert decode(raw[:length], (80, 60)) is None, length


# ---------------------------------------------------------------------------------------------------------------------
# odd pictures

# a red and a cyan half, 8 x 16, in CMYK as Adobe's programs write it (made with Pillow 10)
CMYK = base64.b64decode(
    "/9j/7gAOQWRvYmUAZAAAAAAA/9sAQwANCQoLCggNCwoLDg4NDxMgFRMSEhMnHB4XIC4pMTAuKS0sMzpKPjM2RjcsLUBXQUZMTlJTUjI+WmFaUGBK"
    "UVJP/8AAFAgACAAQBEMRAE0RAFkRAEsRAP/EABYAAQEBAAAAAAAAAAAAAAAAAAcIAP/EABQQAQAAAAAAAAAAAAAAAAAAAAD/2gAOBEMATQBZAEsA"
    "AD8AThgMCcmJTqnWf//Z"
)


def halves(left: Any, right: Any, dtype: Any = np.uint8) -> np.ndarray:
    image = np.zeros((8, 16, *np.shape(left)), dtype)
    image[:, :8], image[:, 8:] = left, right
    return image


def encode(kind: str, image: np.ndarray) -> bytes:
    return cv2.imencode(kind, image)[1].tobytes()


ODD: dict[str, tuple[bytes, tuple[int, int, int], tuple[int, int, int]]] = {  # file, RGB on the left and on the right
    "grey JPEG": (encode(".jpg", halves(200, 30)), (200, 200, 200), (30, 30, 30)),
    "grey PNG": (encode(".png", halves(200, 30)), (200, 200, 200), (30, 30, 30)),
    "16 bit": (encode(".png", halves((0, 0, 65535), (32768, 256, 0), np.uint16)), (255, 0, 0), (0, 1, 128)),
    "16 bit grey": (encode(".png", halves(65535, 512, np.uint16)), (255, 255, 255), (2, 2, 2)),
    "transparent": (encode(".png", halves((1, 2, 3, 0), (9, 8, 7, 255))), (3, 2, 1), (7, 8, 9)),
    "CMYK": (CMYK, (255, 0, 0), (0, 255, 255)),
}


@pytest.mark.parametrize(("raw", "left", "right"), ODD.values(), ids=ODD.keys())
def test_an_odd_picture_becomes_rgb(raw: bytes, left: tuple[int, int, int], right: tuple[int, int, int]) -> None:
    pixels = decode(raw, (8, 16))
    assert find_damage(raw) is None and pixels is not None
    assert pixels.shape == (8, 16, 3) and pixels.dtype == np.uint8
    np.testing.assert_allclose(pixels[4, 2], left, atol=3)
    np.testing.assert_allclose(pixels[4, 13], right, atol=3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_cameras_flag_is_followed_only_where_the_annotation_does(orientation: int) -> None:
    """Annotations refer to stored pixels, as HRNet reads them, unless they say the size of the picture upright."""
    image = np.random.default_rng(0).integers(0, 255, (5, 8, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    stored = encode(".jpg", image)
    flagged = with_orientation(stored, orientation)
    plain = decode(stored, (40, 64))
    assert plain is not None
    np.testing.assert_array_equal(decode(flagged, (40, 64)), plain)
    upright = {5: plain.transpose(1, 0, 2), 6: np.rot90(plain, -1), 7: np.rot90(plain, 2).transpose(1, 0, 2)}
    upright[8] = np.rot90(plain)
    np.testing.assert_array_equal(decode(flagged, (64, 40)), upright.get(orientation, plain))
