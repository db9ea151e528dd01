"""`pymem run`: simulate a scenario, say what happened, leave the full result in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pymem.errors import ScenarioError


def command(
    scenario: Annotated[Path, typer.Argument(help="A scenario in TOML.")],
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a setting, for example vm.swappiness=10."),
    ] = None,
    sysctl: Annotated[
        Path | None, typer.Option(help="Read vm.* tunables from a sysctl.conf; --set wins over it.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the full result.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar, no summary.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON instead.")] = False,
) -> None:
    """Simulate a scenario.

    Ctrl-C ends the run early; what has come out so far is kept and marked as partial.
    """
    import json
    import sys

    from pymem.cli.options import load_with
    from pymem.result import check_folder
    from pymem.simulation import simulate

    chosen = load_with(scenario, settings, sysctl)
    if out is not None:
        check_folder(out)
    result = simulate(chosen, progress=not quiet and sys.stderr.isatty(), on_interrupt="partial")
    if as_json:
        typer.echo(json.dumps(result.to_dict(), indent=1))
    elif not quiet:
        from rich.console import Console

        from pymem.reports.summary import render

        console = Console(width=None if sys.stdout.isatty() else 100)
        for part in render(result):
            console.print(part)
    if out is not None:
        result.save(out)
        if not as_json and not quiet:
            typer.echo(f"\nThe full result is in {out}/")
    code = {"complete": 0, "time limit": 0, "interrupted": 130}.get(result.status, 3)
    if code:
        raise typer.Exit(code)


def split_setting(text: str) -> tuple[str, Any]:
    """Key and value of KEY=VALUE; ScenarioError for anything else."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip() or not value.strip():
        raise ScenarioError(f"--set {text!r}: accepted is KEY=VALUE, for example vm.swappiness=10")
    return key.strip(), value.strip()
