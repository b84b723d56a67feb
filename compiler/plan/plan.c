/* plan.c - chooses the kernel of a layer in each regime, a row of kernels.def: the one with the
 * least predicted time, or measured time where there is a timer.
 *
 * Input: statistics of the matrix, the target, what the user forces. Output: the plan with its
 * reasons, and remarks on what was chosen and what was declined.
 */
#include "plan/plan.h"

#include <assert.h>
#include <math.h>

/* Rows of a tile, largest first. 16 rows are worth a tile's loop overhead. Larger tiles stream
 * longer runs, but there must be enough tiles to share them evenly among cores. */
static const uint32_t TILE_ROWS[] = {64, 32, 16};
#define N_TILE_ROWS (sizeof TILE_ROWS / sizeof TILE_ROWS[0])
/* With 8 tiles per core the last round, in which some cores are idle, costs at most an eighth. And
 * a module may run on more cores than its target description has. */
#define TILES_PER_CORE 8u
#define MIN_TILES 64u

static const struct rsrc_kernel_row *row_of(const struct rsrc_choice *choice) {
    return rsrc_kernel_row(choice->kernel);
}

const char *rsrc_regime_name(enum rsr_regime regime) {
    static const char *const names[RSR_REGIME_COUNT] = {
        [RSR_REGIME_DECODE] = "decode", [RSR_REGIME_PREFILL] = "prefill"};
    return names[regime];
}

/* ---- words ----------------------------------------------------------------------------------- */

static const char *time_text(struct rsrc_arena *arena, double us) {
    return us < 1000 ? rsrc_arena_printf(arena, "%.3g us", us)
                     : rsrc_arena_printf(arena, "%.3g ms", us / 1000);
}

static const char *size_text(struct rsrc_arena *arena, uint64_t bytes) {
    return bytes < 1000000 ? rsrc_arena_printf(arena, "%.3g KB", (double)bytes / 1e3)
                           : rsrc_arena_printf(arena, "%.3g MB", (double)bytes / 1e6);
}

/* "scatter k=4 (RSR++)" */
static const char *choice_name(struct rsrc_arena *arena, const struct rsrc_choice *choice) {
    const struct rsrc_kernel_row *row = row_of(choice);
    if ((row->traits & RSRC_HAS_K) == 0)
        return row->words;
    const char *fold = (row->traits & RSRC_HAS_FOLD) == 0 ? ""
                       : choice->fold == RSR_FOLD_TREE    ? " (RSR++)"
                                                          : " (RSR)";
    return rsrc_arena_printf(arena, "%s k=%u%s", row->words, choice->k, fold);
}

static bool is_listed(const struct rsrc_choice *choice) {
    return row_of(choice)->names != RSR_LIST_NONE;
}

/* "0.41 MB at 14 GB/s = 29 us", or the computation if it takes longer. */
static const char *cost_text(struct rsrc_arena *arena, const struct rsrc_choice *choice,
                             enum rsr_regime regime, const struct rsr_spec *spec) {
    const struct rsrc_cost *cost = &choice->cost[regime];
    if (choice->reasons[regime] != NULL)
        return choice->reasons[regime];
    const char *size = size_text(arena, choice->weight_bytes);
    if (choice->part != NULL)
        size = rsrc_arena_printf(arena, "%s of %s", choice->part, size);
    const char *batch = regime == RSR_REGIME_PREFILL ? " a token" : "";
    if (cost->memory_us >= cost->compute_us)
        return rsrc_arena_printf(arena, "%s at %.3g GB/s = %s%s", size, spec->read_gbps,
                                 time_text(arena, cost->memory_us), batch);
    return rsrc_arena_printf(arena, "%s = %s%s (reading %s takes %s)", choice->work,
                             time_text(arena, cost->compute_us), batch, size,
                             time_text(arena, cost->memory_us));
}

/* Time of a choice: measured if it was, else predicted. */
static double time_of(const struct rsrc_choice *choice, enum rsr_regime regime) {
    return choice->measured_us[regime] > 0 ? choice->measured_us[regime]
                                           : choice->cost[regime].predicted_us;
}

/* "1.38 MB at 10.8 GB/s = 127 us", after the measured time if there is one. */
static const char *chosen_text(struct rsrc_arena *arena, const struct rsrc_choice *choice,
                               enum rsr_regime regime, const struct rsr_spec *spec) {
    const char *cost = cost_text(arena, choice, regime, spec);
    const double measured_us = choice->measured_us[regime];
    return measured_us > 0
               ? rsrc_arena_printf(arena, "measured %s%s, predicted %s (%s)",
                                   time_text(arena, measured_us),
                                   regime == RSR_REGIME_PREFILL ? " a token" : "",
                                   time_text(arena, choice->cost[regime].predicted_us), cost)
               : cost;
}

static const char *reason_text(struct rsrc_arena *arena, const struct rsrc_plan_input *input,
                               const struct rsrc_choice *chosen, const struct rsrc_choice *declined,
                               enum rsr_verdict verdict, enum rsr_regime regime, bool forced) {
    if (chosen->reasons[regime] != NULL)
        return rsrc_arena_printf(arena, "%s%s", forced ? "asked for " : "",
                                 chosen->reasons[regime]);
    const char *groups =
        input->group_cols == 0
            ? ""
            : rsrc_arena_printf(arena, " with a scale every %u columns", input->group_cols);
    const char *text = rsrc_arena_printf(arena, "%s%s%s: %s", choice_name(arena, chosen), groups,
                                         forced ? " as asked" : "",
                                         chosen_text(arena, chosen, regime, input->spec));
    if (declined == NULL)
        return rsrc_arena_printf(arena, "%s; no other variant is open", text);
    const char *why = "";
    if (verdict == RSR_VERDICT_BATCHES)
        why = rsrc_arena_printf(arena, ", and %s a token of batches, where this takes %s",
                                time_text(arena, time_of(declined, RSR_REGIME_PREFILL)),
                                time_text(arena, time_of(chosen, RSR_REGIME_PREFILL)));
    else if (verdict == RSR_VERDICT_LANES)
        why = rsrc_arena_printf(arena, ": %s", rsrc_verdict_words(verdict));
    return rsrc_arena_printf(arena, "%s; %s %s %s%s", text, choice_name(arena, declined),
                             declined->measured_us[regime] > 0 ? "measured" : "would take",
                             time_text(arena, time_of(declined, regime)), why);
}

/* ---- tiles ----------------------------------------------------------------------------------- */

static uint32_t default_tile_rows(uint32_t rows, uint32_t cores) {
    uint64_t wanted = (uint64_t)cores * TILES_PER_CORE;
    if (wanted < MIN_TILES)
        wanted = MIN_TILES;
    for (size_t i = 0; i < N_TILE_ROWS; i++)
        if (rows / TILE_ROWS[i] >= wanted)
            return TILE_ROWS[i];
    return TILE_ROWS[N_TILE_ROWS - 1];
}

/* ---- the choice ------------------------------------------------------------------------------ */

#define MAX_CHOICES (RSR_KERNEL_COUNT * RSRC_MAX_KERNEL_CHOICES)

/* Lists every way to compute a layer on the target. */
static uint32_t list_choices(struct rsrc_arena *arena, const struct rsrc_plan_input *input,
                             struct rsrc_choice choices[MAX_CHOICES]) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < RSR_KERNEL_COUNT; i++)
        n += rsrc_list_kernel(arena, (enum rsr_kernel_id)i, input, &choices[n]);
    return n;
}

struct selection {
    const struct rsrc_choice *choices;
    uint32_t n_choices;
    enum rsr_input input;
    uint32_t cols;
    uint64_t fold_budget;
    enum rsr_regime regime;
    int forced;                       /* enum rsr_variant, -1: none */
    const struct rsrc_choice *decode; /* for prefill: the choice of decode, or NULL */
    bool no_lists;                    /* kernels that read by a list are excluded */
    const struct rsrc_choice *except; /* its whole variant is excluded; NULL: nothing is */
};

static bool is_listed_kernel(const struct selection *among, enum rsr_kernel_id kernel) {
    for (uint32_t i = 0; i < among->n_choices; i++)
        if (among->choices[i].kernel == kernel)
            return true;
    return false;
}

/* A module holds every weight once, so the kernel of prefill must read the data of decode's kernel,
 * or no data (weights as code). Decode takes a kernel that reads its own data, because unpacking
 * another kernel's data does not pay for one token; it takes another one only where the target
 * lacks the kernel that owns the data. */
static bool shares_data(const struct selection *among, const struct rsrc_choice *prefill) {
    const struct rsrc_choice *decode = among->decode;
    const struct rsrc_kernel_row *row = row_of(prefill);
    if (decode == NULL)
        return row->data == prefill->kernel || !is_listed_kernel(among, row->data);
    /* Floats keep one order of additions for every number of tokens. */
    if ((row->traits & RSRC_IS_CODE) != 0 && among->input == RSR_INPUT_I8)
        return true;
    return row->data == row_of(decode)->data && prefill->k == decode->k &&
           prefill->fold == decode->fold;
}

/* Weights as code make a module grow. If the user did not ask for them, they must fit the
 * budget. */
static bool fits_budget(const struct selection *among, const struct rsrc_choice *choice) {
    return (row_of(choice)->traits & RSRC_IS_CODE) == 0 ||
           among->forced == (int)row_of(choice)->variant ||
           choice->weight_bytes <= among->fold_budget;
}

/* A choice that lowering would refuse is taken only if the user forces its variant: then lowering
 * says why. */
static bool fits_sums(const struct selection *among, const struct rsrc_choice *choice) {
    return among->forced != -1 || among->cols <= choice->max_cols;
}

static bool fits_kernel(const struct selection *among, const struct rsrc_choice *choice) {
    return among->forced != -1 || choice->max_bytes == 0 ||
           choice->weight_bytes <= choice->max_bytes;
}

/* A forced variant may have kernels for batches alone, which read the data of another kernel. Then
 * decode takes that other kernel. */
static bool is_asked_for(const struct selection *among, const struct rsrc_choice *choice) {
    bool is_data = false;
    if (among->forced == -1 || (int)row_of(choice)->variant == among->forced)
        return true;
    for (uint32_t i = 0; i < among->n_choices; i++) {
        const struct rsrc_choice *other = &among->choices[i];
        if ((int)row_of(other)->variant != among->forced)
            continue;
        if (row_of(other)->data == other->kernel || !is_listed_kernel(among, row_of(other)->data))
            return false;
        is_data |= row_of(other)->data == choice->kernel;
    }
    return is_data && among->regime == RSR_REGIME_DECODE;
}

static bool is_open(const struct selection *among, const struct rsrc_choice *choice) {
    const enum rsr_variant variant = row_of(choice)->variant;
    return is_asked_for(among, choice) && !(among->no_lists && is_listed(choice)) &&
           shares_data(among, choice) && fits_budget(among, choice) && fits_sums(among, choice) &&
           fits_kernel(among, choice) &&
           (among->except == NULL || variant != row_of(among->except)->variant);
}

/* Small batches leave lanes beyond this number empty. A kernel with more lanes has to be a tenth
 * faster at 128 tokens. */
#define FILLED_LANES 16u

/* With floats, the kernel of decode computes batches as well, to keep the order of additions: both
 * times count. */
static double time_at_stake(const struct selection *among, const struct rsrc_choice *choice) {
    const bool both = among->input == RSR_INPUT_F32 && among->regime == RSR_REGIME_DECODE;
    const bool is_batch = among->regime == RSR_REGIME_PREFILL;
    const double empty = is_batch && choice->lanes > FILLED_LANES ? 1.1 : 1;
    return empty * time_of(choice, among->regime) +
           (both ? time_of(choice, RSR_REGIME_PREFILL) : 0);
}

/* A measured choice beats a predicted one. Kernels with a list of channels are never measured,
 * because a list needs a model's tokens; they compare by time. */
static bool is_better(const struct selection *among, const struct rsrc_choice *a,
                      const struct rsrc_choice *b) {
    const enum rsr_regime regime = among->regime;
    const bool measured = a->measured_us[regime] > 0;
    return measured == (b->measured_us[regime] > 0) || is_listed(a) || is_listed(b)
               ? time_at_stake(among, a) < time_at_stake(among, b)
               : measured;
}

/* The fastest of the choices; at equal times the first. */
static const struct rsrc_choice *best_choice(const struct selection *among) {
    const struct rsrc_choice *best = NULL;
    for (uint32_t i = 0; i < among->n_choices; i++) {
        const struct rsrc_choice *choice = &among->choices[i];
        if (is_open(among, choice) && (best == NULL || is_better(among, choice, best)))
            best = choice;
    }
    return best;
}

/* To the nanosecond. */
static double rounded_us(double us) {
    return round(us * 1e3) / 1e3;
}

static enum rsr_verdict verdict_of(const struct selection *among, const struct rsrc_choice *choice,
                                   const struct rsrc_choice *chosen) {
    const bool is_faster = time_of(choice, among->regime) < time_of(chosen, among->regime);
    const bool by_batches =
        is_faster && among->input == RSR_INPUT_F32 && among->regime == RSR_REGIME_DECODE;
    const bool by_lanes =
        is_faster && among->regime == RSR_REGIME_PREFILL && choice->lanes > FILLED_LANES;
    const bool by_lists = among->no_lists && is_listed(choice);
    return !is_asked_for(among, choice)  ? RSR_VERDICT_ASKED
           : by_lists                    ? RSR_VERDICT_LISTS
           : !shares_data(among, choice) ? RSR_VERDICT_DATA
           : !fits_kernel(among, choice) ? RSR_VERDICT_CODE
           : !fits_budget(among, choice) ? RSR_VERDICT_BUDGET
           : !fits_sums(among, choice)   ? RSR_VERDICT_WIDE
           : by_batches                  ? RSR_VERDICT_BATCHES
           : by_lanes                    ? RSR_VERDICT_LANES
                                         : RSR_VERDICT_SLOWER;
}

/* The declined choice that explains most: one that is faster and lost by its lanes, else the best
 * that `among` leaves open. NULL: there is none. */
static const struct rsrc_choice *best_declined(const struct selection *all,
                                               const struct rsrc_choice *chosen,
                                               const struct selection *among) {
    for (uint32_t i = 0; i < all->n_choices; i++)
        if (verdict_of(all, &all->choices[i], chosen) == RSR_VERDICT_LANES)
            return &all->choices[i];
    return best_choice(among);
}

/* Lists what was compared, for reports; `given`: the plan came from a text, so nothing was
 * chosen. */
static void list_alternatives(struct rsrc_arena *arena, const struct selection *among,
                              const struct rsrc_choice *chosen, bool given,
                              struct rsr_regime_plan *out) {
    struct rsr_alternative *list = RSRC_NEW_ARRAY(arena, among->n_choices, struct rsr_alternative);
    for (uint32_t i = 0; i < among->n_choices; i++) {
        const struct rsrc_choice *choice = &among->choices[i];
        const struct rsrc_cost *cost = &choice->cost[among->regime];
        list[i] =
            (struct rsr_alternative){.kernel = choice->kernel,
                                     .name = choice_name(arena, choice),
                                     .memory_us = cost->memory_us,
                                     .compute_us = cost->compute_us,
                                     .predicted_us = rounded_us(cost->predicted_us),
                                     .measured_us = rounded_us(choice->measured_us[among->regime]),
                                     .weight_bytes = choice->weight_bytes,
                                     .verdict = choice == chosen ? RSR_VERDICT_CHOSEN
                                                : given          ? RSR_VERDICT_GIVEN
                                                        : verdict_of(among, choice, chosen)};
    }
    out->alternatives = list;
    out->n_alternatives = among->n_choices;
}

static void emit_remarks(struct rsrc_diag *diag, struct rsrc_arena *arena,
                         const struct rsrc_plan_input *input, enum rsr_regime regime,
                         const struct rsr_regime_plan *plan, const struct rsrc_choice *chosen,
                         const struct rsrc_choice *declined) {
    struct rsrc_place place = {.tensor = input->layer_name};
    const char *name = rsrc_regime_name(regime);
    rsrc_diag_emit(diag, RSRC_REMARK, "plan", &place, NULL, "%s: chose %s", name, plan->reason);
    if (declined == NULL)
        return;
    rsrc_diag_emit(diag, RSRC_REMARK_MISSED, "plan", &place, NULL,
                   "%s: declined %s: %s, %.2g times the chosen time", name,
                   choice_name(arena, declined), cost_text(arena, declined, regime, input->spec),
                   time_of(declined, regime) / time_of(chosen, regime));
}

/* Says that weights as code would be faster but exceed the budget, so that users can raise it. */
static void remark_budget(struct rsrc_diag *diag, struct rsrc_arena *arena,
                          const struct rsrc_plan_input *input, const struct selection *among,
                          const struct rsrc_choice *chosen) {
    const struct rsrc_choice *end = among->choices + among->n_choices;
    const struct rsrc_choice *fold = among->choices;
    while (fold < end && (row_of(fold)->traits & RSRC_IS_CODE) == 0)
        fold++;
    if (fold == end)
        return;
    struct selection any = *among;
    any.forced = (int)row_of(fold)->variant;
    const enum rsr_regime regime = among->regime;
    if (among->forced != -1 || !is_open(&any, fold) || fold->weight_bytes <= input->fold_budget ||
        fold->cost[regime].predicted_us >= chosen->cost[regime].predicted_us)
        return;
    const struct rsrc_place place = {.tensor = input->layer_name};
    rsrc_diag_emit(diag, RSRC_REMARK_MISSED, "plan", &place, "raise --fold-budget to let code grow",
                   "%s: declined %s: %s, but its code of %s is over the layer's budget of %s",
                   rsrc_regime_name(regime), choice_name(arena, fold),
                   time_text(arena, fold->cost[regime].predicted_us),
                   size_text(arena, fold->weight_bytes), size_text(arena, input->fold_budget));
}

/* Says why a layer is read whole although a list could spare a part of the reading. */
static void remark_list(struct rsrc_diag *diag, struct rsrc_arena *arena,
                        const struct rsrc_plan_input *input, const struct selection *among,
                        const struct rsrc_choice *chosen) {
    const struct rsrc_place place = {.tensor = input->layer_name};
    const char *what = input->list == RSR_LIST_ROWS ? "listed rows" : "listed columns";
    if (input->list == RSR_LIST_NONE || is_listed(chosen) || among->regime != RSR_REGIME_DECODE)
        return;
    if (input->list_obstacle != NULL) {
        rsrc_diag_emit(diag, RSRC_REMARK_MISSED, "plan", &place, NULL,
                       "decode: declined dot over %s: %s", what, input->list_obstacle);
        return;
    }
    const struct rsrc_choice *listed = among->choices;
    while (listed < among->choices + among->n_choices && !is_listed(listed))
        listed++;
    if (listed == among->choices + among->n_choices)
        return; /* the target is the obstacle, and this is known */
    const char *batches =
        !among->no_lists
            ? ""
            : rsrc_arena_printf(arena, ", and batches, which would be slower than now, %s a token",
                                time_text(arena, listed->cost[RSR_REGIME_PREFILL].predicted_us));
    rsrc_diag_emit(diag, RSRC_REMARK_MISSED, "plan", &place, NULL,
                   "decode: declined dot over %s: with %.0f %% of them active it would take %s%s",
                   what, 100 * input->active,
                   time_text(arena, listed->cost[RSR_REGIME_DECODE].predicted_us), batches);
}

/* A GPU's reasons compare dot and mma. This says what the variants beside these would take. */
static void remark_others(struct rsrc_diag *diag, struct rsrc_arena *arena,
                          const struct rsrc_plan_input *input, const struct selection *among,
                          const struct rsrc_choice *chosen, const struct rsrc_choice *declined) {
    const struct rsrc_place place = {.tensor = input->layer_name};
    for (uint32_t i = 0; i < among->n_choices && input->spec->gpu.sm != 0; i++) {
        const struct rsrc_choice *choice = &among->choices[i];
        const enum rsr_variant variant = row_of(choice)->variant;
        if (variant != row_of(chosen)->variant && choice != declined &&
            (declined == NULL || variant != row_of(declined)->variant))
            rsrc_diag_emit(diag, RSRC_REMARK_MISSED, "plan", &place, NULL,
                           "%s: declined %s, %.2g times the chosen time: %s",
                           rsrc_regime_name(among->regime),
                           cost_text(arena, choice, among->regime, input->spec),
                           time_of(choice, among->regime) / time_of(chosen, among->regime),
                           rsrc_verdict_words(verdict_of(among, choice, chosen)));
    }
}

static struct rsrc_planned_layer layer_of(const struct rsrc_plan_input *input) {
    return (struct rsrc_planned_layer){input->spec, input->input, input->stats->rows,
                                       input->stats->cols, input->group_cols};
}

/* A bound that no sum exceeds; floats do not overflow. */
static uint64_t acc_bound(const struct rsrc_plan_input *input) {
    return input->input == RSR_INPUT_I8 ? (uint64_t)input->stats->max_row_nonzero * 128 : 0;
}

/* Sets the time of one more token so that a batch of 128 takes its predicted time. */
static void set_parts(const struct rsrc_choice *choice, struct rsr_regime_plan *plan) {
    assert(choice->lanes < RSRC_PREFILL_TOKENS);
    const double batch_us = choice->cost[RSR_REGIME_PREFILL].compute_us * RSRC_PREFILL_TOKENS;
    plan->memory_us = choice->cost[RSR_REGIME_DECODE].memory_us;
    plan->alone_us = choice->cost[RSR_REGIME_DECODE].compute_us;
    plan->lanes = choice->lanes != 0 ? choice->lanes : 1;
    plan->more_us = fmax(0, batch_us - plan->alone_us) / (RSRC_PREFILL_TOKENS - plan->lanes);
}

static uint64_t token_bytes(const struct rsrc_choice *choice) {
    return choice->token_bytes != 0 ? choice->token_bytes : choice->weight_bytes;
}

static struct rsr_regime_plan make_plan(const struct rsrc_plan_input *input,
                                        const struct rsrc_choice *choice, enum rsr_regime regime,
                                        const char *reason) {
    struct rsr_regime_plan plan = {
        .kernel = choice->kernel,
        .k = choice->k,
        .fold = choice->fold,
        .tile_rows = choice->tile_rows != 0
                         ? choice->tile_rows
                         : default_tile_rows(input->stats->rows, input->spec->cores),
        .token_tile = UINT32_MAX, /* as many as there are registers for */
        .predicted_us = rounded_us(choice->cost[regime].predicted_us),
        .measured_us = rounded_us(choice->measured_us[regime]),
        .weight_bytes = choice->weight_bytes,
        .token_bytes = token_bytes(choice),
        .acc_bound = acc_bound(input),
        .reason = reason,
    };
    set_parts(choice, &plan);
    const struct rsrc_planned_layer layer = layer_of(input);
    const bool fits = rsrc_fit_plan(&layer, &plan);
    assert(fits && plan.machine == choice->machine);
    (void)fits;
    return plan;
}

/* Predictions of chosen kernels are within a quarter of the truth; predictions of others are worse.
 * A kernel that is predicted to take more than this many times the fastest is not run: such runs
 * alone would take minutes. */
#define WORTH_MEASURING 3.0

static enum rsrc_status measure_choices(const struct rsrc_plan_input *input,
                                        const struct selection *among,
                                        struct rsrc_choice choices[MAX_CHOICES]) {
    const enum rsr_regime regime = among->regime;
    const struct rsrc_plan_timer *timer = input->timer;
    if (timer == NULL)
        return RSRC_OK;
    const double fastest_us = best_choice(among)->cost[regime].predicted_us;
    for (uint32_t i = 0; i < among->n_choices; i++) {
        struct rsrc_choice *choice = &choices[i];
        if (!is_open(among, choice) || is_listed(choice) ||
            choice->cost[regime].predicted_us > WORTH_MEASURING * fastest_us)
            continue;
        const struct rsr_regime_plan plan = make_plan(input, choice, regime, "measured");
        double us = 0;
        if (timer->measure(timer->context, regime, &plan, &us) != RSRC_OK)
            return RSRC_FAILED;
        choice->measured_us[regime] = us;
    }
    return RSRC_OK;
}

static const struct rsrc_choice *plan_regime(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                             const struct rsrc_plan_input *input,
                                             struct selection among, struct rsr_regime_plan *out) {
    const struct rsrc_choice *chosen = best_choice(&among);
    const bool forced = among.forced == (int)row_of(chosen)->variant;
    const struct selection all = among;
    remark_budget(diag, arena, input, &among, chosen);
    remark_list(diag, arena, input, &among, chosen);
    among.forced = -1;
    among.decode = NULL;
    among.except = chosen;
    const struct rsrc_choice *declined = best_declined(&all, chosen, &among);
    const enum rsr_verdict verdict =
        declined == NULL ? RSR_VERDICT_SLOWER : verdict_of(&all, declined, chosen);
    *out = make_plan(input, chosen, among.regime,
                     reason_text(arena, input, chosen, declined, verdict, among.regime, forced));
    list_alternatives(arena, &all, chosen, false, out);
    emit_remarks(diag, arena, input, among.regime, out, chosen, declined);
    remark_others(diag, arena, input, &all, chosen, declined);
    return chosen;
}

/* Microseconds a token of batches, if decode has the best of its choices; 0: none is open. */
static double batches_us(struct selection among) {
    among.regime = RSR_REGIME_DECODE;
    among.decode = best_choice(&among);
    among.regime = RSR_REGIME_PREFILL;
    const struct rsrc_choice *prefill = among.decode != NULL ? best_choice(&among) : NULL;
    return prefill != NULL ? time_of(prefill, RSR_REGIME_PREFILL) : 0;
}

/* Batches read the data of decode's kernel, and by a list a token shares nothing with the others.
 * What was measured must make neither regime slower; --relu2-active asks for lists at any cost. */
static bool lists_slow_batches(const struct rsrc_plan_input *input, const struct selection *among) {
    struct selection without = *among;
    without.no_lists = true;
    const double us = batches_us(without);
    return input->runs > 0 && us > 0 && us < batches_us(*among);
}

/* Reports why no kernel can compute the layer. forced -1: no variant was forced. */
static enum rsrc_status refuse_variant(struct rsrc_diag *diag, const struct rsrc_plan_input *input,
                                       int forced) {
    const struct rsrc_place place = {.tensor = input->layer_name};
    const char *help = "leave out --variant, or choose another one";
    if (forced == -1)
        return rsrc_refuse(diag, "gpu-input", &place, "compile for a CPU",
                           input->input == RSR_INPUT_F32
                               ? "a GPU's kernels multiply int8 activations, not floats"
                               : "a GPU's kernels have no scales of groups of columns");
    const char *name = rsrc_variant_name((enum rsr_variant)forced);
    uint32_t inputs = 0, traits = 0; /* what any of its kernels takes */
    for (uint32_t i = 0; i < RSR_KERNEL_COUNT; i++) {
        const struct rsrc_kernel_row *row = rsrc_kernel_row((enum rsr_kernel_id)i);
        const bool is_gpu = (row->traits & RSRC_IS_GPU) != 0;
        if ((int)row->variant != forced || is_gpu != (input->spec->gpu.sm != 0))
            continue;
        inputs |= row->inputs;
        traits |= row->traits;
    }
    if (inputs != 0 && (inputs & 1u << input->input) == 0)
        return rsrc_refuse(diag, "plan-variant", &place, help,
                           "variant '%s' multiplies int8 activations, not floats", name);
    if (inputs != 0 && input->group_cols != 0 && (traits & RSRC_HAS_GROUPS) == 0)
        return rsrc_refuse(diag, "plan-variant", &place, help,
                           "variant '%s' has no scales of groups of %u columns", name,
                           input->group_cols);
    return rsrc_refuse(diag, "plan-variant", &place, help,
                       "target %s has no instructions for variant '%s'", input->spec->name, name);
}

bool rsrc_same_kernel(const struct rsr_plan *plan) {
    const struct rsr_regime_plan *a = &plan->regimes[RSR_REGIME_DECODE];
    const struct rsr_regime_plan *b = &plan->regimes[RSR_REGIME_PREFILL];
    return a->kernel == b->kernel && a->machine == b->machine && a->k == b->k &&
           a->fold == b->fold && a->tile_rows == b->tile_rows && a->token_tile == b->token_tile;
}

double rsrc_batch_us(const struct rsr_regime_plan *plan, uint32_t n_tokens) {
    /* Tokens that need a further pass of the lanes. */
    const uint32_t n_more = (n_tokens - 1) / plan->lanes * plan->lanes;
    const double predicted_us =
        rsrc_call_us(plan->memory_us, plan->alone_us + n_more * plan->more_us);
    const bool measured = plan->measured_us > 0 && plan->predicted_us > 0; /* a text may say 0 */
    return measured ? predicted_us * plan->measured_us / plan->predicted_us : predicted_us;
}

uint32_t rsrc_decode_tokens(const struct rsr_plan *const *plans, uint32_t n_plans) {
    for (uint32_t n = 2; n < RSRC_PREFILL_TOKENS; n++) {
        double decode_us = 0, prefill_us = 0;
        for (uint32_t i = 0; i < n_plans; i++) {
            decode_us += rsrc_batch_us(&plans[i]->regimes[RSR_REGIME_DECODE], n);
            prefill_us += rsrc_batch_us(&plans[i]->regimes[RSR_REGIME_PREFILL], n);
        }
        if (prefill_us < decode_us)
            return n - 1;
    }
    return RSRC_PREFILL_TOKENS - 1;
}

enum rsrc_status rsrc_plan_layer(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                 const struct rsrc_plan_input *input, struct rsr_plan *out) {
    const struct rsr_stats *stats = input->stats;
    assert((stats->k >= 1 || input->spec->gpu.sm != 0) && stats->k <= RSR_MAX_K);
    assert(stats->rows > 0 && stats->cols > 0);
    assert(input->role <= RSR_ROLE_COUNT);
    const uint32_t asked_k = input->options->k;
    if (asked_k != 0 && asked_k != stats->k) {
        struct rsrc_place place = {.tensor = input->layer_name};
        return rsrc_refuse(diag, "plan-k", &place,
                           "leave out --rsr-k, or print the index again with it",
                           "the segment index has k=%u, k=%u is asked for", stats->k, asked_k);
    }
    struct rsrc_choice choices[MAX_CHOICES];
    struct selection among = {.choices = choices,
                              .n_choices = list_choices(arena, input, choices),
                              .input = input->input,
                              .cols = stats->cols,
                              .fold_budget = input->fold_budget,
                              .forced = input->options->forced_variant[input->role]};
    assert(among.forced >= -1 && among.forced < RSR_VARIANT_COUNT);
    struct rsr_plan plan = {.target = input->spec->name, .input = input->input};
    among.regime = RSR_REGIME_DECODE;
    if (best_choice(&among) == NULL)
        return refuse_variant(diag, input, among.forced);
    if (measure_choices(input, &among, choices) != RSRC_OK)
        return RSRC_FAILED;
    among.no_lists = lists_slow_batches(input, &among);
    const struct rsrc_choice *decode =
        plan_regime(diag, arena, input, among, &plan.regimes[RSR_REGIME_DECODE]);
    among.regime = RSR_REGIME_PREFILL;
    among.decode = decode;
    if (measure_choices(input, &among, choices) != RSRC_OK)
        return RSRC_FAILED;
    (void)plan_regime(diag, arena, input, among, &plan.regimes[RSR_REGIME_PREFILL]);
    *out = plan;
    return RSRC_OK;
}

/* ---- a plan from elsewhere ------------------------------------------------------------------- */

/* The planner's own choice with this kernel; NULL: it has none. */
static const struct rsrc_choice *find_choice(const struct rsrc_choice *choices, uint32_t n_choices,
                                             const struct rsr_regime_plan *plan) {
    for (uint32_t i = 0; i < n_choices; i++)
        if (choices[i].kernel == plan->kernel && choices[i].k == plan->k &&
            choices[i].fold == plan->fold)
            return &choices[i];
    return NULL;
}

static enum rsrc_status refuse_kernel(struct rsrc_diag *diag, const struct rsrc_place *place,
                                      const struct rsrc_plan_input *input,
                                      const struct rsr_regime_plan *plan) {
    const struct rsrc_kernel_row *row = rsrc_kernel_row(plan->kernel);
    if (row->names != RSR_LIST_NONE)
        return rsrc_refuse(diag, "plan-list", place, "take a kernel that reads the whole layer",
                           "%s is not open to the layer: %s", row->name,
                           row->names == input->list ? input->list_obstacle
                                                     : "no list names these channels of it");
    return rsrc_refuse(diag, "plan-blocks", place,
                       "scatter has one k in all targets of a layer, and so has fold; trees and "
                       "code take few rows a block",
                       "%s with k %u%s is not open to the layer", row->name, plan->k,
                       (row->traits & RSRC_HAS_FOLD) == 0 ? ""
                       : plan->fold == RSR_FOLD_TREE      ? " fold tree"
                                                          : " fold direct");
}

static enum rsrc_status refuse_data(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                    const struct rsrc_place *place,
                                    const struct rsrc_choice *decode,
                                    const struct rsrc_choice *choice) {
    const char *help = "a module holds every weight once, as decode reads it";
    if (decode == NULL)
        return rsrc_refuse(diag, "plan-data", place, help,
                           "%s has no weights of its own for decode", choice_name(arena, choice));
    return rsrc_refuse(diag, "plan-data", place, help,
                       "%s does not read the weights of decode's %s", choice_name(arena, choice),
                       choice_name(arena, decode));
}

enum rsrc_status rsrc_apply_plan(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                 const struct rsrc_plan_input *input, const char *file,
                                 const struct rsr_named_plan *given, struct rsr_plan *out) {
    const struct rsrc_planned_layer layer = layer_of(input);
    struct rsrc_choice choices[MAX_CHOICES];
    struct selection among = {.choices = choices,
                              .n_choices = list_choices(arena, input, choices),
                              .input = input->input};
    struct rsr_plan plan = given->plan;
    plan.target = input->spec->name;
    for (int r = 0; r < RSR_REGIME_COUNT; r++) {
        struct rsr_regime_plan *regime = &plan.regimes[r];
        const struct rsrc_place place = {
            .file = file, .line = given->regime_lines[r], .tensor = input->layer_name};
        if (rsrc_check_plan(diag, arena, &place, &layer, regime) != RSRC_OK)
            return RSRC_FAILED;
        const struct rsrc_choice *choice = find_choice(choices, among.n_choices, regime);
        if (choice == NULL)
            return refuse_kernel(diag, &place, input, regime);
        if (!shares_data(&among, choice))
            return refuse_data(diag, arena, &place, among.decode, choice);
        among.decode = choice;
        among.regime = (enum rsr_regime)r;
        list_alternatives(arena, &among, choice, true, regime);
        regime->weight_bytes = choice->weight_bytes;
        /* The share that lists name is known to the one who made the plan. */
        if (rsrc_kernel_row(regime->kernel)->names == RSR_LIST_NONE ||
            regime->token_bytes > regime->weight_bytes)
            regime->token_bytes = token_bytes(choice);
        set_parts(choice, regime);
        regime->acc_bound = acc_bound(input);
        rsrc_diag_emit(diag, RSRC_REMARK, "plan", &place, NULL, "%s: took %s as given: %s",
                       rsrc_regime_name((enum rsr_regime)r), rsrc_kernel_row(regime->kernel)->name,
                       regime->reason);
    }
    *out = plan;
    return RSRC_OK;
}
