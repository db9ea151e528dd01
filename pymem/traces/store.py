"""Native trace files: `Writer` makes one, `TraceFile` reads one.

A trace holds the records of one or more tasks, in chunks (`container` has the layout, `columns` what a chunk
holds).  Writing goes to a temporary file beside the target, which is renamed when all is written; so nothing
half-made is ever left behind.  Reading maps the file: chunks that are stored as they are replay without a copy.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import mmap
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pymem.errors import TraceError

from . import columns, container
from ._records import survey
from .model import RegionInfo, TaskInfo, TraceInfo
from .pipeline import Behind, threads

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from concurrent.futures import Future
    from types import TracebackType

    from numpy.typing import NDArray

CHUNK_RECORDS = 1 << 18
_FOOTER_KEYS = {"tasks", "provenance", "sha256", "compression", "times", "chunks"}


class _Place(NamedTuple):
    """A chunk in the table of the footer."""

    offset: int
    task: int
    records: int


class _Chunk:
    """Records on their way into a chunk, and their times if they have them."""

    def __init__(self, times: bool) -> None:
        self.records = np.empty(CHUNK_RECORDS, np.uint64)
        self.times = np.empty(CHUNK_RECORDS, np.uint64) if times else None
        self.filled = 0

    def fill(self, records: NDArray[np.uint64], times: NDArray[Any] | None, place: int) -> int:
        """Take what there is room for of what comes from `place` on; where the rest begins."""
        count = min(len(records) - place, CHUNK_RECORDS - self.filled)
        mine, given = slice(self.filled, self.filled + count), slice(place, place + count)
        self.records[mine] = records[given]
        if self.times is not None and times is not None:
            self.times[mine] = times[given]
        self.filled += count
        return place + count

    def packed(self, compression: int, level: int | None) -> container.Payload:
        """Everything as columns."""
        times = None if self.times is None else self.times[: self.filled]
        return columns.encode(self.records[: self.filled], times, compression, level)


class Writer:
    """Makes a trace file.

    Parameters
    ----------
    path : str or Path
        The file to make; one that is there is replaced when the trace is complete.
    compression : {"lzma", "zlib", "none"}
        ``"none"`` can be replayed without unpacking.
    provenance : dict, optional
        Where the trace comes from, kept as JSON.
    times : bool
        Whether `append` gets a time for each record.
    level : int, optional
        Of the compression, 0 to 9.

    Use it as a context manager: an exception inside leaves no file.

    Raises
    ------
    TraceError
        Unknown compression or level; from `append` records outside the regions of the task.
    OSError
        The file cannot be written.
    """

    def __init__(
        self, path: str | Path, *, compression: str = "lzma", provenance: dict[str, Any] | None = None,
        times: bool = False, level: int | None = None,
    ) -> None:  # fmt: skip
        if compression not in container.COMPRESSIONS:
            raise TraceError(f"compression {compression!r}; accepted are {', '.join(container.COMPRESSIONS)}")
        if level is not None and not 0 <= level <= 9:
            raise TraceError(f"level {level!r}; accepted is 0 to 9")
        self.path = Path(path)
        self.compression, self.times, self.level = compression, times, level
        self.provenance = json.loads(json.dumps(provenance or {}))
        self.tasks: list[TaskInfo] = []
        self._chunks: list[_Chunk | None] = []  # of each task the one that is being filled
        self._spare: list[_Chunk] = []  # written; memory that is used again need not be cleared by the kernel
        self._places: list[_Place] = []
        self._digest = hashlib.sha256()
        self._info: TraceInfo | None = None
        self._partial = self.path.with_name(f".{self.path.name}.{os.getpid()}.partial")
        self._file = self._partial.open("wb")
        self._file.write(container.pack_header())
        # Chunks are packed beside each other and written in their order.
        self._packers = ThreadPoolExecutor(threads(), "pymem-pack")
        self._pen = Behind(threads() + 1)

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()

    def add_task(self, name: str, regions: Iterable[Any]) -> int:
        """Add a task with its regions (`pymem.Anon`, `pymem.File` or RegionInfo); gives its number."""
        if any(task.name == name for task in self.tasks):
            raise TraceError(f"task {name!r} twice; names must differ")
        self.tasks.append(TaskInfo(name, [RegionInfo.of(region) for region in regions]))
        self._chunks.append(None)
        return len(self.tasks) - 1

    def append(self, records: NDArray[Any], task: int = 0, times: NDArray[Any] | None = None) -> None:
        """Add records (``uint32`` or ``uint64``, see `pymem.records`) of a task, with times in ns if it has them."""
        if records.dtype not in (np.uint32, np.uint64) or records.ndim != 1:
            raise TraceError(
                f"records are {records.dtype} of shape {records.shape}; accepted is one dimension of uint32 or uint64"
            )
        if not 0 <= task < len(self.tasks):
            raise TraceError(f"task {task}; the trace has {len(self.tasks)} tasks")
        if (times is not None) != self.times or (times is not None and times.shape != records.shape):
            raise TraceError(f"times are {'' if self.times else 'not '}expected, one for each record")
        wide = columns.widen(records)
        about = self.tasks[task]
        bad, accesses = survey(wide, about.pages)
        if bad >= 0:
            what = columns.outside(int(wide[bad]), about.pages)
            raise TraceError(f"task {about.name!r}, record {about.records + bad}: {what}")
        about.records += len(wide)
        about.accesses += accesses
        place = 0
        while place < len(wide):
            chunk = self._chunks[task] = self._chunks[task] or self._room()
            place = chunk.fill(wide, times, place)
            if chunk.filled == CHUNK_RECORDS:
                self._write(task)

    def _room(self) -> _Chunk:
        return self._spare.pop() if self._spare else _Chunk(self.times)

    def _write(self, task: int) -> None:
        """Pack the chunk of a task and write it behind those before it."""
        chunk = self._chunks[task]
        if chunk is not None:
            packed = self._packers.submit(chunk.packed, container.COMPRESSIONS[self.compression], self.level)
            self._pen.call(self._put, task, chunk, packed)
        self._chunks[task] = None

    def _put(self, task: int, chunk: _Chunk, packed: Future[container.Payload]) -> None:
        payload, records = packed.result(), chunk.records[: chunk.filled]
        number = len(self._places)
        self._places.append(_Place(self._file.tell(), task, chunk.filled))
        self._file.write(container.pack_chunk(number, task, chunk.filled, payload))
        self._file.writelines(payload.parts)
        self._digest.update(task.to_bytes(4, "little"))
        self._digest.update(records.astype("<u8", copy=False).data)
        chunk.filled = 0
        self._spare.append(chunk)

    def close(self) -> None:
        """Write what is held and the footer, and give the file its name."""
        if self._file.closed:
            return
        try:
            for task in range(len(self.tasks)):
                self._write(task)
            self._pen.wait()
            footer = json.dumps({
                "tasks": [task.to_json() for task in self.tasks], "provenance": self.provenance,
                "sha256": self._digest.hexdigest(), "compression": self.compression, "times": self.times,
                "chunks": [list(place) for place in self._places],
            }, sort_keys=True).encode()  # fmt: skip
            footer_at = self._file.tell()
            self._file.write(footer)
            self._file.write(container.pack_trailer(footer_at, footer))
            self._file.close()
            self._partial.replace(self.path)
        except BaseException:
            self.abandon()
            raise
        self._stop()
        with TraceFile(self.path) as written:
            self._info = written.info

    def abandon(self) -> None:
        """Leave no file behind."""
        self._stop()
        self._file.close()
        self._partial.unlink(missing_ok=True)

    def _stop(self) -> None:
        self._packers.shutdown(cancel_futures=True)
        self._pen.stop()

    def info(self) -> TraceInfo:
        """What was written; RuntimeError before `close`."""
        if self._info is None:
            raise RuntimeError("the trace is not closed yet")
        return self._info


class TraceFile:
    """A native trace, opened for reading.

    Parameters
    ----------
    path : str or Path

    Raises
    ------
    TraceError
        Not a trace, or a damaged one; from `records` damage within a chunk, with its number.
    OSError
        The file cannot be read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        with Path(path).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size == 0:
                raise container.damaged(self.path, "the file is empty")
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        try:
            self.info = self._read_footer(size)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> TraceFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the file go.  Arrays that are still in use keep it mapped."""
        with contextlib.suppress(BufferError):  # an array from `records` is alive: the mapping goes with it
            self._map.close()

    def _read_footer(self, size: int) -> TraceInfo:
        container.check_header(self.path, self._map[: container.HEADER.size])
        place, length, crc = container.read_trailer(self.path, self._map[-container.TRAILER.size :], size)
        footer = self._map[place : place + length]
        container.check_footer(self.path, footer, crc)
        try:
            about = json.loads(footer)
            if not isinstance(about, dict) or set(about) != _FOOTER_KEYS:
                raise container.damaged(self.path, f"the footer is not an object with the keys {sorted(_FOOTER_KEYS)}")
            tasks = tuple(TaskInfo.from_json(task) for task in about["tasks"])
            self._places = [_Place(*map(int, chunk)) for chunk in about["chunks"]]
        except (ValueError, TypeError) as error:
            raise container.damaged(self.path, f"the footer does not read ({error})") from None
        except TraceError as error:
            raise TraceError(f"{self.path}: {error}") from None
        self._footer_at = place
        for number, chunk in enumerate(self._places):
            if not (container.HEADER.size <= chunk.offset < place and 0 <= chunk.task < len(tasks)):
                raise container.damaged(self.path, f"chunk {number} of task {chunk.task} at {chunk.offset}")
        return TraceInfo(
            self.path, size, container.VERSION, str(about["compression"]), str(about["sha256"]),
            sum(task.records for task in tasks), sum(task.accesses for task in tasks), len(self._places),
            bool(about["times"]), tasks, about["provenance"],
        )  # fmt: skip

    def _decoder(self, number: int) -> columns.Decoder:
        """Chunk `number`, its checksums and its place in the table checked."""
        place = self._places[number]
        start = place.offset + container.CHUNK.size
        chunk = container.read_chunk(self.path, number, self._map[place.offset : start])
        if (chunk.task, chunk.records) != (place.task, place.records) or start + chunk.payload_bytes > self._footer_at:
            raise container.damaged(self.path, f"chunk {number} is not what the table of chunks says")
        payload = memoryview(self._map)[start : start + chunk.payload_bytes]
        container.check_payload(self.path, chunk, payload)
        return columns.Decoder(self.path, number, chunk.records, payload)

    def records(self, task: int = 0) -> Iterator[NDArray[Any]]:
        """Records of a task in order, chunk by chunk: ``uint32`` where that can express them, else ``uint64``."""
        pages = self.info.tasks[task].pages
        for number, place in enumerate(self._places):
            if place.task == task:
                records = self._decoder(number).stored_records()
                bad = columns.first_outside(records, pages)
                if bad is not None:
                    raise container.damaged(self.path, f"chunk {number}, record {bad[0]}: {bad[1]}")
                yield records

    def times(self, task: int = 0) -> Iterator[NDArray[np.uint64]]:
        """Times in ns of the records of a task, chunk by chunk; zeros in a trace without times."""
        for number, place in enumerate(self._places):
            if place.task == task:
                yield self._decoder(number).times()

    def verify(self) -> None:
        """Read everything; TraceError unless the records are those that were written (SHA-256)."""
        digest = hashlib.sha256()
        for number, place in enumerate(self._places):
            wide = columns.widen(self._decoder(number).stored_records())
            digest.update(place.task.to_bytes(4, "little") + wide.astype("<u8").tobytes())
        if digest.hexdigest() != self.info.sha256:
            found = digest.hexdigest()
            raise container.damaged(self.path, f"SHA-256 of the records is {found}, not {self.info.sha256}")
