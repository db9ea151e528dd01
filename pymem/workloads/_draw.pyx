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


def draw_alias(object rng, const uint64_t[::1] table, Py_ssize_t n):
    """`n` indices by an alias table.

    Parameters
    ----------
    rng : numpy.random.Generator
        Uses up `n` doubles.
    table : array of uint64
        See `pymem.workloads.zipf.alias_table`; up to 2^31 cells.
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
                cell = table[out[base + i]]
                if part[i] > cell >> 32:
                    out[base + i] = <uint32_t> cell
            base += k
    return records


def mark_share(object rng, uint32_t[::1] records, uint32_t bound, uint32_t mark):
    """Set `mark` in the records whose random number lies below `bound` of 2^32; uses up a uint32 each."""
    cdef bitgen_t *bits = source(rng)
    cdef Py_ssize_t i
    with rng.bit_generator.lock, nogil:
        for i in range(records.shape[0]):
            records[i] |= mark & -<uint32_t> (bits.next_uint32(bits.state) < bound)
