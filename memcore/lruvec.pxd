# The five LRU lists of one (memcg, node), and the figures that balance them.
from .debug cimport mm_unlikely
from .list cimport lru_list_t
from .page cimport PG_ACTIVE, PG_SWAPBACKED, PG_UNEVICTABLE
from .types cimport int32_t, int64_t, ns_t, uint32_t, uint64_t

cdef enum:  # lru_index
    LRU_INACTIVE_ANON = 0
    LRU_ACTIVE_ANON = 1
    LRU_INACTIVE_FILE = 2
    LRU_ACTIVE_FILE = 3
    LRU_UNEVICTABLE = 4
    NR_LRU = 5

cdef enum:                       # workingset type index and bit in may_deactivate
    WORKINGSET_ANON = 0
    WORKINGSET_FILE = 1
    DEACTIVATE_ANON = 1
    DEACTIVATE_FILE = 2

cdef enum:                       # lruvec_t.state: the sizes of the four lists by lru_index, then
    LRUVEC_ACTIVATE_ANON = 4     # workingset_activate_{anon,file}
    LRUVEC_ACTIVATE_FILE = 5
    NR_LRUVEC_STATE = 6

cdef enum:  # lruvec_flags
    LRUVEC_CONGESTED = 1

ctypedef struct lruvec_t:
    lru_list_t lists[NR_LRU]
    uint64_t nonresident_age     # evictions + activations: the clock of refault distances
    uint64_t anon_cost
    uint64_t file_cost
    int64_t refaults[2]          # snapshot of workingset_activate_{anon,file}
    int64_t state[NR_LRUVEC_STATE]   # what readers of the statistics see, see lruvec_page_state
    ns_t state_from              # and in which time they see it
    ns_t state_until
    uint32_t flags
    int32_t memcg

cdef void lruvec_free(lruvec_t *v) noexcept nogil
cdef bint inactive_is_low(int64_t inactive, int64_t active) noexcept nogil
cdef void lru_note_cost(lruvec_t *v, bint file, uint64_t nr_io, uint64_t nr_rotated, bint v61) noexcept nogil


cdef inline int page_lru(uint32_t flags) noexcept nogil:
    if mm_unlikely(flags & PG_UNEVICTABLE):
        return LRU_UNEVICTABLE
    return (0 if flags & PG_SWAPBACKED else 2) + (1 if flags & PG_ACTIVE else 0)
