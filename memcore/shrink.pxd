# Scanning LRU lists: what one pass asks, what it may do, what it achieved. (mm/vmscan.c)
from .machine cimport machine_t
from .node cimport node_t
from .types cimport int32_t, int64_t, pfn_t, uint32_t, uint64_t

ctypedef struct scan_nr_t:       # what shrink_folio_list met since shrink_node began
    int64_t dirty
    int64_t unqueued_dirty
    int64_t congested
    int64_t writeback
    int64_t immediate
    int64_t taken
    int64_t file_taken

ctypedef struct scan_control_t:
    int64_t nr_to_reclaim
    int32_t order
    int32_t priority
    int32_t reclaim_idx          # highest zone type that helps
    bint may_writepage
    bint may_unmap
    bint may_swap
    bint no_demotion
    bint is_kswapd
    uint32_t may_deactivate
    bint force_deactivate
    bint skipped_deactivate
    bint cache_trim_mode
    bint no_cache_trim_mode
    bint cache_trim_mode_failed
    bint file_is_tiny
    uint64_t anon_cost
    uint64_t file_cost
    int64_t nr_scanned
    int64_t nr_reclaimed
    scan_nr_t nr

cdef int64_t shrink_list(machine_t *m, node_t *n, int lru, int64_t nr_to_scan, scan_control_t *sc) noexcept nogil
cdef void shrink_active_list(machine_t *m, node_t *n, int lru, int64_t nr_to_scan, scan_control_t *sc) noexcept nogil
cdef void putback_movable_page(machine_t *m, pfn_t pfn) noexcept nogil
cdef int64_t reclaim_pages(machine_t *m, pfn_t *pfns, int n) noexcept nogil
