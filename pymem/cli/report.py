"""`pymem report`: a saved result as one page for the browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A result, as pymem run --out leaves it.")],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to write the page; default DIR/report.html.")
    ] = None,
) -> None:
    """Write a saved result as a page: what happened and why, charts over time, tables.

    The page is one file that needs no network. Results of interrupted runs, and folders that hold only result.json,
    give a page with what there is.
    """
    from pymem.files import write_text
    from pymem.reports.page import report
    from pymem.saved import load_result

    target = folder / "report.html" if out is None else out
    write_text(target, report(load_result(folder)))
    typer.echo(f"The report is in {target}")
