"""The choice among ten thousand tasks for pytest-benchmark: ``python -m pytest benchmarks --benchmark-enable``."""

import pytest

from benchmarks.oom import crowd, decision
from pymem.oom import POLICIES, Daemon


@pytest.fixture(scope="module")
def engine():
    return crowd()


@pytest.mark.engine
@pytest.mark.parametrize("name", [name for name, cls in POLICIES.items() if not issubclass(cls, Daemon)])
def test_decision(benchmark, engine, name):
    benchmark.group = "oom decision"
    victim = benchmark(decision(engine, name))
    assert (victim is None) == (name == "panic")
