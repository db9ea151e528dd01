"""The event time line as a trace in the JSON format of Chrome, which ui.perfetto.dev and chrome://tracing open.

One process per kind of thread: tasks, kswapd, the machine. Reclaim is a slice from begin to end on the row of who did
it, kills and throttling are instants, memory and traffic are counters. Times are microseconds of the simulated machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pymem.result import Result

KSWAPD, MACHINE = 1, 2  # process ids that no task has: those begin at 1000
ROWS = 10_000  # counters are drawn at so many times at most
LEVELS = {
    "memory": ("nr_free_pages", "nr_active_anon", "nr_inactive_anon", "nr_active_file", "nr_inactive_file"),
    "dirty": ("nr_dirty", "nr_writeback"),
}
RATES = {
    "swap": ("pswpin", "pswpout"), "reclaim": ("pgsteal_kswapd", "pgsteal_direct"), "faults": ("pgfault", "pgmajfault")
}  # fmt: skip


def trace_events(result: Result) -> dict[str, Any]:
    """The trace as an object for ``json.dump``."""
    events = [*_names(result), *_tasks(result), *_log(result), *_counters(result)]
    return {"traceEvents": events, "displayTimeUnit": "ms", "otherData": {"name": result.name, "status": result.status}}


def _names(result: Result) -> Iterator[dict[str, Any]]:
    rows = [(KSWAPD, "kswapd"), (MACHINE, "machine"), *((task.pid, task.name) for task in result.tasks.values())]
    for pid, name in rows:
        yield {"ph": "M", "name": "process_name", "pid": pid, "tid": 0, "args": {"name": name}}
    for node in sorted({zone["node"] for zone in result.zones}):
        yield {"ph": "M", "name": "thread_name", "pid": KSWAPD, "tid": node, "args": {"name": f"kswapd{node}"}}


def _tasks(result: Result) -> Iterator[dict[str, Any]]:
    for task in result.tasks.values():
        end = result.time_ns if task.end_ns is None else task.end_ns
        if task.start_ns <= end:
            stalls = {f"stall_{cause}_ns": ns for cause, ns in task.stalls.items()}
            args = {"state": task.state, "accesses": task.accesses, **stalls}
            yield _slice(task.name, task.pid, 0, task.start_ns, end, args)


def _log(result: Result) -> Iterator[dict[str, Any]]:
    """Slices from pairs of events; what is open at the end of the run ends there."""
    names = result.event_kinds
    pids = [task.pid for task in result.tasks.values()]  # thread 1 is the first task
    open_: dict[tuple[str, int], int] = {}
    for event in result.events:
        kind, time, who, value = names[event["kind"]], int(event["time"]), int(event["who"]), int(event["value"])
        pid = pids[who - 1] if 1 <= who <= len(pids) else MACHINE
        if kind == "kswapd_wake":
            open_.setdefault(("kswapd", who), time)
        elif kind == "kswapd_sleep" and ("kswapd", who) in open_:
            yield _slice("reclaim", KSWAPD, who, open_.pop(("kswapd", who)), time, {"reclaimed": value})
        elif kind == "direct_begin":
            open_.setdefault(("direct", who), time)
        elif kind == "direct_end" and ("direct", who) in open_:
            yield _slice("direct reclaim", pid, 0, open_.pop(("direct", who)), time, {"reclaimed": value})
        elif kind in ("oom", "oom_kill"):
            yield _instant(kind, pid, time, {"rss_pages": value} if kind == "oom_kill" else {}, "g")
        elif kind == "dirty_throttle":
            yield _instant("slowed down as a writer", pid, time, {"ns": value})
        elif kind == "writeback":
            yield _instant("writeback", MACHINE, time, {"device": who, "pages": value})
    for (kind, who), begin in open_.items():
        pid, row = (KSWAPD, who) if kind == "kswapd" else (pids[who - 1] if 1 <= who <= len(pids) else MACHINE, 0)
        name = "reclaim" if kind == "kswapd" else "direct reclaim"
        yield _slice(name, pid, row, begin, max(result.time_ns, begin), {})


def _counters(result: Result) -> Iterator[dict[str, Any]]:
    line = result.timeline
    times = line.columns.get("time_ns", ())
    before = dict.fromkeys((name for names in RATES.values() for name in names), 0)
    # A long run has few counters, so that a browser can open it: rates are then of longer times, and nothing is lost.
    rows = list(range(0, len(times), max(1, -(-len(times) // ROWS))))
    if rows and rows[-1] != len(times) - 1:
        rows.append(len(times) - 1)
    for row in rows:
        time = times[row]
        for title, names in LEVELS.items():
            yield _counter(title, int(time), {name: 4096 * int(line[name][row]) for name in names})
        for title, names in RATES.items():
            grown = {}
            for name in names:
                grown[name] = int(line[name][row]) - before[name]
                before[name] += grown[name]
            yield _counter(f"{title} per sample", int(time), grown)


def _slice(name: str, pid: int, tid: int, begin: int, end: int, args: dict[str, Any]) -> dict[str, Any]:
    return {
        "ph": "X", "name": name, "cat": "mm", "pid": pid, "tid": tid, "ts": begin / 1000, "dur": (end - begin) / 1000,
        "args": args,
    }  # fmt: skip


def _instant(name: str, pid: int, time: int, args: dict[str, Any], scope: str = "p") -> dict[str, Any]:
    return {"ph": "i", "s": scope, "name": name, "cat": "mm", "pid": pid, "tid": 0, "ts": time / 1000, "args": args}


def _counter(name: str, time: int, args: dict[str, int]) -> dict[str, Any]:
    return {"ph": "C", "name": name, "pid": MACHINE, "tid": 0, "ts": time / 1000, "args": args}
