"""The time line as charts: which columns belong together, as levels and rates, short enough for a page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pymem.result import Result

#: Points a series has at most in a page; with more rows each stands for the lowest, highest and mean of several.
POINTS = 4000
PRESSURE = {
    "memory_some": "memory, some", "memory_full": "memory, all", "io_some": "I/O, some", "io_full": "I/O, all",
    "cpu_some": "CPU, some",
}  # fmt: skip
CUT = 4  # the chart of free memory ends at this many times the high watermark


@dataclass(frozen=True)
class Series:
    """One line: float64 values, one per row of the time line."""

    key: str
    label: str
    values: NDArray[np.float64]


@dataclass(frozen=True)
class Chart:
    """Series that share an axis.

    Attributes
    ----------
    unit : {"pages", "pages/s", "/s", "%"}
    stacked : bool
        The series are parts of a whole.
    levels : dict of float
        Horizontal lines, such as watermarks.
    top : float or None
        Where the axis ends at the latest.
    """

    key: str
    title: str
    unit: str
    series: list[Series]
    note: str = ""
    stacked: bool = False
    levels: dict[str, float] = field(default_factory=dict)
    top: float | None = None


class Columns:
    """The time line without rows of the same time, as levels and as rates."""

    def __init__(self, result: Result) -> None:
        columns = result.timeline.columns
        times = columns["time_ns"]
        self._keep = np.flatnonzero(np.append(np.diff(times) > 0, True)) if len(times) else np.zeros(0, int)
        self._columns = columns
        self.time_ns = times[self._keep]
        self._seconds = np.diff(self.time_ns) / 1e9

    def __len__(self) -> int:
        return len(self.time_ns)

    def level(self, *names: str) -> NDArray[np.float64]:
        """The sum of columns; those that the time line lacks count as 0."""
        out = np.zeros(len(self))
        for name in names:
            if name in self._columns:
                out += self._columns[name][self._keep]
        return out

    def rate(self, *names: str) -> NDArray[np.float64]:
        """Growth of the sum of counters per second, in the time up to each row; 0 in the first."""
        return self.per_second(self.level(*names))

    def per_second(self, totals: NDArray[np.float64]) -> NDArray[np.float64]:
        """Growth of any total per second, in the time up to each row; 0 in the first."""
        return np.append(np.zeros(min(len(self), 1)), np.diff(totals) / self._seconds)


def charts(result: Result) -> tuple[Columns, list[Chart], list[str]]:
    """The columns, the charts with anything in them, and the titles of those where nothing ever happened."""
    columns = Columns(result)
    shown, empty = [], []
    for chart in _all(result, columns) if len(columns) > 1 else ():
        series = [s for s in chart.series if s.values.any()]
        if series:
            shown.append(Chart(**{**vars(chart), "series": series}))
        else:
            empty.append(chart.title)
    return columns, shown, empty


def memory_kinds(columns: Columns, total: int) -> list[Series]:
    """All of memory by what it is used for, in pages; together `total` in every row."""
    zsmalloc = columns.level("nr_zspages")
    compressed = zsmalloc if zsmalloc.any() else columns.level("zswap_pool_pages")
    kinds = [
        Series("kernel", "kernel", columns.level("nr_kernel_pinned") + columns.level("nr_kernel_stack") / 4),
        Series("slab", "slab", columns.level("nr_slab_reclaimable", "nr_slab_unreclaimable")),
        Series("page_tables", "page tables", columns.level("nr_page_table_pages")),
        Series("compressed", "compressed", compressed),
        Series("unevictable", "unevictable", columns.level("nr_unevictable")),
        Series("active_anon", "anon, active", columns.level("nr_active_anon")),
        Series("inactive_anon", "anon, inactive", columns.level("nr_inactive_anon", "nr_isolated_anon")),
        Series("active_file", "file, active", columns.level("nr_active_file")),
        Series("inactive_file", "file, inactive", columns.level("nr_inactive_file", "nr_isolated_file")),
        Series("free", "free", columns.level("nr_free_pages")),
    ]
    known = sum((s.values for s in kinds), np.zeros(len(columns)))
    # What is in no counter: per-CPU lists, pages on their way to or from a device.
    return [*kinds[:-1], Series("other", "in transit", np.maximum(total - known, 0)), kinds[-1]]


def _all(result: Result, c: Columns) -> Iterator[Chart]:
    total = sum(zone["managed"] for zone in result.zones)
    marks = {name: float(sum(zone[name] for zone in result.zones)) for name in ("min", "low", "high")}
    yield Chart("memory", "Memory by kind", "pages", memory_kinds(c, total), stacked=True)
    yield Chart(
        "free", "Free memory and watermarks", "pages", [Series("nr_free_pages", "free", c.level("nr_free_pages"))],
        "All zones together; kswapd is woken and tasks reclaim zone by zone. Cut off at four times the high watermark.",
        levels=marks, top=CUT * marks["high"],
    )  # fmt: skip
    yield Chart(
        "reclaim", "Reclaim: pages scanned and freed", "pages/s",
        [
            Series("pgscan_kswapd", "scanned by kswapd", c.rate("pgscan_kswapd")),
            Series("pgsteal_kswapd", "freed by kswapd", c.rate("pgsteal_kswapd")),
            Series("pgscan_direct", "scanned by tasks", c.rate("pgscan_direct")),
            Series("pgsteal_direct", "freed by tasks", c.rate("pgsteal_direct")),
        ],
    )  # fmt: skip
    nodes = len({zone["node"] for zone in result.zones}) or 1
    yield Chart(
        "reclaiming", "Who was reclaiming", "%",
        [
            Series("kswapd_awake", "kswapd awake", 100 * c.level("kswapd_awake") / nodes),
            Series("direct_reclaim", "tasks in direct reclaim", 100 * c.per_second(_direct_ns(result, c) / 1e9)),
        ],
        "Direct reclaim: 100 % is one task all the time, or several in turn.",
    )  # fmt: skip
    yield Chart(
        "psi", "Pressure (PSI)", "%",
        [
            Series(f"psi_{kind}", label, 100 * c.per_second(c.level(f"psi_{kind}") / 1e9))
            for kind, label in PRESSURE.items()
        ],
        "Share of the time in which some task, or all of them, waited for memory, I/O or a CPU.",
    )  # fmt: skip
    yield Chart(
        "faults", "Page faults", "/s",
        [
            Series("minor", "minor", c.rate("pgfault") - c.rate("pgmajfault")),
            Series("pgmajfault", "major", c.rate("pgmajfault")),
        ],
        "Major faults waited for a device.",
    )  # fmt: skip
    yield Chart(
        "refaults", "Wanted back after reclaim", "pages/s",
        [
            Series("workingset_refault_anon", "anonymous", c.rate("workingset_refault_anon")),
            Series("workingset_refault_file", "page cache", c.rate("workingset_refault_file")),
        ],
    )  # fmt: skip
    yield from _devices(result, c)
    yield Chart(
        "numa", "Moved between NUMA nodes", "pages/s",
        [
            Series("numa_hint_faults", "hint faults", c.rate("numa_hint_faults")),
            Series("pgmigrate_success", "migrated", c.rate("pgmigrate_success")),
            Series("demoted", "demoted", c.rate("pgdemote_kswapd", "pgdemote_direct")),
            Series("pgpromote_success", "promoted", c.rate("pgpromote_success")),
        ],
    )  # fmt: skip


def _devices(result: Result, c: Columns) -> Iterator[Chart]:
    total = float(result.swap["total"])
    used = np.maximum(total - c.level("swap_free"), 0) if total else np.zeros(len(c))
    yield Chart(
        "swap", "Swap in use", "pages", [Series("swap_used", "in use", used)], levels={"all of it": total}, top=total
    )
    yield Chart(
        "swap_traffic", "Swap traffic", "pages/s",
        [
            Series("pswpin", "in", c.rate("pswpin")), Series("pswpout", "out", c.rate("pswpout")),
            Series("zswpin", "from zswap", c.rate("zswpin")), Series("zswpout", "into zswap", c.rate("zswpout")),
            Series("zswpwb", "zswap to disk", c.rate("zswpwb")),
        ],
    )  # fmt: skip
    yield Chart(
        "disk_traffic", "Device traffic, swap included", "pages/s",
        [Series("pgpgin", "read", c.rate("pgpgin") / 4), Series("pgpgout", "written", c.rate("pgpgout") / 4)],
    )
    dirty = [
        Series("nr_dirty", "dirty", c.level("nr_dirty")),
        Series("nr_writeback", "being written", c.level("nr_writeback")),
    ]
    if any(s.values.any() for s in dirty):
        dirty.append(Series("nr_dirty_threshold", "threshold", c.level("nr_dirty_threshold")))
    yield Chart("dirty", "Dirty page cache", "pages", dirty)


def _direct_ns(result: Result, columns: Columns) -> NDArray[np.float64]:
    """Time that threads have spent in direct reclaim up to each row of the time line, all together."""
    begin, end = result.events_of("direct_begin"), result.events_of("direct_end")
    when = np.concatenate([begin["time"], end["time"]])
    step = np.concatenate([np.ones(len(begin)), -np.ones(len(end))])
    order = np.argsort(when, kind="stable")
    when, inside = when[order], np.maximum(np.cumsum(step[order]), 0)
    if not len(when):
        return np.zeros(len(columns))
    spent = np.append(0, np.cumsum(inside[:-1] * np.diff(when)))
    # Between two events the total grows evenly; after the last one nobody reclaims that is known of.
    return np.asarray(np.interp(columns.time_ns, when, spent), np.float64)


def thinned(columns: Columns, values: NDArray[np.float64], points: int = POINTS) -> dict[str, list[float]]:
    """A series for a page: ``mean``; with more rows than `points` that of equal shares, beside ``lo`` and ``hi``."""
    if len(values) <= points:
        return {"mean": _short(values)}
    first = starts(len(values), points)
    sizes = np.diff(np.append(first, len(values)))
    return {
        "mean": _short(np.add.reduceat(values, first) / sizes),
        "lo": _short(np.minimum.reduceat(values, first)),
        "hi": _short(np.maximum.reduceat(values, first)),
    }


def starts(rows: int, points: int = POINTS) -> NDArray[np.int64]:
    """First row of each share, when so many rows become at most so many points."""
    return np.arange(min(rows, points), dtype=np.int64) * rows // min(rows, points) if rows else np.zeros(0, np.int64)


def _short(values: NDArray[np.float64]) -> list[float]:
    """As JSON wants them: whole numbers exactly, others with five digits."""
    return [int(v) if v == int(v) else float(f"{v:.5g}") for v in values.tolist()]


def page_data(result: Result, points: int = POINTS) -> dict[str, Any]:
    """What the script of the page draws: times in ns, charts with their series."""
    columns, shown, empty = charts(result)
    drawn = [
        {
            "key": chart.key, "title": chart.title, "unit": chart.unit, "note": chart.note, "stacked": chart.stacked,
            "levels": chart.levels, "top": chart.top,
            "series": [{"key": s.key, "label": s.label, **thinned(columns, s.values, points)} for s in chart.series],
        }
        for chart in shown
    ]  # fmt: skip
    return {
        "time": columns.time_ns[starts(len(columns), points)].tolist(), "end": result.time_ns, "rows": len(columns),
        "charts": drawn, "empty": empty,
    }  # fmt: skip
