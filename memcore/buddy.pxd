# Physical memory of one zone: free blocks by order, per-CPU lists, watermarks.
from .page cimport PG_PCP, page_t
from .types cimport (MAX_NR_ZONES, MIGRATE_MOVABLE, MIGRATE_TYPES, NR_ORDERS, NR_PCP_LISTS, PAGEBLOCK_ORDER, int32_t,
                     int64_t, nid_t, pfn_t, uint64_t, uint8_t)
from .vmstat cimport NR_ZONE_STATS
from .watermark cimport NR_WMARK

ctypedef struct free_area_t:
    pfn_t head                   # doubly linked through page_t.swap (next) and page_t.lru (previous)
    uint64_t nr_free

ctypedef struct pcp_list_t:      # blocks, linked like free ones
    pfn_t head                   # hot: freed last
    pfn_t tail

ctypedef struct per_cpu_pages_t:
    pfn_t *pages                 # a stack: the top is hot, the bottom goes back to the buddy first
    int32_t bottom               # index of the coldest page
    int32_t count
    int32_t cap
    int32_t high                 # 6.12: grows towards high_max
    int32_t free_count           # 6.12: pages freed in a row; 6.1: how often the batch freed has doubled (free_factor)
    int32_t alloc_factor         # 6.12: how often the batch fetched has doubled
    pcp_list_t lists[NR_PCP_LISTS]   # by order and migratetype; movable single pages are in the stack instead
    int32_t listed               # pages in them

ctypedef struct kernel_block_t:  # a page block of unmovable or reclaimable memory
    int32_t mt
    int32_t nr_free              # pages at its end; the kernel holds the others

ctypedef struct zone_t:
    nid_t nid
    int32_t idx                  # zone_type
    int32_t id                   # index in machine zones
    int64_t start_pfn
    int64_t spanned
    int64_t present
    int64_t managed
    int64_t virgin               # first pfn of the never-used tail of order-10 blocks; see zone_init_free
    int64_t virgin_end
    int64_t nr_free              # NR_FREE_PAGES: without the per-CPU lists
    kernel_block_t *kernel_blocks   # as the zone begins, from the highest to the lowest
    int32_t nr_kernel_blocks
    uint8_t *block_type          # migratetype of each page block; NULL: all are movable and stay so
    int64_t held_end             # the kernel's frames and what is in per-CPU lists at the start end here
    bint v61                     # kernel 6.1
    int64_t fallbacks            # to page blocks of another type, since the watermarks were last raised for it
    int64_t boost
    int64_t wmark[NR_WMARK]
    int64_t lowmem_reserve[MAX_NR_ZONES]
    bint given                   # watermarks were read off a running kernel, not computed
    bint given_protection        # so were the reserves
    int64_t given_wmark[3]
    int64_t given_reserve[MAX_NR_ZONES]
    int64_t nr_lru[5]
    int64_t nr_write_pending
    free_area_t free_area[MIGRATE_TYPES][NR_ORDERS]
    per_cpu_pages_t *pcp         # one per CPU
    int32_t nr_cpus
    int32_t pcp_batch
    int32_t pcp_high_min
    int32_t pcp_high_max
    bint reclaim_active          # kswapd is at work: per-CPU lists stay short
    bint below_high              # 6.12: allocations saw the zone below HIGH
    int64_t compact_cached_migrate_pfn   # where a woken kcompactd goes on; 0: at either end of the zone
    int64_t compact_cached_free_pfn
    int64_t compact_considered
    int32_t compact_defer_shift
    int32_t compact_order_failed
    uint64_t stat[NR_ZONE_STATS]

cdef int zone_init(zone_t *z, nid_t nid, int idx, int zid, int64_t start_pfn, int64_t spanned, int64_t managed,
                   int nr_cpus) except -1
cdef int64_t kernel_free(const zone_t *z) noexcept nogil
cdef int64_t zone_layout(const zone_t *z, int64_t nr_free) noexcept nogil
cdef int zone_init_free(zone_t *z, page_t *frames, int64_t nr_free) except -1
cdef void zone_free(zone_t *z) noexcept nogil
cdef void change_area(zone_t *z, page_t *frames, pfn_t pfn, int mt) noexcept nogil
cdef pfn_t take_block(zone_t *z, page_t *frames, int order, int mt) noexcept nogil
cdef pfn_t split_block(zone_t *z, page_t *frames, pfn_t pfn, int o, int order, int mt) noexcept nogil
cdef pfn_t rmqueue_smallest(zone_t *z, page_t *frames, int order, int mt) noexcept nogil
cdef int32_t rmqueue_movable(zone_t *z, page_t *frames, per_cpu_pages_t *p, int32_t n) noexcept nogil
cdef void free_one_page(zone_t *z, page_t *frames, pfn_t pfn, int order, int mt) noexcept nogil
cdef int32_t free_bulk(zone_t *z, page_t *frames, per_cpu_pages_t *p, int32_t n) noexcept nogil
cdef bint isolate_free_page(zone_t *z, page_t *frames, pfn_t pfn) noexcept nogil
cdef int zone_verify(zone_t *z, page_t *frames) except -1


cdef inline void pcp_put_cold(zone_t *z, page_t *frames, per_cpu_pages_t *p, pfn_t pfn) noexcept nogil:
    # the kernel appends, so pages leave in the order the buddy gave them: fill from below
    frames[pfn].flags = PG_PCP
    frames[pfn].zone = <uint8_t> z.id
    p.bottom = (p.cap if p.bottom == 0 else p.bottom) - 1
    p.pages[p.bottom] = pfn
    p.count += 1


cdef inline int64_t block_number(const zone_t *z, int64_t pfn) noexcept nogil:
    # of the page block of a frame, counted from the one in which the zone begins
    return (pfn >> PAGEBLOCK_ORDER) - (z.start_pfn >> PAGEBLOCK_ORDER)


cdef inline int get_pageblock_migratetype(const zone_t *z, int64_t pfn) noexcept nogil:
    return z.block_type[block_number(z, pfn)] if z.block_type != NULL else <int> MIGRATE_MOVABLE


cdef inline void set_pageblock_migratetype(zone_t *z, int64_t pfn, int mt) noexcept nogil:
    z.block_type[block_number(z, pfn)] = <uint8_t> mt


cdef inline int64_t nr_free_blocks(const zone_t *z, int order) noexcept nogil:
    # of all types
    cdef int mt
    cdef int64_t n = 0
    for mt in range(MIGRATE_TYPES):
        n += <int64_t> z.free_area[mt][order].nr_free
    return n


cdef inline bint has_free_block(const zone_t *z, int order) noexcept nogil:
    # of that order or a higher one
    cdef int o
    for o in range(order, NR_ORDERS):
        if nr_free_blocks(z, o):
            return True
    return False


cdef inline int64_t wmark_pages(const zone_t *z, int w) noexcept nogil:
    return z.wmark[w] + z.boost


cdef inline bint zone_watermark_ok(const zone_t *z, int order, int64_t mark, int highest_zoneidx,
                                   int64_t nr_free) noexcept nogil:
    # is a request of `order` allowed to leave the zone at `mark`?
    nr_free -= (1 << order) - 1
    if nr_free <= mark + z.lowmem_reserve[highest_zoneidx]:
        return False
    return order == 0 or has_free_block(z, order)
