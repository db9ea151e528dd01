"""Pools of compressed pages for Python: with real bytes (`CompressedPool`) or sizes only (`PoolModel`).

Both use the allocators of the engine unchanged and act as the owner of their frames.  All methods hold the
interpreter lock except where the codec lets go of it, so a pool may be used by several threads.  `CompressedPool` backs
each frame by 4096 bytes of memory, so what it reports as pool memory is what it really holds (and up to 64
pages more, kept because giving memory back to the system and asking again costs more than compressing).
"""
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

from .clock cimport rng_next, rng_t
from .types cimport (KERNEL_6_1, KERNEL_6_12, MM_ENOMEM, MM_ENOSPC, MM_OK, PAGE_SIZE, int64_t, pfn_t, uint8_t,
                     uint16_t, uint32_t, uint64_t)
from .zbud cimport ZBUD_MAX_ALLOC, zbud_pool_free, zbud_pool_init, zbud_pool_t
from .zpool cimport zhandle_t, zplace_t, zpool_frames_t, zpool_t
from .zsmalloc cimport zs_can_compact, zs_class_for, zs_class_t, zs_pool_free, zs_pool_init, zs_pool_t

cdef enum:                       # entry_t.kind
    ENTRY_UNUSED = 0
    ENTRY_SAME = 1               # every 8-byte word equal: kept as that word
    ENTRY_COMPRESSED = 2
    ENTRY_HUGE = 3               # kept as it is: compressing gains nothing

cdef enum:
    MAX_SPARE = 64               # pages of memory a pool keeps at most beyond its frames

ctypedef struct entry_t:         # one stored page of a CompressedPool
    uint64_t value               # the word of a same-filled page; link of unused entries
    zhandle_t object
    uint8_t kind

ctypedef struct frame_source_t:  # hands out frame numbers from 1 up to a limit
    char **bytes                 # memory behind each frame; NULL if there is none
    pfn_t *unused                # stack of numbers given back
    uint32_t nr_unused
    uint32_t last                # highest number handed out so far
    uint32_t cap
    uint32_t held
    uint32_t limit               # most frames held at once
    uint32_t peak
    bint real
    uint32_t nr_spare            # memory of frames given back, kept for the next ones
    char *spare[MAX_SPARE]


# ---- frames -----------------------------------------------------------------------------------------------

cdef int source_get(void *ctx, pfn_t *out) noexcept nogil:
    cdef frame_source_t *f = <frame_source_t *> ctx
    cdef uint32_t cap
    cdef void *grown
    cdef char *page = NULL
    if f.held >= f.limit:
        return MM_ENOMEM
    if f.nr_unused == 0 and f.last + 1 >= f.cap:
        cap = f.cap + (f.cap >> 1) + 64
        grown = realloc(f.unused, cap * sizeof(pfn_t))
        if grown == NULL:
            return MM_ENOMEM
        f.unused = <pfn_t *> grown
        if f.real:
            grown = realloc(f.bytes, cap * sizeof(char *))
            if grown == NULL:
                return MM_ENOMEM
            f.bytes = <char **> grown
        f.cap = cap
    if f.real:
        if f.nr_spare:
            f.nr_spare -= 1
            page = f.spare[f.nr_spare]
        else:
            page = <char *> malloc(PAGE_SIZE)
            if page == NULL:
                return MM_ENOMEM
    if f.nr_unused:
        f.nr_unused -= 1
        out[0] = f.unused[f.nr_unused]
    else:
        f.last += 1
        out[0] = f.last
    if f.real:
        f.bytes[out[0]] = page
    f.held += 1
    if f.held > f.peak:
        f.peak = f.held
    return MM_OK


cdef void source_put(void *ctx, pfn_t pfn) noexcept nogil:
    cdef frame_source_t *f = <frame_source_t *> ctx
    if f.real:
        if f.nr_spare < MAX_SPARE:
            f.spare[f.nr_spare] = f.bytes[pfn]
            f.nr_spare += 1
        else:
            free(f.bytes[pfn])
        f.bytes[pfn] = NULL
    f.unused[f.nr_unused] = pfn
    f.nr_unused += 1
    f.held -= 1


cdef inline void place_read(const frame_source_t *f, const zplace_t *at, char *out, uint32_t n) noexcept nogil:
    if n <= at.bytes_first:
        memcpy(out, f.bytes[at.first] + at.offset, n)
    else:
        memcpy(out, f.bytes[at.first] + at.offset, at.bytes_first)
        memcpy(out + at.bytes_first, f.bytes[at.second], n - at.bytes_first)


cdef inline void place_write(const frame_source_t *f, const zplace_t *at, const char *data,
                             uint32_t n) noexcept nogil:
    if n <= at.bytes_first:
        memcpy(f.bytes[at.first] + at.offset, data, n)
    else:
        memcpy(f.bytes[at.first] + at.offset, data, at.bytes_first)
        memcpy(f.bytes[at.second], data + at.bytes_first, n - at.bytes_first)


cdef void source_move(void *ctx, const zplace_t *src, const zplace_t *dst) noexcept nogil:
    cdef frame_source_t *f = <frame_source_t *> ctx
    cdef char buffer[PAGE_SIZE]
    place_read(f, src, buffer, src.bytes)
    place_write(f, dst, buffer, dst.bytes)


# ---- what both pools share --------------------------------------------------------------------------------

cdef class _Pool:
    """An allocator, the frames it uses, and what can be said about them."""

    cdef zpool_t *pool
    cdef zs_pool_t zs
    cdef zbud_pool_t zbud
    cdef frame_source_t frames
    cdef readonly str allocator
    cdef readonly str kernel

    cdef int open(self, str allocator, int chain, kernel, max_pages, bint real) except -1:
        """Checks the parameters once and makes the allocator."""
        cdef zpool_frames_t frames
        if kernel is None:
            kernel = "6.1" if chain == 4 or allocator == "zbud" else "6.12"
        if kernel not in ("6.1", "6.12"):
            raise ValueError(f"kernel {kernel!r}: must be '6.1' or '6.12'")
        if allocator not in ("zsmalloc", "zbud"):
            raise ValueError(f"allocator {allocator!r}: must be 'zsmalloc' or 'zbud'")
        if max_pages is not None and not 0 <= max_pages < 1 << 32:
            raise ValueError(f"limit of {max_pages} pages: must lie in 0..{(1 << 32) - 1}")
        self.allocator = allocator
        self.kernel = kernel
        self.frames.real = real
        self.frames.limit = <uint32_t> ((1 << 32) - 1 if max_pages is None else max_pages)
        frames.ctx = &self.frames
        frames.get = source_get
        frames.put = source_put
        frames.move = NULL
        if real:
            frames.move = source_move
        if allocator == "zbud":
            zbud_pool_init(&self.zbud, &frames)
            self.pool = &self.zbud.base
        else:
            zs_pool_init(&self.zs, KERNEL_6_1 if kernel == "6.1" else KERNEL_6_12, chain, &frames)
            self.pool = &self.zs.base
        return 0

    def __dealloc__(self):
        if self.pool == &self.zs.base:
            zs_pool_free(&self.zs)
        elif self.pool != NULL:
            zbud_pool_free(&self.zbud)
        while self.frames.nr_spare:
            self.frames.nr_spare -= 1
            free(self.frames.spare[self.frames.nr_spare])
        free(self.frames.bytes)
        free(self.frames.unused)

    cdef int need_open(self) except -1:
        if self.pool == NULL:
            raise ValueError(f"{type(self).__name__} was not initialised")
        return 0

    def compact(self):
        """Move objects together; returns the number of frames given back (zbud cannot: 0)."""
        self.need_open()
        return self.pool.ops.compact(self.pool)

    def freeable(self):
        """Frames that `compact` would give back now."""
        self.need_open()
        return self.pool.ops.shrink_count(self.pool)

    def verify(self):
        """Check all invariants of the allocator; AssertionError names what is broken."""
        self.need_open()
        self.pool.ops.verify(self.pool)
        if self.pool.pages != self.frames.held:
            raise AssertionError(f"the allocator counts {self.pool.pages} frames, {self.frames.held} are out")

    @property
    def max_pages(self):
        """Most frames the pool may hold; lowering it below what is held only refuses new ones."""
        return self.frames.limit

    @max_pages.setter
    def max_pages(self, value):
        if not 0 <= value < 1 << 32:
            raise ValueError(f"limit of {value} pages: must lie in 0..{(1 << 32) - 1}")
        self.frames.limit = value

    @property
    def pages(self):
        """Frames held now."""
        self.need_open()
        return self.pool.pages

    @property
    def objects(self):
        """Objects stored in frames now."""
        self.need_open()
        return self.pool.objects

    @property
    def max_size(self):
        """Longest object the allocator takes, in bytes."""
        self.need_open()
        return self.pool.ops.max_size

    @property
    def huge_class_size(self):
        """Objects of this many bytes or more take a whole page."""
        self.need_open()
        return self.zs.huge_class_size if self.pool == &self.zs.base else ZBUD_MAX_ALLOC + 1

    def size_classes(self):
        """One dict per size class of zsmalloc, largest first; an empty list for zbud.

        Keys: `size` (bytes of a slot, the 8 bytes of the handle included), `chain` (frames per zspage),
        `objects_per_zspage`, `zspages` (count per fullness group), `allocated` and `used` (slots), `pages`,
        `freeable` (frames compaction would give back), `fragmentation` (share of slots that are empty).
        """
        cdef uint32_t i, g
        cdef zs_class_t *c
        self.need_open()
        out = []
        for i in range(self.zs.nr_classes):
            c = &self.zs.classes[i]
            out.append({
                "size": c.size, "chain": c.chain, "objects_per_zspage": c.objs,
                "zspages": [c.count[g] for g in range(c.full + 1)],
                "allocated": c.objs_allocated, "used": c.objs_inuse,
                "pages": c.objs_allocated // c.objs * c.chain, "freeable": zs_can_compact(c),
                "fragmentation": 1.0 - <double> c.objs_inuse / <double> c.objs_allocated if c.objs_allocated else 0.0,
            })
        return out

    def size_class(self, int size):
        """Bytes of the slot that an object of `size` bytes gets. ValueError if it cannot be stored."""
        self.need_open()
        if not 0 < size <= <int> self.pool.ops.max_size:
            raise ValueError(f"object of {size} bytes: {self.allocator} takes 1..{self.pool.ops.max_size}")
        if self.pool == &self.zs.base:
            return zs_class_for(&self.zs, size).size
        return (size + 63) // 64 * 64


cdef uint64_t churn_loop(zpool_t *pool, const uint16_t *sizes, zhandle_t *live, uint64_t n, uint64_t cycles,
                         uint64_t seed) noexcept nogil:
    cdef rng_t rng = rng_t(state=seed)
    cdef uint64_t _, z, i, stored = 0
    for _ in range(cycles):
        z = rng_next(&rng)
        i = (z >> 32) * n >> 32
        pool.ops.release(pool, live[i])
        live[i] = 0
        stored += pool.ops.alloc(pool, sizes[(z & <uint64_t> 0xffffffff) * n >> 32], &live[i]) == MM_OK
    return stored


cdef class PoolModel(_Pool):
    """Allocator without bytes: what a pool would hold if objects of these sizes came and went."""

    def __init__(self, *, str allocator="zsmalloc", int chain=8, kernel=None, max_pages=None):
        """Make an empty pool.

        Parameters
        ----------
        allocator
            "zsmalloc" or "zbud".
        chain
            Most frames per zspage, 4..16 (CONFIG_ZSMALLOC_CHAIN_SIZE).
        kernel
            "6.1" or "6.12"; None takes 6.1 for a chain of 4 and for zbud.
        max_pages
            Most frames the pool may hold; None: no limit.

        Raises
        ------
        ValueError
            A parameter out of its range.

        """
        if self.pool != NULL:
            raise ValueError("a pool is initialised once")
        self.open(allocator, chain, kernel, max_pages, False)

    def alloc(self, int size):
        """Store an object; returns its handle (> 0), or 0 if no frame was to be had, nothing changed.

        Raises ValueError for a size that cannot be stored.
        """
        cdef zhandle_t h = 0
        self.need_open()
        if size <= 0 or self.pool.ops.alloc(self.pool, size, &h) == MM_ENOSPC:
            raise ValueError(f"object of {size} bytes: {self.allocator} takes 1..{self.pool.ops.max_size}")
        return h

    def size_of(self, unsigned int handle):
        """Length of a stored object, 0 if the handle names none."""
        self.need_open()
        return self.pool.ops.size_of(self.pool, handle)

    def place_of(self, unsigned int handle):
        """(first frame, offset in it, second frame or 0, bytes of room) of a stored object."""
        cdef zplace_t at
        self.need_open()
        if self.pool.ops.size_of(self.pool, handle) == 0:
            raise KeyError(handle)
        self.pool.ops.locate(self.pool, handle, &at)
        return at.first, at.offset, at.second, at.bytes

    def free(self, unsigned int handle):
        """Forget an object. KeyError for a handle that names none."""
        self.need_open()
        if self.pool.ops.size_of(self.pool, handle) == 0:
            raise KeyError(handle)
        self.pool.ops.release(self.pool, handle)

    def fill(self, const uint16_t[::1] sizes):
        """Store one object per size (uint16 array); sizes of 0 are skipped, ones too long counted.

        Returns
        -------
        tuple of int
            (stored, too long for the allocator, refused for want of a frame).

        """
        cdef Py_ssize_t i
        cdef uint64_t stored = 0, rejected = 0, failed = 0
        cdef zhandle_t h
        cdef int rc
        self.need_open()
        for i in range(sizes.shape[0]):
            if sizes[i] == 0:
                continue
            rc = self.pool.ops.alloc(self.pool, sizes[i], &h)
            stored += rc == MM_OK
            rejected += rc == MM_ENOSPC
            failed += rc == MM_ENOMEM
        return stored, rejected, failed

    def churn(self, const uint16_t[::1] sizes, uint64_t cycles, uint64_t seed=0):
        """Replace random objects: the loop of the benchmark, without Python inside.

        Stores one object per size, then `cycles` times frees one at random and stores another whose size is
        again drawn from `sizes`; returns how many of these stores found a frame. All objects are freed
        at the end.
        """
        cdef Py_ssize_t n = sizes.shape[0], i
        cdef uint64_t stored
        cdef zhandle_t *live
        self.need_open()
        if n == 0:
            raise ValueError("churn needs at least one size")
        live = <zhandle_t *> calloc(n, sizeof(zhandle_t))
        if live == NULL:
            raise MemoryError(f"{n} handles")
        for i in range(n):
            self.pool.ops.alloc(self.pool, sizes[i], &live[i])
        stored = churn_loop(self.pool, &sizes[0], live, <uint64_t> n, cycles, seed)
        for i in range(n):
            self.pool.ops.release(self.pool, live[i])
        free(live)
        return stored

    def stats(self):
        """Counters of the pool: `objects`, `bytes`, `pages`, `pages_compacted`, `peak_pages`."""
        self.need_open()
        return {"objects": self.pool.objects, "bytes": self.pool.bytes, "pages": self.pool.pages,
                "pages_compacted": self.pool.pages_compacted, "peak_pages": self.frames.peak}


# ---- the pool with bytes ----------------------------------------------------------------------------------

cdef inline bint same_filled(const char *page) noexcept nogil:
    # comparing the page with itself one word further on is one pass of memcmp, over after one line mostly
    return memcmp(page, page + 8, PAGE_SIZE - 8) == 0


cdef class CompressedPool(_Pool):
    """Pages of 4096 real bytes, compressed by a codec into an allocator's frames."""

    cdef readonly object codec
    cdef object compress
    cdef object decompress
    cdef entry_t *entries            # from 1
    cdef uint32_t nr_entries
    cdef uint32_t cap_entries
    cdef uint32_t unused_entry
    cdef uint64_t counts[4]          # by kind

    def __init__(self, codec, *, str allocator="zsmalloc", int chain=8, kernel=None, max_bytes=None):
        """Make an empty pool.

        Parameters
        ----------
        codec
            Object with `name`, `compress(page) -> bytes` and `decompress(data, size) -> bytes`.
        allocator, chain, kernel
            As for `PoolModel`.
        max_bytes
            Limit on the memory of the pool, rounded down to frames; None: no limit.

        Raises
        ------
        ValueError
            A parameter out of its range.

        """
        if self.pool != NULL:
            raise ValueError("a pool is initialised once")
        if max_bytes is not None and max_bytes < 0:
            raise ValueError(f"max_bytes={max_bytes}: must not be negative")
        self.open(allocator, chain, kernel, None if max_bytes is None else max_bytes // PAGE_SIZE, True)
        self.codec = codec
        self.compress = codec.compress
        self.decompress = codec.decompress

    def __dealloc__(self):
        free(self.entries)

    cdef int reserve_entry(self) except -1:
        cdef uint32_t cap
        cdef void *grown
        if self.unused_entry == 0 and self.nr_entries + 1 >= self.cap_entries:
            cap = self.cap_entries + (self.cap_entries >> 1) + 64
            grown = realloc(self.entries, cap * sizeof(entry_t))
            if grown == NULL:
                raise MemoryError(f"{cap} pool entries")
            self.entries = <entry_t *> grown
            self.cap_entries = cap
        return 0

    cdef uint32_t take_entry(self, uint8_t kind, zhandle_t object, uint64_t value) noexcept:
        cdef uint32_t e = self.unused_entry
        if e:
            self.unused_entry = <uint32_t> self.entries[e].value
        else:
            self.nr_entries += 1
            e = self.nr_entries
        self.entries[e] = entry_t(value=value, object=object, kind=kind)
        self.counts[kind] += 1
        return e

    cdef entry_t *entry(self, handle) except NULL:
        cdef int64_t h = handle
        if h <= 0 or h > <int64_t> self.nr_entries or self.entries[h].kind == ENTRY_UNUSED:
            raise KeyError(handle)
        return &self.entries[h]

    def store(self, page):
        """Compress and keep one page; returns its handle.

        A page whose 8-byte words are all equal needs no memory; one that compresses to `huge_class_size` or
        more is kept as it is.  A failed store changes nothing.

        Raises
        ------
        ValueError
            `page` is not 4096 bytes long, or zbud cannot hold what it compresses to.
        MemoryError
            `max_bytes` is reached.
        CodecError
            From the codec, unchanged.

        """
        cdef Py_buffer view
        self.need_open()
        PyObject_GetBuffer(page, &view, PyBUF_SIMPLE)
        try:
            if view.len != PAGE_SIZE:
                raise ValueError(f"a page has {PAGE_SIZE} bytes, not {view.len}")
            if same_filled(<const char *> view.buf):
                self.reserve_entry()
                return self.take_entry(ENTRY_SAME, 0, (<uint64_t *> view.buf)[0])
            return self.store_bytes(page, <const char *> view.buf)
        finally:
            PyBuffer_Release(&view)

    cdef object store_bytes(self, object page, const char *raw):
        cdef bytes out = self.compress(page)
        cdef const char *data = PyBytes_AS_STRING(out)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(out)
        cdef uint8_t kind = ENTRY_COMPRESSED
        cdef zhandle_t h = 0
        cdef zplace_t at
        cdef int rc
        if self.pool == &self.zs.base and size >= <Py_ssize_t> self.zs.huge_class_size:
            kind, data, size = ENTRY_HUGE, raw, PAGE_SIZE
        self.reserve_entry()     # only now: the codec may let other threads run
        rc = self.pool.ops.alloc(self.pool, <uint32_t> size, &h) if size <= PAGE_SIZE else MM_ENOSPC
        if rc == MM_ENOSPC:
            raise ValueError(f"the page compresses to {size} bytes, {self.allocator} takes at most "
                             f"{self.pool.ops.max_size}")
        if rc != MM_OK:
            raise MemoryError(f"no frame for {size} bytes: the pool holds {self.pool.pages * PAGE_SIZE} bytes of "
                              f"{<uint64_t> self.frames.limit * PAGE_SIZE} allowed")
        self.pool.ops.locate(self.pool, h, &at)
        place_write(&self.frames, &at, data, <uint32_t> size)
        return self.take_entry(kind, h, 0)

    def load(self, handle):
        """The 4096 bytes of a stored page, which stays stored. KeyError for a handle that names none."""
        cdef entry_t *e = self.entry(handle)
        cdef zplace_t at
        cdef uint32_t size, i
        cdef bytes out, page
        cdef uint64_t *words
        if e.kind == ENTRY_SAME:
            out = PyBytes_FromStringAndSize(NULL, PAGE_SIZE)
            words = <uint64_t *> PyBytes_AS_STRING(out)
            for i in range(PAGE_SIZE // 8):
                words[i] = e.value
            return out
        size = self.pool.ops.size_of(self.pool, e.object)
        self.pool.ops.locate(self.pool, e.object, &at)
        out = PyBytes_FromStringAndSize(NULL, size)
        place_read(&self.frames, &at, PyBytes_AS_STRING(out), size)
        if e.kind == ENTRY_HUGE:
            return out
        page = self.decompress(out, PAGE_SIZE)
        if PyBytes_GET_SIZE(page) != PAGE_SIZE:
            raise ValueError(f"codec returned {PyBytes_GET_SIZE(page)} bytes for a page of {PAGE_SIZE}")
        return page

    def free(self, handle):
        """Forget a page. KeyError for a handle that names none."""
        cdef entry_t *e = self.entry(handle)
        self.counts[e.kind] -= 1
        self.pool.ops.release(self.pool, e.object)
        memset(e, 0, sizeof(entry_t))
        e.value = self.unused_entry
        self.unused_entry = handle

    def __len__(self):
        return self.counts[ENTRY_SAME] + self.counts[ENTRY_COMPRESSED] + self.counts[ENTRY_HUGE]

    def __contains__(self, handle):
        cdef int64_t h = handle
        return 0 < h <= <int64_t> self.nr_entries and self.entries[h].kind != ENTRY_UNUSED

    def stats(self):
        """What is stored and what it takes, as a dict.

        `pages` stored, of them `same_filled` and `huge`; `original_bytes`; `compressed_bytes` (objects as
        stored); `pool_bytes` and `peak_pool_bytes` (frames); `ratio` (original to pool bytes, inf if only
        same-filled pages are stored, nan if nothing is); `pages_compacted`; `classes` (see `size_classes`,
        only those in use).
        """
        cdef uint64_t stored = len(self)
        self.need_open()
        original = stored * PAGE_SIZE
        held = self.pool.pages * PAGE_SIZE
        return {
            "pages": stored, "same_filled": self.counts[ENTRY_SAME], "huge": self.counts[ENTRY_HUGE],
            "original_bytes": original, "compressed_bytes": self.pool.bytes, "pool_bytes": held,
            "peak_pool_bytes": <uint64_t> self.frames.peak * PAGE_SIZE,
            "ratio": original / held if held else float("inf" if stored else "nan"),
            "pages_compacted": self.pool.pages_compacted,
            "classes": [c for c in self.size_classes() if c["allocated"]],
        }
