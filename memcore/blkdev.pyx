"""Block devices.

A request starts when the device may take another one (every latency / queue_depth at full depth) and when
the bus has carried its predecessor (4096 bytes / bandwidth), and completes one latency later. A request
that continues its predecessor on the medium is merged with it: it costs its share of the bandwidth only.
Completions of one direction come in the order of submission, so a ring per direction holds them.

A synchronous device (BLK_FEAT_SYNCHRONOUS: brd, pmem) is memory that the CPU copies to and from: a request is over
when its submission returns.
"""

from libc.stdlib cimport free, malloc

from .debug cimport mm_host_oom
from .types cimport int64_t, ns_t, uint32_t, uint64_t


cdef int blkdev_init(blkdev_t *d, int id, bint rotational, bint synchronous, ns_t read_ns, ns_t write_ns,
                     int queue_depth, int64_t bandwidth) except -1:
    """Times in ns for one page, bandwidth in bytes/s. Raises ValueError on nonsense, MemoryError."""
    cdef int rw
    if read_ns < 0 or write_ns < 0 or queue_depth < 1 or bandwidth < 1:
        raise ValueError("device figures must be positive")
    d.id = id
    d.rotational = rotational
    d.synchronous = synchronous
    d.latency[0] = read_ns
    d.latency[1] = write_ns
    d.issue[0] = read_ns // queue_depth
    d.issue[1] = write_ns // queue_depth
    d.page_ns = 4096 * <int64_t> 1000000000 // bandwidth
    d.nr_requests = 256
    d.last_pos = ~<uint64_t> 0 - 1
    d.next_done = blk_never()
    d.write_bw = 100e6 / 4096
    for rw in range(2):
        d.ring[rw].cap = 1024
        d.ring[rw].req = <io_req_t *> malloc(1024 * sizeof(io_req_t))
        if d.ring[rw].req == NULL:
            raise MemoryError("device queue")
    return 0


cdef void blkdev_free(blkdev_t *d) noexcept nogil:
    free(d.ring[0].req)
    free(d.ring[1].req)
    d.ring[0].req = NULL
    d.ring[1].req = NULL


cdef void ring_grow(io_ring_t *r) noexcept nogil:
    cdef io_req_t *q = <io_req_t *> malloc(2 * r.cap * sizeof(io_req_t))
    cdef uint32_t i
    if q == NULL:
        mm_host_oom("a device queue")
    for i in range(r.count):
        q[i] = r.req[(r.head + i) & (r.cap - 1)]
    free(r.req)
    r.req = q
    r.cap *= 2
    r.head = 0


cdef ns_t blk_submit(blkdev_t *d, int rw, int kind, uint32_t pfn, uint64_t pos, ns_t now) noexcept nogil:
    """Queues one page at medium position `pos` (in pages); returns when it will be done."""
    cdef io_ring_t *r = &d.ring[rw]
    cdef io_req_t *q
    cdef ns_t start, done
    cdef bint merged = rw == d.last_rw and pos == d.last_pos + 1 and d.last_done[rw] > now
    if merged:
        done = d.last_done[rw] + d.page_ns
        d.next_start += d.page_ns
        d.busy_ns += d.page_ns
    else:
        start = now if now > d.next_start else d.next_start
        done = start + d.latency[rw]
        d.next_start = start + (d.issue[rw] if d.issue[rw] > d.page_ns else d.page_ns)
        d.busy_ns += d.next_start - start
        d.ios[rw] += 1
    if done < d.last_done[rw]:
        done = d.last_done[rw]
    d.last_done[rw] = done
    d.last_pos = pos
    d.last_rw = rw
    d.pages[rw] += 1
    if r.count == r.cap:
        ring_grow(r)
    q = &r.req[(r.head + r.count) & (r.cap - 1)]
    q.done = done
    q.pfn = pfn
    q.kind = <uint32_t> kind
    r.count += 1
    if done < d.next_done:
        d.next_done = done
    return done
