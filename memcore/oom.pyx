"""OOM: facts about every task for those who choose, and what follows a choice (mm/oom_kill.c).

A victim exits by itself, and at once unless it is in an uninterruptible sleep (fsync, a full device queue).
Meanwhile nobody else is killed. After two seconds the reaper takes its private memory away and the killer may
choose again.
"""

from .machine cimport EV_OOM_KILL, count, log_event, machine_t
from .mempolicy cimport MPOL_BIND
from .mm cimport VM_SHARED, mm_t
from .mmap cimport zap_range
from .thread cimport TH_BLOCKED, TH_DEAD, TH_RUNNING, THREAD_TASK, thread_t
from .types cimport int64_t, ns_t
from .vmstat cimport OOM_KILL


cdef int oom_facts(machine_t *m, int64_t *out) noexcept nogil:
    """Fills `out`, NR_OOM_FACTS rows of nr_threads columns, with one column per living task; how many there are."""
    cdef int64_t stride = m.nr_threads
    cdef int64_t *f
    cdef thread_t *t
    cdef mm_t *mm
    cdef int i, n = 0
    for i in range(1, m.nr_threads + 1):
        t = m.threads[i]
        if t.kind != THREAD_TASK or t.state == TH_DEAD or t.start_at > m.now:
            continue
        mm = m.mms[t.owner]
        f = out + n
        n += 1
        f[OF_THREAD * stride] = i
        f[OF_PID * stride] = mm.pid
        f[OF_RSS_ANON * stride] = mm.rss_anon
        f[OF_RSS_FILE * stride] = mm.rss_file
        f[OF_RSS_SHMEM * stride] = mm.rss_shmem
        f[OF_SWAPENTS * stride] = mm.swapents
        f[OF_PAGE_TABLES * stride] = mm.pt.nr_tables
        f[OF_TOTAL_VM * stride] = mm.total_vm
        f[OF_OOM_SCORE_ADJ * stride] = mm.oom_score_adj
        f[OF_START * stride] = t.start_at
        f[OF_CPU * stride] = t.cpu_ns + (m.cpus[t.cpu].now - t.run_start if t.state == TH_RUNNING else 0)
        f[OF_KILLED * stride] = t.killed
        f[OF_OOM_SKIP * stride] = t.oom_skip
        f[OF_NODES * stride] = -1
        if mm.policy >= 0 and m.policies[mm.policy].mode == MPOL_BIND:
            f[OF_NODES * stride] = <int64_t> m.policies[mm.policy].nodes
    return n


cdef void mark_oom_victim(machine_t *m, thread_t *t) noexcept nogil:
    """Counts the kill; nobody else is killed until this one is gone or reaped."""
    cdef mm_t *mm = m.mms[t.owner]
    t.oom_victim = True
    t.reap_at = m.now + OOM_REAPER_DELAY
    m.oom_victims += 1
    count(m, OOM_KILL, 1)
    log_event(m, EV_OOM_KILL, t.id, mm.rss_anon + mm.rss_file)


cdef bint oom_reap_task(machine_t *m, thread_t *t) noexcept nogil:
    """Unmaps the private memory of a victim; False if it holds its address space and has to be tried again."""
    cdef mm_t *mm = m.mms[t.owner]
    cdef int i
    # Only in an uninterruptible sleep is it sure to be in no page fault: elsewhere it would hold mmap_lock.
    if t.state != TH_BLOCKED or not t.uninterruptible:
        t.reap_retries += 1
        return t.reap_retries >= MAX_OOM_REAP_RETRIES
    for i in range(mm.nr_vmas):
        if not mm.vmas[i].flags & VM_SHARED:
            zap_range(m, mm, mm.vmas[i].start, mm.vmas[i].end)
    return True


cdef ns_t reap_due(machine_t *m) noexcept nogil:
    """Reaps the victims whose time has come. Returns the time until the next one, -1 if there is none."""
    cdef thread_t *t
    cdef ns_t next = 0
    cdef int i
    for i in range(1, m.nr_threads + 1):
        t = m.threads[i]
        if t.reap_at == 0 or t.oom_skip or t.state == TH_DEAD:
            continue
        if t.reap_at <= m.now:
            if oom_reap_task(m, t):
                if t.state != TH_DEAD and not t.oom_skip:
                    t.oom_skip = True
                    m.oom_victims -= 1
                continue
            t.reap_at = m.now + OOM_REAPER_RETRY
        if next == 0 or t.reap_at < next:
            next = t.reap_at
    return next - m.now if next else -1


cdef void oom_reaper(machine_t *m) noexcept nogil:
    """Life of the reaper: first woken after the delay of the first victim."""
    while True:
        m.ops.sleep(m, reap_due(m), -1)
