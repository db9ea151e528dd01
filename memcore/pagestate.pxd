# Part of the door: where pages are, and with which bits, for people who watch the lists at work.
from .machine cimport machine_t

cdef list lru_order(machine_t *m, int nid, int lru)
cdef list page_states(machine_t *m, int thread)
