# From a page to the PTEs that map it: young bits, unmapping, cleaning. (mm/rmap.c)
#
# An anonymous page knows its address space and page number; after a fork the relatives that share it hold
# it at the same number, so a walk visits the ring of relatives. A file page asks the address spaces that
# map its file.
from .debug cimport MM_BUG_ON
from .machine cimport machine_t, mod_node
from .mm cimport VM_RECLAIM_MATTERS, mm_t
from .page cimport PG_ANON, page_t
from .pte cimport PTE_YOUNG
from .types cimport pfn_t, pte_t, uint32_t, uint64_t
from .vmstat cimport NR_ANON_PAGES, NR_MAPPED

cdef int page_referenced_slow(machine_t *m, pfn_t pfn, uint32_t *vm_flags) noexcept nogil
cdef bint try_to_unmap(machine_t *m, pfn_t pfn) noexcept nogil
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
cdef void munlock_page(machine_t *m, page_t *p, pfn_t pfn) noexcept nogil


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
    if mm.rss_anon + mm.rss_file > mm.hiwater_rss:
        mm.hiwater_rss = mm.rss_anon + mm.rss_file


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
