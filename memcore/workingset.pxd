# Refault distance: was a page that comes back evicted too early? (mm/workingset.c)
#
#   eviction: shadow = age now, age += 1        refault: distance = age now - age in the shadow
#
# The age counts evictions and activations, so `distance` is how many more inactive places the page would
# have needed to survive. If the active pages could have made that room, it belongs to the working set.
# Ages are 32 bits here (36 to 40 in the kernel): 16 TiB of evictions before one could be mistaken.
from .lruvec cimport LRU_ACTIVE_ANON, LRU_ACTIVE_FILE, LRU_INACTIVE_ANON, LRU_INACTIVE_FILE, lruvec_t
from .types cimport int64_t, uint32_t


cdef inline uint32_t workingset_eviction(lruvec_t *v) noexcept nogil:
    cdef uint32_t age = <uint32_t> v.nonresident_age
    v.nonresident_age += 1
    return age


cdef inline bint workingset_test_recent(const lruvec_t *v, const int64_t *lists, uint32_t shadow_age, bint file,
                                        bint can_swap) noexcept nogil:
    # `lists`: sizes of the four lists, see lruvec_page_state
    cdef int64_t distance = <uint32_t> (<uint32_t> v.nonresident_age - shadow_age)
    cdef int64_t size = lists[LRU_ACTIVE_FILE]
    if not file:
        size += lists[LRU_INACTIVE_FILE]
    if can_swap:
        size += lists[LRU_ACTIVE_ANON]
        if file:
            size += lists[LRU_INACTIVE_ANON]
    return distance <= size
