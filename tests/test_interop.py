"""Results as other tools read them: traces, metrics, tables, and files that psutil takes for those of a kernel."""

import csv
import json
import re

import numpy as np
import polars
import psutil
import pyarrow.parquet as pq
import pytest
from results import calm, killed, numa, thrashing

from pymem.errors import PymemError
from pymem.interop import FORMATS, export, metrics, perfetto, to_polars, to_xarray, trace_events
from pymem.interop.perfetto import KSWAPD

# ---- Perfetto ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [calm, thrashing, killed, numa])
def test_every_event_of_a_trace_is_one_that_perfetto_takes(make):
    trace = json.loads(json.dumps(trace_events(make()), allow_nan=False))
    assert trace["traceEvents"]
    for event in trace["traceEvents"]:
        assert event["ph"] in "XiCM"
        assert {"name", "pid", "tid"} <= event.keys()
        if event["ph"] == "X":
            assert event["dur"] >= 0
            assert 0 <= event["ts"] <= event["ts"] + event["dur"] <= make().time_ns / 1000 + 1e-6
        if event["ph"] == "C":
            assert all(type(value) is int for value in event["args"].values())


def test_slices_are_the_times_of_the_events():
    result = killed()
    events = trace_events(result)["traceEvents"]
    direct = [e for e in events if e["ph"] == "X" and e["name"] == "direct reclaim"]
    begin, end = result.events_of("direct_begin"), result.events_of("direct_end")
    assert sum(e["args"]["reclaimed"] for e in direct) == end["value"].sum()
    assert sum(e["dur"] for e in direct) * 1000 == pytest.approx(end["time"].sum() - begin["time"].sum())
    pids = [task.pid for task in result.tasks.values()]
    assert {e["pid"] for e in direct} == {pids[who - 1] for who in begin["who"]}
    kills = [e for e in events if e["name"] == "oom_kill"]
    assert [(e["pid"], e["ts"]) for e in kills] == [
        (result.tasks["leak"].pid, result.events_of("oom_kill")["time"][0] / 1000)
    ]


def test_kswapd_has_a_row_per_node_and_open_slices_end_with_the_run():
    result = numa()
    rows = [e for e in trace_events(result)["traceEvents"] if e["name"] == "thread_name"]
    assert [(e["pid"], e["args"]["name"]) for e in rows] == [(KSWAPD, "kswapd0"), (KSWAPD, "kswapd1")]
    result = thrashing()
    sleeps = len(result.events_of("kswapd_sleep"))
    slices = [e for e in trace_events(result)["traceEvents"] if e["ph"] == "X" and e["pid"] == KSWAPD]
    assert len(slices) in (sleeps, sleeps + 1)
    assert len(slices) > 0


@pytest.mark.parametrize("most", [10_000, 7])
def test_counters_of_a_trace_add_up(monkeypatch, most):
    monkeypatch.setattr(perfetto, "ROWS", most)
    result = thrashing()
    swap = [e["args"] for e in trace_events(result)["traceEvents"] if e["name"] == "swap per sample"]
    assert sum(args["pswpout"] for args in swap) == result.vmstat["pswpout"]
    assert len(swap) <= most + 1


# ---- Prometheus -------------------------------------------------------------------------------------------

SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\.)*",?)*)\})? (-?[0-9.e+-]+)')


def parsed(text):
    """Samples by name and labels, after the rules of the text format."""
    assert text.endswith("\n")
    samples, typed, family = {}, {}, None
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, family, kind = line.split(" ")
            assert family not in typed, f"{family} twice"
            typed[family] = kind
        elif not line.startswith("# HELP "):
            name, labels, value = SAMPLE.fullmatch(line).groups()
            assert name.removesuffix("_sum").removesuffix("_count") == family, f"{name} outside its family"
            samples[name, labels or ""] = float(value)
    return samples, typed


@pytest.mark.parametrize("make", [calm, thrashing, killed, numa])
def test_metrics_are_the_counters(make):
    result = make()
    samples, typed = parsed(metrics(result))
    for name, value in result.vmstat.items():
        assert samples[f"node_vmstat_{name}", ""] == value
    assert samples["node_memory_Active_anon_bytes", ""] == 1024 * result.meminfo["Active(anon)"]
    assert samples["node_pressure_memory_waiting_seconds_total", ""] == result.psi["memory_some"]["total"] / 1e9
    assert typed["node_vmstat_pgfault"] == "counter"
    assert typed["node_vmstat_nr_dirtied"] == "counter"
    assert typed["node_vmstat_nr_dirty"] == "gauge"


def test_labels_are_escaped():
    samples, _ = parsed(metrics(killed()))
    assert samples["pymem_task_killed", r'task="</script><b>\"x"'] == 0
    assert samples["pymem_task_killed", 'task="leak"'] == 1


def test_latencies_are_a_summary_in_seconds():
    samples, typed = parsed(metrics(thrashing()))
    h, labels = thrashing().tasks["app"].latency["swap_in"], 'task="app",kind="swap_in"'
    name = "pymem_access_latency_seconds"
    assert typed[name] == "summary"
    assert samples[name, f'{labels},quantile="0.99"'] == h.percentile(99) / 1e9
    assert samples[f"{name}_count", labels] == h.count
    assert samples[f"{name}_sum", labels] == h.total_ns / 1e9


# ---- tables -----------------------------------------------------------------------------------------------


def test_tables_hold_the_time_line(tmp_path):
    result = thrashing()
    line = result.timeline
    export(result, tmp_path / "a.parquet", "parquet")
    export(result, tmp_path / "a.csv", "csv")
    frame, arrow = to_polars(result), pq.read_table(tmp_path / "a.parquet")
    with (tmp_path / "a.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert frame.columns == arrow.column_names == list(rows[0]) == list(line.columns)
    assert frame.schema["pswpin"] == polars.Int64
    for name in ("time_ns", "pswpin", "nr_free_pages"):
        assert frame[name].to_list() == arrow[name].to_pylist() == [int(row[name]) for row in rows]
        assert frame[name].to_list() == line[name].tolist()


def test_rows_become_a_grid():
    rows = [
        {"swappiness": s, "memory": m, "name": "x", "stall": s + m} for s in (60, 0) for m in (1, 2) if (s, m) != (0, 1)
    ]
    grid = to_xarray(rows, ["swappiness", "memory"])
    assert grid["stall"].dims == ("swappiness", "memory")
    assert grid["swappiness"].values.tolist() == [0, 60]
    assert grid["stall"].sel(swappiness=60, memory=2) == 62
    assert np.isnan(grid["stall"].sel(swappiness=0, memory=1))
    assert "name" not in grid
    with pytest.raises(ValueError, match="two rows have the same swappiness"):
        to_xarray(rows, ["swappiness"])
    with pytest.raises(ValueError, match="dimension 'colour': is not in the rows; they have swappiness"):
        to_xarray(rows, ["colour"])


@pytest.mark.parametrize("form", FORMATS)
def test_exports_are_whole_or_not_there(tmp_path, form):
    export(calm(), tmp_path / FORMATS[form], form)
    assert [path.name for path in tmp_path.iterdir()] == [FORMATS[form]]
    with pytest.raises(PymemError, match="does not exist"):
        export(calm(), tmp_path / "no" / "x", form)


def test_an_unknown_format():
    with pytest.raises(PymemError, match="format 'xml': accepted are perfetto, prometheus, parquet, csv"):
        export(calm(), "x", "xml")


# ---- tools that read /proc --------------------------------------------------------------------------------


def test_psutil_reads_the_files_of_a_result(tmp_path, monkeypatch):
    result = thrashing()
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(result.save(tmp_path / "out") / "proc"))
    memory = psutil.virtual_memory()
    assert memory.total == 1024 * result.meminfo["MemTotal"]
    assert memory.available == 1024 * result.meminfo["MemAvailable"]
    assert memory.active == 1024 * result.meminfo["Active"]
    swap = psutil.swap_memory()
    assert swap.total == 32 * 2**20
    assert (swap.sin, swap.sout) == (4096 * result.vmstat["pswpin"], 4096 * result.vmstat["pswpout"])
