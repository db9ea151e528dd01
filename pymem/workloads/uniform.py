"""Accesses to all pages alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from pymem.workloads.base import RandomPattern

if TYPE_CHECKING:
    from pymem.workloads.base import Sampler


@dataclass(frozen=True, kw_only=True)
class Uniform(RandomPattern):
    """Each access goes to a page drawn at random, all alike.

    Parameters
    ----------
    size, pages, region, accesses, writes
        As in `pymem.workloads.base.Pattern`.
    """

    kind: ClassVar[str] = "uniform"

    def sampler(self, rng: np.random.Generator) -> Sampler:
        """See `Pattern.sampler`."""
        count = self.count
        return lambda _, n: rng.integers(0, count, n, np.uint32)
