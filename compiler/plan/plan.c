/* plan.c - chooses the variant of a layer in each regime: the one with the least predicted time.
 *
 * Input: statistics of the matrix, the target, what the user forces. Output: the plan with its reasons,
 * and remarks on what was chosen and what was declined.
 */
#include "plan/plan.h"

#include <assert.h>
#include <math.h>

#include "plan/cost.h"

/* Rows of a dot tile, largest first. A tile is worth its loop overhead from 16 rows on; larger ones
 * stream longer runs, as long as there are enough of them to share out evenly. */
static const uint32_t DOT_TILE_ROWS[] = {64, 32, 16};
#define N_DOT_TILE_ROWS (sizeof DOT_TILE_ROWS / sizeof DOT_TILE_ROWS[0])
/* With 8 tiles a core the last round, partly idle, costs at most an eighth; and a module may run on
 * more cores than its target description has. */
#define TILES_PER_CORE 8u
#define MIN_TILES 64u
#define SCATTER_TILE_ROWS 16u

const char *rsrc_variant_name(enum rsr_variant variant) {
    static const char *const names[RSR_VARIANT_COUNT] = {
#define X(id, name) [RSR_VARIANT_##id] = name,
        RSR_VARIANTS(X)
#undef X
    };
    return names[variant];
}

const char *rsrc_regime_name(enum rsr_regime regime) {
    static const char *const names[RSR_REGIME_COUNT] = {
        [RSR_REGIME_DECODE] = "decode", [RSR_REGIME_PREFILL] = "prefill"};
    return names[regime];
}

/* ---- words -------------------------------------------------------------------------------------- */

static const char *time_text(struct rsrc_arena *arena, double us) {
    return us < 1000 ? rsrc_arena_printf(arena, "%.3g us", us)
                     : rsrc_arena_printf(arena, "%.3g ms", us / 1000);
}

static const char *size_text(struct rsrc_arena *arena, uint64_t bytes) {
    return bytes < 1000000 ? rsrc_arena_printf(arena, "%.3g KB", (double)bytes / 1e3)
                           : rsrc_arena_printf(arena, "%.3g MB", (double)bytes / 1e6);
}

static const char *choice_name(struct rsrc_arena *arena, const struct rsrc_choice *choice,
                               uint32_t k) {
    switch (choice->variant) {
    case RSR_VARIANT_SCATTER:
        return rsrc_arena_printf(arena, "scatter k=%u (%s)", k,
                                 choice->fold == RSR_FOLD_TREE ? "RSR++" : "RSR");
    case RSR_VARIANT_DOT:
    case RSR_VARIANT_FOLD:
    case RSR_VARIANT_LUT:
    case RSR_VARIANT_COUNT:
        break;
    }
    return rsrc_variant_name(choice->variant);
}

/* "0.41 MB at 14 GB/s = 29 us", or what is computed where that takes longer. */
static const char *cost_text(struct rsrc_arena *arena, const struct rsrc_choice *choice,
                             const struct rsr_spec *spec) {
    const char *size = size_text(arena, choice->weight_bytes);
    if (choice->memory_us >= choice->compute_us)
        return rsrc_arena_printf(arena, "%s at %.3g GB/s = %s", size, spec->read_gbps,
                                 time_text(arena, choice->memory_us));
    return rsrc_arena_printf(arena, "%s = %s (reading %s takes %s)", choice->work,
                             time_text(arena, choice->compute_us), size,
                             time_text(arena, choice->memory_us));
}

static const char *reason_text(struct rsrc_arena *arena, const struct rsrc_choice *chosen,
                               const struct rsrc_choice *declined, enum rsr_regime regime,
                               uint32_t k, bool forced, const struct rsr_spec *spec) {
    return rsrc_arena_printf(arena, "%s%s: %s; %s would take %s", choice_name(arena, chosen, k),
                             forced ? " as asked" : "", cost_text(arena, chosen, spec),
                             choice_name(arena, declined, k),
                             time_text(arena, declined->predicted_us[regime]));
}

/* ---- tiles -------------------------------------------------------------------------------------- */

static uint32_t dot_tile_rows(uint32_t rows, uint32_t cores) {
    uint64_t wanted = (uint64_t)cores * TILES_PER_CORE;
    if (wanted < MIN_TILES)
        wanted = MIN_TILES;
    for (size_t i = 0; i < N_DOT_TILE_ROWS; i++)
        if (rows / DOT_TILE_ROWS[i] >= wanted)
            return DOT_TILE_ROWS[i];
    uint32_t smallest = DOT_TILE_ROWS[N_DOT_TILE_ROWS - 1];
    return rows < smallest ? (rows + 3) / 4 * 4 : smallest;
}

/* Whole blocks of k rows, about SCATTER_TILE_ROWS of them. */
static uint32_t scatter_tile_rows(uint32_t k) {
    return k * (SCATTER_TILE_ROWS / k);
}

/* ---- the choice ----------------------------------------------------------------------------------- */

/* Every way that is open to a layer: `dot`, and scatter as RSR and, where its table fits, as RSR++. */
#define MAX_CHOICES 8

static uint32_t list_choices(struct rsrc_arena *arena, const struct rsr_stats *stats,
                             enum rsr_alphabet alphabet, const struct rsr_spec *spec,
                             struct rsrc_choice choices[MAX_CHOICES]) {
    uint32_t n = 0;
    choices[n++] = rsrc_cost_dot(arena, stats, alphabet, spec);
    if (rsrc_fold_fits(alphabet, stats->k))
        choices[n++] = rsrc_cost_scatter(arena, stats, RSR_FOLD_TREE, spec);
    choices[n++] = rsrc_cost_scatter(arena, stats, RSR_FOLD_DIRECT, spec);
    assert(n <= MAX_CHOICES);
    return n;
}

/* The fastest of the choices in a regime, of the forced variant alone or of all; at equal times the
 * first. `except` (or NULL) is left out, with its variant. */
static const struct rsrc_choice *best_choice(const struct rsrc_choice *choices, uint32_t n,
                                             enum rsr_regime regime, int forced,
                                             const struct rsrc_choice *except) {
    const struct rsrc_choice *best = NULL;
    for (uint32_t i = 0; i < n; i++) {
        if ((forced != -1 && (int)choices[i].variant != forced) ||
            (except != NULL && choices[i].variant == except->variant))
            continue;
        if (best == NULL || choices[i].predicted_us[regime] < best->predicted_us[regime])
            best = &choices[i];
    }
    return best;
}

static void emit_remarks(struct rsrc_diag *diag, struct rsrc_arena *arena, const char *layer_name,
                         enum rsr_regime regime, const struct rsr_regime_plan *plan,
                         const struct rsrc_choice *chosen, const struct rsrc_choice *declined,
                         uint32_t k, const struct rsr_spec *spec) {
    struct rsrc_place place = {.tensor = layer_name};
    const char *name = rsrc_regime_name(regime);
    rsrc_diag_emit(diag, RSRC_REMARK, "plan", &place, NULL, "%s: chose %s", name, plan->reason);
    rsrc_diag_emit(diag, RSRC_REMARK_MISSED, "plan", &place, NULL,
                   "%s: declined %s: %s, %.2g times the chosen time", name,
                   choice_name(arena, declined, k), cost_text(arena, declined, spec),
                   declined->predicted_us[regime] / chosen->predicted_us[regime]);
}

static void plan_regime(struct rsrc_diag *diag, struct rsrc_arena *arena, const char *layer_name,
                        const struct rsr_stats *stats, const struct rsr_spec *spec,
                        const struct rsrc_choice *choices, uint32_t n_choices,
                        enum rsr_regime regime, int forced, struct rsr_regime_plan *out) {
    const struct rsrc_choice *chosen = best_choice(choices, n_choices, regime, forced, NULL);
    const struct rsrc_choice *declined = best_choice(choices, n_choices, regime, -1, chosen);
    const bool blocks = chosen->variant == RSR_VARIANT_SCATTER;
    *out = (struct rsr_regime_plan){
        .variant = chosen->variant,
        .k = blocks ? stats->k : 0,
        .fold = chosen->fold,
        .tile_rows = blocks ? scatter_tile_rows(stats->k) : dot_tile_rows(stats->rows, spec->cores),
        .token_tile = chosen->token_tile,
        .predicted_us = round(chosen->predicted_us[regime] * 1e3) / 1e3, /* to the nanosecond */
        .weight_bytes = chosen->weight_bytes,
        .acc_bound = (uint64_t)stats->max_row_nonzero * 128,
        .reason = reason_text(arena, chosen, declined, regime, stats->k, forced != -1, spec),
    };
    emit_remarks(diag, arena, layer_name, regime, out, chosen, declined, stats->k, spec);
}

bool rsrc_same_kernel(const struct rsr_plan *plan) {
    const struct rsr_regime_plan *a = &plan->regimes[RSR_REGIME_DECODE];
    const struct rsr_regime_plan *b = &plan->regimes[RSR_REGIME_PREFILL];
    return a->variant == b->variant && a->packing == b->packing && a->k == b->k &&
           a->fold == b->fold && a->tile_rows == b->tile_rows && a->token_tile == b->token_tile;
}

enum rsrc_status rsrc_plan_layer(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                 const char *layer_name, enum rsr_role role,
                                 enum rsr_alphabet alphabet, const struct rsr_stats *stats,
                                 const struct rsr_spec *spec,
                                 const struct rsrc_plan_options *options, struct rsr_plan *out) {
    assert(stats->k >= 1 && stats->k <= RSR_MAX_K && stats->rows > 0 && stats->cols > 0);
    assert(role <= RSR_ROLE_COUNT);
    int forced = options->forced_variant[role];
    assert(forced >= -1 && forced < RSR_VARIANT_COUNT);
    if (options->k != 0 && options->k != stats->k) {
        struct rsrc_place place = {.tensor = layer_name};
        rsrc_error(diag, "plan-k", &place, "leave out --rsr-k, or print the index again with it",
                   "the segment index has k=%u, k=%u is asked for", stats->k, options->k);
        return RSRC_FAILED;
    }
    struct rsrc_choice choices[MAX_CHOICES];
    const uint32_t n_choices = list_choices(arena, stats, alphabet, spec, choices);
    struct rsr_plan plan = {.target = spec->name, .input = RSR_INPUT_I8};
    for (int regime = 0; regime < RSR_REGIME_COUNT; regime++)
        plan_regime(diag, arena, layer_name, stats, spec, choices, n_choices,
                    (enum rsr_regime)regime, forced, &plan.regimes[regime]);
    *out = plan;
    return RSRC_OK;
}
