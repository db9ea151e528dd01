"""Swap areas and their slots (mm/swapfile.c, mm/swap_slots.c).

Slots are grouped in clusters of 256. Each CPU fills one cluster from front to back, so pages evicted
together lie together on the device; then it takes the next free cluster, and when none is left it looks
for holes in clusters that have some. Slots are handed out through a per-CPU batch of up to 64.
"""

from libc.stdlib cimport calloc, free
from libc.string cimport memset

from .hostmem cimport host_free, host_zalloc
from .types cimport MAX_CPUS, int64_t, swp_t, uint32_t, uint8_t

cdef int swap_init(swap_info_t *si) except -1:
    si.least_priority = -1
    return 0


cdef int swap_add_area(swap_info_t *si, uint32_t nslots, int prio, bint has_prio, int disk, int zram,
                       bint rotational, bint synchronous) except -1:
    """swapon. The kernel's automatic priorities go down from -2. Raises ValueError or MemoryError."""
    cdef int at, i
    cdef swap_area_t *a
    if si.nr_areas == MAX_SWAPFILES:
        raise ValueError(f"at most {MAX_SWAPFILES} swap areas")
    if not has_prio:
        si.least_priority -= 1
        prio = si.least_priority
    at = si.nr_areas
    while at > 0 and si.areas[at - 1].prio < prio:
        at -= 1
    for i in range(si.nr_areas, at, -1):
        si.areas[i] = si.areas[i - 1]
    a = &si.areas[at]
    memset(a, 0, sizeof(swap_area_t))
    a.prio = prio
    a.nslots = nslots
    a.disk = disk
    a.zram = zram
    a.rotational = rotational
    a.synchronous = synchronous
    si.nr_areas += 1
    if rotational:
        si.nr_rotational += 1
    if synchronous:
        si.nr_synchronous += 1
    return 0


cdef void cluster_push(swap_area_t *a, cluster_list_t *l, uint32_t c) noexcept nogil:
    a.clusters[c].next = 0
    a.clusters[c].prev = l.tail
    if l.tail:
        a.clusters[l.tail].next = c
    else:
        l.head = c
    l.tail = c


cdef void cluster_unlink(swap_area_t *a, cluster_list_t *l, uint32_t c) noexcept nogil:
    cdef swap_cluster_t *k = &a.clusters[c]
    if k.prev:
        a.clusters[k.prev].next = k.next
    else:
        l.head = k.next
    if k.next:
        a.clusters[k.next].prev = k.prev
    else:
        l.tail = k.prev


cdef int swap_finish(swap_info_t *si, int nr_cpus) except -1:
    """Lays out the slot array once all areas are known. Raises MemoryError."""
    cdef swp_t base = 1
    cdef int i
    cdef uint32_t c
    cdef swap_area_t *a
    for i in range(si.nr_areas):
        a = &si.areas[i]
        a.base = base
        base += a.nslots
        a.nclusters = (a.nslots + SWAPFILE_CLUSTER - 1) // SWAPFILE_CLUSTER
        a.clusters = <swap_cluster_t *> calloc(a.nclusters + 1, sizeof(swap_cluster_t))
        if a.clusters == NULL:
            raise MemoryError("swap clusters")
        for c in range(1, a.nclusters + 1):
            cluster_push(a, &a.free_clusters, c)
    si.total = base - 1
    si.nr_free = si.total
    si.use_cache = si.total > 5 * 64 * nr_cpus
    si.slots = <swp_slot_t *> host_zalloc((<size_t> si.total + 2) * sizeof(swp_slot_t))
    si.node_used = <uint8_t *> calloc((base >> 6) + 1, 1)
    if si.slots == NULL or si.node_used == NULL:
        raise MemoryError(f"{base} swap slots")
    return 0


cdef void swap_free_all(swap_info_t *si) noexcept nogil:
    cdef int i
    for i in range(si.nr_areas):
        free(si.areas[i].clusters)
        si.areas[i].clusters = NULL
    host_free(si.slots, (<size_t> si.total + 2) * sizeof(swp_slot_t))
    free(si.node_used)
    si.slots = NULL
    si.node_used = NULL


cdef inline uint32_t cluster_size(const swap_area_t *a, uint32_t c) noexcept nogil:
    # the last cluster of an area may be short
    return a.nslots - (c - 1) * SWAPFILE_CLUSTER if c == a.nclusters else SWAPFILE_CLUSTER


cdef int area_alloc(swap_info_t *si, swap_area_t *a, int cpu, swp_t *out, int n) noexcept nogil:
    """Up to n free slots of the area, marked used, cluster by cluster; returns how many."""
    cdef uint32_t c, off, size
    cdef swp_t first
    cdef int got = 0
    while got < n and a.inuse < a.nslots:
        c = a.current[cpu]
        if c == 0:
            c = a.free_clusters.head
            if c:
                cluster_unlink(a, &a.free_clusters, c)
            else:
                c = a.nonfull.head
                if c == 0:
                    out[got] = steal_slot(si, a)
                    if out[got] == 0:
                        break
                    got += 1
                    continue
                cluster_unlink(a, &a.nonfull, c)
            a.clusters[c].state = CLUSTER_CURRENT
            a.current[cpu] = c
            a.next_offset[cpu] = 0
        size = cluster_size(a, c)
        first = a.base + (c - 1) * SWAPFILE_CLUSTER
        off = a.next_offset[cpu]
        while off < size and got < n:
            if not si.slots[first + off].flags & SWP_USED:
                si.slots[first + off].flags = SWP_USED
                out[got] = first + off
                got += 1
                a.clusters[c].used += 1
                a.inuse += 1
            off += 1
        a.next_offset[cpu] = off
        if got < n:
            a.current[cpu] = 0
            if a.clusters[c].used < size:
                a.clusters[c].state = CLUSTER_NONFULL
                cluster_push(a, &a.nonfull, c)
            else:
                a.clusters[c].state = CLUSTER_FULL
    return got


cdef swp_t steal_slot(swap_info_t *si, swap_area_t *a) noexcept nogil:
    """Last resort: a hole in a cluster that another CPU is filling."""
    cdef swp_t slot
    for slot in range(a.base, a.base + a.nslots):
        if not si.slots[slot].flags & SWP_USED:
            si.slots[slot].flags = SWP_USED
            a.clusters[(slot - a.base) // SWAPFILE_CLUSTER + 1].used += 1
            a.inuse += 1
            return slot
    return 0


cdef int fill_batch(swap_info_t *si, int cpu, swp_t *out, int n) noexcept nogil:
    """Up to n slots from the best area; equal priorities take turns call by call."""
    cdef int first = 0, last, got = 0, k
    while first < si.nr_areas and got == 0:
        last = first
        while last < si.nr_areas and si.areas[last].prio == si.areas[first].prio:
            last += 1
        for k in range(last - first):
            got = area_alloc(si, &si.areas[first + (si.rotor + k) % (last - first)], cpu, out, n)
            if got:
                si.rotor += k + 1
                break
        first = last
    return got


cdef swp_t get_swap_page_slow(swap_info_t *si, int cpu) noexcept nogil:
    """get_swap_page when the CPU has none ahead."""
    cdef swap_cache_t *b = &si.cache[cpu]
    cdef swp_t one
    cdef int got
    if si.nr_free + si.nr_cached <= 0:
        return 0
    if si.use_cache and si.nr_free > 2 * 64:
        b.cur = 0
        b.nr = fill_batch(si, cpu, b.slots, 64)
        si.nr_free -= b.nr
        si.nr_cached += b.nr
        return get_swap_page(si, cpu) if b.nr else 0
    got = fill_batch(si, cpu, &one, 1)
    if got == 0:
        return take_from_batches(si)
    si.nr_free -= 1
    return one


cdef swp_t take_from_batches(swap_info_t *si) noexcept nogil:
    """The areas are exhausted: whatever the CPUs still hold ahead."""
    cdef int c
    cdef swap_cache_t *b
    for c in range(MAX_CPUS):
        b = &si.cache[c]
        if b.nr:
            b.nr -= 1
            si.nr_cached -= 1
            b.cur += 1
            return b.slots[b.cur - 1]
    return 0


cdef void cluster_freed(swap_area_t *a, uint32_t c) noexcept nogil:
    """A slot of a cluster that was full is free, or its last one is."""
    cdef swap_cluster_t *k = &a.clusters[c]
    if k.state == CLUSTER_FULL:
        k.state = CLUSTER_NONFULL
        cluster_push(a, &a.nonfull, c)
    if k.used == 0 and k.state == CLUSTER_NONFULL:
        cluster_unlink(a, &a.nonfull, c)
        k.state = CLUSTER_FREE
        cluster_push(a, &a.free_clusters, c)


cdef int swap_verify(swap_info_t *si) except -1:
    """Recounts slots per cluster and area, and tree nodes; raises AssertionError where they differ."""
    cdef int i
    cdef swp_t slot
    cdef uint32_t c, used
    cdef int64_t inuse = 0, nodes = 0
    cdef swap_area_t *a
    for i in range(si.nr_areas):
        a = &si.areas[i]
        for c in range(1, a.nclusters + 1):
            used = 0
            for slot in range(a.base + (c - 1) * SWAPFILE_CLUSTER,
                              a.base + (c - 1) * SWAPFILE_CLUSTER + cluster_size(a, c)):
                if si.slots[slot].flags & SWP_USED:
                    used += 1
                elif si.slots[slot].count or si.slots[slot].flags:
                    raise AssertionError(f"free slot {slot} has references")
            if used != a.clusters[c].used:
                raise AssertionError(f"swap cluster {c}: {used} slots used, counted {a.clusters[c].used}")
            inuse += used
    if inuse + si.nr_free != si.total:
        raise AssertionError(f"swap: {inuse} used + {si.nr_free} free != {si.total}")
    if si.slots != NULL:
        for slot in range(<swp_t> (si.total >> 6) + 1):
            nodes += si.node_used[slot] != 0
    if nodes != si.nrnodes:
        raise AssertionError(f"swap cache: {nodes} tree nodes, counted {si.nrnodes}")
    return 0
