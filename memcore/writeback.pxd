# Dirty page accounting, thresholds, throttling of writers, flushers. (mm/page-writeback.c, fs/fs-writeback.c)
from .filemap cimport filemap_t
from .machine cimport machine_t
from .types cimport int64_t, pfn_t, uint64_t

cdef void account_page_dirtied(machine_t *m, filemap_t *f, pfn_t pfn) noexcept nogil
cdef void account_page_cleaned(machine_t *m, filemap_t *f, pfn_t pfn) noexcept nogil
cdef void start_page_writeback(machine_t *m, pfn_t pfn) noexcept nogil
cdef void end_writeback(machine_t *m, pfn_t pfn) noexcept nogil
cdef void domain_dirty_limits(machine_t *m) noexcept nogil
cdef int64_t dirty_pos_ratio(int64_t freerun, int64_t limit, int64_t dirty) noexcept nogil
cdef uint64_t dirty_poll_interval(int64_t dirty, int64_t thresh) noexcept nogil
cdef void balance_dirty_pages_ratelimited(machine_t *m, int dev) noexcept nogil
cdef int write_file_page(machine_t *m, filemap_t *f, pfn_t pfn) noexcept nogil
cdef void wakeup_flusher_threads(machine_t *m) noexcept nogil
cdef void wb_main(machine_t *m, int dev) noexcept nogil
cdef void sync_file(machine_t *m, filemap_t *f) noexcept nogil
cdef void wait_for_queue(machine_t *m, int dev, int cause) noexcept nogil
