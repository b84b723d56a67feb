/* error:EPS certifies nothing false: the output's distance from attention over all keys, in
 * float64, is at most what it certifies; that is at most EPS times the certified spread; and that
 * is at most the spread of the values.
 *
 * The data attacks the proof of louver_spread.c. Values that are left out point away from those
 * that stay; heavy keys have values far from all others, so that the output is far from the centre;
 * a few values are a thousand times as long as the others, or all are nearly equal, far from 0, or
 * denormal. Keys lie on a line, so that their bounds have little slack. Every index is asked when
 * it has grown, after a truncation into a page, and as a fork that grew again.
 *
 * The test reports what was read and how much of a certified error was used, because an index that
 * reads everything certifies nothing false either. Compiled with RSR_LOUVER_OMIT and a source that
 * omits a step of the proof, the test must find a false certificate.
 *
 *     test_louver_spread [CASES [FIRST_SEED]] */
#include <math.h>
#include <stdlib.h>

#include "check.h"
#include "louver/louver.h"

#ifdef RSR_LOUVER_OMIT
#define OMITTED true
#else
#define OMITTED false
#endif

#define MAX_KEYS 2000u
#define MAX_HEADS 4u
#define MAX_DIM 128u
#define DEFAULT_CASES 180u
#define LONG_CASES 10000u

static float keys[MAX_KEYS * MAX_DIM], values[MAX_KEYS * MAX_DIM], queries[MAX_HEADS * MAX_DIM];
static bool is_heavy[MAX_KEYS];

/* ---- Data ---- */

struct drawing {
    uint64_t *state;
    uint32_t dim, n_keys;
    bool bf16;            /* keys and values are numbers of bfloat16 */
    float along[MAX_DIM]; /* a direction of values, of length 1 */
};

static double uniform(uint64_t *state) {
    return ((double)(check_random(state) >> 11) + 0.5) * 0x1p-53;
}

static double gaussian(uint64_t *state) {
    return sqrt(-2.0 * log(uniform(state))) * cos(6.283185307179586 * uniform(state));
}

static uint32_t below(uint64_t *state, uint32_t n) {
    return (uint32_t)(check_random(state) % n);
}

/* One key in 50 is heavy. The others' logits are up to 5, in some cases equal in a page. */
static void draw_key(const struct drawing *d, uint32_t i, bool in_pages) {
    double squares = 0.0, logit = 5.0 * uniform(d->state);
    float *key = keys + (size_t)i * d->dim;
    if (in_pages && i % RSR_PAGE_TOKENS != 0 && !is_heavy[i - 1]) {
        memcpy(key, key - d->dim, d->dim * sizeof(float));
        return;
    }
    is_heavy[i] = below(d->state, 50) == 0;
    logit = is_heavy[i] ? 11.0 + 4.0 * uniform(d->state) : logit;
    for (uint32_t k = 0; k < d->dim; k++)
        squares += (double)queries[k] * (double)queries[k];
    for (uint32_t k = 0; k < d->dim; k++)
        key[k] = (float)(logit * sqrt((double)d->dim) / squares * (double)queries[k]);
}

static void scale_gaussian(const struct drawing *d, float *value, double spread, double mean) {
    for (uint32_t k = 0; k < d->dim; k++)
        value[k] = (float)(mean + spread * gaussian(d->state));
}

static void value_gaussian(const struct drawing *d, float *value, uint32_t i) {
    (void)i;
    scale_gaussian(d, value, 1.0, 0.0);
}

static void value_shifted(const struct drawing *d, float *value, uint32_t i) {
    (void)i;
    scale_gaussian(d, value, 1.0, 300.0);
}

/* 128 tokens have values around one centre. */
static void value_clustered(const struct drawing *d, float *value, uint32_t i) {
    uint64_t own = (i / 128 + 1) * UINT64_C(0x9e3779b97f4a7c15);
    scale_gaussian(d, value, 0.1, 0.0);
    for (uint32_t k = 0; k < d->dim; k++)
        value[k] += (float)gaussian(&own);
}

static void value_outlying(const struct drawing *d, float *value, uint32_t i) {
    (void)i;
    scale_gaussian(d, value, below(d->state, 300) == 0 ? 1000.0 : 1.0, 0.0);
}

static void value_tied(const struct drawing *d, float *value, uint32_t i) {
    for (uint32_t k = 0; k < d->dim; k++)
        value[k] = is_heavy[i] && k == 0 ? 3.0f : 1.0f;
}

static void value_denormal(const struct drawing *d, float *value, uint32_t i) {
    (void)i;
    scale_gaussian(d, value, 1e-39, 0.0);
}

static void value_huge(const struct drawing *d, float *value, uint32_t i) {
    (void)i;
    scale_gaussian(d, value, 1e25, 0.0);
}

/* Light keys have the opposite of the heavy keys' value. */
static void value_opposed(const struct drawing *d, float *value, uint32_t i) {
    for (uint32_t k = 0; k < d->dim; k++)
        value[k] = is_heavy[i] ? d->along[k] : -d->along[k];
}

/* Half of the light keys of a page are opposed: its centre is that of all values. */
static void value_balanced(const struct drawing *d, float *value, uint32_t i) {
    const double logit = (double)keys[(size_t)i * d->dim] / (double)queries[0];
    const double at = (double)keys[0] / (double)queries[0];
    for (uint32_t k = 0; k < d->dim; k++)
        value[k] = is_heavy[i] || logit > at ? d->along[k] : -d->along[k];
}

static void value_far(const struct drawing *d, float *value, uint32_t i) {
    scale_gaussian(d, value, 1e-3, 0.0);
    for (uint32_t k = 0; k < d->dim; k++)
        value[k] += is_heavy[i] ? 100.0f * d->along[k] : 0.0f;
}

static const struct {
    const char *name;
    void (*value)(const struct drawing *d, float *value, uint32_t i);
} kinds[] = {
    {"gaussian", value_gaussian}, {"shifted", value_shifted}, {"clustered", value_clustered},
    {"outlying", value_outlying}, {"tied", value_tied},       {"denormal", value_denormal},
    {"huge", value_huge},         {"opposed", value_opposed}, {"balanced", value_balanced},
    {"far", value_far},
};
#define N_KINDS (sizeof(kinds) / sizeof(kinds[0]))

struct tally {
    uint64_t heads, false_ones;
    double keys, exact, used; /* the largest part of a certified error */
};
static struct tally tallies[N_KINDS];

static void round_to_bf16(float *x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof(bits));
        bits &= UINT32_C(0xffff0000);
        memcpy(&x[i], &bits, sizeof(bits));
    }
}

static void draw(struct drawing *d, uint32_t kind, uint32_t n_heads) {
    double squares = 0.0;
    const bool in_pages = below(d->state, 3) == 0;
    const double sigma = 0.5 + 2.0 * uniform(d->state);
    for (uint32_t k = 0; k < n_heads * d->dim; k++)
        queries[k] = (float)(sigma * gaussian(d->state));
    for (uint32_t k = 0; k < d->dim; k++) {
        d->along[k] = (float)gaussian(d->state);
        squares += (double)d->along[k] * (double)d->along[k];
    }
    for (uint32_t k = 0; k < d->dim; k++)
        d->along[k] = (float)((double)d->along[k] / sqrt(squares));
    for (uint32_t i = 0; i < d->n_keys; i++) {
        draw_key(d, i, in_pages);
        kinds[kind].value(d, values + (size_t)i * d->dim, i);
    }
    if (d->bf16) {
        round_to_bf16(keys, (size_t)d->n_keys * d->dim);
        round_to_bf16(values, (size_t)d->n_keys * d->dim);
    }
}

/* ---- Checking ---- */

/* The distance of an output from attention over all keys, in float64. */
static double true_error(const struct drawing *d, const float *q, const float *out) {
    static double logits[MAX_KEYS];
    double sums[MAX_DIM] = {0.0}, largest = -INFINITY, whole = 0.0, squares = 0.0;
    for (uint32_t i = 0; i < d->n_keys; i++) {
        double product = 0.0;
        for (uint32_t k = 0; k < d->dim; k++)
            product += (double)q[k] * (double)keys[(size_t)i * d->dim + k];
        logits[i] = product * (double)(1.0f / sqrtf((float)d->dim));
        largest = fmax(largest, logits[i]);
    }
    for (uint32_t i = 0; i < d->n_keys; i++) {
        const double weight = exp(logits[i] - largest);
        whole += weight;
        for (uint32_t k = 0; k < d->dim; k++)
            sums[k] += weight * (double)values[(size_t)i * d->dim + k];
    }
    for (uint32_t k = 0; k < d->dim; k++)
        squares += pow(sums[k] / whole - (double)out[k], 2.0);
    return sqrt(squares);
}

/* The root of the mean of |v - mean|^2; *largest is that of |v|. */
static double true_spread(const struct drawing *d, double *largest) {
    double mean[MAX_DIM] = {0.0}, sum = 0.0;
    *largest = 0.0;
    for (uint32_t i = 0; i < d->n_keys; i++)
        for (uint32_t k = 0; k < d->dim; k++)
            mean[k] += (double)values[(size_t)i * d->dim + k] / d->n_keys;
    for (uint32_t i = 0; i < d->n_keys; i++) {
        double size = 0.0;
        for (uint32_t k = 0; k < d->dim; k++) {
            const double v = (double)values[(size_t)i * d->dim + k];
            sum += (v - mean[k]) * (v - mean[k]);
            size += v * v;
        }
        *largest = fmax(*largest, sqrt(size));
    }
    return sqrt(sum / d->n_keys);
}

static void ask(rsr_louver *index, const struct drawing *d, uint32_t n_heads, struct tally *tally) {
    static const char *const rules[] = {"error:1e-6", "error:1e-3", "error:0.01",
                                        "error:0.1",  "error:0.5",  "error:0.5,sinks=3,window=70",
                                        "error:0.99"};
    float out[MAX_HEADS * MAX_DIM];
    rsr_louver_head heads[MAX_HEADS];
    rsr_louver_stats stats = RSR_LOUVER_STATS_INIT;
    rsr_louver_query query = RSR_LOUVER_QUERY_INIT;
    double largest;
    const double spread = true_spread(d, &largest);
    query.n_heads = n_heads;
    query.q = queries;
    query.heads = heads;
    query.out = out;
    for (uint32_t r = 0; r < sizeof(rules) / sizeof(rules[0]); r++) {
        CHECK_INT(rsr_louver_threshold_parse(rules[r], &query.threshold, NULL), RSR_OK);
        CHECK_INT(rsr_louver_attend(index, &query, &stats, NULL), RSR_OK);
        for (uint32_t h = 0; h < n_heads; h++) {
            const double certified = heads[h].certified_error;
            const double rounding = 2e-5 * largest + 1e-43; /* of float32 outputs */
            const double error = true_error(d, queries + (size_t)h * d->dim, out + h * d->dim);
            tally->false_ones += !(error <= certified + rounding);
            if (certified > 0.0)
                tally->used = fmax(tally->used, (error - rounding) / certified);
            tally->heads++;
            CHECK(certified <= query.threshold.value * heads[h].spread);
            CHECK(heads[h].spread <= spread * (1.0 + 1e-12));
        }
        tally->keys += stats.n_keys;
        tally->exact += stats.exact;
    }
}

static void run_case(uint64_t seed) {
    static const uint32_t dims[] = {64, 128, 33};
    uint64_t state = seed * UINT64_C(0x9e3779b97f4a7c15);
    rsr_louver_options options = RSR_LOUVER_OPTIONS_INIT;
    rsr_louver *index = NULL, *fork = NULL;
    const uint32_t kind = (uint32_t)(seed % N_KINDS), n_heads = 1 + below(&state, MAX_HEADS);
    struct drawing d = {.state = &state, .dim = dims[below(&state, 3)]};
    const uint32_t n_keys = 200 + below(&state, below(&state, 2) == 0 ? 300 : MAX_KEYS - 200);
    d.n_keys = n_keys;
    d.bf16 = below(&state, 3) == 0;
    draw(&d, kind, n_heads);
    options.head_dim = d.dim;
    options.kv_type = d.bf16 ? "bf16" : "f32";
    options.n_planes = 1 + (below(&state, 4) != 0);
    CHECK_INT(rsr_louver_create(&options, &index, NULL), RSR_OK);
    CHECK_INT(rsr_louver_append(index, keys, values, d.n_keys, NULL), RSR_OK);
    const uint64_t before = tallies[kind].false_ones;
    ask(index, &d, n_heads, &tallies[kind]);
    d.n_keys = 1 + below(&state, n_keys);
    CHECK_INT(rsr_louver_truncate(index, d.n_keys, NULL), RSR_OK);
    CHECK_INT(rsr_louver_fork(index, &fork, NULL), RSR_OK);
    ask(index, &d, n_heads, &tallies[kind]);
    const size_t at = (size_t)d.n_keys * d.dim;
    CHECK_INT(rsr_louver_append(fork, keys + at, values + at, n_keys - d.n_keys, NULL), RSR_OK);
    d.n_keys = n_keys;
    ask(fork, &d, n_heads, &tallies[kind]);
    if (tallies[kind].false_ones > before && !OMITTED)
        printf("%s: a false certificate: seed %llu\n", kinds[kind].name, (unsigned long long)seed);
    rsr_louver_destroy(index);
    rsr_louver_destroy(fork);
}

int main(int argc, char **argv) {
    const uint64_t n_cases = argc > 1         ? strtoull(argv[1], NULL, 10)
                             : test_is_long() ? LONG_CASES
                                              : DEFAULT_CASES;
    const uint64_t first = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    uint64_t n_false = 0;
    for (uint64_t seed = first; seed < first + n_cases; seed++)
        run_case(seed);
    for (uint32_t i = 0; i < N_KINDS; i++) {
        const struct tally *t = &tallies[i];
        printf("%-9s %6llu heads, %llu false; %.3f of keys read; of a certified error at most "
               "%.6f was true\n",
               kinds[i].name, (unsigned long long)t->heads, (unsigned long long)t->false_ones,
               t->exact / t->keys, t->used);
        CHECK(OMITTED || t->keys == 0.0 || t->exact < 0.97 * t->keys);
        n_false += t->false_ones;
    }
    if (OMITTED) /* other failures do not matter here */
        check_failures = 0;
    CHECK(OMITTED ? n_false > 0 : n_false == 0);
    return CHECK_EXIT();
}
