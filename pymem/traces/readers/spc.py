"""Block traces of the Storage Performance Council, as UMass has them: ``unit,block,bytes,opcode,seconds``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .base import Batch, Reader
from .blocks import MOST_OFFSET, MOST_SIZE, SECTOR, Streams
from .text import sniffed, tables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .base import Source


class Spc(Reader):
    """Each application storage unit is a device; further fields are not used."""

    name = "spc"
    title = "UMass SPC"
    kind = "block"

    def sniff(self, head: bytes) -> bool:
        return sniffed(head, rb"\d{1,6}, *\d{1,16}, *\d{1,10}, *[rRwW], *\d+\.?\d*(?:,.*)?")

    def read(self, source: Source) -> Iterator[Batch]:
        units = Streams()
        for table in tables(source, 5, 64, comma=True):
            table.decimal(0, 999_999)
            block, size = table.decimal(1, MOST_OFFSET // SECTOR), table.decimal(2, MOST_SIZE)
            write = table.word(3, {b"r": 0, b"R": 0, b"w": 1, b"W": 1})
            time = table.nanoseconds(4)
            good = table.good(source, "unit, block of 512 bytes, bytes up to 1 GiB, R or W, seconds")
            names = [b"asu" + unit for unit, ok in zip(table.texts(0), good.tolist(), strict=True) if ok]
            stream = units.numbers(names)
            self.streams = units.names
            yield Batch(
                block[good] * np.uint64(SECTOR), size[good].astype(np.int64), write[good] == 1, time[good], stream
            )
