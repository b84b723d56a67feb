/* pack_scatter.c - a segment index to the tables that `scatter` walks; the layout is in variants.h.
 *
 * The order of members inside a segment carries no information, so the negated ones go last: two
 * counts replace a sign bit on every member.
 */
#include "lower/kernel_frame.h"
#include "lower/variants.h"

#include <assert.h>
#include <string.h>

/* What the kernel finds a segment's sum by: the slot of the fold table, or k digits of two bits. */
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

static void put_member(const struct rsrc_scatter_layout *layout, uint8_t *codes, uint64_t at,
                       uint32_t column) {
    const uint16_t narrow = (uint16_t)column;
    if (layout->member_bytes == 2)
        memcpy(codes + 2 * at, &narrow, 2);
    else
        memcpy(codes + 4 * at, &column, 4);
}

/* Copies the members whose negation flag is `negated`; returns how many. */
static uint32_t put_members(const struct rsrc_lower_input *input,
                            const struct rsrc_scatter_layout *layout,
                            const struct rsr_index_block *block, uint32_t segment, uint32_t negated,
                            uint8_t *codes, uint64_t at) {
    uint32_t n = 0;
    for (uint32_t m = block->begin[segment]; m < block->begin[segment + 1]; m++)
        if ((block->members[m] & 1) == negated)
            put_member(layout, codes, at + n++, rsrc_layer_column(input, block->members[m] >> 1));
    return n;
}

void rsrc_pack_scatter(const struct rsrc_lower_input *input,
                       const struct rsrc_scatter_layout *layout, uint8_t *codes, uint8_t *table) {
    const struct rsr_index *index = input->index;
    struct rsrc_scatter_block *blocks = (struct rsrc_scatter_block *)table;
    struct rsrc_scatter_segment *segment =
        (struct rsrc_scatter_segment *)(blocks + index->n_blocks);
    uint64_t n_members = 0, n_segments = 0;
    for (uint32_t b = 0; b < index->n_blocks; b++) {
        const struct rsr_index_block *block = &index->blocks[b];
        blocks[b] = (struct rsrc_scatter_block){.first_member = n_members,
                                                .first_segment = n_segments,
                                                .n_segments = block->n_segments};
        n_segments += block->n_segments;
        for (uint32_t s = 0; s < block->n_segments; s++, segment++) {
            segment->slot = segment_slot(index, input->plan->fold, block->n_rows, block->codes[s]);
            segment->n_added = put_members(input, layout, block, s, 0, codes, n_members);
            n_members += segment->n_added;
            segment->n_subtracted = put_members(input, layout, block, s, 1, codes, n_members);
            n_members += segment->n_subtracted;
        }
    }
    assert(n_members == layout->n_members && n_segments == layout->n_segments);
}
