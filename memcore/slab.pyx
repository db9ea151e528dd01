"""Slab memory.

Every 64 consecutive slots of a file or of a swap area that hold a page or a shadow need a radix-tree node
of 576 bytes; a slab of four pages holds 28. Those slabs come out of the same frames everybody fights for,
which is why a machine that swaps has a little less memory than one that does not. Empty slabs are given
back (two are kept).

Dentries and inodes are one pool of pages that shrinkers may take (do_shrink_slab); the simulated tasks do
not create new ones.
"""

from libc.stdlib cimport realloc

from .frames cimport alloc_reserve, free_block, free_frame
from .machine cimport count, machine_t
from .page cimport PG_KERNEL
from .types cimport int64_t, pfn_t
from .vmstat cimport NR_SLAB_RECLAIMABLE, SLABS_SCANNED

cdef enum:
    NODES_PER_SLAB = 28
    SLAB_ORDER = 2
    OBJECTS_PER_PAGE = 21        # 192-byte dentries
    SHRINK_BATCH = 128


cdef void slab_grow(machine_t *m) noexcept nogil:
    cdef pfn_t pfn, i
    cdef pfn_t *grown
    cdef int64_t cap
    if m.nr_slab_blocks == m.cap_slab_blocks:
        cap = m.cap_slab_blocks * 2 + 64
        grown = <pfn_t *> realloc(m.slab_blocks, cap * sizeof(pfn_t))
        if grown == NULL:
            return
        m.slab_blocks = grown
        m.cap_slab_blocks = cap
    pfn = alloc_reserve(m, m.cpus[m.cpu].nid, SLAB_ORDER)
    if pfn == 0:
        return
    for i in range(1 << SLAB_ORDER):
        m.frames[pfn + i].flags = PG_KERNEL
        m.frames[pfn + i].zone = m.frames[pfn].zone
    m.nodes[m.zones[m.frames[pfn].zone].nid].stat[NR_SLAB_RECLAIMABLE] += 1 << SLAB_ORDER
    m.slab_blocks[m.nr_slab_blocks] = pfn
    m.nr_slab_blocks += 1


cdef void slab_shrink_one(machine_t *m) noexcept nogil:
    cdef pfn_t pfn, i
    m.nr_slab_blocks -= 1
    pfn = m.slab_blocks[m.nr_slab_blocks]
    m.nodes[m.zones[m.frames[pfn].zone].nid].stat[NR_SLAB_RECLAIMABLE] -= 1 << SLAB_ORDER
    for i in range(1 << SLAB_ORDER):
        m.frames[pfn + i].flags = 0
    free_block(m, pfn, SLAB_ORDER)


cdef void xa_nodes_change(machine_t *m, int by) noexcept nogil:
    """`by` tree nodes more or fewer."""
    cdef int64_t want
    if by == 0:
        return
    m.slab_objects += by
    want = (m.slab_objects + NODES_PER_SLAB - 1) // NODES_PER_SLAB
    if want > m.nr_slab_blocks:
        slab_grow(m)
    elif want + 2 < m.nr_slab_blocks:
        slab_shrink_one(m)


cdef int64_t shrinker_batch(int64_t freeable, int priority, int64_t *deferred) noexcept nogil:
    """How many of `freeable` objects one round asks a shrinker of default cost for; small shares add up."""
    cdef int64_t delta = (freeable >> priority) * 4 // 2
    cdef int64_t total = min((deferred[0] >> priority) + delta, 2 * freeable)
    cdef int64_t n = total // SHRINK_BATCH * SHRINK_BATCH
    if freeable <= 0:
        return 0
    if total >= freeable:
        n = total
    deferred[0] = max(0, min(deferred[0] + delta - n, 2 * freeable))
    return n


cdef int64_t shrink_slab(machine_t *m, int nid, int priority, int64_t *scanned) noexcept nogil:
    """do_shrink_slab over the dentry and inode pool of node 0; returns pages freed, adds objects scanned."""
    cdef int64_t n, pages, _
    if nid != 0 or m.slab_freeable <= 0:
        return 0
    n = shrinker_batch(m.slab_freeable * OBJECTS_PER_PAGE * m.p.vfs_cache_pressure // 100, priority, &m.slab_deferred)
    if n <= 0:
        return 0
    count(m, SLABS_SCANNED, n)
    scanned[0] += n
    pages = min(n // OBJECTS_PER_PAGE, m.slab_freeable)
    for _ in range(pages):
        m.slab_freeable -= 1
        m.frames[m.slab_pool + m.slab_freeable].flags = 0
        m.nodes[nid].stat[NR_SLAB_RECLAIMABLE] -= 1
        free_frame(m, <pfn_t> (m.slab_pool + m.slab_freeable))
    return pages
