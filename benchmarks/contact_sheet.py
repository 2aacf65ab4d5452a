"""Put 24 pictures of drawn people on one sheet.

python benchmarks/contact_sheet.py docs/drawn_people.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from hrnas.pose.drawn import draw_people

COLUMNS, ROWS, TILE, GAP = 6, 4, 150, 4  # pixels


def fit(image: np.ndarray) -> np.ndarray:
    """A picture in the middle of a white square tile."""
    height, width = image.shape[:2]
    scale = TILE / max(height, width)
    small = cv2.resize(image, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
    tile = np.full((TILE, TILE, 3), 255, np.uint8)
    top, left = (TILE - small.shape[0]) // 2, (TILE - small.shape[1]) // 2
    tile[top : top + small.shape[0], left : left + small.shape[1]] = small
    return tile


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    people = draw_people(40 * COLUMNS, arguments.seed)
    step = TILE + GAP
    sheet = np.full((ROWS * step - GAP, COLUMNS * step - GAP, 3), 255, np.uint8)
    for number in range(COLUMNS * ROWS):
        row, column = divmod(number, COLUMNS)
        sheet[row * step :, column * step :][:TILE, :TILE] = fit(people.load_picture(number))
    sheet = sheet // 12 * 12 + 3  # fewer levels: the file stays small
    cv2.imwrite(str(arguments.output), sheet[:, :, ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])
    print(f"{arguments.output}: {arguments.output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
