"""How compressed memory becomes less.

    zswap     its worker, when the pool is full; its shrinker, with every round of reclaim (6.12, if enabled)
    zsmalloc  compaction, with every round of reclaim
    zram      a daemon recompresses and writes to the backing device what it selects, every now and then
    store     its worker writes the oldest pages, still compressed, when the store is larger than it should be

zswap writes a page as swap does: it enters the swap cache and is written from there.
"""
from .blkdev cimport IO_DETACHED, IO_WRITE, blk_submit
from .clock cimport NS_PER_SEC
from .content cimport contents_t
from .frames cimport alloc_memalloc
from .machine cimport count, global_node_stat, machine_t, mm_charge, note_io, page_node
from .page cimport PG_EXCLUSIVE, PG_RECLAIM
from .pageout cimport swap_write_device, swapin_add
from .slab cimport shrinker_batch
from .swapfile cimport SWP_EXCLUSIVE, SWP_HAS_CACHE, swp_slot_t
from .types cimport (MIGRATE_MOVABLE, MM_EAGAIN, MM_ENOMEM, MM_OK, PAGE_SIZE, int64_t, ns_t, pfn_t, swp_t, uint8_t,
                     uint32_t)
from .vmstat cimport NR_ZSPAGES, SLABS_SCANNED, ZSWPWB
from .zbud cimport zbud_coldest, zbud_rotate
from .zpool cimport zhandle_t
from .zram cimport (ZRAM_HUGE, ZRAM_IDLE, ZRAM_INCOMPRESSIBLE, ZRAM_RECOMPRESSED, ZRAM_SAME, ZRAM_SELECT_HUGE,
                    ZRAM_SELECT_IDLE, ZRAM_STORED, ZRAM_WB, zram_moved_out, zram_number, zram_recompress,
                    zram_slot_t, zram_t, zram_verify)
from .zsmalloc cimport zs_compact, zs_pool_t, zs_shrinker_count
from .zswap cimport ZSWAP_REFERENCED, zswap_invalidate, zswap_of, zswap_rotate, zswap_t, zswap_verify

cdef enum:
    WRITEBACK_RETRIES = 16           # entries in a row that gave nothing
    ZBUD_RETRIES = 8
    STORE_CLUSTER = 32               # pages of one write of a store


# ---- zswap ----------------------------------------------------------------------------------------------

cdef int zswap_writeback_entry(machine_t *m, zswap_t *z, swp_t slot) noexcept nogil:
    """Starts writing a stored page to its slot. MM_EAGAIN if the page is in the swap cache, MM_ENOMEM."""
    cdef swp_slot_t *s = &m.swap.slots[slot]
    cdef uint32_t row = (<contents_t *> m.contents).slot_row[slot]
    cdef pfn_t pfn
    if s.flags & SWP_HAS_CACHE or s.count == 0:
        return MM_EAGAIN
    # writeback makes room, so it may use the reserves for the moment its page takes
    pfn = alloc_memalloc(m, 0, MIGRATE_MOVABLE)
    if pfn == 0:
        return MM_ENOMEM
    swapin_add(m, slot, pfn, 0, 0)
    m.frames[pfn].flags |= PG_RECLAIM
    if s.flags & SWP_EXCLUSIVE:
        m.frames[pfn].flags |= PG_EXCLUSIVE
    m.now += z.decompress_ns
    count(m, ZSWPWB, 1)
    z.stat.written_back_pages += 1
    zswap_invalidate(m, slot)
    swap_write_device(m, page_node(m, pfn), pfn, row)
    return MM_OK


cdef bint shrink_coldest(machine_t *m, zswap_t *z) noexcept nogil:
    """shrink_memcg_cb: looks at the oldest entry. False if it got a second chance or could not be written."""
    cdef swp_t slot = z.oldest
    zswap_rotate(z, slot)
    if z.entries[slot].flags & ZSWAP_REFERENCED:
        z.entries[slot].flags = <uint8_t> (z.entries[slot].flags & ~ZSWAP_REFERENCED)
        return False
    if zswap_writeback_entry(m, z, slot) != MM_OK:
        z.stat.reject_reclaim_fail += 1
        return False
    return True


cdef void shrink_worker(machine_t *m, zswap_t *z) noexcept nogil:
    cdef int failures = 0
    while <int64_t> z.pool.pages > z.accept_pages and z.oldest:
        if not shrink_coldest(m, z):
            failures += 1
            if failures == WRITEBACK_RETRIES:
                return
        mm_charge(m, m.p.c_reclaim_scan)


cdef void shrink_worker_61(machine_t *m, zswap_t *z) noexcept nogil:
    """Frees one frame of the pool. zsmalloc of 6.1 cannot say what lies in a frame."""
    cdef zhandle_t first = 0, last = 0
    cdef uint32_t page
    cdef int _
    if z.is_zbud:
        for _ in range(ZBUD_RETRIES):
            page = zbud_coldest(&z.zbud, &first, &last)
            if page == 0:
                break
            if ((first == 0 or zswap_writeback_entry(m, z, z.slot_of[first]) == MM_OK)
                    and (last == 0 or zswap_writeback_entry(m, z, z.slot_of[last]) == MM_OK)):
                return
            zbud_rotate(&z.zbud, page)
    z.stat.reject_reclaim_fail += 1


cdef void zswap_worker(machine_t *m) noexcept nogil:
    cdef zswap_t *z = zswap_of(m)
    while True:
        while not z.work_pending:
            m.ops.sleep(m, -1, -1)
        z.work_pending = False
        if m.v61:
            shrink_worker_61(m, z)
        else:
            shrink_worker(m, z)
        mm_charge(m, m.p.c_reclaim_scan)


# ---- shrinkers ------------------------------------------------------------------------------------------

cdef void zswap_shrinker(machine_t *m, zswap_t *z, int priority) noexcept nogil:
    """As many entries as reclaim asks every cache for; those that swap-ins from disk speak for are left."""
    cdef int64_t freeable = z.listed, spared = min(z.listed, z.nr_disk_swapins), n, _
    z.nr_disk_swapins -= spared
    freeable -= spared
    if freeable == 0 or z.stat.stored_pages == 0:
        return
    n = shrinker_batch(freeable * <int64_t> z.pool.pages // <int64_t> z.stat.stored_pages, priority, &z.deferred)
    count(m, SLABS_SCANNED, n)
    for _ in range(n):
        if z.oldest == 0:
            break
        shrink_coldest(m, z)
    mm_charge(m, n * m.p.c_reclaim_scan)


cdef void zs_shrinker(machine_t *m, zs_pool_t *p, int priority, int64_t *deferred) noexcept nogil:
    cdef int64_t n = shrinker_batch(<int64_t> zs_shrinker_count(p), priority, deferred)
    cdef int64_t moved
    if n == 0:
        return
    count(m, SLABS_SCANNED, n)
    moved = <int64_t> p.base.pages
    zs_compact(p)
    mm_charge(m, (moved - <int64_t> p.base.pages) * m.p.c_page_copy)


cdef void shrink_compressed(machine_t *m, int priority) noexcept nogil:
    """One round of reclaim at the shrinkers of compressed memory. What they free does not count as reclaimed."""
    cdef zswap_t *z = zswap_of(m)
    cdef int i
    if z != NULL and not z.is_zbud:
        if m.p.zswap_shrinker and not m.v61:
            zswap_shrinker(m, z, priority)
        zs_shrinker(m, &z.zs, priority, &z.compact_deferred)
        m.zswap_pool_pages = <int64_t> z.pool.pages
    for i in range(1, m.nr_zrams + 1):
        zs_shrinker(m, &zram_number(m, i).pool, priority, &zram_number(m, i).compact_deferred)


# ---- zram -----------------------------------------------------------------------------------------------

cdef inline bint selected(int64_t select, const zram_slot_t *s) noexcept nogil:
    # both conditions where both are asked for (huge_idle)
    return (select != 0 and (s.flags & ZRAM_IDLE or not select & ZRAM_SELECT_IDLE)
            and (s.flags & ZRAM_HUGE or not select & ZRAM_SELECT_HUGE))


cdef void zram_write_out(machine_t *m, zram_t *z, uint32_t at) noexcept nogil:
    """writeback_store: one page, uncompressed, and waits for it."""
    cdef zhandle_t handle = z.table[at].handle
    cdef uint32_t block = z.next_block
    cdef ns_t done
    z.next_block += 1
    if not z.table[at].flags & ZRAM_HUGE:
        m.now += z.conf.decompress_ns[1 if z.table[at].flags & ZRAM_RECOMPRESSED else 0]
    done = blk_submit(&m.devs[z.conf.backing], IO_WRITE, IO_DETACHED, 0, block, m.now)
    note_io(m, done)
    z.stat.bd_writes += 1
    m.ops.sleep(m, done - m.now, -1)
    if z.table[at].handle == handle and z.table[at].flags & ZRAM_STORED:
        zram_moved_out(m, z, at, block)


cdef void zram_daemon(machine_t *m, zram_t *z) noexcept nogil:
    cdef uint32_t at, now
    cdef zram_slot_t *s
    while True:
        m.ops.sleep(m, z.conf.period, -1)
        for at in range(1, z.nslots + 1):
            s = &z.table[at]
            if not s.flags & ZRAM_STORED or s.flags & (ZRAM_SAME | ZRAM_WB):
                continue
            now = <uint32_t> (m.now // NS_PER_SEC)
            if now >= s.used + z.conf.idle_after:
                s.flags |= ZRAM_IDLE
            if not s.flags & (ZRAM_RECOMPRESSED | ZRAM_INCOMPRESSIBLE) and selected(z.conf.recompress, s):
                zram_recompress(m, z, at)
                mm_charge(m, 0)
            # a page that somebody took back meanwhile is not there any more
            if s.flags & ZRAM_STORED and not s.flags & (ZRAM_SAME | ZRAM_WB) and selected(z.conf.writeback, s):
                zram_write_out(m, z, at)


# ---- store ----------------------------------------------------------------------------------------------

cdef void store_write_cluster(machine_t *m, zram_t *z) noexcept nogil:
    """Writes the oldest pages that fit into one cluster, compressed, none across two blocks."""
    cdef uint32_t[4 * STORE_CLUSTER] taken, block
    cdef zhandle_t[4 * STORE_CLUSTER] handle
    cdef uint32_t at = z.oldest, pages = 0, room = 0
    cdef int n = 0, i
    cdef ns_t done = m.now
    while at and n < 4 * STORE_CLUSTER:
        if z.table[at].length > room:
            if pages == STORE_CLUSTER:
                break
            pages += 1
            room = PAGE_SIZE
        room -= z.table[at].length
        taken[n] = at
        handle[n] = z.table[at].handle
        block[n] = z.next_block + pages - 1
        n += 1
        at = z.table[at].newer
    for i in range(<int> pages):
        done = blk_submit(&m.devs[z.conf.backing], IO_WRITE, IO_DETACHED, 0, z.next_block + <uint32_t> i, m.now)
        note_io(m, done)
    z.next_block += pages
    z.stat.bd_writes += pages
    m.ops.sleep(m, done - m.now, -1)
    for i in range(n):
        if z.table[taken[i]].handle == handle[i] and z.table[taken[i]].flags & ZRAM_STORED:
            zram_moved_out(m, z, taken[i], block[i])


cdef void store_worker(machine_t *m, zram_t *z) noexcept nogil:
    while True:
        while <int64_t> z.pool.base.pages <= z.conf.limit_pages or z.oldest == 0:
            m.ops.sleep(m, -1, -1)
        while <int64_t> z.pool.base.pages > z.conf.limit_pages * 9 // 10 and z.oldest:
            store_write_cluster(m, z)


cdef void zshrink_main(machine_t *m, int owner) noexcept nogil:
    """Life of a worker: of zswap (0), or of zram device number `owner`."""
    if owner == 0:
        zswap_worker(m)
    elif zram_number(m, owner).conf.store:
        store_worker(m, zram_number(m, owner))
    else:
        zram_daemon(m, zram_number(m, owner))


cdef int compressed_verify(machine_t *m) except -1:
    """All compressed memory, and that nr_zspages counts the frames of its pools. Raises AssertionError."""
    cdef int i
    cdef int64_t pages = m.zswap_pool_pages - m.zbud_pages
    zswap_verify(m)
    zram_verify(m)
    for i in range(1, m.nr_zrams + 1):
        pages += <int64_t> zram_number(m, i).pool.base.pages
    if pages != global_node_stat(m, NR_ZSPAGES):
        raise AssertionError(f"pools hold {pages} frames, nr_zspages is {global_node_stat(m, NR_ZSPAGES)}")
    return 0
