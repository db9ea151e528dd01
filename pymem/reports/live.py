"""Watching a run: a screen in the manner of ``top``, or lines in the manner of ``vmstat 1``."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from pymem.reports.summary import short, sparkline
from pymem.reports.vmstat import Stream, header
from pymem.simulation import Simulation
from pymem.units import format_pages, format_time

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from pymem.result import Result
    from pymem.scenario import Scenario

BUDGET = 1 << 16  # accesses between two looks: short enough for a screen that moves
REFRESH = 0.25  # seconds of the host
HISTORY = 60
SHOWN = {"anonymous": ("nr_active_anon", "nr_inactive_anon"), "page cache": ("nr_active_file", "nr_inactive_file"),
         "dirty": ("nr_dirty",), "slab": ("nr_slab_reclaimable", "nr_slab_unreclaimable")}  # fmt: skip
RATES = {"swapped in": ("pswpin", True), "swapped out": ("pswpout", True), "scanned by kswapd": ("pgscan_kswapd", True),
         "scanned by tasks": ("pgscan_direct", True), "major faults": ("pgmajfault", False)}  # fmt: skip


def observe(scenario: Scenario, look: Callable[[Simulation], None], budget: int = BUDGET) -> Result:
    """Simulate, and call `look` after every `budget` accesses. Ctrl-C ends the run early, with a partial result.

    How often is looked changes nothing in the result.
    """
    run = Simulation(scenario)
    try:
        while run.step(budget):
            look(run)
    except KeyboardInterrupt:
        pass
    return run.result()


def stream(scenario: Scenario, interval_ns: int, write: Callable[[str], None]) -> Result:
    """Simulate, and hand a line to `write` for every interval of simulated time, the names of the columns first."""
    lines: Stream | None = None
    seen = -1

    def look(run: Simulation) -> None:
        nonlocal lines, seen
        if lines is None:
            lines = Stream(run.engine.swap()["total"], interval_ns)
        rows = run.timeline(seen)
        if len(rows):
            seen = int(rows["time_ns"][-1])
            for line in lines.feed(rows.columns):
                write(line)

    write(header())
    result = observe(scenario, look)
    lines = lines or Stream(result.swap["total"], interval_ns)
    left = result.timeline["time_ns"] > seen
    for line in lines.feed({name: column[left] for name, column in result.timeline.columns.items()}):
        write(line)
    for line in lines.close():
        write(line)
    return result


def watch(scenario: Scenario, console: Console) -> Result:
    """Simulate behind a screen that shows memory, activity and tasks several times a second."""
    from rich.live import Live

    screen = Screen()
    with Live(console=console, transient=True, auto_refresh=False) as live:

        def look(run: Simulation) -> None:
            now = time.monotonic()
            if now - screen.drawn >= REFRESH:
                screen.drawn = now
                live.update(screen.draw(run), refresh=True)

        return observe(scenario, look)


class Screen:
    """What the screen shows; rates are over the simulated time since it was drawn before."""

    def __init__(self) -> None:
        self.drawn = -REFRESH
        self._time = 0
        self._counters: dict[str, int] = {}
        self._stalls: dict[int, int] = {}
        self._history: dict[str, deque[float]] = {}

    def draw(self, run: Simulation) -> RenderableType:
        """The screen now."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        p, v, swap = run.progress(), run.vmstat(), run.engine.swap()
        span = max(p.time_ns - self._time, 1)
        speed = p.accesses / p.host_seconds if p.host_seconds else 0.0
        done = f" of {short(p.total)}" if p.total else ""
        title = Text(run.scenario.name or "simulation", style="bold")
        title.append(
            f"  {format_time(p.time_ns)} simulated, {short(p.accesses)}{done} accesses, {short(round(speed))}/s",
            style="not bold",
        )
        memory = Table(box=None, pad_edge=False, header_style="bold")
        for name in ("memory", "now", "course"):
            memory.add_column(name, justify="right" if name == "now" else "left")
        levels = {"free": p.free_pages, **{name: sum(v.get(n, 0) for n in names) for name, names in SHOWN.items()}}
        if swap["total"]:
            levels["swap used"] = swap["total"] - swap["free"]
        for name, pages in levels.items():
            memory.add_row(name, format_pages(pages), self._course(name, pages))
        activity = Table(box=None, pad_edge=False, header_style="bold")
        for name in ("activity", "per second", "course"):
            activity.add_column(name, justify="right" if name == "per second" else "left")
        for name, (counter, pages_) in RATES.items():
            rate = (v.get(counter, 0) - self._counters.get(counter, 0)) * 1e9 / span
            activity.add_row(name, format_pages(rate) if pages_ else short(round(rate)), self._course(name, rate))
        tasks = Table(box=None, pad_edge=False, header_style="bold")
        for name in ("pid", "task", "state", "RSS", "swap", "stalled", "mostly"):
            tasks.add_column(name, justify="right" if name in ("pid", "RSS", "swap", "stalled") else "left")
        for thread, task in run.tasks.items():
            facts = run.engine.task(thread)
            waited = sum(facts["stalls"].values())
            share = 100 * (waited - self._stalls.get(thread, 0)) / span
            self._stalls[thread] = waited
            cause = max(facts["stalls"], key=facts["stalls"].__getitem__) if waited else "-"
            state = "killed" if facts["killed"] else "running" if facts["alive"] else "finished"
            tasks.add_row(
                str(facts["pid"]), Text(task.name), state, format_pages(facts["rss_anon"] + facts["rss_file"]),
                format_pages(facts["swapents"]), f"{share:.0f} %", cause,
            )  # fmt: skip
        self._time, self._counters = p.time_ns, v
        return Group(title, Text(), memory, Text(), activity, Text(), tasks)

    def _course(self, name: str, value: float) -> str:
        history = self._history.setdefault(name, deque(maxlen=HISTORY))
        history.append(value)
        return sparkline(np.array(history))
