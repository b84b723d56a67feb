/* arena.h - region allocation: everything a compilation (or one layer) makes dies together.
 *
 * Allocation never returns NULL: running out of memory ends the program through
 * rsrc_out_of_memory(), which removes temporaries and exits 1. Sizes that come from files are
 * checked by their readers before they get here. An arena is not thread-safe; each worker owns one.
 */
#ifndef RSRC_BASE_ARENA_H
#define RSRC_BASE_ARENA_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

struct rsrc_arena_block;

struct rsrc_arena {
    struct rsrc_arena_block *blocks; /* newest first */
    size_t used_bytes;               /* handed out since init */
};

void rsrc_arena_init(struct rsrc_arena *arena);
void rsrc_arena_free(struct rsrc_arena *arena);

/* Zeroed memory. Requests of at least 64 bytes are aligned to 64 bytes, smaller ones to 16. */
void *rsrc_arena_alloc(struct rsrc_arena *arena, size_t size_bytes);
/* n * size_bytes, checked for overflow. */
void *rsrc_arena_array(struct rsrc_arena *arena, size_t n, size_t size_bytes);
/* Returns the array of n elements with room for one more. If the capacity is used up, it is a
 * larger copy, and the old array stays in the arena. An empty array begins as NULL with capacity
 * 0. */
void *rsrc_arena_grown(struct rsrc_arena *arena, void *array, uint32_t n, uint32_t *capacity,
                       size_t size_bytes);
char *rsrc_arena_strdup(struct rsrc_arena *arena, const char *text);
char *rsrc_arena_strndup(struct rsrc_arena *arena, const char *text, size_t n_bytes);
char *rsrc_arena_printf(struct rsrc_arena *arena, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The path of a file in a folder; the folder's path may end in a slash. */
char *rsrc_arena_join(struct rsrc_arena *arena, const char *folder, const char *name);

#define RSRC_NEW(arena, type) ((type *)rsrc_arena_alloc((arena), sizeof(type)))
#define RSRC_NEW_ARRAY(arena, n, type) ((type *)rsrc_arena_array((arena), (n), sizeof(type)))

_Noreturn void rsrc_out_of_memory(size_t size_bytes);

#endif
