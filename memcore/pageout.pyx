"""Page cache and swap cache: entries, shadows, reads, writes and their completion.

A frame read from disk is locked until its read ends; one under writeback is not free until its write ends.
What its last user gives up meanwhile becomes an orphan and is freed by whoever holds it.
Sources: mm/filemap.c, mm/swap_state.c, mm/page_io.c, mm/vmscan.c (pageout, __remove_mapping).
"""
from libc.stdlib cimport malloc

from .blkdev cimport (IO_BIO_WRITE, IO_PAGE_READ, IO_PAGE_WRITE, IO_READ, IO_SWAP_WRITE, IO_WRITE, blk_submit,
                      blk_transfer, blkdev_t)
from .content cimport CONTENT_ZERO, content_flags, content_of_write
from .debug cimport MM_BUG_ON
from .filemap cimport filemap_set, filemap_t
from .frames cimport free_frame
from .lruvec cimport lru_note_cost
from .machine cimport (NR_SG_POOLS, SLAB_BIO, SLAB_SGPOOL, count, folio_add_lru, lru_del, lruvec_page_state, machine_t,
                       memstall_enter, memstall_leave, mod_node, note_io, page_node)
from .node cimport node_t
from .page cimport (PG_ACTIVE, PG_ANON, PG_DIRTY, PG_ISOLATED, PG_LOCKED, PG_LRU, PG_ORPHAN, PG_RECLAIM,
                    PG_SWAPBACKED, PG_SWAPCACHE, PG_WORKINGSET, PG_WRITEBACK, page_t)
from .pte cimport PTE_PRESENT, PTE_SHADOW, PTE_WORKINGSET, shadow_pack
from .slab cimport bios_change, drop_buffers, slab_change, xa_nodes_change
from .swapfile cimport (SWP_HAS_CACHE, SWP_SHADOW, SWP_WORKINGSET, SWP_ZERO, swap_area_of, swap_area_t,
                        swap_node_unref, swap_slot_free, swp_slot_t)
from .thread cimport MAX_SEGMENTS, PLUG_FLUSH_PAGES, PLUG_PAGES, PLUG_REQUESTS, thread_t
from .types cimport MM_EINTR, MM_OK, pfn_t, swp_t, uint32_t, uint64_t, uint8_t
from .vmstat cimport (NR_FILE_PAGES, NR_VMSCAN_WRITE, NR_WRITTEN, PGPGIN, PGPGOUT, PSWPIN, PSWPOUT, SWPIN_ZERO,
                      SWPOUT_ZERO, WORKINGSET_ACTIVATE_ANON, WORKINGSET_REFAULT_ANON, WORKINGSET_RESTORE_ANON)
from .workingset cimport workingset_eviction, workingset_test_recent
from .writeback cimport account_page_cleaned, end_writeback, start_page_writeback, write_file_page
from .zram cimport zram_in_memory, zram_number, zram_read, zram_slot_free_notify, zram_t, zram_write
from .zswap cimport zswap_invalidate, zswap_load, zswap_store


cdef void workingset_refault(machine_t *m, pfn_t pfn, uint32_t age, int nid, bint workingset) noexcept nogil:
    """An evicted page is back in a new frame (not yet on a list): activate it if it left too early. `nid` is the node
    that it left; 6.1 takes that also for the one it has come to."""
    cdef page_t *p = &m.frames[pfn]
    cdef bint file = not p.flags & PG_SWAPBACKED
    cdef int k = 1 if file else 0
    cdef node_t *left = &m.nodes[nid]
    cdef node_t *mine = page_node(m, pfn)
    cdef node_t *n = left if m.v61 else mine
    n.stat[WORKINGSET_REFAULT_ANON + k] += 1
    if not workingset_test_recent(&left.lruvec, lruvec_page_state(m, left), age, file, m.swap.nr_free > 0):
        return
    p.flags |= PG_ACTIVE
    n.lruvec.nonresident_age += 1
    n.stat[WORKINGSET_ACTIVATE_ANON + k] += 1
    if workingset:
        p.flags |= PG_WORKINGSET
        lru_note_cost(&mine.lruvec, file, 1, 0, m.v61)
        n.stat[WORKINGSET_RESTORE_ANON + k] += 1


cdef void add_to_page_cache(machine_t *m, filemap_t *f, uint64_t index, pfn_t pfn, bint whole_write) noexcept nogil:
    """A fresh frame becomes page `index` of the file and enters the LRU (filemap_add_folio).

    `whole_write`: about to be overwritten completely, which is no refault.
    """
    cdef page_t *p = &m.frames[pfn]
    cdef uint64_t old = f.slots[index]
    p.flags = 0
    p.owner = f.id
    p.index = <uint32_t> index
    p.mapcount = 0
    p.aux = 0
    p.mlock_count = 0
    p.pins = 0
    xa_nodes_change(m, filemap_set(f, index, (<uint64_t> pfn << 32) | PTE_PRESENT))
    f.nrpages += 1
    mod_node(m, pfn, NR_FILE_PAGES, 1)
    if old & PTE_SHADOW and not whole_write:
        workingset_refault(m, pfn, <uint32_t> (old >> 32), <int> ((old >> 8) & 0xff), old & PTE_WORKINGSET != 0)
    folio_add_lru(m, pfn)


cdef inline void read_page(machine_t *m, int disk, pfn_t pfn, uint64_t pos) noexcept nogil:
    # fills a frame from position `pos` of a device: it is locked until then, or filled now by a synchronous one
    cdef blkdev_t *d = &m.devs[disk]
    if d.synchronous:
        m.now = blk_transfer(d, IO_READ, m.now)
        if m.frames[pfn].flags & PG_LOCKED:
            end_io(m, IO_PAGE_READ, pfn)     # readahead locks before it reads, and somebody may wait already
        return
    m.frames[pfn].flags |= PG_LOCKED
    note_io(m, blk_submit(d, IO_READ, IO_PAGE_READ, pfn, pos, m.now))


cdef void read_file_page(machine_t *m, filemap_t *f, pfn_t pfn) noexcept nogil:
    """Starts filling a page-cache frame from the device."""
    count(m, PGPGIN, 4)
    read_page(m, f.disk, pfn, ((<uint64_t> f.id) << 40) + m.frames[pfn].index)


cdef void swapin_add(machine_t *m, swp_t slot, pfn_t pfn, uint32_t owner, uint32_t vpn) noexcept nogil:
    """A fresh frame enters the swap cache for `slot` and the LRU (__read_swap_cache_async)."""
    cdef swp_slot_t s = m.swap.slots[slot]
    cdef page_t *p = &m.frames[pfn]
    p.flags = PG_ANON | PG_SWAPBACKED
    p.owner = owner
    p.index = vpn
    p.mapcount = 0
    p.aux = 0
    p.mlock_count = 0
    p.pins = 0
    cache_slot(m, page_node(m, pfn), pfn, slot)
    if s.flags & SWP_SHADOW:
        workingset_refault(m, pfn, s.value, s.node, s.flags & SWP_WORKINGSET != 0)
    folio_add_lru(m, pfn)


cdef void swap_readpage(machine_t *m, swp_t slot, pfn_t pfn) noexcept nogil:
    """Starts reading a slot into its swap-cache frame; zero pages complete at once."""
    cdef swp_slot_t *s = &m.swap.slots[slot]
    if s.flags & SWP_ZERO:
        count(m, SWPIN_ZERO, 1)
        return
    if m.zswap != NULL and zswap_load(m, slot, pfn, True):
        return
    read_area(m, swap_area_of(&m.swap, slot), slot, pfn)


cdef inline void read_area(machine_t *m, const swap_area_t *a, swp_t slot, pfn_t pfn) noexcept nogil:
    cdef zram_t *z
    count(m, PSWPIN, 1)
    # 6.1 hands a page to a synchronous device without a request (bdev_read_page), so no block layer counts it
    if not (a.synchronous and m.v61):
        count(m, PGPGIN, 4)
    if a.zram == 0:
        read_page(m, a.disk, pfn, (<uint64_t> 1 << 62) + slot)
        return
    z = zram_number(m, a.zram)
    if not zram_read(m, z, slot):
        read_page(m, z.conf.backing, pfn, z.table[slot - z.base + 1].block)


cdef bint swap_read_direct(machine_t *m, swp_t slot, pfn_t pfn) noexcept nogil:
    """Reads such a slot into a frame outside the swap cache. False if it needs a disk by now."""
    cdef swap_area_t *a = swap_area_of(&m.swap, slot)
    if m.swap.slots[slot].flags & SWP_ZERO:
        count(m, SWPIN_ZERO, 1)
        return True
    if m.zswap != NULL and zswap_load(m, slot, pfn, False):
        return True
    if a.zram and not zram_in_memory(zram_number(m, a.zram), slot):
        return False
    read_area(m, a, slot, pfn)
    return True


cdef inline void free_slot(machine_t *m, swp_t slot) noexcept nogil:
    """The last user of a slot is gone: so is what was stored for it (swap_range_free)."""
    cdef int zram
    if m.zswap != NULL:
        zswap_invalidate(m, slot)
    if m.nr_zrams:
        zram = swap_area_of(&m.swap, slot).zram
        if zram:
            zram_slot_free_notify(m, zram_number(m, zram), slot)
    swap_slot_free(&m.swap, slot)


cdef void delete_from_swap_cache(machine_t *m, pfn_t pfn) noexcept nogil:
    """Breaks slot <-> frame; the slot is freed when no PTE refers to it."""
    cdef page_t *p = &m.frames[pfn]
    cdef swp_slot_t *s = &m.swap.slots[p.swap]
    MM_BUG_ON(s.value != pfn)
    s.flags = <uint8_t> (s.flags & ~SWP_HAS_CACHE)
    s.value = 0
    xa_nodes_change(m, swap_node_unref(&m.swap, p.swap))
    if s.count == 0:
        free_slot(m, p.swap)
    p.flags &= ~PG_SWAPCACHE
    p.swap = 0
    count_swapcache(page_node(m, pfn), -1)


cdef bint try_to_free_swap(machine_t *m, pfn_t pfn) noexcept nogil:
    """Drops the slot of a page that nobody else has swapped out; the page becomes dirty."""
    cdef page_t *p = &m.frames[pfn]
    if not p.flags & PG_SWAPCACHE or p.flags & PG_WRITEBACK or m.swap.slots[p.swap].count:
        return False
    delete_from_swap_cache(m, pfn)
    p.flags |= PG_DIRTY
    return True


cdef void swap_put(machine_t *m, swp_t slot) noexcept nogil:
    """One PTE less refers to the slot (swap_free, free_swap_and_cache)."""
    cdef swp_slot_t *s = &m.swap.slots[slot]
    cdef page_t *p
    MM_BUG_ON(s.count == 0)
    s.count -= 1
    if s.count:
        return
    if not s.flags & SWP_HAS_CACHE:
        if s.flags & SWP_SHADOW:
            xa_nodes_change(m, swap_node_unref(&m.swap, slot))
        free_slot(m, slot)
        return
    p = &m.frames[s.value]
    if p.mapcount == 0:
        page_put(m, s.value)


cdef void submit_swap_write(machine_t *m, pfn_t pfn, int kind) noexcept nogil:
    cdef swp_t slot = m.frames[pfn].swap
    note_io(m, blk_submit(&m.devs[swap_area_of(&m.swap, slot).disk], IO_WRITE, kind, pfn,
                          (<uint64_t> 1 << 62) + slot, m.now))


cdef int sg_pool(int pages) noexcept nogil:
    """Which list a request of so many pages needs besides the two entries in the request itself, one of which points to
    it (sg_alloc_table_chained): 1 for up to 8 entries, 2 for up to 16 and so on; 0: none."""
    cdef int pool = 1, entries = 8
    if pages <= 2:
        return 0
    while entries < pages - 1 and pool < NR_SG_POOLS:
        entries <<= 1
        pool += 1
    return pool


cdef void start_plug(machine_t *m) noexcept nogil:
    """blk_start_plug: until `finish_plug` the running thread's swap writes are gathered.

    Which pages are still isolated when their write ends depends on it: those are not rotated to the tail.
    """
    cdef thread_t *t = m.curr
    if t.plug == NULL:
        t.plug = <uint32_t *> malloc(PLUG_PAGES * sizeof(uint32_t))
    t.plugged = t.plug != NULL


cdef inline bint joins(const machine_t *m, pfn_t before, pfn_t pfn, int pages) noexcept nogil:
    # does a page belong to the request that has so many pages, `before` being its last?
    return m.frames[pfn].swap == m.frames[before].swap + 1 and pages < MAX_SEGMENTS


cdef void add_to_plug(machine_t *m, thread_t *t, pfn_t pfn) noexcept nogil:
    """blk_mq_submit_bio under a plug: joins the last request or begins one, and may flush before that."""
    if 0 < t.plug_count < PLUG_PAGES and joins(m, t.plug[t.plug_count - 1], pfn, t.plug_last_pages):
        t.plug_last_pages += 1
    else:
        if t.plug_requests >= PLUG_REQUESTS or t.plug_last_pages >= PLUG_FLUSH_PAGES or t.plug_count == PLUG_PAGES:
            flush_plug(m)
        t.plug_requests += 1
        t.plug_last_pages = 1
    t.plug[t.plug_count] = pfn
    t.plug_count += 1


cdef void flush_plug(machine_t *m) noexcept nogil:
    cdef thread_t *t = m.curr
    cdef int i, pages = 0, pool
    for i in range(t.plug_count):
        pages += 1
        if i + 1 < t.plug_count and joins(m, t.plug[i], t.plug[i + 1], pages):
            submit_swap_write(m, t.plug[i], IO_SWAP_WRITE)
            continue
        pool = sg_pool(pages)
        if pool:
            slab_change(m, SLAB_SGPOOL + pool - 1, 1)
        submit_swap_write(m, t.plug[i], IO_SWAP_WRITE + pool)
        pages = 0
    t.plug_count = 0
    t.plug_requests = 0
    t.plug_last_pages = 0


cdef void finish_plug(machine_t *m) noexcept nogil:
    m.curr.plugged = False
    flush_plug(m)


cdef int pageout(machine_t *m, node_t *n, pfn_t pfn) noexcept nogil:
    """Starts writing a dirty, unmapped page of node `n` that reclaim wants (vmscan.c pageout)."""
    cdef page_t *p = &m.frames[pfn]
    p.flags |= PG_RECLAIM
    if not p.flags & PG_ANON:
        n.stat[NR_VMSCAN_WRITE] += 1
        write_file_page(m, m.files[p.owner], pfn)
        return PAGE_SUCCESS
    p.flags &= ~PG_DIRTY
    if not p.flags & PG_SWAPCACHE:
        return PAGE_KEEP
    if m.swap.slots[p.swap].count == 0:
        # its users are gone: nothing to write
        delete_from_swap_cache(m, pfn)
        p.flags &= ~PG_RECLAIM
        return PAGE_CLEAN
    n.stat[NR_VMSCAN_WRITE] += 1
    swap_writepage(m, n, pfn)
    return PAGE_SUCCESS


cdef inline void swap_writepage(machine_t *m, node_t *n, pfn_t pfn) noexcept nogil:
    """Zero map, compressed tier or device, in this order (mm/page_io.c). Only a disk leaves it under writeback."""
    cdef page_t *p = &m.frames[pfn]
    cdef swp_slot_t *s = &m.swap.slots[p.swap]
    cdef uint32_t row = 0
    s.flags = <uint8_t> (s.flags & ~SWP_ZERO)
    if m.contents != NULL:
        row = content_of_write(m, pfn, p.swap)
        if content_flags(m, row) & CONTENT_ZERO and not m.v61:
            s.flags |= SWP_ZERO
            count(m, SWPOUT_ZERO, 1)
            m.now += m.p.c_same_filled
            p.flags &= ~PG_RECLAIM
            return
    if m.zswap != NULL and zswap_store(m, p.swap, row):
        if m.v61:
            n.stat[NR_WRITTEN] += 1
        p.flags &= ~PG_RECLAIM
        return
    write_slot(m, n, pfn, row)


cdef void swap_write_device(machine_t *m, node_t *n, pfn_t pfn, uint32_t row) noexcept nogil:
    """Writes a page of the swap cache to its slot. A full zram leaves it dirty in memory."""
    write_slot(m, n, pfn, row)


cdef inline void write_slot(machine_t *m, node_t *n, pfn_t pfn, uint32_t row) noexcept nogil:
    cdef page_t *p = &m.frames[pfn]
    cdef swap_area_t *a = swap_area_of(&m.swap, p.swap)
    count(m, PSWPOUT, 1)
    if not (a.synchronous and m.v61):
        count(m, PGPGOUT, 4)
    if a.synchronous:
        n.stat[NR_WRITTEN] += 1
        p.flags &= ~PG_RECLAIM
        if a.zram == 0:
            m.now = blk_transfer(&m.devs[a.disk], IO_WRITE, m.now)
        elif zram_write(m, zram_number(m, a.zram), p.swap, row) != MM_OK:
            p.flags |= PG_DIRTY
        return
    start_page_writeback(m, pfn)
    slab_change(m, SLAB_BIO, 1)
    if m.curr and m.curr.plugged:
        add_to_plug(m, m.curr, pfn)
    else:
        submit_swap_write(m, pfn, IO_SWAP_WRITE)


cdef bint remove_mapping_slow(machine_t *m, node_t *n, pfn_t pfn) noexcept nogil:
    """remove_mapping of a page of a file, or of one whose slot nobody refers to any more."""
    cdef page_t *p = &m.frames[pfn]
    cdef filemap_t *f
    cdef uint32_t age
    if p.flags & PG_SWAPCACHE:
        delete_from_swap_cache(m, pfn)
        return True
    f = m.files[p.owner]
    drop_buffers(m, pfn)
    age = workingset_eviction(&n.lruvec)
    filemap_set(f, p.index, shadow_pack(age, n.nid, 0, p.flags & PG_WORKINGSET != 0))
    f.nrpages -= 1
    n.stat[NR_FILE_PAGES] -= 1
    return True


cdef void truncate_page(machine_t *m, filemap_t *f, pfn_t pfn) noexcept nogil:
    """Removes a page from the cache without a shadow and frees it (its mappings are gone)."""
    cdef page_t *p = &m.frames[pfn]
    account_page_cleaned(m, f, pfn)
    drop_buffers(m, pfn)
    xa_nodes_change(m, filemap_set(f, p.index, 0))
    f.nrpages -= 1
    mod_node(m, pfn, NR_FILE_PAGES, -1)
    page_put(m, pfn)


cdef void page_put(machine_t *m, pfn_t pfn) noexcept nogil:
    """The last user of a page is gone: free it, now or when its I/O has ended."""
    cdef page_t *p = &m.frames[pfn]
    if p.flags & (PG_LOCKED | PG_WRITEBACK | PG_ISOLATED) or p.pins:
        p.flags |= PG_ORPHAN
        return
    if p.flags & PG_SWAPCACHE:
        delete_from_swap_cache(m, pfn)
    if p.flags & PG_LRU:
        lru_del(m, pfn)
    free_frame(m, pfn)


cdef int wait_on_page(machine_t *m, pfn_t pfn, int cause) noexcept nogil:
    """Sleeps until the page's read has ended. MM_EINTR if the thread was killed meanwhile."""
    cdef page_t *p = &m.frames[pfn]
    cdef thread_t *t = m.curr
    cdef thread_t *w
    cdef int rc = MM_OK
    # Waiting for a page of the working set is what PSI calls a memory stall.
    cdef bint thrashing = p.flags & (PG_LOCKED | PG_WORKINGSET) == PG_LOCKED | PG_WORKINGSET
    p.pins += 1
    if thrashing:
        memstall_enter(m)
    while p.flags & PG_LOCKED:
        if t.killed:
            rc = MM_EINTR
            break
        t.wait_next = <int> p.aux
        p.aux = <uint32_t> t.id
        m.ops.io_wait(m, -1, cause)
        if p.flags & PG_LOCKED:
            # woken early: leave the page's queue
            if p.aux == 0:
                continue
            if p.aux == <uint32_t> t.id:
                p.aux = <uint32_t> t.wait_next
            else:
                w = m.threads[p.aux]
                while w.wait_next != t.id:
                    w = m.threads[w.wait_next]
                w.wait_next = t.wait_next
    if thrashing:
        memstall_leave(m)
    p.pins -= 1
    if p.flags & PG_ORPHAN and p.pins == 0:
        p.flags &= ~PG_ORPHAN
        page_put(m, pfn)
        rc = MM_EINTR
    return rc


cdef void wake_page_waiters(machine_t *m, pfn_t pfn) noexcept nogil:
    cdef page_t *p = &m.frames[pfn]
    cdef int id = <int> p.aux, after
    p.aux = 0
    while id:
        after = m.threads[id].wait_next
        m.ops.wake(m, m.threads[id])
        id = after


cdef void end_io(machine_t *m, int kind, pfn_t pfn) noexcept nogil:
    """A device finished a request. Runs in interrupt context: at the completion's own time."""
    cdef page_t *p = &m.frames[pfn]
    if kind == IO_PAGE_READ:
        p.flags &= ~PG_LOCKED
        if p.aux:
            wake_page_waiters(m, pfn)
    elif kind == IO_PAGE_WRITE:
        end_writeback(m, pfn)
    elif kind == IO_BIO_WRITE:
        end_writeback(m, pfn)
        bios_change(m, -1)
    elif kind >= IO_SWAP_WRITE:
        end_writeback(m, pfn)
        slab_change(m, SLAB_BIO, -1)
        if kind > IO_SWAP_WRITE:
            slab_change(m, SLAB_SGPOOL + kind - IO_SWAP_WRITE - 1, -1)
    else:
        return
    if p.flags & PG_ORPHAN and p.pins == 0:
        p.flags &= ~PG_ORPHAN
        page_put(m, pfn)
