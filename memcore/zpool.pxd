# What every allocator of compressed pages looks like to its user: one function table, one frame source.
#
# An allocator is a struct whose first member is a zpool_t, so a `zpool_t *` is all that zswap, zram or the
# Python door need to know. Frames come from and go back to whoever owns them through zpool_frames_t.
from .types cimport pfn_t, uint32_t, uint64_t

ctypedef uint32_t zhandle_t          # names one stored object for its whole life; 0 = none

ctypedef struct zplace_t:            # where the bytes of an object lie: in one frame or across two
    pfn_t first
    pfn_t second                     # 0: everything is in `first`
    uint32_t offset                  # in `first`
    uint32_t bytes_first             # how many of them are there
    uint32_t bytes                   # room of the object

ctypedef struct zpool_frames_t:
    void *ctx
    int (*get)(void *ctx, pfn_t *out) noexcept nogil      # MM_OK or MM_ENOMEM
    void (*put)(void *ctx, pfn_t pfn) noexcept nogil
    # copies an object that compaction moves; NULL where nobody keeps real bytes
    void (*move)(void *ctx, const zplace_t *src, const zplace_t *dst) noexcept nogil

ctypedef struct zpool_t:
    const zpool_ops_t *ops
    zpool_frames_t frames
    uint64_t pages                   # frames held now (zs_get_total_pages)
    uint64_t objects                 # objects stored now
    uint64_t bytes                   # their lengths as asked for
    uint64_t pages_compacted         # frames freed by compaction so far

ctypedef struct zpool_ops_t:
    uint32_t max_size                # longest object that can be stored
    # MM_OK; MM_ENOSPC for a length of 0 or above max_size; MM_ENOMEM without a frame, pool unchanged
    int (*alloc)(zpool_t *z, uint32_t size, zhandle_t *out) noexcept nogil
    void (*release)(zpool_t *z, zhandle_t handle) noexcept nogil
    uint32_t (*size_of)(const zpool_t *z, zhandle_t handle) noexcept nogil    # 0: no such object
    void (*locate)(const zpool_t *z, zhandle_t handle, zplace_t *out) noexcept nogil
    uint64_t (*compact)(zpool_t *z) noexcept nogil                   # frames given back
    uint64_t (*shrink_count)(const zpool_t *z) noexcept nogil        # frames compaction would give back
    int (*verify)(zpool_t *z) except -1
