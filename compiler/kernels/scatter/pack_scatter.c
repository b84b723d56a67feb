/* pack_scatter.c - packs a segment index into the tables that `scatter` walks; the layout is in
 * scatter.h.
 *
 * The order of members inside a segment carries no information, so the negated ones go last: two
 * counts replace a sign bit on every member.
 */
#include "kernel/kernel_frame.h"
#include "kernels/scatter/scatter.h"

#include <assert.h>
#include <string.h>

/* The number by which the kernel uses a segment's sum: the slot of the fold table, or k digits of
 * two bits. */
static uint32_t segment_slot(const struct rsr_index *index, enum rsr_fold_kind fold,
                             uint32_t n_rows, uint32_t code) {
    const uint32_t top = 1u << (n_rows - 1);
    if (fold == RSR_FOLD_TREE)
        return index->alphabet == RSR_BINARY_SIGN ? code - top : code;
    uint32_t digits = 0;
    for (uint32_t i = 0; i < n_rows; i++) {
        uint32_t digit; /* weight + 1 */
        if (index->alphabet == RSR_TERNARY) {
            digit = (code + 1) % 3;
            code = (code + 1) / 3;
        } else {
            const uint32_t bit = code >> i & 1;
            digit = index->alphabet == RSR_BINARY_SIGN ? 2 * bit : 1 + bit;
        }
        digits |= digit << (2 * i);
    }
    return digits;
}

struct range {
    uint32_t first, end;
};

static void put_member(const struct rsrc_scatter_layout *layout, uint8_t *codes, uint64_t at,
                       uint32_t column) {
    const uint16_t narrow = (uint16_t)column;
    if (layout->member_bytes == 2)
        memcpy(codes + 2 * at, &narrow, 2);
    else
        memcpy(codes + 4 * at, &column, 4);
}

/* Copies members [first, end) whose negation flag is `negated`; returns how many. */
static uint32_t put_members(const struct rsrc_lower_input *input,
                            const struct rsrc_scatter_layout *layout, const uint32_t *members,
                            struct range range, uint32_t negated, uint8_t *codes, uint64_t at) {
    uint32_t n = 0;
    for (uint32_t m = range.first; m < range.end; m++)
        if ((members[m] & 1) == negated)
            put_member(layout, codes, at + n++, rsrc_layer_column(input, members[m] >> 1));
    return n;
}

uint64_t rsrc_count_scatter_segments(const struct rsr_index *index, uint32_t group_cols) {
    uint64_t n = 0;
    for (uint32_t b = 0; b < index->n_blocks; b++) {
        const struct rsr_index_block *block = &index->blocks[b];
        for (uint32_t s = 0; s < block->n_segments; s++) {
            uint64_t end_col = 0; /* of the last member's group */
            for (uint32_t m = block->begin[s]; m < block->begin[s + 1]; m++) {
                const uint32_t col = block->members[m] >> 1;
                if (col < end_col)
                    continue;
                end_col = ((uint64_t)col / group_cols + 1) * group_cols;
                n++;
            }
        }
    }
    return n;
}

/* The state of packing. */
struct cursor {
    struct rsrc_scatter_segment *segment;
    uint64_t n_members, n_segments;
    uint32_t *next; /* for every segment of the block, the first member that is not packed yet */
};

/* Packs the segments of a block for the columns up to end_col. */
static void pack_group(const struct rsrc_lower_input *input,
                       const struct rsrc_scatter_layout *layout,
                       const struct rsr_index_block *block, uint64_t end_col, uint8_t *codes,
                       struct cursor *at) {
    for (uint32_t s = 0; s < block->n_segments; s++) {
        struct range range = {.first = at->next[s], .end = at->next[s]};
        while (range.end < block->begin[s + 1] && block->members[range.end] >> 1 < end_col)
            range.end++;
        if (range.first == range.end)
            continue;
        at->next[s] = range.end;
        struct rsrc_scatter_segment *segment = at->segment++;
        segment->slot =
            segment_slot(input->index, input->plan->fold, block->n_rows, block->codes[s]);
        segment->n_added =
            put_members(input, layout, block->members, range, 0, codes, at->n_members);
        at->n_members += segment->n_added;
        segment->n_subtracted =
            put_members(input, layout, block->members, range, 1, codes, at->n_members);
        at->n_members += segment->n_subtracted;
        at->n_segments++;
    }
}

void rsrc_pack_scatter(struct rsrc_arena *arena, const struct rsrc_lower_input *input,
                       const struct rsrc_scatter_layout *layout, uint8_t *codes, uint8_t *table) {
    const struct rsr_index *index = input->index;
    const size_t n_records = (size_t)index->n_blocks * layout->n_groups;
    struct rsrc_scatter_block *record = (struct rsrc_scatter_block *)table;
    struct cursor at = {.segment = (struct rsrc_scatter_segment *)(record + n_records)};
    uint32_t max_segments = 0;
    for (uint32_t b = 0; b < index->n_blocks; b++)
        if (index->blocks[b].n_segments > max_segments)
            max_segments = index->blocks[b].n_segments;
    at.next = RSRC_NEW_ARRAY(arena, max_segments, uint32_t);
    for (uint32_t b = 0; b < index->n_blocks; b++) {
        const struct rsr_index_block *block = &index->blocks[b];
        if (block->n_segments != 0)
            memcpy(at.next, block->begin, block->n_segments * sizeof *at.next);
        for (uint32_t g = 0; g < layout->n_groups; g++, record++) {
            *record = (struct rsrc_scatter_block){.first_member = at.n_members,
                                                  .first_segment = at.n_segments};
            pack_group(input, layout, block, ((uint64_t)g + 1) * layout->group_cols, codes, &at);
            record->n_segments = at.n_segments - record->first_segment;
        }
    }
    assert(at.n_members == layout->n_members && at.n_segments == layout->n_segments);
    if (input->matrix->group_cols != 0)
        memcpy(at.segment, input->matrix->scale, input->matrix->n_scales * sizeof(float));
}
