"""docs/guides say what comes out: every experiment is run again, its table and its findings must still be true."""

import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest

from pymem.cli import main
from pymem.scenario import load

ROOT = Path(__file__).resolve().parent.parent
SCENARIOS = ROOT / "examples" / "guides"
TOOL = runpy.run_path(str(ROOT / "tools" / "guides"))
EXPERIMENTS = TOOL["EXPERIMENTS"]
GUIDES = sorted(path for path in (ROOT / "docs" / "guides").glob("*.md") if path.name != "README.md")


def commands(text: str) -> list[str]:
    """The command lines of the console blocks of a guide."""
    blocks = re.findall(r"^```console\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda experiment: experiment.name)
def test_a_guide_says_what_its_experiment_shows(experiment):
    results = experiment.run()
    broken = [sentence for sentence, true in experiment.findings(results) if not true]
    assert not broken
    _, between, _ = TOOL["split"](TOOL["page_of"](experiment).read_text(encoding="utf-8"), experiment.name)
    assert between.strip() == experiment.markdown(results).strip(), "run tools/guides"


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3])
@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda experiment: experiment.name)
def test_findings_do_not_depend_on_the_seed(experiment, seed):
    broken = [sentence for sentence, true in experiment.findings(experiment.run(seed=seed)) if not true]
    assert not broken


@pytest.mark.slow
@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda experiment: experiment.name)
def test_findings_hold_for_the_older_kernel_too(experiment):
    broken = [sentence for sentence, true in experiment.findings(experiment.run(kernel="6.1")) if not true]
    if experiment.name == "inversion":  # the guide says that zswap of 6.1 is another
        assert "as long as with zswap" in broken[0]
    else:
        assert not broken


@pytest.mark.parametrize("name", ["bursts", "inversion"])
def test_findings_can_fail(name):
    """Rows in the wrong order must not satisfy what is said of them."""
    (experiment,) = (experiment for experiment in EXPERIMENTS if experiment.name == name)
    labels = [row.label for row in experiment.rows]
    results = experiment.run()
    turned = dict(zip(labels, [results[label] for label in reversed(labels)], strict=True))
    assert not all(true for _, true in experiment.findings(turned))


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.stem)
def test_guides_have_the_same_parts(path):
    text = path.read_text(encoding="utf-8")
    assert re.match(r"# .+\?\n\n> ", text), "begins with the question"
    assert "\n**In short:** " in text
    assert "\n## What it means\n" in text
    limits = text.split("\n## Limits\n")[1]
    assert "(../model.md)" in limits
    assert any(experiment.guide == path.stem for experiment in EXPERIMENTS)
    assert f"({path.name})" in (path.parent / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.stem)
def test_commands_of_a_guide_run(path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    lines = commands(path.read_text(encoding="utf-8"))
    assert lines
    for line in lines:
        monkeypatch.setattr(sys, "argv", shlex.split(line))
        with pytest.raises(SystemExit) as end:
            main()
        assert sys.argv[0] == "pymem"
        assert end.value.code == 0, line
    assert "Traceback" not in capsys.readouterr().err


def test_every_scenario_of_the_guides_is_used():
    used = {row.scenario for experiment in EXPERIMENTS for row in experiment.rows}
    assert used == {path.stem for path in SCENARIOS.glob("*.toml")}


@pytest.mark.parametrize(
    "name, others",
    [("inversion", "zswap disk writeback"), ("swappiness", "hdd"), ("page_cluster", "hdd nvme zswap")],
)
def test_compared_scenarios_differ_only_in_their_swap(name, others):
    """Otherwise the table would compare something else."""
    one, *rest = (load(SCENARIOS / f"{name}_{kind}.toml") for kind in ["zram", *others.split()])
    for other in rest:
        assert one.tasks == other.tasks
        assert (one.machine.memory, one.machine.disk) == (other.machine.memory, other.machine.disk)
        differing = {k for k in {*one.vm, *other.vm} if one.vm.get(k) != other.vm.get(k)}
        assert all(key.split(".")[0] == "zswap" for key in differing)


def test_marks_that_are_missing_are_named():
    with pytest.raises(SystemExit, match="bursts: the guide needs these two lines"):
        TOOL["split"]("no marks here\n", "bursts")
