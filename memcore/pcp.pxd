# Lists of free pages and blocks per CPU, in front of a zone's buddy allocator.
from .buddy cimport per_cpu_pages_t, zone_t
from .page cimport page_t
from .types cimport int32_t, int64_t, pfn_t

cdef int zone_init_pcp(zone_t *z, int node_cpus, int64_t high_fraction, bint v612) except -1
cdef int32_t pcp_half(const zone_t *z) noexcept nogil
cdef void pcp_fill_half(zone_t *z, page_t *frames, int cpu, int mt) noexcept nogil
cdef void pcp_refill(zone_t *z, page_t *frames, int cpu, bint v612) noexcept nogil
cdef pfn_t pcp_alloc(zone_t *z, page_t *frames, int cpu, int order, int mt, bint v612) noexcept nogil
cdef void free_unref_page(zone_t *z, page_t *frames, pfn_t pfn, int cpu, int order, bint v612) noexcept nogil
cdef void decay_pcp_high(zone_t *z, page_t *frames, int cpu) noexcept nogil
cdef void drain_zone_pages(zone_t *z, page_t *frames) noexcept nogil
cdef int pcp_verify(zone_t *z, page_t *frames) except -1


cdef inline int32_t pcp_count(const per_cpu_pages_t *p) noexcept nogil:
    return p.count + p.listed


cdef inline pfn_t pcp_pop(per_cpu_pages_t *p) noexcept nogil:
    cdef int32_t at
    if p.count == 0:
        return 0
    p.count -= 1
    at = p.bottom + p.count
    return p.pages[at - p.cap if at >= p.cap else at]


cdef inline void pcp_push(per_cpu_pages_t *p, pfn_t pfn) noexcept nogil:
    cdef int32_t at = p.bottom + p.count
    p.pages[at - p.cap if at >= p.cap else at] = pfn
    p.count += 1
