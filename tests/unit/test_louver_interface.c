/* The interface of the KV index: what it refuses, thresholds as text, answers that depend only on
 * the keys, exact budgets, sinks and windows, norms of pages, and the memory it takes. test_louver
 * checks that no key is missed and that errors are within the certified ones. */
#include <fenv.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "check.h"
#include "louver/louver.h"
#include "ops_here.h"

/* ---- Refusals ---- */

static rsr_louver_threshold threshold_of(rsr_louver_kind kind, double value, uint32_t k) {
    return (rsr_louver_threshold){.kind = kind, .value = value, .k = k};
}

static void test_refusals(void) {
    rsr_error err = RSR_ERROR_INIT;
    rsr_louver_options options = RSR_LOUVER_OPTIONS_INIT;
    rsr_louver *index = NULL, *fork = NULL;
    CHECK_INT(rsr_louver_create(&options, &index, &err), RSR_ERR_ARGUMENT);
    options.head_dim = 321;
    CHECK_INT(rsr_louver_create(&options, &index, &err), RSR_ERR_ARGUMENT);
    options.head_dim = 4;
    options.n_planes = 3;
    CHECK_INT(rsr_louver_create(&options, &index, &err), RSR_ERR_ARGUMENT);
    options.n_planes = 2;
    options.scale = NAN;
    CHECK_INT(rsr_louver_create(&options, &index, &err), RSR_ERR_ARGUMENT);
    options.scale = 0.0f;
    CHECK(index == NULL);
    CHECK_INT(rsr_louver_create(&options, &index, &err), RSR_OK);

    float rows[12] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
    const float good = rows[9], bad[] = {NAN, INFINITY, -INFINITY};
    CHECK_INT(rsr_louver_append(index, NULL, rows, 1, &err), RSR_ERR_ARGUMENT);
    CHECK_INT(rsr_louver_append(index, rows, rows, 2, &err), RSR_OK);
    for (int i = 0; i < 3; i++) {
        float values[12] = {0};
        rows[9] = bad[i];
        CHECK_INT(rsr_louver_append(index, rows, values, 3, &err), RSR_ERR_NUMERIC);
        CHECK(strstr(err.message, "key 2 ") != NULL);
        CHECK_INT(rsr_louver_append(index, values, rows, 3, &err), RSR_ERR_NUMERIC);
        CHECK(strstr(err.message, "value 2 ") != NULL);
    }
    rows[9] = good;
    CHECK_INT(rsr_louver_truncate(index, 3, &err), RSR_ERR_ARGUMENT);
    CHECK_INT(rsr_louver_fork(index, NULL, &err), RSR_ERR_ARGUMENT);

    rsr_louver_query query = RSR_LOUVER_QUERY_INIT;
    float out[4] = {7, 7, 7, 7};
    uint32_t indices[2] = {9, 9};
    query.out = out;
    CHECK_INT(rsr_louver_attend(index, &query, NULL, &err), RSR_ERR_ARGUMENT);
    query.q = rows;
    for (int i = 0; i < 3; i++) {
        rows[3] = bad[i];
        CHECK_INT(rsr_louver_attend(index, &query, NULL, &err), RSR_ERR_NUMERIC);
    }
    rows[3] = 4.0f;
    query.threshold = threshold_of(RSR_LOUVER_VALUE, NAN, 0);
    CHECK_INT(rsr_louver_attend(index, &query, NULL, &err), RSR_ERR_NUMERIC);
    query.values = (const double[]){1.0, NAN}; /* replace the threshold, for one head */
    CHECK_INT(rsr_louver_attend(index, &query, NULL, &err), RSR_OK);
    query.n_heads = 2;
    CHECK_INT(rsr_louver_attend(index, &query, NULL, &err), RSR_ERR_NUMERIC);
    query.n_heads = 1;
    query.values = NULL;
    out[0] = 7.0f;
    query.threshold = threshold_of(RSR_LOUVER_MASS, NAN, 0);
    CHECK_INT(rsr_louver_attend(index, &query, NULL, &err), RSR_ERR_NUMERIC);
    query.threshold = threshold_of(RSR_LOUVER_TOPK, 0.0, 0);
    CHECK_INT(rsr_louver_attend(index, &query, NULL, &err), RSR_ERR_ARGUMENT);
    query.threshold = threshold_of(RSR_LOUVER_MASS, 1.0, 0);
    CHECK_INT(rsr_louver_attend(index, &query, NULL, &err), RSR_ERR_ARGUMENT);
    query.threshold.kind = (rsr_louver_kind)8;
    CHECK_INT(rsr_louver_attend(index, &query, NULL, &err), RSR_ERR_ARGUMENT);
    query.threshold = threshold_of(RSR_LOUVER_TOPK, 0.0, 1);
    fesetround(FE_DOWNWARD); /* bounds hold only with rounding to nearest */
    const rsr_status attended = rsr_louver_attend(index, &query, NULL, NULL);
    const rsr_status appended = rsr_louver_append(index, rows, rows, 1, NULL);
    fesetround(FE_TONEAREST);
    CHECK_INT(attended, RSR_ERR_NUMERIC);
    CHECK_INT(appended, RSR_ERR_NUMERIC);
    query.n_heads = 65;
    CHECK_INT(rsr_louver_attend(index, &query, NULL, &err), RSR_ERR_ARGUMENT);
    CHECK(out[0] == 7.0f);

    /* No key is relevant; then more keys are relevant than there is room for. */
    query.n_heads = 1;
    query.threshold = threshold_of(RSR_LOUVER_VALUE, INFINITY, 0);
    rsr_louver_head head;
    query.heads = &head;
    CHECK_INT(rsr_louver_attend(index, &query, NULL, &err), RSR_OK);
    CHECK(out[0] == 0.0f && head.n_attended == 0 && head.mass == 1.0);
    CHECK(head.certified_error > 13.19 && head.certified_error < 13.20); /* |(5, 6, 7, 8)| */
    query.threshold = threshold_of(RSR_LOUVER_VALUE, -INFINITY, 0);
    query.indices = indices;
    query.capacity = 1;
    CHECK_INT(rsr_louver_attend(index, &query, NULL, &err), RSR_ERR_FULL);
    CHECK(indices[0] == 0 && indices[1] == 9 && head.n_attended == 2);

    CHECK_INT(rsr_louver_truncate(index, 0, &err), RSR_OK);
    CHECK_INT(rsr_louver_attend(index, &query, NULL, &err), RSR_OK);
    CHECK(head.n_attended == 0 && head.mass == 0.0 && head.certified_error == 0.0);
    CHECK_INT(rsr_louver_fork(index, &fork, &err), RSR_OK);
    rsr_louver_destroy(fork);
    rsr_louver_destroy(index);
    rsr_louver_destroy(NULL);
}

/* ---- Thresholds as text ---- */

struct parsed {
    const char *text;
    rsr_louver_threshold threshold;
};

static const struct parsed right[] = {
    {"value:-2.5", {RSR_LOUVER_VALUE, -2.5, 0, 0, 0}},
    {"value:-inf", {RSR_LOUVER_VALUE, -INFINITY, 0, 0, 0}},
    {"value:inf,sinks=4294967295", {RSR_LOUVER_VALUE, INFINITY, 0, UINT32_MAX, 0}},
    {"topk:20", {RSR_LOUVER_TOPK, 0.0, 20, 0, 0}},
    {"topk:4294967295,window=0", {RSR_LOUVER_TOPK, 0.0, UINT32_MAX, 0, 0}},
    {"mass:1e-3", {RSR_LOUVER_MASS, 1e-3, 0, 0, 0}},
    {"mass:0,window=7,sinks=4", {RSR_LOUVER_MASS, 0.0, 0, 4, 7}},
    {"error:0.01,window=7", {RSR_LOUVER_ERROR, 0.01, 0, 0, 7}},
    {"mass:0.9999999999999999", {RSR_LOUVER_MASS, 1.0 - 0x1p-53, 0, 0, 0}},
    {"budget:0.1,sinks=4,window=256", {RSR_LOUVER_BUDGET, 0.1, 0, 4, 256}},
    {"budget:1", {RSR_LOUVER_BUDGET, 1.0, 0, 0, 0}},
    {"sample_max:1", {RSR_LOUVER_SAMPLE_MAX, 1.0, 0, 0, 0}},
    {"sample_max:0", {RSR_LOUVER_SAMPLE_MAX, 0.0, 0, 0, 0}},
    {"sample_topk:512", {RSR_LOUVER_SAMPLE_TOPK, 0.0, 512, 0, 0}},
    {"sample_mean_max", {RSR_LOUVER_SAMPLE_MEAN_MAX, 0.0, 0, 0, 0}},
    {"sample_mean_max,sinks=1", {RSR_LOUVER_SAMPLE_MEAN_MAX, 0.0, 0, 1, 0}},
    {"sample_gap:0.5,3", {RSR_LOUVER_SAMPLE_GAP, 0.5, 3, 0, 0}},
    {"sample_gap:1,511,window=9", {RSR_LOUVER_SAMPLE_GAP, 1.0, 511, 0, 9}},
};

static const char *const wrong[] = {"",
                                    ":",
                                    ",",
                                    "value",
                                    "value:",
                                    "value:x",
                                    "value:nan",
                                    "value: 1",
                                    "value:\n1",
                                    "value:1 ",
                                    "value:1,",
                                    "value:1,2",
                                    "value=1",
                                    "VALUE:1",
                                    "topk",
                                    "topk:0",
                                    "topk:-1",
                                    "topk:+1",
                                    "topk:",
                                    "topk:2x",
                                    "topk:4294967296",
                                    "topk:99999999999999999999",
                                    "topk:2.0",
                                    "mass",
                                    "mass:",
                                    "error:",
                                    "error:1",
                                    "error:-1",
                                    "error:nan",
                                    "mass:1",
                                    "mass:-1",
                                    "mass:-1e-300",
                                    "mass:nan",
                                    "mass:inf",
                                    "budget",
                                    "budget:",
                                    "budget:0",
                                    "budget:-0.1",
                                    "budget:1.0000001",
                                    "budget:3",
                                    "budget:nan",
                                    "budget:10%",
                                    "sample_max",
                                    "sample_max:",
                                    "sample_max:-1",
                                    "sample_max:inf",
                                    "sample_max:nan",
                                    "sample_topk:0",
                                    "sample_topk:513",
                                    "sample_topk",
                                    "sample_mean_max:",
                                    "sample_mean_max:1",
                                    "sample_mean_max,",
                                    "sample_mean",
                                    "sample_gap",
                                    "sample_gap:",
                                    "sample_gap:0.5",
                                    "sample_gap:0.5,",
                                    "sample_gap:0,3",
                                    "sample_gap:1.5,3",
                                    "sample_gap:0.5,0",
                                    "sample_gap:0.5,512",
                                    "sample_gap:0.5,x",
                                    "sample_gap:0.5,3,",
                                    "sample_gap:,3",
                                    "sample_gap:nan,3",
                                    "sample_gap:0.5,sinks=3",
                                    "sinks=4",
                                    ",sinks=4",
                                    "topk:3,sinks",
                                    "topk:3,sinks=",
                                    "topk:3,sinks=-1",
                                    "topk:3,sinks=4294967296",
                                    "topk:3,sinks=1 ",
                                    "topk:3,sinks=1,sinks=1",
                                    "topk:3,window=2,window=3",
                                    "topk:3,window=1x",
                                    "topk:3,min=3",
                                    "topk:3,sinks=1,,window=2",
                                    "topk:3 ,sinks=1",
                                    "topk:3,Sinks=1",
                                    "topk:3,sinks=1;window=2"};

static void test_thresholds(void) {
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        rsr_louver_threshold t = {RSR_LOUVER_TOPK, 0.0, 77, 7, 8};
        rsr_error err = RSR_ERROR_INIT;
        const rsr_status status = rsr_louver_threshold_parse(wrong[i], &t, &err);
        if (status != RSR_ERR_ARGUMENT)
            fprintf(stderr, "'%s' is taken\n", wrong[i]);
        CHECK_INT(status, RSR_ERR_ARGUMENT);
        CHECK(err.message[0] != '\0' && t.k == 77 && t.sinks == 7 && t.window == 8);
    }
    for (size_t i = 0; i < sizeof(right) / sizeof(right[0]); i++) {
        const rsr_louver_threshold *expected = &right[i].threshold;
        rsr_louver_threshold t = {RSR_LOUVER_TOPK, 0.5, 77, 7, 8};
        rsr_error err = RSR_ERROR_INIT;
        CHECK_INT(rsr_louver_threshold_parse(right[i].text, &t, &err), RSR_OK);
        CHECK_STR(err.message, "");
        CHECK(t.kind == expected->kind && t.value == expected->value && t.k == expected->k &&
              t.sinks == expected->sinks && t.window == expected->window);
    }
    CHECK_INT(rsr_louver_threshold_parse(NULL, NULL, NULL), RSR_ERR_ARGUMENT);
}

static void check_sentence(const char *text, const char *sentence) {
    rsr_louver_threshold t;
    rsr_error err = RSR_ERROR_INIT;
    CHECK_INT(rsr_louver_threshold_parse(text, &t, &err), RSR_ERR_ARGUMENT);
    CHECK_STR(err.message, sentence);
}

static void test_sentences(void) {
    check_sentence("best:3",
                   "the threshold 'best:3' is unknown; there are value:T, topk:K, mass:EPS, "
                   "error:EPS, budget:F, sample_max:A, sample_topk:K, sample_mean_max and "
                   "sample_gap:PHI,P");
    check_sentence("mass:2", "the threshold 'mass:2' cannot be; write mass:EPS, 0 <= EPS < 1");
    check_sentence("sample_gap:0.5,512", "the threshold 'sample_gap:0.5,512' cannot be; write "
                                         "sample_gap:PHI,P, 0 < PHI <= 1, 1 <= P <= 511");
    check_sentence("topk:3,min=3",
                   "'min=3' is unknown; there are sinks=N and window=N, each after a comma");
    check_sentence("topk:3,sinks=x",
                   "'sinks=x' names no number of keys; write sinks=N once, N a number of keys");
    check_sentence("topk:3,sinks=1,sinks=2",
                   "'sinks=2' comes again; write sinks=N once, N a number of keys");
}

/* ---- One answer, however the keys came ---- */

#define LIFE_KEYS 1500u
#define DIM 64u

static double uniform(uint64_t *state) {
    return ((double)(check_random(state) >> 11) + 0.5) * 0x1p-53;
}

static void fill_rows(float *rows, size_t n, uint64_t seed) {
    for (size_t i = 0; i < n; i++)
        rows[i] = (float)(uniform(&seed) + uniform(&seed) + uniform(&seed) - 1.5);
}

static rsr_louver *new_index(uint32_t head_dim) {
    rsr_louver_options options = RSR_LOUVER_OPTIONS_INIT;
    rsr_louver *index = NULL;
    options.head_dim = head_dim;
    CHECK_INT(rsr_louver_create(&options, &index, NULL), RSR_OK);
    return index;
}

static void append_pieces(rsr_louver *index, const float *keys, const float *values, uint32_t begin,
                          uint32_t end, uint32_t piece) {
    for (uint32_t at = begin; at < end; at += piece) {
        const uint32_t n = end - at < piece ? end - at : piece;
        CHECK_INT(
            rsr_louver_append(index, keys + (size_t)at * DIM, values + (size_t)at * DIM, n, NULL),
            RSR_OK);
    }
}

/* Compares the results of four heads together with those of each head alone. */
struct answers {
    float out[4 * DIM];
    rsr_louver_head heads[4];
};

static struct answers ask(rsr_louver *index, const float *q, const char *threshold, bool alone) {
    struct answers answers;
    memset(&answers, 0, sizeof(answers));
    for (uint32_t h = 0; h < (alone ? 4 : 1); h++) {
        rsr_louver_query query = RSR_LOUVER_QUERY_INIT;
        query.n_heads = alone ? 1 : 4;
        query.q = q + (size_t)h * DIM;
        query.out = answers.out + (size_t)h * DIM;
        query.heads = answers.heads + h;
        CHECK_INT(rsr_louver_threshold_parse(threshold, &query.threshold, NULL), RSR_OK);
        CHECK_INT(rsr_louver_attend(index, &query, NULL, NULL), RSR_OK);
    }
    return answers;
}

static void check_same(const struct answers *a, const struct answers *b) {
    CHECK(memcmp(a->out, b->out, sizeof(a->out)) == 0);
    for (uint32_t h = 0; h < 4; h++) {
        CHECK_INT(a->heads[h].n_attended, b->heads[h].n_attended);
        CHECK(a->heads[h].threshold == b->heads[h].threshold);
        CHECK(a->heads[h].mass == b->heads[h].mass);
        CHECK(a->heads[h].certified_error == b->heads[h].certified_error);
    }
}

static const char *const rules[] = {"value:0.5",     "topk:20",        "budget:0.1",
                                    "mass:0.3",      "error:0.4",      "sample_max:0.9",
                                    "sample_topk:9", "sample_gap:1,5", "sample_mean_max"};
static const char *const extras[] = {"", ",sinks=5", ",window=70", ",sinks=65,window=3"};

/* Thresholds depend only on the keys: not on the pieces in which they were appended, on forks, on
 * keys that were cut off, or on other heads. */
static void test_determinism(void) {
    static float keys[LIFE_KEYS * DIM], values[LIFE_KEYS * DIM], other[LIFE_KEYS * DIM], q[4 * DIM];
    fill_rows(keys, LIFE_KEYS * DIM, 1);
    fill_rows(values, LIFE_KEYS * DIM, 2);
    fill_rows(other, LIFE_KEYS * DIM, 3);
    fill_rows(q, 4 * DIM, 4);
    for (uint32_t i = 0; i < 4 * DIM; i++)
        q[i] *= 24.0f; /* otherwise attention is so flat that mass omits nothing */
    rsr_louver *plain = new_index(DIM), *pieces = new_index(DIM), *cut = new_index(DIM),
               *fork = NULL;
    append_pieces(plain, keys, values, 0, LIFE_KEYS, LIFE_KEYS);
    append_pieces(pieces, keys, values, 0, LIFE_KEYS, 1);
    append_pieces(cut, keys, values, 0, 700, 37);
    append_pieces(cut, other, other, 700, 1100, 400);
    CHECK_INT(rsr_louver_truncate(cut, 700, NULL), RSR_OK);
    CHECK_INT(rsr_louver_fork(cut, &fork, NULL), RSR_OK);
    append_pieces(cut, other, other, 700, 1300, 600);
    append_pieces(fork, keys, values, 700, LIFE_KEYS, 90);
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]) * 4; i++) {
        char threshold[64];
        snprintf(threshold, sizeof(threshold), "%s%s", rules[i / 4], extras[i % 4]);
        const struct answers expected = ask(plain, q, threshold, false);
        CHECK(expected.heads[0].n_attended > 0 && expected.heads[0].n_attended < LIFE_KEYS);
        const struct answers others[] = {ask(plain, q, threshold, true),
                                         ask(pieces, q, threshold, false),
                                         ask(fork, q, threshold, false)};
        for (size_t j = 0; j < sizeof(others) / sizeof(others[0]); j++)
            check_same(&expected, &others[j]);
    }
    rsr_louver_destroy(plain);
    rsr_louver_destroy(pieces);
    rsr_louver_destroy(cut);
    rsr_louver_destroy(fork);
}

/* ---- Budgets, sinks and windows, to the key ---- */

/* All keys tie: a budget takes only the first ones, topk takes all. Sinks and windows are added to
 * a budget. */
static void test_ties(void) {
    static const struct {
        const char *threshold;
        uint32_t n_attended, last;
    } cases[] = {{"budget:0.1", 100, 99},
                 {"budget:0.0001", 1, 0},
                 {"budget:0.9999", 999, 998},
                 {"topk:3", 1000, 999},
                 {"budget:0.1,sinks=200", 200, 199},
                 {"budget:0.1,window=1", 101, 999},
                 {"budget:0.05,sinks=2,window=70", 120, 999},
                 {"value:1e30,sinks=2", 2, 1},
                 {"value:1e30,window=3", 3, 999},
                 {"sample_max:1", 1000, 999},
                 {"sample_max:0", 1000, 999},
                 {"sample_max:10", 1000, 999},
                 {"sample_mean_max", 1000, 999},
                 {"mass:0.5", 1000, 999}};
    static float rows[1000 * DIM];
    static uint32_t indices[1000];
    for (size_t i = 0; i < 1000 * DIM; i++)
        rows[i] = (float)(i % DIM) * 0.11f - 3.0f; /* whose sums round */
    rsr_louver *index = new_index(DIM);
    CHECK_INT(rsr_louver_append(index, rows, rows, 1000, NULL), RSR_OK);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        rsr_louver_query query = RSR_LOUVER_QUERY_INIT;
        rsr_louver_head head;
        query.q = rows;
        query.indices = indices;
        query.capacity = 1000;
        query.heads = &head;
        CHECK_INT(rsr_louver_threshold_parse(cases[i].threshold, &query.threshold, NULL), RSR_OK);
        CHECK_INT(rsr_louver_attend(index, &query, NULL, NULL), RSR_OK);
        if (query.threshold.kind == RSR_LOUVER_MASS) { /* takes any keys, preferably whole pages */
            CHECK(head.n_attended >= 500 && head.mass <= 0.5);
            continue;
        }
        CHECK_INT(head.n_attended, cases[i].n_attended);
        CHECK_INT(indices[head.n_attended > 0 ? head.n_attended - 1 : 0], cases[i].last);
    }
    rsr_louver_destroy(index);
}

static double sampled_threshold(rsr_louver *index, const char *threshold) {
    const float q = 1.0f;
    rsr_louver_query query = RSR_LOUVER_QUERY_INIT;
    rsr_louver_head head;
    query.q = &q;
    query.heads = &head;
    CHECK_INT(rsr_louver_threshold_parse(threshold, &query.threshold, NULL), RSR_OK);
    CHECK_INT(rsr_louver_attend(index, &query, NULL, NULL), RSR_OK);
    return head.threshold;
}

/* Thresholds of a sample that holds all keys, computed by hand. */
static void test_sampled_thresholds(void) {
    static const float keys[] = {3.0f, 10.0f, 1.0f, 4.0f, 9.0f, 0.0f}; /* gaps 1, 5, 1, 2, 1 */
    static const struct {
        const char *threshold;
        double expected;
    } cases[] = {{"sample_max:0.5", 7.25},  {"sample_mean_max", 7.25}, {"sample_topk:1", 10.0},
                 {"sample_topk:5", 1.0},    {"sample_gap:1,1", 4.0},   {"sample_gap:1,2", 4.0},
                 {"sample_gap:0.4,1", 9.0}, {"sample_gap:0.1,1", 9.0}, {"sample_gap:0.9,9", 9.0},
                 {"sample_gap:0.5,1", 4.0}};
    static const float last[] = {5.0f, 4.0f, 2.0f, -9.0f, -10.0f};
    rsr_louver *index = new_index(1), *other = new_index(1);
    CHECK_INT(rsr_louver_append(index, keys, keys, 6, NULL), RSR_OK);
    CHECK_INT(rsr_louver_append(other, last, last, 5, NULL), RSR_OK);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        CHECK(sampled_threshold(index, cases[i].threshold) == cases[i].expected);
    /* The widest of three gaps is the last one; the second widest comes before it. */
    CHECK(sampled_threshold(other, "sample_gap:0.8,1") == -9.0);
    CHECK(sampled_threshold(other, "sample_gap:0.8,2") == 2.0);
    rsr_louver_destroy(index);
    rsr_louver_destroy(other);
}

/* The memory that the index adds: 85 bytes a key with one plane, 154 with two. */
static void test_memory(void) {
    for (uint32_t planes = 1; planes <= 2; planes++) {
        rsr_louver_options options = RSR_LOUVER_OPTIONS_INIT;
        rsr_louver *index;
        rsr_louver_info info = RSR_LOUVER_INFO_INIT;
        float row[128] = {1.0f};
        options.head_dim = 128;
        options.n_planes = planes;
        CHECK_INT(rsr_louver_create(&options, &index, NULL), RSR_OK);
        for (int i = 0; i < 640; i++)
            CHECK_INT(rsr_louver_append(index, row, row, 1, NULL), RSR_OK);
        CHECK_INT(rsr_louver_get_info(index, &info), RSR_OK);
        CHECK_INT(info.length, 640);
        CHECK_INT(info.kv_bytes, 640 * 2 * 128 * 4);
        CHECK(info.index_bytes <= 640 * (planes == 1 ? 85 : 154));
        rsr_louver_destroy(index);
    }
}

/* ---- Memory ---- */

static uint32_t count_shelves(const rsr_louver *index) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < index->n_blocks; i++)
        n += i == 0 || index->blocks[i]->shelf != index->blocks[i - 1]->shelf;
    return n;
}

static bool is_mapped(const void *page) {
    unsigned char resident;
    return mincore((void *)(uintptr_t)page, 1, &resident) == 0;
}

/* Pages are contiguous however keys are appended, a fork's own page takes no more memory than it
 * needs, and memory is given back with the last index that has pages in it. */
static void test_shelves(void) {
    enum { N_PAGES = 200, N_KEYS = N_PAGES * RSR_PAGE_TOKENS + 1 };
    rsr_louver_options options = RSR_LOUVER_OPTIONS_INIT;
    options.head_dim = 16;
    float *rows = calloc((size_t)N_KEYS * 16, sizeof(float));
    for (uint32_t whole = 0; whole < 2; whole++) {
        rsr_louver *index = NULL, *fork = NULL;
        CHECK_INT(rsr_louver_create(&options, &index, NULL), RSR_OK);
        for (uint32_t done = 0, n; done < N_KEYS; done += n) {
            n = whole ? N_KEYS : 1;
            CHECK_INT(rsr_louver_append(index, rows, rows, n, NULL), RSR_OK);
        }
        CHECK(count_shelves(index) <= 10); /* shelves of 1 1 2 4 ... 64 pages, later ones of 64 */
        for (uint32_t i = 0; i < index->n_blocks; i++)
            CHECK((uintptr_t)index->blocks[i]->sidecar % 64 == 0);
        CHECK_INT(rsr_louver_fork(index, &fork, NULL), RSR_OK);
        CHECK_INT(rsr_louver_append(fork, rows, rows, 1, NULL), RSR_OK);
        CHECK_INT(fork->blocks[N_PAGES]->shelf->n_blocks, 1);
        const void *shared = index->blocks[0]->shelf, *own = fork->blocks[N_PAGES]->shelf;
        rsr_louver_destroy(index);
        CHECK(is_mapped(shared) && is_mapped(own));
        rsr_louver_destroy(fork);
        CHECK(!is_mapped(shared) && !is_mapped(own));
    }
    free(rows);
}

/* ---- A sample that misleads ---- */

/* Six keys have far larger products, and all are in pages of louver_topk.c's sample. So the
 * sample's threshold is theirs, and for every second head only they reach it. The other keys of the
 * 20 best must still be found. */
static void test_misleading_sample(void) {
    enum { N_KEYS = 64 * RSR_PAGE_TOKENS, N_BEST = 20, N_HEAVY = 6 };
    rsr_louver_options options = RSR_LOUVER_OPTIONS_INIT;
    options.head_dim = 16;
    rsr_louver *index = NULL;
    static float keys[N_KEYS][16], q[2][16];
    static uint32_t found[2][N_BEST + 1];
    fill_rows(keys[0], N_KEYS * 16, 3);
    for (uint32_t i = 0; i < N_KEYS; i++) {
        /* Products i / N_KEYS, in an order that does not follow the pages. */
        keys[i][0] = (float)(i * 1237u % N_KEYS) / (float)N_KEYS;
        keys[i][1] = 0.0f;
    }
    for (uint32_t i = 0; i < N_HEAVY; i++)
        keys[(i % 4 * 16 + 7) * RSR_PAGE_TOKENS + i][1] = 50.0f;
    q[0][0] = q[1][0] = q[1][1] = 1.0f;
    CHECK_INT(rsr_louver_create(&options, &index, NULL), RSR_OK);
    CHECK_INT(rsr_louver_append(index, keys[0], keys[0], N_KEYS, NULL), RSR_OK);
    rsr_louver_query query = RSR_LOUVER_QUERY_INIT;
    rsr_louver_head heads[2];
    query.n_heads = 2;
    query.q = q[0];
    query.threshold = threshold_of(RSR_LOUVER_TOPK, 0.0, N_BEST);
    query.heads = heads;
    query.indices = found[0];
    query.capacity = N_BEST + 1;
    CHECK_INT(rsr_louver_attend(index, &query, NULL, NULL), RSR_OK);
    for (uint32_t h = 0; h < 2; h++) {
        /* Products are exact, so the threshold separates the 20th key from the 21st. */
        CHECK_INT(heads[h].n_attended, N_BEST);
        for (uint32_t i = 0; i < N_KEYS; i++) {
            const uint32_t rank = N_KEYS - 1 - i * 1237u % N_KEYS;
            bool heavy = false, listed = false;
            for (uint32_t j = 0; j < N_HEAVY; j++)
                heavy |= h == 1 && i == (j % 4 * 16 + 7) * RSR_PAGE_TOKENS + j;
            for (uint32_t j = 0; j < N_BEST; j++)
                listed |= found[h][j] == i;
            CHECK(listed == (heavy || rank < N_BEST - (h == 1 ? N_HEAVY : 0)));
        }
    }
    rsr_louver_destroy(index);
}

/* ---- Norms ---- */

/* In float32, squares of the smallest sizes are denormal, and squares of the largest sizes
 * overflow. */
static const float sizes[] = {1e-30f, 1e-20f, 1.0f, 1e18f, 3e18f, 1e30f};

static void draw_rows(float *rows, size_t n, float size) {
    fill_rows(rows, n, 20261123);
    for (size_t i = 0; i < n; i++)
        rows[i] *= size;
}

static double largest_norm(const struct louver_setup *setup, const void *rows) {
    double largest = 0.0;
    for (uint32_t j = 0; j < RSR_PAGE_TOKENS; j++) {
        float buffer[LOUVER_MAX_DIM];
        const float *row = louver_row(setup, rows, j, buffer);
        double square = 0.0;
        for (uint32_t d = 0; d < setup->head_dim; d++)
            square += (double)row[d] * (double)row[d];
        largest = fmax(largest, sqrt(square));
    }
    return largest;
}

/* Whether a page's norm is at least the largest norm of its rows (up to the rounding of a sum in
 * double), and hardly above it. */
static bool is_norm(double norm, double of) {
    return norm >= of * (1.0 - 0x1p-40) && norm <= of * (1.0 + 0x1p-17) + 0x1p-69;
}

static void check_page(const struct louver_setup *setup, struct louver_sidecar *sidecar,
                       const float *keys, const float *values) {
    char *memory = aligned_alloc(64, rsr_kv_rows_bytes(&setup->kv));
    memset(memory, 0, rsr_kv_rows_bytes(&setup->kv));
    const struct rsr_kv_rows rows = rsr_kv_rows_at(&setup->kv, memory);
    const size_t dim = setup->head_dim;
    for (uint32_t j = 0; j < RSR_PAGE_TOKENS; j++)
        rsr_kv_rows_store(&setup->kv, rows, j, keys + j * dim, values + j * dim);
    louver_seal(setup, sidecar, &rows);
    CHECK(sidecar->usable);
    CHECK(is_norm(sidecar->norms.key, largest_norm(setup, rows.keys)));
    CHECK(is_norm(sidecar->norms.value, largest_norm(setup, rows.values)));
    float bad[LOUVER_MAX_DIM] = {[3] = NAN};
    rsr_kv_rows_store(&setup->kv, rows, 63, bad, values);
    louver_seal(setup, sidecar, &rows);
    CHECK(!sidecar->usable && isnan(sidecar->norms.key) && !isnan(sidecar->norms.value));
    free(memory);
}

/* Norms of pages of all types, at all levels, with keys of one size and values of another. */
static void test_norms(void) {
    enum { N_SIZES = sizeof(sizes) / sizeof(sizes[0]), MOST = RSR_PAGE_TOKENS * LOUVER_MAX_DIM };
    static const uint32_t dims[] = {5, 64, LOUVER_MAX_DIM};
    static float keys[MOST], values[MOST];
    for (int level = 0; level < RSR_OPS_LEVEL_COUNT; level++) {
        const struct rsr_ops *ops = ops_here((enum rsr_ops_level)level);
        if (ops == NULL)
            continue;
        for (uint32_t i = 0; i < 3 * N_SIZES * RSR_KV_TYPES; i++) {
            const struct louver_setup setup =
                louver_setup_of((enum rsr_kv_type)(i / (3 * N_SIZES)), dims[i % 3], 2, 0.0f, ops,
                                rsr_cpu_features());
            struct louver_sidecar *sidecar =
                aligned_alloc(64, (louver_sidecar_bytes(&setup) + 63) / 64 * 64);
            draw_rows(keys, RSR_PAGE_TOKENS * setup.head_dim, sizes[i / 3 % N_SIZES]);
            draw_rows(values, RSR_PAGE_TOKENS * setup.head_dim, sizes[(i / 3 + 2) % N_SIZES]);
            check_page(&setup, sidecar, keys, values);
            free(sidecar);
        }
    }
}

/* Keys and values whose squares overflow still get useful certified errors. */
static void test_huge_rows(void) {
    enum { N_HUGE = 3 * RSR_PAGE_TOKENS + 5 };
    static float huge[N_HUGE * DIM];
    float q[DIM], out[DIM];
    rsr_louver_query query = RSR_LOUVER_QUERY_INIT;
    rsr_louver_head head;
    rsr_louver *index = new_index(DIM);
    draw_rows(huge, N_HUGE * DIM, 1e30f);
    draw_rows(q, DIM, 1e-30f);
    query.q = q;
    query.out = out;
    query.heads = &head;
    query.threshold = threshold_of(RSR_LOUVER_VALUE, 0.0, 0);
    CHECK_INT(rsr_louver_append(index, huge, huge, N_HUGE, NULL), RSR_OK);
    CHECK_INT(rsr_louver_attend(index, &query, NULL, NULL), RSR_OK);
    CHECK(head.n_attended > 0 && head.n_attended < N_HUGE && head.mass < 1.0);
    CHECK(head.certified_error > 0.0 && head.certified_error < 1e32);
    rsr_louver_destroy(index);
}

/* ---- What is not certified ---- */

enum { N_FEW = RSR_PAGE_TOKENS + 6 }; /* a sealed page and an open one */

static const char *const every_rule[] = {
    "value:-inf",    "value:0,window=1", "topk:1",           "topk:100",
    "mass:0",        "mass:1e-3",        "error:0.5",        "mass:0.5",
    "budget:0.1",    "budget:1",         "sample_max:1",     "sample_max:0",
    "sample_topk:3", "sample_mean_max",  "sample_gap:0.5,1", "value:inf,window=1"};

/* Whether every rule certifies the error if all keys are equal; -1 if rules differ. */
static int is_certified(rsr_louver *index, const float *q) {
    const int n_rules = (int)(sizeof(every_rule) / sizeof(every_rule[0]));
    int n_certified = 0;
    for (int i = 0; i < n_rules; i++) {
        float out[DIM];
        rsr_louver_query query = RSR_LOUVER_QUERY_INIT;
        rsr_louver_head head;
        query.q = q;
        query.out = out;
        query.heads = &head;
        CHECK_INT(rsr_louver_threshold_parse(every_rule[i], &query.threshold, NULL), RSR_OK);
        CHECK_INT(rsr_louver_attend(index, &query, NULL, NULL), RSR_OK);
        CHECK(head.n_attended > 0 && !isnan(head.certified_error));
        CHECK(isfinite(out[0]) || isinf(head.certified_error));
        n_certified += isfinite(head.certified_error);
    }
    return n_certified == 0 ? 0 : n_certified == n_rules ? 1 : -1;
}

/* Keys, values and query have `size`[i] in every dimension. If products are to cancel, the second
 * half of each key is negative. */
static int is_certified_of(const float *size, bool cancel, float scale) {
    static float keys[N_FEW * DIM], values[N_FEW * DIM];
    float q[DIM];
    rsr_louver_options options = RSR_LOUVER_OPTIONS_INIT;
    rsr_louver *index = NULL;
    options.head_dim = DIM;
    options.scale = scale;
    CHECK_INT(rsr_louver_create(&options, &index, NULL), RSR_OK);
    for (uint32_t i = 0; i < N_FEW * DIM; i++) {
        keys[i] = cancel && i % DIM >= DIM / 2 ? -size[0] : size[0];
        values[i] = size[1];
        q[i % DIM] = size[2];
    }
    CHECK_INT(rsr_louver_append(index, keys, values, N_FEW, NULL), RSR_OK);
    const int certified = is_certified(index, q);
    rsr_louver_destroy(index);
    return certified;
}

/* Finite rows whose products, or whose weighted sums, are beyond float32. */
static void test_overflows(void) {
    CHECK_INT(is_certified_of((const float[]){1.0f, 1.0f, 1.0f}, false, 0.0f), 1);
    CHECK_INT(is_certified_of((const float[]){0x1p60f, 1.0f, 0x1p60f}, false, 0.0f), 1);
    CHECK_INT(is_certified_of((const float[]){0x1p70f, 1.0f, 0x1p70f}, false, 0.0f), 0);
    CHECK_INT(is_certified_of((const float[]){0x1p70f, 1.0f, -0x1p70f}, false, 0.0f), 0);
    CHECK_INT(is_certified_of((const float[]){0x1p70f, 1.0f, 0x1p70f}, true, 0.0f), 0);
    CHECK_INT(is_certified_of((const float[]){0x1p126f, 1.0f, 1.0f}, false, 0.0f), 0);
    CHECK_INT(is_certified_of((const float[]){0x1p120f, 1.0f, 0x1p-120f}, true, 0.0f), 1);
    CHECK_INT(is_certified_of((const float[]){0x1p60f, 1.0f, 0x1p60f}, true, 0x1p10f), 0);
    /* The value of a single key with weight 1 is finite; a sum of 64 such values overflows. */
    CHECK_INT(is_certified_of((const float[]){1.0f, 0x1p120f, 1.0f}, false, 0.0f), 1);
    CHECK_INT(is_certified_of((const float[]){1.0f, 0x1.8p127f, 1.0f}, false, 0.0f), -1);
}

/* The last of 6 keys of an open page, which an engine may have filled, is overwritten. Its product
 * is below 0, those of the others are above 0. */
static void check_written(bool is_key, float written, double threshold, uint32_t n_attended,
                          bool certified) {
    float rows[6 * DIM], q[DIM], out[DIM];
    rsr_louver_query query = RSR_LOUVER_QUERY_INIT;
    rsr_louver_head head;
    rsr_louver *index = new_index(DIM);
    for (uint32_t i = 0; i < 6 * DIM; i++) {
        rows[i] = i / DIM < 5 ? 1.0f : -1.0f;
        q[i % DIM] = 1.0f;
    }
    CHECK_INT(rsr_louver_append(index, rows, rows, 6, NULL), RSR_OK);
    const struct rsr_kv_rows *to = &index->blocks[0]->rows;
    memcpy((char *)(is_key ? to->keys : to->values) + 5 * index->setup.kv.row_bytes, &written,
           sizeof(written));
    query.q = q;
    query.out = out;
    query.heads = &head;
    query.threshold = threshold_of(RSR_LOUVER_VALUE, threshold, 0);
    CHECK_INT(rsr_louver_attend(index, &query, NULL, NULL), RSR_OK);
    CHECK_INT(head.n_attended, n_attended);
    CHECK(isfinite(head.certified_error) == certified && !isnan(head.certified_error));
    rsr_louver_destroy(index);
}

static void test_not_finite_rows(void) {
    check_written(false, 3.0f, 0.0, 5, true);
    check_written(false, NAN, 0.0, 5, false);
    check_written(false, INFINITY, 0.0, 5, false);
    check_written(false, NAN, -INFINITY, 6, false);
    check_written(true, -3.0f, 0.0, 5, true);
    check_written(true, -INFINITY, 0.0, 6,
                  false); /* its weight is 0, so the output does not change */
    check_written(true, NAN, 0.0, 6, false);
}

/* ---- Stack ---- */

/* Runs on a stack of the size that rsr.h demands. Sealing a page needs most of it. */
static void *live_in_a_thread(void *user) {
    (void)user;
    float *rows = calloc(RSR_PAGE_TOKENS * LOUVER_MAX_DIM, sizeof(*rows));
    rsr_louver_options options = RSR_LOUVER_OPTIONS_INIT;
    rsr_louver_query query = RSR_LOUVER_QUERY_INIT;
    rsr_louver *index = NULL;
    options.head_dim = LOUVER_MAX_DIM;
    options.kv_type = "int8";
    query.q = rows;
    CHECK_INT(rsr_louver_create(&options, &index, NULL), RSR_OK);
    CHECK_INT(rsr_louver_append(index, rows, rows, RSR_PAGE_TOKENS, NULL), RSR_OK);
    CHECK_INT(rsr_louver_attend(index, &query, NULL, NULL), RSR_OK);
    rsr_louver_destroy(index);
    free(rows);
    return NULL;
}

static void test_stack(void) {
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
    CHECK_INT(pthread_attr_setstacksize(&attributes, 256 << 10), 0);
    CHECK_INT(pthread_create(&thread, &attributes, live_in_a_thread, NULL), 0);
    CHECK_INT(pthread_join(thread, NULL), 0);
    pthread_attr_destroy(&attributes);
}

int main(void) {
    test_refusals();
    test_thresholds();
    test_sentences();
    test_determinism();
    test_ties();
    test_sampled_thresholds();
    test_memory();
    test_shelves();
    test_misleading_sample();
    test_norms();
    test_huge_rows();
    test_overflows();
    test_not_finite_rows();
    if (!TEST_SANITIZED) /* sanitizers make frames larger */
        test_stack();
    return CHECK_EXIT();
}
