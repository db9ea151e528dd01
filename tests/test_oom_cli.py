"""`pymem oom`: one scenario under several policies, as a person meets it."""

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from test_cli import COMMAND, environment, one_line

import pymem
from pymem.cli.oom import chosen
from pymem.oom import POLICIES
from pymem.reports.oom import outcome
from pymem.scenario import scenario_from

ROOT = Path(__file__).resolve().parent.parent
#: 16 MiB hold about 3600 pages.  The large one has been there longest, the hog asks for more than there is.
CROWDED = """
[machine]
memory = "16MiB"
cpus = 1
[[tasks]]
name = "large"
workload = { kind = "leak", size = "7MiB", hold = "2s" }
[[tasks]]
name = "dear"
oom_score_adj = -900
start = "20ms"
workload = { kind = "leak", size = "1MiB", hold = "2s" }
[[tasks]]
name = "hog"
start = "500ms"
workload = { kind = "leak", size = "32MiB" }
"""


@pytest.fixture
def command(tmp_path):
    (tmp_path / "crowded.toml").write_text(CROWDED)

    def call(*arguments):
        return subprocess.run(
            [*COMMAND, "oom", *map(str, arguments)],
            capture_output=True, text=True, cwd=tmp_path, env=environment(), check=False,
        )  # fmt: skip

    return call


def test_policies_side_by_side(command, tmp_path):
    done = command("crowded.toml", "--policy", "kernel,oldest,panic", "--out", "out")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^policy +status +killed +end ", done.stdout)
    assert re.search(r"^oldest +complete +large, dear, hog ", done.stdout, re.MULTILINE)
    assert re.search(r"^panic +panic +- ", done.stdout, re.MULTILINE)
    assert re.search(r"^panic +nobody: panic +panic .* hog asked for memory *$", done.stdout, re.MULTILINE)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["kernel", "oldest", "panic"]
    saved = json.loads((tmp_path / "out" / "oldest" / "result.json").read_text())
    assert [kill["task"] for kill in saved["oom_kills"]] == ["large", "dear", "hog"]
    assert {kill["by"] for kill in saved["oom_kills"]} == {"oldest"}


def test_json_of_the_comparison(command):
    done = command("crowded.toml", "--policy", "allocating, kernel", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert list(found) == ["allocating", "kernel"]
    (kill,) = found["allocating"]["kills"]
    assert (kill["task"], kill["by"], kill["signal"], kill["allocating"]) == ("hog", "allocating", "SIGKILL", "hog")
    assert 0 < kill["oom_score"] <= 2000
    assert found["kernel"]["kills"][-1]["task"] == "hog"


def test_what_was_lost_and_given_back():
    result = pymem.simulate(scenario_from({**tomllib.loads(CROWDED), "oom_policy": "allocating"}, ROOT))
    found, hog = outcome(result), result.tasks["hog"]
    others = [result.tasks["large"], result.tasks["dear"]]
    assert (found["lost_accesses"], found["lost_cpu_ns"]) == (hog.accesses, hog.cpu_ns)
    assert found["others_accesses"] == (7 + 1) * 256
    assert found["others_stall_ns"] == sum(task.stall_ns for task in others)
    # one page for each access, at least one table for each 512 of them
    assert found["freed_pages"] == pytest.approx(hog.accesses, abs=hog.accesses // 256 + 2)
    assert found["freed_swap"] == 0


def test_default_and_repeated_policies():
    assert chosen(None) == [name for name in POLICIES if name != "panic"]
    assert chosen("lmkd, kernel,lmkd") == ["lmkd", "kernel"]


@pytest.mark.parametrize("policy", ["kernal", "kernel,,lmkd", ""])
def test_unknown_policies_are_one_line(command, policy):
    wrong = next(name.strip() for name in policy.split(",") if name not in POLICIES)
    done = command("crowded.toml", "--policy", policy)
    one_line(done, f"--policy: {wrong!r}; accepted are kernel, historical, largest, oldest, allocating, panic, ")


def test_nothing_runs_when_the_result_has_no_place(command, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "kernel").touch()
    one_line(command("crowded.toml", "--out", "out"), "kernel: is a file; accepted is a folder for the result")


def test_enough_memory(command):
    done = command("crowded.toml", "--policy", "kernel", "--set", "machine.memory=64MiB")
    assert "Memory never ran out." in done.stdout


def test_the_shipped_example_tells_policies_apart():
    """By the rules alone: the viewer has the highest adjustment, the job is the oldest, the leak the largest."""
    base = pymem.load(ROOT / "examples" / "oom.toml")
    first = {}
    for name in ("kernel", "oldest", "largest"):
        run = pymem.Simulation(base.with_settings({"oom_policy": name}))
        while not run.oom_kills and run.step():
            pass
        first[name] = run.oom_kills[0].task
    assert first == {"kernel": "viewer", "oldest": "job", "largest": "leak"}


def test_the_example_of_a_daemon_of_ones_own():
    """Of docs/oom.md: it kills the largest before the kernel has to."""
    text = (ROOT / "docs" / "oom.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    names = {}
    code = compile("import numpy, pymem, pymem.oom\n" + example, "oom.md", "exec")
    exec(code, names)  # noqa: S102
    slowly = CROWDED.replace('"32MiB"', '"32MiB", rate = "8MiB"')
    scenario = scenario_from({**tomllib.loads(slowly), "time_limit": "5s"}, ROOT)
    result = pymem.simulate(pymem.Scenario(**{**vars(scenario), "oom_policy": names["Watcher"]()}))
    assert result.oom_kills
    assert {kill.by for kill in result.oom_kills} == {"watcher"}
    assert result.vmstat["oom_kill"] == 0


def test_the_settings_in_the_documents_are_valid():
    for block in re.findall(r"^```toml\n(.*?)^```", (ROOT / "docs" / "oom.md").read_text(), re.DOTALL | re.MULTILINE):
        policy = scenario_from({**tomllib.loads(CROWDED), **tomllib.loads(block)}, ROOT).policy()
        assert isinstance(policy, pymem.oom.SystemdOomd)


