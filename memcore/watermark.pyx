"""Watermarks and reserves: when background reclaim starts, when it stops, what nobody may touch.

All arguments and results are pages unless a name says kB. The formulas are those of mm/page_alloc.c:
calculate_min_free_kbytes, __setup_per_zone_wmarks, setup_per_zone_lowmem_reserve, zone_batchsize, and
set_recommended_min_free_kbytes of mm/khugepaged.c.
"""
from .types cimport int64_t


cdef int64_t isqrt(int64_t x) noexcept nogil:
    # floor of the square root, without floating point
    cdef int64_t r = 0, b = <int64_t> 1 << 62, v = x
    while b > v:
        b >>= 2
    while b:
        if v >= r + b:
            v -= r + b
            r = (r >> 1) + b
        else:
            r >>= 1
        b >>= 2
    return r


cdef int64_t calculate_min_free_kbytes(int64_t lowmem_kb) noexcept nogil:
    cdef int64_t kb = isqrt(lowmem_kb * 16)
    return 128 if kb < 128 else (262144 if kb > 262144 else kb)


cdef int64_t thp_min_free_kbytes(int64_t min_free_kbytes, int64_t zones, int64_t lowmem_pages) noexcept nogil:
    # khugepaged wants room for every migrate type in every populated zone
    cdef int64_t rec = 512 * zones * 2 + 512 * zones * 3 * 3
    if rec > lowmem_pages // 20:
        rec = lowmem_pages // 20
    rec <<= 2
    return rec if rec > min_free_kbytes else min_free_kbytes


cdef void setup_zone_wmarks(int64_t *wmark, int64_t managed, int64_t lowmem_pages, int64_t min_free_kbytes,
                            int64_t scale_factor, bint movable) noexcept nogil:
    # in `movable` memory the kernel's own requests find nothing anyway, so its MIN is small
    cdef int64_t lo = (min_free_kbytes >> 2) * managed // lowmem_pages
    cdef int64_t gap = managed * scale_factor // 10000
    if lo >> 2 > gap:
        gap = lo >> 2
    if movable:
        lo = managed // 1024
        lo = 32 if lo < 32 else (128 if lo > 128 else lo)
    wmark[WMARK_MIN] = lo
    wmark[WMARK_LOW] = lo + gap
    wmark[WMARK_HIGH] = lo + 2 * gap
    wmark[WMARK_PROMO] = lo + 3 * gap


cdef void setup_lowmem_reserve(int64_t *reserve, const int64_t *managed, const int64_t *ratio, int zone,
                               int nr_zones) noexcept nogil:
    # reserve[j]: what `zone` keeps from requests that could have used the higher zone j of its node
    cdef int64_t above = 0
    cdef int j
    for j in range(nr_zones):
        reserve[j] = 0
    for j in range(zone + 1, nr_zones):
        above += managed[j]
        if ratio[zone] > 0 and managed[zone] > 0:
            reserve[j] = above // ratio[zone]


cdef int64_t zone_batchsize(int64_t managed) noexcept nogil:
    cdef int64_t b = managed >> 10
    cdef int64_t p = 1
    if b > 256:
        b = 256
    b //= 4
    if b < 1:
        b = 1
    b += b >> 1
    while p * 2 <= b:
        p *= 2
    return p - 1 if p > 1 else 1
