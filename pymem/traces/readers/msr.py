"""Block traces of Microsoft Research Cambridge: ``Timestamp,Hostname,DiskNumber,Type,Offset,Size,ResponseTime``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .base import Batch, Reader
from .blocks import MOST_OFFSET, MOST_SIZE, Streams
from .text import sniffed, tables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .base import Source

_TICKS = 100  # ns of a Windows file time
_YEARS = 10**16  # ticks: a trace is no longer than 31 years


class Msr(Reader):
    """Each disk of each host is a device."""

    name = "msr"
    title = "MSR Cambridge csv"
    kind = "block"

    def sniff(self, head: bytes) -> bool:
        return sniffed(head, rb"\d{15,19},[\w.-]+,\d+,(?:Read|Write),\d+,\d+,\d+")

    def read(self, source: Source) -> Iterator[Batch]:
        devices = Streams()
        first: int | None = None
        for table in tables(source, 7, 7, comma=True):
            ticks = table.decimal(0, 1 << 62).astype(np.int64)
            table.decimal(2, 1 << 16)
            write = table.word(3, {b"Read": 0, b"Write": 1})
            place, size = table.decimal(4, MOST_OFFSET), table.decimal(5, MOST_SIZE)
            table.decimal(6)
            table.ok &= table.span(1)[1] > 0
            if first is None and table.ok.any():
                first = int(ticks[table.ok][0])
            if first is not None:
                table.ok &= np.abs(ticks - first) < _YEARS
            good = table.good(source, "Timestamp,Hostname,DiskNumber,Read or Write,Offset,Size,ResponseTime")
            if not good.any() or first is None:
                continue
            moment = (ticks[good] - first) * _TICKS
            names = [b"%s-%s" % pair for pair in zip(table.texts(1), table.texts(2), strict=True)]
            stream = devices.numbers([name for name, ok in zip(names, good.tolist(), strict=True) if ok])
            self.streams = devices.names
            yield Batch(place[good], size[good].astype(np.int64), write[good] == 1, moment, stream)
