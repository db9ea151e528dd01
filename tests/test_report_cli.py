"""The commands that look at results: what they write, and one line for every mistake."""

import json
import os
import re
import subprocess
import sys

import pytest
from results import thrashing
from test_cli import COMMAND, TINY, environment


@pytest.fixture
def pymem(tmp_path):
    def call(*arguments):
        return subprocess.run(
            [*COMMAND, *arguments], capture_output=True, text=True, cwd=tmp_path, env=environment(), check=False
        )

    (tmp_path / "tiny.toml").write_text(TINY)
    thrashing().save(tmp_path / "saved")
    return call


def test_a_run_writes_its_report_and_the_saved_result_gives_the_same(pymem, tmp_path):
    done = pymem("run", "tiny.toml", "--report", "a.html", "--out", "out")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("The report is in a.html\n")
    again = pymem("report", "out")
    assert (again.returncode, again.stdout) == (0, "The report is in out/report.html\n")
    assert (tmp_path / "out" / "report.html").read_text() == (tmp_path / "a.html").read_text()


def test_a_report_inside_a_result_does_not_keep_it_from_being_replaced(pymem, tmp_path):
    assert pymem("report", "saved").returncode == 0
    assert pymem("run", "tiny.toml", "-q", "--out", "saved").returncode == 0
    assert not (tmp_path / "saved" / "report.html").exists()


def test_a_run_streams_lines_and_then_its_summary(pymem):
    done = pymem("run", "tiny.toml", "--vmstat", "10ms")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].split()[:3] == ["time", "swpd", "free"]
    assert re.fullmatch(r" +0\.010( +\d+)+", lines[1])
    assert "tiny  " in done.stdout


def test_live_without_a_terminal_is_plain(pymem):
    plain, live = pymem("run", "tiny.toml"), pymem("run", "tiny.toml", "--live")
    assert (live.returncode, live.stderr) == (0, "")
    assert "\x1b" not in live.stdout
    strip = re.compile(r" in \d+\.\d+ s$", re.MULTILINE)
    assert strip.sub("", live.stdout) == strip.sub("", plain.stdout)


def test_vmstat_of_a_saved_result(pymem):
    done = pymem("vmstat", "saved", "--interval", "100ms")
    assert (done.returncode, done.stderr) == (0, "")
    rows = [line.split() for line in done.stdout.splitlines()[1:]]
    assert float(rows[-1][0]) == pytest.approx(thrashing().time_ns / 1e9, abs=1e-3)


@pytest.mark.parametrize(
    ("form", "name"),
    [
        ("perfetto", "trace.json"),
        ("prometheus", "metrics.prom"),
        ("parquet", "timeline.parquet"),
        ("csv", "timeline.csv"),
    ],
)
def test_exports(pymem, tmp_path, form, name):
    (tmp_path / "saved" / "timeline.parquet").unlink(missing_ok=True)
    done = pymem("export", "saved", "--format", form)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"Written to saved/{name}\n", "")
    assert (tmp_path / "saved" / name).stat().st_size > 1000
    if form == "perfetto":
        json.loads((tmp_path / "saved" / name).read_text())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["report", "nowhere"], "nowhere: holds no result (result.json is missing)"),
        (["report", "."], ".: holds no result"),
        (["report", "saved", "--out", "no/a.html"], "no/a.html: the folder "),
        (["report", "saved", "--out", "saved"], "saved: is a folder; accepted is the name of a file"),
        (["vmstat", "nowhere"], "nowhere: holds no result"),
        (["vmstat", "saved", "--interval", "0"], "--interval: 0; accepted is a time of at least 1 ns"),
        (["vmstat", "saved", "--interval", "soon"], "--interval: 'soon' is not understood"),
        (["export", "saved", "-f", "xml"], "--format: 'xml'; accepted are perfetto, prometheus, parquet, csv"),
        (["export", "nowhere", "-f", "csv"], "nowhere: holds no result"),
        (["run", "tiny.toml", "--report", "no/a.html"], "no/a.html: the folder "),
        (["run", "tiny.toml", "--vmstat", "1us"], "--vmstat 1us: is shorter than sample_interval, 10.00 ms"),
        (["run", "tiny.toml", "--vmstat", "1s", "--live"], "--vmstat: accepted is only one of"),
        (["run", "tiny.toml", "--vmstat", "1s", "--set", "sample_interval=0"], "has no time line"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(pymem, tmp_path, arguments, message):
    before = set(tmp_path.rglob("*"))
    done = pymem(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"error: [^\n]*\n", done.stderr), done.stderr
    assert message in done.stderr
    assert set(tmp_path.rglob("*")) == before


def test_a_damaged_result_is_named(pymem, tmp_path):
    (tmp_path / "saved" / "events.csv").write_text("x\n")
    for command in (["report", "saved"], ["vmstat", "saved"], ["export", "saved", "-f", "csv"]):
        done = pymem(*command)
        assert done.returncode == 2
        assert "saved/events.csv: is damaged" in done.stderr
    assert not (tmp_path / "saved" / "report.html").exists()


def test_the_default_install_writes_reports(tmp_path):
    """Nothing beyond the dependencies of the project is loaded for a page."""
    thrashing().save(tmp_path / "saved")
    code = (
        "import sys\nfrom pymem.saved import load_result\nfrom pymem.reports.page import report\n"
        "report(load_result('saved'))\nprint(*{name.split('.')[0] for name in sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment(), check=True
    )
    assert not {"matplotlib", "plotly", "pandas", "pyarrow", "rich", "typer"} & set(done.stdout.split())
    assert os.listdir(tmp_path) == ["saved"]
