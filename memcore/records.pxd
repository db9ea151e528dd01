# The access record: what a task does next. (pymem/records.py writes them.)
from .types cimport uint64_t

cdef enum access_op:
    OP_LOAD = 0
    OP_STORE = 1
    OP_READ = 2
    OP_WRITE = 3
    OP_DONTNEED = 4
    OP_FREE = 5
    OP_COLD = 6
    OP_PAGEOUT = 7
    OP_WILLNEED = 8
    OP_SEQUENTIAL = 9
    OP_RANDOM = 10
    OP_NORMAL = 11
    OP_MLOCK = 12
    OP_MUNLOCK = 13
    OP_MUNMAP = 14
    OP_MMAP = 15
    OP_FSYNC = 16
    OP_SLEEP = 17
    OP_EXIT = 18


cdef inline uint64_t rec_page(uint64_t r) noexcept nogil:
    return r & ((<uint64_t> 1 << 40) - 1)


cdef inline int rec_op(uint64_t r) noexcept nogil:
    return <int> ((r >> 40) & 63)


cdef inline uint64_t rec_count(uint64_t r) noexcept nogil:
    return (r >> 46) + 1
