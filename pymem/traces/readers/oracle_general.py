"""Requests as libCacheSim keeps them: 24 bytes each, with the number of the next request to the same object."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .base import Batch, Reader

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from .base import Source

REQUEST = np.dtype([("time", "<u4"), ("id", "<u8"), ("size", "<u4"), ("next", "<i8")])
NEVER = np.int64((1 << 63) - 1)
_MOST_REQUESTS = 1 << 48


class OracleGeneral(Reader):
    """Every request reads its object: the format has no operations."""

    name = "oracleGeneral"
    title = "libCacheSim oracleGeneral"
    kind = "key"

    def sniff(self, head: bytes) -> bool:
        count = len(head) // REQUEST.itemsize
        if not count or (len(head) < 1 << 16 and len(head) % REQUEST.itemsize):
            return False
        found = np.frombuffer(head, REQUEST, count)
        steps = np.diff(found["time"].astype(np.int64))
        if not (_plausible(found, 0).all() and (steps >= 0).all()):
            return False
        # Where the next request to an object is in sight it is one to that object.
        inside = (found["next"] > 0) & (found["next"] <= count)
        return bool((found["id"][found["next"][inside] - 1] == found["id"][inside]).all())

    def read(self, source: Source) -> Iterator[Batch]:
        for first, found in source.records(REQUEST, "oracleGeneral request"):
            accepted = "a request whose next one (-1: none) comes after it"
            kept = source.good_records(_plausible(found, first), first, found, accepted)
            yield Batch(
                kept["id"].astype(np.uint64), kept["size"].astype(np.int64), np.zeros(len(kept), np.bool_),
                kept["time"].astype(np.int64) * 10**9,
            )  # fmt: skip


def _plausible(found: NDArray[np.void], first: int) -> NDArray[np.bool_]:
    """Next requests are counted from 1, so that of record i is at least i + 2."""
    following = found["next"]
    number = first + np.arange(len(found))
    later = (following >= number + 2) & (following < _MOST_REQUESTS)
    return np.asarray(later | (following == -1) | (following == NEVER))
