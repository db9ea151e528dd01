"""The container of a native trace, byte by byte (little-endian; docs/traces.md has the same as a table).

::

    file      header, chunk 0, chunk 1, ..., footer, trailer; nothing in between
    header    32 bytes: magic, version, reserved, CRC-32 of the 28 bytes before
    chunk     header of 48 bytes: "CHNK", number, task, records, bytes of the payload, CRC-32 of the payload,
              reserved, CRC-32 of the 44 bytes before; then the payload
    payload   columns, each: id, codec, reserved, bytes unpacked, bytes stored, reserved; then the stored
              bytes, padded with zeros to a multiple of 16
    footer    JSON in UTF-8: tasks, regions, provenance, SHA-256 of the content, table of the chunks
    trailer   32 bytes: place and length of the footer, its CRC-32, magic, CRC-32 of the 28 bytes before

Every byte of a file is under a checksum, so that damage never becomes data.  Chunks and columns begin at
multiples of 16 bytes: columns that are stored as they are can be mapped into memory.
"""

from __future__ import annotations

import functools
import lzma
import struct
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

from pymem.errors import TraceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MAGIC = b"\x89PMT\r\n\x1a\n"
END_MAGIC = b"PMT end\n"
CHUNK_MAGIC = b"CHNK"
VERSION = 1

HEADER = struct.Struct("<8sI16xI")
CHUNK = struct.Struct("<4sIIIQI16xI")
COLUMN = struct.Struct("<BB2xIII")
TRAILER = struct.Struct("<QQI8sI")
ALIGN = 16

#: Most records of one stored chunk; readers need 8 bytes for each.
MAX_CHUNK_RECORDS = 1 << 20
MAX_CHUNK_BYTES = MAX_CHUNK_RECORDS * 32
MAX_FOOTER_BYTES = 1 << 30

NONE, LZMA, ZLIB = 0, 1, 2
COMPRESSIONS = {"none": NONE, "lzma": LZMA, "zlib": ZLIB}
LEAST_DICTIONARY = 1 << 12  # of LZMA2
_LZMA_FILTER = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 1 << 23}]


class Column(NamedTuple):
    """One column of a chunk: where its stored bytes lie in the payload."""

    id: int
    codec: int
    unpacked: int
    data: memoryview


class Chunk(NamedTuple):
    """Header of a chunk."""

    number: int
    task: int
    records: int
    payload_bytes: int
    payload_crc: int


class Payload(NamedTuple):
    """Columns of a chunk on their way into a file: bytes in several parts, how many there are, and their CRC-32."""

    parts: list[Any]
    size: int
    crc: int


def damaged(path: str, what: str) -> TraceError:
    """The error for a file that is not what it claims to be."""
    return TraceError(f"{path}: {what}; the trace is damaged, get or record it again")


def pack_header() -> bytes:
    """The first 32 bytes of a file."""
    return _sealed(HEADER.pack(MAGIC, VERSION, 0))


def check_header(path: str, data: bytes) -> None:
    """Raise TraceError unless these are the first bytes of a trace of this version."""
    if data[:8] != MAGIC:
        raise TraceError(f"{path}: not a pymem trace; it begins with {data[:8]!r}, accepted is {MAGIC!r}")
    if len(data) < HEADER.size:
        raise damaged(path, f"the file ends after {len(data)} bytes, within the header of {HEADER.size}")
    _, version, _ = HEADER.unpack(data)
    if not _is_sealed(data):
        raise damaged(path, "header with wrong checksum")
    if version != VERSION:
        raise TraceError(f"{path}: trace of version {version}; this pymem reads version {VERSION}")
    if data != pack_header():
        raise damaged(path, "header with reserved bytes in use")


def pack_chunk(number: int, task: int, records: int, payload: Payload) -> bytes:
    """Header of a chunk."""
    return _sealed(CHUNK.pack(CHUNK_MAGIC, number, task, records, payload.size, payload.crc, 0))


def read_chunk(path: str, number: int, data: bytes) -> Chunk:
    """Check and unpack the header of chunk `number`."""
    if len(data) < CHUNK.size:
        raise damaged(path, f"chunk {number}: the file ends within its header")
    magic, found, task, records, size, crc, _ = CHUNK.unpack(data)
    if magic != CHUNK_MAGIC or not _is_sealed(data):
        raise damaged(path, f"chunk {number}: header with wrong checksum (it begins with {data[:4]!r})")
    if found != number or not 0 < records <= MAX_CHUNK_RECORDS or size > MAX_CHUNK_BYTES:
        raise damaged(path, f"chunk {number}: header says number {found}, {records} records, {size} bytes")
    return Chunk(found, task, records, size, crc)


def check_payload(path: str, chunk: Chunk, payload: memoryview | bytes) -> None:
    """Raise TraceError unless the payload is whole and has the right checksum."""
    if len(payload) != chunk.payload_bytes:
        raise damaged(
            path, f"chunk {chunk.number}: {len(payload)} of {chunk.payload_bytes} bytes, the file is too short"
        )
    crc = zlib.crc32(payload)
    if crc != chunk.payload_crc:
        raise damaged(
            path, f"chunk {chunk.number}: checksum of the data is {crc:#010x}, not {chunk.payload_crc:#010x}"
        )


def pack_columns(columns: Iterable[tuple[int, int, Any]], level: int | None = None) -> Payload:
    """Columns, given as id, codec and array, one after another.

    One is stored as it is where packing would not make it smaller.
    """
    parts: list[Any] = []
    for ident, codec, column in columns:
        data = memoryview(column.astype(column.dtype.newbyteorder("<"), copy=False)).cast("B")
        stored = _packed(data, codec, level)
        if len(stored) >= len(data):
            codec, stored = NONE, data
        parts += (COLUMN.pack(ident, codec, len(data), len(stored), 0), stored, bytes(-len(stored) % ALIGN))
    return Payload(parts, sum(map(len, parts)), functools.reduce(lambda crc, part: zlib.crc32(part, crc), parts, 0))


def _packed(data: memoryview, codec: int, level: int | None) -> bytes | memoryview:
    if codec == LZMA:
        # A larger dictionary than the data would only be cleared for nothing.
        settings = {"preset": 6 if level is None else level, "dict_size": max(len(data), LEAST_DICTIONARY)}
        filters = [{**_LZMA_FILTER[0], **settings}]
        return lzma.compress(data, lzma.FORMAT_RAW, filters=filters)
    return data if codec == NONE else zlib.compress(data, 1 if level is None else level)


def read_columns(path: str, number: int, payload: memoryview) -> list[Column]:
    """Split the payload of chunk `number`, whose checksum was right."""
    columns, place = [], 0
    while place < len(payload):
        head = payload[place : place + COLUMN.size]
        if len(head) < COLUMN.size:
            raise damaged(path, f"chunk {number}: {len(head)} bytes after the last column")
        ident, codec, unpacked, stored, _ = COLUMN.unpack(head)
        place += COLUMN.size
        if unpacked > MAX_CHUNK_BYTES or place + stored > len(payload):
            raise damaged(path, f"chunk {number}: column {ident} of {stored} bytes does not fit")
        columns.append(Column(ident, codec, unpacked, payload[place : place + stored]))
        place += stored + -stored % ALIGN
    return columns


def unpack(path: str, number: int, column: Column) -> bytes | memoryview:
    """The bytes of a column."""
    makers: dict[int, Callable[[], lzma.LZMADecompressor | zlib._Decompress]] = {
        LZMA: lambda: lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_LZMA_FILTER),
        ZLIB: zlib.decompressobj,
    }
    if column.codec == NONE:
        data: bytes | memoryview = column.data
    elif column.codec in makers:
        try:
            data = makers[column.codec]().decompress(column.data, column.unpacked + 1)
        except (lzma.LZMAError, zlib.error) as error:
            raise damaged(path, f"chunk {number}: column {column.id} does not unpack ({error})") from None
    else:
        raise damaged(path, f"chunk {number}: column {column.id} with unknown codec {column.codec}")
    if len(data) != column.unpacked:
        raise damaged(path, f"chunk {number}: column {column.id} unpacks to another size than {column.unpacked}")
    return data


def pack_trailer(footer_at: int, footer: bytes) -> bytes:
    """The last 32 bytes of a file."""
    return _sealed(TRAILER.pack(footer_at, len(footer), zlib.crc32(footer), END_MAGIC, 0))


def read_trailer(path: str, data: bytes, file_bytes: int) -> tuple[int, int, int]:
    """Place, length and checksum of the footer."""
    if len(data) < TRAILER.size or data[20:28] != END_MAGIC:
        raise damaged(path, f"the file of {file_bytes} bytes has no end mark: it was cut off or not written to its end")
    place, length, crc, _, _ = TRAILER.unpack(data)
    if not _is_sealed(data):
        raise damaged(path, "trailer with wrong checksum")
    if place + length + TRAILER.size != file_bytes or place < HEADER.size or length > MAX_FOOTER_BYTES:
        raise damaged(path, f"trailer names a footer of {length} bytes at {place} in a file of {file_bytes}")
    return place, length, crc


def check_footer(path: str, footer: bytes, crc: int) -> None:
    """Raise TraceError unless the footer has the right checksum."""
    found = zlib.crc32(footer)
    if found != crc:
        raise damaged(path, f"checksum of the footer is {found:#010x}, not {crc:#010x}")


def _sealed(data: bytes) -> bytes:
    """A structure whose last four bytes become the checksum of the others."""
    return data[:-4] + struct.pack("<I", zlib.crc32(data[:-4]))


def _is_sealed(data: bytes) -> bool:
    return _sealed(data) == bytes(data)
