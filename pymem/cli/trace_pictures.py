"""What `pymem trace` shows of an analysis and of records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

    from pymem.traces.analysis import Analysis
    from pymem.traces.model import TraceInfo

BAR, ROWS = 40, 8
_EIGHTHS = " ▁▂▃▄▅▆▇█"
_SHADES = " ░▒▓█"
HEAT_ROWS = 16


def about(info: TraceInfo) -> list[RenderableType]:
    """Facts of a trace and a table of its tasks."""
    from rich.table import Table
    from rich.text import Text

    from pymem.units import format_bytes

    head = Text.assemble(
        (info.path, "bold"),
        f": {info.records:,} records for {info.accesses:,} accesses, {len(info.tasks)} tasks, "
        f"{format_bytes(info.file_bytes)}, {info.compression}, {'with' if info.times else 'without'} times\n",
        (f"SHA-256 of the records {info.sha256}", "dim"),
    )
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("task")
    for title in ("records", "accesses", "regions", "pages", "anon", "file"):
        table.add_column(title, justify="right")
    for task in info.tasks:
        kinds = {kind: sum(r.pages for r in task.regions if r.kind == kind) for kind in ("anon", "file")}
        numbers = (task.records, task.accesses, len(task.regions), task.pages, kinds["anon"], kinds["file"])
        table.add_row(Text(task.name), *(f"{number:,}" for number in numbers))
    return [head, table, Text(f"provenance: {provenance(info.provenance)}", "dim")]


def provenance(value: dict[str, Any]) -> str:
    """Provenance in a line or two."""
    import json

    text = json.dumps(value)
    return text if len(text) <= 400 else text[:400] + " ... (all of it: --json)"


def regions(info: TraceInfo) -> Table:
    """All regions of all tasks."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("task", "kind", "pages", "first page", "address", "name"):
        table.add_column(title, justify="right" if title in ("pages", "first page", "address") else "left")
    for task in info.tasks:
        base = 0
        for region in task.regions:
            where = "" if region.start is None else f"{region.start:#x}"
            table.add_row(Text(task.name), region.kind, f"{region.pages}", f"{base}", where, Text(region.name))
            base += region.pages
    return table


def analysis(one: Analysis) -> list[RenderableType]:
    """Numbers and pictures of one task."""
    from rich.table import Table
    from rich.text import Text

    from pymem.units import format_bytes

    table = Table.grid(padding=(0, 2))
    accesses = max(one.accesses, 1)
    mix = ((one.loads, "loads"), (one.stores, "stores"), (one.reads, "read()"), (one.writes, "write()"))
    pages = one.footprint
    rows = {
        "accesses": f"{one.accesses:,} in {one.references:,} references",
        "mix": ", ".join(f"{count / accesses:.1%} {what}" for count, what in mix if count),
        "footprint": f"{pages['all']:,} pages ({format_bytes(pages['all'] * 4096)}): {pages['anon']:,} anonymous, "
        f"{pages['file']:,} of files; {pages['written']:,} written",
        "sequential": f"{one.sequential:.1%} of the steps go to the next page",
        "skew": "none: all pages are referenced equally often" if one.zipf is None
        else f"Zipf exponent {one.zipf.exponent:.2f} (largest difference of shares {one.zipf.distance:.2f})",
    }  # fmt: skip
    for name, text in rows.items():
        table.add_row(Text(name, "dim"), text)
    parts: list[RenderableType] = [Text(f"task {one.task}", "bold"), table]
    if one.working_set:
        parts += [
            Text(f"\nworking set: different pages per {one.window:,} accesses, up to {max(one.working_set):,}", "bold"),
            Text("\n".join(columns(one.working_set)), "cyan"),
        ]
    if one.working_set:
        parts += [Text("\nheat: accesses by place and time; each shade is ten times the one before", "bold"), heat(one)]
    if one.reuse:
        parts += [Text("\nreuse distance: other pages since the last reference", "bold"), reuse(one)]
    if one.misses:
        parts += [Text("\nmiss ratio of an LRU memory by its pages, sizes growing geometrically", "bold"), misses(one)]
        if one.exact_from > 1:
            note = "the trace was filtered when it was recorded: distances and misses are right from"
            parts.append(Text(f"{note} {one.exact_from} pages on", "dim"))
    return [*parts, Text()]


def heat(one: Analysis) -> Text:
    """A map of up to 16 bands of pages by windows."""
    import numpy as np
    from rich.text import Text

    from pymem.traces.analysis import shades

    counts = np.array(one.heat)
    step = -(-len(counts) // HEAT_ROWS)
    counts = np.add.reduceat(counts, np.arange(0, len(counts), step))
    labels = [f"page {first * step * one.band:,}" for first in range(len(counts))]
    width = max(map(len, labels))
    out = Text()
    for label, row in zip(labels, shades(counts, len(_SHADES) - 1).tolist(), strict=True):
        out.append(f"{label:>{width}} ", style="dim")
        out.append("".join(_SHADES[shade] for shade in row) + "\n", style="red")
    out.rstrip()
    return out


def reuse(one: Analysis) -> Text:
    """Bars of the references by reuse distance."""
    from rich.text import Text

    most = max(one.cold, *(bucket.references for bucket in one.reuse))
    rows = [(f"{b.low:,}" if b.low == b.high else f"{b.low:,} to {b.high:,}", b.references) for b in one.reuse]
    rows.append(("first reference", one.cold))
    width = max(len(label) for label, _ in rows)
    out = Text()
    for label, count in rows:
        out.append(f"{label:>{width}} ", style="dim")
        out.append(bar(count / most), style="yellow" if label == "first reference" else "green")
        out.append(f" {count / max(one.references, 1):.1%}\n" if count else "\n")
    out.rstrip()
    return out


def misses(one: Analysis) -> Text:
    """A picture of the curve, and its value at some sizes."""
    from rich.text import Text

    ratios = [point.ratio for point in one.misses]
    out = Text("\n".join(columns(ratios)), "magenta")
    picked = [one.misses[i * (len(ratios) - 1) // 5] for i in range(6)]
    shown = list(dict.fromkeys((point.pages, point.ratio) for point in picked))
    out.append("\n" + ", ".join(f"{pages:,}: {ratio:.3%}" for pages, ratio in shown), "default")
    return out


def bar(share: float) -> str:
    """A bar of up to 40 characters."""
    eighths = round(share * BAR * 8)
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


def columns(values: Sequence[float], rows: int = ROWS) -> list[str]:
    """Lines of a column chart from 0 to the largest value, one column for each value."""
    most = max(values) or 1
    heights = [round(value / most * rows * 8) for value in values]
    return ["".join(_EIGHTHS[min(max(h - 8 * row, 0), 8)] for h in heights) for row in reversed(range(rows))]
