"""The words on the machine: doctor, version."""

from __future__ import annotations

from argparse import Namespace

from hrnas import __version__
from hrnas.cli.arguments import JSON, RUNS, word
from hrnas.cli.printing import to_json


@word(RUNS, JSON)
def doctor(said: Namespace) -> int:
    """Look at the machine and say what to do.

    It looks at versions, device, threads, disk, data folders, cards and extras. Each line is ok, a note (more is
    possible), or something to mend; the exit status is 1 when there is something to mend.
    """
    from hrnas.doctor import examine

    findings = examine(said.runs)
    if said.json:
        print(to_json([finding._asdict() for finding in findings]))
    else:
        width = max(len(finding.name) for finding in findings)
        for finding in findings:
            advice = f" -> {finding.advice}" if finding.advice else ""
            print(f"{finding.state:<4}  {finding.name:<{width}}  {finding.found}{advice}")
    return 1 if any(finding.state == "mend" for finding in findings) else 0


@word()
def version(said: Namespace) -> int:
    """Print the version."""
    print(__version__)
    return 0
