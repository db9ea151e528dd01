"""Pool for objects smaller than a page: size classes, zspages, handles (mm/zsmalloc.c).

Objects of one size class share *zspages*: a few frames in a row, cut into equal slots without regard to page
borders, so that little is left over at the end.  Slots of 2176 bytes with eight frames:

    frame    0       1       2       3       4       5       6       7
           |-------|-------|-------|-------|-------|-------|-------|-------|
    slot   |0  |1  |2  |3  |4  |5  |6  |7  |8  |9  |10 |11 |12 |13 |14 | 128 bytes lost

A new object goes into the fullest zspage of its class that has room; lists by fullness find it at once.  What
the user holds is a handle, so that compaction may move the object.

Everything lies in three growable arrays: `zspages` and `objects` are records, `arena` holds for each zspage
its frame numbers followed by one word per slot:

    handle << 1 | 1      stored object
    next free slot << 1  free slot, linked to the one freed before it

Slots that were never used are not linked: `fresh` counts them off, so that a zspage costs nothing per slot
when it is made.  The order in which slots are given out is the kernel's.
"""
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset
from posix.stdlib cimport posix_memalign

from .debug cimport MM_BUG_ON, mm_host_oom, mm_likely, mm_unlikely
from .types cimport KERNEL_6_12, MM_ENOMEM, MM_ENOSPC, MM_OK

cdef extern from *:
    int clz "__builtin_clz"(unsigned int x) nogil
    int ctz "__builtin_ctz"(unsigned int x) nogil

cdef enum:                       # fullness groups of 6.1
    ZS_ALMOST_EMPTY = 1
    ZS_ALMOST_FULL = 2
    FIRST_RECORDS = 64
    CACHE_LINE = 64


# ---- size classes -----------------------------------------------------------------------------------------

cdef void build_classes(zs_pool_t *p, int kernel) noexcept nogil:
    """From the largest size down; a size that packs like the one above it shares its class."""
    cdef int index
    cdef uint32_t size, chain, objs
    cdef zs_class_t *c = NULL
    for index in range(ZS_SIZE_CLASSES - 1, -1, -1):
        size = ZS_MIN_ALLOC_SIZE + index * ZS_SIZE_CLASS_DELTA
        chain = pages_per_zspage(kernel, size, p.chain_size)
        objs = chain * PAGE_SIZE // size
        if c == NULL or c.chain != chain or c.objs != objs:
            c = &p.classes[p.nr_classes]
            p.nr_classes += 1
            c.size = size
            c.chain = <uint16_t> chain
            c.objs = <uint16_t> objs
            c.huge = objs == 1
            c.full = 3 if p.four_groups else ZS_NR_FULLNESS - 1
            if p.huge_class_size == 0 and not c.huge:
                p.huge_class_size = size - (ZS_HANDLE_SIZE - 1)
        p.class_of[index] = <uint8_t> (p.nr_classes - 1)


cdef int zs_pool_init(zs_pool_t *p, int kernel, uint32_t chain_size, const zpool_frames_t *frames) except -1:
    """An empty pool. `p` may hold anything before. Raises ValueError or MemoryError.

    `kernel` is KERNEL_6_1 or KERNEL_6_12 and decides the choice of the chain, the fullness groups and the
    order of compaction; `chain_size` is CONFIG_ZSMALLOC_CHAIN_SIZE (6.1: always 4).
    """
    cdef uint32_t i
    if chain_size < ZS_MIN_CHAIN or chain_size > ZS_MAX_CHAIN:
        raise ValueError(f"zsmalloc chain size {chain_size}: must lie in {ZS_MIN_CHAIN}..{ZS_MAX_CHAIN}")
    memset(p, 0, sizeof(zs_pool_t))
    p.base.ops = &zs_ops
    p.base.frames = frames[0]
    p.chain_size = chain_size
    p.four_groups = kernel < KERNEL_6_12
    p.classes = <zs_class_t *> calloc(ZS_SIZE_CLASSES, sizeof(zs_class_t))
    if p.classes == NULL:
        raise MemoryError("zsmalloc size classes")
    build_classes(p, kernel)
    p.nr_lists = p.nr_zspages = p.nr_classes * ZS_NR_FULLNESS
    p.cap_zspages = p.nr_lists + FIRST_RECORDS
    p.zspages = <zspage_t *> aligned(p.cap_zspages * sizeof(zspage_t))
    if p.zspages == NULL:
        raise MemoryError("zsmalloc fullness lists")
    for i in range(p.nr_classes):
        p.classes[i].lists = 1 + i * ZS_NR_FULLNESS
    for i in range(1, p.nr_lists + 1):
        p.zspages[i].prev = p.zspages[i].next = i
    return 0


cdef void zs_pool_free(zs_pool_t *p) noexcept nogil:
    """Gives all frames back and frees the arrays; the pool is then all zero."""
    cdef uint32_t z, i
    for z in range(p.nr_lists + 1, p.nr_zspages + 1):
        if p.zspages[z].inuse:
            for i in range(p.classes[p.zspages[z].cls].chain):
                p.base.frames.put(p.base.frames.ctx, p.arena[p.zspages[z].extent + i])
    free(p.classes)
    free(p.zspages)
    free(p.objects)
    free(p.arena)
    memset(p, 0, sizeof(zs_pool_t))


# ---- records ----------------------------------------------------------------------------------------------

cdef char *aligned(size_t size) noexcept nogil:
    """Zeroed memory at the start of a cache line, so that no record lies across two; NULL if there is none."""
    cdef void *out = NULL
    if posix_memalign(&out, CACHE_LINE, size) != 0:
        return NULL
    memset(out, 0, size)
    return <char *> out


cdef void *grown(void *array, uint32_t *cap, size_t item, const char *what) noexcept nogil:
    """The array with room for half as many records again; new ones are zero, record 0 is never used."""
    cdef uint32_t old = cap[0]
    cdef uint32_t new = old + (old >> 1) if old else FIRST_RECORDS
    cdef char *out = aligned(new * item)
    if out == NULL:
        mm_host_oom(what)
    if old:
        memcpy(out, array, old * item)
        free(array)
    cap[0] = new
    return out


cdef inline void object_reserve(zs_pool_t *p) noexcept nogil:
    if mm_unlikely(p.free_objects == 0 and p.nr_objects + 1 >= p.cap_objects):
        p.objects = <zs_object_t *> grown(p.objects, &p.cap_objects, sizeof(zs_object_t), "zsmalloc handles")


cdef inline zhandle_t object_take(zs_pool_t *p) noexcept nogil:
    """A handle for a new object; object_reserve() has made room."""
    cdef zhandle_t h = p.free_objects
    if h:
        p.free_objects = p.objects[h].slot | <uint32_t> p.objects[h].size << 16
        return h
    p.nr_objects += 1
    return p.nr_objects


cdef inline void object_drop(zs_pool_t *p, zhandle_t h) noexcept nogil:
    p.objects[h] = zs_object_t(zspage=0, slot=<uint16_t> p.free_objects, size=<uint16_t> (p.free_objects >> 16))
    p.free_objects = h


cdef inline uint32_t extent_words(const zs_class_t *c) noexcept nogil:
    return <uint32_t> c.chain + c.objs


cdef void arena_repack(zs_pool_t *p, uint64_t cap) noexcept nogil:
    """Copies the extents in use into a new arena; unused records give theirs up."""
    cdef uint32_t *arena = <uint32_t *> malloc(cap * sizeof(uint32_t))
    cdef uint32_t z, words, next_z
    cdef uint64_t used = 0
    if arena == NULL:
        mm_host_oom("zsmalloc zspages")
    for z in range(p.nr_lists + 1, p.nr_zspages + 1):
        if p.zspages[z].inuse:
            words = extent_words(&p.classes[p.zspages[z].cls])
            memcpy(arena + used, p.arena + p.zspages[z].extent, words * sizeof(uint32_t))
            p.zspages[z].extent = <uint32_t> used
            used += words
    free(p.arena)
    p.arena = arena
    p.arena_cap = cap
    p.arena_used = used
    for words in range(p.nr_classes):
        z = p.classes[words].spare
        p.classes[words].spare = 0
        while z:
            next_z = p.zspages[z].next
            p.zspages[z].next = p.free_zspages
            p.free_zspages = z
            z = next_z


cdef uint32_t zspage_take(zs_pool_t *p, zs_class_t *c) noexcept nogil:
    """A record for a new zspage of the class, with an extent: its own from before, or a new one."""
    cdef uint32_t z = c.spare, words = extent_words(c)
    cdef uint64_t cap
    if z:
        c.spare = p.zspages[z].next
        p.arena_live += words
        return z
    if p.arena_used + words > p.arena_cap:
        # twice what is in use: after repacking, as much again can come before the next one
        cap = 2 * (p.arena_live + words) + 1024
        arena_repack(p, cap)
    z = p.free_zspages
    if z:
        p.free_zspages = p.zspages[z].next
    else:
        if p.nr_zspages + 1 >= p.cap_zspages:
            p.zspages = <zspage_t *> grown(p.zspages, &p.cap_zspages, sizeof(zspage_t), "zsmalloc zspages")
        p.nr_zspages += 1
        z = p.nr_zspages
    p.zspages[z].extent = <uint32_t> p.arena_used
    p.arena_used += words
    p.arena_live += words
    return z


# ---- lists by fullness ------------------------------------------------------------------------------------

cdef inline uint8_t fullness_of(const zs_pool_t *p, const zs_class_t *c, uint32_t inuse) noexcept nogil:
    if inuse == 0:
        return ZS_EMPTY
    if inuse == c.objs:
        return c.full
    if p.four_groups:
        return ZS_ALMOST_EMPTY if inuse <= <uint32_t> (3 * c.objs // 4) else ZS_ALMOST_FULL
    return <uint8_t> (100 * inuse // c.objs // 10 + 1)


cdef inline void list_insert(zs_pool_t *p, zs_class_t *c, uint32_t z, uint8_t group) noexcept nogil:
    """At the head; 6.1 keeps the head if it is the fuller of the two and then inserts behind it."""
    cdef zspage_t *s = &p.zspages[z]
    cdef uint32_t after = c.lists + group
    s.fullness = group
    if p.four_groups and s.inuse < p.zspages[p.zspages[after].next].inuse:
        after = p.zspages[after].next
    s.prev = after
    s.next = p.zspages[after].next
    p.zspages[s.next].prev = z
    p.zspages[after].next = z
    c.nonempty |= <uint32_t> 1 << group
    c.count[group] += 1


cdef inline void list_remove(zs_pool_t *p, zs_class_t *c, uint32_t z) noexcept nogil:
    # a ring has no ends to ask about: no branch here depends on data
    cdef zspage_t *s = &p.zspages[z]
    cdef uint32_t bit = <uint32_t> 1 << s.fullness
    p.zspages[s.prev].next = s.next
    p.zspages[s.next].prev = s.prev
    c.count[s.fullness] -= 1
    c.nonempty = (c.nonempty & ~bit) | (bit if c.count[s.fullness] else 0)


cdef inline uint32_t fullest_with_room(const zs_pool_t *p, const zs_class_t *c) noexcept nogil:
    cdef uint32_t partial = c.nonempty & ((<uint32_t> 1 << c.full) - 1)
    return p.zspages[c.lists + 31 - clz(partial)].next if partial else 0


cdef inline uint32_t emptiest(const zs_pool_t *p, const zs_class_t *c) noexcept nogil:
    cdef uint32_t partial = c.nonempty & ((<uint32_t> 1 << c.full) - 1)
    return p.zspages[c.lists + ctz(partial)].next if partial else 0


# ---- zspages ----------------------------------------------------------------------------------------------

cdef uint32_t alloc_zspage(zs_pool_t *p, zs_class_t *c) noexcept nogil:
    """A new empty zspage on no list, or 0 if a frame is missing; then those already taken went back."""
    cdef pfn_t frames[ZS_MAX_CHAIN]
    cdef uint32_t i, z
    cdef zspage_t *s
    for i in range(c.chain):
        if p.base.frames.get(p.base.frames.ctx, &frames[i]) != MM_OK:
            while i:
                i -= 1
                p.base.frames.put(p.base.frames.ctx, frames[i])
            return 0
    z = zspage_take(p, c)
    s = &p.zspages[z]
    s.cls = <uint16_t> (c - p.classes)
    s.inuse = 0
    s.freeobj = ZS_NO_SLOT
    s.fresh = 0
    for i in range(c.chain):
        p.arena[s.extent + i] = frames[i]
    c.objs_allocated += c.objs
    p.base.pages += c.chain
    return z


cdef void free_zspage(zs_pool_t *p, zs_class_t *c, uint32_t z) noexcept nogil:
    """Gives back the frames of an empty zspage that is on no list."""
    cdef uint32_t i
    MM_BUG_ON(p.zspages[z].inuse != 0)
    for i in range(c.chain):
        p.base.frames.put(p.base.frames.ctx, p.arena[p.zspages[z].extent + i])
    p.zspages[z].next = c.spare
    c.spare = z
    p.arena_live -= extent_words(c)
    c.objs_allocated -= c.objs
    p.base.pages -= c.chain


cdef inline uint32_t *slots_of(const zs_pool_t *p, const zspage_t *s) noexcept nogil:
    return p.arena + s.extent + p.classes[s.cls].chain


cdef inline uint16_t slot_take(zs_pool_t *p, zspage_t *s, zhandle_t h) noexcept nogil:
    """obj_malloc: the slot freed last, else the first unused one."""
    cdef uint32_t *slots = slots_of(p, s)
    cdef uint16_t slot = s.freeobj
    if slot == ZS_NO_SLOT:
        slot = s.fresh
        s.fresh += 1
    else:
        s.freeobj = <uint16_t> (slots[slot] >> 1)
    slots[slot] = h << 1 | 1
    s.inuse += 1
    return slot


cdef inline void slot_drop(zs_pool_t *p, zspage_t *s, uint16_t slot) noexcept nogil:
    slots_of(p, s)[slot] = <uint32_t> s.freeobj << 1
    s.freeobj = slot
    s.inuse -= 1


cdef inline void fix_fullness(zs_pool_t *p, zs_class_t *c, uint32_t z) noexcept nogil:
    cdef uint8_t group = fullness_of(p, c, p.zspages[z].inuse)
    if group != p.zspages[z].fullness:
        list_remove(p, c, z)
        list_insert(p, c, z, group)


cdef int zs_malloc(zs_pool_t *p, uint32_t size, zhandle_t *out) noexcept nogil:
    """Stores an object of `size` bytes. MM_OK; MM_ENOSPC if no object may be so long; MM_ENOMEM."""
    cdef zs_class_t *c
    cdef uint32_t z
    cdef zhandle_t h
    if mm_unlikely(size == 0 or size > PAGE_SIZE):
        return MM_ENOSPC
    object_reserve(p)
    c = zs_class_for(p, size)
    z = fullest_with_room(p, c)
    if mm_likely(z != 0):
        h = object_take(p)
        p.objects[h] = zs_object_t(zspage=z, slot=slot_take(p, &p.zspages[z], h), size=<uint16_t> size)
        fix_fullness(p, c, z)
    else:
        z = alloc_zspage(p, c)
        if z == 0:
            return MM_ENOMEM
        h = object_take(p)
        p.objects[h] = zs_object_t(zspage=z, slot=slot_take(p, &p.zspages[z], h), size=<uint16_t> size)
        list_insert(p, c, z, fullness_of(p, c, 1))
    c.objs_inuse += 1
    p.base.objects += 1
    p.base.bytes += size
    out[0] = h
    return MM_OK


cdef void zs_free(zs_pool_t *p, zhandle_t handle) noexcept nogil:
    """Forgets an object; the last one of a zspage takes its frames with it. Handle 0 is allowed."""
    cdef uint32_t z
    cdef zs_class_t *c
    if handle == 0:
        return
    z = p.objects[handle].zspage
    MM_BUG_ON(handle > p.nr_objects or z == 0)
    c = &p.classes[p.zspages[z].cls]
    slot_drop(p, &p.zspages[z], p.objects[handle].slot)
    c.objs_inuse -= 1
    p.base.objects -= 1
    p.base.bytes -= p.objects[handle].size
    object_drop(p, handle)
    if p.zspages[z].inuse:
        fix_fullness(p, c, z)
    else:
        list_remove(p, c, z)
        free_zspage(p, c, z)


cdef void place_of_slot(const zs_pool_t *p, uint32_t z, uint16_t slot, zplace_t *out) noexcept nogil:
    cdef const zspage_t *s = &p.zspages[z]
    cdef uint32_t size = p.classes[s.cls].size
    cdef uint32_t at = size * slot, page = at // PAGE_SIZE
    out.first = p.arena[s.extent + page]
    out.offset = at % PAGE_SIZE
    out.bytes = size
    out.bytes_first = size if out.offset + size <= PAGE_SIZE else PAGE_SIZE - out.offset
    out.second = 0 if out.bytes_first == size else p.arena[s.extent + page + 1]


cdef void zs_locate(const zs_pool_t *p, zhandle_t handle, zplace_t *out) noexcept nogil:
    """Where the room of the user's bytes lies: the slot less the handle kept at its start."""
    place_of_slot(p, p.objects[handle].zspage, p.objects[handle].slot, out)
    if not p.classes[p.zspages[p.objects[handle].zspage].cls].huge:
        out.offset += ZS_HANDLE_SIZE     # slots start at multiples of 16, so this never crosses a page
        out.bytes -= ZS_HANDLE_SIZE
        out.bytes_first -= ZS_HANDLE_SIZE


# ---- compaction -------------------------------------------------------------------------------------------

cdef void migrate_zspage(zs_pool_t *p, zs_class_t *c, uint32_t src, uint32_t dst) noexcept nogil:
    """Moves objects in the order of their slots until `src` is empty or `dst` is full; neither is listed."""
    cdef zspage_t *s = &p.zspages[src]
    cdef zspage_t *d = &p.zspages[dst]
    cdef uint16_t slot = 0
    cdef zplace_t old, new
    cdef zhandle_t h
    while s.inuse and d.inuse < c.objs:
        while not slots_of(p, s)[slot] & 1:
            slot += 1
        h = slots_of(p, s)[slot] >> 1
        p.objects[h].zspage = dst
        p.objects[h].slot = slot_take(p, d, h)
        if p.base.frames.move != NULL:
            place_of_slot(p, src, slot, &old)
            place_of_slot(p, dst, p.objects[h].slot, &new)
            p.base.frames.move(p.base.frames.ctx, &old, &new)
        slot_drop(p, s, slot)


cdef uint64_t putback_src(zs_pool_t *p, zs_class_t *c, uint32_t z) noexcept nogil:
    """Lists the source again, or frees it; returns the frames freed."""
    if p.zspages[z].inuse:
        list_insert(p, c, z, fullness_of(p, c, p.zspages[z].inuse))
        return 0
    free_zspage(p, c, z)
    return c.chain


cdef uint64_t compact_class(zs_pool_t *p, zs_class_t *c) noexcept nogil:
    """From 6.3 on: one destination is filled up from ever new sources before the next is chosen."""
    cdef uint32_t src, dst = 0
    cdef uint64_t freed = 0
    while zs_can_compact(c):
        if dst == 0:
            dst = fullest_with_room(p, c)
            if dst == 0:
                break
            list_remove(p, c, dst)
        src = emptiest(p, c)
        if src == 0:
            break
        list_remove(p, c, src)
        migrate_zspage(p, c, src, dst)
        freed += putback_src(p, c, src)
        if p.zspages[dst].inuse == c.objs:
            list_insert(p, c, dst, c.full)
            dst = 0
    if dst:
        list_insert(p, c, dst, fullness_of(p, c, p.zspages[dst].inuse))
    return freed


cdef uint64_t compact_class_6_1(zs_pool_t *p, zs_class_t *c) noexcept nogil:
    """6.1: one source is emptied into ever new destinations before the next is chosen."""
    cdef uint32_t src, dst
    cdef uint64_t freed = 0
    while True:
        src = emptiest(p, c)
        if src == 0:
            break
        list_remove(p, c, src)
        if zs_can_compact(c) == 0:
            putback_src(p, c, src)
            break
        while p.zspages[src].inuse:
            dst = fullest_with_room(p, c)
            if dst == 0:
                putback_src(p, c, src)
                return freed
            list_remove(p, c, dst)
            migrate_zspage(p, c, src, dst)
            list_insert(p, c, dst, fullness_of(p, c, p.zspages[dst].inuse))
        freed += putback_src(p, c, src)
    return freed


cdef uint64_t zs_compact(zs_pool_t *p) noexcept nogil:
    """Moves objects together in every class, largest first; returns the frames given back."""
    cdef uint64_t freed = 0
    cdef uint32_t i
    for i in range(p.nr_classes):
        freed += compact_class_6_1(p, &p.classes[i]) if p.four_groups else compact_class(p, &p.classes[i])
    p.base.pages_compacted += freed
    return freed


cdef uint64_t zs_shrinker_count(const zs_pool_t *p) noexcept nogil:
    """Frames that zs_compact() would give back."""
    cdef uint64_t pages = 0
    cdef uint32_t i
    for i in range(p.nr_classes):
        pages += zs_can_compact(&p.classes[i])
    return pages


# ---- verification -----------------------------------------------------------------------------------------

cdef int verify_zspage(zs_pool_t *p, uint32_t z) except -1:
    """Slots against handles, free chain against occupancy."""
    cdef zspage_t *s = &p.zspages[z]
    cdef zs_class_t *c = &p.classes[s.cls]
    cdef uint32_t *slots = slots_of(p, s)
    cdef uint32_t slot, stored = 0, unused = 0
    cdef zhandle_t h
    if s.fresh > c.objs or s.fullness != fullness_of(p, c, s.inuse):
        raise AssertionError(f"zspage {z}: {s.inuse} of {c.objs} objects, {s.fresh} slots used, list {s.fullness}")
    for slot in range(s.fresh):
        if slots[slot] & 1:
            h = slots[slot] >> 1
            if h == 0 or h > p.nr_objects or p.objects[h].zspage != z or p.objects[h].slot != slot:
                raise AssertionError(f"zspage {z} slot {slot} holds handle {h}, which points elsewhere")
            if zs_class_for(p, p.objects[h].size) != c:
                raise AssertionError(f"object {h} of {p.objects[h].size} bytes lies in class {c.size}")
            stored += 1
    slot = s.freeobj
    while slot != ZS_NO_SLOT:
        unused += 1
        if slot >= s.fresh or slots[slot] & 1 or unused > s.fresh:
            raise AssertionError(f"zspage {z}: chain of free slots is broken at slot {slot}")
        slot = slots[slot] >> 1
    if stored != s.inuse or stored + unused != s.fresh:
        raise AssertionError(f"zspage {z}: {stored} stored and {unused} free slots, counted {s.inuse}")
    return 0


cdef int zs_pool_verify(zs_pool_t *p) except -1:
    """Walks every list, zspage and handle; raises AssertionError naming what is broken."""
    cdef uint32_t i, g, z, prev, n
    cdef uint64_t pages = 0, objects = 0, size = 0, live = 0, inuse, zspages
    cdef zs_class_t *c
    for i in range(p.nr_classes):
        c = &p.classes[i]
        zspages = inuse = 0
        for g in range(ZS_NR_FULLNESS):
            n = 0
            prev = c.lists + g
            z = p.zspages[prev].next
            if (z != prev) != (c.nonempty >> g & 1):
                raise AssertionError(f"class {c.size}: bit of fullness list {g} is wrong")
            while z != c.lists + g:
                if p.zspages[z].cls != i or p.zspages[z].fullness != g or p.zspages[z].prev != prev:
                    raise AssertionError(f"class {c.size}: fullness list {g} is broken at zspage {z}")
                verify_zspage(p, z)
                inuse += p.zspages[z].inuse
                n += 1
                prev = z
                z = p.zspages[z].next
            if n != c.count[g] or (n and g == ZS_EMPTY):
                raise AssertionError(f"class {c.size}: {n} zspages on fullness list {g}, counted {c.count[g]}")
            zspages += n
        if inuse != c.objs_inuse or zspages * c.objs != c.objs_allocated:
            raise AssertionError(f"class {c.size}: {inuse} objects in {zspages} zspages, "
                                 f"counted {c.objs_inuse} of {c.objs_allocated}")
        pages += zspages * c.chain
        live += zspages * extent_words(c)
    for z in range(1, p.nr_objects + 1):
        if p.objects[z].zspage:
            objects += 1
            size += p.objects[z].size
    if pages != p.base.pages or objects != p.base.objects or size != p.base.bytes or live != p.arena_live:
        raise AssertionError(f"pool: {pages} frames, {objects} objects, {size} bytes, {live} words; counted "
                             f"{p.base.pages}, {p.base.objects}, {p.base.bytes}, {p.arena_live}")
    return 0


# ---- the function table -----------------------------------------------------------------------------------

cdef int ops_alloc(zpool_t *z, uint32_t size, zhandle_t *out) noexcept nogil:
    return zs_malloc(<zs_pool_t *> z, size, out)


cdef void ops_release(zpool_t *z, zhandle_t handle) noexcept nogil:
    zs_free(<zs_pool_t *> z, handle)


cdef uint32_t ops_size_of(const zpool_t *z, zhandle_t handle) noexcept nogil:
    return zs_size_of(<const zs_pool_t *> z, handle)


cdef void ops_locate(const zpool_t *z, zhandle_t handle, zplace_t *out) noexcept nogil:
    zs_locate(<const zs_pool_t *> z, handle, out)


cdef uint64_t ops_compact(zpool_t *z) noexcept nogil:
    return zs_compact(<zs_pool_t *> z)


cdef uint64_t ops_shrink_count(const zpool_t *z) noexcept nogil:
    return zs_shrinker_count(<const zs_pool_t *> z)


cdef int ops_verify(zpool_t *z) except -1:
    return zs_pool_verify(<zs_pool_t *> z)


cdef zpool_ops_t zs_ops = zpool_ops_t(
    max_size=PAGE_SIZE, alloc=ops_alloc, release=ops_release, size_of=ops_size_of, locate=ops_locate,
    compact=ops_compact, shrink_count=ops_shrink_count, verify=ops_verify,
)
