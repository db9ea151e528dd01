"""The command as a person meets it: exit codes, one line for a mistake, nothing left behind by a failure."""

import json
import os
import re
import subprocess
import sys

import pytest

from pymem.cli.run import split_setting
from pymem.errors import ScenarioError
from pymem.tunables import TUNABLES

TINY = """
[machine]
memory = "16MiB"
cpus = 1
swap = [{ size = "32MiB" }]
[[tasks]]
name = "app"
workload = { kind = "uniform", size = "20MiB", accesses = 9000, writes = 1.0 }
"""
# Far longer than any test, whatever the host: at work, and asleep.
LONG = TINY.replace("9000", "900_000_000_000")
SLEEPS = TINY.replace("writes = 1.0 }", 'writes = 1.0 }\nstart = "9000h"')
COMMAND = [sys.executable, "-W", "error", "-m", "pymem"]


def environment():
    # The copy of pymem under test, which is not always the installed one.
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "100"}


@pytest.fixture
def pymem(tmp_path):
    def call(*arguments):
        return subprocess.run(
            [*COMMAND, *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=environment(),
            check=False,
        )

    (tmp_path / "tiny.toml").write_text(TINY)
    return call


# ---- what works -------------------------------------------------------------------------------------------


def test_a_run_says_what_happened_and_leaves_the_result(pymem, tmp_path):
    done = pymem("run", "tiny.toml", "--out", "out")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^tiny  .* simulated, 9 k accesses", done.stdout)
    assert re.search(r"^app +finished +9 k ", done.stdout, re.MULTILINE)
    assert "The full result is in out/" in done.stdout
    saved = json.loads((tmp_path / "out" / "result.json").read_text())
    assert (saved["status"], saved["partial"], saved["accesses"]) == ("complete", False, 9000)


def test_json_is_nothing_but_json_and_the_same_in_every_run(pymem):
    first, second = pymem("run", "tiny.toml", "--json"), pymem("run", "tiny.toml", "--json", "--quiet")
    assert (first.returncode, first.stderr) == (0, "")
    assert json.loads(first.stdout)["tasks"]["app"]["accesses"] == 9000
    assert first.stdout == second.stdout


def test_quiet_prints_nothing(pymem, tmp_path):
    done = pymem("run", "tiny.toml", "--quiet", "--out", "out")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "out" / "result.json").exists()


def test_settings_come_from_the_file_then_sysctl_then_set(pymem, tmp_path):
    (tmp_path / "s.conf").write_text("vm.swappiness = 10\nvm.page-cluster = 0\nkernel.numa_balancing = 1\nnet.x = 1\n")
    done = pymem("run", "tiny.toml", "--json", "--sysctl", "s.conf", "--set", "vm.swappiness=20", "--set", "seed=7")
    scenario = json.loads(done.stdout)["provenance"]["scenario"]
    assert scenario["seed"] == 7
    assert scenario["vm"] == {"swappiness": "20", "page-cluster": "0", "kernel.numa_balancing": "1"}


def test_names_are_not_taken_for_markup(pymem, tmp_path):
    (tmp_path / "m.toml").write_text(TINY.replace('"app"', '"[/b][red]x"'))
    done = pymem("run", "m.toml")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^\[/b\]\[red\]x +finished", done.stdout, re.MULTILINE)


def test_a_panic_of_the_simulated_kernel_is_exit_code_3_with_a_result(pymem, tmp_path):
    text = TINY.replace('swap = [{ size = "32MiB" }]', "")
    (tmp_path / "p.toml").write_text(text)
    done = pymem("run", "p.toml", "--set", "oom_policy=panic", "--out", "out")
    assert (done.returncode, done.stderr) == (3, "")
    assert "The kernel panicked" in done.stdout
    saved = json.loads((tmp_path / "out" / "result.json").read_text())
    assert (saved["status"], saved["oom_kills"][0]["allocating"]) == ("panic", "app")
    assert "Kernel panic" in (tmp_path / "out" / "oom.txt").read_text()


def test_tunables(pymem):
    every = pymem("tunables", "--json")
    assert (every.returncode, every.stderr) == (0, "")
    rows = {row["name"]: row for row in json.loads(every.stdout)}
    assert list(rows) == list(TUNABLES)
    assert rows["swappiness"]["default"] == 60
    assert rows["transparent_hugepage"]["words"] == {"never": 0, "madvise": 1, "always": 2}
    table = pymem("tunables", "dirty_exp")
    assert table.returncode == 0
    assert re.search(r"^dirty_expire_centisecs +3000 ", table.stdout, re.MULTILINE)
    assert "swappiness" not in table.stdout


def test_version_and_help(pymem):
    assert re.fullmatch(r"pymem \S+\n", pymem("--version").stdout)
    shown = pymem("run", "--help").stdout
    for option in ("--set", "--sysctl", "--out", "--quiet", "--json"):
        assert option in shown


# ---- mistakes ---------------------------------------------------------------------------------------------


def one_line(done, message):
    assert done.returncode == 2
    assert done.stdout == ""
    assert re.fullmatch(r"error: [^\n]*\n", done.stderr), done.stderr
    assert message in done.stderr


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[machine]", "[machine", "bad.toml: not a TOML file ("),
        ("cpus = 1", "cpu = 1", "bad.toml: machine.cpu: unknown key; accepted are memory, cpus"),
        ("16MiB", "16ms", "bad.toml: machine.memory: unit 'ms' of '16ms' does not fit; accepted is"),
        ("16MiB", "16PiB", "bad.toml: machine.memory: '16PiB'; accepted is 16MiB to 8TiB"),
        ('"uniform"', '"uni"', "bad.toml: tasks[0].workload.kind: 'uni'; accepted are 'trace'"),
        ("9000", '"many"', "bad.toml: tasks[0].workload.accesses: 'many'; accepted is an integer"),
        (
            'kind = "uniform", size = "20MiB"',
            'kind = "uniform", region = { size = "20MiB", locked = true }',
            "can never fit; accepted is up to the",
        ),
    ],
)
def test_a_mistake_in_the_scenario_is_one_line(pymem, tmp_path, old, new, message):
    assert old in TINY
    (tmp_path / "bad.toml").write_text(TINY.replace(old, new))
    one_line(pymem("run", "bad.toml", "--out", "out"), message)
    assert sorted(os.listdir(tmp_path)) == ["bad.toml", "tiny.toml"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.toml"], "none.toml: No such file or directory"),
        (["."], ".: Is a directory"),
        (["tiny.toml", "--set", "vm.swappiness"], "--set 'vm.swappiness': accepted is KEY=VALUE"),
        (["tiny.toml", "--set", "vm.swapiness=1"], "vm.swapiness: unknown tunable; did you mean swappiness?"),
        (
            ["tiny.toml", "--set", "vm.swappiness=201"],
            "vm.swappiness: '201' is out of range; accepted is a whole number",
        ),
        (["tiny.toml", "--set", "vm.max_map_count=9"], "vm.max_map_count: the kernel has it, but it has no effect"),
        (["tiny.toml", "--set", "vm.dirty_bytes=9999", "--set", "vm.dirty_ratio=9"], "excludes vm.dirty_ratio = 9"),
        (["tiny.toml", "--set", "colour=1"], "colour: unknown setting; accepted are vm.NAME"),
        (["tiny.toml", "--sysctl", "none.conf"], "none.conf: cannot be read: "),
        (["tiny.toml", "--sysctl", "tiny.toml"], "tiny.toml, line 2: '[machine]' is not understood; accepted is NAME"),
        (["tiny.toml", "--out", "tiny.toml"], "tiny.toml: is a file; accepted is a folder for the result"),
        (["tiny.toml", "--out", "tiny.toml/x"], "tiny.toml is a file; accepted is a place for a folder"),
        (["tiny.toml", "--out", "."], ".: is not empty and holds no result"),
    ],
)
def test_a_mistake_in_the_arguments_is_one_line(pymem, tmp_path, arguments, message):
    one_line(pymem("run", *arguments, *([] if "--out" in arguments else ["--out", "out"])), message)
    assert os.listdir(tmp_path) == ["tiny.toml"]


def test_a_damaged_trace_is_one_line(pymem, tmp_path):
    (tmp_path / "x.pmt").write_bytes(b"no trace at all")
    (tmp_path / "t.toml").write_text('[[tasks]]\nname = "a"\nworkload = { kind = "recorded", path = "x.pmt" }\n')
    one_line(pymem("run", "t.toml", "--out", "out"), "x.pmt: not a pymem trace")
    assert not (tmp_path / "out").exists()


def test_a_name_that_no_tunable_has(pymem):
    one_line(pymem("tunables", "zzz"), "zzz: no tunable has this in its name")


@pytest.mark.parametrize("arguments", [["fly"], ["run"], ["run", "tiny.toml", "--fast"], ["tunables", "a", "b"]])
def test_a_wrong_call_is_explained_without_traceback(pymem, tmp_path, arguments):
    done = pymem(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Usage: " in done.stderr
    assert "Traceback" not in done.stderr
    assert os.listdir(tmp_path) == ["tiny.toml"]


def test_settings_are_split_at_the_first_equals_sign():
    assert split_setting(" vm.x = a=b ") == ("vm.x", "a=b")
    for wrong in ("vm.x", "=1", "vm.x=", " = "):
        with pytest.raises(ScenarioError, match="accepted is KEY=VALUE"):
            split_setting(wrong)


# ---- Ctrl-C -----------------------------------------------------------------------------------------------


# Presses Ctrl-C 0.2 s after the third look at the engine, when the run is certainly under way.
PRESSED = """
import os, signal, threading
from pymem.cli import main
from pymem.simulation import Simulation
step, steps = Simulation.step, []
def counted(run):
    steps.append(1)
    if len(steps) == 3:
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    return step(run)
Simulation.step = counted
signal.signal(signal.SIGINT, signal.default_int_handler)
main()
"""


@pytest.mark.parametrize("text", [LONG, SLEEPS], ids=["busy", "asleep"])
def test_ctrl_c_keeps_what_there_is_and_marks_it(tmp_path, text):
    (tmp_path / "long.toml").write_text(text)
    done = subprocess.run(
        [sys.executable, "-c", PRESSED, "run", "long.toml", "--out", "out", "--set", "sample_interval=0"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment(),
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (130, "")
    assert "The run was interrupted: everything below is PARTIAL." in done.stdout
    saved = json.loads((tmp_path / "out" / "result.json").read_text())
    assert (saved["status"], saved["partial"], saved["tasks"]["app"]["state"]) == ("interrupted", True, "running")
    assert sorted(os.listdir(tmp_path)) == ["long.toml", "out"]
