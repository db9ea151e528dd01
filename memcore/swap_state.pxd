# Reading swapped pages into the swap cache, with their neighbours. (mm/swap_state.c)
from .machine cimport machine_t
from .mm cimport mm_t, vma_t
from .types cimport int64_t, pfn_t, swp_t, uint32_t, vpn_t

cdef uint32_t swapin_nr_pages(int64_t prev, int64_t cur, uint32_t hits, uint32_t max_pages, uint32_t prev_win) noexcept nogil
cdef pfn_t swapin_readahead(machine_t *m, mm_t *mm, vma_t *vma, vpn_t vpn, swp_t slot, bint *retry) noexcept nogil
cdef void swapin_readahead_range(machine_t *m, mm_t *mm, vma_t *vma, vpn_t start, vpn_t end) noexcept nogil
