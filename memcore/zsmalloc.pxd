# Pool of objects that are smaller than a page (mm/zsmalloc.c): size classes, zspages, handles.
from .types cimport KERNEL_6_12, PAGE_SIZE, pfn_t, uint8_t, uint16_t, uint32_t, uint64_t
from .zpool cimport zhandle_t, zplace_t, zpool_frames_t, zpool_ops_t, zpool_t

cdef enum:
    ZS_MIN_ALLOC_SIZE = 32
    ZS_SIZE_CLASS_DELTA = 16
    ZS_SIZE_CLASSES = 255            # 32, 48, 64 ... 4096 before merging
    ZS_HANDLE_SIZE = 8               # in front of every object that shares its page
    ZS_MIN_CHAIN = 4
    ZS_MAX_CHAIN = 16
    ZS_NR_FULLNESS = 12              # 6.12: empty, 1-9 %, 10-19 % ... 90-99 %, full; 6.1 uses four
    ZS_EMPTY = 0
    ZS_NO_SLOT = 0xffff

ctypedef struct zspage_t:            # some frames in a row holding objects of one class
    uint32_t prev                    # neighbours in the fullness list
    uint32_t next                    # also links unused records
    uint32_t extent                  # first word in `arena`: frames of the chain, then slots of the objects
    uint16_t cls
    uint16_t inuse                   # objects stored; 0: the record is unused
    uint16_t freeobj                 # slot freed last, ZS_NO_SLOT: none
    uint16_t fresh                   # slots from here on were never used
    uint8_t fullness
    uint8_t pad[7]                   # 32 bytes: two records to a cache line

ctypedef struct zs_class_t:
    uint32_t size                    # bytes of one object, handle included
    uint16_t objs                    # objects per zspage
    uint16_t chain                   # frames per zspage
    uint8_t full                     # fullness group of a full zspage
    bint huge                        # one object per page, handle kept outside
    uint32_t nonempty                # bit g: list g has a zspage
    uint32_t lists                   # record of list 0; a list is a ring through a record of its own
    uint32_t count[ZS_NR_FULLNESS]   # zspages by fullness
    uint32_t spare                   # unused records that still own an extent of this class
    uint64_t objs_allocated          # slots in all zspages
    uint64_t objs_inuse

ctypedef struct zs_object_t:         # what a handle stands for
    uint32_t zspage                  # 0: unused, then `slot` and `size` are one link
    uint16_t slot
    uint16_t size                    # as asked for

ctypedef struct zs_pool_t:
    zpool_t base
    bint four_groups                 # fullness groups, order of lists and of compaction as in 6.1
    uint32_t chain_size              # most frames per zspage
    uint32_t huge_class_size         # objects from this length on take a whole page
    uint32_t nr_classes
    zs_class_t *classes              # by falling size
    uint8_t class_of[ZS_SIZE_CLASSES]
    zspage_t *zspages                # from 1: first the rings' own records, then zspages
    uint32_t nr_lists
    uint32_t nr_zspages              # records handed out so far, those of the rings included
    uint32_t cap_zspages
    uint32_t free_zspages            # unused records without extent
    zs_object_t *objects             # from 1
    uint32_t nr_objects
    uint32_t cap_objects
    uint32_t free_objects
    uint32_t *arena                  # frames and slots of all zspages; see zsmalloc.pyx
    uint64_t arena_used
    uint64_t arena_cap
    uint64_t arena_live              # words owned by zspages in use

cdef int zs_pool_init(zs_pool_t *p, int kernel, uint32_t chain_size, const zpool_frames_t *frames) except -1
cdef void zs_pool_free(zs_pool_t *p) noexcept nogil
cdef int zs_pool_verify(zs_pool_t *p) except -1
cdef int zs_malloc(zs_pool_t *p, uint32_t size, zhandle_t *out) noexcept nogil
cdef void zs_free(zs_pool_t *p, zhandle_t handle) noexcept nogil
cdef void zs_locate(const zs_pool_t *p, zhandle_t handle, zplace_t *out) noexcept nogil
cdef uint64_t zs_compact(zs_pool_t *p) noexcept nogil
cdef uint64_t zs_shrinker_count(const zs_pool_t *p) noexcept nogil


cdef inline zs_class_t *zs_class_for(const zs_pool_t *p, uint32_t size) noexcept nogil:
    # the class of an object of `size` bytes (1..PAGE_SIZE)
    cdef uint32_t total = size + ZS_HANDLE_SIZE, index = 0
    if total > ZS_MIN_ALLOC_SIZE:
        index = (total - ZS_MIN_ALLOC_SIZE + ZS_SIZE_CLASS_DELTA - 1) // ZS_SIZE_CLASS_DELTA
    if index > ZS_SIZE_CLASSES - 1:
        index = ZS_SIZE_CLASSES - 1
    return &p.classes[p.class_of[index]]


cdef inline uint32_t zs_size_of(const zs_pool_t *p, zhandle_t handle) noexcept nogil:
    # length of a stored object, 0 where there is none
    if handle == 0 or handle > p.nr_objects or p.objects[handle].zspage == 0:
        return 0
    return p.objects[handle].size


cdef inline uint64_t zs_slab_pages(const zs_pool_t *p) noexcept nogil:
    # frames of the allocator's own records at their peak: handles of 8 bytes, struct zspage of 64
    return p.nr_objects // 512 + (p.nr_zspages - p.nr_lists) // 64


cdef inline uint64_t zs_can_compact(const zs_class_t *c) noexcept nogil:
    # frames that moving objects together would free
    return (c.objs_allocated - c.objs_inuse) // c.objs * c.chain


cdef inline uint32_t pages_per_zspage(int kernel, uint32_t size, uint32_t chain_size) noexcept nogil:
    # how many frames to join so that slots of `size` bytes leave little over
    cdef uint32_t i, waste, used_percent
    cdef uint32_t best = 1, best_waste = PAGE_SIZE, best_used = 0
    if kernel < KERNEL_6_12:
        for i in range(1, chain_size + 1):
            used_percent = (i * PAGE_SIZE - i * PAGE_SIZE % size) * 100 // (i * PAGE_SIZE)
            if used_percent > best_used:
                best_used = used_percent
                best = i
        return best
    if size & (size - 1) == 0:
        return 1
    for i in range(1, chain_size + 1):
        waste = i * PAGE_SIZE % size
        if waste < best_waste:
            best_waste = waste
            best = i
    return best
