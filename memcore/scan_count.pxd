# How much to scan of which list. (mm/vmscan.c)
from .lruvec cimport inactive_is_low
from .machine cimport lruvec_page_state, machine_t
from .node cimport node_t
from .shrink cimport scan_control_t
from .types cimport int64_t, uint64_t

cdef bint stats_due(uint64_t updates, int nr_cpus) noexcept nogil
cdef void prepare_scan_control(machine_t *m, node_t *n, scan_control_t *sc) noexcept nogil
cdef void scan_fractions(int64_t swappiness, uint64_t anon_cost, uint64_t file_cost, uint64_t *ap,
                         uint64_t *fp) noexcept nogil
cdef void get_scan_count(machine_t *m, node_t *n, scan_control_t *sc, int64_t *nr) noexcept nogil
cdef void stop_rule(const int64_t *targets, int64_t *nr) noexcept nogil


cdef inline bint list_is_low(machine_t *m, node_t *n, int active) noexcept nogil:
    cdef const int64_t *size = lruvec_page_state(m, n)
    return inactive_is_low(size[active - 1], size[active])


cdef inline bint can_age_anon(machine_t *m, node_t *n) noexcept nogil:
    return m.swap.total > 0 or n.can_demote
