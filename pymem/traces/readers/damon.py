"""Records of DAMON as JSON (``damo record``, plain or zlib-packed): which regions were seen accessed how often."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from pymem.errors import TraceError

from .base import Batch, Reader
from .blocks import Streams

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .base import Source

#: JSON has to be read as a whole; more than this is refused.
MOST_BYTES = 256 << 20
MOST_SLICES = 10_000
_PAGE = 4096
_SLICE = 1 << 18


class Damon(Reader):
    """A snapshot has as many slices as samples were taken; a region seen `n` times is loaded whole in the first `n`.

    That is what ``damo replay`` does.
    """

    name = "damon"
    title = "DAMON json"
    kind = "address"

    def __init__(self) -> None:
        super().__init__()
        self.sees_stores = False

    def sniff(self, head: bytes) -> bool:
        return head.lstrip()[:1] == b"[" and b'"snapshots"' in head and b'"nr_accesses"' in head

    def read(self, source: Source) -> Iterator[Batch]:
        records = _load(source)
        targets = Streams()
        for number, record in enumerate(records):
            try:
                intervals = record["intervals"]
                sample, aggregate = _whole(intervals["sample_us"]), _whole(intervals["aggr_us"])
                slices = aggregate // sample if sample else 0
                stream = int(targets.numbers([b"target%d" % _whole(record["target_id"])])[0])
                snapshots = [_snapshot(snapshot, slices) for snapshot in record["snapshots"]]
                if not 0 < slices <= MOST_SLICES:
                    raise ValueError(f"{aggregate} us of aggregation at {sample} us per sample")
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                found = json.dumps(record, default=str)[:200].encode()
                source.reject(f"record {number}", found, f"a record of damo ({type(error).__name__}: {error})")
                continue
            self.streams = targets.names
            for start_ns, regions in snapshots:
                yield from expanded(regions, start_ns, sample * 1000, stream)


def _load(source: Source) -> list[Any]:
    parts, size = [], 0
    for piece in source.pieces():
        parts.append(piece)
        size += len(piece)
        if size > MOST_BYTES:
            raise TraceError(f"{source.name}: more than {MOST_BYTES} bytes of JSON; accepted is up to that")
    try:
        records = json.loads(b"".join(parts))
    except (ValueError, RecursionError) as error:
        raise TraceError(f"{source.name}: not JSON ({error}); it begins with {source.head[:60]!r}") from None
    if not isinstance(records, list):
        raise TraceError(f"{source.name}: {source.head[:60]!r}...: accepted is a list of records of damo")
    return records


def _whole(value: Any) -> int:
    """A number as damo writes it: 5000, "5000" or "5,000"."""
    if isinstance(value, str):
        value = int(value.replace(",", "")) if len(value) < 32 else -1
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 62:
        raise ValueError(f"{value!r:.40} is not a whole number from 0")
    return value


def _snapshot(snapshot: Any, slices: int) -> tuple[int, np.ndarray]:
    """Start in ns, and rows of first and last address and how often it was seen."""
    rows = []
    for region in snapshot["regions"]:
        low, high = _whole(region["start"]), _whole(region["end"])
        seen = _whole(region["nr_accesses"]["samples"])
        check(low, high, seen, slices)
        rows.append((low, high, seen))
    return _whole(snapshot["start_time"]), np.array(rows, np.int64).reshape(-1, 3)


def check(low: int, high: int, seen: int, slices: int) -> None:
    """ValueError for a region that cannot be."""
    if high <= low or seen > slices:
        raise ValueError(f"region {low} to {high} seen {seen} times in {slices} samples")
    if seen and high - low > 1 << 46:
        raise ValueError(f"region of {high - low} bytes")


def expanded(regions: np.ndarray, start_ns: int, sample_ns: int, stream: int) -> Iterator[Batch]:
    """The accesses of one snapshot; rows of first and last address and how often a region was seen."""
    for turn in range(int(regions[:, 2].max(initial=0))):
        for low, high, seen in regions.tolist():
            if turn < seen:
                yield from _loads(low // _PAGE, -(-high // _PAGE), start_ns + turn * sample_ns, stream)


def _loads(low: int, high: int, moment: int, stream: int) -> Iterator[Batch]:
    for first in range(low, high, _SLICE):
        page = np.arange(first, min(first + _SLICE, high), dtype=np.uint64)
        count = len(page)
        yield Batch(
            page * np.uint64(_PAGE), np.ones(count, np.int64), np.zeros(count, np.bool_),
            np.full(count, moment, np.int64), np.full(count, stream, np.uint32),
        )  # fmt: skip
