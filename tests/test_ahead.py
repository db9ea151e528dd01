"""Records made ahead in a second thread: the same records, the same errors, and no thread left behind."""

import gc
import threading
import time

import numpy as np
import pytest

import pymem
from pymem.simulation import Simulation
from pymem.workloads import Mix, Sequential, Trace, Workload, Zipf, ahead
from pymem.workloads.ahead import DEPTH, MOST_STREAMS, Ahead


@pytest.fixture(autouse=True)
def two_cpus(monkeypatch):
    all_gone()
    monkeypatch.setattr(ahead, "usable_cpus", lambda: 2)


def numbers(count):
    return iter([np.full(3, i, np.uint32) for i in range(count)])


def helpers():
    return [t for t in threading.enumerate() if t.name == "pymem-ahead"]


def all_gone():
    """Whether the threads end whose work nobody wants any more."""
    gc.collect()
    for helper in helpers():
        helper.join(10)
    return helpers() == []


def test_streams_come_in_their_order_and_end():
    streams = Ahead({1: numbers(10), 2: numbers(7)}, costly=[1, 2])
    for i in range(10):
        assert streams.next(1).tolist() == [i] * 3
        assert (streams.next(2) is None) == (i >= 7)
    assert streams.next(1) is None
    assert streams.next(1) is None


def test_no_more_is_made_than_a_few_chunks_ahead():
    made = []

    def stream():
        for i in range(100):
            made.append(i)
            yield np.full(1, i, np.uint32)

    streams = Ahead({1: stream()}, costly=[1])
    assert streams.next(1)[0] == 0
    deadline = time.monotonic() + 10
    while len(made) < DEPTH + 1 and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.05)  # long enough for many more
    assert len(made) == DEPTH + 1


def test_an_error_comes_when_its_chunk_is_wanted():
    def stream():
        yield np.zeros(1, np.uint32)
        yield np.ones(1, np.uint32)
        raise pymem.ScenarioError("the third chunk")

    streams = Ahead({1: stream()}, costly=[1])
    assert [streams.next(1)[0], streams.next(1)[0]] == [0, 1]
    with pytest.raises(pymem.ScenarioError, match="the third chunk"):
        streams.next(1)
    assert all_gone()


def test_the_thread_goes_with_what_it_works_for():
    streams = Ahead({1: numbers(1000)}, costly=[1])
    assert streams.next(1) is not None
    assert len(helpers()) == 1
    del streams
    assert all_gone()


@pytest.mark.parametrize("costly", [[], range(MOST_STREAMS + 1)])
def test_what_gains_nothing_or_takes_too_much_memory_is_made_when_it_is_wanted(costly):
    streams = Ahead({key: numbers(2) for key in range(MOST_STREAMS + 1)}, costly)
    assert streams.next(0) is not None
    assert helpers() == []


def test_with_one_cpu_there_is_no_thread(monkeypatch):
    monkeypatch.setattr(ahead, "usable_cpus", lambda: 1)
    streams = Ahead({1: numbers(2)}, costly=[1])
    assert streams.next(1) is not None
    assert helpers() == []


def scenario(workload):
    return pymem.Scenario(
        machine=pymem.Machine(memory="16MiB", cpus=2, swap=[pymem.SwapDevice("64MiB")]),
        tasks=[pymem.Task("a", workload), pymem.Task("b", Sequential(pages=1000, accesses=200_000))], seed=3,
    )  # fmt: skip


@pytest.mark.parametrize(
    "workload",
    [
        Zipf(pages=6000, accesses=300_000, s=0.9, writes=0.3),
        Mix([Zipf(pages=500, accesses=100_000), Sequential(pages=3000, accesses=100_000)], weights=[1, 2]),
        Trace(np.arange(200_000, dtype=np.uint32) % 5000),
    ],
    ids=["zipf", "mix", "trace"],
)
def test_results_are_the_same_with_and_without(workload):
    found = []
    for apart in (False, True):
        simulation = Simulation(scenario(workload), ahead=apart)
        while simulation.step():
            assert apart or not helpers()
        result = simulation.result()
        found.append((result.vmstat, result.tasks["a"], result.events.tolist(), result.time_ns))
        del simulation
    assert repr(found[0]) == repr(found[1])


def test_who_looks_at_the_simulation_is_asked_in_time():
    """A workload of one's own is not asked for chunks before the engine wants them, unless it says that it may be."""
    seen = []

    class Watching(Workload):
        regions = (pymem.Anon(pages=100),)

        def chunks(self, seed):
            for _ in range(5):
                seen.append(simulation.engine.events_count()["pgfault"])
                yield np.arange(100 * len(seen) // 5, dtype=np.uint32)

    simulation = Simulation(scenario(Mix([Watching(), Zipf(pages=10, accesses=10)])))
    assert not simulation.tasks[1].workload.ahead
    simulation = Simulation(scenario(Watching()))
    while simulation.step():
        pass
    assert seen[0] == 0
    assert seen[1] >= 20
    assert seen == sorted(seen)


def test_a_workload_that_fails_stops_the_simulation():
    class Broken(Workload):
        regions = (pymem.Anon(pages=10),)
        ahead = True

        def chunks(self, seed):
            yield np.arange(10, dtype=np.uint32)
            raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        pymem.simulate(scenario(Broken()))
