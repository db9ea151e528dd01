"""Address spaces and their VMAs.

The pages of a task are numbered from 0, region after region; a VMA covers a run of them. Splitting keeps
the array sorted. See mm.pxd for the fields.
"""

from libc.stdlib cimport free, realloc
from libc.string cimport memmove, memset

from .pagetable cimport pagetable_free, pagetable_init, pagetable_resize
from .types cimport uint32_t, uint64_t, vpn_t


cdef int mm_init(mm_t *mm, int id, uint64_t npages) except -1:
    """An address space of `npages` pages without VMAs. Raises MemoryError."""
    mm.id = id
    mm.alive = True
    mm.family_next = id
    mm.policy = -1
    pagetable_init(&mm.pt, npages)
    return 0


cdef void mm_free(mm_t *mm) noexcept nogil:
    pagetable_free(&mm.pt)
    free(mm.vmas)
    free(mm.versions)
    mm.versions = NULL
    mm.vmas = NULL
    mm.nr_vmas = 0


cdef int vma_room(mm_t *mm) noexcept nogil:
    cdef vma_t *grown
    if mm.nr_vmas < mm.cap_vmas:
        return 0
    grown = <vma_t *> realloc(mm.vmas, (2 * mm.cap_vmas + 4) * sizeof(vma_t))
    if grown == NULL:
        return -1
    mm.vmas = grown
    mm.cap_vmas = 2 * mm.cap_vmas + 4
    return 0


cdef int mm_add_vma(mm_t *mm, uint64_t pages, uint32_t flags, uint32_t file, uint64_t pgoff, int region) except -1:
    """Appends a VMA after the last one and grows the page table. Raises MemoryError."""
    cdef uint64_t start = mm.vmas[mm.nr_vmas - 1].end if mm.nr_vmas else 0
    cdef vma_t *v
    if vma_room(mm) < 0:
        raise MemoryError("VMAs")
    pagetable_resize(&mm.pt, start + pages)
    v = &mm.vmas[mm.nr_vmas]
    memset(v, 0, sizeof(vma_t))
    v.start = start
    v.end = start + pages
    v.flags = flags
    v.file = file
    v.pgoff = pgoff
    v.region = region
    v.policy = -1
    v.swap_ra_hits = 4
    v.ra.prev_pos = -1
    mm.nr_vmas += 1
    mm.total_vm += pages
    mm.any_flags |= flags
    return 0


cdef vma_t *find_vma_slow(mm_t *mm, vpn_t vpn) noexcept nogil:
    """The VMA that holds `vpn`, or NULL."""
    cdef int lo = 0, hi = mm.nr_vmas, mid
    cdef vma_t *v
    while lo < hi:
        mid = (lo + hi) >> 1
        v = &mm.vmas[mid]
        if vpn < v.start:
            hi = mid
        elif vpn >= v.end:
            lo = mid + 1
        else:
            mm.last_vma = mid
            return NULL if v.flags & VM_UNMAPPED else v
    return NULL


cdef int vma_split(mm_t *mm, vpn_t at) noexcept nogil:
    """Makes `at` a VMA boundary. 0, or -1 without host memory."""
    cdef int i
    cdef vma_t *v
    for i in range(mm.nr_vmas):
        v = &mm.vmas[i]
        if v.start < at < v.end:
            if vma_room(mm) < 0:
                return -1
            memmove(&mm.vmas[i + 1], &mm.vmas[i], (mm.nr_vmas - i) * sizeof(vma_t))
            mm.nr_vmas += 1
            mm.vmas[i].end = at
            mm.vmas[i + 1].start = at
            mm.vmas[i + 1].pgoff += at - mm.vmas[i].start
            return 0
    return 0


cdef int mm_verify_vmas(const mm_t *mm) except -1:
    """Sorted, not empty, not overlapping, inside the page table; else AssertionError."""
    cdef int i
    cdef uint64_t end = 0
    for i in range(mm.nr_vmas):
        if mm.vmas[i].start < end or mm.vmas[i].end <= mm.vmas[i].start or mm.vmas[i].end > mm.pt.npages:
            raise AssertionError(f"mm {mm.id}: VMA {i} [{mm.vmas[i].start}, {mm.vmas[i].end}) after {end}")
        end = mm.vmas[i].end
    return 0
