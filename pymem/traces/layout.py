"""From places to pages: where the pages of a foreign trace lie in the flat space of a task.

Which places a trace touches is known only when all of it is read, so a layout is first told everything and then
numbers pages.  What it holds meanwhile grows with the places that are touched, not with the length of the trace.

* `Areas`: virtual pages.  Touched pages closer than 16 pages are one anonymous area, as memory of unknown origin is
  treated when a program is recorded.
* `Extents`: pages of a device, which become pages of one file.  Their order stays; a hole longer than the largest
  readahead window becomes as long as that, so what was not sequential is not made so.
* `Objects`: keys.  Objects lie in the order in which they first come, each as long as it ever gets.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .address_space import GAP
from .model import RegionInfo

#: Most areas of a process, the default of vm.max_map_count.
MAX_MAP_COUNT = 65530
#: Pages of the default readahead window, 128 KiB.
READAHEAD = 32

Pages = NDArray[np.int64]


class Spans:
    """Half-open spans of touched pages, sorted, joined where at most `gap` pages apart."""

    def __init__(self, gap: int) -> None:
        self.gap = gap
        self.low = np.empty(0, np.int64)
        self.high = np.empty(0, np.int64)
        self._new: list[tuple[Pages, Pages]] = []
        self._held = 0

    def touch(self, page: Pages, count: Pages | int) -> None:
        """Add the spans of `count` pages from `page`."""
        low, high = _joined(page, page + count, self.gap)
        self._new.append((low, high))
        self._held += len(low)
        if self._held > max(1 << 16, len(self.low)):  # so that joining stays a small share of the work
            self.settle()

    def settle(self) -> None:
        """Join everything held."""
        low = np.concatenate([self.low, *(low for low, _ in self._new)])
        high = np.concatenate([self.high, *(high for _, high in self._new)])
        self.low, self.high = _joined(low, high, self.gap)
        self._new, self._held = [], 0

    def which(self, page: Pages) -> Pages:
        """The span of each touched page."""
        return np.asarray(np.searchsorted(self.low, page, side="right") - 1, np.int64)


def _joined(low: Pages, high: Pages, gap: int) -> tuple[Pages, Pages]:
    order = np.argsort(low, kind="stable")
    low, high = low[order], np.maximum.accumulate(high[order])
    first = np.concatenate([[True], low[1:] > high[:-1] + gap])[: len(low)]
    return low[first], high[np.concatenate([first[1:], [True]])[: len(low)]]


class Areas:
    """Layout of one process."""

    def __init__(self) -> None:
        self._spans = Spans(GAP)
        self._base = np.empty(0, np.int64)

    def touch(self, page: Pages, count: Pages) -> None:
        """Note accesses; `count` is a number of repeats here."""
        self._spans.touch(page, 1)

    def regions(self) -> list[RegionInfo]:
        """Anonymous regions, no more than vm.max_map_count.

        Areas beyond that share a region with their neighbours, which then has no address.
        """
        spans = self._spans
        spans.settle()
        holes, gap = spans.low[1:] - spans.high[:-1], GAP
        while np.count_nonzero(holes > gap) >= MAX_MAP_COUNT:
            gap *= 2
        first = np.concatenate([[0], np.flatnonzero(holes > gap) + 1])
        step = spans.high - spans.low
        step[:-1] += np.where(holes > gap, 0, GAP)
        self._base = np.cumsum(step) - step
        alone = np.diff(first, append=len(step)) == 1
        pages = np.add.reduceat(step, first)
        return [
            RegionInfo("anon", f"anon@{low << 12:x}", low << 12 if known else None, count)
            for low, known, count in zip(spans.low[first].tolist(), alone.tolist(), pages.tolist(), strict=True)
        ]

    def dense(self, page: Pages) -> Pages:
        """Pages of the flat space."""
        which = self._spans.which(page)
        return np.asarray(page - self._spans.low[which] + self._base[which])


class Extents:
    """Layout of one device."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._spans = Spans(READAHEAD)
        self._base = np.empty(0, np.int64)

    def touch(self, page: Pages, count: Pages) -> None:
        """Note requests of `count` pages."""
        self._spans.touch(page, count)

    def regions(self) -> list[RegionInfo]:
        """One file."""
        spans = self._spans
        spans.settle()
        step = spans.high - spans.low + READAHEAD
        self._base = np.cumsum(step) - step
        return [RegionInfo("file", self.name, None, int(step.sum()) - READAHEAD, shared=True)]

    def dense(self, page: Pages) -> Pages:
        """Pages of the flat space."""
        which = self._spans.which(page)
        return np.asarray(page - self._spans.low[which] + self._base[which])


class Objects:
    """Layout of keys."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._keys = np.empty(0, np.uint64)  # sorted; for each its rank in order of appearance and its pages
        self._rank = np.empty(0, np.int64)
        self._pages = np.empty(0, np.int64)
        self._new: list[tuple[NDArray[np.uint64], Pages, Pages]] = []
        self._seen = self._held = 0
        self._base = np.empty(0, np.int64)

    def touch(self, page: Pages, count: Pages) -> None:
        """Note requests to keys (64 bits, in `page`) whose objects have `count` pages."""
        key = page.view(np.uint64)
        self._new.append(_first_and_most(key, self._seen + np.arange(len(key)), count))
        self._seen += len(key)
        self._held += len(self._new[-1][0])
        if self._held > max(1 << 16, len(self._keys)):
            self._settle()

    def _settle(self) -> None:
        parts = [(self._keys, self._rank, self._pages), *self._new]
        key, rank, pages = (np.concatenate([part[i] for part in parts]) for i in range(3))
        self._keys, self._rank, self._pages = _first_and_most(key, rank, pages)
        self._new, self._held = [], 0

    def regions(self) -> list[RegionInfo]:
        """One file with all objects."""
        self._settle()
        order = np.argsort(self._rank)
        length = self._pages[order]
        self._base = np.empty(len(order), np.int64)
        self._base[order] = np.cumsum(length) - length
        return [RegionInfo("file", self.name, None, int(length.sum()), shared=True)]

    def dense(self, page: Pages) -> Pages:
        """First page of each key's object."""
        return np.asarray(self._base[np.searchsorted(self._keys, page.view(np.uint64))])


def _first_and_most(
    key: NDArray[np.uint64], rank: Pages, pages: Pages
) -> tuple[NDArray[np.uint64], Pages, Pages]:
    """Each key once, with its lowest rank and its most pages."""
    keys, where = np.unique(key, return_inverse=True)
    first = np.full(len(keys), np.iinfo(np.int64).max)
    most = np.zeros(len(keys), np.int64)
    np.minimum.at(first, where, rank)
    np.maximum.at(most, where, pages)
    return keys, first, most
