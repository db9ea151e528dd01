# What anonymous pages contain, as far as compression sees it: rows of compressed sizes, drawn per page and write.
#
# A content is a sample of rows; which row a page shows is a hash of (region, page, version), so it costs no
# memory per page and is the same in every run. The version of a page counts the stores that reclaim noticed.
from .machine cimport machine_t
from .types cimport pfn_t, swp_t, uint16_t, uint32_t, uint64_t, uint8_t

cdef enum:                       # contents_t.flags; the values of pymem.content
    CONTENT_SAME_FILLED = 1      # every word of the page is equal
    CONTENT_ZERO = 2             # and zero

ctypedef struct content_t:       # of one region
    uint64_t seed
    uint32_t first               # its rows
    uint32_t count

ctypedef struct contents_t:
    content_t *regions           # from 1
    int nr_regions
    uint32_t nr_rows             # row 0 stands for nothing known: a page that does not compress
    int nr_codecs
    uint16_t *sizes              # nr_rows x nr_codecs, bytes; same-filled pages too
    uint8_t *flags               # of each row
    uint32_t *slot_row           # what each swap slot was written with

cdef int contents_alloc(machine_t *m, uint32_t nr_rows, int nr_codecs, const uint16_t *sizes,
                        const uint8_t *flags) except -1
cdef int contents_add_region(machine_t *m, uint64_t seed, uint32_t first, uint32_t count) except -1
cdef void contents_free(machine_t *m) noexcept nogil
cdef uint32_t content_of_write(machine_t *m, pfn_t pfn, swp_t slot) noexcept nogil


cdef inline uint32_t content_size(machine_t *m, uint32_t row, int codec) noexcept nogil:
    cdef contents_t *c = <contents_t *> m.contents
    return c.sizes[row * c.nr_codecs + codec]


cdef inline uint8_t content_flags(machine_t *m, uint32_t row) noexcept nogil:
    return (<contents_t *> m.contents).flags[row]
