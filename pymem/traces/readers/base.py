"""What all readers share: the protocol, the batches they give, and the source they read from.

A `Source` is a file, unpacked while it is read.  It gives its content as blocks of whole lines or as arrays of
binary records, and it is the one place where a bad line or record becomes an error or, if asked for, is counted
and left out.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from pymem.errors import TraceError
from pymem.traces.pipeline import ahead

from .packing import BLOCK_BYTES, Hashed, damage, unpacked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import DTypeLike, NDArray

    from pymem.traces.model import TraceInfo

HEAD_BYTES = 1 << 16
#: Longest line: more without an end of line is not the text that was expected.
MAX_LINE = 1 << 20
DEPTH = 4  # pieces read ahead
SHOWN = 60  # bytes of a bad line in a message
KEPT = 5  # messages of lines that were left out

Kind = Literal["address", "block", "key"]


@dataclass(frozen=True)
class Batch:
    """Consecutive accesses; all arrays have one entry for each.

    Attributes
    ----------
    place : array of uint64
        Virtual address, offset on the device in bytes, or key: what the `kind` of the reader says.
    size : array of int64
        Bytes from `place` on, or of the object; at least 1.
    write : array of bool
    time : array of int64, optional
        In ns; only differences count.
    stream : array of uint32, optional
        Which of the reader's streams: a process of an address trace, a device of a block trace.
    """

    place: NDArray[np.uint64]
    size: NDArray[np.int64]
    write: NDArray[np.bool_]
    time: NDArray[np.int64] | None = None
    stream: NDArray[np.uint32] | None = None


class Reader(ABC):
    """One format.  An object reads one file, so that it may keep what it has learnt from its head.

    `name` is what ``--format`` takes, `title` what people call the format and `kind` what `Batch.place` means;
    `streams` are the names of the streams met so far; `sees_stores` says whether an access that is not `Batch.write`
    is known to be a load.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    kind: ClassVar[Kind]

    def __init__(self) -> None:
        self.streams = ["main"]
        self.sees_stores = True

    @abstractmethod
    def sniff(self, head: bytes) -> bool:
        """Whether a file that begins with `head` (unpacked, up to 64 KiB) is of this format."""

    @abstractmethod
    def read(self, source: Source) -> Iterator[Batch]:
        """The accesses; TraceError at the first bad line or record, unless the source leaves them out."""

    def convert(
        self, source: Source, out: Path, task: str, compression: str, progress: Callable[[int], None] | None
    ) -> TraceInfo | None:
        """Write the trace, where a format holds more than accesses; None: `read` gives all there is."""
        return None


class Source:
    """A file to read from, unpacked on the way (see `packing`).

    Parameters
    ----------
    path : str or Path
    skip_bad : bool
        Count bad lines and records instead of raising TraceError.

    Attributes
    ----------
    head : bytes
        The first 64 KiB.
    bad : int
        Lines or records left out so far; `complaints` has the messages of the first five.
    """

    def __init__(self, path: str | Path, *, skip_bad: bool = False) -> None:
        self.path = Path(path)
        self.name = str(path)
        self.skip_bad = skip_bad
        self.bad = 0
        self.complaints: list[str] = []
        self.left_out: dict[str, int] = {}
        self._raw = Hashed(self.path.open("rb"))
        # Not for a pipe, where who breaks off would wait for what nobody writes any more.
        self._pool = ThreadPoolExecutor(1, "pymem-read") if self.path.is_file() else None
        try:
            self.packing, self._file = unpacked(self._raw, self.name)
            self._done = 0
            self.head = self._read(HEAD_BYTES)
        except BaseException:
            self._raw.close()
            raise

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self._file.close()
        self._raw.close()

    @property
    def sha256(self) -> str:
        """SHA-256 of the bytes of the file that were read, packed as they are."""
        return self._raw.digest.hexdigest()

    def _read(self, size: int) -> bytes:
        """The next bytes, `size` of them unless the file ends."""
        parts: list[bytes] = []
        missing = size
        while missing:
            try:
                part = self._file.read(missing)
            except damage() as error:
                raise TraceError(
                    f"{self.name}: does not unpack after {self._done} bytes ({error}); it is damaged or cut off"
                ) from None
            if not part:
                break
            parts.append(part)
            missing -= len(part)
            self._done += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def pieces(self, unit: int = 1, skip: int = 0) -> Iterator[bytes]:
        """The whole content in pieces of up to 1 MiB that end at multiples of `unit` bytes after the first `skip`.

        A thread reads, hashes and unpacks the next ones meanwhile.
        """
        if self.head:
            yield self.head
        block = BLOCK_BYTES // unit * unit
        sizes = itertools.chain([(skip - len(self.head)) % unit or block], itertools.repeat(block))
        yield from itertools.takewhile(len, ahead(self._pool, self._read, sizes, DEPTH))

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """The content as blocks of whole lines, each with the number of its first line; all end with a newline."""
        number, rest = 1, b""
        for piece in self.pieces():
            cut = piece.rfind(b"\n") + 1
            if cut:
                block = rest + piece[:cut]
                yield number, block
                number += block.count(b"\n")
                rest = piece[cut:]
            else:
                rest += piece
            if len(rest) > MAX_LINE:
                raise TraceError(f"{self.name}, line {number}: {rest[:SHOWN]!r}... has no end within 1 MiB")
        if rest:
            yield number, rest + b"\n"

    def records(self, dtype: DTypeLike, what: str, skip: int = 0) -> Iterator[tuple[int, NDArray[Any]]]:
        """The content after `skip` bytes as binary records, each array with the number of its first record, from 0."""
        size = np.dtype(dtype).itemsize
        number, rest = 0, b""
        for piece in self.pieces(size, skip):
            data = rest + piece if rest else piece
            if skip:  # not more than the head
                data, skip = data[skip:], 0
            whole = len(data) // size * size
            if whole:
                yield number, np.frombuffer(data, dtype, count=whole // size)
                number += whole // size
            rest = data[whole:]
        if rest:
            self.reject(f"record {number}", rest, f"a {what} of {size} bytes; the file ends after {len(rest)} of them")

    def reject(self, where: str, found: bytes, accepted: str) -> None:
        """Count a bad line or record, or raise TraceError."""
        shown = repr(found[:SHOWN]) + ("..." if len(found) > SHOWN else "")
        message = f"{self.name}, {where}: {shown} is not understood; accepted is {accepted}"
        if not self.skip_bad:
            raise TraceError(message)
        self.bad += 1
        if len(self.complaints) < KEPT:
            self.complaints.append(message)

    def good(
        self, ok: NDArray[np.bool_], numbers: Sequence[int] | NDArray[np.int64], found: Callable[[int], bytes],
        accepted: str,
    ) -> NDArray[np.bool_]:  # fmt: skip
        """Reject lines that are not `ok`, with their numbers and, by `found`, their bytes; gives `ok` back."""
        if not ok.all():
            bad = np.flatnonzero(~ok)
            for i in bad[: KEPT if self.skip_bad else 1].tolist():
                self.reject(f"line {numbers[i]}", found(i), accepted)
            self.bad += max(len(bad) - KEPT, 0)
        return ok

    def reject_records(self, bad: list[int], first: int, found: NDArray[Any], accepted: str) -> None:
        """Reject some of the binary records `found`, the first of which is number `first`."""
        for i in bad[: KEPT if self.skip_bad else 1]:
            self.reject(f"record {first + i}", found[i].tobytes(), accepted)
        self.bad += max(len(bad) - KEPT, 0)

    def leave_out(self, what: str, count: int) -> None:
        """Count well-formed lines that are no access to a page."""
        if count:
            self.left_out[what] = self.left_out.get(what, 0) + count


def about_source(source: Source, reader: Reader) -> dict[str, Any]:
    """Where a trace comes from, for its provenance, once everything is read."""
    return {
        "file": source.path.name, "sha256": source.sha256, "packing": source.packing, "format": reader.name,
        "bad": source.bad, "left_out": source.left_out,
    }  # fmt: skip
