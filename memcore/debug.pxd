# Assertions (compiled to nothing in release) and the compiler hints of the hot loops.

cdef extern from "debug.h" nogil:
    void MM_BUG_ON(bint cond)
    int MM_DEBUG_ENABLED
    void mm_host_oom(const char *what)
    int mm_clz(unsigned long long x)
    bint mm_likely(bint x)
    bint mm_unlikely(bint x)
    void mm_prefetchw(const void *p)
