"""The named cases: what the engine does, and the bare loops over the same records.

Every case is prepared anew for each run, outside the time that is taken.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import machine_with_task, play
from memcore import _testing
from pymem.records import WRITE
from pymem.workloads import Zipf

PAGES = 1 << 20
ACCESSES = 30_000_000
WRITES = 0.3
PRESENT = 3  # PTE_PRESENT and PTE_WRITE

Run = Callable[[], object]
Trace = NDArray[np.uint32]


@dataclass(frozen=True)
class Case:
    """One line of the table.

    `engine`, `pagetable` and `clock` prepare a run and return it.  `ceiling` says which of the bare loops
    does the same kind of work.
    """

    name: str
    records: int
    engine: Callable[[], Run]
    pagetable: Callable[[], Run]
    clock: Callable[[], Run]
    ceiling: str


def zipf(accesses: int = ACCESSES, pages: int = PAGES) -> Trace:
    """The records of all cases but the first touch."""
    return np.concatenate(list(Zipf(pages=pages, accesses=accesses, s=0.9, writes=WRITES).chunks(1)))


def first_touch(pages: int = PAGES) -> Trace:
    """A store to every page, in order."""
    return np.arange(pages, dtype=np.uint32) | WRITE


def first_touch_of(trace: Trace) -> Trace:
    """A store to every page of a trace, in the order in which it comes to them."""
    pages = trace & ~WRITE
    return pages[np.sort(np.unique(pages, return_index=True)[1])] | WRITE


def engine_run(trace: Trace, pages: int, frames: int, swap: int, filled: bool) -> Callable[[], Run]:
    """A machine of `frames`; `filled`: every page has been stored to before."""

    def prepare() -> Run:
        engine, thread = machine_with_task(frames, pages, swap)
        if filled:
            play(engine, thread, first_touch(pages))
        else:
            engine.run()

        def run() -> dict[str, int]:
            play(engine, thread, trace)
            return dict(engine.events_count())

        return run

    return prepare


def cases(accesses: int = ACCESSES, pages: int = PAGES) -> list[Case]:
    """All cases; smaller figures are for trying out."""
    trace, touch = zipf(accesses, pages), first_touch(pages)
    room = pages + pages // 16  # more than the footprint by far more than the watermarks
    figures: list[tuple[str, Trace, int, int, bool, str]] = [
        ("hits only", trace, room, 0, True, "pagetable"),
        ("first touch", first_touch_of(trace), room, 0, False, "pagetable"),
        ("first touch in order", touch, room, 0, False, "pagetable"),
        ("memory 50 %", trace, pages // 2, 2 * pages, True, "clock"),
        ("memory 10 %", trace, pages // 10, 2 * pages, True, "clock"),
    ]

    def case(name: str, records: Trace, frames: int, swap: int, filled: bool, ceiling: str) -> Case:
        def pagetable() -> Run:
            ptes = np.full(pages, PRESENT, np.uint64)
            return lambda: _testing.bare_pagetable(records, ptes)

        return Case(
            name, len(records), engine_run(records, pages, frames, swap, filled), pagetable,
            lambda: lambda: _testing.bare_clock(records, pages, min(frames, pages)), ceiling,
        )  # fmt: skip

    return [case(*row) for row in figures]


def seconds(run: Run) -> float:
    """Time of one run."""
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def two_at_once(prepare: Callable[[], Run]) -> float:
    """Time until two independent machines, in a thread each, are both done."""
    runs = [prepare(), prepare()]
    with ThreadPoolExecutor(len(runs)) as pool:
        begin = time.perf_counter()
        for done in [pool.submit(run) for run in runs]:
            done.result()
        return time.perf_counter() - begin
