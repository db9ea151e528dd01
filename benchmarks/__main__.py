"""The table: nanoseconds per access of the engine and of bare loops, measured by turns, median of three."""

from __future__ import annotations

import argparse
from statistics import median
from typing import TYPE_CHECKING

from benchmarks import cases as c
from benchmarks import numa, oom
from benchmarks.footprint import in_own_process

if TYPE_CHECKING:
    from benchmarks.cases import Case

ROUNDS = 3


def line(case: Case) -> str:
    """Measure one case.

    The three are run one after the other in each round, so that a host that becomes slower or faster meets
    all of them; the ratio is the median of the ratios within the rounds.
    """
    times: dict[str, list[float]] = {"engine": [], "pagetable": [], "clock": []}
    for _ in range(ROUNDS):
        for what, prepare in (("engine", case.engine), ("pagetable", case.pagetable), ("clock", case.clock)):
            times[what].append(c.seconds(prepare()))
    ns = {what: median(taken) / case.records * 1e9 for what, taken in times.items()}
    ratio = {
        what: median(b / e for e, b in zip(times["engine"], times[what], strict=True))
        for what in ("pagetable", "clock")
    }
    mark = {what: "*" if what == case.ceiling else " " for what in ratio}
    return (
        f"{case.name:<14}{ns['engine']:>10.2f}{1e3 / ns['engine']:>10.1f}"
        f"{ns['pagetable']:>12.2f}{ratio['pagetable']:>8.2f}{mark['pagetable']}"
        f"{ns['clock']:>10.2f}{ratio['clock']:>8.2f}{mark['clock']}"
    )


def threads_line(case: Case) -> str:
    """Two machines at once beside one alone: 2.00 is perfect."""
    gains = [2 * c.seconds(case.engine()) / c.two_at_once(case.engine) for _ in range(ROUNDS)]
    return f"two threads, {case.name:<14}{median(gains):>6.2f} times the accesses per second of one"


def memory_lines() -> list[str]:
    """Host memory per simulated frame, and the largest machine."""
    _, used, frames = in_own_process("full")
    took, empty, all_frames = in_own_process("tebibyte")
    return [
        f"{frames} frames in use: {used / frames:.1f} bytes of host memory per frame, page table included",
        f"machine of 1 TiB, nothing in use: {took:.2f} s, {empty / all_frames:.1f} bytes per frame",
    ]


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--accesses", type=int, default=c.ACCESSES)
    parser.add_argument("--pages", type=int, default=c.PAGES)
    parser.add_argument("--no-memory", action="store_true", help="leave out the machines of 16 GiB and 1 TiB")
    options = parser.parse_args()
    print(f"{options.accesses} accesses, Zipf(0.9), {c.WRITES:.0%} stores, {options.pages} pages")
    print("ns per access, and speed of the engine as a share of the bare loop's; * marks the loop to compare with")
    print(f"{'':14}{'engine':>10}{'M/s':>10}{'page table':>12}{'ratio':>8} {'CLOCK':>10}{'ratio':>8}")
    table = c.cases(options.accesses, options.pages)
    for case in table:
        print(line(case), flush=True)
    for case in table:
        print(threads_line(case), flush=True)
    print("\n".join(oom.lines()), flush=True)
    print("\n".join(numa.lines(options.pages, options.accesses)), flush=True)
    if not options.no_memory:
        print("\n".join(memory_lines()))


if __name__ == "__main__":
    main()
