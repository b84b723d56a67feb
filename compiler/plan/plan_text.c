/* plan_text.c - the text form of plans: what --dump=plan prints, --from=plan reads and --plan
 * applies.
 *
 *   plan 5
 *   layer "model.layers.0.self_attn.q_proj" target "avx512" input i8 rows 640 cols 2560
 *     decode kernel lut machine table128x64 tile_rows 64 token_tile 1
 *       us 29.25 weight_bytes 409600 acc_bound 163840
 *       reason "lut: ..."
 *     prefill kernel dot_panel machine vnni64 tile_rows 64 token_tile 6
 *       us 4.125 weight_bytes 409600 acc_bound 163840
 *       reason "dot over the codes of lut: ..."
 *
 * A kernel that reads the segment index has "k 4" after its name; a kernel with both kinds of fold
 * has "fold tree" after that. "us 29.25" is predicted; if kernels were run, "measured 27.75"
 * follows it. A kernel over a list has "token_bytes 1024" after its weight_bytes: what a token
 * usually reads of them. Layers with float activations have no acc_bound: their sums do not
 * overflow.
 *
 * The text is untrusted: every number is in the range that lowering accepts.
 */
#include <assert.h>
#include <inttypes.h>

#include "base/text_scan.h"
#include "kernel/kernel_names.h"
#include "plan/plan.h"

#define MAX_TILE_ROWS (1u << 20)
#define MAX_TOKEN_TILE 128u
#define MAX_MACHINES 16u /* of a kernel */

static const char *const FOLD_NAMES[] = {[RSR_FOLD_DIRECT] = "direct", [RSR_FOLD_TREE] = "tree"};
#define N_FOLDS ((uint32_t)(sizeof FOLD_NAMES / sizeof FOLD_NAMES[0]))

static void print_regime(const struct rsr_regime_plan *plan, enum rsr_input input,
                         enum rsr_regime regime, struct rsrc_buffer *out) {
    const struct rsrc_kernel_row *row = rsrc_kernel_row(plan->kernel);
    rsrc_buffer_printf(out, "  %s kernel %s", rsrc_regime_name(regime), row->name);
    if ((row->traits & RSRC_HAS_K) != 0)
        rsrc_buffer_printf(out, " k %" PRIu32, plan->k);
    if ((row->traits & RSRC_HAS_FOLD) != 0)
        rsrc_buffer_printf(out, " fold %s", FOLD_NAMES[plan->fold]);
    rsrc_buffer_printf(out, " machine %s tile_rows %" PRIu32 " token_tile %" PRIu32 "\n    us ",
                       plan->machine->name, plan->tile_rows, plan->token_tile);
    rsrc_put_double(out, plan->predicted_us);
    if (plan->measured_us > 0) {
        rsrc_buffer_puts(out, " measured ");
        rsrc_put_double(out, plan->measured_us);
    }
    rsrc_buffer_printf(out, " weight_bytes %" PRIu64, plan->weight_bytes);
    if (row->names != RSR_LIST_NONE)
        rsrc_buffer_printf(out, " token_bytes %" PRIu64, plan->token_bytes);
    if (input == RSR_INPUT_I8)
        rsrc_buffer_printf(out, " acc_bound %" PRIu64, plan->acc_bound);
    rsrc_buffer_puts(out, "\n    reason ");
    rsrc_buffer_put_c_string(out, plan->reason);
    rsrc_buffer_puts(out, "\n");
}

void rsrc_print_plan(const struct rsr_named_plan *named, struct rsrc_buffer *out) {
    const struct rsr_plan *plan = &named->plan;
    rsrc_buffer_puts(out, "plan 5\nlayer ");
    rsrc_buffer_put_c_string(out, named->layer_name);
    rsrc_buffer_puts(out, " target ");
    rsrc_buffer_put_c_string(out, plan->target);
    rsrc_buffer_printf(out, " input %s rows %" PRIu32 " cols %" PRIu32 "\n",
                       rsrc_kinput_names[plan->input], named->rows, named->cols);
    for (int regime = 0; regime < RSR_REGIME_COUNT; regime++)
        print_regime(&plan->regimes[regime], plan->input, (enum rsr_regime)regime, out);
}

static enum rsrc_status parse_kernel(struct rsrc_scan *scan, enum rsr_input input,
                                     struct rsr_regime_plan *plan) {
    const char *names[RSR_KERNEL_COUNT];
    uint32_t kernel;
    for (uint32_t i = 0; i < RSR_KERNEL_COUNT; i++)
        names[i] = rsrc_kernel_row((enum rsr_kernel_id)i)->name;
    if (rsrc_scan_word(scan, "kernel") != RSRC_OK ||
        rsrc_scan_name(scan, "kernel", names, RSR_KERNEL_COUNT, &kernel) != RSRC_OK)
        return RSRC_FAILED;
    plan->kernel = (enum rsr_kernel_id)kernel;
    return (rsrc_kernel_row(plan->kernel)->inputs & 1u << input) != 0
               ? RSRC_OK
               : rsrc_scan_error(scan, "%s has no %s activations", names[kernel],
                                 rsrc_kinput_names[input]);
}

static enum rsrc_status parse_machine(struct rsrc_scan *scan, struct rsr_regime_plan *plan) {
    const struct rsrc_machine_table *machines = rsrc_kernel_row(plan->kernel)->machines;
    const char *names[MAX_MACHINES];
    uint32_t i;
    assert(machines->n <= MAX_MACHINES);
    for (i = 0; i < machines->n; i++)
        names[i] = rsrc_machine_at(machines, i)->name;
    if (rsrc_scan_word(scan, "machine") != RSRC_OK ||
        rsrc_scan_name(scan, "machine", names, machines->n, &i) != RSRC_OK)
        return RSRC_FAILED;
    plan->machine = rsrc_machine_at(machines, i);
    return RSRC_OK;
}

static enum rsrc_status parse_shape(struct rsrc_scan *scan, enum rsr_input input,
                                    struct rsr_regime_plan *plan) {
    if (parse_kernel(scan, input, plan) != RSRC_OK)
        return RSRC_FAILED;
    const uint32_t traits = rsrc_kernel_row(plan->kernel)->traits;
    uint32_t fold = 0;
    if (((traits & RSRC_HAS_K) != 0 &&
         (rsrc_scan_word(scan, "k") != RSRC_OK ||
          rsrc_scan_u32(scan, "k", 1, RSR_MAX_K, &plan->k) != RSRC_OK)) ||
        ((traits & RSRC_HAS_FOLD) != 0 &&
         (rsrc_scan_word(scan, "fold") != RSRC_OK ||
          rsrc_scan_name(scan, "fold", FOLD_NAMES, N_FOLDS, &fold) != RSRC_OK)) ||
        parse_machine(scan, plan) != RSRC_OK || rsrc_scan_word(scan, "tile_rows") != RSRC_OK ||
        rsrc_scan_u32(scan, "tile_rows", 1, MAX_TILE_ROWS, &plan->tile_rows) != RSRC_OK)
        return RSRC_FAILED;
    plan->fold = (enum rsr_fold_kind)fold;
    const uint32_t unit = plan->k != 0 ? plan->k : 4;
    if (plan->tile_rows % unit != 0)
        return rsrc_scan_error(scan, "tile_rows is not a multiple of %" PRIu32, unit);
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
    plan->token_bytes = plan->weight_bytes;
    if (rsrc_scan_at_word(scan, "token_bytes") &&
        (rsrc_scan_word(scan, "token_bytes") != RSRC_OK ||
         rsrc_scan_u64(scan, "token_bytes", 0, plan->weight_bytes, &plan->token_bytes) != RSRC_OK))
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
        parse_shape(scan, input, plan) != RSRC_OK || parse_numbers(scan, input, plan) != RSRC_OK ||
        rsrc_scan_word(scan, "reason") != RSRC_OK ||
        rsrc_scan_string(scan, "the reason", &plan->reason) != RSRC_OK)
        return RSRC_FAILED;
    if (plan->reason[0] == '\0')
        return rsrc_scan_error(scan, "the reason is empty");
    return rsrc_scan_line_end(scan);
}

static enum rsrc_status parse_layer(struct rsrc_scan *scan, void *record) {
    struct rsr_named_plan *out = record;
    uint32_t input;
    out->line = scan->line;
    if (rsrc_scan_word(scan, "layer") != RSRC_OK ||
        rsrc_scan_string(scan, "the layer's name", &out->layer_name) != RSRC_OK ||
        rsrc_scan_word(scan, "target") != RSRC_OK ||
        rsrc_scan_string(scan, "the target's name", &out->plan.target) != RSRC_OK ||
        rsrc_scan_word(scan, "input") != RSRC_OK ||
        rsrc_scan_name(scan, "input", rsrc_kinput_names, RSRC_N_INPUTS, &input) != RSRC_OK ||
        rsrc_scan_word(scan, "rows") != RSRC_OK ||
        rsrc_scan_u32(scan, "rows", 1, UINT32_MAX, &out->rows) != RSRC_OK ||
        rsrc_scan_word(scan, "cols") != RSRC_OK ||
        rsrc_scan_u32(scan, "cols", 1, UINT32_MAX, &out->cols) != RSRC_OK ||
        rsrc_scan_line_end(scan) != RSRC_OK)
        return RSRC_FAILED;
    out->plan.input = (enum rsr_input)input;
    for (int regime = 0; regime < RSR_REGIME_COUNT; regime++) {
        out->regime_lines[regime] = scan->line;
        if (parse_regime(scan, out->plan.input, (enum rsr_regime)regime,
                         &out->plan.regimes[regime]) != RSRC_OK)
            return RSRC_FAILED;
    }
    return RSRC_OK;
}

enum rsrc_status rsrc_parse_plans(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                  const char *file, const char *text, uint64_t size_bytes,
                                  struct rsr_named_plan **out, uint32_t *n_out) {
    static const struct rsrc_text_form FORM = {"plan-text", "plan", "5", sizeof **out, parse_layer};
    void *records;
    if (rsrc_scan_text(diag, arena, file, text, size_bytes, &FORM, &records, n_out) != RSRC_OK)
        return RSRC_FAILED;
    *out = records;
    return RSRC_OK;
}
