# The zoned page allocator: watermarks decide, reclaim helps, the OOM killer ends it. (mm/page_alloc.c)
from .machine cimport machine_t
from .types cimport pfn_t, uint64_t
from .zonelist cimport zonelist_t

cdef enum:  # gfp_flags
    GFP_USER = 0                 # may reclaim, may wait, may kill
    GFP_NORETRY = 1 << 0         # one round of reclaim, then fail (readahead)
    GFP_NOWAIT = 1 << 1          # no direct reclaim at all
    GFP_WRITE = 1 << 2           # page cache about to be dirtied: spread over nodes
    GFP_KERNEL = 1 << 3          # zone NORMAL and below: page tables
    GFP_INTERLEAVED = 1 << 4     # an interleave policy chose the node
    GFP_THISNODE = 1 << 5

cdef pfn_t alloc_pages(machine_t *m, const zonelist_t *zl, int gfp, int order) noexcept nogil
cdef pfn_t alloc_page_node(machine_t *m, int nid, int gfp) noexcept nogil
cdef void build_zonelist(machine_t *m, int nid, uint64_t nodemask, zonelist_t *zl) noexcept nogil
