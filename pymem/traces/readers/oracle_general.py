"""Requests as libCacheSim keeps them: 24 bytes each, with the number of the next request to the same object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from .base import Batch, Reader
from .requests import MOST_OPERATION, batch, next_is_later, next_is_same

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from .base import Source

REQUEST = np.dtype([("time", "<u4"), ("id", "<u8"), ("size", "<u4"), ("next", "<i8")])
REQUEST_OP = np.dtype([
    ("time", "<u4"), ("id", "<u8"), ("size", "<u4"), ("op", "u1"), ("namespace", "<u2"), ("next", "<i8"),
])  # fmt: skip


class OracleGeneral(Reader):
    """Every request reads its object: the format has no operations."""

    name = "oracleGeneral"
    title = "libCacheSim oracleGeneral"
    kind = "key"
    layout: ClassVar[np.dtype[Any]] = REQUEST
    accepted: ClassVar[str] = "a request whose next one (-1: none) comes after it"

    def sniff(self, head: bytes) -> bool:
        size = self.layout.itemsize
        count = len(head) // size
        if not count or (len(head) < 1 << 16 and len(head) % size):
            return False
        found = np.frombuffer(head, self.layout, count)
        steps = np.diff(found["time"].astype(np.int64))
        return bool(
            self.plausible(found, 0).all() and (steps >= 0).all() and next_is_same(found["next"], found["id"])
        )

    def plausible(self, found: NDArray[np.void], first: int) -> NDArray[np.bool_]:
        """Which records can be requests, the first of them number `first`."""
        return next_is_later(found["next"], first)

    def read(self, source: Source) -> Iterator[Batch]:
        for first, found in source.records(self.layout, f"{self.name} request"):
            yield batch(source, found, first, self.accepted)


class OracleGeneralOpNS(OracleGeneral):
    """The variant of 27 bytes with an operation; the namespace is not used."""

    name = "oracleGeneralOpNS"
    title = "libCacheSim oracleGeneralOpNS"
    layout = REQUEST_OP
    accepted = f"a request with an operation of 0 to {MOST_OPERATION}, whose next one (-1: none) comes after it"

    def plausible(self, found: NDArray[np.void], first: int) -> NDArray[np.bool_]:
        return next_is_later(found["next"], first) & (found["op"] <= MOST_OPERATION)


