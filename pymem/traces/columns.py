"""Records as columns: what is stored of a chunk, and back.

Packed chunks hold page, operation and repeat count apart, bytes of equal weight together, and leave out
columns of zeros: most of a trace is loads and small counts.  LZMA gets the low half of the page in one piece, as
it knows numbers of four bytes itself; zlib, which does not, gets that by its bytes too.  Chunks that are not packed
hold the records as they are replayed, in the 32-bit form where it can express them, so that they can be used from
the file without a copy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from . import container
from ._records import join, narrow, plane, steps, sums, survey, top
from .container import LZMA, NONE, Column, damaged

if TYPE_CHECKING:
    from numpy.typing import NDArray

GENERAL, FAST = 1, 2
PAGE_LOW, PAGE_HIGH, OP, COUNT = 3, 4, 5, 6  # COUNT, COUNT + 1, COUNT + 2: bytes of count - 1
PAGE = 9  # PAGE ... PAGE + 3: bytes of the low half of the page, in place of PAGE_LOW
TIME = 16  # TIME ... TIME + 7: bytes of the difference to the time before; the first one as it is

PAGE_BITS, OP_BITS = 40, 6
_PAGE_MASK = np.uint64((1 << PAGE_BITS) - 1)
_OP_SHIFT = np.uint64(PAGE_BITS)
COUNT_SHIFT = PAGE_BITS + OP_BITS

OP_EXIT = 18

# Column, place in a record and bits of what packed chunks hold beside the first column.
_PAGE_PARTS = [(PAGE + i, 8 * i, 0xFF) for i in range(1, 4)]
_PARTS = [(PAGE_HIGH, 32, 0xFF), (OP, PAGE_BITS, 63), *((COUNT + i, COUNT_SHIFT + 8 * i, 0xFF) for i in range(3))]

Records = "NDArray[np.uint32] | NDArray[np.uint64]"

__all__ = ["Decoder", "accesses_in", "encode", "first_outside", "narrow", "outside", "widen"]


def widen(records: NDArray[Any]) -> NDArray[np.uint64]:
    """Records in the general form."""
    if records.dtype == np.uint64:
        return records
    wide = (records & np.uint32(0x7FFFFFFF)).astype(np.uint64)
    wide |= (records >> np.uint32(31)).astype(np.uint64) << _OP_SHIFT
    return wide


def accesses_in(records: NDArray[np.uint64]) -> int:
    """Loads, stores and pages of ``read()`` and ``write()`` that general records stand for."""
    return survey(records, 1 << PAGE_BITS + 1)[1]


def first_outside(records: NDArray[Any], pages: int) -> tuple[int, str] | None:
    """Index of the first record that is none or leaves a space of `pages` pages, and what is wrong."""
    if records.dtype == np.uint32:
        if not len(records) or top(records) < pages:
            return None
        records = widen(records)
    i, _ = survey(records, pages)
    if i < 0:
        return None
    return i, outside(int(records[i]), pages)


def outside(record: int, pages: int) -> str:
    """What is wrong with a general record that is none or leaves a space of `pages` pages."""
    op = record >> PAGE_BITS & (1 << OP_BITS) - 1
    if op > OP_EXIT:
        return f"operation {op}; accepted are 0 to {OP_EXIT}"
    last = (record & int(_PAGE_MASK)) + (record >> PAGE_BITS + OP_BITS if op >= 2 else 0)
    return f"page {last} of operation {op}; the task has {pages} pages"


def encode(
    records: NDArray[np.uint64], times: NDArray[np.uint64] | None, compression: int, level: int | None
) -> container.Payload:
    """Payload of a chunk; what was in `times` is gone afterwards."""
    columns: list[tuple[int, NDArray[Any]]] = []
    if compression == NONE:
        fast = narrow(records)
        columns.append((GENERAL, records) if fast is None else (FAST, fast))
    else:
        bits = int(np.bitwise_or.reduce(records))
        if compression == LZMA:
            columns.append((PAGE_LOW, records.astype(np.uint32)))
        else:
            columns.append((PAGE, plane(records, 0, 0xFF)))
        parts = _PARTS if compression == LZMA else _PAGE_PARTS + _PARTS
        columns += [(ident, plane(records, shift, mask)) for ident, shift, mask in parts if bits >> shift & mask]
    if times is not None:
        bits = steps(times, 0)
        columns += [(TIME + i, plane(times, 8 * i, 0xFF)) for i in range(8) if bits >> 8 * i & 0xFF]
    return container.pack_columns(((ident, compression, column) for ident, column in columns), level)


class Decoder:
    """The columns of one chunk, unpacked when asked for."""

    def __init__(self, path: str, number: int, records: int, payload: memoryview) -> None:
        self.path, self.number, self.records = path, number, records
        self.columns: dict[int, Column] = {}
        known = {GENERAL, FAST, PAGE_LOW, PAGE_HIGH, OP, *range(COUNT, PAGE + 4), *range(TIME, TIME + 8)}
        for column in container.read_columns(path, number, payload):
            if column.id not in known or column.id in self.columns:
                raise damaged(path, f"chunk {number}: column {column.id} is unknown or there twice")
            self.columns[column.id] = column
        heads = {GENERAL, FAST, PAGE_LOW, PAGE} & set(self.columns)
        if len(heads) != 1 or (PAGE not in heads and {PAGE + 1, PAGE + 2, PAGE + 3} & set(self.columns)):
            raise damaged(path, f"chunk {number}: columns {sorted(self.columns)} do not make records")

    def _column(self, ident: int, dtype: str) -> NDArray[Any] | None:
        column = self.columns.get(ident)
        if column is None:
            return None
        if column.unpacked != self.records * np.dtype(dtype).itemsize:
            raise damaged(
                self.path,
                f"chunk {self.number}: column {ident} of {column.unpacked} bytes for {self.records} records",
            )
        return np.frombuffer(container.unpack(self.path, self.number, column), dtype)

    def stored_records(self) -> NDArray[Any]:
        """Records in the form to replay: ``uint32`` where it can express them, else ``uint64``."""
        for ident, dtype in ((FAST, "<u4"), (GENERAL, "<u8")):
            records = self._column(ident, dtype)
            if records is not None:
                return records
        low, op = self._low(), self._column(OP, "u1")
        found = [(shift, self._column(ident, "u1")) for ident, shift, _ in _PARTS if ident != OP]
        others = [(shift, part) for shift, part in found if part is not None]
        if not others and (op is None or int(op.max()) <= 1) and not int(low.max()) >> 31:
            return low if op is None else join(low, op, 31)
        wide = low.astype(np.uint64)
        for shift, part in others if op is None else [*others, (PAGE_BITS, op)]:
            join(wide, part, shift)
        return wide

    def _low(self) -> NDArray[np.uint32]:
        """The low half of the pages; memory of its own."""
        whole = self._column(PAGE_LOW, "<u4")
        if whole is not None:
            return whole.astype(np.uint32)
        low = np.zeros(self.records, np.uint32)
        for i in range(4):
            part = self._column(PAGE + i, "u1")
            if part is not None:
                join(low, part, 8 * i)
        return low

    def times(self) -> NDArray[np.uint64]:
        """Times of the records; zeros where none are stored."""
        since = np.zeros(self.records, np.uint64)
        for i in range(8):
            part = self._column(TIME + i, "u1")
            if part is not None:
                join(since, part, 8 * i)
        return sums(since, 0)
