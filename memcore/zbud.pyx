"""Pool that keeps at most two objects in a frame (mm/zbud.c): simple, and never better than 2:1.

A frame is divided into chunks of 64 bytes; the first object grows from its start, the last from its end:

    | header | first object ->        free chunks        <- last object |
      64 B

Frames with one object are listed by how many chunks are free; a new object takes the newest frame of the
tightest list that fits.  Objects never move, so there is nothing to compact.  All frames are on one list from
the coldest to the newest, from which zswap of Linux 6.1 chooses what to write to disk.

A handle is the number of the frame's record times two, plus one for the last object.
"""
from libc.stdlib cimport free, realloc
from libc.string cimport memset

from .debug cimport MM_BUG_ON, mm_host_oom, mm_unlikely
from .types cimport MM_ENOMEM, MM_ENOSPC, MM_OK, PAGE_SIZE, uint64_t
from .zpool cimport zpool_ops_t

cdef enum:
    FIRST_RECORDS = 64


cdef int zbud_pool_init(zbud_pool_t *p, const zpool_frames_t *frames) except -1:
    """An empty pool; `p` may hold anything before."""
    memset(p, 0, sizeof(zbud_pool_t))
    p.base.ops = &zbud_ops
    p.base.frames = frames[0]
    return 0


cdef void zbud_pool_free(zbud_pool_t *p) noexcept nogil:
    """Gives all frames back; the pool is then all zero."""
    cdef uint32_t i
    for i in range(1, p.nr_pages + 1):
        if p.pages[i].pfn:
            p.base.frames.put(p.base.frames.ctx, p.pages[i].pfn)
    free(p.pages)
    memset(p, 0, sizeof(zbud_pool_t))


# ---- lists ------------------------------------------------------------------------------------------------

cdef inline uint32_t free_chunks(const zbud_page_t *g) noexcept nogil:
    return ZBUD_NCHUNKS - g.chunks[ZBUD_FIRST] - g.chunks[ZBUD_LAST]


cdef inline bint has_one(const zbud_page_t *g) noexcept nogil:
    return (g.chunks[ZBUD_FIRST] == 0) != (g.chunks[ZBUD_LAST] == 0)


cdef inline void buddy_add(zbud_pool_t *p, uint32_t i) noexcept nogil:
    cdef uint32_t *head = &p.unbuddied[free_chunks(&p.pages[i])]
    p.pages[i].buddy_prev = 0
    p.pages[i].buddy_next = head[0]
    if head[0]:
        p.pages[head[0]].buddy_prev = i
    head[0] = i


cdef inline void buddy_del(zbud_pool_t *p, uint32_t i) noexcept nogil:
    cdef zbud_page_t *g = &p.pages[i]
    if g.buddy_prev:
        p.pages[g.buddy_prev].buddy_next = g.buddy_next
    else:
        p.unbuddied[free_chunks(g)] = g.buddy_next
    if g.buddy_next:
        p.pages[g.buddy_next].buddy_prev = g.buddy_prev


cdef inline void lru_add(zbud_pool_t *p, uint32_t i) noexcept nogil:
    p.pages[i].lru_prev = p.lru_newest
    p.pages[i].lru_next = 0
    if p.lru_newest:
        p.pages[p.lru_newest].lru_next = i
    else:
        p.lru_oldest = i
    p.lru_newest = i


cdef inline void lru_del(zbud_pool_t *p, uint32_t i) noexcept nogil:
    cdef zbud_page_t *g = &p.pages[i]
    if g.lru_prev:
        p.pages[g.lru_prev].lru_next = g.lru_next
    else:
        p.lru_oldest = g.lru_next
    if g.lru_next:
        p.pages[g.lru_next].lru_prev = g.lru_prev
    else:
        p.lru_newest = g.lru_prev


# ---- objects ----------------------------------------------------------------------------------------------

cdef uint32_t page_take(zbud_pool_t *p, pfn_t pfn) noexcept nogil:
    """A record for a new frame, on no list."""
    cdef uint32_t i = p.free_pages, new
    if i:
        p.free_pages = p.pages[i].lru_next
    else:
        if p.nr_pages + 1 >= p.cap_pages:
            new = p.cap_pages + (p.cap_pages >> 1) if p.cap_pages else FIRST_RECORDS
            p.pages = <zbud_page_t *> realloc(p.pages, new * sizeof(zbud_page_t))
            if p.pages == NULL:
                mm_host_oom("zbud pages")
            p.cap_pages = new
        p.nr_pages += 1
        i = p.nr_pages
    memset(&p.pages[i], 0, sizeof(zbud_page_t))
    p.pages[i].pfn = pfn
    p.base.pages += 1
    return i


cdef int zbud_alloc(zbud_pool_t *p, uint32_t size, zhandle_t *out) noexcept nogil:
    """Stores an object of `size` bytes. MM_OK; MM_ENOSPC if no object may be so long; MM_ENOMEM."""
    cdef uint32_t chunks, room, i = 0, bud = ZBUD_FIRST
    cdef zbud_page_t *g
    cdef pfn_t pfn
    if mm_unlikely(size == 0 or size > ZBUD_MAX_ALLOC):
        return MM_ENOSPC
    chunks = (size + ZBUD_CHUNK_SIZE - 1) >> ZBUD_CHUNK_SHIFT
    for room in range(chunks, ZBUD_NCHUNKS):
        i = p.unbuddied[room]
        if i:
            break
    if i:
        buddy_del(p, i)
        lru_del(p, i)
        bud = ZBUD_LAST if p.pages[i].chunks[ZBUD_FIRST] else ZBUD_FIRST
    else:
        if p.base.frames.get(p.base.frames.ctx, &pfn) != MM_OK:
            return MM_ENOMEM
        i = page_take(p, pfn)
    g = &p.pages[i]
    g.chunks[bud] = <uint8_t> chunks
    g.size[bud] = <uint16_t> size
    if has_one(g):
        buddy_add(p, i)
    lru_add(p, i)
    p.base.objects += 1
    p.base.bytes += size
    out[0] = i << 1 | bud
    return MM_OK


cdef void zbud_free(zbud_pool_t *p, zhandle_t handle) noexcept nogil:
    """Forgets an object; the second one of a frame takes the frame with it. Handle 0 is allowed."""
    cdef uint32_t i = handle >> 1, bud = handle & 1
    cdef zbud_page_t *g
    if handle == 0:
        return
    g = &p.pages[i]
    MM_BUG_ON(i > p.nr_pages or g.pfn == 0 or g.chunks[bud] == 0)
    if has_one(g):
        buddy_del(p, i)
    p.base.objects -= 1
    p.base.bytes -= g.size[bud]
    g.chunks[bud] = 0
    g.size[bud] = 0
    if has_one(g):
        buddy_add(p, i)
        return
    lru_del(p, i)
    p.base.frames.put(p.base.frames.ctx, g.pfn)
    p.base.pages -= 1
    g.pfn = 0
    g.lru_next = p.free_pages
    p.free_pages = i


cdef void zbud_locate(const zbud_pool_t *p, zhandle_t handle, zplace_t *out) noexcept nogil:
    """Where an object lies: never across two frames."""
    cdef const zbud_page_t *g = &p.pages[handle >> 1]
    cdef uint32_t room = <uint32_t> g.chunks[handle & 1] << ZBUD_CHUNK_SHIFT
    out.first = g.pfn
    out.second = 0
    out.offset = PAGE_SIZE - room if handle & 1 else ZBUD_CHUNK_SIZE
    out.bytes = room
    out.bytes_first = room


cdef uint32_t zbud_coldest(const zbud_pool_t *p, zhandle_t *first, zhandle_t *last) noexcept nogil:
    """The frame that took an object longest ago, with its objects (0 = none); 0 if the pool is empty."""
    cdef uint32_t i = p.lru_oldest
    first[0] = i << 1 if i and p.pages[i].chunks[ZBUD_FIRST] else 0
    last[0] = i << 1 | 1 if i and p.pages[i].chunks[ZBUD_LAST] else 0
    return i


cdef void zbud_rotate(zbud_pool_t *p, uint32_t page) noexcept nogil:
    """Makes a frame from zbud_coldest() the newest: its objects could not be written out."""
    lru_del(p, page)
    lru_add(p, page)


# ---- verification -----------------------------------------------------------------------------------------

cdef int zbud_pool_verify(zbud_pool_t *p) except -1:
    """Walks every list and record; raises AssertionError naming what is broken."""
    cdef uint64_t pages = 0, objects = 0, size = 0, single = 0, listed = 0
    cdef uint32_t i, room, bud, prev
    cdef zbud_page_t *g
    for i in range(1, p.nr_pages + 1):
        g = &p.pages[i]
        if g.pfn == 0:
            continue
        pages += 1
        for bud in range(2):
            if (g.size[bud] + ZBUD_CHUNK_SIZE - 1) >> ZBUD_CHUNK_SHIFT != g.chunks[bud]:
                raise AssertionError(f"frame {g.pfn}: {g.size[bud]} bytes in {g.chunks[bud]} chunks")
            objects += g.size[bud] != 0
            size += g.size[bud]
        if g.chunks[0] + g.chunks[1] == 0 or g.chunks[0] + g.chunks[1] > ZBUD_NCHUNKS:
            raise AssertionError(f"frame {g.pfn}: objects of {g.chunks[0]} and {g.chunks[1]} chunks")
        single += has_one(g)
    for room in range(64):
        prev = 0
        i = p.unbuddied[room]
        while i:
            if not has_one(&p.pages[i]) or free_chunks(&p.pages[i]) != room or p.pages[i].buddy_prev != prev:
                raise AssertionError(f"list of frames with {room} free chunks is broken at record {i}")
            listed += 1
            prev = i
            i = p.pages[i].buddy_next
    if listed != single:
        raise AssertionError(f"{single} frames hold one object, {listed} are listed")
    listed = prev = 0
    i = p.lru_oldest
    while i:
        if p.pages[i].pfn == 0 or p.pages[i].lru_prev != prev:
            raise AssertionError(f"list by age is broken at record {i}")
        listed += 1
        prev = i
        i = p.pages[i].lru_next
    if prev != p.lru_newest or listed != pages:
        raise AssertionError(f"list by age has {listed} frames of {pages} and ends at {prev}, not {p.lru_newest}")
    if pages != p.base.pages or objects != p.base.objects or size != p.base.bytes:
        raise AssertionError(f"pool: {pages} frames, {objects} objects, {size} bytes; counted "
                             f"{p.base.pages}, {p.base.objects}, {p.base.bytes}")
    return 0


# ---- the function table -----------------------------------------------------------------------------------

cdef int ops_alloc(zpool_t *z, uint32_t size, zhandle_t *out) noexcept nogil:
    return zbud_alloc(<zbud_pool_t *> z, size, out)


cdef void ops_release(zpool_t *z, zhandle_t handle) noexcept nogil:
    zbud_free(<zbud_pool_t *> z, handle)


cdef uint32_t ops_size_of(const zpool_t *z, zhandle_t handle) noexcept nogil:
    return zbud_size_of(<const zbud_pool_t *> z, handle)


cdef void ops_locate(const zpool_t *z, zhandle_t handle, zplace_t *out) noexcept nogil:
    zbud_locate(<const zbud_pool_t *> z, handle, out)


cdef uint64_t ops_compact(zpool_t *z) noexcept nogil:
    return 0                             # objects are addressed directly and cannot move


cdef uint64_t ops_shrink_count(const zpool_t *z) noexcept nogil:
    return 0


cdef int ops_verify(zpool_t *z) except -1:
    return zbud_pool_verify(<zbud_pool_t *> z)


cdef zpool_ops_t zbud_ops = zpool_ops_t(
    max_size=ZBUD_MAX_ALLOC, alloc=ops_alloc, release=ops_release, size_of=ops_size_of, locate=ops_locate,
    compact=ops_compact, shrink_count=ops_shrink_count, verify=ops_verify,
)
