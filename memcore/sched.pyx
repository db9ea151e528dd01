"""The scheduler: simulated CPUs, their run queues, timers and device completions.

Every CPU has its own clock. The busy CPU with the earliest clock runs, up to the next event or until it is
one quantum ahead of the others; so clocks of busy CPUs never drift apart by more than a quantum plus one
batch of work. Events (completions first, then timers in the order they were set) happen at their own time.
A thread is a coroutine: it runs inside coro_enter() until it blocks or its deadline passes. When a blocked
thread is the only one that could run, events are handled on its own stack, without switching.

Run queues are ordered by virtual run time, as in CFS: a thread that slept comes in front of one that ran.
"""

from libc.stdlib cimport calloc, free, realloc

from .blkdev cimport blk_pop, io_req_t
from .clock cimport NS_PER_SEC, ns_max, ns_min
from .compaction cimport kcompactd_main
from .coro cimport coro_enter, coro_fn, coro_init, coro_leave
from .machine cimport (EV_TASK_START, EXIT_ALARM, EXIT_DONE, EXIT_IDLE, EXIT_LIMIT, EXIT_NONE, EXIT_TIME, cpu_t,
                       log_event, machine_t, timer_t)
from .mmap cimport dup_mm
from .oom cimport oom_reaper
from .pageout cimport end_io
from .pcp cimport decay_pcp_high
from .psi cimport NR_IOWAIT, NR_MEMSTALL, NR_MEMSTALL_RUNNING, NR_RUNNING, psi_change, psi_switch, psi_update_averages
from .sample cimport take_sample
from .task cimport task_main
from .thread cimport (STALL_CPU, STALL_DEVICE, STALL_FSYNC, THREAD_FLUSHER, THREAD_KCOMPACTD, THREAD_KSWAPD, THREAD_KWORKER,
                      THREAD_REAPER, THREAD_TASK, TH_BLOCKED, TH_DEAD, TH_RUNNABLE, TH_RUNNING, thread_t)
from .timer cimport (TIMER_ALARM, TIMER_PSI, TIMER_SAMPLE, TIMER_VMSTAT, TIMER_WAKE, timer_add, timer_remove,
                     timers_verify)
from .types cimport ns_t, uint64_t
from .vmscan cimport kswapd_main
from .writeback cimport wb_main
from .zshrink cimport zshrink_main

cdef enum:
    STACK_SIZE = 131072
    EVENT_PRICE = 8              # accesses: events use up budget too, or a sleeping machine would never come back
    WAKEUP_BONUS = 3000000       # a waking thread gets at most this much (ns) of virtual time for free
    WAKEUP_GRANULARITY = 1000000  # and runs at once if it is this far behind the running one

cdef ns_t NEVER = <ns_t> 1 << 62


# ---- events ---------------------------------------------------------------------------------------------

cdef inline ns_t next_event(machine_t *m) noexcept nogil:
    cdef ns_t t = m.timers[0].at if m.nr_timers else NEVER
    cdef int d
    for d in range(m.nr_devs):
        t = ns_min(t, m.devs[d].next_done)
    return t


cdef void one_event(machine_t *m, ns_t at) noexcept nogil:
    """Handles the earliest event, which happens at `at`. m.now is that time meanwhile."""
    cdef int d
    cdef io_req_t q
    cdef timer_t x
    m.budget -= EVENT_PRICE
    for d in range(m.nr_devs):
        if m.devs[d].next_done == at:
            q = blk_pop(&m.devs[d])
            end_io(m, <int> q.kind, q.pfn)
            return
    x = m.timers[0]
    timer_remove(m, 0)
    if x.thread:
        sched_wake(m, m.threads[x.thread])
    elif x.kind == TIMER_SAMPLE:
        take_sample(m)
        timer_add(m, at + m.sample_interval, 0, TIMER_SAMPLE)
    elif x.kind == TIMER_ALARM:
        m.exit_reason = EXIT_ALARM
        m.exit_thread = 0
        m.stop = True            # whoever runs lets go at once
    elif x.kind == TIMER_VMSTAT:
        vmstat_update(m)
        timer_add(m, at + NS_PER_SEC, 0, TIMER_VMSTAT)
    else:
        psi_update_averages(&m.psi, at)
        timer_add(m, at + 2 * NS_PER_SEC, 0, TIMER_PSI)


cdef void vmstat_update(machine_t *m) noexcept nogil:
    # the work that every CPU of 6.12 does once a second, as far as it changes anything
    cdef int z, c
    for z in range(m.nr_zones):
        if m.zones[z].managed:
            for c in range(m.zones[z].nr_cpus):
                decay_pcp_high(&m.zones[z], m.frames, c)


cdef void events_until(machine_t *m, ns_t until) noexcept nogil:
    """Everything that happens up to and including `until`; the running thread's clock stays."""
    cdef ns_t mine = m.now
    cdef ns_t at = next_event(m)
    while at <= until:
        m.now = at
        one_event(m, at)
        at = next_event(m)
    m.now = mine


# ---- run queues -----------------------------------------------------------------------------------------

cdef inline bint allowed(const thread_t *t, int cpu) noexcept nogil:
    return (t.affinity[cpu >> 6] >> (cpu & 63)) & 1


cdef void set_deadline(machine_t *m) noexcept nogil:
    """How far the thread on m.cpu may run before somebody else's turn."""
    cdef ns_t d = next_event(m)
    cdef int c
    for c in range(m.nr_cpus):
        if c != m.cpu and m.cpus[c].curr:
            d = ns_min(d, m.cpus[c].now + m.p.sched_quantum)
    if m.cpus[m.cpu].nr_queued:
        d = ns_min(d, m.cpus[m.cpu].slice_end)
    if m.curr.stop_at:
        d = ns_min(d, m.curr.stop_at)
    if m.time_limit:
        d = ns_min(d, m.time_limit)
    m.deadline = d


cdef void account_run(machine_t *m, thread_t *t, ns_t now) noexcept nogil:
    cdef ns_t d = now - t.run_start
    if d > 0:
        t.cpu_ns += d
        t.vruntime += <uint64_t> (d * 1024 // t.weight)
        t.run_start = now
    if t.vruntime > m.cpus[t.cpu].min_vruntime:
        m.cpus[t.cpu].min_vruntime = t.vruntime


cdef void dispatch(machine_t *m, int cpu, thread_t *t, ns_t at) noexcept nogil:
    """The CPU begins to run a thread, not before `at`."""
    cdef cpu_t *c = &m.cpus[cpu]
    if at > c.now:
        c.idle_ns += at - c.now
        c.now = at
    if t.kind == THREAD_TASK and c.now > t.ready_since:
        t.stall[STALL_CPU] += c.now - t.ready_since
    c.now += m.p.c_context_switch
    c.curr = t.id
    c.slice_end = c.now + m.p.sched_slice
    t.state = TH_RUNNING
    t.run_start = c.now
    if t.memstall:
        psi_switch(&m.psi.cpu[cpu], c.now, 1)


cdef void enqueue(machine_t *m, int cpu, thread_t *t) noexcept nogil:
    cdef cpu_t *c = &m.cpus[cpu]
    cdef int at = c.rq_head, prev = 0
    while at and m.threads[at].vruntime <= t.vruntime:
        prev = at
        at = m.threads[at].rq_next
    t.rq_next = at
    if prev:
        m.threads[prev].rq_next = t.id
    else:
        c.rq_head = t.id
    c.nr_queued += 1
    t.state = TH_RUNNABLE


cdef void pick_next(machine_t *m, int cpu) noexcept nogil:
    """The CPU's thread is gone: the next of its queue, or one waiting elsewhere, or idle."""
    cdef cpu_t *c = &m.cpus[cpu]
    cdef thread_t *t
    cdef int other, prev, at
    c.curr = 0
    if c.rq_head:
        t = m.threads[c.rq_head]
        c.rq_head = t.rq_next
        c.nr_queued -= 1
        dispatch(m, cpu, t, ns_max(c.now, t.ready_since))
        return
    for other in range(m.nr_cpus):
        prev = 0
        at = m.cpus[other].rq_head
        while at:
            t = m.threads[at]
            if allowed(t, cpu):
                if prev:
                    m.threads[prev].rq_next = t.rq_next
                else:
                    m.cpus[other].rq_head = t.rq_next
                m.cpus[other].nr_queued -= 1
                move_psi(m, t, cpu)
                dispatch(m, cpu, t, ns_max(c.now, t.ready_since))
                return
            prev = at
            at = t.rq_next


cdef void move_psi(machine_t *m, thread_t *t, int cpu) noexcept nogil:
    """A runnable thread changes its CPU: its counts go along."""
    cdef int old = t.cpu
    if old == cpu:
        return
    if t.state != TH_BLOCKED:
        psi_change(&m.psi.cpu[old], m.now, NR_RUNNING, -1)
        psi_change(&m.psi.cpu[cpu], m.now, NR_RUNNING, 1)
        if t.memstall:
            psi_change(&m.psi.cpu[old], m.now, NR_MEMSTALL_RUNNING, -1)
            psi_change(&m.psi.cpu[cpu], m.now, NR_MEMSTALL_RUNNING, 1)
    if t.memstall:
        psi_change(&m.psi.cpu[old], m.now, NR_MEMSTALL, -1)
        psi_change(&m.psi.cpu[cpu], m.now, NR_MEMSTALL, 1)
    t.cpu = cpu
    t.nid = m.cpus[cpu].nid
    t.vruntime = t.vruntime - min(t.vruntime, m.cpus[old].min_vruntime) + m.cpus[cpu].min_vruntime


cdef int choose_cpu(machine_t *m, thread_t *t) noexcept nogil:
    """Where a waking thread goes: its old CPU if idle, another idle one, else the shortest queue."""
    cdef int c, best = -1
    if allowed(t, t.cpu) and m.cpus[t.cpu].curr == 0:
        return t.cpu
    for c in range(m.nr_cpus):
        if allowed(t, c) and m.cpus[c].curr == 0 and m.cpus[c].nid == m.cpus[t.cpu].nid:
            return c
    for c in range(m.nr_cpus):
        if allowed(t, c) and m.cpus[c].curr == 0:
            return c
    if allowed(t, t.cpu):
        best = t.cpu
    for c in range(m.nr_cpus):
        if allowed(t, c) and (best < 0 or m.cpus[c].nr_queued < m.cpus[best].nr_queued):
            best = c
    return best


cdef void sched_wake(machine_t *m, thread_t *t) noexcept nogil:
    """Makes a blocked thread runnable at m.now; others are left alone."""
    cdef int cpu
    cdef cpu_t *c
    cdef uint64_t floor
    cdef ns_t here
    if t.state != TH_BLOCKED:
        return
    if t.timer:
        timer_remove(m, t.timer - 1)
    cpu = choose_cpu(m, t)
    c = &m.cpus[cpu]
    if t.in_iowait:
        psi_change(&m.psi.cpu[t.cpu], m.now, NR_IOWAIT, -1)
        t.in_iowait = False
    move_psi(m, t, cpu)
    psi_change(&m.psi.cpu[cpu], m.now, NR_RUNNING, 1)
    if t.memstall:
        psi_change(&m.psi.cpu[cpu], m.now, NR_MEMSTALL_RUNNING, 1)
    if c.curr:
        # how far the running thread has come is known at its last stop only
        here = m.now if cpu == m.cpu and m.curr != NULL else c.now
        account_run(m, m.threads[c.curr], here)
    floor = c.min_vruntime - min(c.min_vruntime, WAKEUP_BONUS)
    if t.vruntime < floor:
        t.vruntime = floor
    t.ready_since = m.now
    if c.curr == 0:
        dispatch(m, cpu, t, m.now)
    else:
        enqueue(m, cpu, t)
        if t.vruntime + WAKEUP_GRANULARITY < m.threads[c.curr].vruntime or m.threads[c.curr].vruntime == 0:
            c.slice_end = ns_min(c.slice_end, m.now)
    if m.curr != NULL:
        # the running thread must not get too far ahead of the one that now runs
        if cpu != m.cpu:
            m.deadline = ns_min(m.deadline, c.now + m.p.sched_quantum)
        else:
            m.deadline = ns_min(m.deadline, c.slice_end)


cdef bint others_busy(machine_t *m) noexcept nogil:
    cdef int c
    for c in range(m.nr_cpus):
        if c != m.cpu and m.cpus[c].curr:
            return True
    return False


cdef void switch_out(machine_t *m) noexcept nogil:
    # back to sched_run; returns when this thread is to go on
    coro_leave(&m.curr.coro)


cdef void preempt(machine_t *m) noexcept nogil:
    """The running thread's deadline has passed: events first, then perhaps another thread."""
    cdef thread_t *t = m.curr
    cdef cpu_t *c
    cdef int other
    cdef bint yield_now
    events_until(m, m.now)
    c = &m.cpus[m.cpu]
    account_run(m, t, m.now)
    c.now = m.now
    if c.nr_queued and m.now >= c.slice_end:
        # somebody waits for this CPU and the slice is over
        if t.memstall:
            psi_switch(&m.psi.cpu[m.cpu], m.now, -1)
        t.ready_since = m.now
        enqueue(m, m.cpu, t)
        pick_next(m, m.cpu)
        switch_out(m)
        return
    if m.stop or m.time_limit and m.now >= m.time_limit:
        switch_out(m)
        return
    yield_now = False
    for other in range(m.nr_cpus):
        if other != m.cpu and m.cpus[other].curr and m.cpus[other].now + m.p.sched_quantum <= m.now:
            yield_now = True
    if yield_now:
        switch_out(m)
        return
    set_deadline(m)


cdef void block(machine_t *m, ns_t ns, int cause, bint io) noexcept nogil:
    cdef thread_t *t = m.curr
    cdef ns_t begin = m.now
    cdef ns_t at
    cdef int cpu = m.cpu
    cdef cpu_t *c = &m.cpus[cpu]
    cdef bint uninterruptible = cause == STALL_DEVICE or cause == STALL_FSYNC
    if t.killed and t.kind == THREAD_TASK and not uninterruptible:
        # a victim does not sleep any more; time passes so that loops end
        m.now += 1000
        return
    account_run(m, t, m.now)
    c.now = m.now
    psi_change(&m.psi.cpu[cpu], m.now, NR_RUNNING, -1)
    if t.memstall:
        psi_change(&m.psi.cpu[cpu], m.now, NR_MEMSTALL_RUNNING, -1)
        m.psi.cpu[cpu].oncpu_memstall -= 1
    if io:
        psi_change(&m.psi.cpu[cpu], m.now, NR_IOWAIT, 1)
        t.in_iowait = True
    t.state = TH_BLOCKED
    t.uninterruptible = uninterruptible
    if ns >= 0:
        timer_add(m, m.now + ns, t.id, TIMER_WAKE)
    pick_next(m, cpu)
    if c.curr == 0 and not others_busy(m):
        # nobody else can run: let events happen right here until one wakes somebody
        m.curr = NULL
        while True:
            at = next_event(m)
            if t.state == TH_RUNNING and at > c.now:
                # woken, and nothing happens any more before it has the CPU
                m.curr = t
                m.now = c.now
                set_deadline(m)
                if t.kind == THREAD_TASK and cause >= 0:
                    t.stall[cause] += m.now - begin
                return
            if at == NEVER or m.stop or m.time_limit and at >= m.time_limit or m.budget <= 0:
                break
            m.now = at
            one_event(m, at)
            if (c.curr and c.curr != t.id) or others_busy(m):
                break
        m.curr = t
    switch_out(m)
    if t.kind == THREAD_TASK and cause >= 0:
        t.stall[cause] += m.now - begin


cdef void sleep_op(machine_t *m, ns_t ns, int cause) noexcept nogil:
    block(m, ns, cause, False)


cdef void io_wait_op(machine_t *m, ns_t ns, int cause) noexcept nogil:
    block(m, ns, cause, True)


cdef void leave_op(machine_t *m) noexcept nogil:
    """Back to the caller of Engine.run, and on from here at its next call: no run time is accounted and nobody
    else runs meanwhile, so that a result does not depend on where a run was cut."""
    m.cpus[m.cpu].now = m.now
    m.resume = m.curr.id
    m.stop = True
    switch_out(m)


cdef void run_thread(machine_t *m, int cpu, ns_t latest) noexcept nogil:
    """The thread of a CPU goes on until it blocks, its deadline (`latest`, or before) passes, or it leaves."""
    cdef thread_t *t = m.threads[m.cpus[cpu].curr]
    m.cpu = cpu
    m.curr = t
    m.now = m.cpus[cpu].now
    set_deadline(m)
    m.deadline = ns_min(m.deadline, latest)
    coro_enter(&t.coro)
    m.curr = NULL


cdef void thread_main(void *arg) noexcept nogil:
    """First code on a thread's own stack."""
    cdef thread_t *t = <thread_t *> arg
    cdef machine_t *m = <machine_t *> t.machine
    if t.kind == THREAD_KSWAPD:
        kswapd_main(m, t.owner)
    elif t.kind == THREAD_FLUSHER:
        wb_main(m, t.owner)
    elif t.kind == THREAD_KWORKER:
        zshrink_main(m, t.owner)
    elif t.kind == THREAD_KCOMPACTD:
        kcompactd_main(m, t.owner)
    elif t.kind == THREAD_REAPER:
        oom_reaper(m)
    else:
        log_event(m, EV_TASK_START, t.id, 0)
        if t.fork_of:
            m.now += dup_mm(m, t, m.mms[t.fork_of], m.mms[t.owner]) * m.p.c_fork_pte
        task_main(m, t)
        m.live_tasks -= 1
    account_run(m, t, m.now)
    m.cpus[m.cpu].now = m.now
    psi_change(&m.psi.cpu[m.cpu], m.now, NR_RUNNING, -1)
    t.state = TH_DEAD
    t.exited = True
    pick_next(m, m.cpu)


cdef thread_t *sched_add_thread(machine_t *m, int kind, int owner) except NULL:
    """A new thread, blocked until sched_start. Raises MemoryError."""
    cdef thread_t *t = <thread_t *> calloc(1, sizeof(thread_t))
    cdef thread_t **grown
    if t == NULL:
        raise MemoryError("thread")
    grown = <thread_t **> realloc(m.threads, (m.nr_threads + 2) * sizeof(thread_t *))
    if grown == NULL:
        free(t)
        raise MemoryError("threads")
    m.threads = grown
    if coro_init(&t.coro, <coro_fn> thread_main, t, STACK_SIZE) < 0:
        free(t)
        raise MemoryError("thread stack")
    m.nr_threads += 1
    m.threads[m.nr_threads] = t
    t.machine = m
    t.id = m.nr_threads
    t.kind = kind
    t.owner = owner
    t.state = TH_BLOCKED
    t.weight = 1024
    t.nr_dirtied_pause = 32
    return t


cdef void sched_start(machine_t *m, thread_t *t) noexcept nogil:
    """Lets the thread begin at its start time."""
    if t.start_at > m.now:
        timer_add(m, t.start_at, t.id, TIMER_WAKE)
    else:
        sched_wake(m, t)


cdef void sched_wake_at(machine_t *m, thread_t *t, ns_t at) noexcept nogil:
    """A blocked thread without a timer wakes then; others are left alone."""
    if t.state == TH_BLOCKED and not t.timer:
        timer_add(m, at, t.id, TIMER_WAKE)


cdef void sched_alarm(machine_t *m, ns_t at) noexcept nogil:
    """sched_run returns when this time has come, with EXIT_ALARM."""
    timer_add(m, at, 0, TIMER_ALARM)
    m.deadline = ns_min(m.deadline, at)


cdef void sched_init(machine_t *m) noexcept nogil:
    m.ops.preempt = preempt
    m.ops.sleep = sleep_op
    m.ops.io_wait = io_wait_op
    m.ops.wake = sched_wake
    m.ops.leave = leave_op
    timer_add(m, 2 * NS_PER_SEC, 0, TIMER_PSI)
    if not m.v61:
        timer_add(m, NS_PER_SEC, 0, TIMER_VMSTAT)
    if m.sample_interval:
        timer_add(m, m.sample_interval, 0, TIMER_SAMPLE)


cdef void sched_run(machine_t *m) noexcept nogil:
    """Runs until a thread asks to leave, everything is done, or a limit is reached; see m.exit_reason."""
    cdef int c, best
    cdef ns_t at
    m.exit_reason = EXIT_NONE
    m.stop = False
    if m.resume:
        c = m.threads[m.resume].cpu
        m.resume = 0
        run_thread(m, c, m.deadline)
    while not m.stop:
        if m.live_tasks == 0:
            m.exit_reason = EXIT_DONE
            return
        best = -1
        for c in range(m.nr_cpus):
            if m.cpus[c].curr and (best < 0 or m.cpus[c].now < m.cpus[best].now):
                best = c
        at = next_event(m)
        if best < 0 or at <= m.cpus[best].now:
            if at == NEVER:
                m.exit_reason = EXIT_IDLE
                return
            if m.time_limit and at >= m.time_limit:
                m.now = m.time_limit
                m.exit_reason = EXIT_TIME
                return
            if m.budget <= 0:
                m.exit_reason = EXIT_LIMIT
                return
            m.curr = NULL
            m.now = at
            one_event(m, at)
            continue
        if m.time_limit and m.cpus[best].now >= m.time_limit:
            m.now = m.time_limit
            m.exit_reason = EXIT_TIME
            return
        m.threads[m.cpus[best].curr].run_start = m.cpus[best].now
        run_thread(m, best, NEVER)


cdef int sched_verify(machine_t *m) except -1:
    """Each thread is where its state says, and so are the timers. Raises AssertionError."""
    cdef int i, at, queued
    for i in range(m.nr_cpus):
        if m.cpus[i].curr and m.threads[m.cpus[i].curr].state != TH_RUNNING:
            raise AssertionError(f"CPU {i} runs thread {m.cpus[i].curr}, which is not running")
        queued = 0
        at = m.cpus[i].rq_head
        while at:
            queued += 1
            if m.threads[at].state != TH_RUNNABLE:
                raise AssertionError(f"thread {at} is queued but not runnable")
            at = m.threads[at].rq_next
        if queued != m.cpus[i].nr_queued:
            raise AssertionError(f"CPU {i}: {queued} threads queued, counted {m.cpus[i].nr_queued}")
    timers_verify(m)
    return 0
