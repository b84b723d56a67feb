/* index_text.c - the text form of segment indexes: what --dump=rsr prints and --from=rsr reads.
 *
 *   rsr 1
 *   layer "blk.q" rows 5 cols 6 k 4 alphabet ternary
 *   block 0 segments 2 members 3
 *     5 : +0 -4
 *     13 : +1
 *   block 4 segments 1 members 1
 *     1 : -3
 *   end
 *
 * A block is named by its first row. A segment is its canonical code and its members, columns with
 * their sign. The text is untrusted: a count must not exceed what the rest of the bytes could hold,
 * and rsrc_check_index() checks the result.
 */
#include <inttypes.h>

#include "base/round.h"
#include "base/text_scan.h"
#include "rsr/codes.h"
#include "rsr/segment.h"

static const char *const ALPHABET_NAMES[] = {
    [RSR_TERNARY] = "ternary",
    [RSR_BINARY_SIGN] = "sign",
    [RSR_BINARY_BIT] = "bit",
};
#define N_ALPHABETS ((uint32_t)(sizeof ALPHABET_NAMES / sizeof ALPHABET_NAMES[0]))

/* The largest matrix that a text may describe; the matrix built from it takes one byte per
 * weight. */
#define MAX_WEIGHTS (UINT64_C(1) << 30)
/* Bytes of the shortest block, " 0 segments 0 members 0", segment and member; they bound the
 * counts. */
#define MIN_BLOCK_BYTES 20u
#define MIN_SEGMENT_BYTES 6u
#define MIN_MEMBER_BYTES 3u

void rsrc_print_index(const struct rsr_index *index, const char *layer_name,
                      struct rsrc_buffer *out) {
    rsrc_buffer_puts(out, "rsr 1\nlayer ");
    rsrc_buffer_put_c_string(out, layer_name);
    rsrc_buffer_printf(out, " rows %" PRIu32 " cols %" PRIu32 " k %" PRIu32 " alphabet %s\n",
                       index->rows, index->cols, index->k, ALPHABET_NAMES[index->alphabet]);
    for (uint32_t b = 0; b < index->n_blocks; b++) {
        const struct rsr_index_block *block = &index->blocks[b];
        rsrc_buffer_printf(out, "block %" PRIu32 " segments %" PRIu32 " members %" PRIu32 "\n",
                           block->first_row, block->n_segments, block->begin[block->n_segments]);
        for (uint32_t s = 0; s < block->n_segments; s++) {
            rsrc_buffer_printf(out, "  %" PRIu32 " :", block->codes[s]);
            for (uint32_t m = block->begin[s]; m < block->begin[s + 1]; m++)
                rsrc_buffer_printf(out, " %c%" PRIu32, block->members[m] & 1 ? '-' : '+',
                                   block->members[m] >> 1);
            rsrc_buffer_puts(out, "\n");
        }
    }
    rsrc_buffer_puts(out, "end\n");
}

/* `+12` or `-12`. */
static enum rsrc_status parse_member(struct rsrc_scan *scan, uint32_t cols, uint32_t *out) {
    char sign = rsrc_scan_at_end(scan) ? '\0' : *scan->at;
    if (sign != '+' && sign != '-')
        return rsrc_scan_error(scan, "expected a column with its sign, +12 or -12");
    scan->at++;
    uint32_t col;
    if (rsrc_scan_u32(scan, "the column", 0, cols - 1, &col) != RSRC_OK)
        return RSRC_FAILED;
    *out = col << 1 | (sign == '-');
    return RSRC_OK;
}

/* Parses the segments of one block; the arrays have room for the counts in the block's line. */
static enum rsrc_status parse_segments(struct rsrc_scan *scan, uint32_t cols, uint32_t n_segments,
                                       uint32_t n_members, uint32_t *codes, uint32_t *begin,
                                       uint32_t *members) {
    uint32_t m = 0;
    for (uint32_t s = 0; s < n_segments; s++) {
        begin[s] = m;
        if (rsrc_scan_u32(scan, "the code", 1, UINT32_MAX, &codes[s]) != RSRC_OK ||
            rsrc_scan_word(scan, ":") != RSRC_OK)
            return RSRC_FAILED;
        while (!rsrc_scan_at_line_end(scan)) {
            if (m == n_members)
                return rsrc_scan_error(scan, "more members than the block's line says");
            if (parse_member(scan, cols, &members[m++]) != RSRC_OK)
                return RSRC_FAILED;
        }
        if (rsrc_scan_line_end(scan) != RSRC_OK)
            return RSRC_FAILED;
    }
    begin[n_segments] = m;
    if (m != n_members)
        return rsrc_scan_error(scan, "the block has %" PRIu32 " members, its line says %" PRIu32, m,
                               n_members);
    return RSRC_OK;
}

static uint32_t bounded_count(uint64_t bytes_left, uint32_t bytes_each, uint32_t max) {
    uint64_t most = bytes_left / bytes_each + 1;
    return most < max ? (uint32_t)most : max;
}

static enum rsrc_status parse_block(struct rsrc_scan *scan, const struct rsr_index *index,
                                    uint32_t number, struct rsr_index_block *out) {
    uint32_t first_row = number * index->k, n_segments, n_members;
    if (rsrc_scan_word(scan, "block") != RSRC_OK ||
        rsrc_scan_u32(scan, "the block's first row", first_row, first_row, &first_row) != RSRC_OK ||
        rsrc_scan_word(scan, "segments") != RSRC_OK)
        return RSRC_FAILED;
    uint64_t left = rsrc_scan_bytes_left(scan);
    uint32_t max_segments = bounded_count(left, MIN_SEGMENT_BYTES, index->cols);
    uint32_t max_members = bounded_count(left, MIN_MEMBER_BYTES, index->cols);
    if (rsrc_scan_u32(scan, "the number of segments", 0, max_segments, &n_segments) != RSRC_OK ||
        rsrc_scan_word(scan, "members") != RSRC_OK ||
        rsrc_scan_u32(scan, "the number of members", 0, max_members, &n_members) != RSRC_OK ||
        rsrc_scan_line_end(scan) != RSRC_OK)
        return RSRC_FAILED;
    uint32_t *codes = RSRC_NEW_ARRAY(scan->arena, n_segments, uint32_t);
    uint32_t *begin = RSRC_NEW_ARRAY(scan->arena, (size_t)n_segments + 1, uint32_t);
    uint32_t *members = RSRC_NEW_ARRAY(scan->arena, n_members, uint32_t);
    if (parse_segments(scan, index->cols, n_segments, n_members, codes, begin, members) != RSRC_OK)
        return RSRC_FAILED;
    *out = (struct rsr_index_block){
        .first_row = first_row,
        .n_rows = rsrc_block_height(index->rows, index->k, first_row),
        .n_segments = n_segments,
        .codes = codes,
        .begin = begin,
        .members = members,
    };
    return RSRC_OK;
}

static enum rsrc_status parse_layer_line(struct rsrc_scan *scan, const char **name,
                                         struct rsr_index *out) {
    uint32_t alphabet;
    if (rsrc_scan_word(scan, "layer") != RSRC_OK ||
        rsrc_scan_string(scan, "the layer's name", name) != RSRC_OK ||
        rsrc_scan_word(scan, "rows") != RSRC_OK ||
        rsrc_scan_u32(scan, "rows", 1, UINT32_MAX / 2, &out->rows) != RSRC_OK ||
        rsrc_scan_word(scan, "cols") != RSRC_OK ||
        rsrc_scan_u32(scan, "cols", 1, RSRC_MAX_COLS, &out->cols) != RSRC_OK ||
        rsrc_scan_word(scan, "k") != RSRC_OK ||
        rsrc_scan_u32(scan, "k", 1, RSR_MAX_K, &out->k) != RSRC_OK ||
        rsrc_scan_word(scan, "alphabet") != RSRC_OK ||
        rsrc_scan_name(scan, "alphabet", ALPHABET_NAMES, N_ALPHABETS, &alphabet) != RSRC_OK)
        return RSRC_FAILED;
    out->alphabet = (enum rsr_alphabet)alphabet;
    out->n_blocks = rsrc_divide_up(out->rows, out->k);
    if ((uint64_t)out->rows * out->cols > MAX_WEIGHTS)
        return rsrc_scan_error(scan, "the matrix has more than %" PRIu64 " weights", MAX_WEIGHTS);
    if (out->n_blocks > rsrc_scan_bytes_left(scan) / MIN_BLOCK_BYTES)
        return rsrc_scan_error(scan,
                               "%" PRIu32 " rows need %" PRIu32 " blocks, which do not follow",
                               out->rows, out->n_blocks);
    return rsrc_scan_line_end(scan);
}

static enum rsrc_status parse_layer(struct rsrc_scan *scan, void *record) {
    struct rsr_named_index *out = record;
    struct rsrc_scan start = *scan;
    struct rsr_index *index = &out->index;
    if (parse_layer_line(scan, &out->layer_name, index) != RSRC_OK)
        return RSRC_FAILED;
    index->blocks = RSRC_NEW_ARRAY(scan->arena, index->n_blocks, struct rsr_index_block);
    for (uint32_t b = 0; b < index->n_blocks; b++)
        if (parse_block(scan, index, b, &index->blocks[b]) != RSRC_OK)
            return RSRC_FAILED;
    if (rsrc_scan_word(scan, "end") != RSRC_OK || rsrc_scan_line_end(scan) != RSRC_OK)
        return RSRC_FAILED;
    const char *wrong = rsrc_check_index(scan->arena, index);
    return wrong == NULL ? RSRC_OK : rsrc_scan_error(&start, "in this layer, %s", wrong);
}

enum rsrc_status rsrc_parse_indexes(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                    const char *file, const char *text, uint64_t size_bytes,
                                    struct rsr_named_index **out, uint32_t *n_out) {
    static const struct rsrc_text_form FORM = {"rsr-text", "rsr", "1", sizeof **out, parse_layer};
    void *records;
    if (rsrc_scan_text(diag, arena, file, text, size_bytes, &FORM, &records, n_out) != RSRC_OK)
        return RSRC_FAILED;
    *out = records;
    return RSRC_OK;
}
