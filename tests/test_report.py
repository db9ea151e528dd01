"""The page: what it says and draws is what the result holds, it loads nothing, and a real browser shows it."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html import escape
from html.parser import HTMLParser

import numpy as np
import pytest
from results import calm, killed, numa, thrashing

from pymem.cli.run import interval
from pymem.errors import ScenarioError
from pymem.reports.page import report, together
from pymem.reports.series import POINTS, Columns, charts, memory_kinds, page_data, starts, thinned
from pymem.result import Timeline
from pymem.saved import load_result

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
VOID = {"meta", "input", "line", "circle"}


class Page(HTMLParser):
    """Elements, texts by enclosing element, and whatever is not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements, self.open, self.texts, self.rows = [], [], {}, []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data):
        self.texts.setdefault(self.open[-1] if self.open else "", []).append(data)
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1].append(data)

    @property
    def data(self):
        scripts = self.texts["script"]
        return json.loads(scripts[0])


def series(data, chart, key):
    found = next(c for c in data["charts"] if c["key"] == chart)
    return next(s for s in found["series"] if s["key"] == key)


# ---- what is drawn ----------------------------------------------------------------------------------------


def test_the_lines_are_those_of_the_result():
    result = thrashing()
    data, line = Page(report(result)).data, result.timeline
    keep = np.append(np.diff(line["time_ns"]) > 0, True)
    times = line["time_ns"][keep]
    assert data["time"] == times.tolist()
    assert series(data, "free", "nr_free_pages")["mean"] == line["nr_free_pages"][keep].tolist()
    assert series(data, "swap", "swap_used")["mean"] == (result.swap["total"] - line["swap_free"][keep]).tolist()
    # A rate times the time it is for gives the counter back.
    rate = np.array(series(data, "swap_traffic", "pswpin")["mean"])
    total = np.sum(rate[1:] * np.diff(times) / 1e9) + line["pswpin"][keep][0]
    assert total == pytest.approx(result.vmstat["pswpin"], rel=1e-4)
    pressure = np.array(series(data, "psi", "psi_memory_some")["mean"])
    assert np.sum(pressure[1:] / 100 * np.diff(times)) == pytest.approx(result.psi["memory_some"]["total"], rel=1e-3)


@pytest.mark.parametrize("make", [calm, thrashing, killed, numa])
def test_the_kinds_of_memory_add_up_to_all_of_it(make):
    result = make()
    columns = Columns(result)
    managed = sum(zone["managed"] for zone in result.zones)
    kinds = memory_kinds(columns, managed)
    np.testing.assert_allclose(sum(s.values for s in kinds), managed)
    assert all((s.values >= 0).all() for s in kinds)
    other = next(s for s in kinds if s.key == "other")
    assert (other.values <= 0.1 * managed).all()


def test_time_in_direct_reclaim_is_that_of_the_events():
    result = killed()
    begin, end = result.events_of("direct_begin")["time"], result.events_of("direct_end")["time"]
    assert len(begin) == len(end) > 0
    data = page_data(result)
    share = np.array(series(data, "reclaiming", "direct_reclaim")["mean"])
    drawn = np.sum(share[1:] / 100 * np.diff(data["time"]))
    assert drawn == pytest.approx(np.sum(end - begin), rel=1e-2)


def test_long_runs_keep_every_peak_in_few_points():
    rows = 100_000
    rng = np.random.default_rng(1)
    columns = Columns(calm())
    values = rng.random(rows)
    values[77_777] = 50.0
    thin = thinned(columns, values)
    assert {len(v) for v in thin.values()} == {POINTS}
    assert max(thin["hi"]) == 50.0
    first = starts(rows)
    for i in (0, 1, POINTS // 2, POINTS - 1):
        share = values[first[i] : first[i + 1] if i + 1 < POINTS else rows]
        assert thin["lo"][i] == pytest.approx(share.min(), rel=1e-4)
        assert thin["mean"][i] == pytest.approx(share.mean(), rel=1e-4)
    assert thin.keys() == {"mean", "lo", "hi"}
    assert thinned(columns, values[:POINTS]).keys() == {"mean"}


def long_run(rows=100_000):
    """A result with so many rows: those of a short one over and over, its counters growing on."""
    result = thrashing()
    old, columns = result.timeline.columns, {}
    n = len(old["time_ns"]) - 1
    for name, column in old.items():
        grows = bool((np.diff(column) >= 0).all()) and column[n] > column[0]
        times = np.arange(rows)
        columns[name] = column[times % n] + (times // n * (column[n] if grows else 0))
    columns["time_ns"] = (1 + np.arange(rows)) * 2_000_000
    return type(result)(**{**vars(result), "timeline": Timeline(columns), "time_ns": rows * 2_000_000})


def test_a_run_of_a_hundred_thousand_samples_is_below_10_mb():
    page = report(long_run())
    assert len(page.encode()) < 10e6
    assert "Of 100,000 samples a line shows means" in page


def test_what_never_happened_is_named_instead_of_drawn():
    _, shown, empty = charts(calm())
    assert {"Swap traffic", "Reclaim: pages scanned and freed", "Swap in use"} <= set(empty)
    assert {"memory", "free", "faults"} <= {chart.key for chart in shown}


# ---- words and tables -------------------------------------------------------------------------------------


def test_kills_have_their_scores_and_nothing_is_taken_for_markup():
    result = killed()
    assert [kill.task for kill in result.oom_kills] == ["leak"]
    text = report(result)
    page = Page(text)
    assert not page.open[2:], f"not closed: {page.open}"  # html and body may stay open
    kill = result.oom_kills[0]
    assert ["leak", f"{kill.scores['leak']:,.0f}"] in page.rows
    assert ['</script><b>"x', "not a candidate"] in page.rows
    marks = [mark for mark in page.data["marks"] if mark["kind"] == "oom"]
    assert [(m["time"], m["label"]) for m in marks] == [(kill.time_ns, "leak")]
    assert "<b>\"x" not in text
    assert "<i>kill" not in text


def test_percentiles_and_stalls_are_those_of_the_tasks():
    result = thrashing()
    rows = Page(report(result)).rows
    swap = next(row for row in rows if row[:2] == ["page read from swap", "app"])
    assert swap[2] == f"{result.tasks['app'].latency['swap_in'].count:,}"
    head = next(row for row in rows if row[:2] == ["task", "state"])
    mine = next(row for row in rows if row[:2] == ["app", "finished"])
    assert mine[head.index("major faults")] == f"{result.tasks['app'].maj_flt:,}"


def test_all_tasks_together_is_the_sum():
    parts = [task.latency["minor"] for task in killed().tasks.values()]
    whole = together(parts)
    assert whole.count == sum(h.count for h in parts)
    assert whole.total_ns == sum(h.total_ns for h in parts)
    assert whole.percentile(100) == max(h.percentile(100) for h in parts)


@pytest.mark.parametrize("make", [calm, thrashing, killed, numa])
def test_the_page_loads_nothing(make):
    text = report(make())
    # The namespace of SVG is a name, not a place; nothing else looks like an address.
    assert set(re.findall(r"\w+://[^\s\"'<)]*", text)) <= {"http://www.w3.org/2000/svg"}
    assert "default-src 'none'" in text
    for tag, attributes in Page(text).elements:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base")
        assert not {"src", "href", "srcset", "background"} & attributes.keys()
    assert not re.search(r"@import|url\((?!#)|fetch\(|XMLHttpRequest|import\(", text.replace("url(#${clip})", ""))


def test_a_machine_with_nodes_shows_who_went_where():
    page = Page(report(numa()))
    task = numa().tasks["wide"]
    assert ["wide", f"{task.local:,}", f"{task.remote:,}"] in [row[:3] for row in page.rows]


def test_a_result_that_is_only_result_json_has_words_and_tables(tmp_path):
    folder = thrashing().save(tmp_path / "out")
    for name in ("timeline.npz", "events.csv", "latency.csv"):
        (folder / name).unlink()
    text = report(load_result(folder))
    assert "This result has no time line" in text
    assert Page(text).data["charts"] == []
    assert "page read from swap" in text


@pytest.mark.parametrize("status", ["interrupted", "time limit", "stuck"])
def test_a_run_that_is_not_complete_says_so(status):
    assert f"The run is not complete: {status}." in report(replace(thrashing(), status=status))


def test_intervals_of_vmstat():
    assert interval(None, 10, True) == 0
    assert interval("1s", 10, False) == 10**9
    for text, sample, otherwise, message in (
        ("1ns", 10, False, "is shorter than sample_interval"),
        ("1s", 0, False, "has no time line"),
        ("1s", 10, True, "accepted is only one of"),
        ("soon", 10, False, "--vmstat: 'soon' is not understood"),
    ):
        with pytest.raises(ScenarioError, match=message):
            interval(text, sample, otherwise)


# ---- in a real browser ------------------------------------------------------------------------------------

if CHROMIUM:

    def browse(tmp_path, text, *options):
        """What Chromium makes of a page, and what it complains about."""
        path = tmp_path / "page.html"
        path.write_text(text, encoding="utf-8")
        command = [
            CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
            "--virtual-time-budget=4000", "--enable-logging=stderr", "--log-level=0", *options, path.as_uri(),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
        complaints = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
        return done.stdout, complaints

    @pytest.mark.parametrize("make", [calm, thrashing, killed, numa])
    def test_a_browser_draws_every_chart_without_a_complaint(tmp_path, make):
        dom, complaints = browse(tmp_path, report(make()), "--window-size=1200,900", "--dump-dom")
        assert not complaints
        data = page_data(make())
        assert f'data-drawn="{len(data["charts"])}"' in dom
        drawn = re.findall(r'<path d="M[^"]*"[^>]*data-series="(\w+)"', dom)
        assert sorted(drawn) == sorted(s["key"] for chart in data["charts"] for s in chart["series"])
        assert "NaN" not in dom.split('id="data"')[0]

    # Presses buttons and keys as a person would, and leaves what it sees in the title.
    USE = """<script>
    const svg = document.querySelector("#chart-free svg"), seen = [];
    const look = () => seen.push(document.getElementById("window").textContent);
    const key = (key) => { svg.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true})); look(); };
    look(); svg.focus(); look(); key("Home"); key("ArrowRight"); key("+"); key("Escape");
    const legend = document.querySelector("#chart-memory .legend button");
    legend.click(); seen.push(legend.getAttribute("aria-pressed"));
    document.querySelector("[data-time]").click(); look();
    document.querySelector("[data-do=theme]").click(); seen.push(document.documentElement.style.colorScheme);
    document.title = JSON.stringify(seen);
    </script>"""

    def test_keys_buttons_and_names_work(tmp_path):
        text = report(thrashing()).replace("</body>", USE + "</body>")
        dom, complaints = browse(tmp_path, text, "--window-size=1200,900", "--dump-dom")
        assert not complaints
        seen = json.loads(re.search(r"<title>(\[.*?\])</title>", dom)[1])
        whole, focused, home, right, zoomed, reset, pressed, jumped, theme = seen
        assert whole.count(" to ") == 1
        times = [float(text.split()[1]) for text in (focused, home, right)]
        assert times[1] < times[2] < times[0]
        assert zoomed.startswith("at ")
        assert reset.startswith("at ")
        assert (pressed, theme) == ("false", "dark")
        assert jumped.startswith("at ")

    # No window of a headless browser is as narrow as a phone, so the page is put into a frame.
    FRAME = """<!doctype html><title></title><iframe width={width} height=800 srcdoc="{page}"></iframe><script>
    const frame = document.querySelector("iframe");
    frame.onload = () => {{
      const inside = frame.contentDocument.documentElement;
      document.title = [inside.scrollWidth, frame.contentWindow.innerWidth, inside.dataset.drawn].join();
    }};
    </script>"""

    @pytest.mark.parametrize("width", [320, 390, 1200])
    @pytest.mark.parametrize("make", [killed, numa])
    def test_nothing_is_wider_than_the_screen(tmp_path, make, width):
        text = FRAME.format(width=width, page=escape(report(make())))
        dom, _ = browse(tmp_path, text, "--window-size=1400,900", "--dump-dom")
        page, window, drawn = map(int, re.search(r"<title>(\d+),(\d+),(\d+)</title>", dom).groups())
        assert window == width
        assert page <= width
        assert drawn > 0

    def test_a_long_run_is_drawn_too(tmp_path):
        dom, complaints = browse(tmp_path, report(long_run()), "--window-size=1200,900", "--dump-dom")
        assert not complaints
        assert re.search(r'data-drawn="([1-9]\d*)"', dom)
