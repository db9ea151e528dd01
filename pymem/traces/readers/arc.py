"""Block traces of the ARC paper (P1 to P14, DS1, OLTP, ...): ``first_block blocks ignored request_number``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .base import Batch, Reader
from .blocks import MOST_OFFSET, MOST_SIZE, SECTOR
from .text import sniffed, tables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .base import Source


class Arc(Reader):
    """Blocks of 512 bytes, all read: the format has no operations."""

    name = "arc"
    title = "ARC"
    kind = "block"

    def sniff(self, head: bytes) -> bool:
        return sniffed(head, rb"\d{1,16}[ \t]+[1-9]\d{0,6}[ \t]+0[ \t]+\d{1,12}")

    def read(self, source: Source) -> Iterator[Batch]:
        for table in tables(source, 4, 4):
            block = table.decimal(0, MOST_OFFSET // SECTOR)
            blocks = table.decimal(1, MOST_SIZE // SECTOR)
            table.decimal(2)
            table.decimal(3)
            good = table.good(source, "first block, number of blocks, an ignored number, request number")
            yield Batch(
                block[good] * np.uint64(SECTOR), blocks[good].astype(np.int64) * SECTOR,
                np.zeros(int(good.sum()), np.bool_),
            )  # fmt: skip
