"""`pymem oom`: the same scenario under several OOM policies, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pymem.errors import ScenarioError


def command(
    scenario: Annotated[Path, typer.Argument(help="A scenario in TOML.")],
    policy: Annotated[
        str | None,
        typer.Option(metavar="A,B,C", help="Policies by name, with commas. Default: all but panic."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a setting, for example machine.memory=1GiB."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the full results, one folder per policy.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")] = False,
) -> None:
    """Simulate a scenario once per OOM policy: who is killed, what is lost, how long the others wait.

    A panic of the simulated kernel is an outcome like any other: the exit code is 0.
    """
    import json
    import sys

    from pymem import scenario as scenarios
    from pymem.cli.run import split_setting
    from pymem.reports.oom import outcome, render
    from pymem.result import check_folder
    from pymem.simulation import simulate

    names = chosen(policy)
    base = scenarios.load(scenario).with_settings(dict(split_setting(text) for text in settings or []))
    runs = {name: base.with_settings({"oom_policy": name}) for name in names}
    folders = {name: out / name for name in names} if out is not None else {}
    for folder in folders.values():
        check_folder(folder)
    results = {}
    for name, run in runs.items():
        results[name] = simulate(run, progress=sys.stderr.isatty())
        if name in folders:
            results[name].save(folders[name])
    if as_json:
        typer.echo(json.dumps({name: outcome(result) for name, result in results.items()}, indent=1))
        return
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 160)
    for part in render(results):
        console.print(part)


def chosen(policy: str | None) -> list[str]:
    """The names in a text with commas, each once; all but panic without one. ScenarioError for unknown ones."""
    from pymem.oom import POLICIES

    if policy is None:
        return [name for name in POLICIES if name != "panic"]
    names = list(dict.fromkeys(name.strip() for name in policy.split(",")))
    for name in names:
        if name not in POLICIES:
            raise ScenarioError(f"--policy: {name!r}; accepted are {', '.join(POLICIES)}")
    return names
