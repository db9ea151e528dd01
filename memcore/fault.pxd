# Page faults. (mm/memory.c)
from .machine cimport machine_t
from .mm cimport mm_t
from .thread cimport thread_t
from .types cimport ns_t, uint32_t, uint64_t, vpn_t

cdef int handle_mm_fault(machine_t *m, thread_t *t, mm_t *mm, vpn_t vpn, bint write) noexcept nogil
cdef int pte_alloc(machine_t *m, thread_t *t, mm_t *mm, vpn_t vpn) noexcept nogil
cdef uint64_t do_anonymous_run(machine_t *m, thread_t *t, mm_t *mm, const uint32_t *rec, uint64_t n, ns_t each,
                               ns_t until) noexcept nogil
