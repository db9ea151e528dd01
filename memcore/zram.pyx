"""zram: a swap device in memory (drivers/block/zram/zram_drv.c).

    write    one repeated word: nothing is kept but the word
             compressed to huge_class_size or more: kept as it is, a page of its own ("huge")
             else an object of the pool; above mem_limit the write fails and the page stays in memory
    read     done at once, in the time of whoever needs the page
    free     the moment the slot is free

A *store* is the same with two differences, as Windows keeps compressed memory: anything up to a page is kept
as the codec makes it, and what goes to its page file stays compressed.
"""

from libc.stdlib cimport free, realloc
from libc.string cimport memset

from .clock cimport NS_PER_SEC
from .content cimport CONTENT_SAME_FILLED, content_flags, content_size
from .frames cimport zs_get_frame, zs_put_frame
from .hostmem cimport host_free, host_zalloc
from .machine cimport machine_t
from .slab cimport slab_unreclaimable_grow
from .swapfile cimport SWP_USED
from .types cimport (KERNEL_6_1, KERNEL_6_12, MM_EIO, MM_ENOMEM, MM_OK, PAGE_SIZE, int64_t, swp_t,
                     uint16_t, uint32_t, uint8_t)
from .zpool cimport zhandle_t, zpool_frames_t
from .zsmalloc cimport (zs_class_for, zs_free, zs_malloc, zs_pool_free, zs_pool_init, zs_pool_verify,
                        zs_size_of, zs_slab_pages)


cdef int zram_add(machine_t *m, const zram_conf_t *conf) except -1:
    """The next device, for the swap area that names its number; after swap_finish. Raises MemoryError, ValueError."""
    cdef zram_t *grown = <zram_t *> realloc(m.zrams, (m.nr_zrams + 2) * sizeof(zram_t))
    cdef zram_t *z
    cdef zpool_frames_t frames
    cdef int i
    if grown == NULL:
        raise MemoryError("zram")
    m.zrams = grown
    z = &grown[m.nr_zrams + 1]
    memset(z, 0, sizeof(zram_t))
    z.id = m.nr_zrams + 1
    z.conf = conf[0]
    for i in range(m.swap.nr_areas):
        if m.swap.areas[i].zram == z.id:
            z.base = m.swap.areas[i].base
            z.nslots = m.swap.areas[i].nslots
    z.table = <zram_slot_t *> host_zalloc((<size_t> z.nslots + 1) * sizeof(zram_slot_t))
    if z.table == NULL:
        raise MemoryError("zram table")
    m.nr_zrams += 1
    memset(&frames, 0, sizeof(frames))
    frames.ctx = m
    frames.get = zs_get_frame
    frames.put = zs_put_frame
    zs_pool_init(&z.pool, KERNEL_6_1 if m.v61 else KERNEL_6_12, 4 if m.v61 else 8, &frames)
    return 0


cdef void zram_destroy_all(machine_t *m) noexcept nogil:
    cdef int i
    cdef zram_t *z
    for i in range(1, m.nr_zrams + 1):
        z = zram_number(m, i)
        if z.pool.base.ops != NULL:
            zs_pool_free(&z.pool)
        host_free(z.table, (<size_t> z.nslots + 1) * sizeof(zram_slot_t))
    free(m.zrams)
    m.zrams = NULL
    m.nr_zrams = 0


cdef inline uint32_t seconds(machine_t *m) noexcept nogil:
    return <uint32_t> (m.now // NS_PER_SEC)


cdef inline void zram_list_newest(zram_t *z, uint32_t at) noexcept nogil:
    z.table[at].older = z.newest
    z.table[at].newer = 0
    if z.newest:
        z.table[z.newest].newer = at
    else:
        z.oldest = at
    z.newest = at


cdef inline void zram_list_remove(zram_t *z, uint32_t at) noexcept nogil:
    cdef zram_slot_t *s = &z.table[at]
    if s.older:
        z.table[s.older].newer = s.newer
    else:
        z.oldest = s.newer
    if s.newer:
        z.table[s.newer].older = s.older
    else:
        z.newest = s.older


cdef void drop_memory(zram_t *z, zram_slot_t *s, uint32_t at) noexcept nogil:
    # what the slot holds in the pool, if anything
    if s.flags & (ZRAM_SAME | ZRAM_WB):
        return
    zram_list_remove(z, at)
    zs_free(&z.pool, s.handle)
    s.handle = 0
    z.stat.compr_data_size -= s.length
    if s.flags & ZRAM_HUGE:
        z.stat.huge_pages -= 1


cdef void zram_free_slot(zram_t *z, uint32_t at) noexcept nogil:
    """zram_free_page"""
    cdef zram_slot_t *s = &z.table[at]
    if not s.flags & ZRAM_STORED:
        return
    drop_memory(z, s, at)
    if s.flags & ZRAM_SAME:
        z.stat.same_pages -= 1
    if s.flags & ZRAM_WB:
        z.stat.bd_count -= 1
    z.stat.pages_stored -= 1
    s.flags = 0
    s.length = 0


cdef void zram_slot_free_notify(machine_t *m, zram_t *z, swp_t slot) noexcept nogil:
    """The swap slot is free: so is what was stored for it."""
    z.stat.notify_free += 1
    zram_free_slot(z, slot - z.base + 1)


cdef inline bint over_limit(const zram_t *z) noexcept nogil:
    return z.conf.limit_pages and <int64_t> z.pool.base.pages > z.conf.limit_pages


cdef int zram_write(machine_t *m, zram_t *z, swp_t slot, uint32_t row) noexcept nogil:
    """Stores the page of a slot, whose content is `row`. MM_OK; MM_EIO, then what was stored before is still there."""
    cdef uint32_t at = slot - z.base + 1
    cdef zram_slot_t *s = &z.table[at]
    cdef uint32_t length = 0
    cdef zhandle_t handle = 0
    cdef uint8_t flags = ZRAM_STORED
    if content_flags(m, row) & CONTENT_SAME_FILLED:
        m.now += m.p.c_same_filled
        flags |= ZRAM_SAME
    else:
        m.now += z.conf.compress_ns[0]
        length = content_size(m, row, z.conf.codec)
        if length >= (PAGE_SIZE if z.conf.store else z.pool.huge_class_size):
            length = PAGE_SIZE
            flags |= ZRAM_HUGE
        if zs_malloc(&z.pool, length, &handle) != MM_OK:
            z.stat.failed_writes += 1
            return MM_EIO
        if <int64_t> z.pool.base.pages > z.stat.mem_used_max:
            z.stat.mem_used_max = <int64_t> z.pool.base.pages
        if over_limit(z) and not (z.conf.store and z.conf.backing >= 0):
            zs_free(&z.pool, handle)
            z.stat.failed_writes += 1
            return MM_EIO
    zram_free_slot(z, at)
    slab_unreclaimable_grow(m, <int64_t> zs_slab_pages(&z.pool), &z.slab_pages)
    s.flags = flags
    s.row = row
    s.length = <uint16_t> length
    s.handle = handle
    s.used = seconds(m)
    z.stat.pages_stored += 1
    if flags & ZRAM_SAME:
        z.stat.same_pages += 1
        return MM_OK
    zram_list_newest(z, at)
    z.stat.compr_data_size += length
    if flags & ZRAM_HUGE:
        z.stat.huge_pages += 1
        z.stat.huge_pages_since += 1
    if z.conf.store and z.thread and over_limit(z):
        m.ops.wake(m, m.threads[z.thread])
    return MM_OK


cdef bint zram_read(machine_t *m, zram_t *z, swp_t slot) noexcept nogil:
    """Fills a frame from memory, at once. False: it has to be read from the backing device."""
    cdef zram_slot_t *s = &z.table[slot - z.base + 1]
    s.used = seconds(m)
    s.flags = <uint8_t> (s.flags & ~ZRAM_IDLE)
    if s.flags & ZRAM_WB:
        z.stat.bd_reads += 1
        if z.conf.store:
            m.now += z.conf.decompress_ns[0]
        return False
    if s.flags & ZRAM_SAME:
        m.now += m.p.c_same_filled
    elif s.flags & ZRAM_HUGE:
        m.now += m.p.c_page_copy
    else:
        m.now += z.conf.decompress_ns[1 if s.flags & ZRAM_RECOMPRESSED else 0]
    return True


cdef int zram_recompress(machine_t *m, zram_t *z, uint32_t at) noexcept nogil:
    """Tries the second codec; keeps the result only if it lands in a smaller size class. MM_OK if it does."""
    cdef zram_slot_t *s = &z.table[at]
    cdef uint32_t length
    cdef zhandle_t handle = 0
    m.now += z.conf.compress_ns[1]
    if not s.flags & ZRAM_HUGE:
        m.now += z.conf.decompress_ns[0]
    length = content_size(m, s.row, z.conf.second)
    if length >= z.pool.huge_class_size or zs_class_for(&z.pool, length) == zs_class_for(&z.pool, s.length):
        s.flags |= ZRAM_INCOMPRESSIBLE
        return MM_EIO
    if zs_malloc(&z.pool, length, &handle) != MM_OK:
        return MM_ENOMEM
    if s.flags & ZRAM_HUGE:
        z.stat.huge_pages -= 1
    zs_free(&z.pool, s.handle)
    z.stat.compr_data_size += <int64_t> length - s.length
    s.handle = handle
    s.length = <uint16_t> length
    s.flags = <uint8_t> ((s.flags & ~(ZRAM_HUGE | ZRAM_IDLE)) | ZRAM_RECOMPRESSED)
    return MM_OK


cdef void zram_moved_out(machine_t *m, zram_t *z, uint32_t at, uint32_t block) noexcept nogil:
    """The slot's page is on the backing device now; its memory is free."""
    cdef zram_slot_t *s = &z.table[at]
    drop_memory(z, s, at)
    s.flags = <uint8_t> ((s.flags & ~(ZRAM_HUGE | ZRAM_IDLE)) | ZRAM_WB)
    s.block = block
    z.stat.bd_count += 1


# ---- verification ---------------------------------------------------------------------------------------

cdef int verify_one(machine_t *m, zram_t *z) except -1:
    cdef uint32_t at, prev = 0, length
    cdef zram_slot_t *s
    cdef int64_t stored = 0, same = 0, huge = 0, out = 0, size = 0, listed = 0
    zs_pool_verify(&z.pool)
    for at in range(1, z.nslots + 1):
        s = &z.table[at]
        if not s.flags & ZRAM_STORED:
            if s.flags or s.handle:
                raise AssertionError(f"zram {z.id}: empty page {at} has flags {s.flags}, handle {s.handle}")
            continue
        if not m.swap.slots[z.base + at - 1].flags & SWP_USED:
            raise AssertionError(f"zram {z.id}: page {at} is stored for a free slot")
        stored += 1
        same += s.flags & ZRAM_SAME != 0
        huge += s.flags & ZRAM_HUGE != 0
        out += s.flags & ZRAM_WB != 0
        if s.flags & (ZRAM_SAME | ZRAM_WB):
            continue
        size += s.length
        length = zs_size_of(&z.pool, s.handle)
        if length != s.length:
            raise AssertionError(f"zram {z.id}: page {at} has {s.length} bytes, the pool {length}")
    found = (stored, same, huge, out, size)
    counted = (z.stat.pages_stored, z.stat.same_pages, z.stat.huge_pages, z.stat.bd_count, z.stat.compr_data_size)
    if found != counted:
        raise AssertionError(f"zram {z.id}: stored, same, huge, written back, bytes {found}; counted {counted}")
    if (stored - same - out, size) != (z.pool.base.objects, z.pool.base.bytes):
        raise AssertionError(f"zram {z.id}: {stored - same - out} objects of {size} bytes; the pool has "
                             f"{z.pool.base.objects} of {z.pool.base.bytes}")
    at = z.oldest
    while at:
        if z.table[at].older != prev or not z.table[at].handle:
            raise AssertionError(f"zram {z.id}: list by age is broken at page {at}")
        listed += 1
        prev = at
        at = z.table[at].newer
    if prev != z.newest or listed != stored - same - out:
        raise AssertionError(f"zram {z.id}: {listed} pages by age of {stored - same - out}")
    return 0


cdef int zram_verify(machine_t *m) except -1:
    """Tables against slots, pools and lists. Raises AssertionError."""
    cdef int i
    for i in range(1, m.nr_zrams + 1):
        verify_one(m, zram_number(m, i))
    return 0
