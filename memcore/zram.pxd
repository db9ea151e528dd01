# Swap areas whose pages stay in memory, compressed: zram (drivers/block/zram), and stores as Windows has them.
from .machine cimport machine_t
from .types cimport int32_t, int64_t, swp_t, uint16_t, uint32_t, uint64_t, uint8_t
from .zpool cimport zhandle_t
from .zsmalloc cimport zs_pool_t

cdef enum:                       # zram_slot_t.flags
    ZRAM_STORED = 1 << 0
    ZRAM_SAME = 1 << 1           # one word, no memory
    ZRAM_HUGE = 1 << 2           # not compressed: a page of its own
    ZRAM_WB = 1 << 3             # on the backing device
    ZRAM_IDLE = 1 << 4           # not used since it was marked
    ZRAM_RECOMPRESSED = 1 << 5   # by the second codec
    ZRAM_INCOMPRESSIBLE = 1 << 6  # the second codec has failed

cdef enum:                       # zram_conf_t.writeback, .recompress: which slots
    ZRAM_SELECT_IDLE = 1
    ZRAM_SELECT_HUGE = 2

ctypedef struct zram_slot_t:     # of one page of the device
    zhandle_t handle
    uint32_t older               # offsets beside it in the list by age, of those in memory
    uint32_t newer
    uint32_t row                 # content
    uint32_t block               # on the backing device
    uint32_t used                # when it was last read or written, s
    uint16_t length
    uint8_t flags

ctypedef struct zram_conf_t:     # what the door says of a device
    int64_t store                # a Windows store: its large results are not huge, its writeback is compressed
    int64_t codec                # columns of the contents
    int64_t second               # for recompression, -1: none
    int64_t compress_ns[2]
    int64_t decompress_ns[2]
    int64_t limit_pages          # mem_limit; 0: none
    int64_t backing              # device; -1: none
    int64_t writeback            # ZRAM_SELECT_*; 0: never
    int64_t recompress           # the same
    int64_t idle_after           # s
    int64_t period               # of the daemon that does both, ns

ctypedef struct zram_stat_t:     # by the names of mm_stat, io_stat and bd_stat
    int64_t pages_stored
    int64_t compr_data_size
    int64_t mem_used_max         # pages
    int64_t same_pages
    int64_t huge_pages
    int64_t huge_pages_since
    int64_t failed_writes
    int64_t notify_free
    int64_t bd_count
    int64_t bd_reads
    int64_t bd_writes

ctypedef struct zram_t:
    int32_t id                   # from 1
    swp_t base                   # first slot of its swap area
    uint32_t nslots
    zram_slot_t *table           # by offset + 1
    zs_pool_t pool
    uint32_t oldest              # by age: of the pages in memory that have an object
    uint32_t newest
    uint32_t next_block          # of the backing device
    int32_t thread               # daemon
    int64_t compact_deferred
    int64_t slab_pages           # frames of the records of zsmalloc
    zram_conf_t conf
    zram_stat_t stat

cdef int zram_add(machine_t *m, const zram_conf_t *conf) except -1
cdef void zram_destroy_all(machine_t *m) noexcept nogil
cdef int zram_write(machine_t *m, zram_t *z, swp_t slot, uint32_t row) noexcept nogil
cdef bint zram_read(machine_t *m, zram_t *z, swp_t slot) noexcept nogil
cdef void zram_slot_free_notify(machine_t *m, zram_t *z, swp_t slot) noexcept nogil
cdef int zram_recompress(machine_t *m, zram_t *z, uint32_t at) noexcept nogil
cdef void zram_moved_out(machine_t *m, zram_t *z, uint32_t at, uint32_t block) noexcept nogil
cdef int zram_verify(machine_t *m) except -1


cdef inline zram_t *zram_number(machine_t *m, int id) noexcept nogil:
    return &(<zram_t *> m.zrams)[id]


cdef inline bint zram_in_memory(const zram_t *z, swp_t slot) noexcept nogil:
    return not z.table[slot - z.base + 1].flags & ZRAM_WB
