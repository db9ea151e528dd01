# Which zones a request may use, in which order.
from .types cimport MAX_NODES, int32_t

cdef enum:
    GFP_INTERLEAVED = 1 << 4         # an interleave policy chose the node; the other flags: page_alloc.pxd

ctypedef struct zonelist_t:
    int32_t zones[4 * MAX_NODES]     # indices of machine zones, best first
    int32_t nr
    int32_t preferred_nid            # node of the first of them
    int32_t highest_zoneidx
    bint constrained                 # a mempolicy leaves nodes out


cdef inline bint zonelist_first_of_node(const zonelist_t *zl, int i) noexcept nogil:
    # zones of one node follow each other
    return i == 0 or zl.zones[i] // 4 != zl.zones[i - 1] // 4
