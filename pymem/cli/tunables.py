"""`pymem tunables`: every knob, with its default and bounds."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer


def command(
    name: Annotated[str | None, typer.Argument(help="Only the knobs with this in their name.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List every tunable: name, unit, default, bounds, meaning."""
    from pymem.errors import TunableError
    from pymem.tunables import TUNABLES

    chosen = [t for t in TUNABLES.values() if name is None or name in t.name]
    if not chosen:
        raise TunableError(f"{name}: no tunable has this in its name; `pymem tunables` lists all")
    if as_json:
        typer.echo(json.dumps([asdict(t) | {"words": dict(t.words)} for t in chosen], indent=1))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("name", "default", "accepted", "unit", "meaning"):
        table.add_column(title, justify="right" if title == "default" else "left", no_wrap=title == "name")
    for t in chosen:
        meaning = t.meaning + (f" [dim]({t.interactions})[/dim]" if t.interactions else "")
        table.add_row(t.name, "auto" if t.default == -1 else str(t.default), t.accepted, t.unit, meaning)
    Console().print(table)
