# Swapping where it is a copy and nothing else: one area, on a synchronous device, with no compressed tier before it and
# no contents of pages to keep. A page of a program's own (anonymous, mapped by one PTE, in no cache) goes and comes then
# without anybody having seen it in the swap cache, so what shrink_one and swapin_direct do step by step can be done in
# one piece, with the same effect on every counter and list (tests/test_swapcopy.py compares the two).
from .blkdev cimport IO_READ, IO_WRITE, blk_transfer
from .debug cimport MM_BUG_ON
from .frames cimport free_frame
from .machine cimport count, machine_t
from .mm cimport VM_RECLAIM_MATTERS, mm_t
from .node cimport node_t
from .page cimport (PG_ANON, PG_EXCLUSIVE, PG_HELD, PG_LOCKED, PG_LRU_BATCH, PG_MLOCKED, PG_ORPHAN, PG_SWAPBACKED,
                    PG_SWAPCACHE, PG_UNEVICTABLE, PG_WORKINGSET, PG_WRITEBACK, page_t)
from .pte cimport pte_mapped, pte_mkswap, pte_pfn
from .slab cimport xa_nodes_change
from .swapfile cimport (SWP_EXCLUSIVE, SWP_HAS_CACHE, SWP_SHADOW, SWP_USED, SWP_WORKINGSET, get_swap_page, swap_node_ref,
                        swap_node_unref, swap_slot_free, swp_slot_t)
from .types cimport pfn_t, pte_t, swp_t, uint8_t
from .vmstat cimport NR_ANON_PAGES, NR_VMSCAN_WRITE, NR_WRITTEN, PGPGIN, PGPGOUT, PSWPIN, PSWPOUT
from .workingset cimport workingset_eviction

cdef enum:                       # of page_t.flags: what a page of a program's own has, and what it must not have
    PG_OWN = PG_ANON | PG_SWAPBACKED
    PG_NOT_OWN = PG_SWAPCACHE | PG_WRITEBACK | PG_LOCKED | PG_MLOCKED | PG_UNEVICTABLE | PG_ORPHAN | PG_HELD | PG_LRU_BATCH


cdef inline bint swap_is_copy(const machine_t *m) noexcept nogil:
    return (m.swap.nr_areas == 1 and m.swap.areas[0].synchronous and m.swap.areas[0].zram == 0 and m.zswap == NULL
            and m.contents == NULL)


cdef inline pte_t *own_pte(machine_t *m, const page_t *p, pfn_t pfn) noexcept nogil:
    # the PTE that maps a page of a program's own; NULL if it is another kind of page, or has to be looked at closely
    cdef mm_t *mm
    cdef pte_t *pte
    if p.flags & (PG_OWN | PG_NOT_OWN) != PG_OWN or p.mapcount != 1 or p.pins:
        return NULL
    mm = m.mms[p.owner]
    pte = &mm.pt.ptes[p.index]
    if mm.any_flags & VM_RECLAIM_MATTERS or pte_pfn(pte[0]) != pfn or not pte_mapped(pte[0]):
        return NULL
    return pte


cdef inline bint copy_out(machine_t *m, node_t *n, page_t *p, pfn_t pfn, pte_t *pte) noexcept nogil:
    # Such a page goes to swap, leaving a shadow, and its frame is free. False if swap is full. (add_to_swap,
    # try_to_unmap, pageout and remove_mapping)
    cdef mm_t *mm = m.mms[p.owner]
    cdef swp_t slot = get_swap_page(&m.swap, m.cpu)
    cdef swp_slot_t *s = &m.swap.slots[slot]
    cdef int flags = SWP_USED | SWP_SHADOW
    if slot == 0:
        return False
    MM_BUG_ON(s.flags != SWP_USED or s.count != 0)
    xa_nodes_change(m, swap_node_ref(&m.swap, slot))
    flags |= SWP_WORKINGSET if p.flags & PG_WORKINGSET else 0
    flags |= SWP_EXCLUSIVE if p.flags & PG_EXCLUSIVE else 0
    s[0] = swp_slot_t(value=workingset_eviction(&n.lruvec), count=1, flags=<uint8_t> flags, node=<uint8_t> n.nid, memcg=0)
    pte[0] = pte_mkswap(slot)
    mm.swapents += 1
    mm.rss_anon -= 1
    p.mapcount = 0
    n.stat[NR_ANON_PAGES] -= 1
    n.stat[NR_VMSCAN_WRITE] += 1
    n.stat[NR_WRITTEN] += 1
    count(m, PSWPOUT, 1)
    if not m.v61:
        count(m, PGPGOUT, 4)
    m.now = blk_transfer(&m.devs[m.swap.areas[0].disk], IO_WRITE, m.now)
    p.flags = 0
    free_frame(m, pfn)
    return True


cdef inline void copy_in(machine_t *m) noexcept nogil:
    # the time and the counters of reading a slot (read_area)
    count(m, PSWPIN, 1)
    if not m.v61:
        count(m, PGPGIN, 4)
    m.now = blk_transfer(&m.devs[m.swap.areas[0].disk], IO_READ, m.now)


cdef inline void drop_slot(machine_t *m, swp_t slot) noexcept nogil:
    # the one PTE that refers to it does no longer, and no cache holds it (swap_put)
    cdef swp_slot_t *s = &m.swap.slots[slot]
    MM_BUG_ON(s.count != 1 or s.flags & SWP_HAS_CACHE)
    s.count = 0
    if s.flags & SWP_SHADOW:
        xa_nodes_change(m, swap_node_unref(&m.swap, slot))
    swap_slot_free(&m.swap, slot)
