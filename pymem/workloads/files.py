"""Work on a file: reading it through, and writing to it until dirty pages pile up.

Both go over the file in requests, by system call or through a mapping.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from pymem.errors import ScenarioError
from pymem.records import Op, pack
from pymem.regions import File
from pymem.units import parse_pages, parse_time
from pymem.workloads.base import CHUNK, Workload, generator, integer, one_of
from pymem.workloads.leak import MAX_SLEEP

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

MAX_REQUEST = 1 << 16  # pages: 256 MiB
MAX_PASSES = 1 << 40


@dataclass(frozen=True, kw_only=True)
class _FileWork(Workload):
    """Requests to one file.

    Parameters
    ----------
    size : int or str
        Of the file.
    pages : int
        Instead of `size`.
    name : str
        Tasks that use the same name use the same file.
    request : int or str
        Bytes of one ``read()`` or ``write()``, or touched in one go through a mapping.
    order : {"sequential", "random"}
        Of the requests; random ones are drawn anew each time.
    passes : int
        Times the size of the file.
    pause : int or str
        Time between two requests.
    """

    size: int | str | None = field(default=None, kw_only=False)
    pages: int | None = None
    name: str = "data"
    mode: str = "mmap"
    request: int | str = "128KiB"
    order: str = "sequential"
    passes: int = 1
    pause: int | str = 0

    call: ClassVar[Op]
    touch: ClassVar[Op]
    modes: ClassVar[tuple[str, str]]

    def __post_init__(self) -> None:
        kind = self.kind
        try:
            region = File(pages=self.pages, size=self.size, name=self.name)
        except ScenarioError as error:
            raise type(error)(f"{kind}{str(error).removeprefix(f'region file {self.name!r}')}") from None
        object.__setattr__(self, "regions", (region,))
        one_of(f"{kind}.mode", self.mode, self.modes)
        one_of(f"{kind}.order", self.order, ("sequential", "random"))
        integer(f"{kind}.passes", self.passes, 1, MAX_PASSES)
        if not 1 <= parse_pages(self.request, f"{kind}.request") <= MAX_REQUEST:
            most = f"{MAX_REQUEST // 256}MiB"
            raise ScenarioError(f"{kind}.request: {self.request!r}; accepted is one page to {most}")
        if parse_time(self.pause, f"{kind}.pause") > MAX_SLEEP:
            raise ScenarioError(f"{kind}.pause: {self.pause!r}; accepted is up to {MAX_SLEEP} ns")

    @property
    def length(self) -> int | None:
        """Pages read or written; not known where a short request at the end is drawn at random."""
        pages = self.regions[0].pages
        exact = self.order == "sequential" or pages % parse_pages(self.request) == 0
        return pages * self.passes if exact else None

    @abstractmethod
    def _sync_every(self) -> int:
        """Requests after which the file is synced; 0: never."""

    def chunks(self, seed: int) -> Iterator[NDArray[np.uint64]]:
        """The records; see `Workload.chunks`."""
        rng = generator(seed)
        pages, size, pause = self.regions[0].pages, parse_pages(self.request), parse_time(self.pause)
        in_file = -(-pages // size)
        total, sync_every = in_file * self.passes, self._sync_every()
        columns = 1 if self.mode != "mmap" else size
        per_chunk = max(1, CHUNK // (columns + 2))
        for first in range(0, total, per_chunk):
            numbers = np.arange(first, min(first + per_chunk, total))
            if self.order == "sequential":
                place = numbers % in_file
            else:
                place = rng.integers(0, in_file, len(numbers))
            start = place[:, None] * size
            # A row per request: what it touches, then a sync and a pause; what does not apply is left out.
            rows = np.zeros((len(numbers), columns + 2), np.uint64)
            valid = np.zeros(rows.shape, np.bool_)
            if self.mode == "mmap":
                touched = start + np.arange(size)
                valid[:, :-2] = touched < pages
                rows[:, :-2] = pack(touched, self.touch)
            else:
                valid[:, :-2] = True
                rows[:, :-2] = pack(start, self.call, np.minimum(size, pages - start))
            if sync_every:
                rows[:, -2] = pack(0, Op.FSYNC)
                valid[:, -2] = (numbers + 1) % sync_every == 0
            if pause:
                rows[:, -1] = pack(pause, Op.SLEEP)
                valid[:, -1] = True
            yield rows[valid]


@dataclass(frozen=True, kw_only=True)
class FileStream(_FileWork):
    """Reads a file.

    Parameters
    ----------
    size, pages, name, request, order, passes, pause
        The file and the requests.
    mode : {"read", "mmap"}
        By ``read()``, or by loads from a mapping.
    """

    kind: ClassVar[str] = "filestream"
    call: ClassVar[Op] = Op.READ
    touch: ClassVar[Op] = Op.LOAD
    modes: ClassVar[tuple[str, str]] = ("read", "mmap")
    mode: str = "read"

    def _sync_every(self) -> int:
        return 0


@dataclass(frozen=True, kw_only=True)
class DirtyWriter(_FileWork):
    """Writes to a file.

    Parameters
    ----------
    size, pages, name, request, order, passes, pause
        The file and the requests.
    mode : {"write", "mmap"}
        By ``write()``, or by stores to a shared mapping.
    fsync_every : int, optional
        ``fsync()`` after so many requests; default never.
    """

    kind: ClassVar[str] = "dirtywriter"
    call: ClassVar[Op] = Op.WRITE
    touch: ClassVar[Op] = Op.STORE
    modes: ClassVar[tuple[str, str]] = ("write", "mmap")
    mode: str = "write"
    fsync_every: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fsync_every is not None:
            integer("dirtywriter.fsync_every", self.fsync_every, 1, 1 << 40)

    def _sync_every(self) -> int:
        return self.fsync_every or 0
