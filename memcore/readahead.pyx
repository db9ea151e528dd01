"""How file pages get into memory.

A sequential reader keeps a window: `size` pages from `start`, the last `async_size` of which are marked, so
that touching the mark starts the next, larger window before the reader has to wait. A random reader gets
its pages and nothing else. Mapped files read around the fault instead, until that has missed too often.
"""
from .filemap cimport filemap_lookup, filemap_t
from .frames cimport free_frame
from .machine cimport count, lru_add, lru_del, machine_t, mm_charge, page_node
from .mm cimport VM_RAND_READ, VM_SEQ_READ, file_ra_t, vma_t
from .page cimport PG_ACTIVE, PG_LOCKED, PG_LRU, PG_READAHEAD, PG_REFERENCED, PG_UNEVICTABLE, page_t
from .page_alloc cimport GFP_NORETRY, GFP_USER, GFP_WRITE, alloc_pages
from .pageout cimport add_to_page_cache, read_file_page, wait_on_page
from .placement cimport task_zonelist
from .thread cimport LAT_FILE_MAJOR, STALL_FILE_READ
from .types cimport MM_EINTR, MM_OK, NIL, int64_t, pfn_t, uint32_t, uint64_t
from .vmstat cimport PGACTIVATE, PGFAULT, PGMAJFAULT
from .writeback cimport account_page_dirtied, balance_dirty_pages_ratelimited
from .zonelist cimport zonelist_t

cdef enum:
    MMAP_LOTSAMISS = 100
    READ_BATCH = 64              # pages of a readahead that are handed to the device together


cdef uint32_t ra_init_size(uint64_t req, uint64_t max_pages) noexcept nogil:
    """First window of a sequential stream (get_init_ra_size)."""
    cdef uint64_t n = 1
    while n < req:
        n <<= 1
    if n <= max_pages // 32:
        n *= 4
    elif n <= max_pages // 4:
        n *= 2
    else:
        n = max_pages
    return <uint32_t> n


cdef uint32_t ra_next_size(const file_ra_t *ra, uint64_t max_pages) noexcept nogil:
    """Following windows: times 4, times 2, then the maximum (get_next_ra_size)."""
    cdef uint64_t cur = ra.size
    if cur < max_pages // 16:
        return <uint32_t> (4 * cur)
    if cur <= max_pages // 2:
        return <uint32_t> (2 * cur)
    return <uint32_t> max_pages


cdef pfn_t filemap_alloc_folio(machine_t *m, int gfp) noexcept nogil:
    """A frame for page cache, from where the policy of the running task says."""
    cdef const zonelist_t *zl = task_zonelist(m, m.curr, &gfp)
    return alloc_pages(m, zl, gfp, 0)


cdef pfn_t page_cache_alloc(machine_t *m, filemap_t *f, uint64_t index, int gfp, bint whole_write,
                            bint *raced) noexcept nogil:
    """A new page-cache page at `index`, or (`raced`) the one somebody else put there while this thread waited."""
    cdef pfn_t pfn = filemap_alloc_folio(m, gfp)
    raced[0] = False
    if pfn == NIL:
        return NIL
    # charged first: once in the cache, a clean page may be evicted while the clock lets others run
    mm_charge(m, m.p.c_page_cache_add)
    if filemap_lookup(f, index):
        raced[0] = True
        free_frame(m, pfn)
        return filemap_lookup(f, index)
    add_to_page_cache(m, f, index, pfn, whole_write)
    return pfn


cdef pfn_t page_cache_read(machine_t *m, filemap_t *f, uint64_t index) noexcept nogil:
    """Puts page `index` into the cache and starts reading it, unless somebody has done so meanwhile."""
    cdef bint raced = False
    cdef pfn_t pfn = page_cache_alloc(m, f, index, GFP_USER, False, &raced)
    if pfn and not raced:
        read_file_page(m, f, pfn)
    return pfn


cdef void do_readahead(machine_t *m, filemap_t *f, uint64_t start, uint64_t n, uint64_t mark) noexcept nogil:
    """page_cache_ra_unbounded: allocates what is missing of [start, start+n), marks page `mark`, reads.

    The reads begin when all pages are there, as one request for each run of neighbours.
    """
    cdef pfn_t[READ_BATCH] batch
    cdef uint64_t i, end = start + n
    cdef int filled = 0, k
    cdef pfn_t pfn
    if end > f.npages:
        end = f.npages
    for i in range(start, end):
        if filemap_lookup(f, i):
            continue
        pfn = filemap_alloc_folio(m, GFP_NORETRY)
        if pfn == NIL:
            break
        if filemap_lookup(f, i):
            free_frame(m, pfn)
            continue
        add_to_page_cache(m, f, i, pfn, False)
        m.frames[pfn].flags |= PG_LOCKED
        if i == mark:
            m.frames[pfn].flags |= PG_READAHEAD
        mm_charge(m, m.p.c_page_cache_add)
        batch[filled] = pfn
        filled += 1
        if filled == READ_BATCH:
            for k in range(filled):
                read_file_page(m, f, batch[k])
            filled = 0
    for k in range(filled):
        read_file_page(m, f, batch[k])


cdef void ra_submit(machine_t *m, filemap_t *f, file_ra_t *ra) noexcept nogil:
    do_readahead(m, f, ra.start, ra.size, ra.start + ra.size - ra.async_size)


cdef uint64_t count_history_pages(const filemap_t *f, uint64_t index, uint64_t limit) noexcept nogil:
    # cached pages right before `index`: the traces of a stream whose state was lost
    cdef uint64_t n = 0
    while n < index and n < limit and filemap_lookup(f, index - 1 - n):
        n += 1
    return n


cdef void ondemand_readahead(machine_t *m, filemap_t *f, file_ra_t *ra, bint hit_marker, uint64_t index,
                             uint64_t req) noexcept nogil:
    """Decides what to read for `req` pages at `index`, which are missing or carry the mark."""
    cdef uint64_t max_pages = m.p.ra_pages
    cdef uint64_t n
    if req > max_pages and m.p.ra_pages:
        max_pages = req
    if index and (index == ra.start + ra.size - ra.async_size or index == ra.start + ra.size):
        ra.start += ra.size
        ra.size = ra_next_size(ra, max_pages)
        ra.async_size = ra.size
    elif index and hit_marker:
        n = index + 1
        while n < f.npages and filemap_lookup(f, n) and n - index <= max_pages:
            n += 1
        if n - index > max_pages or n >= f.npages:
            return
        ra.start = n
        ra.size = <uint32_t> (n - index + req)
        ra.size = ra_next_size(ra, max_pages)
        ra.async_size = ra.size
    elif index and req <= max_pages and index - <uint64_t> ra.prev_pos > 1:
        n = count_history_pages(f, index, max_pages)
        if n <= req:
            do_readahead(m, f, index, req, ~<uint64_t> 0)
            return
        if n >= index:
            n *= 2
        ra.start = index
        ra.size = <uint32_t> min(n + req, max_pages)
        ra.async_size = 1
    else:
        ra.start = index
        ra.size = ra_init_size(req, max_pages)
        ra.async_size = <uint32_t> (ra.size - req) if ra.size > req else ra.size
    if index == ra.start and ra.size == ra.async_size:
        # this read would hit the mark it sets: take the next window along
        n = ra_next_size(ra, max_pages)
        if ra.size + n <= max_pages:
            ra.async_size = <uint32_t> n
            ra.size += <uint32_t> n
        else:
            ra.size = <uint32_t> max_pages
            ra.async_size = <uint32_t> max_pages >> 1
    ra_submit(m, f, ra)


cdef bint sync_mmap_readahead(machine_t *m, filemap_t *f, vma_t *vma, uint64_t index) noexcept nogil:
    """Before the only page a fault needs is read: its neighbours. True if anything was read."""
    cdef file_ra_t *ra = &vma.ra
    cdef uint64_t half = m.p.ra_pages // 2
    if vma.flags & VM_RAND_READ or m.p.ra_pages == 0:
        return False
    if vma.flags & VM_SEQ_READ:
        ondemand_readahead(m, f, ra, False, index, m.p.ra_pages)
        return True
    if ra.mmap_miss < MMAP_LOTSAMISS * 10:
        ra.mmap_miss += 1
    if ra.mmap_miss > MMAP_LOTSAMISS:
        return False
    ra.start = index - half if index > half else 0
    ra.size = <uint32_t> m.p.ra_pages
    ra.async_size = <uint32_t> m.p.ra_pages // 4
    ra_submit(m, f, ra)
    return True


cdef pfn_t filemap_fault(machine_t *m, vma_t *vma, uint64_t index, bint *major, int *err) noexcept nogil:
    """The up-to-date page-cache page a fault needs; may read and sleep. NIL with *err set if killed."""
    cdef filemap_t *f = m.files[vma.file]
    cdef pfn_t pfn
    cdef bint retried = False
    cdef page_t *p
    err[0] = MM_OK
    pfn = filemap_lookup(f, index)
    if pfn:
        p = &m.frames[pfn]
        if vma.ra.mmap_miss and not vma.flags & VM_RAND_READ:
            vma.ra.mmap_miss -= 1
        if p.flags & PG_READAHEAD and not vma.flags & VM_RAND_READ and m.p.ra_pages:
            p.flags &= ~PG_READAHEAD
            p.pins += 1
            ondemand_readahead(m, f, &vma.ra, True, index, m.p.ra_pages)
            p.pins -= 1
            retried = True
    else:
        major[0] = True
        m.curr.fault_kind = LAT_FILE_MAJOR
        count(m, PGMAJFAULT, 1)
        retried = True
        sync_mmap_readahead(m, f, vma, index)
    while True:
        pfn = filemap_lookup(f, index)
        if pfn == NIL:
            pfn = page_cache_read(m, f, index)
            if pfn == NIL:
                err[0] = MM_EINTR
                return NIL
        if not m.frames[pfn].flags & PG_LOCKED:
            break
        if m.curr.fault_kind < LAT_FILE_MAJOR:
            m.curr.fault_kind = LAT_FILE_MAJOR
        err[0] = wait_on_page(m, pfn, STALL_FILE_READ)
        if err[0] == MM_EINTR and m.curr.killed:
            return NIL
        err[0] = MM_OK
    if retried and m.v61:
        # the mmap lock was dropped for I/O: the fault is entered, and counted, a second time
        count(m, PGFAULT, 1)
    return pfn


cdef void force_readahead(machine_t *m, filemap_t *f, uint64_t start, uint64_t n) noexcept nogil:
    """MADV_WILLNEED: reads a range in windows of the readahead size without waiting."""
    cdef uint64_t step = m.p.ra_pages if m.p.ra_pages else 1
    cdef uint64_t take
    while n:
        take = min(n, step)
        do_readahead(m, f, start, take, ~<uint64_t> 0)
        start += take
        n -= take


cdef void mark_page_accessed(machine_t *m, pfn_t pfn) noexcept nogil:
    """folio_mark_accessed: unreferenced -> referenced -> active (and referenced again)."""
    cdef page_t *p = &m.frames[pfn]
    if not p.flags & PG_REFERENCED:
        p.flags |= PG_REFERENCED
    elif p.flags & PG_UNEVICTABLE:
        pass
    elif not p.flags & PG_ACTIVE:
        if p.flags & PG_LRU:
            lru_del(m, pfn)
            p.flags |= PG_ACTIVE
            lru_add(m, pfn)
            count(m, PGACTIVATE, 1)
        p.flags = (p.flags | PG_ACTIVE) & ~PG_REFERENCED
        page_node(m, pfn).lruvec.nonresident_age += 1


cdef int file_read(machine_t *m, vma_t *vma, uint64_t index, uint64_t n) noexcept nogil:
    """read() of n pages at page `index` of the file."""
    cdef filemap_t *f = m.files[vma.file]
    cdef file_ra_t *ra = &vma.ra
    cdef uint64_t end = index + n
    cdef pfn_t pfn
    cdef page_t *p
    mm_charge(m, m.p.c_syscall)
    while index < end:
        pfn = filemap_lookup(f, index)
        if pfn == NIL:
            if vma.flags & VM_RAND_READ or m.p.ra_pages == 0:
                do_readahead(m, f, index, end - index if m.p.ra_pages else 1, ~<uint64_t> 0)
            else:
                ondemand_readahead(m, f, ra, False, index, end - index)
            pfn = filemap_lookup(f, index)
            if pfn == NIL:
                pfn = page_cache_read(m, f, index)
                if pfn == NIL:
                    return MM_EINTR
        p = &m.frames[pfn]
        if p.flags & PG_READAHEAD:
            p.flags &= ~PG_READAHEAD
            p.pins += 1
            ondemand_readahead(m, f, ra, True, index, end - index)
            p.pins -= 1
        if p.flags & PG_LOCKED:
            if wait_on_page(m, pfn, STALL_FILE_READ) == MM_EINTR and m.curr.killed:
                return MM_EINTR
            continue
        if ra.prev_pos != <int64_t> index + 1:
            mark_page_accessed(m, pfn)
        ra.prev_pos = <int64_t> index + 1
        mm_charge(m, m.p.c_page_copy)
        index += 1
    return MM_OK


cdef int file_write(machine_t *m, vma_t *vma, uint64_t index, uint64_t n) noexcept nogil:
    """write() of n whole pages: they need not be read, they become dirty, the writer may be slowed."""
    cdef filemap_t *f = m.files[vma.file]
    cdef uint64_t end = index + n
    cdef bint raced = False
    cdef pfn_t pfn
    mm_charge(m, m.p.c_syscall)
    while index < end:
        pfn = filemap_lookup(f, index)
        if pfn == NIL:
            pfn = page_cache_alloc(m, f, index, GFP_WRITE, True, &raced)
            if pfn == NIL:
                return MM_EINTR
        if m.frames[pfn].flags & PG_LOCKED:
            if wait_on_page(m, pfn, STALL_FILE_READ) == MM_EINTR and m.curr.killed:
                return MM_EINTR
            continue
        account_page_dirtied(m, f, pfn)
        mm_charge(m, m.p.c_page_copy)
        balance_dirty_pages_ratelimited(m, f.disk)
        index += 1
    return MM_OK
