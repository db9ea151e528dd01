# Parts of the door that need no object of their own: compressed memory and CPUs from Python values, and back.
from .machine cimport machine_t
from .mm cimport mm_t, vma_t
from .thread cimport thread_t

cdef int add_compression(machine_t *m, swaps, contents, zswap) except -1
cdef int set_content(machine_t *m, mm_t *mm, vma_t *vma, content) except -1
cdef int add_workers(machine_t *m) except -1
cdef int set_affinity(machine_t *m, thread_t *t, cpus) except -1
cdef dict swap_facts(machine_t *m)
