"""Comparisons: the statistics against numbers worked out by hand, then what is said about two scenarios."""

import json
import math
import subprocess

import numpy as np
import pytest
from test_cli import COMMAND, TINY, environment, one_line

import pymem
from pymem.cli.compare import bar
from pymem.comparison import flat_settings
from pymem.errors import PymemError, ScenarioError
from pymem.provenance import describe
from pymem.statistics import T95, difference, least_p, sign_flip_p, t95
from pymem.sweeps.design import replicate_seed

# ---- statistics -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("differences", "p"),
    [
        # of the 8 sign patterns only +++ and --- reach |6|
        ([1, 2, 3], 2 / 8),
        # |sums| of 1, 2 and -4: 1 for the pattern itself and its mirror, all others are larger or equal
        ([1, 2, -4], 1.0),
        # sums of 3, 1, -1: 3 (as seen); patterns reach 5 twice, 3 four times, 1 twice
        ([3, 1, -1], 6 / 8),
        ([0, 0, 0], 1.0),
        ([5], 1.0),
    ],
)
def test_sign_flips_counted_by_hand(differences, p):
    assert sign_flip_p(np.array(differences, float)) == p


def test_many_pairs_are_drawn_and_agree_with_the_normal_distribution():
    """Of 100 differences of +1 or -1, 60 up: the sum of signs is binomial, P(|sum| >= 20) = 0.0569."""
    apart = np.array([1.0] * 60 + [-1.0] * 40)
    exact = 2 * sum(math.comb(100, k) for k in range(60, 101)) / 2**100
    assert exact == pytest.approx(0.0569, abs=1e-4)
    assert sign_flip_p(apart) == pytest.approx(exact, abs=4 * math.sqrt(exact / 65536))
    assert sign_flip_p(np.full(100, 1.0)) == least_p(100) == 1 / 65536


def test_the_interval_of_student():
    # differences 1, 2, 3: mean 2, deviation 1; 4.303 / sqrt(3) = 2.484
    found = difference([10, 10, 10], [11, 12, 13])
    assert (found.before, found.after, found.change, found.relative, found.pairs) == (10, 12, 2, 0.2, 3)
    assert (found.low, found.high) == (pytest.approx(2 - 2.484, abs=1e-3), pytest.approx(2 + 2.484, abs=1e-3))
    assert found.p == 0.25


def test_the_table_of_t_covers_what_it_says():
    """The share of Student's density between -t and t is 95 %, integrated by the trapezium rule."""
    for n in (1, 2, 5, 10, 30):
        x = np.linspace(-T95[n - 1], T95[n - 1], 200_001)
        scale = math.gamma((n + 1) / 2) / math.sqrt(n * math.pi) / math.gamma(n / 2)
        assert np.trapezoid(scale * (1 + x**2 / n) ** (-(n + 1) / 2), x) == pytest.approx(0.95, abs=1e-4)
    assert t95(1000) == T95[-1]
    assert list(T95) == sorted(T95, reverse=True)


def test_one_pair_says_nothing_about_chance():
    found = difference([0], [3])
    assert (found.change, found.relative) == (3, None)
    assert math.isnan(found.p)
    with pytest.raises(ValueError, match="1 and 2 runs"):
        difference([1], [1, 2])


def test_bars():
    assert bar(0.0) == bar(None) == "      │      "
    assert bar(0.5) == "      │███   "
    assert bar(-0.5) == bar(-0.9) == "██████│      "
    assert bar(9.0) == "      │██████"


# ---- scenarios --------------------------------------------------------------------------------------------


def scenario(accesses=6000, memory="16MiB", **others):
    work = pymem.workloads.Uniform("20MiB", accesses=accesses, writes=1.0)
    machine = pymem.Machine(memory=memory, cpus=1, swap=(pymem.SwapDevice("32MiB"),))
    return pymem.Scenario(**{"machine": machine, "tasks": [pymem.Task("app", work)], "seed": 3, **others})


def test_more_memory_is_found_to_help():
    found = pymem.compare(scenario(12000), scenario(12000, memory="64MiB", name="more"), replicates=6)
    d = found.difference("major_faults")
    assert d.after == 0 < d.before
    assert d.p == 2 / 2**6  # fewer in all six pairs: the smallest there is
    assert d.high < 0
    assert found.settings() == {"machine.memory": ["16.0 MiB", "64.0 MiB"]}
    words = found.words()
    assert words[0] == "Settings of more: machine.memory 16.0 MiB → 64.0 MiB."
    assert any(line.startswith("Better: major_faults ") and "(-100.0%, p = 0.031)" in line for line in words)
    assert not [line for line in words if line.startswith("Worse: elapsed")]


def test_the_values_are_those_of_single_runs_with_shared_seeds():
    a, b = scenario(), scenario(memory="20MiB", seed=99)
    found = pymem.compare(a, b, replicates=3)
    for replicate in range(3):
        seed = replicate_seed(3, replicate)
        for side, one in zip(found.sides, (a, b), strict=True):
            alone = pymem.simulate(one.with_settings({"seed": seed}))
            assert side.outcomes["elapsed"][replicate] == alone.time_ns
    assert found.to_dict()["replicates"] == 3
    assert list(found.settings()) == ["machine.memory"]  # the seed of the second is not used
    assert "3 replicates cannot show more than p = 0.25; 6 or more can." in found.words()


def test_the_same_twice_is_the_same():
    found = pymem.compare(scenario(), scenario(), replicates=2)
    assert [side.label for side in found.sides] == ["scenario (1)", "scenario (2)"]
    assert found.settings() == {}
    assert found.words()[-1] == "The outcome is the same in everything that was measured."


def test_without_chance_nothing_is_called_significant():
    """A recorded stream does the same whatever the seed: equal replicates are no evidence, but an exact answer."""
    pages = np.tile(np.arange(5000, dtype=np.uint32), 2) | np.uint32(1 << 31)
    tasks = [pymem.Task("app", pymem.workloads.Trace(pages))]
    found = pymem.compare(scenario(tasks=tasks), scenario(tasks=tasks, memory="64MiB"), replicates=6)
    assert not found.random
    assert "All runs of a side came out the same: no chance in it, the differences below are exact." in found.words()
    assert not any("p = " in line for line in found.words())
    assert {row["significant"] for row in found.to_dict()["differences"]} == {None}


def test_results_are_one_run_each(tmp_path):
    first = pymem.simulate(scenario())
    first.save(tmp_path / "a")
    pymem.simulate(scenario(vm={"page-cluster": 0})).save(tmp_path / "b")
    found = pymem.compare(tmp_path / "a", tmp_path / "b", scenario(), measures=["elapsed", "vmstat.pswpin"])
    assert found.settings() == {"vm.page-cluster": [3, 0, 3]}
    assert found.difference("elapsed", 2).change == 0
    assert found.sides[0].outcomes["vmstat.pswpin"] == [first.vmstat["pswpin"]]
    row = found.to_dict()["differences"][0]
    assert (row["p"], row["significant"], row["mean_a"]) == (None, None, first.time_ns)
    json.dumps(found.to_dict(), allow_nan=False)
    assert pymem.compare(first, tmp_path / "a").words()[-1].startswith("The outcome is the same")
    with pytest.raises(ScenarioError, match="the saved result a does not have it; give its scenario"):
        pymem.compare(tmp_path / "a", tmp_path / "b", measures=["elapsed@app"])


def test_settings_are_flat_and_tasks_go_by_their_names():
    base = scenario(vm={"vm.swappiness": "7"}, costs={"c_anon_fault": "2us"})
    flat = flat_settings(describe(base))
    assert flat["vm.swappiness"] == 7
    assert flat["vm.page-cluster"] == 3
    assert flat["costs.anon_fault"] == 2000
    assert flat["machine.swap[0].size"] == "32MiB"
    assert flat["tasks.app.workload.accesses"] == 6000


@pytest.mark.parametrize(
    ("what", "how", "message"),
    [
        (1, {}, "compare: 1 given; accepted are two and more"),
        (2, {"replicates": 0}, "replicates: 0; accepted is 1 to"),
        (2, {"measures": ["elapse"]}, "measure 'elapse': unknown; did you mean elapsed?"),
        (2, {"measures": ["elapsed@db"]}, "measure 'elapsed@db': no such task; accepted are app"),
        (2, {"jobs": -1}, "jobs: -1; accepted is 1 to 1024"),
    ],
)
def test_what_is_not_accepted(what, how, message):
    with pytest.raises(PymemError) as error:
        pymem.compare(*[scenario()] * what, **how)
    assert message in str(error.value)


# ---- the command ------------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path):
    (tmp_path / "a.toml").write_text(TINY)
    (tmp_path / "b.toml").write_text(TINY.replace("16MiB", "24MiB"))
    return tmp_path


def command(place, *arguments):
    return subprocess.run(
        [*COMMAND, "compare", *map(str, arguments)], capture_output=True, text=True, cwd=place, env=environment(),
        check=False,
    )  # fmt: skip


def test_the_comparison_in_words_and_figures(place):
    done = command(place, "a.toml", "b.toml", "--replicates", 6)
    assert (done.returncode, done.stderr) == (0, "")
    assert "machine.memory  16.0 MiB  24.0 MiB" in done.stdout
    assert "b, compared with a" in done.stdout
    assert "• Better: elapsed" in done.stdout
    assert "6 paired runs of each; paired sign-flip permutation test" in done.stdout
    found = json.loads(command(place, "a.toml", "b.toml", "--replicates", 6, "--json").stdout)
    (row,) = [row for row in found["differences"] if row["measure"] == "elapsed"]
    assert (row["significant"], row["judgement"]) == (True, "better")
    assert row["low"] <= row["change"] <= row["high"] < 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.toml"], "compare: 1 given"),
        (["a.toml", "none.toml"], "none.toml: No such file or directory"),
        (["a.toml", "."], ".: holds no result (result.json is missing)"),
        (["a.toml", "old"], "result.json: was written by an older version of pymem; run the scenario again"),
        (["a.toml", "torn"], "result.json: is damaged"),
        (["a.toml", "b.toml", "--measure", "elapsed@db"], "measure 'elapsed@db': no such task"),
    ],
)
def test_a_mistake_is_one_line(place, arguments, message):
    for name, text in (("old", "{}"), ("torn", "{")):
        (place / name).mkdir()
        (place / name / "result.json").write_text(text)
    one_line(command(place, *arguments), message)
