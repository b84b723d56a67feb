/* The KV index against float64: random lives of an index (growth, cuts into pages, forks) over data
 * of many kinds, stored as every type and queried with every threshold. No relevant key may be
 * missed, the error of leaving keys out must be within the certified error, and the error of
 * storing them within the certified storage error. The test reports how much was scanned and read,
 * and bounds it where it must be small, because an index that reads everything misses nothing
 * either.
 *
 * test_louver [LIVES [FIRST_SEED]] shortens a failing life to the fewest steps that fail */
#include <math.h>
#include <stdlib.h>

#include "check.h"
#include "louver/louver.h"

#define MAX_KEYS 1200u
#define MAX_HEADS 5u
#define MAX_DIM 320u

static double uniform(uint64_t *state) {
    return ((double)(check_random(state) >> 11) + 0.5) * 0x1p-53;
}

static double gaussian(uint64_t *state) {
    return sqrt(-2.0 * log(uniform(state))) * cos(6.283185307179586 * uniform(state));
}

/* ---- Data: a row of a life with seed `seed` ---- */

static void row_gaussian(float *row, uint32_t dim, uint64_t seed, uint64_t *state) {
    (void)seed;
    for (uint32_t i = 0; i < dim; i++)
        row[i] = (float)gaussian(state);
}

static uint64_t current_cluster; /* 0 when a life begins */

/* 8 centres of spread 0.35, in runs of about 256. */
static void row_clustered(float *row, uint32_t dim, uint64_t seed, uint64_t *state) {
    if (check_random(state) % 256 == 0)
        current_cluster = check_random(state) % 8;
    uint64_t centre = seed * 8 + current_cluster;
    for (uint32_t i = 0; i < dim; i++)
        row[i] = (float)(gaussian(&centre) + 0.35 * gaussian(state));
}

/* Every row is one of three. */
static void row_duplicate(float *row, uint32_t dim, uint64_t seed, uint64_t *state) {
    uint64_t which = seed + check_random(state) % 3;
    row_gaussian(row, dim, seed, &which);
}

/* Small integers, so that products tie. */
static void row_tied(float *row, uint32_t dim, uint64_t seed, uint64_t *state) {
    (void)seed;
    for (uint32_t i = 0; i < dim; i++)
        row[i] = (float)((int)(check_random(state) % 3) - 1);
}

static void row_huge(float *row, uint32_t dim, uint64_t seed, uint64_t *state) {
    row_gaussian(row, dim, seed, state);
    const float scale = check_random(state) % 50 == 0 ? 1e18f : 1.0f;
    for (uint32_t i = 0; i < dim; i++)
        row[i] *= scale;
}

static void row_denormal(float *row, uint32_t dim, uint64_t seed, uint64_t *state) {
    row_gaussian(row, dim, seed, state);
    for (uint32_t i = 0; i < dim; i++)
        row[i] *= 1e-41f;
}

/* Rows almost along one direction; the rounding errors of 4-bit codes point along it, too. */
static void row_adversarial(float *row, uint32_t dim, uint64_t seed, uint64_t *state) {
    uint64_t direction = seed;
    for (uint32_t i = 0; i < dim; i++) {
        const double d = gaussian(&direction);
        row[i] = (float)(rint(uniform(state) * 14.0 - 7.0) + 0.49 * (d > 0.0 ? 1.0 : -1.0));
    }
}

typedef void row_fn(float *row, uint32_t dim, uint64_t seed, uint64_t *state);
static row_fn *const row_kinds[] = {row_gaussian, row_clustered, row_duplicate,  row_tied,
                                    row_huge,     row_denormal,  row_adversarial};
#define N_KINDS (sizeof(row_kinds) / sizeof(row_kinds[0]))

static rsr_louver_threshold threshold_of(rsr_louver_kind kind, double value, uint32_t k) {
    return (rsr_louver_threshold){.kind = kind, .value = value, .k = k};
}

static bool is_ranked(rsr_louver_kind kind) {
    return kind == RSR_LOUVER_TOPK || kind == RSR_LOUVER_BUDGET;
}

/* ---- An index and what it should hold ---- */

struct life {
    uint64_t seed, state;
    uint32_t head_dim, n_planes;
    row_fn *row;
    rsr_louver *index;
    uint32_t n_keys;
    enum rsr_kv_type type;
    float *keys, *values;             /* [MAX_KEYS][head_dim], as they are stored */
    float *given_keys, *given_values; /* as appended */
};

static uint64_t total_queries, total_missed, total_ties;
static rsr_louver_stats total;
/* By type: how many answers could be checked, and the largest share of the certified error that was
 * reached. */
static uint32_t total_stored[RSR_KV_TYPES];
static double total_share[RSR_KV_TYPES];

/* The stored form of a row. */
static void store_row(const struct life *life, float *stored, const float *given) {
    const struct rsr_kv_ops *kv = &rsr_ops_get(RSR_OPS_GENERIC)->kv[life->type];
    const uint32_t row_floats = (life->head_dim + 15u) & ~15u;
    char row[MAX_DIM * sizeof(float) + sizeof(float)] = {0};
    float widened[MAX_DIM];
    kv->store(row, row_floats, given, life->head_dim);
    kv->load(widened, row, row_floats);
    memcpy(stored, widened, life->head_dim * sizeof(float));
}

static void life_append(struct life *life, uint32_t n) {
    if (n > MAX_KEYS - life->n_keys)
        n = MAX_KEYS - life->n_keys;
    for (uint32_t i = life->n_keys; i < life->n_keys + n; i++) {
        const size_t at = (size_t)i * life->head_dim;
        life->row(life->given_keys + at, life->head_dim, life->seed, &life->state);
        row_gaussian(life->given_values + at, life->head_dim, 0, &life->state);
        store_row(life, life->keys + at, life->given_keys + at);
        store_row(life, life->values + at, life->given_values + at);
    }
    const size_t at = (size_t)life->n_keys * life->head_dim;
    CHECK_INT(
        rsr_louver_append(life->index, life->given_keys + at, life->given_values + at, n, NULL),
        RSR_OK);
    life->n_keys += n;
}

/* Writes 70 keys that do not belong to the life, from a position on. */
static void spoil(struct life *life, rsr_louver *other, uint32_t position) {
    float row[MAX_DIM];
    rsr_louver_info info = RSR_LOUVER_INFO_INIT;
    CHECK_INT(rsr_louver_get_info(other, &info), RSR_OK);
    if (position < info.length)
        CHECK_INT(rsr_louver_truncate(other, position, NULL), RSR_OK);
    for (uint32_t i = 0; i < 70; i++) {
        row_gaussian(row, life->head_dim, 0, &life->state);
        CHECK_INT(rsr_louver_append(other, row, row, 1, NULL), RSR_OK);
    }
}

/* Continues with a fork or with its origin, while the other one is cut, grows, and ends, which must
 * have no effect. */
static void life_fork(struct life *life) {
    rsr_louver *other = NULL;
    CHECK_INT(rsr_louver_fork(life->index, &other, NULL), RSR_OK);
    if (check_random(&life->state) % 2 == 0) {
        rsr_louver *fork = other;
        other = life->index;
        life->index = fork;
    }
    const uint32_t cut = check_random(&life->state) % 2 == 0 ? life->n_keys : life->n_keys / 2;
    life_append(life, 40);
    spoil(life, other, cut);
    life_append(life, 40);
    spoil(life, other, cut);
    rsr_louver_destroy(other);
}

static void life_truncate(struct life *life) {
    const uint32_t length = (uint32_t)(check_random(&life->state) % (life->n_keys + 1));
    CHECK_INT(rsr_louver_truncate(life->index, length, NULL), RSR_OK);
    life->n_keys = length;
}

/* ---- float64 references ---- */

struct product {
    double value, error; /* |value - q . k| <= error */
};

static struct product product_of(const struct life *life, const float *q, uint32_t key) {
    const float *k = life->keys + (size_t)key * life->head_dim;
    double sum = 0.0, size = 0.0;
    for (uint32_t i = 0; i < life->head_dim; i++) {
        sum += (double)q[i] * (double)k[i];
        size += fabs((double)q[i] * (double)k[i]);
    }
    return (struct product){sum, size * 0x1p-44};
}

/* Softmax attention over the marked keys, and their share of the whole softmax. */
static double exact_attention(const struct life *life, const struct product *products,
                              const bool *marked, double *out) {
    const double scale = (double)(1.0f / sqrtf((float)life->head_dim));
    double max = -INFINITY, sum = 0.0, whole = 0.0;
    for (uint32_t i = 0; i < life->n_keys; i++)
        max = marked[i] ? fmax(max, scale * products[i].value) : max;
    memset(out, 0, life->head_dim * sizeof(*out));
    for (uint32_t i = 0; i < life->n_keys; i++) {
        const double p = exp(scale * products[i].value - max);
        whole += p;
        if (!marked[i])
            continue;
        sum += p;
        for (uint32_t d = 0; d < life->head_dim; d++)
            out[d] += p * (double)life->values[(size_t)i * life->head_dim + d];
    }
    for (uint32_t d = 0; d < life->head_dim && sum > 0.0; d++)
        out[d] /= sum;
    return sum > 0.0 ? sum / whole : 0.0;
}

/* ---- One head's answer ---- */

struct answer {
    const float *q, *out;
    const uint32_t *indices;
    rsr_louver_threshold threshold;
    rsr_louver_head head;
};

static int compare_doubles(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y); /* descending */
}

static bool is_sampled(rsr_louver_kind kind) {
    return kind == RSR_LOUVER_SAMPLE_MAX || kind == RSR_LOUVER_SAMPLE_TOPK ||
           kind == RSR_LOUVER_SAMPLE_MEAN_MAX || kind == RSR_LOUVER_SAMPLE_GAP;
}

/* Whether the key is a sink or in the window. */
static bool is_forced(const struct life *life, const struct answer *a, uint32_t key) {
    return key < a->threshold.sinks || life->n_keys - key <= a->threshold.window;
}

/* The K of thresholds topk and budget. */
static uint32_t rank_of(const struct life *life, const struct answer *a) {
    const double share = floor(a->threshold.value * life->n_keys);
    if (a->threshold.kind == RSR_LOUVER_TOPK)
        return a->threshold.k;
    return share < 1.0 ? 1 : (uint32_t)share;
}

/* The smallest product of a relevant key. */
static double relevant_from(const struct life *life, const struct answer *a,
                            const struct product *products) {
    static double values[MAX_KEYS];
    if (a->threshold.kind == RSR_LOUVER_VALUE)
        return a->threshold.value;
    if (!is_ranked(a->threshold.kind) || rank_of(life, a) >= life->n_keys)
        return a->head.threshold;
    for (uint32_t i = 0; i < life->n_keys; i++)
        values[i] = products[i].value;
    qsort(values, life->n_keys, sizeof(*values), compare_doubles);
    return values[rank_of(life, a) - 1];
}

/* The threshold T of rules with a sample, by the definition of rsr_louver.h, in a simple and slow
 * way. */
static double naive_threshold(const struct life *life, const struct answer *a,
                              const struct product *products) {
    double s[512], gaps[512], mean = 0.0;
    const uint32_t n = life->n_keys, m = n < 512 ? n : 512;
    for (uint64_t i = 0; i < m; i++) {
        const uint64_t begin = i * n / m, end = (i + 1) * n / m;
        uint32_t hash = (uint32_t)i + 1;
        hash = (hash ^ hash >> 16) * 0x85ebca6bu;
        hash = (hash ^ hash >> 13) * 0xc2b2ae35u;
        hash ^= hash >> 16;
        s[i] = products[begin + (hash * (end - begin) >> 32)].value;
        mean += s[i] / m;
    }
    qsort(s, m, sizeof(*s), compare_doubles);
    if (a->threshold.kind == RSR_LOUVER_SAMPLE_MAX)
        return mean + a->threshold.value * (s[0] - mean);
    if (a->threshold.kind == RSR_LOUVER_SAMPLE_MEAN_MAX)
        return 0.5 * (s[0] + mean);
    if (a->threshold.kind == RSR_LOUVER_SAMPLE_TOPK)
        return s[a->threshold.k < m ? a->threshold.k - 1 : m - 1];
    const double share = floor(a->threshold.value * m);
    const uint32_t among = share < 2.0 ? 2 : (uint32_t)share;
    uint32_t at = 0;
    if (m < 2)
        return s[0];
    for (uint32_t i = 0; i + 1 < among; i++)
        gaps[i] = s[i] - s[i + 1];
    qsort(gaps, among - 1, sizeof(*gaps), compare_doubles);
    while (s[at] - s[at + 1] < gaps[a->threshold.k < among ? a->threshold.k - 1 : among - 2])
        at++;
    return s[at + 1];
}

static void check_sampled_threshold(const struct life *life, const struct answer *a,
                                    const struct product *products) {
    double error = 0.0;
    for (uint32_t i = 0; i < life->n_keys; i++)
        error = fmax(error, products[i].error);
    const double naive = naive_threshold(life, a, products);
    CHECK(fabs(naive - a->head.threshold) <= 4.0 * (1.0 + a->threshold.value) * error);
}

static void check_ranked_members(const struct life *life, const struct answer *a,
                                 const struct product *products, const bool *marked) {
    const double from = relevant_from(life, a, products);
    uint32_t n_marked = 0, n_forced = 0;
    for (uint32_t i = 0; i < life->n_keys; i++) { /* `from` has a rounding error, too */
        const bool near = fabs(products[i].value - from) <= 4.0 * products[i].error;
        const bool forced = is_forced(life, a, i);
        n_marked += marked[i];
        n_forced += forced;
        total_missed += !near && products[i].value > from && !marked[i];
        total_ties += near;
        CHECK(near || forced || marked[i] == (products[i].value > from));
    }
    if (a->threshold.kind != RSR_LOUVER_BUDGET)
        return;
    const uint32_t k = rank_of(life, a) < life->n_keys ? rank_of(life, a) : life->n_keys;
    CHECK(n_marked >= k && n_marked <= k + n_forced);
}

static void check_members(const struct life *life, const struct answer *a,
                          const struct product *products, const bool *marked) {
    const double from = relevant_from(life, a, products);
    for (uint32_t i = 0; i < life->n_keys; i++) {
        CHECK(marked[i] || !is_forced(life, a, i));
        CHECK(marked[i] || products[i].value - products[i].error < a->head.threshold);
    }
    if (is_ranked(a->threshold.kind)) {
        check_ranked_members(life, a, products, marked);
        return;
    }
    for (uint32_t i = 0; i < life->n_keys; i++) {
        const bool surely_in = products[i].value - products[i].error >= from;
        const bool surely_out = products[i].value + products[i].error < from;
        total_missed += surely_in && !marked[i];
        total_ties += marked[i] && !surely_in;
        CHECK(marked[i] || !surely_in);
        CHECK(!marked[i] || !surely_out || is_forced(life, a, i) ||
              a->threshold.kind == RSR_LOUVER_MASS);
    }
    if (is_sampled(a->threshold.kind) && a->head.n_attended < life->n_keys)
        check_sampled_threshold(life, a, products);
}

static void check_output(const struct life *life, const struct answer *a,
                         const struct product *products, const bool *marked) {
    static bool all[MAX_KEYS];
    double attended[MAX_DIM], dense[MAX_DIM], gap = 0.0, value_error = 0.0, spread = 0.0;
    const double part = exact_attention(life, products, marked, attended);
    memset(all, true, sizeof(all));
    exact_attention(life, products, all, dense);
    for (uint32_t d = 0; d < life->head_dim; d++) {
        gap += ((double)a->out[d] - dense[d]) * ((double)a->out[d] - dense[d]);
        value_error = fmax(value_error, fabs((double)a->out[d] - attended[d]));
    }
    /* float32 scores of magnitude z are off by about z 2^-20, and outputs by as much of the
     * values */
    for (uint32_t i = 0; i < life->n_keys; i++)
        spread = fmax(spread, products[i].error * 0x1p44);
    const double rounding = 8.0 * sqrt((double)life->head_dim) *
                            (1e-6 + spread / sqrt((double)life->head_dim) * 0x1p-20);
    CHECK(rounding > 1.0 || value_error <= rounding);
    CHECK(rounding > 1.0 || sqrt(gap) <= a->head.certified_error + rounding);
    CHECK(life->n_keys == 0 || 1.0 - part <= a->head.mass + 1e-12);
    CHECK(a->head.mass <= 1.0 && a->head.certified_error >= 0.0);
    if (a->threshold.kind == RSR_LOUVER_MASS)
        CHECK(a->head.mass <= a->threshold.value);
    if (a->head.n_attended == life->n_keys)
        CHECK(a->head.mass == 0.0 && a->head.certified_error == 0.0);
}

/* Compares dense attention over the appended rows with dense attention over the stored rows. */
static void check_storage(const struct life *life, const struct answer *a,
                          const struct product *products) {
    static struct product given_products[MAX_KEYS];
    static bool all[MAX_KEYS];
    double stored[MAX_DIM], out[MAX_DIM], gap = 0.0, error = 0.0;
    struct life given = *life;
    given.keys = life->given_keys;
    given.values = life->given_values;
    memset(all, true, sizeof(all));
    for (uint32_t i = 0; i < life->n_keys; i++) {
        given_products[i] = product_of(&given, a->q, i);
        error = fmax(error, fmax(products[i].error, given_products[i].error));
    }
    exact_attention(life, products, all, stored);
    exact_attention(&given, given_products, all, out);
    for (uint32_t d = 0; d < life->head_dim; d++)
        gap += (stored[d] - out[d]) * (stored[d] - out[d]);
    CHECK(a->head.storage_error >= 0.0 && isfinite(a->head.storage_error));
    CHECK(life->type != RSR_KV_F32 || a->head.storage_error == 0.0);
    if (error > 1e-6) /* the error of float64 scores is too large: nothing can be checked */
        return;
    CHECK(sqrt(gap) <= a->head.storage_error + 100.0 * error + 1e-12);
    if (a->head.storage_error > 0.0) {
        total_stored[life->type]++;
        total_share[life->type] += sqrt(gap) / a->head.storage_error;
    }
}

static void check_answer(const struct life *life, const struct answer *a) {
    static struct product products[MAX_KEYS];
    static bool marked[MAX_KEYS];
    memset(marked, 0, sizeof(marked));
    for (uint32_t i = 0; i < life->n_keys; i++)
        products[i] = product_of(life, a->q, i);
    for (uint32_t i = 0; i < a->head.n_attended; i++) {
        CHECK(a->indices[i] < life->n_keys && (i == 0 || a->indices[i] > a->indices[i - 1]));
        marked[a->indices[i]] = true;
    }
    check_members(life, a, products, marked);
    check_output(life, a, products, marked);
    check_storage(life, a, products);
    total_queries++;
}

/* ---- The order of float operations, as ops.h has it, in plain loops ---- */

static float plain_sum16(const float *part) {
    float h[8], q[4];
    for (int i = 0; i < 8; i++)
        h[i] = part[i] + part[i + 8];
    for (int i = 0; i < 4; i++)
        q[i] = h[i] + h[i + 4];
    return (q[0] + q[2]) + (q[1] + q[3]);
}

static float plain_score(const struct life *life, const float *q, uint32_t key) {
    const float *k = life->keys + (size_t)key * life->head_dim;
    float part[16] = {0.0f};
    for (uint32_t d = 0; d < life->head_dim; d++)
        part[d % 16] = fmaf(q[d], k[d], part[d % 16]);
    return plain_sum16(part) * (1.0f / sqrtf((float)life->head_dim));
}

/* One page: z of a key that is left out is -infinity. False if all are. */
static bool plain_page(const struct life *life, const float *q, const bool *marked, uint32_t first,
                       struct rsr_attend_state *state, float *out) {
    const struct rsr_ops *ops = rsr_ops_get(RSR_OPS_GENERIC);
    const uint32_t n = life->n_keys - first < 64 ? life->n_keys - first : 64;
    float z[64], part[16] = {0.0f};
    state->max = -INFINITY;
    for (uint32_t j = 0; j < 64; j++) {
        z[j] = j < n && marked[first + j] ? plain_score(life, q, first + j) : -INFINITY;
        state->max = z[j] > state->max ? z[j] : state->max;
    }
    if (state->max == -INFINITY)
        return false;
    memset(out, 0, life->head_dim * sizeof(float));
    for (uint32_t j = 0; j < 64; j++) {
        float p = z[j] - state->max;
        ops->exp(&p, &p, 1);
        part[j % 16] = part[j % 16] + p;
        for (uint32_t d = 0; j < n && d < life->head_dim; d++)
            out[d] = fmaf(p, life->values[(size_t)(first + j) * life->head_dim + d], out[d]);
    }
    state->sum = plain_sum16(part);
    return true;
}

/* Attention over the marked keys has these bits; over all keys it has the bits of dense
 * attention. */
static void check_bits(const struct life *life, const struct answer *a) {
    const struct rsr_ops *ops = rsr_ops_get(RSR_OPS_GENERIC);
    static bool marked[MAX_KEYS];
    float out[MAX_DIM] = {0.0f}, page_out[MAX_DIM];
    struct rsr_attend_state state = {0.0f, 1.0f}, page;
    bool started = false;
    memset(marked, 0, sizeof(marked));
    for (uint32_t i = 0; i < a->head.n_attended; i++)
        marked[a->indices[i]] = true;
    for (uint32_t first = 0; first < life->n_keys; first += 64) {
        if (!plain_page(life, a->q, marked, first, &page, page_out))
            continue;
        if (!started) {
            started = true;
            state = page;
            memcpy(out, page_out, sizeof(out));
            continue;
        }
        const float max = page.max > state.max ? page.max : state.max;
        float factors[2] = {state.max - max, page.max - max};
        ops->exp(factors, factors, 2);
        state.max = max;
        state.sum = state.sum * factors[0] + page.sum * factors[1];
        for (uint32_t d = 0; d < life->head_dim; d++)
            out[d] = out[d] * factors[0] + page_out[d] * factors[1];
    }
    for (uint32_t d = 0; d < life->head_dim; d++)
        out[d] = out[d] / state.sum;
    CHECK(memcmp(a->out, out, life->head_dim * sizeof(float)) == 0);
}

/* ---- A life ---- */

/* Thresholds that are hard: infinities, exactly the product of some key, and numbers for every
 * rule. */
static rsr_louver_threshold random_rule(struct life *life, const float *q) {
    const double masses[] = {0.0, 1e-6, 1e-3, 0.1, 0.9}, factors[] = {0.0, 0.5, 0.9, 1.0, 2.0};
    const double shares[] = {1e-9, 0.01, 0.1, 0.5, 1.0};
    const uint32_t counts[] = {1, 3, 20, 64, 5000}, ranks[] = {1, 3, 20, 64, 511};
    const uint64_t pick = check_random(&life->state) % 5;
    switch (check_random(&life->state) % 16) {
    case 0:
    case 1:
    case 2:
        return threshold_of(RSR_LOUVER_MASS, masses[pick], 0);
    case 3:
    case 4:
    case 5:
        return threshold_of(RSR_LOUVER_TOPK, 0.0, counts[pick]);
    case 6:
    case 7:
        return threshold_of(RSR_LOUVER_BUDGET, shares[pick], 0);
    case 8:
        return threshold_of(RSR_LOUVER_SAMPLE_MAX, factors[pick], 0);
    case 9:
        return threshold_of(RSR_LOUVER_SAMPLE_TOPK, 0.0, ranks[pick]);
    case 10:
        return threshold_of(RSR_LOUVER_SAMPLE_MEAN_MAX, 0.0, 0);
    case 11:
        return threshold_of(RSR_LOUVER_SAMPLE_GAP, shares[check_random(&life->state) % 5],
                            ranks[pick]);
    case 12:
        return threshold_of(RSR_LOUVER_VALUE, pick == 0 ? INFINITY : -INFINITY, 0);
    default:
        break;
    }
    if (life->n_keys == 0)
        return threshold_of(RSR_LOUVER_VALUE, 0.0, 0);
    const uint32_t key = (uint32_t)(check_random(&life->state) % life->n_keys);
    return threshold_of(RSR_LOUVER_VALUE, product_of(life, q, key).value, 0);
}

/* Every second threshold has sinks, a window, or both, from none to all of the keys. */
static rsr_louver_threshold random_threshold(struct life *life, const float *q) {
    const uint32_t counts[] = {0, 1, 5, 64, 100, 700, UINT32_MAX};
    rsr_louver_threshold threshold = random_rule(life, q);
    if (check_random(&life->state) % 2 == 0) {
        threshold.sinks = counts[check_random(&life->state) % 7];
        threshold.window = counts[check_random(&life->state) % 7];
    }
    return threshold;
}

/* Every key attended to was read. Where only bounds decide about pages, each page is either skipped
 * or scanned. */
static void check_counts(const rsr_louver_query *query, const rsr_louver_stats *stats) {
    const rsr_louver_threshold *t = &query->threshold;
    for (uint32_t h = 0; h < query->n_heads; h++)
        CHECK(stats->exact >= query->heads[h].n_attended);
    if (t->kind == RSR_LOUVER_VALUE && t->value > -INFINITY && t->sinks == 0 && t->window == 0)
        CHECK_INT(stats->scanned, (stats->pages - stats->pages_skipped) * RSR_PAGE_TOKENS);
}

static void life_query(struct life *life) {
    static float q[MAX_HEADS * MAX_DIM], out[MAX_HEADS * MAX_DIM];
    static uint32_t indices[MAX_HEADS * MAX_KEYS];
    rsr_louver_head heads[MAX_HEADS];
    rsr_louver_stats stats = RSR_LOUVER_STATS_INIT;
    rsr_louver_query query = RSR_LOUVER_QUERY_INIT;
    query.n_heads = 1 + (uint32_t)(check_random(&life->state) % MAX_HEADS);
    for (uint32_t h = 0; h < query.n_heads; h++)
        life->row(q + (size_t)h * life->head_dim, life->head_dim, life->seed, &life->state);
    query.q = q;
    query.threshold = random_threshold(life, q);
    query.out = out;
    query.indices = indices;
    query.capacity = MAX_KEYS;
    query.heads = heads;
    rsr_error err = RSR_ERROR_INIT;
    CHECK_INT(rsr_louver_attend(life->index, &query, &stats, &err), RSR_OK);
    CHECK_INT(stats.n_keys, life->n_keys);
    /* topk and budget may go over keys twice */
    CHECK(stats.exact <= life->n_keys * (is_ranked(query.threshold.kind) ? 2 : 1));
    CHECK(stats.plane2 <= stats.scanned);
    check_counts(&query, &stats);
    for (uint32_t h = 0; h < query.n_heads; h++) {
        const struct answer a = {q + (size_t)h * life->head_dim, out + (size_t)h * life->head_dim,
                                 indices + (size_t)h * MAX_KEYS, query.threshold, heads[h]};
        check_answer(life, &a);
        check_bits(life, &a);
    }
    total.n_keys += stats.n_keys;
    total.pages += stats.pages;
    total.pages_skipped += stats.pages_skipped;
    total.scanned += stats.scanned;
    total.plane2 += stats.plane2;
    total.exact += stats.exact;
}

/* Runs at most n_steps of a life. Returns the number of failed checks. */
static int live(uint64_t seed, uint32_t n_steps) {
    static const uint32_t dims[] = {64, 80, 96, 320, 128, 256, 1, 257};
    static float rows[4][MAX_KEYS * MAX_DIM];
    const int failures = check_failures;
    struct life life = {.seed = seed,
                        .state = seed * 1000003,
                        .type = (enum rsr_kv_type)(seed / N_KINDS % RSR_KV_TYPES),
                        .keys = rows[0],
                        .values = rows[1],
                        .given_keys = rows[2],
                        .given_values = rows[3]};
    rsr_louver_options options = RSR_LOUVER_OPTIONS_INIT;
    current_cluster = 0;
    life.head_dim = options.head_dim = dims[check_random(&life.state) % 8];
    life.n_planes = options.n_planes = 1 + (uint32_t)(check_random(&life.state) % 2);
    life.row = row_kinds[seed % N_KINDS];
    options.kv_type = rsr_kv_type_name(life.type);
    CHECK_INT(rsr_louver_create(&options, &life.index, NULL), RSR_OK);
    for (uint32_t step = 0; step < n_steps && check_failures == failures; step++) {
        const uint64_t choice = check_random(&life.state) % 16;
        if (choice < 4)
            life_append(&life, (uint32_t)(check_random(&life.state) % 300));
        else if (choice < 6)
            life_append(&life, 1 + (uint32_t)(check_random(&life.state) % 3));
        else if (choice < 7)
            life_truncate(&life);
        else if (choice < 8)
            life_fork(&life);
        else
            life_query(&life);
    }
    rsr_louver_destroy(life.index);
    return check_failures - failures;
}

static void test_lives(uint32_t n_lives, uint64_t first_seed) {
    const uint32_t most_steps = 24;
    for (uint64_t seed = first_seed; seed < first_seed + n_lives; seed++) {
        if (live(seed, most_steps) == 0)
            continue;
        uint32_t steps = 1;
        while (steps < most_steps && live(seed, steps) == 0)
            steps++;
        fprintf(stderr, "life %llu fails at step %u\n", (unsigned long long)seed, steps);
        return;
    }
    printf("%u lives, %llu queries: %llu missed, %llu ties; of keys %.3f scanned, %.3f plane 2, "
           "%.3f exact; of pages %.3f skipped\n",
           n_lives, (unsigned long long)total_queries, (unsigned long long)total_missed,
           (unsigned long long)total_ties, (double)total.scanned / total.n_keys,
           (double)total.plane2 / total.n_keys, (double)total.exact / total.n_keys,
           (double)total.pages_skipped / total.pages);
    for (uint32_t type = 0; type < RSR_KV_TYPES; type++)
        printf("%s: storing moved outputs by %.3f of what is certified, mean of %u\n",
               rsr_kv_type_name((enum rsr_kv_type)type),
               total_stored[type] > 0 ? total_share[type] / total_stored[type] : 0.0,
               total_stored[type]);
    CHECK_INT(total_missed, 0);
}

/* ---- Selectivity ---- */

struct fractions {
    double scanned, plane2, exact, skipped;
};

static struct fractions report(const char *what, const rsr_louver_stats *stats) {
    const double n = stats->n_keys;
    const struct fractions f = {stats->scanned / n, stats->plane2 / n, stats->exact / n,
                                (double)stats->pages_skipped / stats->pages};
    printf("%-19s of %u keys: scanned %.4f, plane 2 %.4f, exact %.4f; pages skipped %.4f\n", what,
           stats->n_keys, f.scanned, f.plane2, f.exact, f.skipped);
    return f;
}

static void fill_index(rsr_louver *index, row_fn *row, uint32_t n, uint64_t *state) {
    float k[128], v[128];
    current_cluster = 0;
    for (uint32_t i = 0; i < n; i++) {
        row(k, 128, 3, state);
        row_gaussian(v, 128, 3, state);
        CHECK_INT(rsr_louver_append(index, k, v, 1, NULL), RSR_OK);
    }
}

/* The 20 best keys of 8192 for each of 4 heads: the index first finds their thresholds, then gets
 * these as given thresholds. */
static struct fractions measure(row_fn *row, const char *name, struct fractions *by_mass,
                                struct fractions *by_rank) {
    rsr_louver_options options = RSR_LOUVER_OPTIONS_INIT;
    rsr_louver_query query = RSR_LOUVER_QUERY_INIT;
    rsr_louver_stats stats = RSR_LOUVER_STATS_INIT;
    rsr_louver_head heads[4];
    rsr_louver *index;
    float q[4 * 128];
    double values[4];
    uint64_t state = 99;
    options.head_dim = 128;
    CHECK_INT(rsr_louver_create(&options, &index, NULL), RSR_OK);
    fill_index(index, row, 8192, &state);
    for (uint32_t h = 0; h < 4; h++)
        row(q + h * 128, 128, 3, &state);
    printf("%s\n", name);
    query.n_heads = 4;
    query.q = q;
    query.heads = heads;
    query.threshold = threshold_of(RSR_LOUVER_MASS, 0.1, 0);
    CHECK_INT(rsr_louver_attend(index, &query, &stats, NULL), RSR_OK);
    *by_mass = report("  mass:0.1", &stats);
    query.threshold = threshold_of(RSR_LOUVER_TOPK, 0.0, 20);
    CHECK_INT(rsr_louver_attend(index, &query, &stats, NULL), RSR_OK);
    *by_rank = report("  topk:20", &stats);
    for (uint32_t h = 0; h < 4; h++) {
        CHECK_INT(heads[h].n_attended, 20);
        values[h] = heads[h].threshold;
    }
    query.threshold.kind = RSR_LOUVER_VALUE;
    query.values = values;
    CHECK_INT(rsr_louver_attend(index, &query, &stats, NULL), RSR_OK);
    for (uint32_t h = 0; h < 4; h++)
        CHECK_INT(heads[h].n_attended, 20);
    rsr_louver_destroy(index);
    return report("  value:T of topk:20", &stats);
}

static void test_selectivity(void) {
    struct fractions mass, rank;
    const struct fractions g = measure(row_gaussian, "gaussian", &mass, &rank);
    CHECK(g.plane2 < 0.20 && g.exact < 0.02);
    CHECK(rank.scanned <= 1.0 && rank.plane2 < 0.4 && rank.exact < 0.05);
    const struct fractions c = measure(row_clustered, "clustered", &mass, &rank);
    CHECK(c.plane2 < 0.1 && c.exact < 0.03 && c.skipped > 0.5);
    CHECK(rank.plane2 < 0.1 && rank.exact < 0.03 && rank.skipped > 0.5);
    CHECK(mass.exact < 0.2);
}

/* Bounds of weights are close: upper bounds of single weights, and lower bounds of sums of weights
 * whose scores have errors. */
static void test_weights(void) {
    const struct rsr_ops *ops = rsr_ops_get(RSR_OPS_GENERIC);
    const float reference = 3.0f;
    const double error = 0.25;
    uint64_t state = 5;
    for (uint32_t n = 1; n <= 64; n++) {
        float z[64], x[64], y[64];
        double least = 0.0;
        for (uint32_t i = 0; i < n; i++) {
            z[i] = (float)(40.0 * uniform(&state) - 37.0);
            x[i] = z[i] - reference;
            least += exp((double)z[i] - (double)reference - error);
        }
        louver_exp_upper(ops, y, x, n);
        for (uint32_t i = 0; i < n; i++) {
            const double e = exp((double)x[i]);
            CHECK((double)y[i] >= e && (double)y[i] <= e * (1.0 + 0x1p-18));
        }
        const double lower = louver_exp_sum_lower(ops, z, n, reference, error);
        CHECK(lower <= least && lower >= 0.9 * least);
    }
}

/* One long key outweighs 8191 others, on a page outside every sample: mass:EPS must find it by
 * bounds. */
static void test_needle(void) {
    rsr_louver_options options = RSR_LOUVER_OPTIONS_INIT;
    rsr_louver_query query = RSR_LOUVER_QUERY_INIT;
    rsr_louver_stats stats = RSR_LOUVER_STATS_INIT;
    rsr_louver *index;
    float q[128], needle[128];
    uint64_t state = 7;
    row_gaussian(q, 128, 3, &state);
    for (uint32_t d = 0; d < 128; d++)
        needle[d] = 3.0f * q[d];
    options.head_dim = 128;
    CHECK_INT(rsr_louver_create(&options, &index, NULL), RSR_OK);
    fill_index(index, row_gaussian, 5000, &state);
    CHECK_INT(rsr_louver_append(index, needle, needle, 1, NULL), RSR_OK);
    fill_index(index, row_gaussian, 3191, &state);
    query.q = q;
    query.threshold = threshold_of(RSR_LOUVER_MASS, 1e-3, 0);
    CHECK_INT(rsr_louver_attend(index, &query, &stats, NULL), RSR_OK);
    CHECK(report("needle, mass:1e-3", &stats).exact < 0.05);
    rsr_louver_destroy(index);
}

int main(int argc, char **argv) {
    const int lives = argc > 1 ? atoi(argv[1]) : 60;
    const uint64_t first_seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    test_lives(lives > 0 ? (uint32_t)lives : 1, first_seed);
    test_selectivity();
    test_needle();
    test_weights();
    return CHECK_EXIT();
}
