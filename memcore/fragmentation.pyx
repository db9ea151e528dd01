"""How fragmented free memory is, and whether that is worth compaction (mm/compaction.c, mm/vmstat.c)."""

from .buddy cimport has_free_block, nr_free_blocks, wmark_pages, zone_t, zone_watermark_ok
from .machine cimport machine_t
from .node cimport node_t
from .types cimport MAX_NR_ZONES, NR_ORDERS, PAGEBLOCK_ORDER, int64_t
from .watermark cimport WMARK_LOW, WMARK_MIN


cdef int64_t fragmentation_score_zone(const zone_t *z) noexcept nogil:
    """Percent of free memory that lies in blocks smaller than a huge page (extfrag_for_order)."""
    cdef int64_t pieces = z.nr_free
    cdef int o
    for o in range(PAGEBLOCK_ORDER, NR_ORDERS):
        pieces -= nr_free_blocks(z, o) << o
    return pieces * 100 // z.nr_free if z.nr_free else 0


cdef int64_t fragmentation_score_node(machine_t *m, const node_t *n) noexcept nogil:
    cdef int64_t score = 0
    cdef int z
    for z in range(n.first_zone, n.first_zone + MAX_NR_ZONES):
        if m.zones[z].managed:
            score += m.zones[z].present * fragmentation_score_zone(&m.zones[z]) // (n.present + 1)
    return score


cdef int64_t fragmentation_score_wmark(const machine_t *m, bint low) noexcept nogil:
    cdef int64_t mark = max(100 - m.p.compaction_proactiveness, <int64_t> 5)
    return mark if low else min(mark + 10, <int64_t> 100)


cdef int64_t fragmentation_index(const zone_t *z, int order) noexcept nogil:
    """Would a request of `order` fail for fragmentation (towards 1000) or for lack of memory (towards 0)?"""
    cdef int64_t blocks = 0
    cdef int o
    if has_free_block(z, order):
        return -1000
    for o in range(order):
        blocks += nr_free_blocks(z, o)
    return 1000 - (1000 + z.nr_free * 1000 // (<int64_t> 1 << order)) // blocks if blocks else 0


cdef bint compaction_suitable(machine_t *m, const zone_t *z, int order, int highest_zoneidx) noexcept nogil:
    """Is there no block of `order` yet, but room to move pages, and is it fragmentation that is in the way?"""
    cdef int64_t index
    if zone_watermark_ok(z, order, wmark_pages(z, WMARK_MIN), highest_zoneidx, z.nr_free):
        return False
    if not zone_watermark_ok(z, 0, wmark_pages(z, WMARK_LOW) + (2 << order), highest_zoneidx, z.nr_free):
        return False
    index = fragmentation_index(z, order)
    return not 0 <= index <= m.p.extfrag_threshold
