"""The page of an analysis: complete, well-formed, without anything from elsewhere, and safe against names."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from pymem.records import pack
from pymem.regions import Anon, File
from pymem.reports.trace_page import page
from pymem.traces.analysis import analyze
from pymem.traces.store import TraceFile, Writer

VOID = {"meta", "br"}


class Checker(HTMLParser):
    """Keeps what is in a page; fails where elements do not nest."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def made(folder, tasks, **about):
    """The page of a trace with tasks {name: rows of (page, operation, count)}, and what is in it."""
    with Writer(folder / "x.pmt", provenance=about) as writer:
        for name, rows in tasks.items():
            number = writer.add_task(name, [Anon(40, name="<heap>"), File(20, name="a&b")])
            if rows:
                writer.append(pack(*(np.array(column) for column in zip(*rows, strict=True))), number)
    with TraceFile(folder / "x.pmt") as trace:
        text = page(trace.info, [analyze(trace, number) for number in range(len(tasks))])
    checker = Checker()
    checker.feed(text)
    assert checker.open == []
    return text, checker


ROWS = [(0, 0, 5), (1, 1, 3), (0, 0, 1), (41, 2, 4), (41, 3, 2), (2, 1, 1), (1, 0, 1), (5, 10, 1)]


def test_a_page_has_every_figure_with_label_and_numbers(tmp_path):
    _, checker = made(tmp_path, {"app": ROWS}, source="hand", filter={"window_pages": 8})
    titles = ["Working set over time", "Heat map", "Reuse distance", "Miss ratio"]
    labels = [attrs["aria-label"] for tag, attrs in checker.tags if tag == "svg"]
    assert [label.split(":")[0] for label in labels] == titles
    assert all(attrs["role"] == "img" for tag, attrs in checker.tags if tag == "svg")
    assert [tag for tag, _ in checker.tags].count("details") == 4
    text = " ".join(checker.text)
    assert "8 records for 17 accesses of 1 task" in text
    # 5 + 1 + 1 loads, 3 + 1 stores, 4 pages of read() and 2 of write(), of 17
    for share in ("41.2% loads", "23.5% stores", "23.5% read()", "11.8% write()"):
        assert share in text
    assert "7 pages" in text  # 0, 1, 2 and 41 to 44
    assert "right from 8 pages on" in text


def test_nothing_comes_from_elsewhere(tmp_path):
    text, checker = made(tmp_path, {"app": ROWS, "other": ROWS})
    assert not re.search(r"https?:|url\(|@import|<script|<link|<img|<iframe", text)
    assert "prefers-color-scheme: dark" in text
    ids = [attrs["id"] for _, attrs in checker.tags if "id" in attrs]
    assert len(ids) == len(set(ids)) == 2
    assert [attrs["href"] for tag, attrs in checker.tags if tag == "a"] == [f"#{name}" for name in ids]


def test_names_are_text(tmp_path):
    text, checker = made(tmp_path, {"<b>x</b>": ROWS}, source="<script>")
    assert "<script" not in text
    assert "<b>x" not in text
    assert {"<heap>", "a&b"} <= set(checker.text)


@pytest.mark.parametrize("rows", [[], [(0, 0, 1)], [(0, 17, 1)], [(0, 0, 1 << 18)] * 3])
def test_little_makes_a_page_too(tmp_path, rows):
    _, checker = made(tmp_path, {"app": rows})
    numbers = [float(n) for tag, attrs in checker.tags if tag in ("polyline", "polygon")
               for n in re.split("[ ,]", attrs["points"])]  # fmt: skip
    assert all(0 <= n <= 560 for n in numbers)
