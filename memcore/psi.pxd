# Pressure stall information of the whole system (kernel/sched/psi.c).
from .types cimport MAX_CPUS, int32_t, ns_t, uint64_t

cdef enum:  # psi_task_count
    NR_IOWAIT = 0
    NR_MEMSTALL = 1
    NR_RUNNING = 2
    NR_MEMSTALL_RUNNING = 3
    NR_PSI_TASK_COUNTS = 4

cdef enum:  # psi_states
    PSI_IO_SOME = 0
    PSI_IO_FULL = 1
    PSI_MEM_SOME = 2
    PSI_MEM_FULL = 3
    PSI_CPU_SOME = 4
    PSI_NONIDLE = 5
    NR_PSI_STATES = 6

cdef enum:
    PSI_FREQ_NS = 2000000000

ctypedef struct psi_cpu_t:
    int32_t tasks[NR_PSI_TASK_COUNTS]
    int32_t oncpu_memstall       # the task on the CPU is in reclaim
    ns_t since                   # start of the present state
    uint64_t times[NR_PSI_STATES]
    uint64_t seen[NR_PSI_STATES]

ctypedef struct psi_t:
    psi_cpu_t cpu[MAX_CPUS]
    int32_t nr_cpus
    uint64_t total[5]            # ns, states 0..4
    uint64_t avg_total[5]
    uint64_t avg[5][3]           # fixed point, 1.0 = 2048; 10, 60, 300 s
    ns_t avg_last
    ns_t avg_next

cdef void psi_record_times(psi_cpu_t *c, ns_t now) noexcept nogil
cdef void psi_update_averages(psi_t *p, ns_t now) noexcept nogil


cdef inline void psi_change(psi_cpu_t *c, ns_t now, int what, int by) noexcept nogil:
    # one task on this CPU entered (+1) or left (-1) a state
    psi_record_times(c, now)
    c.tasks[what] += by


cdef inline void psi_switch(psi_cpu_t *c, ns_t now, int by) noexcept nogil:
    # a task in reclaim got the CPU (+1) or gave it up (-1)
    psi_record_times(c, now)
    c.oncpu_memstall += by
