"""The short way to and from a synchronous swap device leaves what the long way leaves.

The engine takes the long way as soon as pages have contents. Those that no kernel treats specially change nothing else,
so the same scenario with and without them must end alike, to the last list and histogram.
"""

from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from lab import MS, SECOND, Script, anon, load, machine, store
from small_machine import SmallMachine
from test_properties import outcome, scenarios

from pymem import Scenario, SwapDevice, Task, workloads

pytestmark = pytest.mark.engine

KINDS = st.sampled_from(["ramdisk", "pmem"])
SIZES = st.sampled_from(["64KiB", "300KiB", "1MiB", "8MiB"])


def with_content(scenario):
    return replace(scenario, tasks=[replace(task, content="random") for task in scenario.tasks])


def same_both_ways(scenario):
    short = outcome(scenario)
    assert short == outcome(with_content(scenario))
    return short


@given(scenario=scenarios(), size=SIZES, kind=KINDS)
def test_any_program(scenario, size, kind):
    same_both_ways(replace(scenario, machine=replace(scenario.machine, swap=[SwapDevice(size, kind=kind)])))


@given(
    pages=st.integers(400, 700), share=st.integers(2, 6), nodes=st.integers(1, 2), size=SIZES, kind=KINDS,
    kernel=st.sampled_from(["6.1", "6.12"]), swappiness=st.sampled_from([1, 60, 200]), tasks=st.integers(1, 2),
    cpus=st.integers(1, 2), seed=st.integers(0, 3),
)  # fmt: skip
def test_thrashing_programs(pages, share, nodes, size, kind, kernel, swappiness, tasks, cpus, seed):
    """Programs several times as large as memory, on swap that may be too small for them."""
    scenario = Scenario(
        machine=machine(*[pages] * nodes, cpus=cpus, swap=[SwapDevice(size, kind=kind)]), kernel=kernel,
        vm={"swappiness": swappiness, "transparent_hugepage": "never"}, sample_interval=MS, seed=seed, time_limit="10s",
        tasks=[
            Task(f"t{i}", workloads.Zipf(pages=share * pages * nodes // tasks, accesses=6000, s=0.8, writes=0.4))
            for i in range(tasks)
        ],
    )  # fmt: skip
    found = same_both_ways(scenario)
    assume(found["vmstat"]["pswpout"])


def shared(content, kernel, steps):
    """What is left of a machine of 16 MiB on which a parent and the child it forks touch ranges of their 6000 pages."""
    swap = [SwapDevice("64MiB", kind="ramdisk")]
    m = SmallMachine(6000, kernel, swap=swap, content=content, memory="16MiB", fork_at=SECOND)
    m.store(0, 2500)
    m.wait(2 * SECOND)
    for child, do, first, count in steps:
        getattr(m, do)(first, min(count, 6000 - first), *([m.child] if child else []))
    swapped = m.engine.swap()["areas"][0]["used"]
    left = [m.engine.events_count(), m.engine.node_stats(), m.engine.zones(), swapped, m.engine.now]
    return [*left, *[m.engine.task(t) for t in (m.thread, m.child)]]


@settings(max_examples=25)
@given(
    kernel=st.sampled_from(["6.1", "6.12"]),
    steps=st.lists(
        st.tuples(st.booleans(), st.sampled_from(["load", "store"]), st.integers(0, 5999), st.integers(1, 3000)),
        min_size=2, max_size=12,
    ),
)  # fmt: skip
def test_pages_that_a_child_shares(kernel, steps):
    """After a fork a page may be mapped by another task than it names, or by several."""
    assert shared(None, kernel, steps) == shared("random", kernel, steps)


def test_a_machine_that_takes_the_short_way():
    """What is compared above is not nothing: every page goes out and comes back."""
    swap = [SwapDevice("16MiB", kind="ramdisk")]
    task = Task("t", Script([anon(3000)], store(range(3000)), load(range(3000))))
    found = same_both_ways(Scenario(machine=machine(1000, swap=swap), kernel="6.12", tasks=[task], seed=1))
    counts, device = found["vmstat"], found["devices"][0]
    assert counts["pswpin"] == device["read_pages"] == counts["pgmajfault"] == 3000
    assert counts["pswpout"] == device["write_pages"] == counts["nr_written"] == counts["nr_vmscan_write"] > 4000
    assert counts["workingset_refault_anon"] == counts["pswpin"]
