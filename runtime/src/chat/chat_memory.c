/* chat_memory.c - memory that is freed all at once, and strings in it; for chat templates and other
 * readers of JSON. */
#include <stdlib.h>
#include <string.h>

#include "chat_ast.h"

struct chat_block {
    struct chat_block *next;
};

bool chat_is_within(struct chat_arena *arena, size_t used, size_t n_bytes) {
    const bool within = n_bytes <= arena->limit && used <= arena->limit - n_bytes;
    arena->over_limit = arena->over_limit || !within;
    return within;
}

rsr_status chat_refuse_memory(const struct chat_arena *arena, rsr_error *err) {
    if (!arena->over_limit)
        return rsr_fail(err, RSR_ERR_MEMORY, "no memory for a chat template or its JSON");
    return rsr_fail(err, RSR_ERR_TEXT,
                    "the chat template needs more memory than the limit of %zu bytes",
                    arena->limit);
}

void *chat_alloc(struct chat_arena *arena, size_t n_bytes) {
    if (!chat_is_within(arena, arena->used, n_bytes))
        return NULL;
    struct chat_block *block = calloc(1, sizeof(*block) + n_bytes);
    if (!block)
        return NULL;
    block->next = arena->blocks;
    arena->blocks = block;
    arena->used += n_bytes + sizeof(*block);
    return block + 1;
}

void chat_arena_free(struct chat_arena *arena) {
    while (arena->blocks) {
        struct chat_block *next = arena->blocks->next;
        free(arena->blocks);
        arena->blocks = next;
    }
}

bool chat_equals(struct chat_string a, const char *b) {
    return a.size == strlen(b) && memcmp(a.data, b, a.size) == 0;
}

bool chat_same(struct chat_string a, struct chat_string b) {
    return a.size == b.size && memcmp(a.data, b.data, a.size) == 0;
}
