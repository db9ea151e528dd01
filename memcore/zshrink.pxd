# Shrinking compressed memory: writeback of zswap, compaction, and what zram writes to its backing device.
from .machine cimport machine_t

cdef void shrink_compressed(machine_t *m, int priority) noexcept nogil
cdef void zshrink_main(machine_t *m, int owner) noexcept nogil
cdef int compressed_verify(machine_t *m) except -1
