# A block device: latency, parallelism, bandwidth, and what is in flight.
from .types cimport int32_t, int64_t, ns_t, uint32_t, uint64_t

cdef enum:
    IO_READ = 0
    IO_WRITE = 1

cdef enum io_kind:               # what completion means; see pageout.pyx
    IO_PAGE_READ = 0             # fills a locked frame
    IO_PAGE_WRITE = 1            # ends writeback of a frame
    IO_DETACHED = 2              # nobody waits
    IO_BIO_WRITE = 3             # as IO_PAGE_WRITE, for the first page of a bio of a file system
    IO_SWAP_WRITE = 4            # and for a page to swap; above it, for the last of a request, with its list of pages

ctypedef struct io_req_t:
    ns_t done
    uint32_t pfn
    uint32_t kind

ctypedef struct io_ring_t:       # requests in order of completion
    io_req_t *req
    uint32_t cap
    uint32_t head
    uint32_t count

ctypedef struct blkdev_t:
    int32_t id
    bint rotational
    bint synchronous             # copying a page is work of a CPU
    ns_t latency[2]              # read, write: one page, idle device
    ns_t issue[2]                # latency / queue depth: earliest distance between two starts
    ns_t page_ns                 # 4096 bytes / bandwidth
    int32_t nr_requests          # submitters wait beyond this many in flight
    ns_t next_start
    ns_t last_done[2]
    uint64_t last_pos
    int32_t last_rw
    io_ring_t ring[2]
    ns_t next_done               # earliest completion of both; blk_never() when idle
    uint64_t ios[2]
    uint64_t pages[2]
    ns_t busy_ns
    double write_bw              # pages/s, what the flusher believes (9.3)

cdef int blkdev_init(blkdev_t *d, int id, bint rotational, bint synchronous, ns_t read_ns, ns_t write_ns,
                     int queue_depth, int64_t bandwidth) except -1
cdef void blkdev_free(blkdev_t *d) noexcept nogil
cdef ns_t blk_submit(blkdev_t *d, int rw, int kind, uint32_t pfn, uint64_t pos, ns_t now) noexcept nogil


cdef inline ns_t blk_transfer(blkdev_t *d, int rw, ns_t now) noexcept nogil:
    # Copies one page to or from a synchronous device; returns when the CPU that does it is through. Copies begin no
    # closer together than the device's parallelism and bandwidth allow.
    cdef ns_t start = now if now > d.next_start else d.next_start
    cdef ns_t busy = d.issue[rw] if d.issue[rw] > d.page_ns else d.page_ns
    d.next_start = start + busy
    d.busy_ns += busy
    d.ios[rw] += 1
    d.pages[rw] += 1
    return start + d.latency[rw]


cdef inline ns_t blk_never() noexcept nogil:
    # the time of the next completion of an idle device
    return <ns_t> 1 << 62


cdef inline ns_t blk_earliest(const blkdev_t *d) noexcept nogil:
    cdef ns_t t = blk_never()
    if d.ring[0].count:
        t = d.ring[0].req[d.ring[0].head].done
    if d.ring[1].count and d.ring[1].req[d.ring[1].head].done < t:
        t = d.ring[1].req[d.ring[1].head].done
    return t


cdef inline io_req_t blk_pop(blkdev_t *d) noexcept nogil:
    # takes the earliest completion off; reads first at equal times
    cdef io_ring_t *r = &d.ring[0]
    cdef io_req_t q
    if r.count == 0 or r.req[r.head].done > d.next_done:
        r = &d.ring[1]
    q = r.req[r.head]
    r.head = (r.head + 1) & (r.cap - 1)
    r.count -= 1
    d.next_done = blk_earliest(d)
    return q
