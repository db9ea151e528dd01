"""`pymem validate`: the simulator against recorded runs of a real kernel, counter by counter."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    pattern: Annotated[str, typer.Argument(help="Only recordings whose name matches, for example '02*'.")] = "*",
    recordings: Annotated[
        Path | None, typer.Option(help="Folder of recordings; default those that come with pymem.")
    ] = None,
    wrong: Annotated[bool, typer.Option("--wrong", help="List only the counters that are wrong.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write a page with the series drawn over each other.")] = None,
    as_json: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write one object per recording and counter.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, max=256, help="Simulations at once.")] = 2,
) -> None:
    """Simulate recorded kernel runs and compare every counter.

    A recording becomes a scenario by itself: machine, tunables, accesses and devices are in it.
    """
    import sys

    from rich.console import Console
    from rich.progress import track

    from pymem.errors import ValidationError
    from pymem.files import write_text
    from pymem.validation import page, recording, runner, score, sweeps, table

    for path in (html, as_json):
        if path is not None and not path.absolute().parent.is_dir():
            raise ValidationError(f"{path}: the folder {path.absolute().parent} does not exist")
    known = recording.load(recordings)
    chosen = recording.load(recordings, pattern)
    bar = Console(stderr=True)
    steps = track(
        runner.replay_all(chosen, threads), "simulating", total=len(chosen), console=bar, transient=True,
        disable=not sys.stderr.isatty(),
    )  # fmt: skip
    replays = list(steps)
    counters = runner.counters(replays)
    pairs = score.pairs(known, counters)
    orders = sweeps.orders(known, counters)
    if as_json is not None:
        write_text(as_json, table.to_json(pairs))
    if html is not None:
        write_text(html, page.page(pairs, replays, chosen, orders))
    console = Console(width=None if sys.stdout.isatty() else 120)
    for part in table.render(pairs, replays, every=not wrong, orders=orders):
        console.print(part)
