"""The access record: what a task does next.

Two forms, both plain numpy arrays:

``uint32``
    bit 31 is set for a write, the low 31 bits are a page of the task's flat space (its regions one after
    another).  The fast form.
``uint64``
    bits 0-39 page, bits 40-45 operation (`Op`), bits 46-63 repeat count minus one.  A count repeats a load or
    store on the same page (out of the caches of the CPU: four repeats take 1 ns), and for every other operation
    it is the number of pages from `page` on.  For ``SLEEP`` the page field is a time in nanoseconds.

The same layout in C is `memcore/records.pxd`.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

from pymem.errors import ScenarioError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

WRITE = np.uint32(1 << 31)
MAX_PAGE = (1 << 40) - 1
MAX_COUNT = 1 << 18
MAX_FAST_PAGE = (1 << 31) - 1


class Op(IntEnum):
    """What a record of the general form does."""

    LOAD = 0
    STORE = 1
    READ = 2
    WRITE = 3
    DONTNEED = 4
    FREE = 5
    COLD = 6
    PAGEOUT = 7
    WILLNEED = 8
    SEQUENTIAL = 9
    RANDOM = 10
    NORMAL = 11
    MLOCK = 12
    MUNLOCK = 13
    MUNMAP = 14
    MMAP = 15
    FSYNC = 16
    SLEEP = 17
    EXIT = 18


def pack(page: ArrayLike, op: ArrayLike = Op.LOAD, count: ArrayLike = 1) -> NDArray[np.uint64]:
    """Records of the general form.

    Parameters
    ----------
    page, op, count : int or array of int
        Broadcast against each other; counts from 1 to 262144.

    Returns
    -------
    array of uint64

    Raises
    ------
    ScenarioError
        A page, operation or count that a record cannot hold.
    """
    pages, ops, counts = np.broadcast_arrays(
        np.asarray(page, np.int64), np.asarray(op, np.int64), np.asarray(count, np.int64)
    )
    for name, values, low, high in (
        ("page", pages, 0, MAX_PAGE), ("operation", ops, 0, max(Op)), ("count", counts, 1, MAX_COUNT),
    ):  # fmt: skip
        if values.size and not low <= int(values.min()) <= int(values.max()) <= high:
            raise ScenarioError(
                f"records: {name} from {int(values.min())} to {int(values.max())}; accepted is {low} to {high}"
            )
    packed = pages.astype(np.uint64)
    packed |= ops.astype(np.uint64) << np.uint64(40)
    packed |= (counts.astype(np.uint64) - np.uint64(1)) << np.uint64(46)
    return packed


def unpack(records: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Pages, operations and counts of records of the general form."""
    page = (records & np.uint64(MAX_PAGE)).astype(np.int64)
    op = ((records >> np.uint64(40)) & np.uint64(63)).astype(np.int64)
    count = (records >> np.uint64(46)).astype(np.int64) + 1
    return page, op, count
