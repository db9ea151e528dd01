"""Page migration: the content moves to a frame of another node, its PTEs and cache entries follow.

Used by demotion (reclaim moves cold pages to a slower node instead of evicting them), by promotion after a
NUMA hint fault, and by migrate_pages().
"""
from .buddy cimport wmark_pages, zone_watermark_ok
from .clock cimport rng_next
from .frames cimport free_frame, rmqueue
from .machine cimport count, lru_add, lru_del, machine_t, mod_node, page_zone
from .node cimport node_t
from .page cimport (PG_ANON, PG_DIRTY, PG_ISOLATED, PG_LOCKED, PG_LRU, PG_MLOCKED, PG_SWAPCACHE,
                    PG_WRITEBACK, page_t)
from .pte cimport PTE_PRESENT
from .rmap cimport remap_page
from .types cimport MAX_NR_ZONES, pfn_t, uint32_t, uint64_t
from .vmstat cimport (NR_ANON_PAGES, NR_DIRTY, NR_FILE_PAGES, NR_MAPPED, NR_MLOCK, NR_SWAPCACHED,
                      PGMIGRATE_FAIL, PGMIGRATE_SUCCESS)
from .watermark cimport WMARK_LOW


cdef pfn_t frame_of_node(machine_t *m, int nid, int wmark) noexcept nogil:
    # nobody reclaims to make room for a migration
    cdef int z, id
    for z in range(MAX_NR_ZONES - 1, -1, -1):
        id = m.nodes[nid].first_zone + z
        if m.zones[id].managed and zone_watermark_ok(&m.zones[id], 0, wmark_pages(&m.zones[id], wmark),
                                                     MAX_NR_ZONES - 1, m.zones[id].nr_free):
            return rmqueue(m, id, 0)
    return 0


cdef inline void move_stat(machine_t *m, pfn_t old, pfn_t new, int item) noexcept nogil:
    mod_node(m, old, item, -1)
    mod_node(m, new, item, 1)


cdef pfn_t migrate_page(machine_t *m, pfn_t old, int nid, int wmark) noexcept nogil:
    """Moves a page that is on the LRU or isolated. The new frame, or 0 if the target is below its
    watermark `wmark` or the page is in use by I/O. The new page goes to the LRU list its flags say."""
    cdef page_t *p = &m.frames[old]
    cdef page_t *q
    cdef pfn_t new
    if p.flags & (PG_LOCKED | PG_WRITEBACK) or p.pins:
        count(m, PGMIGRATE_FAIL, 1)
        return 0
    new = frame_of_node(m, nid, wmark)
    if new == 0:
        count(m, PGMIGRATE_FAIL, 1)
        return 0
    q = &m.frames[new]
    if p.flags & PG_LRU:
        lru_del(m, old)
    q.flags = p.flags & ~<uint32_t> (PG_LRU | PG_ISOLATED)
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
    return new


cdef bint demote_page(machine_t *m, node_t *n, pfn_t pfn) noexcept nogil:
    """Reclaim of a fast node: the cold page goes to a slower one instead. False if there is no room."""
    cdef int target
    if n.nr_demotion_targets == 0:
        return False
    target = n.demotion_target[0]
    if n.nr_demotion_targets > 1:
        target = n.demotion_target[rng_next(&m.rng) % <uint64_t> n.nr_demotion_targets]
    return migrate_page(m, pfn, target, WMARK_LOW) != 0
