"""`pymem tune`: the best settings for an aim, how sure that is, and what matters most."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pymem.errors import PymemError, ScenarioError

if TYPE_CHECKING:
    from pymem.tuning import Tuning

SHOWN = 5  # trials of the table


def command(
    scenario: Annotated[
        list[str],
        typer.Argument(metavar="SCENARIO [KEY...]", help="A scenario in TOML; further keys belong to --over."),
    ],
    minimize: Annotated[str | None, typer.Option(metavar="MEASURE", help="The aim, such as p99_fault_latency.")] = None,
    maximize: Annotated[str | None, typer.Option(metavar="MEASURE", help="Or this, accesses_per_second.")] = None,
    over: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY[=LOW:HIGH[:log]]", help="Settings to search, one or more; all values by default."),
    ] = None,
    trials: Annotated[int, typer.Option(metavar="N", help="Points to try.")] = 40,
    replicates: Annotated[int, typer.Option(metavar="N", help="Runs per point.")] = 3,
    confirm: Annotated[
        int, typer.Option(metavar="N", help="Runs of default and best at the end, with other random numbers.")
    ] = 10,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting of the scenario.")
    ] = None,
    store: Annotated[
        Path | None, typer.Option(help="File (.sqlite) or folder for the runs; the same command goes on there.")
    ] = None,
    conf: Annotated[Path | None, typer.Option(help="Write the best settings as a sysctl.conf.")] = None,
    jobs: Annotated[int | None, typer.Option(metavar="N", help="Runs at once. Default: the CPUs.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False,
) -> None:
    """Search the settings that make a measure best, with Optuna.

    The result does not depend on the number of threads. A trial in which more tasks are killed than by default does not
    count.
    """
    import json
    import sys

    from pymem.cli import options
    from pymem.tuning import tune

    path, *more = scenario
    if more and not over:
        raise ScenarioError(f"tune: {more[0]!r} is one argument too many; accepted are keys after --over")
    if conf is not None:
        options.check_file("--conf", conf)
    keys = [_key(text) for text in [*(over or []), *more]]
    found = tune(
        options.load_with(Path(path), settings), over=options.once("--over", keys), minimize=minimize,
        maximize=maximize, trials=trials, replicates=replicates, confirm=confirm, store=store, jobs=jobs,
        progress=not as_json and sys.stderr.isatty(),
    )  # fmt: skip
    if conf is not None:
        from pymem.validation.table import write_text

        try:
            write_text(conf, found.sysctl_conf())
        except OSError as error:
            raise PymemError(f"--conf {conf}: cannot be written: {error.strerror}") from None
    if as_json:
        typer.echo(json.dumps(found.to_dict(), indent=1))
        return
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 160)
    for part in render(found):
        console.print(part)


def _key(text: str) -> tuple[str, str | None]:
    key, equals, bounds = text.partition("=")
    if not key or (equals and not bounds):
        raise ScenarioError(f"--over {text!r}: accepted is KEY, KEY=LOW:HIGH or KEY=LOW:HIGH:log")
    return key, bounds or None


def render(found: Tuning) -> list[Any]:
    """Sentences, the best trials, and the sysctl.conf."""
    from rich.table import Table
    from rich.text import Text

    from pymem.settings import format_value

    parts: list[Any] = [Text("• ").append(line) for line in found.words()]
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("trial", justify="right")
    for name in (*found.units, found.objective.name):
        table.add_column(name, justify="right")
    usable = [trial for trial in found.trials if trial.value is not None]
    usable.sort(key=lambda t: (-(t.value or 0) if found.maximize else (t.value or 0), t.number))
    for trial in [*usable[:SHOWN], *(t for t in usable[SHOWN:] if t.number == 0)]:
        values = {**found.default, **trial.settings}
        cells = [format_value(values[name], unit) for name, unit in found.units.items()]
        number = str(trial.number) if trial.number else "default"
        table.add_row(*map(Text, (number, *cells, found.objective.format(trial.value or 0))))
    parts += [Text(), table]
    left_out: dict[str, int] = {}
    for trial in found.trials:
        if trial.value is None:
            left_out[trial.why] = left_out.get(trial.why, 0) + 1
    parts += [Text(f"{n} trials do not count: {why}.", style="dim") for why, n in left_out.items()]
    if found.best != found.default:
        parts += [Text("\nAs sysctl.conf:\n", style="bold"), Text(found.sysctl_conf())]
    return parts
