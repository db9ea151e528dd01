"""What a workload is: regions, and a stream of access records that follows from a seed.

`Workload` is the protocol that the simulation knows.  `Pattern` is the base of generators that touch the
pages of one region: they say which pages, the base class draws which accesses are writes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import MISSING, dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pymem.errors import ScenarioError
from pymem.records import WRITE
from pymem.regions import Anon, Region, region_from
from pymem.units import parse_share
from pymem.workloads._draw import mark_share

if TYPE_CHECKING:
    from pathlib import Path

#: Records of one chunk that generators make: what fits into the second-level cache of the host.
CHUNK = 1 << 16
#: The short record form has 31 bits for the page.
MAX_PATTERN_PAGES = 1 << 31
MAX_ACCESSES = 1 << 62

Records = NDArray[np.uint32] | NDArray[np.uint64]
#: Pages of the accesses from a number on: (first, how many) -> array.
Sampler = Callable[[int, int], NDArray[np.uint32]]


class Workload(ABC):
    """What a task does.

    Attributes
    ----------
    regions : tuple of Anon and File
        The flat space of pages that the records address, one region after another.
    """

    kind: ClassVar[str] = ""
    regions: tuple[Region, ...]

    @property
    def length(self) -> int | None:
        """Accesses of the stream (loads, stores, pages of ``read()`` and ``write()``); None: not known."""
        return None

    @property
    def ahead(self) -> bool:
        """Whether chunks may be made before they are wanted, in another thread, and it is worth it.

        Not unless a class says so: one that looks at the simulation when it is asked for a chunk must be asked in time.
        """
        return False

    @abstractmethod
    def chunks(self, seed: int) -> Iterator[Records]:
        """The records, in C-contiguous arrays of `pymem.records`.

        Parameters
        ----------
        seed : int
            From 0.  The same seed gives the same records.

        Yields
        ------
        array of uint32 or uint64
            At most 262144 records; the form may change from chunk to chunk.
        """

    @classmethod
    def from_table(cls, table: dict[str, Any], key: str, base: Path) -> Workload:
        """The workload of a TOML table without its `kind`; `base` is where relative paths start."""
        check_keys(cls, table, key)
        return cls(**table)


def generator(seed: int) -> np.random.Generator:
    """The random numbers of a stream."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed)))


def child_seeds(seed: int, count: int) -> list[int]:
    """Seeds for the parts of a workload, independent of each other."""
    children = np.random.SeedSequence(seed).spawn(count)
    return [int(child.generate_state(1, np.uint64)[0]) for child in children]


# ---- checking settings ------------------------------------------------------------------------------------


def integer(key: str, value: Any, low: int, high: int) -> int:
    """The value itself, if it is an integer within bounds."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not low <= value <= high:
        raise ScenarioError(f"{key}: {value!r}; accepted is an integer from {low} to {high}")
    return int(value)


def number(key: str, value: Any, low: float, high: float) -> float:
    """The value as float, if it is a number within bounds."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not low <= value <= high:
        raise ScenarioError(f"{key}: {value!r}; accepted is a number from {low:g} to {high:g}")
    return float(value)


def one_of(key: str, value: Any, accepted: tuple[str, ...]) -> str:
    """The value itself, if it is one of the words."""
    if not isinstance(value, str) or value not in accepted:
        raise ScenarioError(f"{key}: {value!r}; accepted are {', '.join(map(repr, accepted))}")
    return value


def check_keys(cls: type, table: dict[str, Any], key: str) -> None:
    """Refuse keys that are no field of `cls`, and the lack of a field that has no default."""
    known = {f.name: f for f in fields(cls) if f.init}
    for name in table:
        if name not in known:
            raise ScenarioError(f"{key}.{name}: unknown key; accepted are kind, {', '.join(known)}")
    for name, f in known.items():
        if name not in table and f.default is MISSING and f.default_factory is MISSING:
            raise ScenarioError(f"{key}.{name}: missing")


# ---- patterns over one region -----------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Pattern(Workload):
    """Accesses to the pages of one region.

    Parameters
    ----------
    size : int or str
        Bytes or ``"64MiB"`` of anonymous memory.
    pages : int
        Instead of `size`.
    region : Anon, File or table
        Instead of both: for example a mapped file.
    accesses : int
    writes : float or str
        Share of stores: 0 to 1, or percent such as ``"30%"``.
    """

    size: int | str | None = field(default=None, kw_only=False)
    pages: int | None = None
    region: Any = None
    accesses: int | None = None
    writes: float | str = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "regions", (self._region(),))
        if self.count > MAX_PATTERN_PAGES:
            raise ScenarioError(f"{self.kind}: {self.count} pages; accepted is up to {MAX_PATTERN_PAGES}")
        if self.accesses is not None:
            integer(f"{self.kind}.accesses", self.accesses, 1, MAX_ACCESSES)
        parse_share(self.writes, f"{self.kind}.writes")

    def _region(self) -> Region:
        given = [name for name in ("size", "pages", "region") if getattr(self, name) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none of them"
            raise ScenarioError(f"{self.kind}: {found} given; accepted is one of size, pages and region")
        if self.region is not None:
            return region_from(self.region, f"{self.kind}.region")
        try:
            return Anon(pages=self.pages, size=self.size)
        except ScenarioError as error:
            text = str(error).removeprefix("region anon")
            raise type(error)(f"{self.kind}{text}") from None

    @property
    def count(self) -> int:
        """Pages of the region."""
        return self.regions[0].pages

    @property
    def total(self) -> int:
        """Accesses in all."""
        if self.accesses is None:
            raise ScenarioError(f"{self.kind}.accesses: missing")
        return self.accesses

    @property
    def length(self) -> int:
        """Accesses in all."""
        return self.total

    @property
    def ahead(self) -> bool:
        """See `Workload.ahead`."""
        return True

    @abstractmethod
    def sampler(self, rng: np.random.Generator) -> Sampler:
        """A function that gives the pages of successive accesses, each time in a new array."""

    def chunks(self, seed: int) -> Iterator[NDArray[np.uint32]]:
        """The records; see `Workload.chunks`."""
        rng = generator(seed)
        share = parse_share(self.writes)
        sample = self.sampler(rng)
        for first in range(0, self.total, CHUNK):
            records = sample(first, min(CHUNK, self.total - first))
            mark_writes(rng, records, share)
            yield records


def mark_writes(rng: np.random.Generator, records: NDArray[np.uint32], share: float) -> None:
    """Turn a share of the loads into stores, in place."""
    if share >= 1:
        records |= WRITE
    elif share > 0:
        mark_share(rng, records, int(share * (1 << 32)), int(WRITE))


@dataclass(frozen=True, kw_only=True)
class RandomPattern(Pattern):
    """A `Pattern` that goes on for as long as one likes, so that it needs to know how many accesses."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.total  # refused here rather than in the middle of a run
