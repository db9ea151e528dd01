"""Block traces of cloud providers: Alibaba's ``device,R,offset,length,us`` and Tencent's ``s,offset,size,0,volume``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .base import Batch, Reader
from .blocks import MOST_OFFSET, MOST_SIZE, SECTOR, Streams
from .text import sniffed, tables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .base import Source
    from .text import Table

_MOST_NUMBER = (1 << 32) - 1


def _devices(prefix: bytes, table: Table, column: int, good: list[bool], known: Streams) -> np.ndarray:
    texts = [prefix + text for text, ok in zip(table.texts(column), good, strict=True) if ok]
    return known.numbers(texts)


class Alibaba(Reader):
    """Each device is a file; bytes and microseconds."""

    name = "alibaba"
    title = "Alibaba block trace csv"
    kind = "block"

    def sniff(self, head: bytes) -> bool:
        return sniffed(head, rb"\d{1,10},[RW],\d{1,16},\d{1,10},\d{1,17}")

    def read(self, source: Source) -> Iterator[Batch]:
        known = Streams()
        for table in tables(source, 5, 5, comma=True):
            table.decimal(0, _MOST_NUMBER)
            write = table.word(1, {b"R": 0, b"W": 1})
            place, size = table.decimal(2, MOST_OFFSET), table.decimal(3, MOST_SIZE)
            time = table.decimal(4, (1 << 62) // 1000).astype(np.int64) * 1000
            good = table.good(source, "device, R or W, offset below 4 PiB, length up to 1 GiB, microseconds")
            stream = _devices(b"device", table, 0, good.tolist(), known)
            self.streams = known.names
            yield Batch(place[good], size[good].astype(np.int64), write[good] == 1, time[good], stream)


class Tencent(Reader):
    """Each volume is a file; sectors of 512 bytes and seconds."""

    name = "tencent"
    title = "Tencent block trace csv"
    kind = "block"

    def sniff(self, head: bytes) -> bool:
        return sniffed(head, rb"\d{10},\d{1,16},\d{1,10},[01],\d{1,10}")

    def read(self, source: Source) -> Iterator[Batch]:
        known = Streams()
        for table in tables(source, 5, 5, comma=True):
            time = table.decimal(0, (1 << 62) // 10**9).astype(np.int64) * 10**9
            block, size = table.decimal(1, MOST_OFFSET // SECTOR), table.decimal(2, MOST_SIZE // SECTOR)
            write = table.decimal(3, 1)
            table.decimal(4, _MOST_NUMBER)
            good = table.good(source, "seconds, offset and size in sectors of 512 bytes, 0 (read) or 1, volume")
            stream = _devices(b"volume", table, 4, good.tolist(), known)
            self.streams = known.names
            yield Batch(
                block[good] * np.uint64(SECTOR), size[good].astype(np.int64) * SECTOR, write[good] == 1, time[good],
                stream,
            )  # fmt: skip
