# The aggregate everything above runs on: memory, address spaces, files, devices, threads, the clock.
#
# One engine owns one machine_t; there are no globals, so machines run in parallel threads.
from .blkdev cimport blkdev_t
from .buddy cimport zone_t
from .clock cimport rng_t
from .filemap cimport filemap_t
from .list cimport lru_list_add, lru_list_add_tail, lru_list_del
from .lruvec cimport page_lru
from .mempolicy cimport mempolicy_t
from .mm cimport mm_t
from .node cimport node_t
from .page cimport PG_LRU, PG_LRU_BATCH, page_t
from .params cimport params_t
from .psi cimport psi_t
from .swapfile cimport swap_info_t
from .thread cimport thread_t
from .types cimport int32_t, int64_t, ns_t, pfn_t, uint32_t, uint64_t
from .vmstat cimport vmstat_t
from .zonelist cimport zonelist_t

cdef enum:  # event_kind            # the event log
    EV_KSWAPD_WAKE = 0           # node, order
    EV_KSWAPD_SLEEP = 1          # node, pages reclaimed
    EV_DIRECT_BEGIN = 2          # thread
    EV_DIRECT_END = 3            # thread, pages reclaimed
    EV_OOM = 4                   # thread that ran out
    EV_OOM_KILL = 5              # victim thread
    EV_TASK_START = 6
    EV_TASK_EXIT = 7
    EV_THROTTLE = 8              # thread, reason
    EV_DIRTY_THROTTLE = 9        # thread, pause in ms
    EV_WRITEBACK = 10            # device, pages written by a flusher pass
    EV_NODE_RECLAIM = 11         # node, pages
    NR_EVENT_KINDS = 12

cdef enum:  # exit_reason           # why Engine.run returned
    EXIT_NONE = 0
    EXIT_CHUNK = 1               # a task needs its next records
    EXIT_LIMIT = 2               # access budget used up
    EXIT_OOM = 3                 # somebody must be chosen
    EXIT_DONE = 4                # every task has finished
    EXIT_TIME = 5                # simulated time limit
    EXIT_FAULT = 6               # access outside every VMA
    EXIT_IDLE = 7                # nothing can ever run again
    EXIT_ALARM = 8               # the time given to Engine.alarm has come

ctypedef struct event_t:
    ns_t time
    int32_t kind
    int32_t who
    int64_t value

cdef enum:                       # slab caches, see slab.pyx
    SLAB_XA_NODE = 0             # tree nodes of page and swap caches
    SLAB_BUFFER_HEAD = 1
    SLAB_BIO = 2                 # a write in flight: of a file, or of one page to swap
    SLAB_BIOVEC = 3              # list of pages of the former, always as long as it may get
    SLAB_SGPOOL = 4              # what a driver lists the pages of a request in: up to 8, and four caches more
    NR_SG_POOLS = 5              # up to 16, 32, 64 and 128
    NR_SLAB_CACHES = 9

ctypedef struct slab_cache_t:
    int64_t objects
    int32_t per_slab
    int32_t order                # of a slab's pages
    int32_t keep                 # empty slabs that are not given back
    int32_t item                 # what its pages are counted as
    pfn_t *blocks
    int64_t nr_blocks
    int64_t cap_blocks

cdef enum:
    LRU_BATCH = 31               # PAGEVEC_SIZE: most pages that reach their LRU list together

ctypedef struct cpu_t:
    int32_t id
    int32_t nid
    int32_t curr                 # thread id, 0: idle
    int32_t rq_head              # runnable threads waiting for this CPU, by vruntime
    int32_t nr_queued
    ns_t now
    ns_t slice_end
    uint64_t min_vruntime
    ns_t idle_ns
    pfn_t[LRU_BATCH] lru_batch   # pages this CPU added last, which other CPUs do not see on a list yet
    int32_t nr_lru_batch

ctypedef struct timer_t:
    ns_t at
    uint64_t seq                 # ties fire in the order they were set
    int32_t thread               # 0: a periodic machine event
    int32_t kind

ctypedef struct wb_domain_t:     # global dirty limits (9.2)
    ns_t limit_updated
    int64_t dirty_limit
    int64_t thresh
    int64_t bg_thresh

ctypedef struct wb_t:            # flusher of one device (struct bdi_writeback)
    int32_t thread               # 0: none
    bint sleeping
    bint background              # somebody went over the background threshold
    bint start_all               # reclaim met only dirty pages
    ns_t last_old_flush
    double write_bw              # pages/s, smoothed
    double dirty_ratelimit       # pages/s one task may dirty at balance
    ns_t bw_stamp
    int64_t written              # pages written since bw_stamp
    int64_t dirtied              # pages dirtied since bw_stamp

ctypedef struct machine_t
ctypedef void (*mach_fn)(machine_t *m) noexcept nogil
ctypedef void (*sleep_fn)(machine_t *m, ns_t ns, int cause) noexcept nogil
ctypedef void (*thread_fn)(machine_t *m, thread_t *t) noexcept nogil

ctypedef struct sched_ops_t:     # what lower rooms may ask of the scheduler (sched.pyx)
    mach_fn preempt              # the clock passed the deadline
    sleep_fn sleep               # until the time is over or somebody wakes the thread
    sleep_fn io_wait             # until woken, counted as I/O wait
    thread_fn wake
    mach_fn leave                # give control back to the caller of Engine.run

ctypedef struct machine_t:
    params_t p
    bint v61                     # kernel 6.1 behaviour
    page_t *frames
    uint64_t nr_frames           # highest pfn + 1
    zone_t *zones
    int32_t nr_zones             # nodes * MAX_NR_ZONES
    node_t *nodes
    int32_t nr_nodes
    zonelist_t *zonelists        # of each node, for requests that may use every zone
    mempolicy_t *policies
    int32_t nr_policies
    vmstat_t vm
    int64_t totalram
    int64_t totalreserve_pages
    int64_t min_free_kbytes
    mm_t **mms                   # from 1
    int32_t nr_mms
    filemap_t **files            # from 1
    int32_t nr_files
    swap_info_t swap
    int64_t swap_ra_prev         # readahead by slot: state of the whole system
    uint32_t swap_ra_hits
    uint32_t swap_ra_win
    blkdev_t *devs
    int32_t nr_devs
    thread_t **threads           # from 1
    int32_t nr_threads
    cpu_t *cpus
    int32_t nr_cpus
    psi_t psi
    rng_t rng
    wb_domain_t wb
    wb_t *wbs                    # flusher state, one per device
    slab_cache_t[NR_SLAB_CACHES] slabs
    uint64_t slab_pool           # first frame of the shrinkable pool
    int64_t slab_freeable        # pages of dentries and inodes that shrinkers may take
    int64_t slab_deferred
    uint64_t stats_flushed       # 6.1: updates of statistics at the last look of reclaim, see flush_stats
    # the clock
    ns_t now                     # of the running CPU
    ns_t deadline                # at which the running thread must look up
    thread_t *curr
    int32_t cpu                  # running CPU
    int32_t resume               # thread that gave control to the caller of Engine.run and goes on first; 0: none
    ns_t time_limit
    int64_t budget               # accesses until EXIT_LIMIT
    timer_t *timers              # heap
    int32_t nr_timers
    int32_t cap_timers
    uint64_t timer_seq
    sched_ops_t ops
    bint stop                    # a thread asked to return to the caller of Engine.run
    int32_t exit_reason
    int32_t exit_thread
    int32_t live_tasks
    int32_t oom_victims          # killed, neither gone nor reaped
    int32_t oom_reaper           # its thread
    uint64_t oom_nodemask        # nodes the failed request was confined to; 0: none
    int64_t fault_vpn
    # logs
    event_t *events
    int64_t nr_events
    int64_t cap_events
    int64_t max_events
    int64_t dropped_events
    int64_t *samples             # rows of nr_sample_columns
    int64_t nr_samples
    int64_t cap_samples
    ns_t sample_interval
    ns_t next_sample
    # compressed memory; NULL where there is none
    void *contents               # what pages contain (content.pxd)
    void *zswap
    void *zrams                  # array (zram.pxd)
    int32_t nr_zrams
    int64_t zswap_pool_pages
    int64_t zbud_pages           # frames that no counter shows

cdef int machine_alloc(machine_t *m, uint64_t nr_frames, int nr_nodes, int nr_cpus) except -1
cdef int machine_finish_zones(machine_t *m) except -1
cdef void machine_free(machine_t *m) noexcept nogil
cdef int last_cpu(machine_t *m, int nid) noexcept nogil
cdef void memstall_enter(machine_t *m) noexcept nogil
cdef void memstall_leave(machine_t *m) noexcept nogil
cdef void log_event(machine_t *m, int kind, int who, int64_t value) noexcept nogil
cdef int64_t global_node_stat(const machine_t *m, int item) noexcept nogil
cdef int64_t global_free(const machine_t *m) noexcept nogil
cdef void lru_sizes(const machine_t *m, const node_t *n, int zone_idx, int64_t *size) noexcept nogil
cdef void lruvec_state_flush(machine_t *m, node_t *n) noexcept nogil
cdef int machine_verify(machine_t *m) except -1


cdef inline zone_t *page_zone(machine_t *m, pfn_t pfn) noexcept nogil:
    return &m.zones[m.frames[pfn].zone]


cdef inline node_t *page_node(machine_t *m, pfn_t pfn) noexcept nogil:
    return &m.nodes[m.zones[m.frames[pfn].zone].nid]


cdef inline const int64_t *lruvec_page_state(machine_t *m, node_t *n) noexcept nogil:
    # Statistics of an lruvec as reclaim sees them: what the worker left that sums them up every 2 s, and in 6.1 reclaim
    # itself (flush_stats). Since 6.8 reclaim no longer does (mem_cgroup_flush_stats_ratelimited).
    if m.now >= n.lruvec.state_until or m.now < n.lruvec.state_from:
        lruvec_state_flush(m, n)
    return n.lruvec.state


cdef inline void mod_node(machine_t *m, pfn_t pfn, int item, int64_t by) noexcept nogil:
    m.nodes[m.zones[m.frames[pfn].zone].nid].stat[item] += by


cdef inline void count(machine_t *m, int event, uint64_t n) noexcept nogil:
    m.vm.events[event] += n


cdef inline void lru_add_to(machine_t *m, zone_t *z, node_t *n, pfn_t pfn, int lru) noexcept nogil:
    # at the head of a list of its node
    m.frames[pfn].flags |= PG_LRU
    z.nr_lru[lru] += 1
    n.stat[lru] += 1
    lru_list_add(&n.lruvec.lists[lru], m.frames, pfn)


cdef inline void lru_add(machine_t *m, pfn_t pfn) noexcept nogil:
    # at the head of the list its flags say
    cdef zone_t *z = &m.zones[m.frames[pfn].zone]
    lru_add_to(m, z, &m.nodes[z.nid], pfn, page_lru(m.frames[pfn].flags))


cdef inline void lru_add_drain(machine_t *m) noexcept nogil:
    # the batch of the running CPU is on its lists
    cdef cpu_t *c = &m.cpus[m.cpu]
    cdef int32_t i
    for i in range(c.nr_lru_batch):
        m.frames[c.lru_batch[i]].flags &= ~<uint32_t> PG_LRU_BATCH
    c.nr_lru_batch = 0


cdef inline void folio_add_lru(machine_t *m, pfn_t pfn) noexcept nogil:
    # A new page. It has its place in the list at once, but the reclaim of other CPUs passes it over until the batch is
    # full: what was read ahead last is not evicted before it is used.
    lru_add(m, pfn)
    if m.nr_cpus > 1:            # else whoever reclaims drains the batch first
        lru_batch_add(m, pfn)


cdef inline void lru_batch_add(machine_t *m, pfn_t pfn) noexcept nogil:
    cdef cpu_t *c = &m.cpus[m.cpu]
    m.frames[pfn].flags |= PG_LRU_BATCH
    c.lru_batch[c.nr_lru_batch] = pfn
    c.nr_lru_batch += 1
    if c.nr_lru_batch >= m.p.lru_batch:
        lru_add_drain(m)


cdef inline void lru_add_tail(machine_t *m, pfn_t pfn) noexcept nogil:
    cdef page_t *p = &m.frames[pfn]
    cdef int lru = page_lru(p.flags)
    cdef zone_t *z = &m.zones[p.zone]
    cdef node_t *n = &m.nodes[z.nid]
    p.flags |= PG_LRU
    z.nr_lru[lru] += 1
    n.stat[lru] += 1
    lru_list_add_tail(&n.lruvec.lists[lru], m.frames, pfn)


cdef inline void lru_del(machine_t *m, pfn_t pfn) noexcept nogil:
    cdef page_t *p = &m.frames[pfn]
    cdef int lru = page_lru(p.flags)
    cdef zone_t *z = &m.zones[p.zone]
    cdef node_t *n = &m.nodes[z.nid]
    p.flags &= ~<uint32_t> PG_LRU
    z.nr_lru[lru] -= 1
    n.stat[lru] -= 1
    lru_list_del(&n.lruvec.lists[lru], m.frames, pfn)


cdef inline void note_io(machine_t *m, ns_t done) noexcept nogil:
    # a request will complete then: the running thread must not run past it
    if done < m.deadline:
        m.deadline = done


cdef inline void mm_charge(machine_t *m, ns_t ns) noexcept nogil:
    # simulated work of the running thread; others may get their turn here
    m.now += ns
    if m.now >= m.deadline:
        m.ops.preempt(m)
