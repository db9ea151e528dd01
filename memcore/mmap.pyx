"""What programs ask of their address space, page by page.

Ranges are [start, end) in pages of the task; holes are skipped, as the kernel's loops over VMAs do.
"""
from .fault cimport handle_mm_fault, pte_alloc
from .frames cimport free_frame
from .machine cimport count, lru_add, lru_del, machine_t, mm_charge, mod_node
from .mm cimport VM_FILE, VM_LOCKED, VM_RAND_READ, VM_SEQ_READ, VM_SHARED, VM_UNMAPPED, mm_t, vma_split, vma_t
from .page cimport (PG_ACTIVE, PG_ANON, PG_DIRTY, PG_EXCLUSIVE, PG_ISOLATED, PG_LOCKED, PG_LRU, PG_MLOCKED,
                    PG_REFERENCED, PG_SWAPBACKED, PG_SWAPCACHE, PG_UNEVICTABLE, PG_WORKINGSET, PG_WRITEBACK,
                    page_t)
from .pageout cimport delete_from_swap_cache, page_put, swap_put
from .pte cimport PTE_DIRTY, PTE_SWAP, PTE_WRITE, PTE_YOUNG, pte_mapped, pte_pfn
from .readahead cimport force_readahead, mark_page_accessed
from .records cimport (OP_COLD, OP_DONTNEED, OP_FREE, OP_MLOCK, OP_MMAP, OP_MUNLOCK, OP_MUNMAP, OP_NORMAL,
                       OP_PAGEOUT, OP_RANDOM, OP_SEQUENTIAL, OP_WILLNEED)
from .rmap cimport munlock_page, page_remove_rmap
from .shrink cimport reclaim_pages
from .swap_state cimport swapin_readahead_range
from .swapfile cimport SWP_EXCLUSIVE
from .thread cimport thread_t
from .types cimport MM_ENOMEM, MM_OK, NIL, SWAP_CLUSTER_MAX, int64_t, pfn_t, pte_t, uint32_t, uint64_t, vpn_t
from .vmstat cimport (NR_MLOCK, NR_PAGE_TABLE_PAGES, PGDEACTIVATE, PGLAZYFREE, UNEVICTABLE_PGS_CULLED,
                      UNEVICTABLE_PGS_MLOCKED)
from .writeback cimport account_page_dirtied


cdef void mlock_page(machine_t *m, page_t *p, pfn_t pfn) noexcept nogil:
    if p.flags & PG_MLOCKED:
        p.mlock_count += 1
        return
    if p.flags & PG_LRU:
        lru_del(m, pfn)
        p.flags = (p.flags | PG_MLOCKED | PG_UNEVICTABLE) & ~<uint32_t> PG_ACTIVE
        lru_add(m, pfn)
        count(m, UNEVICTABLE_PGS_CULLED, 1)
    else:
        p.flags |= PG_MLOCKED | PG_UNEVICTABLE
    p.mlock_count = 1
    mod_node(m, pfn, NR_MLOCK, 1)
    count(m, UNEVICTABLE_PGS_MLOCKED, 1)


cdef inline bint has_recency(machine_t *m, const vma_t *v) noexcept nogil:
    return not v.flags & (VM_SEQ_READ if m.v61 else VM_SEQ_READ | VM_RAND_READ)


cdef void zap_pte(machine_t *m, mm_t *mm, vma_t *v, vpn_t vpn) noexcept nogil:
    cdef pte_t pte = mm.pt.ptes[vpn]
    cdef pfn_t pfn
    cdef page_t *p
    mm.pt.ptes[vpn] = 0
    if pte & PTE_SWAP:
        mm.swapents -= 1
        swap_put(m, pte_pfn(pte))
        return
    pfn = pte_pfn(pte)
    if pfn == NIL:
        return
    p = &m.frames[pfn]
    if v.flags & VM_LOCKED:
        munlock_page(m, p, pfn)
    if not p.flags & PG_ANON:
        if pte & PTE_DIRTY and v.flags & VM_SHARED:
            account_page_dirtied(m, m.files[p.owner], pfn)
        if pte & PTE_YOUNG and has_recency(m, v):
            mark_page_accessed(m, pfn)
        page_remove_rmap(m, mm, pfn)
        return
    page_remove_rmap(m, mm, pfn)
    if p.mapcount == 0 and not (p.flags & PG_SWAPCACHE and m.swap.slots[p.swap].count):
        page_put(m, pfn)
    elif p.owner == <uint32_t> mm.id:
        # relatives find it through any living member of the family
        p.owner = <uint32_t> mm.family_next


cdef void zap_range(machine_t *m, mm_t *mm, vpn_t start, vpn_t end) noexcept nogil:
    """Removes every PTE of the range: anonymous memory is freed, file pages only unmapped."""
    cdef int i
    cdef vpn_t v, lo, hi
    cdef int64_t zapped = 0
    for i in range(mm.nr_vmas):
        lo = max(start, mm.vmas[i].start)
        hi = min(end, mm.vmas[i].end)
        v = lo
        while v < hi:
            if mm.pt.leaf[v >> 9] == NIL:
                v = (v | 511) + 1            # nothing was ever mapped in this table
                continue
            if mm.pt.ptes[v]:
                zap_pte(m, mm, &mm.vmas[i], v)
                zapped += 1
            v += 1
    if zapped:
        mm_charge(m, zapped * m.p.c_unmap_page)


cdef void madvise_free_pte(machine_t *m, mm_t *mm, vpn_t v) noexcept nogil:
    """MADV_FREE: the content may be thrown away as long as nobody writes again."""
    cdef pte_t pte = mm.pt.ptes[v]
    cdef pfn_t pfn = pte_pfn(pte)
    cdef page_t *p
    if pte & PTE_SWAP:
        mm.pt.ptes[v] = 0
        mm.swapents -= 1
        swap_put(m, pfn)
        return
    if not pte_mapped(pte) or pfn == NIL:
        return
    p = &m.frames[pfn]
    if not p.flags & PG_ANON or p.mapcount != 1 or p.flags & (PG_LOCKED | PG_WRITEBACK | PG_MLOCKED) or p.pins:
        return
    if p.flags & PG_SWAPCACHE:
        if m.swap.slots[p.swap].count:
            return
        delete_from_swap_cache(m, pfn)
    mm.pt.ptes[v] = pte & ~<uint64_t> (PTE_YOUNG | PTE_DIRTY)
    if p.flags & PG_LRU and p.flags & PG_SWAPBACKED:
        lru_del(m, pfn)
        p.flags &= ~<uint32_t> (PG_SWAPBACKED | PG_REFERENCED | PG_ACTIVE | PG_DIRTY)
        lru_add(m, pfn)
        count(m, PGLAZYFREE, 1)


cdef bint cold_pte(machine_t *m, mm_t *mm, vpn_t v) noexcept nogil:
    """MADV_COLD / PAGEOUT, first half: the page loses its references and its active state."""
    cdef pte_t pte = mm.pt.ptes[v]
    cdef pfn_t pfn = pte_pfn(pte)
    cdef page_t *p
    if not pte_mapped(pte) or pfn == NIL:
        return False
    p = &m.frames[pfn]
    if p.mapcount != 1 or not p.flags & PG_LRU or p.flags & PG_UNEVICTABLE:
        return False
    mm.pt.ptes[v] = pte & ~<uint64_t> PTE_YOUNG
    p.flags &= ~<uint32_t> PG_REFERENCED
    if p.flags & PG_ACTIVE:
        lru_del(m, pfn)
        p.flags = (p.flags | PG_WORKINGSET) & ~<uint32_t> PG_ACTIVE
        lru_add(m, pfn)
        count(m, PGDEACTIVATE, 1)
    return True


cdef void madvise_pageout(machine_t *m, mm_t *mm, vpn_t start, vpn_t end) noexcept nogil:
    cdef uint32_t[SWAP_CLUSTER_MAX] batch
    cdef int n = 0
    cdef vpn_t v
    cdef pfn_t pfn
    for v in range(start, end):
        if cold_pte(m, mm, v):
            pfn = pte_pfn(mm.pt.ptes[v])
            lru_del(m, pfn)
            m.frames[pfn].flags |= PG_ISOLATED
            batch[n] = pfn
            n += 1
        if n == SWAP_CLUSTER_MAX or n and v + 1 == end:
            reclaim_pages(m, batch, n)
            mm_charge(m, n * (m.p.c_reclaim_scan + m.p.c_reclaim_unmap))
            n = 0


cdef int lock_range(machine_t *m, thread_t *t, mm_t *mm, vma_t *v, bint lock) noexcept nogil:
    cdef vpn_t p
    cdef pte_t pte
    cdef vpn_t start = v.start, end = v.end
    cdef int rc
    if lock == (v.flags & VM_LOCKED != 0):
        return MM_OK
    if lock:
        # fault everything in first, then lock what is there
        for p in range(start, end):
            if not pte_mapped(mm.pt.ptes[p]) or pte_pfn(mm.pt.ptes[p]) == NIL:
                rc = handle_mm_fault(m, t, mm, p, not v.flags & VM_FILE)
                if rc != MM_OK:
                    return rc
        v.flags |= VM_LOCKED
        mm.any_flags |= VM_LOCKED
        mm.locked_vm += end - start
    else:
        v.flags &= ~<uint32_t> VM_LOCKED
        mm.locked_vm -= end - start
    for p in range(start, end):
        pte = mm.pt.ptes[p]
        if pte_mapped(pte) and pte_pfn(pte):
            if lock:
                mlock_page(m, &m.frames[pte_pfn(pte)], pte_pfn(pte))
            else:
                munlock_page(m, &m.frames[pte_pfn(pte)], pte_pfn(pte))
    return MM_OK


cdef int do_madvise(machine_t *m, thread_t *t, mm_t *mm, vpn_t start, vpn_t end, int op) noexcept nogil:
    """One range operation of a task: `op` is one of the OP_ codes from DONTNEED to MMAP."""
    cdef int i = 0, rc
    cdef vma_t *v
    cdef vpn_t lo, hi, p
    mm_charge(m, m.p.c_syscall)
    if vma_split(mm, start) < 0 or vma_split(mm, end) < 0:
        return MM_ENOMEM
    while i < mm.nr_vmas:
        v = &mm.vmas[i]
        i += 1
        lo = max(start, v.start)
        hi = min(end, v.end)
        if lo >= hi:
            continue
        if op == OP_MMAP:
            if v.flags & VM_UNMAPPED:
                v.flags &= ~<uint32_t> (VM_UNMAPPED | VM_LOCKED)
                mm.total_vm += hi - lo
            continue
        if v.flags & VM_UNMAPPED:
            continue
        if op == OP_DONTNEED:
            if not v.flags & VM_LOCKED:
                zap_range(m, mm, lo, hi)
        elif op == OP_MUNMAP:
            if v.flags & VM_LOCKED:
                mm.locked_vm -= hi - lo
            zap_range(m, mm, lo, hi)
            v.flags |= VM_UNMAPPED
            mm.total_vm -= hi - lo
        elif op == OP_FREE:
            if not v.flags & (VM_FILE | VM_LOCKED):
                for p in range(lo, hi):
                    madvise_free_pte(m, mm, p)
        elif op == OP_COLD:
            if not v.flags & VM_LOCKED:
                for p in range(lo, hi):
                    cold_pte(m, mm, p)
        elif op == OP_PAGEOUT:
            if not v.flags & VM_LOCKED:
                madvise_pageout(m, mm, lo, hi)
        elif op == OP_WILLNEED:
            if v.flags & VM_FILE:
                force_readahead(m, m.files[v.file], v.pgoff + lo - v.start, hi - lo)
            else:
                swapin_readahead_range(m, mm, v, lo, hi)
        elif op == OP_SEQUENTIAL or op == OP_RANDOM or op == OP_NORMAL:
            v.flags &= ~<uint32_t> (VM_SEQ_READ | VM_RAND_READ)
            if op == OP_SEQUENTIAL:
                v.flags |= VM_SEQ_READ
            elif op == OP_RANDOM:
                v.flags |= VM_RAND_READ
            mm.any_flags |= v.flags
        elif op == OP_MLOCK or op == OP_MUNLOCK:
            rc = lock_range(m, t, mm, v, op == OP_MLOCK)
            if rc != MM_OK:
                return rc
    return MM_OK


cdef int dup_mm(machine_t *m, thread_t *t, mm_t *parent, mm_t *child) noexcept nogil:
    """fork: anonymous memory becomes shared and read-only on both sides; file mappings refault later.

    The child's VMAs and (empty) page table exist already. Returns how many PTEs were copied.
    """
    cdef int i
    cdef vpn_t v
    cdef pte_t pte
    cdef page_t *p
    cdef int64_t copied = 0
    for i in range(parent.nr_vmas):
        for v in range(parent.vmas[i].start, parent.vmas[i].end):
            if parent.pt.ptes[v] == 0:
                continue
            if pte_alloc(m, t, child, v) != MM_OK:
                return <int> copied
            pte = parent.pt.ptes[v]
            if pte & PTE_SWAP:
                m.swap.slots[pte_pfn(pte)].count += 1
                m.swap.slots[pte_pfn(pte)].flags &= <unsigned char> ~SWP_EXCLUSIVE
                child.swapents += 1
            elif pte_pfn(pte):
                p = &m.frames[pte_pfn(pte)]
                if not p.flags & PG_ANON or parent.vmas[i].flags & VM_SHARED:
                    continue
                p.flags &= ~<uint32_t> PG_EXCLUSIVE
                p.mapcount += 1
                child.rss_anon += 1
                pte &= ~<uint64_t> PTE_WRITE
                parent.pt.ptes[v] = pte
                pte &= ~<uint64_t> PTE_YOUNG
            child.pt.ptes[v] = pte
            copied += 1
    child.family_next = parent.family_next
    parent.family_next = child.id
    return <int> copied


cdef void exit_mm(machine_t *m, mm_t *mm) noexcept nogil:
    """Frees everything an address space holds, its page tables last."""
    cdef uint64_t i
    cdef mm_t *r
    if not mm.alive:
        return
    if mm.nr_vmas:
        zap_range(m, mm, 0, mm.vmas[mm.nr_vmas - 1].end)
    mm.alive = False
    r = mm
    while m.mms[r.family_next] != mm:
        r = m.mms[r.family_next]
    r.family_next = mm.family_next
    mm.family_next = mm.id
    for i in range(mm.pt.nleaves):
        free_table(m, &mm.pt.leaf[i])
    for i in range(mm.pt.nmiddle):
        free_table(m, &mm.pt.middle[i])
    mm.pt.nr_tables = 0
    mm.total_vm = 0


cdef void free_table(machine_t *m, pfn_t *table) noexcept nogil:
    if table[0]:
        m.nodes[m.zones[m.frames[table[0]].zone].nid].stat[NR_PAGE_TABLE_PAGES] -= 1
        m.frames[table[0]].flags = 0
        free_frame(m, table[0])
        table[0] = NIL
