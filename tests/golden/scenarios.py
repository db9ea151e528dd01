"""The fixed scenarios behind `counters.json`: small, and together they reach every part of the engine."""

from __future__ import annotations

import numpy as np
from lab import SECOND, VM, Script, anon, file, load, machine, op, sleep, store

from pymem import Scenario, SwapDevice, Task
from pymem.devices import Disk
from pymem.records import Op

NVME = (SwapDevice("32MiB", kind="nvme"),)


def _skewed(seed: int, pages: int, accesses: int, writes: float) -> np.ndarray:
    """Accesses of which a half go to a tenth of the pages. Integers only, so the same on every host."""
    rng = np.random.Generator(np.random.PCG64(seed))
    hot = rng.integers(0, pages // 10, accesses, np.uint32)
    cold = rng.integers(0, pages, accesses, np.uint32)
    records = np.where(rng.integers(0, 2, accesses) == 1, hot, cold).astype(np.uint32)
    stores = rng.integers(0, 1000, accesses) < int(1000 * writes)
    return records | stores.astype(np.uint32) << np.uint32(31)


def _join(*parts: np.ndarray) -> np.ndarray:
    return np.concatenate(parts)


def _reads(first: int, pages: int, step: int = 32) -> np.ndarray:
    return _join(*[op(Op.READ, page, min(step, first + pages - page)) for page in range(first, first + pages, step)])


def _writes(first: int, pages: int) -> np.ndarray:
    return _join(*[op(Op.WRITE, page, 10) for page in range(first, first + pages, 10)])


def scenarios() -> dict[str, Scenario]:
    """By name."""
    out = {}

    def add(name: str, where, tasks, vm=None, **more) -> None:
        out[name] = Scenario(machine=where, tasks=tasks, vm={**VM, **(vm or {})}, name=name, **more)

    for kernel in ("6.12", "6.1"):
        add(
            f"anonymous memory on swap, kernel {kernel}", machine(2048, swap=NVME), kernel=kernel,
            tasks=[Task("app", Script([anon(3000)], _skewed(1, 3000, 30_000, 0.4)))],
        )  # fmt: skip
    add(
        "a stream of file pages beside an application", machine(2048, cpus=2, swap=NVME),
        tasks=[
            Task("app", Script([anon(1200)], _skewed(2, 1200, 60_000, 0.3))),
            Task("stream", Script([file(9000)], _reads(0, 9000))),
        ],
    )  # fmt: skip
    add(
        "writers on a slow disk", machine(2048, cpus=2, disk=Disk("hdd", bandwidth="20MB")),
        tasks=[Task(n, Script([file(2500, n)], _join(_writes(0, 2500), op(Op.FSYNC)))) for n in ("one", "two")],
    )  # fmt: skip
    add(
        "three tasks on two nodes", machine(1024, 1024, cpus=(2, 1), swap=NVME), vm={"zone_reclaim_mode": 1},
        tasks=[
            *[Task(n, Script([anon(900)], _skewed(k, 900, 20_000, 0.5))) for k, n in enumerate(("one", "two"))],
            Task("three", Script([file(3000)], load(range(0, 3000, 3)))),
        ],
    )  # fmt: skip
    add(
        "out of memory", machine(1024, swap=(SwapDevice("1MiB"),)),
        tasks=[
            Task("holder", Script([anon(700)], _join(store(range(700)), sleep(5 * SECOND)))),
            Task("hog", Script([anon(900)], _skewed(3, 900, 10_000, 0.9)), start=SECOND, oom_score_adj=200),
        ],
    )  # fmt: skip
    advice = [
        store(range(400)), op(Op.FREE, 0, 100), op(Op.COLD, 100, 100), op(Op.PAGEOUT, 200, 100), load(range(600)),
        op(Op.MLOCK, 300, 50), op(Op.WILLNEED, 1000, 200), load(range(1000, 1300)), op(Op.DONTNEED, 0, 600),
        op(Op.MUNLOCK, 300, 50), op(Op.SEQUENTIAL, 1000, 500), load(range(1000, 1500)), op(Op.RANDOM, 1500, 500),
        load(range(1500, 2000, 3)), store(range(1000, 1200)), op(Op.FSYNC, 1000), op(Op.MUNMAP, 0, 300),
    ]  # fmt: skip
    add(
        "everything a program may ask for", machine(1024, swap=NVME),
        tasks=[Task("app", Script([anon(1000), file(1000)], _join(*advice, op(Op.MMAP, 0, 300), *advice)))],
    )  # fmt: skip
    return out
