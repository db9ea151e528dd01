"""Traces of CacheLib's key-value caches: a first line with ``key,op,size,op_count,key_size`` and perhaps more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pymem.errors import TraceError

from .base import Batch, Reader
from .keys import OPERATIONS, Keys, batch
from .text import tables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .base import Source

_NEEDED = ("key", "op", "size", "op_count", "key_size")
_MOST_SIZE = 1 << 30
#: A line may stand for as many requests.
_MOST_COUNT = 1 << 20
_SLICE = 1 << 18


def _header(head: bytes) -> list[str]:
    return [name.strip() for name in head.split(b"\n", 1)[0].decode("latin-1").split(",")]


class KvCache(Reader):
    """A line is `op_count` equal requests; an object is its key and value; deletes are counted and left out."""

    name = "kvcache"
    title = "CacheLib kvcache csv"
    kind = "key"

    def sniff(self, head: bytes) -> bool:
        return set(_NEEDED) <= set(_header(head))

    def read(self, source: Source) -> Iterator[Batch]:
        names = _header(source.head)
        if not set(_NEEDED) <= set(names):
            found = source.head.split(b"\n", 1)[0][:60]
            raise TraceError(f"{source.name}, line 1: {found!r}; accepted is a line that names {', '.join(_NEEDED)}")
        column = {name: names.index(name) for name in _NEEDED}
        keys = Keys()
        for table in tables(source, len(names), len(names), comma=True, header=True):
            operation = table.word(column["op"], OPERATIONS)
            size = table.decimal(column["size"], _MOST_SIZE) + table.decimal(column["key_size"], _MOST_SIZE)
            count = table.decimal(column["op_count"], _MOST_COUNT)
            table.ok &= table.span(column["key"])[1] > 0
            accepted = f"{len(names)} fields, a known op, sizes up to 1 GiB, op_count up to {_MOST_COUNT}"
            good = table.good(source, accepted)
            texts = [text for text, ok in zip(table.texts(column["key"]), good.tolist(), strict=True) if ok]
            key = keys.numbers(texts)
            sizes, operation, counts = size[good].astype(np.int64), operation[good], count[good].astype(np.int64)
            # Lines in groups, so that counts do not make an array without bound.
            for rows in np.split(np.arange(len(key)), np.flatnonzero(np.diff(np.cumsum(counts) // _SLICE)) + 1):
                row = np.repeat(rows, counts[rows])
                yield batch(source, key[row], sizes[row], operation[row])
