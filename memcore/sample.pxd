# The time line: one row of figures per sample interval.
from .machine cimport machine_t

cdef enum:
    SAMPLE_EXTRA = 12            # columns before the node stats and events; see sample.pyx
    MAX_SAMPLES = 1 << 17        # rows; more and every second one goes

cdef int sample_columns() noexcept nogil
cdef void take_sample(machine_t *m) noexcept nogil
