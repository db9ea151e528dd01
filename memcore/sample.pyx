"""Samples of the machine's state in simulated time.

A row of int64: time (ns), accesses, free pages, swap slots free, PSI totals (ns: memory some, memory full,
io some, io full, cpu some), pages in the compressed pool, kswapd awake, dirty threshold; then every
node_stat (summed over nodes), then every vm_event.
"""

from libc.stdlib cimport realloc
from libc.string cimport memcpy

from .machine cimport global_free, global_node_stat, machine_t
from .psi cimport PSI_CPU_SOME, PSI_IO_FULL, PSI_IO_SOME, PSI_MEM_FULL, PSI_MEM_SOME, psi_update_averages
from .thread cimport THREAD_TASK
from .types cimport int64_t
from .vmstat cimport NR_NODE_STATS, NR_VM_EVENTS


cdef int sample_columns() noexcept nogil:
    return SAMPLE_EXTRA + NR_NODE_STATS + NR_VM_EVENTS


cdef void thin_samples(machine_t *m) noexcept nogil:
    """Keeps every second row and samples half as often from now on, so that a long run stays in memory."""
    cdef int64_t cols = sample_columns(), row, kept = (m.nr_samples + 1) // 2
    # The first, the third, ...: the row that comes next, one interval after the last, continues their distance.
    for row in range(1, kept):
        memcpy(&m.samples[row * cols], &m.samples[2 * row * cols], cols * sizeof(int64_t))
    m.nr_samples = kept
    m.sample_interval *= 2


cdef void take_sample(machine_t *m) noexcept nogil:
    """Appends a row for m.now; without host memory the row is dropped."""
    cdef int cols = sample_columns(), i
    cdef int64_t *row
    cdef int64_t *grown
    cdef int64_t cap
    if m.nr_samples >= MAX_SAMPLES and m.sample_interval:
        thin_samples(m)
    if m.nr_samples == m.cap_samples:
        cap = m.cap_samples * 2 + 256
        grown = <int64_t *> realloc(m.samples, cap * cols * sizeof(int64_t))
        if grown == NULL:
            return
        m.samples = grown
        m.cap_samples = cap
    row = &m.samples[m.nr_samples * cols]
    m.nr_samples += 1
    psi_update_averages(&m.psi, m.now)
    row[0] = m.now
    row[1] = 0
    for i in range(1, m.nr_threads + 1):
        if m.threads[i].kind == THREAD_TASK:
            row[1] += <int64_t> m.threads[i].accesses
    row[2] = global_free(m)
    row[3] = m.swap.nr_free
    row[4] = <int64_t> m.psi.total[PSI_MEM_SOME]
    row[5] = <int64_t> m.psi.total[PSI_MEM_FULL]
    row[6] = <int64_t> m.psi.total[PSI_IO_SOME]
    row[7] = <int64_t> m.psi.total[PSI_IO_FULL]
    row[8] = <int64_t> m.psi.total[PSI_CPU_SOME]
    row[9] = m.zswap_pool_pages
    row[10] = 0
    for i in range(m.nr_nodes):
        row[10] += m.nodes[i].kswapd != 0 and not m.nodes[i].kswapd_sleeping
    row[11] = m.wb.thresh
    for i in range(NR_NODE_STATS):
        row[SAMPLE_EXTRA + i] = global_node_stat(m, i)
    for i in range(NR_VM_EVENTS):
        row[SAMPLE_EXTRA + NR_NODE_STATS + i] = <int64_t> m.vm.events[i]
