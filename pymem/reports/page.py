"""The report as a page: one HTML file that needs nothing else, neither a network nor a library.

Words and tables are plain HTML; the charts are drawn by `pymem/data/report/report.js` from numbers inside the file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np

from pymem.reports.diagnosis import Diagnosis, diagnose, machine_line
from pymem.reports.series import POINTS, page_data
from pymem.reports.summary import STALL_WORDS, short, story
from pymem.result import Latency
from pymem.topology import ZONE_NAMES
from pymem.units import format_pages, format_time

if TYPE_CHECKING:
    from pymem.result import OomKill, Result

# Nothing may be loaded, from anywhere: whatever a scenario is called, the page stays by itself.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
PERCENTILES = (50, 90, 99, 99.9)
LATENCY_WORDS = {
    "minor": "minor fault", "file_major": "page read from a file", "swap_in": "page read from swap",
    "direct_reclaim": "with direct reclaim", "syscall": "read, write, fsync",
}  # fmt: skip
STALL_COLOURS = {
    "cpu_ns": "var(--level0)", "direct_reclaim": "var(--c1)", "throttle": "var(--c4)", "swap_in": "var(--c3)",
    "file_read": "var(--c0)", "dirty": "var(--slab)", "cpu": "var(--kernel)", "oom": "var(--level3)",
    "device": "var(--if)", "fsync": "var(--transit)",
}  # fmt: skip
MARKS = {"kswapd": "kswapd", "direct": "direct reclaim", "swap_full": "swap full", "oom": "", "panic": "panic"}


def report(result: Result, points: int = POINTS) -> str:
    """The page as text.

    Parameters
    ----------
    result : Result
    points : int
        Points a line has at most; with more rows each stands for the lowest, highest and mean of an equal share.
    """
    diagnosis = diagnose(result)
    data = page_data(result, points)
    data["marks"] = [
        {"time": f.time_ns, "kind": f.kind, "label": MARKS[f.kind] or f.text.split(" was ")[0], "text": f.text}
        for f in diagnosis.findings
        if f.kind in MARKS and f.time_ns is not None
    ]
    sections = [
        _head(result, diagnosis), _charts(data), _latency(result), _stalls(result), _kills(result), _machine(result),
        _counters(result),
    ]  # fmt: skip
    assets = files("pymem") / "data" / "report"
    style, script = ((assets / f"report.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    # "<" is written as an escape, so that no name can end the element.
    numbers = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return (
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
        f"<meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">"
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">"
        f"<title>{escape(_name(result))}: memory report</title><style>{style}</style></head><body>\n"
        + "\n".join(sections)
        + f"\n<script type=\"application/json\" id=\"data\">{numbers}</script>\n"
        + f"<script>{script}</script></body></html>\n"
    )  # fmt: skip


def _name(result: Result) -> str:
    return result.name or "simulation"


def _head(result: Result, diagnosis: Diagnosis) -> str:
    partial = "" if result.status == "complete" else f" <b>The run is not complete: {escape(result.status)}.</b>"
    advice = "".join(
        f"<li>{escape(a.text)}{f' Try <code>--set {escape(a.setting)}</code>.' if a.setting else ''} "
        f"<span class=dim>Because {escape(a.because)}.</span></li>"
        for a in diagnosis.advice
    )
    tried = (
        "<p class='dim small'>These follow from the counters of this one run. Whether they help says another run, "
        "<code>pymem run SCENARIO --set KEY=VALUE</code>.</p>"
    )
    if result.events_dropped:
        partial += f" {result.events_dropped:,} late events are not in the log, so reclaim by tasks is shown in part."
    figures = "".join(f"<li>{escape(sentence)}</li>" for sentence in story(result))
    return (
        f"<h1>{escape(_name(result))}</h1><p class=dim>{escape(machine_line(result))}; "
        f"{format_time(result.time_ns)} simulated, {short(result.accesses)} accesses, "
        f"{len(result.tasks)} task{'s' * (len(result.tasks) != 1)}."
        f"{partial}</p>"
        f"<div class='verdict level{diagnosis.level}'><strong>{escape(diagnosis.headline)}</strong></div>"
        f"<h2>What happened</h2><ul class='plain findings'>{''.join(map(_finding, diagnosis.findings))}</ul>"
        f"<details><summary>In figures</summary><ul>{figures}</ul></details>"
        + (f"<h2>What to try</h2><ul class=plain>{advice}</ul>{tried}" if advice else
           "<p class=dim>Nothing in the counters calls for a change.</p>")
    )  # fmt: skip


def _finding(finding: Any) -> str:
    when = "<span class='when dim'>whole run</span>"
    if finding.time_ns is not None:
        when = (
            f"<button type=button class=when data-time={finding.time_ns} title='show in the charts'>"
            f"{format_time(finding.time_ns)}</button>"
        )
    return f"<li>{when}<span>{escape(finding.text)}</span></li>"


def _charts(data: dict[str, Any]) -> str:
    if not data["charts"]:
        return "<h2>Over time</h2><p>This result has no time line, or a single row of it.</p>"
    buttons = (
        ("all", "Whole run", ""), ("in", "+", "zoom in"), ("out", "−", "zoom out"), ("back", "←", "earlier"),
        ("on", "→", "later"), ("theme", "Light / dark", ""),
    )  # fmt: skip
    bar = "".join(
        f"<button type=button data-do={do}{f' aria-label={label!r} title={label!r}' if label else ''}>{text}</button>"
        for do, text, label in buttons
    )
    figures = "".join(
        f"<figure{' class=wide' if chart['stacked'] else ''} id=\"chart-{chart['key']}\">"
        f"<h3>{escape(chart['title'])}</h3><div class=legend></div>"
        f"<svg tabindex=0 role=application aria-roledescription=chart "
        f"aria-label=\"{escape(chart['title'])} over time\"></svg>"
        f"<p class='dim small'>{escape(chart['note'])}</p></figure>"
        for chart in data["charts"]
    )
    nothing = escape(", ".join(data["empty"]))
    empty = f"<p class='dim small'>Nothing to show: {nothing}.</p>" if nothing else ""
    thin = (
        f" Of {data['rows']:,} samples a line shows means, and behind it everything from lowest to highest."
        if data["rows"] > len(data["time"])
        else ""
    )
    return (
        "<h2>Over time</h2><noscript><p><b>The charts need JavaScript; words and tables do not.</b></p></noscript>"
        f"<div class=bar role=toolbar aria-label='window of time'>{bar}<output id=window></output></div>"
        "<p class='dim small'>Drag over a chart to zoom, double-click for the whole run. Keys: arrows move the cursor, "
        f"with Shift the window; + and − zoom, 0 shows everything. Names hide and show.{thin}</p>"
        f"<div class=charts>{figures}</div>{empty}<p id=said class=unseen aria-live=polite></p>"
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]], marked: str | None = None) -> str:
    """An HTML table; cells are escaped, the first column is left-aligned, the row that begins with `marked` red."""

    def cells(row: Sequence[str], tag: str) -> str:
        return "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in row)

    body = "".join(f"<tr{' class=victim' if row[0] == marked else ''}>{cells(row, 'td')}</tr>" for row in rows)
    return f"<div class=scroll><table><tr>{cells(head, 'th')}</tr>{body}</table></div>"


def together(histograms: Sequence[Latency]) -> Latency:
    """The histogram of several."""
    counts = np.add.reduce([h.counts for h in histograms], dtype=np.uint64)
    return Latency(np.asarray(counts), histograms[0].lower_ns, sum(h.total_ns for h in histograms))


def _latency(result: Result) -> str:
    rows: list[tuple[str, str, Latency]] = []
    for kind, words in LATENCY_WORDS.items():
        every = [(name, task.latency[kind]) for name, task in result.tasks.items() if task.latency[kind].count]
        if len(every) > 1:
            rows.append(("all tasks", words, together([h for _, h in every])))
        rows += [(name, words, h) for name, h in every]
    if not rows:
        return ""
    low = min(max(h.percentile(50), 1) for _, _, h in rows)
    high = max(h.percentile(99.9) for _, _, h in rows)
    body = "".join(
        f"<tr><td>{escape(words)}</td><td class=text>{escape(name)}</td><td>{h.count:,}</td>"
        f"<td>{format_time(h.mean_ns)}</td>{''.join(f'<td>{format_time(h.percentile(p))}</td>' for p in PERCENTILES)}"
        f"<td>{_dots(h, low, high)}</td></tr>"
        for name, words, h in rows
    )
    head = "".join(f"<th>p{p:g}</th>" for p in PERCENTILES)
    return (
        "<h2>How long accesses took</h2><p class=dim>Accesses that did not find their page in memory, by what it took. "
        "The dots are p50, p90, p99 and p99.9 on a common logarithmic axis, "
        f"{format_time(low)} to {format_time(max(high, low))}.</p>"
        "<div class=scroll><table><tr><th>access</th><th class=text>task</th><th>count</th><th>mean</th>"
        f"{head}<th></th></tr>"
        f"{body}</table></div>"
    )


def _dots(h: Latency, low: int, high: int) -> str:
    span = math.log(high / low) if high > low else 1.0
    at = [4 + 92 * max(math.log(max(h.percentile(p), low) / low), 0) / span for p in PERCENTILES]
    dots = "".join(f"<circle cx='{x:.1f}%' cy=9 r=4 opacity={1 - 0.2 * i:.1f} />" for i, x in enumerate(at))
    return f"<svg class=dots aria-hidden=true><line x1='{at[0]:.1f}%' x2='{at[-1]:.1f}%' y1=9 y2=9 />{dots}</svg>"


def _stalls(result: Result) -> str:
    if not result.tasks:
        return ""
    used = [cause for cause in STALL_WORDS if any(task.stalls.get(cause) for task in result.tasks.values())]
    words = {"cpu_ns": "running", **{cause: STALL_WORDS[cause] for cause in used}}
    key = "".join(f"<span><i style=\"background:{STALL_COLOURS[c]}\"></i>{words[c]}</span>" for c in words)
    bars, rows = [], []
    for task in result.tasks.values():
        life = max((task.end_ns or result.time_ns) - task.start_ns, 0)
        times = {"cpu_ns": task.cpu_ns, **{cause: task.stalls.get(cause, 0) for cause in used}}
        whole = max(life, sum(times.values()), 1)
        parts = "".join(
            f"<i style=\"width:{100 * ns / whole:.2f}%;background:{STALL_COLOURS[c]}\" "
            f"title=\"{words[c]}: {format_time(ns)}\"></i>"
            for c, ns in times.items()
            if ns
        )
        bars.append(f"<span>{escape(task.name)}</span><div class=stack>{parts}</div>")
        rows.append([
            task.name, task.state, format_time(life), *map(format_time, times.values()), f"{task.min_flt:,}",
            f"{task.maj_flt:,}", format_pages(task.hiwater_rss),
        ])  # fmt: skip
    head = ["task", "state", "from start to end", *words.values(), "minor faults", "major faults", "peak RSS"]
    return (
        f"<h2>Where the time of the tasks went</h2><div class=key>{key}</div><div class=stalls>{''.join(bars)}</div>"
        "<p class='dim small'>A bar is the time from start to end of a task; what is empty it slept.</p>"
        f"{table(head, rows)}"
    )


def _kills(result: Result) -> str:
    return "".join(map(_kill, result.oom_kills))


def _kill(kill: OomKill) -> str:
    title = f"{kill.task} was killed" if kill.task else "The kernel panicked"
    asked = f"{kill.allocating} had asked for memory. " if kill.allocating else ""
    reason = f"{kill.by}: {kill.reason}, {kill.signal}. " if kill.reason else f"Chosen by: {kill.by}. "
    ordered = sorted(kill.scores.items(), key=lambda item: -item[1])
    rows = [
        [name, f"{score:,.0f}" if math.isfinite(score) else "not a candidate"] for name, score in ordered
    ]
    freed = f"That gave back {format_pages(kill.freed_pages)} of memory and {format_pages(kill.freed_swap)} of swap."
    return (
        f"<h2>{escape(title)} at {format_time(kill.time_ns)}</h2>"
        f"<p>{escape(asked + reason)}{freed if kill.task else ''}</p>"
        f"{table(['task', 'score'], rows, kill.task)}"
        f"<details><summary>Report</summary><pre>{escape(kill.report)}</pre></details>"
    )


def _machine(result: Result) -> str:
    zones = table(
        ["zone", "managed", "free at the end", "min", "low", "high", "pages from here", "meant for elsewhere"],
        [
            [
                f"node {z['node']} {ZONE_NAMES[z['idx']]}",
                *(format_pages(z[k]) for k in ("managed", "free", "min", "low", "high")),
                f"{z['stat']['numa_hit']:,}", f"{z['stat']['numa_miss']:,}",
            ]
            for z in result.zones
        ],
    )  # fmt: skip
    names = [f"swap {i}" for i in range(len(result.devices))]
    for area in result.swap["areas"]:
        if 0 <= area["device"] < len(names):
            names[area["device"]] = f"swap, priority {area['priority']}"
    areas = len(result.provenance.get("scenario", {}).get("machine", {}).get("swap", result.swap["areas"]))
    if areas < len(names):
        names[areas] = "disk of files"
        names[areas + 1 :] = [f"backing device {i}" for i in range(len(names) - areas - 1)]
    devices = table(
        ["device", "reads", "read", "writes", "written", "busy"],
        [
            [name, f"{d['reads']:,}", format_pages(d["read_pages"]), f"{d['writes']:,}", format_pages(d["write_pages"]),
             f"{100 * d['busy_ns'] / result.time_ns:.1f} %" if result.time_ns else "-"]
            for name, d in zip(names, result.devices, strict=True)
        ],
    )  # fmt: skip
    return f"<h2>Machine</h2>{_nodes(result)}{zones}<h3>Devices</h3>{devices}"


def _nodes(result: Result) -> str:
    """Where accesses went, on a machine with several NUMA nodes."""
    if len({zone["node"] for zone in result.zones}) < 2:
        return ""
    rows = [
        [task.name, f"{task.local:,}", f"{task.remote:,}",
         f"{100 * task.remote / (task.local + task.remote):.1f} %" if task.local + task.remote else "-"]
        for task in result.tasks.values()
    ]  # fmt: skip
    nodes = [
        [
            f"node {node['node']}", f"{node['cpus']}",
            *(_kib(node["meminfo"][k]) for k in ("MemTotal", "MemFree", "AnonPages", "FilePages")),
            *(f"{node['numastat'][k]:,}" for k in ("numa_hit", "numa_miss", "numa_foreign")),
        ]
        for node in result.nodes
    ]  # fmt: skip
    return (
        f"<h3>NUMA</h3>{table(['task', 'hits on its own node', 'on others', 'share of others'], rows)}"
        + table(["node", "CPUs", "memory", "free", "anonymous", "page cache", "hit", "miss", "foreign"], nodes)
    )


def _kib(kib: int) -> str:
    return format_pages(kib / 4)


def _counters(result: Result) -> str:
    rows = "".join(
        f"<div><span>{escape(name)}</span><span>{value:,}</span></div>" for name, value in result.vmstat.items()
    )
    scenario = escape(json.dumps(result.provenance, indent=1, default=str))
    return (
        "<h2>Everything</h2><details><summary>/proc/vmstat at the end</summary>"
        f"<p><label>Only names with <input id=filter></label></p><div class=columns id=counters>{rows}</div></details>"
        f"<details><summary>Scenario and versions</summary><pre>{scenario}</pre></details>"
    )
