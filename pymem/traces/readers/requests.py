"""What the binary layouts of libCacheSim share: what its numbers of operations mean, and what a next request can be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .keys import OTHER, READ, WRITE

if TYPE_CHECKING:
    from numpy.typing import NDArray

NEVER = np.int64((1 << 63) - 1)
_MOST_REQUESTS = 1 << 48
# nop get gets set add cas replace append prepend delete incr decr read write update
_MEANING = np.array(
    [OTHER, READ, READ, WRITE, WRITE, WRITE, WRITE, WRITE, WRITE, OTHER, WRITE, WRITE, READ, WRITE, WRITE], np.int64
)
MOST_OPERATION = len(_MEANING) - 1


def meaning(operation: NDArray[np.integer]) -> NDArray[np.int64]:
    """What numbers of operations from 0 to 14 mean, as in `keys`."""
    return np.asarray(_MEANING[operation])


def next_is_later(following: NDArray[np.int64], first: int) -> NDArray[np.bool_]:
    """Whether each next request comes later; they are counted from 1, so that of request i is at least i + 2."""
    number = np.arange(first + 2, first + 2 + len(following))
    later = (following >= number) & (following < _MOST_REQUESTS)
    return np.asarray(later | (following == -1) | (following == NEVER))


def next_is_same(following: NDArray[np.int64], key: NDArray[np.uint64]) -> bool:
    """Whether the next requests that are in sight, of a file from its beginning, are to the same object."""
    inside = (following > 0) & (following <= len(key))
    return bool((key[following[inside] - 1] == key[inside]).all())
