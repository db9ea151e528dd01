"""Workloads made of others: one after another, or mixed.

The parts share one address space.  Regions of different parts that differ in nothing but their size are the
same memory, as large as the largest of them; all others lie side by side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pymem.errors import ScenarioError
from pymem.records import MAX_FAST_PAGE, WRITE, Op, unpack
from pymem.workloads.base import CHUNK, Workload, check_keys, child_seeds, generator, number

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pymem.regions import Anon, File, Region
    from pymem.workloads.base import Records

MAX_PARTS = 10_000
_PAGELESS = (Op.SLEEP, Op.EXIT)


class Relocation:
    """Moves the records of one part to where its regions lie in the common space.

    Parameters
    ----------
    ends : list of int
        End of each region of the part, in its own pages.
    shifts : list of int
        How far each is moved.
    """

    def __init__(self, ends: list[int], shifts: list[int]) -> None:
        self.ends = np.array(ends, np.int64)
        self.shifts = np.array(shifts, np.int64)
        self.top = int(np.max(self.ends + self.shifts))

    def __call__(self, records: Records) -> Records:
        """The records in the common space; the same array where nothing moves."""
        if not self.shifts.any():
            return records
        if records.dtype == np.uint32 and self.top <= MAX_FAST_PAGE + 1:
            pages = (records & np.uint32(MAX_FAST_PAGE)).astype(np.int64)
            return (pages + self._shift(pages)).astype(np.uint32) | (records & WRITE)
        wide = widened(records)
        page, op, count = unpack(wide)
        moved = ~np.isin(op, _PAGELESS)
        shift = np.where(moved, self._shift(np.where(moved, page, 0)), 0)
        # A range over several regions has to stay in one piece.
        ranged = moved & (op > Op.STORE) & (count > 1)
        if not np.array_equal(shift[ranged], self._shift((page + count - 1)[ranged])):
            raise ScenarioError("parts: a record covers regions that do not stay side by side in the whole")
        return wide + shift.astype(np.uint64)

    def _shift(self, pages: NDArray[np.int64]) -> NDArray[np.int64]:
        region = np.searchsorted(self.ends, pages, side="right")
        shift: NDArray[np.int64] = self.shifts[np.minimum(region, len(self.shifts) - 1)]
        return shift


def widened(records: Records) -> NDArray[np.uint64]:
    """The same records in the general form."""
    if records.dtype == np.uint64:
        return records  # type: ignore[return-value]
    wide = (records & np.uint32(MAX_FAST_PAGE)).astype(np.uint64)
    wide |= (records >> np.uint32(31)).astype(np.uint64) << np.uint64(40)
    return wide


def common_space(parts: Sequence[Workload]) -> tuple[tuple[Region, ...], list[Relocation]]:
    """The regions of all parts together, and how each part gets there."""
    sizes: dict[tuple[Any, ...], Region] = {}
    keys: list[list[tuple[Any, ...]]] = []
    for part in parts:
        own: list[tuple[Any, ...]] = []
        for region in part.regions:
            # The n-th of several alike in one part is the n-th of those in another.
            key = (*_identity(region), 0)
            while key in own:
                key = (*key[:-1], key[-1] + 1)
            own.append(key)
            if key not in sizes or region.pages > sizes[key].pages:
                sizes[key] = region
        keys.append(own)
    starts = dict(zip(sizes, np.cumsum([0] + [r.pages for r in sizes.values()]).tolist(), strict=False))
    moves = []
    for part, own in zip(parts, keys, strict=True):
        ends = np.cumsum([r.pages for r in part.regions]).tolist()
        begins = [end - region.pages for end, region in zip(ends, part.regions, strict=True)]
        moves.append(Relocation(ends, [starts[key] - begin for key, begin in zip(own, begins, strict=True)]))
    return tuple(sizes.values()), moves


def _identity(region: Region) -> tuple[Any, ...]:
    kind: type[Anon] | type[File] = type(region)
    return (kind, *(getattr(region, name) for name in kind.__dataclass_fields__ if name != "pages"))


def _parts(name: str, parts: Any) -> tuple[Workload, ...]:
    if not isinstance(parts, (list, tuple)) or not 1 <= len(parts) <= MAX_PARTS:
        raise ScenarioError(f"{name}: {parts!r:.80}; accepted is a list of 1 to {MAX_PARTS} workloads")
    for i, part in enumerate(parts):
        if not hasattr(part, "chunks") or not hasattr(part, "regions"):
            raise ScenarioError(f"{name}[{i}]: {part!r:.80}; accepted is a workload")
    return tuple(parts)


def _parts_from(table: dict[str, Any], key: str, base: Path) -> dict[str, Any]:
    """The table with its parts made into workloads."""
    from pymem.workloads.registry import from_dict

    parts = table["parts"]
    if not isinstance(parts, list):
        raise ScenarioError(f"{key}.parts: {parts!r:.80}; accepted is an array of tables")
    return {**table, "parts": [from_dict(p, f"{key}.parts[{i}]", base) for i, p in enumerate(parts)]}


def _sum_of_lengths(parts: Sequence[Workload]) -> int | None:
    lengths = [part.length for part in parts]
    return None if None in lengths else sum(n for n in lengths if n is not None)


@dataclass(frozen=True)
class Phases(Workload):
    """Several workloads in one task, one after another.

    Parameters
    ----------
    parts : sequence of Workload
    """

    kind: ClassVar[str] = "phases"
    parts: Sequence[Workload]

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", _parts("phases.parts", self.parts))
        regions, moves = common_space(self.parts)
        object.__setattr__(self, "regions", regions)
        object.__setattr__(self, "_moves", moves)

    @property
    def length(self) -> int | None:
        """Accesses of all parts."""
        return _sum_of_lengths(self.parts)

    @property
    def ahead(self) -> bool:
        """See `Workload.ahead`."""
        return all(part.ahead for part in self.parts)

    def chunks(self, seed: int) -> Iterator[Records]:
        """The records; see `Workload.chunks`."""
        moves: list[Relocation] = self._moves  # type: ignore[attr-defined]
        for part, move, own in zip(self.parts, moves, child_seeds(seed, len(self.parts)), strict=True):
            for records in part.chunks(own):
                yield move(records)

    @classmethod
    def from_table(cls, table: dict[str, Any], key: str, base: Path) -> Workload:
        """From ``{kind = "phases", parts = [{kind = ...}, ...]}``."""
        check_keys(cls, table, key)
        return cls(**_parts_from(table, key, base))


class _Stream:
    """The records of a part, taken in portions of any size."""

    def __init__(self, chunks: Iterator[Records], move: Relocation) -> None:
        self._chunks = (move(chunk) for chunk in chunks)
        self._have: list[Records] = []
        self.ready = 0
        self.over = False

    def fill(self, n: int) -> None:
        """Have `n` records ready, or all that there are."""
        while self.ready < n and not self.over:
            chunk = next(self._chunks, None)
            if chunk is None:
                self.over = True
            else:
                self._have.append(chunk)
                self.ready += len(chunk)

    def take(self, n: int) -> Records:
        """The next `n`, which must be ready."""
        narrow = all(chunk.dtype == np.uint32 for chunk in self._have)
        have: list[Any] = self._have if narrow else [widened(chunk) for chunk in self._have]
        joined = np.concatenate([np.empty(0, np.uint32), *have])
        self._have = [joined[n:]] if len(joined) > n else []
        self.ready -= n
        return joined[:n]


@dataclass(frozen=True)
class Mix(Workload):
    """Several workloads in one task, mixed at random record by record.

    A part that has ended leaves its share to the others; the mix ends with the last of them.

    Parameters
    ----------
    parts : sequence of Workload
    weights : sequence of float, optional
        Shares of the records while all parts go on; they need not sum up to 1.  Default: in proportion to the
        lengths of the parts, so that all end at about the same time, or alike where one is not known.
    """

    kind: ClassVar[str] = "mix"
    parts: Sequence[Workload]
    weights: Sequence[float] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", _parts("mix.parts", self.parts))
        if self.weights is not None:
            if not isinstance(self.weights, (list, tuple)) or len(self.weights) != len(self.parts):
                found = f"{self.weights!r:.80}"
                raise ScenarioError(f"mix.weights: {found}; accepted are {len(self.parts)} numbers")
            checked = tuple(number(f"mix.weights[{i}]", w, 1e-9, 1e9) for i, w in enumerate(self.weights))
            object.__setattr__(self, "weights", checked)
        regions, moves = common_space(self.parts)
        object.__setattr__(self, "regions", regions)
        object.__setattr__(self, "_moves", moves)

    @property
    def length(self) -> int | None:
        """Accesses of all parts."""
        return _sum_of_lengths(self.parts)

    @property
    def ahead(self) -> bool:
        """See `Workload.ahead`."""
        return all(part.ahead for part in self.parts)

    def _shares(self) -> NDArray[np.float64]:
        if self.weights is not None:
            return np.array(self.weights, np.float64)
        lengths = [part.length for part in self.parts]
        return np.array([1.0 if None in lengths else max(n or 0, 1) for n in lengths], np.float64)

    def chunks(self, seed: int) -> Iterator[Records]:
        """The records; see `Workload.chunks`."""
        moves: list[Relocation] = self._moves  # type: ignore[attr-defined]
        own, *seeds = child_seeds(seed, len(self.parts) + 1)
        rng = generator(own)
        streams = [
            _Stream(part.chunks(s), move) for part, s, move in zip(self.parts, seeds, moves, strict=True)
        ]
        shares = self._shares()
        while shares.any():
            border = np.cumsum(shares)
            border /= border[-1]
            border[border >= 1] = 1
            which = np.searchsorted(border, rng.random(CHUNK), side="right")
            which, left = self._affordable(which, streams)
            for i in left:
                shares[i] = 0  # has no more records
            if len(which):
                yield _merged(which, streams)

    @staticmethod
    def _affordable(which: NDArray[np.intp], streams: list[_Stream]) -> tuple[NDArray[np.intp], list[int]]:
        """The choices up to where a part lacks a record, and the parts that lack one there."""
        end, lacking = len(which), -1
        for i, count in enumerate(np.bincount(which, minlength=len(streams)).tolist()):
            streams[i].fill(count)
            if streams[i].ready < count:
                first = int(np.flatnonzero(which == i)[streams[i].ready])
                if first < end:
                    end, lacking = first, i
        return which[:end], [lacking] if lacking >= 0 else []

    @classmethod
    def from_table(cls, table: dict[str, Any], key: str, base: Path) -> Workload:
        """From ``{kind = "mix", parts = [{kind = ...}, ...], weights = [3, 1]}``."""
        check_keys(cls, table, key)
        return cls(**_parts_from(table, key, base))


def _merged(which: NDArray[np.intp], streams: list[_Stream]) -> Records:
    """The next record of stream `which[0]`, of `which[1]`, and so on."""
    counts = np.bincount(which, minlength=len(streams)).tolist()
    taken = [stream.take(count) for stream, count in zip(streams, counts, strict=True)]
    narrow = all(part.dtype == np.uint32 for part in taken if len(part))
    out: NDArray[Any] = np.empty(len(which), np.uint32 if narrow else np.uint64)
    for i, part in enumerate(taken):
        if len(part):
            out[which == i] = part if narrow else widened(part)
    return out
