"""Where real pages come from: files, ELF core dumps, arrays, the memory of a live process.

A source has a `name`, a number of `pages`, and yields the bytes of any of them. Opening one checks that it
can be read; every failure is a ContentError that names the file or process.
"""

from __future__ import annotations

import os
import struct
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pymem.codecs.base import PAGE_SIZE
from pymem.content.base import ContentError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

ET_CORE = 4
PT_LOAD = 1
PN_XNUM = 0xFFFF  # the number of program headers is in the first section header
PAGEMAP_PRESENT = 1 << 63
PAGEMAP_SWAPPED = 1 << 62
PAGEMAP_PIECE = 1 << 20  # entries
PAGEMAP_FILE = 1 << 61  # page of a file or of shared memory


def sample_indices(pages: int, count: int | None, seed: int = 0) -> NDArray[np.int64]:
    """`count` different page numbers below `pages` in rising order; all of them for None or too many."""
    if count is None or count >= pages:
        return np.arange(pages)
    if count < 1:
        raise ContentError(f"sample of {count} pages: must be at least 1")
    return np.sort(np.random.default_rng(seed).choice(pages, count, replace=False))


class PageSource(ABC):
    """Pages of real bytes."""

    name: str
    """What is read, for messages and reports."""
    pages: int
    """How many pages there are, at least 1."""
    note: str = ""
    """What a user of the figures should know, or nothing."""

    @abstractmethod
    def read(self, indices: Iterable[int]) -> Iterator[bytes]:
        """The 4096 bytes of each of these pages."""


class FileSource(PageSource):
    """The pages of a file, as they lie in it.

    Parameters
    ----------
    path
        Any regular file or block device of at least one byte.
    tail
        What to do if the length is no multiple of 4096: "pad" the last page with zeros as the page cache
        does, "drop" it, or "error".

    Raises
    ------
    ContentError
        The file cannot be read, is empty, or ends in the middle of a page and `tail` forbids that.

    """

    def __init__(self, path: str | os.PathLike[str], *, tail: str = "pad") -> None:
        if tail not in ("pad", "drop", "error"):
            raise ContentError(f"tail={tail!r}: must be 'pad', 'drop' or 'error'")
        self.path = Path(path)
        self.name = str(path)
        try:
            if self.path.is_dir():
                raise ContentError(f"{self.name}: is a directory, not a file")
            with self.path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
        except (OSError, ValueError) as error:
            raise ContentError(f"{self.name}: cannot be read: {_reason(error)}") from None
        if size == 0:
            raise ContentError(f"{self.name}: is empty")
        rest = size % PAGE_SIZE
        if rest and tail == "error":
            raise ContentError(
                f"{self.name}: {size} bytes are no multiple of {PAGE_SIZE}, {rest} are left over"
            )
        self.pages = size // PAGE_SIZE + (1 if rest and tail == "pad" else 0)
        if self.pages == 0:
            raise ContentError(f"{self.name}: {size} bytes are less than a page of {PAGE_SIZE}")
        if rest:
            done = "padded with zeros" if tail == "pad" else "left out"
            self.note = f"the last page has only {rest} bytes and is {done}"

    def offset_of(self, index: int) -> int:
        """Where a page begins in the file."""
        return index * PAGE_SIZE

    def read(self, indices: Iterable[int]) -> Iterator[bytes]:
        """The 4096 bytes of each of these pages. ContentError if the file became shorter."""
        try:
            with self.path.open("rb") as file:
                for index in indices:
                    data = os.pread(file.fileno(), PAGE_SIZE, self.offset_of(int(index)))
                    if not data:
                        raise ContentError(f"{self.name}: page {index} is gone: the file became shorter")
                    yield data.ljust(PAGE_SIZE, b"\0")
        except OSError as error:
            raise ContentError(f"{self.name}: cannot be read: {_reason(error)}") from None


class ElfCoreSource(FileSource):
    """The memory in an ELF core dump: the pages of its PT_LOAD segments, 32 or 64 bit, either byte order.

    Raises
    ------
    ContentError
        Not an ELF file, no core dump, damaged or truncated headers, no page of memory in it.

    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path)
        self.note = ""
        with self.path.open("rb") as file:
            segments = self._segments(file.read(64), file.fileno())
        size = self.path.stat().st_size
        starts: list[NDArray[np.int64]] = []
        left_over = 0
        for offset, length in segments:
            if offset + length > size:
                raise ContentError(
                    f"{self.name}: truncated: a segment ends at {offset + length}, the file at {size}"
                )
            starts.append(offset + np.arange(length // PAGE_SIZE, dtype=np.int64) * PAGE_SIZE)
            left_over += length % PAGE_SIZE
        self._offsets = np.concatenate(starts) if starts else np.zeros(0, np.int64)
        self.pages = self._offsets.size
        if self.pages == 0:
            raise ContentError(f"{self.name}: the core dump holds no page of memory")
        if left_over:
            self.note = f"{left_over} bytes of segments that are no whole pages are left out"

    def _segments(self, head: bytes, fd: int) -> list[tuple[int, int]]:
        """(offset in the file, length) of each PT_LOAD segment that is in the file."""
        if head[:4] != b"\x7fELF" or len(head) < 52 or head[4] not in (1, 2) or head[5] not in (1, 2):
            raise ContentError(f"{self.name}: is not an ELF file")
        wide = head[4] == 2
        order = "<" if head[5] == 1 else ">"
        try:
            kind, _, _, _, phoff, shoff, _, _, phentsize, phnum = struct.unpack_from(
                order + ("HHIQQQIHHH" if wide else "HHIIIIIHHH"), head, 16
            )
            if kind != ET_CORE:
                raise ContentError(
                    f"{self.name}: is an ELF file but no core dump (e_type {kind}, not {ET_CORE})"
                )
            if phnum == PN_XNUM:
                at = 44 if wide else 28
                phnum = struct.unpack(order + "I", os.pread(fd, 4, shoff + at))[0]
            table = os.pread(fd, phentsize * phnum, phoff)
            segments = []
            for i in range(phnum):
                if wide:
                    type_, _, offset, _, _, length = struct.unpack_from(
                        order + "IIQQQQ", table, i * phentsize
                    )
                else:
                    type_, offset, _, _, length = struct.unpack_from(order + "IIIII", table, i * phentsize)
                if type_ == PT_LOAD and length:
                    segments.append((offset, length))
        except struct.error:
            raise ContentError(f"{self.name}: truncated core dump: its headers are incomplete") from None
        return segments

    def offset_of(self, index: int) -> int:
        """Where a page begins in the file."""
        return int(self._offsets[index])


def is_elf_core(path: str | os.PathLike[str]) -> bool:
    """Whether a readable file looks like an ELF core dump."""
    try:
        with Path(path).open("rb") as file:
            head = file.read(18)
    except (OSError, ValueError):
        return False
    if head[:4] != b"\x7fELF" or len(head) < 18:
        return False
    return int.from_bytes(head[16:18], "little" if head[5] == 1 else "big") == ET_CORE


class ArraySource(PageSource):
    """The bytes of a numpy array, in its memory order; the last page is padded with zeros."""

    def __init__(self, array: NDArray[np.generic], *, name: str = "array") -> None:
        if array.dtype.hasobject:
            raise ContentError(
                f"{name}: an array of Python objects has no bytes to look at (dtype {array.dtype})"
            )
        if array.nbytes == 0:
            raise ContentError(f"{name}: is empty (shape {array.shape})")
        self.name = name
        self._bytes = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        self.pages = -(-self._bytes.size // PAGE_SIZE)
        if rest := self._bytes.size % PAGE_SIZE:
            self.note = f"the last page has only {rest} bytes and is padded with zeros"

    def read(self, indices: Iterable[int]) -> Iterator[bytes]:
        """The 4096 bytes of each of these pages."""
        for index in indices:
            page = self._bytes[int(index) * PAGE_SIZE : (int(index) + 1) * PAGE_SIZE]
            yield page.tobytes().ljust(PAGE_SIZE, b"\0")


class ProcessSource(PageSource):
    """A sample of the anonymous memory of a live process, taken once.

    The process goes on running: pages that vanish while they are read are left out. Pages of files and of
    shared memory are not what goes to swap first and are left out too.

    Parameters
    ----------
    pid
        Process id.
    sample
        Most pages to take; None: all.
    seed
        Of the choice of the pages.

    Raises
    ------
    ContentError
        No such process, no permission, or no anonymous memory in it.

    """

    def __init__(self, pid: int, *, sample: int | None = 4096, seed: int = 0, proc: str = "/proc") -> None:
        self.name = f"process {pid}"
        folder = Path(proc, str(pid))
        try:
            if not folder.is_dir():
                raise ContentError(f"{self.name}: there is no such process")
            addresses = self._anonymous_pages(folder)
            chosen = addresses[sample_indices(addresses.size, sample, seed)] if addresses.size else addresses
            self._pages = self._read_memory(folder, chosen)
        except PermissionError:
            raise ContentError(
                f"{self.name}: its memory may not be read: be its owner with ptrace permission "
                "(kernel.yama.ptrace_scope), or root"
            ) from None
        except (FileNotFoundError, ProcessLookupError):
            raise ContentError(f"{self.name}: ended while it was being read") from None
        except OSError as error:
            raise ContentError(f"{self.name}: cannot be read: {_reason(error)}") from None
        if not self._pages:
            alive = (folder / "maps").exists()
            raise ContentError(
                f"{self.name}: has no anonymous memory to look at" if alive else f"{self.name}: ended"
            )
        self.pages = len(self._pages)
        self.total_pages = addresses.size
        if self.pages < self.total_pages:
            self.note = f"{self.pages} of {self.total_pages} anonymous pages were read"

    @staticmethod
    def _anonymous_pages(folder: Path) -> NDArray[np.int64]:
        """Page numbers of the anonymous pages that have content, in memory or swapped out."""
        found = [np.zeros(0, np.int64)]
        with (folder / "pagemap").open("rb", buffering=0) as pagemap:
            for line in (folder / "maps").read_text().splitlines():
                span, access, *_ = line.split()
                name = line[73:].strip() if len(line) > 73 else ""
                if access[0] != "r" or name in ("[vvar]", "[vdso]", "[vsyscall]", "[vvar_vclock]"):
                    continue
                start, end = (int(text, 16) // PAGE_SIZE for text in span.split("-"))
                while start < end:  # in pieces: address spaces can be reserved by the terabyte
                    wanted = min(end - start, PAGEMAP_PIECE)
                    entries = np.frombuffer(os.pread(pagemap.fileno(), wanted * 8, start * 8), np.uint64)
                    if entries.size == 0:  # unmapped since, or the process ended
                        break
                    has_content = (entries & np.uint64(PAGEMAP_PRESENT | PAGEMAP_SWAPPED)) != 0
                    private = (entries & np.uint64(PAGEMAP_FILE)) == 0
                    found.append(start + np.flatnonzero(has_content & private))
                    start += entries.size
        return np.concatenate(found)

    @staticmethod
    def _read_memory(folder: Path, pages: NDArray[np.int64]) -> list[bytes]:
        out = []
        with (folder / "mem").open("rb", buffering=0) as memory:
            for page in pages:
                try:
                    data = os.pread(memory.fileno(), PAGE_SIZE, int(page) * PAGE_SIZE)
                except OSError:  # unmapped since
                    continue
                if len(data) == PAGE_SIZE:
                    out.append(data)
        return out

    def read(self, indices: Iterable[int]) -> Iterator[bytes]:
        """The 4096 bytes of each of these pages, as they were when the sample was taken."""
        for index in indices:
            yield self._pages[int(index)]


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
