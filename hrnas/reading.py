"""Read what users write: YAML, quantities, sizes; and say every mistake at once.

Everything a user can get wrong ends in a `UserError`: the command line prints its text and leaves with status 2,
without a traceback. This file is the bottom of the house: it imports nothing of ours.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, ValidationError

__all__ = [
    "Count",
    "Number",
    "Options",
    "Size",
    "UserError",
    "format_size",
    "new_folder",
    "read_count",
    "read_json",
    "read_number",
    "read_size",
    "read_yaml",
    "validate",
    "write_atomically",
    "write_yaml",
]


class UserError(ValueError):
    """A mistake the user can mend; its text says what came, what was expected and what to do."""


class Options(BaseModel):
    """Base of everything read from a card: frozen, and no key is silently ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)


# ---------------------------------------------------------------------------------------------------------------------
# quantities

_SUFFIXES = {"": 1, "K": 10**3, "k": 10**3, "M": 10**6, "G": 10**9}
_QUANTITY = re.compile(r"^\s*([+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)\s*([kKMG]?)\s*$")


def read_number(value: object) -> float:
    """Read `0.1`, `1e-3`, `"300M"` or `"2G"`; decimal suffixes K, M, G."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError("expected a number such as 300, 1e-3, 300M or 2G")
    if isinstance(value, str):
        match = _QUANTITY.match(value)
        if match is None:
            raise ValueError("expected a number such as 300, 1e-3, 300M or 2G")
        value = float(match[1]) * _SUFFIXES[match[2]]
    if not math.isfinite(value):
        raise ValueError("expected a finite number")
    return float(value)


def read_count(value: object) -> int:
    """Read a whole number, with the same suffixes: `"300M"` is 300,000,000."""
    number = read_number(value)
    if abs(number - round(number)) > 1e-6:
        raise ValueError("expected a whole number such as 24 or 300M")
    return round(number)


def read_size(value: object) -> tuple[int, int]:
    """Read `"256x192"` (height x width, in pixels); both sides must be divisible by 32."""
    if isinstance(value, (list, tuple)) and len(value) == 2 and all(type(side) is int for side in value):
        height, width = value
    else:
        match = re.match(r"^\s*(\d+)\s*[xX×]\s*(\d+)\s*$", value) if isinstance(value, str) else None
        if match is None:
            raise ValueError("expected HEIGHTxWIDTH such as 256x192")
        height, width = int(match[1]), int(match[2])
    if height < 32 or width < 32 or height % 32 or width % 32:
        up = tuple(max(32, math.ceil(side / 32) * 32) for side in (height, width))
        raise ValueError(f"both sides must be divisible by 32: {height}x{width} is not, {up[0]}x{up[1]} is")
    return height, width


def format_size(size: tuple[int, int]) -> str:
    """Write a size as it is read: `(256, 192)` -> `"256x192"`."""
    return f"{size[0]}x{size[1]}"


Number = Annotated[float, BeforeValidator(read_number)]
Count = Annotated[int, BeforeValidator(read_count)]
Size = Annotated[tuple[int, int], BeforeValidator(read_size), PlainSerializer(format_size, return_type=str)]


# ---------------------------------------------------------------------------------------------------------------------
# YAML


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, but `1e-3` is a number and a key that stands twice is a mistake."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\d+(?:\.\d*)?|\.\d+)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Hashable, Any]:
    seen: dict[Hashable, int] = {}
    for key_node, _ in node.value:
        merge = key_node.tag == "tag:yaml.org,2002:merge"  # `<<: *other`: what the mapping says itself comes first
        key = "<<" if merge else loader.construct_object(key_node, deep=True)
        if not isinstance(key, Hashable):
            raise yaml.constructor.ConstructorError(None, None, "a key must be a word", key_node.start_mark)
        line = key_node.start_mark.line + 1
        if key in seen:
            raise UserError(f"{key}: the key stands twice, in line {seen[key]} and in line {line}; keep one of them")
        seen[key] = line
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_yaml(path: Path | str) -> dict[str, Any]:
    """Read one YAML mapping from a file.

    Raises:
        UserError: the file is missing, is not YAML, repeats a key, or does not hold a mapping.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UserError(f"{path}: cannot be read: {reason}") from None
    try:
        data = yaml.load(text, Loader=_Loader)  # noqa: S506  a SafeLoader
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}, column {mark.column + 1}:" if mark else ""
        raise UserError(f"{path}:{where} not YAML: {getattr(error, 'problem', None) or error}") from None
    if not isinstance(data, dict):
        raise UserError(f"{path}: expected a mapping of keys to values, got {type(data).__name__}")
    return data


def write_yaml(path: Path | str, data: object) -> None:
    """Write a card as YAML, atomically; keys keep their order."""
    write_atomically(path, yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=120))


def read_json(path: Path | str) -> Any:
    """Read a JSON document of others from a file.

    Raises:
        UserError: the file is missing, or is not JSON.
    """
    try:
        return json.loads(Path(path).read_bytes())
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:  # broken JSON or not text
        raise UserError(f"{path}: not JSON: {error}") from None


def write_atomically(path: Path | str, content: str | bytes) -> None:
    """Write a whole file or nothing: a reader never sees half of it, and a crash leaves the old one."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = content.encode() if isinstance(content, str) else content
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to write into, which becomes `path` when all went well, and vanishes when not.

    Raises:
        UserError: `path` is there already, and is no empty folder.
    """
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise UserError(f"{path}: there is something already; say another folder, or remove it")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        yield temporary
        temporary.chmod(0o755)
        os.replace(temporary, path)
    except BaseException:
        shutil.rmtree(temporary)
        raise


# ---------------------------------------------------------------------------------------------------------------------
# validation

Model = TypeVar("Model", bound=BaseModel)


def validate(model: type[Model], data: object, source: str) -> Model:
    """Read `data` (as YAML gives it) into a model, strictly: `true` is not 1 and `"3"` is not 3.

    Args:
        source: where the data came from (a file's path); every line of the error begins with it.

    Raises:
        UserError: one line for each mistake, all of them at once: `source: key: what is wrong (got what)`.
    """
    try:
        # JSON mode lets strict reading take a list for a tuple, which YAML cannot tell apart
        return model.model_validate_json(json.dumps(data, default=str), strict=True)
    except ValidationError as error:
        errors = [e for e in error.errors() if not _follows(e, error)]
        lines = [f"{source}: {_path(e['loc'], data)}{_message(e)}{_got(e)}" for e in errors]
        raise UserError("\n".join(dict.fromkeys(lines))) from None
    except TypeError as error:  # a key that JSON cannot hold
        raise UserError(f"{source}: {error}") from None


def _follows(error: Any, errors: ValidationError) -> bool:
    """Whether a list is only called too short because of items in it that are wrong."""
    place = error["loc"]
    return error["type"] == "too_short" and any(
        len(other["loc"]) > len(place) and other["loc"][: len(place)] == place for other in errors.errors()
    )


def _path(location: tuple[str | int, ...], data: object) -> str:
    """`('stages', 1, 'row', 'shuffle', 'kernel')` -> `stages[1].row.kernel: `; a union's tag is no key."""
    path, here = "", data
    for position, part in enumerate(location):
        last = position == len(location) - 1
        if isinstance(here, dict) and part not in here and part == here.get("kind"):
            continue
        if isinstance(part, int):
            path += f"[{part}]"
        elif not last or isinstance(here, dict):
            path += f".{part}" if path else part
        if isinstance(here, dict):
            here = here.get(part)
        elif isinstance(here, list) and isinstance(part, int) and part < len(here):
            here = here[part]
        else:
            here = None
    return f"{path}: " if path else ""


def _message(error: Any) -> str:
    context = error.get("ctx", {})
    if error["type"] == "extra_forbidden":
        return "there is no such key"
    if error["type"] == "missing":
        return "this key is missing"
    if error["type"] == "union_tag_invalid":
        return f"there is no kind '{context['tag']}'; there are: {context['expected_tags']}".replace("'", "")
    if error["type"] == "union_tag_not_found":
        return "the key 'kind' is missing"
    if error["type"] in ("too_short", "too_long"):  # "Tuple should have at least 2 items after validation, not 0"
        return "expected " + str(error["msg"]).partition(" should have ")[2].partition(" after ")[0]
    if error["type"] == "value_error":
        return str(context.get("error", error["msg"]))
    return str(error["msg"]).replace("Input should be", "expected")


def _got(error: Any) -> str:
    if error["type"] in ("missing", "union_tag_invalid") or isinstance(error["input"], (dict, BaseModel)):
        return ""
    return f" (got {json.dumps(error['input'], default=str, ensure_ascii=False)})"
