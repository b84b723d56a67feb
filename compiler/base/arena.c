/* arena.c - region allocation in blocks of at least 64 KiB; large requests get a block of their
 * own. */
#include "base/arena.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mapped_file.h"
#include "base/process.h"

#define BLOCK_BYTES ((size_t)64 << 10)

struct rsrc_arena_block {
    struct rsrc_arena_block *next;
    size_t capacity;
    size_t used;
    _Alignas(64) unsigned char data[];
};

_Noreturn void rsrc_out_of_memory(size_t size_bytes) {
    rsrc_remove_temporaries();
    fprintf(stderr, "%s: error: out of memory, %zu bytes more were wanted; -j 1 takes the least\n",
            rsrc_program(), size_bytes);
    exit(1);
}

void rsrc_arena_init(struct rsrc_arena *arena) {
    *arena = (struct rsrc_arena){0};
}

void rsrc_arena_free(struct rsrc_arena *arena) {
    for (struct rsrc_arena_block *block = arena->blocks, *next; block != NULL; block = next) {
        next = block->next;
        free(block);
    }
    *arena = (struct rsrc_arena){0};
}

static struct rsrc_arena_block *add_block(struct rsrc_arena *arena, size_t payload_bytes) {
    const size_t header = sizeof(struct rsrc_arena_block);
    if (payload_bytes > SIZE_MAX / 2 - header)
        rsrc_out_of_memory(payload_bytes);
    /* aligned_alloc wants a multiple of the alignment. */
    const size_t total = (header + payload_bytes + 63) & ~(size_t)63;
    struct rsrc_arena_block *block = aligned_alloc(64, total);
    if (block == NULL)
        rsrc_out_of_memory(total);
    block->capacity = total - header;
    block->used = 0;
    /* A block made for one large request goes after the open block in the list, so that the open
     * block keeps filling. */
    if (arena->blocks != NULL && payload_bytes > BLOCK_BYTES) {
        block->next = arena->blocks->next;
        arena->blocks->next = block;
    } else {
        block->next = arena->blocks;
        arena->blocks = block;
    }
    return block;
}

void *rsrc_arena_alloc(struct rsrc_arena *arena, size_t size_bytes) {
    if (size_bytes == 0)
        size_bytes = 1;
    const size_t align = size_bytes >= 64 ? 64 : 16;
    struct rsrc_arena_block *block = arena->blocks;
    size_t at = block == NULL ? 0 : (block->used + align - 1) & ~(align - 1);
    if (block == NULL || at > block->capacity || size_bytes > block->capacity - at) {
        block = add_block(arena, size_bytes > BLOCK_BYTES ? size_bytes : BLOCK_BYTES);
        at = 0;
    }
    void *memory = block->data + at;
    block->used = at + size_bytes;
    arena->used_bytes += size_bytes;
    return memset(memory, 0, size_bytes);
}

void *rsrc_arena_array(struct rsrc_arena *arena, size_t n, size_t size_bytes) {
    size_t total;
    if (__builtin_mul_overflow(n, size_bytes, &total))
        rsrc_out_of_memory(SIZE_MAX);
    return rsrc_arena_alloc(arena, total);
}

void *rsrc_arena_grown(struct rsrc_arena *arena, void *array, uint32_t n, uint32_t *capacity,
                       size_t size_bytes) {
    if (n < *capacity)
        return array;
    if (*capacity > UINT32_MAX / 2)
        rsrc_out_of_memory(SIZE_MAX);
    const uint32_t more = *capacity == 0 ? 64 : *capacity * 2;
    void *copy = rsrc_arena_array(arena, more, size_bytes);
    if (n != 0)
        memcpy(copy, array, n * size_bytes);
    *capacity = more;
    return copy;
}

char *rsrc_arena_strndup(struct rsrc_arena *arena, const char *text, size_t n_bytes) {
    char *copy = rsrc_arena_alloc(arena, n_bytes + 1);
    memcpy(copy, text, n_bytes);
    return copy;
}

char *rsrc_arena_strdup(struct rsrc_arena *arena, const char *text) {
    return rsrc_arena_strndup(arena, text, strlen(text));
}

char *rsrc_arena_printf(struct rsrc_arena *arena, const char *format, ...) {
    va_list args;
    va_start(args, format);
    char *text = NULL;
    if (vasprintf(&text, format, args) < 0)
        rsrc_out_of_memory(strlen(format));
    va_end(args);
    char *copy = rsrc_arena_strdup(arena, text);
    free(text);
    return copy;
}

char *rsrc_arena_join(struct rsrc_arena *arena, const char *folder, const char *name) {
    size_t n = strlen(folder);
    while (n != 0 && folder[n - 1] == '/')
        n--;
    return rsrc_arena_printf(arena, "%.*s/%s", (int)n, folder, name);
}
