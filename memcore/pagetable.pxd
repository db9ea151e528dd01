# Page table of one address space.
#
# PTEs lie in one flat array over the task's page numbers; the host commits it 4 KiB (= one leaf table of
# 512 PTEs) at a time when a leaf is first touched, so the host's own page table is the upper levels of
# the radix tree. The leaf tables themselves are accounted: `leaf[i]` is the frame that the simulated
# kernel spent on the i-th table, 0 while it has none.
from .types cimport PTRS_PER_TABLE, int64_t, pfn_t, pte_t, uint64_t, vpn_t

cdef enum:
    PTE_AHEAD = 40               # accesses whose PTEs are fetched ahead: a run over them waits for none

ctypedef struct page_table_t:
    pte_t *ptes
    pfn_t *leaf                  # frame of each leaf table
    pfn_t *middle                # frame of each PMD table (512 leaves)
    uint64_t npages
    uint64_t nleaves
    uint64_t nmiddle
    int64_t nr_tables            # frames in use as tables

cdef int pagetable_init(page_table_t *pt, uint64_t npages) except -1
cdef int pagetable_resize(page_table_t *pt, uint64_t npages) except -1
cdef void pagetable_free(page_table_t *pt) noexcept nogil


cdef inline bint pte_table_missing(const page_table_t *pt, vpn_t vpn) noexcept nogil:
    return pt.leaf[vpn // PTRS_PER_TABLE] == 0
