"""`pymem explain`: page replacement step by step, by a policy of the textbooks or by Linux."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pymem.teaching import Explanation, LinuxExplanation, Reference

_STEPS = 1000


def command(
    trace: Annotated[
        str | None,
        typer.Argument(help="A trace in any known format, builtin:NAME, a string such as '7 0 1 2', or - for stdin."),
    ] = None,
    string: Annotated[str | None, typer.Option("--string", help="Pages, ':w' for a write: '7 0 1 2 0:w 3'.")] = None,
    frames: Annotated[int | None, typer.Option(help="Page frames; default 3, or 16 with --linux.")] = None,
    policy: Annotated[
        str, typer.Option(help="fifo, lru, opt, clock, second-chance, lfu, mru, 2q, sieve or random.")
    ] = "lru",
    linux: Annotated[bool, typer.Option("--linux", help="What Linux does, on a machine of so few pages.")] = False,
    pause: Annotated[
        str, typer.Option(help="With --linux: time between accesses; 0: the program is ahead of kswapd.")
    ] = "1ms",
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="With --linux: a tunable, such as swappiness=10; may be repeated.")
    ] = None,
    kernel: Annotated[str, typer.Option(help="With --linux: 6.12 or 6.1.")] = "6.12",
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="Explain so many accesses of the trace.")] = _STEPS,
    task: Annotated[str | None, typer.Option(help="Of a trace of several tasks.")] = None,
    form: Annotated[str | None, typer.Option("--format", help="Format of the trace; default: by its content.")] = None,
    seed: Annotated[int, typer.Option(help="Of the policy random.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Explain page replacement access by access: hit or fault, frames, victim and why."""
    from pymem.teaching import explain, explain_linux

    references = _references(trace, string, limit, task, form)
    if linux:
        vm = _settings(setting or [])
        told = explain_linux(
            references, frames=16 if frames is None else frames, pause=pause, vm=vm, kernel=kernel
        )  # fmt: skip
        _show(told, as_json, _linux)
        return
    _show(explain(references, frames=3 if frames is None else frames, policy=policy, seed=seed), as_json, _textbook)


def _references(
    trace: str | None, string: str | None, limit: int, task: str | None, form: str | None
) -> list[Reference]:
    from pymem.errors import TraceError
    from pymem.teaching.references import parse_references, read_references

    if (trace is None) == (string is None):
        raise TraceError("what to explain: accepted is either a trace or --string '7 0 1 2 0 3'")
    if string is not None:
        return parse_references(string, "--string", limit)
    assert trace is not None
    if trace == "-":
        return parse_references(sys.stdin.read(), "standard input", limit)
    if not trace.startswith("builtin:") and not Path(trace).exists() and len(trace.replace(",", " ").split()) > 1:
        return parse_references(trace, "the string", limit)
    return read_references(trace, limit, task, form)


def _settings(texts: list[str]) -> dict[str, str]:
    from pymem.errors import TunableError

    out = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise TunableError(f"--set {text}: not understood; accepted is NAME=VALUE, such as swappiness=10")
        out[name.strip()] = value.strip()
    return out


def _show(told: Any, as_json: bool, render: Any) -> None:
    if as_json:
        typer.echo(json.dumps(told.to_dict(), indent=1))
        return
    if sys.stdout.isatty():
        from rich.console import Console

        console = Console(highlight=False)
        for part in render(told, True):
            console.print(part)
        return
    for part in render(told, False):
        typer.echo(part)


def _table(rows: list[list[str]], heads: list[str], pretty: bool, right: int = 1) -> Any:
    """Rows as a rich table, or as lines of text with the columns aligned; the first `right` columns are numbers."""
    if pretty:
        from rich.table import Table
        from rich.text import Text

        table = Table(*heads, box=None, pad_edge=False, header_style="bold")
        for row in rows:
            style = "red" if "fault" in row else ""
            table.add_row(*(Text(cell, style=style) for cell in row))
        return table
    widths = [max(len(row[i]) for row in [heads, *rows]) for i in range(len(heads))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i < right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in [heads, *rows]
    )


def _textbook(told: Explanation, pretty: bool) -> list[Any]:
    heads = ["step", "page", "", *(f"frame {i + 1}" for i in range(told.frames)), "victim", "why", "state"]
    if told.frames > 12:  # they would not fit beside each other
        heads = ["step", "page", "", "victim", "why", "state"]
    rows = []
    for step in told.steps:
        row = [str(step.number), f"{step.page}{':w' if step.write else ''}", "hit" if step.hit else "fault"]
        if told.frames <= 12:
            row += ["-" if page is None else str(page) for page in step.frames]
        victim = "" if step.victim is None else f"{step.victim}{' (written back)' if step.dirty else ''}"
        rows.append([*row, victim, step.why, step.state])
    accesses = len(told.steps)
    lines = [
        "",
        f"{told.policy}, {told.frames} frames: {told.meaning}",
        f"{accesses} accesses, {told.faults} faults, {told.hits} hits ({told.hits / accesses:.1%})"
        + (f", {told.writebacks} victims written back" if any(step.write for step in told.steps) else ""),
    ]
    if told.faults_by_frames:
        lines.append("faults by frames: " + ", ".join(f"{n}: {f}" for n, f in told.faults_by_frames.items()))
    for fewer, more in told.anomalies:
        by = told.faults_by_frames
        lines.append(f"Belady's anomaly: {more} frames have {by[more]} faults, {fewer} frames only {by[fewer]}")
    return [_table(rows, heads, pretty), "\n".join(lines)]


def _linux(told: LinuxExplanation, pretty: bool) -> list[Any]:
    from pymem.teaching.changes import LISTS
    from pymem.teaching.linux import MARKS

    low, wake, high = told.watermarks
    out: list[Any] = [
        f"Linux with {told.frames} frames: room for so many pages beside a free memory at the high watermark.\n"
        f"Watermarks in pages: min {low}, low {wake}, high {high}.  "
        "Lists from the newest page (head) to the oldest (tail).\n"
        "Marks: " + "; ".join(f"{mark} {meaning}" for mark, meaning in MARKS.items()),
    ]  # fmt: skip
    for step in told.steps:
        where = "  ".join(f"{name}: {' '.join(step.lists[name])}" for name in LISTS if step.lists[name])
        gone = f"  evicted: {' '.join(step.swap)}" if step.swap else ""
        verb = "store" if step.write else "load"
        out.append(f"\n{step.number}. {verb} {step.page}: {step.kind}")
        out += [f"     {line}" for line in step.events]
        out.append(f"     => {where}{gone}  free: {step.free}" + (f" +{step.percpu} per CPU" if step.percpu else ""))
    faults = sum(step.kind != "hit" for step in told.steps)
    major = sum(step.kind == "major fault" for step in told.steps)
    hits = len(told.steps) - faults
    out.append(f"\n{len(told.steps)} accesses, {hits} hits, {faults - major} minor and {major} major faults")
    out.append("/proc/vmstat: " + ", ".join(f"{name} {count}" for name, count in told.counters.items()))
    if pretty:
        from rich.text import Text

        return [Text(part, style="bold red" if part.endswith("fault") else "") for part in out]
    return out
