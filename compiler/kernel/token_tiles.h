/* token_tiles.h - tokens in tiles of 1 to `most`, for kernels that have code for each of these
 * sizes.
 *
 * Tiles have `most` tokens; the last two share the rest evenly. So no tile is much smaller than the
 * others, because a tile of one token can take as long as a tile of two; and one more token never
 * takes less time.
 */
#ifndef RSRC_KERNEL_TOKEN_TILES_H
#define RSRC_KERNEL_TOKEN_TILES_H

#include "kernel/kernel_frame.h"

#define RSRC_MAX_TILE_TOKENS 6u

struct rsrc_token_tiles {
    struct rsrc_frame *frame;
    void *kernel; /* first argument of emit */
    /* The code of a tile of n_tokens tokens from register `token` on. */
    void (*emit)(void *kernel, uint32_t n_tokens, uint16_t token);
    uint16_t sizes[RSRC_MAX_TILE_TOKENS + 1]; /* registers, constants */
};

struct rsrc_token_tiles rsrc_begin_tiles(struct rsrc_frame *frame, void *kernel,
                                         void (*emit)(void *kernel, uint32_t n_tokens,
                                                      uint16_t token));
/* Returns a register: the number of tokens of the tile that begins at register `token`, where the
 * last tile ends at `end`. It is `most`, or half of the rest if the rest is less than two tiles.
 * Names end in `suffix`. */
uint16_t rsrc_tile_size(const struct rsrc_token_tiles *tiles, uint16_t token, uint16_t end,
                        uint32_t most, const char *suffix);
/* Emits a tile whose number of tokens is in register `size`: least .. most. */
void rsrc_emit_tile(const struct rsrc_token_tiles *tiles, uint16_t size, uint32_t least,
                    uint32_t most, uint16_t token);
/* Emits all tiles from register `next` on, and moves `next` to the end. At least `least` tokens are
 * left. */
void rsrc_loop_tiles(const struct rsrc_token_tiles *tiles, uint16_t next, uint16_t end,
                     uint32_t least, uint32_t most);

#endif
