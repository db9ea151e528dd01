# Where a victim goes and where it comes back from: page cache, swap cache, swap slots, devices.
from .filemap cimport filemap_t
from .machine cimport machine_t
from .node cimport node_t
from .page cimport PG_DIRTY, PG_LOCKED, PG_SWAPCACHE, PG_WORKINGSET, PG_WRITEBACK, page_t
from .slab cimport xa_nodes_change
from .swapfile cimport (SWP_HAS_CACHE, SWP_SHADOW, SWP_WORKINGSET, get_swap_page, swap_area_of, swap_area_t,
                        swap_node_ref, swp_slot_t)
from .types cimport int64_t, pfn_t, swp_t, uint32_t, uint64_t, uint8_t
from .vmstat cimport NR_FILE_PAGES, NR_SWAPCACHED
from .workingset cimport workingset_eviction
from .zram cimport zram_in_memory, zram_number

cdef enum pageout_result:
    PAGE_KEEP = 0
    PAGE_ACTIVATE = 1
    PAGE_SUCCESS = 2             # write started; already over if the page is not under writeback
    PAGE_CLEAN = 3               # nothing to write: may be freed now

cdef void add_to_page_cache(machine_t *m, filemap_t *f, uint64_t index, pfn_t pfn, bint whole_write) noexcept nogil
cdef void read_file_page(machine_t *m, filemap_t *f, pfn_t pfn) noexcept nogil
cdef void swapin_add(machine_t *m, swp_t slot, pfn_t pfn, uint32_t owner, uint32_t vpn) noexcept nogil
cdef void swap_readpage(machine_t *m, swp_t slot, pfn_t pfn) noexcept nogil
cdef int pageout(machine_t *m, node_t *n, pfn_t pfn) noexcept nogil
cdef void swap_write_device(machine_t *m, node_t *n, pfn_t pfn, uint32_t row) noexcept nogil
cdef bint swap_read_direct(machine_t *m, swp_t slot, pfn_t pfn) noexcept nogil
cdef void start_plug(machine_t *m) noexcept nogil
cdef void finish_plug(machine_t *m) noexcept nogil
cdef bint remove_mapping_slow(machine_t *m, node_t *n, pfn_t pfn) noexcept nogil
cdef void delete_from_swap_cache(machine_t *m, pfn_t pfn) noexcept nogil
cdef bint try_to_free_swap(machine_t *m, pfn_t pfn) noexcept nogil
cdef void swap_put(machine_t *m, swp_t slot) noexcept nogil
cdef void page_put(machine_t *m, pfn_t pfn) noexcept nogil
cdef void end_io(machine_t *m, int kind, pfn_t pfn) noexcept nogil
cdef int wait_on_page(machine_t *m, pfn_t pfn, int cause) noexcept nogil
cdef void wake_page_waiters(machine_t *m, pfn_t pfn) noexcept nogil
cdef void truncate_page(machine_t *m, filemap_t *f, pfn_t pfn) noexcept nogil
cdef void workingset_refault(machine_t *m, pfn_t pfn, uint32_t age, int nid, bint workingset) noexcept nogil


cdef inline void count_swapcache(node_t *n, int64_t by) noexcept nogil:
    # the kernel's file pages contain the swap cache
    n.stat[NR_SWAPCACHED] += by
    n.stat[NR_FILE_PAGES] += by


cdef inline void cache_slot(machine_t *m, node_t *n, pfn_t pfn, swp_t slot) noexcept nogil:
    # slot <-> frame (of node `n`)
    cdef swp_slot_t *s = &m.swap.slots[slot]
    cdef page_t *p = &m.frames[pfn]
    if not s.flags & (SWP_SHADOW | SWP_HAS_CACHE):
        xa_nodes_change(m, swap_node_ref(&m.swap, slot))
    s.flags = <uint8_t> ((s.flags & ~(SWP_SHADOW | SWP_WORKINGSET)) | SWP_HAS_CACHE)
    s.value = pfn
    p.flags |= PG_SWAPCACHE
    p.swap = slot
    count_swapcache(n, 1)


cdef inline bint add_to_swap(machine_t *m, node_t *n, pfn_t pfn) noexcept nogil:
    # gives an anonymous page a slot; False when swap is full
    cdef swp_t slot = get_swap_page(&m.swap, m.cpu)
    if slot == 0:
        return False
    cache_slot(m, n, pfn, slot)
    m.frames[pfn].flags |= PG_DIRTY
    return True


cdef inline bint remove_mapping(machine_t *m, node_t *n, pfn_t pfn) noexcept nogil:
    # Evicts a clean page of node `n`, leaving a shadow (__remove_mapping). False if somebody still needs it.
    cdef page_t *p = &m.frames[pfn]
    cdef swp_slot_t *s
    if p.pins or p.flags & (PG_DIRTY | PG_WRITEBACK | PG_LOCKED):
        return False
    s = &m.swap.slots[p.swap]
    if not p.flags & PG_SWAPCACHE or s.count == 0:
        return remove_mapping_slow(m, n, pfn)
    s.value = workingset_eviction(&n.lruvec)
    s.node = <uint8_t> n.nid
    s.flags = <uint8_t> ((s.flags & ~SWP_HAS_CACHE) | SWP_SHADOW | (SWP_WORKINGSET if p.flags & PG_WORKINGSET else 0))
    p.flags &= ~<uint32_t> PG_SWAPCACHE
    p.swap = 0
    count_swapcache(n, -1)
    return True


cdef inline bint swap_is_inline(machine_t *m, swp_t slot) noexcept nogil:
    # can the slot be read without waiting for a disk (SWP_SYNCHRONOUS_IO)?
    cdef const swap_area_t *a = swap_area_of(&m.swap, slot)
    return a.synchronous and (a.zram == 0 or zram_in_memory(zram_number(m, a.zram), slot))
