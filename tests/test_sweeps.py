"""Sweeps: which points and seeds, what a row says, the same results wherever it runs."""

import itertools
import math
import os
import signal

import numpy as np
import pytest

import pymem
from pymem import objectives
from pymem.errors import PymemError, ScenarioError
from pymem.settings import setting, settings_of, spread
from pymem.sweeps import design
from pymem.sweeps.executors import Job, execute

SWAP = (pymem.SwapDevice("32MiB"),)


def scenario(accesses=4000, **others):
    """20 MiB used on 16 MiB: it swaps."""
    work = pymem.workloads.Uniform("20MiB", accesses=accesses, writes=0.5)
    tasks = [pymem.Task("app", work), pymem.Task("other", pymem.workloads.Uniform("1MiB", accesses=500))]
    return pymem.Scenario(**{"machine": pymem.Machine(memory="16MiB", cpus=1, swap=SWAP), "tasks": tasks, "seed": 7,
                             **others})  # fmt: skip


def comparable(result):
    """Rows without the host's own time."""
    return [{name: value for name, value in row.items() if name != "host_seconds"} for row in result.rows()]


GRID = {"vm.swappiness": ["0", 60, 100], "memory": ["16MiB", "24MiB"]}


@pytest.fixture(scope="module")
def swept():
    return pymem.sweep(scenario(), grid=GRID, replicates=2, jobs=1, measures=["elapsed@app", "vmstat.pswpout"])


# ---- points and seeds -------------------------------------------------------------------------------------


def points(**how):
    base = scenario()
    how = {"grid": {}, "over": {}, "random": None, "latin_hypercube": None, "seed": 1, **how}
    return design.make(base, **how).points


def test_a_grid_is_every_combination():
    want = [
        {"vm.swappiness": s, "machine.memory": m << 20} for s, m in itertools.product((0, 60, 100), (16, 24))
    ]
    assert points(grid=GRID) == want
    assert points() == [{}]
    assert points(grid={"vm.swappiness": ["1", 1, "2"]}) == [{"vm.swappiness": 1}, {"vm.swappiness": 2}]


def test_a_latin_hypercube_has_one_draw_in_every_slice():
    found = points(over={"vm.swappiness": "0:199", "vm.page-cluster": (0, 9)}, latin_hypercube=10)
    assert sorted(p["vm.swappiness"] // 20 for p in found) == list(range(10))
    assert sorted(p["vm.page-cluster"] for p in found) == list(range(10))


def test_random_draws_begin_the_same_however_many():
    over = {"vm.swappiness": "0:200", "memory": "16MiB:1GiB:log"}
    many = points(over=over, random=200)
    assert many[:20] == points(over=over, random=20)
    assert many[:20] != points(over=over, random=20, seed=2)
    assert {p["machine.memory"] % (1 << 20) for p in many} == {0}
    # on a logarithmic scale half of the draws are below the geometric mean of 16 and 1024 MiB
    below = sum(p["machine.memory"] < 128 << 20 for p in many)
    assert 70 <= below <= 130  # 200 draws of one half: mean 100, four standard deviations are 28


def test_a_grid_meets_every_draw():
    found = points(grid={"vm.swappiness": [1, 2]}, over={"vm.page-cluster": (0, 5)}, random=3)
    assert [p["vm.swappiness"] for p in found] == [1, 1, 1, 2, 2, 2]
    assert [p["vm.page-cluster"] for p in found[:3]] == [p["vm.page-cluster"] for p in found[3:]]


@pytest.mark.parametrize("log", [False, True])
def test_a_range_includes_both_ends(log):
    values = {spread(1, 4, share, log) for share in np.linspace(0, 1, 1000, endpoint=False)}
    assert values == {1, 2, 3, 4}
    assert spread(1, 4, math.nextafter(1, 0), log) == 4
    assert spread(5, 17, 0.0, log, step=5) == 5
    assert spread(5, 17, 0.999, log, step=5) == 15


def test_seeds_of_replicates_are_independent_of_order_and_of_each_other():
    seeds = [design.replicate_seed(7, replicate) for replicate in range(1000)]
    assert seeds[0] == 7
    assert len(set(seeds)) == 1000
    assert design.replicate_seed(7, 999) == seeds[999]
    assert not set(seeds) & {design.replicate_seed(8, replicate) for replicate in range(1000)}
    # bits of independent numbers are set in half of the cases: 64000 bits, four standard deviations are 506
    assert abs(sum(seed.bit_count() for seed in seeds[1:]) - 999 * 32) < 4 * math.sqrt(999 * 64) / 2


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"grid": {"vm.swapines": [1]}}, "vm.swapines: unknown tunable; did you mean swappiness?"),
        ({"grid": {"vm.swappiness": [201]}}, "vm.swappiness: 201 is out of range; accepted is a whole number from 0"),
        ({"grid": {"memory": ["1MiB"]}}, "machine.memory: '1MiB' is out of range; accepted is 16 MiB to 8 TiB"),
        ({"grid": {"memory": "1GiB"}}, "grid memory: '1GiB'; accepted are one or more values"),
        ({"grid": {"memory": ["1GiB"], "machine.memory": ["2GiB"]}}, "machine.memory and memory are the same setting"),
        ({"grid": {"vm.swappiness": []}}, "grid vm.swappiness: []; accepted are one or more values"),
        ({"grid": {"seed": [1]}}, "seed: replicates have seeds of their own"),
        ({"grid": {"name": ["x"]}}, "name: unknown setting; accepted are vm.NAME, costs.NAME, machine.memory"),
        ({"grid": {"cpus": ["two"]}}, "machine.cpus: 'two' is not understood; accepted is a whole number"),
        ({"grid": {"oom_policy": ["kernal"]}}, "oom_policy: 'kernal'; accepted are kernel, historical"),
        ({"grid": {"costs.anon_fault": ["2s"]}}, "costs.anon_fault: '2s' is out of range; accepted is 0 ns to 1.00 s"),
        ({"grid": {"costs.nothing": [1]}}, "costs.nothing: unknown; accepted are anon_fault"),
        ({"grid": {"vm.lowmem_reserve_ratio": ["1 1 1"]}}, "vm.lowmem_reserve_ratio.dma, .dma32 and .normal"),
        ({"over": {"vm.swappiness": "0:9"}}, "ranges without a number of draws"),
        ({"random": 3}, "a number of draws without ranges"),
        ({"over": {"vm.swappiness": "0:9"}, "random": 1, "latin_hypercube": 1}, "accepted is one of them"),
        ({"over": {"vm.swappiness": "0:9"}, "random": 0}, "number of draws: 0; accepted is 1 and more"),
        ({"over": {"vm.swappiness": "9:3"}, "random": 1}, "'9:3'; accepted is a lower bound and then a higher one"),
        ({"over": {"vm.swappiness": "9"}, "random": 1}, "'9'; accepted is LOW:HIGH or LOW:HIGH:log"),
        ({"over": {"vm.swappiness": "0:9:log"}, "random": 1}, "a logarithmic scale begins at 1 or more"),
        ({"over": {"kernel": "6.1:6.12"}, "random": 1}, "its values are names (6.1, 6.12); accepted is --grid"),
        ({"grid": {"vm.swappiness": [1]}, "over": {"swappiness": "0:9"}, "random": 1}, "swappiness: unknown setting"),
        ({"grid": {"vm.swappiness": [1]}, "over": {"vm.swappiness": "0:9"}, "random": 1}, "in a grid and a range"),
        ({"replicates": 0}, "replicates: 0; accepted is 1 to"),
        ({"executor": "fork"}, "executor: 'fork'; accepted are threads, processes"),
        ({"jobs": 0}, "jobs: 0; accepted is 1 to 1024"),
        ({"measures": ["p99_fault"]}, "measure 'p99_fault': unknown; did you mean p99_fault_latency"),
        ({"measures": ["elapsed@ap"]}, "measure 'elapsed@ap': no such task; accepted are app, other"),
        ({"measures": ["swap_in@app"]}, "swap_in is of the whole machine; of one task there are elapsed"),
        ({"measures": ["vmstat.pgscan_kswap"]}, "no such counter; did you mean pgscan_kswapd"),
        ({"dask": "tcp://127.0.0.1:9"}, "--dask tcp://127.0.0.1:9: no cluster answers"),
        ({"dask": "nonsense"}, "--dask nonsense: no cluster answers"),
    ],
)
def test_what_is_not_accepted_is_refused_before_anything_runs(how, message, monkeypatch):
    monkeypatch.setattr("pymem.sweeps.executors.DASK_TIMEOUT", 0.5)
    with pytest.raises(PymemError) as error:
        pymem.sweep(scenario(), **how)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_memory_of_given_nodes_does_not_vary():
    base = scenario(machine=pymem.Machine(nodes=[pymem.Node("16MiB", 1), pymem.Node("32MiB", 1)], swap=SWAP))
    assert settings_of(base)["machine.memory"] == 48 << 20
    with pytest.raises(ScenarioError, match="the machine has nodes of its own"):
        setting("memory", base)


# ---- rows -------------------------------------------------------------------------------------------------


def test_every_row_has_all_settings_and_can_be_run_again_by_them(swept):
    rows = swept.rows()
    assert [(row["point"], row["replicate"]) for row in rows] == list(itertools.product(range(6), range(2)))
    everything = settings_of(scenario())
    for row in rows[::5]:
        settings = {name: row[name] for name in everything}
        assert settings["vm.swappiness"] == [0, 60, 100][row["point"] // 2]
        run = scenario().with_settings({
            "vm.swappiness": row["vm.swappiness"], "memory": row["machine.memory"], "seed": row["seed"],
        })  # fmt: skip
        assert settings_of(run) == settings
        alone = pymem.simulate(run)
        assert row["status"] == alone.status
        assert row["elapsed"] == alone.time_ns
        assert row["vmstat.pswpout"] == row["swap_out"] == alone.vmstat["pswpout"]
        assert row["major_faults"] == alone.tasks["app"].maj_flt + alone.tasks["other"].maj_flt
        assert row["elapsed@app"] == alone.tasks["app"].end_ns - alone.tasks["app"].start_ns
        assert row["stall"] == sum(task.stall_ns for task in alone.tasks.values())


def test_replicates_of_all_points_share_their_seeds(swept):
    assert {(row["replicate"], row["seed"]) for row in swept.rows()} == {
        (0, 7), (1, design.replicate_seed(7, 1)),
    }  # fmt: skip
    first, second = swept.rows()[:2]
    assert first["elapsed"] != second["elapsed"]


def test_settings_that_follow_from_others_are_those_of_the_run():
    rows = pymem.sweep(scenario(), grid={"vm.dirty_bytes": [0, "1MiB"]}).rows()
    assert [(row["vm.dirty_bytes"], row["vm.dirty_ratio"]) for row in rows] == [(0, 20), (1 << 20, 0)]


def test_rows_of_both_kernels_have_the_same_columns():
    found = pymem.sweep(scenario(500), grid={"kernel": ["6.1", "6.12"]})
    for row in found.rows():
        assert list(row) == found.columns
    assert found["kernel"].tolist() == ["6.1", "6.12"]
    assert found["elapsed"][0] == pymem.simulate(scenario(500, kernel="6.1")).time_ns


def test_percentiles_are_over_the_faults_of_all_tasks():
    result = pymem.simulate(scenario())
    faults = objectives.fault_latency(result.tasks.values())
    assert faults.count == sum(
        h.count for task in result.tasks.values() for kind, h in task.latency.items() if kind != "syscall"
    )
    found = objectives.outcomes(result)
    assert found["p99_fault_latency"] == faults.percentile(99)
    assert found["p50_fault_latency"] < found["p99_fault_latency"] <= found["p999_fault_latency"]
    assert found["mean_fault_latency"] * faults.count == pytest.approx(faults.total_ns)


def test_arrays_frames_and_labelled_arrays_say_the_same(swept):
    frame, rows = swept.to_pandas(), swept.rows()
    assert list(frame.columns) == list(rows[0])
    assert frame["elapsed"].tolist() == [row["elapsed"] for row in rows]
    labelled = swept.to_xarray()
    assert labelled["elapsed"].dims == ("vm.swappiness", "machine.memory", "replicate")
    for row in rows:
        at = {name: row[name] for name in labelled["elapsed"].dims}
        assert float(labelled["elapsed"].sel(at)) == row["elapsed"]
    assert labelled.attrs["machine.cpus"] == 1
    with pytest.raises(KeyError, match="the columns are point, replicate"):
        swept["nothing"]


def test_draws_have_one_dimension():
    drawn = pymem.sweep(scenario(500), over={"vm.swappiness": "0:200"}, random=4, replicates=2)
    labelled = drawn.to_xarray()
    assert labelled["elapsed"].dims == ("point", "replicate")
    assert labelled["vm.swappiness"].values.tolist() == [p["vm.swappiness"] for p in drawn.points.values()]


def test_means_and_deviations(swept):
    row = swept.summary(["elapsed"])[3]
    values = [r["elapsed"] for r in swept.rows() if r["point"] == 3]
    assert row["settings"] == {"vm.swappiness": 60, "machine.memory": 24 << 20}
    assert row["runs"] == 2
    assert row["elapsed"]["mean"] == pytest.approx(sum(values) / 2)
    assert row["elapsed"]["sd"] == pytest.approx(abs(values[0] - values[1]) / math.sqrt(2))


# ---- executors --------------------------------------------------------------------------------------------


def again(swept, **how):
    found = pymem.sweep(scenario(), grid=GRID, replicates=2, measures=["elapsed@app", "vmstat.pswpout"], **how)
    return comparable(found) == comparable(swept)


def test_threads_change_nothing(swept):
    assert again(swept, jobs=3)


def test_processes_change_nothing(swept):
    assert again(swept, executor="processes", jobs=2)


def test_a_dask_cluster_changes_nothing(swept):
    assert again(swept, dask="local", jobs=2)


def test_a_scheduler_at_an_address_changes_nothing(swept):
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address=None) as cluster:
        assert cluster.scheduler_address.startswith("tcp://")
        assert again(swept, dask=cluster.scheduler_address)


def test_what_cannot_be_sent_is_refused():
    base = scenario(oom_policy=lambda facts: 0)
    with pytest.raises(ScenarioError, match=r"cannot be sent to other processes .* the executor 'threads'"):
        pymem.sweep(base, executor="processes")


def test_all_jobs_run_however_they_end():
    """Also when everything in flight ends at once."""
    jobs = [Job(number, 0, number, {}) for number in range(50)]
    found = [run.point for run in execute([scenario(10)], jobs, workers=1)]
    assert sorted(found) == list(range(50))


# ---- failures ---------------------------------------------------------------------------------------------


class Broken(pymem.workloads.Uniform):
    """Breaks down in the middle of the run, for one half of the seeds."""

    def chunks(self, seed):
        yield from super().chunks(seed)
        if seed % 2:
            raise ValueError("out of\nink")


def test_a_failed_run_is_put_down_and_the_others_go_on(tmp_path):
    # 17000000 bytes are not a multiple of the page size, which only the machine knows
    found = pymem.sweep(scenario(), grid={"memory": [17_000_000, "16MiB"], "vm.swappiness": [1, 2]}, store=tmp_path)
    assert [row["status"] for row in found.rows()] == ["failed", "failed", "complete", "complete"]
    assert "accepted is a multiple of the page size" in found.failed[0].error
    assert np.isnan(found["elapsed"][:2]).all()
    assert not np.isnan(found["elapsed"][2:]).any()
    assert found.rows()[0]["elapsed"] is None
    assert found.summary(["elapsed"])[0]["elapsed"] == {"mean": None, "sd": None}
    same = {"grid": {"memory": [17_000_000, "16MiB"], "vm.swappiness": [1, 2]}, "store": tmp_path}
    assert pymem.sweep(scenario(), **same).resumed == 4
    assert pymem.sweep(scenario(), **same, retry_failed=True).resumed == 2


def test_an_error_of_foreign_code_is_one_line_too():
    base = scenario(tasks=[pymem.Task("app", Broken("1MiB", accesses=10))])
    found = pymem.sweep(base, replicates=20)
    assert len(found) == 20
    assert 0 < len(found.failed) < 20
    assert {run.error for run in found.failed} == {"ValueError: out of ink"}


class Deadly(pymem.workloads.Uniform):
    """Ends the process it runs in."""

    def chunks(self, seed):
        yield from super().chunks(seed)
        if os.environ.get("DEADLY"):
            os.kill(os.getpid(), signal.SIGKILL)


def test_the_death_of_a_worker_process_is_said_and_what_has_ended_is_kept(tmp_path, monkeypatch):
    base = scenario(tasks=[pymem.Task("app", Deadly("1MiB", accesses=10))])
    how = {"executor": "processes", "jobs": 1, "store": tmp_path}
    assert len(pymem.sweep(base, replicates=3, **how)) == 3
    monkeypatch.setenv("DEADLY", "1")
    with pytest.raises(PymemError, match=r"a worker process has died .* what has ended is kept"):
        pymem.sweep(base, replicates=5, **how)
    monkeypatch.delenv("DEADLY")
    assert pymem.sweep(base, replicates=5, **how).resumed == 3


def test_a_panic_is_an_outcome():
    base = scenario(20_000, machine=pymem.Machine(memory="16MiB", cpus=1), oom_policy="panic")
    (row,) = pymem.sweep(base).rows()
    assert (row["status"], row["error"]) == ("panic", "")
    assert row["elapsed"] > 0


def test_progress_counts_what_is_there(tmp_path):
    seen = []
    grid = {"vm.swappiness": [1, 2, 3]}
    pymem.sweep(scenario(100), grid=grid, store=tmp_path / "a.sqlite", progress=seen.append)
    assert [(p.done, p.total, p.failed) for p in seen] == [(1, 3, 0), (2, 3, 0), (3, 3, 0)]
    assert seen[-1].eta_seconds == 0
    seen.clear()
    pymem.sweep(scenario(100), grid=grid, replicates=2, store=tmp_path / "a.sqlite", progress=seen.append)
    assert [(p.done, p.total) for p in seen] == [(4, 6), (5, 6), (6, 6)]
