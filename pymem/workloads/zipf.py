"""Popularity by Zipf's law: the page of rank k is used in proportion to 1 / k^s.

Drawn by the alias method: a table with a cell for each page, and one random number per access, whose integer
part is the cell and whose fraction chooses between the page of the cell and its alias.  The cost of a draw is
one look into the table, whatever the exponent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from pymem.workloads._draw import alias_cells, draw_alias
from pymem.workloads.base import RandomPattern, number

if TYPE_CHECKING:
    from pymem.workloads.base import Sampler


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
        table = alias_cells(weights * (self.count / weights.sum()))
        return lambda _, n: draw_alias(rng, table, n)
