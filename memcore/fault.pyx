"""Page faults: what an access the hardware cannot complete turns into.

    none, anonymous     the zero page on a read, a zeroed frame on a write
    none, file          page cache, by fault-around, readahead or a read of its own
    swap entry          swap cache, or a read of the slot with its neighbours
    read-only, written  reuse in place, or copy
"""
from .buddy cimport per_cpu_pages_t, zone_t
from .debug cimport mm_prefetchw, mm_unlikely
from .filemap cimport filemap_lookup, filemap_t
from .frames cimport free_frame
from .list cimport lru_list_add, lru_list_t
from .lruvec cimport LRU_ACTIVE_ANON, LRU_INACTIVE_ANON, LRU_UNEVICTABLE
from .machine cimport count, lru_add_drain, lru_add_to, lru_batch_add, machine_t, mm_charge
from .mm cimport VM_FILE, VM_LOCKED, VM_SHARED, VM_WRITE, find_vma, mm_t, update_hiwater_rss, vma_t
from .node cimport node_t
from .numa cimport numa_hint_fault
from .page cimport (PG_ACTIVE, PG_ANON, PG_EXCLUSIVE, PG_KERNEL, PG_LOCKED, PG_LRU, PG_MLOCKED, PG_READAHEAD, PG_SWAPBACKED,
                    PG_SWAPCACHE, PG_UNEVICTABLE, PG_WORKINGSET, PG_WRITEBACK, page_t)
from .page_alloc cimport GFP_KERNEL, GFP_USER, alloc_pages, count_allocated, pcp_may_give
from .pagetable cimport PTE_AHEAD, pte_table_missing
from .pageout cimport (page_put, swap_is_inline, swap_put, swap_read_direct, try_to_free_swap, wait_on_page,
                       workingset_refault)
from .placement cimport task_zonelist, vma_zonelist
from .pcp cimport pcp_pop
from .pte cimport PTE_DIRTY, PTE_PRESENT, PTE_PROTNONE, PTE_SWAP, PTE_WRITE, PTE_YOUNG, pte_mkpresent, pte_pfn
from .readahead cimport filemap_fault
from .rmap cimport munlock_page, page_add_rmap, page_remove_rmap
from .swap_state cimport swapin_readahead
from .swapcopy cimport copy_in, drop_slot, swap_is_copy
from .swapfile cimport SWP_EXCLUSIVE, SWP_HAS_CACHE, SWP_SHADOW, SWP_WORKINGSET, swp_slot_t, vm_swap_full
from .thread cimport LAT_MINOR, LAT_SWAP_IN, STALL_SWAP_IN, thread_t
from .types cimport (MM_EAGAIN, MM_EFAULT, MM_EINTR, MM_OK, NIL, PTRS_PER_TABLE, ns_t, pfn_t, pte_t, swp_t,
                     uint16_t, uint32_t, uint64_t, vpn_t)
from .vmstat cimport (NR_ANON_PAGES, NR_INACTIVE_ANON, NR_MLOCK, NR_PAGE_TABLE_PAGES, PGFAULT, PGMAJFAULT, PGREUSE,
                      SWAP_RA_HIT, UNEVICTABLE_PGS_CULLED)
from .writeback cimport account_page_dirtied, balance_dirty_pages_ratelimited
from .zonelist cimport zonelist_t

cdef enum:
    VMA_RA_HITS_MAX = 63


cdef int pte_alloc(machine_t *m, thread_t *t, mm_t *mm, vpn_t vpn) noexcept nogil:
    """Makes sure the leaf table of `vpn` exists: a frame the kernel spends on it."""
    cdef uint64_t leaf = vpn // PTRS_PER_TABLE
    cdef pfn_t pfn
    if mm.pt.leaf[leaf]:
        return MM_OK
    pfn = alloc_table(m, t, mm)
    if pfn == NIL:
        return MM_EINTR
    mm.pt.leaf[leaf] = pfn
    leaf //= PTRS_PER_TABLE
    if mm.pt.middle[leaf] == NIL:
        pfn = alloc_table(m, t, mm)
        if pfn == NIL:
            return MM_EINTR
        mm.pt.middle[leaf] = pfn
    return MM_OK


cdef pfn_t alloc_table(machine_t *m, thread_t *t, mm_t *mm) noexcept nogil:
    cdef int gfp = GFP_KERNEL
    cdef const zonelist_t *zl = task_zonelist(m, t, &gfp)
    cdef pfn_t pfn = alloc_pages(m, zl, gfp, 0)
    if pfn:
        m.frames[pfn].flags = PG_KERNEL
        m.nodes[m.zones[m.frames[pfn].zone].nid].stat[NR_PAGE_TABLE_PAGES] += 1
        mm.pt.nr_tables += 1
    return pfn


cdef inline void set_present(machine_t *m, mm_t *mm, vpn_t vpn, pfn_t pfn, uint64_t flags) noexcept nogil:
    mm.pt.ptes[vpn] = pte_mkpresent(pfn, m.zones[m.frames[pfn].zone].nid, flags | PTE_YOUNG)


cdef inline void map_new(machine_t *m, mm_t *mm, vma_t *vma, vpn_t vpn, pfn_t pfn, uint64_t flags) noexcept nogil:
    # a new anonymous page gets its PTE and its place in the lists (page_add_new_anon_rmap, folio_add_lru_vma)
    cdef page_t *p = &m.frames[pfn]
    cdef zone_t *z = &m.zones[p.zone]
    cdef node_t *n = &m.nodes[z.nid]
    cdef int lru = LRU_ACTIVE_ANON if p.flags & PG_ACTIVE else LRU_INACTIVE_ANON
    mm.pt.ptes[vpn] = pte_mkpresent(pfn, z.nid, flags | PTE_YOUNG)
    p.mapcount = 1
    mm.rss_anon += 1
    update_hiwater_rss(mm)
    n.stat[NR_ANON_PAGES] += 1
    if mm_unlikely(vma.flags & VM_LOCKED):
        # straight to the unevictable list
        p.flags |= PG_MLOCKED | PG_UNEVICTABLE
        p.mlock_count = 1
        n.stat[NR_MLOCK] += 1
        count(m, UNEVICTABLE_PGS_CULLED, 1)
        lru = LRU_UNEVICTABLE
    lru_add_to(m, z, n, pfn, lru)
    if m.nr_cpus > 1:
        lru_batch_add(m, pfn)


cdef inline void init_anon(page_t *p, mm_t *mm, vpn_t vpn, uint32_t more, int mapcount) noexcept nogil:
    # a frame that now holds page `vpn` of an address space, and of no other; `more`: further flags
    p.flags = PG_ANON | PG_SWAPBACKED | PG_EXCLUSIVE | more
    p.mapcount = <uint16_t> mapcount
    p.owner = <uint32_t> mm.id
    p.index = <uint32_t> vpn
    p.swap = 0
    p.aux = 0
    p.mlock_count = 0
    p.pins = 0


cdef int anon_page(machine_t *m, thread_t *t, mm_t *mm, vma_t *vma, vpn_t vpn, pfn_t *out) noexcept nogil:
    """A new anonymous frame for `vpn`, not mapped yet."""
    cdef int gfp = GFP_USER
    cdef const zonelist_t *zl = vma_zonelist(m, t, mm, vma, vpn, &gfp)
    cdef pfn_t pfn = alloc_pages(m, zl, gfp, 0)
    if pfn == NIL:
        return MM_EINTR
    init_anon(&m.frames[pfn], mm, vpn, 0, 0)
    out[0] = pfn
    return MM_OK


cdef int do_anonymous_page(machine_t *m, thread_t *t, mm_t *mm, vma_t *vma, vpn_t vpn, bint write) noexcept nogil:
    cdef pfn_t pfn = NIL
    if not write:
        # the shared zero page: frame 0 in our numbering, on node 0 like the kernel's image
        mm.pt.ptes[vpn] = PTE_PRESENT | PTE_YOUNG
        mm_charge(m, m.p.c_zero_page_fault)
        return MM_OK
    if anon_page(m, t, mm, vma, vpn, &pfn) != MM_OK:
        return MM_EINTR
    map_new(m, mm, vma, vpn, pfn, PTE_WRITE | PTE_DIRTY)
    mm_charge(m, m.p.c_anon_fault)
    return MM_OK


cdef uint64_t do_anonymous_run(machine_t *m, thread_t *t, mm_t *mm, const uint32_t *rec, uint64_t n, ns_t each,
                               ns_t until) noexcept nogil:
    """First stores to pages of one anonymous VMA, of which each needs nothing but a frame off the CPU's list: what
    alloc_pages and do_anonymous_page do for each, with one look at VMA, watermark, clock and counters for all.

    `rec`: the next n records of the task, the first of which has missed; `each`: what one fault and its access take;
    `until`: when somebody else's turn comes. Returns how many were dealt with, 0 if the first is another case.
    """
    cdef vma_t *vma = find_vma(mm, rec[0] & 0x7fffffff)
    cdef const zonelist_t *zl = &m.zonelists[t.nid]
    cdef zone_t *z = &m.zones[zl.zones[0]]
    cdef per_cpu_pages_t *pcp = &z.pcp[m.cpu]
    cdef node_t *node = &m.nodes[z.nid]
    cdef lru_list_t *lru = &node.lruvec.lists[LRU_INACTIVE_ANON]
    cdef pte_t *pte
    cdef pfn_t pfn
    cdef vpn_t vpn
    cdef uint64_t k = 0, ahead = n - PTE_AHEAD if n > PTE_AHEAD else 0
    if (vma == NULL or vma.flags & (VM_FILE | VM_LOCKED | VM_WRITE) != VM_WRITE or vma.policy >= 0 or mm.policy >= 0
            or not pcp_may_give(m, zl, z)):
        return 0
    # the list need not grow either
    n = min(n, <uint64_t> pcp.count, <uint64_t> (lru.cap - lru.used), <uint64_t> max(m.budget, 0),
            <uint64_t> (max(until - m.now - 1, 0) // each))
    while k < n:
        if k < ahead:
            mm_prefetchw(&mm.pt.ptes[rec[k + PTE_AHEAD] & 0x7fffffff])
        vpn = rec[k] & 0x7fffffff
        pte = &mm.pt.ptes[vpn]
        if (not rec[k] >> 31 or vpn < vma.start or vpn >= vma.end or pte[0] or pte_table_missing(&mm.pt, vpn)):
            break
        pfn = pcp_pop(pcp)
        init_anon(&m.frames[pfn], mm, vpn, PG_LRU, 1)
        lru_list_add(lru, m.frames, pfn)
        if m.nr_cpus > 1:
            lru_batch_add(m, pfn)
        pte[0] = pte_mkpresent(pfn, z.nid, PTE_WRITE | PTE_DIRTY | PTE_YOUNG)
        k += 1
    if k == 0:
        return 0
    pcp.free_count >>= min(k, 31)
    count_allocated(m, z, k)
    count(m, PGFAULT, k)
    node.stat[NR_ANON_PAGES] += k
    node.stat[NR_INACTIVE_ANON] += k
    z.nr_lru[LRU_INACTIVE_ANON] += k
    mm.rss_anon += k
    update_hiwater_rss(mm)
    t.min_flt += k
    m.now += <ns_t> k * each
    return k


# ---- swap -----------------------------------------------------------------------------------------------

cdef inline int swapin_direct(machine_t *m, thread_t *t, mm_t *mm, vma_t *vma, vpn_t vpn, bint write,
                              bint copies) noexcept nogil:
    """A page that nobody else uses, from a synchronous device: past the swap cache, and the slot is free at once.
    MM_EAGAIN if the slot changed, or its page has to be read from a disk after all."""
    cdef pte_t pte = mm.pt.ptes[vpn]
    cdef swp_t slot = pte_pfn(pte)
    cdef swp_slot_t *s = &m.swap.slots[slot]
    cdef pfn_t pfn = NIL
    cdef uint64_t writable
    if anon_page(m, t, mm, vma, vpn, &pfn) != MM_OK:
        return MM_EINTR
    if (mm.pt.ptes[vpn] != pte or s.flags & SWP_HAS_CACHE or s.count != 1
            or not copies and not swap_read_direct(m, slot, pfn)):
        free_frame(m, pfn)
        return MM_EAGAIN
    if copies:
        copy_in(m)
    count(m, PGMAJFAULT, 1)
    if s.flags & SWP_SHADOW:
        workingset_refault(m, pfn, s.value, s.node, s.flags & SWP_WORKINGSET != 0)
    if copies:
        drop_slot(m, slot)
    else:
        swap_put(m, slot)
    mm.swapents -= 1
    writable = vma.flags & VM_WRITE != 0 and (not m.v61 or write)
    map_new(m, mm, vma, vpn, pfn, PTE_WRITE * writable | PTE_DIRTY * (writable & write))
    mm_charge(m, m.p.c_major_fault)
    return MM_OK


cdef int do_swap_page(machine_t *m, thread_t *t, mm_t *mm, vma_t *vma, vpn_t vpn, bint write,
                      bint *major) noexcept nogil:
    cdef pte_t pte = mm.pt.ptes[vpn]
    cdef swp_t slot = pte_pfn(pte)
    cdef swp_slot_t *s = &m.swap.slots[slot]
    cdef pfn_t pfn
    cdef page_t *p
    cdef uint64_t flags
    cdef bint exclusive, copies, retry = False
    if s.flags & SWP_HAS_CACHE:
        pfn = s.value
        vma.swap_ra_last = vpn  # where the scan has got to (lookup_swap_cache)
        if m.frames[pfn].flags & PG_READAHEAD and not m.frames[pfn].flags & PG_WRITEBACK:
            m.frames[pfn].flags &= ~PG_READAHEAD
            count(m, SWAP_RA_HIT, 1)
            if vma.swap_ra_hits < VMA_RA_HITS_MAX:
                vma.swap_ra_hits += 1
            m.swap_ra_hits += 1
    else:
        major[0] = True
        t.fault_kind = LAT_SWAP_IN
        copies = swap_is_copy(m)
        if s.count == 1 and (copies or m.swap.nr_synchronous and swap_is_inline(m, slot)):
            return swapin_direct(m, t, mm, vma, vpn, write, copies)
        pfn = swapin_readahead(m, mm, vma, vpn, slot, &retry)
        if pfn == NIL:
            return MM_EINTR if t.killed else MM_EAGAIN
        count(m, PGMAJFAULT, 1)
    p = &m.frames[pfn]
    if p.flags & PG_LOCKED:
        if t.fault_kind < LAT_SWAP_IN:
            t.fault_kind = LAT_SWAP_IN
            retry = True
        if wait_on_page(m, pfn, STALL_SWAP_IN) != MM_OK:
            return MM_EINTR if t.killed else MM_EAGAIN
        if retry and m.v61:
            # the lock was dropped while the read ran: entered, and counted, again
            count(m, PGFAULT, 1)
        if mm.pt.ptes[vpn] != pte or not p.flags & PG_SWAPCACHE or p.swap != slot:
            return MM_EAGAIN
    if write:
        lru_add_drain(m)  # the batch's reference must not hide that the page is ours alone
    # this PTE gives up its reference on the slot; the page may give up the slot itself
    exclusive = s.count == 1 and (s.flags & SWP_EXCLUSIVE or p.flags & PG_EXCLUSIVE or p.mapcount == 0)
    s.count -= 1
    mm.swapents -= 1
    p.owner = <uint32_t> mm.id if p.mapcount == 0 else p.owner
    p.index = <uint32_t> vpn
    if vm_swap_full(&m.swap) or vma.flags & VM_LOCKED or write and exclusive and p.mapcount == 0:
        try_to_free_swap(m, pfn)
    flags = 0
    if exclusive:
        p.flags |= PG_EXCLUSIVE
        if vma.flags & VM_WRITE and (write or not m.v61):
            flags = PTE_WRITE
    else:
        p.flags &= ~PG_EXCLUSIVE
    if write and flags & PTE_WRITE:
        flags |= PTE_DIRTY
    page_add_rmap(m, mm, pfn)
    set_present(m, mm, vpn, pfn, flags)
    mm_charge(m, m.p.c_major_fault)
    if write and not flags & PTE_WRITE and mm.pt.ptes[vpn] & PTE_PRESENT:
        return do_wp_page(m, t, mm, vma, vpn)
    return MM_OK


# ---- copy on write --------------------------------------------------------------------------------------

cdef int do_wp_page(machine_t *m, thread_t *t, mm_t *mm, vma_t *vma, vpn_t vpn) noexcept nogil:
    """A store to a page mapped read-only."""
    cdef pte_t pte = mm.pt.ptes[vpn]
    cdef pfn_t old = pte_pfn(pte)
    cdef pfn_t pfn = NIL
    cdef page_t *p
    if not vma.flags & VM_WRITE:
        return MM_EFAULT
    if old:
        p = &m.frames[old]
        if vma.flags & VM_SHARED:
            mm.pt.ptes[vpn] = pte | PTE_WRITE | PTE_DIRTY | PTE_YOUNG
            count(m, PGREUSE, 1)
            account_page_dirtied(m, m.files[p.owner], old)
            mm_charge(m, m.p.c_wp_reuse)
            balance_dirty_pages_ratelimited(m, m.files[vma.file].disk)
            return MM_OK
        if p.flags & PG_ANON and (p.flags & PG_EXCLUSIVE or p.mapcount == 1 and reusable(m, p)):
            if not p.flags & PG_EXCLUSIVE:
                try_to_free_swap(m, old)
                p.flags |= PG_EXCLUSIVE
                p.owner = <uint32_t> mm.id
            mm.pt.ptes[vpn] = pte | PTE_WRITE | PTE_DIRTY | PTE_YOUNG
            count(m, PGREUSE, 1)
            mm_charge(m, m.p.c_wp_reuse)
            return MM_OK
        p.pins += 1
    if anon_page(m, t, mm, vma, vpn, &pfn) != MM_OK:
        if old:
            m.frames[old].pins -= 1
        return MM_EINTR
    if old:
        m.frames[old].pins -= 1
    if mm.pt.ptes[vpn] != pte and (mm.pt.ptes[vpn] | PTE_YOUNG) != (pte | PTE_YOUNG):
        free_frame(m, pfn)
        return MM_EAGAIN
    if old:
        if vma.flags & VM_LOCKED:
            munlock_page(m, &m.frames[old], old)
        page_remove_rmap(m, mm, old)
        if m.frames[old].mapcount == 0 and m.frames[old].flags & PG_ANON and not slot_wanted(m, old):
            page_put(m, old)
    map_new(m, mm, vma, vpn, pfn, PTE_WRITE | PTE_DIRTY)
    mm_charge(m, m.p.c_cow_fault)
    return MM_OK


cdef inline bint reusable(machine_t *m, page_t *p) noexcept nogil:
    # nobody else can reach it: no other PTE refers to its slot
    return not p.flags & PG_SWAPCACHE or m.swap.slots[p.swap].count == 0 and not p.flags & PG_WRITEBACK


cdef inline bint slot_wanted(machine_t *m, pfn_t pfn) noexcept nogil:
    cdef page_t *p = &m.frames[pfn]
    return p.flags & PG_SWAPCACHE and m.swap.slots[p.swap].count > 0


# ---- files ----------------------------------------------------------------------------------------------

cdef bint do_fault_around(machine_t *m, mm_t *mm, vma_t *vma, vpn_t vpn) noexcept nogil:
    """Maps what is cached in the aligned window around the fault; True if the faulting page is now mapped."""
    cdef filemap_t *f = m.files[vma.file]
    cdef uint64_t win = m.p.fault_around_pages
    cdef uint64_t lo = max(vpn // win * win, vma.start, vpn // PTRS_PER_TABLE * PTRS_PER_TABLE)
    cdef uint64_t hi = min(lo + win, vma.end, (vpn // PTRS_PER_TABLE + 1) * PTRS_PER_TABLE)
    cdef uint64_t v, index
    cdef pfn_t pfn
    for v in range(lo, hi):
        index = vma.pgoff + v - vma.start
        if index >= f.npages:
            break
        if mm.pt.ptes[v]:
            continue
        pfn = filemap_lookup(f, index)
        if pfn == NIL or m.frames[pfn].flags & (PG_LOCKED | PG_READAHEAD):
            continue
        if vma.ra.mmap_miss and (m.v61 or not m.frames[pfn].flags & PG_WORKINGSET):
            vma.ra.mmap_miss -= 1
        page_add_rmap(m, mm, pfn)
        set_present(m, mm, v, pfn, 0)
        m.now += m.p.c_map_page
    return mm.pt.ptes[vpn] & PTE_PRESENT != 0


cdef int do_file_fault(machine_t *m, thread_t *t, mm_t *mm, vma_t *vma, vpn_t vpn, bint write,
                       bint *major) noexcept nogil:
    cdef uint64_t index = vma.pgoff + vpn - vma.start
    cdef filemap_t *f = m.files[vma.file]
    cdef pfn_t pfn, copy = NIL
    cdef int err = MM_OK
    if write and not vma.flags & VM_WRITE:
        return MM_EFAULT
    if not write and m.p.fault_around_pages > 1 and do_fault_around(m, mm, vma, vpn):
        mm_charge(m, m.p.c_file_minor_fault)
        return MM_OK
    pfn = filemap_fault(m, vma, index, major, &err)
    if pfn == NIL:
        return err
    if mm.pt.ptes[vpn]:
        return MM_EAGAIN
    if write and not vma.flags & VM_SHARED:
        m.frames[pfn].pins += 1
        err = anon_page(m, t, mm, vma, vpn, &copy)
        m.frames[pfn].pins -= 1
        if err != MM_OK:
            return err
        if mm.pt.ptes[vpn]:
            free_frame(m, copy)
            return MM_EAGAIN
        map_new(m, mm, vma, vpn, copy, PTE_WRITE | PTE_DIRTY)
        mm_charge(m, m.p.c_cow_fault)
        return MM_OK
    page_add_rmap(m, mm, pfn)
    set_present(m, mm, vpn, pfn, PTE_WRITE | PTE_DIRTY if write else 0)
    if write:
        account_page_dirtied(m, f, pfn)
        balance_dirty_pages_ratelimited(m, f.disk)
    mm_charge(m, m.p.c_file_minor_fault)
    return MM_OK


# ---- dispatcher -----------------------------------------------------------------------------------------

cdef int handle_mm_fault(machine_t *m, thread_t *t, mm_t *mm, vpn_t vpn, bint write) noexcept nogil:
    """Makes page `vpn` accessible to a load or store of the running thread.

    MM_OK, MM_EFAULT (no such page, or not writable), or MM_EINTR (the thread was killed).
    """
    cdef vma_t *vma = find_vma(mm, vpn)
    cdef pte_t pte
    cdef int rc
    cdef bint major = False
    if vma == NULL:
        return MM_EFAULT
    t.fault_kind = LAT_MINOR
    count(m, PGFAULT, 1)
    while True:
        if pte_alloc(m, t, mm, vpn) != MM_OK:
            return MM_EINTR
        pte = mm.pt.ptes[vpn]
        if pte == 0:
            if vma.flags & VM_FILE:
                rc = do_file_fault(m, t, mm, vma, vpn, write, &major)
            else:
                rc = do_anonymous_page(m, t, mm, vma, vpn, write)
        elif pte & PTE_SWAP:
            rc = do_swap_page(m, t, mm, vma, vpn, write, &major)
        elif pte & PTE_PROTNONE:
            rc = numa_hint_fault(m, t, mm, vma, vpn)
            pte = mm.pt.ptes[vpn]
            if not pte & PTE_PRESENT or write and not pte & PTE_WRITE:
                # the access is tried again, and faults again
                count(m, PGFAULT, 1)
                rc = MM_EAGAIN
            elif write:
                mm.pt.ptes[vpn] = pte | PTE_DIRTY
        elif write and not pte & PTE_WRITE:
            rc = do_wp_page(m, t, mm, vma, vpn)
        else:
            mm.pt.ptes[vpn] = pte | PTE_YOUNG | (PTE_DIRTY if write else 0)
            rc = MM_OK
        if rc == MM_EAGAIN:
            continue
        if rc == MM_EINTR and not t.killed:
            # a reserve allocation failed without anybody being killed: try again
            continue
        if rc == MM_OK:
            if major:
                t.maj_flt += 1
            else:
                t.min_flt += 1
        return rc
