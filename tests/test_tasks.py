"""Several tasks on several CPUs: who runs when, and what the clocks say."""

import numpy as np
import pytest
from lab import MS, SECOND, Script, anon, file, finish, load, machine, op, sleep, store

from pymem import Scenario, Task, simulate
from pymem.records import Op, pack
from pymem.simulation import Simulation

pytestmark = pytest.mark.engine

HIT = 90  # ns of a local access
COSTS = {"context_switch": 0, "exit": 0, "unmap_page": 0, "anon_fault": 0, "zero_page_fault": 0}


def busy(name, hits, **more):
    """One page, written again and again: pure CPU time of 90 ns per access."""
    records = np.zeros(hits, np.uint32) | np.uint32(1 << 31)
    return Task(name, Script([anon(1)], records), **more)


def scenario(*tasks, cpus=1, costs=COSTS, **more):
    return Scenario(machine=machine(4096, cpus=cpus), tasks=tasks, costs=costs, **more)


def test_one_task_alone_never_waits():
    result = finish(Simulation(scenario(busy("a", 100_000))))
    task = result.tasks["a"]
    assert result.time_ns == task.cpu_ns == task.end_ns == 100_000 * HIT
    assert task.stall_ns == 0
    assert (task.accesses, task.writes, task.local, task.remote) == (100_000, 100_000, 100_000, 0)


def test_two_tasks_share_a_cpu():
    result = finish(Simulation(scenario(busy("a", 200_000), busy("b", 200_000))))
    a, b = result.tasks["a"], result.tasks["b"]
    assert result.time_ns == 400_000 * HIT
    assert a.cpu_ns == b.cpu_ns == 200_000 * HIT
    # each waited while the other ran, to a slice (3 ms) and one access
    for task in (a, b):
        assert task.stalls["cpu"] == task.end_ns - task.cpu_ns
    assert abs(a.end_ns - b.end_ns) <= 3 * MS + HIT
    assert result.psi["cpu_some"]["total"] > 0


def test_two_tasks_on_two_cpus_do_not_wait():
    result = finish(Simulation(scenario(busy("a", 200_000), busy("b", 200_000), cpus=2)))
    assert result.time_ns == 200_000 * HIT
    assert all(task.stall_ns == 0 for task in result.tasks.values())


def test_affinity_is_obeyed():
    pinned = [busy(name, 100_000, affinity=(1,)) for name in "ab"]
    result = finish(Simulation(scenario(*pinned, cpus=2)))
    assert result.time_ns == 200_000 * HIT


def test_a_free_cpu_takes_waiting_tasks():
    result = finish(Simulation(scenario(*[busy(name, 100_000) for name in "abcd"], cpus=2)))
    # 400000 accesses on two CPUs; the last slices may be uneven
    assert 200_000 * HIT <= result.time_ns <= 200_000 * HIT + 3 * MS


def test_nice_shares_the_cpu_by_weight():
    """10 steps of nice are a factor of 1.25^10 = 9.3 (1024 against 110)."""
    a, b = busy("a", 1_000_000), busy("b", 1_000_000, nice=10)
    simulation = Simulation(scenario(a, b, time_limit="60ms"))
    result = finish(simulation)
    assert result.status == "time limit"
    ratio = result.tasks["a"].cpu_ns / max(1, result.tasks["b"].cpu_ns)
    # granularity: a slice of 3 ms in 60
    assert 5 < ratio < 20


def test_start_and_stop_times():
    result = finish(Simulation(scenario(busy("a", 10_000_000, start="5ms", stop="12ms"), busy("b", 1000))))
    a = result.tasks["a"]
    starts, exits = result.events_of("task_start"), result.events_of("task_exit")
    assert starts["time"].tolist() == [0, 5 * MS]
    # it stops at its next access
    assert 12 * MS <= a.end_ns <= 12 * MS + HIT
    assert exits["time"].max() == a.end_ns
    assert a.accesses == -(-7 * MS // HIT)
    assert a.state == "finished"


def test_a_sleeper_is_woken_to_stop():
    task = Task("a", Script([anon(1)], sleep(10 * SECOND)), stop="20ms")
    assert finish(Simulation(scenario(task))).tasks["a"].end_ns == 20 * MS


def test_a_stop_time_does_not_wait_for_the_end_of_a_chunk():
    """The same with records of the long form."""
    records = pack(np.zeros(200_000, np.int64), Op.STORE)
    result = finish(Simulation(scenario(Task("a", Script([anon(1)], records), stop="9ms"))))
    assert 9 * MS <= result.tasks["a"].end_ns <= 9 * MS + HIT


def test_time_limit():
    result = finish(Simulation(scenario(busy("a", 10_000_000), time_limit="3ms")))
    assert (result.status, result.time_ns) == ("time limit", 3 * MS)
    assert result.tasks["a"].state == "running"


def test_the_time_line_has_its_interval():
    result = finish(Simulation(scenario(busy("a", 1_000_000), sample_interval="10ms")))
    times = result.timeline["time_ns"]
    # every 10 ms, and once at the end
    assert times.tolist() == [*range(10 * MS, 90 * MS, 10 * MS), 90 * MS, 90 * MS][-len(times) :]
    assert len(times) in (9, 10)
    done = result.timeline["accesses"]
    assert abs(done[0] - 10 * MS // HIT) <= 1
    assert done[-1] == 1_000_000


def test_repeat_counts_are_accesses():
    """Repeats come out of the CPU's caches, four in a ns: 90 + 999 / 4 and 90 + 499 / 4."""
    records = np.concatenate([pack([0], Op.STORE, 1000), pack([0], Op.LOAD, 500)])
    result = finish(Simulation(scenario(Task("a", Script([anon(1)], records)))))
    task = result.tasks["a"]
    assert (task.accesses, task.writes, task.min_flt) == (1500, 1000, 1)
    assert result.time_ns == (HIT + 999 // 4) + (HIT + 499 // 4)


def test_latencies_are_counted_by_kind():
    records = np.concatenate([store(range(10)), load(range(50, 60)), load(range(100, 103)), op(Op.READ, 110, 4)])
    task = Task("a", Script([anon(100), file(30)], records))
    result = simulate(scenario(task, costs={}, vm={"read_ahead_kb": 0, "fault_around_bytes": 4096}))
    latency = result.tasks["a"].latency
    assert latency["minor"].count == 20
    assert latency["file_major"].count == 3
    assert latency["syscall"].count == 1
    assert latency["swap_in"].count == latency["direct_reclaim"].count == 0
    # a fault (500 or 1000 ns) and the access; buckets are an eighth wide
    assert latency["minor"].total_ns == 10 * (1000 + HIT) + 10 * (500 + HIT)
    assert 500 <= latency["minor"].percentile(10) <= 590
    assert latency["minor"].percentile(100) <= 1090
    assert latency["file_major"].percentile(50) >= 80_000 * 7 // 8


def test_waiting_for_io_is_io_pressure():
    """One task that only reads: somebody waits and nobody runs."""
    task = Task("a", Script([file(1000)], np.concatenate([op(Op.READ, int(p)) for p in range(0, 1000, 7)])))
    result = simulate(scenario(task, vm={"read_ahead_kb": 0}))
    waited = result.tasks["a"].stalls["file_read"]
    assert waited > 0.5 * result.time_ns
    # PSI keeps microseconds and weighs CPUs
    assert abs(result.psi["io_some"]["total"] - waited) < 0.02 * waited + 10_000
    assert abs(result.psi["io_full"]["total"] - waited) < 0.02 * waited + 10_000


def test_others_run_while_one_waits_for_io():
    reader = Task("reader", Script([file(1000)], np.concatenate([op(Op.READ, int(p)) for p in range(0, 1000, 7)])))
    alone = simulate(scenario(reader, vm={"read_ahead_kb": 0})).time_ns
    both = simulate(scenario(reader, busy("busy", 50_000), vm={"read_ahead_kb": 0})).time_ns
    assert both < alone + 50_000 * HIT


def test_tasks_share_the_cache_of_a_file():
    readers = [Task(n, Script([file(500)], op(Op.READ, 0, 500))) for n in "abc"]
    result = finish(Simulation(scenario(*readers, cpus=2)), budget=100)
    assert result.vmstat["pgpgin"] == 4 * 500
    assert [t.accesses for t in result.tasks.values()] == [500, 500, 500]
