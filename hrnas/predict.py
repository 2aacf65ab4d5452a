"""What a trained network sees in pictures and videos: keypoints in COCO's result format, skeletons, heatmaps.

pictures, folders, videos -> frames with boxes, as many at a time as fill a batch -> network -> drawings, results

The folder that it leaves:

    keypoints.json       a list of persons in COCO's result format, and where each was seen: file_name, frame, box
    skeletons/NAME.jpg   the picture with every person's skeleton; NAME.mp4 of a video
    heatmaps/NAME.jpg    the same of how likely the network finds each place for a keypoint
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import cv2
import numpy as np

from hrnas.pose.batches import Batch
from hrnas.pose.coco import Bystanders, People, Picture, cut_boxes
from hrnas.pose.codecs import Codec, make_codec
from hrnas.pose.crops import Pixels
from hrnas.pose.frames import (
    Frame,
    VideoWriter,
    frame_rate,
    is_video,
    read_frames,
    unique_stems,
)
from hrnas.pose.heat import draw_heat
from hrnas.pose.keypoints import KeypointSet
from hrnas.pose.metrics import VISIBLE_ABOVE, person_scores
from hrnas.pose.results import read_boxes
from hrnas.pose.skeletons import draw_skeleton
from hrnas.reading import UserError, read_json, write_atomically
from hrnas.training.evaluation import EVALUATION_BATCH, predict_people
from hrnas.training.loop import pick_device
from hrnas.training.trained import Trained

MOST_PIXELS = 2**26  # of frames that wait until a batch is full
QUALITY = 95  # of the JPEGs


@dataclass(frozen=True)
class Told:
    """What was done."""

    frames: int
    persons: int
    without_boxes: int  # pictures that the file of boxes says nothing of
    broken: tuple[str, ...]  # of each file that could not be read, what is wrong with it


class Boxes(NamedTuple):
    """Where to look in a picture."""

    picture: int  # what results call it
    boxes: np.ndarray  # (persons, 4) x, y, width, height in pixels
    scores: np.ndarray  # (persons,)


class Scene(NamedTuple):
    """A frame, and what was found in it."""

    frame: Frame
    where: Boxes
    found: np.ndarray  # (persons, points, 3) x, y in pixels and the score
    heat: list[tuple[np.ndarray, np.ndarray]]  # of each person its maps, and where they lie; as `draw_heat` takes them


def predict(
    trained: Trained,
    files: Sequence[Path],
    out: Path,
    boxes: Path | None = None,
    heatmaps: bool = False,
    strict: bool = False,
    on_frame: Callable[[], None] = lambda: None,
) -> Told:
    """Find keypoints in pictures and videos, draw them, and write them down.

    Args:
        files: pictures and videos.
        boxes: where the persons are in the pictures: a detector's results or annotations, in COCO's formats; without
            it every picture is one person's box.
        strict: stop at the first file that cannot be read, instead of leaving it out.
        on_frame: told of each picture or frame that is done.

    Raises:
        UserError: the boxes are of other pictures, or a file cannot be read (strict) or written.
    """
    places = None if boxes is None else _read_boxes(boxes, files, trained.keypoint_set)
    wanted = [file for file in files if places is None or file in places]
    broken: list[str] = []
    results: list[dict[str, Any]] = []
    done = 0
    trained.net.to(pick_device())
    # the peak of a distribution is low where the network is unsure, so that none is left out
    above = VISIBLE_ABOVE if trained.reading.loss.kind == "mse" else 0.0
    with _Drawings(out, wanted, trained.keypoint_set, above, heatmaps) as drawings:
        for batch in _batches(_find_frames(wanted, places, broken, strict)):
            for scene in _look(trained, batch, heatmaps):
                results += _results(scene, above)
                drawings.add(scene)
                done += 1
                on_frame()
    write_atomically(out / "keypoints.json", json.dumps(results))
    return Told(done, len(results), len(files) - len(wanted), tuple(broken))


# ---------------------------------------------------------------------------------------------------------------------
# frames and boxes


def _read_boxes(file: Path, files: Sequence[Path], points: KeypointSet) -> dict[Path, Boxes]:
    """The boxes of those pictures that the file knows."""
    video = next(filter(is_video, files), None)
    if video is not None:
        raise UserError(f"{video}: boxes of a video's frames cannot be told; leave out --boxes, or give pictures")
    data = read_json(file)
    images: dict[str, Any] = {}
    if isinstance(data, dict):  # annotations know the files' names
        images = {Path(str(image.get("file_name"))).name: image for image in data.get("images", ())}
        ids = {path: images[path.name].get("id") for path in files if path.name in images}
    else:
        ids = {path: int(path.stem) for path in files if path.stem.isdecimal()}
    if not ids:
        raise UserError(
            f"{file}: it names none of the {len(files)} pictures; a detector's list goes by the numbers that are their "
            "names, as in COCO, and annotations by file_name"
        )
    pictures = tuple(Picture(id, 0, 0, str(path)) for path, id in ids.items())
    seen, scores = read_boxes(file, _people(pictures, points, np.zeros(0, int), np.zeros((0, 4))))
    places = {}
    for place, (path, id) in enumerate(ids.items()):
        boxes, sure = seen.boxes[seen.picture == place], scores[seen.picture == place]
        if images:  # cut as where ground truth is evaluated
            size = images[path.name]["width"], images[path.name]["height"]
            boxes = cut_boxes(boxes, np.array([size], np.float64))
            boxes, sure = boxes[boxes[:, 2:].min(axis=1) >= 0], sure[boxes[:, 2:].min(axis=1) >= 0]
        if len(boxes):
            places[path] = Boxes(id, boxes, sure)
    return places


def _find_frames(
    files: Sequence[Path], places: Mapping[Path, Boxes] | None, broken: list[str], strict: bool
) -> Iterator[tuple[Frame, Boxes]]:
    """All frames with their boxes; what cannot be read is left out and remembered.

    Without boxes, pictures with numbers for names keep them, as COCO's; otherwise frames are counted from 1.
    """
    numbered = all(file.stem.isdecimal() and not is_video(file) for file in files)
    count = 0
    for file in files:
        try:
            for frame in read_frames(file, as_stored=places is not None):
                count += 1
                height, width = frame.image.shape[:2]
                whole = Boxes(int(file.stem) if numbered else count, np.array([[0.0, 0.0, width, height]]), np.ones(1))
                yield frame, whole if places is None else places[file]
        except UserError as error:
            if strict:
                raise
            broken.append(str(error))


def _batches(frames: Iterable[tuple[Frame, Boxes]]) -> Iterator[list[tuple[Frame, Boxes]]]:
    """Frames until their persons fill a batch, or their pixels much memory."""
    batch: list[tuple[Frame, Boxes]] = []
    persons = pixels = 0
    for frame, where in frames:
        batch.append((frame, where))
        persons, pixels = persons + len(where.boxes), pixels + frame.image.size // 3
        if persons >= EVALUATION_BATCH or pixels >= MOST_PIXELS:
            yield batch
            batch, persons, pixels = [], 0, 0
    if batch:
        yield batch


# ---------------------------------------------------------------------------------------------------------------------
# looking


class _Frames:
    """The pixels of a batch's persons."""

    def __init__(self, frames: Sequence[Frame], picture: np.ndarray) -> None:
        self._images = [frame.image for frame in frames]
        self._picture = picture

    def of(self, person: int) -> Pixels:
        """The frame that a person is in."""
        return Pixels(self._images[self._picture[person]])


def _look(trained: Trained, batch: Sequence[tuple[Frame, Boxes]], heatmaps: bool) -> Iterator[Scene]:
    """Find the keypoints in a batch of frames."""
    pictures = tuple(
        Picture(where.picture, frame.image.shape[0], frame.image.shape[1], str(frame.path)) for frame, where in batch
    )
    boxes = np.concatenate([where.boxes for _, where in batch])
    picture = np.repeat(np.arange(len(batch)), [len(where.boxes) for _, where in batch])
    people = _people(pictures, trained.keypoint_set, picture, boxes)
    codec = make_codec(trained.reading.codec, trained.reading.input)
    outputs: list[tuple[np.ndarray, np.ndarray]] = []  # of each person, with the map from the input to the picture

    def keep(seen: Batch, output: np.ndarray) -> None:
        outputs.extend(zip(output, seen.to_picture, strict=True))

    pixels = _Frames([frame for frame, _ in batch], picture)
    device = next(trained.net.parameters()).device
    found = predict_people(trained.net, people, pixels, trained.reading, device, on_output=keep if heatmaps else None)
    for place, (frame, where) in enumerate(batch):
        mine = np.flatnonzero(picture == place)
        heat = [_as_heat(*outputs[person], codec) for person in mine] if heatmaps else []
        yield Scene(frame, where, found[mine], heat)


def _people(pictures: tuple[Picture, ...], points: KeypointSet, picture: np.ndarray, boxes: np.ndarray) -> People:
    """Persons of whom only the boxes are known."""
    count = len(boxes)
    return People(
        pictures=pictures,
        picture=picture,
        boxes=boxes,
        keypoints=np.zeros((count, len(points), 3)),
        areas=np.full(count, np.nan),
        ids=np.arange(count),
        keypoint_set=points,
        bystanders=Bystanders.none(),
    )


def _as_heat(output: np.ndarray, to_picture: np.ndarray, codec: Codec) -> tuple[np.ndarray, np.ndarray]:
    """What a network says of a person as maps (points, h, w), and the map (2, 3) from their cells to the picture."""
    if output.ndim == 2:  # SimCC: a distribution over x and one over y
        across, down = np.split(output, [codec.parts[0]], axis=1)
        output = down[:, :, None] * across[:, None, :]
    cells, size = output.shape[1:], codec.size
    return np.maximum(output, 0), to_picture * np.array([size[1] / cells[1], size[0] / cells[0], 1.0])


# ---------------------------------------------------------------------------------------------------------------------
# what comes of it


def _results(scene: Scene, above: float) -> list[dict[str, Any]]:
    """The persons of a frame in COCO's result format; a person's score is its box's times that of its keypoints."""
    frame, where = scene.frame, scene.where
    place = {"file_name": frame.path.name, **({} if frame.number is None else {"frame": frame.number})}
    return [
        {
            "image_id": where.picture,
            "category_id": 1,
            "keypoints": found.flatten().tolist(),
            "score": float(score),
            # not "bbox": pycocotools would take a person's size from it, where papers take it from the keypoints
            "box": box.tolist(),
            **place,
        }
        for found, score, box in zip(
            scene.found, where.scores * person_scores(scene.found, above), where.boxes, strict=True
        )
    ]


class _Drawings:
    """Writes the drawings of frames: a JPEG of each picture, a video of each video.

    Raises:
        UserError: a drawing would overwrite what it is drawn from.
    """

    def __init__(self, out: Path, files: Sequence[Path], points: KeypointSet, above: float, heatmaps: bool) -> None:
        self._points, self._above = points, above
        self._folders = [out / name for name in ("skeletons", "heatmaps")[: 1 + heatmaps]]
        stems = unique_stems(files)
        self._names = {path: stem + (".mp4" if is_video(path) else ".jpg") for path, stem in stems.items()}
        self._videos: list[VideoWriter] = []  # those under way, one in each folder
        originals = {file.resolve() for file in files}
        for target in (folder / name for folder in self._folders for name in self._names.values()):
            if target.resolve() in originals:
                raise UserError(f"{target}: a drawing would overwrite this picture; say another folder with --out")

    def __enter__(self) -> _Drawings:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end_videos()

    def add(self, scene: Scene) -> None:
        """Draw a frame, and what was found in it; the frames of a video follow each other."""
        frame = scene.frame
        drawn = [frame.image.copy() for _ in self._folders]
        for points in scene.found:
            draw_skeleton(drawn[0], points, self._points, self._above)
        if scene.heat:
            draw_heat(drawn[1], scene.heat, self._points)
        targets = [folder / self._names[frame.path] for folder in self._folders]
        if frame.number is None:
            for target, image in zip(targets, drawn, strict=True):
                _write_jpeg(target, image)
            return
        if frame.number == 1:
            self._end_videos()
            self._videos = [VideoWriter(target, frame_rate(frame.path), frame.image.shape[:2]) for target in targets]
        for video, image in zip(self._videos, drawn, strict=True):
            video.write(image)

    def _end_videos(self) -> None:
        for video in self._videos:
            video.close()
        self._videos = []


def _write_jpeg(path: Path, image: np.ndarray) -> None:
    pixels = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    write_atomically(path, cv2.imencode(".jpg", pixels, (cv2.IMWRITE_JPEG_QUALITY, QUALITY))[1].tobytes())
