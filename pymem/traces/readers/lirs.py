"""Traces of the LIRS paper: one block number per line, and ``*`` as a mark between parts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from .base import Batch, Reader
from .blocks import MOST_OFFSET
from .text import sniffed, tables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .base import Source

_BLOCK = 4096


class Lirs(Reader):
    """Each block is a page of one file, and all are read; without a mark in the first 64 KiB see `Txt`."""

    name = "lirs"
    title = "LIRS"
    kind = "block"

    def sniff(self, head: bytes) -> bool:
        marked = re.search(rb"(?m)^\*\s*$", head) is not None
        return marked and sniffed(head, rb"\d{1,16}|\*", most=1 << 16)

    def read(self, source: Source) -> Iterator[Batch]:
        for table in tables(source, 1, 1):
            start, length = table.span(0)
            mark = (length == 1) & (table.data[start] == ord("*"))
            block = table.decimal(0, MOST_OFFSET // _BLOCK)
            table.ok |= mark & (table.width == 1)
            good = table.good(source, "one block number, or '*'")
            source.leave_out("marks", int(mark.sum()))
            good = good & ~mark
            count = int(good.sum())
            yield Batch(block[good] * np.uint64(_BLOCK), np.full(count, _BLOCK), np.zeros(count, np.bool_))
