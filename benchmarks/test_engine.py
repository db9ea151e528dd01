"""The same cases for pytest-benchmark: ``python -m pytest benchmarks --benchmark-enable``.

Smaller than in the table, so that a comparison between two builds takes a minute.
"""

import pytest

from benchmarks.cases import cases

PAGES = 1 << 18
ACCESSES = 3_000_000
CASES = {case.name: case for case in cases(ACCESSES, PAGES)}


@pytest.mark.engine
@pytest.mark.parametrize("what", ["engine", "pagetable", "clock"])
@pytest.mark.parametrize("name", CASES)
def test_accesses(benchmark, name, what):
    case = CASES[name]
    benchmark.group = name
    benchmark.extra_info["accesses"] = case.records
    prepare = getattr(case, what)
    benchmark.pedantic(lambda run: run(), setup=lambda: ((prepare(),), {}), rounds=3)
