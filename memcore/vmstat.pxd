# Counters: one list, from which the enum and the /proc/vmstat names both come.
#
# A member's name in lower case is its /proc/vmstat name: the door reads the names from this very file, from
# the line that names the list to its NR_ member. (The enums have no C name because Cython refuses named
# ones as array indices.)
# `vm_event` only ever grows; `node_stat` and
# `zone_stat` are levels in pages. Units: pages or events, except PGPGIN/PGPGOUT (KiB).
from .types cimport uint64_t

cdef enum:  # vm_event:
    PGPGIN
    PGPGOUT
    PSWPIN
    PSWPOUT
    PGALLOC_DMA
    PGALLOC_DMA32
    PGALLOC_NORMAL
    PGALLOC_MOVABLE
    ALLOCSTALL_DMA
    ALLOCSTALL_DMA32
    ALLOCSTALL_NORMAL
    ALLOCSTALL_MOVABLE
    PGSKIP_DMA
    PGSKIP_DMA32
    PGSKIP_NORMAL
    PGSKIP_MOVABLE
    PGFREE
    PGACTIVATE
    PGDEACTIVATE
    PGLAZYFREE
    PGFAULT
    PGMAJFAULT
    PGLAZYFREED
    PGREFILL
    PGREUSE
    PGSTEAL_KSWAPD
    PGSTEAL_DIRECT
    PGDEMOTE_KSWAPD
    PGDEMOTE_DIRECT
    PGSCAN_KSWAPD
    PGSCAN_DIRECT
    PGSCAN_DIRECT_THROTTLE
    PGSCAN_ANON
    PGSCAN_FILE
    PGSTEAL_ANON
    PGSTEAL_FILE
    ZONE_RECLAIM_SUCCESS
    ZONE_RECLAIM_FAILED
    PGINODESTEAL
    SLABS_SCANNED
    KSWAPD_INODESTEAL
    KSWAPD_LOW_WMARK_HIT_QUICKLY
    KSWAPD_HIGH_WMARK_HIT_QUICKLY
    PAGEOUTRUN
    PGROTATED
    DROP_PAGECACHE
    DROP_SLAB
    OOM_KILL
    NUMA_PTE_UPDATES
    NUMA_HINT_FAULTS
    NUMA_HINT_FAULTS_LOCAL
    NUMA_PAGES_MIGRATED
    PGMIGRATE_SUCCESS
    PGMIGRATE_FAIL
    PGPROMOTE_SUCCESS
    PGPROMOTE_CANDIDATE
    COMPACT_MIGRATE_SCANNED
    COMPACT_FREE_SCANNED
    COMPACT_ISOLATED
    COMPACT_DAEMON_WAKE
    COMPACT_DAEMON_MIGRATE_SCANNED
    COMPACT_DAEMON_FREE_SCANNED
    UNEVICTABLE_PGS_CULLED
    UNEVICTABLE_PGS_RESCUED
    UNEVICTABLE_PGS_MLOCKED
    UNEVICTABLE_PGS_MUNLOCKED
    SWAP_RA
    SWAP_RA_HIT
    SWPIN_ZERO
    SWPOUT_ZERO
    ZSWPIN
    ZSWPOUT
    ZSWPWB
    NR_VM_EVENTS

cdef enum:  # node_stat:            # per node; the sums appear in /proc/vmstat
    NR_INACTIVE_ANON             # the first five in the order of lruvec lists
    NR_ACTIVE_ANON
    NR_INACTIVE_FILE
    NR_ACTIVE_FILE
    NR_UNEVICTABLE
    NR_SLAB_RECLAIMABLE
    NR_SLAB_UNRECLAIMABLE
    NR_ISOLATED_ANON
    NR_ISOLATED_FILE
    WORKINGSET_NODES
    WORKINGSET_REFAULT_ANON
    WORKINGSET_REFAULT_FILE
    WORKINGSET_ACTIVATE_ANON
    WORKINGSET_ACTIVATE_FILE
    WORKINGSET_RESTORE_ANON
    WORKINGSET_RESTORE_FILE
    WORKINGSET_NODERECLAIM
    NR_ANON_PAGES
    NR_MAPPED
    NR_FILE_PAGES
    NR_DIRTY
    NR_WRITEBACK
    NR_SHMEM
    NR_VMSCAN_WRITE
    NR_VMSCAN_IMMEDIATE_RECLAIM
    NR_DIRTIED
    NR_WRITTEN
    NR_THROTTLED_WRITTEN
    NR_KERNEL_STACK              # KiB, as the kernel prints it
    NR_PAGE_TABLE_PAGES
    NR_SWAPCACHED
    NR_ZSPAGES
    NR_MLOCK
    NR_KERNEL_PINNED             # frames the kernel image and boot allocations hold (not in /proc)
    NR_NODE_STATS

cdef enum:  # zone_stat:            # per zone: /sys/devices/system/node/nodeN/numastat and zoneinfo
    NUMA_HIT
    NUMA_MISS
    NUMA_FOREIGN
    NUMA_INTERLEAVE
    NUMA_LOCAL
    NUMA_OTHER
    NR_ZONE_STATS

ctypedef struct vmstat_t:
    uint64_t events[NR_VM_EVENTS]


cdef inline void count_vm_events(vmstat_t *v, int item, uint64_t n) noexcept nogil:
    v.events[item] += n
