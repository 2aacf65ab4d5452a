"""The words on data sets: data check, data subset, data draw."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

from hrnas.cli.arguments import JSON, QUIET, Argument, as_count, as_seed, word
from hrnas.cli.printing import to_json

_FOLDER = "a folder in COCO's layout, or a trainer card with data in COCO's format"


@word(Argument("DATA", "", f"{_FOLDER}, or one in HRNet's layout of MPII"), QUIET, JSON)
def data_check(said: Namespace) -> int:
    """Look a data set over: what is in it, and what is broken.

    Opens every picture with labelled persons and counts: keypoints per person, sizes of boxes, how often each keypoint
    is labelled. Names what cannot be learnt from, what is there twice, and what lies outside its picture; the exit
    status is 1 when there is something to mend.
    """
    from hrnas.pose.check import check_data, describe_check
    from hrnas.pose.folders import open_parts
    from hrnas.progress import CountProgress

    parts = open_parts(said.data)
    pictures = sum(len(set(part.people.picture.tolist())) for part in parts.values())
    with CountProgress("pictures", pictures, sys.stderr, quiet=said.quiet) as progress:
        document = check_data(parts, progress)
    print(to_json(document) if said.json else describe_check(document))
    return 1 if document["mend"] else 0


@word(
    Argument("DATA", "", _FOLDER),
    Argument("--persons", "N", "at most so many of each part", as_count, required=True),
    Argument("--out", "DIR", "the new folder", Path, required=True),
    Argument("--seed", "N", "of the choice (default: 0)", as_seed, 0),
    Argument("--copy", "", "copy the pictures, so that the folder needs no other"),
    JSON,
)
def data_subset(said: Namespace) -> int:
    """Write a small data set that is like a large one, for proxies.

    Takes whole pictures, so that the numbers of labelled keypoints and the sizes of boxes are spread as in all of
    them, the same for the same seed. The annotations are written with the names they have, and all that they say of
    these pictures; the pictures stay where they are, and a link leads to them.
    """
    from hrnas.pose.folders import find_folder
    from hrnas.pose.writing import write_subset
    from hrnas.reading import new_folder

    source = find_folder(said.data)
    with new_folder(said.out) as folder:
        written = write_subset(source, folder, said.persons, said.seed, copy=said.copy)
    return _print_parts(written, said)


@word(
    Argument("--persons", "N", "so many to learn from", as_count, required=True),
    Argument("--out", "DIR", "the new folder", Path, required=True),
    Argument("--seed", "N", "of the dice (default: 0)", as_seed, 0),
    JSON,
)
def data_draw(said: Namespace) -> int:
    """Write people that hrnas draws as a data set in COCO's layout.

    They are those that a card learns from with `data: {kind: drawn}` and this seed, and a quarter as many to validate
    on. A trainer card on COCO reads them with --data DIR.
    """
    from hrnas.pose.writing import write_drawn
    from hrnas.reading import new_folder

    with new_folder(said.out) as folder:
        written = write_drawn(folder, said.persons, said.seed)
    return _print_parts(written, said)


def _print_parts(written: dict[str, dict[str, int]], said: Namespace) -> int:
    """Print how much was written of each part of a data set, and where it lies."""
    if said.json:
        print(to_json({"out": str(said.out), "parts": [{"part": name, **counts} for name, counts in written.items()]}))
        return 0
    for name, counts in written.items():
        print(f"{name}: {counts['persons']} persons in {counts['pictures']} pictures")
    print(said.out)
    return 0
