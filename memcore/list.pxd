# The LRU list: a ring of frame numbers, each frame remembering its place in it.
#
#        tail (oldest)                      head (newest)
#          |                                   |
#   | . . | 17 |  0 | 23 | 9 |  0 | 41 | 5 | . . . |      0 = hole left by a removal
#
# Adding at either end and removing anywhere are O(1). A linked list makes reclaim wait for one dependent
# cache miss per page scanned; a ring lets it read the next hundred frame numbers at once and prefetch
# them. Holes vanish when the tail passes them or when a full ring is compacted.
from libc.string cimport memcpy

from .debug cimport MM_BUG_ON, mm_host_oom, mm_prefetchw
from .hostmem cimport host_free, host_zalloc
from .page cimport page_t
from .types cimport pfn_t, uint32_t, uint64_t

cdef enum:
    RING_AHEAD = 24              # places whose frames are fetched ahead when a ring is compacted

ctypedef struct lru_list_t:
    pfn_t *ring
    uint32_t cap
    uint32_t head                # where the next newest page goes
    uint32_t tail                # place of the oldest page (valid while used > 0)
    uint32_t used                # places from tail to head, holes included
    uint32_t count               # pages


cdef inline uint32_t ring_next(const lru_list_t *l, uint32_t at) noexcept nogil:
    at += 1
    return 0 if at == l.cap else at


cdef inline void lru_list_compact(lru_list_t *l, page_t *frames) noexcept nogil:
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


cdef inline void lru_list_grow(lru_list_t *l, page_t *frames) noexcept nogil:
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


cdef inline void lru_list_make_room(lru_list_t *l, page_t *frames) noexcept nogil:
    # a quarter of holes pays for the walk; otherwise the ring is really too small
    if l.cap and l.cap - l.count >= (l.cap >> 2):
        lru_list_compact(l, frames)
    else:
        lru_list_grow(l, frames)


cdef inline void lru_list_add(lru_list_t *l, page_t *frames, pfn_t pfn) noexcept nogil:
    if l.used == l.cap:
        lru_list_make_room(l, frames)
    l.ring[l.head] = pfn
    frames[pfn].lru = l.head
    l.head = ring_next(l, l.head)
    l.used += 1
    l.count += 1


cdef inline void lru_list_add_tail(lru_list_t *l, page_t *frames, pfn_t pfn) noexcept nogil:
    if l.used == l.cap:
        lru_list_make_room(l, frames)
    l.tail = (l.cap if l.tail == 0 else l.tail) - 1
    l.ring[l.tail] = pfn
    frames[pfn].lru = l.tail
    l.used += 1
    l.count += 1


cdef inline void lru_list_del(lru_list_t *l, page_t *frames, pfn_t pfn) noexcept nogil:
    cdef uint32_t at = frames[pfn].lru
    MM_BUG_ON(l.ring[at] != pfn)
    l.ring[at] = 0
    l.count -= 1
    if l.count == 0:
        l.tail = l.head
        l.used = 0


cdef inline pfn_t lru_list_pop_tail(lru_list_t *l) noexcept nogil:
    # the oldest page, taken off; 0 when empty
    cdef pfn_t pfn
    while l.used:
        pfn = l.ring[l.tail]
        l.ring[l.tail] = 0
        l.tail = ring_next(l, l.tail)
        l.used -= 1
        if pfn:
            l.count -= 1
            return pfn
    return 0


cdef inline pfn_t lru_list_peek(const lru_list_t *l, uint32_t ahead) noexcept nogil:
    # the frame `ahead` places from the tail (0 for a hole or beyond the head): for prefetching
    cdef uint64_t at
    if ahead >= l.used:
        return 0
    at = <uint64_t> l.tail + ahead
    return l.ring[at - l.cap if at >= l.cap else at]


cdef inline int lru_list_verify(const lru_list_t *l, const page_t *frames) except -1:
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
