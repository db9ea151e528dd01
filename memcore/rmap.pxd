# From a page to the PTEs that map it: young bits, unmapping, cleaning. (mm/rmap.c)
#
# An anonymous page knows its address space and page number; after a fork the relatives that share it hold
# it at the same number, so a walk visits the ring of relatives. A file page asks the address spaces that
# map its file.
from .debug cimport MM_BUG_ON
from .machine cimport machine_t, mod_node
from .mm cimport VM_RECLAIM_MATTERS, mm_t, update_hiwater_rss
from .page cimport PG_ANON, PG_DIRTY, PG_EXCLUSIVE, PG_SWAPCACHE, page_t
from .pte cimport PTE_DIRTY, PTE_YOUNG, pte_mapped, pte_mkswap, pte_pfn
from .swapfile cimport SWP_EXCLUSIVE, swp_slot_t
from .types cimport pfn_t, pte_t, uint32_t, uint64_t
from .vmstat cimport NR_ANON_PAGES, NR_MAPPED

cdef int page_referenced_slow(machine_t *m, pfn_t pfn, uint32_t *vm_flags) noexcept nogil
cdef bint try_to_unmap_slow(machine_t *m, pfn_t pfn) noexcept nogil
cdef void munlock_page(machine_t *m, page_t *p, pfn_t pfn) noexcept nogil
cdef int page_mkclean(machine_t *m, pfn_t pfn) noexcept nogil
cdef void remap_page(machine_t *m, pfn_t old, pfn_t new) noexcept nogil


cdef inline int page_referenced(machine_t *m, pfn_t pfn, uint32_t *vm_flags) noexcept nogil:
    # how many mappings used the page since the last look; clears their young bits. `vm_flags` gets the
    # union of VM_LOCKED and VM_EXEC of those that count
    cdef page_t *p = &m.frames[pfn]
    cdef mm_t *mm
    cdef pte_t *pte
    vm_flags[0] = 0
    if p.mapcount == 0:
        return 0
    if p.mapcount == 1 and p.flags & PG_ANON:
        mm = m.mms[p.owner]
        if not mm.any_flags & VM_RECLAIM_MATTERS:
            pte = &mm.pt.ptes[p.index]
            if pte[0] & PTE_YOUNG:
                pte[0] &= ~<uint64_t> PTE_YOUNG
                return 1
            return 0
    return page_referenced_slow(m, pfn, vm_flags)


cdef inline void page_add_rmap(machine_t *m, mm_t *mm, pfn_t pfn) noexcept nogil:
    # one more PTE maps the page: resident sets and nr_anon_pages / nr_mapped
    cdef page_t *p = &m.frames[pfn]
    p.mapcount += 1
    if p.flags & PG_ANON:
        mm.rss_anon += 1
        if p.mapcount == 1:
            mod_node(m, pfn, NR_ANON_PAGES, 1)
    else:
        mm.rss_file += 1
        if p.mapcount == 1:
            mod_node(m, pfn, NR_MAPPED, 1)
    update_hiwater_rss(mm)


cdef inline void page_remove_rmap(machine_t *m, mm_t *mm, pfn_t pfn) noexcept nogil:
    cdef page_t *p = &m.frames[pfn]
    MM_BUG_ON(p.mapcount == 0)
    p.mapcount -= 1
    if p.flags & PG_ANON:
        mm.rss_anon -= 1
        if p.mapcount == 0:
            mod_node(m, pfn, NR_ANON_PAGES, -1)
    else:
        mm.rss_file -= 1
        if p.mapcount == 0:
            mod_node(m, pfn, NR_MAPPED, -1)


cdef inline bint try_to_unmap(machine_t *m, pfn_t pfn) noexcept nogil:
    # Removes every mapping; anonymous ones become swap entries (the page is in swap cache) or, for clean MADV_FREE
    # pages, nothing. False if a mapping must stay: mlocked, or an MADV_FREE page found dirty. Here: the page is in
    # swap cache and mapped once, by whom it names, in an ordinary VMA.
    cdef page_t *p = &m.frames[pfn]
    cdef mm_t *mm
    cdef pte_t *pte
    cdef swp_slot_t *s
    if not p.flags & PG_SWAPCACHE or p.mapcount != 1:
        return try_to_unmap_slow(m, pfn)
    mm = m.mms[p.owner]
    pte = &mm.pt.ptes[p.index]
    if mm.any_flags & VM_RECLAIM_MATTERS or pte_pfn(pte[0]) != pfn or not pte_mapped(pte[0]):
        return try_to_unmap_slow(m, pfn)
    p.flags |= PG_DIRTY if pte[0] & PTE_DIRTY else 0
    if mm.versions != NULL and pte[0] & PTE_DIRTY:
        mm.versions[p.index] += 1
    pte[0] = pte_mkswap(p.swap)
    s = &m.swap.slots[p.swap]
    s.count += 1
    if p.flags & PG_EXCLUSIVE:
        s.flags |= SWP_EXCLUSIVE
    mm.swapents += 1
    page_remove_rmap(m, mm, pfn)
    return True
