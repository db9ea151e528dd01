# System calls on address spaces: munmap, madvise, mlock, fork, exit. (mm/mmap.c, mm/madvise.c, mm/mlock.c)
from .machine cimport machine_t
from .mm cimport mm_t
from .thread cimport thread_t
from .types cimport vpn_t

cdef void zap_range(machine_t *m, mm_t *mm, vpn_t start, vpn_t end) noexcept nogil
cdef int do_madvise(machine_t *m, thread_t *t, mm_t *mm, vpn_t start, vpn_t end, int op) noexcept nogil
cdef int dup_mm(machine_t *m, thread_t *t, mm_t *parent, mm_t *child) noexcept nogil
cdef void exit_mm(machine_t *m, mm_t *mm) noexcept nogil
