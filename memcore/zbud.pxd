# Pool that keeps at most two compressed pages in a frame (mm/zbud.c, Linux 6.1).
from .types cimport pfn_t, uint8_t, uint16_t, uint32_t
from .zpool cimport zhandle_t, zplace_t, zpool_frames_t, zpool_t

cdef enum:
    ZBUD_CHUNK_SHIFT = 6
    ZBUD_CHUNK_SIZE = 64
    ZBUD_NCHUNKS = 63                # the first 64 bytes of a frame are zbud's header
    ZBUD_MAX_ALLOC = 3968            # header and one chunk less than a page
    ZBUD_FIRST = 0                   # grows from the start of the frame
    ZBUD_LAST = 1                    # grows from its end

ctypedef struct zbud_page_t:         # one frame; record 0 is unused
    pfn_t pfn
    uint32_t lru_prev                # towards the coldest
    uint32_t lru_next                # towards the newest; also links unused records
    uint32_t buddy_prev              # list of frames with equal room, newest first
    uint32_t buddy_next
    uint8_t chunks[2]                # of the first and the last object, 0 = none
    uint16_t size[2]                 # as asked for

ctypedef struct zbud_pool_t:
    zpool_t base
    uint32_t unbuddied[64]           # frames with one object, by free chunks
    uint32_t lru_oldest
    uint32_t lru_newest
    zbud_page_t *pages               # from 1
    uint32_t nr_pages
    uint32_t cap_pages
    uint32_t free_pages

cdef int zbud_pool_init(zbud_pool_t *p, const zpool_frames_t *frames) except -1
cdef void zbud_pool_free(zbud_pool_t *p) noexcept nogil
cdef int zbud_pool_verify(zbud_pool_t *p) except -1
cdef int zbud_alloc(zbud_pool_t *p, uint32_t size, zhandle_t *out) noexcept nogil
cdef void zbud_free(zbud_pool_t *p, zhandle_t handle) noexcept nogil
cdef void zbud_locate(const zbud_pool_t *p, zhandle_t handle, zplace_t *out) noexcept nogil
cdef uint32_t zbud_coldest(const zbud_pool_t *p, zhandle_t *first, zhandle_t *last) noexcept nogil
cdef void zbud_rotate(zbud_pool_t *p, uint32_t page) noexcept nogil


cdef inline uint32_t zbud_size_of(const zbud_pool_t *p, zhandle_t handle) noexcept nogil:
    # length of a stored object, 0 where there is none
    if handle >> 1 == 0 or handle >> 1 > p.nr_pages or p.pages[handle >> 1].pfn == 0:
        return 0
    return p.pages[handle >> 1].size[handle & 1]
