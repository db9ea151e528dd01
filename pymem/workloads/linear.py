"""Walks over memory in a fixed order: one page after another, or in strides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from pymem.errors import ScenarioError
from pymem.workloads.base import Pattern, integer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pymem.workloads.base import Sampler

MAX_PASSES = 1 << 40


@dataclass(frozen=True, kw_only=True)
class _Walk(Pattern):
    """A `Pattern` whose length may be given as a number of passes over the region; default one."""

    passes: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.passes is not None:
            integer(f"{self.kind}.passes", self.passes, 1, MAX_PASSES)
            if self.accesses is not None:
                raise ScenarioError(f"{self.kind}: accesses and passes given; accepted is one of them")

    @property
    def total(self) -> int:
        """Accesses in all."""
        return self.accesses if self.accesses is not None else (self.passes or 1) * self.count


@dataclass(frozen=True, kw_only=True)
class Sequential(_Walk):
    """Page after page, again from the start after the last one.

    Parameters
    ----------
    size, pages, region, accesses, writes
        As in `pymem.workloads.base.Pattern`.
    passes : int
        Instead of `accesses`: times over the whole region; default 1.
    backward : bool
        From the last page to the first.
    """

    kind: ClassVar[str] = "sequential"
    backward: bool = False

    def sampler(self, rng: np.random.Generator) -> Sampler:
        """See `Pattern.sampler`."""
        count, backward = self.count, bool(self.backward)

        def sample(first: int, n: int) -> NDArray[np.uint32]:
            at = first % count
            pages = np.arange(at, at + n, dtype=np.int64)
            if at + n > count:
                pages %= count
            return (count - 1 - pages if backward else pages).astype(np.uint32)

        return sample


@dataclass(frozen=True, kw_only=True)
class Strided(_Walk):
    """Every `stride`-th page, then again from the second page on, and so on until each had its turn.

    This is how a matrix stored by rows is walked through by columns.

    Parameters
    ----------
    size, pages, region, accesses, passes, writes
        As in `Sequential`.
    stride : int
        Pages; at most the pages of the region.
    """

    kind: ClassVar[str] = "strided"
    stride: int

    def __post_init__(self) -> None:
        super().__post_init__()
        integer("strided.stride", self.stride, 1, self.count)

    def sampler(self, rng: np.random.Generator) -> Sampler:
        """See `Pattern.sampler`."""
        count, stride = self.count, self.stride
        # The first `longer` columns have one row more than the others.
        rows, longer = divmod(count, stride)
        border = longer * (rows + 1)

        def sample(first: int, n: int) -> NDArray[np.uint32]:
            at = first % count
            place = np.arange(at, at + n, dtype=np.int64)
            place %= count
            column, row = np.divmod(place, rows + 1)
            late = place >= border
            late_column, late_row = np.divmod(place[late] - border, rows)
            column[late] = longer + late_column
            row[late] = late_row
            return (row * stride + column).astype(np.uint32)

        return sample
