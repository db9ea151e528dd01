"""`pymem vmstat`: the time line of a saved result as lines, like `vmstat 1`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pymem.errors import PymemError


def command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A result, as pymem run --out leaves it.")],
    interval: Annotated[str, typer.Option(help="Simulated time between two lines, for example 100ms.")] = "1s",
) -> None:
    """Print the time line of a saved result, one line per interval.

    Sizes in KiB, rates per second: swpd free anon cache; si so swap, bi bo devices (KiB); minor and major faults;
    pages scanned by kswapd and by tasks, pages reclaimed; memory pressure in percent.
    """
    from pymem.reports.vmstat import MISSING, Stream, header
    from pymem.saved import load_result
    from pymem.units import parse_time

    every = parse_time(interval, "--interval")
    if not every:
        raise PymemError("--interval: 0; accepted is a time of at least 1 ns")
    result = load_result(folder)
    if not len(result.timeline):
        raise PymemError(f"{folder}: {MISSING}")
    lines = Stream(result.swap["total"], every)
    typer.echo(header())
    for line in (*lines.feed(result.timeline.columns), *lines.close()):
        typer.echo(line)
