"""NUMA nodes: the order in which a node's allocations fall back to its neighbours."""
from .types cimport MAX_NODES, int32_t, int64_t


cdef int node_build_zonelist(node_t *nodes, int nr_nodes, int nid, int32_t *load) noexcept nogil:
    """Fills nodes[nid].fallback as build_zonelists does; `load` carries over from node to node.

    Local first; then always the unused node with memory of the least
    (distance + 1 if numbered below nid + 1 if it has CPUs) * MAX_NODES + load. The first node of each new
    distance gets more load, which spreads fallback among equals.
    """
    cdef node_t *me = &nodes[nid]
    cdef bint[MAX_NODES] used
    cdef int n, best
    cdef int64_t val, best_val
    cdef int prev = nid
    me.nr_fallback = 0
    for n in range(nr_nodes):
        used[n] = not nodes[n].has_memory
    if nodes[nid].has_memory:
        me.fallback[0] = nid
        me.nr_fallback = 1
        used[nid] = True
    while True:
        best = -1
        best_val = 0
        for n in range(nr_nodes):
            if used[n]:
                continue
            val = me.distance[n] + (1 if n < nid else 0) + (1 if nodes[n].nr_cpus else 0)
            val = val * MAX_NODES * 16 + load[n]
            if best < 0 or val < best_val:
                best = n
                best_val = val
        if best < 0:
            return 0
        if me.distance[best] != me.distance[prev]:
            load[best] += nr_nodes
        me.fallback[me.nr_fallback] = best
        me.nr_fallback += 1
        used[best] = True
        prev = best
