"""The summary in the terminal: what happened, in words and in three tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pymem.reports import numa
from pymem.reports.diagnosis import diagnose
from pymem.units import format_pages, format_time

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from pymem.result import Result

STALL_WORDS = {
    "direct_reclaim": "reclaiming memory for itself",
    "throttle": "being throttled by reclaim",
    "swap_in": "waiting for swap reads",
    "file_read": "waiting for file reads",
    "dirty": "being throttled as a writer",
    "cpu": "waiting for a CPU",
    "oom": "waiting for the OOM killer",
    "device": "waiting for room in a device queue",
    "fsync": "waiting in fsync",
}
COLOURS = ("bold green", "bold yellow", "bold yellow", "bold red")
BARS = "▁▂▃▄▅▆▇█"


def render(result: Result) -> list[RenderableType]:
    """The parts of the summary, in order, for `rich.console.Console.print`."""
    from rich.text import Text

    title = Text(result.name or "simulation", style="bold")
    title.append(f"  {format_time(result.time_ns)} simulated, {short(result.accesses)} accesses", style="not bold")
    if result.host_seconds:
        title.append(f" in {result.host_seconds:.2f} s", style="not bold")
    diagnosis = diagnose(result)
    parts: list[RenderableType] = [title, Text(), Text(diagnosis.headline, style=COLOURS[diagnosis.level]), Text()]
    parts += [Text("• ").append(line) for line in story(result)]
    parts += [Text(), tasks_table(result), Text(), memory_lines(result)]
    if len(result.nodes) > 1:
        parts += [Text(), numa.accesses_table(result), Text(), numa.nodes_table(result)]
    for advice in diagnosis.advice:
        setting = f" Try --set {advice.setting}." if advice.setting else ""
        parts += [Text(), Text("→ ").append(f"{advice.text}{setting}").append(f" Because {advice.because}.", "dim")]
    return parts


def story(result: Result) -> list[str]:
    """What happened, one sentence each, most important first."""
    v = result.vmstat
    lines = []
    if result.status != "complete":
        words = {
            "interrupted": "The run was interrupted: everything below is PARTIAL.",
            "time limit": "The time limit of the scenario ended the run.",
            "panic": "The kernel panicked: out of memory and nobody left to kill.",
            "stuck": "The run ended because nothing could ever run again.",
        }
        lines.append(words[result.status])
    for kill in result.oom_kills:
        if kill.task and kill.allocating:
            lines.append(
                f"Memory ran out at {format_time(kill.time_ns)}: {kill.task} was killed "
                f"({kill.allocating} had asked for memory)."
            )
        elif kill.task:
            lines.append(
                f"{kill.by} sent {kill.signal} to {kill.task} at {format_time(kill.time_ns)}: {kill.reason}."
            )
    lines += [_kswapd(result), _direct(result)]
    if v.get("compact_isolated"):
        lines.append(
            f"kcompactd: free memory was in small pieces; {format_pages(v['compact_isolated'])} of pages and free "
            "frames were taken to move pages together."
        )
    swapped = v.get("pswpout", 0)
    if result.swap["total"]:
        used = result.swap["total"] - result.swap["free"]
        lines.append(
            f"Swap: {format_pages(swapped)} written out, {format_pages(v.get('pswpin', 0))} read back; "
            f"{format_pages(used)} in use at the end."
            if swapped
            else "Swap was never used."
        )
    dropped = v.get("pgsteal_file", 0)
    lines.append(
        f"Page cache: {format_pages(dropped)} dropped, {format_pages(v.get('workingset_refault_file', 0))} of it "
        f"read again later; {format_pages(v.get('nr_written', 0))} of dirty pages written back."
        if dropped
        else "Page cache: nothing was dropped."
    )
    lines.append(
        f"Faults: {v.get('pgfault', 0):,} in all, {v.get('pgmajfault', 0):,} of them major (had to wait for a device)."
    )
    lines += numa.story(result)
    memory = result.psi["memory_some"]["total"]
    if result.time_ns:
        lines.append(
            f"Memory pressure: somebody was stalled {100 * memory / result.time_ns:.1f} % of the time, everybody "
            f"{100 * result.psi['memory_full']['total'] / result.time_ns:.1f} %."
        )
    return lines


def _kswapd(result: Result) -> str:
    v = result.vmstat
    wakes = result.events_of("kswapd_wake")
    if not len(wakes):
        return "kswapd never ran: free memory stayed above the low watermark."
    first = format_time(int(wakes["time"][0]))
    return (
        f"kswapd was woken {len(wakes):,} times, first at {first}; it scanned {v.get('pgscan_kswapd', 0):,} pages and "
        f"freed {format_pages(v.get('pgsteal_kswapd', 0))}."
    )


def _direct(result: Result) -> str:
    v = result.vmstat
    stalls = sum(n for name, n in v.items() if name.startswith("allocstall_"))
    if not stalls:
        return "Direct reclaim: none, kswapd kept up."
    hit = max(result.tasks.values(), key=lambda t: t.stalls["direct_reclaim"])
    freed = format_pages(v.get("pgsteal_direct", 0))
    return (
        f"Direct reclaim: {stalls:,} times a task had to free memory itself ({freed} freed); "
        f"hit hardest: {hit.name}, {format_time(hit.stalls['direct_reclaim'])}."
    )


def tasks_table(result: Result) -> Table:
    """One row per task."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("task")
    for name in ("state", "accesses", "minor", "major", "CPU time", "stalled", "p99 swap-in", "peak RSS"):
        table.add_column(name, justify="right")
    table.add_column("most of it")
    for task in result.tasks.values():
        cause, ns = max(task.stalls.items(), key=lambda item: item[1])
        table.add_row(
            Text(task.name), task.state, short(task.accesses), f"{task.min_flt:,}", f"{task.maj_flt:,}",
            format_time(task.cpu_ns), format_time(task.stall_ns),
            format_time(task.latency["swap_in"].percentile(99)) if task.latency["swap_in"].count else "-",
            format_pages(task.hiwater_rss), STALL_WORDS.get(cause, cause) if ns else "-",
        )  # fmt: skip
    return table


def memory_lines(result: Result) -> RenderableType:
    """Free memory, anonymous memory, page cache and swap over time."""
    from rich.table import Table

    line = result.timeline
    rows = {
        "free": line["nr_free_pages"],
        "anonymous": line["nr_active_anon"] + line["nr_inactive_anon"],
        "page cache": line["nr_active_file"] + line["nr_inactive_file"],
    }
    if result.swap["total"]:
        rows["swap used"] = result.swap["total"] - line["swap_free"]
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("over time")
    table.add_column("")
    table.add_column("lowest", justify="right")
    table.add_column("highest", justify="right")
    table.add_column("at the end", justify="right")
    for name, values in rows.items():
        table.add_row(
            name, sparkline(values), format_pages(values.min()), format_pages(values.max()), format_pages(values[-1])
        )
    return table


def short(n: int) -> str:
    """A count in at most six characters: ``999``, ``12.3 k``, ``2.27 G``."""
    for unit, power in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if n >= power:
            return f"{n / power:.3g} {unit}" if n < 1000 * power else f"{n / power:.0f} {unit}"
    return str(n)


def sparkline(values: np.ndarray, width: int = 40) -> str:
    """The course of a series in `width` characters at most; each shows the mean of its share of the rows."""
    if not len(values):
        return ""
    parts = np.array_split(np.asarray(values, float), min(width, len(values)))
    means = np.array([part.mean() for part in parts])
    top = means.max()
    levels = np.zeros(len(means), int) if top <= 0 else np.minimum((means / top * len(BARS)).astype(int), len(BARS) - 1)
    return "".join(BARS[level] for level in levels)
