# The OOM killer's hands: what the choice rests on, marking victims, the reaper. Who is chosen, Python says.
from .machine cimport machine_t
from .thread cimport thread_t
from .types cimport int64_t

cdef enum:
    OOM_REAPER_DELAY = 2000000000    # ns: victims get this long to exit by themselves
    OOM_REAPER_RETRY = 100000000     # ns until the next try where the victim holds its address space
    MAX_OOM_REAP_RETRIES = 10

cdef enum:  # oom_fact               # rows of oom_facts; pymem.oom.facts.COLUMNS has them in this order
    OF_THREAD = 0
    OF_PID = 1
    OF_RSS_ANON = 2
    OF_RSS_FILE = 3
    OF_RSS_SHMEM = 4
    OF_SWAPENTS = 5
    OF_PAGE_TABLES = 6
    OF_TOTAL_VM = 7
    OF_OOM_SCORE_ADJ = 8
    OF_START = 9                     # ns
    OF_CPU = 10                      # ns
    OF_KILLED = 11                   # about to exit
    OF_OOM_SKIP = 12                 # reaped
    OF_NODES = 13                    # mask of the nodes that a policy binds it to; -1: none does
    NR_OOM_FACTS = 14

cdef int oom_facts(machine_t *m, int64_t *out) noexcept nogil
cdef void mark_oom_victim(machine_t *m, thread_t *t) noexcept nogil
cdef void oom_reaper(machine_t *m) noexcept nogil
