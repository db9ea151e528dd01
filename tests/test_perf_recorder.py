"""Recording page faults with perf, tested by a perf that is none, so that it is tested where there is none."""

import os
import signal
import subprocess
import sys
import time

import pytest
from foreign import L, S, anon
from test_cli import COMMAND, environment

from pymem.errors import TraceError
from pymem.records import unpack
from pymem.traces.perf_recorder import record_faults
from pymem.traces.references import chunks
from pymem.traces.store import TraceFile

# Takes `record ... -e EVENT ... -o FILE -- PROGRAM ARGUMENT...` and `script -i FILE -F FIELDS`.
FAKE = f"""#!{sys.executable}
import os, pathlib, subprocess, sys, time
arguments = sys.argv[1:]
if arguments[0] == "record":
    event = arguments[arguments.index("-e") + 1]
    if event.startswith(os.environ.get("FORBIDDEN", "nothing")):
        print("Error:", "No permission to enable " + event, "", sep="\\n", file=sys.stderr)
        sys.exit(255)
    rest = arguments[arguments.index("--") + 1:]
    pathlib.Path(arguments[arguments.index("-o") + 1]).write_text(event)
    if "forever" in rest:
        pathlib.Path("started").touch()
        time.sleep(60)
    sys.exit(7 if "fail" in rest else 0)
event = pathlib.Path(arguments[arguments.index("-i") + 1]).read_text()
if event.startswith("exceptions:"):
    print("app  9/9  1.000001: exceptions:page_fault_user: address=0x5000 ip=0x1000 error_code=0x6")
    print("app  9/9  1.000002: exceptions:page_fault_kernel: address=0x6000 ip=0xffffffff81000000 error_code=0x0")
else:
    print("app  9/9  1.000001: page-faults:u:     5000 7f0000001000")
    print("app  9/9  1.000002: page-faults:u:     5008 7f0000001000")
"""


@pytest.fixture
def path(tmp_path):
    """A search path that finds the perf that is none."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "perf").write_text(FAKE)
    (folder / "perf").chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def recorded(tmp_path, monkeypatch, path, *command, **variables):
    for name, value in {"PATH": path, **variables}.items():
        monkeypatch.setenv(name, value)
    info = record_faults(command or ["true", "--it"], tmp_path / "x.pmt")
    with TraceFile(tmp_path / "x.pmt") as trace:
        (task,) = trace.info.tasks
        rows = [row for part, _ in chunks(trace, 0) for row in zip(*(x.tolist() for x in unpack(part)), strict=True)]
    return info, [(r.kind, r.name, r.start, r.pages) for r in task.regions], rows


def test_tracepoints_tell_loads_from_stores(tmp_path, monkeypatch, path):
    info, regions, rows = recorded(tmp_path, monkeypatch, path)
    assert (info.tasks[0].name, regions) == ("app-9", [anon(0x5000, 2)])
    assert rows == [(0, S, 1), (1, L, 1)]
    assert (info.times, info.provenance["command"]) == (True, ["true", "--it"])
    assert info.provenance["event"].startswith("exceptions:page_fault_user,")


def test_without_them_the_first_fault_of_a_page_is_a_store(tmp_path, monkeypatch, path):
    info, regions, rows = recorded(tmp_path, monkeypatch, path, FORBIDDEN="exceptions:")
    assert regions == [anon(0x5000, 1)]
    assert rows == [(0, S, 2)]
    assert info.provenance["event"] == "page-faults:u"


def test_what_goes_wrong_is_one_message_and_leaves_nothing(tmp_path, monkeypatch, path):
    for command, variables, message in (
        (["true", "fail"], {}, "true fail: ended with exit code 7; no trace is left"),
        (["true"], {"FORBIDDEN": ""}, r"perf may not record page faults here \(No permission to enable page-faults:u"),
        (["no-such-program"], {}, "no-such-program: no such program"),
        (["true"], {"PATH": str(tmp_path)}, "perf is not installed; on Debian"),
    ):
        with monkeypatch.context() as patch, pytest.raises(TraceError, match=message):
            recorded(tmp_path, patch, variables.pop("PATH", path), *command, **variables)
        assert os.listdir(tmp_path) == ["bin"]


def test_ctrl_c_leaves_no_file_and_no_process(tmp_path, path):
    with subprocess.Popen(
        [*COMMAND, "trace", "record", "--faults", "-o", "x.pmt", "--", "true", "forever"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
        env={**environment(), "PATH": path, "TMPDIR": str(tmp_path)}, start_new_session=True,
    ) as process:  # fmt: skip
        while not (tmp_path / "started").exists():
            assert process.poll() is None
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the program too
        out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert set(os.listdir(tmp_path)) == {"bin", "started"}
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
