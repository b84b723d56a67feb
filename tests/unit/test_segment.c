/* test_segment.c - segment indexes against the naive product, the verifier against corrupted
 * indexes, the statistics against the contents of the index, and the parser against hostile
 * text. */
#include <math.h>
#include <stdlib.h>

#include "base/arena.h"
#include "check.h"
#include "index_multiply.h"
#include "rsr/codes.h"
#include "rsr/segment.h"
#include "rsr/segment_picture.h"

#define SEED UINT64_C(20241106)

/* Weights of the alphabet; `zero_percent` applies to the alphabets that have a zero. */
static struct rsr_matrix random_matrix(struct rsrc_arena *arena, uint64_t *state, uint32_t rows,
                                       uint32_t cols, enum rsr_alphabet alphabet,
                                       uint32_t zero_percent) {
    int8_t *values = rsrc_arena_array(arena, rows, cols);
    for (size_t i = 0; i < (size_t)rows * cols; i++) {
        uint64_t r = check_random(state);
        bool zero = r % 100 < zero_percent;
        if (alphabet == RSR_BINARY_SIGN)
            values[i] = (int8_t)(r >> 40 & 1 ? 1 : -1);
        else
            values[i] = (int8_t)(zero ? 0 : alphabet == RSR_TERNARY ? (r >> 40 & 1 ? 1 : -1) : 1);
    }
    return (struct rsr_matrix){.rows = rows, .cols = cols, .alphabet = alphabet, .values = values};
}

static void naive_multiply(const struct rsr_matrix *matrix, const int8_t *x, int32_t *y) {
    for (uint32_t i = 0; i < matrix->rows; i++) {
        y[i] = 0;
        for (uint32_t j = 0; j < matrix->cols; j++)
            y[i] += matrix->values[(size_t)i * matrix->cols + j] * x[j];
    }
}

/* Diagnostics of one call, as text. */
struct capture {
    struct rsrc_diag *diag;
    FILE *stream;
    char *text;
    size_t size_bytes;
};

static void capture_begin(struct capture *capture) {
    capture->text = NULL;
    capture->stream = open_memstream(&capture->text, &capture->size_bytes);
    capture->diag = rsrc_diag_create(capture->stream, false, RSRC_COLOR_NEVER);
}

static void capture_end(struct capture *capture) {
    rsrc_diag_destroy(capture->diag);
    fclose(capture->stream);
    free(capture->text);
}

static void check_products(struct rsrc_arena *arena, uint64_t *state,
                           const struct rsr_matrix *matrix, const struct rsr_index *index) {
    int8_t *x = rsrc_arena_alloc(arena, matrix->cols);
    int32_t *wanted = RSRC_NEW_ARRAY(arena, matrix->rows, int32_t);
    int32_t *got = RSRC_NEW_ARRAY(arena, matrix->rows, int32_t);
    for (uint32_t j = 0; j < matrix->cols; j++)
        x[j] = (int8_t)(j % 7 == 0 ? -128 : (int)(check_random(state) % 256) - 128);
    naive_multiply(matrix, x, wanted);
    memset(got, 0x55, matrix->rows * sizeof *got);
    index_multiply(index, RSR_FOLD_DIRECT, x, got);
    CHECK(memcmp(wanted, got, matrix->rows * sizeof *got) == 0);
    memset(got, 0x55, matrix->rows * sizeof *got);
    index_multiply(index, RSR_FOLD_TREE, x, got);
    CHECK(memcmp(wanted, got, matrix->rows * sizeof *got) == 0);
}

static void check_stats(struct rsrc_arena *arena, const struct rsr_matrix *matrix,
                        const struct rsr_index *index) {
    struct rsr_stats stats;
    rsrc_analyse_matrix(arena, matrix, index->k, &stats);
    uint64_t n_members = 0, n_segments = 0, n_direct = 0, n_fold = 0, n_nonzero = 0;
    for (uint32_t b = 0; b < index->n_blocks; b++) {
        const struct rsr_index_block *block = &index->blocks[b];
        n_members += block->begin[block->n_segments];
        n_segments += block->n_segments;
        n_fold += rsrc_count_fold_adds(matrix->alphabet, block->n_rows);
        n_direct += (uint64_t)block->n_segments * block->n_rows;
    }
    for (size_t i = 0; i < (size_t)matrix->rows * matrix->cols; i++)
        n_nonzero += matrix->values[i] != 0;
    CHECK_INT(stats.n_members, n_members);
    CHECK_INT(stats.n_segments, n_segments);
    CHECK_INT(stats.n_direct_adds, n_direct);
    CHECK_INT(stats.n_fold_adds, n_fold);
    CHECK_INT(stats.n_nonzero, n_nonzero);
}

/* Each of the n columns of a segment saves 1 - 1/n of its addition, and a column of zeros all of
 * it. So a block saves one addition for each column, less one for each segment. */
static void check_picture(struct rsrc_arena *arena, const struct rsr_matrix *matrix,
                          const struct rsr_index *index, uint32_t side) {
    struct rsr_segment_picture picture;
    uint64_t bins[RSR_MULTIPLICITY_BINS] = {0};
    double share = 0, drawn = 0;
    for (uint32_t b = 0; b < index->n_blocks; b++) {
        const struct rsr_index_block *block = &index->blocks[b];
        share += (1 - (double)block->n_segments / matrix->cols) / index->n_blocks;
        for (uint32_t s = 0; s < block->n_segments; s++) {
            uint32_t bin = 0;
            while (1u << bin < block->begin[s + 1] - block->begin[s])
                bin++;
            bins[bin]++;
        }
    }
    rsrc_picture_segments(arena, matrix, index->k, side, &picture);
    for (uint32_t b = 0; b < RSR_MULTIPLICITY_BINS; b++)
        CHECK_INT(picture.multiplicity[b], bins[b]);
    CHECK_INT(picture.map_rows, index->n_blocks < side ? index->n_blocks : side);
    CHECK_INT(picture.map_cols, matrix->cols < side ? matrix->cols : side);
    const uint32_t n = picture.map_rows * picture.map_cols;
    for (uint32_t i = 0; i < n; i++)
        drawn += picture.map[i];
    CHECK(picture.map_least >= 0 && picture.map_least <= picture.map_most && picture.map_most <= 1);
    drawn = picture.map_least +
            drawn / n / (RSR_MAP_LEVELS - 1) * (picture.map_most - picture.map_least);
    /* Cells with equal numbers of blocks and columns: levels are right to half a level. */
    if (index->n_blocks % picture.map_rows == 0 && matrix->cols % picture.map_cols == 0)
        CHECK(fabs(drawn - share) <= 0.51 / (RSR_MAP_LEVELS - 1));
}

static void check_text(struct rsrc_arena *arena, const struct rsr_matrix *matrix,
                       const struct rsr_index *index) {
    const char *name = "hostile\"\n\x1b\\*/\xc3\xa9 name";
    struct rsrc_buffer text = {0}, again = {0};
    rsrc_print_index(index, name, &text);
    rsrc_print_index(index, "second", &text);
    struct capture capture;
    capture_begin(&capture);
    struct rsr_named_index *parsed = NULL;
    uint32_t n_parsed = 0;
    CHECK_INT(rsrc_parse_indexes(capture.diag, arena, "t.rsr", text.data, text.size_bytes, &parsed,
                                 &n_parsed),
              RSRC_OK);
    CHECK_INT(n_parsed, 2);
    if (n_parsed == 2) {
        CHECK_STR(parsed[0].layer_name, name);
        CHECK_INT(rsrc_verify_index(capture.diag, &parsed[0].index, matrix, name), RSRC_OK);
        rsrc_print_index(&parsed[0].index, name, &again);
        rsrc_print_index(&parsed[1].index, "second", &again);
        CHECK_STR(again.data, text.data);
    }
    capture_end(&capture);
    rsrc_buffer_free(&text);
    rsrc_buffer_free(&again);
}

static void check_one(uint64_t *state, uint32_t rows, uint32_t cols, enum rsr_alphabet alphabet,
                      uint32_t k, uint32_t zero_percent) {
    struct rsrc_arena arena;
    rsrc_arena_init(&arena);
    struct rsr_matrix matrix = random_matrix(&arena, state, rows, cols, alphabet, zero_percent);
    struct rsr_index index;
    rsrc_build_index(&arena, &matrix, k, &index);
    struct capture capture;
    capture_begin(&capture);
    CHECK_INT(rsrc_verify_index(capture.diag, &index, &matrix, "layer"), RSRC_OK);
    capture_end(&capture);
    struct rsr_matrix rebuilt;
    rsrc_rebuild_matrix(&arena, &index, &rebuilt);
    CHECK(memcmp(rebuilt.values, matrix.values, (size_t)rows * cols) == 0);
    check_products(&arena, state, &matrix, &index);
    check_stats(&arena, &matrix, &index);
    check_picture(&arena, &matrix, &index, RSR_MAP_SIDE);
    check_picture(&arena, &matrix, &index, 10);
    check_picture(&arena, &matrix, &index, 1);
    check_text(&arena, &matrix, &index);
    rsrc_arena_free(&arena);
}

static void test_random_shapes(void) {
    uint64_t state = SEED;
    static const uint32_t shapes[][2] = {{1, 1}, {1, 40}, {40, 1}, {3, 5}, {16, 1030}, {17, 33}};
    for (int alphabet = RSR_TERNARY; alphabet <= RSR_BINARY_BIT; alphabet++) {
        for (uint32_t k = 1; k <= 11; k++)
            for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++)
                check_one(&state, shapes[s][0], shapes[s][1], (enum rsr_alphabet)alphabet, k,
                          k % 2 == 0 ? 40 : 85);
        for (uint32_t k = 12; k <= RSR_MAX_K; k += 2)
            check_one(&state, k + 3, 70, (enum rsr_alphabet)alphabet, k, 40);
        for (uint32_t i = 0; i < 40; i++) {
            uint32_t rows = 1 + (uint32_t)(check_random(&state) % 30);
            uint32_t cols = 1 + (uint32_t)(check_random(&state) % 90);
            uint32_t k = 1 + (uint32_t)(check_random(&state) % 10);
            check_one(&state, rows, cols, (enum rsr_alphabet)alphabet, k,
                      (uint32_t)(check_random(&state) % 101));
        }
    }
}

/* ---- the verifier ---------------------------------------------------------------------------- */

/* 6 x 8 ternary, k = 4: small enough to know by heart. */
static const int8_t FIXED[6][8] = {
    {1, -1, 0, 1, 1, 0, -1, 0}, {0, 0, 1, 0, 1, 0, 0, 0},  {-1, 1, 0, -1, 0, 1, 1, 0},
    {1, -1, 1, 1, 0, 0, -1, 0}, {1, 1, -1, 0, 0, 0, 1, 0}, {1, 1, 1, 0, 0, 0, -1, 0},
};

/* A mutable deep copy of the index of FIXED. */
struct mutable_index {
    struct rsr_index index;
    struct rsr_index_block blocks[2];
    uint32_t codes[2][8], begin[2][9], members[2][8];
};

static struct rsr_matrix fixed_matrix(void) {
    return (struct rsr_matrix){
        .rows = 6, .cols = 8, .alphabet = RSR_TERNARY, .values = &FIXED[0][0]};
}

static void copy_index(struct mutable_index *copy, const struct rsr_index *index) {
    memset(copy, 0, sizeof *copy);
    copy->index = *index;
    copy->index.blocks = copy->blocks;
    for (uint32_t b = 0; b < 2; b++) {
        const struct rsr_index_block *block = &index->blocks[b];
        copy->blocks[b] = *block;
        memcpy(copy->codes[b], block->codes, block->n_segments * sizeof(uint32_t));
        memcpy(copy->begin[b], block->begin, (block->n_segments + 1) * sizeof(uint32_t));
        memcpy(copy->members[b], block->members, block->begin[block->n_segments] * 4);
        copy->blocks[b].codes = copy->codes[b];
        copy->blocks[b].begin = copy->begin[b];
        copy->blocks[b].members = copy->members[b];
    }
}

/* The first two members of a segment that has two. */
static void swap_members(struct mutable_index *m) {
    uint32_t s = 0;
    while (m->begin[0][s + 1] - m->begin[0][s] < 2 && s + 1 < m->blocks[0].n_segments)
        s++;
    uint32_t *members = m->members[0] + m->begin[0][s];
    const uint32_t first = members[0];
    members[0] = members[1];
    members[1] = first;
}

static void damage(struct mutable_index *m, int kind) {
    switch (kind) {
    case 0:
        m->index.k = 0;
        break;
    case 1:
        m->index.k = 17;
        break;
    case 2:
        m->index.n_blocks = 1;
        break;
    case 3:
        m->index.cols = 7;
        break;
    case 4:
        m->index.rows = 5;
        break;
    case 5:
        m->index.alphabet = RSR_BINARY_SIGN;
        break;
    case 6:
        m->blocks[1].first_row = 3;
        break;
    case 7:
        m->blocks[1].n_rows = 4;
        break;
    case 8:
        m->blocks[0].n_segments = 9;
        break;
    case 9:
        m->codes[0][0] = 0;
        break;
    case 10:
        m->codes[1][0] = 41;
        break;
    case 11:
        m->codes[0][1] = m->codes[0][0];
        break;
    case 12:
        m->begin[0][0] = 1;
        break;
    case 13:
        m->begin[0][1] = m->begin[0][2];
        break;
    case 14:
        m->begin[0][m->blocks[0].n_segments] = 9;
        break;
    case 15:
        m->members[0][0] = 8 << 1;
        break;
    case 16:
        m->members[0][1] = m->members[0][0];
        break;
    case 17:
        m->members[1][0] ^= 1;
        break;
    case 18:
        m->members[0][0] = UINT32_MAX;
        break;
    case 19:
        m->blocks[0].n_segments--;
        break;
    case 20:
        m->codes[0][m->blocks[0].n_segments - 1]++;
        break;
    case 21:
        m->members[0][m->begin[0][2]] ^= 7 << 1;
        break;
    case 22:
        m->index.alphabet = (enum rsr_alphabet)7;
        break;
    case 23:
        swap_members(m);
        break;
    }
}

static void test_verifier(void) {
    struct rsrc_arena arena;
    rsrc_arena_init(&arena);
    struct rsr_matrix matrix = fixed_matrix();
    struct rsr_index index;
    rsrc_build_index(&arena, &matrix, 4, &index);
    for (int kind = -1; kind <= 23; kind++) {
        struct mutable_index copy;
        copy_index(&copy, &index);
        damage(&copy, kind);
        struct capture capture;
        capture_begin(&capture);
        enum rsrc_status status = rsrc_verify_index(capture.diag, &copy.index, &matrix, "layer");
        CHECK_INT(status, kind < 0 ? RSRC_OK : RSRC_FAILED);
        CHECK_INT(rsrc_diag_error_count(capture.diag), kind < 0 ? 0 : 1);
        CHECK(kind < 0 || strstr(capture.text, "[rsr-verify]") != NULL);
        if (status == RSRC_OK && kind >= 0)
            fprintf(stderr, "damage %d was not noticed\n", kind);
        capture_end(&capture);
    }
    rsrc_arena_free(&arena);
}

/* Any single changed weight is found, because the verifier compares every entry. */
static void test_verifier_every_weight(void) {
    struct rsrc_arena arena;
    rsrc_arena_init(&arena);
    struct rsr_matrix matrix = fixed_matrix();
    struct rsr_index index;
    rsrc_build_index(&arena, &matrix, 4, &index);
    for (uint32_t i = 0; i < 48; i++) {
        int8_t values[48];
        memcpy(values, FIXED, sizeof values);
        values[i] = values[i] == 0 ? 1 : 0;
        matrix.values = values;
        struct capture capture;
        capture_begin(&capture);
        CHECK_INT(rsrc_verify_index(capture.diag, &index, &matrix, "layer"), RSRC_FAILED);
        capture_end(&capture);
    }
    rsrc_arena_free(&arena);
}

/* ---- statistics ------------------------------------------------------------------------------ */

static void test_row_statistics(void) {
    static const int8_t values[6][9] = {
        {1, 0, -1, 1, 0, 0, 0, 0, 1}, {-1, 0, 1, -1, 0, 0, 0, 0, -1}, {0, 0, 0, 0, 0, 0, 0, 0, 0},
        {1, 0, -1, 1, 0, 0, 0, 0, 1}, {1, 0, 1, 1, 1, 0, -1, 0, 1},   {1, 0, -1, 1, 0, 0, 0, 0, -1},
    };
    struct rsrc_arena arena;
    rsrc_arena_init(&arena);
    struct rsr_matrix matrix = {.rows = 6, .cols = 9, .values = &values[0][0]};
    struct rsr_stats stats;
    rsrc_analyse_matrix(&arena, &matrix, 3, &stats);
    CHECK_INT(stats.n_equal_rows, 2); /* rows 1 (opposite) and 3 (equal) repeat row 0 */
    CHECK_INT(stats.n_zero_rows, 1);
    CHECK_INT(stats.n_zero_cols, 3);
    CHECK_INT(stats.max_row_nonzero, 6);
    CHECK_INT(stats.n_nonzero, 22);
    rsrc_arena_free(&arena);
}

/* Compares the chosen k with the exact costs of all sixteen. The sample may only be wrong by
 * little. */
static uint64_t cost_of(const struct rsr_stats *stats) {
    uint64_t direct = RSR_DIRECT_DIGIT_ADDS * stats->n_direct_adds;
    uint64_t fold = stats->n_fold_adds < direct ? stats->n_fold_adds : direct;
    return stats->n_members + RSR_SEGMENT_START_ADDS * stats->n_segments + fold;
}

static void test_choose_k(void) {
    uint64_t state = SEED + 1;
    struct rsrc_arena arena;
    rsrc_arena_init(&arena);
    for (int alphabet = RSR_TERNARY; alphabet <= RSR_BINARY_BIT; alphabet++) {
        struct rsr_matrix matrix =
            random_matrix(&arena, &state, 192, 1500, (enum rsr_alphabet)alphabet, 35);
        struct rsr_stats chosen, other;
        uint32_t k = rsrc_choose_k(&arena, &matrix, &chosen);
        CHECK_INT(chosen.k, k);
        for (uint32_t j = 1; j <= RSR_MAX_K; j++) {
            rsrc_analyse_matrix(&arena, &matrix, j, &other);
            CHECK(cost_of(&chosen) <= cost_of(&other) + cost_of(&other) / 50);
            CHECK(chosen.k_costs[j] >= chosen.k_costs[k] && chosen.k_costs[j] > 0);
            CHECK(other.k_costs[j] == 0);
        }
        CHECK(k >= 3 && k <= 9);
    }
    /* Four distinct columns: every block has at most 4 segments, so the tallest blocks win. */
    struct rsr_matrix base = random_matrix(&arena, &state, 64, 4, RSR_TERNARY, 35);
    int8_t *values = rsrc_arena_array(&arena, 64, 2000);
    for (uint32_t i = 0; i < 64 * 2000; i++)
        values[i] = base.values[i / 2000 * 4 + i % 4];
    struct rsr_matrix few = {.rows = 64, .cols = 2000, .values = values};
    struct rsr_stats stats;
    CHECK_INT(rsrc_choose_k(&arena, &few, &stats), 16);
    CHECK(stats.n_segments <= 16);
    rsrc_arena_free(&arena);
}

/* The closed forms at k = 3, counted by hand from the loops of the fold. */
static void test_fold_adds(void) {
    CHECK_INT(rsrc_count_fold_adds(RSR_TERNARY, 3), 4 * (4 + 1 + 0));
    CHECK_INT(rsrc_count_fold_adds(RSR_BINARY_BIT, 3), 2 * (4 + 2 + 1));
    CHECK_INT(rsrc_count_fold_adds(RSR_BINARY_SIGN, 3), 2 * (2 + 1) + 2);
    CHECK_INT(rsrc_count_fold_adds(RSR_BINARY_SIGN, 1), 0);
}

/* A row shorter than any k, and a matrix of zeros. */
static void test_degenerate(void) {
    static const int8_t zeros[12] = {0};
    struct rsrc_arena arena;
    rsrc_arena_init(&arena);
    struct rsr_matrix matrix = {.rows = 1, .cols = 12, .values = zeros};
    struct rsr_stats stats;
    CHECK_INT(rsrc_choose_k(&arena, &matrix, &stats), 1);
    CHECK_INT(stats.n_members, 0);
    CHECK_INT(stats.n_zero_rows, 1);
    CHECK_INT(stats.n_zero_cols, 12);
    struct rsr_index index;
    rsrc_build_index(&arena, &matrix, 16, &index);
    CHECK_INT(index.n_blocks, 1);
    CHECK_INT(index.blocks[0].n_rows, 1);
    CHECK_INT(index.blocks[0].n_segments, 0);
    rsrc_arena_free(&arena);
}

/* ---- hostile text ---------------------------------------------------------------------------- */

#define HEAD "rsr 1\nlayer \"a\" rows 2 cols 4 k 2 alphabet ternary\n"

static const struct {
    const char *text, *message;
} BAD_TEXTS[] = {
    {"", "<1>: error: expected 'rsr'"},
    {"rsr 2\n", "<1>: error: expected '1'"},
    {"rsr 1\nlayer a rows 1", "<2>: error: the layer's name is missing"},
    {"rsr 1\nlayer \"a rows 1", "<2>: error: the string is not closed"},
    {"rsr 1\nlayer \"a\\000\" rows 1", "<2>: error: a string cannot hold NUL"},
    {"rsr 1\nlayer \"a\\x\" rows 1", "<2>: error: unknown escape"},
    {"rsr 1\nlayer \"a\" rows 0 cols 4", "<2>: error: rows is 0, not 1..2147483647"},
    {"rsr 1\nlayer \"a\" rows 2 cols 99999999 k", "<2>: error: cols is 99999999"},
    {"rsr 1\nlayer \"a\" rows 2147483647 cols 9999 k 1 alphabet ternary\n",
     "<2>: error: the matrix has more than"},
    {"rsr 1\nlayer \"a\" rows 1000000 cols 4 k 1 alphabet ternary\n",
     "<2>: error: 1000000 rows need 1000000 blocks, which do not follow"},
    {"rsr 1\nlayer \"a\" rows 2 cols 4 k 17 alphabet ternary\n", "<2>: error: k is 17, not 1..16"},
    {"rsr 1\nlayer \"a\" rows 2 cols 4 k 2 alphabet ternery\n", "did you mean 'ternary'?"},
    {HEAD "block 1 segments 0 members 0\nend\n", "<3>: error: the block's first row is 1"},
    {HEAD "block 0 segments 5 members 1\n 1 : +1\nend\n",
     "<3>: error: the number of segments is 5"},
    {HEAD "block 0 segments 1 members 99\n 1 : +1\nend\n",
     "<3>: error: the number of members is 99"},
    {HEAD "block 0 segments 1 members 1\n 1 : 1\nend\n", "<4>: error: expected a column with its"},
    {HEAD "block 0 segments 1 members 1\n 1 : +4\nend\n", "<4>: error: the column is 4, not 0..3"},
    {HEAD "block 0 segments 1 members 1\n 1 : +1 +2\nend\n", "<4>: error: more members than"},
    {HEAD "block 0 segments 1 members 2\n 1 : +1\nend\n", "<5>: error: the block has 1 members"},
    {HEAD "block 0 segments 1 members 1\n 5 : +1\nend\n", "code 5 is not canonical for 2 rows"},
    {HEAD "block 0 segments 1 members 2\n 3 : +1 +0\nend\n", "column 0 is out of order"},
    {HEAD "block 0 segments 2 members 2\n 3 : +1\n 4 : -1\nend\n", "column 1 is in two segments"},
    {HEAD "block 0 segments 2 members 2\n 3 : +1\n 2 : -2\nend\n", "code 2 is out of order"},
    {HEAD "block 0 segments 1 members 1\n 3 : +1\n", "<5>: error: expected 'end'"},
    {HEAD "block 0 segments 1 members 1\n 99999999999999999999 : +1\nend\n", "is not a number"},
    {"rsr 1\nlayer \"a\" rows 2 cols 4 k 2 alphabet bit\nblock 0 segments 1 members 1\n 3 : -1\n"
     "end\n",
     "column 1 is negated in a {0, 1} matrix"},
    {"rsr 1\nlayer \"a\" rows 2 cols 2 k 2 alphabet sign\nblock 0 segments 1 members 1\n 3 : -1\n"
     "end\n",
     "a column of a {-1, +1} matrix is in no segment"},
};

static void test_bad_text(void) {
    for (size_t i = 0; i < sizeof BAD_TEXTS / sizeof BAD_TEXTS[0]; i++) {
        struct rsrc_arena arena;
        rsrc_arena_init(&arena);
        struct capture capture;
        capture_begin(&capture);
        const char *text = BAD_TEXTS[i].text;
        struct rsr_named_index *parsed = NULL;
        uint32_t n_parsed = 0;
        CHECK_INT(rsrc_parse_indexes(capture.diag, &arena, "t.rsr", text, strlen(text), &parsed,
                                     &n_parsed),
                  RSRC_FAILED);
        CHECK_INT(rsrc_diag_error_count(capture.diag), 1);
        CHECK(strstr(capture.text, "[rsr-text]") != NULL);
        /* "<3>: rest": line 3, any column. */
        const char *wanted = BAD_TEXTS[i].message;
        bool found = strstr(capture.text, wanted) != NULL;
        if (wanted[0] == '<')
            found = atoi(capture.text + strlen("t.rsr:")) == atoi(wanted + 1) &&
                    strstr(capture.text, strchr(wanted, '>') + 3) != NULL;
        CHECK(found);
        if (!found)
            fprintf(stderr, "text %zu: wanted \"%s\", got: %s\n", i, wanted, capture.text);
        capture_end(&capture);
        rsrc_arena_free(&arena);
    }
}

/* Every prefix of a good text, and every single byte replaced: no crash, and never a silent success
 * with fewer layers than the full text has lines for. */
static void test_damaged_text(void) {
    struct rsrc_arena arena;
    rsrc_arena_init(&arena);
    struct rsr_matrix matrix = fixed_matrix();
    struct rsr_index index;
    rsrc_build_index(&arena, &matrix, 4, &index);
    struct rsrc_buffer text = {0};
    rsrc_print_index(&index, "a", &text);
    uint64_t state = SEED + 2;
    for (size_t n = 0; n < text.size_bytes; n++) {
        struct capture capture;
        capture_begin(&capture);
        struct rsr_named_index *parsed = NULL;
        uint32_t n_parsed = 0;
        enum rsrc_status status =
            rsrc_parse_indexes(capture.diag, &arena, "t", text.data, n, &parsed, &n_parsed);
        bool complete = n + 1 >= text.size_bytes || n == strlen("rsr 1") || n == strlen("rsr 1\n");
        CHECK_INT(status, complete ? RSRC_OK : RSRC_FAILED);
        char saved = text.data[n];
        text.data[n] = (char)check_random(&state);
        status = rsrc_parse_indexes(capture.diag, &arena, "t", text.data, text.size_bytes, &parsed,
                                    &n_parsed);
        CHECK(status == RSRC_FAILED || rsrc_check_index(&arena, &parsed[0].index) == NULL);
        text.data[n] = saved;
        capture_end(&capture);
    }
    rsrc_buffer_free(&text);
    rsrc_arena_free(&arena);
}

int main(void) {
    printf("seed %" PRIu64 "\n", SEED);
    test_random_shapes();
    test_verifier();
    test_verifier_every_weight();
    test_row_statistics();
    test_choose_k();
    test_fold_adds();
    test_degenerate();
    test_bad_text();
    test_damaged_text();
    return CHECK_EXIT();
}
