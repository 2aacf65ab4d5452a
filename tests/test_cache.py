"""The cache of surroundings: exact, found again, made anew when anything changes, and never larger than it may be."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from hrnas.pose import cache, crops
from hrnas.pose.cache import keep
from hrnas.pose.coco import People, Picture, read_coco_folder
from hrnas.pose.crops import Regions, crop_batch, cut_regions, open_pictures
from hrnas.pose.drawn import draw_people
from hrnas.reading import UserError

SIZE = (64, 48)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("HRNAS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def people() -> People:
    return draw_people(30, 4)


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.pixels"))


def fill(value: int, size: int = 1000) -> np.ndarray:
    """A file of this size, named after what is in it."""
    return keep(f"{value:032x}", size, lambda put: put(0, np.full(size, value, np.uint8)))


def forbid_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(self: Picture) -> np.ndarray:
        raise AssertionError("it was in the cache")

    monkeypatch.setattr(Picture, "load", load)


# ---------------------------------------------------------------------------------------------------------------------
# what is in it


def test_regions_are_the_parts_of_their_pictures_to_the_last_bit(people: People) -> None:
    whole, reduced = cut_regions(people, SIZE, max_scale=99), cut_regions(people, SIZE, max_scale=0.5)
    for person in range(len(people)):
        picture = people.load_picture(people.picture[person])
        image, scale, offset = whole.of(person)
        left, top = (-int(side) for side in offset)
        part = picture[top : top + image.shape[0], left : left + image.shape[1]]
        np.testing.assert_array_equal(image, part)
        assert tuple(scale) == (1, 1)
        small, scale, _ = reduced.of(person)
        np.testing.assert_array_equal(small, cv2.resize(part, small.shape[1::-1], interpolation=cv2.INTER_AREA))
        np.testing.assert_allclose(scale, np.array(small.shape[1::-1]) / part.shape[1::-1])
    assert (reduced.plan.scales < 0.9).any()


def test_what_is_found_again_is_what_was_made_and_needs_no_picture(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = cut_regions(people, SIZE)
    forbid_decoding(monkeypatch)
    found = cut_regions(people, SIZE)
    np.testing.assert_array_equal(found.pixels, made.pixels)
    assert not found.pixels.flags.writeable
    assert [found.of(person).image.shape for person in range(30)] == [made.of(n).image.shape for n in range(30)]


def test_nobody_has_no_regions(people: People, folder: Path) -> None:
    assert len(cut_regions(people.take([]), SIZE).pixels) == 0


# ---------------------------------------------------------------------------------------------------------------------
# what it is called after


def test_another_box_picture_or_setting_is_another_file(people: People, folder: Path) -> None:
    moved = people.boxes.copy()
    moved[3, 0] += 5
    pictures = list(people.pictures)
    image = people.load_picture(7)
    image[0, 0] ^= 255
    pictures[7] = replace(pictures[7], encoded=cv2.imencode(".png", image[:, :, ::-1])[1].tobytes())
    cut_regions(people, SIZE)
    cut_regions(people, (96, 64))
    cut_regions(people, SIZE, reach=1.5)
    cut_regions(people, SIZE, max_scale=1)
    cut_regions(replace(people, boxes=moved), SIZE)
    cut_regions(replace(people, pictures=tuple(pictures)), SIZE)
    cut_regions(people.take(np.arange(len(people))[::-1]), SIZE)
    assert len(files(folder)) == 7


def test_the_same_pictures_elsewhere_are_the_same_file(small_coco: Path, tmp_path: Path, folder: Path) -> None:
    cut_regions(read_coco_folder(small_coco, "val2017"), SIZE)
    small_coco.rename(tmp_path / "elsewhere")
    people = read_coco_folder(tmp_path / "elsewhere", "val2017")
    cut_regions(people, SIZE)
    assert len(files(folder)) == 1
    path = Path(str(people.pictures[people.picture[0]].path))
    before = path.stat()
    image = cv2.imread(str(path))
    assert image is not None
    cv2.imwrite(str(path), 255 - image)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # only what is in it tells
    cut_regions(people, SIZE)
    assert len(files(folder)) == 2


# ---------------------------------------------------------------------------------------------------------------------
# when things go wrong


@pytest.mark.parametrize("left", [0, 1, 4321])
def test_a_torn_file_is_made_again(people: People, folder: Path, left: int) -> None:
    whole = cut_regions(people, SIZE).pixels.copy()
    (file,) = files(folder)
    os.truncate(file, left)
    np.testing.assert_array_equal(cut_regions(people, SIZE).pixels, whole)


def test_a_picture_that_breaks_leaves_nothing_behind(people: People, folder: Path) -> None:
    pictures = (*people.pictures[:-1], replace(people.pictures[-1], encoded=b"no picture"))
    with pytest.raises(UserError, match="not a picture"):
        cut_regions(replace(people, pictures=pictures), SIZE)
    assert [path.name for path in folder.iterdir()] == ["lock"]


def test_a_full_disk_says_so_and_leaves_nothing_behind(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pwrite(file: int, raw: memoryview, start: int, written: list[int] = []) -> int:  # noqa: B006
        written.append(start)
        if len(written) > 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return len(raw) // 2  # what a nearly full disk does

    monkeypatch.setattr(cache.os, "pwrite", pwrite)
    with pytest.raises(OSError, match="No space left on device: 0.0 GiB .* set HRNAS_CACHE"):
        fill(1)
    assert [path.name for path in folder.iterdir()] == ["lock"]


def test_a_folder_that_cannot_be_made_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HRNAS_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(OSError, match="set HRNAS_CACHE to a folder"):
        fill(1)


# ---------------------------------------------------------------------------------------------------------------------
# how large it is


def test_it_never_has_more_than_it_may_and_the_least_used_go_first(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HRNAS_CACHE_LIMIT", "3K")
    for value in (1, 2, 3):
        fill(value)
        os.utime(folder / f"{value:032x}.pixels", (value, value))
    kept = fill(1)  # used again
    fill(4)
    assert [int(path.stem, 16) for path in files(folder)] == [1, 3, 4]
    fill(5, 2500)
    assert [int(path.stem, 16) for path in files(folder)] == [5]
    assert (kept == 1).all(), "who has a file open keeps it"


def test_what_is_larger_than_the_cache_is_refused_before_anything_goes(
    people: People, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(1)
    monkeypatch.setenv("HRNAS_CACHE_LIMIT", "2K")
    forbid_decoding(monkeypatch)
    with pytest.raises(UserError, match=r"more than the 0.0 GiB .*HRNAS_CACHE_LIMIT.* take fewer persons"):
        cut_regions(people, SIZE)
    assert len(files(folder)) == 1
    monkeypatch.setenv("HRNAS_CACHE_LIMIT", "plenty")
    with pytest.raises(UserError, match=r"HRNAS_CACHE_LIMIT: expected a number .* \(got 'plenty'\)"):
        fill(2)


def test_a_disk_with_less_room_than_the_limit_bounds_it_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(1)
    usage = cache.shutil.disk_usage(folder)
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: usage._replace(free=500))
    fill(2)
    assert [int(path.stem, 16) for path in files(folder)] == [2]
    with pytest.raises(UserError, match="more than fit there"):
        fill(3, 2000)


def test_what_a_killed_process_left_goes_with_the_next_file(folder: Path) -> None:
    folder.mkdir()
    (folder / "0.part").write_bytes(b"half")
    fill(1)
    assert not list(folder.glob("*.part"))


# ---------------------------------------------------------------------------------------------------------------------
# several processes

_MAKE = """
import sys, time
import numpy as np
from hrnas.pose.cache import keep

def write(put):
    print("made")
    for start in range(0, 10**6, 10**4):
        put(start, np.full(10**4, start // 10**4, np.uint8))
        time.sleep(0.01)

while time.time() < float(sys.argv[1]):
    pass
print(int(keep("0", 10**6, write).sum(dtype=int)))
"""


def test_processes_that_begin_at_once_make_a_file_once_and_all_see_it_whole() -> None:
    begin = str(time.time() + 3)
    processes = [
        subprocess.Popen([sys.executable, "-c", _MAKE, begin], stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    said = [process.communicate(timeout=120)[0].split() for process in processes]
    assert [words[-1] for words in said] == [str(10**4 * sum(range(100)))] * 3
    assert sum(words.count("made") for words in said) == 1


def test_crops_from_regions_do_not_depend_on_who_made_them(people: People) -> None:
    """The same through a fresh file, the file found again, and regions that never were on disk."""
    maps = np.repeat([[[0.5, 0.1, -20.0], [-0.1, 0.5, 3.0]]], 30, axis=0)
    made, found = (crop_batch(cut_regions(people, SIZE), np.arange(30), maps, SIZE) for _ in range(2))
    plan = crops._plan_regions(people, SIZE, 1.25, 1.5)
    pixels = [crops._cut(people.load_picture(people.picture[n]), plan, n).ravel() for n in range(30)]
    starts = np.cumsum([0, *map(len, pixels)])
    never = crop_batch(Regions(np.concatenate(pixels), starts, plan), np.arange(30), maps, SIZE)
    np.testing.assert_array_equal(made, found)
    np.testing.assert_array_equal(made, never)
    assert not np.array_equal(made, crop_batch(open_pictures(people), np.arange(30), maps, SIZE))
