/* Compares attention of a run's heads together with attention of each head by itself, bit for bit:
 * random shapes, each type of keys and values, each level, and heads that see different parts of a
 * page, or nothing of it. Keys after the last one that a head sees hold numbers, NaN and
 * infinities, which must not matter. */
#include <math.h>
#include <stdlib.h>

#include "check.h"
#include "ops_here.h"

#define MOST_HEADS 72u
#define MOST_FLOATS 256u
#define N_PAGES 3u

struct run_case {
    uint32_t row_floats, n_tokens, group;
    bool spoiled; /* some keys and values that are seen are infinite or NaN */
    float q[MOST_HEADS][MOST_FLOATS];
    _Alignas(64) float lanes[(MOST_HEADS + RSR_RUN_LANES) * MOST_FLOATS];
    char rows[2][(RSR_PAGE_TOKENS + 4) * (MOST_FLOATS * 4 + 4)];
    uint32_t n_keys[MOST_HEADS];
    float out[2][MOST_HEADS][MOST_FLOATS];
    struct rsr_attend_state states[2][MOST_HEADS];
    _Alignas(64) float scratch[RSR_PAGE_TOKENS * (RSR_RUN_LANES + 64) + 8 * MOST_FLOATS];
};

static float random_float(uint64_t *state, float range) {
    return ((float)(check_random(state) >> 40) / 8388608.0f - 1.0f) * range;
}

static uint32_t random_below(uint64_t *state, uint32_t n) {
    return (uint32_t)(check_random(state) >> 33) % n;
}

static void make_shape(struct run_case *c, uint64_t *state) {
    static const uint32_t rows[] = {16, 48, 64, 80, 112, 128, 256};
    c->row_floats = rows[random_below(state, 7)];
    c->n_tokens = 1 + random_below(state, 8);
    c->group = 1 + random_below(state, 9);
    c->spoiled = random_below(state, 4) == 0;
    memset(c->lanes, 0, sizeof(c->lanes));
    memset(c->states, 0, sizeof(c->states));
    for (uint32_t h = 0; h < c->n_tokens * c->group; h++) {
        float *lane = c->lanes + h / RSR_RUN_LANES * RSR_RUN_LANES * c->row_floats;
        for (uint32_t d = 0; d < c->row_floats; d++) {
            c->q[h][d] = random_float(state, 2.0f);
            lane[d * RSR_RUN_LANES + h % RSR_RUN_LANES] = c->q[h][d];
        }
    }
}

/* Sets how many keys each head sees: all heads equally many, or one more with each token, where the
 * first tokens may see none. Returns the largest number. */
static uint32_t make_page(struct run_case *c, const struct rsr_kv_ops *kv, enum rsr_kv_type type,
                          uint64_t *state) {
    static const float wild[] = {NAN, INFINITY, -INFINITY, 0.0f, -0.0f, 3e38f};
    const bool alike = random_below(state, 3) == 0;
    const uint32_t first = random_below(state, 65), n_rows = RSR_PAGE_TOKENS + 4;
    uint32_t most = 0, least = RSR_PAGE_TOKENS;
    for (uint32_t h = 0; h < c->n_tokens * c->group; h++) {
        uint32_t n = alike ? first : first + h / c->group;
        n = alike || n >= c->n_tokens ? n : 0; /* tokens before the page */
        c->n_keys[h] = n < RSR_PAGE_TOKENS ? n : RSR_PAGE_TOKENS;
        most = c->n_keys[h] > most ? c->n_keys[h] : most;
        least = c->n_keys[h] < least ? c->n_keys[h] : least;
    }
    for (uint32_t i = 0; i < 2 * n_rows; i++) {
        const uint32_t j = i % n_rows;
        float x[MOST_FLOATS];
        for (uint32_t d = 0; d < c->row_floats; d++)
            x[d] = random_float(state, j % 7 == 0 ? 30.0f : 1.5f);
        /* keys that no head sees, or only some do */
        const bool is_wild =
            j >= most || (c->spoiled && j >= least) || (c->spoiled && random_below(state, 40) == 0);
        for (uint32_t d = 0; is_wild && d < c->row_floats; d++)
            x[d] = wild[random_below(state, 6)];
        kv->store(c->rows[i / n_rows] + j * rsr_kv_row_bytes(type, c->row_floats), c->row_floats, x,
                  c->row_floats);
    }
    return most;
}

/* Whether the numbers are equal, or both are NaN. */
static void check_same(const float *a, const float *b, uint32_t n) {
    for (uint32_t i = 0; i < n; i++)
        CHECK(isnan(a[i]) ? isnan(b[i]) != 0 : memcmp(&a[i], &b[i], sizeof(a[i])) == 0);
}

static void check_case(struct run_case *c, const struct rsr_kv_ops *kv, enum rsr_kv_type type,
                       uint64_t *state) {
    const uint32_t n_heads = c->n_tokens * c->group;
    struct rsr_attend_head heads[2][MOST_HEADS];
    for (uint32_t i = 0; i < 2; i++)
        for (uint32_t h = 0; h < n_heads; h++)
            heads[i][h] = (struct rsr_attend_head){c->q[h], c->out[i][h], &c->states[i][h]};
    memset(c->out, 0x5a, sizeof(c->out));
    for (uint32_t p = 0; p < N_PAGES; p++) {
        struct rsr_attend_page page = {.keys = c->rows[0],
                                       .values = c->rows[1],
                                       .row_floats = c->row_floats,
                                       .n_keys = make_page(c, kv, type, state),
                                       .far = p % 2 == 0};
        const struct rsr_attend_run run = {heads[1], n_heads, c->lanes, c->n_keys, c->scratch};
        kv->attend_run(&run, &page, 0.09f);
        for (uint32_t h = 0; h < n_heads; h++) {
            page.n_keys = c->n_keys[h];
            if (page.n_keys != 0)
                kv->attend_page(&heads[0][h], 1, &page, 0.09f);
        }
        for (uint32_t h = 0; h < n_heads; h++) {
            check_same(c->out[0][h], c->out[1][h], c->row_floats);
            check_same(&c->states[0][h].sum, &c->states[1][h].sum, 1);
            CHECK(isnan(c->states[0][h].sum) || c->states[0][h].max == c->states[1][h].max);
        }
    }
}

static void test_level(const struct rsr_ops *ops) {
    struct run_case *c = aligned_alloc(64, (sizeof(*c) + 63) / 64 * 64);
    uint64_t state = 11;
    CHECK(rsr_run_scratch_floats(MOST_FLOATS) * sizeof(float) == sizeof(c->scratch));
    for (uint32_t i = 0; i < 400; i++) {
        make_shape(c, &state);
        check_case(c, &ops->kv[i % RSR_KV_TYPES], (enum rsr_kv_type)(i % RSR_KV_TYPES), &state);
    }
    free(c);
}

int main(void) {
    for (uint32_t i = 0; i < RSR_OPS_LEVEL_COUNT; i++) {
        const struct rsr_ops *ops = ops_here((enum rsr_ops_level)i);
        if (ops != NULL)
            test_level(ops);
    }
    return CHECK_EXIT();
}
