"""What a run leaves: percentiles by hand, folders that are complete or not there, frames and Parquet."""

import csv
import json
import math
import os

import numpy as np
import pytest

from pymem import procfs
from pymem.devices import SwapDevice
from pymem.errors import PymemError
from pymem.result import MARK, Latency, OomKill, Timeline, bucket_edges, check_folder
from pymem.scenario import Scenario, Task
from pymem.simulation import simulate
from pymem.topology import Machine
from pymem.workloads import Uniform

FILES = {
    "result.json",
    "timeline.npz",
    "timeline.parquet",
    "events.csv",
    "proc/vmstat",
    "proc/meminfo",
    "proc/zoneinfo",
    "proc/pressure/memory",
    "proc/pressure/io",
    "proc/pressure/cpu",
}


@pytest.fixture(scope="module")
def result():
    machine = Machine("16MiB", cpus=1, swap=[SwapDevice("32MiB")])
    work = Uniform("20MiB", accesses=20_000, writes=1.0)
    return simulate(Scenario(name="small", machine=machine, tasks=[Task("a", work)], sample_interval="2ms"))


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


# ---- latencies --------------------------------------------------------------------------------------------


def test_bucket_edges_are_exact_below_8_ns_and_eight_per_power_of_two_above():
    edges = bucket_edges(40)
    assert edges[:9].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8]
    assert edges[8:17].tolist() == [8, 9, 10, 11, 12, 13, 14, 15, 16]
    assert edges[16:25].tolist() == [16, 18, 20, 22, 24, 26, 28, 30, 32]
    assert edges[32:40].tolist() == [64, 72, 80, 88, 96, 104, 112, 120]
    assert np.all(np.diff(bucket_edges(400)) > 0)


#        edges  10  20  30  40
COUNTS = [1, 0, 8, 1]


@pytest.mark.parametrize(
    ("p", "ns"), [(0, 10), (10, 10), (10.1, 30), (50, 30), (90, 30), (90.1, 40), (99, 40), (100, 40)]
)
def test_percentiles_by_hand(p, ns):
    histogram = Latency(np.array(COUNTS, np.uint64), np.array([10, 20, 30, 40]), 290)
    assert histogram.percentile(p) == ns
    assert (histogram.count, histogram.mean_ns) == (10, 29.0)


def test_the_lowest_percentile_is_the_first_bucket_that_has_any():
    assert Latency(np.array([0, 0, 5], np.uint64), np.array([10, 20, 30]), 1).percentile(0) == 30


def test_a_histogram_of_nothing():
    empty = Latency(np.zeros(3, np.uint64), np.arange(3), 0)
    assert (empty.count, empty.mean_ns, empty.percentile(50)) == (0, 0.0, 0)
    for p in (-0.1, 100.1, math.nan):
        with pytest.raises(ValueError, match="accepted is 0 to 100"):
            empty.percentile(p)


# ---- the folder -------------------------------------------------------------------------------------------


def test_a_saved_result_is_complete(result, tmp_path):
    place = result.save(tmp_path / "deep" / "out")
    assert place == tmp_path / "deep" / "out"
    assert files(place) == FILES
    assert os.listdir(place.parent) == ["out"]
    found = json.loads((place / MARK).read_text(), parse_constant=lambda c: pytest.fail(f"{c} is not JSON"))
    assert found == json.loads(json.dumps(result.to_dict()))
    assert (found["status"], found["partial"], found["name"]) == ("complete", False, "small")
    with np.load(place / "timeline.npz") as arrays:
        assert set(arrays) == set(result.timeline.columns)
        assert np.array_equal(arrays["time_ns"], result.timeline["time_ns"])
    assert (place / "proc" / "vmstat").read_text() == procfs.vmstat_text(result.vmstat)
    assert (place / "proc" / "meminfo").read_text() == procfs.meminfo_text(result.meminfo)
    assert (place / "proc" / "zoneinfo").read_text() == result.zoneinfo
    with (place / "events.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(result.events)
    assert [row["event"] for row in rows].count("kswapd_wake") == len(result.events_of("kswapd_wake")) > 0


def test_an_earlier_result_is_replaced(result, tmp_path):
    place = tmp_path / "out"
    result.save(place)
    (place / "old").touch()
    result.save(place)
    assert files(place) == FILES
    assert os.listdir(tmp_path) == ["out"]


def test_an_empty_folder_and_a_link_to_one_may_be_used(result, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    result.save(tmp_path / "link")
    assert files(tmp_path / "real") == FILES
    assert (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("call", range(4))
@pytest.mark.parametrize("earlier", [False, True])
@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=["full", "interrupt"]
)
def test_a_failure_leaves_what_was_there(result, tmp_path, monkeypatch, call, earlier, error):
    place = tmp_path / "out"
    if earlier:
        result.save(place)
        (place / "old").touch()
    before = files(tmp_path)
    seen = [0]

    def failing(function):
        def wrapper(*args, **kwargs):
            seen[0] += 1
            if seen[0] == call + 1:
                raise error
            return function(*args, **kwargs)

        return wrapper

    # The places where writing can stop: two of the files, then the two renames.
    monkeypatch.setattr(procfs, "vmstat_text", failing(procfs.vmstat_text))
    monkeypatch.setattr(np, "savez_compressed", failing(np.savez_compressed))
    monkeypatch.setattr(os, "replace", failing(os.replace))
    if call == 3 and not earlier:
        result.save(place)  # only one rename, so nothing fails
        assert files(place) == FILES
        return
    with pytest.raises((PymemError, KeyboardInterrupt)) as caught:
        result.save(place)
    assert str(caught.value) == (f"{place}: cannot be written: No space left on device" if error.args else "")
    assert files(tmp_path) == before
    assert os.listdir(tmp_path) == (["out"] if earlier else [])


def test_places_where_no_result_may_go(result, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    for place, message in (
        ("file", "is a file; accepted is a folder for the result"),
        ("full", r"is not empty and holds no result \(result.json is missing\); name another folder"),
        ("file/below", "is a file; accepted is a place for a folder"),
    ):
        for use in (check_folder, result.save):
            with pytest.raises(PymemError, match=message):
                use(tmp_path / place)
    assert files(tmp_path) == {"file", "full/thesis.tex"}
    check_folder(tmp_path / "new" / "deeper")
    check_folder(tmp_path / "full" / "new")


def test_without_permission_it_is_said_before_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # the superuser may write everywhere
    with pytest.raises(PymemError, match="out: no permission to write in "):
        check_folder(tmp_path / "out")


def test_scores_that_are_no_numbers_of_json(result, tmp_path):
    kill = OomKill(5, "a", "b", {"a": 3.0, "b": -math.inf}, "the report\n")
    changed = type(result)(**{**vars(result), "oom_kills": [kill, kill]})
    row = changed.to_dict()["oom_kills"][0]
    assert row == {
        "time_ns": 5,
        "task": "a",
        "allocating": "b",
        "scores": {"a": 3.0, "b": None},
        "report": "the report\n",
        "by": "kernel",
        "signal": "SIGKILL",
        "reason": "",
        "freed_pages": 0,
        "freed_swap": 0,
    }
    place = changed.save(tmp_path / "out")
    assert files(place) == FILES | {"oom.txt"}
    assert (place / "oom.txt").read_text() == "the report\n\nthe report\n"


# ---- looking at it ----------------------------------------------------------------------------------------


def test_the_time_line_as_frame_and_parquet(result, tmp_path):
    frame = result.timeline.to_pandas()
    assert list(frame.columns) == [name for name in result.timeline.columns if name != "time_ns"]
    assert len(frame) == len(result.timeline) > 3
    assert frame.index.name == "time_s"
    assert frame.index[0] == pytest.approx(0.002)  # the first sample is one interval after the start
    assert frame["nr_free_pages"].tolist() == result.timeline["nr_free_pages"].tolist()

    import pyarrow.parquet as pq

    result.timeline.to_parquet(tmp_path / "t.parquet")
    table = pq.read_table(tmp_path / "t.parquet")
    assert table.column_names == list(result.timeline.columns)
    assert table["time_ns"].to_pylist() == result.timeline["time_ns"].tolist()


def test_wrong_names_get_the_list(result):
    with pytest.raises(KeyError, match="'free'; the time line has time_ns, "):
        result.timeline["free"]
    with pytest.raises(KeyError, match="'kswapd'; event kinds are "):
        result.events_of("kswapd")
    assert len(Timeline({})) == 0


def test_tasks(result):
    task = result.tasks["a"]
    assert result.accesses == task.accesses == 20_000
    assert task.state == "finished"
    assert task.stall_ns == sum(task.stalls.values()) > 0
    assert sum(h.count for h in task.latency.values()) <= task.accesses
    assert task.maj_flt == task.latency["swap_in"].count > 0
