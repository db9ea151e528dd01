# Simulated time helpers and the seeded generator (splitmix64).
from .types cimport ns_t, uint64_t

cdef enum:
    NS_PER_US = 1000
    NS_PER_MS = 1000000
    NS_PER_SEC = 1000000000

ctypedef struct rng_t:
    uint64_t state


cdef inline uint64_t rng_next(rng_t *r) noexcept nogil:
    cdef uint64_t z
    r.state += <uint64_t> 0x9E3779B97F4A7C15
    z = r.state
    z = (z ^ (z >> 30)) * <uint64_t> 0xBF58476D1CE4E5B9
    z = (z ^ (z >> 27)) * <uint64_t> 0x94D049BB133111EB
    return z ^ (z >> 31)


cdef inline ns_t ns_max(ns_t a, ns_t b) noexcept nogil:
    return a if a > b else b


cdef inline ns_t ns_min(ns_t a, ns_t b) noexcept nogil:
    return a if a < b else b
