"""All figures: the table of targets, the time per unit of every mechanism, and OOM decisions."""

from __future__ import annotations

import argparse
import platform
from statistics import median

import numpy as np

from benchmarks import cases as c
from benchmarks import mechanisms, numa, oom, targets

ROUNDS = 3


def mechanism_lines(scale: int) -> list[str]:
    """CPU time per unit, median over the rounds, and what the unit is."""
    lines = []
    for mechanism in mechanisms.MECHANISMS:
        each = []
        for _ in range(ROUNDS):
            run, results = mechanisms.prepare(mechanism, scale), []
            taken = targets.seconds(lambda run=run, results=results: results.append(run()))
            each.append(taken / mechanisms.units(mechanism, results[0]) * 1e9)
        lines.append(f"{mechanism.name:<14}{median(each):>12.1f} ns per {mechanism.unit}")
    return lines


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--accesses", type=int, default=c.ACCESSES)
    parser.add_argument("--pages", type=int, default=c.PAGES)
    parser.add_argument("--scale", type=int, default=4, help="size of the mechanisms' scenarios")
    parser.add_argument(
        "--memory", action="store_true", help="also 1 TiB under pressure: two minutes and 13 GiB of host memory"
    )
    options = parser.parse_args()
    print(f"{options.accesses} accesses, Zipf(0.9), {c.WRITES:.0%} stores, {options.pages} pages;")
    versions = f"Python {platform.python_version()}, numpy {np.__version__}, {platform.machine()}"
    print(f"{targets.ROUNDS} rounds; {versions}\n")
    print(f"{'':58}{'median':>8}{'worst':>8}   {'least':8}{'aim':6}met")
    for row in targets.rows(options.accesses, options.pages):
        print(row, flush=True)
    if options.memory:
        for row in targets.pressure():
            print(row, flush=True)
    print()
    for line in [*mechanism_lines(options.scale), "", *oom.lines(), *numa.lines(options.pages, options.accesses)]:
        print(line, flush=True)


if __name__ == "__main__":
    main()
