# Swap areas: which slots are free, what each used slot means.
from .debug cimport MM_BUG_ON
from .types cimport MAX_CPUS, int32_t, int64_t, swp_t, uint16_t, uint32_t, uint8_t

cdef enum:
    SWAPFILE_CLUSTER = 256
    MAX_SWAPFILES = 32

cdef enum:                       # swp_slot_t.flags
    SWP_HAS_CACHE = 1 << 0       # `value` is the frame
    SWP_SHADOW = 1 << 1          # `value` is the eviction age
    SWP_WORKINGSET = 1 << 2      # with SWP_SHADOW: was in the working set
    SWP_ZERO = 1 << 3            # zeromap: nothing stored
    SWP_EXCLUSIVE = 1 << 5       # the one PTE that refers to it may write the page in place
    SWP_USED = 1 << 6

cdef enum cluster_state:
    CLUSTER_FREE = 0
    CLUSTER_CURRENT = 1
    CLUSTER_NONFULL = 2
    CLUSTER_FULL = 3

ctypedef struct swp_slot_t:      # 8 bytes: state and shadow of a slot share a cache line with its neighbours
    uint32_t value
    uint8_t count                # PTEs that refer to it
    uint8_t flags
    uint8_t node                 # NUMA node in the shadow
    uint8_t memcg

ctypedef struct swap_cluster_t:
    uint16_t used
    uint8_t state
    uint8_t pad
    uint32_t next
    uint32_t prev

ctypedef struct cluster_list_t:
    uint32_t head
    uint32_t tail

ctypedef struct swap_area_t:
    swp_t base                   # its first slot number
    uint32_t nslots
    uint32_t inuse
    int32_t prio
    int32_t disk                 # block device; -1: no device (zram)
    int32_t zram                 # number of the zram device; 0: none
    bint rotational
    bint synchronous             # SWP_SYNCHRONOUS_IO: I/O completes inline
    swap_cluster_t *clusters     # from 1; 0 = none
    uint32_t nclusters
    cluster_list_t free_clusters
    cluster_list_t nonfull
    uint32_t current[MAX_CPUS]   # cluster each CPU allocates from
    uint32_t next_offset[MAX_CPUS]

ctypedef struct swap_cache_t:    # per-CPU batch of slots allocated ahead
    swp_t slots[64]
    int32_t cur
    int32_t nr

ctypedef struct swap_info_t:
    swap_area_t areas[MAX_SWAPFILES]     # by descending priority
    int32_t nr_areas
    int64_t total                # total_swap_pages
    int64_t nr_free              # nr_swap_pages: without the per-CPU batches
    int64_t nr_cached            # slots in per-CPU batches
    swp_slot_t *slots            # all areas in one array, from 1
    uint8_t *node_used           # tree nodes of the swap cache: slots in use per 64
    int64_t nrnodes
    swap_cache_t cache[MAX_CPUS]
    int32_t rotor                # round robin among areas of equal priority
    int32_t least_priority
    int32_t nr_rotational
    int32_t nr_synchronous
    bint use_cache

cdef int swap_init(swap_info_t *si) except -1
cdef int swap_add_area(swap_info_t *si, uint32_t nslots, int prio, bint has_prio, int disk, int zram,
                       bint rotational, bint synchronous) except -1
cdef int swap_finish(swap_info_t *si, int nr_cpus) except -1
cdef void swap_free_all(swap_info_t *si) noexcept nogil
cdef swp_t get_swap_page_slow(swap_info_t *si, int cpu) noexcept nogil
cdef void cluster_freed(swap_area_t *a, uint32_t c) noexcept nogil
cdef int swap_verify(swap_info_t *si) except -1


cdef inline swp_t get_swap_page(swap_info_t *si, int cpu) noexcept nogil:
    # a slot marked used but referred to by nobody yet, or 0 when swap is full
    cdef swap_cache_t *b = &si.cache[cpu]
    if b.nr == 0:
        return get_swap_page_slow(si, cpu)
    b.nr -= 1
    si.nr_cached -= 1
    b.cur += 1
    return b.slots[b.cur - 1]


cdef inline bint vm_swap_full(const swap_info_t *si) noexcept nogil:
    # more than half used: stop keeping slots for pages that are in memory anyway
    return si.nr_free * 2 < si.total


cdef inline swap_area_t *swap_area_of(swap_info_t *si, swp_t slot) noexcept nogil:
    cdef int i = 0
    while i < si.nr_areas - 1 and not (slot >= si.areas[i].base and slot < si.areas[i].base + si.areas[i].nslots):
        i += 1
    return &si.areas[i]


cdef inline int swap_node_ref(swap_info_t *si, swp_t slot) noexcept nogil:
    # a swap-cache entry or shadow appears in the slot's tree node: +1 if the node is new
    cdef uint8_t *n = &si.node_used[slot >> 6]
    n[0] += 1
    if n[0] == 1:
        si.nrnodes += 1
        return 1
    return 0


cdef inline int swap_node_unref(swap_info_t *si, swp_t slot) noexcept nogil:
    cdef uint8_t *n = &si.node_used[slot >> 6]
    n[0] -= 1
    if n[0] == 0:
        si.nrnodes -= 1
        return -1
    return 0


cdef inline void swap_slot_free(swap_info_t *si, swp_t slot) noexcept nogil:
    # the last reference to the slot is gone
    cdef swap_area_t *a = swap_area_of(si, slot)
    cdef uint32_t c = (slot - a.base) // SWAPFILE_CLUSTER + 1
    cdef swap_cluster_t *k = &a.clusters[c]
    MM_BUG_ON(not (si.slots[slot].flags & SWP_USED) or si.slots[slot].count)
    si.slots[slot] = swp_slot_t(value=0, count=0, flags=0, node=0, memcg=0)
    a.inuse -= 1
    si.nr_free += 1
    k.used -= 1
    if k.state == CLUSTER_FULL or k.used == 0:
        cluster_freed(a, c)
