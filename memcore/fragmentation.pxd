# How fragmented free memory is, and whether that is worth compaction. (mm/compaction.c, mm/vmstat.c)
from .buddy cimport zone_t
from .machine cimport machine_t
from .node cimport node_t
from .types cimport int64_t

cdef int64_t fragmentation_score_zone(const zone_t *z) noexcept nogil
cdef int64_t fragmentation_score_node(machine_t *m, const node_t *n) noexcept nogil
cdef int64_t fragmentation_score_wmark(const machine_t *m, bint low) noexcept nogil
cdef bint compaction_suitable(machine_t *m, const zone_t *z, int order, int highest_zoneidx) noexcept nogil
