/* pack_maps.c - packs the maps of a reduced layer into the tables of its kernel; see
 * kernel_maps.h. */
#include "kernel/kernel_maps.h"

#include <assert.h>
#include <string.h>

struct rsrc_map_layout rsrc_make_map_layout(const struct rsr_reduction *reduction, bool gathers,
                                            uint32_t n_tiles) {
    struct rsrc_map_layout layout = {0};
    if (gathers)
        layout.column_bytes = reduction->counts.cols <= 65536 ? 2 : 4;
    layout.tiles_at = rsrc_whole_lines((uint64_t)reduction->cols * layout.column_bytes);
    layout.entries_at = layout.tiles_at;
    layout.size_bytes = layout.tiles_at;
    if (reduction->row_sources != NULL) {
        layout.entries_at += rsrc_whole_lines((n_tiles + UINT64_C(1)) * sizeof(uint32_t));
        layout.size_bytes = layout.entries_at + rsrc_whole_lines((uint64_t)reduction->counts.rows *
                                                                 sizeof(struct rsrc_map_entry));
    }
    return layout;
}

static void pack_columns(const struct rsr_reduction *reduction,
                         const struct rsrc_map_layout *layout, uint8_t *columns) {
    for (uint32_t j = 0; j < reduction->cols; j++) {
        const uint32_t column = reduction->kept_cols[j];
        const uint16_t narrow = (uint16_t)column;
        if (layout->column_bytes == 2)
            memcpy(columns + 2 * (size_t)j, &narrow, 2);
        else
            memcpy(columns + 4 * (size_t)j, &column, 4);
    }
}

/* The kept row whose tile writes each row. Zero rows go with the kept rows before them. */
static uint32_t *choose_slots(struct rsrc_arena *arena, const struct rsr_reduction *reduction) {
    uint32_t *slots = RSRC_NEW_ARRAY(arena, reduction->counts.rows, uint32_t);
    uint32_t last = 0;
    for (uint32_t i = 0; i < reduction->counts.rows; i++) {
        const struct rsr_row_source *source = &reduction->row_sources[i];
        if (source->sign != 0 && source->row > last)
            last = source->row;
        slots[i] = source->sign != 0 ? source->row : last;
    }
    return slots;
}

/* A counting sort by tile. */
static void pack_rows(struct rsrc_arena *arena, const struct rsr_reduction *reduction,
                      enum rsr_input input, uint32_t tile_rows, uint32_t n_tiles, uint32_t *first,
                      struct rsrc_map_entry *entries) {
    const uint32_t *slots = choose_slots(arena, reduction);
    uint32_t *next = RSRC_NEW_ARRAY(arena, n_tiles, uint32_t);
    for (uint32_t i = 0; i < reduction->counts.rows; i++)
        first[slots[i] / tile_rows + 1]++;
    for (uint32_t t = 0; t < n_tiles; t++) {
        first[t + 1] += first[t];
        next[t] = first[t];
    }
    assert(first[n_tiles] == reduction->counts.rows);
    for (uint32_t i = 0; i < reduction->counts.rows; i++) {
        const int32_t sign = reduction->row_sources[i].sign;
        struct rsrc_map_entry *entry = &entries[next[slots[i] / tile_rows]++];
        *entry = (struct rsrc_map_entry){.row = i, .slot = slots[i]};
        if (input == RSR_INPUT_I8)
            entry->sign.integer = sign;
        else
            entry->sign.real = (float)sign;
    }
}

void rsrc_pack_maps(struct rsrc_arena *arena, const struct rsr_reduction *reduction,
                    enum rsr_input input, const struct rsrc_map_layout *layout, uint32_t tile_rows,
                    uint32_t n_tiles, uint8_t *tables) {
    if (layout->column_bytes != 0)
        pack_columns(reduction, layout, tables + layout->columns_at);
    if (reduction->row_sources != NULL)
        pack_rows(arena, reduction, input, tile_rows, n_tiles,
                  (uint32_t *)(tables + layout->tiles_at),
                  (struct rsrc_map_entry *)(tables + layout->entries_at));
}
