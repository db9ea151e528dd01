"""What a trace is like: footprint, working set, reuse, miss ratios, mix, sequentiality, skew.

One pass, in memory that grows with the pages of a task and not with its records.  A *reference* is a record of a load
or store, or a page of ``read()`` or ``write()``; an *access* counts repeats too, which hit in any memory.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ._reuse import ReuseDistances
from .references import References, references

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from .model import TaskInfo
    from .store import TraceFile

WINDOWS = 60
SIZES = 60  # points of the miss-ratio curve, at most
BANDS = 64  # rows of the heat map, at most


@dataclass(frozen=True)
class MissRatio:
    """One point of the curve: an LRU memory of `pages` pages has `misses` misses, `ratio` of all accesses."""

    pages: int
    misses: int
    ratio: float


@dataclass(frozen=True)
class Bucket:
    """References with a reuse distance from `low` to `high` pages."""

    low: int
    high: int
    references: int


@dataclass(frozen=True)
class Zipf:
    """How skewed references are: page of rank `r` gets a share proportional to r**-exponent.

    `exponent` is the maximum-likelihood one, `distance` the largest difference of the two cumulated shares
    (Kolmogorov and Smirnov): small where pages do follow such a law.
    """

    exponent: float
    distance: float


@dataclass(frozen=True)
class Analysis:
    """A task of a trace.

    Attributes
    ----------
    records, references, accesses : int
    loads, stores, reads, writes : int
        Accesses by kind.
    footprint : dict
        Different pages touched: ``all``, ``anon``, ``file``, ``written``.
    window : int
        Accesses per window of `working_set`.
    working_set : list of int
        Different pages touched in each window.
    cold : int
        First references.
    reuse : list of Bucket
        All others, by distance in powers of two.
    misses : list of MissRatio
    band : int
        Pages per row of `heat`.
    heat : list of list of int
        Accesses by place and time: a row for each `band` pages of the flat space, from its first page on, with a number
        for each window.
    sequential : float
        Share of the references to another page than before that go to the next page.
    exact_from : int
        The trace went through a filter that keeps the decisions of LRU memories of at least so many pages, so that
        distances and misses below are too small; 1 where there was none.
    zipf : Zipf or None
        None with fewer than two pages, or where all pages are referenced equally often.
    """

    task: str
    records: int
    references: int
    accesses: int
    loads: int
    stores: int
    reads: int
    writes: int
    footprint: dict[str, int]
    window: int
    working_set: list[int]
    cold: int
    reuse: list[Bucket]
    misses: list[MissRatio]
    band: int
    heat: list[list[int]]
    sequential: float
    exact_from: int
    zipf: Zipf | None

    def to_dict(self) -> dict[str, Any]:
        """All of it for JSON."""
        return asdict(self)


def analyze(
    trace: TraceFile, number: int, *, windows: int = WINDOWS, progress: Callable[[int], None] | None = None
) -> Analysis:
    """Analyse a task.

    Parameters
    ----------
    trace : TraceFile
    number : int
        Of the task.
    windows : int
        How many parts of equal numbers of accesses the working set is taken of.
    progress : callable, optional
        Gets the number of references looked at so far.

    Raises
    ------
    TraceError
        A damaged trace, or one of more than 2**32 - 1 pages.
    """
    task = trace.info.tasks[number]
    window = max(-(-task.accesses // windows), 1)
    survey = _Survey(task, window, -(-task.accesses // window), max(_filter(trace.info.provenance), 1))
    for found in references(trace, number):
        survey.take(found)
        if progress is not None:
            progress(survey.references)
    return survey.result()


def _filter(about: Any) -> int:
    """The largest window of a filter that a provenance tells of, at whatever step; 0 for none."""
    if isinstance(about, dict):
        own = about["window_pages"] if isinstance(about.get("window_pages"), int) else 0
        return max([own, *map(_filter, about.values())])
    return max(map(_filter, about), default=0) if isinstance(about, list) else 0


class _Survey:
    """Everything that is counted on the way."""

    def __init__(self, task: TaskInfo, window: int, windows: int, exact_from: int) -> None:
        self.task, self.window, self.exact_from = task, window, exact_from
        self.distances = ReuseDistances(task.pages)
        self.counts = np.zeros(task.pages, np.int64)
        self.written = np.zeros(task.pages, np.bool_)
        self.stamp = np.zeros(task.pages, np.uint32)  # last window that touched a page, from 1
        self.working_set: list[int] = []
        self.band = max(-(-task.pages // BANDS), 1)
        self.heat = np.zeros((-(-task.pages // self.band), windows), np.int64)
        self.kinds = np.zeros(4, np.int64)
        self.references = self.accesses = self.moves = self.steps = 0
        self.last: int | None = None

    def take(self, found: References) -> None:
        """Count the next references."""
        page = found.page
        self.distances.feed(np.ascontiguousarray(page))
        pages, counts = np.unique(page, return_counts=True)
        self.counts[pages] += counts
        self.written[page[found.write]] = True
        self.kinds += np.bincount(2 * found.call + found.write, found.repeats, 4).astype(np.int64)
        step = np.diff(page, prepend=page[0] if self.last is None else self.last)
        self.moves += int((step != 0).sum())
        self.steps += int((step == 1).sum())
        self.last = int(page[-1])
        # A reference is in the window of its first access.
        before = self.accesses + np.cumsum(found.repeats) - found.repeats
        window = before // self.window
        cell = page // self.band * self.heat.shape[1] + window
        self.heat += np.bincount(cell, found.repeats, self.heat.size).astype(np.int64).reshape(self.heat.shape)
        for place in np.unique(window).tolist():
            fresh = np.unique(page[window == place])
            fresh = fresh[self.stamp[fresh] != place + 1]
            self.stamp[fresh] = place + 1
            self.working_set += [0] * (place + 1 - len(self.working_set))
            self.working_set[place] += len(fresh)
        self.references += len(page)
        self.accesses += int(found.repeats.sum())

    def result(self) -> Analysis:
        """Sum up."""
        task = self.task
        touched, base = self.counts > 0, 0
        footprint = {"all": int(touched.sum()), "anon": 0, "file": 0, "written": int(self.written.sum())}
        for region in task.regions:
            footprint[region.kind] += int(touched[base : base + region.pages].sum())
            base += region.pages
        histogram = self.distances.histogram()
        loads, stores, reads, writes = self.kinds.tolist()
        return Analysis(
            task.name, task.records, self.references, self.accesses, loads, stores, reads, writes, footprint,
            self.window, self.working_set, int(self.distances.cold), buckets(histogram),
            curve(histogram, int(self.distances.cold), self.accesses), self.band, self.heat.tolist(),
            self.steps / self.moves if self.moves else 0.0, self.exact_from, zipf(self.counts[touched]),
        )  # fmt: skip


def shades(counts: NDArray[np.int64], number: int) -> NDArray[np.int64]:
    """Shades of a heat map, 0 for nothing and 1 to `number` by the logarithm.

    The darkest are counts near the largest; four decades below and less are the lightest.
    """
    most = int(counts.max(initial=0))
    if not most:
        return np.zeros(counts.shape, np.int64)
    decades = np.log10(np.maximum(counts, 1) / most)
    found = np.ceil(number * (1 + decades / 4)).astype(np.int64)
    return np.where(counts > 0, np.clip(found, 1, number), 0)


def buckets(histogram: NDArray[np.uint64]) -> list[Bucket]:
    """Sums over distances 0, 1, 2 to 3, 4 to 7, ... up to the last that is not empty."""
    if not histogram.any():
        return []
    edges, top = [0, 1], int(np.flatnonzero(histogram)[-1])
    while edges[-1] <= top:
        edges.append(2 * edges[-1])
    return [
        Bucket(low, high - 1, int(histogram[low:high].sum()))
        for low, high in itertools.pairwise(edges)
        if low <= top
    ]


def curve(histogram: NDArray[np.uint64], cold: int, accesses: int) -> list[MissRatio]:
    """Misses of LRU memories of 1 page to all pages, exact at sizes that grow geometrically.

    A reference hits if fewer other pages than the memory holds were referenced since.
    """
    pages = len(histogram)
    if not accesses:
        return []
    beyond = np.concatenate([np.cumsum(histogram[::-1])[::-1], [0]]).astype(np.int64)
    sizes = np.unique(np.round(np.geomspace(1, pages, SIZES)).astype(np.int64))
    return [MissRatio(size, misses := cold + int(beyond[size]), misses / accesses) for size in sizes.tolist()]


def zipf(counts: NDArray[np.int64]) -> Zipf | None:
    """Fit Zipf's law to how often each page was referenced (see `Zipf`)."""
    counts = np.sort(counts)[::-1].astype(np.float64)
    if len(counts) < 2 or counts[0] == counts[-1]:
        return None
    logs = np.log(np.arange(1, len(counts) + 1))
    shares = counts / counts.sum()
    wanted = float((shares * logs).sum())

    def law(exponent: float) -> NDArray[np.float64]:
        weights = np.exp(-exponent * logs)
        result: NDArray[np.float64] = weights / weights.sum()
        return result

    # The likelihood is largest where the mean logarithm of the rank is that of the data; it falls with the exponent.
    low, high = 0.0, 1.0
    while float((law(high) * logs).sum()) > wanted and high < 64:
        high *= 2
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (middle, high) if float((law(middle) * logs).sum()) > wanted else (low, middle)
    distance = float(np.abs(np.cumsum(law(low)) - np.cumsum(shares)).max())
    return Zipf(round(low, 4), round(distance, 4)) if math.isfinite(distance) else None
