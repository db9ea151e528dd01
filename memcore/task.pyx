"""The access loop.

Hits are the hot path: test the PTE, set its bits, go on. All hits of one node cost the same, so the loop
does not look at the clock but works out beforehand how many fit before the deadline. Everything else is a
fault and may sleep; when it is over the access has happened.
"""

from libc.stdlib cimport calloc

from .debug cimport mm_likely, mm_prefetchw, mm_unlikely
from .fault cimport handle_mm_fault
from .machine cimport EV_TASK_EXIT, EXIT_CHUNK, EXIT_FAULT, EXIT_LIMIT, log_event, machine_t, mm_charge
from .mm cimport VM_FILE, find_vma, mm_t, vma_t
from .mmap cimport do_madvise, exit_mm
from .numa cimport task_numa_work
from .pte cimport PTE_NODE_SHIFT, PTE_PRESENT, PTE_YOUNG, pte_node
from .readahead cimport file_read, file_write
from .records cimport OP_EXIT, OP_FSYNC, OP_READ, OP_SLEEP, OP_STORE, OP_WRITE, rec_count, rec_op, rec_page
from .thread cimport LAT_BUCKETS, LAT_SYSCALL, NR_LATENCIES, latency_bucket, thread_t
from .types cimport MM_EFAULT, MM_OK, int64_t, ns_t, pte_t, uint32_t, uint64_t, vpn_t
from .writeback cimport sync_file

cdef enum:
    AHEAD = 24                   # accesses to look ahead after a fault: PTEs of the next ones


cdef void note_latency(thread_t *t, int kind, ns_t ns) noexcept nogil:
    if t.latency == NULL:
        t.latency = <uint64_t *> calloc(NR_LATENCIES * LAT_BUCKETS, sizeof(uint64_t))
    if t.latency != NULL:
        t.latency[kind * LAT_BUCKETS + latency_bucket(ns)] += 1
    t.latency_sum[kind] += ns


cdef inline void note_hits(machine_t *m, thread_t *t, uint64_t n, uint64_t writes) noexcept nogil:
    t.accesses += n
    t.writes += writes
    t.local_hits += n


cdef inline uint64_t hits_until(machine_t *m, ns_t cost, uint64_t left) noexcept nogil:
    # how many hits may pass before the clock or the budget wants a look
    cdef uint64_t n = <uint64_t> ((m.deadline - m.now) // cost + 1)
    if n > <uint64_t> m.budget:
        n = <uint64_t> m.budget
    return n if n < left else left


cdef bint fault_one(machine_t *m, thread_t *t, mm_t *mm, vpn_t vpn, bint write) noexcept nogil:
    """One access that missed. False: the task must not go on (killed, or outside its regions)."""
    cdef ns_t begin = m.now
    cdef int rc = handle_mm_fault(m, t, mm, vpn, write)
    if mm_unlikely(rc != MM_OK):
        if rc == MM_EFAULT:
            m.exit_reason = EXIT_FAULT
            m.exit_thread = t.id
            m.fault_vpn = <int64_t> vpn
            m.ops.leave(m)
            t.killed = True
        return False
    m.now += m.nodes[t.nid].access_ns[pte_node(mm.pt.ptes[vpn])]
    note_latency(t, t.fault_kind, m.now - begin)
    t.accesses += 1
    t.writes += write
    return True


cdef bint run_narrow(machine_t *m, thread_t *t, mm_t *mm) noexcept nogil:
    """uint32 records on a machine with one node. True: the chunk is done."""
    cdef const uint32_t *rec = <const uint32_t *> t.chunk
    cdef pte_t *ptes = mm.pt.ptes
    cdef ns_t cost = m.nodes[t.nid].access_ns[t.nid]
    cdef uint64_t i = t.pos, stop, start, writes
    cdef uint64_t end = t.chunk_len
    cdef uint32_t r
    cdef pte_t e
    cdef uint64_t w
    cdef int k
    while i < end:
        if m.now >= m.deadline:
            t.pos = i
            m.ops.preempt(m)
            if t.killed or m.budget <= 0:
                return False
        stop = i + hits_until(m, cost, end - i)
        start = i
        writes = 0
        while True:
            while i < stop:
                r = rec[i]
                w = r >> 31
                e = ptes[r & 0x7fffffff]
                if mm_unlikely((e & (PTE_PRESENT | (w << 1))) != (PTE_PRESENT | (w << 1))):
                    break
                ptes[r & 0x7fffffff] = e | PTE_YOUNG | (w << 3)
                writes += w
                i += 1
            m.now += <ns_t> (i - start) * cost
            note_hits(m, t, i - start, writes)
            m.budget -= <int64_t> (i - start)
            if i == stop:
                break
            # the next accesses will miss too, sooner or later: fetch their PTEs meanwhile
            for k in range(1, AHEAD):
                mm_prefetchw(&ptes[rec[i + k if i + k < end else i] & 0x7fffffff])
            t.pos = i
            if not fault_one(m, t, mm, r & 0x7fffffff, w != 0):
                return False
            ptes = mm.pt.ptes
            i += 1
            t.pos = i
            m.budget -= 1
            start = i
            writes = 0
            if m.now >= m.deadline or m.budget <= 0:
                break
            stop = i + hits_until(m, cost, end - i)
            if i >= stop:
                break
        if m.budget <= 0:
            t.pos = i
            return False
    t.pos = i
    return True


cdef bint run_narrow_numa(machine_t *m, thread_t *t, mm_t *mm) noexcept nogil:
    """uint32 records on a machine with several nodes: each hit costs what its node costs."""
    cdef const uint32_t *rec = <const uint32_t *> t.chunk
    cdef ns_t cost, now
    cdef ns_t *costs
    cdef uint64_t i = t.pos, hits, writes, remote
    cdef uint64_t end = t.chunk_len
    cdef uint32_t r
    cdef pte_t e
    cdef pte_t *ptes
    cdef uint64_t w
    cdef ns_t here, deadline
    while i < end:
        if m.now >= m.deadline:
            t.pos = i
            m.ops.preempt(m)
            if t.killed or m.budget <= 0:
                return False
        costs = m.nodes[t.nid].access_ns
        here = t.nid
        ptes = mm.pt.ptes
        now = m.now
        deadline = m.deadline
        hits = writes = remote = 0
        while i < end and now < deadline:
            r = rec[i]
            w = r >> 31
            e = ptes[r & 0x7fffffff]
            if mm_unlikely((e & (PTE_PRESENT | (w << 1))) != (PTE_PRESENT | (w << 1))):
                break
            ptes[r & 0x7fffffff] = e | PTE_YOUNG | (w << 3)
            now += costs[(e >> PTE_NODE_SHIFT) & 0xff]
            remote += ((e >> PTE_NODE_SHIFT) & 0xff) != <uint64_t> here
            writes += w
            hits += 1
            i += 1
        t.remote_hits += remote
        t.remote_ns += 0 if remote == 0 else (now - m.now) - <ns_t> (hits - remote) * costs[here]
        m.now = now
        note_hits(m, t, hits, writes)
        t.local_hits -= remote
        m.budget -= <int64_t> hits
        t.pos = i
        if i < end and now < deadline and m.budget > 0:
            if not fault_one(m, t, mm, r & 0x7fffffff, w != 0):
                return False
            i += 1
            t.pos = i
            m.budget -= 1
            if m.p.numa_balancing and m.now >= mm.numa_next_scan:
                task_numa_work(m, t, mm)
        if m.budget <= 0:
            return False
    return True


cdef bint do_record(machine_t *m, thread_t *t, mm_t *mm, uint64_t r) noexcept nogil:
    """One record of the general form that is not a plain hit."""
    cdef uint64_t page = rec_page(r), n = rec_count(r)
    cdef int op = rec_op(r), rc = MM_OK
    cdef vma_t *v
    cdef ns_t begin = m.now
    cdef pte_t e
    if op <= OP_STORE:
        if not fault_one(m, t, mm, page, op == OP_STORE):
            return False
        n -= 1
        if n:
            e = mm.pt.ptes[page]
            m.now += <ns_t> n * m.nodes[t.nid].access_ns[pte_node(e)]
            note_hits(m, t, n, n if op == OP_STORE else 0)
            m.budget -= <int64_t> n
        return True
    if op == OP_SLEEP:
        m.ops.sleep(m, <ns_t> page, -1)
        return not t.killed
    if op == OP_EXIT:
        t.last_chunk = True
        t.pos = t.chunk_len
        return True
    v = find_vma(mm, page)
    if op == OP_READ or op == OP_WRITE or op == OP_FSYNC:
        if v == NULL or not v.flags & VM_FILE or page + n > v.end:
            rc = MM_EFAULT
        elif op == OP_FSYNC:
            sync_file(m, m.files[v.file])
        else:
            t.accesses += n
            if op == OP_WRITE:
                t.writes += n
                rc = file_write(m, v, v.pgoff + page - v.start, n)
            else:
                rc = file_read(m, v, v.pgoff + page - v.start, n)
        note_latency(t, LAT_SYSCALL, m.now - begin)
    elif page + n > mm.pt.npages:
        rc = MM_EFAULT
    else:
        rc = do_madvise(m, t, mm, page, page + n, op)
    if rc == MM_EFAULT:
        m.exit_reason = EXIT_FAULT
        m.exit_thread = t.id
        m.fault_vpn = <int64_t> page
        m.ops.leave(m)
        t.killed = True
    return not t.killed


cdef bint run_wide(machine_t *m, thread_t *t, mm_t *mm) noexcept nogil:
    """uint64 records, any number of nodes."""
    cdef const uint64_t *rec = <const uint64_t *> t.chunk
    cdef uint64_t i = t.pos, end = t.chunk_len, n, page, w
    cdef uint64_t r
    cdef int op, nid
    cdef pte_t e
    cdef ns_t cost
    while i < end:
        r = rec[i]
        op = rec_op(r)
        page = rec_page(r)
        w = <uint64_t> op
        if mm_likely(op <= OP_STORE and page < mm.pt.npages):
            e = mm.pt.ptes[page]
            if mm_likely((e & (PTE_PRESENT | (w << 1))) == (PTE_PRESENT | (w << 1))):
                mm.pt.ptes[page] = e | PTE_YOUNG | (w << 3)
                n = rec_count(r)
                nid = pte_node(e)
                cost = m.nodes[t.nid].access_ns[nid]
                m.now += <ns_t> n * cost
                t.accesses += n
                t.writes += n if w else 0
                if nid == t.nid:
                    t.local_hits += n
                else:
                    t.remote_hits += n
                    t.remote_ns += <ns_t> n * cost
                m.budget -= <int64_t> n
                i += 1
                t.pos = i
                if m.now >= m.deadline or m.budget <= 0:
                    m.ops.preempt(m)
                    if t.killed or m.budget <= 0:
                        return False
                continue
        t.pos = i
        if not do_record(m, t, mm, r):
            return False
        if t.pos == i:
            i += 1
            t.pos = i
        else:
            i = t.pos
        m.budget -= 1
        if m.p.numa_balancing and m.now >= mm.numa_next_scan:
            task_numa_work(m, t, mm)
        if m.now >= m.deadline or m.budget <= 0:
            m.ops.preempt(m)
            if t.killed or m.budget <= 0:
                return False
    return True


cdef void task_main(machine_t *m, thread_t *t) noexcept nogil:
    """Life of a task: chunk after chunk until the last one, the stop time, or the OOM killer."""
    cdef mm_t *mm = m.mms[t.owner]
    while not t.killed:
        if t.pos >= t.chunk_len:
            if t.last_chunk:
                break
            t.starving = True
            m.exit_reason = EXIT_CHUNK
            m.exit_thread = t.id
            m.ops.leave(m)
            t.starving = False
            continue
        if t.stop_at and m.now >= t.stop_at:
            break
        if t.wide:
            run_wide(m, t, mm)
        elif m.nr_nodes == 1:
            run_narrow(m, t, mm)
        else:
            run_narrow_numa(m, t, mm)
        if m.budget <= 0 and not t.killed:
            m.exit_reason = EXIT_LIMIT
            m.ops.leave(m)
    mm.users -= 1
    if mm.users <= 0:
        mm_charge(m, m.p.c_exit)
        exit_mm(m, mm)
    t.exit_at = m.now
    if t.oom_victim:
        m.oom_victims -= 1
    log_event(m, EV_TASK_EXIT, t.id, t.killed)
