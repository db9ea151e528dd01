"""Swap readahead: the page a fault needs, and neighbours by address or by slot. (mm/swap_state.c)"""

from .frames cimport free_frame
from .machine cimport count, lru_add_drain, machine_t
from .mm cimport mm_t, vma_t
from .page cimport PG_EXCLUSIVE, PG_READAHEAD
from .page_alloc cimport GFP_NORETRY, GFP_USER, alloc_pages
from .pageout cimport swap_readpage, swapin_add
from .placement cimport vma_zonelist
from .pte cimport PTE_SWAP, pte_pfn
from .swapfile cimport SWP_EXCLUSIVE, SWP_HAS_CACHE, swap_area_of, swap_area_t, swp_slot_t
from .types cimport NIL, PTRS_PER_TABLE, int64_t, pfn_t, pte_t, swp_t, uint32_t, vpn_t
from .vmstat cimport SWAP_RA
from .zonelist cimport zonelist_t


cdef uint32_t swapin_nr_pages(int64_t prev, int64_t cur, uint32_t hits, uint32_t max_pages,
                              uint32_t prev_win) noexcept nogil:
    """Readahead window from the hits since the last one; shrinks at most by half (__swapin_nr_pages)."""
    cdef uint32_t n
    if hits == 0:
        n = 2 if cur == prev + 1 or cur == prev - 1 else 1
    else:
        n = 4
        while n < hits + 2:
            n *= 2
    if n > max_pages:
        n = max_pages
    return n if n > prev_win // 2 else prev_win // 2


cdef pfn_t read_swap_page(machine_t *m, mm_t *mm, vma_t *vma, vpn_t vpn, swp_t slot, int gfp, bint readahead,
                          bint *started) noexcept nogil:
    """The swap-cache frame of a slot; if there was none, one is made, as the policy at `vpn` says, and its read
    started."""
    cdef swp_slot_t *s = &m.swap.slots[slot]
    cdef const zonelist_t *zl
    cdef pfn_t pfn
    if s.flags & SWP_HAS_CACHE:
        return s.value
    zl = vma_zonelist(m, m.curr, mm, vma, vpn, &gfp)
    pfn = alloc_pages(m, zl, gfp, 0)
    if pfn == NIL:
        return NIL
    if s.flags & SWP_HAS_CACHE or s.count == 0:
        # while we slept somebody else read it, or everybody gave it up
        free_frame(m, pfn)
        return s.value if s.flags & SWP_HAS_CACHE else NIL
    swapin_add(m, slot, pfn, <uint32_t> mm.id, <uint32_t> vpn)
    if s.flags & SWP_EXCLUSIVE:
        m.frames[pfn].flags |= PG_EXCLUSIVE
    swap_readpage(m, slot, pfn)
    started[0] = True
    if readahead:
        m.frames[pfn].flags |= PG_READAHEAD
        count(m, SWAP_RA, 1)
    return pfn


cdef void vma_readahead(machine_t *m, mm_t *mm, vma_t *vma, vpn_t vpn, uint32_t win, int64_t prev) noexcept nogil:
    """Neighbours by address: ahead of an ascending scan, behind a descending one, else around."""
    cdef int64_t lo, hi, at
    cdef int64_t table = <int64_t> (vpn // PTRS_PER_TABLE * PTRS_PER_TABLE)
    cdef pte_t pte
    cdef bint started
    if <int64_t> vpn == prev + 1:
        lo = <int64_t> vpn
    elif <int64_t> vpn == prev - 1:
        lo = <int64_t> vpn - win + 1
    else:
        lo = <int64_t> vpn - (win - 1) // 2
    hi = lo + win
    lo = max(lo, table, <int64_t> vma.start)
    hi = min(hi, table + PTRS_PER_TABLE, <int64_t> vma.end)
    for at in range(lo, hi):
        pte = mm.pt.ptes[at]
        if not pte & PTE_SWAP or at == <int64_t> vpn:
            continue
        started = False
        read_swap_page(m, mm, vma, at, pte_pfn(pte), GFP_NORETRY, True, &started)


cdef void cluster_readahead(machine_t *m, mm_t *mm, vma_t *vma, vpn_t vpn, swp_t slot, uint32_t win) noexcept nogil:
    """Neighbours by slot: the aligned block around the faulting one (rotational devices)."""
    cdef swap_area_t *a = swap_area_of(&m.swap, slot)
    cdef uint32_t off = slot - a.base + 1
    cdef uint32_t lo = off & ~(win - 1)
    cdef uint32_t hi = off | (win - 1)
    cdef uint32_t o
    cdef swp_t s
    cdef bint started
    if lo == 0:
        lo = 1
    if hi > a.nslots:
        hi = a.nslots
    for o in range(lo, hi + 1):
        s = a.base + o - 1
        if s == slot or m.swap.slots[s].count == 0 or m.swap.slots[s].flags & SWP_HAS_CACHE:
            continue
        started = False
        # the owner of that slot is found when it faults; until then the page belongs to nobody's PTE
        read_swap_page(m, mm, vma, vpn, s, GFP_NORETRY, True, &started)


cdef pfn_t swapin_readahead(machine_t *m, mm_t *mm, vma_t *vma, vpn_t vpn, swp_t slot, bint *retry) noexcept nogil:
    """Reads the page a fault needs, with neighbours as page-cluster allows."""
    cdef uint32_t max_pages = <uint32_t> 1 << min(m.p.page_cluster, 5)
    cdef uint32_t win = 1
    cdef int64_t prev = 0
    cdef bint started = False
    cdef bint by_vma = m.p.vma_ra_enabled and m.swap.nr_rotational == 0
    cdef pfn_t pfn
    if max_pages > 1:
        if by_vma:
            prev = <int64_t> vma.swap_ra_last
            win = swapin_nr_pages(prev, <int64_t> vpn, vma.swap_ra_hits, max_pages, vma.swap_ra_win)
            vma.swap_ra_last = vpn
            vma.swap_ra_win = win
            vma.swap_ra_hits = 0
        else:
            win = swapin_nr_pages(m.swap_ra_prev, <int64_t> slot, m.swap_ra_hits, max_pages, m.swap_ra_win)
            if m.swap_ra_hits == 0:
                m.swap_ra_prev = <int64_t> slot
            m.swap_ra_hits = 0
            m.swap_ra_win = win
    retry[0] = win > 1
    pfn = read_swap_page(m, mm, vma, vpn, slot, GFP_USER, False, &started)
    if pfn and win > 1 and m.swap.slots[slot].count:
        m.frames[pfn].pins += 1
        if by_vma:
            vma_readahead(m, mm, vma, vpn, win, prev)
        else:
            cluster_readahead(m, mm, vma, vpn, slot, win)
        lru_add_drain(m)
        m.frames[pfn].pins -= 1
    return pfn


cdef void swapin_readahead_range(machine_t *m, mm_t *mm, vma_t *vma, vpn_t start, vpn_t end) noexcept nogil:
    """MADV_WILLNEED on anonymous memory: starts reading every swapped page of the range."""
    cdef vpn_t v
    cdef bint started
    for v in range(start, end):
        if mm.pt.ptes[v] & PTE_SWAP:
            started = False
            read_swap_page(m, mm, vma, v, pte_pfn(mm.pt.ptes[v]), GFP_NORETRY, False, &started)
