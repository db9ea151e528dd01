"""Page allocation: the fast path at LOW, and what happens below it.

    LOW   every allocation is tested here first; failing it wakes kswapd
    MIN   the slow path may go down to here while kswapd works
    below direct reclaim, up to 16 fruitless rounds, then OOM
"""
from .balance cimport MAX_RECLAIM_RETRIES, wakeup_kswapd
from .buddy cimport wmark_pages, zone_t, zone_watermark_ok
from .clock cimport NS_PER_SEC
from .frames cimport drain_all_pages, rmqueue
from .machine cimport EV_OOM, EXIT_OOM, log_event, machine_t
from .node cimport node_t
from .thread cimport STALL_OOM, thread_t
from .types cimport (MAX_NR_ZONES, MIGRATE_MOVABLE, MIGRATE_UNMOVABLE, ZONE_NORMAL, int64_t, ns_t, pfn_t,
                     uint64_t)
from .vmscan cimport (NODE_RECLAIM_FULL, NODE_RECLAIM_NOSCAN, node_reclaim, try_to_free_pages,
                      zone_reclaimable_pages)
from .vmstat cimport (NR_ACTIVE_FILE, NR_DIRTY, NR_INACTIVE_FILE, NR_WRITEBACK, NUMA_FOREIGN, NUMA_HIT,
                      NUMA_INTERLEAVE, NUMA_LOCAL, NUMA_MISS, NUMA_OTHER)
from .watermark cimport WMARK_HIGH, WMARK_LOW, WMARK_MIN
from .zonelist cimport GFP_INTERLEAVED, zonelist_first_of_node, zonelist_t

cdef enum:
    NODE_RECLAIM_DISTANCE = 30   # RECLAIM_DISTANCE
    PAGE_ALLOC_COSTLY_ORDER = 3


cdef void build_zonelist(machine_t *m, int nid, uint64_t nodemask, zonelist_t *zl) noexcept nogil:
    """Zones for requests that prefer `nid`: node by node in fallback order, high zones first.

    nodemask has a bit per allowed node; 0 allows all.
    """
    cdef int i, z, n, id
    zl.nr = 0
    zl.highest_zoneidx = MAX_NR_ZONES - 1
    zl.constrained = nodemask != 0
    for i in range(m.nodes[nid].nr_fallback):
        n = m.nodes[nid].fallback[i]
        if nodemask and not (nodemask >> n) & 1:
            continue
        for z in range(MAX_NR_ZONES - 1, -1, -1):
            id = m.nodes[n].first_zone + z
            if m.zones[id].managed:
                zl.zones[zl.nr] = id
                zl.nr += 1
    # a node without memory, or not in the mask, is not what the counters and the distance rule call preferred
    zl.preferred_nid = m.zones[zl.zones[0]].nid if zl.nr else nid


cdef inline void zone_statistics(machine_t *m, const zonelist_t *zl, zone_t *z, int gfp) noexcept nogil:
    # numa_hit and friends (10.2)
    cdef zone_t *preferred = &m.zones[zl.zones[0]]
    if z.nid == preferred.nid:
        z.stat[NUMA_HIT] += 1
        if gfp & GFP_INTERLEAVED:
            z.stat[NUMA_INTERLEAVE] += 1
    else:
        z.stat[NUMA_MISS] += 1
        preferred.stat[NUMA_FOREIGN] += 1
    if z.nid == m.cpus[m.cpu].nid:
        z.stat[NUMA_LOCAL] += 1
    else:
        z.stat[NUMA_OTHER] += 1


cdef bint node_dirty_ok(machine_t *m, int nid) noexcept nogil:
    """Is there room for one more dirty page on the node (9.4)?"""
    cdef node_t *n = &m.nodes[nid]
    cdef int64_t dirtyable = n.stat[NR_INACTIVE_FILE] + n.stat[NR_ACTIVE_FILE]
    cdef int64_t limit
    cdef int z
    for z in range(n.first_zone, n.first_zone + MAX_NR_ZONES):
        dirtyable += m.zones[z].nr_free
    dirtyable -= min(dirtyable, m.totalreserve_pages)
    limit = dirtyable * m.p.dirty_ratio // 100
    if m.p.dirty_pages:
        limit = m.p.dirty_pages * dirtyable // max(1, m.totalram)
    return n.stat[NR_DIRTY] + n.stat[NR_WRITEBACK] <= limit


cdef inline int gfp_migratetype(int gfp) noexcept nogil:
    return MIGRATE_UNMOVABLE if gfp & GFP_KERNEL else MIGRATE_MOVABLE


cdef inline bint zone_ok(machine_t *m, const zonelist_t *zl, zone_t *z, int order, int wmark, int idx) noexcept nogil:
    cdef bint ok
    if not m.v61 and not z.below_high:
        if zone_watermark_ok(z, order, wmark_pages(z, WMARK_HIGH), idx, z.nr_free):
            return True
        z.below_high = True
    ok = zone_watermark_ok(z, order, wmark_pages(z, wmark), idx, z.nr_free)
    return ok


cdef pfn_t get_page_from_freelist(machine_t *m, const zonelist_t *zl, int gfp, int order, int wmark,
                                  bint first_pass) noexcept nogil:
    """The first zone above its mark gives the page; 0 if there is none."""
    cdef int i, r, idx
    cdef zone_t *z
    cdef pfn_t pfn
    cdef bint spread = gfp & GFP_WRITE != 0 and first_pass and m.nr_nodes > 1
    idx = ZONE_NORMAL if gfp & GFP_KERNEL else zl.highest_zoneidx
    for i in range(zl.nr):
        z = &m.zones[zl.zones[i]]
        if z.idx > idx:
            continue
        if spread and not node_dirty_ok(m, z.nid):
            continue
        if not zone_ok(m, zl, z, order, wmark, idx):
            if not m.p.zone_reclaim_mode or m.nodes[zl.preferred_nid].distance[z.nid] > NODE_RECLAIM_DISTANCE:
                continue
            if gfp & GFP_NOWAIT:
                continue
            r = node_reclaim(m, z.nid, order)
            if r == NODE_RECLAIM_NOSCAN or r == NODE_RECLAIM_FULL:
                continue
            if not zone_watermark_ok(z, order, wmark_pages(z, wmark), idx, z.nr_free):
                continue
        pfn = rmqueue(m, zl.zones[i], order, gfp_migratetype(gfp))
        if pfn:
            zone_statistics(m, zl, z, gfp)
            return pfn
    if spread:
        return get_page_from_freelist(m, zl, gfp, order, wmark, False)
    return 0


cdef void wake_all_kswapds(machine_t *m, const zonelist_t *zl, int order, int idx) noexcept nogil:
    cdef int i
    for i in range(zl.nr):
        if zonelist_first_of_node(zl, i):
            wakeup_kswapd(m, zl.zones[i], order, idx)


cdef bint should_reclaim_retry(machine_t *m, const zonelist_t *zl, int order, int idx, bint progress,
                               int *no_progress) noexcept nogil:
    """Would the MIN mark be met if everything reclaimable were reclaimed? At most 16 fruitless rounds."""
    cdef int i
    cdef zone_t *z
    if progress and order <= PAGE_ALLOC_COSTLY_ORDER:
        no_progress[0] = 0
    else:
        no_progress[0] += 1
    if no_progress[0] > MAX_RECLAIM_RETRIES:
        return False
    for i in range(zl.nr):
        z = &m.zones[zl.zones[i]]
        if zone_watermark_ok(z, order, wmark_pages(z, WMARK_MIN), idx,
                             z.nr_free + zone_reclaimable_pages(m, zl.zones[i])):
            return True
    return False


cdef bint out_of_memory(machine_t *m, const zonelist_t *zl) noexcept nogil:
    """Asks the caller of Engine.run to choose a victim; True if waiting may help."""
    cdef thread_t *t = m.curr
    cdef ns_t begin = m.now
    if m.oom_victims == 0:
        log_event(m, EV_OOM, t.id, 0)
        m.exit_reason = EXIT_OOM
        m.exit_thread = t.id
        m.oom_nodemask = 0
        if zl.constrained:
            for i in range(zl.nr):
                m.oom_nodemask |= <uint64_t> 1 << m.zones[zl.zones[i]].nid
        m.ops.leave(m)
    if not t.killed:
        m.ops.sleep(m, NS_PER_SEC // m.p.hz, STALL_OOM)
    return m.oom_victims > 0 or t.killed or m.now > begin


cdef pfn_t alloc_slowpath(machine_t *m, const zonelist_t *zl, int gfp, int order) noexcept nogil:
    cdef thread_t *t = m.curr
    cdef int idx = ZONE_NORMAL if gfp & GFP_KERNEL else zl.highest_zoneidx
    cdef int no_progress = 0, i
    cdef int64_t progress
    cdef pfn_t pfn
    if m.p.c_wakeup and m.nodes[zl.preferred_nid].kswapd_sleeping:
        m.now += m.p.c_wakeup
    wake_all_kswapds(m, zl, order, idx)
    pfn = get_page_from_freelist(m, zl, gfp, order, WMARK_MIN, True)
    if pfn or gfp & GFP_NOWAIT:
        return pfn
    while True:
        wake_all_kswapds(m, zl, order, idx)
        if t.memalloc:
            # reclaim itself needs a page: the reserves are for this
            for i in range(zl.nr):
                pfn = rmqueue(m, zl.zones[i], order, gfp_migratetype(gfp))
                if pfn:
                    return pfn
            return 0
        if t.killed:
            # a victim may dig into the reserves to get out
            for i in range(zl.nr):
                if zone_watermark_ok(&m.zones[zl.zones[i]], order, m.zones[zl.zones[i]].wmark[WMARK_MIN] // 2, idx,
                                     m.zones[zl.zones[i]].nr_free):
                    return rmqueue(m, zl.zones[i], order, gfp_migratetype(gfp))
            return 0
        pfn = get_page_from_freelist(m, zl, gfp, order, WMARK_MIN, True)
        if pfn:
            return pfn
        progress = try_to_free_pages(m, zl, order, idx)
        if progress:
            pfn = get_page_from_freelist(m, zl, gfp, order, WMARK_MIN, True)
            if pfn == 0:
                drain_all_pages(m)
                pfn = get_page_from_freelist(m, zl, gfp, order, WMARK_MIN, True)
            if pfn:
                return pfn
        if gfp & GFP_NORETRY:
            return 0
        if should_reclaim_retry(m, zl, order, idx, progress > 0, &no_progress):
            continue
        pfn = get_page_from_freelist(m, zl, gfp, order, WMARK_HIGH, True)
        if pfn:
            return pfn
        if out_of_memory(m, zl):
            no_progress = 0


cdef pfn_t alloc_pages_slow(machine_t *m, const zonelist_t *zl, int gfp, int order) noexcept nogil:
    """alloc_pages when the first zone does not give a page at once."""
    cdef pfn_t pfn = get_page_from_freelist(m, zl, gfp, order, WMARK_LOW, True)
    if pfn:
        return pfn
    return alloc_slowpath(m, zl, gfp, order)
