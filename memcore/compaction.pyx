"""Memory compaction (mm/compaction.c): one thread per node moves pages together so that large blocks become free.

Two scanners walk a zone towards each other: from its start one that takes pages off their LRU lists, a page block at a
time; from its end one that takes free frames for them. Where no frame is to be had any more the pages that are still
isolated go back: to the head of their list, like those that were moved. So each attempt rejuvenates a page block.

kcompactd is woken when kswapd has reclaimed for a raised watermark (kcompactd_do_work), and looks twice a second whether
free memory is too fragmented (proactive compaction, vm.compaction_proactiveness).
"""

from .buddy cimport get_pageblock_migratetype, has_free_block, isolate_free_page, zone_t
from .clock cimport NS_PER_MS
from .fragmentation cimport (compaction_suitable, fragmentation_score_node, fragmentation_score_wmark,
                             fragmentation_score_zone)
from .frames cimport drain_all_pages, free_frame
from .machine cimport count, lru_add_drain, lru_del, machine_t, memstall_enter, memstall_leave, mm_charge
from .migrate cimport migrate_folio, movable
from .node cimport node_t
from .page cimport PG_BUDDY, PG_HELD, PG_ISOLATED, PG_LRU, PG_LRU_BATCH, PG_ORPHAN, PG_WRITEBACK, page_t
from .shrink cimport putback_movable_page
from .thread cimport STALL_THROTTLE, TH_RUNNABLE, TH_RUNNING
from .types cimport (MAX_NR_ZONES, MIGRATE_MOVABLE, PAGEBLOCK_ORDER, PAGEBLOCK_PAGES, SWAP_CLUSTER_MAX, ZONE_MOVABLE, int64_t,
                     ns_t, pfn_t, uint8_t)
from .vmstat cimport (COMPACT_DAEMON_FREE_SCANNED, COMPACT_DAEMON_MIGRATE_SCANNED, COMPACT_DAEMON_WAKE,
                      COMPACT_FREE_SCANNED, COMPACT_ISOLATED, COMPACT_MIGRATE_SCANNED, PGMIGRATE_FAIL)

cdef enum:
    COMPACT_CLUSTER_MAX = SWAP_CLUSTER_MAX
    COMPACT_MAX_DEFER_SHIFT = 6
    KERNEL_IMAGE_PAGES = 3584    # 14 MiB

cdef enum compact_result:
    COMPACT_CONTINUE = 3
    COMPACT_COMPLETE = 4
    COMPACT_PARTIAL_SKIPPED = 5
    COMPACT_CONTENDED = 6
    COMPACT_SUCCESS = 7

cdef ns_t FRAG_CHECK_NS = 500 * NS_PER_MS    # HPAGE_FRAG_CHECK_INTERVAL_MSEC
cdef int64_t BLOCK_MASK = ~<int64_t> (PAGEBLOCK_PAGES - 1)

ctypedef struct compact_control_t:
    node_t *node
    zone_t *zone
    int order                    # of the block that is wanted; -1: proactive
    int64_t migrate_pfn
    int64_t free_pfn
    bint finish_pageblock        # isolate what is left of a page block, however much
    int nr_migratepages
    int nr_freepages
    int64_t migrate_scanned
    int64_t free_scanned
    pfn_t migratepages[PAGEBLOCK_PAGES]
    pfn_t freepages[2 * PAGEBLOCK_PAGES]


cdef inline bint kswapd_is_running(const machine_t *m, const node_t *n) noexcept nogil:
    cdef int state = m.threads[n.kswapd].state
    return state == TH_RUNNABLE or state == TH_RUNNING


# ---- the scanners -----------------------------------------------------------------------------------------

cdef inline int64_t block_end(const zone_t *z, int64_t pfn) noexcept nogil:
    return min((pfn | (PAGEBLOCK_PAGES - 1)) + 1, z.start_pfn + z.spanned)


cdef inline bint scanners_met(const compact_control_t *cc) noexcept nogil:
    return cc.free_pfn >> PAGEBLOCK_ORDER <= cc.migrate_pfn >> PAGEBLOCK_ORDER


cdef bint wholly_free(machine_t *m, const zone_t *z, int64_t start) noexcept nogil:
    """Does this page block belong to a free block of its size or twice that?"""
    cdef int64_t pair = start & ~<int64_t> (2 * PAGEBLOCK_PAGES - 1)
    if z.virgin <= start < z.virgin_end:
        return True
    if m.frames[start].flags & PG_BUDDY and m.frames[start].order >= PAGEBLOCK_ORDER:
        return True
    return pair >= z.start_pfn and m.frames[pair].flags & PG_BUDDY != 0 and m.frames[pair].order > PAGEBLOCK_ORDER


cdef int64_t isolate_migratepages_block(machine_t *m, compact_control_t *cc, int64_t pfn, int64_t end) noexcept nogil:
    """Takes pages of one page block off their lists: 32 of them, or all to finish it. The next frame to look at."""
    cdef page_t *p
    cdef int64_t from_pfn = pfn, looks = 0
    while pfn < end:
        p = &m.frames[pfn]
        looks += 1
        if p.flags & PG_BUDDY:
            pfn += 1 << p.order
            continue
        pfn += 1
        if p.flags & (PG_LRU | PG_LRU_BATCH | PG_WRITEBACK) != PG_LRU:
            continue
        lru_del(m, <pfn_t> (pfn - 1))
        p.flags |= PG_ISOLATED
        cc.migratepages[cc.nr_migratepages] = <pfn_t> (pfn - 1)
        cc.nr_migratepages += 1
        if cc.nr_migratepages >= COMPACT_CLUSTER_MAX and not cc.finish_pageblock:
            break
    pfn = min(pfn, end)
    cc.migrate_scanned += pfn - from_pfn
    count(m, COMPACT_ISOLATED, cc.nr_migratepages)
    mm_charge(m, looks * m.p.c_reclaim_skip)
    return pfn


cdef bint isolate_migratepages(machine_t *m, compact_control_t *cc) noexcept nogil:
    """Pages of the next page block that may have some. False: it gave none, or the free scanner is there already."""
    cdef zone_t *z = cc.zone
    cdef int64_t pfn = cc.migrate_pfn, end, image
    cc.nr_migratepages = 0
    if pfn < z.held_end:
        # what the kernel holds since boot, in one go; behind its image it shares page blocks with programs, so that is
        # all there is to walk past
        end = min(z.held_end, cc.free_pfn)
        image = min(end - pfn, <int64_t> KERNEL_IMAGE_PAGES)
        cc.migrate_scanned += image
        mm_charge(m, image * m.p.c_reclaim_skip)
        pfn = end
    end = block_end(z, pfn)
    while end <= cc.free_pfn and wholly_free(m, z, pfn & BLOCK_MASK):
        pfn = end
        end = block_end(z, pfn)
    if end > cc.free_pfn:
        cc.migrate_pfn = cc.free_pfn
        return False
    cc.migrate_pfn = isolate_migratepages_block(m, cc, pfn, end)
    if cc.migrate_pfn == end and (cc.nr_migratepages == 0 or cc.finish_pageblock):
        z.compact_cached_migrate_pfn = max(z.compact_cached_migrate_pfn, end)
    return cc.nr_migratepages > 0


cdef int64_t isolate_freepages_block(machine_t *m, compact_control_t *cc, int64_t pfn, int64_t end,
                                     int stride) noexcept nogil:
    """Takes free frames of one page block, looking at every `stride`-th frame, until there is one for each page or the
    zone is at MIN. The next frame to look at."""
    cdef page_t *p
    cdef int64_t looks = 0, more = 0
    cdef int i, n
    while pfn < end:
        p = &m.frames[pfn]
        looks += 1
        if not p.flags & PG_BUDDY:
            pfn += stride
            continue
        n = 1 << p.order
        if not isolate_free_page(cc.zone, m.frames, <pfn_t> pfn):
            break
        for i in range(n):
            m.frames[pfn + i].flags = PG_ISOLATED
            m.frames[pfn + i].zone = <uint8_t> cc.zone.id
            cc.freepages[cc.nr_freepages + i] = <pfn_t> (pfn + i)
        cc.nr_freepages += n
        count(m, COMPACT_ISOLATED, n)
        more += n - 1
        if cc.nr_freepages >= cc.nr_migratepages:
            pfn += n
            break
        pfn += n - 1 + stride
    cc.free_scanned += looks + more
    mm_charge(m, looks * m.p.c_reclaim_skip)
    return min(pfn, end)


cdef bint suitable_migration_target(machine_t *m, const zone_t *z, int64_t start) noexcept nogil:
    # large free blocks are what compaction is about, and pages that can move shall not lie among those that cannot
    return start >= z.held_end and get_pageblock_migratetype(z, start) == MIGRATE_MOVABLE and not wholly_free(m, z, start)


cdef void isolate_freepages(machine_t *m, compact_control_t *cc) noexcept nogil:
    """Frames for the pages, from where the free scanner is down to the page block after the migration scanner's. Each
    page block that has none halves the number of frames that are looked at in the next, down to every 32nd."""
    cdef zone_t *z = cc.zone
    cdef int64_t pfn = cc.free_pfn, start = cc.free_pfn & BLOCK_MASK, end
    cdef int64_t low = block_end(z, cc.migrate_pfn)
    cdef int stride = 1, before
    while start >= low:
        end = block_end(z, start)
        if suitable_migration_target(m, z, start):
            before = cc.nr_freepages
            pfn = isolate_freepages_block(m, cc, pfn, end, stride)
            if cc.nr_freepages >= cc.nr_migratepages or pfn < end:
                if pfn == end:
                    pfn = start - PAGEBLOCK_PAGES
                break
            stride = 1 if cc.nr_freepages > before else min(stride << 1, COMPACT_CLUSTER_MAX)
        start -= PAGEBLOCK_PAGES
        pfn = start
    cc.free_pfn = pfn


cdef pfn_t compaction_alloc(machine_t *m, compact_control_t *cc) noexcept nogil:
    if cc.nr_freepages == 0:
        isolate_freepages(m, cc)
        if cc.nr_freepages == 0:
            return 0
    cc.nr_freepages -= 1
    return cc.freepages[cc.nr_freepages]


cdef bint migrate_pages(machine_t *m, compact_control_t *cc) noexcept nogil:
    """Moves the isolated pages, the last first; those for which there is no frame go back. False: frames ran out."""
    cdef int i, kept = cc.nr_migratepages
    cdef pfn_t pfn, new
    cdef bint enough = True
    for i in range(cc.nr_migratepages - 1, -1, -1):
        pfn = cc.migratepages[i]
        if enough:
            new = compaction_alloc(m, cc)
            if new == 0:
                count(m, PGMIGRATE_FAIL, 1)
                enough = False
            elif movable(m, pfn) and not m.frames[pfn].flags & (PG_HELD | PG_ORPHAN):
                migrate_folio(m, pfn, new)
                mm_charge(m, 0)
                continue
            else:
                # its last user may be gone since it was isolated: then putback frees it
                count(m, PGMIGRATE_FAIL, m.frames[pfn].flags & PG_ORPHAN == 0)
                cc.freepages[cc.nr_freepages] = new
                cc.nr_freepages += 1
        kept -= 1
        cc.migratepages[kept] = pfn
    for i in range(cc.nr_migratepages - 1, kept - 1, -1):
        putback_movable_page(m, cc.migratepages[i])
    return enough


# ---- one zone ---------------------------------------------------------------------------------------------

cdef int compact_finished(machine_t *m, compact_control_t *cc) noexcept nogil:
    cdef zone_t *z = cc.zone
    if scanners_met(cc):
        z.compact_cached_migrate_pfn = z.start_pfn
        z.compact_cached_free_pfn = 0
        return COMPACT_COMPLETE
    if cc.order < 0:
        if kswapd_is_running(m, cc.node):
            return COMPACT_PARTIAL_SKIPPED
        return COMPACT_CONTINUE if fragmentation_score_zone(z) > fragmentation_score_wmark(m, True) else COMPACT_SUCCESS
    if cc.migrate_pfn & ~BLOCK_MASK:
        return COMPACT_CONTINUE
    return COMPACT_SUCCESS if has_free_block(z, cc.order) else COMPACT_CONTINUE


cdef int compact_zone(machine_t *m, compact_control_t *cc) noexcept nogil:
    cdef zone_t *z = cc.zone
    cdef int64_t last = z.start_pfn + z.spanned - 1, before, last_migrated = 0
    cdef int result, i
    cc.nr_freepages = 0
    cc.migrate_scanned = cc.free_scanned = 0
    cc.migrate_pfn = z.start_pfn
    cc.free_pfn = last & BLOCK_MASK
    if cc.order > 0:
        cc.migrate_pfn = max(z.compact_cached_migrate_pfn, z.start_pfn)
        if z.compact_cached_free_pfn:
            cc.free_pfn = z.compact_cached_free_pfn
    lru_add_drain(m)
    result = compact_finished(m, cc)
    while result == COMPACT_CONTINUE:
        before = cc.migrate_pfn
        # a page block that gave pages before is finished in one go
        cc.finish_pageblock = last_migrated >> PAGEBLOCK_ORDER == before >> PAGEBLOCK_ORDER
        if isolate_migratepages(m, cc):
            last_migrated = cc.migrate_pfn - 1
            if not migrate_pages(m, cc) and not scanners_met(cc):
                result = COMPACT_CONTENDED
                break
        result = compact_finished(m, cc)
    for i in range(cc.nr_freepages):
        m.frames[cc.freepages[i]].flags = 0
        free_frame(m, cc.freepages[i])
    if cc.order > 0 and result != COMPACT_COMPLETE:
        z.compact_cached_free_pfn = max(z.start_pfn, cc.free_pfn & BLOCK_MASK)
    count(m, COMPACT_MIGRATE_SCANNED, cc.migrate_scanned)
    count(m, COMPACT_FREE_SCANNED, cc.free_scanned)
    return result


# ---- kcompactd --------------------------------------------------------------------------------------------

cdef void count_daemon(machine_t *m, const compact_control_t *cc) noexcept nogil:
    count(m, COMPACT_DAEMON_MIGRATE_SCANNED, cc.migrate_scanned)
    count(m, COMPACT_DAEMON_FREE_SCANNED, cc.free_scanned)


cdef void proactive_compact_node(machine_t *m, node_t *n) noexcept nogil:
    """Compacts each zone until free memory is less fragmented than the mark, or kswapd begins to run."""
    cdef compact_control_t cc
    cdef int z
    cc.node = n
    cc.order = -1
    for z in range(n.first_zone, n.first_zone + MAX_NR_ZONES):
        if m.zones[z].managed:
            cc.zone = &m.zones[z]
            compact_zone(m, &cc)
            if not m.v61:
                count_daemon(m, &cc)


cdef bint compaction_deferred(zone_t *z, int order) noexcept nogil:
    """After failures attempts are left out, up to 64 in a row."""
    cdef int64_t limit = <int64_t> 1 << z.compact_defer_shift
    if order < z.compact_order_failed:
        return False
    z.compact_considered += 1
    if z.compact_considered >= limit:
        z.compact_considered = limit
        return False
    return True


cdef void kcompactd_do_work(machine_t *m, node_t *n) noexcept nogil:
    """Makes a block of the order that was asked for, in each zone up to the one that was asked for."""
    cdef compact_control_t cc
    cdef int z, result, idx = n.kcompactd_highest_zoneidx
    cdef zone_t *zone
    cc.node = n
    cc.order = n.kcompactd_max_order
    count(m, COMPACT_DAEMON_WAKE, 1)
    for z in range(idx + 1):
        zone = &m.zones[n.first_zone + z]
        if zone.managed == 0 or compaction_deferred(zone, cc.order) or not compaction_suitable(m, zone, cc.order, z):
            continue
        cc.zone = zone
        result = compact_zone(m, &cc)
        if result == COMPACT_SUCCESS:
            zone.compact_order_failed = max(zone.compact_order_failed, cc.order + 1)
        elif result == COMPACT_PARTIAL_SKIPPED or result == COMPACT_COMPLETE:
            drain_all_pages(m)
            zone.compact_considered = 0
            zone.compact_defer_shift = min(zone.compact_defer_shift + 1, COMPACT_MAX_DEFER_SHIFT)
            zone.compact_order_failed = min(zone.compact_order_failed, cc.order)
        count_daemon(m, &cc)
    if n.kcompactd_max_order <= cc.order:
        n.kcompactd_max_order = 0
    if n.kcompactd_highest_zoneidx >= idx:
        n.kcompactd_highest_zoneidx = ZONE_MOVABLE


cdef void wakeup_kcompactd(machine_t *m, node_t *n, int order, int highest_zoneidx) noexcept nogil:
    """Asks for a block of `order`; the thread is woken if there is a zone that could give one."""
    cdef int z
    if order == 0 or n.kcompactd == 0:
        return
    n.kcompactd_max_order = max(n.kcompactd_max_order, order)
    n.kcompactd_highest_zoneidx = min(n.kcompactd_highest_zoneidx, highest_zoneidx)
    if not n.kcompactd_waiting:
        return
    for z in range(n.kcompactd_highest_zoneidx + 1):
        if (m.zones[n.first_zone + z].managed
                and compaction_suitable(m, &m.zones[n.first_zone + z], n.kcompactd_max_order, n.kcompactd_highest_zoneidx)):
            n.kcompactd_waiting = False
            m.ops.wake(m, m.threads[n.kcompactd])
            return


cdef void kcompactd_main(machine_t *m, int nid) noexcept nogil:
    """Life of the kcompactd of one node. It has been looking since boot: half the time to its next look has passed."""
    cdef node_t *n = &m.nodes[nid]
    cdef ns_t timeout = FRAG_CHECK_NS // 2
    cdef int64_t before
    n.kcompactd_max_order = 0
    n.kcompactd_highest_zoneidx = ZONE_MOVABLE
    while True:
        if n.kcompactd_max_order == 0:
            n.kcompactd_waiting = True
            m.ops.sleep(m, timeout if m.p.compaction_proactiveness else -1, STALL_THROTTLE)
            n.kcompactd_waiting = False
        timeout = FRAG_CHECK_NS
        if n.kcompactd_max_order:
            memstall_enter(m)
            kcompactd_do_work(m, n)
            memstall_leave(m)
            continue
        if m.p.compaction_proactiveness == 0 or kswapd_is_running(m, n):
            continue
        before = fragmentation_score_node(m, n)
        if before > fragmentation_score_wmark(m, False):
            proactive_compact_node(m, n)
            if fragmentation_score_node(m, n) >= before:
                timeout = FRAG_CHECK_NS << COMPACT_MAX_DEFER_SHIFT
