"""How sure a difference is: exact sign-flip tests and intervals of paired replicates, with numpy alone.

Replicates are paired: the n-th run of either side has the same random numbers, so what luck gives to both cancels.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

#: Up to so many pairs all assignments of signs are counted; beyond, so many are drawn.
EXACT_PAIRS, DRAWS = 16, 1 << 16
#: Two-sided 95 % points of Student's t by degrees of freedom from 1 on (any table of the distribution).
T95 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
    2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
METHOD = "paired sign-flip permutation test, two-sided; interval: Student's t of the paired differences"


@dataclass(frozen=True)
class Difference:
    """`after` minus `before` over paired replicates.

    Attributes
    ----------
    before, after : float
        Means.
    low, high : float
        95 % interval of the mean difference; NaN with fewer than two pairs.
    p : float
        How often chance alone would give a mean difference as large; NaN with fewer than two pairs.
    pairs : int
    """

    before: float
    after: float
    low: float
    high: float
    p: float
    pairs: int

    @property
    def change(self) -> float:
        """Difference of the means."""
        return self.after - self.before

    @property
    def relative(self) -> float | None:
        """The change as a share of `before`; None where that is 0."""
        return self.change / abs(self.before) if self.before else None


def t95(freedom: int) -> float:
    """The two-sided 95 % point of Student's t; beyond the table the one below, which is on the safe side."""
    return T95[min(freedom, len(T95)) - 1]


def sign_flip_p(differences: NDArray[np.float64]) -> float:
    """Two-sided p of the mean of paired differences, if each could as well have had the other sign.

    Exact up to 16 pairs; beyond, 65536 assignments are drawn with a fixed seed, the observed one counted among them.
    """
    n = len(differences)
    observed = abs(differences.sum())
    if n <= EXACT_PAIRS:
        signs = np.array(list(itertools.product((-1.0, 1.0), repeat=n)))
    else:
        signs = np.random.default_rng(0).choice((-1.0, 1.0), (DRAWS, n))
        signs[0] = 1
    sums = np.abs(signs @ differences)
    return float((sums >= observed * (1 - 1e-12)).mean())  # sums of the same numbers in another order are equal


def difference(before: Sequence[float], after: Sequence[float]) -> Difference:
    """Compare paired runs; ValueError unless both have the same number of them, at least one."""
    if len(before) != len(after) or not len(before):
        raise ValueError(f"{len(before)} and {len(after)} runs; accepted is the same number, at least one")
    first, second = np.asarray(before, np.float64), np.asarray(after, np.float64)
    apart = second - first
    n = len(apart)
    if n < 2:
        return Difference(float(first[0]), float(second[0]), math.nan, math.nan, math.nan, n)
    half = t95(n - 1) * float(apart.std(ddof=1)) / math.sqrt(n)
    mean = float(apart.mean())
    return Difference(float(first.mean()), float(second.mean()), mean - half, mean + half, sign_flip_p(apart), n)


def least_p(pairs: int) -> float:
    """The smallest p that so many pairs can give."""
    return 2.0 ** (1 - pairs) if pairs <= EXACT_PAIRS else 1 / DRAWS
