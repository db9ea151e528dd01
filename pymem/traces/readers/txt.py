"""One object per line, as libCacheSim's txt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .base import Batch, Reader
from .text import sniffed, tables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .base import Source


class Txt(Reader):
    """Numbers up to 64 bits, each an object of one page that is read."""

    name = "txt"
    title = "libCacheSim txt: one id per line"
    kind = "key"

    def sniff(self, head: bytes) -> bool:
        return sniffed(head, rb"\d{1,20}")

    def read(self, source: Source) -> Iterator[Batch]:
        for table in tables(source, 1, 1):
            key = table.decimal(0)
            good = table.good(source, "one whole number")
            count = int(good.sum())
            yield Batch(key[good], np.ones(count, np.int64), np.zeros(count, np.bool_))
