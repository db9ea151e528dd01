# Memory compaction: kcompactd, who wakes it, and when it works on its own. (mm/compaction.c)
from .machine cimport machine_t
from .node cimport node_t

cdef void wakeup_kcompactd(machine_t *m, node_t *n, int order, int highest_zoneidx) noexcept nogil
cdef void kcompactd_main(machine_t *m, int nid) noexcept nogil
