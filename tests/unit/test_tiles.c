/* test_tiles.c - a plan's tile is the kernel's tile: for every kernel and target, lowering makes
 * the rows and tokens of the plan, and refuses a tile that the kernel cannot have. */
#include <string.h>

#include "base/round.h"
#include "lower/lower.h"
#include "plan/plan.h"
#include "rsr/segment.h"
#include "spec_files.h"

/* Rows around every unit: 4 for `dot`, 64 for lists, up to 640 for `lut`. */
static const uint32_t shapes[][2] = {{1, 1},    {3, 40},    {5, 300},  {63, 40},  {64, 256},
                                     {65, 40},  {130, 500}, {385, 40}, {640, 96}, {1000, 33},
                                     {1040, 8}, {4100, 8},  {9000, 5}};
#define N_SHAPES (sizeof shapes / sizeof *shapes)

/* Every kernel, and how to get a plan with it: the forced variant or, if a variant has several
 * kernels, the rates that let this one win. */
static const struct way {
    const char *name;
    enum rsr_kernel_id kernel;
    enum rsr_regime regime;
    enum rsr_input input;
    uint32_t k;
    enum rsr_list list;
    bool is_chosen;     /* by rates */
    uint32_t n_targets; /* the least number of targets that have it; 0: 6 */
    /* Counters of loops over tokens: the first one that the kernel has steps by the tokens computed
     * together. */
    const char *counters[3];
} ways[] = {
    {.name = "dot", .kernel = RSR_KERNEL_DOT, .counters = {"tile_token"}},
    {.name = "dot over the codes of lut",
     .kernel = RSR_KERNEL_DOT_PANEL,
     .regime = RSR_REGIME_PREFILL,
     .is_chosen = true,
     .counters = {"token_m", "tile_token"}},
    {.name = "dot over listed rows",
     .kernel = RSR_KERNEL_DOT_ROWS,
     .list = RSR_LIST_ROWS,
     .is_chosen = true,
     .counters = {"token"}},
    {.name = "dot over listed columns",
     .kernel = RSR_KERNEL_DOT_COLS,
     .list = RSR_LIST_COLS,
     .is_chosen = true,
     .counters = {"token"}},
    {.name = "lut", .kernel = RSR_KERNEL_LUT, .counters = {"token", "token_last"}},
    {.name = "lut of floats",
     .kernel = RSR_KERNEL_LUT_F32,
     .input = RSR_INPUT_F32,
     .counters = {"token", "token_last"}},
    {.name = "table over the codes of lut",
     .kernel = RSR_KERNEL_TABLE,
     .regime = RSR_REGIME_PREFILL,
     .counters = {"group"}},
    {.name = "table over the codes of dot",
     .kernel = RSR_KERNEL_TABLE_DOT,
     .regime = RSR_REGIME_PREFILL,
     .n_targets = 1, /* targets that look nothing up */
     .counters = {"group"}},
    {.name = "table of floats",
     .kernel = RSR_KERNEL_TABLE_F32,
     .regime = RSR_REGIME_PREFILL,
     .input = RSR_INPUT_F32,
     .counters = {"group"}},
    {.name = "fold k=4", .kernel = RSR_KERNEL_FOLD, .k = 4, .counters = {"first_token"}},
    {.name = "fold k=3 of floats",
     .kernel = RSR_KERNEL_FOLD,
     .input = RSR_INPUT_F32,
     .k = 3,
     .counters = {"first_token"}},
    {.name = "scatter k=3", .kernel = RSR_KERNEL_SCATTER, .k = 3, .counters = {"token"}},
    {.name = "scatter k=14", .kernel = RSR_KERNEL_SCATTER, .k = 14, .counters = {"token"}},
    {.name = "scatter k=5 of floats",
     .kernel = RSR_KERNEL_SCATTER,
     .input = RSR_INPUT_F32,
     .k = 5,
     .counters = {"token"}},
};
#define N_WAYS (sizeof ways / sizeof *ways)

static struct rsr_matrix make_matrix(struct fixture *f, const uint32_t shape[2]) {
    static const float one = 1;
    uint64_t state = 7;
    int8_t *values = rsrc_arena_array(&f->arena, shape[0], shape[1]);
    for (size_t i = 0; i < (size_t)shape[0] * shape[1]; i++)
        values[i] = (int8_t)(check_random(&state) % 3 - 1);
    return (struct rsr_matrix){.rows = shape[0],
                               .cols = shape[1],
                               .alphabet = RSR_TERNARY,
                               .values = values,
                               .scale = &one,
                               .n_scales = 1};
}

/* False: the target has no such kernel. */
static bool make_plan(struct fixture *f, const struct way *way, const struct rsr_matrix *matrix,
                      const struct rsr_spec *target, struct rsr_regime_plan *out) {
    struct rsr_spec spec = *target;
    struct rsr_stats stats;
    struct rsr_plan plan;
    struct rsrc_plan_options options = {.k = 0};
    rsrc_analyse_matrix(&f->arena, matrix, way->k != 0 ? way->k : 4, &stats);
    options.forced_variant[RSR_ROLE_Q] =
        way->is_chosen ? -1 : (int)rsrc_kernel_row(way->kernel)->variant;
    if (way->is_chosen) { /* everything is slow except looking up, lists and products of panels */
        spec.add_gops = spec.dot_gmacs = 1e-6;
        spec.vector_gips = way->list == RSR_LIST_NONE ? 1e3 : 1e-6;
        spec.panel_gmacs = spec.read_gbps = 1e6;
    }
    const struct rsrc_plan_input input = {.layer_name = "blk.q",
                                          .role = RSR_ROLE_Q,
                                          .alphabet = matrix->alphabet,
                                          .input = way->input,
                                          .stats = &stats,
                                          .fold_stats =
                                              way->kernel == RSR_KERNEL_FOLD ? &stats : NULL,
                                          .list = way->list,
                                          .active = 1e-9,
                                          .spec = &spec,
                                          .options = &options};
    if (rsrc_plan_layer(f->diag, &f->arena, &input, &plan) != RSRC_OK)
        return false;
    *out = plan.regimes[way->regime];
    return out->kernel == way->kernel;
}

static enum rsrc_status lower(struct fixture *f, const struct way *way,
                              const struct rsr_matrix *matrix, const struct rsr_spec *spec,
                              const struct rsr_regime_plan *plan, struct rsr_lowered *out) {
    struct rsr_index index;
    struct rsrc_lower_input input = {.symbol_stem = "l0_q",
                                     .title = "blk.q",
                                     .matrix = matrix,
                                     .plan = plan,
                                     .input = way->input,
                                     .spec = spec,
                                     .epilogue = RSR_EPILOGUE_RAW};
    if (plan->k != 0) {
        rsrc_build_index(&f->arena, matrix, plan->k, &index);
        input.index = &index;
    }
    return rsrc_lower_layer(f->diag, &f->arena, &input, out);
}

/* The step of the loop over tokens. */
static uint32_t made_token_tile(const struct way *way, const struct rsr_kernel *kernel) {
    for (uint32_t c = 0; c < 3 && way->counters[c] != NULL; c++)
        for (uint32_t i = 0; i < kernel->n_ops; i++)
            if (kernel->ops[i].kind == RSR_KOP_LOOP &&
                strcmp(kernel->regs[kernel->ops[i].dst].name, way->counters[c]) == 0)
                return (uint32_t)kernel->ops[i].imm;
    return 0;
}

static void check_made(struct fixture *f, const struct way *way, const struct rsr_matrix *matrix,
                       const struct rsr_spec *spec, const struct rsr_regime_plan *plan) {
    struct rsr_lowered lowered;
    memset(&lowered, 0, sizeof lowered);
    CHECK_INT(lower(f, way, matrix, spec, plan, &lowered), RSRC_OK);
    const uint32_t token_tile = made_token_tile(way, &lowered.kernel);
    const bool agrees = lowered.kernel.tile_rows == plan->tile_rows &&
                        token_tile == plan->token_tile &&
                        lowered.kernel.n_tiles == rsrc_divide_up(matrix->rows, plan->tile_rows);
    CHECK(agrees);
    if (!agrees)
        fprintf(stderr, "%s, %s, %u rows: planned %u rows x %u tokens, made %u tiles of %u x %u\n",
                spec->name, way->name, matrix->rows, plan->tile_rows, plan->token_tile,
                lowered.kernel.n_tiles, lowered.kernel.tile_rows, token_tile);
}

static void check_refused(struct fixture *f, const struct way *way, const struct rsr_matrix *matrix,
                          const struct rsr_spec *spec, const struct rsr_regime_plan *plan,
                          const char *slug) {
    struct rsr_lowered lowered;
    const size_t before = f->size_bytes;
    const bool refused = lower(f, way, matrix, spec, plan, &lowered) == RSRC_FAILED;
    CHECK(refused && strstr(f->text + before, slug) != NULL);
    if (!refused)
        fprintf(stderr, "%s, %s, %u rows: took %u rows x %u tokens\n", spec->name, way->name,
                matrix->rows, plan->tile_rows, plan->token_tile);
}

/* Tiles that no machine has: without rows, with more rows than the matrix, or with one token too
 * many. And machines that do not match the target, or are not its best. */
static void check_refusals(struct fixture *f, const struct way *way,
                           const struct rsr_matrix *matrix, const struct rsr_spec *spec,
                           const struct rsr_regime_plan *plan) {
    struct rsr_regime_plan other = *plan;
    other.token_tile = plan->token_tile + 1;
    check_refused(f, way, matrix, spec, &other, "[lower-tile]");
    other.token_tile = 0;
    check_refused(f, way, matrix, spec, &other, "[lower-tile]");
    other = *plan;
    other.tile_rows = 0;
    check_refused(f, way, matrix, spec, &other, "[lower-tile]");
    other.tile_rows = plan->tile_rows + 1;
    check_refused(f, way, matrix, spec, &other, "[lower-tile]");
    other.tile_rows = (matrix->rows / plan->tile_rows + 1) * plan->tile_rows + plan->tile_rows;
    check_refused(f, way, matrix, spec, &other, "[lower-tile]");
    const struct rsrc_machine_table *machines = rsrc_kernel_row(plan->kernel)->machines;
    for (uint32_t i = 0; i < machines->n; i++) {
        other = *plan;
        other.machine = rsrc_machine_at(machines, i);
        if (other.machine != plan->machine)
            check_refused(f, way, matrix, spec, &other, "[lower-machine]");
    }
}

/* Returns how many shapes the target plans with this kernel. */
static uint32_t check_way(struct fixture *f, const struct way *way, const struct rsr_spec *spec) {
    uint32_t n = 0;
    for (size_t s = 0; s < N_SHAPES; s++) {
        const struct rsr_matrix matrix = make_matrix(f, shapes[s]);
        struct rsr_regime_plan plan;
        if (!make_plan(f, way, &matrix, spec, &plan))
            continue;
        n++;
        check_made(f, way, &matrix, spec, &plan);
        check_refusals(f, way, &matrix, spec, &plan);
    }
    return n;
}

/* Lowering also makes tiles that the planner would not choose, if the machine has them. */
static void test_other_tiles(struct fixture *f, const struct rsr_spec *spec) {
    const struct rsr_matrix matrix = make_matrix(f, (const uint32_t[2]){130, 40});
    struct rsr_regime_plan plan;
    CHECK(make_plan(f, &ways[0], &matrix, spec, &plan));
    for (; plan.token_tile >= 1; plan.token_tile--)
        for (plan.tile_rows = 4; plan.tile_rows <= 132; plan.tile_rows += 32)
            check_made(f, &ways[0], &matrix, spec, &plan);
}

int main(void) {
    struct fixture f;
    struct rsr_spec specs[MAX_SPEC_FILES];
    setup(&f);
    const uint32_t n_specs = load_cpu_specs(&f, specs);
    for (size_t w = 0; w < N_WAYS; w++) {
        uint32_t n_targets = 0;
        for (uint32_t i = 0; i < n_specs; i++) {
            const uint32_t n = check_way(&f, &ways[w], &specs[i]);
            const enum rsr_variant variant = rsrc_kernel_row(ways[w].kernel)->variant;
            const bool everywhere =
                variant != RSR_VARIANT_LUT && variant != RSR_VARIANT_TABLE && !ways[w].is_chosen;
            CHECK(n == N_SHAPES || (n == 0 && !everywhere));
            if (n != N_SHAPES && n != 0)
                fprintf(stderr, "%s, %s: %u shapes\n", specs[i].name, ways[w].name, n);
            n_targets += n != 0;
        }
        const uint32_t least = ways[w].n_targets != 0 ? ways[w].n_targets : 6;
        CHECK(n_targets >= least);
        if (n_targets < least)
            fprintf(stderr, "%s: %u targets\n", ways[w].name, n_targets);
    }
    for (uint32_t i = 0; i < n_specs; i++)
        test_other_tiles(&f, &specs[i]);
    teardown(&f);
    return CHECK_EXIT();
}
