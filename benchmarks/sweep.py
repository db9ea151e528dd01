"""Figures of sweeps: overhead per point, gain of a second thread, time to query many results.

``python -m benchmarks.sweep``
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import pymem
from pymem.objectives import OBJECTIVES
from pymem.sweeps.executors import Job, run_job
from pymem.sweeps.store import Run, Store

ROUNDS = 5


def scenario(accesses: int, pages: int = 8192) -> pymem.Scenario:
    """One program that swaps: Zipf over `pages` on a machine of three quarters of that."""
    machine = pymem.Machine(memory=f"{pages * 4 * 3 // 4 + 8192}KiB", cpus=1, swap=[pymem.SwapDevice("256MiB")])
    work = pymem.workloads.Zipf(pages=pages, accesses=accesses, writes=0.3)
    return pymem.Scenario(machine=machine, tasks=[pymem.Task("app", work)], seed=1)


def spent(work: object) -> tuple[float, float]:
    """Wall-clock and CPU seconds of a call."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()  # type: ignore[operator]
    return time.perf_counter() - wall, time.process_time() - cpu


def overhead(points: int) -> str:
    """A sweep of short runs beside the same runs alone, by turns; one thread, with a store on disk."""
    base = scenario(1000)
    runs = [base.with_settings({"vm.swappiness": i % 201}) for i in range(points)]
    extra, alone = [], []
    for _ in range(ROUNDS):
        bare, _ = spent(lambda: [pymem.simulate(run) for run in runs])
        with tempfile.TemporaryDirectory() as folder:
            swept, _ = spent(
                lambda folder=folder: pymem.sweep(
                    base, grid={"vm.swappiness": range(201)}, replicates=points // 201, store=folder, jobs=1
                )
            )
        done = points // 201 * 201
        alone.append(1e3 * bare / points)
        extra.append(1e3 * (swept / done - bare / points))
    return f"overhead of a sweep: {median(extra):.2f} ms per point, beside {median(alone):.2f} ms for the run alone"


def waiting_for_nobody(jobs: int, base: pymem.Scenario, runs: int) -> float:
    """How many CPUs so many threads would keep busy on an idle host.

    The kernel counts for each thread how long it ran and how long it was ready but had no CPU; the rest of the time it
    was blocked, which here means by the interpreter lock.
    """

    def work() -> tuple[float, float]:
        def ready() -> int:
            ran, delayed, _ = Path("/proc/thread-self/schedstat").read_text(encoding="ascii").split()
            return int(ran) + int(delayed)

        wall, before = time.perf_counter_ns(), ready()
        for number in range(runs):
            run_job([base], Job(number, 0, number, {}), (), lambda: False)
        return float(ready() - before), float(time.perf_counter_ns() - wall)

    with ThreadPoolExecutor(jobs) as pool:
        shares = [future.result() for future in [pool.submit(work) for _ in range(jobs)]]
    return sum(ready / wall for ready, wall in shares)


def threads(accesses: int, points: int) -> list[str]:
    """The same sweep with one thread and with two, by turns."""
    base = scenario(accesses)
    gains, uses, ready = [], [], []
    for _ in range(ROUNDS):
        walls = {}
        for jobs in (1, 2):
            walls[jobs], cpu = spent(
                lambda jobs=jobs: pymem.sweep(base, grid={"vm.swappiness": range(60, 60 + points)}, jobs=jobs)
            )
        uses.append(cpu / walls[2])
        gains.append(walls[1] / walls[2])
        ready.append(waiting_for_nobody(2, base, points // 2))
    return [
        f"two threads: {median(gains):.2f} times as fast as one (best round {max(gains):.2f}), {median(uses):.2f} CPUs "
        f"in use, on {len(os.sched_getaffinity(0))} CPUs with load {os.getloadavg()[0]:.1f}",
        f"two threads: {median(ready):.2f} of them running or ready to run, not waiting for the interpreter",
    ]


def query(results: int) -> str:
    """All rows of a store as a table of arrays, and as dicts."""
    outcome = {name: 123456.0 + i for i, name in enumerate(OBJECTIVES)}
    with tempfile.TemporaryDirectory() as folder:
        base = scenario(1000)
        kept = pymem.sweep(base, grid={"vm.swappiness": [1]}, store=folder)
        with Store(Path(folder)) as store:
            store.add_points((i, {"vm.swappiness": i % 201}) for i in range(1, results))
            store._db.execute("BEGIN")
            for i in range(1, results):
                store.add(Run(i, 0, i, "complete", "", outcome, {}, 0.1))
            store._db.execute("COMMIT")
        opened, _ = spent(lambda: pymem.open_store(folder))
        kept = pymem.open_store(folder)
        if len(kept) != results:
            raise RuntimeError(f"{len(kept)} results; {results} were written")
        arrays, _ = spent(lambda: {name: kept[name] for name in kept.columns})
        rows, _ = spent(kept.rows)
    return f"{results} results: opened in {opened:.2f} s, all columns in {arrays:.2f} s, all rows in {rows:.2f} s"


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sweep", description=__doc__)
    parser.add_argument("--accesses", type=int, default=2_000_000)
    options = parser.parse_args()
    print(overhead(402), flush=True)
    # points enough that the end, when one thread has no more to do, counts for little
    print("\n".join(threads(options.accesses, 24)), flush=True)
    print(query(10_000))


if __name__ == "__main__":
    main()
