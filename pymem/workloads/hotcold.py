"""A hot set that moves: programs that work on one thing for a while, then on the next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from pymem.errors import ScenarioError
from pymem.units import parse_share
from pymem.workloads.base import MAX_ACCESSES, RandomPattern, integer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pymem.workloads.base import Sampler


@dataclass(frozen=True, kw_only=True)
class HotCold(RandomPattern):
    """Most accesses go to a window of hot pages, the rest to the other pages.

    Parameters
    ----------
    size, pages, region, accesses, writes
        As in `pymem.workloads.base.Pattern`.
    hot : float or str
        Size of the window as a share of the region.
    hot_accesses : float or str
        Share of the accesses that go to the window.
    move_every : int, optional
        The window moves on after so many accesses; default never.
    move_by : float or str, optional
        How far, as a share of the region; default its own size, so that none of its pages stays hot.
    """

    kind: ClassVar[str] = "hotcold"
    hot: float | str = 0.1
    hot_accesses: float | str = 0.9
    move_every: int | None = None
    move_by: float | str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        parse_share(self.hot_accesses, "hotcold.hot_accesses")
        if not 1 <= self.hot_pages < self.count:
            raise ScenarioError(
                f"hotcold.hot: {self.hot!r} of {self.count} pages is {self.hot_pages}; accepted is at least "
                "one hot and one cold page"
            )
        if self.move_every is not None:
            integer("hotcold.move_every", self.move_every, 1, MAX_ACCESSES)
        if self.move_by is not None:
            if self.move_every is None:
                raise ScenarioError("hotcold.move_by: given without move_every; accepted are both or neither")
            parse_share(self.move_by, "hotcold.move_by")

    @property
    def hot_pages(self) -> int:
        """Pages of the window."""
        return round(parse_share(self.hot, "hotcold.hot") * self.count)

    def sampler(self, rng: np.random.Generator) -> Sampler:
        """See `Pattern.sampler`."""
        count, hot = self.count, self.hot_pages
        share = np.float32(parse_share(self.hot_accesses))
        step = hot if self.move_by is None else round(parse_share(self.move_by) * count)
        every = self.move_every

        def sample(first: int, n: int) -> NDArray[np.uint32]:
            # Distance from the start of the window: hot ones come first.
            pages = rng.integers(0, hot, n, np.int64)
            cold = np.flatnonzero(rng.random(n, np.float32) >= share)
            pages[cold] = rng.integers(hot, count, len(cold), np.int64)
            if every is not None:
                moves = np.arange(first % every, first % every + n, dtype=np.int64) // every
                pages += (moves % count * step + first // every % count * step) % count
                pages %= count
            return pages.astype(np.uint32)

        return sample
