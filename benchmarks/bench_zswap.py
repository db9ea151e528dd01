"""Host time of swapping: plain swap beside zswap and zram, on the same accesses.

Run as ``python -m benchmarks.bench_zswap``. A program stores to random pages of twice the memory, so nearly every
second access swaps one page in and another out; what is printed is host time per swap-in, best of several runs with
fixed seeds. Target: a cycle through compressed memory takes at most twice as long as one through a disk.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

import pymem
from pymem.records import WRITE

PAGES = 1 << 17
ACCESSES = 400_000
REPEATS = 3
DISK = {"kind": "nvme", "size": "2GiB"}
ZSWAP = {"zswap.enabled": 1, "zswap.compressor": "lz4", "zswap.max_pool_percent": 50}


def cases() -> list[tuple[str, str, dict[str, Any], dict[str, Any]]]:
    """Name, kernel, tunables, swap device."""
    return [
        ("disk", "6.12", {}, DISK),
        ("zswap, zsmalloc", "6.12", ZSWAP, DISK),
        ("zswap, zbud", "6.1", ZSWAP, DISK),
        ("zram", "6.12", {}, {"kind": "zram", "size": "2GiB", "codec": "lz4"}),
        ("store", "6.12", {}, {"kind": "store", "size": "2GiB", "codec": "lz4"}),
    ]


def run(kernel: str, vm: dict[str, Any], swap: dict[str, Any]) -> tuple[float, int]:
    """Host seconds of the random part, and its swap-ins."""
    rng = np.random.default_rng(1)
    first = np.arange(PAGES, dtype=np.uint32)
    again = rng.integers(0, PAGES, ACCESSES, dtype=np.uint32)
    scenario = pymem.Scenario(
        machine=pymem.Machine(memory=PAGES * 4096 // 2, cpus=2, swap=[pymem.SwapDevice(**swap)]),
        vm={"page-cluster": 0, "transparent_hugepage": "never", **vm}, kernel=kernel, sample_interval=0,
        tasks=[pymem.Task("task", pymem.workloads.Trace(np.concatenate([first, again]) | WRITE), content="typical")],
    )  # fmt: skip
    simulation = pymem.Simulation(scenario)
    while simulation.progress().accesses < PAGES:
        simulation.step(1 << 12)
    before = simulation.engine.events_count()["pgmajfault"]
    begin = time.perf_counter()
    while simulation.step():
        pass
    return time.perf_counter() - begin, simulation.engine.events_count()["pgmajfault"] - before


def main() -> None:
    """Print one line per case."""
    print(f"{'':18}{'swap-ins':>10}{'ns each':>10}{'to disk':>10}")
    plain = 0.0
    for name, kernel, vm, swap in cases():
        taken = [run(kernel, vm, swap) for _ in range(REPEATS)]
        each = min(seconds / faults for seconds, faults in taken) * 1e9
        plain = plain or each
        print(f"{name:18}{taken[0][1]:>10}{each:>10.0f}{each / plain:>10.2f}", flush=True)


if __name__ == "__main__":
    main()
