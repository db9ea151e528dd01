"""`pymem trace` as a person meets it: results, one line for a mistake, nothing left behind by Ctrl-C."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from foreign import FILES
from test_cli import COMMAND, environment, one_line

import pymem as package
from pymem.cli.trace_pictures import bar, columns
from pymem.traces.readers.oracle_general import REQUEST
from pymem.traces.store import TraceFile, Writer

# Says what lackey would, through the file descriptor it is given; "forever" goes on until it is stopped.
FAKE_VALGRIND = f"""#!{sys.executable}
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
out = int(next(a for a in sys.argv if a.startswith("--log-fd=")).split("=")[1])
os.write(out, b"==%d== Lackey, an example Valgrind tool\\n==%d== Command: prog\\n" % (os.getpid(), os.getpid()))
text = b"I  7ffff0401000,3\\n S 7ffff1ffe000,8\\n" * 1000
os.write(out, text)
if "fail" in sys.argv:
    sys.exit(7)
open("started", "w").close()
while "forever" in sys.argv:
    os.write(out, text)
"""


@pytest.fixture
def call(tmp_path):
    """Runs `pymem trace` in a folder with a file of every foreign format and a trace of one."""
    for name, one in FILES.items():
        (tmp_path / f"{name}.in").write_bytes(one.data)
    with Writer(tmp_path / "two.pmt", times=True) as writer:
        for name in ("a", "b"):
            number = writer.add_task(name, [package.Anon(8, name="heap"), package.File(4, name="db")])
            pages = np.array([0, 1, 2, 3, 1 | 1 << 31, 0, 8], np.uint32)
            writer.append(pages, number, np.arange(7, dtype=np.uint64))

    def call(*arguments, **settings):
        return subprocess.run(
            [*COMMAND, "trace", *map(str, arguments)],
            capture_output=True, text=True, cwd=tmp_path, env={**environment(), **settings}, check=False,
        )  # fmt: skip

    return call


def done(result, *texts):
    assert (result.returncode, result.stderr) == (0, ""), result.stderr
    for text in texts:
        assert text in result.stdout
    return result


def simulated(path):
    """Result of replaying a trace on a machine that is large enough."""
    tasks = [package.Task("app", package.workloads.Recorded(path))]
    return package.simulate(package.Scenario(machine=package.Machine(memory="64MiB"), tasks=tasks))


def test_a_foreign_trace_becomes_one_that_can_be_simulated(call, tmp_path):
    done(call("import", "address.in", "-o", "x.pmt"), "x.pmt: 4 records for 5 accesses, task address, 3 pages")
    result = simulated(tmp_path / "x.pmt")
    assert result.tasks["app"].accesses == 5
    assert result.vmstat["pgfault"] >= 3


@pytest.mark.parametrize("name", ["spc", "oracleGeneral"])
def test_block_and_key_traces_are_simulated_as_file_accesses(call, tmp_path, name):
    done(call("import", f"{name}.in", "-o", "x.pmt"))
    result = simulated(tmp_path / "x.pmt")
    assert result.status == "complete"
    with TraceFile(tmp_path / "x.pmt") as trace:
        assert result.tasks["app"].accesses == trace.info.accesses > 0


def test_import_says_what_it_left_out(call, tmp_path):
    (tmp_path / "bad.in").write_bytes(b"R 0x1000\nfly\nW 0x1000\nwalk\n")
    one_line(call("import", "bad.in", "-o", "x.pmt", "--format", "address"), "bad.in, line 2: b'fly' is not understood")
    assert not (tmp_path / "x.pmt").exists()
    result = call("import", "bad.in", "-o", "x.pmt", "--format", "address", "--skip-bad", "--json")
    assert result.returncode == 0
    assert result.stderr.splitlines()[-1] == "2 lines or records were bad and are left out"
    assert "left out: bad.in, line 4: b'walk' is not understood" in result.stderr
    info = json.loads(result.stdout)
    assert (info["records"], info["provenance"]["imported"]["bad"]) == (2, 2)


def test_info_shows_tasks_regions_and_provenance(call):
    done(call("info", "two.pmt", "--regions", "--verify"), "two.pmt: 14 records for 14 accesses, 2 tasks",
         "anon      8           0           heap", "file      4           8           db",
         "every record is as it was written")  # fmt: skip
    info = json.loads(done(call("info", "two.pmt", "--json")).stdout)
    assert [task["name"] for task in info["tasks"]] == ["a", "b"]
    done(call("info", "builtin:json"), "json.pmt: ", "window_pages")


def test_head_prints_records(call):
    lines = done(call("head", "two.pmt", 3, "--start", 4, "--task", "b")).stdout.splitlines()
    assert lines == [
        "# task b: record, operation, page, count, time in ns, place", "4 STORE 1 1 4 0x1000 heap",
        "5 LOAD 0 1 5 0x0 heap", "6 LOAD 8 1 6 0x0 db",
    ]  # fmt: skip


def test_traces_are_cut_merged_sampled_and_exported(call, tmp_path):
    cut = call("cut", "two.pmt", "-o", "c.pmt", "--start", 1, "--stop", 4, "--task", "a")
    done(cut, "c.pmt: 3 records", "task a, 12 pages")
    done(call("merge", "two.pmt", "c.pmt", "-o", "m.pmt"), "m.pmt: 17 records for 17 accesses, 3 tasks")
    done(call("sample", "m.pmt", "-o", "s.pmt", "--rate", 1), "s.pmt: 17 records")
    done(call("export", "c.pmt", "-o", "c.bin", "--format", "oracleGeneral"), "c.bin: 3 requests")
    assert np.fromfile(tmp_path / "c.bin", REQUEST)["id"].tolist() == [1, 2, 3]
    done(call("export", "m.pmt", "-o", "a.txt", "--format", "address", "--task", "b"), "a.txt: 7 requests")


def test_analyze_writes_a_page(call, tmp_path):
    done(call("analyze", "two.pmt", "--html", "a.html"), "heat: accesses by place and time")
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    assert "Task a" in text
    assert "Task b" in text
    failed = call("analyze", "two.pmt", "--html", "none/a.html")
    assert failed.returncode == 2
    assert re.fullmatch(r"error: none/a\.html: the folder [^\n]*/none does not exist\n", failed.stderr)


def test_analyze_shows_pictures_and_json(call):
    done(
        call("analyze", "two.pmt"), "task a", "task b", "working set: different pages per", "reuse distance",
        "footprint   5 pages (20.0 KiB): 4 anonymous, 1 of files; 1 written", "miss ratio of an LRU memory",
    )  # fmt: skip
    one, two = json.loads(done(call("analyze", "two.pmt", "--json", "--windows", 1)).stdout)
    assert (one["task"], two["task"], one["working_set"]) == ("a", "b", [5])
    # 0 1 2 3 1 0 8: page 1 after two others, page 0 after three, and five first references.
    assert one["misses"][0] == {"pages": 1, "misses": 7, "ratio": 1.0}
    assert [(p["pages"], p["misses"]) for p in one["misses"]][-3:] == [(3, 6), (4, 5), (5, 5)]


def test_a_filtered_trace_is_marked_as_such(call):
    done(call("analyze", "builtin:json"), "distances and misses are right from 512 pages on")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["import", "none.in", "-o", "x.pmt"], "none.in: No such file or directory"),
        (["import", ".", "-o", "x.pmt"], ".: Is a directory"),
        (["import", "two.pmt", "-o", "x.pmt"], "two.pmt: is a trace of pymem already"),
        (["import", "txt.in", "-o", "x.pmt", "--format", "fly"], "format 'fly'; accepted are address, alibaba, arc"),
        (["import", "txt.in", "-o", "x.pmt", "--compression", "zip"], "compression 'zip'; accepted are none"),
        (["import", "txt.in", "-o", "none/x.pmt"], "none/x.pmt: the folder "),
        (["import", "txt.in", "-o", "."], ".: is a folder; accepted is the name of a file"),
        (["info", "none.pmt"], "none.pmt: No such file or directory"),
        (["info", "txt.in"], "txt.in: not a pymem trace"),
        (["info", "builtin:none"], "trace: 'builtin:none'; accepted are 'builtin:"),
        (["head", "two.pmt", "--task", "c"], "two.pmt: no task 'c'; accepted are a, b"),
        (["cut", "two.pmt", "-o", "x.pmt", "--start", "99"], "two.pmt: no record from 99 on; the longest task has 7"),
        (["merge", "two.pmt", "none.pmt", "-o", "x.pmt"], "none.pmt: No such file or directory"),
        (["sample", "two.pmt", "-o", "x.pmt", "--rate", "2"], "rate 2.0; accepted is a number from"),
        (["export", "two.pmt", "-o", "x.pmt", "--format", "csv"], "format 'csv'; accepted are oracleGeneral, address"),
        (["export", "two.pmt", "-o", "x.pmt", "--format", "address"], "two.pmt: has 2 tasks, name one by --task: a, b"),
        (["record", "-o", "x.pmt", "--", "no-such-program"], "no-such-program: no such program"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(call, tmp_path, arguments, message):
    before = sorted(os.listdir(tmp_path))
    settings = {"PATH": f"{fake_valgrind(tmp_path)}:{os.environ['PATH']}"} if arguments[0] == "record" else {}
    one_line(call(*arguments, **settings), message)
    assert sorted(name for name in os.listdir(tmp_path) if name != "bin") == before


# ---- recording --------------------------------------------------------------------------------------------


def fake_valgrind(folder):
    """A folder with a valgrind that is none, so that recording is tested where there is none."""
    (folder / "bin").mkdir()
    (folder / "bin" / "valgrind").write_text(FAKE_VALGRIND)
    (folder / "bin" / "valgrind").chmod(0o755)
    return folder / "bin"


def test_a_program_is_recorded(call, tmp_path):
    path = f"{fake_valgrind(tmp_path)}:{os.environ['PATH']}"
    result = done(call("record", "-o", "x.pmt", "--task", "it", "--", "true", "--option", PATH=path))
    # The filter keeps the first and the last reference to each of the two pages.
    assert result.stdout.startswith("x.pmt: 4 records for 2,000 accesses, task it, ")
    with TraceFile(tmp_path / "x.pmt") as trace:
        assert trace.info.provenance["command"] == ["true", "--option"]
    failed = call("record", "-o", "y.pmt", "--", "true", "fail", PATH=path)
    one_line(failed, "true fail: ended with exit code 7; no trace is left")
    assert not (tmp_path / "y.pmt").exists()
    one_line(call("record", "-o", "y.pmt", "--", "true", PATH=str(tmp_path)), "valgrind is not installed; on Debian")


def test_ctrl_c_while_recording_leaves_no_file_and_no_process(call, tmp_path):
    path = f"{fake_valgrind(tmp_path)}:{os.environ['PATH']}"
    before = {*os.listdir(tmp_path), "started"}
    with subprocess.Popen(
        [*COMMAND, "trace", "record", "-o", "x.pmt", "--", "true", "forever"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env={**environment(), "PATH": path},
        start_new_session=True,
    ) as process:  # fmt: skip
        while not (tmp_path / "started").exists():
            assert process.poll() is None
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the program too
        out, error = process.communicate(timeout=60)
    assert (process.returncode, out, error) == (130, "", "")
    assert set(os.listdir(tmp_path)) == before
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


# ---- pictures ---------------------------------------------------------------------------------------------


def test_columns_and_bars_have_the_right_height():
    assert columns([0, 1, 2, 4], rows=2) == ["   █", " ▄██"]
    assert columns([0, 0], rows=1) == ["  "]
    assert [len(bar(share)) for share in (0, 0.5, 1)] == [0, 20, 40]
    assert bar(0.5 + 1 / 80) == "█" * 20 + "▌"
