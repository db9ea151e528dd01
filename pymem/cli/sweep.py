"""`pymem sweep`: one scenario with many settings, in parallel, resumable."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pymem.errors import PymemError, ScenarioError

if TYPE_CHECKING:
    from pymem.sweeps import SweepResult

MAX_SHOWN = 60  # points of the table in the terminal


def command(
    scenario: Annotated[
        Path | None, typer.Argument(help="A scenario in TOML. Without it: show what is in --store.")
    ] = None,
    grid: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=A,B,C", help="Values of a setting; all combinations are run. May be repeated."),
    ] = None,
    over: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=LOW:HIGH[:log]", help="Range of a setting for drawn points. May be repeated."),
    ] = None,
    random: Annotated[int | None, typer.Option(metavar="N", help="So many points drawn from --over.")] = None,
    latin_hypercube: Annotated[
        int | None, typer.Option(metavar="N", help="So many points, spread evenly over every range of --over.")
    ] = None,
    replicates: Annotated[int, typer.Option(metavar="N", help="Runs per point, with independent seeds.")] = 1,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting of all points.")
    ] = None,
    measure: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Measures of the table, also elapsed@TASK and vmstat.COUNTER."),
    ] = None,
    store: Annotated[
        Path | None, typer.Option(help="File (.sqlite) or folder for the results; the same command goes on there.")
    ] = None,
    jobs: Annotated[int | None, typer.Option(metavar="N", help="Runs at once. Default: the CPUs.")] = None,
    executor: Annotated[str, typer.Option(metavar="threads|processes", help="What runs them.")] = "threads",
    dask: Annotated[str | None, typer.Option(metavar="local|tcp://HOST:PORT", help="A Dask cluster instead.")] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Run again what failed.")] = False,
    csv: Annotated[Path | None, typer.Option(help="Write all rows as CSV: settings, measures.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all rows as JSON instead of a table.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar, no table.")] = False,
) -> None:
    """Simulate a scenario with many settings; every row of the result carries all of them.

    A point that cannot be simulated is put down with its error and the sweep goes on. After Ctrl-C, or any other end,
    the same command with the same --store goes on where it stopped.
    """
    import json
    import sys

    from pymem.cli import options
    from pymem.objectives import OBJECTIVES
    from pymem.sweeps import open_store, sweep

    if csv is not None:
        options.check_file("--csv", csv)
    shown = options.names(measure)
    if scenario is None:
        if store is None:
            raise ScenarioError("sweep: no scenario; accepted is a TOML file, or --store to show what is there")
        if grid or over or settings or random or latin_hypercube:
            raise ScenarioError("sweep: no scenario to vary; accepted is a TOML file in front of the options")
        result = open_store(store)
    else:
        try:
            result = sweep(
                options.load_with(scenario, settings),
                grid=options.once("--grid", [_grid(text) for text in grid or []]),
                over=options.once("--over", [options.split("--over", t, "KEY=LOW:HIGH") for t in over or []]),
                random=random, latin_hypercube=latin_hypercube, replicates=replicates,
                measures=[name for name in shown if name not in OBJECTIVES], store=store, executor=executor, jobs=jobs,
                dask=dask, retry_failed=retry_failed, progress=not quiet and sys.stderr.isatty(),
            )  # fmt: skip
        except KeyboardInterrupt:
            if store is not None:
                print(f"{len(open_store(store))} runs are in {store}; the same command goes on there", file=sys.stderr)
            raise
    if csv is not None:
        write_csv(result, csv)
    if as_json:
        typer.echo(json.dumps(result.rows()))
    elif not quiet:
        _show(result, shown)
    if result.runs and len(result.failed) == len(result.runs):
        raise PymemError(f"every run failed, the first with: {result.failed[0].error}")


def _grid(text: str) -> tuple[str, list[str]]:
    from pymem.cli.options import split

    key, values = split("--grid", text, "KEY=A,B,C, for example vm.swappiness=0,60,100")
    return key, [value.strip() for value in values.split(",")]


def write_csv(result: SweepResult, path: Path) -> None:
    """All rows of a sweep as CSV, whole or not at all; no value where a run failed."""
    import csv
    import io

    from pymem.validation.table import write_text

    text = io.StringIO()
    writer = csv.DictWriter(text, result.columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(result.rows())
    try:
        write_text(path, text.getvalue())
    except OSError as error:
        raise PymemError(f"--csv {path}: cannot be written: {error.strerror}") from None


def _show(result: SweepResult, measures: list[str]) -> None:
    import sys

    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 200)
    for part in render(result, measures):
        console.print(part)


def render(result: SweepResult, measures: list[str]) -> list[Any]:
    """The table of points with mean ± standard deviation, what failed, and how much there is."""
    from rich.table import Table
    from rich.text import Text

    from pymem.objectives import KEY, find
    from pymem.settings import format_value

    chosen = measures or list(KEY)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in result.varied:
        table.add_column(name, justify="right")
    table.add_column("runs", justify="right")
    for name in chosen:
        table.add_column(name, justify="right")
    rows = result.summary(chosen)
    named = {name: find(name.partition("@")[0]) for name in chosen}
    for row in rows[:MAX_SHOWN]:
        cells = [format_value(row["settings"][name], unit) for name, unit in result.varied.items()]
        cells.append(str(row["runs"]))
        for name in chosen:
            mean, sd = row[name]["mean"], row[name]["sd"]
            text = "-" if mean is None else named[name].format(mean)
            cells.append(f"{text} ± {named[name].format(sd)}" if sd else text)
        table.add_row(*map(Text, cells))
    title = Text(f"{result.name}: mean ± standard deviation of the runs of each point", style="bold")
    parts: list[Any] = [title, table]
    if len(rows) > MAX_SHOWN:
        parts.append(Text(f"... and {len(rows) - MAX_SHOWN} more points: --csv or --json has all"))
    there = f", {result.resumed} of them from before" if result.resumed else ""
    parts.append(Text(f"\n{len(result)} runs{there}, {len(result.failed)} failed"))
    errors: dict[str, list[int]] = {}
    for run in result.failed:
        errors.setdefault(run.error, []).append(run.point)
    for error, points in list(errors.items())[:5]:
        settings = ", ".join(f"{k}={v}" for k, v in result.points[points[0]].items())
        parts.append(Text(f"  failed {len(points)} times, first at {settings or 'its only point'}: {error}"))
    return parts
