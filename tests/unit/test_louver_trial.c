/* What mass:EPS decides, and what it keeps.
 *
 * The decisions (which keys are attended to, whether a trial gives up) are the same on every
 * machine: all kernels and all levels of float operations attend to the same keys, and no function
 * of libm takes part whose results differ between versions. This program's own exp, log, erfc and
 * so on take the place of libm's and count calls.
 *
 * A page that is left out keeps the keys that Z was computed from, or Z would be no lower bound. */
#include <math.h>

#include "check.h"
#include "host/cpu.h"
#include "louver/louver_mass.h"

/* ---- libm ---- */

static uint32_t n_libm_calls;

#define COUNTED(name, type)                                                                        \
    type name(type x);                                                                             \
    type name(type x) {                                                                            \
        n_libm_calls++;                                                                            \
        return x;                                                                                  \
    }
COUNTED(exp, double)
COUNTED(exp2, double)
COUNTED(expm1, double)
COUNTED(log, double)
COUNTED(log2, double)
COUNTED(log1p, double)
COUNTED(erf, double)
COUNTED(erfc, double)
COUNTED(expf, float)
COUNTED(exp2f, float)
COUNTED(logf, float)
COUNTED(log2f, float)
COUNTED(erfcf, float)

/* ---- Data ---- */

#define MAX_KEYS 6000u
#define DIM 64u
#define N_HEADS 4u

static float keys[MAX_KEYS * DIM], values[MAX_KEYS * DIM], queries[N_HEADS * DIM];

/* About normal, of spread 1. */
static float bell(uint64_t *state) {
    double sum = 0.0;
    for (uint32_t i = 0; i < 12; i++)
        sum += (double)(check_random(state) >> 11) * 0x1p-53;
    return (float)(sum - 6.0);
}

static void draw(uint64_t *state, uint32_t n_keys, float sigma) {
    for (uint32_t i = 0; i < n_keys * DIM; i++) {
        keys[i] = bell(state);
        values[i] = bell(state);
    }
    for (uint32_t i = 0; i < N_HEADS * DIM; i++)
        queries[i] = sigma * bell(state);
}

static rsr_louver *fill(uint32_t n_keys) {
    rsr_louver_options options = RSR_LOUVER_OPTIONS_INIT;
    rsr_louver *index = NULL;
    options.head_dim = DIM;
    CHECK_INT(rsr_louver_create(&options, &index, NULL), RSR_OK);
    CHECK_INT(rsr_louver_append(index, keys, values, n_keys, NULL), RSR_OK);
    return index;
}

/* ---- The same keys everywhere ---- */

struct answer {
    uint32_t n[N_HEADS], indices[N_HEADS * MAX_KEYS];
};

static void ask(rsr_louver *index, const char *rule, struct answer *answer) {
    rsr_louver_query query = RSR_LOUVER_QUERY_INIT;
    rsr_louver_head heads[N_HEADS];
    query.n_heads = N_HEADS;
    query.q = queries;
    query.heads = heads;
    query.indices = answer->indices;
    query.capacity = MAX_KEYS;
    CHECK_INT(rsr_louver_threshold_parse(rule, &query.threshold, NULL), RSR_OK);
    CHECK_INT(rsr_louver_attend(index, &query, NULL, NULL), RSR_OK);
    for (uint32_t h = 0; h < N_HEADS; h++)
        answer->n[h] = heads[h].n_attended;
}

static bool equal(const struct answer *a, const struct answer *b) {
    for (uint32_t h = 0; h < N_HEADS; h++)
        if (a->n[h] != b->n[h] ||
            memcmp(a->indices + (size_t)h * MAX_KEYS, b->indices + (size_t)h * MAX_KEYS,
                   a->n[h] * sizeof(uint32_t)) != 0)
            return false;
    return true;
}

static void test_levels(void) {
    static struct answer first, other;
    uint64_t state = 7;
    uint32_t n_given_up = 0, n_sparse = 0;
    static const char *const rules[] = {"mass:0.05", "mass:0.3", "error:0.1", "error:0.5"};
    for (uint32_t i = 0; i < 8; i++) {
        const uint32_t n_keys = 2500 + 500 * i;
        draw(&state, n_keys, 1.0f + 0.6f * (float)i);
        rsr_louver *index = fill(n_keys);
        bool is_first = true;
        for (uint32_t k = 0; rsr_sketch_kernel_at(k) != NULL; k++) {
            if ((rsr_sketch_kernel_at(k)->features & ~rsr_cpu_features()) != 0)
                continue;
            index->setup.kernel = rsr_sketch_kernel_at(k);
            for (enum rsr_ops_level level = RSR_OPS_GENERIC; level < RSR_OPS_LEVEL_COUNT; level++) {
                if (rsr_ops_get(level) == NULL ||
                    (rsr_ops_features(level) & ~rsr_cpu_features()) != 0)
                    continue;
                index->setup.ops = rsr_ops_get(level);
                ask(index, rules[i % 4], is_first ? &first : &other);
                CHECK(is_first || equal(&first, &other));
                is_first = false;
            }
        }
        n_given_up += first.n[0] == n_keys;
        n_sparse += first.n[0] < n_keys / 2;
        rsr_louver_destroy(index);
    }
    printf("trials that gave up: %u of 8; %u attended to less than half\n", n_given_up, n_sparse);
    CHECK(n_given_up > 0 && n_sparse > 0);
    CHECK_INT(n_libm_calls, 0);
}

/* ---- Lanes ---- */

/* All lanes give the same bits, with numbers that are not finite, too. */
static void test_lanes(void) {
    const struct louver_lanes *portable = louver_lanes_for(0);
    const struct louver_lanes *best = louver_lanes_for(rsr_cpu_features());
    const float odd[] = {INFINITY, -INFINITY, NAN, 1e30f, -1e30f, 0.0f, -0.0f, 0x1p-140f};
    uint64_t state = 11;
    CHECK(portable->features == 0);
    for (uint32_t i = 0; i < 2000; i++) {
        float t[RSR_PAGE_TOKENS], a[RSR_PAGE_TOKENS], b[RSR_PAGE_TOKENS];
        struct louver_bins bins[2] = {{{0}}, {{0}}};
        const struct louver_line line = {4.0f * bell(&state), 0.5f * bell(&state), i % 16 != 3};
        const uint64_t mask = i % 3 == 0 ? UINT64_MAX : check_random(&state);
        for (uint32_t j = 0; j < RSR_PAGE_TOKENS; j++)
            t[j] = check_random(&state) % 40 == 0 ? odd[check_random(&state) % 8]
                                                  : 30.0f * bell(&state);
        portable->bounds(&line, a, t);
        best->bounds(&line, b, t);
        for (uint32_t j = 0; j < RSR_PAGE_TOKENS; j++)
            CHECK(memcmp(&a[j], &b[j], sizeof(float)) == 0 || (isnan(a[j]) && isnan(b[j])));
        portable->count(&bins[0], t, mask);
        best->count(&bins[1], t, mask);
        CHECK(memcmp(&bins[0], &bins[1], sizeof(bins[0])) == 0);
        const float limit = louver_limit_of((uint32_t)(check_random(&state) % LOUVER_BINS));
        const uint64_t below = portable->below(t, limit);
        CHECK(below == best->below(t, limit));
        /* What is below a limit was counted in a lower bin; a NaN is not. */
        for (uint32_t j = 0; j < RSR_PAGE_TOKENS; j++)
            CHECK((below >> j & 1) == (t[j] < limit));
    }
}

/* ---- Pages that are left out ---- */

/* What a pass did. */
struct seen {
    uint32_t n_reduced; /* pages that are left out but for keys of Z */
    uint32_t n_framed;  /* frames that were computed */
    uint32_t n_attended;
};

static struct seen run_pass(rsr_louver *index, const char *rule) {
    static struct louver_page views[(MAX_KEYS + 63) / 64];
    static struct louver_pass pass;
    rsr_louver_threshold threshold;
    struct seen seen = {0};
    CHECK_INT(rsr_louver_threshold_parse(rule, &threshold, NULL), RSR_OK);
    for (uint32_t i = 0; i < index->n_blocks; i++) {
        const uint32_t left = index->n_keys - i * RSR_PAGE_TOKENS;
        views[i] = (struct louver_page){
            .rows = index->blocks[i]->rows,
            .n_keys = left < RSR_PAGE_TOKENS ? left : RSR_PAGE_TOKENS,
            .sidecar = left < RSR_PAGE_TOKENS ? NULL : index->blocks[i]->sidecar,
        };
    }
    const uint64_t bytes =
        louver_pass_bytes(&index->setup, RSR_LOUVER_MASS, N_HEADS, index->n_blocks, 1);
    void *memory = aligned_alloc(64, bytes);
    memset(memory, 0xff, bytes); /* no frame has a negative NaN */
    louver_pass_begin(&pass, &index->setup, views, index->n_blocks, &threshold, NULL, queries, DIM,
                      N_HEADS, NULL, memory);
    louver_pass_run(&pass);
    for (uint32_t h = 0; h < N_HEADS; h++) {
        const struct louver_head_state *head = &pass.heads[h];
        for (uint32_t p = 0; p < pass.n_pages; p++) {
            CHECK((head->given[p] & ~head->masks[p]) == 0);
            seen.n_reduced +=
                head->masks[p] == head->given[p] && head->given[p] != 0 && views[p].sidecar != NULL;
            seen.n_framed += isnan(head->frames[p].unit) ? 0 : 1;
        }
        seen.n_attended += head->n_attended;
    }
    free(memory);
    return seen;
}

/* The keys of the open page have nearly all weight. Every sealed page has a bound below them, so
 * all are left out as pages: the best of them, too, of which Z has eight keys. */
static void test_reduced_page(void) {
    const uint32_t n_keys = 20 * RSR_PAGE_TOKENS + 5;
    uint64_t state = 3;
    draw(&state, n_keys, 1.0f);
    for (uint32_t i = 0; i < n_keys; i++)
        for (uint32_t k = 0; k < DIM; k++)
            keys[i * DIM + k] = i < n_keys - 5 ? 0.02f * keys[i * DIM + k] : 1.0f;
    for (uint32_t h = 0; h < N_HEADS; h++)
        for (uint32_t k = 0; k < DIM; k++)
            queries[h * DIM + k] = 6.0f + 0.1f * queries[h * DIM + k];
    rsr_louver *index = fill(n_keys);
    CHECK(run_pass(index, "mass:0.5").n_reduced >= N_HEADS);
    rsr_louver_destroy(index);
}

/* ---- Trials by the sample alone ---- */

#define TRIAL_PAGES 80u

/* Where attention is flat, a pass gives up with the frames of 8 to 15 pages. If the sample's pages
 * differ, as here, where all keys of some have logits of 12 on average, it decides with all frames;
 * then it leaves keys out. Of 80 pages, those 5 + 10 i are tried. */
static void test_sample(void) {
    const uint32_t n_keys = TRIAL_PAGES * RSR_PAGE_TOKENS;
    uint64_t state = 5;
    for (uint32_t uneven = 0; uneven < 2; uneven++) {
        draw(&state, n_keys, 1.0f);
        for (uint32_t p = 0; uneven != 0 && p < TRIAL_PAGES; p += 15)
            for (uint32_t i = 0; i < RSR_PAGE_TOKENS * DIM; i++)
                keys[p * RSR_PAGE_TOKENS * DIM + i] += 12.0f * queries[i % DIM] / 8.0f;
        for (uint32_t h = 1; uneven != 0 && h < N_HEADS; h++)
            memcpy(queries + h * DIM, queries, DIM * sizeof(float));
        rsr_louver *index = fill(n_keys);
        const struct seen seen = run_pass(index, "mass:0.1");
        CHECK_INT(seen.n_framed, uneven != 0 ? N_HEADS * TRIAL_PAGES : N_HEADS * 8);
        CHECK(uneven != 0 ? seen.n_attended < N_HEADS * n_keys / 4
                          : seen.n_attended == N_HEADS * n_keys);
        rsr_louver_destroy(index);
    }
}

int main(void) {
    test_levels();
    test_lanes();
    test_reduced_page();
    test_sample();
    return CHECK_EXIT();
}
