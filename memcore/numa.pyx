"""NUMA balancing and the promotion of hot pages.

Now and then a stretch of a task's memory is made to fault. Who faults on a page tells where it is wanted: it
moves there, unless another node's fault came in between. In tiering mode (bit 1 of kernel.numa_balancing) a
page of a slow node is promoted when it was touched soon after it was made to fault, within a rate limit.
"""
from .balance cimport wakeup_kswapd
from .buddy cimport wmark_pages, zone_watermark_ok
from .clock cimport NS_PER_MS, NS_PER_SEC
from .machine cimport count, machine_t, mm_charge
from .migrate cimport migrate_page
from .mm cimport VM_EXEC, VM_FILE, VM_SHARED, VM_UNMAPPED, VM_WRITE, mm_t, vma_t
from .node cimport node_t
from .page cimport PG_ANON, PG_DIRTY, PG_MLOCKED, PG_TIMED, page_t
from .pte cimport PTE_PRESENT, PTE_PROTNONE, PTE_YOUNG, pte_pfn
from .thread cimport thread_t
from .types cimport MM_OK, ZONE_MOVABLE, int64_t, ns_t, pfn_t, pte_t, uint32_t, uint64_t, vpn_t
from .vmstat cimport (NUMA_HINT_FAULTS, NUMA_HINT_FAULTS_LOCAL, NUMA_PAGES_MIGRATED, NUMA_PTE_UPDATES,
                      PGPROMOTE_CANDIDATE, PGPROMOTE_SUCCESS)
from .watermark cimport WMARK_HIGH, WMARK_PROMO

cdef enum:
    NUMA_BALANCING_NORMAL = 1
    NUMA_BALANCING_MEMORY_TIERING = 2
    EARLY_SCANS = 4              # until then the first fault on a private page is enough
    ADJUST_STEPS = 16            # NUMA_MIGRATION_ADJUST_STEPS
    ENOUGH_PAGES = 262144        # 1 GiB
    VIRTUAL_PAGES = 8            # address space looked at per page that may be made to fault
    SCAN_PTE_NS = 20


# ---- promotion ------------------------------------------------------------------------------------------

cdef bint zone_of_node_ok(machine_t *m, node_t *n, int wmark, int64_t more) noexcept nogil:
    # is any zone of the node `more` pages above its mark?
    cdef int z
    for z in range(n.first_zone, n.first_zone + n.nr_zones):
        if m.zones[z].managed and zone_watermark_ok(&m.zones[z], 0, wmark_pages(&m.zones[z], wmark) + more,
                                                    ZONE_MOVABLE, m.zones[z].nr_free):
            return True
    return False


cdef void promotion_adjust_threshold(machine_t *m, node_t *n) noexcept nogil:
    """Once in a longest scan period: fewer pages are hot if there were more candidates than the rate limit lets
    through, more if there were fewer; up to twice the default."""
    cdef int64_t expected, found
    cdef ns_t step = m.p.numa_hot_threshold_ns * 2 // ADJUST_STEPS
    cdef ns_t th = n.nbp_threshold if n.nbp_threshold else m.p.numa_hot_threshold_ns
    if m.now - n.nbp_th_start <= m.p.numa_scan_period_max_ns:
        return
    n.nbp_th_start = m.now
    expected = m.p.numa_promote_pages_per_sec * (m.p.numa_scan_period_max_ns // NS_PER_MS) // 1000
    found = n.nbp_candidates - n.nbp_th_candidates
    if found > expected * 11 // 10:
        th = max(th - step, step)
    elif found < expected * 9 // 10:
        th = min(th + step, 2 * m.p.numa_hot_threshold_ns)
    n.nbp_th_candidates = n.nbp_candidates
    n.nbp_threshold = th


cdef bint promotion_rate_limited(machine_t *m, node_t *n) noexcept nogil:
    """Counts a candidate; True if the node has had too many in this second."""
    n.nbp_candidates += 1
    count(m, PGPROMOTE_CANDIDATE, 1)
    if m.now - n.nbp_rl_start > NS_PER_SEC:
        n.nbp_rl_start = m.now
        n.nbp_rl_candidates = n.nbp_candidates
    return n.nbp_candidates - n.nbp_rl_candidates >= m.p.numa_promote_pages_per_sec


cdef bint promotion_wanted(machine_t *m, node_t *n, bint timed, ns_t latency) noexcept nogil:
    """A page of a slow node was used by a CPU of node `n`, `latency` after it was made to fault."""
    if zone_of_node_ok(m, n, WMARK_PROMO, max(<int64_t> ENOUGH_PAGES, n.present // 16)):
        n.nbp_threshold = 0          # there is room for all, so what is hot has to be learnt anew
        return True
    promotion_adjust_threshold(m, n)
    if not timed or latency >= (n.nbp_threshold if n.nbp_threshold else m.p.numa_hot_threshold_ns):
        return False
    return not promotion_rate_limited(m, n)


# ---- hint faults ----------------------------------------------------------------------------------------

cdef bint should_numa_migrate(mm_t *mm, page_t *p, int here) noexcept nogil:
    """Remembers who faulted; False if the last one did so on another node. The early faults of a task on its own
    pages are enough by themselves, for they do not tell yet where it will stay."""
    cdef int last = p.mlock_count
    if p.flags & PG_MLOCKED:
        return True                  # the field counts locks
    p.mlock_count = <unsigned char> (here + 1)
    return last == 0 or last == here + 1 or mm.numa_scan_seq <= EARLY_SCANS and p.mapcount == 1


cdef bint migrate_balanced_node(machine_t *m, node_t *n) noexcept nogil:
    """Room above HIGH at the destination; in tiering mode kswapd makes some for the next ones."""
    cdef int z
    if zone_of_node_ok(m, n, WMARK_HIGH, 1):
        return True
    if m.p.numa_balancing & NUMA_BALANCING_MEMORY_TIERING:
        for z in range(n.first_zone + n.nr_zones - 1, n.first_zone - 1, -1):
            if m.zones[z].managed:
                wakeup_kswapd(m, z, 0, ZONE_MOVABLE)
                break
    return False


cdef int numa_hint_fault(machine_t *m, thread_t *t, mm_t *mm, vma_t *vma, vpn_t vpn) noexcept nogil:
    """do_numa_page: make the PTE accessible again and decide whether its page should move here."""
    cdef pte_t pte = mm.pt.ptes[vpn]
    cdef pfn_t pfn = pte_pfn(pte)
    cdef page_t *p = &m.frames[pfn]
    cdef int nid = m.zones[p.zone].nid
    cdef int here = t.nid
    cdef node_t *n = &m.nodes[here]
    cdef bint timed = p.flags & PG_TIMED != 0
    cdef ns_t latency = <ns_t> (<uint32_t> (<uint32_t> (m.now // NS_PER_MS) - p.aux)) * NS_PER_MS
    cdef bint wanted, tiering = m.p.numa_balancing & NUMA_BALANCING_MEMORY_TIERING != 0
    mm.pt.ptes[vpn] = (pte & ~<uint64_t> PTE_PROTNONE) | PTE_PRESENT | PTE_YOUNG
    if timed:
        p.flags &= ~<uint32_t> PG_TIMED
        p.aux = 0
    count(m, NUMA_HINT_FAULTS, 1)
    if nid == here:
        count(m, NUMA_HINT_FAULTS_LOCAL, 1)
    if vma.policy < 0 and mm.policy < 0 and n.has_memory:
        if tiering and not m.nodes[nid].toptier:
            wanted = promotion_wanted(m, n, timed, latency)
        else:
            wanted = should_numa_migrate(mm, p, here)
        # program text that several tasks map, and dirty file pages, stay
        if not p.flags & PG_ANON and (p.flags & PG_DIRTY or p.mapcount > 1 and vma.flags & VM_EXEC):
            wanted = False
        if wanted and nid != here and migrate_balanced_node(m, n) and migrate_page(m, pfn, here, WMARK_HIGH):
            count(m, NUMA_PAGES_MIGRATED, 1)
            if tiering and n.toptier and not m.nodes[nid].toptier:
                count(m, PGPROMOTE_SUCCESS, 1)
    mm_charge(m, m.p.c_hint_fault)
    return MM_OK


# ---- the scan -------------------------------------------------------------------------------------------

cdef bint vma_migratable(const mm_t *mm, const vma_t *vma) noexcept nogil:
    # a policy has decided already; read-only mappings of files are shared libraries, most of them in caches
    if vma.flags & VM_UNMAPPED or vma.policy >= 0 or mm.policy >= 0:
        return False
    return not vma.flags & VM_FILE or vma.flags & VM_WRITE != 0


cdef int64_t change_prot_numa(machine_t *m, thread_t *t, mm_t *mm, const vma_t *vma, uint64_t start,
                              uint64_t end) noexcept nogil:
    """Makes the present pages of [start, end) fault on their next use. Returns how many it changed."""
    cdef int64_t changed = 0
    cdef uint64_t v
    cdef pte_t pte
    cdef page_t *p
    cdef int nid
    for v in range(start, end):
        pte = mm.pt.ptes[v]
        if not pte & PTE_PRESENT or pte_pfn(pte) == 0:
            continue
        p = &m.frames[pte_pfn(pte)]
        nid = m.zones[p.zone].nid
        if not vma.flags & VM_SHARED and (p.mapcount != 1 or nid == t.nid and mm.users == 1):
            continue                 # shared by copy on write; or of a task with one thread, which is here
        if not p.flags & PG_ANON and p.flags & PG_DIRTY:
            continue
        if not m.p.numa_balancing & NUMA_BALANCING_NORMAL and m.nodes[nid].toptier:
            continue
        if m.p.numa_balancing & NUMA_BALANCING_MEMORY_TIERING and not m.nodes[nid].toptier and (
                p.aux == 0 or p.flags & PG_TIMED):
            p.flags |= PG_TIMED
            p.aux = <uint32_t> (m.now // NS_PER_MS)
        mm.pt.ptes[v] = (pte & ~<uint64_t> PTE_PRESENT) | PTE_PROTNONE
        changed += 1
    return changed


cdef void task_numa_work(machine_t *m, thread_t *t, mm_t *mm) noexcept nogil:
    """One scan: goes on where the last one stopped, until numa_scan_pages pages of memory were made to fault or
    eight times as much was looked at."""
    cdef int64_t pages = m.p.numa_scan_pages
    cdef int64_t virtual = pages * VIRTUAL_PAGES, changed = 0, n
    cdef uint64_t at = mm.numa_scan_vpn, end
    cdef int i = 0
    cdef vma_t *vma
    mm.numa_next_scan = m.now + m.p.numa_scan_period_ns
    while i < mm.nr_vmas and mm.vmas[i].end <= at:
        i += 1
    while i < mm.nr_vmas and pages > 0 and virtual > 0:
        vma = &mm.vmas[i]
        at = max(at, vma.start)
        if vma_migratable(mm, vma):
            end = min(vma.end, at + <uint64_t> pages)
            n = change_prot_numa(m, t, mm, vma, at, end)
            changed += n
            if n:
                pages -= <int64_t> (end - at)
            virtual -= <int64_t> (end - at)
            at = end
        else:
            at = vma.end
        if at == vma.end:
            i += 1
    if i == mm.nr_vmas:
        mm.numa_scan_seq += 1
        at = 0
    mm.numa_scan_vpn = at
    count(m, NUMA_PTE_UPDATES, changed)
    mm_charge(m, changed * SCAN_PTE_NS)
