"""Has a node enough free memory, and if not, or if it is badly mixed, waking its kswapd."""

from .buddy cimport wmark_pages, zone_t, zone_watermark_ok
from .machine cimport EV_KSWAPD_WAKE, log_event, machine_t
from .node cimport node_t
from .types cimport MAX_NR_ZONES, PAGEBLOCK_PAGES, int64_t
from .watermark cimport WMARK_HIGH, WMARK_PROMO


cdef bint pgdat_balanced(machine_t *m, node_t *n, int order, int highest_zoneidx) noexcept nogil:
    """True if any managed zone the request may use is above HIGH (PROMO in tiering mode, on every node)."""
    cdef int z
    cdef bint any_managed = False
    cdef zone_t *zone
    cdef int w = WMARK_PROMO if m.p.numa_balancing & 2 else WMARK_HIGH
    for z in range(highest_zoneidx + 1):
        zone = &m.zones[n.first_zone + z]
        if zone.managed == 0:
            continue
        any_managed = True
        if zone_watermark_ok(zone, order, wmark_pages(zone, w), highest_zoneidx, zone.nr_free):
            return True
    return not any_managed


cdef void rouse_kswapd(machine_t *m, node_t *n, int order) noexcept nogil:
    n.kswapd_sleeping = False
    n.kswapd_woken = True
    log_event(m, EV_KSWAPD_WAKE, n.nid, order)
    m.ops.wake(m, m.threads[n.kswapd])


cdef void wakeup_kswapd(machine_t *m, int zone, int order, int highest_zoneidx) noexcept nogil:
    cdef node_t *n = &m.nodes[m.zones[zone].nid]
    cdef int z
    cdef bint boosted = False
    if n.kswapd == 0:
        return
    if n.kswapd_highest_zoneidx == MAX_NR_ZONES or n.kswapd_highest_zoneidx < highest_zoneidx:
        n.kswapd_highest_zoneidx = highest_zoneidx
    if n.kswapd_order < order:
        n.kswapd_order = order
    if not n.kswapd_sleeping:
        return
    if n.kswapd_failures >= MAX_RECLAIM_RETRIES:
        return
    for z in range(highest_zoneidx + 1):
        boosted = boosted or m.zones[n.first_zone + z].boost > 0
    if not boosted and pgdat_balanced(m, n, order, highest_zoneidx):
        return
    rouse_kswapd(m, n, order)


cdef void boost_watermark(machine_t *m, zone_t *z) noexcept nogil:
    """Programs got pages in blocks of unmovable memory or the kernel some of theirs: to make that rarer the zone's
    watermarks rise until kswapd has been at work, and kswapd is woken for this zone alone."""
    cdef int64_t most = z.wmark[WMARK_HIGH] * m.p.watermark_boost_factor // 10000
    cdef int64_t rise = z.fallbacks * PAGEBLOCK_PAGES
    z.fallbacks = 0
    if m.p.watermark_boost_factor == 0 or 4 * PAGEBLOCK_PAGES > z.managed or most == 0:
        return
    z.boost = min(z.boost + rise, max(most, <int64_t> PAGEBLOCK_PAGES))
    wakeup_kswapd(m, z.id, 0, z.idx)
