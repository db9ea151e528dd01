/* Checks that vanish in release builds. MM_DEBUG is set by the build, never here. */
#ifndef MEMCORE_DEBUG_H
#define MEMCORE_DEBUG_H
#include <stdio.h>
#include <stdlib.h>

#ifdef MM_DEBUG
#define MM_BUG_ON(cond)                                                        \
    do {                                                                       \
        if (cond) {                                                            \
            fprintf(stderr, "MM_BUG_ON(%s) at %s:%d\n", #cond, __FILE__, __LINE__); \
            abort();                                                           \
        }                                                                      \
    } while (0)
#define MM_DEBUG_ENABLED 1
#else
#define MM_BUG_ON(cond) ((void)0)
#define MM_DEBUG_ENABLED 0
#endif

/* The host itself ran out of memory: nothing sensible can follow. */
static inline void mm_host_oom(const char *what)
{
    fprintf(stderr, "memcore: the host has no memory for %s\n", what);
    abort();
}

#define mm_clz(x) __builtin_clzll(x)
#define mm_likely(x) __builtin_expect(!!(x), 1)
#define mm_unlikely(x) __builtin_expect(!!(x), 0)
/* GCC takes a function that only reads and prefetches for a pure one and drops the calls of it, for they
 * return nothing: the empty asm is the side effect that keeps them. */
#define mm_prefetchw(p) do { __builtin_prefetch((p), 1, 3); __asm__ volatile(""); } while (0)
#endif
