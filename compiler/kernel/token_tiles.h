/* token_tiles.h - tokens in tiles of 1 to `most`, for kernels that have code for each of these
 * sizes.
 *
 * Tiles are of `most` tokens; the last two share evenly what is left. So none is much smaller than
 * the others, and a token more never takes less: a tile of one token alone can take as long as one
 * of two.
 */
#ifndef RSRC_KERNEL_TOKEN_TILES_H
#define RSRC_KERNEL_TOKEN_TILES_H

#include "kernel/kernel_frame.h"

#define RSRC_MAX_TILE_TOKENS 6u

struct rsrc_token_tiles {
    struct rsrc_frame *frame;
    void *kernel; /* what emit gets */
    /* The code of a tile of n_tokens tokens from register `token` on. */
    void (*emit)(void *kernel, uint32_t n_tokens, uint16_t token);
    uint16_t sizes[RSRC_MAX_TILE_TOKENS + 1]; /* registers, constants */
};

struct rsrc_token_tiles rsrc_begin_tiles(struct rsrc_frame *frame, void *kernel,
                                         void (*emit)(void *kernel, uint32_t n_tokens,
                                                      uint16_t token));
/* A register: tokens of the tile that begins at register `token`, where `end` ends the last one:
 * `most`, or half of what is left where that is less than two tiles. Names end in `suffix`. */
uint16_t rsrc_tile_size(const struct rsrc_token_tiles *tiles, uint16_t token, uint16_t end,
                        uint32_t most, const char *suffix);
/* A tile of as many tokens as register `size` says: least .. most. */
void rsrc_emit_tile(const struct rsrc_token_tiles *tiles, uint16_t size, uint32_t least,
                    uint32_t most, uint16_t token);
/* All tiles from register `next` on, which moves to the end. No less than `least` tokens are
 * left. */
void rsrc_loop_tiles(const struct rsrc_token_tiles *tiles, uint16_t next, uint16_t end,
                     uint32_t least, uint32_t most);

#endif
