"""Allocation of page tables. See pagetable.pxd for the layout."""

from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from .hostmem cimport host_free, host_zalloc
from .types cimport PTRS_PER_TABLE, pfn_t, pte_t, uint64_t


cdef inline size_t ptes_size(const page_table_t *pt) noexcept nogil:
    return (pt.nleaves * PTRS_PER_TABLE + 1) * sizeof(pte_t)


cdef int pagetable_init(page_table_t *pt, uint64_t npages) except -1:
    """Room for `npages` PTEs, all none. Host memory is committed as leaves are touched. Raises MemoryError."""
    cdef uint64_t leaves = (npages + PTRS_PER_TABLE - 1) // PTRS_PER_TABLE
    cdef uint64_t middle = (leaves + PTRS_PER_TABLE - 1) // PTRS_PER_TABLE
    pt.npages = npages
    pt.nleaves = leaves
    pt.nmiddle = middle
    pt.nr_tables = 0
    pt.ptes = <pte_t *> host_zalloc(ptes_size(pt))
    pt.leaf = <pfn_t *> calloc(leaves + 1, sizeof(pfn_t))
    pt.middle = <pfn_t *> calloc(middle + 1, sizeof(pfn_t))
    if pt.ptes == NULL or pt.leaf == NULL or pt.middle == NULL:
        pagetable_free(pt)
        raise MemoryError(f"page table of {npages} pages")
    return 0


cdef int pagetable_resize(page_table_t *pt, uint64_t npages) except -1:
    """Grows the table to `npages`, keeping what is there. Raises MemoryError and leaves it unchanged."""
    cdef page_table_t new
    if npages <= pt.npages:
        return 0
    pagetable_init(&new, npages)
    memcpy(new.ptes, pt.ptes, pt.npages * sizeof(pte_t))
    memcpy(new.leaf, pt.leaf, pt.nleaves * sizeof(pfn_t))
    memcpy(new.middle, pt.middle, pt.nmiddle * sizeof(pfn_t))
    new.nr_tables = pt.nr_tables
    pagetable_free(pt)
    pt[0] = new
    return 0


cdef void pagetable_free(page_table_t *pt) noexcept nogil:
    host_free(pt.ptes, ptes_size(pt))
    free(pt.leaf)
    free(pt.middle)
    pt.ptes = NULL
    pt.leaf = NULL
    pt.middle = NULL
    pt.npages = 0
