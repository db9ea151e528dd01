"""Foreign traces to native ones, in bounded memory and two steps.

A reader gives batches of accesses in bytes.  They become pages and are spooled to a temporary file, because
the regions, and so the numbers of the pages, are known only at the end (see `layout`); then the records are written.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pymem.errors import TraceError
from pymem.records import MAX_COUNT, Op

from . import store
from .layout import Areas, Extents, Objects
from .readers import Batch, Reader, Source, reader_for
from .readers.base import about_source

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from .model import TraceInfo

PAGE_SHIFT = 12
SPOOL_ROWS = 1 << 17
#: What is kept of an access until the pages are numbered; `count` repeats a load or store, else it counts pages.
ROW = np.dtype([("page", "<i8"), ("count", "<i8"), ("time", "<i8"), ("stream", "<u4"), ("write", "u1")])


def import_trace(
    path: str | Path, out: str | Path, *, form: str | None = None, skip_bad: bool = False, task: str | None = None,
    compression: str = "lzma", progress: Callable[[int], None] | None = None,
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
    progress : callable, optional
        Gets the number of accesses read so far, once per block.

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
            rows = _Spool(reader, spool, name)
            for batch in reader.read(source):
                rows.take(batch, source)
                if progress is not None:
                    progress(rows.accesses)
            if not rows.layouts:
                what = f", and {source.bad} lines or records were bad" if source.bad else ""
                raise TraceError(f"{source.name}: no access in it as {reader.title}{what}")
            try:
                return _write(rows, Path(out), name, compression, about_source(source, reader)), source
            except TraceError as error:
                raise TraceError(f"{source.name}: {error}") from None


class _Spool:
    """Accesses as pages, on their way into the temporary file."""

    def __init__(self, reader: Reader, file: Any, name: str) -> None:
        self.reader, self.file, self.name = reader, file, name
        self.layouts: dict[int, Areas | Extents | Objects] = {}
        self.accesses = 0
        self.times: bool | None = None
        self.first_time = 0

    def take(self, batch: Batch, source: Source) -> None:
        """Translate a batch to pages and spool it."""
        if self.reader.kind == "key":
            # A key without a value is looked up all the same.
            count = np.maximum(batch.size + (1 << PAGE_SHIFT) - 1 >> PAGE_SHIFT, 1)
            rows = self._rows(batch, batch.place.view(np.int64), count)
        else:
            empty = batch.size <= 0
            source.leave_out("requests of 0 bytes", int(empty.sum()))
            end = batch.place + np.maximum(batch.size - 1, 0).astype(np.uint64)
            first, last = ((place >> np.uint64(PAGE_SHIFT)).astype(np.int64) for place in (batch.place, end))
            rows = self._rows(batch, first, np.maximum(last - first + 1, 1))[~empty]
            if self.reader.kind == "address":
                rows = _runs(_each_page(rows))
        if not len(rows):
            return
        if self.times is None:
            self.times = batch.time is not None
            self.first_time = int(rows["time"][0])
        self.first_time = min(self.first_time, int(rows["time"].min()))
        self.accesses += len(batch.place)
        for stream in np.unique(rows["stream"]).tolist():
            mine = rows[rows["stream"] == stream]
            self._layout(stream).touch(np.ascontiguousarray(mine["page"]), np.ascontiguousarray(mine["count"]))
        self.file.write(rows.tobytes())

    @staticmethod
    def _rows(batch: Batch, page: NDArray[np.int64], count: NDArray[np.int64]) -> NDArray[np.void]:
        rows = np.zeros(len(page), ROW)
        rows["page"], rows["count"], rows["write"] = page, count, batch.write
        if batch.time is not None:
            rows["time"] = batch.time
        if batch.stream is not None:
            rows["stream"] = batch.stream
        return rows

    def _layout(self, stream: int) -> Areas | Extents | Objects:
        if stream not in self.layouts:
            kind = self.reader.kind
            name = self.reader.streams[stream]
            name = self.name if name == "main" else name
            self.layouts[stream] = Areas() if kind == "address" else Extents(name) if kind == "block" else Objects(name)
        return self.layouts[stream]


def _each_page(rows: NDArray[np.void]) -> NDArray[np.void]:
    """Accesses that reach into further pages become one for each page."""
    if not (rows["count"] > 1).any():
        return rows
    count = rows["count"]
    each = np.repeat(rows, count)
    each["page"] += np.arange(len(each)) - np.repeat(np.cumsum(count) - count, count)
    each["count"] = 1
    return each


def _runs(rows: NDArray[np.void]) -> NDArray[np.void]:
    """Consecutive equal accesses to one page become one with a count, and the time of the first."""
    if not len(rows):
        return rows
    new = np.ones(len(rows), np.bool_)
    for field in ("page", "write", "stream"):
        if field == "page":
            new[1:] = rows[field][1:] != rows[field][:-1]
        else:
            new[1:] |= rows[field][1:] != rows[field][:-1]
    starts = np.flatnonzero(new)
    runs = rows[starts]
    runs["count"] = np.diff(starts, append=len(rows))
    return runs


def _write(spool: _Spool, out: Path, name: str, compression: str, about: dict[str, Any]) -> TraceInfo:
    """Number the pages and write the trace."""
    kind, streams = spool.reader.kind, spool.reader.streams
    provenance = {"source": spool.reader.title, "imported": about}
    with store.Writer(out, compression=compression, provenance=provenance, times=bool(spool.times)) as writer:
        task: dict[int, int] = {}
        base: dict[int, int] = {}
        regions = {stream: layout.regions() for stream, layout in sorted(spool.layouts.items())}
        if kind == "address":
            for stream, areas in regions.items():
                task[stream] = writer.add_task(name if streams[stream] == "main" else streams[stream], areas)
                base[stream] = 0
        else:
            number = writer.add_task(name, [region for files in regions.values() for region in files])
            pages = 0
            for stream, files in regions.items():
                task[stream], base[stream] = number, pages
                pages += sum(file.pages for file in files)
        # Memory that is only loaded is the zero page and takes no room, whatever the program did.
        fresh = {
            stream: np.ones(sum(region.pages for region in areas), np.bool_)
            for stream, areas in regions.items()
            if not spool.reader.sees_stores
        }
        spool.file.seek(0)
        while data := spool.file.read(SPOOL_ROWS * ROW.itemsize):
            rows = np.frombuffer(data, ROW).copy()
            dense = np.empty(len(rows), np.int64)
            for stream in np.unique(rows["stream"]).tolist():
                mine = rows["stream"] == stream
                page = np.ascontiguousarray(rows["page"][mine])
                dense[mine] = spool.layouts[stream].dense(page) + base[stream]
                if stream in fresh:
                    met, first = np.unique(dense[mine], return_index=True)
                    first = first[fresh[stream][met]]
                    fresh[stream][met] = False
                    rows["write"][np.flatnonzero(mine)[first]] = 1
            for number in sorted(set(task.values())):
                mine = np.isin(rows["stream"], [s for s, n in task.items() if n == number])
                records, times = _records(rows[mine], dense[mine], kind == "address")
                if len(records):
                    moments = (times - spool.first_time).astype(np.uint64)
                    writer.append(records, number, moments if spool.times else None)
    return writer.info()


def _records(
    rows: NDArray[np.void], dense: NDArray[np.int64], memory: bool
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Records and their times; what is too much for one record becomes several."""
    op = rows["write"].astype(np.uint64) + np.uint64(Op.LOAD if memory else Op.READ)
    count, time = rows["count"].astype(np.int64), rows["time"].astype(np.int64)
    if (count > MAX_COUNT).any():
        parts = -(-count // MAX_COUNT)
        part = np.arange(int(parts.sum())) - np.repeat(np.cumsum(parts) - parts, parts)
        done = part * MAX_COUNT
        count = np.minimum(np.repeat(count, parts) - done, MAX_COUNT)
        dense = np.repeat(dense, parts) + (0 if memory else done)
        op, time = np.repeat(op, parts), np.repeat(time, parts)
    records = dense.astype(np.uint64) | op << np.uint64(40) | (count - 1).astype(np.uint64) << np.uint64(46)
    return records, time
