"""Zstandard at the kernel's default level 3 with parameters for 4 KiB, through the zstandard package."""

from __future__ import annotations

import threading
from importlib.util import find_spec

from pymem.codecs.base import PAGE_SIZE, Codec, CodecError, CostModel, missing_library

INSTALLED = find_spec("zstandard") is not None
LEVEL = 3


def bound(size: int) -> int:
    """ZSTD_COMPRESSBOUND."""
    return size + (size >> 8) + ((128 * 1024 - size) >> 11 if size < 128 * 1024 else 0)


if INSTALLED:
    import zstandard

    PARAMETERS = zstandard.ZstdCompressionParameters.from_level(
        LEVEL, source_size=PAGE_SIZE, write_content_size=False, write_checksum=False, write_dict_id=False
    )

    class Contexts(threading.local):
        """One pair of contexts for each thread: they let go of the interpreter lock, but cannot be shared."""

        def __init__(self) -> None:
            self.compress = zstandard.ZstdCompressor(compression_params=PARAMETERS).compress
            self.decompress = zstandard.ZstdDecompressor().decompress

    contexts = Contexts()

    def compress(page: bytes) -> bytes:
        """One frame without content size and checksum."""
        out: bytes = contexts.compress(page)
        return out

    def decompress(data: bytes, size: int) -> bytes:
        """Original bytes of a frame. Raises CodecError for damaged data."""
        try:
            out: bytes = contexts.decompress(data, max_output_size=size)
        except zstandard.ZstdError as error:
            raise CodecError(f"zstd: {len(data)} bytes do not decompress to {size}: {error}") from None
        return out
else:
    compress = decompress = missing_library("zstd", "zstandard")


def compressed_size(page: bytes) -> int:
    """Length of the frame."""
    return len(compress(page))


CODEC = Codec(
    name="zstd",
    compress=compress,
    decompress=decompress,
    bound=bound,
    cost=CostModel(compress_ns=14_000, decompress_ns=5_000, ratio=3.4),
    size=compressed_size,
    installed=INSTALLED,
)
