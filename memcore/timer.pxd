# Timers of a machine. `thread` 0 is an event of the machine itself; a thread has one timer at most.
from .machine cimport machine_t
from .types cimport ns_t

cdef enum:                       # timer_t.kind
    TIMER_WAKE = 0
    TIMER_SAMPLE = 1
    TIMER_PSI = 2
    TIMER_ALARM = 3
    TIMER_VMSTAT = 4

cdef void timer_add(machine_t *m, ns_t at, int thread, int kind) noexcept nogil
cdef void timer_remove(machine_t *m, int i) noexcept nogil
cdef int timers_verify(machine_t *m) except -1
