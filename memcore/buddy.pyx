"""The buddy allocator of one zone (mm/page_alloc.c).

Free blocks of 2^order frames hang in one list per order; a block is split on allocation and merged with
its buddy (pfn ^ 2^order) on free.

Page blocks, of 512 frames, have a migratetype: what programs get is movable, what the kernel gets is unmovable or
reclaimable. Free blocks of each type hang in lists of their own; what happens when those are empty is in mobility.pyx.
A zone that begins without free pages in page blocks of the kernel's is movable altogether.

A zone begins as a run of order-10 blocks that nobody has touched. They are not linked but remembered as a
range (`virgin`), so a machine of 1 TiB is created without touching its frames.
"""

from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memset

from .debug cimport MM_BUG_ON, mm_likely
from .page cimport PG_BUDDY, PG_MIGRATETYPE, PG_MIGRATETYPE_SHIFT, page_t
from .types cimport (MAX_ORDER, MIGRATE_MOVABLE, MIGRATE_TYPES, NR_ORDERS, PAGEBLOCK_ORDER, PAGEBLOCK_PAGES,
                     int32_t, int64_t, nid_t, pfn_t, uint8_t, uint32_t)
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
    free(z.block_type)
    free(z.kernel_blocks)
    z.pcp = NULL
    z.kernel_blocks = NULL
    z.block_type = NULL


cdef inline void area_add(zone_t *z, page_t *frames, pfn_t pfn, int order, int mt) noexcept nogil:
    cdef free_area_t *a = &z.free_area[mt][order]
    cdef page_t *p = &frames[pfn]
    p.flags = PG_BUDDY | <uint32_t> mt << PG_MIGRATETYPE_SHIFT
    p.order = <uint8_t> order
    p.swap = a.head
    p.lru = 0
    p.zone = <uint8_t> z.id
    frames[a.head].lru = pfn     # of frame 0, which is nobody's, when the list was empty
    a.head = pfn
    a.nr_free += 1


cdef inline void area_del(zone_t *z, page_t *frames, pfn_t pfn, int order) noexcept nogil:
    cdef page_t *p = &frames[pfn]
    cdef free_area_t *a = &z.free_area[(p.flags & PG_MIGRATETYPE) >> PG_MIGRATETYPE_SHIFT][order]
    cdef pfn_t *before = &frames[p.lru].swap if p.lru else &a.head
    MM_BUG_ON(not (p.flags & PG_BUDDY))
    before[0] = p.swap
    frames[p.swap].lru = p.lru
    p.flags = 0
    a.nr_free -= 1


cdef void change_area(zone_t *z, page_t *frames, pfn_t pfn, int mt) noexcept nogil:
    """A free block goes to the lists of another type (move_to_free_list)."""
    cdef int order = frames[pfn].order
    area_del(z, frames, pfn, order)
    area_add(z, frames, pfn, order, mt)


cdef void free_range(zone_t *z, page_t *frames, int64_t pfn, int64_t end, int mt) noexcept nogil:
    # makes [pfn, end) free, in blocks as large as their alignment allows
    cdef int order
    while pfn < end:
        order = 0
        while order < MAX_ORDER and not pfn & ((1 << (order + 1)) - 1):
            order += 1
        while pfn + (1 << order) > end:
            order -= 1
        area_add(z, frames, <pfn_t> pfn, order, mt)
        z.nr_free += 1 << order
        pfn += 1 << order


cdef int64_t kernel_free(const zone_t *z) noexcept nogil:
    # pages free at the start in page blocks of the kernel's
    cdef int64_t pages = 0
    cdef int i
    for i in range(z.nr_kernel_blocks):
        pages += z.kernel_blocks[i].nr_free
    return pages


cdef inline int64_t first_movable(const zone_t *z, int64_t nr_free) noexcept nogil:
    # movable frames are the last of the zone
    return z.start_pfn + z.spanned - (nr_free - kernel_free(z))


cdef int64_t zone_layout(const zone_t *z, int64_t nr_free) noexcept nogil:
    """The lowest frame that is free at the start; before the zone's start if there is no room. Page blocks of the
    kernel's lie below that in which the movable frames begin."""
    cdef int64_t movable = first_movable(z, nr_free)
    if z.nr_kernel_blocks == 0:
        return movable
    return ((movable // PAGEBLOCK_PAGES - z.nr_kernel_blocks + 1) * PAGEBLOCK_PAGES
            - z.kernel_blocks[z.nr_kernel_blocks - 1].nr_free)


cdef int zone_init_free(zone_t *z, page_t *frames, int64_t nr_free) except -1:
    """Makes `nr_free` frames of the zone free (zone_layout); aligned order-10 blocks stay a virgin range. Raises
    MemoryError."""
    cdef int64_t end = z.start_pfn + z.spanned
    cdef int64_t first = first_movable(z, nr_free), at, blocks
    cdef int64_t block = 1 << MAX_ORDER
    cdef int64_t lo = (first + block - 1) // block * block
    cdef int64_t hi = end // block * block
    cdef kernel_block_t *k
    cdef int i
    z.held_end = zone_layout(z, nr_free)
    if hi > lo:
        z.virgin = lo
        z.virgin_end = hi
        z.free_area[MIGRATE_MOVABLE][MAX_ORDER].nr_free += (hi - lo) // block
        z.nr_free += hi - lo
        free_range(z, frames, first, lo, MIGRATE_MOVABLE)
        free_range(z, frames, hi, end, MIGRATE_MOVABLE)
    else:
        free_range(z, frames, first, end, MIGRATE_MOVABLE)
    if z.nr_kernel_blocks == 0:
        return 0
    blocks = block_number(z, end) + 1
    z.block_type = <uint8_t *> malloc(blocks)
    if z.block_type == NULL:
        raise MemoryError("page blocks")
    memset(z.block_type, MIGRATE_MOVABLE, blocks)
    z.held_end &= ~<int64_t> (PAGEBLOCK_PAGES - 1)
    at = first & ~<int64_t> (PAGEBLOCK_PAGES - 1)
    for i in range(z.nr_kernel_blocks):
        k = &z.kernel_blocks[i]
        at -= PAGEBLOCK_PAGES
        set_pageblock_migratetype(z, at, k.mt)
        if k.nr_free == PAGEBLOCK_PAGES:
            free_one_page(z, frames, <pfn_t> at, PAGEBLOCK_ORDER, k.mt)
        else:
            free_range(z, frames, at + PAGEBLOCK_PAGES - k.nr_free, at + PAGEBLOCK_PAGES, k.mt)
    return 0


cdef pfn_t take_block(zone_t *z, page_t *frames, int order, int mt) noexcept nogil:
    # a block of exactly `order`, unlinked; the caller knows there is one
    cdef pfn_t pfn = z.free_area[mt][order].head
    if pfn:
        area_del(z, frames, pfn, order)
        return pfn
    pfn = <pfn_t> z.virgin
    z.virgin += 1 << MAX_ORDER
    z.free_area[MIGRATE_MOVABLE][MAX_ORDER].nr_free -= 1
    return pfn


cdef inline int smallest(const zone_t *z, int order, int mt) noexcept nogil:
    # the order of the smallest block that holds one of `order`; above MAX_ORDER if there is none
    while order <= MAX_ORDER and z.free_area[mt][order].nr_free == 0:
        order += 1
    return order


cdef pfn_t rmqueue_smallest(zone_t *z, page_t *frames, int order, int mt) noexcept nogil:
    """Smallest sufficient block of one type, split down; its first frame, or 0."""
    cdef int o = smallest(z, order, mt)
    if o > MAX_ORDER:
        return 0
    return split_block(z, frames, take_block(z, frames, o, mt), o, order, mt)


cdef pfn_t split_block(zone_t *z, page_t *frames, pfn_t pfn, int o, int order, int mt) noexcept nogil:
    # the first 2^order frames of an unlinked block of order `o`, the rest going back to the lists of `mt`
    while o > order:
        o -= 1
        area_add(z, frames, pfn + (<pfn_t> 1 << o), o, mt)
    frames[pfn].flags = 0
    frames[pfn].zone = <uint8_t> z.id
    z.nr_free -= 1 << order
    return pfn


cdef void free_one_page(zone_t *z, page_t *frames, pfn_t pfn, int order, int mt) noexcept nogil:
    """Gives a block back, merging with free buddies as far as possible. All of it goes to one list: 6.12 looks what type
    its page block has now, 6.1 goes by the per-CPU list in which it was."""
    cdef pfn_t buddy
    if not z.v61:
        mt = get_pageblock_migratetype(z, pfn)
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
    area_add(z, frames, pfn, order, mt)


cdef bint isolate_free_page(zone_t *z, page_t *frames, pfn_t pfn) noexcept nogil:
    """Compaction takes the free block at `pfn` (__isolate_free_page). False: that would leave less than MIN."""
    cdef int order = frames[pfn].order
    if not zone_watermark_ok(z, 0, z.wmark[WMARK_MIN] + (1 << order), 0, z.nr_free):
        return False
    area_del(z, frames, pfn, order)
    z.nr_free -= 1 << order
    return True


cdef int32_t rmqueue_movable(zone_t *z, page_t *frames, per_cpu_pages_t *p, int32_t n) noexcept nogil:
    """Up to n movable pages onto a CPU's stack, as far as their own free lists go; how many."""
    cdef int32_t left = n
    cdef int o, order, i
    cdef pfn_t pfn
    while left > 0:
        # page by page the kernel would split the smallest block from its start: take what is wanted of it in one go
        o = order = smallest(z, 0, MIGRATE_MOVABLE)
        if o > MAX_ORDER:
            break
        while 1 << order > left:
            order -= 1
        pfn = split_block(z, frames, take_block(z, frames, o, MIGRATE_MOVABLE), o, order, MIGRATE_MOVABLE)
        for i in range(1 << order):
            pcp_put_cold(z, frames, p, pfn + i)
        left -= 1 << order
    return n - left


cdef int32_t free_bulk(zone_t *z, page_t *frames, per_cpu_pages_t *p, int32_t n) noexcept nogil:
    """The n coldest pages of a CPU's stack, or all if it has fewer; how many they were."""
    cdef int32_t at = p.bottom
    cdef int _i
    n = min(n, p.count)
    for _i in range(n):
        frames[p.pages[at]].flags = 0
        free_one_page(z, frames, p.pages[at], 0, MIGRATE_MOVABLE)
        at += 1
        if at == p.cap:
            at = 0
    p.bottom = at
    p.count -= n
    return n


cdef int64_t verify_area(zone_t *z, page_t *frames, int order, int mt) except -1:
    # the blocks of one free list
    cdef free_area_t *a = &z.free_area[mt][order]
    cdef int64_t n = 0
    cdef pfn_t pfn = a.head, prev = 0, buddy
    while pfn:
        if not frames[pfn].flags & PG_BUDDY or frames[pfn].order != order or frames[pfn].lru != prev:
            raise AssertionError(f"free list {order} of zone {z.id} is broken at frame {pfn}")
        if pfn & ((1 << order) - 1):
            raise AssertionError(f"free block {pfn} of order {order} is not aligned")
        if <int> ((frames[pfn].flags & PG_MIGRATETYPE) >> PG_MIGRATETYPE_SHIFT) != mt:
            raise AssertionError(f"free block {pfn} is in the list of another mobility")
        buddy = pfn ^ (<pfn_t> 1 << order)
        if (order < MAX_ORDER and buddy >= z.start_pfn and buddy < z.start_pfn + z.spanned
                and frames[buddy].flags & PG_BUDDY and frames[buddy].order == order
                and frames[buddy].zone == z.id):
            raise AssertionError(f"buddies {pfn} and {buddy} of order {order} are both free")
        n += 1
        prev = pfn
        pfn = frames[pfn].swap
    if order == MAX_ORDER and mt == MIGRATE_MOVABLE:
        n += (z.virgin_end - z.virgin) >> MAX_ORDER
    if n != <int64_t> a.nr_free:
        raise AssertionError(f"zone {z.id} order {order}: {n} blocks, counted {a.nr_free}")
    return n


cdef int zone_verify(zone_t *z, page_t *frames) except -1:
    """Walks every free list: counts, links, alignment, mobility, and no two buddies free side by side."""
    cdef int64_t total = 0
    cdef int order, mt
    for mt in range(MIGRATE_TYPES):
        for order in range(NR_ORDERS):
            total += verify_area(z, frames, order, mt) << order
    if total != z.nr_free:
        raise AssertionError(f"zone {z.id}: {total} pages free, counted {z.nr_free}")
    return 0
