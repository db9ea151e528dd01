"""The access loop.

Hits are the hot path: test the PTE, set its bits, go on. All hits of one node cost the same, so the loop
does not look at the clock but works out beforehand how many fit before the deadline. Everything else is a
fault and may sleep; when it is over the access has happened.
"""

from libc.stdlib cimport calloc

from .debug cimport mm_likely, mm_prefetchw, mm_unlikely
from .fault cimport do_anonymous_run, handle_mm_fault
from .machine cimport EV_TASK_EXIT, EXIT_CHUNK, EXIT_FAULT, EXIT_LIMIT, log_event, machine_t, mm_charge
from .mm cimport VM_FILE, find_vma, mm_t, vma_t
from .mmap cimport do_madvise, exit_mm
from .numa cimport task_numa_work
from .pagetable cimport PTE_AHEAD
from .pte cimport PTE_NODE_SHIFT, PTE_PRESENT, PTE_SWAP_SHIFT, PTE_WRITE, PTE_YOUNG, pte_node, pte_pfn
from .readahead cimport file_read, file_write
from .records cimport OP_EXIT, OP_FSYNC, OP_READ, OP_SLEEP, OP_STORE, OP_WRITE, rec_count, rec_op, rec_page
from .swapfile cimport swp_slot_t
from .thread cimport LAT_BUCKETS, LAT_MINOR, LAT_SYSCALL, NR_LATENCIES, latency_bucket, thread_t
from .types cimport MM_EFAULT, MM_OK, int64_t, ns_t, pfn_t, pte_t, uint32_t, uint64_t, vpn_t
from .writeback cimport sync_file

cdef enum:
    HIT_BATCH = 65536            # hits between two looks at the clock, if nothing happens before
    REPEATS_PER_NS = 4           # repeats of an access to the same page come out of the CPU's caches
    MIXED_BATCH = 256            # hits on any node before a run of hits on the own one is tried again
    NODE_BITS = 0xff << 8        # of a PTE, at PTE_NODE_SHIFT
    SINGLES = 32                 # accesses after a fault that are looked at one by one
    SLOT_AHEAD = 20              # accesses whose slots are fetched ahead, where PTE_AHEAD has brought the PTE


cdef void note_latencies(thread_t *t, int kind, ns_t ns, uint64_t n) noexcept nogil:
    if t.latency == NULL:
        t.latency = <uint64_t *> calloc(NR_LATENCIES * LAT_BUCKETS, sizeof(uint64_t))
    if t.latency != NULL:
        t.latency[kind * LAT_BUCKETS + latency_bucket(ns)] += n
    t.latency_sum[kind] += n * ns


cdef inline bint task_over(const machine_t *m, const thread_t *t) noexcept nogil:
    return t.killed or t.stop_at and m.now >= t.stop_at


cdef inline uint64_t hits_until(machine_t *m, ns_t until, ns_t cost, uint64_t left) noexcept nogil:
    # how many hits may pass before the clock or the budget wants a look
    cdef uint64_t n = HIT_BATCH
    if n * <uint64_t> cost > <uint64_t> (until - m.now):
        n = <uint64_t> ((until - m.now + cost - 1) // cost)
    if n > <uint64_t> m.budget:
        n = <uint64_t> m.budget
    return n if n < left else left


cdef inline void note_access(thread_t *t, int nid, uint64_t n, ns_t cost) noexcept nogil:
    t.accesses += n
    if nid == t.nid:
        t.local += n
        t.local_ns += cost
    else:
        t.remote += n
        t.remote_ns += cost


cdef bint fault_one(machine_t *m, thread_t *t, mm_t *mm, vpn_t vpn, bint write) noexcept nogil:
    """One access that missed. False: the task must not go on (killed, or outside its regions)."""
    cdef ns_t begin = m.now, cost
    cdef int rc = handle_mm_fault(m, t, mm, vpn, write)
    cdef int nid
    if mm_unlikely(rc != MM_OK):
        if rc == MM_EFAULT:
            m.exit_reason = EXIT_FAULT
            m.exit_thread = t.id
            m.fault_vpn = <int64_t> vpn
            m.ops.leave(m)
            t.killed = True
        return False
    if mm_unlikely(t.killed):
        return False                 # the signal is delivered before the access is tried again
    nid = pte_node(mm.pt.ptes[vpn])
    cost = m.nodes[t.nid].access_ns[nid]
    m.now += cost
    note_latencies(t, t.fault_kind, m.now - begin, 1)
    note_access(t, nid, 1, cost)
    return True


cdef inline uint64_t first_stores(machine_t *m, thread_t *t, mm_t *mm, const uint32_t *rec, uint64_t n,
                                  ns_t until) noexcept nogil:
    # a run of faults of one kind, with their accesses: how many of the next n records (do_anonymous_run)
    cdef int nid = m.zones[m.zonelists[t.nid].zones[0]].nid
    cdef ns_t cost = m.nodes[t.nid].access_ns[nid]
    n = do_anonymous_run(m, t, mm, rec, n, m.p.c_anon_fault + cost, until)
    if n:
        note_latencies(t, LAT_MINOR, m.p.c_anon_fault + cost, n)
        note_access(t, nid, n, <ns_t> n * cost)
        m.budget -= <int64_t> n
    return n


cdef inline bint hit(pte_t *ptes, uint32_t r, uint64_t good, uint64_t mask) noexcept nogil:
    # one access, if the page is there; for `good` and `mask` see hit_run
    cdef uint64_t w = r >> 31
    cdef pte_t *pte = &ptes[r & 0x7fffffff]
    if (pte[0] ^ good) & (mask + 2 * w):
        return False
    pte[0] |= PTE_YOUNG + 2 * PTE_YOUNG * w              # and PTE_DIRTY
    return True


cdef inline uint64_t hit_singles(const uint32_t *rec, pte_t *ptes, const swp_slot_t *slots, uint64_t i, uint64_t stop,
                                 uint64_t end, uint64_t good, uint64_t mask) noexcept nogil:
    """Accesses one by one, until one misses: its index, or `stop`.

    Where faults are frequent all accesses pass here, so each fetches what later ones will need: a PTE, and nearer by,
    where the PTE has arrived, the slot of a swapped page. `end`: of the chunk.
    """
    cdef uint64_t ahead = min(stop, end - PTE_AHEAD if end > PTE_AHEAD else 0)
    cdef pte_t e
    while i < ahead:
        mm_prefetchw(&ptes[rec[i + PTE_AHEAD] & 0x7fffffff])
        e = ptes[rec[i + SLOT_AHEAD] & 0x7fffffff]
        # slot 0 for a page that is not swapped: nobody can foresee whether it is, so no branch
        mm_prefetchw(&slots[pte_pfn(e) & (0 - <pfn_t> ((e >> PTE_SWAP_SHIFT) & 1))])
        if not hit(ptes, rec[i], good, mask):
            return i
        i += 1
    while i < stop and hit(ptes, rec[i], good, mask):
        i += 1
    return i


cdef uint64_t hit_fours(const uint32_t *rec, pte_t *ptes, const swp_slot_t *slots, uint64_t i, uint64_t stop,
                        uint64_t end, uint64_t good, uint64_t mask) noexcept nogil:
    """hit_singles where accesses have been hitting for a while: four at a time. What is missing of the four is gathered
    first, with one branch for all, and the bits are set afterwards in memory, so that repeats among the four lose
    nothing."""
    cdef uint32_t r0, r1, r2, r3
    cdef uint64_t w0, w1, w2, w3
    while i + PTE_AHEAD + 4 <= stop:
        mm_prefetchw(&ptes[rec[i + PTE_AHEAD] & 0x7fffffff])
        mm_prefetchw(&ptes[rec[i + PTE_AHEAD + 1] & 0x7fffffff])
        mm_prefetchw(&ptes[rec[i + PTE_AHEAD + 2] & 0x7fffffff])
        mm_prefetchw(&ptes[rec[i + PTE_AHEAD + 3] & 0x7fffffff])
        r0 = rec[i]
        r1 = rec[i + 1]
        r2 = rec[i + 2]
        r3 = rec[i + 3]
        w0 = r0 >> 31
        w1 = r1 >> 31
        w2 = r2 >> 31
        w3 = r3 >> 31
        r0 &= 0x7fffffff
        r1 &= 0x7fffffff
        r2 &= 0x7fffffff
        r3 &= 0x7fffffff
        if mm_unlikely(((ptes[r0] ^ good) & (mask + 2 * w0)) | ((ptes[r1] ^ good) & (mask + 2 * w1))
                       | ((ptes[r2] ^ good) & (mask + 2 * w2)) | ((ptes[r3] ^ good) & (mask + 2 * w3))):
            break
        ptes[r0] |= PTE_YOUNG + 2 * PTE_YOUNG * w0
        ptes[r1] |= PTE_YOUNG + 2 * PTE_YOUNG * w1
        ptes[r2] |= PTE_YOUNG + 2 * PTE_YOUNG * w2
        ptes[r3] |= PTE_YOUNG + 2 * PTE_YOUNG * w3
        i += 4
    return hit_singles(rec, ptes, slots, i, stop, end, good, mask)


cdef inline uint64_t hit_run(const uint32_t *rec, pte_t *ptes, const swp_slot_t *slots, uint64_t i, uint64_t stop,
                             uint64_t end, uint64_t home, uint64_t node_bits) noexcept nogil:
    """Completes accesses from i on until one misses; returns its index, or `stop`. `end`: of the chunk.

    With `node_bits` a page on another node than that of the PTE bits `home` is a miss too. Where one missed the next
    soon will, so the first few go one by one.
    """
    cdef uint64_t good = home | PTE_PRESENT | PTE_WRITE
    cdef uint64_t mask = node_bits | PTE_PRESENT         # of what must be good; twice 1, PTE_WRITE, for a store
    cdef uint64_t near = i + SINGLES if i + SINGLES < stop else stop
    i = hit_singles(rec, ptes, slots, i, near, end, good, mask)
    return i if i < near else hit_fours(rec, ptes, slots, i, stop, end, good, mask)


cdef bint run_narrow(machine_t *m, thread_t *t, mm_t *mm) noexcept nogil:
    """uint32 records on a machine with one node. True: the chunk is done."""
    cdef const uint32_t *rec = <const uint32_t *> t.chunk
    cdef ns_t cost = m.nodes[t.nid].access_ns[t.nid]
    cdef uint64_t i = t.pos, stop, start
    cdef uint64_t end = t.chunk_len
    while i < end:
        if m.now >= m.deadline:
            m.ops.preempt(m)
            if task_over(m, t):
                return False
        if m.budget <= 0:
            return False
        stop = i + hits_until(m, m.deadline, cost, end - i)
        start = i
        i = hit_run(rec, mm.pt.ptes, m.swap.slots, i, stop, end, 0, 0)
        m.now += <ns_t> (i - start) * cost
        note_access(t, t.nid, i - start, <ns_t> (i - start) * cost)
        m.budget -= <int64_t> (i - start)
        t.pos = i
        if i == stop:
            continue
        if mm.pt.ptes[rec[i] & 0x7fffffff] == 0:
            start = first_stores(m, t, mm, &rec[i], end - i, m.deadline)
            if start:
                i += start
                t.pos = i
                continue
        if not fault_one(m, t, mm, rec[i] & 0x7fffffff, rec[i] >> 31):
            return False
        i += 1
        t.pos = i
        m.budget -= 1
    return True


cdef inline bint misses(const pte_t *ptes, uint32_t r) noexcept nogil:
    cdef uint64_t need = PTE_PRESENT + <uint64_t> PTE_WRITE * (r >> 31)
    return ~ptes[r & 0x7fffffff] & need != 0


cdef uint64_t mixed_run(machine_t *m, thread_t *t, mm_t *mm, uint64_t i, uint64_t stop, ns_t until) noexcept nogil:
    """Completes accesses to pages of any node from i on until one misses, or `until` has come."""
    cdef const uint32_t *rec = <const uint32_t *> t.chunk
    cdef const ns_t *costs = m.nodes[t.nid].access_ns
    cdef uint64_t start = i, remote = 0
    cdef uint64_t here = <uint64_t> t.nid, node
    cdef ns_t now = m.now
    cdef pte_t *ptes = mm.pt.ptes
    while i < stop and now < until and not misses(ptes, rec[i]):
        ptes[rec[i] & 0x7fffffff] |= PTE_YOUNG + 2 * PTE_YOUNG * <uint64_t> (rec[i] >> 31)
        node = (ptes[rec[i] & 0x7fffffff] >> PTE_NODE_SHIFT) & 0xff
        now += costs[node]
        remote += node != here
        i += 1
    t.accesses += i - start
    t.local += i - start - remote
    t.local_ns += <ns_t> (i - start - remote) * costs[here]
    t.remote += remote
    t.remote_ns += now - m.now - <ns_t> (i - start - remote) * costs[here]
    m.now = now
    return i


cdef bint run_narrow_numa(machine_t *m, thread_t *t, mm_t *mm) noexcept nogil:
    """uint32 records on a machine with several nodes: runs of hits on the own node, and mixed ones between them."""
    cdef const uint32_t *rec = <const uint32_t *> t.chunk
    cdef uint64_t i = t.pos, end = t.chunk_len, start, stop, home
    cdef uint32_t r
    cdef ns_t cost, until
    while i < end:
        if m.p.numa_balancing and m.now >= mm.numa_next_scan:
            task_numa_work(m, t, mm)
        if m.now >= m.deadline:
            m.ops.preempt(m)
            if task_over(m, t):
                return False
            continue
        if m.budget <= 0:
            return False
        until = min(m.deadline, mm.numa_next_scan) if m.p.numa_balancing else m.deadline
        if until <= m.now:
            continue
        cost = m.nodes[t.nid].access_ns[t.nid]
        home = <uint64_t> t.nid << PTE_NODE_SHIFT
        start = i
        stop = i + hits_until(m, until, cost, end - i)
        i = hit_run(rec, mm.pt.ptes, m.swap.slots, i, stop, end, home, NODE_BITS)
        m.now += <ns_t> (i - start) * cost
        note_access(t, t.nid, i - start, <ns_t> (i - start) * cost)
        if i < stop and not misses(mm.pt.ptes, rec[i]):
            # on another node
            stop = min(stop, i + MIXED_BATCH)
            i = mixed_run(m, t, mm, i, stop, until)
        m.budget -= <int64_t> (i - start)
        t.pos = i
        if i == stop or m.now >= until or m.budget <= 0:
            continue
        r = rec[i]
        if mm.pt.ptes[r & 0x7fffffff] == 0:
            start = first_stores(m, t, mm, &rec[i], end - i, until)
            if start:
                i += start
                t.pos = i
                continue
        if not fault_one(m, t, mm, r & 0x7fffffff, r >> 31):
            return False
        i += 1
        t.pos = i
        m.budget -= 1
    return True


cdef int do_file_op(machine_t *m, thread_t *t, mm_t *mm, int op, vpn_t page, uint64_t n) noexcept nogil:
    """read(), write() or fsync() of n pages of one file region, which madvise may have split into several VMAs."""
    cdef vma_t *v = find_vma(mm, page)
    cdef int region, rc = MM_OK
    cdef uint64_t take
    if v == NULL or not v.flags & VM_FILE:
        return MM_EFAULT
    if op == OP_FSYNC:
        sync_file(m, m.files[v.file])
        return MM_OK
    region = v.region
    while n and rc == MM_OK:
        v = find_vma(mm, page)
        if v == NULL or v.region != region:
            return MM_EFAULT
        take = min(n, v.end - page)
        t.accesses += take
        if op == OP_WRITE:
            rc = file_write(m, v, v.pgoff + page - v.start, take)
        else:
            rc = file_read(m, v, v.pgoff + page - v.start, take)
        page += take
        n -= take
    return rc


cdef bint do_record(machine_t *m, thread_t *t, mm_t *mm, uint64_t r) noexcept nogil:
    """One record of the general form that is not a plain hit."""
    cdef uint64_t page = rec_page(r), n = rec_count(r)
    cdef int op = rec_op(r), rc = MM_OK
    cdef ns_t begin = m.now
    cdef pte_t e
    if op <= OP_STORE:
        if not fault_one(m, t, mm, page, op == OP_STORE):
            return False
        n -= 1
        if n:
            e = mm.pt.ptes[page]
            m.now += <ns_t> (n // REPEATS_PER_NS)
            note_access(t, pte_node(e), n, <ns_t> (n // REPEATS_PER_NS))
            m.budget -= <int64_t> n
        return True
    if op == OP_SLEEP:
        m.ops.sleep(m, min(<ns_t> page, t.stop_at - m.now) if t.stop_at > m.now else <ns_t> page, -1)
        return not t.killed
    if op == OP_EXIT:
        t.last_chunk = True
        t.pos = t.chunk_len
        return True
    if op == OP_READ or op == OP_WRITE or op == OP_FSYNC:
        rc = do_file_op(m, t, mm, op, page, n)
        note_latencies(t, LAT_SYSCALL, m.now - begin, 1)
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
                cost = m.nodes[t.nid].access_ns[nid] + <ns_t> ((n - 1) // REPEATS_PER_NS)
                m.now += cost
                note_access(t, nid, n, cost)
                m.budget -= <int64_t> n
                i += 1
                t.pos = i
                if m.p.numa_balancing and m.now >= mm.numa_next_scan:
                    task_numa_work(m, t, mm)
                if m.now >= m.deadline:
                    m.ops.preempt(m)
                    if task_over(m, t):
                        return False
                if m.budget <= 0:
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
        if m.now >= m.deadline:
            m.ops.preempt(m)
            if task_over(m, t):
                return False
        if m.budget <= 0:
            return False
    return True


cdef uint64_t chunk_writes(const thread_t *t) noexcept nogil:
    # stores among the records already done: counted here because the access loop has no time for it
    cdef const uint32_t *narrow = <const uint32_t *> t.chunk
    cdef const uint64_t *wide = <const uint64_t *> t.chunk
    cdef uint64_t i, n = 0
    if t.wide:
        for i in range(t.pos):
            if rec_op(wide[i]) == OP_STORE or rec_op(wide[i]) == OP_WRITE:
                n += rec_count(wide[i])
    else:
        for i in range(t.pos):
            n += narrow[i] >> 31
    return n


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
        if task_over(m, t):
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
    if t.oom_victim and not t.oom_skip:
        m.oom_victims -= 1
    log_event(m, EV_TASK_EXIT, t.id, t.killed)
