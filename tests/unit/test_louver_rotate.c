/* Sketches of rotated keys: which pages have them, what a rotation rounds, and that answers depend
 * neither on the machine nor on the number of threads. test_louver_property attacks the bounds,
 * with every page rotated in a third of its cases. */
#include <math.h>
#include <omp.h>
#include <stdbool.h>
#include <stdlib.h>

#include "check.h"
#include "host/cpu.h"
#include "louver/louver.h"

#define MAX_KEYS 4096u
#define N_HEADS 4u

static _Alignas(64) float keys[MAX_KEYS * LOUVER_MAX_DIM], values[MAX_KEYS * LOUVER_MAX_DIM];
static float queries[N_HEADS * LOUVER_MAX_DIM];

/* About normal, of spread 1. */
static float bell(uint64_t *state) {
    double sum = 0.0;
    for (uint32_t i = 0; i < 12; i++)
        sum += (double)(check_random(state) >> 11) * 0x1p-53;
    return (float)(sum - 6.0);
}

/* Rows of `stride` floats, 0 from dim on. Every 16th channel has a mean of 8 and this spread. */
static void draw_rows(float *rows, uint32_t n, uint32_t dim, uint32_t stride, float spread,
                      uint64_t *state) {
    for (size_t i = 0; i < (size_t)n * stride; i++) {
        const uint32_t d = (uint32_t)(i % stride);
        const float x = bell(state);
        rows[i] = d >= dim ? 0.0f : d % 16 == 5 && spread != 1.0f ? 8.0f + spread * x : x;
    }
}

static const uint32_t dims[] = {32, 33, 64, 80, 96, 100, 128, 255, 256, 320};
#define N_DIMS (sizeof(dims) / sizeof(dims[0]))

static struct louver_setup setup_of(uint32_t dim) {
    const uint64_t features = rsr_cpu_features();
    return louver_setup_of(RSR_KV_F32, dim, 2, 0.0f, rsr_ops_best(features), features);
}

/* ---- Which pages ---- */

static void test_choice(void) {
    uint64_t state = 1;
    for (uint32_t i = 0; i < N_DIMS; i++) {
        const struct louver_setup setup = setup_of(dims[i]);
        const uint32_t stride = setup.row_floats;
        for (uint32_t page = 0; page < 20; page++) {
            draw_rows(keys, 64, dims[i], stride, 1.0f, &state);
            CHECK(!louver_rotation_pays(&setup, keys, 1000.0));
            draw_rows(keys, 64, dims[i], stride, 4.0f, &state);
            /* A slice of a single dimension counts as a full one. */
            CHECK(louver_rotation_pays(&setup, keys, 1000.0) || dims[i] == 33);
            CHECK(!louver_rotation_pays(&setup, keys, 0x1p126));
        }
        memset(keys, 0, 64 * stride * sizeof(*keys));
        CHECK(!louver_rotation_pays(&setup, keys, 0.0));
    }
}

/* ---- Rounding ---- */

static double norm_of(const float *x, uint32_t n) {
    double sum = 0.0;
    for (uint32_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    return sqrt(sum) * (1.0 + 0x1p-40);
}

static double product_of(const float *x, const float *y, uint32_t n) {
    double sum = 0.0;
    for (uint32_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)y[i];
    return sum;
}

/* Products of rotated vectors are within the slack of the real ones. Returns the largest part of a
 * slack that was used. */
static double check_products(const struct louver_setup *setup, float *k, const float *q) {
    const uint32_t n = setup->head_dim;
    float rotated[LOUVER_MAX_DIM] = {0.0f}, before[64 * LOUVER_MAX_DIM];
    double most = 0.0;
    memcpy(before, k, 64 * setup->row_floats * sizeof(*k));
    const double q_norm = norm_of(q, n);
    const double error = louver_rotate_query(setup, rotated, q, q_norm);
    louver_rotate_keys(setup, k, k);
    for (uint32_t j = 0; j < 64; j++) {
        const float *key = before + (size_t)j * setup->row_floats;
        const double key_norm = norm_of(key, n);
        const double slack = louver_rotation_slack(error, q_norm, key_norm);
        const double off =
            fabs(product_of(q, key, n) - product_of(rotated, k + (size_t)j * setup->row_floats, n));
        CHECK(off <= slack + n * 0x1p-51 * q_norm * key_norm);
        most = fmax(most, slack > 0.0 ? off / slack : 0.0);
    }
    return most;
}

static void test_rounding(void) {
    static const float sizes[] = {1.0f, 0x1p-140f, 0x1p-75f, 0x1p60f, 0x1p118f};
    uint64_t state = 2;
    for (uint32_t i = 0; i < N_DIMS; i++) {
        const struct louver_setup setup = setup_of(dims[i]);
        double most = 0.0;
        for (uint32_t c = 0; c < 25; c++) {
            float q[LOUVER_MAX_DIM] = {0.0f};
            draw_rows(q, 1, dims[i], setup.row_floats, 1.0f, &state);
            draw_rows(keys, 64, dims[i], setup.row_floats, 4.0f, &state);
            for (uint32_t d = 0; d < dims[i]; d++)
                q[d] *= sizes[c / 5];
            for (uint32_t d = 0; d < 64 * setup.row_floats; d++)
                keys[d] *= sizes[c % 5];
            most = fmax(most, check_products(&setup, keys, q));
        }
        printf("%u dims: rotations round up to %.3f of their slack\n", dims[i], most);
        CHECK(most > 0.0);
    }
    /* A query that could overflow is not rotated. */
    const struct louver_setup setup = setup_of(64);
    float q[64], rotated[64] = {0.0f};
    for (uint32_t d = 0; d < 64; d++)
        q[d] = 0x1.8p127f;
    const double norm = norm_of(q, 64);
    CHECK(louver_rotate_query(&setup, rotated, q, norm) >= norm && norm_of(rotated, 64) == 0.0);
}

/* ---- Answers ---- */

static rsr_louver *fill(uint32_t dim, uint32_t n_keys, float spread, float least_gain) {
    rsr_louver_options options = RSR_LOUVER_OPTIONS_INIT;
    rsr_louver *index = NULL;
    uint64_t state = 3;
    draw_rows(keys, n_keys, dim, dim, spread, &state);
    draw_rows(values, n_keys, dim, dim, 1.0f, &state);
    draw_rows(queries, N_HEADS, dim, dim, 1.0f, &state);
    options.head_dim = dim;
    CHECK_INT(rsr_louver_create(&options, &index, NULL), RSR_OK);
    index->setup.least_gain = least_gain;
    CHECK_INT(rsr_louver_append(index, keys, values, n_keys, NULL), RSR_OK);
    return index;
}

static uint32_t count_rotated(const rsr_louver *index) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < index->n_keys / RSR_PAGE_TOKENS; i++)
        n += index->blocks[i]->sidecar->rotated;
    return n;
}

struct answer {
    rsr_louver_stats stats;
    rsr_louver_head heads[N_HEADS];
    uint32_t indices[N_HEADS * MAX_KEYS];
    float out[N_HEADS * LOUVER_MAX_DIM];
};

static void ask(rsr_louver *index, const char *rule, struct answer *answer) {
    rsr_louver_query query = RSR_LOUVER_QUERY_INIT;
    memset(answer, 0, sizeof(*answer));
    answer->stats.size_bytes = sizeof(answer->stats);
    query.n_heads = N_HEADS;
    query.q = queries;
    query.heads = answer->heads;
    query.indices = answer->indices;
    query.capacity = MAX_KEYS;
    query.out = answer->out;
    CHECK_INT(rsr_louver_threshold_parse(rule, &query.threshold, NULL), RSR_OK);
    CHECK_INT(rsr_louver_attend(index, &query, &answer->stats, NULL), RSR_OK);
}

static const char *const rules[] = {"topk:20", "mass:0.1", "mass:0.5", "error:0.5", "sample_max:1"};
#define N_RULES (sizeof(rules) / sizeof(rules[0]))

/* Rotated pages find the same best keys, and read fewer second planes for it; pages without
 * outliers are not rotated. */
static void test_reads(void) {
    static struct answer plain, rotated;
    for (uint32_t outliers = 0; outliers < 2; outliers++) {
        const float spread = outliers ? 4.0f : 1.0f;
        rsr_louver *index = fill(128, MAX_KEYS, spread, INFINITY);
        CHECK_INT(count_rotated(index), 0);
        ask(index, "topk:20", &plain);
        rsr_louver_destroy(index);
        index = fill(128, MAX_KEYS, spread, LOUVER_LEAST_GAIN);
        CHECK_INT(count_rotated(index), outliers ? MAX_KEYS / RSR_PAGE_TOKENS : 0);
        ask(index, "topk:20", &rotated);
        rsr_louver_destroy(index);
        CHECK(memcmp(plain.indices, rotated.indices, sizeof(plain.indices)) == 0);
        CHECK(memcmp(plain.out, rotated.out, sizeof(plain.out)) == 0);
        printf("%s: second planes of %u and %u keys\n", outliers ? "outliers" : "none",
               plain.stats.plane2, rotated.stats.plane2);
        CHECK(outliers ? 4 * rotated.stats.plane2 < 3 * plain.stats.plane2
                       : rotated.stats.plane2 == plain.stats.plane2);
    }
}

/* Every kernel and every level of operations: the same sidecars, the same answers. */
static void test_levels(void) {
    static struct answer first, other;
    const uint64_t features = rsr_cpu_features();
    const struct louver_setup setup = setup_of(80);
    const uint32_t bytes = louver_sidecar_bytes(&setup);
    char *expected = aligned_alloc(64, bytes);
    for (uint32_t i = 0; i < N_RULES; i++) {
        bool is_first = true;
        for (uint32_t k = 0; rsr_sketch_kernel_at(k) != NULL; k++) {
            if ((rsr_sketch_kernel_at(k)->features & ~features) != 0)
                continue;
            for (enum rsr_ops_level level = RSR_OPS_GENERIC; level < RSR_OPS_LEVEL_COUNT; level++) {
                if (rsr_ops_get(level) == NULL || (rsr_ops_features(level) & ~features) != 0)
                    continue;
                rsr_louver *index = fill(80, 2000, 4.0f, LOUVER_LEAST_GAIN);
                index->setup.kernel = rsr_sketch_kernel_at(k);
                index->setup.ops = rsr_ops_get(level);
                CHECK_INT(rsr_louver_truncate(index, 0, NULL), RSR_OK);
                CHECK_INT(rsr_louver_append(index, keys, values, 2000, NULL), RSR_OK);
                CHECK_INT(count_rotated(index), 2000 / RSR_PAGE_TOKENS);
                ask(index, rules[i], is_first ? &first : &other);
                if (is_first)
                    memcpy(expected, index->blocks[7]->sidecar, bytes);
                CHECK(memcmp(expected, index->blocks[7]->sidecar, bytes) == 0);
                CHECK(is_first || memcmp(&first, &other, sizeof(first)) == 0);
                is_first = false;
                rsr_louver_destroy(index);
            }
        }
    }
    free(expected);
}

/* ---- Threads ---- */

#define N_MEMBERS 3u
static struct louver_pass passes[N_MEMBERS];

static void meet(void *user) {
    (void)user;
#pragma omp barrier
}

static struct louver_pass *member(void *user, uint32_t number) {
    (void)user;
    return &passes[number];
}

/* Only the last member's pages are rotated, and the first member's queries read them. */
static void test_team(void) {
    const uint32_t n_keys = 2000;
    rsr_louver *index = fill(64, n_keys, 1.0f, INFINITY);
    static struct louver_page views[MAX_KEYS / RSR_PAGE_TOKENS];
    const uint32_t n_pages = index->n_blocks, last = n_pages * 2 / N_MEMBERS;
    index->setup.least_gain = 0.0f;
    for (uint32_t i = last; i < n_keys / RSR_PAGE_TOKENS; i++)
        louver_seal(&index->setup, index->blocks[i]->sidecar, &index->blocks[i]->rows);
    for (uint32_t r = 0; r < N_RULES; r++) {
        static uint64_t masks[N_HEADS][MAX_KEYS / RSR_PAGE_TOKENS];
        rsr_louver_threshold threshold;
        CHECK_INT(rsr_louver_threshold_parse(rules[r], &threshold, NULL), RSR_OK);
        for (uint32_t n_members = 1; n_members <= N_MEMBERS; n_members += N_MEMBERS - 1) {
            void *memory[N_MEMBERS];
            for (uint32_t i = 0; i < n_members; i++)
                memory[i] = aligned_alloc(64, louver_pass_bytes(&index->setup, threshold.kind,
                                                                N_HEADS, n_pages, n_members));
            for (uint32_t i = 0; i < n_pages; i++)
                views[i] = (struct louver_page){
                    .rows = index->blocks[i]->rows,
                    .n_keys = i + 1 < n_pages ? RSR_PAGE_TOKENS : n_keys % RSR_PAGE_TOKENS,
                    .sidecar = i + 1 < n_pages ? index->blocks[i]->sidecar : NULL,
                };
            struct louver_team teams[N_MEMBERS];
            for (uint32_t i = 0; i < n_members; i++)
                teams[i] = (struct louver_team){n_members, i, meet, member, NULL};
            louver_pass_begin(&passes[0], &index->setup, views, n_pages, &threshold, NULL, queries,
                              64, N_HEADS, &teams[0], memory[0]);
            for (uint32_t i = 1; i < n_members; i++)
                louver_pass_join(&passes[i], &passes[0], &teams[i], memory[i]);
#pragma omp parallel num_threads((int)n_members)
            louver_pass_run(&passes[omp_get_thread_num()]);
            for (uint32_t h = 0; h < N_HEADS; h++) {
                const uint64_t *found = passes[0].heads[h].masks;
                if (n_members == 1)
                    memcpy(masks[h], found, n_pages * sizeof(*found));
                CHECK(memcmp(masks[h], found, n_pages * sizeof(*found)) == 0);
            }
            for (uint32_t i = 0; i < n_members; i++)
                free(memory[i]);
        }
    }
    rsr_louver_destroy(index);
}

int main(void) {
    test_choice();
    test_rounding();
    test_reads();
    test_levels();
    test_team();
    return CHECK_EXIT();
}
