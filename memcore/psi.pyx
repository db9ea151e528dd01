"""Pressure stall information.

Every CPU keeps how many of its tasks wait for I/O, are in reclaim, or want to run, and accumulates the time
spent in each state of the table (some, full). Every two seconds the CPUs are averaged, each weighted with
its non-idle time, and the running averages over 10, 60 and 300 s advance in the kernel's fixed point.
"""
from .types cimport ns_t, uint64_t

cdef enum:
    FIXED_1 = 2048


cdef inline bint psi_state(const psi_cpu_t *c, int s) noexcept nogil:
    if s == PSI_IO_SOME:
        return c.tasks[NR_IOWAIT] > 0
    if s == PSI_IO_FULL:
        return c.tasks[NR_IOWAIT] > 0 and c.tasks[NR_RUNNING] == 0
    if s == PSI_MEM_SOME:
        return c.tasks[NR_MEMSTALL] > 0
    if s == PSI_MEM_FULL:
        return c.tasks[NR_MEMSTALL] > 0 and (c.tasks[NR_RUNNING] == c.tasks[NR_MEMSTALL_RUNNING]
                                             or c.oncpu_memstall > 0)
    if s == PSI_CPU_SOME:
        return c.tasks[NR_RUNNING] > 1
    return c.tasks[NR_IOWAIT] > 0 or c.tasks[NR_MEMSTALL] > 0 or c.tasks[NR_RUNNING] > 0


cdef void psi_record_times(psi_cpu_t *c, ns_t now) noexcept nogil:
    """Adds the time since the last change to every state that held."""
    cdef int s
    cdef ns_t d = now - c.since
    if d <= 0:
        return
    for s in range(NR_PSI_STATES):
        if psi_state(c, s):
            c.times[s] += d
    c.since = now


cdef void psi_step(psi_t *p, uint64_t active, int s, uint64_t missed) noexcept nogil:
    # calc_avgs: decay over missed periods, then one step towards the sample (percent * 2048)
    cdef uint64_t[3] e
    cdef int i
    cdef uint64_t a, n
    e[0] = 1677
    e[1] = 1981
    e[2] = 2034
    for i in range(3):
        a = p.avg[s][i]
        n = missed if missed < 4096 else 4096
        while n and a:
            a = a * e[i] // FIXED_1
            n -= 1
        a = a * e[i] + active * (FIXED_1 - e[i]) + (FIXED_1 - 1 if active >= a else 0)
        p.avg[s][i] = a // FIXED_1


cdef void psi_update_averages(psi_t *p, ns_t now) noexcept nogil:
    """Folds the CPUs into the totals and, when a period has passed, advances the averages."""
    cdef uint64_t[6] sums
    cdef uint64_t weight, weights = 0, d, missed = 0, period, sample
    cdef psi_cpu_t *c
    cdef int i, s
    for s in range(NR_PSI_STATES):
        sums[s] = 0
    for i in range(p.nr_cpus):
        c = &p.cpu[i]
        psi_record_times(c, now)
        weight = c.times[PSI_NONIDLE] - c.seen[PSI_NONIDLE]
        weights += weight
        for s in range(5):
            d = c.times[s] - c.seen[s]
            sums[s] += d // 1000 * (weight // 1000)
            c.seen[s] = c.times[s]
        c.seen[PSI_NONIDLE] = c.times[PSI_NONIDLE]
    for s in range(5):
        if weights >= 1000:
            p.total[s] += sums[s] // (weights // 1000) * 1000
    if now < p.avg_next:
        return
    if now - p.avg_next >= PSI_FREQ_NS:
        missed = (now - p.avg_next) // PSI_FREQ_NS
    period = now - (p.avg_last + missed * PSI_FREQ_NS)
    p.avg_next += (missed + 1) * PSI_FREQ_NS
    p.avg_last = now
    for s in range(5):
        sample = p.total[s] - p.avg_total[s]
        if sample > period:
            sample = period
        psi_step(p, (sample * 100 // period) * FIXED_1 if period else 0, s, missed)
        p.avg_total[s] += sample
