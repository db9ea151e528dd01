"""`pymem tunables`: every knob, with its default and bounds."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer


def command(
    name: Annotated[str | None, typer.Argument(help="Only the knobs with this in their name.")] = None,
    kernel: Annotated[str, typer.Option(help="Show the defaults of this kernel: 6.12 or 6.1.")] = "6.12",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List every tunable: name, unit, default, bounds, meaning."""
    from pymem.errors import TunableError
    from pymem.scenario import KERNELS
    from pymem.tunables import AUTO, TUNABLES

    if kernel not in KERNELS:
        raise TunableError(f"--kernel: {kernel!r}; accepted are {' and '.join(KERNELS)}")
    chosen = [t for t in TUNABLES.values() if name is None or name in t.name]
    if not chosen:
        raise TunableError(f"{name}: no tunable has this in its name; `pymem tunables` lists all")
    if as_json:
        typer.echo(json.dumps([asdict(t) for t in chosen], indent=1))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("name", "default", "accepted", "unit", "meaning"):
        table.add_column(title, justify="right" if title == "default" else "left", no_wrap=title == "name")
    for t in chosen:
        default = t.default_for(kernel)
        meaning = t.meaning + (f" [dim]({t.interactions})[/dim]" if t.interactions else "")
        table.add_row(t.name, "auto" if default == AUTO else str(default), t.accepted, t.unit, meaning)
    Console().print(table)
