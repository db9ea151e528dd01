"""Results read back from folders: the same as before, from any part of a folder, with one message for damage."""

import json
import os

import numpy as np
import pytest

from pymem.errors import PymemError
from pymem.files import write_text
from pymem.saved import load_result
from pymem.scenario import Scenario, Task
from pymem.simulation import simulate
from pymem.topology import Machine, SwapDevice
from pymem.workloads import Leak, Uniform


@pytest.fixture(scope="module")
def result():
    """Swaps, and kills one of its tasks; a task that must not be killed has a score without a number."""
    machine = Machine("16MiB", cpus=1, swap=[SwapDevice("16MiB")])
    tasks = [
        Task('a, "b"', Uniform("12MiB", accesses=50_000, writes=1.0), oom_score_adj=-1000),
        Task("leak", Leak("64MiB", rate="1GiB")),
    ]
    return simulate(Scenario(name="small", machine=machine, tasks=tasks, sample_interval="2ms"))


@pytest.fixture
def folder(result, tmp_path):
    return result.save(tmp_path / "out")


def test_a_result_comes_back_as_it_was(result, folder):
    again = load_result(folder)
    assert again.to_dict() == json.loads((folder / "result.json").read_text())
    assert again.timeline.columns.keys() == result.timeline.columns.keys()
    for name, column in result.timeline.columns.items():
        np.testing.assert_array_equal(again.timeline[name], column)
    np.testing.assert_array_equal(again.events, result.events)
    assert [kill.scores for kill in again.oom_kills] == [kill.scores for kill in result.oom_kills]
    assert any(-np.inf in kill.scores.values() for kill in result.oom_kills)
    for name, task in result.tasks.items():
        for kind, histogram in task.latency.items():
            np.testing.assert_array_equal(again.tasks[name].latency[kind].counts, histogram.counts)


def test_saving_what_was_loaded_writes_the_same_files(folder, tmp_path):
    load_result(folder).save(tmp_path / "again")
    for name in ("result.json", "events.csv", "latency.csv", "oom.txt", "proc/vmstat", "proc/pressure/memory"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_result_json_alone_is_enough_and_keeps_the_percentiles(result, folder):
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.name != "result.json":
            path.rmdir() if path.is_dir() else path.unlink()
    again = load_result(folder)
    assert (len(again.timeline), len(again.events)) == (0, 0)
    saved, rebuilt = json.loads((folder / "result.json").read_text()), again.to_dict()
    # Percentiles over all tasks need the histograms themselves.
    assert rebuilt.pop("outcomes").keys() == saved.pop("outcomes").keys()
    assert rebuilt == saved
    used = [h for task in again.tasks.values() for h in task.latency.values() if h.count]
    assert used, "no latencies to compare"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("result.json", "{", "result.json: is damaged ("),
        ("result.json", "[]", "result.json: is not a result of this version of pymem"),
        ("result.json", '{"tasks": {}}', "is not a result of this version of pymem ('zones' is missing)"),
        ("timeline.npz", "PK", "timeline.npz: is damaged"),
        ("events.csv", "time\n", "events.csv: is damaged; its first line has to be time_ns,event,who,value"),
        ("events.csv", "time_ns,event,who,value\n1,2\n", "events.csv, line 2: 2 fields; there have to be 4"),
        ("events.csv", "time_ns,event,who,value\n1,nap,1,1\n", "events.csv: is damaged ('nap')"),
        ("latency.csv", "task,kind,lower_ns,count\na,minor,17,1\n", "latency.csv: is damaged (17)"),
    ],
)
def test_damage_is_named(folder, name, text, message):
    (folder / name).write_text(text)
    with pytest.raises(PymemError) as caught:
        load_result(folder)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["zones", 0, "low"], None, "('low' is missing)"),
        (["swap", "areas"], None, "('areas' is missing)"),
        (["psi", "memory_full"], None, "('memory_full' is missing)"),
        (["psi", "io_some", "total"], "long", "is not a result of this version of pymem"),
        (["vmstat", "pgfault"], "many", "is not a result of this version of pymem"),
        (["tasks", "leak", "latency"], None, "('latency' is missing)"),
        (["tasks", "leak", "pid"], None, "pid"),
    ],
)
def test_a_result_without_what_readers_rely_on_is_refused(folder, path, value, message):
    path_of = folder / "result.json"
    document = json.loads(path_of.read_text())
    inside = document
    for key in path[:-1]:
        inside = inside[key]
    if value is None:
        del inside[path[-1]]
    else:
        inside[path[-1]] = value
    path_of.write_text(json.dumps(document))
    with pytest.raises(PymemError, match=r"result\.json: is not a result of this version of pymem") as caught:
        load_result(folder)
    assert message in str(caught.value)


def test_arrays_of_objects_are_not_unpickled(folder):
    np.savez(folder / "timeline.npz", time_ns=np.array([{}], dtype=object))
    with pytest.raises(PymemError, match=r"timeline\.npz: is damaged"):
        load_result(folder)


def test_a_place_without_a_result(tmp_path):
    with pytest.raises(PymemError, match=r"holds no result \(result\.json is missing\)"):
        load_result(tmp_path)
    with pytest.raises(PymemError, match="holds no result"):
        load_result(tmp_path / "nowhere")


def test_files_are_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "first\n")
    with pytest.raises(UnicodeEncodeError):  # after the file has been opened
        write_text(path, "second \ud800")
    assert path.read_text() == "first\n"
    assert os.listdir(tmp_path) == ["a.txt"]
    for wrong, message in ((tmp_path / "no" / "a", "does not exist"), (tmp_path, "is a folder")):
        with pytest.raises(PymemError, match=message):
            write_text(wrong, "x")
