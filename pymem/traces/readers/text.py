"""Text as columns: whole blocks of lines are taken apart and their numbers read by numpy, without a loop over lines.

Whatever does not read marks its line; the marked lines are rejected together, with their numbers, at the end.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from pymem.units import MAX_TIME

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from .base import Source

_DIGIT = np.full(256, 255, np.uint8)
_DIGIT[48:58] = np.arange(10)
_HEX = _DIGIT.copy()
_HEX[65:71] = _HEX[97:103] = np.arange(10, 16)
_SPACE = np.zeros(256, np.bool_)
_SPACE[[9, 10, 11, 12, 13, 32]] = True
_NEWLINE, _COMMA, _RETURN, _BLANK, _HASH, _DOT = 10, 44, 13, 32, 35, 46
WORD = 16  # bytes of the longest word that is looked up


class Table:
    """The fields of a block of lines.

    Parameters
    ----------
    block : bytes
        Whole lines, the last one ended by a newline.
    first : int
        Number of the first line.
    least, most : int
        Fields that a line has.
    comma : bool
        Fields are separated by single commas, otherwise by any white space.

    Empty lines and, unless there are commas, lines that begin with ``#`` are no rows.  `ok` says which rows have
    been understood so far; what a method gives for the other rows means nothing.
    """

    def __init__(self, block: bytes, first: int, least: int, most: int, *, comma: bool = False) -> None:
        self.block = block
        self.data = np.frombuffer(block, np.uint8)
        self._ends_of_lines = np.flatnonzero(self.data == _NEWLINE)
        starts, ends = self._by_commas() if comma else self._by_space()
        line = np.searchsorted(self._ends_of_lines, starts)
        width = np.bincount(line, minlength=len(self._ends_of_lines))
        field = np.concatenate([[0], np.cumsum(width)[:-1]])
        at = starts[np.minimum(field, len(starts) - 1)] if len(starts) else field
        row = (width > 1) | ((width == 1) & (ends[np.minimum(field, len(ends) - 1)] > at)) if len(starts) else width > 0
        if not comma:
            row &= self.data[np.minimum(at, len(self.data) - 1)] != _HASH
        self._line = np.flatnonzero(row)
        self.numbers = self._line + first
        self.width = width[row]
        self._field = field[row]
        self._starts, self._ends = starts, ends
        self.ok: NDArray[np.bool_] = (self.width >= least) & (self.width <= most)

    def __len__(self) -> int:
        return len(self._line)

    def _by_space(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        inside = np.zeros(len(self.data) + 2, np.int8)
        inside[1:-1] = ~_SPACE[self.data]
        edges = np.diff(inside)
        return np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)

    def _by_commas(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        ends = np.flatnonzero((self.data == _COMMA) | (self.data == _NEWLINE))
        starts = np.concatenate([[0], ends[:-1] + 1]).astype(np.int64)
        for blank in (_RETURN, _BLANK, _BLANK):
            ends = ends - ((ends > starts) & (self.data[ends - 1] == blank))
            starts = starts + ((ends > starts) & (self.data[starts] == blank) & (blank == _BLANK))
        return starts, ends

    def span(self, column: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Start and length of a field in the block; length 0 where the row has no such field."""
        if not len(self._starts):
            empty = np.zeros(len(self), np.int64)
            return empty, empty
        field = np.minimum(self._field + column, len(self._starts) - 1)
        start = self._starts[field]
        return start, np.where(self.width > column, self._ends[field] - start, 0)

    def _byte(self, start: NDArray[np.int64], i: int) -> NDArray[np.uint8]:
        return self.data[np.minimum(start + i, len(self.data) - 1)]

    def decimal(self, column: int, most: int = (1 << 64) - 1) -> NDArray[np.uint64]:
        """Decimal whole numbers from 0 to `most`."""
        start, length = self.span(column)
        return self._number(start, length, _DIGIT, 10, 20, most)

    def hexadecimal(self, column: int, *, prefix: bool | None = None) -> NDArray[np.uint64]:
        """Hexadecimal numbers of up to 64 bits; `prefix` says whether ``0x`` must be there, None: it may."""
        start, length = self.span(column)
        marked = (length > 2) & (self._byte(start, 0) == 48) & (self._byte(start, 1) | 32 == 120)
        if prefix is not None:
            self.ok &= marked == prefix
        start, length = start + 2 * marked, length - 2 * marked
        return self._number(start, length, _HEX, 16, 16, (1 << 64) - 1)

    def integer(self, column: int) -> NDArray[np.uint64]:
        """Whole numbers of up to 64 bits, hexadecimal if they begin with ``0x``, else decimal."""
        start, length = self.span(column)
        marked = (length > 2) & (self._byte(start, 0) == 48) & (self._byte(start, 1) | 32 == 120)
        ok, self.ok = self.ok, np.ones(len(self), np.bool_)
        in_hex = self._number(start + 2, np.where(marked, length - 2, 1), _HEX, 16, 16, (1 << 64) - 1)
        ok_hex, self.ok = self.ok, np.ones(len(self), np.bool_)
        in_ten = self._number(start, length, _DIGIT, 10, 20, (1 << 64) - 1)
        self.ok = ok & np.where(marked, ok_hex, self.ok)
        return np.where(marked, in_hex, in_ten)

    def _number(
        self, start: NDArray[np.int64], length: NDArray[np.int64], digits: NDArray[np.uint8], base: int, longest: int,
        most: int,
    ) -> NDArray[np.uint64]:  # fmt: skip
        value = np.zeros(len(self), np.uint64)
        ok = (length > 0) & (length <= longest)
        for i in range(min(int(length.max(initial=0)), longest)):
            here = i < length
            digit = digits[self._byte(start, i)]
            ok &= ~here | (digit < base)
            if i == 19:  # only decimal numbers are that long, and only some fit
                ok &= ~here | (value < 1844674407370955161) | ((value == 1844674407370955161) & (digit <= 5))
            value = np.where(here, value * np.uint64(base) + digit, value)
        self.ok &= ok & (value <= np.uint64(most))
        return value

    def nanoseconds(self, column: int, *, drop: int = 0) -> NDArray[np.int64]:
        """Times in seconds with an optional fraction, as ns; `drop` bytes at the end of the field are left out."""
        start, length = self.span(column)
        length = length - drop
        value = np.zeros(len(self), np.int64)
        fraction = np.full(len(self), -1, np.int64)
        ok = (length > 0) & (length <= 24)
        for i in range(min(int(length.max(initial=0)), 24)):
            here = i < length
            byte = self._byte(start, i)
            dot = here & (byte == _DOT)
            ok &= ~(dot & (fraction >= 0))
            digit = _DIGIT[byte]
            ok &= ~here | dot | (digit < 10)
            take = here & ~dot & (fraction < 9)
            ok &= ~take | (value < MAX_TIME // 10)
            value = np.where(take & ok, value * 10 + digit, value)
            fraction += (dot | (take & (fraction >= 0))) & here
        missing = 9 - np.clip(fraction, 0, 9)
        scale = 10**missing
        ok &= value <= MAX_TIME // scale
        self.ok &= ok & (fraction != 0)
        return np.where(ok, value, 0) * scale

    def word(self, column: int, known: Mapping[bytes, int]) -> NDArray[np.int64]:
        """Numbers of known words of up to 16 bytes."""
        start, length = self.span(column)
        text = np.zeros((len(self), WORD), np.uint8)
        for i in range(min(int(length.max(initial=0)), WORD)):
            text[:, i] = np.where(i < length, self._byte(start, i), 0)
        halves = text.view(np.uint64)
        value = np.full(len(self), -1, np.int64)
        lengths = set(np.unique(length).tolist())
        for word, meaning in known.items():
            if len(word) not in lengths:
                continue
            low, high = np.frombuffer(word.ljust(WORD, b"\0"), np.uint64)
            value[(halves[:, 0] == low) & (halves[:, 1] == high) & (length == len(word))] = meaning
        self.ok &= value >= 0
        return value

    def texts(self, column: int) -> list[bytes]:
        """The fields of a column as they are."""
        start, length = self.span(column)
        block = self.block
        return [block[low:high] for low, high in zip(start.tolist(), (start + length).tolist(), strict=True)]

    def line(self, row: int) -> bytes:
        """A whole line, without its end."""
        number = int(self._line[row])
        low = int(self._ends_of_lines[number - 1]) + 1 if number else 0
        return self.block[low : int(self._ends_of_lines[number])].rstrip(b"\r")

    def good(self, source: Source, accepted: str) -> NDArray[np.bool_]:
        """Reject the rows that were not understood; the others, as a mask."""
        return source.good(self.ok, self.numbers, self.line, accepted)


def tables(source: Source, least: int, most: int, *, comma: bool = False, header: bool = False) -> Iterator[Table]:
    """The content of a source as tables; with `header` the first line is left out."""
    for number, block in source.lines():
        if header and number == 1:
            number, block = 2, block[block.index(b"\n") + 1 :]
        if block:
            table = Table(block, number, least, most, comma=comma)
            if len(table):
                yield table


def sniffed(head: bytes, pattern: bytes, *, most: int = 100) -> bool:
    """Whether the first lines, empty ones and comments aside, all match a pattern; the last may be cut off."""
    lines = head.splitlines()
    if len(lines) > 1 and len(head) >= 1 << 16 and not head.endswith(b"\n"):
        lines.pop()
    lines = [line for line in lines[:most] if line.strip() and not line.startswith(b"#")]
    matcher: re.Pattern[Any] = re.compile(pattern)
    return bool(lines) and all(matcher.fullmatch(line.strip()) for line in lines)


def told(head: bytes, line: re.Pattern[bytes]) -> bool:
    """Whether the first 20 lines, empty ones and comments aside, match as they stand; the last may be cut off."""
    lines = [each for each in head.splitlines()[:20] if each.strip() and not each.startswith(b"#")]
    return bool(lines) and all(line.fullmatch(each) for each in lines[: max(len(lines) - 1, 1)])
