"""A pool of compressed pages with real bytes: what zswap or zram would hold, usable on its own.

>>> from pymem.compressed_pool import CompressedPool
>>> pool = CompressedPool(codec="zlib")
>>> handle = pool.store(b"abcdefgh" * 511 + b"12345678")
>>> len(pool.load(handle)), pool.stats()["pool_bytes"]
(4096, 4096)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from memcore.compressed_pool import CompressedPool as _CompressedPool
from memcore.compressed_pool import PoolModel
from pymem.codecs import DEFAULT, with_bytes
from pymem.errors import PymemError

if TYPE_CHECKING:
    from pymem.codecs import Codec

__all__ = ["CompressedPool", "PoolError", "PoolModel"]


class PoolError(PymemError):
    """A pool was asked for with impossible parameters."""


class CompressedPool(_CompressedPool):
    """Pages of 4096 bytes, compressed by a codec, in frames shared out by one of the kernel's allocators.

    `store` returns a handle for `load` and `free`; `compact` moves objects together; `stats` says what is
    stored and what it takes. A failed store changes nothing. Same-filled pages take no memory, pages that
    compress to `huge_class_size` bytes or more are kept as they are.

    Parameters
    ----------
    codec
        Name or `Codec` that produces real bytes: "lz4", "zstd" or "zlib".
    allocator
        "zsmalloc", or "zbud" (at most two objects per frame).
    chain
        Most frames per zspage, 4..16: CONFIG_ZSMALLOC_CHAIN_SIZE, 8 since Linux 6.3 and 4 before.
    kernel
        "6.1" or "6.12"; None takes 6.1 for a chain of 4 and for zbud.
    max_bytes
        Limit on the memory of the pool, rounded down to frames; None: no limit.

    Raises
    ------
    CodecError
        Unknown codec, one without real bytes, or one whose library is not installed.
    PoolError
        Another parameter out of its range.

    """

    def __init__(
        self,
        codec: str | Codec = DEFAULT,
        *,
        allocator: str = "zsmalloc",
        chain: int = 8,
        kernel: str | None = None,
        max_bytes: int | None = None,
    ) -> None:
        found = with_bytes(codec)
        try:
            super().__init__(found, allocator=allocator, chain=chain, kernel=kernel, max_bytes=max_bytes)
        except ValueError as error:
            raise PoolError(str(error)) from None
