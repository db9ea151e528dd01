"""Part of the door: where pages are, and with which bits, for people who watch the lists at work.

Looks and changes nothing. Slow: walks lists and page tables.
"""

from .filemap cimport filemap_t
from .list cimport lru_list_peek, lru_list_t
from .lruvec cimport NR_LRU
from .machine cimport machine_t
from .mm cimport VM_FILE, mm_t, vma_t
from .page cimport (PG_ACTIVE, PG_ANON, PG_DIRTY, PG_ISOLATED, PG_LOCKED, PG_LRU, PG_RECLAIM, PG_REFERENCED,
                    PG_SWAPCACHE, PG_UNEVICTABLE, PG_WORKINGSET, PG_WRITEBACK, page_t)
from .pte cimport (PTE_DIRTY, PTE_PRESENT, PTE_SHADOW, PTE_SWAP, PTE_WORKINGSET, PTE_YOUNG, pte_mapped, pte_pfn)
from .swapfile cimport SWP_HAS_CACHE, SWP_SHADOW, SWP_WORKINGSET, swp_slot_t
from .types cimport pfn_t, uint32_t, uint64_t


cdef list lru_order(machine_t *m, int nid, int lru):
    """Pages of one LRU list, head first: (file, page of the file) or (0, page of the task)."""
    cdef lru_list_t *pages = &m.nodes[nid].lruvec.lists[lru]
    cdef page_t *p
    cdef uint32_t i
    out = []
    for i in range(pages.used):
        if lru_list_peek(pages, i):              # not a hole
            p = &m.frames[lru_list_peek(pages, i)]
            out.append((0 if p.flags & PG_ANON else p.owner, p.index))
    return out[::-1]


cdef dict frame_bits(const page_t *p):
    return {"referenced": p.flags & PG_REFERENCED != 0, "active": p.flags & PG_ACTIVE != 0,
            "workingset": p.flags & PG_WORKINGSET != 0, "dirty": p.flags & PG_DIRTY != 0,
            "writeback": p.flags & PG_WRITEBACK != 0, "reclaim": p.flags & PG_RECLAIM != 0,
            "swapcache": p.flags & PG_SWAPCACHE != 0, "locked": p.flags & PG_LOCKED != 0,
            "isolated": p.flags & PG_ISOLATED != 0, "unevictable": p.flags & PG_UNEVICTABLE != 0,
            "on_lru": p.flags & PG_LRU != 0}


cdef list page_states(machine_t *m, int thread):
    """Every page of a task, in the order of its regions.

    "where": "nowhere" (never touched, or dropped without a trace), "zero" (the shared page of zeros), "memory" or "swap"
    (also when a copy is in the swap cache), "disk" for a page of a file that is not cached. "lru": which list, -1: none;
    "place" in it, 0 is the head. "mapped", "accessed", "pte_dirty": bits of the task's page table. "slot": of swap, 0:
    none. "shadow": (age at eviction, in the working set then), of a page that reclaim took, or None. The rest are
    flags of the frame, of a page in memory.
    """
    cdef mm_t *mm = m.mms[m.threads[thread].owner]
    cdef vma_t *vma
    cdef filemap_t *f
    cdef swp_slot_t *slot
    cdef lru_list_t *pages
    cdef page_t *p
    cdef uint64_t v, pte, entry
    cdef uint32_t i, at
    cdef pfn_t pfn
    cdef int k
    places = {}
    for k in range(NR_LRU * m.nr_nodes):
        pages = &m.nodes[k // NR_LRU].lruvec.lists[k % NR_LRU]
        at = pages.count
        for i in range(pages.used):
            pfn = lru_list_peek(pages, i)
            if pfn:
                at -= 1
                places[pfn] = (k % NR_LRU, at)
    out = []
    for k in range(mm.nr_vmas):
        vma = &mm.vmas[k]
        for v in range(vma.start, vma.end):
            pte = mm.pt.ptes[v]
            state = {"where": "nowhere", "lru": -1, "place": -1, "mapped": pte_mapped(pte), "slot": 0, "shadow": None,
                     "accessed": pte & PTE_YOUNG != 0, "pte_dirty": pte & PTE_DIRTY != 0}
            pfn = pte_pfn(pte) if pte_mapped(pte) else 0
            if pfn == 0 and vma.flags & VM_FILE:
                f = m.files[vma.file]
                entry = f.slots[vma.pgoff + v - vma.start]
                pfn = pte_pfn(entry) if entry & PTE_PRESENT else 0
                if entry & PTE_SHADOW:
                    state["shadow"] = (entry >> 32, entry & PTE_WORKINGSET != 0)
                state["where"] = "disk"
            elif pfn == 0 and pte_mapped(pte):
                state["where"] = "zero"
            elif pfn == 0 and pte & PTE_SWAP:
                state["where"] = "swap"
                state["slot"] = pte_pfn(pte)
                slot = &m.swap.slots[pte_pfn(pte)]
                if slot.flags & SWP_HAS_CACHE:
                    pfn = slot.value
                elif slot.flags & SWP_SHADOW:
                    state["shadow"] = (slot.value, slot.flags & SWP_WORKINGSET != 0)
            if pfn:
                p = &m.frames[pfn]
                state["where"] = "memory"
                state["lru"], state["place"] = places.get(pfn, (-1, -1))
                if p.flags & PG_SWAPCACHE:
                    state["slot"] = p.swap
                state |= frame_bits(p)
            out.append(state)
    return out
