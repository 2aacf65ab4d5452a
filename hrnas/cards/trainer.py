"""The trainer card: everything that turns an architecture and data into weights and a score."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from hrnas.reading import Number, Options, Size, UserError, read_yaml, validate
from hrnas.shelf import find_card

Share = Annotated[Number, Field(ge=0, le=1)]
Positive = Annotated[Number, Field(gt=0)]
NotNegative = Annotated[Number, Field(ge=0)]


class DrawnData(Options):
    """People that hrnas draws itself: nothing to download. Counts are persons."""

    kind: Literal["drawn"]
    train: int = Field(3000, ge=1)
    holdout: int = Field(400, ge=1)
    val: int = Field(400, ge=1)
    seed: int = Field(0, ge=0)

    @property
    def label(self) -> str:
        """What a score says of its data."""
        return f"drawn (seed {self.seed}, {self.train} + {self.holdout} persons)"


def _lies_below_the_root(path: str) -> str:
    if os.path.isabs(path) or ".." in Path(path).parts:
        raise ValueError("this must lie below data.root; give a root that holds everything")
    return path


_PREFIX = "person_keypoints_"  # of COCO's annotation files
Below = Annotated[str, AfterValidator(_lies_below_the_root)]  # a path below a data's root


class Part(Options):
    """A part of a data set: a file in COCO's keypoint format, and the folder that its file names begin in."""

    annotations: Below
    pictures: Below

    @classmethod
    def named(cls, name: str) -> Part:
        """As COCO names them."""
        return cls(annotations=f"annotations/{_PREFIX}{name}.json", pictures=name)

    @classmethod
    def all_in(cls, root: Path) -> dict[str, Part]:
        """The parts of a folder that are named as COCO's."""
        files = sorted((root / "annotations").glob(f"{_PREFIX}*.json"))
        return {name: cls.named(name) for name in (file.stem.removeprefix(_PREFIX) for file in files)}

    @model_validator(mode="before")
    @classmethod
    def _read_name(cls, value: Any) -> Any:
        return cls.named(value).model_dump() if isinstance(value, str) else value


class Boxes(Options):
    """Where the validation people are looked for: in the `ground truth` boxes, or in those of a detector.

    A detector's `file` lists boxes as COCO's result format has them; those of a lower score than `threshold` are left
    out. Of several detections of one person the best is kept, by OKS, in the `hard` or the `soft` way.
    """

    file: Below | None = None
    threshold: Share = 0.0
    suppression: Literal["hard", "soft"] = "hard"

    @model_validator(mode="before")
    @classmethod
    def _read_words(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {} if value == "ground truth" else {"file": value}
        return value

    @property
    def label(self) -> str:
        """What a score says of its boxes."""
        if self.file is None:
            return "ground truth"
        least = f", from a score of {self.threshold:g}" if self.threshold else ""
        soft = ", softly suppressed" if self.suppression == "soft" else ""
        return f"{Path(self.file).name}{least}{soft}"


class CocoData(Options):
    """Pictures and annotations in COCO's keypoint format, with any keypoints; as they stand, COCO 2017.

    `root` may hold environment variables, and everything else lies below it. `train` and `val` are names, as COCO's
    own `train2017` (`annotations/person_keypoints_train2017.json`, `train2017/`), or say `annotations: FILE, pictures:
    DIR`. `keypoints` is a keypoint card that says what the annotations do not. `name` is what scores call the data.

    A part of the training *pictures* (`holdout`) is kept for the search's scores, so that the validation set is only
    ever reported. `drawn` persons may be added to the training part. `boxes` concern the validation set alone.
    """

    kind: Literal["coco"]
    name: str = "coco"
    root: str = "$HRNAS_DATA/coco"
    train: Part = Part.named("train2017")
    val: Part = Part.named("val2017")
    keypoints: Below | None = None
    boxes: Boxes = Boxes()
    holdout: Annotated[Share, Field(lt=1)] = 0.25
    persons: int | None = Field(None, ge=0)
    drawn: int = Field(0, ge=0)
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _somebody_is_learnt_from(self) -> CocoData:
        if self.persons == 0 and self.drawn == 0:
            raise ValueError(
                "persons: 0 takes nobody of the training pictures; give drawn people too, as in drawn: 3000"
            )
        return self

    @model_validator(mode="after")
    def _only_coco_is_called_so(self) -> CocoData:
        coco = (Part.named("train2017"), Part.named("val2017"), None)
        if self.name == "coco" and (self.train, self.val, self.keypoints) != coco:
            raise ValueError(
                "name: coco is COCO 2017 with its own keypoints; call these data otherwise, as in name: lsp"
            )
        return self

    @property
    def label(self) -> str:
        """What a score says of its data."""
        most = "" if self.persons is None else f", at most {self.persons} persons"
        drawn = f" + {self.drawn} drawn persons" if self.drawn else ""
        boxes = "" if self.boxes.file is None else f", boxes of {self.boxes.label}"
        return f"{self.name} (hold-out {self.holdout:g} of the training pictures, seed {self.seed}{most}{drawn}{boxes})"


class MpiiData(Options):
    """MPII's pictures in HRNet's layout: `annot/train.json`, `annot/valid.json`, `images/`; to train on, not to search.

    `root` may hold environment variables.
    """

    kind: Literal["mpii"]
    root: str = "$HRNAS_DATA/mpii"

    @property
    def label(self) -> str:
        """What a score says of its data."""
        return "mpii (train and valid as HRNet splits them)"


Data = Annotated[DrawnData | CocoData | MpiiData, Field(discriminator="kind")]


def find_root(root: str) -> Path:
    """A data's root with its environment variables filled in.

    Raises:
        UserError: a variable is not set, or the folder is not there.
    """
    filled = os.path.expanduser(os.path.expandvars(root))
    if "$" in filled:
        raise UserError(f"data.root: '{root}': the environment variable is not set; set it or give --data DIR")
    if not Path(filled).is_dir():
        raise UserError(f"data.root: there is no folder {filled}; set HRNAS_DATA, edit the card or give --data DIR")
    return Path(filled)


class Augmentation(Options):
    """HRNet's augmentation; every number 0 means none.

    Scale and rotation are normal, clipped: `1 + scale * n` within `1 +- scale`, `rotation * n` within twice
    `rotation` degrees. `cutout` is how often a rectangle of 20 to 40 % of each side becomes black.
    """

    flip: Share = 0.5
    scale: Annotated[Share, Field(lt=1)] = 0.25
    rotation: Annotated[Number, Field(ge=0, le=90)] = 30.0
    rotation_probability: Share = 0.6
    half_body: Share = 0.3
    half_body_keypoints: int = Field(8, ge=1)
    photometric: Annotated[Share, Field(lt=1)] = 0.0
    cutout: Share = 0.0


class Codec(Options):
    """How keypoints become targets: a `gaussian` of `sigma` heatmap pixels at the rounded place (MSRA), at the exact
    place (`dark`), with lengths counted between pixel centres (`udp`), or two distributions (`simcc`), of `split` bins
    for each input pixel, where `sigma` counts bins.

    `by_input` is a 128th of the input's height: HRNet's 2 at 256x192 and 256x256, and its 3 at 384x288.
    """

    kind: Literal["gaussian", "dark", "udp", "simcc"] = "gaussian"
    sigma: Positive | Literal["by_input"] = 2.0
    split: int = Field(2, ge=1, le=4)

    def sigma_at(self, input: tuple[int, int]) -> float:
        """The width of the Gaussian in heatmap pixels at an input of (height, width)."""
        return input[0] / 128 if self.sigma == "by_input" else self.sigma


class Loss(Options):
    """`mse`: HRNet's squared error. `cross_entropy`: over the heatmap as a distribution; for short budgets, and over
    x and y as two for the codec `simcc`."""

    kind: Literal["mse", "cross_entropy"] = "mse"


class Optimiser(Options):
    """The rule that moves the weights; `rate` is the peak rate, for the card's batch size."""

    kind: Literal["adam", "adamw", "sgd"] = "adam"
    rate: Positive = 1e-3
    weight_decay: NotNegative = 0.0
    momentum: Share = 0.9


class Schedule(Options):
    """Rate over time: linear warm-up, then `step` (times `gamma` at each milestone, in epochs), `cosine` to 0 or
    `constant`.

    On a ladder each rung restarts warm-up and cosine on the epochs that it adds; only `constant` goes on as if training
    had never paused, so that a rung's score is what a training of so many epochs gets.
    """

    kind: Literal["step", "cosine", "constant"] = "step"
    warmup_steps: int = Field(0, ge=0)
    milestones: tuple[int, ...] = ()
    gamma: Annotated[Share, Field(gt=0)] = 0.1

    @model_validator(mode="after")
    def _milestones_belong_to_step(self) -> Schedule:
        if self.milestones and self.kind != "step":
            raise ValueError(f"milestones belong to kind step, not to {self.kind}")
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError("milestones must grow")
        return self


class Recipe(Options):
    """A trainer card.

    `start` is how fresh weights are drawn: tiny, as the `paper`s' code does, or `scaled` by their inputs, which suits
    short budgets. `ema` is the decay of a moving average of the weights, `amp` whether the network computes in bf16 or
    fp16 (only where the device can), `clip` the largest norm of a gradient, `cache` whether persons' surroundings are
    decoded once at a reduced size (proxies) or warped from the original picture each time. `batch_size` counts the
    persons of one step on all GPUs together; with `sync_norm` batch norms see them all, else each GPU its share.
    """

    name: str
    about: str = ""
    data: Data
    input: Size
    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    augmentation: Augmentation = Augmentation()
    codec: Codec = Codec()
    loss: Loss = Loss()
    optimiser: Optimiser = Optimiser()
    schedule: Schedule = Schedule()
    ema: Annotated[Share, Field(lt=1)] | None = None
    start: Literal["paper", "scaled"] = "paper"
    amp: Literal["none", "bf16", "fp16"] = "none"
    sync_norm: bool = False
    clip: Positive | None = None
    flip_test: bool = True
    evaluate_every: int = Field(10, ge=1)
    cache: bool = False

    @property
    def fingerprint(self) -> str:
        """Ten hex digits that change with whatever changes a score and has no place of its own in an identity."""
        tree = self.model_dump(mode="json", exclude={"name", "about", "epochs", "data", "input", "evaluate_every"})
        tree["codec"]["sigma"] = self.codec.sigma_at(self.input)  # the same targets, however the card says them
        if self.codec.kind != "simcc":
            del tree["codec"]["split"]
        if not self.augmentation.cutout:
            del tree["augmentation"]["cutout"]
        if not self.sync_norm:
            del tree["sync_norm"]
        return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()[:10]

    @property
    def boxes(self) -> Boxes:
        """Where the validation people are looked for."""
        return self.data.boxes if isinstance(self.data, CocoData) else Boxes()

    @property
    def pixels(self) -> str:
        """What crops are warped from."""
        return "cached regions" if self.cache else "original pictures"

    def with_changes(self, **changes: Any) -> Recipe:
        """The same recipe with some fields replaced (those given and not None)."""
        return self.model_copy(update={key: value for key, value in changes.items() if value is not None})

    def with_batch_size(self, count: int | None) -> Recipe:
        """The same recipe for batches of another size: the rate grows with it, as in Goyal et al., arXiv 1706.02677."""
        if count is None:
            return self
        rate = self.optimiser.rate * count / self.batch_size
        return self.with_changes(batch_size=count, optimiser=self.optimiser.model_copy(update={"rate": rate}))

    def at(self, root: Path | None) -> Recipe:
        """The same recipe on the pictures in `root`, in its data's own layout; drawn data give way to COCO's."""
        if root is None:
            return self
        data = CocoData(kind="coco") if isinstance(self.data, DrawnData) else self.data
        # a whole path, so that a study finds its pictures from wherever it is gone on with
        return self.with_changes(data=data.model_copy(update={"root": str(root.absolute())}))


def load_recipe(name: str) -> Recipe:
    """Read a trainer card by path or name.

    Raises:
        UserError: no such card, or mistakes in it (all at once).
    """
    path = find_card("trainers", name)
    return validate(Recipe, {"name": path.stem, **read_yaml(path)}, str(path))
