# What a zone gives when the free lists of one migratetype are empty.
from .buddy cimport per_cpu_pages_t, zone_t
from .page cimport page_t
from .types cimport int32_t, pfn_t

cdef pfn_t rmqueue_buddy(zone_t *z, page_t *frames, int order, int mt, bint *stealing) noexcept nogil
cdef void rmqueue_bulk(zone_t *z, page_t *frames, per_cpu_pages_t *p, int32_t n) noexcept nogil
