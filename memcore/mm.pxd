# One address space: VMAs over a flat range of pages, its page table, resident set, OOM adjustment.
from .pagetable cimport page_table_t
from .types cimport int32_t, int64_t, ns_t, uint8_t, uint32_t, uint64_t, vpn_t

cdef enum vma_flags:
    VM_FILE = 1 << 0
    VM_SHARED = 1 << 1
    VM_WRITE = 1 << 2
    VM_LOCKED = 1 << 3
    VM_SEQ_READ = 1 << 4
    VM_RAND_READ = 1 << 5
    VM_EXEC = 1 << 6
    VM_RECLAIM_MATTERS = (1 << 3) | (1 << 4) | (1 << 5) | (1 << 6)   # flags that reclaim must look at
    VM_UNMAPPED = 1 << 7         # after munmap: kept as a hole with its old kind, so MMAP can bring it back

ctypedef struct file_ra_t:       # readahead state of one open file (mm/readahead.c)
    uint64_t start
    uint32_t size
    uint32_t async_size
    int64_t prev_pos
    uint32_t mmap_miss

ctypedef struct vma_t:
    uint64_t start               # pages, [start, end)
    uint64_t end
    uint32_t flags
    uint32_t file
    uint64_t pgoff               # file page at `start`
    int32_t region               # index of the scenario's region
    int32_t policy               # mempolicy index, -1: the task's
    int32_t content              # what its pages contain (content.pxd), 0: unknown
    file_ra_t ra
    vpn_t swap_ra_last           # swap_readahead_info
    uint32_t swap_ra_win
    uint32_t swap_ra_hits

ctypedef struct mm_t:
    int32_t id
    bint alive
    page_table_t pt
    vma_t *vmas                  # sorted, not overlapping
    int32_t nr_vmas
    int32_t cap_vmas
    int32_t last_vma             # found last: most look-ups hit it
    int32_t family_next          # ring of address spaces related by fork
    uint32_t any_flags           # union over its VMAs; without VM_RECLAIM_MATTERS no VMA is looked up
    int32_t users                # threads
    int64_t rss_anon
    int64_t rss_file
    int64_t rss_shmem
    int64_t swapents
    int64_t locked_vm
    int64_t total_vm
    int64_t hiwater_rss
    int32_t oom_score_adj
    int32_t pid
    int32_t policy               # task-wide mempolicy index, -1: default
    uint32_t il_next             # interleave position
    uint64_t numa_scan_vpn
    int32_t numa_scan_seq        # times the scan went through the whole space
    ns_t numa_next_scan
    uint8_t *versions            # times each page was found written; NULL where contents do not change

cdef int mm_init(mm_t *mm, int id, uint64_t npages) except -1
cdef void mm_free(mm_t *mm) noexcept nogil
cdef int mm_add_vma(mm_t *mm, uint64_t pages, uint32_t flags, uint32_t file, uint64_t pgoff, int region) except -1
cdef vma_t *find_vma_slow(mm_t *mm, vpn_t vpn) noexcept nogil
cdef int vma_split(mm_t *mm, vpn_t at) noexcept nogil
cdef int mm_verify_vmas(const mm_t *mm) except -1


cdef inline vma_t *find_vma(mm_t *mm, vpn_t vpn) noexcept nogil:
    # the VMA that holds `vpn`, or NULL
    cdef vma_t *v = &mm.vmas[mm.last_vma]
    if mm.last_vma < mm.nr_vmas and v.start <= vpn < v.end and not v.flags & VM_UNMAPPED:
        return v
    return find_vma_slow(mm, vpn)


cdef inline void update_hiwater_rss(mm_t *mm) noexcept nogil:
    if mm.rss_anon + mm.rss_file > mm.hiwater_rss:
        mm.hiwater_rss = mm.rss_anon + mm.rss_file
