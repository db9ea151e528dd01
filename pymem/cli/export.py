"""`pymem export`: a saved result in the format of another tool."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A result, as pymem run --out leaves it.")],
    form: Annotated[
        str, typer.Option("--format", "-f", metavar="FORMAT", help="perfetto, prometheus, parquet or csv.")
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to write it; default: beside result.json.")
    ] = None,
) -> None:
    """Write a saved result in the format of another tool.

    perfetto: events and counters for ui.perfetto.dev. prometheus: counters as node_exporter names them. parquet, csv:
    the time line.
    """
    from pymem.errors import PymemError
    from pymem.interop.formats import FORMATS, export
    from pymem.saved import load_result

    if form not in FORMATS:
        raise PymemError(f"--format: {form!r}; accepted are {', '.join(FORMATS)}")
    target = folder / FORMATS[form] if out is None else out
    export(load_result(folder), target, form)
    typer.echo(f"Written to {target}")
