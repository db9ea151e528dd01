# The LRU list: a ring of frame numbers, each frame remembering its place in it.
#
#        tail (oldest)                      head (newest)
#          |                                   |
#   | . . | 17 |  0 | 23 | 9 |  0 | 41 | 5 | . . . |      0 = hole left by a removal
#
# Adding at either end and removing anywhere are O(1). A linked list makes reclaim wait for one dependent
# cache miss per page scanned; a ring lets it read the next hundred frame numbers at once and prefetch
# them. Holes vanish when the tail passes them or when a full ring is compacted.
from .debug cimport MM_BUG_ON, mm_unlikely
from .page cimport page_t
from .types cimport pfn_t, uint32_t, uint64_t

ctypedef struct lru_list_t:
    pfn_t *ring
    uint32_t cap
    uint32_t head                # where the next newest page goes
    uint32_t tail                # place of the oldest page (valid while used > 0)
    uint32_t used                # places from tail to head, holes included
    uint32_t count               # pages


cdef void lru_list_make_room(lru_list_t *l, page_t *frames) noexcept nogil
cdef int lru_list_verify(const lru_list_t *l, const page_t *frames) except -1


cdef inline uint32_t ring_next(const lru_list_t *l, uint32_t at) noexcept nogil:
    at += 1
    return 0 if at == l.cap else at


cdef inline void lru_list_add(lru_list_t *l, page_t *frames, pfn_t pfn) noexcept nogil:
    if mm_unlikely(l.used == l.cap):
        lru_list_make_room(l, frames)
    l.ring[l.head] = pfn
    frames[pfn].lru = l.head
    l.head = ring_next(l, l.head)
    l.used += 1
    l.count += 1


cdef inline void lru_list_add_tail(lru_list_t *l, page_t *frames, pfn_t pfn) noexcept nogil:
    if mm_unlikely(l.used == l.cap):
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


cdef inline void lru_list_pop_tails(lru_list_t *l, pfn_t *out, int n) noexcept nogil:
    # takes the n oldest pages off, of a list that has as many, oldest first
    cdef const pfn_t *ring = l.ring
    cdef uint32_t at = l.tail, used = l.used
    cdef int i = 0
    while i < n:
        out[i] = ring[at]
        i += out[i] != 0
        at = ring_next(l, at)
        used -= 1
    l.tail = at
    l.used = used
    l.count -= <uint32_t> n


cdef inline pfn_t lru_list_peek(const lru_list_t *l, uint32_t ahead) noexcept nogil:
    # the frame `ahead` places from the tail (0 for a hole or beyond the head): for prefetching
    cdef uint64_t at
    if ahead >= l.used:
        return 0
    at = <uint64_t> l.tail + ahead
    return l.ring[at - l.cap if at >= l.cap else at]
