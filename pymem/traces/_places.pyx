"""Accesses of foreign traces to rows: the hot loop of the importer.

Where the pages of a trace lie is known only when all of it is read.  Until then each place (a virtual page, a page of
a device, or a key) goes by its number in the order in which places first come.  An open-addressing table finds the
number; beside it are, for each number, the place, its stream and the most pages that were ever asked for there.  The
table keeps half of the hash with the number, so what is another place is passed over without a look at it, and the look
at the right one confirms what is expected: no access waits for the memory of the one before.
Nothing is sorted on the way, and memory grows with the places and not with the accesses.

A row is what is kept of an access, 64 bits, of which most rows need no more than the lower half::

    bits 0 to 29    number of the place
    bit 30          a store or write
    bit 31          the first access of this place
    bits 32 to 63   count - 1: repeats of a load or store, else pages
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc

import numpy as np

from pymem.errors import TraceError

ADDRESS, BLOCK, KEY = 0, 1, 2

cdef enum:
    PAGE_SHIFT = 12
    WRITE_SHIFT = 30
    FIRST_SHIFT = 31
    COUNT_SHIFT = 32
    MAX_RUN = 1 << 18               # of loads or stores: what a record holds
    MOST_ROOM = 1 << 30             # places
    AHEAD = 12                      # accesses between asking for a slot and using it

cdef extern from *:
    """
    #define places_prefetch(p) __builtin_prefetch(p)
    """
    void places_prefetch(const void *p) noexcept nogil


cdef struct place_t:
    uint64_t key
    uint32_t stream
    uint32_t most                   # pages


cdef inline uint64_t hash_of(uint64_t key, uint32_t stream) noexcept nogil:
    return (key ^ <uint64_t> stream << 40) * <uint64_t> 0x9E3779B97F4A7C15


cdef inline uint64_t slot_of(uint64_t hash, uint64_t mask) noexcept nogil:
    return (hash ^ hash >> 32) & mask


cdef class Places:
    """Numbers of places, in the order in which they first come.

    Parameters
    ----------
    kind : {ADDRESS, BLOCK, KEY}
        What places are: bytes of an address space, whose accesses become one row for each page and whose consecutive
        equal rows become one; bytes of a device; keys.

    Attributes
    ----------
    known : int
        Different places so far.
    empty : int
        Accesses of 0 bytes, which are left out (keys have none such).
    """

    cdef readonly int kind
    cdef readonly uint64_t known, empty
    cdef place_t *places
    cdef uint64_t *table            # number + 1 below the upper half of the hash, or 0
    cdef uint64_t mask, room

    def __cinit__(self, int kind):
        self.kind = kind
        self.mask, self.room = (1 << 12) - 1, 1 << 11
        self.table = <uint64_t *> calloc(self.mask + 1, sizeof(uint64_t))
        self.places = <place_t *> calloc(self.room, sizeof(place_t))
        if self.table == NULL or self.places == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.table)
        free(self.places)

    cdef int grow(self) noexcept nogil:
        """Twice the room; 0 if there is no memory."""
        cdef uint64_t i
        cdef place_t *places = <place_t *> realloc(self.places, 2 * self.room * sizeof(place_t))
        if places == NULL:
            return 0
        self.places = places
        cdef uint64_t *table = <uint64_t *> calloc(2 * (self.mask + 1), sizeof(uint64_t))
        if table == NULL:
            return 0
        free(self.table)
        self.table, self.mask, self.room = table, 2 * self.mask + 1, 2 * self.room
        for i in range(self.known):
            self.enter(hash_of(places[i].key, places[i].stream), i)
        return 1

    cdef void enter(self, uint64_t hash, uint64_t number) noexcept nogil:
        cdef uint64_t j = slot_of(hash, self.mask)
        while self.table[j]:
            j = (j + 1) & self.mask
        self.table[j] = hash >> 32 << 32 | number + 1

    cdef int64_t add(self, uint64_t key, uint32_t stream) noexcept nogil:
        """The number of a new place; -1 if there is no room for it."""
        if self.known == self.room and (self.room == MOST_ROOM or not self.grow()):
            return -1
        self.places[self.known] = place_t(key=key, stream=stream, most=0)
        self.enter(hash_of(key, stream), self.known)
        self.known = self.known + 1  # += on an attribute needs the GIL in builds that check for None
        return <int64_t> self.known - 1

    def take(self, const uint64_t[::1] place not None, const int64_t[::1] size not None, write not None,
             const uint32_t[::1] stream=None, const int64_t[::1] time=None):
        """Rows of the next accesses, and the times of the rows (None without times).

        Raises
        ------
        TraceError
            More than 2**30 different places.
        MemoryError
            No memory for so many places.
        """
        cdef const uint8_t[::1] stores = np.ascontiguousarray(write).view(np.uint8)
        cdef Py_ssize_t n = place.shape[0], i, made = 0
        cdef uint64_t total = n, first, last, page, count, row, hash, found, j
        cdef int64_t index = 0, before = -1
        cdef uint32_t mine = 0
        cdef int shift = 0 if self.kind == KEY else PAGE_SHIFT
        cdef bint timed = time is not None, streams = stream is not None, memory = self.kind == ADDRESS, keys = self.kind == KEY
        if memory:
            with nogil:
                for i in range(n):
                    if size[i] > 1:
                        total += ((place[i] + <uint64_t> size[i] - 1) >> PAGE_SHIFT) - (place[i] >> PAGE_SHIFT)
        rows = np.empty(total, np.uint64)
        times = np.empty(total if timed else 0, np.int64)
        cdef uint64_t[::1] out = rows
        cdef int64_t[::1] moments = times
        # Copies, which no store into the rows can change.
        cdef uint64_t *table = self.table
        cdef uint64_t mask = self.mask
        cdef place_t *known = self.places
        with nogil:
            for i in range(n):
                if i + 2 * AHEAD < n:
                    hash = hash_of(place[i + 2 * AHEAD] >> shift, stream[i + 2 * AHEAD] if streams else 0)
                    places_prefetch(&table[slot_of(hash, mask)])
                if i + AHEAD < n:
                    hash = hash_of(place[i + AHEAD] >> shift, stream[i + AHEAD] if streams else 0)
                    places_prefetch(&known[<uint32_t> table[slot_of(hash, mask)]])
                if streams:
                    mine = stream[i]
                count = 1
                if keys:
                    first = last = place[i]
                    if size[i] > 1 << PAGE_SHIFT:
                        count = (<uint64_t> size[i] + (1 << PAGE_SHIFT) - 1) >> PAGE_SHIFT
                elif size[i] <= 0:
                    self.empty = self.empty + 1
                    continue
                else:
                    first = place[i] >> PAGE_SHIFT
                    last = (place[i] + <uint64_t> size[i] - 1) >> PAGE_SHIFT
                    if not memory:
                        count, last = last - first + 1, first
                page = first
                while True:
                    hash = hash_of(page, mine)
                    j = slot_of(hash, mask)
                    found = table[j]
                    while found:
                        index = <uint32_t> found - 1
                        if (found ^ hash) >> 32 == 0 and known[index].key == page and known[index].stream == mine:
                            break
                        j = (j + 1) & mask
                        found = table[j]
                    if not found:
                        index = self.add(page, mine)
                        if index < 0:
                            break
                        table, mask, known = self.table, self.mask, self.places
                    if known[index].most < count:
                        known[index].most = <uint32_t> count
                    row = <uint64_t> index | <uint64_t> stores[i] << WRITE_SHIFT
                    if memory and index == before and (out[made - 1] ^ row) >> WRITE_SHIFT & 1 == 0 \
                            and out[made - 1] >> COUNT_SHIFT < MAX_RUN - 1:
                        out[made - 1] += <uint64_t> 1 << COUNT_SHIFT
                    else:
                        out[made] = row | <uint64_t> (found == 0) << FIRST_SHIFT | (count - 1) << COUNT_SHIFT
                        if timed:
                            moments[made] = time[i]
                        made += 1
                        before = index
                    if page == last:
                        break
                    page += 1
                if index < 0:
                    break
        if index < 0:
            if self.known == MOST_ROOM:
                raise TraceError(f"more than {self.known} different places; accepted are up to that: sample the trace")
            raise MemoryError
        return rows[:made], times[:made] if timed else None

    def all(self):
        """Of each number: place (``uint64``), stream (``uint32``), and most pages (``int64``)."""
        if not self.known:
            return np.empty(0, np.uint64), np.empty(0, np.uint32), np.empty(0, np.int64)
        held = np.asarray(<uint8_t[:self.known * sizeof(place_t)]> <uint8_t *> self.places)
        held = held.view([("key", "<u8"), ("stream", "<u4"), ("most", "<u4")])
        return held["key"].copy(), held["stream"].copy(), held["most"].astype(np.int64)
