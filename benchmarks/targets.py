"""The table of targets: what is asked of the engine, as ratios measured side by side in one run.

Every row compares two things that run by turns, several times; the table shows the median of the ratios and the
worst of them beside the figure that is asked for.  Times are CPU times of this process, so other work on the host
disturbs them only through the caches it shares; only what works in two threads is timed by the clock on the wall.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

import pymem
from benchmarks import cases as c
from benchmarks.footprint import in_own_process
from benchmarks.machine import BUDGET, VM_WRITE, machine, machine_with_task, play
from pymem.workloads import Trace, Zipf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROUNDS = 3
HELP = "import sys; sys.argv = ['pymem', '--help']; import pymem.cli; pymem.cli.main()"


@dataclass(frozen=True)
class Row:
    """One line: `ratios` are the measurements, one per round; more is better unless `limit`."""

    work: str
    ratios: list[float]
    least: float
    aim: float
    limit: bool = False  # the target is an upper bound

    @property
    def worst(self) -> float:
        """The least favourable round."""
        return max(self.ratios) if self.limit else min(self.ratios)

    @property
    def met(self) -> bool:
        """Whether the median meets what is asked at least."""
        middle = median(self.ratios)
        return middle <= self.least if self.limit else middle >= self.least

    def __str__(self) -> str:
        sign = "<" if self.limit else ">"
        figures = f"{median(self.ratios):>8.2f}{self.worst:>8.2f}   {sign} {self.least:<6g}{self.aim:<6g}"
        return f"{self.work:<58}{figures}{'yes' if self.met else 'no'}"


def seconds(run: Callable[[], object], clock: Callable[[], float] = time.process_time) -> float:
    """What one run takes: CPU time, or that of another clock."""
    begin = clock()
    run()
    return clock() - begin


def by_turns(
    ours: Callable[[], c.Run], theirs: Callable[[], c.Run], clock: Callable[[], float] = time.process_time
) -> list[float]:
    """Speed of `ours` as a share of `theirs`, round by round; both are prepared outside the time."""
    return [seconds(theirs(), clock) / seconds(ours(), clock) for _ in range(ROUNDS)]


def bare_loops(accesses: int, pages: int) -> Iterator[Row]:
    """Hits, faults and replacement beside the bare loops of `memcore._testing`."""
    figures = {
        "hits only": ("hits only, against the bare page-table loop", 0.85, 1.0),
        "memory 50 %": ("memory 50 %, swap, against bare CLOCK", 0.22, 0.35),
        "memory 10 %": ("memory 10 %, swap, against bare CLOCK", 0.16, 0.3),
        "first touch": ("first-touch minor faults, against the bare page-table loop", 0.15, 0.25),
        "first touch in order": ("the same in order of address, where that loop is sequential", 0.15, 0.25),
    }
    for case in c.cases(accesses, pages):
        work, least, aim = figures[case.name]
        yield Row(work, by_turns(case.engine, getattr(case, case.ceiling)), least, aim)


def libcachesim_row(accesses: int, pages: int, share: int, least: float, aim: float) -> Row | None:
    """The full model beside libCacheSim's CLOCK, which reads its own fastest format; None where it is not installed."""
    try:
        import libcachesim as lcs
    except ImportError:
        return None
    trace = c.zipf(accesses, pages)
    records = np.zeros(len(trace), np.dtype([("time", "<u4"), ("id", "<u8"), ("size", "<u4"), ("next", "<i8")]))
    records["id"], records["size"], records["next"] = (trace & 0x7FFFFFFF) + 1, 1, -1
    frames = pages * share // 100
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "zipf.oracleGeneral")
        records.tofile(path)

        def clock() -> c.Run:
            reader = lcs.TraceReader(str(path), lcs.TraceType.ORACLE_GENERAL_TRACE)
            cache = lcs.Clock(cache_size=frames)
            return lambda: cache.process_trace(reader)

        ratios = by_turns(c.engine_run(trace, pages, frames, 2 * pages, True), clock)
    return Row(f"memory {share} %, the full model against libCacheSim's CLOCK", ratios, least, aim)


def many_tasks(accesses: int, pages: int) -> Row:
    """Eight tasks on four CPUs beside one task with the same accesses, everything in memory."""
    tasks = 8
    whole = c.zipf(accesses, pages)
    parts = [c.zipf(accesses // tasks, pages // tasks) for _ in range(tasks)]

    def prepared(cpus: int, streams: list[c.Trace]) -> Callable[[], c.Run]:
        def prepare() -> c.Run:
            engine = machine(pages + pages // 8, cpus=cpus)
            region = {"pages": pages // len(streams), "flags": VM_WRITE, "file": 0, "pgoff": 0}
            stream = {engine.add_task(regions=[region]): records for records in streams}
            engine.start()
            touched, ready = set[int](), set[int]()
            while len(ready) < len(streams):  # until all have touched their memory and want the rest
                reason, thread = engine.run(BUDGET)
                if reason == "chunk" and thread not in touched:
                    touched.add(thread)
                    engine.feed(thread, c.first_touch(pages // len(streams)), False)
                elif reason == "chunk":
                    ready.add(thread)
                    engine.feed(thread, stream[thread], True)

            def run() -> None:
                while engine.run(BUDGET)[0] != "done":
                    pass

            return run

        return prepare

    eight, one = prepared(4, parts), prepared(1, [whole])
    return Row("8 tasks on 4 CPUs, against one task with the same work", by_turns(eight, one), 0.8, 0.95)


def simulation(work: Any, pages: int, share: int) -> Callable[[], c.Run]:
    """Preparing and running one task on a machine whose memory is so many percent of its pages."""
    memory = f"{pages * 4 * share // 100 + 65536}KiB"
    host = pymem.Machine(memory=memory, cpus=1, swap=[pymem.SwapDevice(pages * 4096 * 2, kind="nvme")])
    tasks = [pymem.Task("app", work)]
    given = pymem.Scenario(
        machine=host, vm={"transparent_hugepage": "never"}, tasks=tasks, sample_interval=0, seed=1
    )

    def prepare() -> c.Run:
        prepared = pymem.Simulation(given)

        def run() -> None:
            while prepared.step():
                pass

        return run

    return prepare


def sources(accesses: int, pages: int) -> Iterator[Row]:
    """Where the accesses come from: a mapped trace file or a generator, beside an array in memory. A second thread
    generates them, so that is what the clock on the wall says, and needs two idle CPUs.
    """
    trace = c.zipf(accesses, pages)
    region = [pymem.Anon(pages=pages)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "zipf.npy")
        np.save(path, trace)
        mapped = Trace(np.load(path, mmap_mode="r"), regions=region)
        ratios = by_turns(simulation(mapped, pages, 125), simulation(Trace(trace, regions=region), pages, 125))
        yield Row("memory-mapped trace, against an array in memory", ratios, 0.9, 1.0)
    generated = Zipf(pages=pages, accesses=accesses, s=0.9, writes=c.WRITES)
    for share in (125, 25):
        preloaded = simulation(Trace(trace, regions=region), pages, share)
        ratios = by_turns(simulation(generated, pages, share), preloaded, time.perf_counter)
        work = "everything in memory" if share > 100 else f"memory {share} %"
        yield Row(f"generated on the fly, against preloaded, {work}", ratios, 0.6, 0.9)


def sizes(accesses: int) -> Iterator[Row]:
    """Time per access on a large machine beside one of 1 GiB, at the same locality: 256 areas of 2 MiB that lie
    anywhere in the address space and have been touched before, popular by Zipf's law.
    """
    rng = np.random.default_rng(1)
    area, areas = 512, 256
    local = c.zipf(accesses, areas * area)
    store = local & np.uint32(1 << 31)
    local &= np.uint32(0x7FFFFFFF)

    def prepare(gib: int) -> Callable[[], c.Run]:
        frames = gib << 18
        pages = frames - frames // 32
        place = (np.sort(rng.choice(pages // area, areas, replace=False)) * area).astype(np.uint32)
        records = (place[local // area] + local % area) | store
        touch = (place[:, None] + np.arange(area, dtype=np.uint32)).ravel() | np.uint32(1 << 31)

        def run() -> c.Run:
            engine, thread = machine_with_task(frames, pages)
            play(engine, thread, touch)
            return lambda: play(engine, thread, records)

        return run

    small = prepare(1)
    for gib in (64, 1024):
        ratios = [1 / r for r in by_turns(prepare(gib), small)]
        yield Row(f"time per access at {gib} GiB, times that at 1 GiB", ratios, 2.5, 1.5, limit=True)


def memory() -> Iterator[Row]:
    """Host bytes per simulated frame, page table of one task that maps them included; and the largest machine."""
    _, used, frames = in_own_process("full")
    yield Row("host bytes per frame in use, with the page table", [used / frames], 50, 40, limit=True)
    took, _, _ = in_own_process("tebibyte")
    yield Row("seconds until a machine of 1 TiB is there", [took], 1, 0.1, limit=True)


def pressure() -> Iterator[Row]:
    """1 TiB with all frames in use and reclaim running: host memory, and time per page beside 1 GiB."""
    small, _, _ = in_own_process("pressure-1")
    large, used, _ = in_own_process("pressure-1024")
    yield Row("1 TiB in use, reclaim running: GiB of host memory", [used / (1 << 30)], 24, 24, limit=True)
    yield Row("its time per page reclaimed, times that of 1 GiB", [large / small], 2.5, 1.0, limit=True)


def threads(accesses: int, pages: int) -> Row:
    """Two machines in two threads of the host beside one: wall-clock time, so it needs two idle CPUs."""
    case = next(case for case in c.cases(accesses, pages) if case.name == "memory 50 %")
    gains = [2 * c.seconds(case.engine()) / c.two_at_once(case.engine) for _ in range(ROUNDS)]
    return Row("two simulations in two threads, against one", gains, 1.9, 2.0)


def start_up() -> Iterator[Row]:
    """Wall-clock seconds until Python is ready, least of several."""
    for work, code, least, aim in (
        ("import pymem, seconds", "import pymem", 0.25, 0.1),
        ("pymem --help, seconds", HELP, 0.4, 0.25),
    ):  # fmt: skip
        took = []
        for _ in range(5):
            begin = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
            took.append(time.perf_counter() - begin)
        yield Row(work, [min(took)], least, aim, limit=True)


def rows(accesses: int, pages: int) -> Iterator[Row]:
    """All rows, in the order of the table."""
    yield from bare_loops(accesses, pages)
    for share, least, aim in ((10, 2.0, 3.0), (50, 4.0, 6.0)):
        row = libcachesim_row(accesses, pages, share, least, aim)
        if row is not None:
            yield row
    yield many_tasks(accesses, pages)
    yield from sources(accesses, pages)
    yield from sizes(min(accesses, 5_000_000))
    yield from memory()
    yield threads(accesses, pages)
    yield from start_up()
