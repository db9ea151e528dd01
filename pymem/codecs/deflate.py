"""Deflate as the kernel's `deflate` does it (raw, level 6, window of 2 KiB), through zlib of the library."""

from __future__ import annotations

import zlib

from pymem.codecs.base import Codec, CodecError, CostModel

LEVEL = 6
WINDOW_BITS = -11  # negative: no header and no checksum
MEMORY_LEVEL = 9


def compress(page: bytes) -> bytes:
    """A raw deflate stream."""
    stream = zlib.compressobj(LEVEL, zlib.DEFLATED, WINDOW_BITS, MEMORY_LEVEL)
    return stream.compress(page) + stream.flush()


def decompress(data: bytes, size: int) -> bytes:
    """Original bytes of a stream. Raises CodecError for damaged data."""
    stream = zlib.decompressobj(WINDOW_BITS)
    try:
        out = stream.decompress(data, size)
    except zlib.error as error:
        raise CodecError(f"zlib: {len(data)} bytes do not decompress to {size}: {error}") from None
    if not stream.eof and len(out) < size:
        raise CodecError(f"zlib: {len(data)} bytes end after {len(out)} of {size}")
    return out


def bound(size: int) -> int:
    """The general bound of deflate for any window and memory level."""
    return size + ((size + 7) >> 3) + ((size + 63) >> 6) + 5


def compressed_size(page: bytes) -> int:
    """Length of the stream."""
    return len(compress(page))


# On pages of executables this takes 7 times as long as zstd to compress and 2.6 times as long to decompress,
# at the same ratio; the costs are zstd's times these factors.
CODEC = Codec(
    name="zlib",
    compress=compress,
    decompress=decompress,
    bound=bound,
    cost=CostModel(compress_ns=98_000, decompress_ns=13_000, ratio=3.4),
    size=compressed_size,
)
