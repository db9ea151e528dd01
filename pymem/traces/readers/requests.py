"""What the binary layouts of libCacheSim share: what its numbers of operations mean, and what a next request can be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pymem.traces import _binary

from .base import Batch
from .keys import OTHER, READ, WRITE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .base import Source

NEVER = np.int64((1 << 63) - 1)
_MOST_REQUESTS = 1 << 48
# nop get gets set add cas replace append prepend delete incr decr read write update
_MEANING = np.array(
    [OTHER, READ, READ, WRITE, WRITE, WRITE, WRITE, WRITE, WRITE, OTHER, WRITE, WRITE, READ, WRITE, WRITE], np.uint8
)
MOST_OPERATION = len(_MEANING) - 1


def batch(source: Source, found: NDArray[np.void], first: int, accepted: str) -> Batch:
    """The requests of records, the first of them number `first`; bad ones are rejected, other operations counted."""
    bad, others, place, size, write, time = _binary.requests(found.view(np.uint8), found.dtype, first, _MEANING)
    source.reject_records(bad, first, found, accepted)
    source.leave_out("requests that neither read nor write", others)
    return Batch(place, size, write, time)


def next_is_later(following: NDArray[np.int64], first: int) -> NDArray[np.bool_]:
    """Whether each next request comes later; they are counted from 1, so that of request i is at least i + 2."""
    number = np.arange(first + 2, first + 2 + len(following))
    later = (following >= number) & (following < _MOST_REQUESTS)
    return np.asarray(later | (following == -1) | (following == NEVER))


def next_is_same(following: NDArray[np.int64], key: NDArray[np.uint64]) -> bool:
    """Whether the next requests that are in sight, of a file from its beginning, are to the same object."""
    inside = (following > 0) & (following <= len(key))
    return bool((key[following[inside] - 1] == key[inside]).all())
