"""The machine: allocation of its arrays, derived figures, the event log, and the walk that checks it all."""

from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy

from .blkdev cimport blkdev_free
from .buddy cimport zone_free, zone_t, zone_verify
from .coro cimport coro_free
from .filemap cimport filemap_free, filemap_t, filemap_verify
from .hostmem cimport host_free, host_zalloc
from .list cimport lru_list_verify
from .lruvec cimport LRUVEC_ACTIVATE_ANON, LRUVEC_ACTIVATE_FILE, NR_LRU, lruvec_free, lruvec_t, page_lru
from .mm cimport mm_free, mm_t, mm_verify_vmas
from .node cimport node_t
from .page cimport PG_ANON, PG_BUDDY, PG_ISOLATED, PG_KERNEL, PG_LRU_BATCH, PG_PCP, PG_SWAPCACHE, page_t
from .pcp cimport pcp_count, pcp_verify, zone_init_pcp
from .psi cimport NR_MEMSTALL, NR_MEMSTALL_RUNNING, psi_change
from .pte cimport PTE_SWAP, pte_mapped, pte_pfn
from .swapfile cimport SWP_HAS_CACHE, swap_free_all, swap_verify
from .thread cimport thread_t
from .types cimport MAX_NR_ZONES, MAX_ORDER, ZONE_MOVABLE, ZONE_NORMAL, int64_t, uint64_t
from .vmstat cimport (NR_KERNEL_PINNED, NR_PAGE_TABLE_PAGES, NR_SLAB_RECLAIMABLE, NR_SLAB_UNRECLAIMABLE,
                      NR_SWAPCACHED, NR_ZSPAGES, WORKINGSET_ACTIVATE_ANON, WORKINGSET_ACTIVATE_FILE)
from .watermark cimport (WMARK_HIGH, WMARK_LOW, WMARK_PROMO, calculate_min_free_kbytes, setup_lowmem_reserve,
                         setup_zone_wmarks, thp_min_free_kbytes)

cdef enum:
    NR_EVICTABLE = 4             # lists that reclaim scans, the first of all
    STATS_FLUSH_NS = 2000000000  # FLUSH_TIME


cdef inline size_t frames_size(uint64_t nr_frames) noexcept nogil:
    # up to the end of a largest block: the buddy of a frame has an entry whatever it is
    return ((nr_frames >> MAX_ORDER) + 1 << MAX_ORDER) * sizeof(page_t)


cdef int machine_alloc(machine_t *m, uint64_t nr_frames, int nr_nodes, int nr_cpus) except -1:
    """The arrays of an empty machine; host memory is committed as frames are used. Raises MemoryError."""
    cdef int i
    m.nr_frames = nr_frames
    m.nr_nodes = nr_nodes
    m.nr_zones = nr_nodes * MAX_NR_ZONES
    m.nr_cpus = nr_cpus
    m.frames = <page_t *> host_zalloc(frames_size(nr_frames))
    m.zones = <zone_t *> calloc(m.nr_zones, sizeof(zone_t))
    m.nodes = <node_t *> calloc(nr_nodes, sizeof(node_t))
    m.cpus = <cpu_t *> calloc(nr_cpus, sizeof(cpu_t))
    m.mms = <mm_t **> calloc(1, sizeof(mm_t *))
    m.files = <filemap_t **> calloc(1, sizeof(filemap_t *))
    m.threads = <thread_t **> calloc(1, sizeof(thread_t *))
    if (m.frames == NULL or m.zones == NULL or m.nodes == NULL or m.cpus == NULL or m.mms == NULL
            or m.files == NULL or m.threads == NULL):
        raise MemoryError(f"a machine of {nr_frames} frames")
    for i in range(nr_nodes):
        m.nodes[i].nid = i
        m.nodes[i].first_zone = i * MAX_NR_ZONES
        m.nodes[i].kswapd_highest_zoneidx = MAX_NR_ZONES
    m.psi.nr_cpus = nr_cpus
    m.psi.avg_next = 2000000000
    m.max_events = 1 << 20
    return 0


cdef int machine_finish_zones(machine_t *m) except -1:
    """Watermarks, reserves and per-CPU list sizes once all zones are known (init_per_zone_wmark_min)."""
    cdef int i, j, populated = 0
    cdef int64_t lowmem = 0, movable = 0, reserve
    cdef int64_t[MAX_NR_ZONES] managed
    cdef int64_t[MAX_NR_ZONES] ratio
    cdef bint fixed_min
    cdef zone_t *z
    cdef node_t *n
    ratio[0] = m.p.lowmem_reserve_dma
    ratio[1] = m.p.lowmem_reserve_dma32
    ratio[2] = m.p.lowmem_reserve_normal
    ratio[3] = 0
    for i in range(m.nr_zones):
        if m.zones[i].idx == ZONE_MOVABLE:
            movable += m.zones[i].managed
        else:
            lowmem += m.zones[i].managed
        populated += m.zones[i].managed > 0 and m.zones[i].idx <= ZONE_NORMAL
    m.totalram = lowmem + movable
    if m.p.min_free_kbytes >= 0:
        m.min_free_kbytes = m.p.min_free_kbytes
    else:
        m.min_free_kbytes = calculate_min_free_kbytes(lowmem * 4)
        if m.p.thp_enabled:
            m.min_free_kbytes = thp_min_free_kbytes(m.min_free_kbytes, populated, lowmem)
    # the reserve is shared out among the zones that the kernel can use; 6.1 gave movable memory its part too
    if m.v61 or lowmem == 0:
        lowmem += movable
    m.totalreserve_pages = 0
    for i in range(m.nr_nodes):
        n = &m.nodes[i]
        n.managed = 0
        n.nr_zones = 0
        for j in range(MAX_NR_ZONES):
            managed[j] = m.zones[n.first_zone + j].managed
            n.managed += managed[j]
            if managed[j]:
                n.nr_zones = j + 1
        n.has_memory = n.managed > 0
        n.min_unmapped_pages = n.managed * m.p.min_unmapped_ratio // 100
        n.min_slab_pages = n.managed * m.p.min_slab_ratio // 100
        for j in range(MAX_NR_ZONES):
            z = &m.zones[n.first_zone + j]
            setup_lowmem_reserve(z.lowmem_reserve, managed, ratio, j, MAX_NR_ZONES)
            if z.managed == 0:
                continue
            fixed_min = j == ZONE_MOVABLE and not m.v61
            setup_zone_wmarks(z.wmark, z.managed, lowmem, m.min_free_kbytes, m.p.watermark_scale_factor, fixed_min)
            if z.given_protection:
                memcpy(z.lowmem_reserve, z.given_reserve, sizeof(z.given_reserve))
            if z.given:
                memcpy(z.wmark, z.given_wmark, sizeof(z.given_wmark))
                z.wmark[WMARK_PROMO] = 2 * z.wmark[WMARK_HIGH] - z.wmark[WMARK_LOW]
            zone_init_pcp(z, n.nr_cpus, m.p.percpu_pagelist_high_fraction, not m.v61)
            reserve = z.wmark[WMARK_HIGH] + max(z.lowmem_reserve[0], z.lowmem_reserve[1],
                                                z.lowmem_reserve[2], z.lowmem_reserve[3])
            m.totalreserve_pages += min(z.managed, reserve)
    return 0


cdef int last_cpu(machine_t *m, int nid) noexcept nogil:
    """The node's CPU with the highest number, or CPU 0 of a node without."""
    cdef int c, last = 0
    for c in range(m.nr_cpus):
        if m.cpus[c].nid == nid:
            last = c
    return last


cdef void memstall_enter(machine_t *m) noexcept nogil:
    cdef thread_t *t = m.curr
    t.memstall += 1
    if t.memstall == 1:
        psi_change(&m.psi.cpu[m.cpu], m.now, NR_MEMSTALL, 1)
        psi_change(&m.psi.cpu[m.cpu], m.now, NR_MEMSTALL_RUNNING, 1)
        m.psi.cpu[m.cpu].oncpu_memstall += 1


cdef void memstall_leave(machine_t *m) noexcept nogil:
    cdef thread_t *t = m.curr
    t.memstall -= 1
    if t.memstall == 0:
        psi_change(&m.psi.cpu[m.cpu], m.now, NR_MEMSTALL, -1)
        psi_change(&m.psi.cpu[m.cpu], m.now, NR_MEMSTALL_RUNNING, -1)
        m.psi.cpu[m.cpu].oncpu_memstall -= 1


cdef void machine_free(machine_t *m) noexcept nogil:
    cdef int i
    if m.zones != NULL:
        for i in range(m.nr_zones):
            zone_free(&m.zones[i])
    if m.nodes != NULL:
        for i in range(m.nr_nodes):
            lruvec_free(&m.nodes[i].lruvec)
    for i in range(1, m.nr_mms + 1):
        mm_free(m.mms[i])
        free(m.mms[i])
    for i in range(1, m.nr_files + 1):
        filemap_free(m.files[i])
        free(m.files[i])
    for i in range(1, m.nr_threads + 1):
        coro_free(&m.threads[i].coro)
        free(m.threads[i].latency)
        free(m.threads[i].plug)
        free(m.threads[i])
    for i in range(m.nr_devs):
        blkdev_free(&m.devs[i])
    swap_free_all(&m.swap)
    free(m.devs)
    free(m.wbs)
    for i in range(NR_SLAB_CACHES):
        free(m.slabs[i].blocks)
    free(m.timers)
    free(m.events)
    free(m.samples)
    free(m.cpus)
    free(m.threads)
    free(m.files)
    free(m.mms)
    for i in range(m.nr_policies):
        free(m.policies[i].bound)
    free(m.policies)
    free(m.zonelists)
    free(m.nodes)
    free(m.zones)
    host_free(m.frames, frames_size(m.nr_frames))


cdef void log_event(machine_t *m, int kind, int who, int64_t value) noexcept nogil:
    """Appends to the event log; beyond max_events only a count is kept."""
    cdef event_t *grown
    cdef int64_t cap
    if m.nr_events == m.cap_events:
        if m.cap_events >= m.max_events:
            m.dropped_events += 1
            return
        cap = m.cap_events * 2 + 1024
        grown = <event_t *> realloc(m.events, cap * sizeof(event_t))
        if grown == NULL:
            m.dropped_events += 1
            return
        m.events = grown
        m.cap_events = cap
    m.events[m.nr_events] = event_t(time=m.now, kind=kind, who=who, value=value)
    m.nr_events += 1


cdef int64_t global_node_stat(const machine_t *m, int item) noexcept nogil:
    cdef int64_t s = 0
    cdef int i
    for i in range(m.nr_nodes):
        s += m.nodes[i].stat[item]
    return s


cdef int64_t global_free(const machine_t *m) noexcept nogil:
    cdef int64_t s = 0
    cdef int i
    for i in range(m.nr_zones):
        s += m.zones[i].nr_free
    return s


cdef void lru_sizes(const machine_t *m, const node_t *n, int zone_idx, int64_t *size) noexcept nogil:
    """Pages of each list in the node's zones up to `zone_idx`, without those that wait in the batch of a CPU."""
    cdef int c, i, lru, z
    cdef const page_t *p
    for lru in range(NR_EVICTABLE):
        size[lru] = n.stat[lru]
        for z in range(zone_idx + 1, MAX_NR_ZONES):
            size[lru] -= m.zones[n.first_zone + z].nr_lru[lru]
    for c in range(m.nr_cpus):
        for i in range(m.cpus[c].nr_lru_batch):
            p = &m.frames[m.cpus[c].lru_batch[i]]
            z = p.zone - n.first_zone
            lru = page_lru(p.flags)
            # it may have left the batch by being freed, and another may count it
            if p.flags & PG_LRU_BATCH and 0 <= z <= zone_idx and lru < NR_EVICTABLE and size[lru] > 0:
                size[lru] -= 1


cdef void lruvec_state_flush(machine_t *m, node_t *n) noexcept nogil:
    """The statistics of an lruvec are summed up: until the next time reclaim sees what they say now."""
    cdef lruvec_t *v = &n.lruvec
    v.state_from = m.now // STATS_FLUSH_NS * STATS_FLUSH_NS
    v.state_until = v.state_from + STATS_FLUSH_NS
    lru_sizes(m, n, MAX_NR_ZONES - 1, v.state)
    v.state[LRUVEC_ACTIVATE_ANON] = n.stat[WORKINGSET_ACTIVATE_ANON]
    v.state[LRUVEC_ACTIVATE_FILE] = n.stat[WORKINGSET_ACTIVATE_FILE]


cdef int verify_lists(machine_t *m) except -1:
    """LRU rings, and the counts per zone and node that must equal them."""
    cdef int i, j
    cdef int64_t on_zones
    cdef node_t *n
    for i in range(m.nr_nodes):
        n = &m.nodes[i]
        for j in range(NR_LRU):
            lru_list_verify(&n.lruvec.lists[j], m.frames)
            on_zones = 0
            for z in range(MAX_NR_ZONES):
                on_zones += m.zones[n.first_zone + z].nr_lru[j]
            if not (n.lruvec.lists[j].count == n.stat[j] == on_zones):
                raise AssertionError(f"node {i} list {j}: {n.lruvec.lists[j].count} pages, node counts "
                                     f"{n.stat[j]}, zones {on_zones}")
    return 0


cdef int verify_frames(machine_t *m) except -1:
    """Every managed frame is exactly one of: free, in a per-CPU list, on the LRU, kernel, in flight."""
    cdef int i, c
    cdef int64_t pcp, kernel, flight = 0, total
    cdef uint64_t pfn
    cdef page_t *p
    cdef int64_t all_pcp = 0, all_lru = 0, all_free = 0
    for i in range(m.nr_zones):
        if m.zones[i].managed == 0:
            continue
        zone_verify(&m.zones[i], m.frames)
        pcp_verify(&m.zones[i], m.frames)
        pcp = 0
        for c in range(m.zones[i].nr_cpus):
            pcp += pcp_count(&m.zones[i].pcp[c])
        all_pcp += pcp
        all_free += m.zones[i].nr_free
        for j in range(NR_LRU):
            all_lru += m.zones[i].nr_lru[j]
    kernel = (global_node_stat(m, NR_PAGE_TABLE_PAGES) + global_node_stat(m, NR_SLAB_RECLAIMABLE)
              + global_node_stat(m, NR_SLAB_UNRECLAIMABLE) + global_node_stat(m, NR_KERNEL_PINNED)
              + global_node_stat(m, NR_ZSPAGES) + m.zbud_pages)
    for pfn in range(1, m.nr_frames):
        p = &m.frames[pfn]
        if p.mapcount and p.flags & (PG_BUDDY | PG_PCP):
            raise AssertionError(f"frame {pfn} is mapped and free")
        if p.flags & PG_ISOLATED:
            flight += 1
    total = all_free + all_pcp + all_lru + kernel + flight
    if total > m.totalram:
        raise AssertionError(f"{total} pages accounted of {m.totalram}")
    if m.totalram - total > 64 * (m.nr_threads + 1):
        raise AssertionError(f"{m.totalram - total} pages lost (free {all_free}, pcp {all_pcp}, lru {all_lru}, "
                             f"kernel {kernel}, of {m.totalram})")
    return 0


cdef int verify_mms(machine_t *m) except -1:
    """PTEs against frames, resident sets and swap references."""
    cdef int i
    cdef uint64_t v
    cdef mm_t *mm
    cdef int64_t anon, filep, swapped
    cdef uint64_t pte
    cdef page_t *p
    for i in range(1, m.nr_mms + 1):
        mm = m.mms[i]
        if not mm.alive:
            continue
        mm_verify_vmas(mm)
        anon = filep = swapped = 0
        for v in range(mm.pt.npages):
            pte = mm.pt.ptes[v]
            if pte_mapped(pte):
                if pte_pfn(pte) == 0:
                    continue
                p = &m.frames[pte_pfn(pte)]
                if p.flags & (PG_BUDDY | PG_PCP | PG_KERNEL) or p.mapcount == 0:
                    raise AssertionError(f"mm {i} page {v} maps frame {pte_pfn(pte)} with flags {p.flags:#x} "
                                         f"mapped {p.mapcount} times")
                if p.flags & PG_ANON:
                    anon += 1
                    if p.mapcount == 1 and (p.index != v):
                        raise AssertionError(f"frame {pte_pfn(pte)} believes it is at {p.index}, not {v}")
                else:
                    filep += 1
            elif pte & PTE_SWAP:
                swapped += 1
                if m.swap.slots[pte_pfn(pte)].count == 0:
                    raise AssertionError(f"mm {i} page {v} refers to unused slot {pte_pfn(pte)}")
        if (anon, filep, swapped) != (mm.rss_anon, mm.rss_file, mm.swapents):
            raise AssertionError(f"mm {i}: rss anon, file, swap {anon, filep, swapped}, counted "
                                 f"{mm.rss_anon, mm.rss_file, mm.swapents}")
    return 0


cdef int verify_swapcache(machine_t *m) except -1:
    cdef uint64_t pfn
    cdef int64_t cached = 0
    cdef page_t *p
    for pfn in range(1, m.nr_frames):
        p = &m.frames[pfn]
        if p.flags & PG_BUDDY or p.flags & PG_PCP or not p.flags & PG_SWAPCACHE:
            continue
        cached += 1
        if not m.swap.slots[p.swap].flags & SWP_HAS_CACHE or m.swap.slots[p.swap].value != pfn:
            raise AssertionError(f"frame {pfn} is in the swap cache of slot {p.swap}, which does not know it")
    if cached != global_node_stat(m, NR_SWAPCACHED):
        raise AssertionError(f"{cached} pages in swap cache, counted {global_node_stat(m, NR_SWAPCACHED)}")
    return 0


cdef int machine_verify(machine_t *m) except -1:
    """Walks every structure; raises AssertionError naming the first thing that is wrong. Slow: for tests."""
    cdef int i
    verify_lists(m)
    verify_frames(m)
    verify_mms(m)
    swap_verify(&m.swap)
    verify_swapcache(m)
    for i in range(1, m.nr_files + 1):
        filemap_verify(m.files[i])
    return 0
