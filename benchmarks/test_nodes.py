"""Several nodes and many tasks for pytest-benchmark: ``python -m pytest benchmarks --benchmark-enable``."""

import pytest

from benchmarks.numa import crowd, one_per_cpu

PAGES = 1 << 18
ACCESSES = 3_000_000


@pytest.mark.engine
@pytest.mark.parametrize("nodes", [1, 2])
def test_local_accesses(benchmark, nodes):
    benchmark.group = "nodes"
    benchmark.pedantic(one_per_cpu, (nodes, PAGES, ACCESSES), rounds=3)


@pytest.mark.engine
@pytest.mark.parametrize("tasks", [1, 256])
def test_tasks(benchmark, tasks):
    benchmark.group = "tasks"
    benchmark.pedantic(crowd, (tasks, PAGES, ACCESSES), rounds=3)
