"""How much to scan of which list: the balance between anonymous memory and page cache. (mm/vmscan.c)"""

from .buddy cimport wmark_pages
from .lruvec cimport (DEACTIVATE_ANON, DEACTIVATE_FILE, LRU_ACTIVE_ANON, LRU_ACTIVE_FILE, LRU_INACTIVE_ANON,
                      LRU_INACTIVE_FILE, LRUVEC_ACTIVATE_ANON, LRUVEC_ACTIVATE_FILE, WORKINGSET_ANON,
                      WORKINGSET_FILE, lruvec_t)
from .machine cimport lru_sizes, lruvec_page_state, lruvec_state_flush, machine_t
from .node cimport node_t
from .shrink cimport scan_control_t
from .types cimport MAX_NR_ZONES, int64_t, uint64_t
from .vmstat cimport (PGACTIVATE, PGALLOC_DMA, PGALLOC_DMA32, PGALLOC_MOVABLE, PGALLOC_NORMAL, PGFAULT, PGFREE,
                      PGMAJFAULT, PGREFILL, PGROTATED, PGSCAN_ANON, PGSCAN_FILE, PSWPIN, PSWPOUT)
from .watermark cimport WMARK_HIGH

cdef enum:
    STATS_BATCH = 64             # MEMCG_CHARGE_BATCH

cdef enum scan_balance:
    SCAN_EQUAL = 0
    SCAN_FRACT = 1
    SCAN_ANON = 2
    SCAN_FILE = 3


cdef inline bint can_reclaim_anon(machine_t *m, node_t *n, const scan_control_t *sc) noexcept nogil:
    return m.swap.nr_free > 0 or n.can_demote and not sc.no_demotion


cdef uint64_t stat_updates(const uint64_t *e) noexcept nogil:
    """Updates of memory cgroup statistics up to now. They have no counter of their own: each goes with an event."""
    # a page comes: charged, into its cache, onto its list, mapped; and goes: unmapped, out of the cache, uncharged
    cdef uint64_t pages = e[PGALLOC_DMA] + e[PGALLOC_DMA32] + e[PGALLOC_NORMAL] + e[PGALLOC_MOVABLE]
    cdef uint64_t n = 4 * pages + 3 * e[PGFREE] + e[PGFAULT] + e[PGMAJFAULT]
    # off its list, counted, and back onto it or counted as stolen; a deactivated one counts once more
    n += 3 * (e[PGSCAN_ANON] + e[PGSCAN_FILE]) + 4 * e[PGREFILL] + e[PGACTIVATE] + 2 * e[PGROTATED]
    # writeback begins and ends, a slot is charged and uncharged
    return n + 3 * e[PSWPOUT] + e[PSWPIN]


cdef bint stats_due(uint64_t updates, int nr_cpus) noexcept nogil:
    """Each CPU counts its updates; when they exceed a batch, one is due. More batches than CPUs are enough."""
    return updates >= <uint64_t> (STATS_BATCH + 1) * (nr_cpus + 1)


cdef void flush_stats(machine_t *m) noexcept nogil:
    """mem_cgroup_flush_stats of 6.1: reclaim has the statistics summed up, but not for a few updates.

    Until there are enough it sees neither that something came back nor how long the lists are now. A kswapd that
    finds nothing goes through all its rounds meanwhile and gives up.
    """
    cdef uint64_t updates = stat_updates(m.vm.events)
    cdef int i
    if not stats_due(updates - m.stats_flushed, m.nr_cpus):
        return
    m.stats_flushed = updates
    for i in range(m.nr_nodes):
        lruvec_state_flush(m, &m.nodes[i])


cdef void prepare_scan_control(machine_t *m, node_t *n, scan_control_t *sc) noexcept nogil:
    """Once per shrink_node: costs, which active lists may shrink, and the two shortcuts."""
    cdef lruvec_t *v = &n.lruvec
    cdef int64_t high = 0, free = 0, file
    cdef int z
    cdef int64_t[4] size
    cdef const int64_t *state
    if m.v61:
        flush_stats(m)
    state = lruvec_page_state(m, n)
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
    lru_sizes(m, n, MAX_NR_ZONES - 1, size)
    file = size[LRU_INACTIVE_FILE] + size[LRU_ACTIVE_FILE]
    for z in range(MAX_NR_ZONES):
        if m.zones[n.first_zone + z].managed:
            free += m.zones[n.first_zone + z].nr_free
            high += wmark_pages(&m.zones[n.first_zone + z], WMARK_HIGH)
    sc.file_is_tiny = (file + free <= high and not sc.may_deactivate & DEACTIVATE_ANON
                       and size[LRU_INACTIVE_ANON] >> sc.priority > 0)


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
    cdef int64_t[4] size
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
    lru_sizes(m, n, sc.reclaim_idx, size)
    for lru in range(4):
        file = lru >= LRU_INACTIVE_FILE
        scan = size[lru] >> sc.priority
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
