"""`pymem machine`: the machine of a host as a scenario, and what the kernel makes of a machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Machines: of this or another host, and what a kernel computes for one.")

Root = Annotated[
    str, typer.Option("--root", help="A copy of /proc and /sys: a folder, an sosreport, or a tar of either.")
]


@app.command("from-host")
def from_host(
    root: Root = "/",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The scenario file; default: print it.")] = None,
) -> None:
    """Write the machine of this host, or of a saved copy of one, as a scenario."""
    from pymem.errors import HostError
    from pymem.hosts import from_host as read

    if out is not None and (out.is_dir() or not out.absolute().parent.is_dir()):
        raise HostError(f"{out}: cannot be made there; accepted is the name of a file in a folder that exists")
    host = read(root)
    if out is None:
        typer.echo(host.to_toml(), nl=False)
        return
    from pymem.files import write_text

    write_text(out, host.to_toml())
    differ = f"{len(host.vm)} tunables differ from the default"
    typer.echo(f"{out}: the machine of {root}; {differ}; {len(host.notes)} notes")
    typer.echo(f"try: pymem run {out}")


@app.command()
def show(
    scenario: Annotated[Path | None, typer.Argument(help="A scenario file; default: this host.")] = None,
    root: Root = "/",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print nodes, zones, watermarks, reserves, swap areas and tunables of a machine."""
    import sys

    from rich.console import Console

    from pymem.errors import HostError
    from pymem.hosts import from_host as read
    from pymem.reports import machine as report
    from pymem.scenario import Task, load
    from pymem.workloads import Uniform

    if scenario is not None and root != "/":
        raise HostError("a scenario and --root: accepted is one of them")
    notes: tuple[str, ...] = ()
    if scenario is not None:
        chosen = load(scenario)
    else:
        host = read(root)
        notes = host.notes
        chosen = host.scenario([Task("none", Uniform("4KiB", accesses=1))])
    shown = report.figures(chosen)
    if as_json:
        typer.echo(json.dumps(shown | {"notes": list(notes)}, indent=1))
        return
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    for part in report.render(shown):
        console.print(part)
    for note in notes:
        console.print(f"note: {note}", markup=False)
