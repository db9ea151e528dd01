"""The store of a sweep and its command: kill -9, Ctrl-C, another sweep, another program; and mistakes."""

import csv
import fcntl
import json
import os
import re
import signal
import sqlite3
import subprocess
import time

import pytest
from test_cli import COMMAND, TINY, environment, one_line

import pymem
from pymem.errors import StoreError
from pymem.sweeps.store import Run, Store, place_of

GRID = ["--grid", "vm.swappiness=0,20,40,60,80,100,120,140,160,180"]
RUNS = 40
SWEEP = ["sweep", "work.toml", *GRID, "--replicates", "4", "--jobs", "2", "--store", "out"]


@pytest.fixture
def place(tmp_path):
    (tmp_path / "work.toml").write_text(TINY.replace("9000", "60_000"))
    return tmp_path


def start(place, *arguments):
    return subprocess.Popen(
        [*COMMAND, *arguments], cwd=place, env=environment(), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def command(place, *arguments):
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, cwd=place, env=environment(), check=False
    )


def stored(place):
    """Every run that is durable, with when it was put down."""
    if not (place / "out" / "sweep.sqlite").exists():
        return {}
    with sqlite3.connect(place / "out" / "sweep.sqlite") as db:
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'runs'").fetchone():
            db_rows = []
        else:
            db_rows = db.execute("SELECT point, replicate, finished, outcome FROM runs").fetchall()
    db.close()
    return {(point, replicate): (finished, outcome) for point, replicate, finished, outcome in db_rows}


def wait_for(place, more, process):
    while len(stored(place)) < more:
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)


# ---- the end of the program -------------------------------------------------------------------------------


def test_kill_9_loses_nothing_and_nothing_runs_twice(place):
    before = {}
    for _ in range(3):
        process = start(place, *SWEEP)
        wait_for(place, len(before) + 4, process)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        process.communicate()
        after = stored(place)
        assert len(before) + 4 <= len(after) < RUNS
        assert {key: after[key] for key in before} == before
        before = after
    done = command(place, *SWEEP)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{RUNS} runs, {len(before)} of them from before, 0 failed" in done.stdout
    last = stored(place)
    assert len(last) == RUNS
    # what was there was not run again: the time at which it was put down is the same
    assert {key: last[key] for key in before} == before
    base = pymem.load(place / "work.toml")
    whole = pymem.sweep(base, grid={"vm.swappiness": range(0, 200, 20)}, replicates=4)
    resumed = pymem.open_store(place / "out")
    assert [(r.point, r.replicate, r.seed, r.outcome) for r in resumed.runs] == [
        (r.point, r.replicate, r.seed, r.outcome) for r in whole.runs
    ]


@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_ctrl_c_leaves_a_store_to_go_on_with(place, executor):
    process = start(place, *SWEEP, "--executor", executor)
    wait_for(place, 4, process)
    process.send_signal(signal.SIGINT)
    out, said = process.communicate()
    assert (process.returncode, out) == (130, "")
    there = len(stored(place))
    assert said == f"{there} runs are in out; the same command goes on there\n"
    assert 4 <= there < RUNS
    done = command(place, *SWEEP)
    assert f"{RUNS} runs, {there} of them from before, 0 failed" in done.stdout


# ---- one store, one sweep, one writer ---------------------------------------------------------------------


def sweep(place, **how):
    return pymem.sweep(place / "work.toml", **{"grid": {"vm.swappiness": [1, 2]}, "store": place / "s.sqlite", **how})


def test_another_sweep_is_refused_and_more_replicates_are_not(place):
    assert len(sweep(place)) == 2
    for how, what in (({"grid": {"vm.swappiness": [1, 3]}}, "points"), ({"measures": ["elapsed@app"]}, "measures")):
        with pytest.raises(StoreError, match=rf"belongs to another sweep \(it differs in: {what}\)"):
            sweep(place, **how)
    other = pymem.load(place / "work.toml").with_settings({"seed": 3})
    with pytest.raises(StoreError, match=r"differs in: scenario or seed\)"):
        pymem.sweep(other, grid={"vm.swappiness": [1, 2]}, store=place / "s.sqlite")
    more = sweep(place, replicates=3)
    assert (len(more), more.resumed) == (6, 2)
    assert len(sweep(place)) == 2


def test_one_program_writes_and_others_may_read(place):
    with Store(place / "s.sqlite") as store:
        with pytest.raises(StoreError, match="another program is writing to it"):
            sweep(place)
        store.identify({"measures": []}, kind="sweep", name="", fixed={}, varied={}, design={}, scenario={})
        store.add_points([(0, {})])
        store.add(Run(0, 0, 1, "complete", outcome={"elapsed": 5}))
        assert pymem.open_store(place / "s.sqlite")["elapsed"].tolist() == [5]
        with pytest.raises(StoreError, match="point 0, replicate 0 is there already"):
            store.add(Run(0, 0, 1, "complete"))
        with pytest.raises(StoreError, match="point 0 has other settings"):
            store.add_points([(0, {"vm.swappiness": 1})])
    # closed, it is one plain file
    assert sorted(path.name for path in place.glob("s.sqlite*")) == ["s.sqlite", "s.sqlite.lock"]


def test_the_lock_ends_with_the_program_that_holds_it(place):
    handle = os.open(place / "s.sqlite.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(StoreError, match="another program is writing to it"):
        sweep(place)
    os.close(handle)
    assert len(sweep(place)) == 2


def test_where_a_store_lies(tmp_path):
    (tmp_path / "file").touch()
    assert place_of(tmp_path / "x.db") == tmp_path / "x.db"
    assert place_of(tmp_path / "file") == tmp_path / "file"
    assert place_of(tmp_path / "x") == tmp_path / "x" / "sweep.sqlite"


def test_what_is_no_store_is_refused_and_left_alone(place):
    text = (place / "work.toml").read_text()
    with pytest.raises(StoreError, match=r"work\.toml: cannot be written .* results: file is not a database"):
        sweep(place, store=place / "work.toml")
    with pytest.raises(StoreError, match="cannot be written as a store of results: Not a directory"):
        sweep(place, store=place / "work.toml" / "below")
    with pytest.raises(StoreError, match="no such file"):
        pymem.open_store(place / "nothing")
    db = sqlite3.connect(place / "foreign.db")
    db.execute("CREATE TABLE t (x)")
    db.commit()
    db.close()
    with pytest.raises(StoreError, match="is no store of results"):
        sweep(place, store=place / "foreign.db")
    assert (place / "work.toml").read_text() == text
    assert sorted(path.name for path in place.iterdir()) == ["foreign.db", "work.toml"]


# ---- the command ------------------------------------------------------------------------------------------


def test_the_table_says_what_varied_and_what_came_out(place):
    done = command(place, "sweep", "work.toml", "--grid", "memory=16MiB,64MiB", "--replicates", 2, "--csv", "rows.csv")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^machine.memory +runs +elapsed +p99_fault_latency +stall ", done.stdout, re.MULTILINE)
    assert re.search(r"^ +16 MiB +2 .* ± ", done.stdout, re.MULTILINE)
    assert re.search(r"^ +64 MiB +2 ", done.stdout, re.MULTILINE)
    assert done.stdout.endswith("4 runs, 0 failed\n")
    with open(place / "rows.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["machine.memory"] for row in rows] == [str(16 << 20)] * 2 + [str(64 << 20)] * 2
    assert {row["vm.swappiness"] for row in rows} == {"60"}


def test_json_and_chosen_measures_and_a_look_at_the_store(place):
    options = ["--store", "s.db", "--measure", "elapsed@app,vmstat.pswpout", "--random", 2, "--over"]
    done = command(place, "sweep", "work.toml", *options, "vm.swappiness=0:200", "--json")
    rows = json.loads(done.stdout)
    assert [row["vmstat.pswpout"] for row in rows] == [row["swap_out"] for row in rows]
    shown = command(place, "sweep", "--store", "s.db", "--measure", "elapsed@app")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert re.search(r"^vm.swappiness +runs +elapsed@app", shown.stdout, re.MULTILINE)
    assert shown.stdout.endswith("2 runs, 0 failed\n")
    assert command(place, "sweep", "work.toml", "--quiet").stdout == ""


def test_failures_are_named_and_only_a_sweep_of_failures_is_an_error(place):
    mixed = command(place, "sweep", "work.toml", "--grid", "memory=16MiB,17000000")
    assert mixed.returncode == 0
    assert "2 runs, 1 failed" in mixed.stdout
    assert "failed 1 times, first at machine.memory=17000000: machine.memory: 17000000 is" in mixed.stdout
    none = command(place, "sweep", "work.toml", "--grid", "memory=17000000", "--quiet")
    one_line(none, "every run failed, the first with: machine.memory: 17000000 is")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["work.toml", "--grid", "vm.swappiness"], "--grid 'vm.swappiness': accepted is KEY=A,B,C"),
        (["work.toml", "--grid", "vm.swappiness=a"], "vm.swappiness: 'a' is not understood; accepted is a whole"),
        (["work.toml", "--grid", "vm.nothing=1"], "vm.nothing: unknown tunable"),
        (["work.toml", "--grid", "cpus=1", "--grid", "cpus=2"], "--grid cpus: given twice; give everything at once"),
        (["work.toml", "--over", "vm.swappiness:1"], "--over 'vm.swappiness:1': accepted is KEY=LOW:HIGH"),
        (["work.toml", "--dask", "tcp://127.0.0.1:9"], "--dask tcp://127.0.0.1:9: no cluster answers"),
        (["work.toml", "--store", "work.toml"], "work.toml: cannot be written as a store of results"),
        (["work.toml", "--csv", "no/rows.csv"], "is no folder; accepted is a file in one"),
        (["none.toml"], "none.toml: No such file or directory"),
        ([], "sweep: no scenario; accepted is a TOML file, or --store"),
        (["--store", "s.db"], "s.db: no such file; accepted is the --store of an earlier sweep"),
        (["--store", "s.db", "--grid", "cpus=1"], "sweep: no scenario to vary"),
    ],
)
def test_a_mistake_is_one_line(place, arguments, message):
    one_line(command(place, "sweep", *arguments), message)
    assert sorted(path.name for path in place.iterdir()) == ["work.toml"]
