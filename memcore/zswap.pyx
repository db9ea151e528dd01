"""zswap: pages on their way to swap are kept compressed in memory (mm/zswap.c).

An entry needs a swap slot and may later be written to its device. The pool is limited to a share of memory;
once full it takes nothing until it has shrunk to accept_threshold_percent of that. Linux 6.1 and 6.12 differ:

              same-filled pages     a load                        shrinking when full
    6.1       kept as one word      leaves the entry              one frame of the pool per hit of the limit
    6.12      compressed            takes the entry out of the    coldest entries, down to the threshold, with
                                    pool, the page is dirty       a second chance for each

Compression takes the time of whoever stores or loads. Nothing here sleeps, so callers may hold pages isolated.
"""

from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memset

from .content cimport CONTENT_SAME_FILLED, content_flags, content_size
from .debug cimport mm_host_oom
from .frames cimport alloc_kernel_frame, free_kernel_frame, zs_get_frame, zs_put_frame
from .hostmem cimport host_free, host_zalloc
from .machine cimport count, machine_t
from .page cimport PG_DIRTY
from .slab cimport slab_unreclaimable_grow
from .swapfile cimport SWP_USED
from .types cimport (KERNEL_6_1, KERNEL_6_12, MIGRATE_UNMOVABLE, MM_ENOMEM, MM_ENOSPC, MM_OK, int64_t, ns_t, pfn_t, swp_t,
                     uint16_t, uint32_t, uint64_t, uint8_t)
from .vmstat cimport ZSWPIN, ZSWPOUT
from .zbud cimport zbud_pool_free, zbud_pool_init
from .zpool cimport zhandle_t, zpool_frames_t
from .zsmalloc cimport zs_pool_free, zs_pool_init, zs_slab_pages

cdef enum:
    ENTRIES_PER_SLAB_61 = 64         # struct zswap_entry of 64 bytes
    ENTRIES_PER_SLAB = 73            # 56 bytes
    ZSWAP_HEADER = 8                 # 6.1 keeps the swap entry in front of what zbud may evict


cdef int get_zbud_frame(void *ctx, pfn_t *out) noexcept nogil:
    cdef machine_t *m = <machine_t *> ctx
    cdef pfn_t pfn = alloc_kernel_frame(m, MIGRATE_UNMOVABLE)
    if pfn == 0:
        return MM_ENOMEM
    m.zbud_pages += 1
    out[0] = pfn
    return MM_OK


cdef void put_zbud_frame(void *ctx, pfn_t pfn) noexcept nogil:
    cdef machine_t *m = <machine_t *> ctx
    m.zbud_pages -= 1
    free_kernel_frame(m, pfn)


cdef int zswap_create(machine_t *m, bint use_zbud, int codec, ns_t compress_ns, ns_t decompress_ns) except -1:
    """Turns zswap on. Swap areas, contents and memory must be known. Raises MemoryError."""
    cdef zswap_t *z = <zswap_t *> calloc(1, sizeof(zswap_t))
    cdef zpool_frames_t frames
    if z == NULL:
        raise MemoryError("zswap")
    m.zswap = z
    memset(&frames, 0, sizeof(frames))
    frames.ctx = m
    if use_zbud:
        frames.get = get_zbud_frame
        frames.put = put_zbud_frame
        zbud_pool_init(&z.zbud, &frames)
        z.pool = &z.zbud.base
        z.is_zbud = True
    else:
        frames.get = zs_get_frame
        frames.put = zs_put_frame
        zs_pool_init(&z.zs, KERNEL_6_1 if m.v61 else KERNEL_6_12, 4 if m.v61 else 8, &frames)
        z.pool = &z.zs.base
    z.codec = codec
    z.compress_ns = compress_ns
    z.decompress_ns = decompress_ns
    z.max_pages = m.totalram * m.p.zswap_max_pool_percent // 100
    z.accept_pages = z.max_pages * m.p.zswap_accept_percent // 100
    z.entries = <zswap_entry_t *> host_zalloc((<size_t> m.swap.total + 2) * sizeof(zswap_entry_t))
    if z.entries == NULL:
        raise MemoryError("zswap entries")
    return 0


cdef void zswap_destroy(machine_t *m) noexcept nogil:
    """Frees what the host gave; the simulated frames go down with their machine."""
    cdef zswap_t *z = zswap_of(m)
    if z == NULL:
        return
    if z.is_zbud:
        zbud_pool_free(&z.zbud)
    elif z.pool != NULL:
        zs_pool_free(&z.zs)
    host_free(z.entries, (<size_t> m.swap.total + 2) * sizeof(zswap_entry_t))
    free(z.slot_of)
    free(z)
    m.zswap = NULL


# ---- entries --------------------------------------------------------------------------------------------

cdef inline void zswap_list_newest(zswap_t *z, swp_t slot) noexcept nogil:
    cdef zswap_entry_t *e = &z.entries[slot]
    e.older = z.newest
    e.newer = 0
    if z.newest:
        z.entries[z.newest].newer = slot
    else:
        z.oldest = slot
    z.newest = slot
    z.listed += 1
    e.flags |= ZSWAP_LISTED


cdef inline void zswap_list_remove(zswap_t *z, swp_t slot) noexcept nogil:
    cdef zswap_entry_t *e = &z.entries[slot]
    if e.older:
        z.entries[e.older].newer = e.newer
    else:
        z.oldest = e.newer
    if e.newer:
        z.entries[e.newer].older = e.older
    else:
        z.newest = e.older
    z.listed -= 1
    e.flags = <uint8_t> (e.flags & ~ZSWAP_LISTED)


cdef void zswap_rotate(zswap_t *z, swp_t slot) noexcept nogil:
    """Makes a listed entry the newest."""
    zswap_list_remove(z, slot)
    zswap_list_newest(z, slot)


cdef inline void grow_slab(machine_t *m, zswap_t *z) noexcept nogil:
    # a new entry, and what the allocator keeps about its object
    cdef int64_t per_page = ENTRIES_PER_SLAB_61 if m.v61 else ENTRIES_PER_SLAB
    slab_unreclaimable_grow(m, <int64_t> z.stat.stored_pages // per_page + 1, &z.slab_pages)
    if not z.is_zbud:
        slab_unreclaimable_grow(m, <int64_t> zs_slab_pages(&z.zs), &z.zs_slab_pages)


cdef void remember_slot(zswap_t *z, zhandle_t handle, swp_t slot) noexcept nogil:
    cdef uint32_t cap
    if handle >= z.cap_slot_of:
        cap = 2 * handle + 1024
        z.slot_of = <uint32_t *> realloc(z.slot_of, cap * sizeof(uint32_t))
        if z.slot_of == NULL:
            mm_host_oom("zswap handles")
        z.cap_slot_of = cap
    z.slot_of[handle] = slot


cdef void zswap_invalidate(machine_t *m, swp_t slot) noexcept nogil:
    """The slot is free, or about to be written anew: what was stored for it goes."""
    cdef zswap_t *z = zswap_of(m)
    cdef zswap_entry_t *e = &z.entries[slot]
    if not e.flags & ZSWAP_STORED:
        return
    if e.flags & ZSWAP_LISTED:
        zswap_list_remove(z, slot)
    if e.length:
        z.pool.ops.release(z.pool, e.handle)
    else:
        z.stat.same_filled_pages -= 1
    z.stat.stored_pages -= 1
    e.flags = 0
    e.handle = 0
    m.zswap_pool_pages = <int64_t> z.pool.pages


# ---- store and load -------------------------------------------------------------------------------------

cdef bint has_room(machine_t *m, zswap_t *z) noexcept nogil:
    """zswap_check_limits: full from the limit down to the threshold. Asks for shrinking where the kernel does."""
    cdef int64_t pages = <int64_t> z.pool.pages
    cdef bint over = pages > z.max_pages if m.v61 else pages >= z.max_pages
    if over:
        z.stat.pool_limit_hit += 1
        z.reached_full = True
    elif z.reached_full and (pages < z.accept_pages if m.v61 else pages <= z.accept_pages):
        z.reached_full = False
    if over or z.reached_full and not m.v61:
        z.work_pending = True
        if z.thread:
            m.ops.wake(m, m.threads[z.thread])
    return not z.reached_full


cdef bint zswap_store(machine_t *m, swp_t slot, uint32_t row) noexcept nogil:
    """Keeps the page of a slot, whose content is `row`. False: it has to go to the device."""
    cdef zswap_t *z = zswap_of(m)
    cdef zswap_entry_t *e = &z.entries[slot]
    cdef uint32_t length = 0, header = ZSWAP_HEADER if m.v61 and z.is_zbud else 0
    cdef zhandle_t handle = 0
    cdef int rc
    if m.v61:
        zswap_invalidate(m, slot)
    if not has_room(m, z):
        zswap_invalidate(m, slot)
        return False
    if m.v61 and m.p.zswap_same_filled and content_flags(m, row) & CONTENT_SAME_FILLED:
        m.now += m.p.c_same_filled
    elif m.v61 and not m.p.zswap_non_same_filled:
        return False
    else:
        length = content_size(m, row, z.codec)
        m.now += z.compress_ns
        rc = z.pool.ops.alloc(z.pool, length + header, &handle)
        m.zswap_pool_pages = <int64_t> z.pool.pages
        if rc != MM_OK:
            if rc == MM_ENOSPC:
                z.stat.reject_compress_poor += 1
            else:
                z.stat.reject_alloc_fail += 1
            zswap_invalidate(m, slot)
            return False
    zswap_invalidate(m, slot)
    grow_slab(m, z)
    e.handle = handle
    e.length = <uint16_t> length
    e.flags = ZSWAP_STORED | ZSWAP_REFERENCED
    if length == 0:
        z.stat.same_filled_pages += 1
    elif m.v61:
        if z.is_zbud:
            remember_slot(z, handle, slot)
    else:
        zswap_list_newest(z, slot)
    z.stat.stored_pages += 1
    count(m, ZSWPOUT, 1)
    return True


cdef bint zswap_load(machine_t *m, swp_t slot, pfn_t pfn, bint in_swapcache) noexcept nogil:
    """Fills a frame with the stored page; False if there is none."""
    cdef zswap_t *z = zswap_of(m)
    cdef zswap_entry_t *e = &z.entries[slot]
    if not e.flags & ZSWAP_STORED:
        z.nr_disk_swapins += 1
        return False
    m.now += z.decompress_ns if e.length else m.p.c_same_filled
    count(m, ZSWPIN, 1)
    if in_swapcache and not m.v61:
        # the only copy is in memory now: it must be stored again
        m.frames[pfn].flags |= PG_DIRTY
        zswap_invalidate(m, slot)
    return True


# ---- verification ---------------------------------------------------------------------------------------

cdef int zswap_verify(machine_t *m) except -1:
    """Entries against slots, pool and the list by age. Raises AssertionError."""
    cdef zswap_t *z = zswap_of(m)
    cdef swp_t slot
    cdef zswap_entry_t *e
    cdef uint64_t stored = 0, same = 0, size = 0
    cdef int64_t listed = 0
    cdef uint32_t prev = 0, header
    if z == NULL:
        return 0
    header = ZSWAP_HEADER if m.v61 and z.is_zbud else 0
    for slot in range(1, <swp_t> m.swap.total + 1):
        e = &z.entries[slot]
        if not e.flags & ZSWAP_STORED:
            if e.flags or e.handle:
                raise AssertionError(f"zswap: slot {slot} holds nothing but has flags {e.flags}, handle {e.handle}")
            continue
        stored += 1
        if not m.swap.slots[slot].flags & SWP_USED:
            raise AssertionError(f"zswap: page stored for free slot {slot}")
        if e.length == 0:
            same += 1
            continue
        size += e.length + header
        if z.pool.ops.size_of(z.pool, e.handle) != e.length + header:
            raise AssertionError(f"zswap: slot {slot} has {e.length} bytes, the pool "
                                 f"{z.pool.ops.size_of(z.pool, e.handle)}")
    z.pool.ops.verify(z.pool)
    if (stored, same) != (z.stat.stored_pages, z.stat.same_filled_pages):
        raise AssertionError(f"zswap: {stored} stored, {same} same-filled; counted {z.stat.stored_pages}, "
                             f"{z.stat.same_filled_pages}")
    if (stored - same, size) != (z.pool.objects, z.pool.bytes):
        raise AssertionError(f"zswap: {stored - same} entries of {size} bytes; the pool has {z.pool.objects} "
                             f"of {z.pool.bytes}")
    if m.zswap_pool_pages != <int64_t> z.pool.pages or z.is_zbud and m.zbud_pages != m.zswap_pool_pages:
        raise AssertionError(f"zswap: {z.pool.pages} frames, counted {m.zswap_pool_pages} and {m.zbud_pages}")
    slot = z.oldest
    while slot:
        if not z.entries[slot].flags & ZSWAP_LISTED or z.entries[slot].older != prev:
            raise AssertionError(f"zswap: list by age is broken at slot {slot}")
        listed += 1
        prev = slot
        slot = z.entries[slot].newer
    if prev != z.newest or listed != z.listed or not m.v61 and listed != <int64_t> (stored - same):
        raise AssertionError(f"zswap: {listed} entries listed, counted {z.listed}, ends at {prev} of {z.newest}")
    return 0
