/* Stackful coroutines: a simulated thread (task, kswapd, flusher) is one, so kernel code that sleeps in
 * the middle of a fault or of a reclaim pass is written straight down, as the kernel writes it.
 *
 * Only the scheduler switches: coro_enter() runs a coroutine until it calls coro_leave(). A switch saves
 * the callee-saved registers and the stack pointer (some 2 ns); platforms without an assembly version use
 * ucontext. Stacks are mapped on demand with an inaccessible page below them.
 */
#ifndef MEMCORE_CORO_H
#define MEMCORE_CORO_H
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#if defined(__SANITIZE_ADDRESS__)
#define CORO_ASAN 1
void __sanitizer_start_switch_fiber(void **save, const void *bottom, size_t size);
void __sanitizer_finish_switch_fiber(void *save, const void **bottom_old, size_t *size_old);
void __asan_unpoison_memory_region(void const volatile *addr, size_t size);
#endif

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

typedef void (*coro_fn)(void *arg);

typedef struct coro {
#if defined(__x86_64__)
    void *sp;            /* saved stack pointer of the coroutine while it is not running */
    void *host_sp;       /* saved stack pointer of whoever entered it */
#else
    ucontext_t ctx, host;
#endif
    char *map;           /* mapping: guard page + stack */
    size_t map_size;
    coro_fn fn;
    void *arg;
    int finished;
#ifdef CORO_ASAN
    void *fake_self, *fake_host;
    const void *host_bottom;
    size_t host_size;
#endif
} coro_t;

#define CORO_GUARD 4096u

#if defined(__x86_64__)
__attribute__((naked, noinline, unused)) static void coro_swap(void **save_sp, void *load_sp)
{
    __asm__ volatile(
        "pushq %rbp\n\tpushq %rbx\n\tpushq %r12\n\tpushq %r13\n\tpushq %r14\n\tpushq %r15\n\t"
        "movq %rsp, (%rdi)\n\t"
        "movq %rsi, %rsp\n\t"
        "popq %r15\n\tpopq %r14\n\tpopq %r13\n\tpopq %r12\n\tpopq %rbx\n\tpopq %rbp\n\t"
        "ret");
}
#endif

static inline void coro_leave(coro_t *c)
{
#ifdef CORO_ASAN
    __sanitizer_start_switch_fiber(c->finished ? NULL : &c->fake_self, c->host_bottom, c->host_size);
#endif
#if defined(__x86_64__)
    coro_swap(&c->sp, c->host_sp);
#else
    swapcontext(&c->ctx, &c->host);
#endif
#ifdef CORO_ASAN
    __sanitizer_finish_switch_fiber(c->fake_self, &c->host_bottom, &c->host_size);
#endif
}

static inline void coro_enter(coro_t *c)
{
#ifdef CORO_ASAN
    __sanitizer_start_switch_fiber(&c->fake_host, c->map + CORO_GUARD, c->map_size - CORO_GUARD);
#endif
#if defined(__x86_64__)
    coro_swap(&c->host_sp, c->sp);
#else
    swapcontext(&c->host, &c->ctx);
#endif
#ifdef CORO_ASAN
    __sanitizer_finish_switch_fiber(c->fake_host, NULL, NULL);
#endif
}

#if defined(__x86_64__)
__attribute__((unused)) static void coro_main(coro_t *c)
{
#else
__attribute__((unused)) static void coro_main(uint32_t hi, uint32_t lo)
{
    coro_t *c = (coro_t *)(((uintptr_t)hi << 32) | lo);
#endif
#ifdef CORO_ASAN
    __sanitizer_finish_switch_fiber(NULL, &c->host_bottom, &c->host_size);
#endif
    c->fn(c->arg);
    c->finished = 1;
    for (;;)
        coro_leave(c);
}

#if defined(__x86_64__)
__attribute__((naked, noinline, unused)) static void coro_boot(void)
{
    /* rbx holds the coroutine; the stack is aligned as after a call */
    __asm__ volatile("movq %rbx, %rdi\n\tcallq *%r12\n\tud2");
}
#endif

/* 0, or -1 when no stack could be mapped */
__attribute__((unused)) static int coro_init(coro_t *c, coro_fn fn, void *arg, size_t stack_size)
{
    memset(c, 0, sizeof(*c));
    c->map_size = stack_size + CORO_GUARD;
    c->map = (char *)mmap(NULL, c->map_size, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (c->map == (char *)MAP_FAILED) {
        c->map = NULL;
        return -1;
    }
    mprotect(c->map, CORO_GUARD, PROT_NONE);
    c->fn = fn;
    c->arg = arg;
#if defined(__x86_64__)
    void **sp = (void **)(c->map + c->map_size);
    *--sp = 0;                          /* keeps the stack 16-byte aligned inside coro_boot */
    *--sp = 0;
    *--sp = (void *)coro_boot;          /* return address of the first coro_swap */
    *--sp = 0;                          /* rbp */
    *--sp = (void *)c;                  /* rbx */
    *--sp = (void *)coro_main;          /* r12 */
    *--sp = 0;                          /* r13 */
    *--sp = 0;                          /* r14 */
    *--sp = 0;                          /* r15 */
    c->sp = sp;
#else
    getcontext(&c->ctx);
    c->ctx.uc_stack.ss_sp = c->map + CORO_GUARD;
    c->ctx.uc_stack.ss_size = stack_size;
    c->ctx.uc_link = NULL;
    makecontext(&c->ctx, (void (*)(void))coro_main, 2, (uint32_t)((uintptr_t)c >> 32), (uint32_t)(uintptr_t)c);
#endif
    return 0;
}

__attribute__((unused)) static void coro_free(coro_t *c)
{
#ifdef CORO_ASAN
    /* frames of a coroutine that never returned are still marked: whoever is mapped here next must not inherit that */
    if (c->map)
        __asan_unpoison_memory_region(c->map, c->map_size);
#endif
    if (c->map)
        munmap(c->map, c->map_size);
    c->map = NULL;
}
#endif
