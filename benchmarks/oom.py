"""How long a choice among many tasks takes: facts out of the engine, scores, victim."""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.machine import BUDGET, VM_WRITE, machine
from pymem import oom

if TYPE_CHECKING:
    from collections.abc import Callable

    from memcore.engine import Engine

TASKS = 10_000
PAGES = 16  # of each task
ROUNDS = 21


def crowd(tasks: int = TASKS) -> Engine:
    """A machine on which so many tasks have touched their memory and sleep."""
    engine = machine(tasks * (PAGES + 8))
    region = {"pages": PAGES, "flags": VM_WRITE, "file": 0, "pgoff": 0}
    for pid in range(tasks):
        engine.add_task(regions=[region], pid=pid, oom_score_adj=pid % 7)
    engine.start()
    store, sleep = 1 << 40, 17 << 40
    records = np.array([*range(store, store + PAGES), sleep | (1 << 39)], np.uint64)
    fed = 0
    while fed < tasks:
        reason, thread = engine.run(BUDGET)
        if reason != "chunk":
            raise RuntimeError(f"the benchmark came to an end by {reason!r}")
        engine.feed(thread, records, True)
        fed += 1
    engine.alarm(engine.now + 100 * 10**9)  # by then all sleep, for 2^39 ns
    while engine.run(BUDGET)[0] != "alarm":
        pass
    return engine


def decision(engine: Engine, name: str) -> Callable[[], int | None]:
    """All of one decision of a policy."""
    policy = oom.by_name(name)
    tasks = len(engine.oom_facts()[0])
    if tasks != TASKS:
        raise RuntimeError(f"{tasks} tasks live; {TASKS} should")
    names = np.array([f"task-{i}" for i in range(tasks + 1)], object)
    nice = np.zeros(tasks + 1, np.int64)

    def decide() -> int | None:
        facts = oom.facts_from(
            engine.oom_facts(), names, nice, allocating=1, total_pages=engine.total_pages, now_ns=engine.now
        )
        return policy.choose(facts)

    return decide


def lines() -> list[str]:
    """One line per policy of the kernel: daemons score by the same arrays."""
    engine = crowd()
    out = []
    for name in (name for name, cls in oom.POLICIES.items() if not issubclass(cls, oom.Daemon)):
        decide, taken = decision(engine, name), []
        for _ in range(ROUNDS):
            begin = time.perf_counter()
            decide()
            taken.append(time.perf_counter() - begin)
        out.append(f"OOM decision over {TASKS} tasks, {name:<12}{1e3 * median(taken):>6.2f} ms")
    return out
