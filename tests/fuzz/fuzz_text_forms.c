/* fuzz_text_forms.c - libFuzzer: any bytes as the text form that their first word names: an index,
 * plans, steps or kernels. What parses must print and parse again to the same text. */
#include <string.h>

#include "fuzz_target.h"
#include "lower/lower.h"
#include "plan/plan.h"
#include "rsr/segment.h"
#include "schedule/schedule.h"

static void require(bool condition) {
    if (!condition)
        abort();
}

/* Parses; when accepted, appends the printed form to `out`. */
typedef bool text_form(struct fuzz_target *target, const char *text, size_t size_bytes,
                       struct rsrc_buffer *out);

static bool read_indexes(struct fuzz_target *target, const char *text, size_t size_bytes,
                         struct rsrc_buffer *out) {
    struct rsr_named_index *layers = NULL;
    uint32_t n_layers = 0;
    if (rsrc_parse_indexes(target->diag, &target->arena, "fuzz.rsr", text, size_bytes, &layers,
                           &n_layers) != RSRC_OK)
        return false;
    for (uint32_t i = 0; i < n_layers; i++) {
        rsrc_print_index(&layers[i].index, layers[i].layer_name, out);
        if ((uint64_t)layers[i].index.rows * layers[i].index.cols > 1u << 20)
            continue;
        struct rsr_matrix matrix;
        rsrc_rebuild_matrix(&target->arena, &layers[i].index, &matrix);
        require(rsrc_verify_index(target->diag, &layers[i].index, &matrix, "fuzz") == RSRC_OK);
    }
    return true;
}

/* Applies the plan to a layer that every kernel of AVX2 can compute: the plan is refused by line,
 * or taken unchanged. */
static void apply_plan(struct fuzz_target *target, const struct rsr_named_plan *given) {
    static const struct rsr_spec spec = {.name = "fuzz",
                                         .cpu_features = RSR_CPU_MASK(AVX2) | RSR_CPU_MASK(SSSE3),
                                         .vector_bits = 256,
                                         .cores = 2,
                                         .read_gbps = 10,
                                         .dot_gmacs = 100,
                                         .vector_gips = 5,
                                         .fold_gips = 10,
                                         .panel_gmacs = 50,
                                         .add_gops = 1};
    static const struct rsr_stats stats = {.rows = 70, .cols = 300, .k = 4, .max_row_nonzero = 200};
    const struct rsrc_plan_input input = {.layer_name = "fuzz",
                                          .alphabet = RSR_TERNARY,
                                          .input = given->plan.input,
                                          .stats = &stats,
                                          .fold_stats = &stats,
                                          .list = RSR_LIST_ROWS,
                                          .active = 0.1,
                                          .spec = &spec};
    struct rsr_plan taken;
    struct rsrc_diag *diag = rsrc_diag_hold(target->diag);
    const bool fits =
        rsrc_apply_plan(diag, &target->arena, &input, "fuzz.plan", given, &taken) == RSRC_OK;
    require(fits == (rsrc_diag_error_count(diag) == 0));
    rsrc_diag_close_held(diag, false);
    for (int r = 0; fits && r < RSR_REGIME_COUNT; r++)
        require(taken.regimes[r].tile_rows == given->plan.regimes[r].tile_rows &&
                taken.regimes[r].token_tile == given->plan.regimes[r].token_tile &&
                taken.regimes[r].machine == given->plan.regimes[r].machine &&
                taken.regimes[r].acc_bound <= 200 * 128);
}

static bool read_plans(struct fuzz_target *target, const char *text, size_t size_bytes,
                       struct rsrc_buffer *out) {
    struct rsr_named_plan *plans = NULL;
    uint32_t n_plans = 0;
    if (rsrc_parse_plans(target->diag, &target->arena, "fuzz.plan", text, size_bytes, &plans,
                         &n_plans) != RSRC_OK)
        return false;
    for (uint32_t i = 0; i < n_plans; i++)
        rsrc_print_plan(&plans[i], out);
    for (uint32_t i = 0; i < n_plans; i++)
        apply_plan(target, &plans[i]);
    return true;
}

static bool read_steps(struct fuzz_target *target, const char *text, size_t size_bytes,
                       struct rsrc_buffer *out) {
    struct rsr_parsed_step *steps = NULL;
    uint32_t n_steps = 0;
    if (rsrc_parse_steps(target->diag, &target->arena, "fuzz.step", text, size_bytes, &steps,
                         &n_steps) != RSRC_OK)
        return false;
    for (uint32_t i = 0; i < n_steps; i++)
        rsrc_print_parsed_step(&steps[i], out);
    return true;
}

static bool read_kernels(struct fuzz_target *target, const char *text, size_t size_bytes,
                         struct rsrc_buffer *out) {
    struct rsr_parsed_kernel *kernels = NULL;
    uint32_t n_kernels = 0;
    if (rsrc_parse_kernels(target->diag, &target->arena, "fuzz.kernel", text, size_bytes, &kernels,
                           &n_kernels) != RSRC_OK)
        return false;
    for (uint32_t i = 0; i < n_kernels; i++) {
        const struct rsr_spec spec = {.name = kernels[i].target};
        kernels[i].kernel.spec = &spec;
        rsrc_print_kernel(&kernels[i].kernel, out);
    }
    return true;
}

static const struct {
    const char *word;
    text_form *read;
} forms[] = {
    {"rsr", read_indexes}, {"plan", read_plans}, {"steps", read_steps}, {"kernels", read_kernels}};

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes) {
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        const size_t n_word = strlen(forms[i].word);
        if (size_bytes < n_word || memcmp(bytes, forms[i].word, n_word) != 0)
            continue;
        struct fuzz_target target;
        fuzz_target_begin(&target);
        struct rsrc_buffer first = {0}, second = {0};
        const bool accepted = forms[i].read(&target, (const char *)bytes, size_bytes, &first);
        if (accepted && first.size_bytes != 0) {
            require(forms[i].read(&target, first.data, first.size_bytes, &second));
            require(strcmp(first.data, second.data) == 0);
        }
        rsrc_buffer_free(&first);
        rsrc_buffer_free(&second);
        fuzz_target_end(&target, accepted);
    }
    return 0;
}
