"""Dirty file pages: how many there may be, who writes them, and how writers are slowed down.

Two thresholds on *dirtyable* memory (free + file pages, without reserves): above the background one the
flusher writes, above the middle of both writers begin to sleep, at the hard one they stop. The flusher also
writes files that have been dirty for dirty_expire, looked at every dirty_writeback. Reclaim itself leaves
dirty file pages to the flusher (see vmscan).
"""
from .blkdev cimport IO_BIO_WRITE, IO_PAGE_WRITE, IO_WRITE, blk_submit, blk_transfer, blkdev_t
from .clock cimport NS_PER_MS, NS_PER_SEC
from .filemap cimport filemap_find_dirty, filemap_t
from .machine cimport (EV_DIRTY_THROTTLE, EV_WRITEBACK, count, global_free, global_node_stat, log_event,
                       lru_add_tail, lru_del, machine_t, mm_charge, mod_node, note_io, page_zone, wb_t)
from .page cimport PG_ACTIVE, PG_DIRTY, PG_LOCKED, PG_LRU, PG_RECLAIM, PG_UNEVICTABLE, PG_WRITEBACK, page_t
from .rmap cimport page_mkclean
from .slab cimport attach_buffers, bios_change
from .thread cimport STALL_DEVICE, STALL_DIRTY, STALL_FSYNC, thread_t
from .types cimport int64_t, ns_t, pfn_t, uint64_t
from .vmstat cimport (NR_ACTIVE_FILE, NR_DIRTIED, NR_DIRTY, NR_INACTIVE_FILE, NR_WRITEBACK, NR_WRITTEN, PGPGOUT,
                      PGROTATED)

cdef enum:
    BANDWIDTH_INTERVAL_MS = 200
    POS_ONE = 1024                   # pos_ratio 1.0


cdef void account_page_dirtied(machine_t *m, filemap_t *f, pfn_t pfn) noexcept nogil:
    """The page of file `f` becomes dirty (no-op if it is)."""
    cdef page_t *p = &m.frames[pfn]
    if p.flags & PG_DIRTY:
        return
    attach_buffers(m, pfn)
    p.flags |= PG_DIRTY
    f.dirty[p.index >> 6] |= <uint64_t> 1 << (p.index & 63)
    if f.nrdirty == 0:
        f.dirtied_when = m.now
    f.nrdirty += 1
    mod_node(m, pfn, NR_DIRTY, 1)
    mod_node(m, pfn, NR_DIRTIED, 1)
    page_zone(m, pfn).nr_write_pending += 1
    m.wbs[f.disk].dirtied += 1


cdef void account_page_cleaned(machine_t *m, filemap_t *f, pfn_t pfn) noexcept nogil:
    """The page stops being dirty: its write begins, or it is thrown away."""
    cdef page_t *p = &m.frames[pfn]
    if not p.flags & PG_DIRTY:
        return
    p.flags &= ~PG_DIRTY
    f.dirty[p.index >> 6] &= ~(<uint64_t> 1 << (p.index & 63))
    f.nrdirty -= 1
    mod_node(m, pfn, NR_DIRTY, -1)
    page_zone(m, pfn).nr_write_pending -= 1


cdef void start_page_writeback(machine_t *m, pfn_t pfn) noexcept nogil:
    m.frames[pfn].flags |= PG_WRITEBACK
    mod_node(m, pfn, NR_WRITEBACK, 1)
    page_zone(m, pfn).nr_write_pending += 1


cdef void end_writeback(machine_t *m, pfn_t pfn) noexcept nogil:
    """folio_end_writeback: a page reclaim is waiting for goes to the inactive tail."""
    cdef page_t *p = &m.frames[pfn]
    p.flags &= ~PG_WRITEBACK
    mod_node(m, pfn, NR_WRITEBACK, -1)
    mod_node(m, pfn, NR_WRITTEN, 1)
    page_zone(m, pfn).nr_write_pending -= 1
    if p.flags & PG_RECLAIM:
        p.flags &= ~PG_RECLAIM
        if p.flags & PG_LRU and not p.flags & (PG_UNEVICTABLE | PG_DIRTY | PG_LOCKED):
            lru_del(m, pfn)
            p.flags &= ~PG_ACTIVE
            lru_add_tail(m, pfn)
            count(m, PGROTATED, 1)


cdef int write_file_page(machine_t *m, filemap_t *f, pfn_t pfn) noexcept nogil:
    """Starts writing a dirty file page: PTEs become read-only, the device gets it. Returns how many PTEs."""
    cdef uint64_t index = m.frames[pfn].index
    cdef int kind = IO_PAGE_WRITE
    cdef int cleaned = page_mkclean(m, pfn)
    cdef blkdev_t *d = &m.devs[f.disk]
    if index != f.bio_end and not d.synchronous:
        kind = IO_BIO_WRITE
        bios_change(m, 1)
    f.bio_end = index + 1
    account_page_cleaned(m, f, pfn)
    start_page_writeback(m, pfn)
    count(m, PGPGOUT, 4)
    m.wbs[f.disk].written += 1
    if d.synchronous:
        m.now = blk_transfer(d, IO_WRITE, m.now)
        end_writeback(m, pfn)
    else:
        note_io(m, blk_submit(d, IO_WRITE, kind, pfn, ((<uint64_t> f.id) << 40) + index, m.now))
    return cleaned


cdef void wait_for_queue(machine_t *m, int dev, int cause) noexcept nogil:
    """Sleeps until the device takes requests again (nr_requests in flight at most)."""
    cdef blkdev_t *d = &m.devs[dev]
    cdef ns_t until
    cdef uint64_t over
    if d.ring[IO_WRITE].count <= <uint64_t> d.nr_requests:
        return
    over = d.ring[IO_WRITE].count - d.nr_requests
    until = d.ring[IO_WRITE].req[(d.ring[IO_WRITE].head + over - 1) & (d.ring[IO_WRITE].cap - 1)].done
    if until > m.now:
        m.ops.io_wait(m, until - m.now, cause)


cdef void domain_dirty_limits(machine_t *m) noexcept nogil:
    """Recomputes m.wb.thresh and m.wb.bg_thresh from dirtyable memory, and the smoothed hard limit."""
    cdef int64_t free = global_free(m)
    cdef int64_t avail = free - min(free, m.totalreserve_pages)
    cdef int64_t thresh, bg, dirty
    avail += global_node_stat(m, NR_INACTIVE_FILE) + global_node_stat(m, NR_ACTIVE_FILE) + 1
    thresh = m.p.dirty_pages if m.p.dirty_pages else (m.p.dirty_ratio * 4096 // 100) * avail // 4096
    if m.p.dirty_background_pages:
        bg = m.p.dirty_background_pages
    else:
        bg = (m.p.dirty_background_ratio * 4096 // 100) * avail // 4096
    if bg >= thresh:
        bg = thresh // 2
    m.wb.thresh = thresh
    m.wb.bg_thresh = bg
    dirty = global_node_stat(m, NR_DIRTY)
    if m.wb.dirty_limit < thresh:
        m.wb.dirty_limit = thresh
        m.wb.limit_updated = m.now
    elif m.now - m.wb.limit_updated >= BANDWIDTH_INTERVAL_MS * NS_PER_MS:
        thresh = max(thresh, dirty)
        if m.wb.dirty_limit > thresh:
            m.wb.dirty_limit -= (m.wb.dirty_limit - thresh) >> 5
        m.wb.limit_updated = m.now


cdef int64_t dirty_pos_ratio(int64_t freerun, int64_t limit, int64_t dirty) noexcept nogil:
    """1 + ((setpoint - dirty) / (limit - setpoint))^3 in units of 1/1024, between 0 and 2."""
    cdef int64_t setpoint = (freerun + limit) // 2
    cdef int64_t x, pos
    if dirty >= limit:
        return 0
    x = ((setpoint - dirty) << 10) // ((limit - setpoint) | 1)
    pos = x
    pos = pos * x >> 10
    pos = pos * x >> 10
    pos += POS_ONE
    return 0 if pos < 0 else (2 * POS_ONE if pos > 2 * POS_ONE else pos)


cdef void update_bandwidth(machine_t *m, wb_t *wb, int64_t pos) noexcept nogil:
    """Every 200 ms: what the device writes, and what one writer may dirty to match it."""
    cdef double t = <double> (m.now - wb.bw_stamp) / NS_PER_SEC
    cdef double bw, balanced, rate
    if t < BANDWIDTH_INTERVAL_MS / 1000.0:
        return
    if wb.written:
        bw = wb.written / t
        wb.write_bw += (bw - wb.write_bw) * min(1.0, t / 3.0)
    rate = wb.dirtied / t
    if rate > 1:
        balanced = wb.dirty_ratelimit * pos / POS_ONE * wb.write_bw / rate
        if balanced > wb.write_bw:
            balanced = wb.write_bw
        wb.dirty_ratelimit += (balanced - wb.dirty_ratelimit) / 8
        if wb.dirty_ratelimit < 1:
            wb.dirty_ratelimit = 1
    wb.written = 0
    wb.dirtied = 0
    wb.bw_stamp = m.now


cdef uint64_t dirty_poll_interval(int64_t dirty, int64_t thresh) noexcept nogil:
    # sqrt of the room left, as a power of two
    cdef int64_t room = thresh - dirty
    cdef int bits = 0
    if room <= 0:
        return 1
    while room >> (bits + 1):
        bits += 1
    return <uint64_t> 1 << (bits >> 1)


cdef void balance_dirty_pages(machine_t *m, int dev) noexcept nogil:
    cdef thread_t *t = m.curr
    cdef wb_t *wb = &m.wbs[dev]
    cdef int64_t nr_dirty, dirty, freerun, limit, pos
    cdef double rate
    cdef ns_t pause, begin = m.now
    cdef ns_t max_pause = 200 * NS_PER_MS
    while not t.killed:
        domain_dirty_limits(m)
        nr_dirty = global_node_stat(m, NR_DIRTY)
        dirty = nr_dirty + global_node_stat(m, NR_WRITEBACK)
        if nr_dirty > m.wb.bg_thresh and not wb.background:
            wb.background = True
            wake_flusher(m, dev)
        freerun = (m.wb.thresh + m.wb.bg_thresh) // 2
        if dirty <= freerun:
            t.nr_dirtied = 0
            t.nr_dirtied_pause = dirty_poll_interval(dirty, m.wb.thresh)
            break
        wb.background = True
        wake_flusher(m, dev)
        limit = max(m.wb.thresh, m.wb.dirty_limit)
        pos = dirty_pos_ratio(freerun, limit, dirty)
        update_bandwidth(m, wb, pos)
        rate = wb.dirty_ratelimit * pos / POS_ONE
        if rate < 1:
            pause = max_pause
        else:
            pause = <ns_t> (t.nr_dirtied / rate * NS_PER_SEC) - (m.now - t.dirty_paused_when)
            if pause < 10 * NS_PER_MS:
                # too short to sleep: let it add up, but ask again soon
                if pause > 0:
                    t.nr_dirtied_pause = t.nr_dirtied + max(16, <uint64_t> (rate / 100))
                    break
                t.dirty_paused_when = m.now
                t.nr_dirtied = 0
                t.nr_dirtied_pause = max(16, <uint64_t> (rate / 100))
                break
            if pause > max_pause:
                pause = max_pause
        m.ops.sleep(m, pause, STALL_DIRTY)
        t.dirty_paused_when = m.now
        t.nr_dirtied = 0
        if rate >= 1:
            t.nr_dirtied_pause = max(16, <uint64_t> (rate / 50))
            break
    if m.now > begin:
        log_event(m, EV_DIRTY_THROTTLE, t.id, m.now - begin)


cdef void balance_dirty_pages_ratelimited(machine_t *m, int dev) noexcept nogil:
    """Called by a task for every page it dirtied."""
    cdef thread_t *t = m.curr
    t.nr_dirtied += 1
    if t.nr_dirtied >= t.nr_dirtied_pause:
        balance_dirty_pages(m, dev)


cdef void wake_flusher(machine_t *m, int dev) noexcept nogil:
    cdef wb_t *wb = &m.wbs[dev]
    if wb.thread and wb.sleeping:
        wb.sleeping = False
        m.ops.wake(m, m.threads[wb.thread])


cdef void wakeup_flusher_threads(machine_t *m) noexcept nogil:
    """Reclaim met only dirty pages: write everything."""
    cdef int d
    for d in range(m.nr_devs):
        if m.wbs[d].thread:
            m.wbs[d].start_all = True
            wake_flusher(m, d)


cdef int64_t write_inode(machine_t *m, filemap_t *f, int64_t budget, bint background) noexcept nogil:
    """Writes up to `budget` dirty pages of a file from where the last pass stopped, in file order."""
    cdef int64_t at, done = 0
    cdef bint wrapped = False
    cdef pfn_t pfn
    cdef ns_t cost
    f.bio_end = f.npages        # no page of it: a pass does not go on with the bio of the last one
    while done < budget and f.nrdirty:
        at = filemap_find_dirty(f, f.writeback_index)
        if at < 0:
            if wrapped:
                break
            wrapped = True
            f.writeback_index = 0
            continue
        f.writeback_index = at + 1
        pfn = <pfn_t> (f.slots[at] >> 32)
        if m.frames[pfn].flags & PG_WRITEBACK:
            continue
        cost = m.p.c_writeback_page
        if write_file_page(m, f, pfn):
            # the CPUs that use the mapping must forget that they may write
            cost += m.p.c_tlb_flush + m.p.c_tlb_flush_cpu * (m.nr_cpus - 1)
        done += 1
        mm_charge(m, cost)
        if done & 31 == 0:
            wait_for_queue(m, f.disk, STALL_DEVICE)
            if background and done & 1023 == 0 and not over_background(m):
                break
    return done


cdef bint over_background(machine_t *m) noexcept nogil:
    domain_dirty_limits(m)
    return global_node_stat(m, NR_DIRTY) > m.wb.bg_thresh


cdef int64_t writeback_pass(machine_t *m, int dev, ns_t older_than, bint background) noexcept nogil:
    """One round over the dirty files of a device, oldest first; files dirtied after `older_than` are left."""
    cdef filemap_t *f
    cdef filemap_t *oldest
    cdef int i
    cdef int64_t total = 0, n
    cdef ns_t begin = m.now
    while True:
        oldest = NULL
        for i in range(1, m.nr_files + 1):
            f = m.files[i]
            if (f.disk == dev and f.nrdirty and f.dirtied_when <= older_than and f.dirtied_when <= begin
                    and (oldest == NULL or f.dirtied_when < oldest.dirtied_when)):
                oldest = f
        if oldest == NULL:
            break
        n = write_inode(m, oldest, oldest.nrdirty if not background else 1024, background)
        total += n
        # what is still dirty was dirtied again meanwhile, or waits for its write to end
        if not background or n == 0:
            oldest.dirtied_when = m.now + 1
        if background and not over_background(m):
            break
    if total:
        log_event(m, EV_WRITEBACK, dev, total)
    return total


cdef void wb_main(machine_t *m, int dev) noexcept nogil:
    """Life of a flusher thread."""
    cdef wb_t *wb = &m.wbs[dev]
    cdef ns_t late = <ns_t> 1 << 62
    wb.write_bw = 100e6 / 4096
    wb.dirty_ratelimit = wb.write_bw
    while True:
        if wb.start_all:
            wb.start_all = False
            writeback_pass(m, dev, late, False)
        if m.p.dirty_writeback_ns and m.now - wb.last_old_flush >= m.p.dirty_writeback_ns:
            wb.last_old_flush = m.now
            writeback_pass(m, dev, m.now - m.p.dirty_expire_ns, False)
        if over_background(m):
            writeback_pass(m, dev, late, True)
        wb.background = False
        if wb.start_all:
            continue
        wb.sleeping = True
        m.ops.sleep(m, m.p.dirty_writeback_ns if m.p.dirty_writeback_ns else 3600 * <ns_t> NS_PER_SEC, STALL_DEVICE)
        wb.sleeping = False


cdef void sync_file(machine_t *m, filemap_t *f) noexcept nogil:
    """fsync: writes every dirty page of the file and waits for the device."""
    cdef ns_t until
    while f.nrdirty:
        if write_inode(m, f, f.nrdirty, False) == 0:
            break
    until = m.devs[f.disk].last_done[IO_WRITE]
    if until > m.now:
        m.ops.io_wait(m, until - m.now, STALL_FSYNC)
