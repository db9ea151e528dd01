# NUMA balancing: who touches a page tells where it is wanted. (kernel/sched/fair.c, mm/memory.c)
from .machine cimport machine_t
from .mm cimport mm_t, vma_t
from .thread cimport thread_t
from .types cimport vpn_t

cdef int numa_hint_fault(machine_t *m, thread_t *t, mm_t *mm, vma_t *vma, vpn_t vpn) noexcept nogil
cdef void task_numa_work(machine_t *m, thread_t *t, mm_t *mm) noexcept nogil
