"""How a network looks at pictures: what a recipe says of it, and the card of a network that came without a recipe."""

from __future__ import annotations

from typing import Literal, Protocol

from hrnas.cards.trainer import Codec, Loss
from hrnas.reading import Options, Size


class Reading(Protocol):
    """What is asked of a recipe when a trained network looks at pictures."""

    @property
    def input(self) -> tuple[int, int]: ...
    @property
    def codec(self) -> Codec: ...
    @property
    def loss(self) -> Loss: ...
    @property
    def amp(self) -> str: ...
    @property
    def flip_test(self) -> bool: ...


class ReadingCard(Options):
    """The same of a network that others trained; by default as HRNet's code looks at pictures."""

    input: Size
    codec: Codec = Codec(sigma="by_input")
    loss: Loss = Loss()
    amp: Literal["none", "bf16", "fp16"] = "none"
    flip_test: bool = True
