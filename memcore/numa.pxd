# Placement by memory policy, and NUMA balancing. (mm/mempolicy.c, kernel/sched/fair.c)
from .machine cimport machine_t
from .mm cimport mm_t, vma_t
from .thread cimport thread_t
from .types cimport vpn_t
from .zonelist cimport zonelist_t

cdef const zonelist_t *fault_zonelist(machine_t *m, thread_t *t, mm_t *mm, vma_t *vma, vpn_t vpn) noexcept nogil
cdef int numa_hint_fault(machine_t *m, thread_t *t, mm_t *mm, vma_t *vma, vpn_t vpn) noexcept nogil
cdef void task_numa_work(machine_t *m, thread_t *t, mm_t *mm) noexcept nogil
