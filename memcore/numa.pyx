"""Memory policies and NUMA balancing.

Balancing makes the PTEs of a stretch of memory inaccessible now and then; who faults on them tells where
the page is wanted. In tiering mode (bit 1 of kernel.numa_balancing) a page of a slow node is promoted when
it was touched soon after that, within a rate limit.
"""
from .buddy cimport wmark_pages
from .clock cimport NS_PER_MS, NS_PER_SEC
from .machine cimport count, machine_t, mm_charge
from .mempolicy cimport MPOL_BIND, MPOL_INTERLEAVE, MPOL_PREFERRED, MPOL_WEIGHTED_INTERLEAVE, mempolicy_t
from .migrate cimport migrate_page
from .mm cimport mm_t, vma_t
from .page cimport PG_ANON, PG_TIMED, page_t
from .pte cimport PTE_PRESENT, PTE_PROTNONE, PTE_YOUNG, pte_pfn
from .thread cimport thread_t
from .types cimport MAX_NODES, MM_OK, int64_t, pfn_t, pte_t, uint32_t, uint64_t, vpn_t
from .vmstat cimport (NUMA_HINT_FAULTS, NUMA_HINT_FAULTS_LOCAL, NUMA_PAGES_MIGRATED, NUMA_PTE_UPDATES,
                      PGPROMOTE_CANDIDATE, PGPROMOTE_SUCCESS)
from .watermark cimport WMARK_HIGH, WMARK_PROMO
from .zonelist cimport zonelist_t


cdef int nth_node(const mempolicy_t *pol, uint64_t n) noexcept nogil:
    # the node whose turn it is: n-th of the mask, or by weights
    cdef int i
    cdef uint64_t left
    if pol.mode == MPOL_WEIGHTED_INTERLEAVE:
        left = n % <uint64_t> pol.total_weight
        for i in range(MAX_NODES):
            if (pol.nodes >> i) & 1:
                if left < pol.weights[i]:
                    return i
                left -= pol.weights[i]
        return 0
    left = 0
    for i in range(MAX_NODES):
        left += (pol.nodes >> i) & 1
    left = n % left
    for i in range(MAX_NODES):
        if (pol.nodes >> i) & 1:
            if left == 0:
                return i
            left -= 1
    return 0


cdef const zonelist_t *fault_zonelist(machine_t *m, thread_t *t, mm_t *mm, vma_t *vma, vpn_t vpn) noexcept nogil:
    """Zones for a new page at `vpn`: the VMA's policy, else the task's, else the local node first."""
    cdef int id = vma.policy if vma.policy >= 0 else mm.policy
    cdef mempolicy_t *pol
    cdef int nid = t.nid
    if id < 0:
        return &m.zonelists[nid]
    pol = &m.policies[id]
    if pol.mode == MPOL_BIND:
        return &pol.bound[nid]
    if pol.mode == MPOL_PREFERRED:
        return &m.zonelists[nth_node(pol, 0)]
    if pol.mode == MPOL_INTERLEAVE or pol.mode == MPOL_WEIGHTED_INTERLEAVE:
        if vma.policy >= 0:
            nid = nth_node(pol, vma.pgoff + vpn - vma.start)
        else:
            nid = nth_node(pol, mm.il_next)
            mm.il_next += 1
    return &m.zonelists[nid]


cdef bint promotion_wanted(machine_t *m, pfn_t pfn, int nid) noexcept nogil:
    """Tiering: touched soon after its PTE was taken away, and within the rate limit."""
    cdef page_t *p = &m.frames[pfn]
    cdef uint32_t now_ms = <uint32_t> (m.now // NS_PER_MS)
    cdef int z
    cdef int64_t spare = max(<int64_t> 262144, m.nodes[nid].present // 16)
    for z in range(m.nodes[nid].first_zone, m.nodes[nid].first_zone + m.nodes[nid].nr_zones):
        if m.zones[z].nr_free > wmark_pages(&m.zones[z], WMARK_PROMO) + spare:
            return True
    if not p.flags & PG_TIMED or <uint32_t> (now_ms - p.aux) * NS_PER_MS > <uint64_t> m.p.numa_hot_threshold_ns:
        return False
    count(m, PGPROMOTE_CANDIDATE, 1)
    if m.now - m.promote_stamp >= NS_PER_SEC:
        m.promote_stamp = m.now
        m.promote_budget = m.p.numa_promote_pages_per_sec
    if m.promote_budget <= 0:
        return False
    m.promote_budget -= 1
    return True


cdef int numa_hint_fault(machine_t *m, thread_t *t, mm_t *mm, vma_t *vma, vpn_t vpn) noexcept nogil:
    """do_numa_page: make the PTE accessible again and decide whether its page should move here."""
    cdef pte_t pte = mm.pt.ptes[vpn]
    cdef pfn_t pfn = pte_pfn(pte)
    cdef page_t *p = &m.frames[pfn]
    cdef int nid = m.zones[p.zone].nid
    cdef int here = t.nid
    cdef bint tiering, wanted
    mm.pt.ptes[vpn] = (pte & ~<uint64_t> PTE_PROTNONE) | PTE_PRESENT | PTE_YOUNG
    count(m, NUMA_HINT_FAULTS, 1)
    mm_charge(m, m.p.c_hint_fault)
    if nid == here:
        count(m, NUMA_HINT_FAULTS_LOCAL, 1)
        return MM_OK
    if vma.policy >= 0 or mm.policy >= 0 or not mm.pt.ptes[vpn] & PTE_PRESENT or p.mapcount != 1:
        return MM_OK
    tiering = m.p.numa_balancing & 2 != 0 and m.nodes[nid].tier > m.nodes[here].tier
    if tiering:
        wanted = promotion_wanted(m, pfn, here)
    else:
        # two hints in a row from the same node
        wanted = m.p.numa_balancing & 1 != 0 and p.mlock_count == here + 1
        p.mlock_count = <unsigned char> (here + 1)
    p.flags &= ~<uint32_t> PG_TIMED
    p.aux = 0
    if wanted and migrate_page(m, pfn, here, WMARK_HIGH):
        count(m, NUMA_PAGES_MIGRATED, 1)
        if tiering:
            count(m, PGPROMOTE_SUCCESS, 1)
    return MM_OK


cdef void task_numa_work(machine_t *m, thread_t *t, mm_t *mm) noexcept nogil:
    """One scan period: takes access away from the next numa_scan_pages present pages."""
    cdef int64_t left = m.p.numa_scan_pages, done = 0
    cdef uint64_t v = mm.numa_scan_vpn, walked = 0
    cdef pte_t pte
    cdef page_t *p
    mm.numa_next_scan = m.now + m.p.numa_scan_period_ns
    while left > 0 and walked < mm.pt.npages:
        if v >= mm.pt.npages:
            v = 0
        pte = mm.pt.ptes[v]
        if pte & PTE_PRESENT and pte_pfn(pte):
            p = &m.frames[pte_pfn(pte)]
            if p.flags & PG_ANON and (m.p.numa_balancing & 1 or m.nodes[m.zones[p.zone].nid].tier > 0):
                mm.pt.ptes[v] = (pte & ~<uint64_t> PTE_PRESENT) | PTE_PROTNONE
                if m.p.numa_balancing & 2 and p.aux == 0:
                    p.flags |= PG_TIMED
                    p.aux = <uint32_t> (m.now // NS_PER_MS)
                done += 1
                left -= 1
        v += 1
        walked += 1
    mm.numa_scan_vpn = v
    count(m, NUMA_PTE_UPDATES, done)
    mm_charge(m, done * 20)
