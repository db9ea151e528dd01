"""Prose that stays true: paths named in documents exist, files keep their size, nothing is unfinished."""

import re
import runpy
import tomllib
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
SKIPPED_FOLDERS = {"build", "dist", "out", "__pycache__", "node_modules"}
TOP_LEVEL = ("memcore", "pymem", "tests", "benchmarks", "docs", "examples", "tools", ".ci")
TEXT = {".py", ".pyx", ".pxd", ".pyi", ".h", ".md", ".toml", ".in", ""}
MAX_LINES = 600


def project_files(*suffixes: str) -> list[Path]:
    """All files of the project with these suffixes, sorted; built and hidden folders left out, .ci kept."""
    found = []
    for path in ROOT.rglob("*"):
        parts = path.relative_to(ROOT).parts
        hidden = any(part.startswith(".") and part != ".ci" for part in parts)
        if path.is_file() and path.suffix in suffixes and not hidden and not SKIPPED_FOLDERS & set(parts):
            found.append(path)
    return sorted(path for path in found if not any(part.endswith(".egg-info") for part in path.parts))


def name_of(path: Path) -> str:
    """Path inside the project, for test ids."""
    return path.relative_to(ROOT).as_posix()


# A changelog names what was there at the time.
DOCUMENTS = [path for path in project_files(".md") if path.name != "CHANGELOG.md"]


def paths_named(text: str) -> set[str]:
    """Project paths that a document names in backticks or links to."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    spans = re.findall(r"`([^`\n]+)`", prose)
    named = set()
    for span in spans:
        word = span.split(":")[0].rstrip("/")  # `pymem/cli/run.py:main` names a function in a file
        # A wildcard, a placeholder or a command line is not a path.
        in_project = re.fullmatch(r"[\w.-]+(/[\w.-]+)+", word) and word.split("/")[0] in TOP_LEVEL
        if in_project or re.fullmatch(r"[A-Z]+\.md|Makefile|LICENSE|pyproject\.toml|setup\.py", word):
            named.add(word)
    return named


def links_of(text: str) -> set[str]:
    """Targets of relative links of a document, without anchors."""
    targets = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))
    return {target.split("#")[0] for target in targets if not re.match(r"[a-z]+:|#", target)}


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_paths_named_in_documents_exist(path):
    text = path.read_text(encoding="utf-8")
    missing = sorted(name for name in paths_named(text) if not (ROOT / name).exists())
    assert not missing, f"{name_of(path)} names what does not exist: {missing}"
    broken = sorted(link for link in links_of(text) if not (path.parent / link).exists())
    assert not broken, f"{name_of(path)} links to what does not exist: {broken}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_functions_named_with_their_file_are_there(path):
    text = path.read_text(encoding="utf-8")
    missing = []
    for file, name in re.findall(r"`((?:memcore|pymem)/[\w/.]+):(\w+)`", text):
        if not re.search(rf"\b{name}\b", (ROOT / file).read_text(encoding="utf-8")):
            missing.append(f"{file}:{name}")
    assert not missing, f"{name_of(path)} names functions that are not there: {missing}"


def test_the_example_of_the_readme_runs(capsys, tmp_path):
    (example,) = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    (tmp_path / "example.py").write_text(example)
    runpy.run_path(str(tmp_path / "example.py"))
    major, active, stalled = map(int, capsys.readouterr().out.split())
    assert min(major, active, stalled) > 0


def test_named_paths_are_recognised():
    text = "see `pymem/units.py`, `tests/test_*.py`, `make test`, `memcore/a.pyx:run` and [x](docs/y.md#z)"
    assert paths_named(text) == {"pymem/units.py", "memcore/a.pyx"}
    assert links_of(text) == {"docs/y.md"}


def test_the_changelog_has_a_place_for_the_next_change():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    section = re.search(r"^## Unreleased\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    assert section, "CHANGELOG.md needs a section '## Unreleased'"


# ---- the scenario format ----------------------------------------------------------------------------------

SCENARIOS = ROOT / "docs" / "scenarios.md"


def toml_blocks() -> list[str]:
    """The TOML examples of docs/scenarios.md."""
    return re.findall(r"^```toml\n(.*?)^```", SCENARIOS.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.fixture
def recordings(tmp_path):
    """A folder with the trace and the array that the examples name."""
    import pymem
    from pymem.traces.store import Writer

    with Writer(tmp_path / "my.pmt") as writer:
        writer.add_task("app", [pymem.Anon(pages=4)])
        writer.append(np.array([0, 1, 3], np.uint32))
    (tmp_path / "stairs.cfg").write_text("a, 8192\n\nphase\n1\na, 1, 64, 1\n")
    np.save(tmp_path / "records.npy", np.array([0, 300, 5 | 1 << 31], np.uint32))
    return tmp_path


@pytest.mark.parametrize("number", range(len(toml_blocks())))
def test_toml_examples_are_valid_scenarios(number, recordings):
    from pymem.scenario import scenario_from

    document = tomllib.loads(toml_blocks()[number])
    # What shows the machine only is completed to a whole scenario.
    idle = {"name": "idle", "workload": {"kind": "sequential", "pages": 1}}
    scenario = scenario_from({"tasks": [idle], **document}, recordings)
    for task in scenario.tasks:
        assert next(iter(task.workload.chunks(1))).size


def test_every_kind_of_workload_and_policy_is_described():
    from pymem.oom import POLICIES
    from pymem.workloads import KINDS

    text = SCENARIOS.read_text(encoding="utf-8")
    used = {kind for block in toml_blocks() for kind in re.findall(r'kind = "(\w+)"', block)}
    assert set(KINDS) <= used, f"without an example: {sorted(set(KINDS) - used)}"
    undescribed = [name for name in POLICIES if f"| `{name}` |" not in text]
    assert not undescribed, f"policies without a row: {undescribed}"


def test_tables_of_tunables_and_costs_are_complete_and_right():
    from pymem.tunables import COSTS, TUNABLES

    text = SCENARIOS.read_text(encoding="utf-8")
    rows = [
        f"| `{t.name}` | {'auto' if t.default == -1 else t.default} | {t.minimum} | {t.maximum} | {t.unit}"
        for t in TUNABLES.values()
    ]
    rows += [f"| `{c.name.removeprefix('c_')}` | {c.default} | {c.meaning} |" for c in COSTS.values()]
    missing = [row for row in rows if row not in text]
    assert not missing, "rows missing in docs/scenarios.md:\n" + "\n".join(missing)


def test_tables_of_the_results_are_complete():
    from memcore.engine import EVENT_KINDS, LATENCY_KINDS, SAMPLE_COLUMNS, STALL_CAUSES

    text = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    # Levels and counters have one row each for all; hits have no histogram.
    alone = SAMPLE_COLUMNS[: SAMPLE_COLUMNS.index("nr_inactive_anon")]
    names = [*EVENT_KINDS, *(k for k in LATENCY_KINDS if k != "hit"), *STALL_CAUSES, *alone]
    missing = [name for name in names if f"`{name}`" not in text]
    assert not missing, f"not in docs/results.md: {missing}"


def test_every_measure_has_its_row():
    from pymem.objectives import OBJECTIVES

    text = (ROOT / "docs" / "sweeps.md").read_text(encoding="utf-8")
    rows = [f"| `{o.name}` | {o.unit} | {'yes' if o.per_task else ''} | {o.meaning} |" for o in OBJECTIVES.values()]
    missing = [row for row in rows if row not in text]
    assert not missing, "rows missing in docs/sweeps.md:\n" + "\n".join(missing)


# ---- the trace format -------------------------------------------------------------------------------------


@pytest.mark.parametrize("title, name", [("Header", "HEADER"), ("Chunk header", "CHUNK"),
                                         ("Column header", "COLUMN"), ("Trailer", "TRAILER")])  # fmt: skip
def test_tables_of_the_trace_format_fill_their_structures(title, name):
    from pymem.traces import container

    text = (ROOT / "docs" / "traces.md").read_text(encoding="utf-8")
    size = getattr(container, name).size
    section = re.search(rf"^### {title}, {size} bytes\n(.*?)^#", text, re.DOTALL | re.MULTILINE)
    assert section, f"no section '{title}, {size} bytes'"
    at = 0
    for offset, length in re.findall(r"^\| (\d+) \| (\d+) \|", section[1].split("\n\n| column", 1)[0], re.MULTILINE):
        assert int(offset) == at
        at += int(length)
    assert at == size


def test_operations_of_records_have_their_numbers():
    from pymem.records import Op

    text = (ROOT / "docs" / "traces.md").read_text(encoding="utf-8")
    missing = [op.name for op in Op if not re.search(rf"\| {int(op)} \| {op.name}\b", text)]
    assert not missing, f"not in the table of operations: {missing}"


# ---- what is said to work ---------------------------------------------------------------------------------


def test_tests_named_in_the_status_exist():
    text = (ROOT / "docs" / "status.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(test_\w+)`", text))
    assert named, "docs/status.md names no tests"
    missing = sorted(name for name in named if not (ROOT / "tests" / f"{name}.py").exists())
    assert not missing, f"docs/status.md names tests that do not exist: {missing}"


def test_rows_named_in_the_status_are_in_the_model():
    named = set(re.findall(r"\b[A-Z]\d+\b", (ROOT / "docs" / "status.md").read_text(encoding="utf-8")))
    rows = re.findall(r"^\| ([A-Z]\d+) \|", (ROOT / "docs" / "model.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(rows) == len(set(rows))
    assert named <= set(rows), f"docs/model.md has no rows {sorted(named - set(rows))}"


# ---- files ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", project_files(".py", ".pyx", ".pxd", ".h"), ids=name_of)
def test_files_stay_readable(path):
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_LINES, f"{name_of(path)} has {lines} lines; split what exceeds {MAX_LINES}"


def test_nothing_is_left_unfinished_or_tied_to_one_machine():
    patterns = {
        "unfinished": r"\b(TODO|FIXME|XXX|HACK)\b|\bNotImplementedError\b",
        "a folder of one machine": r"(?<![\w.}/])/(work|root|opt|home|Users)/\w",
        "a tracker number": r"(?i:\b(issue|pull request) #?\d+\b|\bGH-\d+\b)|\(#\d+\)",
        "something outside the project": r"\.\./shared\b",
    }
    found = []
    for path in project_files(*TEXT):
        if path == Path(__file__).resolve() or path.name == "LICENSE" or "data" in path.parts:
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        for number, line in enumerate(text.splitlines(), 1):
            found += [
                f"{name_of(path)}:{number}: {what}" for what, p in patterns.items() if re.search(p, line)
            ]
    assert not found, "\n".join(found)


def test_every_foreign_format_has_its_row():
    from pymem.traces.readers import READERS

    text = (ROOT / "docs" / "traces.md").read_text(encoding="utf-8")
    shown = re.findall(r"^\| `([\w-]+)` \| [^|]+ \| [^|]+ \| [^|]+ \|$", text, re.MULTILINE)
    assert sorted(shown) == sorted(reader.name for reader in READERS)
