"""Foreign traces to native ones, in bounded memory and two steps.

A reader gives batches of accesses in bytes.  They become rows (see `_places`) that are spooled to a temporary file,
because the regions, and so the numbers of the pages, are known only at the end (see `layout`); then the records are
written.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pymem.errors import TraceError
from pymem.records import MAX_COUNT, Op

from . import layout, store
from ._places import ADDRESS, BLOCK, KEY, Places
from ._records import compact, from_rows, steps, sums
from .readers import Batch, Reader, Source, reader_for
from .readers.base import about_source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from .model import RegionInfo, TraceInfo

KINDS = {"address": ADDRESS, "block": BLOCK, "key": KEY}
_PLACE, _WRITE_SHIFT, _COUNT_SHIFT = (1 << 30) - 1, np.uint64(30), np.uint64(32)


def import_trace(
    path: str | Path, out: str | Path, *, form: str | None = None, skip_bad: bool = False, task: str | None = None,
    compression: str = "zlib", progress: Callable[[int], None] | None = None, provenance: dict[str, Any] | None = None,
) -> tuple[TraceInfo, Source]:  # fmt: skip
    """Make a native trace of a foreign one.

    Parameters
    ----------
    path : str or Path
        The foreign trace; packed ones are unpacked on the way.
    out : str or Path
        The native trace; nothing is left there if an error is raised.
    form : str, optional
        Name of the format; default is to go by the content.
    skip_bad : bool
        Count and leave out what does not read, instead of raising TraceError.
    task : str, optional
        Name of the task; default the name of the file without its suffixes.  Of a trace of several processes each
        becomes a task named after it.
    compression : {"zlib", "lzma", "none"}
        Fast to make and to replay, small, or the fastest to replay.
    progress : callable, optional
        Gets the number of accesses read so far, once per block.
    provenance : dict, optional
        What else is to be kept of where the trace comes from; not for `lackey`.

    Returns
    -------
    TraceInfo, Source
        The source knows how many lines or records were bad.

    Raises
    ------
    TraceError
        Unknown format, a bad line or record, or a file without any access.
    OSError
        A file cannot be read or written.
    """
    with Source(path, skip_bad=skip_bad) as source:
        reader = reader_for(source, form)
        name = task or Path(path).name.split(".")[0] or "main"
        made = reader.convert(source, Path(out), name, compression, progress)
        if made is not None:
            return made, source
        with tempfile.TemporaryFile(prefix="pymem-spool-") as spool:
            rows = _Spool(reader, spool)
            for batch in reader.read(source):
                rows.take(batch)
                if progress is not None:
                    progress(rows.accesses)
            source.leave_out("requests of 0 bytes", rows.places.empty)
            if not rows.blocks:
                what = f", and {source.bad} lines or records were bad" if source.bad else ""
                raise TraceError(f"{source.name}: no access in it as {reader.title}{what}")
            try:
                about = {"source": reader.title, "imported": about_source(source, reader), **(provenance or {})}
                return _write(rows, reader, Path(out), name, compression, about), source
            except TraceError as error:
                raise TraceError(f"{source.name}: {error}") from None


class _Spool:
    """Accesses as rows, on their way into the temporary file: of each batch its rows, then its times if any.

    A time is kept as the difference to the one before; either is kept in 32 bits where that is enough for a batch.
    """

    def __init__(self, reader: Reader, file: Any) -> None:
        self.file = file
        self.places = Places(KINDS[reader.kind])
        self.blocks: list[tuple[int, int]] = []  # of each column its values and the bytes of each
        self.accesses = 0
        self.times: bool | None = None
        self.first_time = self.last_time = 0

    def take(self, batch: Batch) -> None:
        """Spool a batch."""
        rows, times = self.places.take(batch.place, batch.size, batch.write, batch.stream, batch.time)
        if not len(rows):
            return
        if self.times is None:
            self.times = times is not None
            self.first_time = 0 if times is None else int(times[0])
        self._put(rows)
        if times is not None:
            self.first_time, last = min(self.first_time, int(times.min())), int(times[-1])
            wrapped = times.view(np.uint64)
            steps(wrapped, self.last_time % (1 << 64))
            self._put(wrapped)
            self.last_time = last
        self.accesses += len(batch.place)

    def _put(self, values: NDArray[np.uint64]) -> None:
        short = compact(values)
        values = values if short is None else short
        self.file.write(values.data)
        self.blocks.append((len(values), values.itemsize))

    def _columns(self) -> Iterator[NDArray[Any]]:
        self.file.seek(0)
        for count, size in self.blocks:
            yield np.frombuffer(self.file.read(count * size), f"u{size}")

    def read(self) -> Iterator[tuple[NDArray[Any], NDArray[np.uint64] | None]]:
        """Everything that was spooled, block by block; times since the earliest."""
        before, columns = -self.first_time % (1 << 64), self._columns()
        for rows in columns:
            times = sums(next(columns), before) if self.times else None
            before = before if times is None else int(times[-1])
            yield rows, times


class _Flat:
    """Tasks and regions, and for each place its task and its page."""

    def __init__(self, places: Places, reader: Reader, name: str) -> None:
        place, stream, most = places.all()
        self.page = np.empty(len(place), np.int64)
        self.tasks: list[tuple[str, list[RegionInfo]]] = []
        self.task: NDArray[np.uint32] | None = None  # None: there is only one
        pages = 0
        for number in np.unique(stream).tolist():
            mine = np.flatnonzero(stream == number)
            called = name if reader.streams[number] == "main" else reader.streams[number]
            if reader.kind == "address":
                regions, self.page[mine] = layout.areas(place[mine].astype(np.int64))
                self.tasks.append((called, regions))
                continue
            if reader.kind == "block":
                regions, page = layout.extents(called, place[mine].astype(np.int64), most[mine])
            else:
                regions, page = layout.objects(called, most[mine])
            self.page[mine] = page + pages
            pages += sum(region.pages for region in regions)
            self.tasks = [(name, [*(self.tasks[0][1] if self.tasks else []), *regions])]
        if len(self.tasks) > 1:
            self.task = np.searchsorted(np.unique(stream), stream).astype(np.uint32)


def _write(spool: _Spool, reader: Reader, out: Path, name: str, compression: str, about: dict[str, Any]) -> TraceInfo:
    """Number the pages and write the trace."""
    flat = _Flat(spool.places, reader, name)
    memory = reader.kind == "address"
    op = int(Op.LOAD if memory else Op.READ)
    with store.Writer(out, compression=compression, provenance=about, times=bool(spool.times)) as writer:
        for called, regions in flat.tasks:
            writer.add_task(called, regions)
        for rows, times in spool.read():
            # Memory that is only loaded is the zero page and takes no room, whatever the program did.
            records, most = from_rows(rows, flat.page, op, memory and not reader.sees_stores)
            task = None if flat.task is None else flat.task[rows & _PLACE]
            if most >= MAX_COUNT:
                records, part = _split(rows, flat.page, op)
                times = None if times is None else times[part]
                task = None if task is None else task[part]
            if task is None:
                writer.append(records, 0, times)
                continue
            for number in np.unique(task).tolist():
                mine = task == number
                writer.append(records[mine], number, None if times is None else times[mine])
    return writer.info()


def _split(
    rows: NDArray[Any], page: NDArray[np.int64], op: int
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Records of rows of which some are too much for one record and become several; and the row of each.

    Only requests and objects are that long: runs of loads and stores end at what a record holds.
    """
    rows = rows.astype(np.uint64)
    count = (rows >> _COUNT_SHIFT).astype(np.int64) + 1
    parts = -(-count // MAX_COUNT)
    row = np.repeat(np.arange(len(rows)), parts)
    done = (np.arange(len(row)) - np.repeat(np.cumsum(parts) - parts, parts)) * MAX_COUNT
    left = np.minimum(count[row] - done, MAX_COUNT)
    shifted = page[(rows & _PLACE)[row]] + done
    write = rows[row] >> _WRITE_SHIFT & np.uint64(1)
    made = shifted.astype(np.uint64) | write + np.uint64(op) << np.uint64(40)
    return made | (left - 1).astype(np.uint64) << np.uint64(46), row
