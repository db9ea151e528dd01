"""Addresses as text, one access per line, in the spellings that tools and courses use.

``R 0x7ffe10``, ``0x7ffe10 W``, ``l 7ffe10 4``, ``store,0x7ffe10`` and the labels of Dinero, ``0 7ffe10`` for a read,
1 for a write, 2 for a fetch.  A third field is not used: for one tool it is a size, for another the instructions in
between.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from .base import Batch, Reader
from .text import sniffed, tables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .base import Source

_LOADS = "r l i f rd ld read load ifetch fetch".split()
_STORES = "w s m st wr write store modify".split()
WORDS = {
    spelled.encode(): meaning
    for words, meaning in ((_LOADS, 0), (_STORES, 1))
    for word in words
    for spelled in (word, word.upper(), word.capitalize())
}
DINERO = {b"0": 0, b"1": 1, b"2": 0}

_WORD = b"(?:" + b"|".join(WORDS) + b")"
_NUMBER = rb"(?:0[xX])?[0-9a-fA-F]{1,16}"
_BETWEEN = rb"(?:[ \t]+|[ \t]*,[ \t]*)"
_REST = rb"(?:" + _BETWEEN + rb"[^,\s]+)?"
_WORD_FIRST = _WORD + _BETWEEN + _NUMBER + _REST
_WORD_LAST = _NUMBER + _BETWEEN + _WORD + _REST
_LABEL = rb"[012][ \t]+(?:0[xX])?[0-9a-fA-F]{4,16}" + _REST


class Address(Reader):
    """Addresses with a word or label for read or write; unsigned hexadecimal, or decimal if nothing says otherwise."""

    name = "address"
    title = "address text"
    kind = "address"

    def sniff(self, head: bytes) -> bool:
        return any(sniffed(head, pattern) for pattern in (_WORD_FIRST, _WORD_LAST)) or (
            # Two columns of numbers could be anything: the labels count only where the addresses are plainly such.
            sniffed(head, _LABEL) and re.search(rb"(?m)^[012][ \t]+(?:0[xX]|0*\d*[a-fA-F])", head) is not None
        )

    def read(self, source: Source) -> Iterator[Batch]:
        lines = [line for line in source.head.splitlines() if line.strip() and not line.startswith(b"#")]
        first = lines[0].strip() if lines else b""
        comma = b"," in first
        labels = not any(re.search(rb"(?:^|[\s,])" + _WORD + rb"(?:[\s,]|$)", line) for line in lines[:100])
        word_last = not labels and re.match(_WORD + rb"[\s,]", first) is None
        at = 0 if word_last else 1
        numbers = [fields[at] for line in lines if len(fields := re.split(rb"[\s,]+", line.strip())) > 1]
        bare = [n for n in numbers if n[:2].lower() != b"0x"]
        in_hex = labels or any(re.search(rb"[a-fA-F]|^0\d", n) for n in bare)
        words = DINERO if labels else WORDS
        for table in tables(source, 2, 3, comma=comma):
            write = table.word(1 - at, words)
            place = table.hexadecimal(at) if in_hex else table.integer(at)
            accepted = "'R' or 'W' (also l, s, load, store, ...) and a number, in the order and base of the first lines"
            good = table.good(source, accepted)
            count = int(good.sum())
            yield Batch(place[good], np.ones(count, np.int64), write[good] == 1)
