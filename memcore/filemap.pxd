# Page cache of one file: page index -> frame, or shadow of an evicted page, or nothing.
from .pte cimport PTE_PRESENT
from .types cimport int32_t, int64_t, ns_t, pfn_t, uint32_t, uint64_t, uint8_t

ctypedef struct filemap_t:
    uint32_t id
    int32_t disk                 # block device
    uint64_t npages
    uint64_t *slots              # PTE_PRESENT | pfn, or a shadow (pte.pxd), or 0
    uint64_t *dirty              # one bit per page
    uint8_t *node_used           # slots in use in each 64-slot tree node
    int64_t nrpages
    int64_t nrdirty
    int64_t nrnodes              # tree nodes: slab memory
    ns_t dirtied_when            # of the oldest dirty page since the file was last clean
    uint64_t writeback_index     # where the flusher goes on
    uint64_t bio_end             # page that would continue the last bio written
    int32_t *mappers             # ids of the address spaces that map it
    int32_t nr_mappers

cdef int filemap_init(filemap_t *f, uint32_t id, uint64_t npages, int disk) except -1
cdef void filemap_free(filemap_t *f) noexcept nogil
cdef int filemap_add_mapper(filemap_t *f, int mm) except -1
cdef int64_t filemap_find_dirty(const filemap_t *f, uint64_t start) noexcept nogil
cdef int filemap_verify(const filemap_t *f) except -1


cdef inline pfn_t filemap_lookup(const filemap_t *f, uint64_t index) noexcept nogil:
    cdef uint64_t s = f.slots[index]
    return <pfn_t> (s >> 32) if s & PTE_PRESENT else 0


cdef inline int filemap_set(filemap_t *f, uint64_t index, uint64_t value) noexcept nogil:
    # stores a slot; returns how many tree nodes that adds (+1), frees (-1) or neither (0)
    cdef uint64_t old = f.slots[index]
    cdef uint8_t *used = &f.node_used[index >> 6]
    f.slots[index] = value
    if (old != 0) == (value != 0):
        return 0
    if value:
        used[0] += 1
        if used[0] == 1:
            f.nrnodes += 1
            return 1
        return 0
    used[0] -= 1
    if used[0] == 0:
        f.nrnodes -= 1
        return -1
    return 0


cdef inline bint filemap_test_dirty(const filemap_t *f, uint64_t index) noexcept nogil:
    return (f.dirty[index >> 6] >> (index & 63)) & 1
