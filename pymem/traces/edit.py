"""New traces out of native ones: a cut, a merger, a sample."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pymem.errors import TraceError
from pymem.records import Op, unpack

from .layout import Spans
from .references import chosen_tasks, chunks
from .store import TraceFile, Writer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from .model import TraceInfo

_SLICE = 1 << 20
#: The hash of a page has as many bits, so rates are multiples of 2**-24.
RATE_BITS = 24


def _origin(trace: TraceFile) -> dict[str, Any]:
    """What a made trace says of the one it comes from."""
    info = trace.info
    return {"file": info.path.rsplit("/", 1)[-1], "sha256": info.sha256, "provenance": info.provenance}


def cut(
    path: str | Path, out: str | Path, start: int, stop: int | None = None, task: str | None = None, *,
    compression: str = "lzma",
) -> TraceInfo:  # fmt: skip
    """Keep records `start` to `stop` - 1 of each task, or of one task alone.

    Raises
    ------
    TraceError
        No such task, or no record in that range.
    """
    if start < 0 or (stop is not None and stop <= start):
        raise TraceError(f"records {start} to {stop}; accepted is a range that begins at 0 or later and is not empty")
    with TraceFile(path) as trace:
        tasks = chosen_tasks(trace, task)
        about = {"cut": {"start": start, "stop": stop, "task": task}, "from": _origin(trace)}
        with Writer(out, compression=compression, provenance=about, times=trace.info.times) as writer:
            for number in tasks:
                info = trace.info.tasks[number]
                made = writer.add_task(info.name, info.regions)
                place = 0
                for records, times in chunks(trace, number):
                    low, high = max(start - place, 0), len(records) if stop is None else max(stop - place, 0)
                    if low < min(high, len(records)):
                        writer.append(records[low:high], made, None if times is None else times[low:high])
                    place += len(records)
                    if stop is not None and place >= stop:
                        break
            if not any(written.records for written in writer.tasks):
                most = max((trace.info.tasks[number].records for number in tasks), default=0)
                raise TraceError(f"{trace.path}: no record from {start} on; the longest task has {most}")
    return writer.info()


def merge(paths: Sequence[str | Path], out: str | Path, *, compression: str = "lzma") -> TraceInfo:
    """Put the tasks of several traces into one; names that come twice get a number.

    File regions of the same name are the same file afterwards.  Times are kept if all traces have them.
    """
    with ExitStack() as stack:
        traces = [stack.enter_context(TraceFile(path)) for path in paths]
        times = all(trace.info.times for trace in traces)
        about = {"merged": [_origin(trace) for trace in traces]}
        made_by = Writer(out, compression=compression, provenance=about, times=times)
        writer = stack.enter_context(made_by)
        taken: set[str] = set()
        for trace in traces:
            for number, task in enumerate(trace.info.tasks):
                name, again = task.name, 1
                while name in taken:
                    again += 1
                    name = f"{task.name}-{again}"
                taken.add(name)
                made = writer.add_task(name, task.regions)
                for records, moments in chunks(trace, number):
                    writer.append(records, made, moments if times else None)
    return writer.info()


def sample(
    path: str | Path, out: str | Path, rate: float, seed: int = 0, *, compression: str = "lzma"
) -> TraceInfo:
    """Keep all records of a share of the pages, chosen by a hash.

    Spatial sampling as in SHARDS (Waldspurger, Park, Garthwaite, Ahmad: "Efficient MRC construction with SHARDS",
    USENIX FAST 2015): memory divided by the rate has the miss ratio of the whole.  Regions shrink to the touched
    pages that were chosen, so neighbours are no longer neighbours.  Pages of a file are chosen for all tasks alike.

    Parameters
    ----------
    rate : float
        Above 0, up to 1; rounded to a multiple of 2**-24, and recorded in the provenance.

    Raises
    ------
    TraceError
        A rate out of range, or one so small that no page is left.
    """
    threshold = round(rate * (1 << RATE_BITS)) if 0 < rate <= 1 else 0
    if not threshold:
        raise TraceError(f"rate {rate!r}; accepted is a number from {2.0**-RATE_BITS:.1e} to 1")
    with TraceFile(path) as trace:
        about = {
            "sample": {"kind": "SHARDS spatial", "rate": threshold / (1 << RATE_BITS), "seed": seed},
            "from": _origin(trace),
        }
        kept = _kept(trace, threshold, seed)
        with Writer(out, compression=compression, provenance=about, times=trace.info.times) as writer:
            for number, task in enumerate(trace.info.tasks):
                flat, regions, base = [np.empty(0, np.int64)], [], 0
                for key, region in zip(_keys(trace, number), task.regions, strict=True):
                    low, high = np.searchsorted(kept[key], [region.offset, region.offset + region.pages]).tolist()
                    if low < high:
                        flat.append(kept[key][low:high] - region.offset + base)
                        offset = low if region.kind == "file" else 0
                        regions.append(replace(region, start=None, pages=high - low, offset=offset))
                    base += region.pages
                if not regions:
                    continue
                made = writer.add_task(task.name, regions)
                for records, times in chunks(trace, number):
                    left, mask = _renumbered(records, np.concatenate(flat))
                    writer.append(left, made, None if times is None else times[mask])
            if not writer.tasks:
                raise TraceError(f"{trace.path}: no touched page is left at a rate of {rate}")
    return writer.info()


def _keys(trace: TraceFile, number: int) -> list[tuple[str, str, int]]:
    """What each region of a task shows: a file, or memory of its own."""
    task = trace.info.tasks[number]
    return [
        ("file", region.name, 0) if region.kind == "file" else ("anon", task.name, place)
        for place, region in enumerate(task.regions)
    ]


def _kept(trace: TraceFile, threshold: int, seed: int) -> dict[tuple[str, str, int], NDArray[np.int64]]:
    """Sorted chosen pages of everything that regions show; of files, pages of the file."""
    spans: dict[tuple[str, str, int], Spans] = {}
    for number, task in enumerate(trace.info.tasks):
        touched = Spans(0)
        for records, _ in chunks(trace, number):
            page, op, count = unpack(records)
            moves = op <= Op.WRITE
            touched.touch(page[moves], np.where(op >= Op.READ, count, 1)[moves])
        touched.settle()
        base = 0
        for key, region in zip(_keys(trace, number), task.regions, strict=True):
            low, high = np.maximum(touched.low, base), np.minimum(touched.high, base + region.pages)
            inside = low < high
            shown = spans.setdefault(key, Spans(0))
            shown.touch(low[inside] - base + region.offset, (high - low)[inside])
            base += region.pages
    kept = {}
    for key, touched in spans.items():
        touched.settle()
        salt = hashlib.blake2b(repr((key, seed)).encode(), digest_size=8).digest()
        parts = [np.empty(0, np.int64)]
        for start, stop in zip(touched.low.tolist(), touched.high.tolist(), strict=True):
            for first in range(start, stop, _SLICE):
                page = np.arange(first, min(first + _SLICE, stop))
                hashed = _mixed(page.astype(np.uint64) + np.frombuffer(salt, "<u8")[0])
                parts.append(page[hashed >> np.uint64(64 - RATE_BITS) < threshold])
        kept[key] = np.concatenate(parts)
    return kept


def _mixed(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64: every bit depends on every bit."""
    value = value + np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ value >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ value >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return value ^ value >> np.uint64(31)


def _renumbered(
    records: NDArray[np.uint64], kept: NDArray[np.int64]
) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """The records of kept pages, pages numbered anew and ranges shortened, and which records they are."""
    page, op, count = unpack(records)
    single, timed = op <= Op.STORE, op >= Op.SLEEP
    first = np.searchsorted(kept, page)
    last = np.searchsorted(kept, page + np.where(single, 1, count))
    mask = timed | (last > first)
    page = np.where(timed, page, first)
    count = np.where(single | timed, count, last - first)
    made = page.astype(np.uint64) | op.astype(np.uint64) << np.uint64(40)
    return (made | (count - 1).astype(np.uint64) << np.uint64(46))[mask], mask
