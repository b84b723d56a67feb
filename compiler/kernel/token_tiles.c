/* token_tiles.c - see token_tiles.h. */
#include "kernel/token_tiles.h"

struct rsrc_token_tiles rsrc_begin_tiles(struct rsrc_frame *frame, void *kernel,
                                         void (*emit)(void *kernel, uint32_t n_tokens,
                                                      uint16_t token)) {
    struct rsrc_token_tiles tiles = {.frame = frame, .kernel = kernel, .emit = emit};
    for (uint32_t n = 1; n <= RSRC_MAX_TILE_TOKENS; n++)
        tiles.sizes[n] = rsrc_kb_index_const(&frame->kb, n, "tile_of%u", n);
    return tiles;
}

uint16_t rsrc_tile_size(const struct rsrc_token_tiles *tiles, uint16_t token, uint16_t end,
                        uint32_t most, const char *suffix) {
    struct rsrc_kb *kb = &tiles->frame->kb;
    const uint16_t size = rsrc_kb_index_op(kb, RSR_KOP_SUB, end, token, "tile_size%s", suffix);
    rsrc_kb_if_less(kb, tiles->sizes[most], size);
    const uint16_t half =
        rsrc_kb_index_op(kb, RSR_KOP_ADD, size, tiles->frame->one, "tile_half%s", suffix);
    rsrc_kb_immediate(kb, RSR_KOP_SHR, half, half, 1);
    rsrc_kb_binary(kb, RSR_KOP_MIN, size, half, tiles->sizes[most]);
    rsrc_kb_end(kb);
    return size;
}

void rsrc_emit_tile(const struct rsrc_token_tiles *tiles, uint16_t size, uint32_t least,
                    uint32_t most, uint16_t token) {
    struct rsrc_kb *kb = &tiles->frame->kb;
    if (least == most) {
        tiles->emit(tiles->kernel, least, token);
        return;
    }
    const uint32_t middle = (least + most + 1) / 2;
    rsrc_kb_if_less(kb, size, tiles->sizes[middle]);
    rsrc_emit_tile(tiles, size, least, middle - 1, token);
    rsrc_kb_else(kb);
    rsrc_emit_tile(tiles, size, middle, most, token);
    rsrc_kb_end(kb);
}

/* The loop counts tiles. Their number is as if all tiles except the last had `most` tokens. */
void rsrc_loop_tiles(const struct rsrc_token_tiles *tiles, uint16_t next, uint16_t end,
                     uint32_t least, uint32_t most) {
    struct rsrc_kb *kb = &tiles->frame->kb;
    rsrc_kb_comment(kb, "%u to %u tokens go together: names end in _t and how many", least, most);
    rsrc_kb_loop(kb, rsrc_kb_index_reg(kb, "tile_token"), next, end, most);
    const uint16_t size = rsrc_tile_size(tiles, next, end, most, "");
    rsrc_emit_tile(tiles, size, least, most, next);
    rsrc_kb_binary(kb, RSR_KOP_ADD, next, next, size);
    rsrc_kb_end(kb);
}
