/* Counts what a process asks the C library's allocator for; to be preloaded (glibc). */
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

static atomic_ulong count;

#define PUBLIC __attribute__((visibility("default")))
PUBLIC unsigned long allocations(void) { return atomic_load(&count); }
PUBLIC void *malloc(size_t n) { return atomic_fetch_add(&count, 1), __libc_malloc(n); }
PUBLIC void *calloc(size_t n, size_t size) { return atomic_fetch_add(&count, 1), __libc_calloc(n, size); }
PUBLIC void *realloc(void *p, size_t n) { return atomic_fetch_add(&count, 1), __libc_realloc(p, n); }
PUBLIC void *aligned_alloc(size_t a, size_t n) { return atomic_fetch_add(&count, 1), __libc_memalign(a, n); }
PUBLIC int posix_memalign(void **p, size_t a, size_t n)
{
    atomic_fetch_add(&count, 1);
    *p = __libc_memalign(a, n);
    return *p ? 0 : ENOMEM;
}
