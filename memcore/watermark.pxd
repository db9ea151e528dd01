# Watermarks and reserves from the kernel's formulas (mm/page_alloc.c).
from .types cimport int64_t

cdef enum:  # zone_watermarks
    WMARK_MIN = 0
    WMARK_LOW = 1
    WMARK_HIGH = 2
    WMARK_PROMO = 3
    NR_WMARK = 4

cdef int64_t isqrt(int64_t x) noexcept nogil
cdef int64_t calculate_min_free_kbytes(int64_t lowmem_kb) noexcept nogil
cdef int64_t thp_min_free_kbytes(int64_t min_free_kbytes, int64_t zones, int64_t lowmem_pages) noexcept nogil
cdef void setup_zone_wmarks(int64_t *wmark, int64_t managed, int64_t lowmem_pages, int64_t min_free_kbytes,
                            int64_t scale_factor, bint movable) noexcept nogil
cdef void setup_lowmem_reserve(int64_t *reserve, const int64_t *managed, const int64_t *ratio, int zone,
                               int nr_zones) noexcept nogil
cdef int64_t zone_batchsize(int64_t managed) noexcept nogil
