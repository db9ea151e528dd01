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
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pymem.errors import TraceError

from . import columns, container
from .model import RegionInfo, TaskInfo, TraceInfo

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType

    from numpy.typing import NDArray

CHUNK_RECORDS = 1 << 18
_FOOTER_KEYS = {"tasks", "provenance", "sha256", "compression", "times", "chunks"}


class _Place(NamedTuple):
    """A chunk in the table of the footer."""

    offset: int
    task: int
    records: int


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
        self._held: list[list[NDArray[np.uint64]]] = []
        self._held_times: list[list[NDArray[np.uint64]]] = []
        self._held_records: list[int] = []
        self._places: list[_Place] = []
        self._digest = hashlib.sha256()
        self._info: TraceInfo | None = None
        self._partial = self.path.with_name(f".{self.path.name}.{os.getpid()}.partial")
        self._file = self._partial.open("wb")
        self._file.write(container.pack_header())

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
        self._held.append([])
        self._held_times.append([])
        self._held_records.append(0)
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
        # A copy, as it is held for a while and the caller may use the array again.
        wide = records.copy() if records.dtype == np.uint64 else columns.widen(records)
        bad = columns.first_outside(wide, self.tasks[task].pages)
        if bad is not None:
            where = self.pending(task) + bad[0]
            raise TraceError(f"task {self.tasks[task].name!r}, record {where}: {bad[1]}")
        self._held[task].append(wide)
        if times is not None:
            self._held_times[task].append(times.astype(np.uint64))
        self._held_records[task] += len(wide)
        if self._held_records[task] >= CHUNK_RECORDS:
            self._flush(task, CHUNK_RECORDS)

    def pending(self, task: int) -> int:
        """Records of a task so far, written or held."""
        return self.tasks[task].records + self._held_records[task]

    def _flush(self, task: int, least: int) -> None:
        """Write the held records of a task in chunks, until fewer than `least` are left."""
        held = np.concatenate(self._held[task])
        times = np.concatenate(self._held_times[task]) if self.times else None
        place = 0
        while len(held) - place >= least and place < len(held):
            part = held[place : place + CHUNK_RECORDS]
            moments = None if times is None else times[place : place + CHUNK_RECORDS]
            payload = columns.encode(part, moments, container.COMPRESSIONS[self.compression], self.level)
            number = len(self._places)
            self._places.append(_Place(self._file.tell(), task, len(part)))
            self._file.write(container.pack_chunk(number, task, len(part), payload))
            self._file.write(payload)
            self._digest.update(task.to_bytes(4, "little"))
            self._digest.update(part.astype("<u8", copy=False).data)
            self.tasks[task].records += len(part)
            self.tasks[task].accesses += columns.accesses_in(part)
            place += len(part)
        self._held[task] = [held[place:]] if place < len(held) else []
        if times is not None:
            self._held_times[task] = [times[place:]] if place < len(held) else []
        self._held_records[task] = len(held) - place

    def close(self) -> None:
        """Write what is held and the footer, and give the file its name."""
        if self._file.closed:
            return
        try:
            for task, held in enumerate(self._held_records):
                if held:
                    self._flush(task, 1)
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
        with TraceFile(self.path) as written:
            self._info = written.info

    def abandon(self) -> None:
        """Leave no file behind."""
        self._file.close()
        self._partial.unlink(missing_ok=True)

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
