# Kernel memory that grows with use: radix-tree nodes of page and swap caches; and what shrinkers give back.
from .buddy cimport zone_t
from .machine cimport machine_t
from .types cimport int64_t, pfn_t

cdef void slab_caches_init(machine_t *m) noexcept nogil
cdef void slab_change(machine_t *m, int which, int by) noexcept nogil
cdef int metadata_place(machine_t *m, zone_t *z, int64_t end, int64_t pages) except -1
cdef int slab_place(machine_t *m) except -1
cdef void xa_nodes_add(machine_t *m, int by) noexcept nogil
cdef void slab_unreclaimable_grow(machine_t *m, int64_t want, int64_t *held) noexcept nogil
cdef int64_t shrinker_batch(int64_t freeable, int priority, int64_t *deferred) noexcept nogil
cdef void attach_buffers(machine_t *m, pfn_t pfn) noexcept nogil
cdef void bios_change(machine_t *m, int by) noexcept nogil
cdef void drop_buffers(machine_t *m, pfn_t pfn) noexcept nogil
cdef int64_t shrink_slab(machine_t *m, int nid, int priority, int64_t *scanned) noexcept nogil


cdef inline void xa_nodes_change(machine_t *m, int by) noexcept nogil:
    # after most changes of a tree it has as many nodes as before
    if by:
        xa_nodes_add(m, by)
