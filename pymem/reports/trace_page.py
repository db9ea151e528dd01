"""The analysis of a trace as a page: one self-contained HTML file, figures as SVG, light or dark as the reader has it.

Every figure has a label for those who do not see it, and the numbers behind it as a table that opens on demand.
"""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from pymem.traces.analysis import shades
from pymem.units import PAGE_SIZE, format_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pymem.traces.analysis import Analysis
    from pymem.traces.model import TaskInfo, TraceInfo

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 560, 230, 62, 36, 8
SHADES = 8

STYLE = """
:root { color-scheme: light dark; --fg: #1b1f24; --bg: #fff; --dim: #59636e; --line: #d5d9de; --mark: #0b66c3;
  --fill: #9cc5ee; --first: #b35900; }
@media (prefers-color-scheme: dark) { :root { --fg: #e6e8eb; --bg: #14171a; --dim: #9aa3ad; --line: #363c43;
  --mark: #5aa9ff; --fill: #1f4b78; --first: #ffa657; } }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--fg); background: var(--bg); margin: 0 auto;
  max-width: 78rem; padding: 1rem; }
h1, h2, h3 { line-height: 1.2; } h1 { overflow-wrap: anywhere; } h3 { margin: 0 0 .2rem; font-size: 1rem; }
.dim, figcaption { color: var(--dim); font-size: .88rem; } .hash { overflow-wrap: anywhere; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 30rem), 1fr)); gap: 1.6rem 2rem; }
figure { margin: 0; min-width: 0; } .wide { grid-column: 1 / -1; }
svg { width: 100%; height: auto; display: block; }
svg text { font-size: 11px; fill: var(--dim); } .axis { stroke: var(--line); }
.line { stroke: var(--mark); stroke-width: 2; fill: none; } .area { fill: var(--fill); } .bar { fill: var(--mark); }
.first { fill: var(--first); } .limit { stroke: var(--first); stroke-dasharray: 4 3; }
.heat rect { fill: var(--mark); } .frame { fill: none !important; stroke: var(--line); }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .15rem .7rem .15rem 0; border-bottom: 1px solid var(--line); font-weight: 400; }
th:first-child, td:first-child { text-align: left; } thead th { color: var(--dim); }
.facts td { text-align: left; } .facts th { color: var(--dim); }
details { margin-top: .3rem; } summary { cursor: pointer; color: var(--dim); font-size: .88rem; }
.scroll { overflow: auto; max-height: 18rem; }
.mix { display: flex; height: 1.1rem; max-width: 36rem; border-radius: 3px; overflow: hidden; }
.mix span { min-width: 2px; } .loads { background: var(--fill); } .stores { background: var(--mark); }
.reads { background: var(--line); } .writes { background: var(--first); }
.key i { display: inline-block; width: .9rem; height: .9rem; border-radius: 2px; vertical-align: -.1rem;
  margin-right: .3rem; }
.key span { margin-right: 1.2rem; white-space: nowrap; }
"""


def page(info: TraceInfo, analyses: Sequence[Analysis]) -> str:
    """The page for some tasks of a trace as text."""
    tasks = {task.name: task for task in info.tasks}
    title = escape(info.path.rsplit("/", 1)[-1])
    source = escape(str(info.provenance.get("source", "not told")))
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        f"<meta name='viewport' content='width=device-width, initial-scale=1'><title>{title}: analysis</title>"
        f"<style>{STYLE}</style></head><body><main><h1>{title}</h1>"
        f"<p>{info.records:,} records for {info.accesses:,} accesses of {_count(len(info.tasks), 'task')}; "
        f"source: {source}.</p>"
        f"<p class='dim hash'>SHA-256 of the records {info.sha256}</p>"
    ]
    if len(analyses) > 1:
        links = ", ".join(f"<a href='#t{n}'>{escape(one.task)}</a>" for n, one in enumerate(analyses))
        parts.append(f"<nav aria-label='tasks'>Tasks: {links}</nav>")
    parts += [task_section(n, one, tasks[one.task]) for n, one in enumerate(analyses)]
    return "\n".join([*parts, "</main></body></html>\n"])


def task_section(number: int, one: Analysis, task: TaskInfo) -> str:
    """Everything about one task."""
    pages = one.footprint
    zipf = "none: all pages are referenced equally often"
    if one.zipf is not None:
        zipf = f"exponent {one.zipf.exponent:.2f}; largest difference of shares {one.zipf.distance:.2f}"
    facts = {
        "accesses": f"{one.accesses:,} in {one.references:,} references",
        "footprint": f"{_count(pages['all'], 'page')}, {format_bytes(pages['all'] * PAGE_SIZE)}",
        "of these": f"{pages['anon']:,} anonymous, {pages['file']:,} of files, {pages['written']:,} written",
        "sequential": f"{one.sequential:.1%} of the steps go to the next page",
        "Zipf fit": zipf,
    }
    rows = "".join(f"<tr><th scope='row'>{name}</th><td>{text}</td></tr>" for name, text in facts.items())
    figures = [_working_set(one), _heat(one, task), _reuse(one), _misses(one)]
    return (
        f"<section aria-labelledby='t{number}'><h2 id='t{number}'>Task {escape(one.task)}</h2>"
        f"<div class='scroll'><table class='facts'>{rows}</table></div>{_mix(one)}"
        f"<div class='figures'>{''.join(figures)}</div></section>"
    )


# ---- figures ----------------------------------------------------------------------------------------------


def _mix(one: Analysis) -> str:
    kinds = {"loads": one.loads, "stores": one.stores, "reads": one.reads, "writes": one.writes}
    names = {"loads": "loads", "stores": "stores", "reads": "read()", "writes": "write()"}
    there = {kind: count for kind, count in kinds.items() if count}
    shares = {kind: count / one.accesses for kind, count in there.items()}
    told = {kind: ("under 0.1%" if s < 0.001 else f"{s:.1%}") + f" {names[kind]}" for kind, s in shares.items()}
    bars = "".join(f"<span class='{kind}' style='flex:{share:.4f}'></span>" for kind, share in shares.items())
    key = "".join(f"<span><i class='{kind}'></i>{text}</span>" for kind, text in told.items())
    label = f"mix of accesses: {', '.join(told.values())}"
    return f"<p><span class='mix' role='img' aria-label='{label}'>{bars}</span></p><p class='key'>{key}</p>"


def _working_set(one: Analysis) -> str:
    if not one.working_set:
        return ""
    most, count = max(one.working_set), len(one.working_set)
    x = [LEFT + i / count * (WIDTH - LEFT - 4) for i in range(count + 1)]
    steps = [(x[i + side], _y(value / most)) for i, value in enumerate(one.working_set) for side in (0, 1)]
    area = [(x[0], _y(0)), *steps, (x[-1], _y(0))]
    body = f"<polygon class='area' points='{_points(area)}'/><polyline class='line' points='{_points(steps)}'/>"
    return _figure(
        "Working set over time", f"different pages in each {one.window:,} accesses; at most {most:,}",
        body + _axes("0", f"{one.accesses:,} accesses", f"{most:,}"),
        _table(("from access", "pages"), ((f"{i * one.window:,}", f"{v:,}") for i, v in enumerate(one.working_set))),
    )  # fmt: skip


def _heat(one: Analysis, task: TaskInfo) -> str:
    if not one.working_set:
        return ""
    rows, columns = len(one.heat), len(one.heat[0])
    wide, high = (WIDTH - LEFT - 4) / columns, (HEIGHT - BOTTOM - TOP) / rows
    cells = []
    for row, shade in enumerate(shades(np.array(one.heat), SHADES).tolist()):
        # Neighbours of one shade are one rectangle, which keeps the page small.
        first = 0
        for at in range(1, columns + 1):
            if at < columns and shade[at] == shade[first]:
                continue
            if shade[first]:
                cells.append(
                    f"<rect x='{LEFT + first * wide:.1f}' y='{TOP + row * high:.1f}' width='{(at - first) * wide:.2f}' "
                    f"height='{high:.2f}' opacity='{shade[first] / SHADES:.2f}'/>"
                )
            first = at
    frame = f"<rect class='frame' x='{LEFT}' y='{TOP}' width='{WIDTH - LEFT - 4}' height='{HEIGHT - BOTTOM - TOP}'/>"
    body = f"<g class='heat' shape-rendering='crispEdges'>{''.join(cells)}{frame}</g>"
    bases, base = [], 0
    for region in task.regions:
        bases.append((base, region.name, region.pages))
        base += region.pages
    largest = sorted(bases, key=lambda row: -row[2])[:200]
    table = _table(
        ("region", "first page", "pages"), ((escape(name), f"{at:,}", f"{n:,}") for at, name, n in sorted(largest))
    )
    return _figure(
        "Heat map", f"accesses by place ({_count(one.band, 'page')} a row, all regions one after another) and time; "
        "each shade is about three times the one before",
        body + _labels("0", f"{one.accesses:,} accesses", "page 0", f"{rows * one.band:,}"), table, "regions",
    )  # fmt: skip


def _reuse(one: Analysis) -> str:
    if not one.reuse:
        return ""
    bars = [(_span(b.low, b.high), b.references, "bar") for b in one.reuse]
    bars.append(("first reference", one.cold, "bar first"))
    most = max(count for _, count, _ in bars)
    wide = (WIDTH - LEFT - 4) / len(bars)
    body = "".join(
        f"<rect class='{kind}' x='{LEFT + i * wide + 1:.1f}' y='{_y(count / most):.1f}' width='{max(wide - 2, 1):.1f}' "
        f"height='{_y(0) - _y(count / most):.1f}'><title>{label}: {count:,}</title></rect>"
        for i, (label, count, kind) in enumerate(bars)
    )
    rows = ((label, f"{count:,}", f"{count / one.references:.2%}") for label, count, _ in bars)
    return _figure(
        "Reuse distance", "different other pages since the last reference to the same one, in powers of two; "
        "the last bar are first references",
        body + _axes(bars[0][0], bars[-1][0], f"{most / one.references:.0%}"),
        _table(("other pages", "references", "share"), rows),
    )  # fmt: skip


def _misses(one: Analysis) -> str:
    if not one.misses:
        return ""
    most, largest = max(point.ratio for point in one.misses), one.misses[-1].pages

    def x(pages: float) -> float:
        return LEFT + (math.log(pages) / math.log(largest) if largest > 1 else 0) * (WIDTH - LEFT - 4)

    line = [(x(point.pages), _y(point.ratio / most if most else 0)) for point in one.misses]
    body = f"<polyline class='line' points='{_points(line)}'/>"
    note = ""
    if one.exact_from > 1:
        note = f"; the trace was filtered when it was recorded, and is right from {one.exact_from} pages on (dashed)"
        at = x(min(one.exact_from, largest))
        body += f"<line class='limit' x1='{at:.1f}' x2='{at:.1f}' y1='{TOP}' y2='{_y(0)}'/>"
    rows = ((f"{p.pages:,}", f"{p.misses:,}", f"{p.ratio:.4%}") for p in one.misses)
    return _figure(
        "Miss ratio", f"of all accesses, in an LRU memory of so many pages (logarithmic){note}",
        body + _axes("1 page", _count(largest, "page"), f"{most:.2%}"), _table(("pages", "misses", "ratio"), rows),
    )  # fmt: skip


# ---- pieces -----------------------------------------------------------------------------------------------


def _y(share: float) -> float:
    return TOP + (1 - share) * (HEIGHT - BOTTOM - TOP)


def _points(points: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _labels(left: str, right: str, top: str, bottom: str) -> str:
    floor = HEIGHT - BOTTOM
    return (
        f"<text x='{LEFT}' y='{floor + 16}'>{left}</text>"
        f"<text x='{WIDTH - 4}' y='{floor + 16}' text-anchor='end'>{right}</text>"
        f"<text x='{LEFT - 6}' y='{TOP + 10}' text-anchor='end'>{top}</text>"
        f"<text x='{LEFT - 6}' y='{floor}' text-anchor='end'>{bottom}</text>"
    )


def _axes(left: str, right: str, top: str) -> str:
    floor = HEIGHT - BOTTOM
    return f"<line class='axis' x1='{LEFT}' x2='{WIDTH}' y1='{floor}' y2='{floor}'/>" + _labels(left, right, top, "0")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    names = "".join(f"<th scope='col'>{name}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{names}</tr></thead><tbody>{body}</tbody></table>"


def _figure(title: str, caption: str, svg: str, table: str, numbers: str = "numbers") -> str:
    return (
        f"<figure><h3>{title}</h3><figcaption>{caption}</figcaption>"
        f"<svg viewBox='0 0 {WIDTH} {HEIGHT}' role='img' aria-label='{title}: {caption}'>{svg}</svg>"
        f"<details><summary>{numbers}</summary><div class='scroll'>{table}</div></details></figure>"
    )


def _span(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")
