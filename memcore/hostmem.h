/* Large arrays of the engine: zeroed, committed by the host as they are touched, on huge pages where it
 * has them. Random access to millions of frames and PTEs is bound by the host's TLB otherwise.
 */
#ifndef MEMCORE_HOSTMEM_H
#define MEMCORE_HOSTMEM_H
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#define HOST_HUGE ((size_t)2 << 20)

/* NULL when the host has no memory; free with host_free() and the same size */
__attribute__((unused)) static void *host_zalloc(size_t size)
{
    char *p, *aligned;
    size_t head;
    if (size < 2 * HOST_HUGE)
        return calloc(1, size ? size : 1);
    p = (char *)mmap(NULL, size + HOST_HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                     -1, 0);
    if (p == (char *)MAP_FAILED)
        return NULL;
    aligned = (char *)(((uintptr_t)p + HOST_HUGE - 1) & ~(uintptr_t)(HOST_HUGE - 1));
    head = (size_t)(aligned - p);
    if (head)
        munmap(p, head);
    if (HOST_HUGE - head)
        munmap(aligned + size + ((4096 - (size & 4095)) & 4095), (HOST_HUGE - head) & ~(size_t)4095);
#ifdef MADV_HUGEPAGE
    madvise(aligned, size, MADV_HUGEPAGE);
#endif
    return aligned;
}

__attribute__((unused)) static void host_free(void *p, size_t size)
{
    if (!p)
        return;
    if (size < 2 * HOST_HUGE)
        free(p);
    else
        munmap(p, size);
}
#endif
