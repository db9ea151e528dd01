"""The door to the engine: where Python values become structs, and result codes become exceptions.

An `Engine` is one simulated machine. It is built from plain integers (pages, nanoseconds), fed with chunks
of access records and run in bounded steps; `run` says why it stopped. pymem.simulation is its caller.
"""

from importlib import resources

from libc.stdlib cimport calloc, realloc
from libc.string cimport memcpy, memset

from .assemble cimport add_compression, add_workers, set_affinity, set_content, swap_facts
from .blkdev cimport blkdev_init, blkdev_t
from .buddy cimport nr_free_blocks, zone_t
from .content cimport contents_free
from .filemap cimport filemap_add_mapper, filemap_init, filemap_t
from .machine cimport event_t, global_node_stat, machine_alloc, machine_free, machine_t, machine_verify, wb_t
from .mm cimport mm_add_vma, mm_init, mm_t
from .oom cimport NR_OOM_FACTS, OOM_REAPER_DELAY, mark_oom_victim, oom_facts
from .pagestate cimport lru_order, page_states
from .pagetable cimport pagetable_resize
from .pcp cimport pcp_count
from .psi cimport psi_update_averages
from .sample cimport sample_columns, take_sample
from .sched cimport (sched_add_thread, sched_alarm, sched_init, sched_run, sched_start, sched_verify, sched_wake,
                     sched_wake_at)
from .swapfile cimport swap_add_area, swap_finish, swap_init
from .task cimport chunk_writes
from .thread cimport (LAT_BUCKETS, LAT_SYSCALL, NR_LATENCIES, THREAD_FLUSHER, THREAD_KCOMPACTD, THREAD_KSWAPD, THREAD_REAPER,
                      THREAD_TASK, TH_BLOCKED, TH_DEAD, TH_RUNNING, thread_t)
from .topology cimport add_nodes, add_policies, node_facts
from .types cimport MAX_CPUS, MAX_NODES, MAX_NR_ZONES, MIGRATE_TYPES, NR_ORDERS, int64_t, uint32_t, uint64_t, uint8_t
from .zram cimport zram_destroy_all
from .zshrink cimport compressed_verify
from .zswap cimport zswap_destroy


def _names(which: str) -> list[str]:
    """The counters of one list of vmstat.pxd, in order, by their /proc/vmstat names."""
    text = resources.files("memcore").joinpath("vmstat.pxd").read_text(encoding="utf-8")
    block = text.split(f"# {which}:", 1)[1].split("\n\n", 1)[0]
    names = [line.split("#")[0].strip().lower() for line in block.splitlines()[1:]]
    return [n for n in names if n and not n.startswith("nr_vm_") and n not in ("nr_node_stats", "nr_zone_stats")]


EVENT_NAMES = _names("vm_event")
NODE_STAT_NAMES = _names("node_stat")
ZONE_STAT_NAMES = _names("zone_stat")
SAMPLE_COLUMNS = ["time_ns", "accesses", "nr_free_pages", "swap_free", "psi_memory_some", "psi_memory_full",
                  "psi_io_some", "psi_io_full", "psi_cpu_some", "zswap_pool_pages", "kswapd_awake",
                  "nr_dirty_threshold"] + NODE_STAT_NAMES + EVENT_NAMES
EVENT_KINDS = ["kswapd_wake", "kswapd_sleep", "direct_begin", "direct_end", "oom", "oom_kill", "task_start",
               "task_exit", "throttle", "dirty_throttle", "writeback", "node_reclaim"]
EXIT_REASONS = ["none", "chunk", "limit", "oom", "done", "time", "fault", "idle", "alarm"]
LATENCY_KINDS = ["hit", "minor", "file_major", "swap_in", "direct_reclaim", "syscall"]
STALL_CAUSES = ["direct_reclaim", "throttle", "swap_in", "file_read", "dirty", "cpu", "oom", "device", "fsync"]


cdef class Engine:
    """One simulated machine.

    params: tunables and costs by the names of params.pxd (all required).
    nodes: per node {"cpus": int, "distance": [int], "access_ns": [int], "tier": int (0 is the fastest),
        "demotion": [nid] (of the next slower tier), "zones": [{"idx", "start_pfn", "spanned", "managed", "present",
        "free", "percpu", "metadata", "kernel_blocks", "watermarks", "protection"}]}; a zone's kernel memory is
        what of `managed` is not `free`, `percpu` or `metadata`.
    cpu_nodes: node of each CPU.
    devices: [{"rotational", "synchronous" (default False), "read_ns", "write_ns", "queue_depth", "bandwidth"}].
    swaps: [{"slots", "priority" (None: automatic), "device", "rotational", "zram"}]; "zram" is None or
        {"codec", "second" (-1: none), "compress_ns": [2], "decompress_ns": [2], "limit_pages", "backing" (device or
        -1), "writeback", "recompress", "idle_after" (s), "period" (ns), "store"}, see zram.pxd.
    contents: None, or (sizes: uint16 rows x codecs, flags: uint8 per row): what anonymous pages may contain.
    zswap: None, or {"codec", "compress_ns", "decompress_ns"}; "codec" is a column of the contents.
    files: [{"pages", "device"}].
    policies: [{"mode" (mempolicy.pxd), "nodes": [nid], "weights": one each of weighted interleave, 1 to 255}].

    Raises ValueError for impossible figures, MemoryError when the host lacks memory.
    """

    cdef machine_t m
    cdef list chunks             # what each thread reads from, kept alive
    cdef bint started

    def __cinit__(self):
        memset(&self.m, 0, sizeof(machine_t))

    def __init__(self, *, dict params, list nodes, list cpu_nodes, devices=(), swaps=(), files=(),
                 policies=(), contents=None, zswap=None, int64_t sample_interval=0, int64_t time_limit=0,
                 uint64_t seed=0):
        cdef machine_t *m = &self.m
        cdef uint64_t frames = 1
        if not 1 <= len(nodes) <= MAX_NODES:
            raise ValueError(f"{len(nodes)} nodes; 1 to {MAX_NODES} are possible")
        if not 1 <= len(cpu_nodes) <= MAX_CPUS:
            raise ValueError(f"{len(cpu_nodes)} CPUs; 1 to {MAX_CPUS} are possible")
        for node in nodes:
            for zone in node["zones"]:
                frames = max(frames, zone["start_pfn"] + zone["spanned"])
        if frames >= 1 << 32:
            raise ValueError(f"{frames} frames; at most {(1 << 32) - 1} (16 TiB) are possible")
        m.p = params
        m.v61 = m.p.kernel < 612
        m.rng.state = seed
        m.sample_interval = sample_interval
        m.time_limit = time_limit
        self.chunks = [None]
        machine_alloc(m, frames, len(nodes), len(cpu_nodes))
        for i, nid in enumerate(cpu_nodes):
            m.cpus[i].id = i
            m.cpus[i].nid = nid
            m.nodes[nid].nr_cpus += 1
        self.add_devices(devices)
        add_nodes(m, nodes)
        self.add_swaps(swaps, devices)
        add_compression(&self.m, swaps, contents, zswap)
        self.add_files(files)
        add_policies(m, policies)
        sched_init(m)

    def __dealloc__(self):
        zswap_destroy(&self.m)
        zram_destroy_all(&self.m)
        contents_free(&self.m)
        machine_free(&self.m)

    # ---- building -----------------------------------------------------------------------------------

    cdef int add_devices(self, devices) except -1:
        cdef machine_t *m = &self.m
        m.devs = <blkdev_t *> calloc(len(devices) + 1, sizeof(blkdev_t))
        m.wbs = <wb_t *> calloc(len(devices) + 1, sizeof(wb_t))
        if m.devs == NULL or m.wbs == NULL:
            raise MemoryError("devices")
        for i, d in enumerate(devices):
            m.nr_devs = i + 1
            blkdev_init(&m.devs[i], i, d["rotational"], d.get("synchronous", False), d["read_ns"], d["write_ns"],
                        d["queue_depth"], d["bandwidth"])
        return 0

    cdef int add_swaps(self, swaps, devices) except -1:
        cdef machine_t *m = &self.m
        swap_init(&m.swap)
        if sum(s["slots"] for s in swaps) >= (1 << 32) - 2:
            raise ValueError("swap areas of more than 16 TiB together")
        zrams = 0
        for s in swaps:
            prio = s.get("priority")
            zrams += s.get("zram") is not None
            swap_add_area(&m.swap, s["slots"], 0 if prio is None else prio, prio is not None, s["device"],
                          zrams if s.get("zram") is not None else 0, s.get("rotational", False),
                          s.get("zram") is not None or devices[s["device"]].get("synchronous", False))
        swap_finish(&m.swap, m.nr_cpus)
        return 0

    cdef int add_files(self, files) except -1:
        cdef machine_t *m = &self.m
        cdef uint64_t pages
        cdef int disk
        cdef filemap_t **grown
        for f in files:
            grown = <filemap_t **> realloc(m.files, (m.nr_files + 2) * sizeof(filemap_t *))
            if grown == NULL:
                raise MemoryError("files")
            m.files = grown
            m.files[m.nr_files + 1] = <filemap_t *> calloc(1, sizeof(filemap_t))
            if m.files[m.nr_files + 1] == NULL:
                raise MemoryError("files")
            m.nr_files += 1
            if not 0 <= f["device"] < m.nr_devs:
                raise ValueError(f"file on device {f['device']} of {m.nr_devs}")
            pages = f["pages"]
            disk = f["device"]
            filemap_init(m.files[m.nr_files], m.nr_files, pages, disk)
        return 0

    def add_task(self, *, list regions, int64_t start=0, int64_t stop=0, int oom_score_adj=0, int nice=0,
                 affinity=None, int policy=-1, int fork_of=0, int pid=0) -> int:
        """A task over `regions`: [{"pages", "flags", "file" (1-based, 0: anonymous), "pgoff", "policy", "content"}].

        "content" is None or (seed, first row, rows, whether it changes on write). Returns its thread id. `fork_of`
        is the thread id of the parent, whose regions it must repeat.
        """
        cdef machine_t *m = &self.m
        cdef mm_t **grown
        cdef mm_t *mm
        cdef thread_t *t
        grown = <mm_t **> realloc(m.mms, (m.nr_mms + 2) * sizeof(mm_t *))
        if grown == NULL:
            raise MemoryError("address spaces")
        m.mms = grown
        mm = <mm_t *> calloc(1, sizeof(mm_t))
        if mm == NULL:
            raise MemoryError("address space")
        m.nr_mms += 1
        m.mms[m.nr_mms] = mm
        mm_init(mm, m.nr_mms, 0)
        mm_reserve(mm, sum(r["pages"] for r in regions))
        for k, r in enumerate(regions):
            if r["file"] and r["pgoff"] + r["pages"] > m.files[<int> r["file"]].npages:
                raise ValueError(f"region {k} reaches beyond the end of its file")
            mm_add_vma(mm, r["pages"], r["flags"], r["file"], r["pgoff"], k)
            mm.vmas[k].policy = r.get("policy", -1)
            content = r.get("content")
            if content is not None:
                set_content(m, mm, &mm.vmas[k], content)
            if r["file"]:
                filemap_add_mapper(m.files[<int> r["file"]], mm.id)
        mm.oom_score_adj = oom_score_adj
        mm.pid = pid
        mm.policy = policy
        mm.users = 1
        mm.numa_next_scan = start + m.p.numa_scan_delay_ns
        t = sched_add_thread(m, THREAD_TASK, mm.id)
        t.start_at = start
        t.stop_at = stop
        t.weight = nice_weight(nice)
        if fork_of:
            t.fork_of = m.threads[fork_of].owner
            for k in range(mm.nr_vmas):
                mm.vmas[k].content = m.mms[t.fork_of].vmas[k].content    # the same pages
        set_affinity(m, t, range(m.nr_cpus) if affinity is None else affinity)
        m.live_tasks += 1
        while len(self.chunks) <= m.nr_threads:
            self.chunks.append(None)
        return t.id

    def start(self):
        """Creates kswapd and flusher threads and lets the tasks begin. Call once, after add_task."""
        cdef machine_t *m = &self.m
        cdef int i
        cdef thread_t *t
        cdef int tasks = m.nr_threads
        if self.started:
            raise RuntimeError("the engine has been started already")
        self.started = True
        for i in range(m.nr_nodes):
            if m.nodes[i].has_memory:
                t = sched_add_thread(m, THREAD_KSWAPD, i)
                own = [c for c in range(m.nr_cpus) if m.cpus[c].nid == i]
                set_affinity(m, t, own or range(m.nr_cpus))
                m.nodes[i].kswapd = t.id
                sched_start(m, t)
                t = sched_add_thread(m, THREAD_KCOMPACTD, i)
                set_affinity(m, t, own or range(m.nr_cpus))
                m.nodes[i].kcompactd = t.id
                sched_start(m, t)
        disks = {m.files[i].disk for i in range(1, m.nr_files + 1)}
        for i in sorted(disks):
            t = sched_add_thread(m, THREAD_FLUSHER, i)
            set_affinity(m, t, range(m.nr_cpus))
            m.wbs[i].thread = t.id
            sched_start(m, t)
        t = sched_add_thread(m, THREAD_REAPER, 0)
        set_affinity(m, t, range(m.nr_cpus))
        m.oom_reaper = t.id
        add_workers(m)
        for i in range(1, tasks + 1):
            sched_start(m, m.threads[i])

    # ---- running ------------------------------------------------------------------------------------

    def feed(self, int thread, records, bint last):
        """The next records of a task: a C-contiguous uint32 or uint64 array, not copied. `last`: no more.

        Raises ValueError if a record of the short form lies outside the task's regions.
        """
        cdef machine_t *m = &self.m
        cdef thread_t *t = m.threads[thread]
        cdef const uint32_t[::1] narrow
        cdef const uint64_t[::1] wide
        cdef uint64_t i, n
        cdef uint32_t top = 0
        if t.pos < t.chunk_len:
            raise RuntimeError(f"thread {thread} has not finished its records")
        t.writes += chunk_writes(t)
        t.pos = 0
        t.last_chunk = last
        t.chunk_len = 0
        if records is None or len(records) == 0:
            self.chunks[thread] = None
            return
        if records.dtype.itemsize == 4:
            narrow = records
            n = narrow.shape[0]
            with nogil:
                for i in range(n):
                    top = narrow[i] & 0x7fffffff if (narrow[i] & 0x7fffffff) > top else top
            if top >= m.mms[t.owner].pt.npages:
                raise ValueError(f"record addresses page {top} of a task that has {m.mms[t.owner].pt.npages}")
            t.chunk = &narrow[0]
            t.wide = False
        else:
            wide = records
            n = wide.shape[0]
            t.chunk = &wide[0]
            t.wide = True
        t.chunk_len = n
        self.chunks[thread] = records

    def run(self, int64_t budget=1 << 24):
        """Runs up to about `budget` accesses, of which an event uses up 8. Returns (reason, thread id): see EXIT_REASONS.

        Releases the GIL.
        """
        cdef machine_t *m = &self.m
        m.budget = budget
        with nogil:
            sched_run(m)
        return EXIT_REASONS[m.exit_reason], m.exit_thread

    def kill(self, int thread, bint oom=True):
        """SIGKILL: the task exits when it next runs, which is at once unless its sleep cannot be interrupted."""
        cdef machine_t *m = &self.m
        cdef thread_t *t = m.threads[thread]
        if t.kind != THREAD_TASK or t.state == TH_DEAD or t.killed:
            raise ValueError(f"thread {thread} is not a living task")
        t.killed = True
        if oom:
            mark_oom_victim(m, t)
            sched_wake_at(m, m.threads[m.oom_reaper], m.now + OOM_REAPER_DELAY)
        if not t.uninterruptible:
            sched_wake(m, t)

    def alarm(self, int64_t at):
        """`run` returns ("alarm", 0) as soon as simulated time has reached `at` ns."""
        sched_alarm(&self.m, at)

    def sample(self):
        """Appends a row to the time line now."""
        take_sample(&self.m)

    def verify(self):
        """Checks every invariant of every room. Raises AssertionError. Slow: walks all memory."""
        machine_verify(&self.m)
        sched_verify(&self.m)
        compressed_verify(&self.m)

    # ---- looking ------------------------------------------------------------------------------------

    @property
    def now(self):
        """Simulated time, ns: of the CPU that ran last."""
        return self.m.now

    @property
    def fault_page(self):
        return self.m.fault_vpn

    @property
    def oom_nodes(self):
        """Nodes the allocation that ran out was confined to by a memory policy; empty: none."""
        return [i for i in range(self.m.nr_nodes) if (self.m.oom_nodemask >> i) & 1]

    @property
    def total_pages(self):
        return self.m.totalram

    @property
    def min_free_kbytes(self):
        return self.m.min_free_kbytes

    def events_count(self):
        """All event counters by their /proc/vmstat names."""
        return {name: self.m.vm.events[i] for i, name in enumerate(EVENT_NAMES)}

    def node_stats(self, int nid=-1):
        """Levels of one node, or summed over all (-1)."""
        if nid >= 0:
            return {name: self.m.nodes[nid].stat[i] for i, name in enumerate(NODE_STAT_NAMES)}
        return {name: global_node_stat(&self.m, i) for i, name in enumerate(NODE_STAT_NAMES)}

    def zones(self):
        """One dict per populated zone: counts in pages, marks, reserves, free blocks by order, NUMA counters."""
        cdef machine_t *m = &self.m
        cdef zone_t *z
        cdef int i
        out = []
        for i in range(m.nr_zones):
            z = &m.zones[i]
            if z.managed == 0:
                continue
            out.append({
                "node": z.nid, "idx": z.idx, "start_pfn": z.start_pfn, "spanned": z.spanned,
                "present": z.present, "managed": z.managed, "free": z.nr_free, "boost": z.boost,
                "min": z.wmark[0], "low": z.wmark[1], "high": z.wmark[2], "promo": z.wmark[3],
                "protection": [z.lowmem_reserve[j] for j in range(MAX_NR_ZONES)],
                "lru": [z.nr_lru[j] for j in range(5)], "write_pending": z.nr_write_pending,
                "free_area": [nr_free_blocks(z, j) for j in range(NR_ORDERS)],
                "pagetypeinfo": [[z.free_area[mt][j].nr_free for j in range(NR_ORDERS)] for mt in range(MIGRATE_TYPES)],
                "pcp": [{"count": pcp_count(&z.pcp[c]), "high": z.pcp[c].high, "batch": z.pcp_batch}
                        for c in range(m.nr_cpus)],
                "stat": {name: z.stat[j] for j, name in enumerate(ZONE_STAT_NAMES)},
            })
        return out

    def nodes(self):
        """One dict per node: distances, latencies, tier, order of fallback, cost balance, kswapd's failures."""
        return node_facts(&self.m)

    def lru_order(self, int nid, int lru):
        """Pages of one LRU list, head first: (file, page of the file) or (0, page of the task)."""
        return lru_order(&self.m, nid, lru)

    def pages(self, int thread):
        """Where every page of a task is and with which bits: a list of dicts, see pagestate.pyx. Slow."""
        return page_states(&self.m, thread)

    def swap(self):
        """Slots in total, free (as meminfo shows them) and per area; what zram and zswap say of themselves."""
        return swap_facts(&self.m)

    def devices(self):
        cdef machine_t *m = &self.m
        return [{"reads": m.devs[i].ios[0], "writes": m.devs[i].ios[1], "read_pages": m.devs[i].pages[0],
                 "write_pages": m.devs[i].pages[1], "busy_ns": m.devs[i].busy_ns} for i in range(m.nr_devs)]

    def task(self, int thread):
        """State, counters, stalls (ns by cause) and memory (pages) of one task."""
        cdef machine_t *m = &self.m
        cdef thread_t *t = m.threads[thread]
        cdef mm_t *mm = m.mms[t.owner]
        cdef int64_t running = m.cpus[t.cpu].now - t.run_start if t.state == TH_RUNNING else 0
        return {
            "pid": mm.pid, "alive": t.state != TH_DEAD, "killed": t.killed, "oom_killed": t.oom_victim,
            "oom_score_adj": mm.oom_score_adj, "start_ns": t.start_at, "end_ns": t.exit_at,
            "cpu_ns": t.cpu_ns + running, "cpu": t.cpu, "accesses": t.accesses, "writes": t.writes + chunk_writes(t),
            "min_flt": t.min_flt, "maj_flt": t.maj_flt, "local": t.local, "remote": t.remote,
            "local_ns": t.local_ns, "remote_ns": t.remote_ns, "stalls": {c: t.stall[i] for i, c in enumerate(STALL_CAUSES)},
            "rss_anon": mm.rss_anon, "rss_file": mm.rss_file, "rss_shmem": mm.rss_shmem,
            "swapents": mm.swapents, "page_tables": mm.pt.nr_tables, "total_vm": mm.total_vm,
            "locked_vm": mm.locked_vm, "hiwater_rss": mm.hiwater_rss, "started": t.state != TH_BLOCKED or t.cpu_ns > 0,
        }

    def oom_facts(self):
        """What a choice of victims rests on: int64, rows of memcore/oom.pxd, one column per task begun and alive."""
        import numpy as np
        out = np.empty((NR_OOM_FACTS, self.m.nr_threads), dtype=np.int64)
        cdef int64_t[:, ::1] view = out
        return out[:, :oom_facts(&self.m, &view[0, 0])]

    def latency(self, int thread):
        """Histogram of one task: (kinds x buckets of uint64, sums in ns per kind)."""
        import numpy as np
        cdef thread_t *t = self.m.threads[thread]
        hist = np.zeros((NR_LATENCIES, LAT_BUCKETS), dtype=np.uint64)
        cdef uint64_t[:, ::1] view = hist
        if t.latency != NULL:
            memcpy(&view[0, 0], t.latency, NR_LATENCIES * LAT_BUCKETS * sizeof(uint64_t))
        hits = t.local + t.remote - <uint64_t> int(hist[:LAT_SYSCALL].sum())
        return hist, [t.latency_sum[i] for i in range(NR_LATENCIES)], hits

    def psi(self):
        """Totals in ns and averages in percent (10, 60, 300 s) of io, memory and cpu."""
        cdef machine_t *m = &self.m
        psi_update_averages(&m.psi, m.now)
        names = ["io_some", "io_full", "memory_some", "memory_full", "cpu_some"]
        return {n: {"total": m.psi.total[s], "avg": [m.psi.avg[s][k] / 2048 for k in range(3)]}
                for s, n in enumerate(names)}

    def samples(self, int64_t after=-1):
        """The time line so far, or its rows later than a time (ns): int64 array (rows x SAMPLE_COLUMNS)."""
        import numpy as np
        cdef int64_t first = self.m.nr_samples, rows
        cdef int cols = sample_columns()
        while first and self.m.samples[(first - 1) * cols] > after:
            first -= 1
        rows = self.m.nr_samples - first
        out = np.zeros((rows, cols), dtype=np.int64)
        cdef int64_t[:, ::1] view = out
        if rows:
            memcpy(&view[0, 0], &self.m.samples[first * cols], rows * cols * sizeof(int64_t))
        return out

    def event_log(self):
        """(structured array time, kind, who, value; number of events dropped)."""
        import numpy as np
        out = np.zeros(self.m.nr_events, dtype=[("time", "i8"), ("kind", "i4"), ("who", "i4"), ("value", "i8")])
        cdef uint8_t[::1] view
        if self.m.nr_events:
            view = out.view(np.uint8)
            memcpy(&view[0], self.m.events, self.m.nr_events * sizeof(event_t))
        return out, self.m.dropped_events

    def thresholds(self):
        return {"dirty": self.m.wb.thresh, "background": self.m.wb.bg_thresh, "limit": self.m.wb.dirty_limit}


cdef int mm_reserve(mm_t *mm, uint64_t npages) except -1:
    # the page table is sized once instead of growing region by region
    if npages >= <uint64_t> 1 << 32:
        raise ValueError(f"a task of {npages} pages; at most {(1 << 32) - 1} are possible")
    return pagetable_resize(&mm.pt, npages)


cdef int nice_weight(int nice):
    """CFS: 10 % of CPU per step of nice, 1024 at 0."""
    return max(15, round(1024 / 1.25 ** nice))
