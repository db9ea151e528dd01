# Metadata of one physical frame: 32 bytes, two to a cache line.
from .types cimport memcg_id_t, uint16_t, uint32_t, uint8_t

cdef enum:                       # page_t.flags; the kernel's names
    PG_LRU = 1 << 0              # on an LRU list; `lru` is its place there
    PG_ACTIVE = 1 << 1
    PG_REFERENCED = 1 << 2
    PG_WORKINGSET = 1 << 3
    PG_SWAPBACKED = 1 << 4       # belongs to the anon LRU lists
    PG_ANON = 1 << 5             # owner is an address space, not a file
    PG_SWAPCACHE = 1 << 6        # `swap` holds its slot
    PG_DIRTY = 1 << 7
    PG_WRITEBACK = 1 << 8
    PG_RECLAIM = 1 << 9          # rotate to the inactive tail when writeback ends
    PG_LOCKED = 1 << 10          # a read is filling it
    PG_READAHEAD = 1 << 11
    PG_UNEVICTABLE = 1 << 12
    PG_MLOCKED = 1 << 13
    PG_BUDDY = 1 << 14           # head of a free block of `order`
    PG_KERNEL = 1 << 15          # page table, slab, pool: not on any LRU
    PG_EXCLUSIVE = 1 << 16       # anon, mapped by its owner alone: may be written in place
    PG_ISOLATED = 1 << 17        # taken off the LRU by reclaim or compaction, which also holds free frames
    PG_ORPHAN = 1 << 18          # last user gone while locked, isolated or under writeback
    PG_PCP = 1 << 19             # free, in a per-CPU list
    PG_MAPPEDFILE = 1 << 20      # file page counted in nr_mapped
    PG_HELD = 1 << 21            # metadata whose buffers a file system holds: cannot be released
    PG_UNCACHED = 1 << 22        # was read in by readahead and not used yet
    PG_PRIVATE = 1 << 24         # has a buffer head
    PG_LRU_BATCH = 1 << 25       # still in a CPU's batch on the way to its LRU list: only that CPU can isolate it
    PG_MIGRATETYPE = 3 << 26     # of the list in which the free block it heads is
    PG_MIGRATETYPE_SHIFT = 26
    PG_TIMED = 1 << 23           # `aux` is the hint scan time (ms), not a waiter

ctypedef struct page_t:
    uint32_t flags
    uint16_t mapcount            # PTEs that map it
    uint8_t zone                 # index into machine zones
    uint8_t order                # of the free block it heads
    uint32_t owner               # anon: mm id; file: file id; kernel: purpose
    uint32_t index               # anon: vpn; file: page of the file
    uint32_t swap                # slot, while in swap cache; free list link while free
    uint32_t lru                 # place in its LRU ring; free list back link while free
    uint32_t aux                 # first thread that waits for it; NUMA scan time
    memcg_id_t memcg
    uint8_t mlock_count          # locked VMAs; unless mlocked, node of the last NUMA hint + 1
    uint8_t pins                 # users that must not lose it (a fault waiting for its read)
