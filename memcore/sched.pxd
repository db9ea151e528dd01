# CPUs, run queues, timers: who runs next.
from .machine cimport machine_t
from .thread cimport thread_t
from .types cimport ns_t

cdef void sched_init(machine_t *m) noexcept nogil
cdef thread_t *sched_add_thread(machine_t *m, int kind, int owner) except NULL
cdef void sched_wake(machine_t *m, thread_t *t) noexcept nogil
cdef void sched_wake_at(machine_t *m, thread_t *t, ns_t at) noexcept nogil
cdef void sched_alarm(machine_t *m, ns_t at) noexcept nogil
cdef void sched_start(machine_t *m, thread_t *t) noexcept nogil
cdef void sched_run(machine_t *m) noexcept nogil
cdef int sched_verify(machine_t *m) except -1
