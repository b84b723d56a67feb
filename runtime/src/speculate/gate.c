/* gate.c - see gate.h. */
#include <string.h>

#include "gate.h"

/* The assumed history of guesses at the start: two of each kind, with this share of right ones. */
#define FIRST_GUESSES 2.0f
static const float first_right[RSR_GATE_MATCHES] = {0.4f, 0.6f, 0.8f, 0.9f};
/* Every guess multiplies older counts by this factor, so about the last 24 guesses count. */
#define KEPT 0.96f

/* The assumed cost of one more token, in steps, before it is measured. On a Zen 4 it is 0.1 to 0.3
 * with layers of bitnet-2b-4t, 0.5 to 0.8 with the bundled model (tests/bench/RESULTS.md). */
#define FIRST_COST 0.5
/* Smaller gains are noise. */
#define LEAST_GAIN 1.05
/* A draft that is used less often than this is omitted, and so are the drafts after it. */
#define LEAST_PART 0.1
/* PLAIN_STEPS steps of one token in a row measure the time that other steps are compared with: at
 * first, and again after MOST_STEPS_BETWEEN steps. */
#define PLAIN_STEPS 4u
#define MOST_STEPS_BETWEEN 64u
/* Measured times that a number of tokens needs before they count: the first one is cold. */
#define FIRST_TIMES 2u
/* A time counts for this many steps after its measurement. */
#define FRESH_STEPS 64u
/* Drafts may cost the time of 1 step, and of 1 more step for every 64 tokens of the text. Time that
 * they have saved is added, up to 8 steps, so that a long gain does not pay for a long loss. */
#define TOKENS_A_LOSS 64u
#define MOST_CREDIT 8

void rsr_gate_begin(struct rsr_gate *gate, uint32_t most) {
    memset(gate, 0, sizeof(*gate));
    gate->most = most;
    gate->wants_plain = true;
    for (uint32_t i = 0; i < RSR_GATE_MATCHES; i++) {
        gate->guesses[i] = FIRST_GUESSES;
        gate->right[i] = FIRST_GUESSES * first_right[i];
    }
}

/* ---- Guesses ---- */

static uint32_t row_of(uint32_t match) {
    return match < 4 ? 0 : match < 8 ? 1 : match < 16 ? 2 : 3;
}

void rsr_gate_saw(struct rsr_gate *gate, uint32_t match, bool right) {
    const uint32_t row = row_of(match);
    gate->guesses[row] = gate->guesses[row] * KEPT + 1;
    gate->right[row] = gate->right[row] * KEPT + (right ? 1 : 0);
}

/* ---- Times ---- */

/* The time of a step. For one token it is the least time, so that no gain is estimated too high:
 * after a prompt, steps take twice as long for a while. For more tokens it is the median, or the
 * lower one of two medians. */
static double time_ns(const struct rsr_gate *gate, uint32_t n_drafts) {
    const struct rsr_gate_steps *steps = &gate->steps[n_drafts];
    const uint32_t n = steps->n < RSR_GATE_TIMES ? steps->n : RSR_GATE_TIMES;
    uint64_t sorted[RSR_GATE_TIMES];
    for (uint32_t i = 0; i < n; i++) {
        uint32_t at = i;
        for (; at > 0 && sorted[at - 1] > steps->ns[i]; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = steps->ns[i];
    }
    return (double)sorted[n_drafts == 0 ? 0 : (n - 1) / 2];
}

static bool is_known(const struct rsr_gate *gate, uint32_t n_drafts) {
    const struct rsr_gate_steps *steps = &gate->steps[n_drafts];
    return n_drafts == 0 || (steps->n >= FIRST_TIMES && gate->n_steps - steps->last <= FRESH_STEPS);
}

/* Predicts the time of a step from measured times: on the line through the nearest numbers of
 * drafts on both sides or, if none is larger, through the nearest smaller one and one token; but no
 * more than assumed at first. */
static double predict_ns(const struct rsr_gate *gate, uint32_t n_drafts) {
    if (is_known(gate, n_drafts))
        return time_ns(gate, n_drafts);
    uint32_t below = n_drafts - 1, above = n_drafts + 1;
    while (!is_known(gate, below)) /* the time of one token is known */
        below--;
    while (above <= RSR_MAX_DRAFTS && !is_known(gate, above))
        above++;
    const double one_ns = time_ns(gate, 0), below_ns = time_ns(gate, below);
    const double first_ns = one_ns * (1 + FIRST_COST * n_drafts);
    double slope = one_ns * FIRST_COST;
    if (above <= RSR_MAX_DRAFTS)
        slope = (time_ns(gate, above) - below_ns) / (above - below);
    else if (below > 0)
        slope = (below_ns - one_ns) / below;
    const double line_ns = below_ns + slope * (n_drafts - below);
    return line_ns < first_ns ? line_ns : first_ns;
}

/* ---- Decision ---- */

/* Only steps of 2, 4, 8 and 16 tokens, for which kernels have tiles, and the longest step are
 * tried: few numbers, so that each is measured soon. */
static bool is_tried(const struct rsr_gate *gate, uint32_t n_drafts) {
    return (n_drafts & (n_drafts + 1)) == 0 || n_drafts == gate->most;
}

/* Whether the loss stays within its bound if drafts cost this much and all are wrong. */
static bool may_lose(const struct rsr_gate *gate, double one_ns, double cost_ns) {
    const double most_ns = one_ns * (1 + (double)gate->n_tokens / TOKENS_A_LOSS);
    return cost_ns + gate->lost_ns <= most_ns;
}

uint32_t rsr_gate_choose(const struct rsr_gate *gate, uint32_t match, uint32_t most) {
    if (gate->wants_plain)
        return 0;
    const double one_ns = time_ns(gate, 0);
    double part = 1, tokens = 1, best = LEAST_GAIN;
    uint32_t chosen = 0;
    for (uint32_t n = 1; n <= most && part > LEAST_PART; n++) {
        const uint32_t row = row_of(match + n - 1);
        part *= (double)(gate->right[row] / gate->guesses[row]);
        tokens += part;
        if (!is_tried(gate, n))
            continue;
        const double step_ns = predict_ns(gate, n), gain = tokens * one_ns / step_ns;
        if (gain > best && may_lose(gate, one_ns, step_ns - one_ns)) {
            best = gain;
            chosen = n;
        }
    }
    return chosen;
}

static void take_time(struct rsr_gate *gate, uint32_t n_drafts, uint64_t ns) {
    struct rsr_gate_steps *steps = &gate->steps[n_drafts];
    if (gate->n_steps - steps->last > FRESH_STEPS)
        steps->n = 0; /* old times no longer count */
    steps->ns[steps->n++ % RSR_GATE_TIMES] = ns;
    steps->last = gate->n_steps;
}

static void count_saved(struct rsr_gate *gate, double ns) {
    gate->saved_ns += ns;
    const double least_ns = -MOST_CREDIT * time_ns(gate, 0), lost_ns = gate->lost_ns - ns;
    gate->lost_ns = lost_ns > least_ns ? lost_ns : least_ns;
}

/* Takes the time of a step of one token. If it is shorter than known, earlier drafts saved less
 * than counted. A step after drafts finds less in the caches: its time counts only if it is
 * shorter, and additional time counts as a loss of the drafts. */
static void take_plain(struct rsr_gate *gate, uint64_t ns) {
    const bool has_time = gate->steps[0].n > 0, is_first = gate->n_plain == 0 && has_time;
    const double one_ns = has_time ? time_ns(gate, 0) : (double)ns;
    const double more_ns = (double)ns - one_ns;
    if (is_first && more_ns > 0)
        count_saved(gate, more_ns < one_ns ? -more_ns : -one_ns);
    else
        take_time(gate, 0, ns);
    if (more_ns < 0)
        count_saved(gate, more_ns * gate->n_unsure);
    gate->n_unsure = 0;
    if (++gate->n_plain >= PLAIN_STEPS) {
        gate->wants_plain = false;
        gate->last_plain = gate->n_steps;
    }
}

/* Takes the time of a step with drafts. A step that takes much longer than its tokens one by one
 * was interrupted. */
static void take_drafts(struct rsr_gate *gate, uint32_t n_drafts, uint32_t n_tokens, uint64_t ns) {
    const double one_ns = time_ns(gate, 0), most_ns = 2 * (1 + n_drafts) * one_ns;
    take_time(gate, n_drafts, ns);
    count_saved(gate, n_tokens * one_ns - ((double)ns < most_ns ? (double)ns : most_ns));
    gate->n_unsure += n_tokens;
    gate->n_plain = 0;
    if (gate->n_steps - gate->last_plain >= MOST_STEPS_BETWEEN)
        gate->wants_plain = true;
}

void rsr_gate_took(struct rsr_gate *gate, uint32_t n_drafts, uint32_t n_tokens, uint64_t ns) {
    if (n_drafts == 0)
        take_plain(gate, ns);
    else
        take_drafts(gate, n_drafts, n_tokens, ns);
    gate->n_steps++;
    gate->n_tokens += n_tokens;
}
