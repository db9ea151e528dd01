"""The clock hands: isolate pages from the tail of a list, decide the fate of each, put the rest back.

Pages are taken in batches of SWAP_CLUSTER_MAX. While a batch is out no other thread runs (the cost is
charged when it is back), so isolated pages are never met by anybody else.
"""

from libc.string cimport memcpy, memset

from .buddy cimport zone_t
from .debug cimport mm_prefetchw, mm_unlikely
from .frames cimport free_frame
from .list cimport lru_list_pop_tails, lru_list_t
from .lruvec cimport DEACTIVATE_ANON, DEACTIVATE_FILE, LRU_ACTIVE_ANON, LRU_ACTIVE_FILE, lru_note_cost
from .machine cimport count, lru_add, lru_add_drain, machine_t, mm_charge, mod_node
from .migrate cimport demote_page
from .mm cimport VM_EXEC, VM_LOCKED
from .node cimport PGDAT_DIRTY, PGDAT_WRITEBACK, node_t
from .page cimport (PG_ACTIVE, PG_ANON, PG_DIRTY, PG_HELD, PG_ISOLATED, PG_LOCKED, PG_LRU, PG_LRU_BATCH, PG_MLOCKED,
                    PG_ORPHAN, PG_RECLAIM, PG_REFERENCED, PG_SWAPBACKED, PG_SWAPCACHE, PG_UNEVICTABLE, PG_WORKINGSET,
                    PG_WRITEBACK, page_t)
from .pageout cimport (PAGE_CLEAN, PAGE_SUCCESS, add_to_swap, page_put, pageout, remove_mapping,
                       try_to_free_swap)
from .pte cimport PTE_YOUNG
from .rmap cimport page_referenced, try_to_unmap
from .swapcopy cimport copy_out, own_pte, swap_is_copy
from .swapfile cimport vm_swap_full
from .types cimport SWAP_CLUSTER_MAX, int64_t, ns_t, pfn_t, pte_t, uint32_t
from .vmstat cimport (NR_MLOCK, NR_VMSCAN_IMMEDIATE_RECLAIM, PGACTIVATE, PGDEACTIVATE, PGDEMOTE_DIRECT,
                      PGDEMOTE_KSWAPD, PGLAZYFREED, PGREFILL, PGSCAN_ANON, PGSCAN_DIRECT, PGSCAN_FILE,
                      PGSCAN_KSWAPD, PGSKIP_DMA, PGSTEAL_ANON, PGSTEAL_DIRECT, PGSTEAL_FILE, PGSTEAL_KSWAPD,
                      UNEVICTABLE_PGS_CULLED, UNEVICTABLE_PGS_MLOCKED)
from .writeback cimport wakeup_flusher_threads

cdef enum:
    NEXT_BATCHES = 2 * SWAP_CLUSTER_MAX

cdef enum folio_references:
    FOLIOREF_RECLAIM = 0
    FOLIOREF_RECLAIM_CLEAN = 1
    FOLIOREF_KEEP = 2
    FOLIOREF_ACTIVATE = 3

ctypedef struct reclaim_stat_t:
    int64_t nr_pageout
    int64_t nr_activate
    int64_t nr_unqueued_dirty
    int64_t nr_demoted
    int64_t nr_unmapped


cdef inline bint next_pages(const lru_list_t *l, pfn_t *next) noexcept nogil:
    # what comes after a batch that was taken off; False where the list or its ring ends. A copy, as the list may change
    # while this thread sleeps: its pages are fetched ahead and no more.
    if l.used < NEXT_BATCHES or l.cap - l.tail < NEXT_BATCHES:
        return False
    memcpy(next, &l.ring[l.tail], NEXT_BATCHES * sizeof(pfn_t))
    return True


cdef inline void prefetch_next(machine_t *m, const pfn_t *next, int i) noexcept nogil:
    # While page i of a batch is looked at: the PTE and slot of page i of the next batch, whose frame has
    # arrived by now, and a frame of the batch after that. One by one, as a burst would fill the CPU's queue.
    cdef const page_t *p = &m.frames[next[i]]
    mm_prefetchw(&m.frames[next[i + SWAP_CLUSTER_MAX]])
    if p.mapcount and p.flags & PG_ANON:
        mm_prefetchw(&m.mms[p.owner].pt.ptes[p.index])
    if p.flags & PG_SWAPCACHE:
        mm_prefetchw(&m.swap.slots[p.swap])


cdef int isolate_lru_pages(machine_t *m, node_t *n, int lru, int64_t nr_to_scan, scan_control_t *sc, pfn_t *out,
                           int64_t *nr_scanned) noexcept nogil:
    """Takes up to nr_to_scan (<= 32) pages off the tail. Pages of zones too high to help are passed over:
    they count as scanned but not against nr_to_scan, and go to the head of the list afterwards."""
    cdef lru_list_t *src = &n.lruvec.lists[lru]
    cdef int64_t scan = 0, total = 0, back = 0
    cdef int taken = 0, first, got, i
    cdef uint32_t left = src.count
    cdef pfn_t pfn
    cdef page_t *p
    cdef zone_t *z
    while scan < nr_to_scan and left:
        first = taken
        got = <int> min(nr_to_scan - scan, <int64_t> left)
        lru_list_pop_tails(src, &out[first], got)
        left -= got
        for i in range(first, first + got):
            pfn = out[i]
            p = &m.frames[pfn]
            z = &m.zones[p.zone]
            z.nr_lru[lru] -= 1
            if mm_unlikely(p.flags & PG_LRU_BATCH):
                back += 1
                lru_add(m, pfn)
                continue
            total += 1
            if mm_unlikely(z.idx > sc.reclaim_idx):
                # `left` bounds the walk, so putting it back at the head now equals the kernel's side list
                count(m, PGSKIP_DMA + z.idx, 1)
                back += 1
                lru_add(m, pfn)
                continue
            scan += 1
            if mm_unlikely(not sc.may_unmap and p.mapcount):
                back += 1
                lru_add(m, pfn)
                continue
            p.flags ^= PG_LRU | PG_ISOLATED
            out[taken] = pfn
            taken += 1
    n.stat[lru] -= taken + back
    nr_scanned[0] = total
    return taken


cdef inline void putback(machine_t *m, pfn_t pfn) noexcept nogil:
    cdef page_t *p = &m.frames[pfn]
    p.flags &= ~PG_ISOLATED
    if mm_unlikely(p.flags & (PG_ORPHAN | PG_MLOCKED)):
        if p.flags & PG_ORPHAN and not p.flags & (PG_LOCKED | PG_WRITEBACK) and p.pins == 0:
            p.flags &= ~PG_ORPHAN
            page_put(m, pfn)
            return
        if p.flags & PG_MLOCKED:
            p.flags = (p.flags | PG_UNEVICTABLE) & ~PG_ACTIVE
            count(m, UNEVICTABLE_PGS_CULLED, 1)
    lru_add(m, pfn)


cdef void putback_movable_page(machine_t *m, pfn_t pfn) noexcept nogil:
    """An isolated page that compaction could not move goes back. A function of its own: reclaim has putback inlined."""
    putback(m, pfn)


cdef int folio_check_references(machine_t *m, page_t *p, pfn_t pfn) noexcept nogil:
    """Second chance: the decision table of folio_check_references."""
    cdef uint32_t vm_flags = 0
    cdef int refs = page_referenced(m, pfn, &vm_flags)
    cdef bint referenced = p.flags & PG_REFERENCED != 0
    p.flags &= ~PG_REFERENCED
    if vm_flags & VM_LOCKED:
        # mapped since the area was locked: the lock is made up for here (mlock_vma_folio)
        p.flags |= PG_MLOCKED
        p.mlock_count = 1
        mod_node(m, pfn, NR_MLOCK, 1)
        count(m, UNEVICTABLE_PGS_MLOCKED, 1)
        return FOLIOREF_ACTIVATE
    if refs:
        p.flags |= PG_REFERENCED
        if referenced or refs > 1:
            return FOLIOREF_ACTIVATE
        if vm_flags & VM_EXEC and not p.flags & PG_SWAPBACKED:
            return FOLIOREF_ACTIVATE
        return FOLIOREF_KEEP
    if referenced and not p.flags & PG_SWAPBACKED:
        return FOLIOREF_RECLAIM_CLEAN
    return FOLIOREF_RECLAIM


cdef inline void set_active(machine_t *m, page_t *p, pfn_t pfn, reclaim_stat_t *st) noexcept nogil:
    # activate_locked: no candidate for swapping, so a scarce slot is better given back
    if p.flags & PG_SWAPCACHE and (vm_swap_full(&m.swap) or p.flags & PG_MLOCKED):
        try_to_free_swap(m, pfn)
    if not p.flags & PG_MLOCKED:
        p.flags |= PG_ACTIVE
        st.nr_activate += 1


cdef bint shrink_one(machine_t *m, node_t *n, pfn_t pfn, scan_control_t *sc, reclaim_stat_t *st,
                     bint ignore_references) noexcept nogil:
    """Decides one isolated page's fate. True: it is free now; False: it goes back, flags say where."""
    cdef page_t *p = &m.frames[pfn]
    cdef int refs = FOLIOREF_RECLAIM, r
    cdef bint file = not p.flags & PG_SWAPBACKED
    cdef bint dirty, writeback
    if mm_unlikely(p.flags & PG_LOCKED):
        return False
    sc.nr_scanned += 1
    if mm_unlikely(p.pins or p.flags & PG_MLOCKED or not sc.may_unmap and p.mapcount):
        return False
    if file and not p.flags & PG_ANON:
        dirty = p.flags & PG_DIRTY != 0
        writeback = p.flags & PG_WRITEBACK != 0
        sc.nr.dirty += dirty or writeback
        if dirty and not writeback:
            sc.nr.unqueued_dirty += 1
            st.nr_unqueued_dirty += 1
        if writeback and p.flags & PG_RECLAIM:
            sc.nr.congested += 1
    if p.flags & PG_WRITEBACK:
        if sc.is_kswapd and p.flags & PG_RECLAIM and n.flags & PGDAT_WRITEBACK:
            sc.nr.immediate += 1
        else:
            p.flags |= PG_RECLAIM
            sc.nr.writeback += 1
        set_active(m, p, pfn, st)
        return False
    if not ignore_references:
        refs = folio_check_references(m, p, pfn)
    if refs == FOLIOREF_ACTIVATE:
        set_active(m, p, pfn, st)
        return False
    if refs == FOLIOREF_KEEP:
        return False
    if p.flags & PG_HELD:
        # filemap_release_folio finds buffers in use
        set_active(m, p, pfn, st)
        return False
    if n.can_demote and not sc.no_demotion and demote_page(m, n, pfn):
        st.nr_demoted += 1
        return True
    if p.flags & PG_ANON and p.flags & PG_SWAPBACKED and not p.flags & PG_SWAPCACHE:
        if not sc.may_swap or not add_to_swap(m, n, pfn):
            set_active(m, p, pfn, st)
            return False
    if p.mapcount:
        st.nr_unmapped += 1
        if not try_to_unmap(m, pfn):
            set_active(m, p, pfn, st)
            return False
    if p.flags & PG_DIRTY:
        if file and not p.flags & PG_ANON and not (sc.is_kswapd and p.flags & PG_RECLAIM and n.flags & PGDAT_DIRTY):
            mod_node(m, pfn, NR_VMSCAN_IMMEDIATE_RECLAIM, 1)
            p.flags |= PG_RECLAIM
            set_active(m, p, pfn, st)
            return False
        if refs == FOLIOREF_RECLAIM_CLEAN or not sc.may_writepage:
            return False
        r = pageout(m, n, pfn)
        if r == PAGE_SUCCESS:
            st.nr_pageout += 1
            if p.flags & (PG_WRITEBACK | PG_DIRTY):
                return False
        elif r != PAGE_CLEAN:
            return False
    if p.flags & PG_ANON and not p.flags & PG_SWAPCACHE:
        # MADV_FREE page that stayed clean, or a swapped page whose users are gone
        if not p.flags & PG_SWAPBACKED:
            count(m, PGLAZYFREED, 1)
        free_frame_isolated(m, p, pfn)
        return True
    if not remove_mapping(m, n, pfn):
        return False
    free_frame_isolated(m, p, pfn)
    return True


cdef inline int shrink_own(machine_t *m, node_t *n, pfn_t pfn, reclaim_stat_t *st) noexcept nogil:
    """shrink_one in one piece for a page of a program's own, where swap is a copy (swapcopy.pxd): 1 if it is free now,
    0 if it goes back, -1 if it is another kind of page and nothing was done."""
    cdef page_t *p = &m.frames[pfn]
    cdef pte_t *pte = own_pte(m, p, pfn)
    cdef bint again
    if mm_unlikely(pte == NULL):
        return -1
    if pte[0] & PTE_YOUNG:
        # activated the second time; nobody can foresee which time it is, so no branch
        pte[0] ^= PTE_YOUNG
        again = p.flags & PG_REFERENCED != 0
        p.flags |= PG_REFERENCED | PG_ACTIVE * <uint32_t> again
        st.nr_activate += again
        return 0
    p.flags &= ~<uint32_t> PG_REFERENCED
    if mm_unlikely(not copy_out(m, n, p, pfn, pte)):
        p.flags |= PG_ACTIVE
        st.nr_activate += 1
        return 0
    st.nr_unmapped += 1
    st.nr_pageout += 1
    return 1


cdef inline void free_frame_isolated(machine_t *m, page_t *p, pfn_t pfn) noexcept nogil:
    p.flags &= ~(PG_ISOLATED | PG_ORPHAN)
    free_frame(m, pfn)


cdef int shrink_folio_list(machine_t *m, node_t *n, const lru_list_t *behind, pfn_t *batch, int taken,
                           scan_control_t *sc, reclaim_stat_t *st, bint ignore_references) noexcept nogil:
    """Decides the fate of isolated pages. Those that are not free now stay in `batch`, in their order; returns how
    many.

    `behind`: the list they come from, whose next pages are fetched meanwhile; None for pages picked by hand, whose
    time the caller charges. Else time passes page by page: writes may end while later pages are looked at.
    """
    cdef int64_t unmapped
    cdef ns_t cost, gone = m.p.c_reclaim_scan + m.p.c_reclaim_free + m.p.c_reclaim_unmap
    cdef pfn_t pfn
    cdef bint cached, freed
    cdef int i, kept = 0, done
    cdef pfn_t[NEXT_BATCHES] next
    cdef bint ahead = behind != NULL and next_pages(behind, next)
    cdef bint copies = (behind != NULL and swap_is_copy(m) and sc.may_swap and sc.may_unmap and sc.may_writepage
                        and (not n.can_demote or sc.no_demotion))
    for i in range(taken):
        if ahead:
            prefetch_next(m, next, i)
        if copies:
            done = shrink_own(m, n, batch[i], st)
            if done >= 0:
                sc.nr_scanned += 1
                batch[kept] = batch[i]
                kept += not done
                mm_charge(m, gone if done else m.p.c_reclaim_scan)
                continue
        unmapped = st.nr_unmapped
        pfn = batch[i]
        cached = m.frames[pfn].mapcount == 0 and not m.frames[pfn].flags & PG_ANON  # no page table to look at
        cost = m.p.c_reclaim_cache if cached else m.p.c_reclaim_scan
        freed = shrink_one(m, n, pfn, sc, st, ignore_references)
        batch[kept] = pfn
        kept += not freed
        if freed and not cached:
            cost += m.p.c_reclaim_free
        if st.nr_unmapped > unmapped:
            cost += m.p.c_reclaim_unmap
        if behind != NULL:
            mm_charge(m, cost)
    return kept


cdef int64_t shrink_inactive_list(machine_t *m, node_t *n, int lru, int64_t nr_to_scan,
                                  scan_control_t *sc) noexcept nogil:
    cdef pfn_t[SWAP_CLUSTER_MAX] batch
    cdef int64_t nr_scanned = 0, nr_reclaimed
    cdef int taken, kept, i
    cdef bint file = lru >= 2
    cdef reclaim_stat_t st = reclaim_stat_t(0, 0, 0, 0, 0)
    lru_add_drain(m)
    taken = isolate_lru_pages(m, n, lru, nr_to_scan, sc, batch, &nr_scanned)
    count(m, PGSCAN_KSWAPD if sc.is_kswapd else PGSCAN_DIRECT, nr_scanned)
    count(m, PGSCAN_FILE if file else PGSCAN_ANON, nr_scanned)
    if nr_scanned > taken:
        mm_charge(m, (nr_scanned - taken) * m.p.c_reclaim_skip)
    if taken == 0:
        return 0
    kept = shrink_folio_list(m, n, &n.lruvec.lists[lru], batch, taken, sc, &st, False)
    nr_reclaimed = taken - kept
    for i in range(kept):
        n.lruvec.nonresident_age += m.frames[batch[i]].flags & PG_ACTIVE != 0
        putback(m, batch[i])
    count(m, PGACTIVATE, st.nr_activate)
    count(m, PGSTEAL_KSWAPD if sc.is_kswapd else PGSTEAL_DIRECT, nr_reclaimed)
    count(m, PGSTEAL_FILE if file else PGSTEAL_ANON, nr_reclaimed)
    if st.nr_demoted:
        count(m, PGDEMOTE_KSWAPD if sc.is_kswapd else PGDEMOTE_DIRECT, st.nr_demoted)
    lru_note_cost(&n.lruvec, file, st.nr_pageout, nr_scanned - nr_reclaimed, m.v61)
    if st.nr_unqueued_dirty == taken:
        wakeup_flusher_threads(m)
    sc.nr.taken += taken
    if file:
        sc.nr.file_taken += taken
    if st.nr_unmapped:
        mm_charge(m, m.p.c_tlb_flush + m.p.c_tlb_flush_cpu * (m.nr_cpus - 1))
    return nr_reclaimed


cdef void shrink_active_list(machine_t *m, node_t *n, int lru, int64_t nr_to_scan, scan_control_t *sc) noexcept nogil:
    """Moves pages from the tail of an active list to the inactive one, referenced or not; only code that
    is being executed stays."""
    cdef pfn_t[SWAP_CLUSTER_MAX] batch
    cdef int64_t nr_scanned = 0, moved = 0, rotated = 0
    cdef int taken, i
    cdef bint file = lru >= 2
    cdef uint32_t vm_flags = 0
    cdef int refs
    cdef page_t *p
    cdef pfn_t[NEXT_BATCHES] next
    cdef bint ahead
    lru_add_drain(m)
    taken = isolate_lru_pages(m, n, lru, nr_to_scan, sc, batch, &nr_scanned)
    ahead = next_pages(&n.lruvec.lists[lru], next)
    count(m, PGREFILL, nr_scanned)
    for i in range(taken):
        if ahead:
            prefetch_next(m, next, i)
        p = &m.frames[batch[i]]
        if p.flags & PG_MLOCKED:
            continue
        refs = page_referenced(m, batch[i], &vm_flags)
        if refs and vm_flags & VM_EXEC and file:
            rotated += 1
            continue
        p.flags = (p.flags & ~PG_ACTIVE) | PG_WORKINGSET
        moved += 1
    # the kernel puts the active ones back first
    for i in range(taken):
        if m.frames[batch[i]].flags & PG_ACTIVE:
            n.lruvec.nonresident_age += 1
            putback(m, batch[i])
            batch[i] = 0
    for i in range(taken):
        if batch[i]:
            putback(m, batch[i])
    count(m, PGDEACTIVATE, moved)
    if not m.v61:
        lru_note_cost(&n.lruvec, file, 0, rotated, False)
    mm_charge(m, taken * m.p.c_reclaim_scan + (nr_scanned - taken) * m.p.c_reclaim_skip)


cdef int64_t shrink_list(machine_t *m, node_t *n, int lru, int64_t nr_to_scan, scan_control_t *sc) noexcept nogil:
    if lru == LRU_ACTIVE_ANON or lru == LRU_ACTIVE_FILE:
        if sc.may_deactivate & (DEACTIVATE_FILE if lru == LRU_ACTIVE_FILE else DEACTIVATE_ANON):
            shrink_active_list(m, n, lru, nr_to_scan, sc)
        else:
            sc.skipped_deactivate = True
        return 0
    return shrink_inactive_list(m, n, lru, nr_to_scan, sc)


cdef int64_t reclaim_pages(machine_t *m, pfn_t *pfns, int n) noexcept nogil:
    """MADV_PAGEOUT: reclaims isolated pages at once, whatever their references; the rest goes back."""
    cdef scan_control_t sc
    cdef reclaim_stat_t st = reclaim_stat_t(0, 0, 0, 0, 0)
    cdef int64_t freed = 0
    cdef int i, k, first = 0, nid, kept
    memset(&sc, 0, sizeof(sc))
    sc.may_writepage = True
    sc.may_unmap = True
    sc.may_swap = True
    sc.no_demotion = True
    sc.reclaim_idx = 3
    while first < n:
        # node by node
        nid = m.zones[m.frames[pfns[first]].zone].nid
        i = first
        while i < n and m.zones[m.frames[pfns[i]].zone].nid == nid:
            i += 1
        kept = shrink_folio_list(m, &m.nodes[nid], NULL, &pfns[first], i - first, &sc, &st, True)
        freed += i - first - kept
        for k in range(first, first + kept):
            putback(m, pfns[k])
        first = i
    count(m, PGACTIVATE, st.nr_activate)
    return freed
