"""One pass over records in the general form, where numpy would make ten: what the store and the importer do to each."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

import numpy as np

cdef enum:
    PAGE_BITS = 40
    SHORT_PAGE = 0x7FFFFFFF
    OP_MASK = 63
    COUNT_SHIFT = 46
    OP_STORE = 1
    OP_WRITE = 3
    OP_SLEEP = 17
    OP_EXIT = 18
    ROW_PLACE = (1 << 30) - 1
    ROW_WRITE = 30
    ROW_COUNT = 32

cdef uint64_t PAGE_MASK = (<uint64_t> 1 << PAGE_BITS) - 1

ctypedef fused narrow_t:
    uint32_t
    uint64_t


cdef inline bint is_outside(uint64_t record, uint64_t pages) noexcept nogil:
    cdef uint64_t op = record >> PAGE_BITS & OP_MASK
    cdef uint64_t last = (record & PAGE_MASK) + (record >> COUNT_SHIFT if op > OP_STORE else 0)
    return (last >= pages and op < OP_SLEEP) or op > OP_EXIT


cdef inline uint64_t accesses_of(uint64_t record) noexcept nogil:
    return (record >> COUNT_SHIFT) + 1 if (record >> PAGE_BITS & OP_MASK) <= OP_WRITE else 0


def survey(const uint64_t[::1] records not None, uint64_t pages):
    """What general records are, as `columns` asks.

    Returns
    -------
    bad : int
        Index of the first one that is none or leaves a space of `pages` pages, or -1.
    accesses : int
        Loads, stores and pages of ``read()`` and ``write()`` that those before it stand for.
    """
    cdef uint64_t accesses = 0
    cdef Py_ssize_t i, bad = -1, wrong = 0
    with nogil:
        for i in range(records.shape[0]):  # no way out of this loop: nearly always nothing is wrong
            accesses += accesses_of(records[i])
            wrong += is_outside(records[i], pages)
        if wrong:
            bad, accesses = 0, 0
            while not is_outside(records[bad], pages):
                accesses += accesses_of(records[bad])
                bad += 1
    return bad, accesses


def from_rows(const narrow_t[::1] rows not None, const int64_t[::1] page not None, int op, bint first_stores):
    """Records of rows of the importer (see `_places`), and the largest count less one.

    Parameters
    ----------
    page : array of int64
        Page in the flat space, by number of the place.
    op : int
        Operation of a row that does not write; the next one is that of one that does.
    first_stores : bool
        The first access of each place is a store.

    Raises
    ------
    IndexError
        A row of a place that has no page.
    """
    cdef Py_ssize_t n = rows.shape[0], i
    cdef uint64_t row, place, write, more, most = 0
    records = np.empty(n, np.uint64)
    cdef uint64_t[::1] out = records
    with nogil:
        for i in range(n):
            row = rows[i]
            place = row & ROW_PLACE
            if place >= <uint64_t> page.shape[0]:
                n = i
                break
            write = (row >> ROW_WRITE | (row >> (ROW_WRITE + 1) if first_stores else 0)) & 1
            more = row >> ROW_COUNT
            if more > most:
                most = more
            out[i] = <uint64_t> page[place] | (<uint64_t> op + write) << PAGE_BITS | more << COUNT_SHIFT
    if n != rows.shape[0]:
        raise IndexError(f"row {n}: no place {place}")
    return records, most


def narrow(const uint64_t[::1] records not None):
    """Records in the short form; None where it cannot express one of them."""
    cdef uint64_t bits = 0
    cdef Py_ssize_t i
    short = np.empty(records.shape[0], np.uint32)
    cdef uint32_t[::1] out = short
    with nogil:
        for i in range(records.shape[0]):
            bits |= records[i]
            out[i] = <uint32_t> (records[i] & SHORT_PAGE) | <uint32_t> (records[i] >> PAGE_BITS) << 31
    return None if bits & ~(SHORT_PAGE | <uint64_t> OP_STORE << PAGE_BITS) else short


def top(const uint32_t[::1] records not None):
    """The highest page of records in the short form; 0 where there are none."""
    cdef int32_t page, found = 0    # signed: SSE2 compares no others
    cdef Py_ssize_t i
    with nogil:
        for i in range(records.shape[0]):
            page = <int32_t> (records[i] & 0x7FFFFFFF)
            found = page if page > found else found
    return found


def plane(const uint64_t[::1] values not None, int shift, uint8_t mask):
    """Of each value the bits of `mask` from bit `shift` on."""
    cdef Py_ssize_t i
    bits = np.empty(values.shape[0], np.uint8)
    cdef uint8_t[::1] out = bits
    with nogil:
        for i in range(values.shape[0]):
            out[i] = <uint8_t> (values[i] >> shift) & mask
    return bits


def join(narrow_t[::1] values not None, const uint8_t[::1] bits not None, int shift):
    """Put bits into each value, from bit `shift` on: the reverse of `plane`.  Gives the values back.

    Raises
    ------
    IndexError
        Not as many bits as values.
    """
    cdef Py_ssize_t i
    if bits.shape[0] != values.shape[0]:
        raise IndexError(f"bits for {bits.shape[0]} values; there are {values.shape[0]}")
    with nogil:
        for i in range(values.shape[0]):
            values[i] |= <narrow_t> bits[i] << shift
    return np.asarray(values)


def steps(uint64_t[::1] times not None, uint64_t before):
    """Make each time the difference to the one before; all of them, or-ed together."""
    cdef uint64_t bits = 0, time
    cdef Py_ssize_t i
    with nogil:
        for i in range(times.shape[0]):
            time = times[i]
            times[i] = time - before
            bits |= times[i]
            before = time
    return bits


def sums(const narrow_t[::1] steps not None, uint64_t before):
    """Times of which these are the differences."""
    cdef Py_ssize_t i
    times = np.empty(steps.shape[0], np.uint64)
    cdef uint64_t[::1] out = times
    with nogil:
        for i in range(steps.shape[0]):
            before += steps[i]
            out[i] = before
    return times


def compact(const uint64_t[::1] values not None):
    """The values in 32 bits each, if that is enough for all of them; None if not."""
    cdef uint64_t bits = 0
    cdef Py_ssize_t i
    short = np.empty(values.shape[0], np.uint32)
    cdef uint32_t[::1] out = short
    with nogil:
        for i in range(values.shape[0]):
            bits |= values[i]
            out[i] = <uint32_t> values[i]
    return None if bits >> 32 else short
