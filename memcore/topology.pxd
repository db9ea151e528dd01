# Part of the door: nodes, zones and memory policies from Python values, and back.
from .buddy cimport zone_t
from .machine cimport machine_t

cdef int add_kernel_blocks(zone_t *z, given) except -1
cdef int add_nodes(machine_t *m, list nodes) except -1
cdef int add_policies(machine_t *m, policies) except -1
cdef list node_facts(machine_t *m)
