# A simulated thread: one task of a workload, kswapd, a flusher, or the OOM reaper. Runs as a coroutine on a CPU.
from .coro cimport coro_t
from .debug cimport mm_clz
from .types cimport int32_t, ns_t, uint32_t, uint64_t

cdef enum:
    PLUG_REQUESTS = 32           # blk_plug_max_rq_count: then a plug is flushed
    PLUG_FLUSH_PAGES = 32        # or when a request has become that long (BLK_PLUG_FLUSH_SIZE)
    PLUG_PAGES = 1024
    MAX_SEGMENTS = 127           # pages of one request (512 KiB on NVMe; virtio-blk takes 254, SATA 168)

cdef enum:  # thread_kind
    THREAD_TASK = 0
    THREAD_KSWAPD = 1
    THREAD_FLUSHER = 2
    THREAD_KWORKER = 3           # shrinks compressed memory
    THREAD_REAPER = 4
    THREAD_KCOMPACTD = 5
    NR_THREAD_KINDS = 6

cdef enum:  # thread_state
    TH_NEW = 0                   # start time not reached
    TH_RUNNABLE = 1              # in a run queue
    TH_RUNNING = 2               # has a CPU
    TH_BLOCKED = 3
    TH_DEAD = 4

cdef enum:  # stall_cause           # where a task's waiting time goes
    STALL_DIRECT_RECLAIM = 0     # time spent reclaiming for itself
    STALL_THROTTLE = 1           # put to sleep by reclaim throttling
    STALL_SWAP_IN = 2            # waiting for a swap read
    STALL_FILE_READ = 3          # waiting for a file read
    STALL_DIRTY = 4              # balance_dirty_pages
    STALL_CPU = 5                # runnable without a CPU
    STALL_OOM = 6                # waiting while the OOM killer works
    STALL_DEVICE = 7             # device queue full
    STALL_FSYNC = 8
    NR_STALLS = 9

cdef enum:  # latency_kind          # what an access turned out to be
    LAT_HIT = 0
    LAT_MINOR = 1
    LAT_FILE_MAJOR = 2
    LAT_SWAP_IN = 3
    LAT_DIRECT = 4               # had to reclaim itself, whatever else it did
    LAT_SYSCALL = 5              # read(), write()
    NR_LATENCIES = 6
    LAT_BUCKETS = 320            # 8 per power of two, see latency_bucket

ctypedef struct thread_t:
    coro_t coro
    void *machine                # the machine_t it runs on
    int32_t id
    int32_t kind
    int32_t owner                # mm id, node or device
    int32_t state
    int32_t cpu                  # where it runs or ran last
    int32_t nid                  # node of that CPU
    int32_t rq_next
    int32_t wait_next            # next waiter for the same page
    uint64_t affinity[4]         # allowed CPUs
    ns_t start_at
    ns_t stop_at
    ns_t wake_at                 # timer, valid while `timer` is set
    int32_t timer                # place in the timer heap + 1; 0: none
    ns_t ready_since
    uint64_t vruntime
    int32_t weight               # 1024 at nice 0
    ns_t run_start
    ns_t cpu_ns
    bint killed
    bint oom_victim
    bint oom_skip                # MMF_OOM_SKIP: reaped, or given up by the reaper; the killer passes it over
    ns_t reap_at                 # when the reaper looks at it, 0: never
    int32_t reap_retries
    bint uninterruptible         # what it waits for cannot be interrupted: a signal does not wake it
    int32_t fork_of              # parent's mm id, 0: not forked
    bint exited
    bint in_iowait
    int32_t memstall             # nesting depth of reclaim sections
    bint memalloc                # PF_MEMALLOC: reclaim never recurses
    # what a task runs
    const void *chunk            # access records, uint32 or uint64
    uint64_t chunk_len
    uint64_t pos
    bint wide                    # records are uint64
    bint last_chunk
    bint starving                # waits for its next chunk
    uint64_t accesses
    uint64_t reads
    uint64_t writes
    uint64_t min_flt
    uint64_t maj_flt
    uint64_t local               # loads and stores by node of the page, and what they cost
    uint64_t remote
    ns_t local_ns
    ns_t remote_ns
    int32_t fault_kind           # latency class of the access in progress
    ns_t stall[NR_STALLS]
    uint64_t *latency            # NR_LATENCIES x LAT_BUCKETS, allocated at the first fault
    uint64_t latency_sum[NR_LATENCIES]
    uint64_t nr_dirtied          # since the last pause
    uint64_t nr_dirtied_pause
    ns_t dirty_paused_when
    uint32_t mmap_miss
    ns_t exit_at
    bint plugged                 # swap writes of reclaim are gathered (blk_plug)
    uint32_t *plug               # frames to write, PLUG_PAGES of them, allocated at the first plug
    int32_t plug_count
    int32_t plug_requests        # that they make, neighbours on the device being one
    int32_t plug_last_pages      # of the last of those


cdef inline int latency_bucket(ns_t ns) noexcept nogil:
    # 8 buckets per power of two: relative width 12.5 %
    cdef uint64_t v = <uint64_t> (ns if ns > 0 else 0)
    cdef int e
    if v < 8:
        return <int> v
    e = 60 - mm_clz(v)           # so that v >> e has four bits
    e = (e + 1) * 8 + <int> ((v >> e) & 7)
    return e if e < LAT_BUCKETS else LAT_BUCKETS - 1
