/* test_sample.c - compares filters with cases computed by hand, and draws with the softmax by a
 * chi-square test. */
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "check.h"
#include "sample/sample.h"

#define VOCAB 8

static struct rsr_module module = {.hyper = {.vocab = VOCAB}};
static struct rsr_model model = {.module = &module};

static rsr_sampling defaults(void) {
    rsr_sampling s = RSR_SAMPLING_INIT;
    return s;
}

static uint32_t sample(const rsr_sampling *s, const float *logits, const uint32_t *history,
                       size_t n) {
    uint32_t token = UINT32_MAX;
    rsr_error err = RSR_ERROR_INIT;
    CHECK_INT(rsr_api_sample(&model, s, logits, history, n, &token, &err), RSR_OK);
    CHECK_STR(err.message, "");
    return token;
}

#define N_POSITIONS 100000

/* Without penalties, only the length of the history matters: it is the position. */
static uint32_t sample_at(const rsr_sampling *s, const float *logits, size_t position) {
    static const uint32_t history[N_POSITIONS];
    return sample(s, logits, history, position);
}

/* Bit i: token i was drawn at least once in 4000 positions. */
static uint32_t drawn_set(const rsr_sampling *s, const float *logits) {
    uint32_t set = 0;
    for (size_t position = 0; position < 4000; position++)
        set |= 1u << sample_at(s, logits, position);
    return set;
}

static void test_greedy(void) {
    const float logits[VOCAB] = {-1, 3, 2, 3, 0, -INFINITY, 2.999f, 1};
    rsr_sampling s = defaults();
    CHECK_INT(sample(&s, logits, NULL, 0), 1); /* the lower id of two equal logits */
    CHECK_INT(sample(NULL, logits, NULL, 0), 1);
    const uint32_t history[] = {1, 1, 1};
    s.repeat_penalty = 2;
    CHECK_INT(sample(&s, logits, history, 3), 3); /* 3 / 2, once */
    s.repeat_window = 0;
    CHECK_INT(sample(&s, logits, history, 3), 1);
}

/* The rule of Hugging Face: positive logits are divided, negative ones multiplied. */
static void test_penalty(void) {
    const float logits[VOCAB] = {-1, -1.5f, -4, -4, -4, -4, -4, -4};
    const uint32_t history[] = {7, 0};
    rsr_sampling s = defaults();
    s.repeat_penalty = 2;
    CHECK_INT(sample(&s, logits, history, 2), 1); /* -1 becomes -2 */
    s.repeat_penalty = 1.25f;
    CHECK_INT(sample(&s, logits, history, 2), 0); /* -1.25 */
    s.repeat_penalty = 2;
    s.repeat_window = 1;
    const uint32_t older[] = {0, 7};
    CHECK_INT(sample(&s, logits, older, 2), 0); /* outside the window */
    const uint32_t oldest[] = {7, 0, 7};
    s.repeat_window = 2;
    CHECK_INT(sample(&s, logits, oldest, 3), 1); /* the first token inside the window */
    const uint32_t twice[] = {0, 0};
    s.repeat_penalty = 1.4f;
    s.repeat_window = 64;
    CHECK_INT(sample(&s, logits, twice, 2), 0); /* -1.4, not -1.96 */
}

static void test_filters(void) {
    /* Probabilities 0.4, 0.3, 0.15, 0.1, 0.05. */
    const float logits[VOCAB] = {-1.8971200f, -0.9162907f, -1.2039728f, -2.9957323f,
                                 -2.3025851f, -INFINITY,   -INFINITY,   -INFINITY};
    rsr_sampling s = defaults();
    s.temperature = 1;
    CHECK_INT(drawn_set(&s, logits), 0x1f);
    s.top_k = 2;
    CHECK_INT(drawn_set(&s, logits), 0x06);
    s.top_k = 1;
    CHECK_INT(drawn_set(&s, logits), 0x02);
    s.top_k = 100;
    CHECK_INT(drawn_set(&s, logits), 0x1f);
    s.top_k = 0;
    static const struct {
        float top_p;
        uint32_t set;
    } nuclei[] = {{0.1f, 0x02},  {0.39f, 0x02}, {0.41f, 0x06}, {0.69f, 0x06},
                  {0.71f, 0x07}, {0.86f, 0x17}, {0.94f, 0x17}, {0.96f, 0x1f}};
    for (size_t i = 0; i < sizeof(nuclei) / sizeof(nuclei[0]); i++) {
        s.top_p = nuclei[i].top_p;
        CHECK_INT(drawn_set(&s, logits), nuclei[i].set);
    }
    /* If the first tokens have exactly top_p, the tokens after them are dropped. A token with
     * exactly min_p of the largest weight stays. */
    const float halves[VOCAB] = {3, -INFINITY, 3, -1000, -1000, -1000, -1000, -1000};
    s.top_p = 0.5f;
    CHECK_INT(drawn_set(&s, halves), 0x01);
    s.top_p = 1;
    s.min_p = 1;
    CHECK_INT(drawn_set(&s, halves), 0x05);
    s.min_p = 0;
    /* After top-k 2 the two hold 4/7 and 3/7. */
    s.top_k = 2;
    s.top_p = 0.56f;
    CHECK_INT(drawn_set(&s, logits), 0x02);
    s.top_p = 0.58f;
    CHECK_INT(drawn_set(&s, logits), 0x06);
    s.top_k = 0;
    s.top_p = 1;
    s.min_p = 0.74f; /* 0.3 / 0.4 = 0.75 stays */
    CHECK_INT(drawn_set(&s, logits), 0x06);
    s.min_p = 0.76f;
    CHECK_INT(drawn_set(&s, logits), 0x02);
    s.min_p = 0.24f;
    CHECK_INT(drawn_set(&s, logits), 0x17);
    /* The temperature comes first: at 1/2 the ratio is squared. */
    s.temperature = 0.5f;
    s.min_p = 0.57f;
    CHECK_INT(drawn_set(&s, logits), 0x02);
    s.min_p = 0.55f;
    CHECK_INT(drawn_set(&s, logits), 0x06);
}

/* Generated tokens count by their number, and the prompt does not count. */
static void test_counts(void) {
    const float logits[VOCAB] = {4, 3.9f, 3.8f, 0, 0, 0, 0, 0};
    const uint32_t history[] = {1, 1, 0, 0, 1};
    rsr_sampling s = defaults();
    s.presence_penalty = 0.15f;
    CHECK_INT(sample(&s, logits, history, 5), 0); /* 3.85, 3.75, 3.8 */
    s.generated_from = 4;
    CHECK_INT(sample(&s, logits, history, 5), 0); /* 4, 3.75, 3.8 */
    s.generated_from = 2;
    s.presence_penalty = 0.25f;
    CHECK_INT(sample(&s, logits, history, 5), 2); /* 3.75, 3.65, 3.8 */
    s.presence_penalty = 0;
    s.frequency_penalty = 0.06f;
    CHECK_INT(sample(&s, logits, history, 5), 0); /* 3.88, 3.84, 3.8 */
    s.frequency_penalty = 0.09f;
    s.frequency_penalty = 0.11f;
    CHECK_INT(sample(&s, logits, history, 5), 2); /* 3.78, 3.79, 3.8 */
    s.generated_from = 5;
    CHECK_INT(sample(&s, logits, history, 5), 0);
    s.generated_from = 77; /* after the end of the history */
    CHECK_INT(sample(&s, logits, history, 5), 0);
    s.generated_from = 0;
    s.frequency_penalty = -0.06f; /* favours tokens that occurred: 4.12, 4.08, 3.8 and ... */
    CHECK_INT(sample(&s, logits, history, 5), 0);
    s.frequency_penalty = -0.2f;
    CHECK_INT(sample(&s, logits, history, 5), 1); /* 4.4, 4.5, 3.8 */
}

/* logit_bias comes before the penalties, which come before the temperature; the last bias
 * counts. */
static void test_biases(void) {
    const float logits[VOCAB] = {1, 0.5f, -2, -2, -2, -2, -2, -2};
    const uint32_t history[] = {1, 2};
    const rsr_logit_bias biases[] = {{1, 9}, {1, 1}, {0, -INFINITY}, {0, 0.25f}, {2, 3}};
    rsr_sampling s = defaults();
    s.logit_bias = biases;
    s.n_logit_bias = 2;
    CHECK_INT(sample(&s, logits, history, 2), 1); /* 1, 1.5 */
    s.repeat_penalty = 2;                         /* 1, 1.5 / 2; not 1, 0.5 / 2 + 1 */
    CHECK_INT(sample(&s, logits, history, 2), 0);
    s.n_logit_bias = 3;
    CHECK_INT(sample(&s, logits, history, 2), 1); /* -infinity, 0.75 */
    s.n_logit_bias = 4;
    CHECK_INT(sample(&s, logits, history, 2), 0); /* 1.25, 0.75 */
    s.n_logit_bias = 5;
    s.presence_penalty = -0.6f; /* 1.25, 0.75 + 0.6, (-2 + 3) / 2 + 0.6; not (0.5 + 0.6 + 1) / 2 */
    CHECK_INT(sample(&s, logits, history, 2), 1);
    s.presence_penalty = 0;
    s.repeat_penalty = 1;
    s.temperature = 1;
    CHECK_INT(drawn_set(&s, logits) & 7u, 7);
    s.top_k = 1; /* 1.25, 1.5, 1 */
    CHECK_INT(drawn_set(&s, logits), 2);
}

static void test_allowed(void) {
    const float logits[VOCAB] = {5, 4, 3, 2, 1, 0, -1, -2};
    uint32_t allowed[] = {0xffffff58};
    const uint32_t history[] = {3};
    rsr_sampling s = defaults();
    s.allowed = allowed;
    s.allowed_words = 1;
    CHECK_INT(sample(&s, logits, NULL, 0), 3);
    s.temperature = 100;
    CHECK_INT(drawn_set(&s, logits), 0x58);
    s.top_k = 2; /* the best 2 of the allowed tokens */
    CHECK_INT(drawn_set(&s, logits), 0x18);
    s.top_k = 0;
    /* e^(-1 / 100) is above it, e^(-3 / 100) below: relative to the largest allowed token */
    s.min_p = 0.985f;
    CHECK_INT(drawn_set(&s, logits), 0x18);
    s.temperature = 0;
    s.presence_penalty = 1.5f;
    CHECK_INT(sample(&s, logits, history, 1), 4);
}

static void test_ties_at_top_k(void) {
    const float logits[VOCAB] = {1, 2, 1, 2, 1, 0, 0, 0};
    rsr_sampling s = defaults();
    s.temperature = 1;
    s.top_k = 3;
    CHECK_INT(drawn_set(&s, logits), 0x1f);
    s.top_k = 2;
    CHECK_INT(drawn_set(&s, logits), 0x0a);
}

/* The 99.9 % point of chi-square with 7 degrees of freedom is 24.3. */
static double chi_square(const rsr_sampling *s, const float *logits) {
    const double n = N_POSITIONS;
    double count[VOCAB] = {0}, weight[VOCAB], total = 0, chi = 0;
    for (uint32_t i = 0; i < VOCAB; i++)
        total += weight[i] = exp((double)logits[i] / (double)s->temperature);
    for (size_t position = 0; position < N_POSITIONS; position++)
        count[sample_at(s, logits, position)]++;
    for (uint32_t i = 0; i < VOCAB; i++) {
        double expected = n * weight[i] / total;
        chi += (count[i] - expected) * (count[i] - expected) / expected;
    }
    return chi;
}

static void test_distribution(void) {
    const float logits[VOCAB] = {1.5f, -0.5f, 0.25f, 2, -3, 0.75f, -1, 1};
    rsr_sampling s = defaults();
    static const float temperatures[] = {0.7f, 1, 1.8f};
    for (size_t i = 0; i < 3; i++) {
        for (uint64_t seed = 0; seed < 3; seed++) {
            s.temperature = temperatures[i];
            s.seed = seed;
            s.sequence_id = 10 * seed;
            double chi = chi_square(&s, logits);
            printf("temperature %.1f seed %d: chi-square %.2f\n", (double)s.temperature, (int)seed,
                   chi);
            CHECK(chi < 24.3);
        }
    }
}

/* A draw depends on its seed, sequence and position, and on nothing that was drawn before. */
static void test_noise(void) {
    const float logits[VOCAB] = {0};
    rsr_sampling s = defaults();
    s.temperature = 1;
    uint32_t history[40] = {0}, first[40], changed[3] = {0};
    for (size_t n = 0; n < 40; n++)
        first[n] = sample(&s, logits, history, n);
    for (size_t n = 40; n-- > 0;)
        CHECK_INT(sample(&s, logits, history, n), first[n]);
    for (size_t n = 0; n < 39; n++)
        changed[0] += first[n] != first[n + 1];
    rsr_sampling seeded = s, other = s;
    seeded.seed = 1;
    other.sequence_id = 1;
    for (size_t n = 0; n < 40; n++) {
        changed[1] += sample(&seeded, logits, history, n) != first[n];
        changed[2] += sample(&other, logits, history, n) != first[n];
    }
    for (size_t i = 0; i < 3; i++)
        CHECK(changed[i] > 25); /* 35 expected */
    /* The bits must not change: a seed draws one text in all versions. */
    CHECK(rsr_noise(rsr_noise_key(0, 0, 0), 0) == 0x1.0983a45556404p-3);
    CHECK(rsr_noise(rsr_noise_key(1, 2, 3), 4) == 0x1.aab99a95d6799p-1);
    CHECK(rsr_noise(rsr_noise_key(1, 2, 4), 3) == 0x1.b1ebc8b0b134fp-1);
    /* The hash of this seed is all ones: the noise must stay below 1, whose Gumbel is infinite. */
    CHECK(rsr_noise(rsr_noise_key(UINT64_C(0xda560b97b3c8edee), 0, 0), 0) == 0x1.fffffffffffffp-1);
}

static void test_refusals(void) {
    float logits[VOCAB] = {0};
    rsr_sampling s = defaults();
    rsr_error err = RSR_ERROR_INIT;
    uint32_t token = 77;
    logits[5] = NAN;
    CHECK_INT(rsr_api_sample(&model, &s, logits, NULL, 0, &token, &err), RSR_ERR_NUMERIC);
    CHECK(strstr(err.message, "token 5") != NULL);
    logits[5] = INFINITY;
    CHECK_INT(rsr_api_sample(&model, &s, logits, NULL, 0, &token, NULL), RSR_ERR_NUMERIC);
    logits[5] = 0;
    for (int i = 0; i < VOCAB; i += VOCAB - 1) { /* the first one, and the last */
        logits[i] = NAN;
        CHECK_INT(rsr_api_sample(&model, &s, logits, NULL, 0, &token, NULL), RSR_ERR_NUMERIC);
        logits[i] = 0;
    }
    for (int i = 0; i < VOCAB; i++)
        logits[i] = -INFINITY;
    CHECK_INT(rsr_api_sample(&model, &s, logits, NULL, 0, &token, NULL), RSR_ERR_NUMERIC);
    logits[5] = 0;
    rsr_sampling wrong[6];
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        wrong[i] = s;
    wrong[0].temperature = -1;
    wrong[1].temperature = NAN;
    wrong[2].top_p = 0;
    wrong[3].top_p = 1.5f;
    wrong[4].min_p = -0.1f;
    wrong[5].repeat_penalty = 0;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        CHECK_INT(rsr_api_sample(&model, &wrong[i], logits, NULL, 0, &token, NULL),
                  RSR_ERR_ARGUMENT);
    const uint32_t history[] = {VOCAB};
    s.repeat_penalty = 1.1f;
    CHECK_INT(rsr_api_sample(&model, &s, logits, history, 1, &token, NULL), RSR_ERR_ARGUMENT);
    s = defaults();
    s.presence_penalty = 1;
    CHECK_INT(rsr_api_sample(&model, &s, logits, history, 1, &token, NULL), RSR_ERR_ARGUMENT);
    CHECK_INT(token, 77);
}

static void refuse(const rsr_sampling *s, rsr_status expected, const char *field) {
    const float logits[VOCAB] = {0};
    rsr_error err = RSR_ERROR_INIT;
    uint32_t token = 77;
    CHECK_INT(rsr_api_sample(&model, s, logits, NULL, 0, &token, &err), expected);
    CHECK(strstr(err.message, field) != NULL);
    CHECK_INT(token, 77);
}

/* Each is refused by the name of its field. */
static void test_refused_edits(void) {
    const float penalties[] = {NAN, INFINITY, -INFINITY, 1.1e6f, -1.1e6f};
    for (size_t i = 0; i < sizeof(penalties) / sizeof(penalties[0]); i++) {
        rsr_sampling s = defaults();
        s.presence_penalty = penalties[i];
        refuse(&s, RSR_ERR_ARGUMENT, "presence_penalty");
        s = defaults();
        s.frequency_penalty = penalties[i];
        refuse(&s, RSR_ERR_ARGUMENT, "frequency_penalty");
        s = defaults();
        const rsr_logit_bias bias = {2, penalties[i]};
        s.logit_bias = &bias;
        s.n_logit_bias = penalties[i] == -INFINITY ? 0 : 1;
        if (s.n_logit_bias > 0)
            refuse(&s, RSR_ERR_ARGUMENT, "logit_bias");
    }
    const rsr_logit_bias outside = {VOCAB, 1};
    rsr_sampling s = defaults();
    s.n_logit_bias = 1;
    refuse(&s, RSR_ERR_ARGUMENT, "logit_bias is NULL");
    s.logit_bias = &outside;
    refuse(&s, RSR_ERR_ARGUMENT, "logit_bias: token 8");
    const uint32_t none = 0xffffff00, one = 4;
    s = defaults();
    s.allowed_words = 1;
    refuse(&s, RSR_ERR_ARGUMENT, "allowed_words is 1");
    s.allowed = &none;
    refuse(&s, RSR_ERR_ARGUMENT, "allowed has no token");
    s.allowed_words = 2;
    refuse(&s, RSR_ERR_ARGUMENT, "allowed_words is 2");
    const rsr_logit_bias banned = {2, -INFINITY};
    s.allowed = &one;
    s.allowed_words = 1;
    s.logit_bias = &banned;
    s.n_logit_bias = 1;
    refuse(&s, RSR_ERR_NUMERIC, "ruled out");
    s.temperature = 1;
    refuse(&s, RSR_ERR_NUMERIC, "ruled out");
}

/* Compares with libm, over the range that sampling uses. */
static void test_functions(void) {
    uint64_t seed = 5;
    double worst_log = 0, worst_exp = 0;
    for (int i = 0; i < 200000; i++) {
        double u = ((double)(check_random(&seed) >> 11) + 0.5) * 0x1p-53;
        double x = i % 2 ? u : -log(u), y = -700 * u * u;
        worst_log = fmax(worst_log, fabs(rsr_log(x) - log(x)) / fmax(fabs(log(x)), 0x1p-1000));
        worst_exp = fmax(worst_exp, fabs(rsr_exp_negative(y) / exp(y) - 1));
    }
    printf("relative error: log %.2g, exp %.2g\n", worst_log, worst_exp);
    CHECK(worst_log < 4.5e-16 && worst_exp < 4.5e-16);
    CHECK(rsr_log(1) == 0 && rsr_exp_negative(0) == 1 && rsr_exp_negative(-1e9) == 0);
    CHECK(fabs(rsr_log(0x1p-1074) - log(0x1p-1074)) < 1e-12);
    CHECK(fabs(rsr_log(0x1.fffffffffffffp-1) + 0x1p-53) < 1e-31);
}

int main(void) {
    model.owner_pid = (int)getpid();
    test_greedy();
    test_penalty();
    test_filters();
    test_counts();
    test_biases();
    test_allowed();
    test_ties_at_top_k();
    test_distribution();
    test_noise();
    test_refusals();
    test_refused_edits();
    test_functions();
    return CHECK_EXIT();
}
