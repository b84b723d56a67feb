/* plan_text.c - the text form of plans: what --dump=plan prints and --from=plan reads.
 *
 *   plan 3
 *   layer "model.layers.0.self_attn.q_proj" target "avx512" input i8
 *     decode variant lut packing planes k 0 fold tree tile_rows 64 token_tile 1
 *       us 29.25 weight_bytes 409600 acc_bound 163840
 *       reason "lut: ..."
 *     prefill variant dot packing lut k 0 fold tree tile_rows 64 token_tile 4
 *       us 4.125 weight_bytes 409600 acc_bound 163840
 *       reason "dot: ..."
 *
 * Behind "us 29.25", which is predicted, stands "measured 27.75" where kernels were run. Layers of
 * float activations have no acc_bound: nothing of theirs overflows.
 *
 * The text is untrusted: every number is in the range that lowering accepts.
 */
#include <inttypes.h>

#include "base/text_scan.h"
#include "plan/plan.h"

#define MAX_TILE_ROWS (1u << 20)
#define MAX_TOKEN_TILE 64u

static const char *const FOLD_NAMES[] = {[RSR_FOLD_DIRECT] = "direct", [RSR_FOLD_TREE] = "tree"};
#define N_FOLDS ((uint32_t)(sizeof FOLD_NAMES / sizeof FOLD_NAMES[0]))

static const char *const PACKING_NAMES[] = {[RSR_PACKING_PLANES] = "planes",
                                            [RSR_PACKING_LUT] = "lut",
                                            [RSR_PACKING_ROWS] = "rows",
                                            [RSR_PACKING_COLS] = "columns"};
#define N_PACKINGS ((uint32_t)(sizeof PACKING_NAMES / sizeof PACKING_NAMES[0]))
static const char *const INPUT_NAMES[] = {[RSR_INPUT_I8] = "i8", [RSR_INPUT_F32] = "f32"};
#define N_INPUTS ((uint32_t)(sizeof INPUT_NAMES / sizeof INPUT_NAMES[0]))

static void print_regime(const struct rsr_regime_plan *plan, enum rsr_input input,
                         enum rsr_regime regime, struct rsrc_buffer *out) {
    rsrc_buffer_printf(out,
                       "  %s variant %s packing %s k %" PRIu32 " fold %s tile_rows %" PRIu32
                       " token_tile %" PRIu32 "\n    us ",
                       rsrc_regime_name(regime), rsrc_variant_name(plan->variant),
                       PACKING_NAMES[plan->packing], plan->k, FOLD_NAMES[plan->fold],
                       plan->tile_rows, plan->token_tile);
    rsrc_put_double(out, plan->predicted_us);
    if (plan->measured_us > 0) {
        rsrc_buffer_puts(out, " measured ");
        rsrc_put_double(out, plan->measured_us);
    }
    rsrc_buffer_printf(out, " weight_bytes %" PRIu64, plan->weight_bytes);
    if (input == RSR_INPUT_I8)
        rsrc_buffer_printf(out, " acc_bound %" PRIu64, plan->acc_bound);
    rsrc_buffer_puts(out, "\n    reason ");
    rsrc_buffer_put_c_string(out, plan->reason);
    rsrc_buffer_puts(out, "\n");
}

void rsrc_print_plan(const struct rsr_plan *plan, const char *layer_name, struct rsrc_buffer *out) {
    rsrc_buffer_puts(out, "plan 3\nlayer ");
    rsrc_buffer_put_c_string(out, layer_name);
    rsrc_buffer_puts(out, " target ");
    rsrc_buffer_put_c_string(out, plan->target);
    rsrc_buffer_printf(out, " input %s\n", INPUT_NAMES[plan->input]);
    for (int regime = 0; regime < RSR_REGIME_COUNT; regime++)
        print_regime(&plan->regimes[regime], plan->input, (enum rsr_regime)regime, out);
}

static enum rsrc_status parse_shape(struct rsrc_scan *scan, struct rsr_regime_plan *plan) {
    const char *variants[RSR_VARIANT_COUNT];
    for (uint32_t i = 0; i < RSR_VARIANT_COUNT; i++)
        variants[i] = rsrc_variant_name((enum rsr_variant)i);
    uint32_t variant, packing, fold;
    if (rsrc_scan_word(scan, "variant") != RSRC_OK ||
        rsrc_scan_name(scan, "variant", variants, RSR_VARIANT_COUNT, &variant) != RSRC_OK ||
        rsrc_scan_word(scan, "packing") != RSRC_OK ||
        rsrc_scan_name(scan, "packing", PACKING_NAMES, N_PACKINGS, &packing) != RSRC_OK)
        return RSRC_FAILED;
    bool blocks = variant == RSR_VARIANT_SCATTER || variant == RSR_VARIANT_FOLD;
    if (rsrc_scan_word(scan, "k") != RSRC_OK ||
        rsrc_scan_u32(scan, "k", blocks ? 1 : 0, blocks ? RSR_MAX_K : 0, &plan->k) != RSRC_OK ||
        rsrc_scan_word(scan, "fold") != RSRC_OK ||
        rsrc_scan_name(scan, "fold", FOLD_NAMES, N_FOLDS, &fold) != RSRC_OK ||
        rsrc_scan_word(scan, "tile_rows") != RSRC_OK ||
        rsrc_scan_u32(scan, "tile_rows", 1, MAX_TILE_ROWS, &plan->tile_rows) != RSRC_OK)
        return RSRC_FAILED;
    uint32_t unit = blocks ? plan->k : 4;
    if (plan->tile_rows % unit != 0)
        return rsrc_scan_error(scan, "tile_rows is not a multiple of %" PRIu32, unit);
    plan->variant = (enum rsr_variant)variant;
    plan->packing = (enum rsr_packing)packing;
    plan->fold = (enum rsr_fold_kind)fold;
    if (rsrc_scan_word(scan, "token_tile") != RSRC_OK ||
        rsrc_scan_u32(scan, "token_tile", 1, MAX_TOKEN_TILE, &plan->token_tile) != RSRC_OK)
        return RSRC_FAILED;
    return rsrc_scan_line_end(scan);
}

static enum rsrc_status parse_numbers(struct rsrc_scan *scan, enum rsr_input input,
                                      struct rsr_regime_plan *plan) {
    if (rsrc_scan_word(scan, "us") != RSRC_OK ||
        rsrc_scan_double(scan, "us", &plan->predicted_us) != RSRC_OK ||
        (rsrc_scan_at_word(scan, "measured") &&
         (rsrc_scan_word(scan, "measured") != RSRC_OK ||
          rsrc_scan_double(scan, "measured", &plan->measured_us) != RSRC_OK)) ||
        rsrc_scan_word(scan, "weight_bytes") != RSRC_OK ||
        rsrc_scan_u64(scan, "weight_bytes", 0, UINT64_MAX, &plan->weight_bytes) != RSRC_OK)
        return RSRC_FAILED;
    if (input == RSR_INPUT_I8 &&
        (rsrc_scan_word(scan, "acc_bound") != RSRC_OK ||
         rsrc_scan_u64(scan, "acc_bound", 0, INT32_MAX, &plan->acc_bound) != RSRC_OK))
        return RSRC_FAILED;
    return rsrc_scan_line_end(scan);
}

static enum rsrc_status parse_regime(struct rsrc_scan *scan, enum rsr_input input,
                                     enum rsr_regime regime, struct rsr_regime_plan *plan) {
    if (rsrc_scan_word(scan, rsrc_regime_name(regime)) != RSRC_OK ||
        parse_shape(scan, plan) != RSRC_OK || parse_numbers(scan, input, plan) != RSRC_OK ||
        rsrc_scan_word(scan, "reason") != RSRC_OK ||
        rsrc_scan_string(scan, "the reason", &plan->reason) != RSRC_OK)
        return RSRC_FAILED;
    if (plan->reason[0] == '\0')
        return rsrc_scan_error(scan, "the reason is empty");
    return rsrc_scan_line_end(scan);
}

static enum rsrc_status parse_layer(struct rsrc_scan *scan, struct rsr_named_plan *out) {
    uint32_t input;
    if (rsrc_scan_word(scan, "layer") != RSRC_OK ||
        rsrc_scan_string(scan, "the layer's name", &out->layer_name) != RSRC_OK ||
        rsrc_scan_word(scan, "target") != RSRC_OK ||
        rsrc_scan_string(scan, "the target's name", &out->plan.target) != RSRC_OK ||
        rsrc_scan_word(scan, "input") != RSRC_OK ||
        rsrc_scan_name(scan, "input", INPUT_NAMES, N_INPUTS, &input) != RSRC_OK ||
        rsrc_scan_line_end(scan) != RSRC_OK)
        return RSRC_FAILED;
    out->plan.input = (enum rsr_input)input;
    for (int regime = 0; regime < RSR_REGIME_COUNT; regime++)
        if (parse_regime(scan, out->plan.input, (enum rsr_regime)regime,
                         &out->plan.regimes[regime]) != RSRC_OK)
            return RSRC_FAILED;
    return RSRC_OK;
}

/* Begins the text, and every layer that was printed by itself. */
static enum rsrc_status parse_header(struct rsrc_scan *scan) {
    if (rsrc_scan_word(scan, "plan") != RSRC_OK || rsrc_scan_word(scan, "3") != RSRC_OK)
        return RSRC_FAILED;
    return rsrc_scan_line_end(scan);
}

enum rsrc_status rsrc_parse_plans(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                  const char *file, const char *text, uint64_t size_bytes,
                                  struct rsr_named_plan **out, uint32_t *n_out) {
    struct rsrc_scan scan;
    rsrc_scan_init(&scan, diag, arena, file, "plan-text", text, size_bytes);
    if (parse_header(&scan) != RSRC_OK)
        return RSRC_FAILED;
    struct rsr_named_plan *plans = NULL;
    uint32_t n_plans = 0, capacity = 0;
    while (!rsrc_scan_at_end(&scan)) {
        if (rsrc_scan_at_word(&scan, "plan")) {
            if (parse_header(&scan) != RSRC_OK)
                return RSRC_FAILED;
            continue;
        }
        plans = rsrc_arena_grown(arena, plans, n_plans, &capacity, sizeof *plans);
        if (parse_layer(&scan, &plans[n_plans++]) != RSRC_OK)
            return RSRC_FAILED;
    }
    *out = plans;
    *n_out = n_plans;
    return RSRC_OK;
}
