"""Memory policies at work: the zones for a new page.

Pages of a mapping follow the policy of their VMA, or without one that of the task; an interleave policy counts
pages from the beginning of the mapping. Page cache and page tables follow the task's policy, which then takes
turns (il_prev of the kernel).
"""
from .machine cimport machine_t
from .mempolicy cimport MPOL_BIND, MPOL_INTERLEAVE, MPOL_PREFERRED, MPOL_WEIGHTED_INTERLEAVE, mempolicy_t
from .mm cimport mm_t
from .thread cimport THREAD_TASK, thread_t
from .types cimport MAX_NODES, uint64_t
from .zonelist cimport GFP_INTERLEAVED, zonelist_t


cdef int interleave_nid(const mempolicy_t *pol, uint64_t n) noexcept nogil:
    """The n-th turn's node: as many turns in a row as its weight, which is 1 unless the interleave is weighted."""
    cdef bint weighted = pol.mode == MPOL_WEIGHTED_INTERLEAVE
    cdef uint64_t turns = 0, mine
    cdef int i
    if weighted:
        turns = <uint64_t> pol.total_weight
    else:
        for i in range(MAX_NODES):
            turns += (pol.nodes >> i) & 1
    n %= turns
    for i in range(MAX_NODES):
        if (pol.nodes >> i) & 1:
            mine = pol.weights[i] if weighted else 1
            if n < mine:
                return i
            n -= mine
    return 0


cdef const zonelist_t *policy_zonelist(machine_t *m, const mempolicy_t *pol, int nid, uint64_t turn,
                                       int *gfp) noexcept nogil:
    if pol.mode == MPOL_BIND:
        return &pol.bound[nid]
    if pol.mode == MPOL_PREFERRED:
        return &m.zonelists[interleave_nid(pol, 0)]
    if pol.mode == MPOL_INTERLEAVE or pol.mode == MPOL_WEIGHTED_INTERLEAVE:
        gfp[0] |= GFP_INTERLEAVED
        return &m.zonelists[interleave_nid(pol, turn)]
    return &m.zonelists[nid]


cdef const zonelist_t *task_zonelist(machine_t *m, thread_t *t, int *gfp) noexcept nogil:
    """Zones for page cache and page tables."""
    cdef mm_t *mm
    cdef mempolicy_t *pol
    if t.kind != THREAD_TASK or m.mms[t.owner].policy < 0:
        return &m.zonelists[t.nid]
    mm = m.mms[t.owner]
    pol = &m.policies[mm.policy]
    if pol.mode == MPOL_INTERLEAVE or pol.mode == MPOL_WEIGHTED_INTERLEAVE:
        mm.il_next += 1
        return policy_zonelist(m, pol, t.nid, mm.il_next - 1, gfp)
    return policy_zonelist(m, pol, t.nid, 0, gfp)
