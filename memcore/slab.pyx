"""Slab memory.

Two caches grow and shrink with what the tasks do. Every 64 consecutive slots of a file or of a swap area that
hold a page or a shadow need a radix-tree node of 576 bytes; a slab of two pages, on few CPUs, holds 14. Every page of a file
that has been written, on a file system that works with buffer heads (ext2, ext4), has one of 104 bytes until it
is evicted; a page holds 39. Those slabs come out of the same frames everybody fights for, which is why a machine
that swaps has a little less memory than one that does not. Empty slabs are given back (two are kept).

Dentries and inodes are one pool of pages that shrinkers may take (do_shrink_slab); the simulated tasks do
not create new ones.
"""

from libc.stdlib cimport realloc

from .buddy cimport zone_t
from .frames cimport alloc_kernel_frame, alloc_memalloc, free_block, free_kernel_frame
from .lruvec cimport LRU_ACTIVE_FILE
from .machine cimport (NR_SG_POOLS, SLAB_BIO, SLAB_BIOVEC, SLAB_BUFFER_HEAD, SLAB_SGPOOL, SLAB_XA_NODE, count, lru_add,
                       machine_t, slab_cache_t)
from .page cimport PG_ACTIVE, PG_HELD, PG_KERNEL, PG_PRIVATE
from .node cimport node_t
from .types cimport MAX_NR_ZONES, MIGRATE_RECLAIMABLE, MIGRATE_UNMOVABLE, PAGE_SIZE, int64_t, pfn_t, uint8_t
from .vmstat cimport (NR_FILE_PAGES, NR_KERNEL_PINNED, NR_MAPPED, NR_SLAB_RECLAIMABLE, NR_SLAB_UNRECLAIMABLE,
                      SLABS_SCANNED)

cdef enum:
    OBJECTS_PER_PAGE = 21        # 192-byte dentries
    SHRINK_BATCH = 128
    SLUB_MAX_ORDER = 3


cdef int calculate_order(int size, int nr_cpus) noexcept nogil:
    """Order of the slabs of a cache: room for 8 objects, 4 more with each doubling of the CPUs, in at most 8 pages, of
    which a sixteenth may be wasted (in none of these caches it is more)."""
    cdef int objects = 8, order = 0, cpus = nr_cpus
    while cpus > 1:
        objects += 4
        cpus >>= 1
    objects = min(objects, (PAGE_SIZE << SLUB_MAX_ORDER) // size)
    while PAGE_SIZE << order < objects * size:
        order += 1
    while order < SLUB_MAX_ORDER and (PAGE_SIZE << order) % size > (PAGE_SIZE << order) // 16:
        order += 1
    return order


cdef void slab_cache_init(machine_t *m, int which, int size, int keep, int item) noexcept nogil:
    cdef int order = calculate_order(size, m.nr_cpus)
    m.slabs[which] = slab_cache_t(0, (PAGE_SIZE << order) // size, order, keep, item, NULL, 0, 0)


cdef void slab_caches_init(machine_t *m) noexcept nogil:
    cdef int i
    # bios have 200 bytes, to whole cache lines; what is kept of them and of their lists of pages, min_partial and the
    # lists of the CPUs: 5 + 4 and 6 + 3
    slab_cache_init(m, SLAB_XA_NODE, 576, 2, NR_SLAB_RECLAIMABLE)
    slab_cache_init(m, SLAB_BUFFER_HEAD, 104, 2, NR_SLAB_RECLAIMABLE)
    slab_cache_init(m, SLAB_BIO, 256, 9, NR_SLAB_UNRECLAIMABLE)
    slab_cache_init(m, SLAB_BIOVEC, 4096, 9, NR_SLAB_UNRECLAIMABLE)
    for i in range(NR_SG_POOLS):
        slab_cache_init(m, SLAB_SGPOOL + i, 256 << i, 9, NR_SLAB_UNRECLAIMABLE)


cdef void slab_grow(machine_t *m, slab_cache_t *s) noexcept nogil:
    cdef pfn_t pfn, i
    cdef pfn_t *grown
    cdef int64_t cap
    cdef int mt = MIGRATE_UNMOVABLE
    if s.nr_blocks == s.cap_blocks:
        cap = s.cap_blocks * 2 + 64
        grown = <pfn_t *> realloc(s.blocks, cap * sizeof(pfn_t))
        if grown == NULL:
            return
        s.blocks = grown
        s.cap_blocks = cap
    if s.item == NR_SLAB_RECLAIMABLE:
        mt = MIGRATE_RECLAIMABLE
    pfn = alloc_memalloc(m, s.order, mt)
    if pfn == 0:
        return
    for i in range(1 << s.order):
        m.frames[pfn + i].flags = PG_KERNEL
        m.frames[pfn + i].zone = m.frames[pfn].zone
    m.nodes[m.zones[m.frames[pfn].zone].nid].stat[s.item] += 1 << s.order
    s.blocks[s.nr_blocks] = pfn
    s.nr_blocks += 1


cdef void slab_shrink_one(machine_t *m, slab_cache_t *s) noexcept nogil:
    cdef pfn_t pfn, i
    s.nr_blocks -= 1
    pfn = s.blocks[s.nr_blocks]
    m.nodes[m.zones[m.frames[pfn].zone].nid].stat[s.item] -= 1 << s.order
    for i in range(1 << s.order):
        m.frames[pfn + i].flags = 0
    free_block(m, pfn, s.order)


cdef void slab_change(machine_t *m, int which, int by) noexcept nogil:
    """`by` objects more or fewer."""
    cdef slab_cache_t *s = &m.slabs[which]
    cdef int64_t want
    if by == 0:
        return
    s.objects += by
    want = (s.objects + s.per_slab - 1) // s.per_slab
    if want > s.nr_blocks:
        slab_grow(m, s)
    elif want + s.keep < s.nr_blocks:
        slab_shrink_one(m, s)


cdef void xa_nodes_add(machine_t *m, int by) noexcept nogil:
    """`by` tree nodes more or fewer."""
    slab_change(m, SLAB_XA_NODE, by)


cdef void attach_buffers(machine_t *m, pfn_t pfn) noexcept nogil:
    """create_empty_buffers: a page about to be written gets a buffer head and keeps it until it is evicted."""
    if m.p.buffer_heads and not m.frames[pfn].flags & PG_PRIVATE:
        m.frames[pfn].flags |= PG_PRIVATE
        slab_change(m, SLAB_BUFFER_HEAD, 1)


cdef void drop_buffers(machine_t *m, pfn_t pfn) noexcept nogil:
    """try_to_free_buffers."""
    if m.frames[pfn].flags & PG_PRIVATE:
        m.frames[pfn].flags &= ~PG_PRIVATE
        slab_change(m, SLAB_BUFFER_HEAD, -1)


cdef void bios_change(machine_t *m, int by) noexcept nogil:
    """`by` more or fewer bios of a file system in flight: they come and go with each write, in slabs that do so too."""
    slab_change(m, SLAB_BIO, by)
    slab_change(m, SLAB_BIOVEC, by)


cdef int metadata_place(machine_t *m, zone_t *z, int64_t end, int64_t pages) except -1:
    """`pages` before `end`, out of the zone's kernel memory, are page cache of a block device: superblock, group
    descriptors and bitmaps, whose buffers the mounted file system holds."""
    cdef node_t *n = &m.nodes[z.nid]
    cdef int64_t pfn
    if not 0 <= pages <= n.stat[NR_KERNEL_PINNED]:
        raise ValueError(f"metadata of {pages} pages in {n.stat[NR_KERNEL_PINNED]} pages of kernel memory")
    for pfn in range(end - pages, end):
        m.frames[pfn].flags = PG_ACTIVE | PG_HELD
        m.frames[pfn].zone = <uint8_t> z.id
        lru_add(m, <pfn_t> pfn)
    n.stat[NR_KERNEL_PINNED] -= pages
    n.stat[NR_FILE_PAGES] += pages
    return 0


cdef int slab_place(machine_t *m) except -1:
    """Slab that shrinkers may free lies at the end of the largest zone's kernel memory on node 0."""
    cdef node_t *n = &m.nodes[0]
    cdef zone_t *z = &m.zones[0]
    cdef int64_t k
    cdef int j
    for j in range(MAX_NR_ZONES):
        if m.zones[j].managed > z.managed:
            z = &m.zones[j]
    k = m.p.slab_reclaimable + m.p.slab_unreclaimable + m.p.slab_freeable
    if k > n.stat[NR_KERNEL_PINNED]:
        raise ValueError(f"slab of {k} pages in {n.stat[NR_KERNEL_PINNED]} pages of kernel memory")
    n.stat[NR_KERNEL_PINNED] -= k
    n.stat[NR_FILE_PAGES] += m.p.ramfs_pages
    n.stat[NR_MAPPED] += m.p.ramfs_mapped
    n.stat[NR_SLAB_RECLAIMABLE] = m.p.slab_reclaimable + m.p.slab_freeable
    n.stat[NR_SLAB_UNRECLAIMABLE] = m.p.slab_unreclaimable
    k = z.held_end - z.nr_lru[LRU_ACTIVE_FILE]
    for j in range(m.nr_cpus):
        k -= z.pcp[j].count      # the other lists hold pages of the kernel's page blocks, above
    m.slab_freeable = min(m.p.slab_freeable, max(0, z.managed - z.nr_free), max(0, k - z.start_pfn))
    m.slab_pool = k - m.slab_freeable
    for k in range(m.slab_freeable):
        m.frames[m.slab_pool + k].flags = PG_KERNEL
        m.frames[m.slab_pool + k].zone = <uint8_t> z.id
    return 0


cdef void slab_unreclaimable_grow(machine_t *m, int64_t want, int64_t *held) noexcept nogil:
    """Frames for small kernel objects, up to `want`. They die in random order, so hardly a slab ever becomes empty:
    none is given back."""
    cdef pfn_t pfn
    while held[0] < want:
        pfn = alloc_kernel_frame(m, MIGRATE_UNMOVABLE)
        if pfn == 0:
            return
        m.nodes[m.zones[m.frames[pfn].zone].nid].stat[NR_SLAB_UNRECLAIMABLE] += 1
        held[0] += 1


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
        m.nodes[nid].stat[NR_SLAB_RECLAIMABLE] -= 1
        free_kernel_frame(m, <pfn_t> (m.slab_pool + m.slab_freeable))
    return pages
