# Has a node enough free memory, and if not, or if it is badly mixed, waking its kswapd.
from .buddy cimport zone_t
from .machine cimport machine_t
from .node cimport node_t

cdef enum:
    MAX_RECLAIM_RETRIES = 16     # rounds without progress: kswapd gives up, an allocation calls the OOM killer

cdef bint pgdat_balanced(machine_t *m, node_t *n, int order, int highest_zoneidx) noexcept nogil
cdef void wakeup_kswapd(machine_t *m, int zone, int order, int highest_zoneidx) noexcept nogil
cdef void rouse_kswapd(machine_t *m, node_t *n, int order) noexcept nogil
cdef void boost_watermark(machine_t *m, zone_t *z) noexcept nogil
