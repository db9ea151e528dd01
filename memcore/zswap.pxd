# Compressed tier in front of swap (mm/zswap.c): entries by swap slot, their pool, limits.
from .machine cimport machine_t
from .types cimport int32_t, int64_t, ns_t, pfn_t, swp_t, uint16_t, uint32_t, uint64_t, uint8_t
from .zbud cimport zbud_pool_t
from .zpool cimport zhandle_t, zpool_t
from .zsmalloc cimport zs_pool_t

cdef enum:                       # zswap_entry_t.flags
    ZSWAP_STORED = 1 << 0
    ZSWAP_REFERENCED = 1 << 1    # second chance: not looked at by writeback yet
    ZSWAP_LISTED = 1 << 2        # on the list by age

ctypedef struct zswap_entry_t:   # of one swap slot
    zhandle_t handle             # 0: same-filled, nothing in the pool
    uint32_t older               # slots beside it in the list by age
    uint32_t newer
    uint16_t length              # compressed, bytes; 0: same-filled
    uint8_t flags

ctypedef struct zswap_stat_t:    # debugfs names
    uint64_t stored_pages
    uint64_t same_filled_pages   # of those, 6.1 only
    uint64_t pool_limit_hit
    uint64_t reject_reclaim_fail
    uint64_t reject_alloc_fail
    uint64_t reject_compress_poor
    uint64_t written_back_pages

ctypedef struct zswap_t:
    zpool_t *pool                # one of the two below
    zs_pool_t zs
    zbud_pool_t zbud
    bint is_zbud
    int codec                    # column of the contents
    ns_t compress_ns
    ns_t decompress_ns
    zswap_entry_t *entries       # by slot
    uint32_t *slot_of            # by zbud handle: writeback of 6.1 starts from the pool's frames
    uint32_t cap_slot_of
    uint32_t oldest
    uint32_t newest
    int64_t listed
    int64_t max_pages
    int64_t accept_pages
    bint reached_full
    int64_t nr_disk_swapins      # reads that missed the pool: they protect it from its shrinker
    int64_t slab_pages           # frames of the entries themselves
    int64_t zs_slab_pages        # and of the records of zsmalloc
    int64_t deferred             # work the shrinkers put off
    int64_t compact_deferred
    int32_t thread               # shrink worker
    bint work_pending
    zswap_stat_t stat

cdef int zswap_create(machine_t *m, bint use_zbud, int codec, ns_t compress_ns, ns_t decompress_ns) except -1
cdef void zswap_destroy(machine_t *m) noexcept nogil
cdef bint zswap_store(machine_t *m, swp_t slot, uint32_t row) noexcept nogil
cdef bint zswap_load(machine_t *m, swp_t slot, pfn_t pfn, bint in_swapcache) noexcept nogil
cdef void zswap_invalidate(machine_t *m, swp_t slot) noexcept nogil
cdef void zswap_rotate(zswap_t *z, swp_t slot) noexcept nogil
cdef int zswap_verify(machine_t *m) except -1


cdef inline zswap_t *zswap_of(machine_t *m) noexcept nogil:
    return <zswap_t *> m.zswap
