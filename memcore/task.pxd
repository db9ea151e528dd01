# A task at work: the loop over its access records.
from .machine cimport machine_t
from .thread cimport thread_t
from .types cimport uint64_t

cdef uint64_t chunk_writes(const thread_t *t) noexcept nogil
cdef void task_main(machine_t *m, thread_t *t) noexcept nogil
