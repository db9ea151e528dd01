"""Reverse mapping: the walks behind rmap.pxd.

VMAs read sequentially (MADV_SEQUENTIAL) give no recency; since 6.2 neither do randomly read ones.
"""
from .debug cimport MM_BUG_ON
from .filemap cimport filemap_t
from .machine cimport count, lru_add, lru_del, machine_t, mod_node
from .mm cimport (VM_EXEC, VM_FILE, VM_LOCKED, VM_RAND_READ, VM_RECLAIM_MATTERS, VM_SEQ_READ, VM_SHARED,
                  VM_UNMAPPED, find_vma, mm_t, vma_t)
from .page cimport (PG_ANON, PG_DIRTY, PG_EXCLUSIVE, PG_LRU, PG_MLOCKED, PG_SWAPBACKED, PG_SWAPCACHE, PG_UNEVICTABLE,
                    page_t)
from .pte cimport PTE_DIRTY, PTE_WRITE, PTE_YOUNG, pte_mapped, pte_mkpresent, pte_mkswap, pte_pfn
from .swapfile cimport SWP_EXCLUSIVE
from .types cimport pfn_t, pte_t, uint32_t, uint64_t
from .vmstat cimport NR_MLOCK, UNEVICTABLE_PGS_MUNLOCKED, UNEVICTABLE_PGS_RESCUED

ctypedef struct walk_t:              # one step of a walk over the mappings of a page
    pte_t *pte
    mm_t *mm
    vma_t *vma
    int mapper                       # position among the file's mappers
    int vma_at
    int left                         # mappings still to be found


cdef void walk_start(machine_t *m, pfn_t pfn, walk_t *w) noexcept nogil:
    w.left = m.frames[pfn].mapcount
    w.mm = NULL
    w.vma = NULL
    w.mapper = 0
    w.vma_at = 0


cdef bint walk_next(machine_t *m, pfn_t pfn, walk_t *w) noexcept nogil:
    """Finds the next PTE that maps the page."""
    cdef page_t *p = &m.frames[pfn]
    cdef filemap_t *f
    cdef vma_t *v
    cdef pte_t *pte
    cdef int steps = 0
    if w.left == 0:
        return False
    if p.flags & PG_ANON:
        while steps <= m.nr_mms:
            steps += 1
            w.mm = m.mms[p.owner] if w.mm == NULL else m.mms[w.mm.family_next]
            if not w.mm.alive or p.index >= w.mm.pt.npages:
                continue
            pte = &w.mm.pt.ptes[p.index]
            if pte_mapped(pte[0]) and pte_pfn(pte[0]) == pfn:
                w.pte = pte
                w.vma = find_vma(w.mm, p.index) if w.mm.any_flags & VM_RECLAIM_MATTERS else NULL
                w.left -= 1
                return True
        return False
    f = m.files[p.owner]
    while w.mapper < f.nr_mappers:
        w.mm = m.mms[f.mappers[w.mapper]]
        while w.mm.alive and w.vma_at < w.mm.nr_vmas:
            v = &w.mm.vmas[w.vma_at]
            w.vma_at += 1
            if (not v.flags & VM_FILE or v.file != p.owner or v.flags & VM_UNMAPPED or p.index < v.pgoff
                    or p.index - v.pgoff >= v.end - v.start):
                continue
            pte = &w.mm.pt.ptes[v.start + p.index - v.pgoff]
            if pte_mapped(pte[0]) and pte_pfn(pte[0]) == pfn:
                w.pte = pte
                w.vma = v
                w.left -= 1
                return True
        w.mapper += 1
        w.vma_at = 0
    return False


cdef int page_referenced_slow(machine_t *m, pfn_t pfn, uint32_t *vm_flags) noexcept nogil:
    cdef walk_t w
    cdef int refs = 0
    cdef uint32_t ignored = VM_SEQ_READ if m.v61 else VM_SEQ_READ | VM_RAND_READ
    walk_start(m, pfn, &w)
    while walk_next(m, pfn, &w):
        if w.vma != NULL and w.vma.flags & VM_LOCKED:
            vm_flags[0] |= VM_LOCKED
            return refs
        if w.pte[0] & PTE_YOUNG:
            w.pte[0] &= ~<uint64_t> PTE_YOUNG
            if w.vma == NULL or not w.vma.flags & ignored:
                refs += 1
                if w.vma != NULL:
                    vm_flags[0] |= w.vma.flags & VM_EXEC
    return refs


cdef void remap_page(machine_t *m, pfn_t old, pfn_t new) noexcept nogil:
    """Migration: every PTE of `old` now maps `new` (whose metadata are a copy already)."""
    cdef walk_t w
    walk_start(m, old, &w)
    while walk_next(m, old, &w):
        w.pte[0] = pte_mkpresent(new, m.zones[m.frames[new].zone].nid,
                                 w.pte[0] & (PTE_WRITE | PTE_YOUNG | PTE_DIRTY))
        if m.frames[old].flags & PG_ANON and w.left == 0:
            return


cdef bint try_to_unmap_slow(machine_t *m, pfn_t pfn) noexcept nogil:
    """try_to_unmap by a walk over whatever may map the page."""
    cdef page_t *p = &m.frames[pfn]
    cdef walk_t w
    cdef bint lazyfree = p.flags & (PG_ANON | PG_SWAPBACKED) == PG_ANON
    walk_start(m, pfn, &w)
    while walk_next(m, pfn, &w):
        if w.vma != NULL and w.vma.flags & VM_LOCKED:
            return False
        if w.pte[0] & PTE_DIRTY:
            p.flags |= PG_DIRTY
            if p.flags & PG_ANON and w.mm.versions != NULL:
                w.mm.versions[p.index] += 1
        if lazyfree:
            if p.flags & PG_DIRTY:
                p.flags |= PG_SWAPBACKED
                return False
            w.pte[0] = 0
        elif p.flags & PG_ANON:
            MM_BUG_ON(not (p.flags & PG_SWAPCACHE))
            w.pte[0] = pte_mkswap(p.swap)
            m.swap.slots[p.swap].count += 1
            if p.flags & PG_EXCLUSIVE:
                m.swap.slots[p.swap].flags |= SWP_EXCLUSIVE
            w.mm.swapents += 1
        else:
            w.pte[0] = 0
        page_remove_rmap(m, w.mm, pfn)
    return p.mapcount == 0


cdef int page_mkclean(machine_t *m, pfn_t pfn) noexcept nogil:
    """Before writeback: PTEs become clean and read-only, so the next store faults. Returns how many were."""
    cdef walk_t w
    cdef int cleaned = 0
    walk_start(m, pfn, &w)
    while walk_next(m, pfn, &w):
        if w.vma.flags & VM_SHARED and w.pte[0] & (PTE_DIRTY | PTE_WRITE):
            w.pte[0] &= ~<uint64_t> (PTE_DIRTY | PTE_WRITE)
            cleaned += 1
    return cleaned


cdef void munlock_page(machine_t *m, page_t *p, pfn_t pfn) noexcept nogil:
    """The last locked VMA let go of the page: it may be evicted again."""
    if not p.flags & PG_MLOCKED:
        return
    p.mlock_count = p.mlock_count - 1 if p.mlock_count else 0
    if p.mlock_count:
        return
    mod_node(m, pfn, NR_MLOCK, -1)
    count(m, UNEVICTABLE_PGS_MUNLOCKED, 1)
    if p.flags & PG_LRU:
        lru_del(m, pfn)
        p.flags &= ~<uint32_t> (PG_MLOCKED | PG_UNEVICTABLE)
        lru_add(m, pfn)
        count(m, UNEVICTABLE_PGS_RESCUED, 1)
    else:
        p.flags &= ~<uint32_t> (PG_MLOCKED | PG_UNEVICTABLE)
