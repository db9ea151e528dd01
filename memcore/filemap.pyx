"""Page cache of one file. See filemap.pxd for the layout.

The kernel keeps a radix tree of 64-slot nodes; here the slots lie flat and the nodes are only counted, for
the slab memory they would take. Shadows stay until the page returns, as on a machine whose shadow limit
(one eighth of memory in nodes) is not reached.
"""

from libc.stdlib cimport calloc, free, realloc

from .hostmem cimport host_free, host_zalloc
from .pte cimport PTE_PRESENT
from .types cimport int32_t, int64_t, uint32_t, uint64_t, uint8_t


cdef int filemap_init(filemap_t *f, uint32_t id, uint64_t npages, int disk) except -1:
    """An uncached file of `npages` pages on device `disk`. Raises MemoryError."""
    f.id = id
    f.disk = disk
    f.npages = npages
    f.slots = <uint64_t *> host_zalloc((npages + 1) * sizeof(uint64_t))
    f.dirty = <uint64_t *> calloc((npages >> 6) + 1, sizeof(uint64_t))
    f.node_used = <uint8_t *> calloc((npages >> 6) + 1, 1)
    if f.slots == NULL or f.dirty == NULL or f.node_used == NULL:
        filemap_free(f)
        raise MemoryError(f"page cache of {npages} pages")
    return 0


cdef void filemap_free(filemap_t *f) noexcept nogil:
    host_free(f.slots, (f.npages + 1) * sizeof(uint64_t))
    free(f.dirty)
    free(f.node_used)
    free(f.mappers)
    f.slots = NULL
    f.dirty = NULL
    f.node_used = NULL
    f.mappers = NULL


cdef int filemap_add_mapper(filemap_t *f, int mm) except -1:
    """Remembers that address space `mm` maps the file (once). Raises MemoryError."""
    cdef int i
    cdef int32_t *grown
    for i in range(f.nr_mappers):
        if f.mappers[i] == mm:
            return 0
    grown = <int32_t *> realloc(f.mappers, (f.nr_mappers + 1) * sizeof(int32_t))
    if grown == NULL:
        raise MemoryError("file mappings")
    f.mappers = grown
    f.mappers[f.nr_mappers] = mm
    f.nr_mappers += 1
    return 0


cdef int64_t filemap_find_dirty(const filemap_t *f, uint64_t start) noexcept nogil:
    """First dirty page at or after `start`, or -1."""
    cdef uint64_t word = start >> 6
    cdef uint64_t words = (f.npages >> 6) + 1
    cdef uint64_t bits
    cdef int64_t at
    if start >= f.npages:
        return -1
    bits = f.dirty[word] & (~<uint64_t> 0 << (start & 63))
    while bits == 0:
        word += 1
        if word >= words:
            return -1
        bits = f.dirty[word]
    at = <int64_t> word << 6
    while not bits & 1:
        bits >>= 1
        at += 1
    return at


cdef int filemap_verify(const filemap_t *f) except -1:
    """Counts pages, dirty bits and tree nodes again; raises AssertionError where they differ."""
    cdef uint64_t i
    cdef int64_t pages = 0, dirty = 0, nodes = 0
    for i in range(f.npages):
        pages += f.slots[i] & PTE_PRESENT
        dirty += filemap_test_dirty(f, i)
    for i in range((f.npages >> 6) + 1):
        nodes += f.node_used[i] != 0
    if (pages, dirty, nodes) != (f.nrpages, f.nrdirty, f.nrnodes):
        raise AssertionError(f"file {f.id}: pages, dirty, nodes {pages, dirty, nodes}, counted "
                             f"{f.nrpages, f.nrdirty, f.nrnodes}")
    return 0
