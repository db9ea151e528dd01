"""Traces for Ramulator: ``LD 0x...`` and ``ST 0x...``, or ``bubble address [address written back]``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .base import Batch, Reader
from .text import sniffed, tables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .base import Source

_LOAD_STORE = rb"(?:LD|ST) +(?:0x[0-9a-fA-F]{1,16}|\d{1,20})"
# Few instructions in between, and an address outside the first pages: other columns of numbers look different.
_BUBBLES = rb"\d{1,5} +(?:0x[0-9a-fA-F]{5,16}|\d{6,20})(?: +(?:0x[0-9a-fA-F]{5,16}|\d{6,20}))?"


class Ramulator(Reader):
    """Loads, stores and write-backs; the number of instructions in between is not used."""

    name = "ramulator"
    title = "Ramulator"
    kind = "address"

    def sniff(self, head: bytes) -> bool:
        return sniffed(head, _LOAD_STORE) or sniffed(head, _BUBBLES)

    def read(self, source: Source) -> Iterator[Batch]:
        if source.head.lstrip()[:2] in (b"LD", b"ST"):
            for table in tables(source, 2, 2):
                write = table.word(0, {b"LD": 0, b"ST": 1})
                place = table.integer(1)
                good = table.good(source, "'LD address' or 'ST address'")
                yield Batch(place[good], np.ones(int(good.sum()), np.int64), write[good] == 1)
            return
        for table in tables(source, 2, 3):
            table.decimal(0)
            read = table.integer(1)
            back = np.zeros(len(table), np.uint64)
            has = table.width == 3
            if has.any():
                ok, table.ok = table.ok, np.ones(len(table), np.bool_)
                back = table.integer(2)
                table.ok = ok & (table.ok | ~has)
            good = table.good(source, "'bubble address' and perhaps an address written back")
            places = np.stack([read[good], back[good]], axis=1).ravel()
            there = np.stack([np.ones(int(good.sum()), np.bool_), has[good]], axis=1).ravel()
            writes = np.tile(np.array([False, True]), int(good.sum()))
            yield Batch(places[there], np.ones(int(there.sum()), np.int64), writes[there])
