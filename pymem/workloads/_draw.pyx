"""Drawing accesses at the speed of the random numbers themselves.

Each function gives, number for number, what a few lines of numpy would (they stand beside it in the tests), but in
one pass over the records instead of ten over arrays.
"""

from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport uint32_t, uint64_t

import numpy as np

cdef extern from *:
    void prefetch "__builtin_prefetch" (const void *p) nogil

ctypedef struct bitgen_t:        # numpy/random/bitgen.h, the documented interface of its bit generators
    void *state
    uint64_t (*next_uint64)(void *state) noexcept nogil
    uint32_t (*next_uint32)(void *state) noexcept nogil
    double (*next_double)(void *state) noexcept nogil
    uint64_t (*next_raw)(void *state) noexcept nogil

cdef enum:
    BLOCK = 256                  # draws whose cells of the table are fetched together


cdef bitgen_t *source(object rng) except NULL:
    return <bitgen_t *> PyCapsule_GetPointer(rng.bit_generator.capsule, "BitGenerator")


def alias_cells(const double[::1] scaled):
    """The cells for drawing an index in proportion to its weight.

    Parameters
    ----------
    scaled : array of float64
        The weights, divided by their mean.

    Returns
    -------
    array of uint64
        High half: the share, of 2^32, that stays with the index of the cell; low half: who has the rest.

    Notes
    -----
    A weight below 1 leaves room in its cell and one above needs room elsewhere.  All cells with room are laid end to
    end in one line, and so is all that needs room; where the two lines meet says whose alias is who.  The last cell
    that an index fills may take more than the index has left over, which makes room in the cell of the index itself,
    and the next one fills it.
    """
    cdef Py_ssize_t n = scaled.shape[0], i, j, m = 0, small = 0, filler = 0, filled = 0
    for i in range(n):
        m += scaled[i] >= 1
    made, need, who = np.empty(n, np.uint64), np.empty(m + 1), np.empty(m + 1, np.uint32)
    starts, ends = np.empty(n - m + 1), np.empty(n - m + 1)
    cdef uint64_t[::1] table = made
    cdef double[::1] need_end = need, room_start = starts, room_end = ends
    cdef uint32_t[::1] large = who
    cdef double end = 0, room = 0, start, taken
    with nogil:
        j = 0
        for i in range(n):
            if scaled[i] >= 1:
                end += scaled[i] - 1
                need_end[j] = end
                large[j] = <uint32_t> i
                j += 1
        for i in range(n):
            if m == 0 or m == n:
                table[i] = packed(1, <uint32_t> i)
            elif scaled[i] < 1:
                # whose need lies where its room begins
                room += 1 - scaled[i]
                start = room - (1 - scaled[i])
                while filler and need_end[filler - 1] > start:
                    filler -= 1
                while filler < m and need_end[filler] <= start:
                    filler += 1
                table[i] = packed(scaled[i], large[filler if filler < m else m - 1])
                room_start[small] = start
                room_end[small] = room
                small += 1
        for j in range(m if m < n else 0):
            # the room that begins before its need ends
            while filled < small and room_start[filled] < need_end[j]:
                filled += 1
            taken = room_end[filled - 1] if filled else 0
            # what is left over in the last one is rounding
            table[large[j]] = packed(1 - (taken - need_end[j]) if j < m - 1 else 1, large[j + 1 if j < m - 1 else j])
    return made


cdef inline uint64_t packed(double keep, uint32_t alias) noexcept nogil:
    cdef double share = (keep if keep > 0 else 0) * 4294967296.0
    return (<uint64_t> (share if share < 4294967295.0 else 4294967295.0)) << 32 | alias


def draw_alias(object rng, const uint64_t[::1] table, Py_ssize_t n):
    """`n` indices by an alias table.

    Parameters
    ----------
    rng : numpy.random.Generator
        Uses up `n` doubles.
    table : array of uint64
        Of `alias_cells`; up to 2^31.
    n : int

    Returns
    -------
    array of uint32
    """
    records = np.empty(n, np.uint32)
    cdef uint32_t[::1] out = records
    cdef bitgen_t *bits = source(rng)
    cdef double cells = table.shape[0], place
    cdef uint32_t[BLOCK] part
    cdef uint32_t own
    cdef Py_ssize_t base = 0, i, k
    cdef uint64_t cell
    with rng.bit_generator.lock, nogil:
        while base < n:
            k = min(n - base, <Py_ssize_t> BLOCK)
            for i in range(k):
                place = bits.next_double(bits.state) * cells
                out[base + i] = <uint32_t> place
                part[i] = <uint32_t> ((place - out[base + i]) * 4294967296.0)
                prefetch(&table[out[base + i]])
            for i in range(k):
                # which of both nobody can foresee, so no branch: all bits of a mask, or none
                own = out[base + i]
                cell = table[own]
                out[base + i] = own ^ ((own ^ <uint32_t> cell) & -<uint32_t> (part[i] > cell >> 32))
            base += k
    return records


def mark_share(object rng, uint32_t[::1] records, uint32_t bound, uint32_t mark):
    """Set `mark` in the records whose random number lies below `bound` of 2^32; uses up a uint32 each."""
    cdef bitgen_t *bits = source(rng)
    cdef Py_ssize_t i
    with rng.bit_generator.lock, nogil:
        for i in range(records.shape[0]):
            records[i] |= mark & -<uint32_t> (bits.next_uint32(bits.state) < bound)
