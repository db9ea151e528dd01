"""Watching a run: lines whose figures add up to the counters, a screen, and results that watching does not change."""

import io
import re

import numpy as np
import pytest
from results import thrashing
from rich.console import Console

from pymem.reports.live import Screen, observe, stream, watch
from pymem.reports.vmstat import Stream, header
from pymem.scenario import Scenario, Task
from pymem.simulation import Simulation, simulate
from pymem.topology import Machine, SwapDevice
from pymem.workloads import Uniform


def scenario():
    machine = Machine("16MiB", cpus=1, swap=[SwapDevice("32MiB")])
    work = Uniform("20MiB", accesses=60_000, writes=1.0)
    return Scenario(name="thrash", machine=machine, tasks=[Task("app", work)], sample_interval="2ms")


def table(lines):
    names, *rows = [line.split() for line in lines]
    return [dict(zip(names, map(float, row), strict=True)) for row in rows]


def saved_lines(result, every):
    lines = Stream(result.swap["total"], every)
    return [header(), *lines.feed(result.timeline.columns), *lines.close()]


def test_rates_times_intervals_are_the_counters():
    result, every = thrashing(), 20_000_000
    rows = table(saved_lines(result, every))
    times = np.array([row["time"] for row in rows])
    spans = np.diff(times, prepend=0)
    assert len(rows) > 3
    np.testing.assert_allclose(times[:-1], 0.02 * np.arange(1, len(rows)), atol=1e-3)
    for title, total in (
        ("si", 4 * result.vmstat["pswpin"]), ("so", 4 * result.vmstat["pswpout"]),
        ("majflt", result.vmstat["pgmajfault"]), ("scank", result.vmstat["pgscan_kswapd"]),
    ):  # fmt: skip
        # Each line is rounded to whole events per second, and the times to a millisecond.
        assert sum(row[title] * span for row, span in zip(rows, spans, strict=True)) == pytest.approx(total, rel=0.05)
    last = result.timeline
    assert rows[-1]["free"] == 4 * last["nr_free_pages"][-1]
    assert rows[-1]["swpd"] == 4 * (result.swap["total"] - last["swap_free"][-1])


def test_a_stream_during_a_run_is_that_of_its_result():
    lines = []
    result = stream(scenario(), 20_000_000, lines.append)
    assert lines == saved_lines(result, 20_000_000)


def test_lines_wait_for_their_rows_and_gaps_give_one_line():
    columns = {name: np.zeros(4, int) for name in thrashing().timeline.columns}
    columns["time_ns"] = np.array([1, 2, 35, 36]) * 10**6
    lines = Stream(0, 10**7)
    first = list(lines.feed({name: column[:2] for name, column in columns.items()}))
    then = list(lines.feed({name: column[2:] for name, column in columns.items()}))
    rest = list(lines.close())
    assert first == []
    assert [row["time"] for row in table([header(), *then, *rest])] == [0.035, 0.036]


def test_how_often_is_looked_changes_nothing():
    plain = simulate(scenario())
    seen = []
    observed = observe(scenario(), lambda run: seen.append(run.engine.now), budget=1000)
    assert len(seen) > 10
    assert observed.to_dict() == plain.to_dict()
    for name, column in plain.timeline.columns.items():
        np.testing.assert_array_equal(observed.timeline[name], column)


def test_ctrl_c_while_watching_leaves_a_partial_result():
    def press(run):
        raise KeyboardInterrupt

    assert observe(scenario(), press, budget=1000).status == "interrupted"


def test_the_screen_shows_tasks_and_rates():
    run, screen = Simulation(scenario()), Screen()
    out = Console(file=io.StringIO(), width=110)
    for _ in range(20):
        run.step(1000)
        before = out.file.tell()
        out.print(screen.draw(run))
        out.file.seek(before)
        screen_text = out.file.read()
    assert re.search(r"^1000 +app +running ", screen_text, re.MULTILINE)
    assert re.search(r"^swap used +\d+\.\d [KM]iB +\S", screen_text, re.MULTILINE)
    assert re.search(r"^swapped out +\d", screen_text, re.MULTILINE)


def test_watching_in_a_terminal_draws_and_ends_with_the_same_result():
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    result = watch(scenario(), console)
    assert "thrash" in console.file.getvalue()
    assert result.to_dict() == simulate(scenario()).to_dict()


# ---- the time line of long runs ---------------------------------------------------------------------------


def test_rows_later_than_a_time():
    run = Simulation(scenario())
    while run.step(1000):
        pass
    whole = run.timeline()
    later = run.timeline(int(whole["time_ns"][4]))
    np.testing.assert_array_equal(later["pswpin"], whole["pswpin"][5:])
    assert len(run.timeline(int(whole["time_ns"][-1]))) == 0


def test_a_long_idle_run_is_sampled_ever_less_often():
    # 300 000 samples of a machine that waits: twice thinned, 131 072 rows at most, evenly spaced.
    interval, rows = 1_000_000, 300_000
    late = Task("late", Uniform("4KiB", accesses=1), start=interval * rows)
    machine = Machine("16MiB", cpus=1)
    result = simulate(Scenario(machine=machine, tasks=[late], sample_interval=interval))
    times = result.timeline["time_ns"]
    assert rows // 4 <= len(times) <= 1 << 17
    np.testing.assert_array_equal(times[:-1], interval * (1 + 4 * np.arange(len(times) - 1)))
