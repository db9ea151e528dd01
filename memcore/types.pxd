# Fixed-width names of everything the engine counts, and the result codes its rooms exchange.
#
# Index 0 is NIL everywhere (frame, slot, thread), so zeroed memory is a valid empty machine.
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

ctypedef uint32_t pfn_t      # page frame number; 0 = none
ctypedef uint64_t vpn_t      # page number in the flat space of one address space
ctypedef uint64_t pte_t      # see pte.pxd
ctypedef uint32_t swp_t      # swap slot, numbered through all areas; 0 = none
ctypedef int32_t nid_t       # NUMA node
ctypedef uint16_t memcg_id_t
ctypedef int64_t ns_t        # simulated nanoseconds

cdef enum:
    NIL = 0
    PAGE_SHIFT = 12
    PAGE_SIZE = 4096
    MAX_NODES = 64
    MAX_CPUS = 256
    MAX_NR_ZONES = 4         # DMA, DMA32, NORMAL, MOVABLE
    NR_ORDERS = 11           # buddy orders 0..10
    MAX_ORDER = 10
    PCP_ORDERS = 4           # blocks of up to 8 pages come out of per-CPU lists too (PAGE_ALLOC_COSTLY_ORDER)
    NR_PCP_LISTS = 12        # one for each of these orders and each migratetype
    PAGEBLOCK_ORDER = 9      # a page block is 2 MiB: mobility is decided for all of it
    PAGEBLOCK_PAGES = 512
    SWAP_CLUSTER_MAX = 32
    DEF_PRIORITY = 12
    PTRS_PER_TABLE = 512     # PTEs in one page-table page

cdef enum:  # zone_type
    ZONE_DMA = 0
    ZONE_DMA32 = 1
    ZONE_NORMAL = 2
    ZONE_MOVABLE = 3

cdef enum:  # migratetype: of a page block, and of the free list a block is in
    MIGRATE_UNMOVABLE = 0
    MIGRATE_MOVABLE = 1
    MIGRATE_RECLAIMABLE = 2
    MIGRATE_TYPES = 3

cdef enum:                   # result codes of algorithms
    MM_OK = 0
    MM_ENOMEM = 1            # no frame (or no host memory)
    MM_EOOM = 2              # the OOM killer must choose
    MM_EAGAIN = 3            # state changed underneath: look again
    MM_EFAULT = 4            # no VMA at that page
    MM_EINTR = 5             # the running thread was killed
    MM_ENOSPC = 6            # no swap slot
    MM_EIO = 7

cdef enum:                   # kernel versions that differ in behaviour
    KERNEL_6_1 = 601
    KERNEL_6_12 = 612
