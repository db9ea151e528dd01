# The zoned page allocator: watermarks decide, reclaim helps, the OOM killer ends it. (mm/page_alloc.c)
from .buddy cimport per_cpu_pages_t, zone_t
from .machine cimport machine_t
from .pcp cimport pcp_pop
from .types cimport pfn_t, uint64_t
from .vmstat cimport NUMA_HIT, NUMA_LOCAL, NUMA_OTHER, PGALLOC_DMA
from .watermark cimport WMARK_HIGH, WMARK_LOW
from .zonelist cimport zonelist_t

cdef enum:  # gfp_flags
    GFP_USER = 0                 # may reclaim, may wait, may kill
    GFP_NORETRY = 1 << 0         # one round of reclaim, then fail (readahead)
    GFP_NOWAIT = 1 << 1          # no direct reclaim at all
    GFP_WRITE = 1 << 2           # page cache about to be dirtied: spread over nodes
    GFP_KERNEL = 1 << 3          # zone NORMAL and below: page tables

cdef pfn_t alloc_pages_slow(machine_t *m, const zonelist_t *zl, int gfp, int order) noexcept nogil
cdef void build_zonelist(machine_t *m, int nid, uint64_t nodemask, zonelist_t *zl) noexcept nogil


cdef inline bint pcp_may_give(machine_t *m, const zonelist_t *zl, zone_t *z) noexcept nogil:
    # the zone is above the mark at which pages are given without a further look
    return (z.nr_free > z.wmark[WMARK_LOW if m.v61 or z.below_high else WMARK_HIGH] + z.boost
            + z.lowmem_reserve[zl.highest_zoneidx])


cdef inline void count_allocated(machine_t *m, zone_t *z, uint64_t n) noexcept nogil:
    # numa_hit: the kernel's "preferred" is the first zone of the list, which this one is
    m.vm.events[PGALLOC_DMA + z.idx] += n
    z.stat[NUMA_HIT] += n
    z.stat[NUMA_LOCAL if z.nid == m.cpus[m.cpu].nid else NUMA_OTHER] += n


cdef inline pfn_t alloc_pages(machine_t *m, const zonelist_t *zl, int gfp, int order) noexcept nogil:
    # A frame (or 2^order of them) for the running thread; may sleep. 0 if gfp forbids trying harder, or if
    # the thread was killed while it waited. Here: the best zone is above its mark and the CPU has a page.
    cdef zone_t *z = &m.zones[zl.zones[0]]
    cdef per_cpu_pages_t *pcp = &z.pcp[m.cpu]
    cdef pfn_t pfn
    if order or gfp or pcp.count == 0 or not pcp_may_give(m, zl, z):
        return alloc_pages_slow(m, zl, gfp, order)
    pfn = pcp_pop(pcp)
    pcp.free_count >>= 1
    m.frames[pfn].flags = 0
    count_allocated(m, z, 1)
    return pfn
