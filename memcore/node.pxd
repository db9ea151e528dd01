# One NUMA node: its zones, LRU lists, kswapd's state, neighbours by distance.
from .lruvec cimport lruvec_t
from .types cimport MAX_NODES, int32_t, int64_t, ns_t, uint32_t, uint64_t, uint8_t
from .vmstat cimport NR_NODE_STATS

cdef enum:  # pgdat_flags
    PGDAT_DIRTY = 1              # reclaim met only dirty file pages
    PGDAT_WRITEBACK = 2          # reclaim met only pages under writeback

cdef enum:  # vmscan_throttle_state
    VMSCAN_THROTTLE_WRITEBACK = 0
    VMSCAN_THROTTLE_ISOLATED = 1
    VMSCAN_THROTTLE_NOPROGRESS = 2
    VMSCAN_THROTTLE_CONGESTED = 3
    NR_VMSCAN_THROTTLE = 4

ctypedef struct node_t:
    int32_t nid
    int32_t nr_cpus
    bint has_memory
    int32_t first_zone           # index of its ZONE_DMA slot in machine zones
    int32_t nr_zones             # highest populated zone type + 1
    int64_t managed
    int64_t present
    lruvec_t lruvec              # of the root memcg
    int64_t stat[NR_NODE_STATS]
    # kswapd
    int32_t kswapd               # thread id, 0: none
    int32_t kswapd_order
    int32_t kswapd_highest_zoneidx   # MAX_NR_ZONES: none
    int32_t kswapd_failures
    bint kswapd_sleeping         # waits to be woken (napping or fast asleep)
    bint kswapd_woken
    uint32_t flags
    # kcompactd
    int32_t kcompactd            # thread id, 0: none
    int32_t kcompactd_max_order  # 0: nothing was asked for
    int32_t kcompactd_highest_zoneidx
    bint kcompactd_waiting       # for work, or for the next look
    # throttling of reclaimers
    int32_t nr_throttled[NR_VMSCAN_THROTTLE]
    uint64_t nr_written_throttled
    # neighbours
    uint8_t distance[MAX_NODES]
    int32_t fallback[MAX_NODES]  # nodes in zonelist order, itself first
    int32_t nr_fallback
    ns_t access_ns[MAX_NODES]    # latency of an access from a CPU of this node to memory of node j
    # node reclaim
    int64_t min_unmapped_pages
    int64_t min_slab_pages
    bint reclaim_locked
    # tiers
    int32_t tier                 # 0 is the fastest
    bint toptier                 # as fast as the slowest node with CPUs, or faster
    int32_t demotion_target[MAX_NODES]
    int32_t nr_demotion_targets
    bint can_demote
    # promotion to this node: limited rate, and a threshold for what is hot that adapts to it
    int64_t nbp_candidates
    int64_t nbp_rl_candidates    # candidates when the second of the rate limit began
    ns_t nbp_rl_start
    int64_t nbp_th_candidates
    ns_t nbp_th_start
    ns_t nbp_threshold           # 0: the default

cdef int node_build_zonelist(node_t *nodes, int nr_nodes, int nid, int32_t *load) noexcept nogil
