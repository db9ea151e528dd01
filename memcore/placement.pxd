# Where new memory should come from, as memory policies say. (mm/mempolicy.c)
from .machine cimport machine_t
from .mempolicy cimport mempolicy_t
from .mm cimport mm_t, vma_t
from .thread cimport thread_t
from .types cimport uint64_t, vpn_t
from .zonelist cimport zonelist_t

cdef const zonelist_t *policy_zonelist(machine_t *m, const mempolicy_t *pol, int nid, uint64_t turn, int *gfp) noexcept nogil
cdef const zonelist_t *task_zonelist(machine_t *m, thread_t *t, int *gfp) noexcept nogil


cdef inline const zonelist_t *vma_zonelist(machine_t *m, thread_t *t, mm_t *mm, vma_t *vma, vpn_t vpn,
                                           int *gfp) noexcept nogil:
    # zones for a page of a mapping at `vpn`; adds to `gfp` what the counters want to know
    cdef int id = vma.policy if vma.policy >= 0 else mm.policy
    if id < 0:
        return &m.zonelists[t.nid]
    return policy_zonelist(m, &m.policies[id], t.nid, vma.pgoff + vpn - vma.start, gfp)
