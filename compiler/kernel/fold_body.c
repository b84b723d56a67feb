/* fold_body.c - the segment index as instructions: a member's column is a displacement, its sign an
 * opcode.
 *
 * The fold of RSR++ (tests/unit/index_multiply.h) is a tree. Its leaves are segments. A node of
 * level i stands for all codes that agree from digit i on: its code is their canonical code without
 * the first i digits. The node's sum is that of all inputs below it. Row i needs it (times digit
 * i), and so does its parent at level i + 1, unless digit i is the last digit that is not 0.
 * Segments are in the order of their codes, so a depth-first walk of the tree meets them one after
 * another and needs one register per level:
 *
 *   - a sum that is needed once (digit 0, or no parent) is added up where it is needed;
 * - the first child of a node is added up in the node's own register;
 *   - any other child uses the register of its level, which is then free again;
 *   - a segment of one member needs no sum: the member is added to both.
 *
 * For a dense table of ternary codes, rsrc_count_fold_adds() counts additions for each q. The tree
 * needs 4 for each, and one less for two of three q, those with a digit: 59 instead of 72 for k =
 * 4. Codes that do not occur emit nothing. Binary signs are folded as bits: let U be the sum of the
 * top row, which has +1 in every canonical code, and B the sum of a row's ones. Then the row is B -
 * U + B, and each step is a sum of inputs with signs. In floating point that would round twice, so
 * there the digits -1 and +1 are folded directly.
 *
 * Bounds. Every intermediate is a sum of inputs, each once and with a sign, whose weights in one
 * row are not zero within the chunk (for a node: the row of its top digit). The chunk is chosen so
 * that 128 times their number fits the element. Source: RSR, arXiv 2411.06360, section 4.2.
 *
 * Order of floats. Within a segment, added members come first, then subtracted ones, columns
 * ascending; children with a digit are added in ascending order of their codes, then the child
 * without one; a sum that is needed once is added input by input; chunks ascend. Each row has one
 * tree of additions, which depends only on the matrix, k and the chunk, never on lanes or tiles. An
 * input meets fewer additions than the row has columns, so the error is at most n u sum |w x|.
 */
#include "kernel/fold_body.h"

#include <assert.h>
#include <stdio.h>

#include "rsr_hash.h"
#include "base/round.h"

#define MAX_SUMS (RSRC_FOLD_MAX_K - 1)

/* A segment's members within one chunk. */
struct span {
    uint32_t code;
    const uint32_t *members;
    uint32_t n_members;
};

struct folder {
    struct rsrc_kb *kb;
    const struct rsrc_fold_form *form;
    uint16_t rows[RSRC_FOLD_MAX_K];
    uint16_t sums[MAX_SUMS];           /* by level */
    uint16_t bits, even, odd;          /* to widen I16 */
    bool started[2 * RSRC_FOLD_MAX_K]; /* registers that hold a sum */
    const struct span *spans;          /* of the block, in order of codes */
    uint32_t first_column;             /* of the chunk */
    uint32_t first_row, height;        /* of the block */
};

/* ---- the tree -------------------------------------------------------------------------------- */

static uint32_t parent_code(enum rsr_alphabet alphabet, uint32_t code) {
    return alphabet == RSR_TERNARY ? (code + 1) / 3 : code >> 1;
}

static uint32_t node_code(const struct folder *f, uint32_t segment, uint32_t level) {
    uint32_t code = f->spans[segment].code;
    for (uint32_t i = 0; i < level; i++)
        code = parent_code(f->form->alphabet, code);
    return code;
}

static int first_digit(const struct folder *f, uint32_t code) {
    if (f->form->alphabet == RSR_TERNARY)
        return code % 3 == 2 ? -1 : (int)(code % 3);
    if (f->form->alphabet == RSR_BINARY_SIGN && f->form->tokens.elem == RSR_ELEM_F32)
        return (code & 1) != 0 ? 1 : -1;
    return (int)(code & 1);
}

/* ---- operations ------------------------------------------------------------------------------ */

static void set_zero(struct folder *f, uint16_t reg) {
    if (f->form->tokens.elem == RSR_ELEM_F32)
        rsrc_kb_const_f32(f->kb, reg, 0.0f);
    else
        rsrc_kb_const(f->kb, reg, 0);
}

/* reg += or -= the input of a member; the first member starts the register. */
static void add_member(struct folder *f, uint16_t reg, uint32_t member, bool negate) {
    const int64_t column = (int64_t)(member >> 1) - f->first_column - f->form->bias_cols;
    const struct rsrc_address at =
        rsrc_address_at(RSR_KBUF_COLUMNS, column * rsrc_column_bytes(&f->form->tokens));
    const bool subtract = ((member & 1) != 0) != negate;
    if (!f->started[reg] && !subtract) {
        rsrc_kb_load(f->kb, reg, at);
    } else {
        if (!f->started[reg])
            set_zero(f, reg);
        rsrc_kb_binary_memory(f->kb, subtract ? RSR_KOP_SUB_MEM : RSR_KOP_ADD_MEM, reg, reg, at);
    }
    f->started[reg] = true;
}

/* Added members come first: a sum that starts with one needs no zero. */
static void add_segment(struct folder *f, uint16_t reg, const struct span *span, bool negate) {
    for (uint32_t pass = 0; pass < 2; pass++)
        for (uint32_t i = 0; i < span->n_members; i++)
            if (((span->members[i] & 1) != negate) == (pass == 1))
                add_member(f, reg, span->members[i], negate);
}

/* reg += sign * sum */
static void add_sum(struct folder *f, uint16_t reg, uint16_t sum, int sign) {
    if (!f->started[reg] && sign > 0) {
        rsrc_kb_unary(f->kb, RSR_KOP_COPY, reg, sum);
    } else {
        if (!f->started[reg])
            set_zero(f, reg);
        rsrc_kb_binary(f->kb, sign > 0 ? RSR_KOP_ADD : RSR_KOP_SUB, reg, reg, sum);
    }
    f->started[reg] = true;
}

/* ---- the walk -------------------------------------------------------------------------------- */

static void add_child(struct folder *f, uint32_t level, uint32_t first, uint32_t end, uint16_t reg);

/* Adds the children of `level` in segments [first, end): those with a digit, or those without. */
static void add_children(struct folder *f, uint32_t level, uint32_t first, uint32_t end,
                         uint16_t reg, bool with_digit) {
    while (first < end) {
        const uint32_t code = node_code(f, first, level);
        uint32_t next = first + 1;
        while (next < end && node_code(f, next, level) == code)
            next++;
        if ((first_digit(f, code) != 0) == with_digit)
            add_child(f, level, first, next, reg);
        first = next;
    }
}

/* Adds the sum of segments [first, end), one node of `level`, to reg. The child of digit 0 comes
 * last, because it can be added to a register that has been started. */
static void add_node(struct folder *f, uint32_t level, uint32_t first, uint32_t end, uint16_t reg) {
    if (level == 0) {
        assert(end - first == 1);
        add_segment(f, reg, &f->spans[first], false);
        return;
    }
    add_children(f, level - 1, first, end, reg, true);
    add_children(f, level - 1, first, end, reg, false);
}

static bool all_subtracted(const struct span *span) {
    for (uint32_t i = 0; i < span->n_members; i++)
        if ((span->members[i] & 1) == 0)
            return false;
    return true;
}

/* Columns of the chunk, those that are subtracted with a minus. */
static void comment_segment(struct folder *f, const struct span *span) {
    char columns[96];
    size_t used = 0;
    for (uint32_t i = 0; i < span->n_members && used < sizeof columns; i++)
        used +=
            (size_t)snprintf(columns + used, sizeof columns - used, "%s%s%u", i == 0 ? "" : ", ",
                             (span->members[i] & 1) != 0 ? "-" : "", span->members[i] >> 1);
    rsrc_kb_comment(f->kb,
                    "sum the segment once: columns %s%s are equal in these rows, but for the sign",
                    columns, used >= sizeof columns ? " ..." : "");
}

/* Adds a node of `level` to reg, its parent's, and its digit times the node to row `level`. */
static void add_child(struct folder *f, uint32_t level, uint32_t first, uint32_t end,
                      uint16_t reg) {
    const int digit = first_digit(f, node_code(f, first, level));
    const uint16_t row = f->rows[level];
    if (digit == 0) {
        add_node(f, level, first, end, reg);
    } else if (!f->started[reg]) {
        add_node(f, level, first, end, reg);
        add_sum(f, row, reg, digit);
    } else if (level == 0 && f->spans[first].n_members == 1) {
        add_member(f, reg, f->spans[first].members[0], false);
        add_member(f, row, f->spans[first].members[0], digit < 0);
    } else {
        const uint16_t sum = f->sums[level];
        const bool negated = level == 0 && all_subtracted(&f->spans[first]);
        if (level == 0)
            comment_segment(f, &f->spans[first]);
        if (negated)
            add_segment(f, sum, &f->spans[first], true);
        else
            add_node(f, level, first, end, sum);
        add_sum(f, reg, sum, negated ? -1 : 1);
        add_sum(f, row, sum, negated ? -digit : digit);
        f->started[sum] = false;
    }
}

/* Level of a code's last digit that is not 0: its row takes the code's whole subtree once. */
static uint32_t top_level(const struct folder *f, uint32_t segment) {
    uint32_t level = 0;
    for (uint32_t code = f->spans[segment].code; code != 1;
         code = parent_code(f->form->alphabet, code))
        level++;
    return level;
}

/* Turns the sum of a row's ones into the difference of ones and others. */
static void finish_signs(struct folder *f) {
    const uint16_t top = f->rows[f->height - 1];
    for (uint32_t i = 0; i + 1 < f->height; i++) {
        const uint16_t row = f->rows[i];
        if (!f->started[row]) {
            add_sum(f, row, top, -1);
            continue;
        }
        rsrc_kb_binary(f->kb, RSR_KOP_SUB, f->sums[0], row, top);
        rsrc_kb_binary(f->kb, RSR_KOP_ADD, row, row, f->sums[0]);
    }
}

/* Adds 32-bit register `value` to the sums at byte `offset`. */
static void add_to_memory(struct folder *f, uint16_t value, int64_t offset) {
    const struct rsrc_address at = rsrc_address_at(RSR_KBUF_SUMS, offset);
    rsrc_kb_binary_memory(f->kb, RSR_KOP_ADD_MEM, value, value, at);
    rsrc_kb_store(f->kb, value, at);
}

/* Even lanes of I16 are the low halves of 32-bit lanes, and odd lanes the high halves. Shifts widen
 * both in place; separating a vector's halves would cross lanes. */
static void flush_row(struct folder *f, uint16_t row, int64_t offset) {
    rsrc_kb_comment(f->kb, "%s",
                    f->form->tokens.elem == RSR_ELEM_I16
                        ? "add to the sums in memory: the even int16, then the odd ones"
                        : "add to the sums in memory");
    if (f->form->tokens.elem != RSR_ELEM_I16) {
        add_to_memory(f, row, offset);
        return;
    }
    rsrc_kb_unary(f->kb, RSR_KOP_BITCAST, f->bits, row);
    rsrc_kb_immediate(f->kb, RSR_KOP_SHL, f->bits, f->bits, 16);
    rsrc_kb_unary(f->kb, RSR_KOP_BITCAST, f->even, f->bits);
    rsrc_kb_immediate(f->kb, RSR_KOP_SHR, f->even, f->even, 16);
    add_to_memory(f, f->even, offset);
    rsrc_kb_unary(f->kb, RSR_KOP_BITCAST, f->odd, row);
    rsrc_kb_immediate(f->kb, RSR_KOP_SHR, f->odd, f->odd, 16);
    add_to_memory(f, f->odd, offset + rsrc_lane_sums_bytes(&f->form->tokens) / 2);
}

/* Emits one block; the sums of its first row are at byte `first_sum`. */
static void fold_block(struct folder *f, const struct span *spans, uint32_t n_spans,
                       int64_t first_sum) {
    for (uint32_t i = 0; i < 2 * RSRC_FOLD_MAX_K; i++)
        f->started[i] = false;
    f->spans = spans;
    if (n_spans != 0)
        rsrc_kb_comment(
            f->kb, "rows %u .. %u: weights are signs of additions, columns their displacements",
            f->first_row, f->first_row + f->height - 1);
    uint32_t first = 0;
    while (first < n_spans) {
        const uint32_t level = top_level(f, first);
        uint32_t end = first + 1;
        while (end < n_spans && top_level(f, end) == level)
            end++;
        add_node(f, level, first, end, f->rows[level]);
        first = end;
    }
    if (f->form->alphabet == RSR_BINARY_SIGN && f->form->tokens.elem != RSR_ELEM_F32)
        finish_signs(f);
    for (uint32_t i = 0; i < f->height; i++)
        if (f->started[f->rows[i]])
            flush_row(f, f->rows[i],
                      first_sum + (int64_t)i * (int64_t)rsrc_lane_sums_bytes(&f->form->tokens));
}

/* ---- blocks and chunks ----------------------------------------------------------------------- */

/* Collects the segments of a block that have members below column `end`, from `cursor` on in
 * each. */
static uint32_t next_spans(const struct rsr_index_block *block, uint32_t end, uint32_t *cursor,
                           struct span *spans) {
    uint32_t n = 0;
    for (uint32_t s = 0; s < block->n_segments; s++) {
        const uint32_t begin = cursor[s];
        while (cursor[s] < block->begin[s + 1] && block->members[cursor[s]] >> 1 < end)
            cursor[s]++;
        if (cursor[s] != begin)
            spans[n++] = (struct span){.code = block->codes[s],
                                       .members = block->members + begin,
                                       .n_members = cursor[s] - begin};
    }
    return n;
}

static uint32_t max_segments(const struct rsr_index *index) {
    uint32_t most = 0;
    for (uint32_t b = 0; b < index->n_blocks; b++)
        if (index->blocks[b].n_segments > most)
            most = index->blocks[b].n_segments;
    return most;
}

static void make_registers(struct folder *f) {
    const struct rsrc_fold_form *form = f->form;
    for (uint32_t i = 0; i < form->k; i++)
        f->rows[i] = rsrc_kb_body_reg(f->kb, form->tokens.elem, form->tokens.lanes, "row%u", i);
    for (uint32_t i = 0; i + 1 < form->k; i++)
        f->sums[i] = rsrc_kb_body_reg(f->kb, form->tokens.elem, form->tokens.lanes, "sum%u", i);
    if (form->tokens.elem == RSR_ELEM_I16) {
        f->bits = rsrc_kb_body_reg(f->kb, RSR_ELEM_U32, form->tokens.lanes / 2, "bits");
        f->even = rsrc_kb_body_reg(f->kb, RSR_ELEM_I32, form->tokens.lanes / 2, "even");
        f->odd = rsrc_kb_body_reg(f->kb, RSR_ELEM_I32, form->tokens.lanes / 2, "odd");
    }
}

void rsrc_fold_bodies(struct rsrc_kb *kb, const struct rsr_index *index,
                      const struct rsrc_fold_form *form) {
    assert(form->k == index->k && form->k <= RSRC_FOLD_MAX_K && kb->kernel->n_body_regs == 0);
    struct folder f = {.kb = kb, .form = form};
    make_registers(&f);
    const uint32_t most = max_segments(index);
    struct span *spans = RSRC_NEW_ARRAY(kb->arena, most + 1u, struct span);
    /* The end of the finished chunks in each segment of the tile's blocks. */
    uint32_t *cursors = RSRC_NEW_ARRAY(kb->arena, (size_t)form->tile_blocks * most + 1, uint32_t);
    for (uint32_t first = 0; first < index->n_blocks; first += form->tile_blocks) {
        const uint32_t left = index->n_blocks - first;
        const uint32_t n_blocks = left < form->tile_blocks ? left : form->tile_blocks;
        for (uint32_t b = 0; b < n_blocks; b++)
            for (uint32_t s = 0; s < index->blocks[first + b].n_segments; s++)
                cursors[(size_t)b * most + s] = index->blocks[first + b].begin[s];
        for (uint32_t chunk = 0; chunk < form->n_chunks; chunk++) {
            f.first_column = chunk * form->chunk_cols;
            rsrc_kb_body_begin(kb);
            for (uint32_t b = 0; b < n_blocks; b++) {
                const struct rsr_index_block *block = &index->blocks[first + b];
                const uint32_t n_spans = next_spans(block, f.first_column + form->chunk_cols,
                                                    cursors + (size_t)b * most, spans);
                f.first_row = block->first_row;
                f.height = block->n_rows;
                fold_block(&f, spans, n_spans,
                           (int64_t)b * form->k * (int64_t)rsrc_lane_sums_bytes(&form->tokens));
            }
            rsrc_kb_body_end(kb);
        }
    }
}

/* ---- limits, costs and the key --------------------------------------------------------------*/

enum rsrc_status rsrc_check_fold(struct rsrc_diag *diag, const struct rsrc_lower_input *input) {
    const struct rsrc_place place = {.tensor = input->title};
    if (input->plan->k > RSRC_FOLD_MAX_K)
        return rsrc_refuse(diag, "lower-k-too-large", &place,
                           "choose a smaller k, or leave it to rsrc",
                           "fold: k = %u needs more registers than there are; the limit is %u",
                           input->plan->k, RSRC_FOLD_MAX_K);
    if ((uint64_t)input->matrix->cols * 128 > INT32_MAX)
        return rsrc_refuse_wide(diag, input);
    return RSRC_OK;
}

const char *rsrc_hash_fold_index(struct rsrc_arena *arena, const struct rsr_index *index) {
    struct rsr_hash hash;
    rsr_hash_init(&hash);
    for (uint32_t b = 0; b < index->n_blocks; b++) {
        const struct rsr_index_block *block = &index->blocks[b];
        const uint32_t n = block->n_segments;
        rsr_hash_update(&hash, &n, sizeof n);
        rsr_hash_update(&hash, block->codes, n * sizeof *block->codes);
        rsr_hash_update(&hash, block->begin, (n + 1u) * sizeof *block->begin);
        rsr_hash_update(&hash, block->members, block->begin[n] * sizeof *block->members);
    }
    uint8_t bytes[16];
    rsr_hash_final(&hash, bytes);
    char text[RSR_HASH_TEXT_BYTES];
    rsr_hash_text(bytes, text);
    return rsrc_arena_strdup(arena, text);
}

uint64_t rsrc_fold_saved_adds(enum rsr_alphabet alphabet, uint32_t k) {
    switch (alphabet) {
    case RSR_TERNARY:
        return rsrc_power(3, k - 1) / 2;
    case RSR_BINARY_SIGN:
        return k == 1 ? 0 : (1u << k) / 4 - (k - 1);
    case RSR_BINARY_BIT:
        break;
    }
    return 2 * k + (1u << (k - 1)) - 1;
}
