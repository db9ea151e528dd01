# Stackful coroutines (see coro.h): what makes a simulated thread able to sleep anywhere.

cdef extern from "coro.h" nogil:
    ctypedef void (*coro_fn)(void *arg) noexcept nogil
    ctypedef struct coro_t:
        int finished
    int coro_init(coro_t *c, coro_fn fn, void *arg, size_t stack_size)
    void coro_enter(coro_t *c)       # run it until it leaves
    void coro_leave(coro_t *c)       # called by the coroutine itself
    void coro_free(coro_t *c)
