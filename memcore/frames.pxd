# Taking frames out of a zone and giving them back, with all counters.
from .buddy cimport per_cpu_pages_t, zone_t
from .machine cimport count, machine_t
from .pcp cimport pcp_pop
from .types cimport MIGRATE_MOVABLE, pfn_t
from .vmstat cimport PGALLOC_DMA

cdef pfn_t rmqueue_slow(machine_t *m, int zone, int order, int mt) noexcept nogil
cdef pfn_t alloc_reserve(machine_t *m, int nid, int order, int mt) noexcept nogil
cdef pfn_t alloc_memalloc(machine_t *m, int order, int mt) noexcept nogil
cdef pfn_t alloc_kernel_frame(machine_t *m, int mt) noexcept nogil
cdef void free_kernel_frame(machine_t *m, pfn_t pfn) noexcept nogil
cdef void free_frame(machine_t *m, pfn_t pfn) noexcept nogil
cdef void free_block(machine_t *m, pfn_t pfn, int order) noexcept nogil
cdef void drain_all_pages(machine_t *m) noexcept nogil
# the frame source of compressed pools (zpool_frames_t), counted as nr_zspages
cdef int zs_get_frame(void *ctx, pfn_t *out) noexcept nogil
cdef void zs_put_frame(void *ctx, pfn_t pfn) noexcept nogil


cdef inline pfn_t rmqueue(machine_t *m, int zone, int order, int mt) noexcept nogil:
    # a frame (or block of 2^order) of zone number `zone` for a migratetype, flags cleared; 0 if it has none
    cdef zone_t *z = &m.zones[zone]
    cdef per_cpu_pages_t *pcp = &z.pcp[m.cpu]
    cdef pfn_t pfn
    if order or pcp.count == 0 or mt != MIGRATE_MOVABLE:
        return rmqueue_slow(m, zone, order, mt)
    pfn = pcp_pop(pcp)
    pcp.free_count >>= 1
    m.frames[pfn].flags = 0
    count(m, PGALLOC_DMA + z.idx, 1)
    return pfn
