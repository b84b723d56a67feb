/* plan.c - chooses the variant of a layer in each regime: the one with the least predicted time, or
 * measured time where there is a timer.
 *
 * Input: statistics of the matrix, the target, what the user forces. Output: the plan with its
 * reasons, and remarks on what was chosen and what was declined.
 */
#include "plan/plan.h"

#include <assert.h>
#include <math.h>

#include "layout/tiles.h"
#include "plan/cost.h"

/* Rows of a dot tile, largest first. A tile is worth its loop overhead from 16 rows on; larger ones
 * stream longer runs, as long as there are enough of them to share out evenly. */
static const uint32_t DOT_TILE_ROWS[] = {64, 32, 16};
#define N_DOT_TILE_ROWS (sizeof DOT_TILE_ROWS / sizeof DOT_TILE_ROWS[0])
/* With 8 tiles a core the last round, partly idle, costs at most an eighth; and a module may run on
 * more cores than its target description has. */
#define TILES_PER_CORE 8u
#define MIN_TILES 64u
/* Whole blocks of k rows, about as many. A body of fold is called once for a tile and a chunk of
 * columns: 32 rows of it fill the first-level instruction cache. */
#define SCATTER_TILE_ROWS 16u
#define FOLD_TILE_ROWS 32u

const char *rsrc_variant_name(enum rsr_variant variant) {
    static const char *const names[RSR_VARIANT_COUNT] = {
#define X(id, name) [RSR_VARIANT_##id] = name,
        RSR_VARIANTS(X)
#undef X
    };
    return names[variant];
}

enum rsr_list rsrc_list_of(const struct rsr_regime_plan *plan) {
    return plan->packing == RSR_PACKING_ROWS   ? RSR_LIST_ROWS
           : plan->packing == RSR_PACKING_COLS ? RSR_LIST_COLS
                                               : RSR_LIST_NONE;
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

static const char *choice_name(struct rsrc_arena *arena, const struct rsrc_choice *choice) {
    switch (choice->variant) {
    case RSR_VARIANT_SCATTER:
        return rsrc_arena_printf(arena, "scatter k=%u (%s)", choice->k,
                                 choice->fold == RSR_FOLD_TREE ? "RSR++" : "RSR");
    case RSR_VARIANT_FOLD:
        return rsrc_arena_printf(arena, "fold k=%u", choice->k);
    case RSR_VARIANT_DOT:
        if (choice->packing == RSR_PACKING_LUT)
            return "dot over the codes of lut";
        if (choice->packing == RSR_PACKING_ROWS)
            return "dot over listed rows";
        if (choice->packing == RSR_PACKING_COLS)
            return "dot over listed columns";
        break;
    case RSR_VARIANT_LUT:
    case RSR_VARIANT_COUNT:
        break;
    }
    return rsrc_variant_name(choice->variant);
}

static bool is_listed(const struct rsrc_choice *choice) {
    return choice->packing == RSR_PACKING_ROWS || choice->packing == RSR_PACKING_COLS;
}

/* "0.41 MB at 14 GB/s = 29 us", or what is computed where that takes longer. */
static const char *cost_text(struct rsrc_arena *arena, const struct rsrc_choice *choice,
                             enum rsr_regime regime, const struct rsr_spec *spec) {
    const struct rsrc_cost *cost = &choice->cost[regime];
    const char *size = size_text(arena, choice->weight_bytes);
    if (is_listed(choice))
        size = rsrc_arena_printf(arena, "the listed part of %s", size);
    const char *batch = regime == RSR_REGIME_PREFILL ? " a token" : "";
    if (cost->memory_us >= cost->compute_us)
        return rsrc_arena_printf(arena, "%s at %.3g GB/s = %s%s", size, spec->read_gbps,
                                 time_text(arena, cost->memory_us), batch);
    return rsrc_arena_printf(arena, "%s = %s%s (reading %s takes %s)", choice->work,
                             time_text(arena, cost->compute_us), batch, size,
                             time_text(arena, cost->memory_us));
}

/* What a choice takes, as far as it is known. */
static double time_of(const struct rsrc_choice *choice, enum rsr_regime regime) {
    return choice->measured_us[regime] > 0 ? choice->measured_us[regime]
                                           : choice->cost[regime].predicted_us;
}

/* "1.38 MB at 10.8 GB/s = 127 us", behind what was measured if it was. */
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
                               enum rsr_regime regime, bool forced) {
    const char *groups =
        input->group_cols == 0
            ? ""
            : rsrc_arena_printf(arena, " with a scale every %u columns", input->group_cols);
    const char *text = rsrc_arena_printf(arena, "%s%s%s: %s", choice_name(arena, chosen), groups,
                                         forced ? " as asked" : "",
                                         chosen_text(arena, chosen, regime, input->spec));
    return declined == NULL
               ? rsrc_arena_printf(arena, "%s; no other variant is open", text)
               : rsrc_arena_printf(arena, "%s; %s %s %s", text, choice_name(arena, declined),
                                   declined->measured_us[regime] > 0 ? "measured" : "would take",
                                   time_text(arena, time_of(declined, regime)));
}

/* ---- tiles ----------------------------------------------------------------------------------- */

static uint32_t dot_tile_rows(uint32_t rows, uint32_t cores) {
    uint64_t wanted = (uint64_t)cores * TILES_PER_CORE;
    if (wanted < MIN_TILES)
        wanted = MIN_TILES;
    for (size_t i = 0; i < N_DOT_TILE_ROWS; i++)
        if (rows / DOT_TILE_ROWS[i] >= wanted)
            return DOT_TILE_ROWS[i];
    return DOT_TILE_ROWS[N_DOT_TILE_ROWS - 1];
}

/* ---- the choice ------------------------------------------------------------------------------ */

/* Every way that is open to a layer: `dot`, scatter as RSR and, where its table fits, as RSR++,
 * where the target has the look-ups, `lut` and `dot` over its codes, fold, and `dot` over what a
 * list names. Floats: no `dot`. With scales of groups: no fold. */
#define MAX_CHOICES 8u

static uint32_t list_choices(struct rsrc_arena *arena, const struct rsrc_plan_input *input,
                             struct rsrc_choice choices[MAX_CHOICES]) {
    const struct rsr_stats *stats = input->stats;
    const bool floats = input->input == RSR_INPUT_F32;
    uint32_t n = 0;
    if (!floats)
        choices[n++] = rsrc_cost_dot(arena, stats, input->alphabet, input->spec);
    if (rsrc_fold_fits(input->alphabet, stats->k))
        choices[n++] = rsrc_cost_scatter(arena, input, RSR_FOLD_TREE);
    choices[n++] = rsrc_cost_scatter(arena, input, RSR_FOLD_DIRECT);
    if (floats ? rsrc_cost_lut_f32(arena, input, &choices[n])
               : rsrc_cost_lut(arena, stats, input->alphabet, input->spec, &choices[n]))
        n++;
    if (!floats && rsrc_cost_dot_lut(arena, stats, input->alphabet, input->spec, &choices[n]))
        n++;
    if (rsrc_cost_fold(arena, input, &choices[n]))
        n++;
    if (rsrc_cost_listed(arena, input, &choices[n]))
        n++;
    assert(n <= MAX_CHOICES);
    return n;
}

/* A module holds every weight once: beside the kernel of decode, prefill has what reads the same
 * data, or none. A token alone is not worth unpacking the codes of lut. */
static bool shares_data(const struct rsrc_choice *decode, const struct rsrc_choice *prefill,
                        enum rsr_input input) {
    if (decode == NULL)
        return prefill->packing != RSR_PACKING_LUT;
    /* Floats have one order of additions, however many tokens there are. */
    if (prefill->variant == RSR_VARIANT_FOLD && input == RSR_INPUT_I8)
        return true;
    if (prefill->variant == RSR_VARIANT_DOT && prefill->packing == RSR_PACKING_LUT)
        return decode->variant == RSR_VARIANT_LUT;
    return prefill->variant == decode->variant && prefill->packing == decode->packing &&
           prefill->k == decode->k && prefill->fold == decode->fold;
}

struct selection {
    const struct rsrc_choice *choices;
    uint32_t n_choices;
    enum rsr_input input;
    uint32_t cols;
    uint64_t fold_budget;
    enum rsr_regime regime;
    int forced;                       /* enum rsr_variant, -1: none */
    const struct rsrc_choice *decode; /* what prefill shares its data with, or NULL */
    const struct rsrc_choice *except; /* left out with all of its variant, or NULL */
};

/* Code grows where fold is used: unasked only within the budget. */
static bool fits_budget(const struct selection *among, const struct rsrc_choice *choice) {
    return choice->variant != RSR_VARIANT_FOLD || among->forced == RSR_VARIANT_FOLD ||
           choice->weight_bytes <= among->fold_budget;
}

/* What lowering would refuse is taken only where it is asked for: there it says why. */
static bool fits_sums(const struct selection *among, const struct rsrc_choice *choice) {
    return among->forced != -1 || among->cols <= choice->max_cols;
}

static bool is_open(const struct selection *among, const struct rsrc_choice *choice) {
    return (among->forced == -1 || (int)choice->variant == among->forced) &&
           shares_data(among->decode, choice, among->input) && fits_budget(among, choice) &&
           fits_sums(among, choice) &&
           (among->except == NULL || choice->variant != among->except->variant);
}

/* What was measured is known, what was predicted is not. What a list leaves is not measured:
 * without a model's tokens there is no list. */
static bool is_better(const struct rsrc_choice *a, const struct rsrc_choice *b,
                      enum rsr_regime regime) {
    const bool measured = a->measured_us[regime] > 0;
    return measured == (b->measured_us[regime] > 0) || is_listed(a) || is_listed(b)
               ? time_of(a, regime) < time_of(b, regime)
               : measured;
}

/* The fastest of the choices; at equal times the first. */
static const struct rsrc_choice *best_choice(const struct selection *among) {
    const struct rsrc_choice *best = NULL;
    for (uint32_t i = 0; i < among->n_choices; i++) {
        const struct rsrc_choice *choice = &among->choices[i];
        if (is_open(among, choice) && (best == NULL || is_better(choice, best, among->regime)))
            best = choice;
    }
    return best;
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

/* fold would be faster, and is too much code: whoever raises the budget gets it. */
static void remark_budget(struct rsrc_diag *diag, struct rsrc_arena *arena,
                          const struct rsrc_plan_input *input, const struct selection *among,
                          const struct rsrc_choice *chosen) {
    struct selection any = *among;
    any.forced = RSR_VARIANT_FOLD;
    const struct rsrc_choice *fold = best_choice(&any);
    const enum rsr_regime regime = among->regime;
    if (among->forced != -1 || fold == NULL || fold->weight_bytes <= input->fold_budget ||
        fold->cost[regime].predicted_us >= chosen->cost[regime].predicted_us)
        return;
    const struct rsrc_place place = {.tensor = input->layer_name};
    rsrc_diag_emit(diag, RSRC_REMARK_MISSED, "plan", &place, "raise --fold-budget to let code grow",
                   "%s: declined %s: %s, but its code of %s is over the layer's budget of %s",
                   rsrc_regime_name(regime), choice_name(arena, fold),
                   time_text(arena, fold->cost[regime].predicted_us),
                   size_text(arena, fold->weight_bytes), size_text(arena, input->fold_budget));
}

/* Why a layer that a list could spare reading is read whole. */
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
        return; /* the obstacle is the target's, and known */
    rsrc_diag_emit(diag, RSRC_REMARK_MISSED, "plan", &place, NULL,
                   "decode: declined dot over %s: with %.0f %% of them active it would take %s",
                   what, 100 * input->active,
                   time_text(arena, listed->cost[RSR_REGIME_DECODE].predicted_us));
}

/* What is wished for; the kernel's units are in layout/tiles.h. */
static uint32_t tile_rows(const struct rsrc_choice *choice, const struct rsrc_plan_input *input) {
    if (choice->tile_rows != 0)
        return choice->tile_rows;
    const uint32_t rows = choice->variant == RSR_VARIANT_FOLD ? FOLD_TILE_ROWS : SCATTER_TILE_ROWS;
    return choice->k != 0 ? rows / choice->k * choice->k /* no more than these */
                          : dot_tile_rows(input->stats->rows, input->spec->cores);
}

/* To the nanosecond. */
static double rounded_us(double us) {
    return round(us * 1e3) / 1e3;
}

static struct rsr_regime_plan make_plan(const struct rsrc_plan_input *input,
                                        const struct rsrc_choice *choice, enum rsr_regime regime,
                                        const char *reason) {
    struct rsr_regime_plan plan = {
        .variant = choice->variant,
        .packing = choice->packing,
        .k = choice->k,
        .fold = choice->fold,
        .tile_rows = tile_rows(choice, input),
        .token_tile = UINT32_MAX, /* as many as there are registers for */
        .predicted_us = rounded_us(choice->cost[regime].predicted_us),
        .measured_us = rounded_us(choice->measured_us[regime]),
        .weight_bytes = choice->weight_bytes,
        .acc_bound =
            input->input == RSR_INPUT_I8 ? (uint64_t)input->stats->max_row_nonzero * 128 : 0,
        .reason = reason,
    };
    rsrc_fit_tiles(input->spec, input->input, input->stats->rows, &plan);
    assert(plan.token_tile != UINT32_MAX);
    return plan;
}

/* Predictions are good to a quarter for what is chosen, and less good for what is not: what is
 * predicted to take longer than this many times the fastest is not run, which alone would take
 * minutes. */
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
    const bool forced = among.forced != -1;
    remark_budget(diag, arena, input, &among, chosen);
    remark_list(diag, arena, input, &among, chosen);
    among.forced = -1;
    among.decode = NULL;
    among.except = chosen;
    const struct rsrc_choice *declined = best_choice(&among);
    *out = make_plan(input, chosen, among.regime,
                     reason_text(arena, input, chosen, declined, among.regime, forced));
    emit_remarks(diag, arena, input, among.regime, out, chosen, declined);
    return chosen;
}

static enum rsrc_status refuse_variant(struct rsrc_diag *diag, const struct rsrc_plan_input *input,
                                       enum rsr_variant variant) {
    const struct rsrc_place place = {.tensor = input->layer_name};
    const char *help = "leave out --variant, or choose another one";
    if (variant == RSR_VARIANT_FOLD && input->group_cols != 0)
        rsrc_error(diag, "plan-variant", &place, help,
                   "variant 'fold' has no scales of groups of %u columns", input->group_cols);
    else if (variant == RSR_VARIANT_DOT)
        rsrc_error(diag, "plan-variant", &place, help,
                   "variant 'dot' multiplies int8 activations, not floats");
    else
        rsrc_error(diag, "plan-variant", &place, help,
                   "target %s has no instructions for variant '%s'", input->spec->name,
                   rsrc_variant_name(variant));
    return RSRC_FAILED;
}

/* Sums of int8 activations are integers over a whole row; only floats are scaled a group at a
 * time. */
enum rsrc_status rsrc_refuse_groups(struct rsrc_diag *diag, const char *layer_name,
                                    uint32_t group_cols) {
    const struct rsrc_place place = {.tensor = layer_name};
    rsrc_error(diag, "plan-groups", &place,
               "int8 activations go with one scale a layer or a row; float activations with groups "
               "as well",
               "a scale for every %u columns of a row is not supported with int8 activations",
               group_cols);
    return RSRC_FAILED;
}

bool rsrc_same_kernel(const struct rsr_plan *plan) {
    const struct rsr_regime_plan *a = &plan->regimes[RSR_REGIME_DECODE];
    const struct rsr_regime_plan *b = &plan->regimes[RSR_REGIME_PREFILL];
    return a->variant == b->variant && a->packing == b->packing && a->k == b->k &&
           a->fold == b->fold && a->tile_rows == b->tile_rows && a->token_tile == b->token_tile;
}

enum rsrc_status rsrc_plan_layer(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                 const struct rsrc_plan_input *input, struct rsr_plan *out) {
    const struct rsr_stats *stats = input->stats;
    assert(stats->k >= 1 && stats->k <= RSR_MAX_K && stats->rows > 0 && stats->cols > 0);
    assert(input->role <= RSR_ROLE_COUNT);
    const uint32_t asked_k = input->options->k;
    if (asked_k != 0 && asked_k != stats->k) {
        struct rsrc_place place = {.tensor = input->layer_name};
        rsrc_error(diag, "plan-k", &place, "leave out --rsr-k, or print the index again with it",
                   "the segment index has k=%u, k=%u is asked for", stats->k, asked_k);
        return RSRC_FAILED;
    }
    if (input->group_cols != 0 && input->input == RSR_INPUT_I8)
        return rsrc_refuse_groups(diag, input->layer_name, input->group_cols);
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
        return refuse_variant(diag, input, (enum rsr_variant)among.forced);
    if (measure_choices(input, &among, choices) != RSRC_OK)
        return RSRC_FAILED;
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
