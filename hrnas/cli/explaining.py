"""The words on cards and architectures: profile, cards, show, copy."""

from __future__ import annotations

import shutil
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

from hrnas.cli.arguments import ARCHITECTURE, CARD, JSON, RUNS, Argument, as_keypoints, as_size, word
from hrnas.cli.printing import brief, fitting, line_width, parts_table, print_tree, table, to_json
from hrnas.reading import UserError, format_size


@word(
    replace(ARCHITECTURE, required=False),
    Argument("--input", "HxW", "the network's input in pixels (default: 256x192)", as_size),
    Argument("--keypoints", "N", "heatmaps that come out (default: 17)", as_keypoints),
    Argument("--published", "", "instead of an ARCHITECTURE: all published networks, as their papers count"),
    Argument("--supernet", "SPACE", "instead of an ARCHITECTURE: the weights that all networks of a space share"),
    RUNS,
    JSON,
)
def profile(said: Namespace) -> int:
    """Count an architecture's parameters and operations.

    They are counted in each of the ways in which the papers count them; docs/cli.md says which is which. With
    --published, what the papers print of their networks is compared with what hrnas counts, each figure on its paper's
    own scale. With --supernet, the store of a space's shared weights is counted.
    """
    if said.supernet is not None:
        return _profile_supernet(said)
    if said.published:
        return _profile_published(said)
    if said.architecture is None:
        raise UserError("hrnas profile: say which ARCHITECTURE is to be counted, or --published for all of the papers'")
    from hrnas.names import find_architecture
    from hrnas.nets.cost import cost_as_json, measure_cost

    size, keypoints = said.input or (256, 192), said.keypoints or 17
    architecture = find_architecture(said.architecture, said.runs)
    document = {
        "architecture": said.architecture,
        "key": architecture.key,
        "input": format_size(size),
        "keypoints": keypoints,
        **cost_as_json(measure_cost(architecture, keypoints, size)),
    }
    if said.json:
        print(to_json(document))
        return 0
    parts = document.pop("parts", None)
    print(table((name, brief(value)) for name, value in document.items()))
    if parts:
        print("\n" + parts_table(parts))
    return 0


def _profile_published(said: Namespace) -> int:
    from hrnas.faithfulness import as_json, format_rows, read_rows

    taken = {"ARCHITECTURE": said.architecture, "--input": said.input, "--keypoints": said.keypoints}
    if any(taken.values()):
        too_much = " and ".join(name for name, value in taken.items() if value)
        raise UserError(f"hrnas profile: --published counts all networks as their papers do; leave out {too_much}")
    rows = read_rows()
    print(to_json({"published": as_json(rows)}) if said.json else format_rows(rows))
    return 0


def _profile_supernet(said: Namespace) -> int:
    from hrnas.nets.layout import lay_out, sizes_by_part
    from hrnas.space.search_space import load_space

    taken = {"ARCHITECTURE": said.architecture, "--input": said.input, "--published": said.published}
    if any(taken.values()):
        too_much = " and ".join(name for name, value in taken.items() if value)
        raise UserError(f"hrnas profile: --supernet counts the weights of a whole space; leave out {too_much}")
    space, keypoints = load_space(said.supernet), said.keypoints or 17
    layout = lay_out(space, keypoints)
    document = {
        "space": space.name,
        "keypoints": keypoints,
        "tensors": len(layout.segments),
        "params": layout.params,
        "bytes": 4 * layout.params,
        "bytes_with_moments": 12 * layout.params,
    }
    parts = sizes_by_part(layout)
    if said.json:
        print(to_json({**document, "parts": parts}))
        return 0
    print(table((name, brief(value)) for name, value in document.items()))
    print("\n" + table((part, brief(params)) for part, params in parts.items()))
    return 0


@word(JSON)
def cards(said: Namespace) -> int:
    """List the cards on the three shelves.

    These are search spaces, trainers and studies: those in folders of the shelves' names where you are, and those that
    hrnas ships.
    """
    from hrnas.reading import read_yaml
    from hrnas.shelf import SHELVES, list_cards

    shelves = {
        shelf: {
            name: {"file": str(path), "about": str(read_yaml(path).get("about", ""))}
            for name, path in list_cards(shelf).items()
        }
        for shelf in SHELVES
    }
    if said.json:
        print(to_json(shelves))
        return 0
    for shelf, listed in shelves.items():
        print(f"{shelf}/")
        width = max((len(name) for name in listed), default=0)
        for name, card in listed.items():
            print(f"  {name:<{width}}  {fitting(card['about'], width + 4)}".rstrip())
    return 0


@word(replace(CARD, help=f"{CARD.help}, or STUDY#KEY"), RUNS, JSON)
def show(said: Namespace) -> int:
    """Explain a card.

    Says what stands on it with everything filled in, and what follows from it: of a search space its size and its
    smallest and largest networks, of an architecture a sketch with what each part costs, of a study also how much
    will be trained.
    """
    from hrnas.showing import explain
    from hrnas.sketch import describe

    document = explain(said.card, said.runs)
    if said.json:
        print(to_json(document))
    elif "architecture" in document:
        print(describe(document, line_width()))
    else:
        for name, value in document.items():
            print_tree(name, value)
    return 0


@word(CARD, Argument("TO", "", "the new file, or a folder (default: SHELF/NAME.yaml)", Path, required=False))
def copy(said: Namespace) -> int:
    """Put a card into a folder of your own, to edit it.

    By default it goes into the folder of its shelf where you are, for instance studies/quickstart.yaml; there hrnas
    finds it before the one it ships.
    """
    from hrnas.shelf import find_card
    from hrnas.showing import find_on_shelves

    shelf, name = find_on_shelves(said.card)
    source = find_card(shelf, name)
    target = said.to or Path(shelf) / f"{name}.yaml"
    if target.is_dir():
        target = target / source.name
    if target.exists():
        same = target.resolve() == source.resolve()
        hint = "this is the card itself; say where to: hrnas copy CARD TO" if same else "say another name, or remove it"
        raise UserError(f"{target}: there is a file of this name already; {hint}")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    print(target)
    return 0
