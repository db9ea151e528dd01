"""Exact reuse distances: how many other pages were referenced since the last reference to the same one.

Each page that was referenced is a mark at the time of its last reference, and the distance is the number of marks
after that time.  A Fenwick tree counts them in logarithmic time (Bennett and Kruskal, "LRU stack processing", IBM
Journal of Research and Development 19(4), 1975).  Times are slots of a table; when it is full the marks move
together, so memory grows with the pages and not with the references.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t

import numpy as np

from pymem.errors import TraceError

MAX_PAGES = (1 << 32) - 1
cdef enum:
    FIRST_SLOTS = 1 << 16


cdef class ReuseDistances:
    """Reuse distances of a stream of pages.

    Parameters
    ----------
    pages : int
        Pages are 0 to `pages` - 1; at most 2**32 - 1.

    Attributes
    ----------
    cold : int
        First references.
    live : int
        Different pages so far.

    Raises
    ------
    TraceError
        Too many pages; from `feed` a page out of range.
    """

    cdef readonly uint64_t cold
    cdef readonly uint32_t live
    cdef uint64_t pages
    cdef uint32_t now, slots
    cdef uint32_t[::1] last         # page -> slot of its last reference, 0 for none
    cdef uint32_t[::1] owner        # slot -> page
    cdef uint32_t[::1] tree         # Fenwick tree over slots
    cdef uint64_t[::1] counts       # references by distance

    def __init__(self, pages, *, uint32_t slots=FIRST_SLOTS):
        if not 0 <= pages <= MAX_PAGES:
            raise TraceError(f"{pages} pages; accepted are up to {MAX_PAGES}: sample the trace first")
        self.pages = pages
        self.cold = self.live = self.now = 0
        self.last = np.zeros(max(pages, 1), np.uint32)      # the host gives memory only for what is touched
        self.counts = np.zeros(max(pages, 1), np.uint64)
        self._resize(slots)

    cdef _resize(self, uint32_t slots):
        owner = np.zeros(slots + 1, np.uint32)
        if self.now:
            np.asarray(owner)[: self.now + 1] = np.asarray(self.owner)[: self.now + 1]
        self.owner = owner
        self.tree = np.zeros(slots + 1, np.uint32)
        self.slots = slots

    cdef void _add(self, uint32_t slot, uint32_t value) noexcept nogil:
        cdef uint64_t i = slot
        while i <= self.slots:
            self.tree[<Py_ssize_t> i] += value
            i += i & (~i + 1)

    cdef uint32_t _marks_up_to(self, uint32_t slot) noexcept nogil:
        cdef uint32_t total = 0
        while slot:
            total += self.tree[slot]
            slot &= slot - 1
        return total

    cdef _compact(self):
        """Move the marks to the first slots; a table that stays more than half full is made larger."""
        cdef uint32_t slot, made = 0, page
        for slot in range(1, self.now + 1):
            page = self.owner[slot]
            if self.last[page] == slot:
                made += 1
                self.last[page] = made
                self.owner[made] = page
        self.now = made
        if made > self.slots // 2:
            self._resize(2 * self.slots)
        cdef uint64_t i, below
        for i in range(1, self.slots + 1):
            below = i & (i - 1)
            self.tree[<Py_ssize_t> i] = <uint32_t> (min(i, <uint64_t> made) - min(below, <uint64_t> made))

    def feed(self, int64_t[::1] pages):
        """Take the next references."""
        cdef Py_ssize_t i
        cdef int64_t page
        cdef uint32_t slot
        for i in range(pages.shape[0]):
            page = pages[i]
            if page < 0 or <uint64_t> page >= self.pages:
                raise TraceError(f"page {page}; accepted are 0 to {int(self.pages) - 1}")
            slot = self.last[page]
            if slot:
                if slot == self.now:
                    self.counts[0] += 1
                    continue
                self.counts[self.live - self._marks_up_to(slot)] += 1
                self._add(slot, <uint32_t> -1)
                self.last[page] = 0
            else:
                self.cold += 1
                self.live += 1
            if self.now == self.slots:
                self._compact()
            self.now += 1
            self.last[page] = self.now
            self.owner[self.now] = <uint32_t> page
            self._add(self.now, 1)

    def histogram(self):
        """References by distance, as ``uint64``: entry `d` for `d` other pages in between."""
        return np.asarray(self.counts)[: max(self.live, 1)].copy()
