"""A program that allocates and never frees."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pymem.errors import ScenarioError
from pymem.records import WRITE, Op, pack
from pymem.regions import Anon, File, region_from
from pymem.units import PAGE_SIZE, parse_bytes, parse_pages, parse_time
from pymem.workloads.base import CHUNK, Workload

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from pymem.workloads.base import Records

MAX_SLEEP = (1 << 40) - 1  # ns in one record: 18 minutes


def sleeps(ns: int) -> NDArray[np.uint64]:
    """Records that let a time pass."""
    whole, rest = divmod(ns, MAX_SLEEP)
    return pack(np.array([MAX_SLEEP] * whole + [rest] * (rest > 0), np.int64), Op.SLEEP)


@dataclass(frozen=True, kw_only=True)
class Leak(Workload):
    """Stores to one new page after another and comes back to none of them.

    Parameters
    ----------
    size : int or str
        How far it can grow: bytes or ``"4GiB"``.  Make it larger than memory and swap together, and it grows
        until it is killed.
    region : Anon, File or table
        Instead of `size`.
    rate : int or str, optional
        Bytes per second, such as ``"100MiB"``; default as fast as pages can be had.  Between steps it sleeps,
        so the rate is reached only where faults take little of the time.
    step : int or str
        Bytes allocated at a time where there is a `rate`.
    hold : int or str
        Time that it stays, asleep, when it can grow no more.
    """

    kind: ClassVar[str] = "leak"
    size: int | str | None = field(default=None, kw_only=False)
    region: Any = None
    rate: int | str | None = None
    step: int | str = "1MiB"
    hold: int | str = 0

    def __post_init__(self) -> None:
        if (self.size is None) == (self.region is None):
            raise ScenarioError("leak: accepted is one of size and region")
        region: Anon | File
        if self.region is not None:
            region = region_from(self.region, "leak.region")
        else:
            pages = parse_pages(self.size or 0, "leak.size")
            if not 1 <= pages < 1 << 31:
                raise ScenarioError(f"leak.size: {self.size!r}; accepted is one page to 8TiB")
            region = Anon(pages=pages)
        object.__setattr__(self, "regions", (region,))
        parse_time(self.hold, "leak.hold")
        if parse_pages(self.step, "leak.step") < 1:
            raise ScenarioError(f"leak.step: {self.step!r}; accepted is at least one page")
        if self.rate is not None:
            rate = parse_bytes(self.rate, "leak.rate")
            if rate < 1 or not 0 < self.pause_ns <= MAX_SLEEP:
                raise ScenarioError(
                    f"leak.rate: {self.rate!r} by steps of {self.step!r}; accepted are steps 1 ns to 18 "
                    "minutes apart"
                )

    @property
    def step_pages(self) -> int:
        """Pages between two pauses."""
        return parse_pages(self.step)

    @property
    def pause_ns(self) -> int:
        """Length of a pause; 0 without a rate."""
        rate = 0 if self.rate is None else parse_bytes(self.rate)
        return self.step_pages * PAGE_SIZE * 10**9 // rate if rate else 0

    @property
    def length(self) -> int:
        """Pages that it stores to."""
        return self.regions[0].pages

    def chunks(self, seed: int) -> Iterator[Records]:
        """The records; see `Workload.chunks`."""
        pages, step, pause = self.length, self.step_pages, self.pause_ns
        if pause == 0:
            for first in range(0, pages, CHUNK):
                yield np.arange(first, min(first + CHUNK, pages), dtype=np.uint32) | WRITE
        else:
            records = pages + (pages - 1) // step  # a pause between steps, none after the last
            for first in range(0, records, CHUNK):
                period, place = np.divmod(np.arange(first, min(first + CHUNK, records)), step + 1)
                rests = place == step
                operation = np.where(rests, int(Op.SLEEP), int(Op.STORE))
                yield pack(np.where(rests, pause, period * step + place), operation)
        if parse_time(self.hold):
            yield sleeps(parse_time(self.hold))
