"""The per-CPU lists in front of the buddy allocator (mm/page_alloc.c).

Requests of up to 8 pages go through lists of the running CPU, which are refilled and spilled in batches. What programs
get is a stack of single pages. Where a zone knows page blocks of the kernel's there are lists by order and migratetype:
they are refilled rarely, for several blocks at once, so the kernel does not ask for pages of another type each time it
needs one. What is freed goes to the list of its page block. The marks of a CPU hold for all its lists together.
"""

from libc.stdlib cimport calloc

from .buddy cimport (free_bulk, free_one_page, get_pageblock_migratetype, per_cpu_pages_t, pcp_list_t, rmqueue_smallest,
                     wmark_pages, zone_t, zone_watermark_ok)
from .mobility cimport rmqueue_buddy, rmqueue_bulk
from .page cimport PG_PCP, page_t
from .types cimport (MAX_NR_ZONES, MIGRATE_MOVABLE, MIGRATE_TYPES, NR_PCP_LISTS, PCP_ORDERS, int32_t, int64_t, pfn_t)
from .watermark cimport WMARK_HIGH, WMARK_LOW

cdef enum:
    PCP_BATCH_SCALE_MAX = 5


cdef int zone_init_pcp(zone_t *z, int node_cpus, int64_t high_fraction, bint v612) except -1:
    """Sizes the per-CPU lists (zone_set_pageset_high_and_batch) once the watermarks are known.

    Without vm.percpu_pagelist_high_fraction a list holds the LOW watermark divided by the node's CPUs;
    6.12 lets it grow to an eighth of the zone. Raises MemoryError.
    """
    cdef int64_t share = 1 if node_cpus < 1 else node_cpus
    cdef int64_t lo, hi
    cdef int c
    if high_fraction:
        lo = hi = z.managed // high_fraction // share
    else:
        lo = z.wmark[WMARK_LOW] // share
        hi = z.managed // 8 // share if v612 else lo
    z.pcp_high_min = <int32_t> max(lo, 4 * z.pcp_batch)
    z.pcp_high_max = <int32_t> min(max(hi, 4 * z.pcp_batch), 1 << 24)
    if z.pcp_high_min > z.pcp_high_max:
        z.pcp_high_min = z.pcp_high_max
    for c in range(z.nr_cpus):
        z.pcp[c].cap = z.pcp_high_max + 2 * z.pcp_batch + 64
        z.pcp[c].high = z.pcp_high_min
        z.pcp[c].pages = <pfn_t *> calloc(z.pcp[c].cap, sizeof(pfn_t))
        if z.pcp[c].pages == NULL:
            raise MemoryError("per-CPU lists")
    return 0


cdef inline int32_t clamp32(int32_t v, int32_t lo, int32_t hi) noexcept nogil:
    return lo if v < lo else (hi if v > hi else v)


cdef inline int32_t nr_blocks(int32_t batch, int order) noexcept nogil:
    # how many blocks of an order make up a batch of pages
    return max(batch >> order, 2) if batch > 1 else 1


cdef inline int32_t nr_pcp_alloc(zone_t *z, per_cpu_pages_t *p, int order, bint v612) noexcept nogil:
    """How many blocks are fetched at once. In 6.12 batches of single pages double while nothing is freed in between."""
    cdef int32_t batch = z.pcp_batch, most
    if v612:
        if order == 0:
            batch <<= p.alloc_factor
        p.high = clamp32(p.high, z.pcp_high_min, z.pcp_high_max)
        if z.pcp_high_min != z.pcp_high_max and not z.below_high:
            p.high = clamp32(p.high + batch, z.pcp_high_min, z.pcp_high_max)
        if order == 0:
            most = max(p.high - pcp_count(p) - z.pcp_batch, z.pcp_batch)
            if batch <= most and p.alloc_factor < PCP_BATCH_SCALE_MAX:
                p.alloc_factor += 1
            batch = min(batch, most)
    return nr_blocks(batch, order)


cdef void pcp_refill(zone_t *z, page_t *frames, int cpu, bint v612) noexcept nogil:
    """A batch for programs from the buddy."""
    cdef per_cpu_pages_t *p = &z.pcp[cpu]
    rmqueue_bulk(z, frames, p, min(nr_pcp_alloc(z, p, 0, v612), p.cap - p.count))


cdef inline int pindex(int order, int mt) noexcept nogil:
    # number of a list: of movable single pages (1) there is the stack instead
    return order * MIGRATE_TYPES + mt


cdef void pcp_list_add(per_cpu_pages_t *p, page_t *frames, pfn_t pfn, int order, int mt, bint hot) noexcept nogil:
    # pages that were freed are hot, those that the buddy gave wait at the other end
    cdef pcp_list_t *kept = &p.lists[pindex(order, mt)]
    cdef int i
    for i in range(1 << order):
        frames[pfn + i].flags = PG_PCP
    frames[pfn].swap = kept.head if hot else 0
    frames[pfn].lru = 0 if hot else kept.tail
    if hot:
        if kept.head:
            frames[kept.head].lru = pfn
        else:
            kept.tail = pfn
        kept.head = pfn
    else:
        if kept.tail:
            frames[kept.tail].swap = pfn
        else:
            kept.head = pfn
        kept.tail = pfn
    p.listed += 1 << order


cdef pfn_t pcp_list_take(per_cpu_pages_t *p, page_t *frames, int order, int mt, bint hot) noexcept nogil:
    # a block from either end, flags cleared; 0 if there is none
    cdef pcp_list_t *kept = &p.lists[pindex(order, mt)]
    cdef pfn_t pfn = kept.head if hot else kept.tail
    cdef int i
    if pfn == 0:
        return 0
    if hot:
        kept.head = frames[pfn].swap
    else:
        kept.tail = frames[pfn].lru
    if kept.head == 0 or kept.tail == 0:
        kept.head = kept.tail = 0
    elif hot:
        frames[kept.head].lru = 0
    else:
        frames[kept.tail].swap = 0
    for i in range(1 << order):
        frames[pfn + i].flags = 0
    p.listed -= 1 << order
    return pfn


cdef pfn_t pcp_alloc(zone_t *z, page_t *frames, int cpu, int order, int mt, bint v612) noexcept nogil:
    """A block from the CPU's list of its order and type, which is refilled when it is empty: so page blocks of another
    type are asked rarely, for several blocks at once. 0 without memory."""
    cdef per_cpu_pages_t *p = &z.pcp[cpu]
    cdef int32_t n
    cdef pfn_t pfn
    cdef bint stealing = False
    if p.lists[pindex(order, mt)].head == 0:
        n = nr_pcp_alloc(z, p, order, v612)
        while n > 0:
            pfn = rmqueue_buddy(z, frames, order, mt, &stealing)
            if pfn == 0:
                break
            pcp_list_add(p, frames, pfn, order, mt, False)
            n -= 1
    p.free_count >>= 1
    return pcp_list_take(p, frames, order, mt, True)


cdef int32_t pcp_half(const zone_t *z) noexcept nogil:
    """Pages of a type in the lists of a CPU that has run for long: of each order half of what is fetched at once."""
    cdef int32_t pages = 0
    cdef int order
    for order in range(PCP_ORDERS):
        pages += nr_blocks(z.pcp_batch, order) // 2 << order
    return pages


cdef void pcp_fill_half(zone_t *z, page_t *frames, int cpu, int mt) noexcept nogil:
    """The lists of a type as pcp_half says; the zone has as many pages of that type."""
    cdef int order, _i
    for order in range(PCP_ORDERS - 1, -1, -1):
        for _i in range(nr_blocks(z.pcp_batch, order) // 2):
            pcp_list_add(&z.pcp[cpu], frames, rmqueue_smallest(z, frames, order, mt), order, mt, False)


cdef void free_pcppages_bulk(zone_t *z, page_t *frames, int cpu, int32_t n, int first) noexcept nogil:
    """n pages of a CPU go back to the buddy, from list `first` and then the next, round robin."""
    cdef per_cpu_pages_t *p = &z.pcp[cpu]
    cdef int at = first, order, mt, _i
    cdef pfn_t pfn
    for _i in range(NR_PCP_LISTS):
        order = at // MIGRATE_TYPES
        mt = at % MIGRATE_TYPES
        if order == 0 and mt == MIGRATE_MOVABLE:
            n -= free_bulk(z, frames, p, n)
        else:
            while n > 0:
                pfn = pcp_list_take(p, frames, order, mt, False)
                if pfn == 0:
                    break
                free_one_page(z, frames, pfn, order, mt)
                n -= 1 << order
        if n <= 0:
            return
        at = at + 1 if at < NR_PCP_LISTS - 1 else 0


cdef inline int32_t nr_pcp_high(zone_t *z, per_cpu_pages_t *p) noexcept nogil:
    """How long a list may be in 6.12: it shrinks while the zone is short, and grows with runs of frees."""
    cdef int32_t high = clamp32(p.high, z.pcp_high_min, z.pcp_high_max)
    cdef int32_t freed = max(p.free_count, z.pcp_batch)
    p.high = high
    if z.reclaim_active:
        p.high = max(high - freed, z.pcp_high_min)
        return min(4 * z.pcp_batch, p.high)
    if z.pcp_high_min == z.pcp_high_max:
        return high
    if z.below_high:
        p.high = max(high - freed, z.pcp_high_min)
        return max(pcp_count(p), z.pcp_high_min)
    if pcp_count(p) >= high:
        p.high = clamp32(max(high, p.free_count + z.pcp_batch), z.pcp_high_min, z.pcp_high_max)
    return high


cdef inline void free_unref_commit(zone_t *z, page_t *frames, int cpu, int order, int first, bint v612) noexcept nogil:
    # a block has come to a list of the CPU: it is spilled when there are more pages than its mark
    cdef per_cpu_pages_t *p = &z.pcp[cpu]
    cdef int32_t batch = z.pcp_batch, high, n
    if v612:
        p.alloc_factor >>= 1
        if p.free_count < batch << PCP_BATCH_SCALE_MAX:
            p.free_count += 1 << order
        high = nr_pcp_high(z, p)
        n = p.free_count
    else:
        if order and p.free_count:
            # a larger block among many pages freed: they all go, so that they may merge
            free_pcppages_bulk(z, frames, cpu, pcp_count(p), first)
            return
        high = z.pcp_high_min
        if z.reclaim_active and batch * 4 < high:
            high = batch * 4
        n = batch << p.free_count
    if pcp_count(p) < high and p.count < p.cap - 1:
        return
    if not v612 and high - batch > n and p.free_count < 16:
        p.free_count += 1
    n = clamp32(n, batch, max(high - batch, batch))
    free_pcppages_bulk(z, frames, cpu, n, first)
    if z.below_high and zone_watermark_ok(z, 0, wmark_pages(z, WMARK_HIGH), MAX_NR_ZONES - 1, z.nr_free):
        z.below_high = False


cdef void free_unref_page(zone_t *z, page_t *frames, pfn_t pfn, int cpu, int order, bint v612) noexcept nogil:
    """A block goes to the CPU's list of the type that its page block has (free_unref_page_commit)."""
    cdef int mt = get_pageblock_migratetype(z, pfn)
    if order == 0 and mt == MIGRATE_MOVABLE:
        frames[pfn].flags = PG_PCP
        pcp_push(&z.pcp[cpu], pfn)
    else:
        pcp_list_add(&z.pcp[cpu], frames, pfn, order, mt, True)
    free_unref_commit(z, frames, cpu, order, pindex(order, mt), v612)


cdef void decay_pcp_high(zone_t *z, page_t *frames, int cpu) noexcept nogil:
    """Every second 6.12 lets a CPU's list become shorter by an eighth, in case its pages are idle."""
    cdef per_cpu_pages_t *p = &z.pcp[cpu]
    if p.high > z.pcp_high_min:
        p.high = max(pcp_count(p) - (z.pcp_batch << PCP_BATCH_SCALE_MAX), p.high - (p.high >> 3), z.pcp_high_min)
    if pcp_count(p) > p.high:
        free_pcppages_bulk(z, frames, cpu, pcp_count(p) - p.high, 0)


cdef void drain_zone_pages(zone_t *z, page_t *frames) noexcept nogil:
    cdef int c
    for c in range(z.nr_cpus):
        free_pcppages_bulk(z, frames, c, pcp_count(&z.pcp[c]), 0)


cdef int pcp_verify(zone_t *z, page_t *frames) except -1:
    """The lists of every CPU: links both ways, pages marked, and their sum."""
    cdef per_cpu_pages_t *p
    cdef pfn_t pfn, before
    cdef int64_t pages
    cdef int c, at, i
    for c in range(z.nr_cpus):
        p = &z.pcp[c]
        pages = 0
        for at in range(NR_PCP_LISTS):
            before = 0
            pfn = p.lists[at].head
            while pfn:
                if frames[pfn].lru != before or frames[pfn].zone != z.id:
                    raise AssertionError(f"list {at} of CPU {c} in zone {z.id} is broken at frame {pfn}")
                for i in range(1 << at // MIGRATE_TYPES):
                    if frames[pfn + i].flags != PG_PCP:
                        raise AssertionError(f"frame {pfn + i} is in a list of CPU {c} and not marked")
                pages += 1 << at // MIGRATE_TYPES
                before = pfn
                pfn = frames[pfn].swap
            if before != p.lists[at].tail:
                raise AssertionError(f"list {at} of CPU {c} in zone {z.id} ends at {before}, not at its tail")
        if pages != p.listed:
            raise AssertionError(f"CPU {c} has {pages} pages of zone {z.id} in lists, counted {p.listed}")
    return 0
