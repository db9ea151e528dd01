"""Requests as webcachesim (LRB) reads them: ``time id size``, perhaps with numbers of features behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .base import Batch, Reader
from .text import Table, sniffed, tables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .base import Source

_MOST_SIZE = 1 << 40


class WebCacheSim(Reader):
    """All requests read; features are not used."""

    name = "webcachesim"
    title = "webcachesim (LRB)"
    kind = "key"

    def sniff(self, head: bytes) -> bool:
        if not sniffed(head, rb"\d{1,18}(?:[ \t]+\d{1,20}){2,40}"):
            return False
        # Columns of numbers could be anything; what tells the times apart is that they never fall.
        whole = head[: head.rfind(b"\n") + 1] or head + b"\n"
        time = Table(whole, 1, 3, 64).decimal(0).astype(np.int64)
        return bool((np.diff(time) >= 0).all())

    def read(self, source: Source) -> Iterator[Batch]:
        for table in tables(source, 3, 64):
            time = table.decimal(0, (1 << 62) // 10**9).astype(np.int64) * 10**9
            key, size = table.decimal(1), table.decimal(2, _MOST_SIZE)
            good = table.good(source, "time in seconds, a whole number for the object, its bytes up to 1 TiB")
            yield Batch(key[good], size[good].astype(np.int64), np.zeros(int(good.sum()), np.bool_), time[good])
