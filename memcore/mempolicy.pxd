# Memory policies (set_mempolicy, mbind): which node a page should come from.
from .types cimport MAX_NODES, int32_t, uint64_t, uint8_t
from .zonelist cimport zonelist_t

cdef enum mpol_mode:
    MPOL_DEFAULT = 0
    MPOL_PREFERRED = 1
    MPOL_BIND = 2
    MPOL_INTERLEAVE = 3
    MPOL_WEIGHTED_INTERLEAVE = 4
    MPOL_LOCAL = 5               # of a VMA: the local node although the task has a policy

ctypedef struct mempolicy_t:
    int32_t mode
    uint64_t nodes               # one bit per node
    uint8_t weights[MAX_NODES]   # of weighted interleave
    int32_t total_weight
    zonelist_t *bound            # BIND: the allowed zones as seen from each node
