"""What an LRU list does now and then: room for more pages, and the check of the whole (see list.pxd)."""

from libc.string cimport memcpy

from .debug cimport mm_host_oom, mm_prefetchw
from .hostmem cimport host_free, host_zalloc
from .page cimport page_t
from .types cimport pfn_t, uint32_t, uint64_t

cdef enum:
    RING_AHEAD = 24              # places whose frames are fetched ahead when a ring is compacted


cdef void lru_list_compact(lru_list_t *l, page_t *frames) noexcept nogil:
    cdef uint32_t r = l.tail, w = l.tail, n = l.used
    cdef pfn_t pfn
    while n:
        mm_prefetchw(&frames[l.ring[r + RING_AHEAD if r + RING_AHEAD < l.cap else r]])
        pfn = l.ring[r]
        if pfn:
            l.ring[w] = pfn
            frames[pfn].lru = w
            w = ring_next(l, w)
        r = ring_next(l, r)
        n -= 1
    l.head = w
    l.used = l.count


cdef void lru_list_grow(lru_list_t *l, page_t *frames) noexcept nogil:
    cdef uint64_t cap = <uint64_t> l.cap + (l.cap >> 2) + 128
    cdef pfn_t *ring = <pfn_t *> host_zalloc(cap * sizeof(pfn_t))
    cdef uint32_t r = l.tail, w = 0, n = l.used
    cdef pfn_t pfn
    if ring == NULL:
        mm_host_oom("an LRU list")
    if l.cap and l.tail == 0:
        # nobody's place changes, as in a list that has only grown so far; the holes stay
        memcpy(ring, l.ring, <size_t> l.cap * sizeof(pfn_t))
        host_free(l.ring, <size_t> l.cap * sizeof(pfn_t))
        l.ring = ring
        l.head = l.cap
        l.cap = <uint32_t> cap
        return
    while n:
        pfn = l.ring[r]
        if pfn:
            ring[w] = pfn
            frames[pfn].lru = w
            w += 1
        r = ring_next(l, r)
        n -= 1
    host_free(l.ring, <size_t> l.cap * sizeof(pfn_t))
    l.ring = ring
    l.cap = <uint32_t> cap
    l.tail = 0
    l.head = w
    l.used = w


cdef void lru_list_make_room(lru_list_t *l, page_t *frames) noexcept nogil:
    # a quarter of holes pays for the walk; otherwise the ring is really too small
    if l.cap and l.cap - l.count >= (l.cap >> 2):
        lru_list_compact(l, frames)
    else:
        lru_list_grow(l, frames)


cdef int lru_list_verify(const lru_list_t *l, const page_t *frames) except -1:
    # walks the whole list; raises AssertionError naming what is broken
    cdef uint32_t n = l.used, at = l.tail, live = 0
    while n:
        if l.ring[at]:
            live += 1
            if frames[l.ring[at]].lru != at:
                raise AssertionError(f"frame {l.ring[at]} thinks it is at {frames[l.ring[at]].lru}, not {at}")
        at = ring_next(l, at)
        n -= 1
    if live != l.count:
        raise AssertionError(f"list holds {live} pages but counts {l.count}")
    if l.used and at != l.head:
        raise AssertionError("list length and head disagree")
    return 0
