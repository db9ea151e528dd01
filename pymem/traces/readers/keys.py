"""What traces of key-value stores and caches share: operations, and numbers for keys that are texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .base import Batch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .base import Source

READ, WRITE, OTHER = 0, 1, 2
_WORDS = {
    READ: "get gets get_lease read r",
    WRITE: "set set_lease add cas replace append prepend incr decr write update put w",
    OTHER: "delete del remove nop",
}
OPERATIONS = {
    spelled.encode(): meaning
    for meaning, words in _WORDS.items()
    for word in words.split()
    for spelled in (word, word.upper(), word.capitalize())
}


class Keys:
    """Numbers texts in the order in which they come.  Exact: no hash decides what is equal."""

    def __init__(self) -> None:
        self._known: dict[bytes, int] = {}

    def numbers(self, keys: list[bytes]) -> NDArray[np.uint64]:
        """The number of each key."""
        known = self._known
        return np.fromiter((known.setdefault(key, len(known)) for key in keys), np.uint64, len(keys))


def batch(
    source: Source, key: NDArray[np.uint64], size: NDArray[np.int64], operation: NDArray[np.int64] | None,
    time: NDArray[np.int64] | None = None,
) -> Batch:  # fmt: skip
    """Requests to keys; those that neither read nor write an object are counted and left out.  None: all read."""
    if operation is None:
        return Batch(key, size, np.zeros(len(key), np.bool_), time)
    moves = operation != OTHER
    source.leave_out("requests that neither read nor write", int((~moves).sum()))
    return Batch(key[moves], size[moves], operation[moves] == WRITE, None if time is None else time[moves])
