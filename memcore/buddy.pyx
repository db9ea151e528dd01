"""The buddy allocator of one zone (mm/page_alloc.c).

Free blocks of 2^order frames hang in one list per order; a block is split on allocation and merged with
its buddy (pfn ^ 2^order) on free.

Of migrate types there are two: what programs get is movable, and some page blocks are of the kernel's unmovable or
reclaimable memory ("foreign"). Each has lists of its own. When one side has no page left it takes the other's
(rmqueue_fallback), which raises the watermarks of the zone unless it was a page block that is all free. What is freed
returns to the side its page block is on. A zone that begins without foreign pages knows no sides.

A zone begins as a run of order-10 blocks that nobody has touched. They are not linked but remembered as a
range (`virgin`), so a machine of 1 TiB is created without touching its frames.
"""

from libc.stdlib cimport calloc, free

from .debug cimport MM_BUG_ON, mm_likely
from .page cimport PG_BUDDY, PG_FOREIGN, PG_LRU, PG_PCP, page_t
from .types cimport (MAX_ORDER, NR_ORDERS, PAGEBLOCK_ORDER, PAGEBLOCK_PAGES, int32_t, int64_t, nid_t, pfn_t, uint8_t,
                     uint32_t)
from .watermark cimport WMARK_MIN, zone_batchsize


cdef int zone_init(zone_t *z, nid_t nid, int idx, int zid, int64_t start_pfn, int64_t spanned, int64_t managed,
                   int nr_cpus) except -1:
    """An empty zone: no frame is free until zone_init_free. Raises MemoryError."""
    z.nid = nid
    z.idx = idx
    z.id = zid
    z.start_pfn = start_pfn
    z.spanned = spanned
    z.present = managed
    z.managed = managed
    z.nr_cpus = nr_cpus
    z.pcp_batch = <int32_t> zone_batchsize(managed)
    z.pcp = <per_cpu_pages_t *> calloc(nr_cpus, sizeof(per_cpu_pages_t))
    if z.pcp == NULL:
        raise MemoryError("per-CPU lists")
    return 0


cdef void zone_free(zone_t *z) noexcept nogil:
    cdef int c
    if z.pcp != NULL:
        for c in range(z.nr_cpus):
            free(z.pcp[c].pages)
    free(z.pcp)
    free(z.block_foreign)
    z.pcp = NULL
    z.block_foreign = NULL


cdef inline free_area_t *areas(zone_t *z, bint foreign) noexcept nogil:
    # the free lists of one side, by order
    return &z.foreign_area[0] if foreign else &z.free_area[0]


cdef inline void area_add(zone_t *z, page_t *frames, pfn_t pfn, int order, bint foreign) noexcept nogil:
    cdef free_area_t *a = &areas(z, foreign)[order]
    cdef page_t *p = &frames[pfn]
    p.flags = PG_BUDDY | PG_FOREIGN if foreign else <uint32_t> PG_BUDDY
    p.order = <uint8_t> order
    p.swap = a.head
    p.lru = 0
    p.zone = <uint8_t> z.id
    frames[a.head].lru = pfn     # of frame 0, which is nobody's, when the list was empty
    a.head = pfn
    a.nr_free += 1


cdef inline void area_del(zone_t *z, page_t *frames, pfn_t pfn, int order) noexcept nogil:
    cdef page_t *p = &frames[pfn]
    cdef free_area_t *a = &areas(z, p.flags & PG_FOREIGN != 0)[order]
    cdef pfn_t *before = &frames[p.lru].swap if p.lru else &a.head
    MM_BUG_ON(not (p.flags & PG_BUDDY))
    before[0] = p.swap
    frames[p.swap].lru = p.lru
    p.flags = 0
    a.nr_free -= 1


cdef void free_range(zone_t *z, page_t *frames, int64_t pfn, int64_t end, bint foreign) noexcept nogil:
    # makes [pfn, end) free, in blocks as large as their alignment allows
    cdef int order
    while pfn < end:
        order = 0
        while order < MAX_ORDER and not pfn & ((1 << (order + 1)) - 1):
            order += 1
        while pfn + (1 << order) > end:
            order -= 1
        area_add(z, frames, <pfn_t> pfn, order, foreign)
        z.nr_free += 1 << order
        pfn += 1 << order


cdef int64_t zone_layout(const zone_t *z, int64_t nr_free) noexcept nogil:
    """The lowest frame that is free at the start: movable ones are the last of the zone, below them lie foreign page
    blocks that the kernel holds a page or more of; before the zone's start if they do not fit."""
    cdef int64_t movable = z.start_pfn + z.spanned - (nr_free - z.foreign)
    cdef int64_t blocks = (z.foreign + PAGEBLOCK_PAGES - 2) // (PAGEBLOCK_PAGES - 1)
    if blocks == 0:
        return movable
    return (movable & ~<int64_t> (PAGEBLOCK_PAGES - 1)) - (blocks - 1) - z.foreign


cdef int zone_init_free(zone_t *z, page_t *frames, int64_t nr_free) except -1:
    """Makes `nr_free` frames of the zone free (zone_layout); aligned order-10 blocks stay a virgin range. Raises
    MemoryError."""
    cdef int64_t end = z.start_pfn + z.spanned
    cdef int64_t first = end - (nr_free - z.foreign), at, stop
    cdef int64_t block = 1 << MAX_ORDER
    cdef int64_t lo = (first + block - 1) // block * block
    cdef int64_t hi = end // block * block
    z.held_end = at = zone_layout(z, nr_free)
    if hi > lo:
        z.virgin = lo
        z.virgin_end = hi
        z.free_area[MAX_ORDER].nr_free += (hi - lo) // block
        z.nr_free += hi - lo
        free_range(z, frames, first, lo, False)
        free_range(z, frames, hi, end, False)
    else:
        free_range(z, frames, first, end, False)
    if z.foreign == 0:
        return 0
    z.block_foreign = <uint8_t *> calloc(block_number(z, end) + 1, 1)
    if z.block_foreign == NULL:
        raise MemoryError("page blocks")
    z.held_end &= ~<int64_t> (PAGEBLOCK_PAGES - 1)
    while at < first & ~<int64_t> (PAGEBLOCK_PAGES - 1):
        stop = (at | (PAGEBLOCK_PAGES - 1)) + 1
        set_block(z, at, True)
        free_range(z, frames, at, stop, True)
        at = stop + 1            # the first page of each is the kernel's
    return 0


cdef inline pfn_t take_block(zone_t *z, page_t *frames, int order, bint foreign) noexcept nogil:
    # a block of exactly `order`, unlinked; the caller knows there is one
    cdef pfn_t pfn = areas(z, foreign)[order].head
    if pfn:
        area_del(z, frames, pfn, order)
        return pfn
    pfn = <pfn_t> z.virgin
    z.virgin += 1 << MAX_ORDER
    z.free_area[MAX_ORDER].nr_free -= 1
    return pfn


cdef inline int smallest(const free_area_t *areas, int order) noexcept nogil:
    # the order of the smallest block that holds one of `order`; above MAX_ORDER if there is none
    while order <= MAX_ORDER and areas[order].nr_free == 0:
        order += 1
    return order


cdef inline int largest(const free_area_t *areas, int order) noexcept nogil:
    # the order of the largest block there is, if that is `order` at least; -1 without one
    cdef int o = MAX_ORDER
    while o >= order and areas[o].nr_free == 0:
        o -= 1
    return o if o >= order else -1


cdef inline void set_block(zone_t *z, int64_t pfn, bint foreign) noexcept nogil:
    z.block_foreign[block_number(z, pfn)] = foreign


cdef inline void change_side(zone_t *z, page_t *frames, pfn_t pfn, bint foreign) noexcept nogil:
    cdef int order = frames[pfn].order
    area_del(z, frames, pfn, order)
    area_add(z, frames, pfn, order, foreign)


cdef bint steal_block(zone_t *z, page_t *frames, pfn_t from_pfn, bint foreign) noexcept nogil:
    """The free pages of a page block change sides, and the block itself does if half of it is free or of their kind.
    6.12 moves them only then, 6.1 in any case, of a block that begins before the zone from `from_pfn` on. False: none
    were moved."""
    cdef int64_t start = from_pfn & ~<int64_t> (PAGEBLOCK_PAGES - 1)
    cdef int64_t end = start + PAGEBLOCK_PAGES, pfn, alike = 0
    cdef bint claim
    if end > z.start_pfn + z.spanned or start < z.start_pfn and not z.v61:
        return False
    if start < z.start_pfn:
        start = from_pfn
    pfn = start
    while pfn < end:
        if frames[pfn].flags & PG_BUDDY:
            alike += 1 << frames[pfn].order
            pfn += 1 << frames[pfn].order
        else:
            # of pages in use those of programs are on LRU lists
            alike += (frames[pfn].flags & PG_LRU != 0) != foreign
            pfn += 1
    claim = alike >= PAGEBLOCK_PAGES // 2
    if not claim and not z.v61:
        return False
    pfn = start
    while pfn < end:
        if frames[pfn].flags & PG_BUDDY:
            change_side(z, frames, <pfn_t> pfn, foreign)
            pfn += 1 << frames[pfn].order
        else:
            pfn += 1
    if claim:
        set_block(z, from_pfn, foreign)
    return True


cdef pfn_t rmqueue_fallback(zone_t *z, page_t *frames, int order, bint foreign) noexcept nogil:
    """__rmqueue_fallback: a block for one side out of the other's; 0 if that has none either.

    The largest block is taken, and with it what is free in its page block. For programs, which do no lasting harm,
    only if it is large enough (half the order of a page block in 6.1, all of it in 6.12), otherwise the smallest block
    alone.
    """
    cdef int o = largest(areas(z, not foreign), order), i
    cdef bint whole = foreign or o >= (PAGEBLOCK_ORDER // 2 if z.v61 else PAGEBLOCK_ORDER)
    cdef pfn_t pfn
    if o < 0:
        return 0
    if o >= PAGEBLOCK_ORDER:
        pfn = take_block(z, frames, o, not foreign)
        for i in range(1 << (o - PAGEBLOCK_ORDER)):
            set_block(z, pfn + i * PAGEBLOCK_PAGES, foreign)
        return split_block(z, frames, pfn, o, order, foreign)
    z.fallbacks += 1
    if not whole:
        o = smallest(areas(z, not foreign), order)
    pfn = areas(z, not foreign)[o].head
    if whole and steal_block(z, frames, pfn, foreign):
        return rmqueue_smallest(z, frames, order, foreign)
    area_del(z, frames, pfn, o)
    # what is left of it changes sides with it in 6.1 only
    return split_block(z, frames, pfn, o, order, foreign if z.v61 else not foreign)


cdef pfn_t rmqueue_smallest(zone_t *z, page_t *frames, int order, bint foreign) noexcept nogil:
    """Smallest sufficient block of one side, split down; its first frame, or 0."""
    cdef int o = smallest(areas(z, foreign), order)
    if o > MAX_ORDER:
        return 0
    return split_block(z, frames, take_block(z, frames, o, foreign), o, order, foreign)


cdef pfn_t rmqueue_buddy(zone_t *z, page_t *frames, int order, bint foreign) noexcept nogil:
    """A block for programs or (`foreign`) for the kernel; its first frame, or 0."""
    cdef pfn_t pfn = rmqueue_smallest(z, frames, order, foreign and z.block_foreign != NULL)
    if pfn == 0 and z.block_foreign != NULL:
        pfn = rmqueue_fallback(z, frames, order, foreign)
    return pfn


cdef pfn_t split_block(zone_t *z, page_t *frames, pfn_t pfn, int o, int order, bint foreign) noexcept nogil:
    # the first 2^order frames of an unlinked block of order `o`, the rest going back
    while o > order:
        o -= 1
        area_add(z, frames, pfn + (<pfn_t> 1 << o), o, foreign)
    frames[pfn].flags = 0
    frames[pfn].zone = <uint8_t> z.id
    z.nr_free -= 1 << order
    return pfn


cdef void free_one_page(zone_t *z, page_t *frames, pfn_t pfn, int order) noexcept nogil:
    """Gives a block back, merging with free buddies as far as possible. All of it goes to the lists of its page
    block, also what was in others before."""
    cdef pfn_t buddy
    cdef bint foreign = in_foreign_block(z, pfn)
    z.nr_free += 1 << order
    while order < MAX_ORDER:
        buddy = pfn ^ (<pfn_t> 1 << order)
        # beyond the zone there are frames too, of others or of none (see machine_alloc)
        if (mm_likely(not frames[buddy].flags & PG_BUDDY) or frames[buddy].order != order
                or frames[buddy].zone != z.id):
            break
        area_del(z, frames, buddy, order)
        frames[pfn].flags = 0
        pfn &= ~(<pfn_t> 1 << order)
        order += 1
    area_add(z, frames, pfn, order, foreign)


cdef bint isolate_free_page(zone_t *z, page_t *frames, pfn_t pfn) noexcept nogil:
    """Compaction takes the free block at `pfn` (__isolate_free_page). False: that would leave less than MIN."""
    cdef int order = frames[pfn].order
    if not zone_watermark_ok(z, 0, z.wmark[WMARK_MIN] + (1 << order), 0, z.nr_free):
        return False
    area_del(z, frames, pfn, order)
    z.nr_free -= 1 << order
    return True


cdef void rmqueue_bulk(zone_t *z, page_t *frames, per_cpu_pages_t *p, int32_t n) noexcept nogil:
    """n pages for programs onto a CPU's stack."""
    cdef int o, order, i
    cdef pfn_t pfn
    while n > 0:
        # page by page the kernel would split the smallest block from its start: take what is wanted of it in one go
        o = smallest(z.free_area, 0)
        if o > MAX_ORDER:
            order = 0            # perhaps of another mobility, where each page is a fallback of its own
            pfn = rmqueue_buddy(z, frames, 0, False)
            if pfn == 0:
                break
        else:
            order = o
            while 1 << order > n:
                order -= 1
            pfn = split_block(z, frames, take_block(z, frames, o, False), o, order, False)
        for i in range(1 << order):
            frames[pfn + i].flags = PG_PCP
            frames[pfn + i].zone = <uint8_t> z.id
            # the kernel appends, so pages leave in the order the buddy gave them: fill from below
            p.bottom = (p.cap if p.bottom == 0 else p.bottom) - 1
            p.pages[p.bottom] = pfn + i
        p.count += 1 << order
        n -= 1 << order


cdef int32_t free_bulk(zone_t *z, page_t *frames, per_cpu_pages_t *p, int32_t n) noexcept nogil:
    """The n coldest pages of a CPU's stack, or all if it has fewer; how many they were."""
    cdef int32_t at = p.bottom
    cdef int _i
    n = min(n, p.count)
    for _i in range(n):
        frames[p.pages[at]].flags = 0
        free_one_page(z, frames, p.pages[at], 0)
        at += 1
        if at == p.cap:
            at = 0
    p.bottom = at
    p.count -= n
    return n


cdef int64_t verify_area(zone_t *z, page_t *frames, int order, bint foreign) except -1:
    # the blocks of one free list
    cdef free_area_t *a = &areas(z, foreign)[order]
    cdef int64_t n = 0
    cdef pfn_t pfn = a.head, prev = 0, buddy
    while pfn:
        if not frames[pfn].flags & PG_BUDDY or frames[pfn].order != order or frames[pfn].lru != prev:
            raise AssertionError(f"free list {order} of zone {z.id} is broken at frame {pfn}")
        if pfn & ((1 << order) - 1):
            raise AssertionError(f"free block {pfn} of order {order} is not aligned")
        if (frames[pfn].flags & PG_FOREIGN != 0) != foreign:
            raise AssertionError(f"free block {pfn} is in the list of another mobility")
        buddy = pfn ^ (<pfn_t> 1 << order)
        if (order < MAX_ORDER and buddy >= z.start_pfn and buddy < z.start_pfn + z.spanned
                and frames[buddy].flags & PG_BUDDY and frames[buddy].order == order
                and frames[buddy].zone == z.id):
            raise AssertionError(f"buddies {pfn} and {buddy} of order {order} are both free")
        n += 1
        prev = pfn
        pfn = frames[pfn].swap
    if order == MAX_ORDER and not foreign:
        n += (z.virgin_end - z.virgin) >> MAX_ORDER
    if n != <int64_t> a.nr_free:
        raise AssertionError(f"zone {z.id} order {order}: {n} blocks, counted {a.nr_free}")
    return n


cdef int zone_verify(zone_t *z, page_t *frames) except -1:
    """Walks every free list: counts, links, alignment, mobility, and no two buddies free side by side."""
    cdef int64_t total = 0
    cdef int order
    for order in range(NR_ORDERS):
        total += (verify_area(z, frames, order, False) + verify_area(z, frames, order, True)) << order
    if total != z.nr_free:
        raise AssertionError(f"zone {z.id}: {total} pages free, counted {z.nr_free}")
    return 0
