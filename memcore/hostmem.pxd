# Large zeroed arrays on huge pages of the host (see hostmem.h).

cdef extern from "hostmem.h" nogil:
    void *host_zalloc(size_t size)
    void host_free(void *p, size_t size)
