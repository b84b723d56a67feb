/* probe.c - kernels that do one thing, timed. */
#include "measure/probe.h"

#include <string.h>

#include "lower/kernel_builder.h"
#include "lower/lower.h"
#include "measure/load_kernel.h"
#include "measure/measure.h"
#include "measure/time_kernel.h"
#include "rsr/segment.h"

/* As many sums as hide the latency of a product on two ports. Without a fused one more registers
 * are needed beside them. */
#define DOT_SUMS 12u
#define MADD_SUMS 8u
#define VECTOR_SUMS 8u
/* Sums that share a load, as tokens do in kernels: a load an instruction would measure the
 * cache. */
#define SHARED 4u
/* What is read again and again, in any first-level cache. */
#define ROUNDS 40u
#define REPEATS 256u
#define SAMPLES 60u
#define SAMPLE_NS 1000000u
/* No larger than a look-up's index may be. */
#define FILL 3

/* One operation list: what it does with the vector `x` of 16 to 64 bytes, for sum number `sum`. */
struct probe {
    struct rsrc_kb kb;
    struct rsr_kernel kernel;
    uint32_t bytes; /* of a vector */
    uint16_t sums[DOT_SUMS], indexes[DOT_SUMS];
    uint16_t operands[SHARED]; /* bytes */
    uint16_t words[SHARED];    /* the same, as I16 */
    uint16_t ones;             /* I16 */
};

struct form {
    const char *how;
    uint32_t n_sums;
    enum rsr_elem sum_elem, x_elem;
    uint32_t work_bits; /* work of one vector: its bits over this; 0: two instructions */
    void (*step)(struct probe *p, uint32_t sum, uint16_t x);
    uint64_t
        features; /* any of these, or 0: back ends make more than an instruction of it elsewhere */
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
    {"dot_u8s8", DOT_SUMS, RSR_ELEM_I32, RSR_ELEM_I8, 8, dot_u8s8, 0},
    {"dot_s8s8", DOT_SUMS, RSR_ELEM_I32, RSR_ELEM_I8, 8, dot_s8s8, 0},
    {"madd_u8s8, madd_i16, add", MADD_SUMS, RSR_ELEM_I32, RSR_ELEM_I8, 8, madd_u8s8, 0},
    {"madd_i16, add", MADD_SUMS, RSR_ELEM_I32, RSR_ELEM_I16, 16, madd_i16, 0}};

/* ---- look-ups and additions ------------------------------------------------------------------ */

static void add(struct probe *p, uint32_t sum, uint16_t x) {
    rsrc_kb_binary(&p->kb, RSR_KOP_ADD, p->sums[sum], p->sums[sum], x);
}

static void look_up_and_add(struct probe *p, uint32_t sum, uint16_t x) {
    add(p, sum, x);
    rsrc_kb_binary(&p->kb, RSR_KOP_SHUFFLE16, p->indexes[sum], p->indexes[sum], p->operands[0]);
}

static const struct form VECTORS[] = {
    {"add, shuffle16", VECTOR_SUMS, RSR_ELEM_U8, RSR_ELEM_U8, 0, look_up_and_add,
     RSR_CPU_MASK(SSSE3) | RSR_CPU_MASK(NEON)},
    {"add", VECTOR_SUMS, RSR_ELEM_U8, RSR_ELEM_U8, UINT32_MAX, add, 0}};

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
    }
    p->ones = rsrc_kb_const(kb, vector_reg(p, RSR_ELEM_I16, "ones", 0), 1);
    for (uint32_t i = 0; i < form->n_sums; i++) {
        p->sums[i] = rsrc_kb_const(kb, vector_reg(p, form->sum_elem, "sum", i), 0);
        p->indexes[i] = load_x(p, vector_reg(p, RSR_ELEM_U8, "index", i), RSR_NO_KREG, i);
    }
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
    for (uint32_t i = 0; i < form->n_sums; i++) {
        const int64_t to = (int64_t)i * p->bytes;
        rsrc_kb_store(kb, p->sums[i], rsrc_address_at(RSR_KBUF_Y, to));
        rsrc_kb_store(kb, p->indexes[i],
                      rsrc_address_at(RSR_KBUF_Y, to + (int64_t)form->n_sums * p->bytes));
    }
    rsrc_kb_finish(kb);
}

/* Nanoseconds a call: the least, as in time_kernel.c. */
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

/* The work of the form, 1e9 a second; 0: the back end has no instructions for it. */
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
    uint8_t *y = rsrc_arena_alloc(arena, (size_t)2 * form->n_sums * probe.bytes);
    memset(x, FILL, x_bytes);
    const double ns = time_probe(loaded.run, x, y);
    const double vectors = (double)REPEATS * ROUNDS * form->n_sums;
    *rate = vectors / ns *
            (form->work_bits == 0            ? 2.0
             : form->work_bits == UINT32_MAX ? 1.0
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
    rsrc_error(diag, "measure-probe", NULL, NULL, "the %s back end has no instructions to measure",
               input->backend->name);
    return RSRC_FAILED;
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

/* ---- additions of scatter -------------------------------------------------------------------- */

#define SCATTER_ROWS 256u
#define SCATTER_COLS 2048u
#define SCATTER_TILE 16u

static void make_matrix(struct rsrc_arena *arena, struct rsr_matrix *out) {
    int8_t *values = rsrc_arena_array(arena, SCATTER_ROWS, SCATTER_COLS);
    float *scale = RSRC_NEW(arena, float);
    *scale = 1;
    uint64_t state = 1;
    for (uint32_t i = 0; i < SCATTER_ROWS * SCATTER_COLS; i++)
        values[i] = (int8_t)((int)((rsrc_random(&state) >> 32) % 3) - 1);
    *out = (struct rsr_matrix){.rows = SCATTER_ROWS,
                               .cols = SCATTER_COLS,
                               .alphabet = RSR_TERNARY,
                               .values = values,
                               .scale = scale,
                               .n_scales = 1};
}

/* Microseconds of a call with everything in cache. */
static enum rsrc_status time_scatter(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                     const struct rsrc_probe_input *input,
                                     struct rsr_lowered *lowered, double *us) {
    const struct rsrc_load_input load = {.backend = input->backend,
                                         .kind = input->kind,
                                         .opt_level = 2,
                                         .toolchain = input->toolchain,
                                         .dir = input->dir,
                                         .name = "scatter"};
    struct rsrc_loaded_kernel loaded;
    const char *why = NULL;
    double emit_ms;
    if (!rsrc_load_kernel(diag, arena, &load, &lowered->kernel, &loaded, &emit_ms, &why)) {
        if (why != NULL)
            rsrc_error(diag, "measure-probe", NULL, NULL, "scatter cannot be measured: %s", why);
        return RSRC_FAILED;
    }
    const uint64_t copies = 3 * (lowered->codes.size_bytes + lowered->index.size_bytes) + 12288;
    const struct rsrc_time_input timing = {.run = loaded.run,
                                           .lowered = lowered,
                                           .n_scales = 1,
                                           .n_tokens = 1,
                                           .stream = rsrc_arena_alloc(arena, copies),
                                           .stream_bytes = copies};
    const bool timed = rsrc_time_kernel(&timing, us);
    rsrc_unload_kernel(&loaded);
    return timed ? RSRC_OK : RSRC_FAILED;
}

enum rsrc_status rsrc_probe_additions(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                      const struct rsrc_probe_input *input, double *gops,
                                      const char **how) {
    struct rsr_matrix matrix;
    struct rsr_stats stats;
    struct rsr_index index = {0};
    make_matrix(arena, &matrix);
    (void)rsrc_choose_k(arena, &matrix, &stats);
    rsrc_build_index(arena, &matrix, stats.k, &index);
    const struct rsr_regime_plan plan = {.variant = RSR_VARIANT_SCATTER,
                                         .k = stats.k,
                                         .fold = RSR_FOLD_TREE,
                                         .tile_rows = SCATTER_TILE / stats.k * stats.k,
                                         .token_tile = 1,
                                         .reason = "probe"};
    const struct rsrc_lower_input lower = {.symbol_stem = "probe",
                                           .title = "probe",
                                           .matrix = &matrix,
                                           .index = &index,
                                           .plan = &plan,
                                           .input = RSR_INPUT_I8,
                                           .spec = input->spec,
                                           .epilogue = RSR_EPILOGUE_RAW};
    struct rsr_lowered lowered;
    double us = 0;
    if (rsrc_lower_layer(diag, arena, &lower, &lowered) != RSRC_OK ||
        time_scatter(diag, arena, input, &lowered, &us) != RSRC_OK)
        return RSRC_FAILED;
    *gops = ((double)stats.n_members + (double)stats.n_fold_adds +
             RSR_SEGMENT_START_ADDS * (double)stats.n_segments) /
            us / 1e3;
    *how = rsrc_arena_printf(arena, "scatter k=%u", stats.k);
    return RSRC_OK;
}
