"""The same cases for pytest-benchmark: ``python -m pytest benchmarks --benchmark-enable``.

Smaller than in the table, so that a comparison between two builds takes a minute.
"""

import pytest

from benchmarks.cases import cases
from benchmarks.mechanisms import MECHANISMS, prepare, units

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


@pytest.mark.engine
@pytest.mark.parametrize("mechanism", MECHANISMS, ids=lambda m: m.name)
def test_mechanism(benchmark, mechanism):
    benchmark.group = "mechanisms"
    result = benchmark.pedantic(lambda run: run(), setup=lambda: ((prepare(mechanism),), {}), rounds=3)
    benchmark.extra_info[mechanism.unit] = units(mechanism, result)
    assert benchmark.extra_info[mechanism.unit] > 0
