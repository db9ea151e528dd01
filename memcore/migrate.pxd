# Moving a page to another frame. (mm/migrate.c)
from .machine cimport machine_t
from .node cimport node_t
from .types cimport pfn_t

cdef pfn_t migrate_page(machine_t *m, pfn_t old, int nid, int wmark) noexcept nogil
cdef bint demote_page(machine_t *m, node_t *n, pfn_t pfn) noexcept nogil
cdef bint movable(machine_t *m, pfn_t pfn) noexcept nogil
cdef void migrate_folio(machine_t *m, pfn_t old, pfn_t new) noexcept nogil
