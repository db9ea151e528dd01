"""Requests in libCacheSim's own format lcs, versions 1 to 8: a header of 8192 bytes, then records of fixed length."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np

from pymem.errors import TraceError

from .base import Batch, Reader
from .requests import MOST_OPERATION, batch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .base import Source

MAGIC = struct.pack("<Q", 0x123456789ABCDEF0)
HEADER_BYTES = 8192
_FEATURES = {4: 1, 5: 2, 6: 4, 7: 8, 8: 16}


def _layout(version: int) -> np.dtype[np.void]:
    tail = [("next", "<i8")]
    if version == 1:
        return np.dtype([("time", "<u4"), ("id", "<u8"), ("size", "<u4"), *tail])
    if version == 2:
        return np.dtype([("time", "<u4"), ("id", "<u8"), ("size", "<u4"), ("op", "<u4"), *tail])
    head = [("time", "<u4"), ("id", "<u8"), ("size", "<i8"), ("op", "<u4"), ("ttl", "<u4"), *tail]
    return np.dtype([*head, ("features", "<u4", (_FEATURES[version],))] if version > 3 else head)


LAYOUTS = {version: _layout(version) for version in range(1, 9)}


def header(version: int, requests: int) -> bytes:
    """A header as libCacheSim writes it, its statistics left at 0 but for the number of requests."""
    return MAGIC + struct.pack("<QqQ", version, 1, requests).ljust(HEADER_BYTES - 16, b"\0") + MAGIC


class Lcs(Reader):
    """Version 1 has no operations and reads all its objects; tenants, times to live and features are not used."""

    name = "lcs"
    title = "libCacheSim lcs, versions 1 to 8"
    kind = "key"

    def sniff(self, head: bytes) -> bool:
        return head.startswith(MAGIC)

    def read(self, source: Source) -> Iterator[Batch]:
        head = source.head[:HEADER_BYTES]
        if len(head) < HEADER_BYTES or not head.startswith(MAGIC) or not head.endswith(MAGIC):
            raise TraceError(
                f"{source.name}, header: {head[:16]!r} ... {head[-8:]!r}; accepted are {HEADER_BYTES} bytes that begin "
                f"and end with {MAGIC!r}, as libCacheSim writes them since December 2024"
            )
        version, _, requests = struct.unpack_from("<QqQ", head, 8)
        if version not in LAYOUTS:
            raise TraceError(f"{source.name}, header: lcs of version {version}; accepted are 1 to {max(LAYOUTS)}")
        accepted = f"a request with an operation of 0 to {MOST_OPERATION}, up to 1 TiB, whose next one comes after it"
        seen = 0
        for first, found in source.records(LAYOUTS[version], f"lcs {version} record", skip=HEADER_BYTES):
            seen = first + len(found)
            yield batch(source, found, first, accepted)
        if requests and seen != requests:
            what = f"a file of the {requests} requests that its header counts; there are {seen}"
            source.reject("header", head[24:32], what)
