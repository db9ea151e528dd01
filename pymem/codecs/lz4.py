"""LZ4: raw blocks as the kernel's `lz4` makes them, through the lz4 package."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

from pymem.codecs.base import Codec, CodecError, CostModel, missing_library

if TYPE_CHECKING:
    from collections.abc import Callable

INSTALLED = find_spec("lz4") is not None


def bound(size: int) -> int:
    """LZ4_COMPRESSBOUND."""
    return size + size // 255 + 16


if INSTALLED:
    import lz4.block

    def decompress(data: bytes, size: int) -> bytes:
        """Original bytes of a block. Raises CodecError for damaged data."""
        try:
            out: bytes = lz4.block.decompress(data, uncompressed_size=size)
        except lz4.block.LZ4BlockError as error:
            raise CodecError(f"lz4: {len(data)} bytes do not decompress to {size}: {error}") from None
        return out

    compress: Callable[[bytes], bytes] = partial(lz4.block.compress, store_size=False)
else:
    compress = decompress = missing_library("lz4", "lz4")


def compressed_size(page: bytes) -> int:
    """Length of the block."""
    return len(compress(page))


CODEC = Codec(
    name="lz4",
    compress=compress,
    decompress=decompress,
    bound=bound,
    cost=CostModel(compress_ns=4_000, decompress_ns=1_000, ratio=2.6),
    size=compressed_size,
    installed=INSTALLED,
)
