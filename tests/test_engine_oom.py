"""Out of memory, from the failed allocation to the exit of the victim."""

from dataclasses import replace

import numpy as np
import pytest
from lab import MS, SECOND, VM, Script, anon, file, finish, machine, op, sleep, store

from pymem import Disk, Scenario, SwapDevice, Task, oom, simulate
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


@pytest.mark.parametrize("chunk", [1, 7, 2000])
def test_the_access_that_killed_a_task_is_not_done(chunk):
    """The signal is delivered when the fault returns, wherever the records were cut: the counts are the same."""
    whole = store(range(2000))
    work = Script([anon(2000)], *(whole[i : i + chunk] for i in range(0, 2000, chunk)))
    result = finish(Simulation(scenario(Task("hog", work))), verify=False)
    task = result.tasks["hog"]
    assert task.oom_killed
    assert task.accesses == task.min_flt - 1 == result.vmstat["pgfault"] - 1


def test_a_task_that_has_not_begun_cannot_be_killed():
    """It would score highest by its adjustment, but there is no such process yet."""
    later = hog("later", 10, start=60 * SECOND, oom_score_adj=1000)
    result = finish(Simulation(scenario(later, hog("hog", 2000))), budget=100)
    assert killed(result) == ["hog"]
    assert result.tasks["later"].state == "finished"
    assert list(result.oom_kills[0].scores) == ["hog"]


def test_a_kill_says_what_it_gives_back():
    result = finish(Simulation(scenario(holder("large", 600), hog("small", 500, start=SECOND))), budget=100)
    kill = result.oom_kills[0]
    # 600 pages and three tables, see above; 1024 pages in all: (1000 + 603 * 1000 // 1024) * 2 // 3 = 1058
    assert (kill.by, kill.signal, kill.freed_pages, kill.freed_swap) == ("kernel", "SIGKILL", 603, 0)
    assert (result.tasks["large"].killed_by, result.tasks["large"].oom_score) == ("kernel", 1058)
    assert (result.tasks["small"].killed_by, result.tasks["small"].oom_score) == ("", 0)  # it has exited


def test_oom_score_of_those_who_live():
    result = finish(Simulation(scenario(holder("a", 512, seconds=99), time_limit="1s")))
    # 512 pages, a leaf and a directory, of 1024: 1000 + 514 * 1000 // 1024 = 1501; * 2 // 3
    assert result.tasks["a"].oom_score == 1000


# ---- requests confined to nodes ---------------------------------------------------------------------------


@pytest.fixture
def bound():
    """Tasks named n0-... and n1-... are bound to that node."""

    def run(*tasks, **more):
        tasks = [replace(t, policy=f"bind:{t.name[1]}" if t.name[0] == "n" else None) for t in tasks]
        return finish(Simulation(scenario(*tasks, machine=machine(1024, 1024, cpus=(1, 1)), **more)), budget=100)

    return run


def test_a_request_confined_to_a_node_kills_whom_it_may_help(bound):
    """The largest task is bound to the other node: its death would free nothing that the request may use."""
    tasks = holder("n0-large", 900), holder("n1-small", 500), hog("n1-asker", 600, start=SECOND)
    result = bound(*tasks)
    assert result.oom_kills[0].task == "n1-small"
    assert result.oom_kills[0].scores["n0-large"] == -np.inf
    assert killed(result) == ["n1-small"]
    report = result.oom_kills[0].report
    assert "constraint=CONSTRAINT_MEMORY_POLICY,nodemask=1,cpuset=/,mems_allowed=0,1,global_oom" in report


def test_tasks_without_a_policy_may_be_anywhere(bound):
    """mempolicy_in_oom_domain: only a BIND policy takes a task out of the choice."""
    tasks = holder("free", 700), holder("n1-small", 300), hog("n1-asker", 800, start=SECOND)
    assert bound(*tasks).oom_kills[0].task == "free"


def test_the_adjustment_is_of_the_pages_of_the_nodes(bound):
    """1024 pages of node 1, not 2048 of both: half of them is 500, see oom_badness."""
    tasks = holder("n1-a", 400, oom_score_adj=500), hog("n1-asker", 800, start=SECOND)
    result = bound(*tasks)
    assert result.oom_kills[0].scores["n1-a"] == 400 + 2 + 500


@pytest.mark.parametrize(("mode", "status"), [(0, "complete"), (1, "complete"), (2, "panic")])
def test_panic_on_oom_spares_requests_confined_to_nodes_unless_it_is_2(bound, mode, status):
    result = bound(hog("n1-asker", 1500), vm={"panic_on_oom": mode})
    assert result.status == status
    assert killed(result) == (["n1-asker"] if status == "complete" else [])
    if mode == 2:
        assert "compulsory panic_on_oom is enabled" in result.oom_kills[0].report


def test_nobody_on_the_node_may_be_killed(bound):
    tasks = holder("n0-other", 100), hog("n1-asker", 1500, oom_score_adj=-1000)
    result = bound(*tasks)
    assert result.status == "panic"
    assert result.oom_kills[0].report.endswith("System is deadlocked on memory\n")


# ---- the reaper ---------------------------------------------------------------------------------------------

#: One page after the other, 50 ms each: a flood of writes that takes seconds to sync.
SLOW = Disk(kind="hdd", read="50ms", write="50ms", queue_depth=1, bandwidth="100KiB")
FLUSH = {"dirty_ratio": 90, "dirty_background_ratio": 89}


def syncing(pages, anonymous=500):
    """Dirties a file, then waits for all of it to be written: an uninterruptible sleep."""
    return Task(
        "syncing",
        Script(
            [anon(anonymous), file(pages)],
            np.concatenate([store(range(anonymous)), op(Op.WRITE, anonymous, pages), op(Op.FSYNC, anonymous, pages)]),
        ),
    )


def until_kill(run):
    while not run.oom_kills:
        assert run.step(100)
    return run.oom_kills[0].time_ns


def test_a_victim_in_fsync_keeps_its_memory_until_the_reaper_comes():
    slow = machine(1024, disk=SLOW)
    run = Simulation(scenario(syncing(200), hog("asker", 700, start=SECOND // 2), machine=slow, vm=FLUSH))
    begin = until_kill(run)
    assert run.oom_kills[0].task == "syncing"
    kept = run.engine.task(1)["rss_anon"]
    assert kept > 0
    while run.engine.now < begin + 19 * SECOND // 10 and run.step(100):
        assert run.engine.task(1)["alive"]
        assert run.engine.task(1)["rss_anon"] == kept
        assert run.engine.task(2)["alive"]  # waits, and nobody else is killed
    while run.engine.now < begin + 21 * SECOND // 10 and run.step(100):
        run.engine.verify()
    assert run.engine.task(1)["rss_anon"] == 0  # reaped after 2 s, though it still sleeps
    assert run.engine.task(1)["alive"]
    result = finish(run)
    assert killed(result) == ["syncing"]
    assert result.tasks["asker"].accesses == 700
    assert result.tasks["asker"].stall_ns > SECOND
    assert result.vmstat["oom_kill"] == 1
    assert result.tasks["syncing"].end_ns > begin + 2 * SECOND


def test_a_reaped_victim_is_passed_over_and_the_next_one_chosen():
    """Of a task whose memory is locked by nobody the reaper takes all; what is still missing another one gives."""
    slow = machine(1024, disk=SLOW)
    tasks = syncing(200, anonymous=400), hog("asker", 2000, start=SECOND // 2)
    result = finish(Simulation(scenario(*tasks, machine=slow, vm=FLUSH)), budget=100)
    assert [kill.task for kill in result.oom_kills] == ["syncing", "asker"]
    first, second = result.oom_kills
    assert second.time_ns - first.time_ns >= 2 * SECOND
    assert second.scores["syncing"] == -np.inf
    assert result.status == "complete"


def test_a_victim_that_can_be_woken_does_not_wait_for_the_reaper():
    result = finish(Simulation(scenario(holder("large", 600), hog("asker", 500, start=SECOND))), budget=100)
    assert result.tasks["large"].end_ns - result.oom_kills[0].time_ns < SECOND // 10


# ---- daemons ------------------------------------------------------------------------------------------------

SWAP = machine(8192, swap=[SwapDevice("16MiB")])


def leak(name, pages, **more):
    """A new page every 500 µs: the last tenth of swap, 410 pages, takes more than two looks of any daemon."""
    return Task(name, Script([anon(pages)], np.concatenate([np.concatenate([store([i]), sleep(500_000)])
                                                           for i in range(pages)])), **more)  # fmt: skip


@pytest.mark.parametrize("policy", ["earlyoom", "systemd-oomd"])
def test_a_daemon_kills_before_memory_runs_out(policy):
    tasks = leak("leak", 20_000), holder("small", 1000)
    result = finish(Simulation(scenario(*tasks, machine=SWAP, oom_policy=policy)), verify=False)
    (kill,) = result.oom_kills
    assert (kill.task, kill.by, kill.allocating) == ("leak", policy, "")
    assert kill.signal == ("SIGTERM" if policy == "earlyoom" else "SIGKILL")
    assert kill.report.startswith(f"{policy}: {kill.reason}: sent ")
    assert result.vmstat["oom_kill"] == 0  # the kernel has not killed anybody
    leaking = result.tasks["leak"]
    assert (leaking.state, leaking.oom_killed, leaking.killed_by) == ("killed", False, policy)
    assert leaking.accesses < 12_000
    assert len(result.events_of("oom")) == 0
    assert result.vmstat["nr_anon_pages"] == 0


def test_where_a_daemon_is_too_late_the_kernel_kills():
    """earlyoom looks every 100 ms at the soonest: 12 000 pages as fast as they come take less."""
    result = finish(Simulation(scenario(hog("hog", 20_000), machine=SWAP, oom_policy="earlyoom")), verify=False)
    assert (result.oom_kills[0].task, result.oom_kills[0].by) == ("hog", "kernel")


def test_looks_come_at_their_simulated_times():
    times = []

    class Watcher(oom.EarlyOom):
        def check(self, facts, system):
            times.append(system.now_ns)
            assert system.psi["memory_some"]["total"] == 0
            assert facts.name.tolist() == ["a"]

        def interval_ns(self):
            return 10 * MS

    result = finish(Simulation(scenario(holder("a", 10, seconds=1), oom_policy=Watcher())))
    assert len(times) == 100
    assert all(0 <= found - 10 * MS * i < MS for i, found in enumerate(times, 1))
    assert result.status == "complete"


@pytest.mark.parametrize("policy", ["earlyoom", "systemd-oomd", "lmkd"])
def test_with_a_daemon_a_run_is_the_same_however_it_is_cut(policy):
    work = scenario(leak("leak", 14_000), holder("a", 3000), holder("b", 500), machine=SWAP, oom_policy=policy)

    def outcome(budget):
        result = finish(Simulation(work), budget=budget, verify=False)
        assert result.oom_kills
        kills = [(k.time_ns, k.task, k.by, k.reason) for k in result.oom_kills]
        return result.vmstat, result.time_ns, kills, {n: t.stalls for n, t in result.tasks.items()}

    assert outcome(1 << 20) == outcome(1 << 20) == outcome(777)
