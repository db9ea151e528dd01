# File pages into memory: page-cache misses, readahead, read() and write(). (mm/filemap.c, mm/readahead.c)
from .filemap cimport filemap_t
from .machine cimport machine_t
from .mm cimport file_ra_t, vma_t
from .types cimport pfn_t, uint32_t, uint64_t

cdef uint32_t ra_init_size(uint64_t req, uint64_t max_pages) noexcept nogil
cdef uint32_t ra_next_size(const file_ra_t *ra, uint64_t max_pages) noexcept nogil
cdef pfn_t page_cache_alloc(machine_t *m, filemap_t *f, uint64_t index, int gfp, bint whole_write,
                            bint *raced) noexcept nogil
cdef pfn_t filemap_fault(machine_t *m, vma_t *vma, uint64_t index, bint *major, int *err) noexcept nogil
cdef void force_readahead(machine_t *m, filemap_t *f, uint64_t start, uint64_t n) noexcept nogil
cdef void mark_page_accessed(machine_t *m, pfn_t pfn) noexcept nogil
cdef int file_read(machine_t *m, vma_t *vma, uint64_t index, uint64_t n) noexcept nogil
cdef int file_write(machine_t *m, vma_t *vma, uint64_t index, uint64_t n) noexcept nogil
