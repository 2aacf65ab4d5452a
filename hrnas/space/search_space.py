"""A search space: a card of named choices, read into genes; every genome decodes to an architecture.

A card gives a `base` (a published point or an architecture's tree) and `choices`, each a path into that tree:

    stem.kind: [bottleneck, shuffle]                       a list: categories
    widths[0]: {from: 16, to: 64, step: 8}                 an ordered choice
    stages[*].modules: {ordered: [1, 2, 4]}                [*]: each stage decides for itself
    stages[all].row.kind: [shuffle, weighted_shuffle]      [all]: one decision for all stages
    stages[*].blocks: {from: 2, to: 4, when: {stages[*].row.kind: shuffle}}

Where `widths[0]` is chosen, the other branches double unless they are chosen too. A choice about an option that the
chosen kind does not have is inactive; `when` adds conditions of one's own, on what the other choices decide. Inactive
genes are 0 in a canonical genome and never change the architecture's key.
"""

from __future__ import annotations

import math
import re
import types
import typing
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import BaseModel, Field, ValidationError

from hrnas.reading import Options, UserError, read_yaml, validate
from hrnas.shelf import find_card
from hrnas.space.architecture import Architecture, repair
from hrnas.space.genome import Gene, Genome
from hrnas.space.published import load_architecture

Tree = dict[str, Any]


class SpaceCard(Options):
    """A card of the shelf `search_spaces/`."""

    name: str
    about: str = ""
    base: str | dict[str, Any]
    choices: dict[str, Any] = Field(min_length=1)
    must_contain: tuple[str, ...] = ()


class _Group(NamedTuple):
    """Genes that decide about each other: all of them, the deciding ones, and each way to set these.

    A setting is a genome with the deciding genes set, and the number of canonical genomes of the group that begin so.
    """

    members: list[int]
    switches: list[int]
    settings: list[tuple[Genome, int]]


class SearchSpace:
    """The architectures that a card allows."""

    def __init__(self, name: str, base: Architecture, genes: tuple[Gene, ...], about: str = "") -> None:
        self.name = name
        self.about = about
        self.genes = genes
        self._base = base.model_dump(mode="json")
        self._parents = [
            {other for other in range(len(genes)) if other != index and _decides(genes[other], gene)}
            for index, gene in enumerate(genes)
        ]
        self._steps = _order(genes, self._parents)
        self._widths_chosen = {branch for gene in genes for branch in _branches(gene.path, len(base.widths))}

    @property
    def base(self) -> Tree:
        """The architecture's tree that stands wherever nothing is chosen."""
        base: Tree = _copied(self._base)
        return base

    # -- from and to genomes ------------------------------------------------------------------------------------------

    def decode(self, genome: Genome) -> Architecture:
        """The architecture a genome stands for; combinations that a rule forbids are repaired in one fixed way."""
        tree, _ = self._grow(genome)
        return Architecture.from_tree(repair(tree), source=f"space {self.name}, genome {list(genome)}")

    def canonical(self, genome: Genome) -> Genome:
        """The same architecture's genome with every inactive gene 0."""
        _, active = self._grow(genome)
        return tuple(value if on else 0 for value, on in zip(genome, active, strict=True))

    def encode(self, architecture: Architecture) -> Genome:
        """The canonical genome of an architecture.

        Raises:
            UserError: the architecture does not lie in the space; the text names the place.
        """
        tree = architecture.model_dump(mode="json")
        genome, mended = [0] * len(self.genes), []
        for index in self._steps:
            gene = self.genes[index]
            found = [_read(tree, place) for place in _places(gene.path, tree)]
            if not found or any(value is _ABSENT for value in found) or not self._holds(gene, tree):
                continue
            matches = [i for i, value in enumerate(gene.values) if all(value == f for f in found)]
            if not matches and not gene.ordered:
                raise UserError(f"space {self.name}: {gene.path}: {_short(found[0])} is none of its values")
            if not matches or gene.path.startswith("widths"):
                mended.append(index)
            genome[index] = matches[0] if matches else 0
        result = self.canonical(tuple(genome))
        if self.decode(result).key != architecture.key:
            result = self._before_mending(result, mended, tree)
        if self.decode(result).key != architecture.key:
            raise UserError(f"space {self.name}: {self._first_difference(self.decode(result), tree)}")
        return result

    def _before_mending(self, genome: Genome, mended: list[int], tree: Tree) -> Genome:
        """The genome with those numbers that the rules turn into the tree's: no value of theirs may stand in it."""
        for index in mended:
            path = self.genes[index].path
            place = "widths" if path.startswith("widths") else path  # a width decides those after it
            for value in range(self.genes[index].size):
                other = (*genome[:index], value, *genome[index + 1 :])
                ours = self.decode(other).model_dump(mode="json")
                if all(_read(ours, where) == _read(tree, where) for where in _places(place, tree)):
                    genome = other
                    break
        return self.canonical(genome)

    def contains(self, architecture: Architecture) -> bool:
        """Whether some genome decodes to this architecture."""
        try:
            self.encode(architecture)
        except UserError:
            return False
        return True

    # -- moving about -------------------------------------------------------------------------------------------------

    def sample(self, rng: np.random.Generator) -> Genome:
        """A genome drawn uniformly, gene by gene, canonicalised."""
        return self.canonical(tuple(int(rng.integers(gene.size)) for gene in self.genes))

    def mutate(self, genome: Genome, rng: np.random.Generator, rate: float | None = None) -> Genome:
        """Change each active gene with probability `rate` (default: one over their number), at least one; canonical.

        An ordered gene moves to a near value more often than to a far one; a category is drawn anew.
        """
        _, active = self._grow(genome)
        movable = [i for i, on in enumerate(active) if on and self.genes[i].size > 1]
        if not movable:
            return self.canonical(genome)
        chosen = [i for i in movable if rng.random() < (rate if rate is not None else 1 / len(movable))]
        changed = list(genome)
        for index in chosen or [movable[int(rng.integers(len(movable)))]]:
            others = [value for value in range(self.genes[index].size) if value != genome[index]]
            weights = np.array([1 / abs(o - genome[index]) if self.genes[index].ordered else 1.0 for o in others])
            changed[index] = int(rng.choice(others, p=weights / weights.sum()))
        return self.canonical(tuple(changed))

    def neighbours(self, genome: Genome) -> list[Genome]:
        """Every canonical genome one step away: a notch on an ordered gene, any other value of a category."""
        genome = self.canonical(genome)
        _, active = self._grow(genome)
        found: dict[Genome, None] = {}
        for index, gene in enumerate(self.genes):
            if not active[index]:
                continue
            here = genome[index]
            near = [here - 1, here + 1] if gene.ordered else [v for v in range(gene.size) if v != here]
            for value in near:
                if 0 <= value < gene.size:
                    found[self.canonical((*genome[:index], value, *genome[index + 1 :]))] = None
        found.pop(genome, None)
        return list(found)

    @cached_property
    def size(self) -> int:
        """How many canonical genomes there are; `hrnas/space/census.py` says of how many architectures."""
        return math.prod(sum(weight for _, weight in group.settings) for group in self._groups)

    def sample_evenly(self, rng: np.random.Generator) -> Genome:
        """A canonical genome, each as likely as any other; `sample` prefers kinds with few options."""
        genome = [0] * len(self.genes)
        for group in self._groups:
            weights = np.array([weight for _, weight in group.settings], float)
            setting, _ = group.settings[int(rng.choice(len(weights), p=weights / weights.sum()))]
            for index in group.members:
                free = index not in group.switches
                genome[index] = int(rng.integers(self.genes[index].size)) if free else setting[index]
        return self.canonical(tuple(genome))

    def enumerate(self) -> Iterator[Genome]:
        """Every canonical genome once; for spaces small enough to be walked."""
        seen = set()
        for genome in product(*(range(gene.size) for gene in self.genes)):
            canonical = self.canonical(genome)
            if canonical not in seen:
                seen.add(canonical)
                yield canonical

    # -- the workings -------------------------------------------------------------------------------------------------

    def _grow(self, genome: Genome, only: list[int] | None = None) -> tuple[Tree, list[bool]]:
        """Write each gene's value into a copy of the base, what decides others first; say which genes were active.

        Args:
            only: write these genes and no others; they stand in the order of writing.
        """
        if len(genome) != len(self.genes):
            raise UserError(f"space {self.name}: a genome has {len(self.genes)} genes, got {len(genome)}")
        tree = _copied(self._base)
        active = [False] * len(self.genes)
        for index in self._steps if only is None else only:
            gene = self.genes[index]
            places = _places(gene.path, tree)
            if places and all(_read(tree, p) is not _ABSENT for p in places) and self._holds(gene, tree):
                active[index] = True
                for place in places:
                    _write(tree, place, _copied(gene.values[genome[index]]))
                if places[0][0] == "widths":
                    self._double(tree["widths"])
        self._double(tree["widths"])
        return tree, active

    def _double(self, widths: list[int]) -> None:
        """Give the branches that are not chosen twice the width of the one before, where the first is chosen."""
        for branch in range(1, len(widths)) if 0 in self._widths_chosen else ():
            if branch not in self._widths_chosen:
                widths[branch] = 2 * widths[branch - 1]

    def _holds(self, gene: Gene, tree: Tree) -> bool:
        return all(all(_read(tree, place) in allowed for place in _places(path, tree)) for path, allowed in gene.when)

    def first_active(self, index: int) -> Genome | None:
        """The first genome, by the genes that decide about this one, in which it is active; `None`: it never is."""
        deciders = self._deciders(index)
        return next(
            (g for g in self._settings(deciders) if self._grow(g, [*deciders, index])[1][index]),
            None,
        )

    def cover(self, base: Genome, naming: Collection[int] = ()) -> Iterator[Genome]:
        """Few canonical genomes in which every value of every category occurs, under each setting of the genes that
        decide about it; ordered genes stand as in `base`.

        Args:
            naming: ordered genes that count as categories, and decide about all genes that hang together with them.
        """
        groups = [
            [turn for index in group.members for turn in self._turns(index, group, naming)] for group in self._groups
        ]
        free = [all(self.genes[index].ordered for index in group.members) for group in self._groups]
        together = [turns for turns, alone in zip(groups, free, strict=True) if turns and not alone]
        # what hangs together with no category (a width) changes the numbers everywhere: then all others stay as in base
        yield from self._in_turn(base, together)
        for turns, alone in zip(groups, free, strict=True):
            if alone:
                yield from self._in_turn(base, [turns])

    def settings_of(self, indexes: Collection[int], base: Genome) -> Iterator[Genome]:
        """Canonical genomes with every setting of these genes and of those that decide about them, group by group; all
        other genes stand as in `base`."""
        for group in self._groups:
            wanted = {other for index in set(indexes) & set(group.members) for other in (index, *self._deciders(index))}
            order = [index for index in self._steps if index in wanted]
            for setting in self._settings(order):
                genome = (setting[index] if index in wanted else value for index, value in enumerate(base))
                yield self.canonical(tuple(genome))

    def _in_turn(self, base: Genome, turns: Sequence[Sequence[Mapping[int, int]]]) -> Iterator[Genome]:
        for number in range(max(map(len, turns), default=1)):
            genome = list(base)
            for given in turns:
                for index, value in given[number % len(given)].items() if given else ():
                    genome[index] = value
            yield self.canonical(tuple(genome))

    def _turns(self, index: int, group: _Group, naming: Collection[int]) -> Iterator[dict[int, int]]:
        """Each value of a category, with each setting of the genes that decide about it."""
        if self.genes[index].ordered and index not in naming:
            return
        deciding = set(self._deciders(index))
        for other in set(group.members) & set(naming) - {index}:
            deciding |= {other, *self._deciders(other)} - {index}
        deciders = [other for other in self._steps if other in deciding]
        for genome in self._settings(deciders):
            if self._grow(genome, [*deciders, index])[1][index]:
                here = {other: genome[other] for other in deciders}
                yield from ({**here, index: value} for value in range(self.genes[index].size))

    def _deciders(self, index: int) -> list[int]:
        """The genes that decide whether this one is active, those that decide about them, and so on."""
        above: set[int] = set()
        waiting = set(self._parents[index])
        while waiting:
            above |= waiting
            waiting = {other for gene in waiting for other in self._parents[gene]} - above
        return [other for other in self._steps if other in above]

    @cached_property
    def _groups(self) -> list[_Group]:
        """The genes, so grouped that no gene's activity depends on another group."""
        group = list(range(len(self.genes)))
        for index in range(len(self.genes)):
            for parent in self._parents[index]:
                old, new = group[index], group[parent]
                group = [new if g == old else g for g in group]
        return [self._group({i for i, g in enumerate(group) if g == name}) for name in dict.fromkeys(group)]

    def _group(self, genes: set[int]) -> _Group:
        members = [index for index in self._steps if index in genes]
        switches = [index for index in members if any(index in self._parents[other] for other in members)]
        free = [index for index in members if index not in switches]
        settings = []
        for genome in self._settings(switches):
            _, active = self._grow(genome, members)
            settings.append((genome, math.prod(self.genes[index].size for index in free if active[index])))
        return _Group(members, switches, settings)

    def _settings(self, switches: list[int]) -> Iterator[Genome]:
        """Every way to set some genes, each after its parents; those inactive, and all others, stay 0."""
        return self._set_further(switches, 0, (0,) * len(self.genes))

    def _set_further(self, switches: list[int], depth: int, genome: Genome) -> Iterator[Genome]:
        if depth == len(switches):
            yield genome
            return
        index = switches[depth]
        active = self._grow(genome, switches[: depth + 1])[1][index]
        for value in range(self.genes[index].size if active else 1):
            yield from self._set_further(switches, depth + 1, (*genome[:index], value, *genome[index + 1 :]))

    def _first_difference(self, ours: Architecture, theirs: Tree) -> str:
        mine, other = dict(_leaves(ours.model_dump(mode="json"))), dict(_leaves(theirs))
        for path in [*mine, *other]:
            if mine.get(path, _ABSENT) != other.get(path, _ABSENT):
                here = _short(mine[path]) if path in mine else "nothing"
                there = _short(other[path]) if path in other else "nothing"
                return f"{path}: the space has {here} there, the architecture {there}"
        return "the architecture does not lie in the space"


def load_space(name: str) -> SearchSpace:
    """Read a space card by path or name.

    Raises:
        UserError: no such card, or mistakes in it (all at once).
    """
    path = find_card("search_spaces", name)
    card = validate(SpaceCard, {"name": path.stem, **read_yaml(path)}, str(path))
    return space_from_card(card, path)


def space_from_card(card: SpaceCard, path: Path | str = "space card") -> SearchSpace:
    """Turn a card into a space, checking every choice against the base."""
    if isinstance(card.base, str):
        base = load_architecture(card.base)
    else:
        base = Architecture.from_tree(card.base, source=f"{path}: base")
    genes, problems = _read_choices(card.choices, base)
    if problems:
        raise UserError("\n".join(f"{path}: {problem}" for problem in problems))
    try:
        space = SearchSpace(card.name, base, tuple(genes), card.about)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    problems = _check_genes(space)
    if problems:
        raise UserError("\n".join(f"{path}: {problem}" for problem in problems))
    for name in card.must_contain:
        try:
            space.encode(load_architecture(name))
        except UserError as error:
            raise UserError(f"{path}: must_contain: {name} does not lie in the space: {error}") from None
    return space


# ---------------------------------------------------------------------------------------------------------------------
# choices


def _read_choices(choices: Mapping[str, Any], base: Architecture) -> tuple[list[Gene], list[str]]:
    lengths = {
        name: len(value)
        for name, value in base.model_dump().items()
        if isinstance(value, tuple) and name not in choices
    }
    genes: dict[str, Gene] = {}
    problems: list[str] = []
    for path, choice in choices.items():
        copies = range(len(base.stages)) if "stages[*]" in path else [None]
        for stage in copies:
            here = path if stage is None else path.replace("stages[*]", f"stages[{stage}]")
            try:
                gene = _read_choice(here, choice, stage, lengths)
                if gene.path in genes:
                    raise ValueError(f"{gene.path} is chosen twice")
                for other in genes.values():
                    if _same_place(gene.path, other.path) and not gene.when and not other.when:
                        raise ValueError(f"{other.path} decides the same: keep one of them, or say `when` each acts")
                genes[gene.path] = gene
            except ValueError as error:
                problems.append(f"choices.{path}: {error}")
                break
    return list(genes.values()), problems


def _check_genes(space: SearchSpace) -> list[str]:
    """Find each gene active once and decode its values there: what no network can have is found before the search."""
    problems = []
    for index, gene in enumerate(space.genes):
        genome = space.first_active(index)
        if genome is None:
            why = "or its `when` holds for none that has" if gene.when else "whatever is chosen"
            problems.append(f"choices.{gene.path}: this can never act: no network of the space has this option, {why}")
            continue
        for value in range(gene.size):
            try:
                space.decode((*genome[:index], value, *genome[index + 1 :]))
            except UserError as error:
                reason = str(error).splitlines()[0].split(": ", 1)[-1]
                problems.append(f"choices.{gene.path}: {_short(gene.values[value])}: {reason}")
    return problems


def _read_choice(path: str, choice: Any, stage: int | None, lengths: Mapping[str, int]) -> Gene:
    path = _check_path(path, lengths)
    conditions: Mapping[str, Any] = {}
    ordered = False
    if isinstance(choice, Mapping):
        conditions = choice.get("when", {})
        if not isinstance(conditions, Mapping):
            raise ValueError("when: expected a mapping from a path to a value or a list of values")
        kinds = set(choice) - {"when"}
        if kinds == {"any"}:
            values = choice["any"]
        elif kinds == {"ordered"}:
            values, ordered = choice["ordered"], True
        elif kinds in ({"from", "to"}, {"from", "to", "step"}):
            values, ordered = _range(choice), True
        else:
            raise ValueError(
                "expected a list, {any: [...]}, {ordered: [...]} or {from:, to:, step:}, "
                f"got the keys {sorted(map(str, kinds))}"
            )
    else:
        values = choice
    if not isinstance(values, (list, tuple)) or not values:
        raise ValueError(f"expected a list with at least one value, got {values!r}")
    if ordered and not all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values):
        raise ValueError(f"an ordered choice needs numbers, got {values!r}")
    if ordered and list(values) != sorted(set(values)):
        raise ValueError(f"an ordered choice must grow, got {values!r}")
    filled = tuple(_fill(path, value) for value in values)
    if any(a == b for i, a in enumerate(filled) for b in filled[:i]):
        raise ValueError(f"a value stands twice: {values!r}")
    when = []
    for where, allowed in conditions.items():
        where = where if stage is None else where.replace("stages[*]", f"stages[{stage}]")
        where = _check_path(where, lengths)
        when.append((where, tuple(allowed) if isinstance(allowed, (list, tuple)) else (allowed,)))
    return Gene(path, filled, ordered, tuple(when))


def _range(choice: Mapping[str, Any]) -> list[int]:
    low, high, step = choice["from"], choice["to"], choice.get("step", 1)
    if not all(type(v) is int for v in (low, high, step)) or step < 1 or high < low:
        raise ValueError(f"expected whole numbers with from <= to and step >= 1, got {dict(choice)}")
    if (high - low) % step:
        raise ValueError(f"from {low} to {high} is no whole number of steps of {step}")
    return list(range(low, high + 1, step))


# ---------------------------------------------------------------------------------------------------------------------
# paths into an architecture's tree

_ABSENT = object()
_PART = re.compile(r"([A-Za-z_][A-Za-z_0-9]*)((?:\[(?:-?\d+|all|\*)\])*)")
Place = tuple[str | int, ...]


@lru_cache(maxsize=4096)
def _parts(path: str) -> tuple[str | int, ...]:
    """`stages[1].row.kind` -> `("stages", 1, "row", "kind")`; `all` stays a word."""
    parts: list[str | int] = []
    for piece in path.split("."):
        match = _PART.fullmatch(piece)
        if match is None:
            raise ValueError(f"'{path}' is no path such as stages[*].row.kind")
        parts.append(match[1])
        parts += [i if i in ("all", "*") else int(i) for i in re.findall(r"\[([^\]]+)\]", match[2])]
    return tuple(parts)


def _places(path: str, tree: Tree) -> list[Place]:
    """The places a path means in this tree: several where it says `[all]`."""
    parts = _parts(path)
    if "all" not in parts:
        return [parts]
    places: list[Place] = [()]
    for part in parts:
        if part == "all":
            places = [(*p, i) for p in places for i in range(len(_as_list(_read(tree, p))))]
        else:
            places = [(*p, part) for p in places]
    return places


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _read(tree: Any, place: Place) -> Any:
    for part in place:
        try:
            tree = tree[part]
        except (KeyError, IndexError, TypeError):
            return _ABSENT
    return tree


def _write(tree: Tree, place: Place, value: Any) -> None:
    """Put a value in its place; a new kind brings its own default options with it."""
    slot = _read(tree, place[:-1])
    if place[-1] == "kind" and isinstance(slot, dict) and slot["kind"] != value:
        path = _join(place[:-1], tree)
        slot.clear()
        slot.update(_copied(_default_options(path, value)))
    else:
        slot[place[-1]] = value


@lru_cache(maxsize=4096)
def _default_options(path: str, kind: str) -> Tree:
    """The options of a kind in a slot, none of them chosen; to be copied."""
    options: Tree = _fill(path, {"kind": kind})
    return options


def _copied(value: Any) -> Any:
    """A copy of what JSON can hold; every proposal is decoded, and `copy.deepcopy` took half of the time for that."""
    if isinstance(value, dict):
        return {key: _copied(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_copied(each) for each in value]
    return value


def _join(place: Place, tree: Tree) -> str:
    """A place as a path with the kinds on the way made plain, `stages[0].row<weighted_shuffle>.cross`."""
    text = ""
    for length, part in enumerate(place, start=1):
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
        here = _read(tree, place[:length])
        if isinstance(here, dict) and "kind" in here and length < len(place):
            text += f"<{here['kind']}>"
    return text


def _depth(path: str) -> tuple[int, int]:
    """Sort key: a slot before its kind before its options."""
    parts = _parts(path)
    return (len(parts) - (parts[-1] == "kind"), parts[-1] != "kind")


def _slot(path: str) -> str:
    return path.removesuffix(".kind")


def _leads(path: str, other: str) -> bool:
    """Whether `path` (with `[all]` standing for any index) is `other` or leads to it."""
    mine, theirs = _parts(path), _parts(other)
    return len(mine) <= len(theirs) and all(a == b or "all" in (a, b) for a, b in zip(mine, theirs, strict=False))


def _same_place(path: str, other: str) -> bool:
    """Whether two paths can mean one place."""
    return _leads(path, other) and _leads(other, path)


def _branches(path: str, count: int) -> set[int]:
    """The branches whose widths a path means."""
    name, *index = _parts(path)
    if name != "widths":
        return set()
    return {index[0]} if index and isinstance(index[0], int) else set(range(count))


def _changes(path: str, other: str) -> bool:
    """Whether writing at `path` can change what stands at `other`: a kind brings options, a width those after it."""
    if _leads(_slot(path), other) or _leads(other, path):
        return True
    mine, theirs = _parts(path), _parts(other)
    if mine[0] == theirs[0] == "widths":
        first, last = (parts[1] if len(parts) > 1 else "all" for parts in (mine, theirs))
        return "all" in (first, last) or (isinstance(first, int) and isinstance(last, int) and first < last)
    return False


def _decides(gene: Gene, other: Gene) -> bool:
    """Whether one gene must be written before the other: it makes the other's place, or the other's `when` names it."""
    inside = _leads(_slot(gene.path), other.path) and len(_parts(_slot(gene.path))) < len(_parts(other.path))
    return (inside and not _same_place(gene.path, other.path)) or any(
        _changes(gene.path, path) for path, _ in other.when
    )


def _order(genes: Sequence[Gene], parents: Sequence[set[int]]) -> list[int]:
    """The order to write genes in: parents first, then slots before their kinds before their options.

    Raises:
        UserError: the conditions go round in a circle.
    """
    for gene in genes:
        for path, _ in gene.when:
            if _changes(gene.path, path):
                raise UserError(f"choices.{gene.path}: its `when` names {path}, which this choice itself can change")
    left = sorted(range(len(genes)), key=lambda index: _depth(genes[index].path))
    order: list[int] = []
    while left:
        ready = next((index for index in left if parents[index] <= set(order)), None)
        if ready is None:
            raise UserError(f"choices: these wait for each other: {_circle(genes, parents, left)}")
        order.append(ready)
        left.remove(ready)
    return order


def _circle(genes: Sequence[Gene], parents: Sequence[set[int]], left: Sequence[int]) -> str:
    """The circle that one comes into on the way from any of the genes left to what it waits for."""
    way = [left[0]]
    while way.count(way[-1]) == 1:
        way.append(min(parents[way[-1]] & set(left)))
    return " waits for ".join(genes[index].path for index in way[way.index(way[-1]) :])


def _leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from _leaves(value, f"{path}.{key}" if path else key)
    elif isinstance(tree, list):
        for index, value in enumerate(tree):
            yield from _leaves(value, f"{path}[{index}]")
    else:
        yield path, tree


def _short(value: Any) -> str:
    text = value["kind"] if isinstance(value, dict) and "kind" in value else value
    return str(text)


# ---------------------------------------------------------------------------------------------------------------------
# the types behind the tree: which options a slot's kind has


def _members(annotation: Any) -> list[type[BaseModel]]:
    """The models an annotation allows: itself, a union's members, a tuple's items."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType, tuple, typing.Annotated):
        return [model for argument in typing.get_args(annotation) for model in _members(argument)]
    return []


def _kind(model: type[BaseModel]) -> str | None:
    field = model.model_fields.get("kind")
    return typing.get_args(field.annotation)[0] if field is not None else None


def _models_at(path: str) -> tuple[list[type[BaseModel]], Any]:
    """The models that may stand at a path, and the annotation of the last field.

    Raises:
        ValueError: no kind has such an option.
    """
    models: list[type[BaseModel]] = [Architecture]
    annotation: Any = None
    for piece in path.split("."):
        name = piece.split("[")[0].split("<")[0]
        fields = [model.model_fields[name] for model in models if name in model.model_fields]
        if not fields:
            known = sorted({field for model in models for field in model.model_fields})
            raise ValueError(f"there is no option '{name}'; there are: {', '.join(known) or 'none'}")
        annotation = [field.annotation for field in fields]
        models = [model for field in fields for model in _members(field.annotation)]
        chosen = re.search(r"<(\w+)>", piece)
        if chosen:
            models = [model for model in models if _kind(model) == chosen[1]]
    return models, annotation


def _check_path(path: str, lengths: Mapping[str, int]) -> str:
    """The path with indices counted from the front.

    Args:
        lengths: how long the lists of the base are.

    Raises:
        ValueError: it is no path, no kind has such an option, or a list is shorter.
    """
    parts = _parts(path)
    _models_at(_slot(path) if path.endswith(".kind") else path)
    if len(parts) > 1 and isinstance(parts[1], int) and parts[0] in lengths:
        name, length = str(parts[0]), lengths[str(parts[0])]
        if not -length <= parts[1] < length:
            raise ValueError(f"there is no {name}[{parts[1]}]; there are {name}[0] to {name}[{length - 1}]")
        path = path.replace(f"[{parts[1]}]", f"[{parts[1] % length}]", 1)
    return path


def _fill(path: str, value: Any) -> Any:
    """A value as it will stand in the tree: options get their defaults, a kind must exist.

    Raises:
        ValueError: no such kind, or options that do not fit it.
    """
    if path.endswith(".kind"):
        kinds = [_kind(model) for model in _models_at(_slot(path))[0]]
        if value not in kinds:
            raise ValueError(f"there is no kind '{value}'; there are: {', '.join(k for k in kinds if k)}")
        return value
    if not isinstance(value, dict):
        return value
    models = [model for model in _models_at(path)[0] if _kind(model) == value.get("kind")]
    if not models:
        raise ValueError(f"there is no kind '{value.get('kind')}' at {path}")
    try:
        return models[0].model_validate(value).model_dump(mode="json")
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
