/* probe.c - times kernels that do only one thing. */
#include "measure/probe.h"

#include <string.h>

#include "kernel/kernel_builder.h"
#include "lower/lower.h"
#include "measure/load_kernel.h"
#include "measure/measure.h"
#include "measure/time_kernel.h"
#include "plan/plan.h"
#include "rsr/segment.h"

/* This many sums hide the latency of a product on two ports. Without a fused multiply-add, a
 * product needs more registers besides the sums. */
#define DOT_SUMS 12u
#define MADD_SUMS 8u
#define VECTOR_SUMS 8u
/* Sums that share a load, as tokens do in kernels: with a load for every instruction, the probe
 * would measure the cache. */
#define SHARED 4u
/* Bytes that are read again and again; they fit any first-level cache. */
#define ROUNDS 40u
#define REPEATS 256u
#define SAMPLES 60u
#define SAMPLE_NS 1000000u
/* Every byte is a valid index of a look-up. */
#define FILL 3

/* The operation list of one probe, while it is built. A step of it takes the vector `x` of 16 to 64
 * bytes and changes sum number `sum`. */
struct probe {
    struct rsrc_kb kb;
    struct rsr_kernel kernel;
    uint32_t bytes; /* of a vector */
    uint16_t sums[DOT_SUMS];
    uint16_t indexes[SHARED];  /* bytes: all fit 16 registers */
    uint16_t operands[SHARED]; /* bytes */
    uint16_t words[SHARED];    /* those bytes, as I16 */
    uint16_t ones;             /* I16 */
};

struct form {
    const char *how;
    uint32_t n_sums;
    enum rsr_elem sum_elem, x_elem;
    uint32_t work_bits;      /* work of one vector: its bits over this; 0: */
    uint32_t n_instructions; /* of one vector */
    void (*step)(struct probe *p, uint32_t sum, uint16_t x);
    uint64_t
        features; /* one of these features is needed, 0: none; without them back ends need several
                     instructions for the operation */
};

static uint16_t vector_reg(struct probe *p, enum rsr_elem elem, const char *name, uint32_t number) {
    static const uint32_t BYTES[RSR_ELEM_COUNT] = {
        [RSR_ELEM_I8] = 1,  [RSR_ELEM_U8] = 1,  [RSR_ELEM_I16] = 2,
        [RSR_ELEM_U16] = 2, [RSR_ELEM_I32] = 4, [RSR_ELEM_U32] = 4};
    return rsrc_kb_reg(&p->kb, elem, p->bytes / BYTES[elem], "%s%u", name, number);
}

/* ---- products -------------------------------------------------------------------------------- */

static void dot_u8s8(struct probe *p, uint32_t sum, uint16_t x) {
    rsrc_kb_ternary(&p->kb, RSR_KOP_DOT_U8S8, p->sums[sum], p->sums[sum], p->operands[sum % SHARED],
                    x);
}

static void dot_s8s8(struct probe *p, uint32_t sum, uint16_t x) {
    rsrc_kb_ternary(&p->kb, RSR_KOP_DOT_S8S8, p->sums[sum], p->sums[sum], p->operands[sum % SHARED],
                    x);
}

static void madd_u8s8(struct probe *p, uint32_t sum, uint16_t x) {
    const uint16_t pairs =
        rsrc_kb_binary(&p->kb, RSR_KOP_MADD_U8S8, vector_reg(p, RSR_ELEM_I16, "pairs", sum),
                       p->operands[sum % SHARED], x);
    const uint16_t fours = rsrc_kb_binary(
        &p->kb, RSR_KOP_MADD_I16, vector_reg(p, RSR_ELEM_I32, "fours", sum), pairs, p->ones);
    rsrc_kb_binary(&p->kb, RSR_KOP_ADD, p->sums[sum], p->sums[sum], fours);
}

static void madd_i16(struct probe *p, uint32_t sum, uint16_t x) {
    const uint16_t pairs =
        rsrc_kb_binary(&p->kb, RSR_KOP_MADD_I16, vector_reg(p, RSR_ELEM_I32, "pairs", sum), x,
                       p->words[sum % SHARED]);
    rsrc_kb_binary(&p->kb, RSR_KOP_ADD, p->sums[sum], p->sums[sum], pairs);
}

static const struct form DOTS[] = {
    {"dot_u8s8", DOT_SUMS, RSR_ELEM_I32, RSR_ELEM_I8, 8, 0, dot_u8s8, 0},
    {"dot_s8s8", DOT_SUMS, RSR_ELEM_I32, RSR_ELEM_I8, 8, 0, dot_s8s8, 0},
    {"madd_u8s8, madd_i16, add", MADD_SUMS, RSR_ELEM_I32, RSR_ELEM_I8, 8, 0, madd_u8s8, 0},
    {"madd_i16, add", MADD_SUMS, RSR_ELEM_I32, RSR_ELEM_I16, 16, 0, madd_i16, 0}};

/* ---- look-ups and additions ------------------------------------------------------------------ */

static void add(struct probe *p, uint32_t sum, uint16_t x) {
    rsrc_kb_binary(&p->kb, RSR_KOP_ADD, p->sums[sum], p->sums[sum], x);
}

/* A fifth to a third of the instructions of `lut` are shuffles, for which processors have fewer
 * units. */
static void look_up_and_add(struct probe *p, uint32_t sum, uint16_t x) {
    add(p, sum, x);
    rsrc_kb_binary(&p->kb, RSR_KOP_XOR, p->sums[sum], p->sums[sum], p->operands[1]);
    add(p, sum, x);
    const uint16_t index = p->indexes[sum % SHARED];
    rsrc_kb_binary(&p->kb, RSR_KOP_SHUFFLE16, index, index, p->operands[0]);
}

static const struct form VECTORS[] = {{"add, xor, add, shuffle16", VECTOR_SUMS, RSR_ELEM_U8,
                                       RSR_ELEM_U8, 0, 4, look_up_and_add,
                                       RSR_CPU_MASK(SSSE3) | RSR_CPU_MASK(NEON)},
                                      {"add", VECTOR_SUMS, RSR_ELEM_U8, RSR_ELEM_U8, 0, 1, add, 0}};

/* ---- running --------------------------------------------------------------------------------- */

static uint16_t load_x(struct probe *p, uint16_t reg, uint16_t at, uint32_t number) {
    struct rsrc_address address = rsrc_address_at(RSR_KBUF_X, (int64_t)number * (int64_t)p->bytes);
    if (at != RSR_NO_KREG)
        address = rsrc_address_plus(address, at, 1);
    return rsrc_kb_load(&p->kb, reg, address);
}

static void build(struct probe *p, const struct form *form, struct rsrc_arena *arena,
                  const struct rsr_spec *spec) {
    *p = (struct probe){.bytes = spec->vector_bits / 8};
    p->kernel = (struct rsr_kernel){.symbol = "rsr_probe",
                                    .key = "probe",
                                    .title = "probe",
                                    .reason = form->how,
                                    .spec = spec,
                                    .rows = 1,
                                    .cols = 1,
                                    .computed_rows = 1,
                                    .tile_rows = 1,
                                    .n_tiles = 1};
    struct rsrc_kb *kb = &p->kb;
    rsrc_kb_init(kb, arena, &p->kernel);
    const uint16_t zero = rsrc_kb_index_const(kb, 0, "zero");
    const uint16_t n_repeats = rsrc_kb_index_const(kb, REPEATS, "n_repeats");
    const uint64_t round_bytes = (uint64_t)form->n_sums / SHARED * p->bytes;
    const uint16_t end = rsrc_kb_index_const(kb, ROUNDS * round_bytes, "end");
    for (uint32_t i = 0; i < SHARED; i++) {
        p->operands[i] = load_x(p, vector_reg(p, RSR_ELEM_U8, "operand", i), RSR_NO_KREG, i);
        p->words[i] = load_x(p, vector_reg(p, RSR_ELEM_I16, "word", i), RSR_NO_KREG, i);
        p->indexes[i] = load_x(p, vector_reg(p, RSR_ELEM_U8, "index", i), RSR_NO_KREG, i);
    }
    p->ones = rsrc_kb_const(kb, vector_reg(p, RSR_ELEM_I16, "ones", 0), 1);
    for (uint32_t i = 0; i < form->n_sums; i++)
        p->sums[i] = rsrc_kb_const(kb, vector_reg(p, form->sum_elem, "sum", i), 0);
    rsrc_kb_loop(kb, rsrc_kb_index_reg(kb, "repeat"), zero, n_repeats, 1);
    const uint16_t at = rsrc_kb_index_reg(kb, "at");
    rsrc_kb_loop(kb, at, zero, end, (int64_t)round_bytes);
    for (uint32_t i = 0; i < form->n_sums; i += SHARED) {
        const uint16_t x = load_x(p, vector_reg(p, form->x_elem, "x", i), at, i / SHARED);
        for (uint32_t j = 0; j < SHARED; j++)
            form->step(p, i + j, x);
    }
    rsrc_kb_end(kb);
    rsrc_kb_end(kb);
    for (uint32_t i = 0; i < form->n_sums + SHARED; i++)
        rsrc_kb_store(kb, i < form->n_sums ? p->sums[i] : p->indexes[i - form->n_sums],
                      rsrc_address_at(RSR_KBUF_Y, (int64_t)i * p->bytes));
    rsrc_kb_finish(kb);
}

/* Nanoseconds per call: the least of the samples, as in time_kernel.c. */
static double time_probe(rsr_kernel_fn *run, uint8_t *x, uint8_t *y) {
    const struct rsr_weights weights = {.n_scales = 1};
    const struct rsr_worker worker = {.tile_end = 1, .count = 1};
    double least_ns = 0;
    uint32_t n_calls = 1;
    for (uint32_t i = 0; i < SAMPLES; i++) {
        const uint64_t start = rsrc_now_ns();
        for (uint32_t c = 0; c < n_calls; c++)
            run(x, 0, y, 0, 1, &weights, &worker, y);
        const double ns = (double)(rsrc_now_ns() - start) / n_calls;
        n_calls = 1 + (uint32_t)(SAMPLE_NS / (ns + 1));
        if (i == 0 || ns < least_ns)
            least_ns = ns;
    }
    return least_ns;
}

/* Rate of the form's work, 1e9 per second; 0: the back end has no instructions for it. */
static enum rsrc_status run_form(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                 const struct rsrc_probe_input *input, const struct form *form,
                                 const char *name, double *rate) {
    struct probe probe;
    build(&probe, form, arena, input->spec);
    if (rsrc_verify_kernel(diag, &probe.kernel) != RSRC_OK)
        return RSRC_FAILED;
    const struct rsrc_load_input load = {.backend = input->backend,
                                         .kind = input->kind,
                                         .opt_level = 2,
                                         .toolchain = input->toolchain,
                                         .dir = input->dir,
                                         .name = name};
    struct rsrc_loaded_kernel loaded;
    const char *why = NULL;
    double emit_ms;
    *rate = 0;
    if (!rsrc_load_kernel(diag, arena, &load, &probe.kernel, &loaded, &emit_ms, &why))
        return why != NULL ? RSRC_OK : RSRC_FAILED;
    const size_t x_bytes = (size_t)ROUNDS * form->n_sums * probe.bytes;
    uint8_t *x = rsrc_arena_alloc(arena, x_bytes);
    uint8_t *y = rsrc_arena_alloc(arena, (size_t)(form->n_sums + SHARED) * probe.bytes);
    memset(x, FILL, x_bytes);
    const double ns = time_probe(loaded.run, x, y);
    const double vectors = (double)REPEATS * ROUNDS * form->n_sums;
    *rate = vectors / ns *
            (form->work_bits == 0 ? (double)form->n_instructions
                                  : (double)input->spec->vector_bits / form->work_bits);
    rsrc_unload_kernel(&loaded);
    return RSRC_OK;
}

static enum rsrc_status run_forms(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                  const struct rsrc_probe_input *input, const struct form *forms,
                                  uint32_t n_forms, const char *name, bool first_only, double *rate,
                                  const char **how) {
    double best = 0;
    for (uint32_t i = 0; i < n_forms && (best == 0 || !first_only); i++) {
        double found;
        if (forms[i].features != 0 && (forms[i].features & input->spec->cpu_features) == 0)
            continue;
        const char *file = rsrc_arena_printf(arena, "%s%u", name, i);
        if (run_form(diag, arena, input, &forms[i], file, &found) != RSRC_OK)
            return RSRC_FAILED;
        if (found > best) {
            best = found;
            *how = forms[i].how;
        }
    }
    *rate = best;
    if (best > 0)
        return RSRC_OK;
    return rsrc_refuse(diag, "measure-probe", NULL, NULL,
                       "the %s back end has no instructions to measure", input->backend->name);
}

enum rsrc_status rsrc_probe_dot(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                const struct rsrc_probe_input *input, double *gmacs,
                                const char **how) {
    return run_forms(diag, arena, input, DOTS, sizeof(DOTS) / sizeof(DOTS[0]), "dot", false, gmacs,
                     how);
}

enum rsrc_status rsrc_probe_vector(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                   const struct rsrc_probe_input *input, double *gips,
                                   const char **how) {
    return run_forms(diag, arena, input, VECTORS, sizeof(VECTORS) / sizeof(VECTORS[0]), "vector",
                     true, gips, how);
}

/* ---- whole kernels --------------------------------------------------------------------------- */

static void make_matrix(struct rsrc_arena *arena, uint32_t rows, uint32_t cols,
                        struct rsr_matrix *out) {
    int8_t *values = rsrc_arena_array(arena, rows, cols);
    float *scale = RSRC_NEW(arena, float);
    *scale = 1;
    uint64_t state = 1;
    for (uint32_t i = 0; i < rows * cols; i++)
        values[i] = (int8_t)((int)((rsrc_random(&state) >> 32) % 3) - 1);
    *out = (struct rsr_matrix){.rows = rows,
                               .cols = cols,
                               .alphabet = RSR_TERNARY,
                               .values = values,
                               .scale = scale,
                               .n_scales = 1};
}

/* Microseconds of a call of the planned kernel, with all data in cache. */
static enum rsrc_status time_plan(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                  const struct rsrc_probe_input *input,
                                  const struct rsr_matrix *matrix,
                                  const struct rsr_regime_plan *plan, uint32_t n_tokens,
                                  double *us) {
    struct rsr_index index = {0};
    if (plan->k != 0)
        rsrc_build_index(arena, matrix, plan->k, &index);
    const struct rsrc_lower_input lower = {.symbol_stem = "probe",
                                           .title = "probe",
                                           .matrix = matrix,
                                           .index = plan->k != 0 ? &index : NULL,
                                           .plan = plan,
                                           .input = RSR_INPUT_I8,
                                           .spec = input->spec,
                                           .epilogue = RSR_EPILOGUE_RAW};
    struct rsr_lowered lowered;
    if (rsrc_lower_layer(diag, arena, &lower, &lowered) != RSRC_OK)
        return RSRC_FAILED;
    const struct rsrc_load_input load = {.backend = input->backend,
                                         .kind = input->kind,
                                         .opt_level = 2,
                                         .toolchain = input->toolchain,
                                         .dir = input->dir,
                                         .name = rsrc_variant_of(plan)};
    struct rsrc_loaded_kernel loaded;
    const char *why = NULL;
    double emit_ms;
    if (!rsrc_load_kernel(diag, arena, &load, &lowered.kernel, &loaded, &emit_ms, &why)) {
        if (why != NULL)
            return rsrc_refuse(diag, "measure-probe", NULL, NULL, "%s cannot be measured: %s",
                               load.name, why);
    }
    const uint64_t copies = 3 * (lowered.codes.size_bytes + lowered.index.size_bytes) + 12288;
    const struct rsrc_time_input timing = {.run = loaded.run,
                                           .lowered = &lowered,
                                           .n_scales = 1,
                                           .n_tokens = n_tokens,
                                           .stream = rsrc_arena_alloc(arena, copies),
                                           .stream_bytes = copies};
    const bool timed = rsrc_time_kernel(&timing, us);
    rsrc_unload_kernel(&loaded);
    return timed ? RSRC_OK : RSRC_FAILED;
}

/* ---- kernels of prefill ---------------------------------------------------------------------- */

#define PREFILL_ROWS 256u
#define PREFILL_COLS 1024u
/* Rates that force a plan: of kernels that must not be chosen, of the kernel that must decode, and
 * of the kernel to be measured. The last is so low that the prediction consists of its time
 * alone. */
#define NO_RATE 1e-9
#define DECODE_RATE 1e-6
#define UNIT_RATE 1e-3

/* Makes a target whose plan for prefill is the kernel to be measured. */
static struct rsr_spec slow_target(const struct rsr_spec *spec) {
    struct rsr_spec slow = *spec;
    slow.dot_gmacs = slow.vector_gips = slow.add_gops = slow.fold_gips = slow.panel_gmacs = NO_RATE;
    return slow;
}

/* The rate with which the plan would predict the kernel's measured time; none if the plan has
 * another kernel. */
static enum rsrc_status probe_prefill(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                      const struct rsrc_probe_input *input,
                                      const struct rsr_spec *slow, enum rsr_kernel_id kernel,
                                      double *rate, const char **how) {
    struct rsr_matrix matrix;
    struct rsr_stats stats, fold_stats;
    make_matrix(arena, PREFILL_ROWS, PREFILL_COLS, &matrix);
    (void)rsrc_choose_k(arena, &matrix, &stats);
    rsrc_analyse_matrix(arena, &matrix, RSRC_FOLD_K, &fold_stats);
    struct rsrc_plan_options options = {0};
    for (uint32_t role = 0; role <= RSR_ROLE_COUNT; role++)
        options.forced_variant[role] = -1;
    const struct rsrc_plan_input planned = {.layer_name = "probe",
                                            .role = RSR_ROLE_COUNT,
                                            .alphabet = RSR_TERNARY,
                                            .input = RSR_INPUT_I8,
                                            .stats = &stats,
                                            .fold_stats = &fold_stats,
                                            .fold_budget = UINT64_MAX,
                                            .spec = slow,
                                            .options = &options};
    struct rsr_plan plan;
    double us;
    if (rsrc_plan_layer(diag, arena, &planned, &plan) != RSRC_OK)
        return RSRC_FAILED;
    const struct rsr_regime_plan *prefill = &plan.regimes[RSR_REGIME_PREFILL];
    if (prefill->kernel != kernel)
        return RSRC_OK;
    if (time_plan(diag, arena, input, &matrix, prefill, RSRC_PREFILL_TOKENS, &us) != RSRC_OK)
        return RSRC_FAILED;
    *rate = UNIT_RATE * RSRC_PREFILL_TOKENS * prefill->predicted_us / us;
    *how = rsrc_arena_printf(arena, "%s%s, %u tokens", rsrc_kernel_row(kernel)->words,
                             prefill->k != 0 ? " k=4" : "", RSRC_PREFILL_TOKENS);
    return RSRC_OK;
}

enum rsrc_status rsrc_probe_fold(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                 const struct rsrc_probe_input *input, double *gips,
                                 const char **how) {
    struct rsr_spec slow = slow_target(input->spec);
    slow.fold_gips = UNIT_RATE;
    return probe_prefill(diag, arena, input, &slow, RSR_KERNEL_FOLD, gips, how);
}

enum rsrc_status rsrc_probe_panel(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                  const struct rsrc_probe_input *input, double *gmacs,
                                  const char **how) {
    struct rsr_spec slow = slow_target(input->spec);
    slow.vector_gips = DECODE_RATE;
    slow.panel_gmacs = UNIT_RATE;
    return probe_prefill(diag, arena, input, &slow, RSR_KERNEL_DOT_PANEL, gmacs, how);
}

/* ---- additions of scatter -------------------------------------------------------------------- */

#define SCATTER_ROWS 256u
#define SCATTER_COLS 2048u
#define SCATTER_TILE 16u

enum rsrc_status rsrc_probe_additions(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                      const struct rsrc_probe_input *input, double *gops,
                                      const char **how) {
    struct rsr_matrix matrix;
    struct rsr_stats stats;
    make_matrix(arena, SCATTER_ROWS, SCATTER_COLS, &matrix);
    (void)rsrc_choose_k(arena, &matrix, &stats);
    struct rsr_regime_plan plan = {.kernel = RSR_KERNEL_SCATTER,
                                   .k = stats.k,
                                   .fold = RSR_FOLD_TREE,
                                   .tile_rows = SCATTER_TILE / stats.k * stats.k,
                                   .token_tile = 1,
                                   .reason = "probe"};
    const struct rsrc_planned_layer layer = {input->spec, RSR_INPUT_I8, SCATTER_ROWS, SCATTER_COLS,
                                             0};
    (void)rsrc_fit_plan(&layer, &plan);
    double us = 0;
    if (time_plan(diag, arena, input, &matrix, &plan, 1, &us) != RSRC_OK)
        return RSRC_FAILED;
    *gops = ((double)stats.n_members + (double)stats.n_fold_adds +
             RSR_SEGMENT_START_ADDS * (double)stats.n_segments) /
            us / 1e3;
    *how = rsrc_arena_printf(arena, "scatter k=%u", stats.k);
    return RSRC_OK;
}
