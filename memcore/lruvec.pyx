"""Balance of the LRU lists: when the active list is too long, and what reclaim has cost each type.

Sources: mm/vmscan.c (inactive_is_low), mm/swap.c (lru_note_cost).
"""
from .hostmem cimport host_free
from .types cimport int64_t, pfn_t, uint64_t
from .watermark cimport isqrt


cdef void lruvec_free(lruvec_t *v) noexcept nogil:
    cdef int i
    for i in range(NR_LRU):
        host_free(v.lists[i].ring, <size_t> v.lists[i].cap * sizeof(pfn_t))
        v.lists[i].ring = NULL


cdef bint inactive_is_low(int64_t inactive, int64_t active) noexcept nogil:
    # the larger the memory, the smaller a share of it inactive pages need: sqrt(10 * GiB)
    cdef int64_t gb = (inactive + active) >> (30 - 12)
    cdef int64_t ratio = isqrt(10 * gb) if gb else 1
    return inactive * ratio < active


cdef void lru_note_cost(lruvec_t *v, bint file, uint64_t nr_io, uint64_t nr_rotated, bint v61) noexcept nogil:
    # 6.1 counts pages of I/O only; later kernels weigh I/O with 32 and add rotations
    cdef uint64_t cost = nr_io if v61 else nr_io * 32 + nr_rotated
    cdef uint64_t size
    if cost == 0:
        return
    if file:
        v.file_cost += cost
    else:
        v.anon_cost += cost
    size = (<uint64_t> v.lists[0].count + v.lists[1].count + v.lists[2].count + v.lists[3].count)
    if v.anon_cost + v.file_cost > size >> 2:
        v.anon_cost >>= 1
        v.file_cost >>= 1
