"""Doors for tests and benchmarks: single formulas of the engine, and the bare loops it is measured against.

Nothing here is part of the API.
"""

from libc.stdlib cimport calloc, free
from libc.string cimport memset

from .buddy cimport (free_one_page, get_pageblock_migratetype, kernel_free, zone_free, zone_init, zone_init_free, zone_t,
                     zone_verify)
from .lruvec cimport inactive_is_low, lru_note_cost, lruvec_t
from .mm cimport file_ra_t
from .mobility cimport rmqueue_buddy
from .page cimport page_t
from .pcp cimport (decay_pcp_high, drain_zone_pages, free_unref_page, pcp_alloc, pcp_pop, pcp_refill,
                   pcp_verify, zone_init_pcp)
from .psi cimport PSI_FREQ_NS, PSI_MEM_SOME, psi_t, psi_update_averages
from .readahead cimport ra_init_size, ra_next_size
from .scan_count cimport scan_fractions, stats_due, stop_rule
from .swap_state cimport swapin_nr_pages
from .topology cimport add_kernel_blocks
from .types cimport (MAX_NR_ZONES, MIGRATE_MOVABLE, MIGRATE_TYPES, MIGRATE_UNMOVABLE, NR_ORDERS, int64_t, pfn_t,
                     uint32_t, uint64_t, uint8_t)
from .watermark cimport (WMARK_LOW, calculate_min_free_kbytes, isqrt, setup_lowmem_reserve, setup_zone_wmarks,
                         thp_min_free_kbytes, zone_batchsize)
from .thread cimport latency_bucket
from .workingset cimport workingset_eviction, workingset_test_recent
from .writeback cimport dirty_poll_interval, dirty_pos_ratio

# ---- formulas -------------------------------------------------------------------------------------------


def py_isqrt(int64_t x):
    return isqrt(x)


def py_min_free_kbytes(int64_t lowmem_kb):
    return calculate_min_free_kbytes(lowmem_kb)


def py_thp_min_free_kbytes(int64_t kb, int64_t zones, int64_t lowmem_pages):
    return thp_min_free_kbytes(kb, zones, lowmem_pages)


def py_wmarks(int64_t managed, int64_t lowmem, int64_t min_free_kb, int64_t scale, bint movable=False):
    cdef int64_t[4] w
    setup_zone_wmarks(w, managed, lowmem, min_free_kb, scale, movable)
    return tuple(w[i] for i in range(4))


def py_lowmem_reserve(managed, ratio, int zone):
    cdef int64_t[MAX_NR_ZONES] m
    cdef int64_t[MAX_NR_ZONES] r
    cdef int64_t[MAX_NR_ZONES] out
    for i in range(MAX_NR_ZONES):
        m[i] = managed[i]
        r[i] = ratio[i]
    setup_lowmem_reserve(out, m, r, zone, MAX_NR_ZONES)
    return [out[i] for i in range(MAX_NR_ZONES)]


def py_batchsize(int64_t managed):
    return zone_batchsize(managed)


def py_fractions(int64_t swappiness, uint64_t anon_cost, uint64_t file_cost):
    cdef uint64_t ap = 0, fp = 0
    scan_fractions(swappiness, anon_cost, file_cost, &ap, &fp)
    return ap, fp


def py_inactive_is_low(int64_t inactive, int64_t active):
    return bool(inactive_is_low(inactive, active))


def py_stop_rule(targets, remaining):
    cdef int64_t[4] t
    cdef int64_t[4] nr
    for i in range(4):
        t[i] = targets[i]
        nr[i] = remaining[i]
    stop_rule(t, nr)
    return [nr[i] for i in range(4)]


def py_swapin_nr_pages(int64_t prev, int64_t cur, uint32_t hits, uint32_t most, uint32_t prev_win):
    return swapin_nr_pages(prev, cur, hits, most, prev_win)


def py_note_cost(uint32_t lrusize, events, bint v61=False):
    """State (anon, file) after each event (file?, io, rotated) on lists of `lrusize` pages."""
    cdef lruvec_t v
    memset(&v, 0, sizeof(v))
    v.lists[0].count = lrusize
    out = []
    for is_file, io, rotated in events:
        lru_note_cost(&v, is_file, io, rotated, v61)
        out.append((v.anon_cost, v.file_cost))
    return out


def py_stats_due(uint64_t updates, int nr_cpus):
    return stats_due(updates, nr_cpus)


def py_psi(samples):
    """avg10, avg60, avg300 after each 2 s period with the given share (0..1) of memory stall."""
    cdef psi_t *p = <psi_t *> calloc(1, sizeof(psi_t))
    cdef uint64_t i
    out = []
    p.avg_next = PSI_FREQ_NS
    for i, share in enumerate(samples):
        p.total[PSI_MEM_SOME] += <uint64_t> (share * PSI_FREQ_NS)
        psi_update_averages(p, (i + 1) * PSI_FREQ_NS)
        out.append(tuple((p.avg[PSI_MEM_SOME][k] >> 11) + ((p.avg[PSI_MEM_SOME][k] & 2047) * 100 >> 11) / 100.0
                         for k in range(3)))
    free(p)
    return out


def py_pos_ratio(int64_t background, int64_t thresh, int64_t dirty):
    return dirty_pos_ratio((background + thresh) // 2, thresh, dirty)


def py_dirty_poll_interval(int64_t dirty, int64_t thresh):
    return dirty_poll_interval(dirty, thresh)


def py_ra_init_size(uint64_t req, uint64_t max_pages):
    return ra_init_size(req, max_pages)


def py_ra_next_size(uint32_t size, uint64_t max_pages):
    cdef file_ra_t ra
    memset(&ra, 0, sizeof(ra))
    ra.size = size
    return ra_next_size(&ra, max_pages)


def py_refault(uint64_t between, lists, bint file, bint can_swap):
    """Would a page be activated that comes back after `between` further evictions? `lists`: lengths, IA AA IF AF."""
    cdef lruvec_t v
    cdef int64_t[4] sizes
    cdef uint32_t shadow
    memset(&v, 0, sizeof(v))
    v.nonresident_age = 0xfffffff0           # so that the 32 bits of a shadow wrap around
    shadow = workingset_eviction(&v)
    v.nonresident_age += between
    for i in range(4):
        sizes[i] = lists[i]
    return bool(workingset_test_recent(&v, sizes, shadow, file, can_swap))


def py_latency_bucket(int64_t ns):
    return latency_bucket(ns)


MIGRATETYPE_NAMES = ("unmovable", "movable", "reclaimable")


# ---- one zone -------------------------------------------------------------------------------------------


cdef int zone_step(zone_t *z, page_t *frames, str what, int n, list held, list pages, bint v612) except -1:
    cdef pfn_t pfn
    if what == "kernel":                     # an unmovable block of order n
        held.append((pcp_alloc(z, frames, 0, n, MIGRATE_UNMOVABLE, v612), n))
    elif what == "free kernel":              # the n oldest of them
        for pfn, order in held[:n]:
            free_unref_page(z, frames, pfn, 0, order, v612)
        del held[:n]
    elif what == "page":                     # n pages of a program
        for _ in range(n):
            if z.pcp[0].count == 0:
                pcp_refill(z, frames, 0, v612)
            pfn = pcp_pop(&z.pcp[0])
            frames[pfn].flags = 0
            pages.append(pfn)
    elif what == "free page":
        for pfn in pages[:n]:
            free_unref_page(z, frames, pfn, 0, 0, v612)
        del pages[:n]
    elif what == "second":
        decay_pcp_high(z, frames, 0)
    else:
        drain_zone_pages(z, frames)
    zone_verify(z, frames)
    return pcp_verify(z, frames)


cdef int begin_zone(zone_t *z, page_t *frames, kernel_blocks, bint v61) except -1:
    """The zone of the doors below: 65,535 pages, of which 8,000 and those of the kernel's page blocks are free."""
    if frames == NULL:
        raise MemoryError("frames")
    zone_init(z, 0, 2, 0, 1, 65_535, 65_535, 1)
    z.v61 = v61
    add_kernel_blocks(z, kernel_blocks)
    return zone_init_free(z, frames, 8000 + kernel_free(z))


def py_pcp(steps, kernel_blocks, int64_t low, bint v61):
    """A zone (begin_zone) with one CPU: pages (free, in the stack, in lists) after each step."""
    cdef zone_t z
    cdef page_t *frames = <page_t *> calloc(1 << 17, sizeof(page_t))
    held, pages, out = [], [], []
    memset(&z, 0, sizeof(z))
    try:
        begin_zone(&z, frames, kernel_blocks, v61)
        z.wmark[WMARK_LOW] = low
        zone_init_pcp(&z, 1, 0, not v61)
        for what, n in steps:
            zone_step(&z, frames, what, n, held, pages, not v61)
            out.append((z.nr_free, z.pcp[0].count, z.pcp[0].listed))
        return out
    finally:
        zone_free(&z)
        free(frames)


def py_mobility(steps, kernel_blocks, bint v61):
    """The same zone without per-CPU lists: (unmovable, movable, reclaimable pages free, fallbacks) after each step.

    A step is (type, order) for a request, ("refill", n) for n movable pages in a row, ("free", _) for the oldest block that
    is held, ("spill", _) for the newest, out of a list of movable pages.
    """
    cdef zone_t z
    cdef page_t *frames = <page_t *> calloc(1 << 17, sizeof(page_t))
    cdef bint stealing
    cdef pfn_t pfn
    cdef int i
    held, out = [], []
    memset(&z, 0, sizeof(z))
    try:
        begin_zone(&z, frames, kernel_blocks, v61)
        for what, order in steps:
            stealing = False
            if what in MIGRATETYPE_NAMES:
                pfn = rmqueue_buddy(&z, frames, order, MIGRATETYPE_NAMES.index(what), &stealing)
                if pfn:
                    held.append((pfn, order))
            elif what == "refill":
                for _ in range(order):
                    held.append((rmqueue_buddy(&z, frames, 0, MIGRATE_MOVABLE, &stealing), 0))
            elif what == "free" and held:
                pfn, order = held.pop(0)
                free_one_page(&z, frames, pfn, order, get_pageblock_migratetype(&z, pfn))
            elif what == "spill":
                pfn, order = held.pop()
                free_one_page(&z, frames, pfn, order, MIGRATE_MOVABLE)
            zone_verify(&z, frames)
            free_pages = [0] * MIGRATE_TYPES
            for mt in range(MIGRATE_TYPES):
                for i in range(NR_ORDERS):
                    free_pages[mt] += z.free_area[<int> mt][i].nr_free << i
            out.append((*free_pages, z.fallbacks))
        return out
    finally:
        zone_free(&z)
        free(frames)


# ---- bare loops -----------------------------------------------------------------------------------------

def bare_pagetable(const uint32_t[::1] trace, uint64_t[::1] ptes):
    """The ceiling for hits: sets accessed (and dirty) in a flat array of PTEs."""
    cdef uint64_t i, n = trace.shape[0]
    cdef uint32_t r
    with nogil:
        for i in range(n):
            r = trace[i]
            ptes[r & 0x7fffffff] |= 4 | (<uint64_t> (r >> 31) << 3)
    return n


def bare_clock(const uint32_t[::1] trace, uint64_t pages, uint64_t frames):
    """The ceiling for replacement: CLOCK over flat arrays. Returns the number of misses."""
    cdef uint64_t i, n = trace.shape[0], misses = 0, hand = 0, used = 0
    cdef uint32_t page, victim
    cdef uint32_t *frame_of = <uint32_t *> calloc(pages, sizeof(uint32_t))     # 0: not resident
    cdef uint32_t *page_of = <uint32_t *> calloc(frames + 1, sizeof(uint32_t))
    cdef uint8_t *ref = <uint8_t *> calloc(frames + 1, 1)
    if frame_of == NULL or page_of == NULL or ref == NULL:
        free(frame_of)
        free(page_of)
        free(ref)
        raise MemoryError("CLOCK")
    with nogil:
        for i in range(n):
            page = trace[i] & 0x7fffffff
            if frame_of[page]:
                ref[frame_of[page]] = 1
                continue
            misses += 1
            if used < frames:
                used += 1
                frame_of[page] = <uint32_t> used
                page_of[used] = page
                continue
            while True:
                hand = 1 if hand == frames else hand + 1
                if ref[hand] == 0:
                    break
                ref[hand] = 0
            victim = page_of[hand]
            frame_of[victim] = 0
            page_of[hand] = page
            frame_of[page] = <uint32_t> hand
    free(frame_of)
    free(page_of)
    free(ref)
    return misses
