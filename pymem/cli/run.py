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
    report: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a page for the browser.")] = None,
    live: Annotated[bool, typer.Option("--live", help="Show memory, activity and tasks while it runs.")] = False,
    vmstat: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Print a line per interval of simulated time while it runs, for example 1s."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar, no summary.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON instead.")] = False,
) -> None:
    """Simulate a scenario.

    Ctrl-C ends the run early; what has come out so far is kept and marked as partial.
    """
    import json
    import sys

    from pymem.cli.options import load_with
    from pymem.files import check_file, write_text
    from pymem.result import check_folder
    from pymem.simulation import simulate

    chosen = load_with(scenario, settings, sysctl)
    if out is not None:
        check_folder(out)
    if report is not None:
        check_file(report)
    every = interval(vmstat, int(chosen.sample_interval), live or quiet or as_json)
    if every:
        from pymem.reports.live import stream

        result = stream(chosen, every, typer.echo)
        typer.echo()
    elif live and sys.stderr.isatty():
        from rich.console import Console

        from pymem.reports.live import watch

        result = watch(chosen, Console(stderr=True))
    else:
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
    if report is not None:
        from pymem.reports.page import report as page

        write_text(report, page(result))
        if not as_json and not quiet:
            typer.echo(f"\nThe report is in {report}")
    code = {"complete": 0, "time limit": 0, "interrupted": 130}.get(result.status, 3)
    if code:
        raise typer.Exit(code)


def interval(text: str | None, sample_ns: int, otherwise: bool) -> int:
    """The interval of ``--vmstat`` in ns, 0 without it; ScenarioError for one that cannot be."""
    if text is None:
        return 0
    from pymem.reports.vmstat import check_interval
    from pymem.units import parse_time

    if otherwise:
        raise ScenarioError("--vmstat: accepted is only one of --vmstat, --live, --quiet and --json")
    check_interval(every := parse_time(text, "--vmstat"), sample_ns, f"--vmstat {text}")
    return every


def split_setting(text: str) -> tuple[str, Any]:
    """Key and value of KEY=VALUE; ScenarioError for anything else."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip() or not value.strip():
        raise ScenarioError(f"--set {text!r}: accepted is KEY=VALUE, for example vm.swappiness=10")
    return key.strip(), value.strip()
