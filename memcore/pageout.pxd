# Where a victim goes and where it comes back from: page cache, swap cache, swap slots, devices.
from .filemap cimport filemap_t
from .machine cimport machine_t
from .types cimport pfn_t, swp_t, uint32_t, uint64_t

cdef enum pageout_result:
    PAGE_KEEP = 0
    PAGE_ACTIVATE = 1
    PAGE_SUCCESS = 2             # write started; already over if the page is not under writeback
    PAGE_CLEAN = 3               # nothing to write: may be freed now

cdef void add_to_page_cache(machine_t *m, filemap_t *f, uint64_t index, pfn_t pfn, bint whole_write) noexcept nogil
cdef void submit_io(machine_t *m, int disk, int rw, int kind, pfn_t pfn, uint64_t pos) noexcept nogil
cdef void read_file_page(machine_t *m, filemap_t *f, pfn_t pfn) noexcept nogil
cdef bint add_to_swap(machine_t *m, pfn_t pfn) noexcept nogil
cdef void swapin_add(machine_t *m, swp_t slot, pfn_t pfn, uint32_t owner, uint32_t vpn) noexcept nogil
cdef void swap_readpage(machine_t *m, swp_t slot, pfn_t pfn) noexcept nogil
cdef int pageout(machine_t *m, pfn_t pfn) noexcept nogil
cdef void swap_write_device(machine_t *m, pfn_t pfn, uint32_t row) noexcept nogil
cdef bint swap_is_inline(machine_t *m, swp_t slot) noexcept nogil
cdef bint swap_read_direct(machine_t *m, swp_t slot, pfn_t pfn) noexcept nogil
cdef void start_plug(machine_t *m) noexcept nogil
cdef void finish_plug(machine_t *m) noexcept nogil
cdef bint remove_mapping(machine_t *m, pfn_t pfn) noexcept nogil
cdef void delete_from_swap_cache(machine_t *m, pfn_t pfn) noexcept nogil
cdef bint try_to_free_swap(machine_t *m, pfn_t pfn) noexcept nogil
cdef void swap_put(machine_t *m, swp_t slot) noexcept nogil
cdef void page_put(machine_t *m, pfn_t pfn) noexcept nogil
cdef void end_io(machine_t *m, int kind, pfn_t pfn) noexcept nogil
cdef int wait_on_page(machine_t *m, pfn_t pfn, int cause) noexcept nogil
cdef void wake_page_waiters(machine_t *m, pfn_t pfn) noexcept nogil
cdef void truncate_page(machine_t *m, filemap_t *f, pfn_t pfn) noexcept nogil
cdef void workingset_refault(machine_t *m, pfn_t pfn, uint32_t age, int nid, bint workingset) noexcept nogil
