# Taking frames out of a zone and giving them back, with all counters.
from .machine cimport machine_t
from .types cimport pfn_t

cdef pfn_t rmqueue(machine_t *m, int zone, int order) noexcept nogil
cdef pfn_t alloc_reserve(machine_t *m, int nid, int order) noexcept nogil
cdef void free_frame(machine_t *m, pfn_t pfn) noexcept nogil
cdef void free_block(machine_t *m, pfn_t pfn, int order) noexcept nogil
cdef void drain_all_pages(machine_t *m) noexcept nogil
