"""From places to pages: where the pages of a foreign trace lie in the flat space of a task.

Which places a trace touches is known only when all of it is read (see `_places`).  Each layout is then told the places
and gives the regions and, for each place, its page in the flat space.

* `areas`: virtual pages.  Touched pages closer than 16 pages are one anonymous area, as memory of unknown origin is
  treated when a program is recorded.
* `extents`: pages of a device, which become pages of one file.  Their order stays; a hole longer than the largest
  readahead window becomes as long as that, so what was not sequential is not made so.
* `objects`: keys.  Objects lie in the order in which they first come, each as long as it ever gets.
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
    order = np.argsort(low)
    low, high = low[order], np.maximum.accumulate(high[order])
    first = np.concatenate([[True], low[1:] > high[:-1] + gap])[: len(low)]
    return low[first], high[np.concatenate([first[1:], [True]])[: len(low)]]


def areas(page: Pages) -> tuple[list[RegionInfo], Pages]:
    """Anonymous regions for the touched pages of one process, no more than vm.max_map_count.

    Areas beyond that share a region with their neighbours, which then has no address.
    """
    spans = Spans(GAP)
    spans.touch(page, 1)
    spans.settle()
    holes, gap = spans.low[1:] - spans.high[:-1], GAP
    while np.count_nonzero(holes > gap) >= MAX_MAP_COUNT:
        gap *= 2
    first = np.concatenate([[0], np.flatnonzero(holes > gap) + 1])
    step = spans.high - spans.low
    step[:-1] += np.where(holes > gap, 0, GAP)
    base = np.cumsum(step) - step
    alone = np.diff(first, append=len(step)) == 1
    pages = np.add.reduceat(step, first)
    regions = [
        RegionInfo("anon", f"anon@{low << 12:x}", low << 12 if known else None, count)
        for low, known, count in zip(spans.low[first].tolist(), alone.tolist(), pages.tolist(), strict=True)
    ]
    return regions, _inside(spans, base, page)


def extents(name: str, page: Pages, count: Pages) -> tuple[list[RegionInfo], Pages]:
    """One file for a device of which `count` pages from `page` were asked for."""
    spans = Spans(READAHEAD)
    spans.touch(page, count)
    spans.settle()
    step = spans.high - spans.low + READAHEAD
    base = np.cumsum(step) - step
    return [RegionInfo("file", name, None, int(step.sum()) - READAHEAD, shared=True)], _inside(spans, base, page)


def objects(name: str, count: Pages) -> tuple[list[RegionInfo], Pages]:
    """One file with all objects, of `count` pages each."""
    end = np.cumsum(count)
    return [RegionInfo("file", name, None, int(end[-1]), shared=True)], end - count


def _inside(spans: Spans, base: Pages, page: Pages) -> Pages:
    which = spans.which(page)
    return np.asarray(page - spans.low[which] + base[which])
