# Where new memory should come from, as memory policies say. (mm/mempolicy.c)
from .machine cimport machine_t
from .mm cimport mm_t, vma_t
from .thread cimport thread_t
from .types cimport vpn_t
from .zonelist cimport zonelist_t

cdef const zonelist_t *vma_zonelist(machine_t *m, thread_t *t, mm_t *mm, vma_t *vma, vpn_t vpn, int *gfp) noexcept nogil
cdef const zonelist_t *task_zonelist(machine_t *m, thread_t *t, int *gfp) noexcept nogil
