/* A workspace keeps the memory block that was given back last. Taking and giving exchange it atomically, so any thread may do
 * either. */
#include "workspace.h"

#include <stdint.h>
#include <stdlib.h>

typedef struct {
    void *allocation;
    size_t bytes;
    char padding[64 - sizeof(void *) - sizeof(size_t)];
} Header; /* in the 64 bytes before the block */

Workspace shared_workspace;

static void release(Header *header)
{
    if (header) free(header->allocation);
}

static Header *exchange(Workspace *workspace, Header *header)
{
    return workspace ? atomic_exchange_pointer(&workspace->kept, header) : header;
}

static Header *block_of(Workspace *workspace, size_t bytes)
{
    Header *header = exchange(workspace, NULL);
    if (header && header->bytes >= bytes) return header;
    release(header);
    char *allocation = malloc(bytes + 2 * sizeof(Header));
    if (!allocation) return NULL;
    header = (Header *)(((uintptr_t)allocation + sizeof(Header) - 1) / sizeof(Header) * sizeof(Header));
    header->allocation = allocation;
    header->bytes = bytes;
    return header;
}

void *workspace_take(Workspace *workspace, int count, const size_t *sizes, void **parts)
{
    size_t bytes = 0;
    for (int n = 0; n < count; n++) {
        if (sizes[n] > PTRDIFF_MAX / 2 - bytes) return NULL;
        bytes += (sizes[n] + 63) / 64 * 64;
    }
    Header *header = block_of(workspace, bytes);
    if (!header) return NULL;
    char *next = (char *)(header + 1);
    for (int n = 0; n < count; n++) {
        parts[n] = next;
        next += (sizes[n] + 63) / 64 * 64;
    }
    return header + 1;
}

void workspace_give(Workspace *workspace, void *block)
{
    if (block) release(exchange(workspace, (Header *)block - 1));
}
