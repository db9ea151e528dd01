# Moving a page to a frame of another node. (mm/migrate.c)
from .machine cimport machine_t
from .node cimport node_t
from .types cimport pfn_t

cdef pfn_t migrate_page(machine_t *m, pfn_t old, int nid, int wmark) noexcept nogil
cdef bint demote_page(machine_t *m, node_t *n, pfn_t pfn) noexcept nogil
