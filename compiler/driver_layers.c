/* driver_layers.c - the passes of one layer, and the pool that runs layers in parallel.
 *
 * A worker takes the next item, runs its passes in a private arena, then waits for its turn to emit:
 * results and diagnostics are written in item order whatever finished first, and what follows a failed
 * layer is dropped, so all output is the same at any -j. No more layers are in memory than there are
 * workers.
 */
#include "driver.h"

#include <string.h>

#include "base/spawn.h"
#include "emit/asm/emit_asm.h"
#include "lower/lower.h"
#include "model/dead_channels.h"
#include "model/graph.h"
#include "model/ternary.h"
#include "rsr/reduce.h"
#include "rsr/segment.h"

/* ---- passes of one layer ---------------------------------------------------------------------------- */

enum rsrc_status rsrc_layer_decode(struct rsrc_layer_state *state) {
    const struct rsrc_item *item = state->item;
    struct rsrc_diag *diag = state->diag;
    if (item->layer != NULL)
        return rsrc_decode_layer(diag, &state->arena, item->layer, &state->matrix);
    if (item->tensor != NULL)
        return rsrc_decode_tensor(diag, &state->arena, item->tensor, &state->matrix);
    rsrc_rebuild_matrix(&state->arena, item->index, &state->matrix);
    return RSRC_OK;
}

/* The segment index with blocks of k rows: that of the statistics, or of fold's. */
static const struct rsr_index *index_at(struct rsrc_layer_state *state, uint32_t k) {
    struct rsr_index *index = k == state->stats.k ? &state->index : &state->fold_index;
    if (index->k != k)
        rsrc_build_index(&state->arena, &state->reduced, k, index);
    return index;
}

static void remark_reduction(struct rsrc_layer_state *state) {
    const struct rsr_reduction *reduction = &state->reduction;
    const char *text = rsrc_reduction_text(&state->arena, reduction);
    if (text == NULL)
        return;
    const struct rsrc_place place = {.tensor = state->item->name};
    const bool used = reduction->row_sources != NULL || reduction->kept_cols != NULL;
    rsrc_diag_emit(state->diag, used ? RSRC_REMARK : RSRC_REMARK_MISSED, "reduce", &place, NULL,
                   "%s", text);
}

enum rsrc_status rsrc_layer_reduce(struct rsrc_layer_state *state) {
    struct rsrc_compilation *c = state->compilation;
    if (c->options->no_reduce) {
        rsrc_keep_matrix(&state->matrix, &state->reduced, &state->reduction);
        return RSRC_OK;
    }
    if (state->item->layer != NULL && c->dead_channels != NULL)
        rsrc_find_dead(c->dead_channels, &state->arena, state->item->layer, &state->dead);
    rsrc_reduce_matrix(&state->arena, &state->matrix, &state->dead, &state->reduced,
                       &state->reduction);
    remark_reduction(state);
    return RSRC_OK;
}

enum rsrc_status rsrc_layer_verify_reduce(struct rsrc_layer_state *state) {
    return rsrc_verify_reduction(state->diag, &state->matrix, &state->dead, &state->reduced,
                                 &state->reduction, state->item->name);
}

/* Was nothing dropped or masked? */
static bool is_unreduced(const struct rsrc_layer_state *state) {
    return state->reduced.values == state->matrix.values;
}

/* Blocks of 4 rows need the fewest instructions for a random ternary matrix in chunks of some 320 columns:
 * 324 for 1000 weights were counted, more at 3 and at 5. */
#define FOLD_K 4u
/* Statistics for fold, where it may be taken: the user's k, else 4 or fewer rows. */
static void analyse_for_fold(struct rsrc_layer_state *state) {
    const struct rsrc_compilation *c = state->compilation;
    const struct rsr_matrix *matrix = &state->reduced;
    const uint32_t most = matrix->rows < FOLD_K ? matrix->rows : FOLD_K;
    const uint32_t k = c->options->rsr_k != 0 ? c->options->rsr_k : most;
    if (c->plan_options.forced_variant[state->item->role] != RSR_VARIANT_FOLD &&
        state->item->fold_budget == 0)
        return;
    state->has_fold_stats = true;
    if (k == state->stats.k)
        state->fold_stats = state->stats;
    else
        rsrc_analyse_matrix(&state->arena, matrix, k, &state->fold_stats);
}

enum rsrc_status rsrc_layer_rsr(struct rsrc_layer_state *state) {
    struct rsrc_compilation *c = state->compilation;
    const struct rsrc_item *item = state->item;
    if (item->index != NULL) {
        if (is_unreduced(state))
            state->index = *item->index;
        rsrc_analyse_matrix(&state->arena, &state->reduced, item->index->k, &state->stats);
    } else if (c->options->rsr_k != 0) {
        rsrc_analyse_matrix(&state->arena, &state->reduced, c->options->rsr_k, &state->stats);
    } else {
        (void)rsrc_choose_k(&state->arena, &state->reduced, &state->stats);
    }
    analyse_for_fold(state);
    return RSRC_OK;
}

enum rsrc_status rsrc_layer_verify_rsr(struct rsrc_layer_state *state) {
    return rsrc_verify_index(state->diag, index_at(state, state->stats.k), &state->reduced,
                             state->item->name);
}

/* What was dropped is part of why a plan costs what it costs. */
static void add_reduction_to_reasons(struct rsrc_layer_state *state, struct rsr_plan *plan) {
    const char *text = rsrc_reduction_text(&state->arena, &state->reduction);
    for (uint32_t r = 0; r < RSR_REGIME_COUNT && text != NULL; r++)
        plan->regimes[r].reason =
            rsrc_arena_printf(&state->arena, "%s; %s", plan->regimes[r].reason, text);
}

enum rsrc_status rsrc_layer_plan(struct rsrc_layer_state *state) {
    struct rsrc_compilation *c = state->compilation;
    for (uint32_t t = 0; t < c->n_specs; t++) {
        const struct rsrc_plan_input input = {.layer_name = state->item->name,
                                              .role = state->item->role,
                                              .alphabet = state->reduced.alphabet,
                                              .input = state->item->input,
                                              .stats = &state->stats,
                                              .fold_stats =
                                                  state->has_fold_stats ? &state->fold_stats : NULL,
                                              .fold_budget = state->item->fold_budget,
                                              .spec = &c->specs[t],
                                              .options = &c->plan_options};
        if (rsrc_plan_layer(state->diag, &state->arena, &input, &state->plans[t]) != RSRC_OK)
            return RSRC_FAILED;
        add_reduction_to_reasons(state, &state->plans[t]);
    }
    return RSRC_OK;
}

/* Kernels of the layer for a target: one a regime, or one for both. */
static uint32_t n_kernels(const struct rsrc_layer_state *state, uint32_t target) {
    return rsrc_same_kernel(&state->plans[target]) ? 1 : RSR_REGIME_COUNT;
}

static struct rsr_lowered *lowered_of(const struct rsrc_layer_state *state, uint32_t target,
                                      uint32_t regime) {
    return &state->lowered[(size_t)target * RSR_REGIME_COUNT + regime];
}

static enum rsrc_status lower_regime(struct rsrc_layer_state *state, uint32_t target,
                                     enum rsr_regime regime) {
    const struct rsrc_compilation *c = state->compilation;
    const struct rsr_regime_plan *plan = &state->plans[target].regimes[regime];
    const struct rsr_regime_plan *decode = &state->plans[target].regimes[RSR_REGIME_DECODE];
    const char *model = c->has_checkpoint ? c->checkpoint.name : "matrices";
    const bool share_codes = regime == RSR_REGIME_PREFILL && plan->packing == RSR_PACKING_LUT &&
                             decode->variant == RSR_VARIANT_LUT;
    const struct rsrc_lower_input input = {
        .symbol_stem = state->item->stem,
        .title = rsrc_arena_printf(&state->arena, "%s: %s", model, state->item->name),
        .matrix = &state->reduced,
        .reduction = &state->reduction,
        .index = plan->k != 0 ? index_at(state, plan->k) : NULL,
        .plan = plan,
        .input = state->plans[target].input,
        .codes = share_codes ? &lowered_of(state, target, RSR_REGIME_DECODE)->codes : NULL,
        .spec = &c->specs[target],
        .epilogue = state->item->layer != NULL ? RSR_EPILOGUE_SCALE : RSR_EPILOGUE_RAW};
    return rsrc_lower_layer(state->diag, &state->arena, &input, lowered_of(state, target, regime));
}

enum rsrc_status rsrc_layer_lower(struct rsrc_layer_state *state) {
    struct rsrc_compilation *c = state->compilation;
    for (uint32_t t = 0; t < c->n_specs; t++)
        for (uint32_t r = 0; r < n_kernels(state, t); r++)
            if (lower_regime(state, t, (enum rsr_regime)r) != RSRC_OK)
                return RSRC_FAILED;
    return RSRC_OK;
}

static struct rsrc_bodies *bodies_of(const struct rsrc_layer_state *state, uint32_t target,
                                     uint32_t regime) {
    return &state->bodies[(size_t)target * RSR_REGIME_COUNT + regime];
}

static enum rsrc_status assemble_text(struct rsrc_layer_state *state, const struct rsr_spec *spec,
                                      struct rsrc_bodies *bodies, const char **why) {
    struct rsrc_compilation *c = state->compilation;
    if (c->cache.dir == NULL)
        return rsrc_asm_assemble(spec, &bodies->text, &state->arena, &bodies->object, why);
    const struct rsrc_cache_key key = rsrc_key_of_assembly(c, spec, &bodies->text);
    if (rsrc_cache_get(&c->cache, state->diag, &key, &bodies->object))
        return RSRC_OK;
    if (rsrc_asm_assemble(spec, &bodies->text, &state->arena, &bodies->object, why) != RSRC_OK)
        return RSRC_FAILED;
    rsrc_cache_put(&c->cache, state->diag, &key, bodies->object.data, bodies->object.size_bytes);
    return RSRC_OK;
}

/* What the assembler declines, the back ends print with the kernel. */
static void assemble(struct rsrc_layer_state *state, const struct rsr_kernel *kernel,
                     struct rsrc_bodies *bodies) {
    const struct rsrc_place place = {.tensor = state->item->name};
    const char *why = NULL;
    if (rsrc_asm_bodies(kernel, &bodies->text, &why) == RSRC_OK &&
        assemble_text(state, kernel->spec, bodies, &why) == RSRC_OK)
        return;
    rsrc_diag_emit(state->diag, RSRC_REMARK_MISSED, "emit", &place, NULL,
                   "the assembler declined the bodies of %s, the back ends are asked: %s",
                   kernel->symbol, why);
    rsrc_buffer_free(&bodies->text);
    rsrc_buffer_free(&bodies->object);
}

enum rsrc_status rsrc_layer_assemble(struct rsrc_layer_state *state) {
    struct rsrc_compilation *c = state->compilation;
    if (!rsrc_wants_bodies(c))
        return RSRC_OK;
    for (uint32_t t = 0; t < c->n_specs; t++)
        for (uint32_t r = 0; r < n_kernels(state, t); r++)
            if (lowered_of(state, t, r)->kernel.n_bodies != 0)
                assemble(state, &lowered_of(state, t, r)->kernel, bodies_of(state, t, r));
    return RSRC_OK;
}

enum rsrc_status rsrc_layer_verify_lower(struct rsrc_layer_state *state) {
    struct rsrc_compilation *c = state->compilation;
    for (uint32_t t = 0; t < c->n_specs; t++)
        for (uint32_t r = 0; r < n_kernels(state, t); r++)
            if (rsrc_verify_kernel(state->diag, &lowered_of(state, t, r)->kernel) != RSRC_OK)
                return RSRC_FAILED;
    return RSRC_OK;
}

/* ---- text forms --------------------------------------------------------------------------------------- */

void rsrc_layer_dump_decode(struct rsrc_layer_state *state, struct rsrc_buffer *out) {
    static const char *const ALPHABETS[] = {
        [RSR_TERNARY] = "ternary", [RSR_BINARY_SIGN] = "sign", [RSR_BINARY_BIT] = "bit"};
    const struct rsr_matrix *matrix = &state->matrix;
    uint64_t n_minus = 0, n_plus = 0;
    for (uint64_t i = 0; i < (uint64_t)matrix->rows * matrix->cols; i++) {
        n_minus += matrix->values[i] < 0;
        n_plus += matrix->values[i] > 0;
    }
    rsrc_buffer_puts(out, "matrix ");
    rsrc_buffer_put_c_string(out, state->item->name);
    rsrc_buffer_printf(out, " %s %ux%u minus %llu plus %llu scales %u first %.9g\n",
                       ALPHABETS[matrix->alphabet], matrix->rows, matrix->cols,
                       (unsigned long long)n_minus, (unsigned long long)n_plus, matrix->n_scales,
                       matrix->n_scales != 0 ? (double)matrix->scale[0] : 1.0);
}

void rsrc_layer_dump_reduce(struct rsrc_layer_state *state, struct rsrc_buffer *out) {
    rsrc_print_reduction(&state->reduction, state->item->name, out);
}

/* The index of the layer's own matrix: what reads it back finds the same reduction. */
void rsrc_layer_dump_rsr(struct rsrc_layer_state *state, struct rsrc_buffer *out) {
    struct rsr_index own;
    if (!is_unreduced(state))
        rsrc_build_index(&state->arena, &state->matrix, state->stats.k, &own);
    rsrc_print_index(is_unreduced(state) ? index_at(state, state->stats.k) : &own,
                     state->item->name, out);
}

void rsrc_layer_dump_plan(struct rsrc_layer_state *state, struct rsrc_buffer *out) {
    for (uint32_t t = 0; t < state->compilation->n_specs; t++)
        rsrc_print_plan(&state->plans[t], state->item->name, out);
}

void rsrc_layer_dump_kernel(struct rsrc_layer_state *state, struct rsrc_buffer *out) {
    for (uint32_t t = 0; t < state->compilation->n_specs; t++)
        for (uint32_t r = 0; r < n_kernels(state, t); r++)
            rsrc_print_kernel(&lowered_of(state, t, r)->kernel, out);
}

/* ---- results, in order --------------------------------------------------------------------------------- */

static enum rsrc_status write_text(struct rsrc_layer_state *state, struct rsrc_sink *sink,
                                   void (*print)(struct rsrc_layer_state *, struct rsrc_buffer *)) {
    if (!sink->open)
        return RSRC_OK;
    struct rsrc_buffer text = {0};
    print(state, &text);
    const enum rsrc_status status = rsrc_sink_write(state->compilation, sink, &text);
    rsrc_buffer_free(&text);
    return status;
}

/* What outlives the layer's arena. */
static void record_report(struct rsrc_layer_state *state, uint32_t target) {
    struct rsrc_compilation *c = state->compilation;
    struct rsr_plan plan = state->plans[target];
    for (uint32_t r = 0; r < RSR_REGIME_COUNT; r++)
        plan.regimes[r].reason = rsrc_arena_strdup(&c->arena, plan.regimes[r].reason);
    c->reports[(size_t)target * c->n_items + state->item_index] =
        (struct rsr_report_layer){.name = state->item->name,
                                  .found = state->reduction.counts,
                                  .stats = state->stats,
                                  .plan = plan};
}

/* Kept rows have no fixed number of results: the ABI has the mean of those of a tile, rounded up. */
static uint32_t results_of_tile(const struct rsr_kernel *kernel) {
    return kernel->computed_rows == kernel->rows ? kernel->tile_rows
                                                 : (kernel->rows - 1) / kernel->n_tiles + 1;
}

static enum rsrc_status record_linear(struct rsrc_layer_state *state, uint32_t target,
                                      uint32_t regime) {
    struct rsrc_compilation *c = state->compilation;
    const struct rsr_lowered *lowered = lowered_of(state, target, regime);
    const struct rsr_kernel *kernel = &lowered->kernel;
    const struct rsr_regime_plan *plan = &state->plans[target].regimes[regime];
    struct rsr_linear_unit linear = {.name = rsrc_arena_strdup(&c->arena, kernel->symbol),
                                     .n_scales = state->matrix.n_scales,
                                     .variant = rsrc_variant_name(plan->variant),
                                     .input = kernel->input,
                                     .epilogue = kernel->epilogue,
                                     .role = state->item->role,
                                     .block = state->item->block,
                                     .rows = kernel->rows,
                                     .cols = kernel->cols,
                                     .n_tiles = kernel->n_tiles,
                                     .tile_rows = results_of_tile(kernel),
                                     .scratch_bytes = kernel->scratch_bytes,
                                     .weight_bytes = kernel->n_bodies != 0
                                                         ? plan->weight_bytes
                                                         : lowered->codes.size_bytes +
                                                               lowered->index.size_bytes,
                                     .reason = rsrc_arena_strdup(&c->arena, plan->reason)};
    if (rsrc_emit_kernel(c, state->item, target, kernel, bodies_of(state, target, regime),
                         &linear.function) != RSRC_OK)
        return RSRC_FAILED;
    if (rsrc_emit_blob(c, &lowered->codes, &linear.codes) != RSRC_OK ||
        rsrc_emit_blob(c, &lowered->index, &linear.index) != RSRC_OK ||
        rsrc_emit_blob(c, &lowered->scale, &linear.scale) != RSRC_OK)
        return RSRC_FAILED;
    const size_t item = (size_t)target * c->n_items + state->item_index;
    c->linears[item * RSR_REGIME_COUNT + regime] = linear;
    return RSRC_OK;
}

enum rsrc_status rsrc_layer_emit(struct rsrc_layer_state *state) {
    struct rsrc_compilation *c = state->compilation;
    for (uint32_t t = 0; t < c->n_specs; t++)
        for (uint32_t r = 0; r < n_kernels(state, t); r++)
            if (record_linear(state, t, r) != RSRC_OK)
                return RSRC_FAILED;
    return RSRC_OK;
}

static enum rsrc_status write_layer(struct rsrc_layer_state *state) {
    struct rsrc_compilation *c = state->compilation;
    if (rsrc_stdout_write(c, &state->dump) != RSRC_OK ||
        write_text(state, &c->rsr_sink, rsrc_layer_dump_rsr) != RSRC_OK ||
        write_text(state, &c->plan_sink, rsrc_layer_dump_plan) != RSRC_OK ||
        write_text(state, &c->kernel_sink, rsrc_layer_dump_kernel) != RSRC_OK)
        return RSRC_FAILED;
    for (uint32_t t = 0; t < c->n_specs && c->to >= PASS_PLAN; t++)
        record_report(state, t);
    enum rsrc_status status = RSRC_OK;
    for (uint32_t id = 0; id <= (uint32_t)c->to && status == RSRC_OK; id++) {
        if (rsrc_passes[id].run_in_order == NULL)
            continue;
        const struct rsrc_lap lap = rsrc_lap_begin(&c->times);
        status = rsrc_passes[id].run_in_order(state);
        rsrc_lap_end(&c->times, id, &lap);
    }
    return status;
}

/* ---- the pool ---------------------------------------------------------------------------------------------- */

struct pool {
    struct rsrc_compilation *compilation;
    pthread_mutex_t lock;
    pthread_cond_t turn_changed;
    uint32_t next_item; /* to be taken */
    uint32_t turn;      /* to be written */
    bool failed;
};

static enum rsrc_status run_passes(struct rsrc_layer_state *state) {
    struct rsrc_compilation *c = state->compilation;
    for (uint32_t id = 0; id < PASS_COUNT && id <= (uint32_t)c->to; id++) {
        const struct rsrc_pass *pass = &rsrc_passes[id];
        if (pass->run_layer == NULL)
            continue;
        const struct rsrc_lap lap = rsrc_lap_begin(&c->times);
        const enum rsrc_status ran = pass->run_layer(state);
        rsrc_lap_end(&c->times, id, &lap);
        if (ran != RSRC_OK)
            return RSRC_FAILED;
        if (c->options->verify_each && pass->verify_layer != NULL &&
            pass->verify_layer(state) != RSRC_OK)
            return RSRC_FAILED;
        if ((c->dumps & (1u << id)) != 0 && pass->dump_layer != NULL)
            pass->dump_layer(state, &state->dump);
    }
    return RSRC_OK;
}

/* Out of turn, so that others make code at the same time. */
static void finish_units(struct pool *pool) {
    struct rsrc_compilation *c = pool->compilation;
    const struct rsrc_lap lap = rsrc_lap_begin(&c->times);
    const enum rsrc_status status = rsrc_finish_pending_units(c);
    rsrc_lap_end(&c->times, PASS_EMIT, &lap);
    if (status == RSRC_OK)
        return;
    pthread_mutex_lock(&pool->lock);
    pool->failed = true;
    pthread_mutex_unlock(&pool->lock);
}

static void process(struct pool *pool, uint32_t item_index) {
    struct rsrc_compilation *c = pool->compilation;
    struct rsrc_layer_state state = {.compilation = c,
                                     .diag = rsrc_diag_hold(c->diag),
                                     .item = &c->items[item_index],
                                     .item_index = item_index};
    rsrc_arena_init(&state.arena);
    state.plans = RSRC_NEW_ARRAY(&state.arena, c->n_specs, struct rsr_plan);
    state.lowered =
        RSRC_NEW_ARRAY(&state.arena, (size_t)c->n_specs * RSR_REGIME_COUNT, struct rsr_lowered);
    state.bodies =
        RSRC_NEW_ARRAY(&state.arena, (size_t)c->n_specs * RSR_REGIME_COUNT, struct rsrc_bodies);
    enum rsrc_status status = run_passes(&state);

    pthread_mutex_lock(&pool->lock);
    while (pool->turn != item_index)
        pthread_cond_wait(&pool->turn_changed, &pool->lock);
    const bool failed_before = pool->failed;
    pthread_mutex_unlock(&pool->lock);
    /* It is this layer's turn until it says otherwise: no lock, so that others may take layers. */
    rsrc_diag_close_held(state.diag, !failed_before);
    if (status == RSRC_OK && !failed_before)
        status = write_layer(&state);
    pthread_mutex_lock(&pool->lock);
    pool->failed |= status != RSRC_OK;
    pool->turn++;
    rsrc_show_progress(c, "layers", pool->turn, c->n_items);
    pthread_cond_broadcast(&pool->turn_changed);
    pthread_mutex_unlock(&pool->lock);
    rsrc_buffer_free(&state.dump);
    for (uint32_t i = 0; i < c->n_specs * RSR_REGIME_COUNT; i++) {
        rsrc_buffer_free(&state.bodies[i].text);
        rsrc_buffer_free(&state.bodies[i].object);
    }
    rsrc_arena_free(&state.arena);
    finish_units(pool);
}

static void *work(void *argument) {
    struct pool *pool = argument;
    for (;;) {
        pthread_mutex_lock(&pool->lock);
        const uint32_t item = pool->next_item;
        const bool more = item < pool->compilation->n_items && !pool->failed;
        if (more)
            pool->next_item++;
        pthread_mutex_unlock(&pool->lock);
        if (!more)
            return NULL;
        process(pool, item);
    }
}

#define MAX_WORKERS 256

enum rsrc_status rsrc_run_layers(struct rsrc_compilation *c) {
    struct pool pool = {.compilation = c};
    if (c->has_graph && !c->options->no_reduce)
        c->dead_channels = rsrc_dead_channels_create(&c->arena, &c->graph);
    pthread_mutex_init(&pool.lock, NULL);
    pthread_cond_init(&pool.turn_changed, NULL);
    pthread_t threads[MAX_WORKERS];
    uint32_t n_threads = 0;
    while (n_threads + 1 < c->n_jobs && n_threads + 1 < c->n_items && n_threads < MAX_WORKERS &&
           pthread_create(&threads[n_threads], NULL, work, &pool) == 0)
        n_threads++;
    work(&pool);
    for (uint32_t i = 0; i < n_threads; i++)
        pthread_join(threads[i], NULL);
    pthread_cond_destroy(&pool.turn_changed);
    pthread_mutex_destroy(&pool.lock);
    rsrc_dead_channels_destroy(c->dead_channels);
    if (c->options->progress)
        fprintf(stderr, "\r\033[K");
    return pool.failed ? RSRC_FAILED : RSRC_OK;
}
