"""Frames in and out of zones: the per-CPU list of the running CPU first, then the buddy.

Nothing here looks at watermarks; page_alloc decides who may allocate.
"""
from .balance cimport boost_watermark, wakeup_kswapd
from .buddy cimport free_one_page, get_pageblock_migratetype, per_cpu_pages_t, wmark_pages, zone_t, zone_watermark_ok
from .debug cimport MM_BUG_ON, mm_unlikely
from .machine cimport count, machine_t
from .mobility cimport rmqueue_buddy
from .node cimport node_t
from .page cimport PG_BUDDY, PG_KERNEL, PG_LRU, PG_PCP, page_t
from .pcp cimport drain_zone_pages, free_unref_page, pcp_alloc, pcp_pop, pcp_refill
from .types cimport (MAX_NR_ZONES, MIGRATE_MOVABLE, PCP_ORDERS, ZONE_NORMAL, MM_ENOMEM, MM_OK, pfn_t, uint8_t)
from .vmstat cimport (NR_ZSPAGES, NUMA_FOREIGN, NUMA_HIT, NUMA_LOCAL, NUMA_MISS, NUMA_OTHER,
                      PGALLOC_DMA, PGFREE)
from .watermark cimport WMARK_LOW, WMARK_MIN


cdef pfn_t rmqueue_slow(machine_t *m, int zone, int order, int mt) noexcept nogil:
    """rmqueue when the per-CPU list is empty, for a block, or for the kernel."""
    cdef zone_t *z = &m.zones[zone]
    cdef per_cpu_pages_t *pcp
    cdef page_t *p
    cdef pfn_t pfn
    cdef bint stealing = False
    if z.block_type != NULL and (order or mt != MIGRATE_MOVABLE) and order < PCP_ORDERS:
        pfn = pcp_alloc(z, m.frames, m.cpu, order, mt, not m.v61)
    elif order == 0:
        pcp = &z.pcp[m.cpu]
        if pcp.count == 0:
            pcp_refill(z, m.frames, m.cpu, not m.v61)
        pfn = pcp_pop(pcp)
        pcp.free_count >>= 1
    else:
        pfn = rmqueue_buddy(z, m.frames, order, mt, &stealing)
    if mm_unlikely(z.fallbacks > 0):
        boost_watermark(m, z)
    if pfn:
        p = &m.frames[pfn]
        p.flags = 0
        p.zone = <uint8_t> z.id
        count(m, PGALLOC_DMA + z.idx, 1 << order)
    return pfn


cdef pfn_t alloc_reserve(machine_t *m, int nid, int order, int mt) noexcept nogil:
    """A block for the kernel itself, whatever the watermarks say (PF_MEMALLOC, atomic slab growth)."""
    cdef int i, zi, n
    cdef pfn_t pfn
    for i in range(m.nodes[nid].nr_fallback):
        n = m.nodes[nid].fallback[i]
        for zi in range(MAX_NR_ZONES - 1, -1, -1):
            if m.zones[m.nodes[n].first_zone + zi].managed:
                pfn = rmqueue(m, m.nodes[n].first_zone + zi, order, mt)
                if pfn:
                    return pfn
    return 0


cdef void free_frame(machine_t *m, pfn_t pfn) noexcept nogil:
    """An order-0 frame goes to the running CPU's list of its zone."""
    cdef page_t *p = &m.frames[pfn]
    cdef zone_t *z = &m.zones[p.zone]
    MM_BUG_ON(p.flags & (PG_BUDDY | PG_PCP | PG_LRU) != 0 or p.mapcount != 0)
    p.owner = 0
    p.pins = 0
    count(m, PGFREE, 1)
    free_unref_page(z, m.frames, pfn, m.cpu, 0, not m.v61)


cdef void free_block(machine_t *m, pfn_t pfn, int order) noexcept nogil:
    cdef zone_t *z = &m.zones[m.frames[pfn].zone]
    m.frames[pfn].flags = 0
    if order == 0:
        free_frame(m, pfn)
        return
    count(m, PGFREE, 1 << order)
    if order < PCP_ORDERS and z.block_type != NULL:
        free_unref_page(z, m.frames, pfn, m.cpu, order, not m.v61)
    else:
        free_one_page(z, m.frames, pfn, order, get_pageblock_migratetype(z, pfn))


cdef void drain_all_pages(machine_t *m) noexcept nogil:
    cdef int i
    for i in range(m.nr_zones):
        if m.zones[i].managed:
            drain_zone_pages(&m.zones[i], m.frames)


cdef pfn_t alloc_memalloc(machine_t *m, int order, int mt) noexcept nogil:
    """A block for what will free others (PF_MEMALLOC): from a zone above LOW; else kswapd is told what was wanted, and it
    comes from one above MIN, or from the reserves."""
    cdef node_t *here = &m.nodes[m.cpus[m.cpu].nid]
    cdef int i, zi, id, wmark = WMARK_LOW
    cdef pfn_t pfn
    while wmark >= WMARK_MIN:
        for i in range(here.nr_fallback):
            for zi in range(MAX_NR_ZONES - 1, -1, -1):
                id = m.nodes[here.fallback[i]].first_zone + zi
                if m.zones[id].managed and zone_watermark_ok(&m.zones[id], order, wmark_pages(&m.zones[id], wmark),
                                                             MAX_NR_ZONES - 1, m.zones[id].nr_free):
                    pfn = rmqueue(m, id, order, mt)
                    if pfn:
                        count_numa(m, pfn, here.nid)
                        return pfn
        if wmark == WMARK_LOW:
            for i in range(here.nr_fallback):
                wakeup_kswapd(m, m.nodes[here.fallback[i]].first_zone + ZONE_NORMAL, order, ZONE_NORMAL)
        wmark -= 1
    pfn = alloc_reserve(m, here.nid, order, mt)
    if pfn:
        count_numa(m, pfn, here.nid)
    return pfn


cdef void count_numa(machine_t *m, pfn_t pfn, int nid) noexcept nogil:
    # a request that prefers the node it comes from
    cdef zone_t *z = &m.zones[m.frames[pfn].zone]
    if z.nid == nid:
        z.stat[NUMA_HIT] += 1
        z.stat[NUMA_LOCAL] += 1
    else:
        z.stat[NUMA_MISS] += 1
        z.stat[NUMA_OTHER] += 1
        m.zones[m.nodes[nid].first_zone + ZONE_NORMAL].stat[NUMA_FOREIGN] += 1


cdef pfn_t alloc_kernel_frame(machine_t *m, int mt) noexcept nogil:
    """A frame that stays the kernel's: for a pool, which may be able to move it, or for slab; 0 without memory."""
    cdef pfn_t pfn = alloc_memalloc(m, 0, mt)
    if pfn:
        m.frames[pfn].flags = PG_KERNEL
    return pfn


cdef void free_kernel_frame(machine_t *m, pfn_t pfn) noexcept nogil:
    m.frames[pfn].flags = 0
    free_frame(m, pfn)


cdef int zs_get_frame(void *ctx, pfn_t *out) noexcept nogil:
    """A frame for a compressed pool, or MM_ENOMEM."""
    cdef machine_t *m = <machine_t *> ctx
    cdef pfn_t pfn = alloc_kernel_frame(m, MIGRATE_MOVABLE)
    if pfn == 0:
        return MM_ENOMEM
    m.nodes[m.zones[m.frames[pfn].zone].nid].stat[NR_ZSPAGES] += 1
    out[0] = pfn
    return MM_OK


cdef void zs_put_frame(void *ctx, pfn_t pfn) noexcept nogil:
    cdef machine_t *m = <machine_t *> ctx
    m.nodes[m.zones[m.frames[pfn].zone].nid].stat[NR_ZSPAGES] -= 1
    free_kernel_frame(m, pfn)
