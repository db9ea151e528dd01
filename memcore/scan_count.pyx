"""How much to scan of which list: the balance between anonymous memory and page cache. (mm/vmscan.c)"""

from .buddy cimport wmark_pages
from .lruvec cimport (DEACTIVATE_ANON, DEACTIVATE_FILE, LRU_ACTIVE_ANON, LRU_ACTIVE_FILE, LRU_INACTIVE_ANON,
                      LRU_INACTIVE_FILE, LRUVEC_ACTIVATE_ANON, LRUVEC_ACTIVATE_FILE, WORKINGSET_ANON,
                      WORKINGSET_FILE, lruvec_t)
from .machine cimport lruvec_page_state, machine_t
from .node cimport node_t
from .shrink cimport scan_control_t
from .types cimport MAX_NR_ZONES, int64_t, uint64_t
from .vmstat cimport NR_ACTIVE_FILE, NR_INACTIVE_ANON, NR_INACTIVE_FILE
from .watermark cimport WMARK_HIGH

cdef enum scan_balance:
    SCAN_EQUAL = 0
    SCAN_FRACT = 1
    SCAN_ANON = 2
    SCAN_FILE = 3


cdef int64_t lruvec_size(machine_t *m, node_t *n, int lru, int zone_idx) noexcept nogil:
    cdef int64_t s = 0
    cdef int z
    if zone_idx == MAX_NR_ZONES - 1:
        return n.stat[lru]
    for z in range(zone_idx + 1):
        s += m.zones[n.first_zone + z].nr_lru[lru]
    return s


cdef inline bint can_reclaim_anon(machine_t *m, node_t *n, const scan_control_t *sc) noexcept nogil:
    return m.swap.nr_free > 0 or n.can_demote and not sc.no_demotion


cdef void prepare_scan_control(machine_t *m, node_t *n, scan_control_t *sc) noexcept nogil:
    """Once per shrink_node: costs, which active lists may shrink, and the two shortcuts."""
    cdef lruvec_t *v = &n.lruvec
    cdef int64_t high = 0, free = 0, file
    cdef int z
    cdef const int64_t *state = lruvec_page_state(m, n)
    sc.anon_cost = v.anon_cost
    sc.file_cost = v.file_cost
    if sc.force_deactivate:
        sc.may_deactivate = DEACTIVATE_ANON | DEACTIVATE_FILE
    else:
        sc.may_deactivate = 0
        if state[LRUVEC_ACTIVATE_ANON] != v.refaults[WORKINGSET_ANON] or list_is_low(m, n, LRU_ACTIVE_ANON):
            sc.may_deactivate |= DEACTIVATE_ANON
        if state[LRUVEC_ACTIVATE_FILE] != v.refaults[WORKINGSET_FILE] or list_is_low(m, n, LRU_ACTIVE_FILE):
            sc.may_deactivate |= DEACTIVATE_FILE
    sc.cache_trim_mode = (state[LRU_INACTIVE_FILE] >> sc.priority > 0 and not sc.may_deactivate & DEACTIVATE_FILE
                          and not sc.no_cache_trim_mode)
    file = n.stat[NR_INACTIVE_FILE] + n.stat[NR_ACTIVE_FILE]
    for z in range(MAX_NR_ZONES):
        if m.zones[n.first_zone + z].managed:
            free += m.zones[n.first_zone + z].nr_free
            high += wmark_pages(&m.zones[n.first_zone + z], WMARK_HIGH)
    sc.file_is_tiny = (file + free <= high and not sc.may_deactivate & DEACTIVATE_ANON
                       and n.stat[NR_INACTIVE_ANON] >> sc.priority > 0)


cdef void scan_fractions(int64_t swappiness, uint64_t anon_cost, uint64_t file_cost, uint64_t *ap,
                         uint64_t *fp) noexcept nogil:
    """The shares of anon and file: swappiness over cost, each cost offset by the total."""
    cdef uint64_t total = anon_cost + file_cost
    cdef uint64_t ac = total + anon_cost
    cdef uint64_t fc = total + file_cost
    total = ac + fc
    ap[0] = <uint64_t> swappiness * (total + 1) // (ac + 1)
    fp[0] = <uint64_t> (200 - swappiness) * (total + 1) // (fc + 1)


cdef void get_scan_count(machine_t *m, node_t *n, scan_control_t *sc, int64_t *nr) noexcept nogil:
    """nr[0..3]: pages to scan of each list at this priority (5.1 of the reference in docs/model.md)."""
    cdef int balance = SCAN_FRACT
    cdef uint64_t ap = 0, fp = 0
    cdef int lru
    cdef bint file
    cdef int64_t scan
    if not sc.may_swap or not can_reclaim_anon(m, n, sc):
        balance = SCAN_FILE
    elif sc.priority == 0 and m.p.swappiness:
        balance = SCAN_EQUAL
    elif sc.file_is_tiny:
        balance = SCAN_ANON
    elif sc.cache_trim_mode:
        balance = SCAN_FILE
    else:
        scan_fractions(m.p.swappiness, sc.anon_cost, sc.file_cost, &ap, &fp)
    for lru in range(4):
        file = lru >= LRU_INACTIVE_FILE
        scan = lruvec_size(m, n, lru, sc.reclaim_idx) >> sc.priority
        if balance == SCAN_FRACT:
            scan = <int64_t> (<uint64_t> scan * (fp if file else ap) // (ap + fp))
        elif balance != SCAN_EQUAL and (balance == SCAN_FILE) != file:
            scan = 0
        nr[lru] = scan


cdef void stop_rule(const int64_t *targets, int64_t *nr) noexcept nogil:
    """The goal is met: go on with the larger type only as far as the smaller one was scanned."""
    cdef int64_t nf = nr[LRU_INACTIVE_FILE] + nr[LRU_ACTIVE_FILE]
    cdef int64_t na = nr[LRU_INACTIVE_ANON] + nr[LRU_ACTIVE_ANON]
    cdef int64_t pct, scanned
    cdef int keep, drop, i
    if nf > na:
        drop = 0
        keep = 2
        pct = na * 100 // (targets[0] + targets[1] + 1)
    else:
        drop = 2
        keep = 0
        pct = nf * 100 // (targets[2] + targets[3] + 1)
    nr[drop] = 0
    nr[drop + 1] = 0
    for i in range(keep, keep + 2):
        scanned = targets[i] - nr[i]
        nr[i] = targets[i] * (100 - pct) // 100
        nr[i] -= min(nr[i], scanned)
