"""Free memory of one migratetype out of page blocks of another (__rmqueue_fallback, mm/page_alloc.c).

Whoever finds the free lists of its type empty takes from another: the largest block there is, and with it what else is
free in its page block, which becomes a block of the new type if half of it is free or of the new kind. So the kernel's
pages stay together. Programs, which do no lasting harm, are content with the smallest block if there is no large one.
Each time the watermarks of the zone are to rise (`fallbacks`), unless the page block was all free.
"""

from .buddy cimport (change_area, get_pageblock_migratetype, pcp_put_cold, per_cpu_pages_t, rmqueue_movable,
                     rmqueue_smallest, set_pageblock_migratetype, split_block, take_block, zone_t)
from .page cimport PG_BUDDY, PG_LRU, page_t
from .types cimport (MAX_ORDER, MIGRATE_MOVABLE, MIGRATE_RECLAIMABLE, MIGRATE_TYPES, MIGRATE_UNMOVABLE,
                     PAGEBLOCK_ORDER, PAGEBLOCK_PAGES, int32_t, int64_t, pfn_t)

cdef int[MIGRATE_TYPES][2] fallbacks
fallbacks[MIGRATE_UNMOVABLE] = [MIGRATE_RECLAIMABLE, MIGRATE_MOVABLE]
fallbacks[MIGRATE_MOVABLE] = [MIGRATE_RECLAIMABLE, MIGRATE_UNMOVABLE]
fallbacks[MIGRATE_RECLAIMABLE] = [MIGRATE_UNMOVABLE, MIGRATE_MOVABLE]


cdef inline int find_suitable_fallback(const zone_t *z, int order, int mt) noexcept nogil:
    # the type that has a free block of exactly `order`, in the order in which they are asked; -1: none has
    cdef int i
    for i in range(2):
        if z.free_area[fallbacks[mt][i]][order].nr_free:
            return fallbacks[mt][i]
    return -1


cdef bint claim_block(zone_t *z, page_t *frames, pfn_t from_pfn, int mt) noexcept nogil:
    """The free pages of a page block change their type, and the block does if half of it is free or of their kind. 6.12
    moves them only then, 6.1 in any case, of a block that begins before the zone from `from_pfn` on. False: none were
    moved."""
    cdef int64_t start = from_pfn & ~<int64_t> (PAGEBLOCK_PAGES - 1)
    cdef int64_t end = start + PAGEBLOCK_PAGES, pfn, nr_free = 0, movable = 0, alike
    if end > z.start_pfn + z.spanned or start < z.start_pfn and not z.v61:
        return False
    if start < z.start_pfn:
        start = from_pfn
    pfn = start
    while pfn < end:
        if frames[pfn].flags & PG_BUDDY:
            nr_free += 1 << frames[pfn].order
            pfn += 1 << frames[pfn].order
        else:
            movable += frames[pfn].flags & PG_LRU != 0
            pfn += 1
    if mt == MIGRATE_MOVABLE:
        alike = movable
    elif get_pageblock_migratetype(z, from_pfn) == MIGRATE_MOVABLE:
        alike = PAGEBLOCK_PAGES - nr_free - movable
    else:
        alike = 0                # unmovable and reclaimable pages cannot be told apart
    if nr_free + alike < PAGEBLOCK_PAGES // 2 and not z.v61:
        return False
    pfn = start
    while pfn < end:
        if frames[pfn].flags & PG_BUDDY:
            change_area(z, frames, <pfn_t> pfn, mt)
            pfn += 1 << frames[pfn].order
        else:
            pfn += 1
    if nr_free + alike >= PAGEBLOCK_PAGES // 2:
        set_pageblock_migratetype(z, from_pfn, mt)
    return True


cdef pfn_t claim(zone_t *z, page_t *frames, int order, int mt) noexcept nogil:
    """A block for `mt` out of the largest of another type and what is free around it; 0 if there is none to claim.

    Programs claim blocks of half the order of a page block and more. In 6.1 who may claim gets what it found, if only
    the block itself; 6.12 looks for a smaller one whose page block it can have.
    """
    cdef int o, i, found
    cdef pfn_t pfn
    for o in range(MAX_ORDER, order - 1, -1):
        if mt == MIGRATE_MOVABLE and o < PAGEBLOCK_ORDER // 2:
            break
        found = find_suitable_fallback(z, o, mt)
        if found < 0:
            continue
        if o >= PAGEBLOCK_ORDER:
            pfn = take_block(z, frames, o, found)
            for i in range(1 << (o - PAGEBLOCK_ORDER)):
                set_pageblock_migratetype(z, pfn + i * PAGEBLOCK_PAGES, mt)
            return split_block(z, frames, pfn, o, order, mt)
        z.fallbacks += 1
        pfn = z.free_area[found][o].head
        if claim_block(z, frames, pfn, mt):
            return rmqueue_smallest(z, frames, order, mt)
        if z.v61:
            pfn = take_block(z, frames, o, found)
            return split_block(z, frames, pfn, o, order, mt)
    return 0


cdef pfn_t steal(zone_t *z, page_t *frames, int order, int mt) noexcept nogil:
    """The smallest block of another type; what is left of it changes its type with it in 6.1, where it also raises the
    watermarks. 0 if there is none."""
    cdef int o, found
    cdef pfn_t pfn
    for o in range(order, MAX_ORDER + 1):
        found = find_suitable_fallback(z, o, mt)
        if found >= 0:
            z.fallbacks += z.v61
            pfn = take_block(z, frames, o, found)
            return split_block(z, frames, pfn, o, order, mt if z.v61 else found)
    return 0


cdef pfn_t rmqueue_buddy(zone_t *z, page_t *frames, int order, int mt, bint *stealing) noexcept nogil:
    """A block of one type, if need be out of another's (__rmqueue); its first frame, or 0.

    `stealing` is False at first and belongs to the caller, for several calls in a row: once 6.12 has found nothing to
    claim it goes on with the smallest blocks.
    """
    cdef pfn_t pfn
    if z.block_type == NULL:
        return rmqueue_smallest(z, frames, order, MIGRATE_MOVABLE)
    if not stealing[0]:
        pfn = rmqueue_smallest(z, frames, order, mt)
        if pfn == 0:
            pfn = claim(z, frames, order, mt)
        if pfn:
            return pfn
    pfn = steal(z, frames, order, mt)
    stealing[0] = pfn != 0 and not z.v61
    return pfn


cdef void rmqueue_bulk(zone_t *z, page_t *frames, per_cpu_pages_t *p, int32_t n) noexcept nogil:
    """n pages for programs onto a CPU's stack; those of other types are a fallback each."""
    cdef pfn_t pfn
    cdef bint stealing = False
    n -= rmqueue_movable(z, frames, p, n)
    while n > 0:
        pfn = rmqueue_buddy(z, frames, 0, MIGRATE_MOVABLE, &stealing)
        if pfn == 0:
            break
        pcp_put_cold(z, frames, p, pfn)
        n -= 1
