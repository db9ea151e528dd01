"""Cache traces of Twitter: ``timestamp,key,key_size,value_size,client_id,operation,ttl``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .base import Batch, Reader
from .keys import OPERATIONS, Keys, batch
from .text import sniffed, tables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .base import Source

_MOST = 1 << 30


class Twitter(Reader):
    """An object is its key and value; deletes are counted and left out."""

    name = "twitter"
    title = "Twitter cache trace csv"
    kind = "key"

    def sniff(self, head: bytes) -> bool:
        return sniffed(head, rb"\d{1,12},[^,]+,\d{1,9},\d{1,9},\d{1,9},[a-z]{3,9},\d{1,12}")

    def read(self, source: Source) -> Iterator[Batch]:
        keys = Keys()
        for table in tables(source, 7, 7, comma=True):
            time = table.decimal(0, (1 << 62) // 10**9).astype(np.int64) * 10**9
            size = (table.decimal(2, _MOST) + table.decimal(3, _MOST)).astype(np.int64)
            table.decimal(4)
            operation = table.word(5, OPERATIONS)
            table.decimal(6)
            table.ok &= table.span(1)[1] > 0
            good = table.good(source, "timestamp,key,key_size,value_size,client_id,operation,ttl")
            texts = [text for text, ok in zip(table.texts(1), good.tolist(), strict=True) if ok]
            yield batch(source, keys.numbers(texts), size[good], operation[good], time[good])
