"""Timers of a machine: a heap by time, ties in the order they were set."""

from libc.stdlib cimport realloc

from .debug cimport mm_host_oom
from .machine cimport machine_t, timer_t
from .types cimport ns_t


cdef inline bint timer_before(const timer_t *a, const timer_t *b) noexcept nogil:
    return a.at < b.at or a.at == b.at and a.seq < b.seq


cdef inline void timer_place(machine_t *m, int i, timer_t x) noexcept nogil:
    m.timers[i] = x
    if x.thread:
        m.threads[x.thread].timer = i + 1


cdef void timer_up(machine_t *m, int i, timer_t x) noexcept nogil:
    cdef int parent
    while i > 0:
        parent = (i - 1) >> 1
        if not timer_before(&x, &m.timers[parent]):
            break
        timer_place(m, i, m.timers[parent])
        i = parent
    timer_place(m, i, x)


cdef void timer_down(machine_t *m, int i, timer_t x) noexcept nogil:
    cdef int child
    while True:
        child = 2 * i + 1
        if child >= m.nr_timers:
            break
        if child + 1 < m.nr_timers and timer_before(&m.timers[child + 1], &m.timers[child]):
            child += 1
        if not timer_before(&m.timers[child], &x):
            break
        timer_place(m, i, m.timers[child])
        i = child
    timer_place(m, i, x)


cdef void timer_add(machine_t *m, ns_t at, int thread, int kind) noexcept nogil:
    cdef timer_t *grown
    cdef timer_t x
    if m.nr_timers == m.cap_timers:
        m.cap_timers = m.cap_timers * 2 + 64
        grown = <timer_t *> realloc(m.timers, m.cap_timers * sizeof(timer_t))
        if grown == NULL:
            mm_host_oom("timers")
        m.timers = grown
    m.timer_seq += 1
    x = timer_t(at=at, seq=m.timer_seq, thread=thread, kind=kind)
    m.nr_timers += 1
    timer_up(m, m.nr_timers - 1, x)


cdef void timer_remove(machine_t *m, int i) noexcept nogil:
    cdef timer_t last
    if m.timers[i].thread:
        m.threads[m.timers[i].thread].timer = 0
    m.nr_timers -= 1
    if i == m.nr_timers:
        return
    last = m.timers[m.nr_timers]
    if i > 0 and timer_before(&last, &m.timers[(i - 1) >> 1]):
        timer_up(m, i, last)
    else:
        timer_down(m, i, last)


cdef int timers_verify(machine_t *m) except -1:
    """The heap is a heap, and every thread knows its timer. Raises AssertionError."""
    cdef int i
    for i in range(1, m.nr_timers):
        if timer_before(&m.timers[i], &m.timers[(i - 1) >> 1]):
            raise AssertionError("timers are out of order")
    for i in range(m.nr_timers):
        if m.timers[i].thread and m.threads[m.timers[i].thread].timer != i + 1:
            raise AssertionError(f"thread {m.timers[i].thread} lost its timer")
    return 0
