"""Contents of anonymous pages; see content.pxd."""

from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy

from .hostmem cimport host_free, host_zalloc
from .machine cimport machine_t
from .mm cimport find_vma, mm_t, vma_t
from .page cimport PG_READAHEAD, page_t
from .types cimport PAGE_SIZE, pfn_t, swp_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef int contents_alloc(machine_t *m, uint32_t nr_rows, int nr_codecs, const uint16_t *sizes,
                        const uint8_t *flags) except -1:
    """Takes over rows 1..nr_rows, codec by codec within a row; room for a row per swap slot. Raises MemoryError."""
    cdef contents_t *c = <contents_t *> calloc(1, sizeof(contents_t))
    cdef int i
    if c == NULL:
        raise MemoryError("contents")
    m.contents = c
    c.nr_rows = nr_rows + 1
    c.nr_codecs = nr_codecs
    c.sizes = <uint16_t *> calloc(c.nr_rows * max(nr_codecs, 1), sizeof(uint16_t))
    c.flags = <uint8_t *> calloc(c.nr_rows, 1)
    c.slot_row = <uint32_t *> host_zalloc((<size_t> m.swap.total + 2) * sizeof(uint32_t))
    if c.sizes == NULL or c.flags == NULL or c.slot_row == NULL:
        raise MemoryError("contents")
    for i in range(nr_codecs):
        c.sizes[i] = PAGE_SIZE
    if nr_codecs:
        memcpy(&c.sizes[nr_codecs], sizes, nr_rows * nr_codecs * sizeof(uint16_t))
    memcpy(&c.flags[1], flags, nr_rows)
    return 0


cdef int contents_add_region(machine_t *m, uint64_t seed, uint32_t first, uint32_t count) except -1:
    """A region whose pages show rows first..first + count - 1; returns its number. Raises MemoryError."""
    cdef contents_t *c = <contents_t *> m.contents
    cdef content_t *grown = <content_t *> realloc(c.regions, (c.nr_regions + 2) * sizeof(content_t))
    if grown == NULL:
        raise MemoryError("contents")
    c.regions = grown
    c.nr_regions += 1
    c.regions[c.nr_regions] = content_t(seed=seed, first=first, count=count)
    return c.nr_regions


cdef void contents_free(machine_t *m) noexcept nogil:
    cdef contents_t *c = <contents_t *> m.contents
    if c == NULL:
        return
    free(c.regions)
    free(c.sizes)
    free(c.flags)
    host_free(c.slot_row, (<size_t> m.swap.total + 2) * sizeof(uint32_t))
    free(c)
    m.contents = NULL


cdef uint32_t content_of_write(machine_t *m, pfn_t pfn, swp_t slot) noexcept nogil:
    """The row of an anonymous page that is about to be written to its slot."""
    cdef contents_t *c = <contents_t *> m.contents
    cdef page_t *p = &m.frames[pfn]
    cdef mm_t *mm
    cdef vma_t *vma
    cdef content_t *r
    cdef uint64_t z
    if p.owner == 0 or p.flags & PG_READAHEAD and c.slot_row[slot]:
        # nobody has faulted on it since it was read, so its owner is unknown or a guess; its content is what it was
        return c.slot_row[slot]
    mm = m.mms[p.owner]
    vma = find_vma(mm, p.index)
    if vma == NULL or vma.content == 0:
        return 0
    r = &c.regions[vma.content]
    z = r.seed + p.index * <uint64_t> 0x9E3779B97F4A7C15
    if mm.versions != NULL:
        z += mm.versions[p.index] * <uint64_t> 0xD1B54A32D192ED03
    z = (z ^ (z >> 30)) * <uint64_t> 0xBF58476D1CE4E5B9
    z = (z ^ (z >> 27)) * <uint64_t> 0x94D049BB133111EB
    c.slot_row[slot] = r.first + <uint32_t> ((z ^ (z >> 31)) % r.count)
    return c.slot_row[slot]
