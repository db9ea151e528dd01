"""Popularity by Zipf's law: the page of rank k is used in proportion to 1 / k^s.

Drawn by the alias method: a table with a cell for each page, and one random number per access, whose integer
part is the cell and whose fraction chooses between the page of the cell and its alias.  The cost of a draw is
one look into the table, whatever the exponent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from pymem.workloads._draw import draw_alias
from pymem.workloads.base import RandomPattern, number

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pymem.workloads.base import Sampler

HIGH = np.uint64(32)


def alias_table(weights: NDArray[np.float64]) -> NDArray[np.uint64]:
    """The cells for drawing an index in proportion to its weight.

    Parameters
    ----------
    weights : array of float64
        Positive.

    Returns
    -------
    array of uint64
        High half: the share, of 2^32, that stays with the index of the cell; low half: who has the rest.

    Notes
    -----
    Scaled to mean 1, a weight below 1 leaves room in its cell and one above needs room elsewhere.  All cells
    with room are laid end to end in one line, and so is all that needs room; where the two lines meet says
    whose alias is who.  The last cell that an index fills may take more than the index has left over, which
    makes room in the cell of the index itself, and the next one fills it.  So everything is two cumulative
    sums and one search.
    """
    n = len(weights)
    scaled = weights * (n / weights.sum())
    small = np.flatnonzero(scaled < 1)
    large = np.flatnonzero(scaled >= 1)
    keep = np.ones(n)
    alias = np.arange(n, dtype=np.uint64)
    if len(small) and len(large):
        room = 1 - scaled[small]
        room_end = np.cumsum(room)
        room_start = room_end - room
        need_end = np.cumsum(scaled[large] - 1)
        keep[small] = scaled[small]
        filler = np.searchsorted(need_end, room_start, side="right")
        alias[small] = large[np.minimum(filler, len(large) - 1)]
        filled = np.searchsorted(room_start, need_end, side="left")
        taken = np.where(filled > 0, room_end[np.maximum(filled, 1) - 1], 0.0)
        keep[large] = np.clip(1 - (taken - need_end), 0, 1)
        keep[large[-1]] = 1  # what is left over here is rounding
        alias[large[:-1]] = large[1:]
    share = np.minimum(keep * (1 << 32), (1 << 32) - 1).astype(np.uint64)
    return share << HIGH | alias


@dataclass(frozen=True, kw_only=True)
class Zipf(RandomPattern):
    """Few pages are used often, most seldom.

    Parameters
    ----------
    size, pages, region, accesses, writes
        As in `pymem.workloads.base.Pattern`.
    s : float
        Exponent, 0 (all pages alike) to 8; caches see some 0.6 to 1.2.
    shuffle : bool
        The ranks of the pages are drawn at random; otherwise the first page is the most used one.
    """

    kind: ClassVar[str] = "zipf"
    s: float = 0.9
    shuffle: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        number("zipf.s", self.s, 0, 8)

    def sampler(self, rng: np.random.Generator) -> Sampler:
        """See `Pattern.sampler`."""
        weights = np.arange(1, self.count + 1, dtype=np.float64) ** -float(self.s)
        if self.shuffle:
            rng.shuffle(weights)
        table = alias_table(weights)
        return lambda _, n: draw_alias(rng, table, n)
