"""What the pinatrace example of Intel Pin prints: ``0xPC: R 0xADDRESS``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .base import Batch, Reader
from .text import sniffed, tables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .base import Source


class Pin(Reader):
    """Data accesses; the address of the instruction is not counted as one, as not every instruction is there."""

    name = "pin"
    title = "Intel Pin pinatrace text"
    kind = "address"

    def sniff(self, head: bytes) -> bool:
        return sniffed(head, rb"0x[0-9a-f]{1,16}: [RW] +0x[0-9a-f]{1,16}(?: +\d+(?: +\S+)?)?")

    def read(self, source: Source) -> Iterator[Batch]:
        for table in tables(source, 3, 5):
            write = table.word(1, {b"R": 0, b"W": 1})
            place = table.hexadecimal(2, prefix=True)
            start, length = table.span(0)
            colon = table.data[np.maximum(start + length - 1, 0)] == ord(":")
            table.ok &= (length >= 4) & colon & (table.data[start] == ord("0"))
            size = np.ones(len(table), np.int64)
            if (table.width > 3).any():
                there = table.width > 3
                ok, table.ok = table.ok, np.ones(len(table), np.bool_)
                given = table.decimal(3, 4096)
                table.ok = ok & (~there | (table.ok & (given > 0)))
                size = np.where(there, given, 1).astype(np.int64)
            good = table.good(source, "'0xPC: R 0xADDRESS' or W, with a size if there is a fourth field")
            yield Batch(place[good], size[good], write[good] == 1)
