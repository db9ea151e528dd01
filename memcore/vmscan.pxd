# Reclaim: balance of lists, kswapd, direct reclaim, node reclaim. (mm/vmscan.c)
from .machine cimport machine_t
from .node cimport node_t
from .shrink cimport scan_control_t
from .types cimport int64_t
from .zonelist cimport zonelist_t

cdef void shrink_node(machine_t *m, node_t *n, scan_control_t *sc) noexcept nogil
cdef int64_t try_to_free_pages(machine_t *m, const zonelist_t *zl, int order, int zone_idx) noexcept nogil
cdef int64_t zone_reclaimable_pages(machine_t *m, int zone) noexcept nogil
cdef int node_reclaim(machine_t *m, int nid, int order) noexcept nogil
cdef void kswapd_main(machine_t *m, int nid) noexcept nogil

cdef enum node_reclaim_result:
    NODE_RECLAIM_NOSCAN = -2
    NODE_RECLAIM_FULL = -1
    NODE_RECLAIM_SOME = 0
    NODE_RECLAIM_SUCCESS = 1
