"""What several nodes and many tasks cost: each case beside its counterpart, measured by turns.

Two nodes against one of the same total size, where every access is local; and a thousand tasks of a thousand pages
against one task of as many. Times are CPU times of the host, first touch of all pages included.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.machine import BUDGET, KERNEL_PAGES, NORMAL, VM_WRITE, params
from memcore.engine import Engine
from pymem.records import WRITE
from pymem.workloads import Zipf

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

ROUNDS = 7
PAGES = 1 << 20
ACCESSES = 30_000_000
TASKS = 1000


def machine(nodes: int, frames: int, cpus: int) -> Engine:
    """So many equal nodes that together have `frames` usable frames."""
    specs: list[dict[str, Any]] = []
    start, each = 1, frames // nodes
    for i in range(nodes):
        held = KERNEL_PAGES // nodes
        zone = {
            "idx": NORMAL, "start_pfn": start, "spanned": each + held, "present": each + held, "managed": each + held,
            "free": each,
        }  # fmt: skip
        start += each + held
        specs.append({
            "cpus": cpus // nodes, "distance": [10 if i == j else 21 for j in range(nodes)],
            "access_ns": [90 if i == j else 189 for j in range(nodes)], "zones": [zone],
        })  # fmt: skip
    cpu_nodes = [i for i in range(nodes) for _ in range(cpus // nodes)]
    return Engine(params=params(frames), nodes=specs, cpu_nodes=cpu_nodes, seed=1)


def run(engine: Engine, streams: dict[int, list[NDArray[np.uint32]]]) -> float:
    """CPU time of the host until every task has worked through its stream."""
    begin = time.process_time()
    while True:
        reason, thread = engine.run(BUDGET)
        if reason == "done":
            return time.process_time() - begin
        if reason == "chunk":
            chunk = streams[thread].pop(0) if streams[thread] else None
            engine.feed(thread, chunk, chunk is None)
        elif reason != "limit":
            raise RuntimeError(f"the benchmark came to an end by {reason!r}")


def one_per_cpu(nodes: int, pages: int, accesses: int, cpus: int = 2) -> float:
    """Time per access, in ns, of one task on each of two CPUs, with half of the pages each; the memory holds all."""
    engine = machine(nodes, pages + pages // 4, cpus)
    region = {"pages": pages // cpus, "flags": VM_WRITE, "file": 0, "pgoff": 0}
    streams = {}
    for cpu in range(cpus):
        thread = engine.add_task(regions=[region], affinity=[cpu])
        work = Zipf(pages=pages // cpus, accesses=accesses // cpus, s=0.9, writes=0.3)
        streams[thread] = [np.arange(pages // cpus, dtype=np.uint32) | WRITE, *work.chunks(cpu + 1)]
    engine.start()
    seconds = run(engine, streams)
    if any(engine.task(thread)["remote"] for thread in streams):
        raise RuntimeError("not every access was local")
    return seconds / (pages + accesses) * 1e9


def crowd(tasks: int, pages: int, accesses: int, cpus: int = 4) -> float:
    """Time per access, in ns, of so many tasks that share pages and accesses among them; the machine holds all."""
    engine = machine(1, pages + pages // 8 + 16 * tasks, cpus)
    region = {"pages": pages // tasks, "flags": VM_WRITE, "file": 0, "pgoff": 0}
    streams = {}
    for number in range(tasks):
        thread = engine.add_task(regions=[region])
        work = Zipf(pages=pages // tasks, accesses=accesses // tasks, s=0.9, writes=0.3)
        streams[thread] = [np.arange(pages // tasks, dtype=np.uint32) | WRITE, *work.chunks(number)]
    engine.start()
    return run(engine, streams) / (pages + accesses) * 1e9


def compare(first: Callable[[], float], second: Callable[[], float]) -> tuple[float, float]:
    """Best ns per access of both, run by turns so that a slow moment of the host meets both."""
    pairs = [(first(), second()) for _ in range(ROUNDS)]
    return min(a for a, _ in pairs), min(b for _, b in pairs)


def lines(pages: int = PAGES, accesses: int = ACCESSES) -> list[str]:
    """One line for each comparison."""
    few = pages // 8  # whose page tables fit into the caches of the host: its memory would drown the difference
    one, two = compare(lambda: one_per_cpu(1, few, accesses), lambda: one_per_cpu(2, few, accesses))
    out = [f"two nodes, local only: {two:>6.2f} ns per access, one node {one:>6.2f}: {two / one:.3f} times"]
    single, many = compare(lambda: crowd(1, pages, accesses), lambda: crowd(TASKS, pages, accesses))
    out.append(
        f"{TASKS} tasks of {pages // TASKS} pages: {many:>6.2f} ns per access, one task {single:>6.2f}: "
        f"{single / many:.3f} times the throughput"
    )
    return out


if __name__ == "__main__":
    print("\n".join(lines()))
