"""Parts of the door: what an `Engine` is told about compressed memory and about CPUs, and what it says of swap."""

from libc.stdlib cimport calloc

from .content cimport contents_add_region, contents_alloc, contents_t
from .machine cimport machine_t
from .mm cimport mm_t, vma_t
from .sched cimport sched_add_thread, sched_start
from .thread cimport THREAD_KWORKER, thread_t
from .types cimport ns_t, uint16_t, uint32_t, uint64_t, uint8_t
from .zram cimport zram_add, zram_conf_t, zram_number, zram_t
from .zswap cimport zswap_create, zswap_of, zswap_t


cdef int add_compression(machine_t *m, swaps, contents, zswap) except -1:
    """Contents, zram devices and zswap as `Engine` describes them; the swap areas are there. Raises ValueError,
    MemoryError."""
    cdef zram_conf_t conf
    cdef const uint16_t[:, ::1] sizes
    cdef const uint8_t[::1] flags
    cdef uint32_t rows
    cdef int codecs, codec
    cdef ns_t compress_ns, decompress_ns
    cdef const uint16_t *first = NULL
    zrams = [s["zram"] for s in swaps if s.get("zram") is not None]
    if contents is None:
        if zswap is not None or zrams:
            raise ValueError("compression without contents")
        return 0
    sizes, flags = contents
    rows = <uint32_t> sizes.shape[0]
    codecs = <int> sizes.shape[1]
    if rows != flags.shape[0] or rows < 1:
        raise ValueError(f"{rows} rows of sizes, {flags.shape[0]} of flags")
    used = [spec[name] for spec in zrams for name in ("codec", "second")]
    if max(used + [zswap["codec"] if zswap else -1]) >= codecs:
        raise ValueError(f"contents have sizes for {codecs} codecs; another one is asked for")
    if codecs:
        first = &sizes[0, 0]
    contents_alloc(m, rows, codecs, first, &flags[0])
    for spec in zrams:
        conf = spec
        zram_add(m, &conf)
    if zswap is not None:
        codec = zswap["codec"]
        compress_ns = zswap["compress_ns"]
        decompress_ns = zswap["decompress_ns"]
        zswap_create(m, m.p.zswap_zbud != 0, codec, compress_ns, decompress_ns)
    return 0


cdef int set_content(machine_t *m, mm_t *mm, vma_t *vma, content) except -1:
    """What the pages of a region contain: (seed, first row, rows, whether a store changes it)."""
    cdef contents_t *c = <contents_t *> m.contents
    cdef uint64_t seed
    cdef uint32_t first, rows
    seed, first, rows, changes = content
    if c == NULL or rows == 0 or <uint64_t> first + rows >= c.nr_rows:
        raise ValueError(f"content rows {first} to {first + rows} are not among the contents")
    vma.content = contents_add_region(m, seed, first + 1, rows)
    if changes and mm.versions == NULL:
        mm.versions = <uint8_t *> calloc(mm.pt.npages, 1)
        if mm.versions == NULL:
            raise MemoryError("versions of pages")
    return 0


cdef int add_workers(machine_t *m) except -1:
    """Threads that shrink compressed memory, where there is something to shrink."""
    cdef thread_t *t
    cdef int i
    for i in range(m.nr_zrams + 1):
        if i == 0 and m.zswap == NULL:
            continue
        if i and zram_number(m, i).conf.backing < 0 and not zram_number(m, i).conf.recompress:
            continue
        t = sched_add_thread(m, THREAD_KWORKER, i)
        set_affinity(m, t, range(m.nr_cpus))
        if i:
            zram_number(m, i).thread = t.id
        else:
            zswap_of(m).thread = t.id
        sched_start(m, t)
    return 0


cdef int set_affinity(machine_t *m, thread_t *t, cpus) except -1:
    cdef int c, first = -1
    for c in sorted(cpus):
        if not 0 <= c < m.nr_cpus:
            raise ValueError(f"CPU {c} of {m.nr_cpus}")
        t.affinity[c >> 6] |= <uint64_t> 1 << (c & 63)
        if first < 0:
            first = c
    if first < 0:
        raise ValueError("no CPU is allowed")
    t.cpu = first
    t.nid = m.cpus[first].nid
    return 0


cdef dict zram_facts(zram_t *z):
    """mm_stat, io_stat and bd_stat: bytes and pages as the kernel gives them."""
    facts = dict(z.stat)
    facts["orig_data_size"] = facts.pop("pages_stored") * 4096
    facts["mem_used_max"] *= 4096
    return facts | {"mem_used_total": z.pool.base.pages * 4096, "mem_limit": z.conf.limit_pages * 4096,
                    "pages_compacted": z.pool.base.pages_compacted}


cdef dict zswap_facts(zswap_t *z):
    """The counters of debugfs, and the limits in pages."""
    return dict(z.stat) | {"pool_total_size": z.pool.pages * 4096, "max_pages": z.max_pages,
                           "accept_pages": z.accept_pages}


cdef dict swap_facts(machine_t *m):
    """Slots in total, free and per area; what zram and zswap say of themselves."""
    cdef int i
    areas = []
    for i in range(m.swap.nr_areas):
        areas.append({"slots": m.swap.areas[i].nslots, "used": m.swap.areas[i].inuse,
                      "priority": m.swap.areas[i].prio, "device": m.swap.areas[i].disk})
        if m.swap.areas[i].zram:
            areas[i]["zram"] = zram_facts(zram_number(m, m.swap.areas[i].zram))
    facts = {"total": m.swap.total, "free": m.swap.nr_free, "areas": areas}
    if m.zswap != NULL:
        facts["zswap"] = zswap_facts(zswap_of(m))
    return facts
