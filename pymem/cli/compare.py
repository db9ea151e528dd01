"""`pymem compare`: what changed in the settings, what changed in the outcome, and how sure that is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pymem.comparison import Comparison

BAR = 12  # characters of the bar of a change


def command(
    what: Annotated[list[Path], typer.Argument(help="Two or more: scenarios in TOML, or folders of results.")],
    replicates: Annotated[
        int, typer.Option(metavar="N", help="Runs of each scenario; the n-th ones share their seed.")
    ] = 8,
    measure: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Measures to show, also elapsed@TASK and vmstat.COUNTER."),
    ] = None,
    jobs: Annotated[int | None, typer.Option(metavar="N", help="Runs at once. Default: the CPUs.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON instead.")] = False,
) -> None:
    """Compare scenarios or results with the first one.

    Scenarios are run, several times each, with seeds of their own; folders that `pymem run --out` wrote are read.
    """
    import json
    import sys

    from pymem.cli.options import names
    from pymem.comparison import compare

    found = compare(
        *what, replicates=replicates, measures=names(measure), jobs=jobs,
        progress=not as_json and sys.stderr.isatty(),
    )  # fmt: skip
    if as_json:
        typer.echo(json.dumps(found.to_dict(), indent=1))
        return
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 160)
    for part in render(found):
        console.print(part)


def render(found: Comparison) -> list[Any]:
    """Sentences and a table for each side beside the first, then the method."""
    from rich.table import Table
    from rich.text import Text

    from pymem.statistics import METHOD

    first = found.sides[0].label
    parts: list[Any] = []
    settings = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("setting", *(side.label for side in found.sides)):
        settings.add_column(Text(name))
    for name, values in found.settings().items():
        settings.add_row(*(Text("-" if value is None else str(value)) for value in (name, *values)))
    if settings.row_count:
        parts += [settings, Text()]
    for other in range(1, len(found.sides)):
        label = found.sides[other].label
        parts.append(Text(f"{label}, compared with {first}", style="bold"))
        parts += [Text("• ").append(line) for line in found.words(other)]
        parts += [Text(), _table(found, other), Text()]
    if found.random and found.pairs > 1:
        parts.append(Text(f"{found.pairs} paired runs of each; {METHOD}; each measure by itself.", style="dim"))
    for side in found.sides:
        ends = {status: side.statuses.count(status) for status in side.statuses if status != "complete"}
        parts += [Text(f"{side.label}: {n} of {len(side.statuses)} runs ended by {s}.") for s, n in ends.items()]
    return parts


def _table(found: Comparison, other: int) -> Any:
    from rich.table import Table
    from rich.text import Text

    from pymem.comparison import SIGNIFICANT

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("measure")
    for name in (found.sides[0].label, found.sides[other].label, "change"):
        table.add_column(Text(name), justify="right")
    table.add_column("less    more", justify="center")
    chance = found.random and found.pairs > 1
    if chance:
        table.add_column("95 % interval of the change", justify="right")
        table.add_column("p", justify="right")
    for name in found.measures:
        d, objective = found.difference(name, other), found.objective(name)
        if not d.before and not d.change:
            continue
        change = "0" if not d.change else "new" if d.relative is None else f"{d.relative:+.1%}"
        row = [name, objective.format(d.before), objective.format(d.after), change, bar(d.relative)]
        if chance:
            row += [f"{objective.format(d.low)} to {objective.format(d.high)}" if d.change else "", f"{d.p:.2g}"]
        sure = bool(d.change) and found.pairs > 1 and (not found.random or d.p < SIGNIFICANT)
        colour = {"better": "green", "worse": "red"}.get(objective.judge(d.change)) if sure else None
        table.add_row(*map(Text, row), style=colour)
    return table


def bar(relative: float | None) -> str:
    """A change as a bar to the left or right of the middle; full at half as much, or at twice as much and more."""
    half = BAR // 2
    if not relative:
        return " " * half + "│" + " " * half
    share = min(relative, 1.0) if relative > 0 else min(-relative * 2, 1.0)
    length = max(round(share * half), 1)
    left, right = ("", "█" * length) if relative > 0 else ("█" * length, "")
    return f"{left:>{half}}│{right:<{half}}"
