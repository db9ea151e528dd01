# One encoding for present PTEs, swap entries and shadow entries.
#
#   63                    32 31      16 15      8 7              0
#   |  pfn or swap slot      |  unused  |  node   |  flags         |     PTE
#   |  eviction age (32 bit) |  memcg   |  node   |  W, SHADOW     |     shadow of an evicted file page
#
# The node in a present PTE lets the access loop charge the right latency without touching the frame.
from .types cimport pfn_t, pte_t, swp_t, uint32_t, uint64_t

cdef enum:
    PTE_PRESENT = 1 << 0
    PTE_WRITE = 1 << 1
    PTE_YOUNG = 1 << 2           # accessed
    PTE_DIRTY = 1 << 3
    PTE_SWAP = 1 << 4            # the high half is a swap slot
    PTE_PROTNONE = 1 << 5        # NUMA hint: present but must fault
    PTE_SHADOW = 1 << 6          # file map slot: page was evicted
    PTE_WORKINGSET = 1 << 7      # with PTE_SHADOW: it was in the working set
    PTE_SWAP_SHIFT = 4           # its bit number
    PTE_NODE_SHIFT = 8
    PTE_PFN_SHIFT = 32


cdef inline pte_t pte_mkpresent(pfn_t pfn, int node, uint64_t flags) noexcept nogil:
    return (<uint64_t> pfn << PTE_PFN_SHIFT) | (<uint64_t> node << PTE_NODE_SHIFT) | PTE_PRESENT | flags


cdef inline pte_t pte_mkswap(swp_t slot) noexcept nogil:
    return (<uint64_t> slot << PTE_PFN_SHIFT) | PTE_SWAP


cdef inline pfn_t pte_pfn(pte_t pte) noexcept nogil:
    return <pfn_t> (pte >> PTE_PFN_SHIFT)


cdef inline int pte_node(pte_t pte) noexcept nogil:
    return <int> ((pte >> PTE_NODE_SHIFT) & 0xff)


cdef inline uint64_t shadow_pack(uint32_t age, int node, int memcg, bint workingset) noexcept nogil:
    return ((<uint64_t> age << PTE_PFN_SHIFT) | (<uint64_t> memcg << 16) | (<uint64_t> node << PTE_NODE_SHIFT)
            | PTE_SHADOW | (PTE_WORKINGSET if workingset else 0))


cdef inline bint pte_mapped(pte_t pte) noexcept nogil:
    # refers to a frame, accessible or not
    return pte & (PTE_PRESENT | PTE_PROTNONE) != 0
