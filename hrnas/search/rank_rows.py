"""What a rank check measured, row by row: its own file in the run folder, or a recorded table of trainings."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hrnas.reading import UserError, write_atomically
from hrnas.space.genome import Genome
from hrnas.space.search_space import SearchSpace

TRAINED = "proxy"  # the measure that trains; its budget is in epochs


class Row(NamedTuple):
    """One architecture measured in one way."""

    key: str
    genome: Genome
    measure: str  # "macs", "synflow", "inherited", "proxy"
    budget: int  # epochs of training; 0 for what does not train
    seed: int
    value: float  # higher is better; costs as they are
    ap: float | None
    seconds: float  # from an untrained network on
    of: str  # what else decides the value: recipe, data and input, or the supernet


class Table(NamedTuple):
    """A recorded table: rows of trainings and costs, and how many epochs its trainings last."""

    name: str
    rows: tuple[Row, ...]
    epochs: int


def read_rows(path: Path) -> list[Row]:
    """The rows of a rank check so far; none where there is no file.

    Raises:
        UserError: the file is not one that `write_rows` wrote.
    """
    if not path.exists():
        return []
    return _read(path, Row._fields, _row)


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write all rows, or leave the old file: whoever kills this loses at most the last measurement."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Row._fields)
    for row in rows:
        plain = row._replace(genome=json.dumps(row.genome), ap="" if row.ap is None else row.ap)  # type: ignore[arg-type]
        writer.writerow(plain)
    write_atomically(path, text.getvalue())


def read_table(path: Path, space: SearchSpace, budgets: Callable[[int], Sequence[int]]) -> Table:
    """Read architectures and their trainings from a recorded table: one line for each of them, each seed and epoch.

    Args:
        budgets: which epochs of a training that long are taken; the last one always is.

    Raises:
        UserError: there is no such table, it is not as it must be, or its architectures lie in another space.
    """
    columns = ("key", "genome", "seed", "epoch", "score", "ap", "params", "macs", "seconds")
    if not path.is_file():
        raise UserError(f"{path}: there is no such table")
    lines = _read(path, columns, _line)
    if not lines:
        raise UserError(f"{path}: the table is empty")
    genomes = {line["key"]: line["genome"] for line in lines}
    for key, genome in genomes.items():
        _check_member(path, space, key, genome)
    last = max(line["epoch"] for line in lines)
    wanted = {*budgets(last), last}
    of = path.name
    rows = [
        Row(key, line["genome"], TRAINED, line["epoch"], line["seed"], line["score"], line["ap"], line["seconds"], of)
        for line in lines
        if line["epoch"] in wanted
        for key in (line["key"],)
    ]
    costs = {line["key"]: (line["params"], line["macs"]) for line in lines}
    for key, both in costs.items():
        rows += [
            Row(key, genomes[key], name, 0, 0, value, None, 0.0, of)
            for name, value in zip(("params", "macs"), both, strict=True)
        ]
    return Table(path.name, tuple(rows), last)


def _check_member(path: Path, space: SearchSpace, key: str, genome: Genome) -> None:
    try:
        found = space.decode(genome).key
    except (UserError, IndexError) as error:
        raise UserError(f"{path}: {key} does not lie in the space {space.name}: {error}") from None
    if found != key:
        raise UserError(
            f"{path}: the table is not of the space {space.name} as it is now: its genome {list(genome)} is {key}, "
            f"here {found}; name the study card whose space it was recorded with"
        )


def _read(path: Path, columns: Sequence[str], read: Callable[[Mapping[str, str]], Any]) -> list[Any]:
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = [name for name in columns if name not in (reader.fieldnames or ())]
        if missing:
            raise UserError(f"{path}: expected the columns {', '.join(columns)}; missing: {', '.join(missing)}")
        rows = []
        for line in reader:
            try:
                rows.append(read(line))
            except (TypeError, ValueError) as error:
                raise UserError(f"{path}: line {reader.line_num}: {error}") from None
        return rows


def _row(line: Mapping[str, str]) -> Row:
    return Row(
        key=line["key"],
        genome=_genome(line["genome"]),
        measure=line["measure"],
        budget=int(line["budget"]),
        seed=int(line["seed"]),
        value=float(line["value"]),
        ap=float(line["ap"]) if line["ap"] else None,
        seconds=float(line["seconds"]),
        of=line["of"],
    )


def _line(line: Mapping[str, str]) -> dict[str, Any]:
    whole = {name: int(line[name]) for name in ("seed", "epoch", "params", "macs")}
    plain = {name: float(line[name]) for name in ("score", "ap", "seconds")}
    return {"key": line["key"], "genome": _genome(line["genome"]), **whole, **plain}


def _genome(text: str) -> Genome:
    return tuple(int(gene) for gene in json.loads(text))
