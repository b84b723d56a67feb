/* test_drafts.c - which tokens are drafted, and how many: guesses for texts with known repetitions,
 * and a gate on a simulated machine, which never costs much time and finds the number of drafts
 * that pays. */
#include <stdlib.h>

#include "check.h"
#include "speculate/speculation.h"

static uint64_t seed = 3;

static uint32_t random_below(uint32_t n) {
    return (uint32_t)(check_random(&seed) % n);
}

/* ---- Guesses ---- */

#define N_TEXT 3000u

static void check_guess(const struct rsr_drafts *d) {
    if (d->source == 0)
        return;
    CHECK(d->match >= 2 && d->source >= d->match && d->source < d->n);
    CHECK(memcmp(d->tokens + d->source - d->match, d->tokens + d->n - d->match,
                 d->match * sizeof(*d->tokens)) == 0);
}

/* Whether the last n tokens occur earlier in the text. */
static bool stood_before(const struct rsr_drafts *d, uint32_t n) {
    for (uint32_t end = n; end < d->n; end++)
        if (memcmp(d->tokens + end - n, d->tokens + d->n - n, n * sizeof(*d->tokens)) == 0)
            return true;
    return false;
}

/* With few different tokens everything repeats, with many hardly anything does. */
static void test_guesses(uint32_t vocab) {
    struct rsr_drafts d;
    uint32_t n_found = 0, n_there = 0;
    CHECK_INT(rsr_drafts_create(&d, N_TEXT, NULL), RSR_OK);
    for (uint32_t i = 0; i < N_TEXT + 10; i++) { /* tokens beyond the capacity are ignored */
        rsr_drafts_push(&d, random_below(vocab));
        check_guess(&d);
        const bool there = d.n >= 2 && stood_before(&d, 2);
        CHECK(d.source == 0 || there);
        n_there += there;
        n_found += d.source != 0;
    }
    CHECK_INT(d.n, N_TEXT);
    CHECK(n_found * 100 >= n_there * 60); /* of places with one hash, only the newest is known */
    CHECK(n_found > 50);
    rsr_drafts_free(&d);
}

/* A text that repeats every `period` tokens is guessed from its second period on, any number of
 * tokens ahead. Of two different continuations the newest is taken. */
static void test_periods(void) {
    static const uint32_t periods[] = {1, 2, 3, 5, 64, 700};
    for (size_t p = 0; p < sizeof(periods) / sizeof(*periods); p++) {
        const uint32_t period = periods[p];
        struct rsr_drafts d;
        CHECK_INT(rsr_drafts_create(&d, N_TEXT, NULL), RSR_OK);
        for (uint32_t i = 0; i < 3 * period + 4; i++)
            rsr_drafts_push(&d, 1000 + i % period);
        check_guess(&d);
        CHECK(d.source != 0 && d.match + period + 4 >= d.n);
        for (uint32_t i = 0; d.source != 0 && i < 2 * period + 3; i++)
            CHECK_INT(rsr_drafts_at(&d, i), 1000 + (d.n + i) % period);
        rsr_drafts_free(&d);
    }
    static const uint32_t text[] = {7, 8, 9, 1, 7, 8, 4, 2, 7, 8};
    struct rsr_drafts d;
    CHECK_INT(rsr_drafts_create(&d, 20, NULL), RSR_OK);
    for (size_t i = 0; i < sizeof(text) / sizeof(*text); i++)
        rsr_drafts_push(&d, text[i]);
    CHECK(d.source == 6 && d.match == 2);
    rsr_drafts_free(&d);
}

/* ---- A gate and its machine ---- */

/* A kind of text: whether the text continues as guessed, where `match` tokens before the guess are
 * equal. */
typedef bool text_goes_on(uint32_t match, uint32_t n);

static bool copies(uint32_t match, uint32_t n) {
    (void)n;
    return match > 0;
}
static bool says_new(uint32_t match, uint32_t n) {
    (void)n;
    return match > 0 && random_below(10) == 0;
}
/* As soon as guesses are trusted, they are wrong. */
static bool tempts(uint32_t match, uint32_t n) {
    (void)n;
    return match < 9;
}
static bool changes(uint32_t match, uint32_t n) {
    return n / 150 % 2 == 0 ? match > 0 : random_below(5) == 0;
}
static bool seldom_copies(uint32_t match, uint32_t n) {
    return n % 400 >= 340 ? match > 0 : random_below(3) == 0;
}

struct machine {
    double slope; /* what one more draft adds to a step */
    double noise, growth;
    /* slow: the first step with each number of drafts, and a step without drafts after others */
    bool cold;
    uint32_t n_seen[1 + RSR_MAX_DRAFTS], last;
};

static double step_time(struct machine *m, uint32_t n_drafts, uint32_t n) {
    double time = (1 + m->slope * n_drafts) * (1 + m->growth * n / 1000);
    time *= 1 + m->noise * (random_below(1001) / 500.0 - 1);
    const bool is_cold = m->n_seen[n_drafts]++ == 0 || (n_drafts == 0 && m->last > 0);
    m->last = n_drafts;
    return m->cold && is_cold ? 2 * time : time;
}

/* How much faster a text of n tokens is with drafts than in steps of one token. */
static double gain_of(text_goes_on *text, struct machine m, uint32_t n_tokens, uint32_t most) {
    struct rsr_gate gate;
    double time = 0, plain = 0;
    uint32_t match = 2;
    rsr_gate_begin(&gate, most);
    for (uint32_t n = 0; n < n_tokens;) {
        const uint32_t n_drafts = match > 0 ? rsr_gate_choose(&gate, match, most) : 0;
        CHECK(n_drafts <= most);
        uint32_t n_given = 0;
        bool right = true;
        while (right && n_given <= n_drafts) {
            plain += 1 + m.growth * (n + n_given) / 1000;
            right = text(match, n + n_given++);
            rsr_gate_saw(&gate, match, right);
            match = right ? match + 1 : 2;
        }
        const double ms = step_time(&m, n_drafts, n);
        time += ms;
        n += n_given;
        rsr_gate_took(&gate, n_drafts, n_given, (uint64_t)(ms * 1e6));
    }
    return plain / time;
}

static const double slopes[] = {0.02, 0.1, 0.3, 0.6, 0.8, 0.95, 1.1};
#define N_SLOPES (sizeof(slopes) / sizeof(*slopes))

/* Generation with drafts is never slower than 0.97 times the speed without, for any text and any
 * cost of drafts. */
static void test_bound(void) {
    static text_goes_on *const texts[] = {copies, says_new, tempts, changes, seldom_copies};
    for (size_t t = 0; t < sizeof(texts) / sizeof(*texts); t++)
        for (size_t s = 0; s < N_SLOPES; s++)
            for (uint32_t most = 1; most <= RSR_MAX_DRAFTS; most += 5)
                for (uint32_t n = 128; n <= 2048; n *= 4) {
                    const struct machine m = {
                        .slope = slopes[s], .noise = 0.05, .growth = 0.3, .cold = n == 512};
                    const double gain = gain_of(texts[t], m, n, most);
                    CHECK(gain >= 0.97);
                    if (gain < 0.97)
                        fprintf(stderr, "text %zu slope %g most %u n %u: %g\n", t, slopes[s], most,
                                n, gain);
                }
}

/* The gate finds that copies pay, also on a machine whose first steps are slow. It gains at least
 * four fifths of what the best number of drafts would gain from the first token on. */
static void test_gains(void) {
    for (size_t s = 0; s < N_SLOPES; s++)
        for (uint32_t cold = 0; cold < 2; cold++) {
            const struct machine m = {.slope = slopes[s], .noise = 0.05, .cold = cold != 0};
            const double best = 17 / (1 + 16 * m.slope), gain = gain_of(copies, m, 1000, 16);
            CHECK(gain >= 0.8 * (best > 1 ? best : 1));
            if (gain < 0.8 * best)
                fprintf(stderr, "slope %g: %g of %g\n", m.slope, gain, best);
        }
    const struct machine m = {.slope = 0.3, .noise = 0.05};
    CHECK(gain_of(changes, m, 1500, 16) >= 1.2);
    CHECK(gain_of(seldom_copies, m, 4000, 16) >= 1.03);
}

int main(void) {
    test_guesses(3);
    test_guesses(40);
    test_guesses(200);
    test_periods();
    test_bound();
    test_gains();
    return CHECK_EXIT();
}
