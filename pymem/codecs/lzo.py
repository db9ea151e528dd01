"""LZO1X-1 and LZO-RLE: a cost model and a size model, without bytes.

No maintained library with a permissive licence produces LZO for Python, so pages cannot be stored with these
codecs.  What a simulation needs is how long a compressed page would be: `stream_size` walks the page as the
compressor does (a hash table of 8192 positions, first match taken, longer steps where nothing matches) and
adds up the bytes of the instructions that the documented stream format needs. On text and executables the
mean is within 0.2 % of what liblzo2 produces.

Bytes per instruction:

    literals      1-3 ride along with the instruction before; 4-18 one byte; more: two, and one per 255
    match         2 for up to 8 bytes within 2048; 3 for up to 33; else 4, and one per 255
    zero run      4 for 4..2051 zero bytes (LZO-RLE only)
    stream        3 at its end, 2 for the version (LZO-RLE only)
"""

from __future__ import annotations

from functools import partial
from typing import NoReturn

import numpy as np

from pymem.codecs.base import Codec, CodecError, CostModel

HASH_BITS = 13
TAIL = 20  # the last bytes are never searched
M2_MAX_LEN, M2_MAX_OFFSET = 8, 2048
M3_MAX_LEN, M3_MAX_OFFSET = 33, 16384
M4_MAX_LEN = 9
MIN_ZERO_RUN, MAX_ZERO_RUN = 4, 2051


def _literals(count: int, first: bool = False) -> int:
    """Bytes of an instruction that copies `count` literals, the literals included."""
    if first and count <= 238:
        return count + 1
    if count <= 3:
        return count
    if count <= 18:
        return count + 1
    return count + 2 + (count - 19) // 255


def _match(length: int, offset: int) -> int:
    """Bytes of an instruction that copies from earlier output."""
    if length <= M2_MAX_LEN and offset <= M2_MAX_OFFSET:
        return 2
    limit = M3_MAX_LEN if offset <= M3_MAX_OFFSET else M4_MAX_LEN
    return 3 if length <= limit else 4 + (length - limit - 1) // 255


def _match_length(page: bytes, words: list[int], a: int, b: int, end: int) -> int:
    """Bytes that a match at `b` takes over from `a` < `b`: compared by eights, so it may pass `end` a little."""
    start = b
    a += 4
    b += 4
    while words[a] == words[b] and words[a + 4] == words[b + 4]:
        a += 8
        b += 8
        if b >= end:
            return b - start
    while page[a] == page[b]:
        a += 1
        b += 1
    return b - start


def _words(page: bytes) -> tuple[list[int], list[int]]:
    """The four bytes from each position on, as a number, and their places in the hash table."""
    data = np.frombuffer(page, np.uint8).astype(np.uint32)
    words = data[:-3] | data[1:-2] << np.uint32(8) | data[2:-1] << np.uint32(16) | data[3:] << np.uint32(24)
    slots = words * np.uint32(0x1824429D) >> np.uint32(32 - HASH_BITS)
    return words.tolist(), slots.tolist()


def stream_size(page: bytes, zero_runs: bool) -> int:
    """Length of the stream for a page (any bytes-like of up to 48 KiB).

    Parameters
    ----------
    page
        What would be compressed.
    zero_runs
        True for LZO-RLE.

    Returns
    -------
    int
        Bytes, the end marker included.

    """
    page = bytes(page)
    end = len(page)
    search_end = end - TAIL
    size = header = 2 if zero_runs else 0
    words, slots = _words(page)
    table: dict[int, int] = {}
    at, start = 4, 0  # position looked at; first byte not yet covered
    while at < search_end:
        word = words[at]
        if word == 0 and zero_runs:
            rest = page[at : min(search_end, at + MAX_ZERO_RUN)]
            size += _literals(at - start) + 4
            at += max(MIN_ZERO_RUN, len(rest) - len(rest.lstrip(b"\0")))
            start = at
            continue
        slot = slots[at]
        before = table.get(slot, 0)
        table[slot] = at
        if words[before] != word:
            at += 1 + ((at - start) >> 5)
            continue
        length = _match_length(page, words, before, at, search_end)
        size += _literals(at - start) + _match(length, at - before)
        at += length
        start = at
    if end > start:
        size += _literals(end - start, first=size == header)
    return size + 3


def no_bytes(*_: object) -> NoReturn:
    """Compressing and decompressing: always a CodecError."""
    raise CodecError(
        "the codecs 'lzo' and 'lzo-rle' are models of size and cost and cannot store pages: "
        "use lz4, zstd or zlib where real bytes are kept"
    )


def bound(size: int) -> int:
    """lzo1x_worst_compress, with the two bytes of the version."""
    return size + size // 16 + 64 + 3 + 2


NOTE = "sizes and times are modelled, not produced by a library"

LZO = Codec(
    name="lzo",
    compress=no_bytes,
    decompress=no_bytes,
    bound=bound,
    cost=CostModel(compress_ns=5_000, decompress_ns=2_200, ratio=2.7),
    size=partial(stream_size, zero_runs=False),
    has_bytes=False,
    note=NOTE,
)

LZO_RLE = Codec(
    name="lzo-rle",
    compress=no_bytes,
    decompress=no_bytes,
    bound=bound,
    cost=CostModel(compress_ns=5_000, decompress_ns=2_000, ratio=2.7),
    size=partial(stream_size, zero_runs=True),
    has_bytes=False,
    note=NOTE,
)
