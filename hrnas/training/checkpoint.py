"""A training run on disk: tensors and plain values only, written whole or not at all."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch

from hrnas.reading import UserError, write_atomically

FORMAT = 1


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write tensors, numbers, strings, lists and dicts; a crash leaves the file that was there before.

    Raises:
        OSError: the disk is full, or cannot be written to; it names the file and says what to do.
    """
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **state}, buffer)
    try:
        write_atomically(path, buffer.getvalue())
    except OSError as error:
        need = f"{buffer.tell() / 2**20:,.0f} MiB"
        advice = f"the checkpoint from before is whole; make room for {need} and say the same again"
        raise OSError(error.errno, f"{error.strerror}: {advice}", str(path)) from error


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote, into main memory. Never runs code from the file (`weights_only`).

    Raises:
        UserError: the file is missing, is not a checkpoint, or of a newer format.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen types for a file that is not a checkpoint
        raise UserError(f"{path}: no checkpoint can be read from it ({type(error).__name__})") from None
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise UserError(f"{path}: not a checkpoint of format {FORMAT}; it was written by another program or version")
    state.pop("format")
    return state
