"""Page reclaim and the three who do it.

kswapd is woken when an allocation finds a zone below LOW and works until one zone of its node is above HIGH;
a task that cannot wait for it reclaims 32 pages itself (direct reclaim); with zone_reclaim_mode a task tidies
its own node before it goes to a neighbour.
"""

from libc.string cimport memset

from .balance cimport MAX_RECLAIM_RETRIES, pgdat_balanced, rouse_kswapd, wakeup_kswapd
from .buddy cimport wmark_pages, zone_t
from .compaction cimport wakeup_kcompactd
from .clock cimport NS_PER_MS, NS_PER_SEC
from .lruvec cimport (LRUVEC_CONGESTED, LRU_ACTIVE_ANON, LRU_ACTIVE_FILE, LRU_INACTIVE_ANON,
                      LRU_INACTIVE_FILE, LRUVEC_ACTIVATE_ANON, LRUVEC_ACTIVATE_FILE, WORKINGSET_ANON, WORKINGSET_FILE)
from .machine cimport (EV_DIRECT_BEGIN, EV_DIRECT_END, EV_KSWAPD_SLEEP, EV_NODE_RECLAIM, count, log_event,
                       lruvec_page_state, memstall_enter, memstall_leave, machine_t, mm_charge)
from .node cimport (PGDAT_DIRTY, PGDAT_WRITEBACK, VMSCAN_THROTTLE_CONGESTED, VMSCAN_THROTTLE_NOPROGRESS,
                    VMSCAN_THROTTLE_WRITEBACK, node_t)
from .scan_count cimport can_age_anon, get_scan_count, list_is_low, prepare_scan_control, stop_rule
from .shrink cimport scan_control_t, scan_nr_t, shrink_active_list, shrink_list
from .slab cimport shrink_slab
from .pageout cimport finish_plug, start_plug
from .thread cimport LAT_DIRECT, STALL_DIRECT_RECLAIM, STALL_THROTTLE, thread_t
from .types cimport (DEF_PRIORITY, MAX_NR_ZONES, PAGEBLOCK_ORDER, SWAP_CLUSTER_MAX, ZONE_NORMAL, int64_t, ns_t, uint32_t,
                     uint64_t)
from .vmstat cimport (ALLOCSTALL_DMA, KSWAPD_HIGH_WMARK_HIT_QUICKLY, KSWAPD_LOW_WMARK_HIT_QUICKLY,
                      NR_ACTIVE_FILE, NR_DIRTY, NR_FILE_PAGES, NR_INACTIVE_FILE, NR_MAPPED,
                      NR_SLAB_RECLAIMABLE, NR_WRITTEN, PAGEOUTRUN, PGSCAN_DIRECT_THROTTLE,
                      ZONE_RECLAIM_FAILED,
                      ZONE_RECLAIM_SUCCESS)
from .watermark cimport WMARK_HIGH, WMARK_MIN
from .writeback cimport wait_for_queue
from .zonelist cimport zonelist_first_of_node, zonelist_t
from .zshrink cimport shrink_compressed

cdef enum:
    NODE_RECLAIM_PRIORITY = 4


cdef void shrink_lruvec(machine_t *m, node_t *n, scan_control_t *sc) noexcept nogil:
    cdef int64_t[4] nr
    cdef int64_t[4] targets
    cdef int64_t reclaimed = 0, batch, nf, na
    cdef int lru
    cdef bint proportional = not sc.is_kswapd and sc.priority == DEF_PRIORITY
    get_scan_count(m, n, sc, nr)
    for lru in range(4):
        targets[lru] = nr[lru]
    start_plug(m)
    # A system has a page of some file on its lists at any time, so at priority 0 the loop begins, and notices active
    # anonymous pages that may not be deactivated (docs/model.md, R15).
    while (nr[LRU_INACTIVE_ANON] or nr[LRU_ACTIVE_FILE] or nr[LRU_INACTIVE_FILE]
            or nr[LRU_ACTIVE_ANON] and sc.priority == 0):
        for lru in range(4):
            if nr[lru]:
                batch = min(nr[lru], SWAP_CLUSTER_MAX)
                nr[lru] -= batch
                reclaimed += shrink_list(m, n, lru, batch, sc)
        if reclaimed < sc.nr_to_reclaim or proportional:
            continue
        nf = nr[LRU_INACTIVE_FILE] + nr[LRU_ACTIVE_FILE]
        na = nr[LRU_INACTIVE_ANON] + nr[LRU_ACTIVE_ANON]
        if nf == 0 or na == 0:
            break
        stop_rule(targets, nr)
    finish_plug(m)
    sc.nr_reclaimed += reclaimed
    if can_age_anon(m, n) and list_is_low(m, n, LRU_ACTIVE_ANON):
        shrink_active_list(m, n, LRU_ACTIVE_ANON, SWAP_CLUSTER_MAX, sc)


# ---- throttling -----------------------------------------------------------------------------------------

cdef int64_t zone_reclaimable_pages(machine_t *m, int zone) noexcept nogil:
    cdef zone_t *z = &m.zones[zone]
    cdef int64_t nr = z.nr_lru[LRU_INACTIVE_FILE] + z.nr_lru[LRU_ACTIVE_FILE]
    if m.swap.nr_free > 0 or m.nodes[z.nid].can_demote:
        nr += z.nr_lru[LRU_INACTIVE_ANON] + z.nr_lru[LRU_ACTIVE_ANON]
    return nr if nr else z.nr_free


cdef bint skip_throttle_noprogress(machine_t *m, node_t *n) noexcept nogil:
    cdef int64_t reclaimable = 0, pending = 0
    cdef int z
    if n.kswapd_failures >= MAX_RECLAIM_RETRIES:
        return True
    for z in range(n.first_zone, n.first_zone + MAX_NR_ZONES):
        if m.zones[z].managed:
            reclaimable += zone_reclaimable_pages(m, z)
            pending += m.zones[z].nr_write_pending
    return 2 * pending <= reclaimable


cdef void reclaim_throttle(machine_t *m, node_t *n, int reason) noexcept nogil:
    """Reclaim makes no sense at the moment: sleep until it may (bounded by the kernel's time-outs)."""
    cdef ns_t jiffy = NS_PER_SEC // m.p.hz
    cdef ns_t timeout = jiffy
    if reason == VMSCAN_THROTTLE_WRITEBACK:
        timeout = NS_PER_SEC // 10
        n.nr_throttled[reason] += 1
        if n.nr_throttled[reason] == 1:
            n.nr_written_throttled = <uint64_t> n.stat[NR_WRITTEN]
    elif skip_throttle_noprogress(m, n):
        return
    if reason != VMSCAN_THROTTLE_WRITEBACK:
        m.ops.io_wait(m, timeout, STALL_THROTTLE)
        return
    # woken by enough completed writes: look every jiffy until the time-out
    while timeout > 0:
        m.ops.io_wait(m, jiffy, STALL_THROTTLE)
        timeout -= jiffy
        if (<uint64_t> n.stat[NR_WRITTEN] - n.nr_written_throttled
                > <uint64_t> SWAP_CLUSTER_MAX * n.nr_throttled[reason] or m.curr.killed):
            break
    n.nr_throttled[reason] -= 1


cdef void throttle_on_swap_queues(machine_t *m) noexcept nogil:
    cdef int d
    for d in range(m.nr_devs):
        wait_for_queue(m, d, STALL_THROTTLE)


cdef void shrink_node(machine_t *m, node_t *n, scan_control_t *sc) noexcept nogil:
    cdef int64_t before = sc.nr_reclaimed, scanned = 0
    cdef int64_t slab
    sc.nr = scan_nr_t(0, 0, 0, 0, 0, 0, 0)
    # Also a pass that finds nothing to scan takes its time: it is what keeps a kswapd without prospects in check.
    mm_charge(m, m.p.c_reclaim_pass)
    prepare_scan_control(m, n, sc)
    shrink_lruvec(m, n, sc)
    slab = shrink_slab(m, n.nid, sc.priority, &scanned)
    if slab:
        sc.nr_reclaimed += slab
        mm_charge(m, scanned * m.p.c_slab_object)
    if m.zswap != NULL or m.nr_zrams:
        shrink_compressed(m, sc.priority)
    throttle_on_swap_queues(m)
    if sc.is_kswapd:
        if sc.nr.writeback and sc.nr.writeback == sc.nr.taken:
            n.flags |= PGDAT_WRITEBACK
        if sc.nr.unqueued_dirty == sc.nr.file_taken:
            n.flags |= PGDAT_DIRTY
        if sc.nr.immediate:
            reclaim_throttle(m, n, VMSCAN_THROTTLE_WRITEBACK)
    if sc.nr.dirty and sc.nr.dirty == sc.nr.congested and sc.is_kswapd:
        n.lruvec.flags |= LRUVEC_CONGESTED
    if not sc.is_kswapd and n.lruvec.flags & LRUVEC_CONGESTED:
        reclaim_throttle(m, n, VMSCAN_THROTTLE_CONGESTED)
    if sc.nr_reclaimed > before:
        n.kswapd_failures = 0
    elif sc.cache_trim_mode:
        sc.cache_trim_mode_failed = True


cdef inline void snapshot_refaults(machine_t *m, node_t *n) noexcept nogil:
    cdef const int64_t *state = lruvec_page_state(m, n)
    n.lruvec.refaults[WORKINGSET_ANON] = state[LRUVEC_ACTIVATE_ANON]
    n.lruvec.refaults[WORKINGSET_FILE] = state[LRUVEC_ACTIVATE_FILE]


# ---- direct reclaim -------------------------------------------------------------------------------------

cdef bint allow_direct_reclaim(machine_t *m, node_t *n) noexcept nogil:
    """Half of the MIN reserves must be there, or reclaimers would deadlock on their own allocations."""
    cdef int64_t reserve = 0, free = 0
    cdef int z
    if n.kswapd_failures >= MAX_RECLAIM_RETRIES:
        return True
    for z in range(n.first_zone, n.first_zone + ZONE_NORMAL + 1):
        if m.zones[z].managed and zone_reclaimable_pages(m, z):
            reserve += wmark_pages(&m.zones[z], WMARK_MIN)
            free += m.zones[z].nr_free
    return reserve == 0 or free > reserve // 2


cdef void throttle_direct_reclaim(machine_t *m, const zonelist_t *zl) noexcept nogil:
    cdef node_t *n = &m.nodes[m.zones[zl.zones[0]].nid]
    cdef ns_t step = NS_PER_MS
    if allow_direct_reclaim(m, n):
        return
    wakeup_kswapd(m, zl.zones[0], 0, zl.highest_zoneidx)
    count(m, PGSCAN_DIRECT_THROTTLE, 1)
    while not m.curr.killed:
        m.ops.sleep(m, step, STALL_THROTTLE)
        if allow_direct_reclaim(m, n):
            break
        if n.kswapd and n.kswapd_sleeping:
            # it must not sleep while somebody is throttled, whatever zone it was last woken for
            n.kswapd_highest_zoneidx = min(n.kswapd_highest_zoneidx, <int> ZONE_NORMAL)
            rouse_kswapd(m, n, 0)


cdef int64_t do_try_to_free_pages(machine_t *m, const zonelist_t *zl, scan_control_t *sc) noexcept nogil:
    cdef int i
    cdef node_t *n
    cdef bint full_walk = False
    while True:
        count(m, ALLOCSTALL_DMA + sc.reclaim_idx, 1)
        sc.priority = DEF_PRIORITY
        while sc.priority >= 0:
            sc.nr_scanned = 0
            for i in range(zl.nr):
                if zonelist_first_of_node(zl, i):
                    shrink_node(m, &m.nodes[m.zones[zl.zones[i]].nid], sc)
                    if sc.priority == 1 and sc.nr_reclaimed == 0:
                        reclaim_throttle(m, &m.nodes[m.zones[zl.zones[i]].nid], VMSCAN_THROTTLE_NOPROGRESS)
            if sc.nr_reclaimed >= sc.nr_to_reclaim or m.curr.killed:
                break
            if sc.priority < DEF_PRIORITY - 2:
                sc.may_writepage = True
            sc.priority -= 1
        for i in range(zl.nr):
            if zonelist_first_of_node(zl, i):
                n = &m.nodes[m.zones[zl.zones[i]].nid]
                snapshot_refaults(m, n)
        if sc.nr_reclaimed or m.curr.killed:
            return sc.nr_reclaimed
        if not m.v61 and not full_walk:
            # the first walk was one of many through the control groups; before giving up, one of all
            full_walk = True
            continue
        if sc.skipped_deactivate:
            sc.force_deactivate = True
            sc.skipped_deactivate = False
            continue
        return 0


cdef int64_t try_to_free_pages(machine_t *m, const zonelist_t *zl, int order, int zone_idx) noexcept nogil:
    """Direct reclaim of at least 32 pages for the running task; returns how many became free."""
    cdef scan_control_t sc
    cdef thread_t *t = m.curr
    cdef ns_t begin
    cdef ns_t cpu_before
    cdef int64_t freed
    memset(&sc, 0, sizeof(sc))
    sc.nr_to_reclaim = SWAP_CLUSTER_MAX
    sc.order = order
    sc.priority = DEF_PRIORITY
    sc.reclaim_idx = zone_idx
    sc.may_unmap = True
    sc.may_swap = True
    sc.may_writepage = not m.p.laptop_mode
    throttle_direct_reclaim(m, zl)
    if t.killed:
        return 1
    begin = m.now
    cpu_before = t.stall[STALL_THROTTLE]
    t.fault_kind = LAT_DIRECT
    log_event(m, EV_DIRECT_BEGIN, t.id, 0)
    memstall_enter(m)
    t.memalloc = True
    freed = do_try_to_free_pages(m, zl, &sc)
    t.memalloc = False
    memstall_leave(m)
    log_event(m, EV_DIRECT_END, t.id, freed)
    t.stall[STALL_DIRECT_RECLAIM] += m.now - begin - (t.stall[STALL_THROTTLE] - cpu_before)
    return freed


# ---- node reclaim ---------------------------------------------------------------------------------------

cdef int node_reclaim(machine_t *m, int nid, int order) noexcept nogil:
    """zone_reclaim_mode: tidy a near node before going further away."""
    cdef node_t *n = &m.nodes[nid]
    cdef int64_t mode = m.p.zone_reclaim_mode
    cdef int64_t cache, file_lru
    cdef scan_control_t sc
    cdef thread_t *t = m.curr
    cdef ns_t begin = m.now
    file_lru = n.stat[NR_INACTIVE_FILE] + n.stat[NR_ACTIVE_FILE]
    if mode & 4:
        cache = n.stat[NR_FILE_PAGES]
    else:
        cache = file_lru - n.stat[NR_MAPPED] if file_lru > n.stat[NR_MAPPED] else 0
    if not mode & 2:
        cache -= min(cache, n.stat[NR_DIRTY])
    if cache <= n.min_unmapped_pages and n.stat[NR_SLAB_RECLAIMABLE] <= n.min_slab_pages:
        return NODE_RECLAIM_FULL
    if t == NULL or t.memalloc or (n.nr_cpus and nid != m.cpus[m.cpu].nid) or n.reclaim_locked:
        return NODE_RECLAIM_NOSCAN
    n.reclaim_locked = True
    memset(&sc, 0, sizeof(sc))
    sc.nr_to_reclaim = max(1 << order, SWAP_CLUSTER_MAX)
    sc.order = order
    sc.priority = NODE_RECLAIM_PRIORITY
    sc.reclaim_idx = MAX_NR_ZONES - 1
    sc.may_swap = True
    sc.may_writepage = mode & 2 != 0
    sc.may_unmap = mode & 4 != 0
    memstall_enter(m)
    t.memalloc = True
    t.fault_kind = LAT_DIRECT
    if cache > n.min_unmapped_pages or n.stat[NR_SLAB_RECLAIMABLE] > n.min_slab_pages:
        while sc.priority >= 0:
            shrink_node(m, n, &sc)
            sc.priority -= 1
            if sc.nr_reclaimed >= 1 << order:
                break
    t.memalloc = False
    memstall_leave(m)
    n.reclaim_locked = False
    t.stall[STALL_DIRECT_RECLAIM] += m.now - begin
    log_event(m, EV_NODE_RECLAIM, nid, sc.nr_reclaimed)
    if sc.nr_reclaimed >= 1 << order:
        if not m.v61:
            count(m, ZONE_RECLAIM_SUCCESS, 1)
        return NODE_RECLAIM_SUCCESS
    count(m, ZONE_RECLAIM_FAILED, 1)
    return NODE_RECLAIM_SOME


# ---- kswapd ---------------------------------------------------------------------------------------------

cdef bint prepare_kswapd_sleep(machine_t *m, node_t *n, int order, int highest_zoneidx) noexcept nogil:
    if n.kswapd_failures >= MAX_RECLAIM_RETRIES:
        return True
    if pgdat_balanced(m, n, order, highest_zoneidx):
        n.flags &= ~<uint32_t> (PGDAT_DIRTY | PGDAT_WRITEBACK)
        n.lruvec.flags &= ~<uint32_t> LRUVEC_CONGESTED
        return True
    return False


cdef void kswapd_try_to_sleep(machine_t *m, node_t *n, int alloc_order, int reclaim_order, int highest_zoneidx,
                              int64_t reclaimed) noexcept nogil:
    cdef bint premature = True
    if prepare_kswapd_sleep(m, n, reclaim_order, highest_zoneidx):
        wakeup_kcompactd(m, n, alloc_order, highest_zoneidx)
        n.kswapd_sleeping = True
        n.kswapd_woken = False
        m.ops.sleep(m, NS_PER_SEC // 10, STALL_THROTTLE)
        n.kswapd_sleeping = False
        if n.kswapd_woken:
            # remember the request that woke us: it may be of another order or zone
            if n.kswapd_highest_zoneidx == MAX_NR_ZONES:
                n.kswapd_highest_zoneidx = highest_zoneidx
            if n.kswapd_order < reclaim_order:
                n.kswapd_order = reclaim_order
        premature = n.kswapd_woken
        if not premature and prepare_kswapd_sleep(m, n, reclaim_order, highest_zoneidx):
            log_event(m, EV_KSWAPD_SLEEP, n.nid, reclaimed)
            n.kswapd_sleeping = True
            m.ops.sleep(m, -1, STALL_THROTTLE)
            n.kswapd_sleeping = False
            return
        if premature:
            count(m, KSWAPD_LOW_WMARK_HIT_QUICKLY, 1)
            return
    count(m, KSWAPD_HIGH_WMARK_HIT_QUICKLY, 1)


cdef bint kswapd_shrink_node(machine_t *m, node_t *n, scan_control_t *sc) noexcept nogil:
    """One round at one priority. True: it scanned enough, the priority need not rise."""
    cdef int z
    cdef zone_t *zone
    cdef int64_t before = sc.nr_reclaimed
    sc.nr_to_reclaim = 0
    for z in range(sc.reclaim_idx + 1):
        zone = &m.zones[n.first_zone + z]
        if zone.managed:
            sc.nr_to_reclaim += max(wmark_pages(zone, WMARK_HIGH), SWAP_CLUSTER_MAX)
    shrink_node(m, n, sc)
    if sc.order and sc.nr_reclaimed >= 2 << sc.order:
        sc.order = 0
    if m.v61:
        return sc.nr_scanned >= sc.nr_to_reclaim
    return max(sc.nr_scanned, sc.nr_reclaimed - before) >= sc.nr_to_reclaim


cdef void set_reclaim_active(machine_t *m, node_t *n, int highest_zoneidx, bint on) noexcept nogil:
    cdef int z
    for z in range(highest_zoneidx + 1):
        m.zones[n.first_zone + z].reclaim_active = on


cdef int64_t balance_pgdat(machine_t *m, node_t *n, int *order, int highest_zoneidx) noexcept nogil:
    """Reclaims until a zone of the node is above HIGH, or all priorities were tried. Pages reclaimed."""
    cdef scan_control_t sc
    cdef int64_t boost = 0, freed
    cdef int64_t[MAX_NR_ZONES] zone_boost
    cdef int z
    cdef bint boosted, raise_priority, balanced, done = False
    memset(&sc, 0, sizeof(sc))
    sc.order = order[0]
    sc.may_unmap = True
    sc.reclaim_idx = highest_zoneidx
    sc.is_kswapd = True
    memstall_enter(m)
    count(m, PAGEOUTRUN, 1)
    for z in range(MAX_NR_ZONES):
        zone_boost[z] = m.zones[n.first_zone + z].boost if z <= highest_zoneidx else 0
        boost += zone_boost[z]
    boosted = boost > 0
    while True:
        set_reclaim_active(m, n, highest_zoneidx, True)
        sc.priority = DEF_PRIORITY
        while sc.priority >= 1:
            freed = sc.nr_reclaimed
            raise_priority = True
            balanced = pgdat_balanced(m, n, sc.order, highest_zoneidx)
            if not balanced and boost:
                boost = 0
                sc.priority = DEF_PRIORITY
                continue
            if boost == 0 and balanced:
                done = True
                break
            if boost and sc.priority == DEF_PRIORITY - 2:
                raise_priority = False
            sc.may_writepage = not m.p.laptop_mode and boost == 0
            sc.may_swap = boost == 0
            if can_age_anon(m, n) and list_is_low(m, n, LRU_ACTIVE_ANON):
                shrink_active_list(m, n, LRU_ACTIVE_ANON, SWAP_CLUSTER_MAX, &sc)
            if sc.priority < DEF_PRIORITY - 2:
                sc.may_writepage = True
            sc.nr_scanned = 0
            if kswapd_shrink_node(m, n, &sc):
                raise_priority = False
            freed = sc.nr_reclaimed - freed
            boost -= min(boost, freed)
            if boost and freed == 0:
                break
            if raise_priority or freed == 0:
                sc.priority -= 1
        if sc.nr_reclaimed == 0 and not done:
            if not m.v61 and sc.priority < 1 and sc.cache_trim_mode_failed and not sc.no_cache_trim_mode:
                sc.no_cache_trim_mode = True
                continue
            n.kswapd_failures += 1
        break
    set_reclaim_active(m, n, highest_zoneidx, False)
    if boosted:
        for z in range(highest_zoneidx + 1):
            m.zones[n.first_zone + z].boost -= min(m.zones[n.first_zone + z].boost, zone_boost[z])
        wakeup_kcompactd(m, n, PAGEBLOCK_ORDER, highest_zoneidx)
    snapshot_refaults(m, n)
    memstall_leave(m)
    order[0] = sc.order
    return sc.nr_reclaimed


cdef void kswapd_main(machine_t *m, int nid) noexcept nogil:
    """Life of the kswapd of one node."""
    cdef node_t *n = &m.nodes[nid]
    cdef int alloc_order = 0, reclaim_order = 0, idx = MAX_NR_ZONES - 1
    cdef int64_t reclaimed = 0
    m.curr.memalloc = True
    n.kswapd_order = 0
    n.kswapd_highest_zoneidx = MAX_NR_ZONES
    while True:
        alloc_order = reclaim_order = n.kswapd_order
        if n.kswapd_highest_zoneidx != MAX_NR_ZONES:
            idx = n.kswapd_highest_zoneidx
        while True:
            kswapd_try_to_sleep(m, n, alloc_order, reclaim_order, idx, reclaimed)
            alloc_order = n.kswapd_order
            if n.kswapd_highest_zoneidx != MAX_NR_ZONES:
                idx = n.kswapd_highest_zoneidx
            n.kswapd_order = 0
            n.kswapd_highest_zoneidx = MAX_NR_ZONES
            reclaim_order = alloc_order
            reclaimed = balance_pgdat(m, n, &reclaim_order, idx)
            if reclaim_order >= alloc_order:
                break
