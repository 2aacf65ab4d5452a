"""Networks without weights, made quickly: each distinct piece is built once, and its tree of layers copied.

A step of a supernet runs an architecture that was perhaps never seen before. Building its layers one by one takes as
long as the step; but a row or a fusion of certain options and widths stands in it many times, and in others too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache, wraps
from typing import Any, TypeVar, cast

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

Module = TypeVar("Module", bound=nn.Module)
Build = TypeVar("Build", bound=Callable[..., Any])

_bare: ContextVar[bool] = ContextVar("bare", default=False)


class _Unset(TorchFunctionMode):
    """Tensors are made on the meta device, and nobody draws numbers for them."""

    makers = (torch.empty, torch.zeros, torch.ones, torch.tensor)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in self.makers:
            return func(*args, **{**(kwargs or {}), "device": "meta"})
        if getattr(func, "__module__", "") == "torch.nn.init":
            return kwargs["tensor"] if kwargs and "tensor" in kwargs else args[0]
        return func(*args, **(kwargs or {}))


@contextmanager
def without_weights() -> Iterator[None]:
    """Inside, pieces are made of layers whose parameters and statistics are on the meta device.

    Pieces share the parameters of their templates, which are there to be replaced.
    """
    token = _bare.set(True)
    try:
        with _Unset():
            yield
    finally:
        _bare.reset(token)


def is_without_weights() -> bool:
    """Whether networks are being made without weights."""
    return _bare.get()


def piece(build: Build) -> Build:
    """Let a function that builds a piece from hashable arguments copy its structure where weights do not matter."""

    @wraps(build)
    def built(*arguments: Any, **named: Any) -> Any:
        if not _bare.get():
            return build(*arguments, **named)
        template = _template(build, arguments, tuple(named.items()))
        return None if template is None else copy_structure(template)

    return cast(Build, built)


@lru_cache(maxsize=4096)
def _template(
    build: Callable[..., nn.Module | None], arguments: tuple[Any, ...], named: tuple[tuple[str, Any], ...]
) -> nn.Module | None:
    return build(*arguments, **dict(named))


def copy_structure(module: Module) -> Module:
    """The same tree of layers, with the same parameters and statistics in it."""
    copied = object.__new__(type(module))
    copied.__dict__.update(module.__dict__)
    copied._parameters = dict(module._parameters)
    copied._buffers = dict(module._buffers)
    copied._modules = {
        name: None if child is None else copy_structure(child) for name, child in module._modules.items()
    }
    return copied
