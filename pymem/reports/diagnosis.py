"""What happened and what to try, from the counters of one run.

Every sentence carries the figures it follows from, and every threshold is a constant here, explained in
``docs/reports.md``. Advice is a guess of what to try next, never a promise: it says so by naming its reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from pymem import tunables
from pymem.errors import TunableError
from pymem.units import format_bytes, format_pages, format_time

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pymem.result import Result, TaskResult

THRASH_REFAULTS = 0.5  # of the reclaimed pages were wanted back ...
THRASH_WAITING = 0.25  # ... and this share of the time of all tasks went into waiting for pages
STORM_RATE = 0.01  # of memory per second, swapped in and out at the same time
STORM_WINDOW_NS = 100_000_000
STALLS_MATTER = 0.01  # share of the time of a task from which direct reclaim is worth a headline
KSWAPD_BUSY = 0.5  # share of the time since its first wake-up
LOPSIDED = 4  # one kind of page is read back this many times as often as the other
REFAULTS_MATTER = 0.01  # of memory
DIRTY_MATTERS = 0.05  # share of the time of a task
READAHEAD_MIN, READAHEAD_HITS = 1000, 0.5

#: Verdicts, worst first, with how good or bad they are for colours: 0 calm, 1 busy, 2 slow, 3 broken.
VERDICTS = {
    "panic": 3, "stuck": 3, "oom": 3, "killed": 3, "thrash": 2, "storm": 2, "stalls": 2, "reclaim": 1, "kswapd": 1,
    "calm": 0,
}  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """One thing that happened, at `time_ns` (None: over the whole run)."""

    kind: str
    time_ns: int | None
    text: str


@dataclass(frozen=True)
class Advice:
    """What to try, why, and as `setting` for ``pymem run --set`` (``""``: no single setting)."""

    text: str
    because: str
    setting: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """What came of a run in words: a key of `VERDICTS`, one sentence, what happened in order, what to try."""

    verdict: str
    headline: str
    findings: list[Finding] = field(default_factory=list)
    advice: list[Advice] = field(default_factory=list)

    @property
    def level(self) -> int:
        """0 calm, 1 busy, 2 slow, 3 broken."""
        return VERDICTS[self.verdict]


class Facts:
    """Figures that several sentences use; shares are 0 to 1, sizes pages, times ns."""

    def __init__(self, result: Result) -> None:
        v, line = result.vmstat, result.timeline
        self.result = result
        self.memory = sum(zone["managed"] for zone in result.zones)
        self.low = sum(zone["low"] for zone in result.zones)
        self.allocstalls = sum(n for name, n in v.items() if name.startswith("allocstall_"))
        self.reclaimed = v.get("pgsteal_kswapd", 0) + v.get("pgsteal_direct", 0)
        self.refault_anon = v.get("workingset_refault_anon", 0)
        self.refault_file = v.get("workingset_refault_file", 0)
        self.refaults = self.refault_anon + self.refault_file
        self.lifetime = {name: max((t.end_ns or result.time_ns) - t.start_ns, 0) for name, t in result.tasks.items()}
        whole = sum(self.lifetime.values())
        waited = sum(t.stalls["swap_in"] + t.stalls["file_read"] for t in result.tasks.values())
        self.waiting = waited / whole if whole else 0.0
        self.storm = _storm(line.columns, self.memory) if len(line) > 1 else None
        self.swap_total = int(result.swap["total"])
        self.worst = max(result.tasks.values(), key=reclaim_ns, default=None)
        wakes = result.events_of("kswapd_wake")
        self.first_wake = int(wakes["time"][0]) if len(wakes) else None
        self.wakes = len(wakes)
        self.kernel_kills = [kill for kill in result.oom_kills if kill.task and kill.allocating]
        self.daemon_kills = [kill for kill in result.oom_kills if kill.task and not kill.allocating]

    @property
    def thrashing(self) -> bool:
        """Reclaimed pages were wanted back, and the tasks spent their time on that."""
        return self.refaults >= THRASH_REFAULTS * self.reclaimed > 0 and self.waiting >= THRASH_WAITING

    @property
    def stalled_share(self) -> float:
        """Of the task that reclaimed most for itself: share of its time."""
        if self.worst is None or not self.lifetime[self.worst.name]:
            return 0.0
        return reclaim_ns(self.worst) / self.lifetime[self.worst.name]

    def row_at(self, time_ns: int) -> int | None:
        """Last row of the time line at or before a time."""
        times = self.result.timeline.columns.get("time_ns", np.zeros(0))
        row = int(np.searchsorted(times, time_ns, side="right")) - 1
        return row if row >= 0 else None


@dataclass(frozen=True)
class Storm:
    """A time in which pages went to swap and came back at once: begin, all such time together, peak pages/s in."""

    start_ns: int
    total_ns: int
    peak_in: float
    peak_ns: int


def reclaim_ns(task: TaskResult) -> int:
    """Time a task spent reclaiming or throttled by reclaim."""
    return task.stalls["direct_reclaim"] + task.stalls["throttle"]


def diagnose(result: Result) -> Diagnosis:
    """Say what happened in a run and what to try."""
    facts = Facts(result)
    verdict, headline = _headline(facts)
    findings = sorted(_findings(facts), key=lambda f: (f.time_ns is None, f.time_ns or 0))
    return Diagnosis(verdict, headline, findings, list(_advice(facts)))


def _headline(f: Facts) -> tuple[str, str]:
    result = f.result
    if result.status == "panic":
        return "panic", f"The kernel panicked after {format_time(result.time_ns)}: memory ran out."
    if result.status == "stuck":
        return "stuck", f"Nothing could run any more after {format_time(result.time_ns)}."
    if f.kernel_kills:
        names = _listed([kill.task for kill in f.kernel_kills])
        first = format_time(f.kernel_kills[0].time_ns)
        return "oom", f"Memory ran out: the OOM killer ended {names}, first at {first}."
    if f.daemon_kills:
        kill, names = f.daemon_kills[0], _listed([kill.task for kill in f.daemon_kills])
        return "killed", f"{kill.by} ended {names} before the kernel had to, first at {format_time(kill.time_ns)}."
    if f.thrashing:
        return "thrash", (
            f"The working set did not fit: {_percent(f.refaults / f.reclaimed)} of the pages reclaimed were wanted "
            f"back, and tasks spent {_percent(f.waiting)} of their time waiting for them."
        )
    if f.storm is not None and f.storm.total_ns >= 0.1 * result.time_ns:
        return "storm", (
            f"Swap storm: for {format_time(f.storm.total_ns)} of {format_time(result.time_ns)} pages went out and "
            f"came back at once, at up to {format_pages(f.storm.peak_in)}/s."
        )
    if f.worst is not None and f.stalled_share >= STALLS_MATTER:
        return "stalls", (
            f"kswapd did not keep up: {f.worst.name} spent {_percent(f.stalled_share)} of its time reclaiming memory "
            "for itself."
        )
    if f.allocstalls:
        return "reclaim", (
            f"Under pressure, but bearable: {f.allocstalls:,} direct reclaims cost no task more than "
            f"{_percent(f.stalled_share)} of its time."
        )
    if f.first_wake is not None:
        return "kswapd", f"kswapd kept up: it freed {format_pages(f.reclaimed)} and no task had to reclaim for itself."
    return "calm", "No memory pressure: free memory stayed above the low watermark."


def _findings(f: Facts) -> Iterator[Finding]:
    result = f.result
    if f.first_wake is not None:
        yield Finding(
            "kswapd", f.first_wake,
            f"kswapd woke for the first time: a zone was below its low watermark (all zones: {format_pages(f.low)}); "
            f"{f.wakes:,} times in all.",
        )  # fmt: skip
    direct = result.events_of("direct_begin")
    if f.allocstalls and f.worst is not None:
        at = int(direct["time"][0]) if len(direct) else None
        yield Finding(
            "direct", at,
            f"First direct reclaim; {f.allocstalls:,} in all. Hit hardest: {f.worst.name}, "
            f"{format_time(reclaim_ns(f.worst))} ({_percent(f.stalled_share)} of its time), "
            f"p99 {format_time(f.worst.latency['direct_reclaim'].percentile(99))}.",
        )  # fmt: skip
    yield from _swap_findings(f)
    throttled = result.events_of("dirty_throttle")
    if len(throttled):
        total = sum(task.stalls["dirty"] for task in result.tasks.values())
        yield Finding(
            "dirty", int(throttled["time"][0]),
            f"A writer was slowed down for the first time; {len(throttled):,} times and {format_time(total)} in all.",
        )  # fmt: skip
    for kill in result.oom_kills:
        if not kill.task:
            who = kill.allocating or "Somebody"
            yield Finding("panic", kill.time_ns, f"{who} asked for memory; the kernel panicked.")
            continue
        pages, slots = format_pages(kill.freed_pages), format_pages(kill.freed_swap)
        who = f"{kill.allocating} had asked for memory" if kill.allocating else f"by {kill.by}: {kill.reason}"
        yield Finding(
            "oom", kill.time_ns,
            f"{kill.task} was killed ({who}). That gave back {pages} of memory and {slots} of swap.",
        )  # fmt: skip
    if f.reclaimed and f.refaults:
        yield Finding(
            "refault", None,
            f"Of {format_pages(f.reclaimed)} reclaimed, {format_pages(f.refaults)} were wanted back: "
            f"{format_pages(f.refault_anon)} of anonymous memory and {format_pages(f.refault_file)} of page cache. "
            f"Tasks waited {_percent(f.waiting)} of their time for pages from devices.",
        )  # fmt: skip


def _swap_findings(f: Facts) -> Iterator[Finding]:
    line = f.result.timeline
    if f.storm is not None:
        yield Finding(
            "storm", f.storm.start_ns,
            f"Swap storm: {format_time(f.storm.total_ns)} in which pages went out and came back at once; the peak was "
            f"{format_pages(f.storm.peak_in)}/s in, at {format_time(f.storm.peak_ns)}.",
        )  # fmt: skip
    if not len(line):
        return
    used = np.flatnonzero(line["pswpout"])
    if len(used):
        out, back = (format_pages(f.result.vmstat.get(name, 0)) for name in ("pswpout", "pswpin"))
        yield Finding(
            "swap", int(line["time_ns"][used[0]]), f"Swap was in use from here on; {out} written out, {back} read back."
        )
    full = np.flatnonzero(line["swap_free"] == 0)
    if f.swap_total and len(full):
        at = int(line["time_ns"][full[0]])
        yield Finding("swap_full", at, f"All {format_pages(f.swap_total)} of swap were full.")


def _storm(columns: dict[str, NDArray[np.int64]], memory: int) -> Storm | None:
    """Look at the swap traffic in windows of at least `STORM_WINDOW_NS`."""
    times = columns["time_ns"]
    marks = np.arange(times[0], times[-1] + 1, STORM_WINDOW_NS)
    rows = np.unique(np.append(np.searchsorted(times, marks), len(times) - 1))
    rows = rows[np.append(True, np.diff(times[rows]) > 0)]
    span = np.diff(times[rows]) / 1e9
    came, went = (np.diff(columns[name][rows]) / span for name in ("pswpin", "pswpout"))
    stormy = np.flatnonzero(np.minimum(came, went) >= STORM_RATE * memory)
    if not len(stormy):
        return None
    peak = stormy[np.argmax(came[stormy])]
    return Storm(
        int(times[rows[stormy[0]]]), round(float(span[stormy].sum()) * 1e9), float(came[peak]), int(times[rows[peak]])
    )


def _advice(f: Facts) -> Iterator[Advice]:
    result = f.result
    vm = _tunables(result.provenance)
    if f.kernel_kills or result.status == "panic":
        yield _out_of_memory(f)
    compressed = "zswap" in result.swap or any("zram" in area for area in result.swap["areas"])
    if f.thrashing:
        yield Advice(
            "More memory, or less at once. No tunable makes a working set fit"
            + ("." if compressed or not f.swap_total else "; compressed swap may stretch memory: compare with zswap."),
            f"{format_pages(f.refaults)} were reclaimed and wanted back in {format_time(result.time_ns)}, on a machine "
            f"with {format_pages(f.memory)}",
            "" if compressed or not f.swap_total else "vm.zswap.enabled=1",
        )  # fmt: skip
    yield from _reclaim_advice(f, vm)
    v = result.vmstat
    ahead, hits = v.get("swap_ra", 0), v.get("swap_ra_hit", 0)
    if ahead >= READAHEAD_MIN and hits < READAHEAD_HITS * ahead and vm.get("page-cluster", 0) > 0:
        yield Advice(
            "Read less ahead from swap.",
            f"only {hits:,} of {ahead:,} pages read ahead were used",
            f"vm.page-cluster={vm['page-cluster'] - 1}",
        )
    for task in result.tasks.values():
        life = f.lifetime[task.name]
        if life and task.stalls["dirty"] >= DIRTY_MATTERS * life:
            yield Advice(
                f"{task.name} writes faster than the disk takes it. A lower vm.dirty_background_ratio starts writeback "
                "sooner; only a faster disk makes it faster.",
                f"it was slowed down for {format_time(task.stalls['dirty'])}, "
                f"{_percent(task.stalls['dirty'] / life)} of its time",
            )
    limit = result.swap.get("zswap", {}).get("pool_limit_hit", 0)
    if limit and "zswap.max_pool_percent" in vm:
        yield Advice(
            "Give zswap a larger pool.", f"its limit was reached {limit:,} times",
            f"vm.zswap.max_pool_percent={min(100, 2 * vm['zswap.max_pool_percent'])}",
        )  # fmt: skip


def _out_of_memory(f: Facts) -> Advice:
    kills = f.kernel_kills or f.result.oom_kills
    held = sum(kill.freed_pages + kill.freed_swap for kill in f.kernel_kills)
    because = f"the victims held {format_pages(held)}" if held else "nothing could be reclaimed"
    if not f.swap_total:
        return Advice(
            "Add swap or memory, or limit the tasks.", f"{because}, and there was no swap to move anonymous memory to"
        )
    row = f.row_at(kills[-1].time_ns if kills else f.result.time_ns)
    left = f.result.timeline["swap_free"][row] if row is not None else f.result.swap["free"]
    return Advice(
        "Add memory or swap, or start less at once. How much is enough this run cannot say: it ended the victims.",
        f"{because}; of {format_pages(f.swap_total)} of swap {format_pages(int(left))} were left at the last kill",
    )  # fmt: skip


def _reclaim_advice(f: Facts, vm: dict[str, int]) -> Iterator[Advice]:
    line = f.result.timeline
    if f.worst is not None and f.stalled_share >= STALLS_MATTER and f.first_wake is not None and len(line) > 1:
        since = line["kswapd_awake"][line["time_ns"] >= f.first_wake]
        busy = float((since > 0).mean()) if len(since) else 0.0
        cost = f"{f.worst.name} spent {_percent(f.stalled_share)} of its time in direct reclaim"
        if busy >= KSWAPD_BUSY:
            yield Advice(
                "Waking kswapd earlier would buy little; it is the amount of memory, or the speed of the swap device.",
                f"{cost} although kswapd was awake {_percent(busy)} of the time since its first wake-up",
            )
        elif "watermark_scale_factor" in vm:
            yield Advice(
                "Wake kswapd earlier, at the price of memory kept free.",
                f"{cost} while kswapd slept {_percent(1 - busy)} of the time since its first wake-up",
                f"vm.watermark_scale_factor={min(1000, 5 * vm['watermark_scale_factor'])}",
            )
    if max(f.refault_anon, f.refault_file) < REFAULTS_MATTER * f.memory or not f.swap_total or "swappiness" not in vm:
        return
    anon, cache = format_pages(f.refault_anon), format_pages(f.refault_file)
    if f.refault_file >= LOPSIDED * f.refault_anon and vm["swappiness"] < 200:
        yield Advice(
            "Swap more, keep more page cache.", f"{cache} of page cache were read again, {anon} of anonymous memory",
            f"vm.swappiness={min(200, vm['swappiness'] + 40)}",
        )  # fmt: skip
    elif f.refault_anon >= LOPSIDED * f.refault_file and vm["swappiness"] and f.result.vmstat.get("pgsteal_file", 0):
        yield Advice(
            "Swap less, drop more page cache.", f"{anon} of anonymous memory were read again, {cache} of page cache",
            f"vm.swappiness={max(0, vm['swappiness'] - 40)}",
        )  # fmt: skip


def _tunables(provenance: dict[str, Any]) -> dict[str, int]:
    """All tunables of the run; empty where the provenance does not say."""
    scenario = provenance.get("scenario", {})
    try:
        return tunables.resolve(scenario.get("vm", {}), scenario.get("kernel", "6.12"))
    except (AttributeError, TunableError):
        return {}


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.1f} %"


def _listed(names: list[str]) -> str:
    """``a``, ``a and b``, ``a, b and 3 more``."""
    names = list(dict.fromkeys(names))
    if len(names) > 3:
        names = [*names[:2], f"{len(names) - 2} more"]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def machine_line(result: Result) -> str:
    """What the run ran on, in a line."""
    scenario = result.provenance.get("scenario", {})
    memory = format_bytes(4096 * sum(zone["present"] for zone in result.zones))
    nodes = len({zone["node"] for zone in result.zones})
    parts = [f"Linux {scenario.get('kernel', '?')}", f"{memory} of memory"]
    if nodes > 1:
        parts.append(f"{nodes} NUMA nodes")
    parts.append(f"{format_pages(result.swap['total'])} of swap" if result.swap["total"] else "no swap")
    return ", ".join(parts)
