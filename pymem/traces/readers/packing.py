"""Packed files, unpacked while they are read: gzip, xz, bzip2, zlib, zip, and with their packages zstd and lz4."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import hashlib
import io
import lzma
import struct
import zlib
from typing import TYPE_CHECKING, Any

from pymem.errors import TraceError

if TYPE_CHECKING:
    from collections.abc import Callable

BLOCK_BYTES = 1 << 20
FILE_BYTES = 1 << 16  # less than a block, which then comes without a copy
ZSTD_BYTES = 1 << 12  # unpacked at once: packed text may be a thousand times smaller


class Hashed(io.RawIOBase):
    """A file that hashes what is read from it."""

    def __init__(self, file: io.BufferedReader) -> None:
        self.file = file
        self.digest = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self.file.readinto(buffer)
        self.digest.update(memoryview(buffer)[:count])
        return count

    def close(self) -> None:
        self.file.close()
        super().close()


class _Zlib(io.RawIOBase):
    """A zlib stream, unpacked in bounded memory."""

    def __init__(self, file: Any) -> None:
        self.file = file
        self.stream = zlib.decompressobj()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        while not self.stream.eof:
            packed = self.stream.unconsumed_tail or self.file.read(BLOCK_BYTES)
            if not packed:
                raise EOFError("the stream has no end")
            data = self.stream.decompress(packed, len(view))
            if data:
                view[: len(data)] = data
                return len(data)
        return 0


class _Zstd(io.RawIOBase):
    """Zstandard frames.  Not the reader of the package, which takes a file that is cut off for a whole one."""

    def __init__(self, file: Any, frame: Callable[[], Any]) -> None:
        self.file, self.frame = file, frame
        self.stream: Any = None
        self.packed = self.data = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self.data:
            self.packed = self.packed or self.file.read(ZSTD_BYTES)
            if not self.packed:
                if self.stream is not None:
                    raise EOFError("the frame has no end")
                return 0
            self.stream = self.stream or self.frame()
            self.data = self.stream.decompress(self.packed)
            self.packed = self.stream.unused_data if self.stream.eof else b""
            if self.stream.eof:
                self.stream = None
        view = memoryview(buffer)
        part, self.data = self.data[: len(view)], self.data[len(view) :]
        view[: len(part)] = part
        return len(part)


class _Zip(io.RawIOBase):
    """The members of a zip archive one after another, as DynamoRIO cuts a trace into them.

    Read from its beginning, without the table at the end, so that it can be hashed on the way.
    """

    _HEAD = struct.Struct("<4sHHHHHIIIHH")
    _STORED, _DEFLATED, _LATER, _ENCRYPTED = 0, 8, 8, 1  # methods; flags

    def __init__(self, file: Any) -> None:
        self.file = file
        self.member: Any = None
        self.packed = b""  # read and not used yet
        self.left = self.crc = self.wanted = 0
        self.later = self.done = False

    def readable(self) -> bool:
        return True

    def _take(self, size: int) -> bytes:
        data: bytes = self.packed[:size] + self.file.read(max(size - len(self.packed), 0))
        self.packed = self.packed[size:]
        if len(data) < size:
            raise EOFError("the archive has no end")
        return data

    def _next(self) -> bool:
        """Go to the next member; False at the table of members."""
        head = self._take(4)
        if head in (b"PK\x01\x02", b"PK\x05\x06"):
            while self.file.read(BLOCK_BYTES):  # so that all of the file is hashed
                pass
            self.done = True
            return False
        _, _, flags, method, _, _, self.wanted, self.left, _, name, extra = self._HEAD.unpack(
            head + self._take(self._HEAD.size - 4)
        )
        self._take(name + extra)
        self.later = bool(flags & self._LATER)
        if head != b"PK\x03\x04" or flags & self._ENCRYPTED or method not in (self._STORED, self._DEFLATED):
            raise OSError(f"a member begins with {head!r}, method {method}, flags {flags:#x}")
        if method == self._STORED and self.later:
            raise OSError("a member that is not compressed has no length")
        self.member = zlib.decompressobj(-zlib.MAX_WBITS) if method == self._DEFLATED else None
        self.crc = 0
        return True

    def _end(self) -> None:
        """Check a member that is read to its end."""
        if self.later:
            found = self._take(4)
            self.wanted = int.from_bytes(self._take(4) if found == b"PK\x07\x08" else found, "little")
            # Two lengths follow, of 4 or in large archives of 8 bytes; what comes then says which.
            lengths = self._take(8)
            if (ahead := self._take(4))[:2] == b"PK":
                self.packed = ahead + self.packed
            else:
                lengths += ahead + self._take(4)
        if self.crc != self.wanted:
            raise OSError(f"a member has the checksum {self.crc:#010x}, not {self.wanted:#010x}")

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        inside = self.member is not None or self.left > 0
        while True:
            if not inside and (self.done or not self._next()):
                return 0
            inside = True
            if self.member is None:
                data = self._take(min(self.left, len(view)))
                self.left -= len(data)
                ended = not self.left
            else:
                packed = self.member.unconsumed_tail or self.packed or self.file.read(BLOCK_BYTES)
                if not packed:
                    raise EOFError("a member has no end")
                if not self.member.unconsumed_tail:
                    self.packed = b""
                data = self.member.decompress(packed, len(view))
                ended = self.member.eof
            self.crc = zlib.crc32(data, self.crc)
            if ended:
                if self.member is not None:
                    self.packed = self.member.unused_data + self.packed
                self.member, self.left, inside = None, 0, False
                self._end()
            if data:
                view[: len(data)] = data
                return len(data)


def unpacked(raw: io.RawIOBase, name: str) -> tuple[str, Any]:
    """How a file is packed, by its first bytes, and a stream of its content."""
    file = io.BufferedReader(raw, FILE_BYTES)
    magic = file.peek(6)[:6]
    if magic[:2] == b"\x1f\x8b":
        return "gzip", gzip.GzipFile(fileobj=file)
    if magic == b"\xfd7zXZ\0":
        return "xz", lzma.LZMAFile(file)
    if magic[:3] == b"BZh":
        return "bzip2", bz2.BZ2File(file)
    if magic[:2] in (b"x\x01", b"x\x9c", b"x\xda"):
        return "zlib", io.BufferedReader(_Zlib(file), BLOCK_BYTES)
    if magic[:4] == b"PK\x03\x04":
        return "zip", io.BufferedReader(_Zip(file), BLOCK_BYTES)
    if magic[:4] == b"\x04\x22\x4d\x18":
        try:
            import lz4.frame
        except ImportError:
            raise TraceError(f"{name}: is packed with lz4; pip install lz4, or unpack it first") from None
        return "lz4", lz4.frame.LZ4FrameFile(file)
    if magic[:4] == b"\x28\xb5\x2f\xfd":
        try:
            import zstandard
        except ImportError:
            raise TraceError(f"{name}: is packed with zstd; pip install zstandard, or unpack it first") from None
        return "zstd", io.BufferedReader(_Zstd(file, zstandard.ZstdDecompressor().decompressobj), BLOCK_BYTES)
    return "none", file


def damage() -> tuple[type[Exception], ...]:
    """What unpacking a damaged file raises."""
    known: list[type[Exception]] = [EOFError, OSError, RuntimeError, zlib.error, lzma.LZMAError]
    with contextlib.suppress(ImportError):
        import zstandard

        known.append(zstandard.ZstdError)
    return tuple(known)
