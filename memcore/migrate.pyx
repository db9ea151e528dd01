"""Page migration: the content moves to another frame, its PTEs and cache entries follow.

Used by compaction, by demotion (reclaim moves cold pages to a slower node instead of evicting them), by promotion after a
NUMA hint fault, and by migrate_pages().
"""
from .balance cimport wakeup_kswapd
from .buddy cimport wmark_pages, zone_watermark_ok
from .clock cimport rng_next
from .frames cimport free_frame, rmqueue
from .machine cimport count, lru_add, lru_del, machine_t, mod_node, page_zone
from .node cimport node_t
from .page cimport (PG_ANON, PG_DIRTY, PG_ISOLATED, PG_LOCKED, PG_LRU, PG_MLOCKED, PG_SWAPCACHE, PG_TIMED,
                    PG_WRITEBACK, page_t)
from .pte cimport PTE_PRESENT
from .rmap cimport remap_page
from .types cimport MAX_NR_ZONES, MIGRATE_MOVABLE, ZONE_MOVABLE, pfn_t, uint32_t, uint64_t
from .vmstat cimport (NR_ANON_PAGES, NR_DIRTY, NR_FILE_PAGES, NR_MAPPED, NR_MLOCK, NR_SWAPCACHED, NUMA_FOREIGN,
                      NUMA_HIT, NUMA_LOCAL, NUMA_MISS, NUMA_OTHER, PGMIGRATE_FAIL, PGMIGRATE_SUCCESS)
from .watermark cimport WMARK_LOW, WMARK_MIN


cdef pfn_t frame_of_node(machine_t *m, int nid, int wanted, int wmark) noexcept nogil:
    """A frame of node `nid` for a request that prefers node `wanted`; 0 if all its zones are below the mark.
    Nobody reclaims to make room for a migration."""
    cdef int z, id
    cdef pfn_t pfn
    for z in range(ZONE_MOVABLE, -1, -1):
        id = m.nodes[nid].first_zone + z
        if m.zones[id].managed and zone_watermark_ok(&m.zones[id], 0, wmark_pages(&m.zones[id], wmark),
                                                     ZONE_MOVABLE, m.zones[id].nr_free):
            pfn = rmqueue(m, id, 0, MIGRATE_MOVABLE)
            if pfn:
                if nid == wanted:
                    m.zones[id].stat[NUMA_HIT] += 1
                else:
                    m.zones[id].stat[NUMA_MISS] += 1
                    m.zones[m.nodes[wanted].first_zone + m.nodes[wanted].nr_zones - 1].stat[NUMA_FOREIGN] += 1
                m.zones[id].stat[NUMA_LOCAL if nid == m.cpus[m.cpu].nid else NUMA_OTHER] += 1
                return pfn
    return 0


cdef inline void move_stat(machine_t *m, pfn_t old, pfn_t new, int item) noexcept nogil:
    mod_node(m, old, item, -1)
    mod_node(m, new, item, 1)


cdef bint movable(machine_t *m, pfn_t pfn) noexcept nogil:
    # in use by I/O, or by a fault that waits
    cdef page_t *p = &m.frames[pfn]
    return not p.flags & (PG_LOCKED | PG_WRITEBACK) and p.pins == 0


cdef void migrate_folio(machine_t *m, pfn_t old, pfn_t new) noexcept nogil:
    """The page at `old`, on the LRU or isolated, becomes the page at `new`, on the list that its flags say."""
    cdef page_t *p = &m.frames[old]
    cdef page_t *q = &m.frames[new]
    if p.flags & PG_LRU:
        lru_del(m, old)
    q.flags = p.flags & ~<uint32_t> (PG_LRU | PG_ISOLATED | PG_TIMED)
    q.mapcount = p.mapcount
    q.owner = p.owner
    q.index = p.index
    q.swap = p.swap
    q.aux = 0
    q.pins = 0
    q.mlock_count = p.mlock_count
    remap_page(m, old, new)
    if p.flags & PG_ANON:
        if p.mapcount:
            move_stat(m, old, new, NR_ANON_PAGES)
    else:
        m.files[p.owner].slots[p.index] = (<uint64_t> new << 32) | PTE_PRESENT
        move_stat(m, old, new, NR_FILE_PAGES)
        if p.mapcount:
            move_stat(m, old, new, NR_MAPPED)
        if p.flags & PG_DIRTY:
            move_stat(m, old, new, NR_DIRTY)
            page_zone(m, old).nr_write_pending -= 1
            page_zone(m, new).nr_write_pending += 1
    if p.flags & PG_SWAPCACHE:
        m.swap.slots[p.swap].value = new
        move_stat(m, old, new, NR_SWAPCACHED)
        move_stat(m, old, new, NR_FILE_PAGES)
    if p.flags & PG_MLOCKED:
        move_stat(m, old, new, NR_MLOCK)
    p.flags = 0
    p.mapcount = 0
    p.swap = 0
    free_frame(m, old)
    lru_add(m, new)
    count(m, PGMIGRATE_SUCCESS, 1)
    m.now += m.p.c_migrate


cdef pfn_t migrate_page(machine_t *m, pfn_t old, int nid, int wmark) noexcept nogil:
    """Moves a page that is on the LRU or isolated to node `nid`. Returns the new frame, or 0 if the node is below
    its watermark `wmark` or the page is in use by I/O."""
    cdef pfn_t new = 0
    if movable(m, old):
        new = frame_of_node(m, nid, nid, wmark)
    if new == 0:
        count(m, PGMIGRATE_FAIL, 1)
        return 0
    migrate_folio(m, old, new)
    return new


cdef pfn_t alloc_demote_folio(machine_t *m, node_t *n, int target) noexcept nogil:
    """A frame of the target, whose kswapd is woken if it is short of memory, or of another slower node."""
    cdef node_t *t = &m.nodes[target]
    cdef pfn_t pfn = frame_of_node(m, target, target, WMARK_LOW)
    cdef int i, z
    if pfn:
        return pfn
    for z in range(MAX_NR_ZONES - 1, -1, -1):
        if m.zones[t.first_zone + z].managed:
            wakeup_kswapd(m, t.first_zone + z, 0, ZONE_MOVABLE)
            break
    pfn = frame_of_node(m, target, target, WMARK_MIN)
    for i in range(1, t.nr_fallback):
        if pfn == 0 and m.nodes[t.fallback[i]].tier > n.tier:
            pfn = frame_of_node(m, t.fallback[i], target, WMARK_LOW)
    return pfn


cdef bint demote_page(machine_t *m, node_t *n, pfn_t pfn) noexcept nogil:
    """Reclaim of a fast node: the cold page goes to a slower one instead. False if there is no room."""
    cdef int target = n.demotion_target[0]
    cdef pfn_t new = 0
    if n.nr_demotion_targets > 1:
        target = n.demotion_target[rng_next(&m.rng) % <uint64_t> n.nr_demotion_targets]
    if movable(m, pfn):
        new = alloc_demote_folio(m, n, target)
    if new == 0:
        count(m, PGMIGRATE_FAIL, 1)
        return False
    migrate_folio(m, pfn, new)
    return True
