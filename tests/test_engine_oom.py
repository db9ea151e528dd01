"""Out of memory, from the failed allocation to the exit of the victim."""

import numpy as np
import pytest
from lab import SECOND, VM, Script, anon, file, finish, machine, op, sleep, store

from pymem import Scenario, SwapDevice, Task, simulate
from pymem.records import Op
from pymem.simulation import Simulation

pytestmark = pytest.mark.engine

SMALL = machine(1024)


def hog(name, pages, **more):
    """Writes its pages one after another."""
    return Task(name, Script([anon(pages)], store(range(pages))), **more)


def holder(name, pages, seconds=10, **more):
    """Writes its pages and keeps them for a while."""
    return Task(name, Script([anon(pages)], np.concatenate([store(range(pages)), sleep(seconds * SECOND)])), **more)


def scenario(*tasks, machine=SMALL, vm=None, **more):
    return Scenario(machine=machine, vm={**VM, **(vm or {})}, tasks=tasks, **more)


def killed(result):
    return [name for name, task in result.tasks.items() if task.oom_killed]


def test_one_task_too_large_is_killed():
    result = finish(Simulation(scenario(hog("hog", 2000))), budget=100)
    assert result.status == "complete"
    assert killed(result) == ["hog"]
    assert result.vmstat["oom_kill"] == 1
    task = result.tasks["hog"]
    # 1024 pages less min (64), and page tables
    assert 1024 - 64 - 10 <= task.accesses <= 1024
    assert task.state == "killed"
    assert task.hiwater_rss <= 1024
    assert result.vmstat["nr_anon_pages"] == 0
    # it went through direct reclaim first
    assert result.vmstat["allocstall_movable"] > 0


def test_a_task_that_fits_is_not():
    result = finish(Simulation(scenario(hog("hog", 900))))
    assert killed(result) == []
    assert result.tasks["hog"].accesses == 900


def test_swap_puts_it_off():
    roomy = machine(1024, swap=[SwapDevice("8MiB")])
    result = finish(Simulation(scenario(hog("hog", 2500), machine=roomy)), budget=500)
    assert killed(result) == []
    assert result.vmstat["pswpout"] >= 2500 - 1024


def test_cache_is_dropped_first():
    reader = Task("reader", Script([file(900)], op(Op.READ, 0, 900)))
    result = finish(Simulation(scenario(reader, hog("hog", 800, start=SECOND))))
    assert killed(result) == []
    assert result.vmstat["pgsteal_file"] > 0


def test_the_largest_is_killed_and_the_asker_goes_on():
    result = finish(Simulation(scenario(holder("large", 600), hog("small", 500, start=SECOND))), budget=100)
    assert killed(result) == ["large"]
    assert result.tasks["small"].accesses == 500
    kill = result.oom_kills[0]
    assert (kill.task, kill.allocating) == ("large", "small")
    # badness in pages: resident, and tables (two leaves and a directory; the hog has one leaf less at most)
    assert kill.scores["large"] == 600 + 3
    assert kill.scores["small"] < kill.scores["large"]
    # the victim did not sleep out its ten seconds
    assert result.time_ns < 5 * SECOND


def test_oom_score_adj_shifts_the_choice():
    """500 of 1000: half of memory (1024 // 1000 * 500 = 500 pages) on top of what the small task has."""
    tasks = holder("large", 600), holder("small", 200, oom_score_adj=500), hog("asker", 300, start=SECOND)
    result = finish(Simulation(scenario(*tasks)), budget=100)
    assert result.oom_kills[0].task == "small"


def test_minus_1000_is_never_killed():
    tasks = holder("safe", 700, seconds=3, oom_score_adj=-1000), hog("asker", 500, start=SECOND)
    result = finish(Simulation(scenario(*tasks)), budget=100)
    assert killed(result) == ["asker"]
    assert result.tasks["safe"].state == "finished"


def test_nobody_to_kill_is_a_panic():
    result = finish(Simulation(scenario(hog("hog", 2000, oom_score_adj=-1000))), budget=100)
    assert result.status == "panic"
    assert result.vmstat["oom_kill"] == 0


def test_panic_on_oom():
    result = finish(Simulation(scenario(hog("hog", 2000), vm={"panic_on_oom": 1})), budget=100)
    assert result.status == "panic"
    assert killed(result) == []
    assert result.oom_kills[0].task == ""


def test_oom_kill_allocating_task():
    tasks = holder("large", 600, seconds=3), hog("asker", 500, start=SECOND)
    result = finish(Simulation(scenario(*tasks, vm={"oom_kill_allocating_task": 1})), budget=100)
    assert killed(result) == ["asker"]


def test_several_kills_in_a_row():
    tasks = [holder(f"h{i}", 300, start=i * SECOND) for i in range(6)]
    result = finish(Simulation(scenario(*tasks)), budget=100)
    assert result.status == "complete"
    assert result.vmstat["oom_kill"] == len(killed(result)) == len(result.oom_kills) >= 3
    assert len(result.events_of("oom_kill")) == len(result.oom_kills)


def test_locked_memory_cannot_save_anybody():
    locker = Task("locker", Script([anon(900)], op(Op.MLOCK, 0, 900), sleep(5 * SECOND)))
    roomy = machine(1024, swap=[SwapDevice("8MiB")])
    result = finish(Simulation(scenario(locker, hog("asker", 2000, start=SECOND), machine=roomy)), budget=100)
    assert result.status == "complete"
    assert result.vmstat["nr_mlock"] == result.vmstat["nr_unevictable"] == 0


def test_a_victim_in_the_middle_of_a_write_leaves_nothing_behind():
    rounds = np.concatenate([store(range(600)), op(Op.WRITE, 600, 300)] * 9)
    writer = Task("writer", Script([anon(600), file(300)], rounds))
    result = finish(Simulation(scenario(writer, hog("asker", 700, start=1000))), budget=50)
    assert result.status == "complete"
    assert result.vmstat["nr_anon_pages"] == 0


def test_policies_by_name():
    tasks = (
        holder("old", 300, seconds=60), holder("large", 500, seconds=60, start=SECOND),
        hog("asker", 400, start=2 * SECOND),
    )  # fmt: skip
    assert simulate(scenario(*tasks, oom_policy="oldest")).oom_kills[0].task == "old"
    assert simulate(scenario(*tasks, oom_policy="largest")).oom_kills[0].task == "large"
