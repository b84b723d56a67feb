/* louver_worth.c - what the rule mass of the KV index takes, and the steps that it is made of.
 *
 *     louver_worth [TYPE [KEYS [RUNS]]]
 *
 * One KV head after another of several, 4 query heads of 128 dimensions each, 1 thread; TYPE is
 * that of keys and values [f32], KEYS their number [32768]. Prints nanoseconds a key of one KV head
 * for all its query heads: of dense attention, of the steps, and of whole queries, whose logits
 * have the spread sigma. Everything is measured in turns, RUNS times [9]; times are those of the
 * processor, not of the clock on the wall, and medians.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "host/cpu.h"
#include "louver/louver_mass.h"

#define DIM 128u
#define GROUP 4u
#define MOST_RUNS 99u
#define LEAST_BYTES ((uint64_t)160 << 20) /* more than caches hold */
#define MOST_INDICES 64u

static rsr_louver *indices[MOST_INDICES];
static uint32_t n_indices, n_keys = 32768, n_runs = 9;
static float queries[GROUP * DIM], outputs[GROUP * DIM];

static void fail(const char *what) {
    fprintf(stderr, "louver_worth: %s\n", what);
    exit(1);
}

static double now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int compare(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *samples) {
    qsort(samples, n_runs, sizeof(*samples), compare);
    return samples[n_runs / 2];
}

/* ---- Data ---- */

static uint64_t state = 1;

static uint64_t next_random(void) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

/* About normal, of spread 1. */
static float bell(void) {
    float sum = 0.0f;
    for (uint32_t i = 0; i < 3; i++) {
        const uint64_t bits = next_random();
        for (uint32_t part = 0; part < 4; part++)
            sum += (float)(bits >> (16 * part) & 0xffff) * 0x1p-16f;
    }
    return sum - 6.0f;
}

static void draw_queries(float sigma) {
    for (uint32_t h = 0; h < GROUP; h++) {
        float square = 0.0f;
        for (uint32_t d = 0; d < DIM; d++) {
            queries[h * DIM + d] = bell();
            square += queries[h * DIM + d] * queries[h * DIM + d];
        }
        for (uint32_t d = 0; d < DIM; d++)
            queries[h * DIM + d] *= sigma * sqrtf((float)DIM / square);
    }
}

static void fill(const char *type) {
    rsr_louver_options options = RSR_LOUVER_OPTIONS_INIT;
    rsr_error err = RSR_ERROR_INIT;
    float key[DIM], value[DIM];
    uint64_t bytes = 0;
    options.head_dim = DIM;
    options.kv_type = type;
    while (bytes < LEAST_BYTES && n_indices < MOST_INDICES) {
        rsr_louver *index;
        if (rsr_louver_create(&options, &index, &err) != RSR_OK)
            fail(err.message);
        for (uint32_t j = 0; j < n_keys; j++) {
            for (uint32_t d = 0; d < DIM; d++) {
                key[d] = bell();
                value[d] = bell();
            }
            if (rsr_louver_append(index, key, value, 1, &err) != RSR_OK)
                fail(err.message);
        }
        bytes += (uint64_t)index->n_blocks * rsr_kv_rows_bytes(&index->setup.kv);
        indices[n_indices++] = index;
    }
}

/* ---- Steps, of one index ---- */

static struct louver_pass pass;
static struct louver_page *views;
static void *memory;

static void begin_pass(const rsr_louver *index) {
    const rsr_louver_threshold rule = {.kind = RSR_LOUVER_MASS, .value = 0.01};
    for (uint32_t i = 0; i < index->n_blocks; i++)
        views[i] = (struct louver_page){.rows = index->blocks[i]->rows,
                                        .n_keys = RSR_PAGE_TOKENS,
                                        .sidecar = index->blocks[i]->sidecar};
    louver_pass_begin(&pass, &index->setup, views, index->n_blocks, &rule, NULL, queries, DIM,
                      GROUP, NULL, memory);
}

static void step_dense(rsr_louver *index) {
    const struct louver_setup *setup = &index->setup;
    struct rsr_attend_state states[GROUP] = {{0.0f, 0.0f}};
    struct rsr_attend_head heads[GROUP];
    for (uint32_t h = 0; h < GROUP; h++)
        heads[h] = (struct rsr_attend_head){queries + h * DIM, outputs + h * DIM, &states[h]};
    for (uint32_t i = 0; i < index->n_blocks; i++) {
        const struct rsr_kv_rows *rows = &index->blocks[i]->rows;
        const struct rsr_attend_page page = {
            .keys = rows->keys,
            .values = rows->values,
            .next_keys = i + 1 < index->n_blocks ? index->blocks[i + 1]->rows.keys : NULL,
            .row_floats = setup->row_floats,
            .n_keys = RSR_PAGE_TOKENS,
            .far = setup->kv.far};
        setup->kv.ops->attend_page(heads, GROUP, &page, setup->scale);
    }
}

static void step_frames(rsr_louver *index) {
    begin_pass(index);
    louver_open_sidecars(&pass);
    for (uint32_t p = 0; p < pass.n_pages; p++) {
        louver_fetch_frame(&pass, p + 1);
        louver_find_frame(&pass, p);
    }
}

#define CACHED_PAGES 8u

/* The first plane's bounds of as many keys as there are, of the first n pages; step_frames has run
 * before. */
static void scan(rsr_louver *index, uint32_t n) {
    const struct louver_setup *setup = &index->setup;
    for (uint32_t i = 0; i < index->n_blocks; i++) {
        const uint32_t p = i % n;
        float t[GROUP * RSR_PAGE_TOKENS];
        setup->kernel->bounds(&setup->shape, louver_sketch(&pass.pages[p]), pass.queries[0], GROUP,
                              t, NULL, RSR_PAGE_TOKENS,
                              p + 1 < n ? louver_sketch(&pass.pages[p + 1]) : NULL);
        outputs[p % (GROUP * DIM)] = t[p % RSR_PAGE_TOKENS];
    }
}

static void step_scan(rsr_louver *index) {
    scan(index, index->n_blocks);
}

static void step_scan_cached(rsr_louver *index) {
    scan(index, CACHED_PAGES);
}

static void refine(rsr_louver *index, uint32_t n) {
    const struct louver_setup *setup = &index->setup;
    for (uint32_t i = 0; i < index->n_blocks; i++) {
        const uint32_t p = i % n;
        float t[GROUP * RSR_PAGE_TOKENS];
        setup->kernel->refine_all(&setup->shape, louver_sketch(&pass.pages[p]), pass.queries[0],
                                  GROUP, t, RSR_PAGE_TOKENS);
        outputs[p % (GROUP * DIM)] = t[p % RSR_PAGE_TOKENS];
    }
}

static void step_refine(rsr_louver *index) {
    refine(index, index->n_blocks);
}

static void step_refine_cached(rsr_louver *index) {
    refine(index, CACHED_PAGES);
}

static uint32_t wanted_keys;

/* Attention to so many keys of every page for each head, other keys for each. */
static void step_rows(rsr_louver *index) {
    uint64_t random = 88172645463325252u;
    begin_pass(index);
    for (uint32_t p = 0; p < index->n_blocks; p++) {
        for (uint32_t h = 0; h < GROUP; h++) {
            uint64_t mask = 0;
            while (louver_count_keys(mask) < wanted_keys) {
                random ^= random << 13, random ^= random >> 7, random ^= random << 17;
                mask |= UINT64_C(1) << (random & 63);
            }
            pass.heads[h].masks[p] = mask;
        }
    }
    const double before = now_ns();
    louver_attend(&pass);
    outputs[0] = (float)(now_ns() - before);
}

/* ---- Whole queries ---- */

static rsr_louver_threshold rule;
static rsr_louver_stats stats;

static void step_query(rsr_louver *index) {
    rsr_louver_query query = RSR_LOUVER_QUERY_INIT;
    rsr_louver_head heads[GROUP];
    rsr_error err = RSR_ERROR_INIT;
    query.n_heads = GROUP;
    query.q = queries;
    query.threshold = rule;
    query.out = outputs;
    query.heads = heads;
    stats = (rsr_louver_stats)RSR_LOUVER_STATS_INIT;
    if (rsr_louver_attend(index, &query, &stats, &err) != RSR_OK)
        fail(err.message);
}

/* ---- Measuring ---- */

typedef void step_fn(rsr_louver *index);

/* Nanoseconds a key. */
static double time_step(step_fn *step, uint32_t run) {
    rsr_louver *index = indices[run % n_indices];
    const double before = now_ns();
    step(index);
    return (now_ns() - before) / n_keys;
}

static void measure_steps(void) {
    static const struct {
        const char *name;
        step_fn *step;
    } steps[] = {
        {"dense attention", step_dense},
        {"frames", step_frames}, /* those after it use its pass */
        {"first plane", step_scan},
        {"second plane", step_refine},
        {"first plane, from the cache", step_scan_cached},
        {"second plane, from the cache", step_refine_cached},
    };
    enum { N_STEPS = sizeof(steps) / sizeof(steps[0]) };
    static double samples[N_STEPS][MOST_RUNS];
    draw_queries(3.0f);
    for (uint32_t i = 0; i < n_runs; i++)
        for (uint32_t k = 0; k < N_STEPS; k++)
            samples[k][i] = time_step(steps[k].step, k == 0 ? i : i + 1);
    for (uint32_t k = 0; k < N_STEPS; k++)
        printf("%-30s %5.1f ns a key\n", steps[k].name, median(samples[k]));
}

static void measure_rows(uint32_t wanted) {
    static double dense[MOST_RUNS], rows[MOST_RUNS];
    wanted_keys = wanted;
    for (uint32_t i = 0; i < n_runs; i++) {
        dense[i] = time_step(step_dense, i);
        (void)time_step(step_rows, i + 1);
        rows[i] = (double)outputs[0] / n_keys;
    }
    const double of_dense = median(dense), of_rows = median(rows);
    const double read = 1.0 - pow(1.0 - wanted / 64.0, GROUP);
    printf("%2u of 64 keys for each head: %.1f ns a key, %.2f of dense, %.2f a row that is read\n",
           wanted, of_rows, of_rows / of_dense, of_rows / of_dense / read);
}

static void measure_query(float sigma, const char *text) {
    static double dense[MOST_RUNS], query[MOST_RUNS], ratios[MOST_RUNS];
    rsr_error err = RSR_ERROR_INIT;
    if (rsr_louver_threshold_parse(text, &rule, &err) != RSR_OK)
        fail(err.message);
    for (uint32_t i = 0; i < n_runs; i++) {
        draw_queries(sigma);
        dense[i] = time_step(step_dense, i);
        query[i] = time_step(step_query, i + 1);
        ratios[i] = dense[i] / query[i];
    }
    printf(
        "sigma %.1f, %-9s dense %5.1f, index %5.1f ns a key, %.2f times as fast; of keys %3.0f %% "
        "by the second plane, %3.0f %% read\n",
        (double)sigma, text, median(dense), median(query), median(ratios),
        100.0 * (double)stats.plane2 / n_keys, 100.0 * (double)stats.exact / n_keys);
}

int main(int argc, char **argv) {
    static const float sigmas[] = {5.0f, 3.5f, 2.2f, 1.0f};
    const char *type = argc > 1 ? argv[1] : "f32";
    n_keys = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) / 64 * 64 : n_keys;
    n_runs = argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : n_runs;
    if (argc > 4 || n_keys < 1024 || n_runs < 1 || n_runs > MOST_RUNS)
        fail("usage: louver_worth [TYPE [KEYS [RUNS]]], at least 1024 keys and at most 99 runs");
    fill(type);
    views = calloc(n_keys / 64, sizeof(*views));
    memory = aligned_alloc(
        64, louver_pass_bytes(&indices[0]->setup, RSR_LOUVER_MASS, GROUP, n_keys / 64, 1));
    if (views == NULL || memory == NULL)
        fail("no memory");
    printf("%s, %u keys, kernel %s\n", type, n_keys, indices[0]->setup.kernel->name);
    measure_steps();
    for (uint32_t wanted = 1; wanted <= 48; wanted += wanted < 4 ? 1 : wanted < 16 ? 4 : 16)
        measure_rows(wanted);
    for (uint32_t i = 0; i < sizeof(sigmas) / sizeof(sigmas[0]); i++) {
        measure_query(sigmas[i], "mass:1e-2");
        measure_query(sigmas[i], "mass:0.1");
    }
    for (uint32_t i = 0; i < n_indices; i++)
        rsr_louver_destroy(indices[i]);
    free(views);
    free(memory);
    return 0;
}
