/* test_logprobs.c - log-probabilities of a batch: they follow from logits in the documented float
 * order, are close to libm's, and do not depend on threads, level of operations or chunks. */
#include "fake_module.h"
#include "sample/logprobs.h"
#include "sample/sample.h"

#define API (&rsr_runtime_api)
#define VOCAB 1100u
#define CONTEXT 256u
#define N_TOKENS 200u /* more log-probabilities than a chunk has */
#define N_TOP 5u

static struct fake_module fake;
static uint32_t tokens[N_TOKENS];
static float logits[N_TOKENS * VOCAB];
static rsr_logprob expected[N_TOKENS][1 + N_TOP];

/* After token i, the log-probability of token i + 1 is wanted; after the last token, that of the
 * picked token. */
static uint32_t asked_token(uint32_t i) {
    return i + 1 < N_TOKENS ? tokens[i + 1] : UINT32_MAX;
}

/* The formula of rsr.h, with the library's exp, which test_ops checks. */
static double log_sum_of(const struct rsr_ops *ops, const float *row, float largest) {
    double sums[16] = {0};
    for (uint32_t i = 0; i < VOCAB; i++) {
        const float z = row[i] - largest;
        float w;
        ops->exp(&w, &z, 1);
        sums[i % 16] += (double)w;
    }
    for (uint32_t half = 8; half > 0; half /= 2)
        for (uint32_t j = 0; j < half; j++)
            sums[j] += sums[j + half];
    return rsr_log(sums[0]);
}

static int by_logit(const float *row, uint32_t a, uint32_t b) {
    return row[a] > row[b] || (row[a] == row[b] && a < b);
}

static void check_row(const struct rsr_ops *ops, const float *row, uint32_t token,
                      const rsr_logprob *found, uint32_t n_top) {
    float largest = row[0];
    double sum = 0;
    for (uint32_t i = 0; i < VOCAB; i++)
        largest = row[i] > largest ? row[i] : largest;
    for (uint32_t i = 0; i < VOCAB; i++)
        sum += exp((double)row[i] - (double)largest);
    const double log_sum = log_sum_of(ops, row, largest);
    CHECK(fabs(log_sum - log(sum)) < 1e-6);
    CHECK_INT(found[0].token, token);
    for (uint32_t i = 0; i <= n_top; i++) {
        uint32_t rank = 0;
        for (uint32_t t = 0; t < VOCAB; t++)
            rank += by_logit(row, t, found[i].token) ? 1 : 0;
        CHECK_INT(found[i].rank, rank);
        CHECK(i == 0 || rank == i - 1);
        CHECK(found[i].logprob == (double)row[found[i].token] - (double)largest - log_sum);
    }
}

/* Evaluates all tokens in a batch, and stores log-probabilities after all tokens except every third
 * in `results`. */
static rsr_status eval(rsr_engine *engine, float *wanted, uint32_t *picked,
                       rsr_logprob results[][1 + N_TOP]) {
    rsr_batch_entry entries[N_TOKENS];
    rsr_logprobs asked[N_TOKENS];
    rsr_sequence *sequence = NULL;
    size_t n_asked = 0;
    CHECK_INT(API->sequence_create(engine, &sequence, NULL), RSR_OK);
    for (uint32_t i = 0; i < N_TOKENS; i++) {
        entries[i] = (rsr_batch_entry){sequence, i, tokens[i], wanted != NULL};
        if (i % 3 != 2)
            asked[n_asked++] = (rsr_logprobs){i, asked_token(i), i % (N_TOP + 1), results[i]};
    }
    const rsr_pick picks[] = {{40, NULL}, {N_TOKENS - 1, NULL}};
    rsr_batch batch = RSR_BATCH_INIT;
    batch.entries = entries;
    batch.n_entries = N_TOKENS;
    batch.logits = wanted;
    batch.logits_capacity = wanted != NULL ? (size_t)N_TOKENS * VOCAB : 0;
    batch.picks = picks;
    batch.n_picks = 2;
    batch.picked = picked;
    batch.logprobs = asked;
    batch.n_logprobs = n_asked;
    rsr_error err = RSR_ERROR_INIT;
    const rsr_status status = API->eval(engine, &batch, &err);
    CHECK_STR(err.message, "");
    API->sequence_destroy(sequence);
    return status;
}

static void check_engine(enum rsr_ops_level level, uint32_t n_threads, uint32_t max_batch,
                         bool with_logits) {
    rsr_model *model = fake_open(&fake, level);
    rsr_engine *engine = fake_engine(model, n_threads, max_batch, CONTEXT);
    static rsr_logprob found[N_TOKENS][1 + N_TOP];
    static float again[N_TOKENS * VOCAB];
    uint32_t picked[2] = {0, 0};
    memset(found, 0, sizeof(found));
    CHECK_INT(eval(engine, with_logits ? again : NULL, picked, found), RSR_OK);
    CHECK(memcmp(found, expected, sizeof(found)) == 0);
    CHECK_INT(picked[1], found[N_TOKENS - 1][0].token);
    rsr_head_stats stats = RSR_HEAD_STATS_INIT;
    CHECK_INT(API->engine_head_stats(engine, false, &stats), RSR_OK);
    CHECK_INT(stats.full, 2); /* after other tokens nothing was picked */
    API->engine_destroy(engine);
    API->close(model);
}

static void make_expected(void) {
    rsr_model *model = fake_open(&fake, RSR_OPS_GENERIC);
    rsr_engine *engine = fake_engine(model, 1, 128, CONTEXT);
    uint32_t picked[2];
    CHECK_INT(eval(engine, logits, picked, expected), RSR_OK);
    for (uint32_t i = 0; i < N_TOKENS; i++)
        if (i % 3 != 2)
            check_row(model->ops, logits + (size_t)i * VOCAB,
                      i + 1 < N_TOKENS ? tokens[i + 1] : picked[1], expected[i], i % (N_TOP + 1));
    API->engine_destroy(engine);
    API->close(model);
}

/* Ties, excluded tokens, and numbers of very different size. */
static void test_rows(void) {
    const struct rsr_ops *ops = rsr_ops_get(RSR_OPS_GENERIC);
    static float row[VOCAB];
    static rsr_logprob all[1 + RSR_MAX_TOP_LOGPROBS];
    uint64_t state = 3;
    for (uint32_t kind = 0; kind < 4; kind++) {
        for (uint32_t i = 0; i < VOCAB; i++)
            row[i] = kind == 0   ? 0.25f * (float)(check_random(&state) % 9)
                     : kind == 1 ? (float)i
                     : kind == 2 ? -(float)i
                                 : 1e30f * (float)(check_random(&state) % 3);
        if (kind == 0)
            row[17] = -INFINITY;
        CHECK_INT(rsr_find_logprobs(ops, row, VOCAB, 17, 900, all, NULL), RSR_OK);
        check_row(ops, row, 17, all, 900);
        CHECK_INT(rsr_find_logprobs(ops, row, VOCAB, 3, 0, all, NULL), RSR_OK);
        check_row(ops, row, 3, all, 0);
    }
    row[7] = NAN;
    CHECK_INT(rsr_find_logprobs(ops, row, VOCAB, 3, 0, all, NULL), RSR_ERR_NUMERIC);
    for (uint32_t i = 0; i < VOCAB; i++)
        row[i] = -INFINITY;
    CHECK_INT(rsr_find_logprobs(ops, row, VOCAB, 3, 0, all, NULL), RSR_ERR_NUMERIC);
}

static void refuse(rsr_engine *engine, rsr_logprobs asked, bool states, const char *why) {
    rsr_sequence *sequence = NULL;
    CHECK_INT(API->sequence_create(engine, &sequence, NULL), RSR_OK);
    const rsr_batch_entry entries[] = {{sequence, 0, 1, false}, {sequence, 1, 1, false}};
    const rsr_pick pick = {0, NULL};
    uint32_t picked;
    const rsr_logprobs both[] = {{0, 2, 0, asked.results}, asked};
    rsr_batch batch = RSR_BATCH_INIT;
    batch.entries = entries;
    batch.n_entries = 2;
    batch.picks = &pick;
    batch.n_picks = states ? 0 : 1;
    batch.picked = &picked;
    batch.logprobs = both;
    batch.n_logprobs = 2;
    batch.want_states = states;
    rsr_error err = RSR_ERROR_INIT;
    CHECK_INT(API->eval(engine, &batch, &err), RSR_ERR_ARGUMENT);
    CHECK(strstr(err.message, why) != NULL);
    CHECK_INT(API->sequence_length(sequence), 0);
    batch.logprobs = NULL;
    CHECK_INT(API->eval(engine, &batch, &err), RSR_ERR_ARGUMENT);
    API->sequence_destroy(sequence);
}

static void test_refusals(void) {
    static rsr_logprob results[1 + RSR_MAX_TOP_LOGPROBS];
    rsr_model *model = fake_open(&fake, RSR_OPS_GENERIC);
    rsr_engine *engine = fake_engine(model, 1, 8, CONTEXT);
    refuse(engine, (rsr_logprobs){2, 1, 0, results}, false, "logprobs 1: entry 2 is not in");
    refuse(engine, (rsr_logprobs){0, 1, 0, results}, false, "logprobs 1: entry 0 is not after");
    refuse(engine, (rsr_logprobs){1, VOCAB, 0, results}, false, "token 1100 is outside");
    refuse(engine, (rsr_logprobs){1, UINT32_MAX, 0, results}, false, "nothing is picked after");
    refuse(engine, (rsr_logprobs){1, 1, 1025, results}, false, "n_top 1025 is more than 1024");
    refuse(engine, (rsr_logprobs){1, 1, 0, NULL}, false, "results is NULL");
    refuse(engine, (rsr_logprobs){1, 1, 0, results}, true, "no token has a probability");
    API->engine_destroy(engine);
    API->close(model);
}

/* If an entry fails, so do those of its sequence; other entries get their results. */
static void test_failed_entries(void) {
    rsr_model *model = fake_open(&fake, RSR_OPS_GENERIC);
    rsr_engine *engine = fake_engine(model, 1, 8, CONTEXT);
    rsr_sequence *good = NULL, *bad = NULL;
    CHECK_INT(API->sequence_create(engine, &good, NULL), RSR_OK);
    CHECK_INT(API->sequence_create(engine, &bad, NULL), RSR_OK);
    const rsr_batch_entry entries[] = {{bad, 0, VOCAB, false}, {good, 0, tokens[0], false}};
    rsr_logprob results[2][1] = {{{9, 9, 9}}, {{9, 9, 9}}};
    const rsr_logprobs asked[] = {{0, 1, 0, results[0]}, {1, tokens[1], 0, results[1]}};
    rsr_status statuses[2];
    rsr_batch batch = RSR_BATCH_INIT;
    batch.entries = entries;
    batch.n_entries = 2;
    batch.logprobs = asked;
    batch.n_logprobs = 2;
    batch.statuses = statuses;
    CHECK_INT(API->eval(engine, &batch, NULL), RSR_ERR_ARGUMENT);
    CHECK_INT(statuses[1], RSR_OK);
    CHECK_INT(results[0][0].token, 9);
    CHECK(memcmp(results[1], expected[0], sizeof(results[1])) == 0);
    API->sequence_destroy(good);
    API->sequence_destroy(bad);
    API->engine_destroy(engine);
    API->close(model);
}

int main(void) {
    uint64_t seed = 5;
    const struct fake_shape shape = fake_text_shape(VOCAB, CONTEXT);
    fake_module_init(&fake, &shape, seed);
    for (uint32_t i = 0; i < N_TOKENS; i++)
        tokens[i] = (uint32_t)(check_random(&seed) % VOCAB);
    make_expected();
    check_engine(RSR_OPS_GENERIC, 1, 128, false);
    check_engine(RSR_OPS_GENERIC, 3, 7, true);
    for (uint32_t level = 0; level < RSR_OPS_LEVEL_COUNT; level++)
        if (rsr_ops_get((enum rsr_ops_level)level) != NULL &&
            (rsr_ops_features((enum rsr_ops_level)level) & ~rsr_cpu_features()) == 0)
            check_engine((enum rsr_ops_level)level, 2, 128, level % 2 == 0);
    test_rows();
    test_refusals();
    test_failed_entries();
    return CHECK_EXIT();
}
