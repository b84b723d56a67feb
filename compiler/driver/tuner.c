/* tuner.c - --tune: measures the times of variants on this machine.
 *
 * The planner asks for the time of a candidate (struct rsrc_plan_timer). For the first layer of a
 * shape, the candidates are lowered, compiled, loaded and timed. The times hold for every layer of
 * that shape. With --cache-dir they also hold for later compilations, which then measure nothing
 * and make equal plans.
 *
 * No other work runs during a measurement: passes hold the lock `machine` for reading, a
 * measurement holds it for writing.
 */
#include <stdlib.h>
#include <string.h>

#include "base/text_scan.h"
#include "driver/layer.h"
#include "lower/lower.h"
#include "measure/load_kernel.h"
#include "measure/measure.h"
#include "measure/time_kernel.h"

struct rsrc_tuner {
    pthread_rwlock_t machine;
    pthread_mutex_t lock; /* protects the known times */
    struct known_time {
        struct rsrc_cache_key key;
        double us; /* 0: it cannot be run */
    } * known;
    uint32_t n_known, capacity;
    struct rsrc_arena arena;
    const char *cpu;
    /* Set by the first measurement; only the thread that measures uses them: */
    const char *dir;
    struct rsrc_toolchain toolchain;
    uint8_t *stream;
    uint64_t stream_bytes;
    uint32_t n_measured;
};

/* A candidate that is being measured for the planner. */
struct candidate {
    struct rsrc_layer_state *state;
    uint32_t target;
    enum rsr_regime regime;
    const struct rsr_regime_plan *plan;
};

static struct rsrc_run *run_of(const struct candidate *a) {
    return &a->state->compilation->run;
}

/* ---- the machine ----------------------------------------------------------------------------- */

static enum rsrc_status check_target(struct rsrc_run *run, const struct rsr_spec *spec) {
    const char *lacks = rsrc_lacks_for(&run->arena, spec);
    if (lacks == NULL)
        return RSRC_OK;
    return rsrc_refuse(
        run->diag, "tune-target", NULL, "compile on a machine that runs it, or leave out --tune",
        "--tune: kernels of target '%s' cannot be measured here: this machine lacks %s", spec->name,
        lacks);
}

enum rsrc_status rsrc_open_tuner(const struct rsrc_input_set *in) {
    struct rsrc_run *run = in->run;
    if (!run->options->tune)
        return RSRC_OK;
    for (uint32_t t = 0; t < in->n_specs; t++)
        if (check_target(run, &in->specs[t]) != RSRC_OK)
            return RSRC_FAILED;
    struct rsrc_tuner *tuner = calloc(1, sizeof(*tuner));
    if (tuner == NULL)
        rsrc_out_of_memory(sizeof(*tuner));
    /* The lock prefers writers. Layers follow one another without a pause, so a lock that prefers
     * readers would delay a measurement until the last layer. */
    pthread_rwlockattr_t attributes;
    pthread_rwlockattr_init(&attributes);
    pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&tuner->machine, &attributes);
    pthread_rwlockattr_destroy(&attributes);
    pthread_mutex_init(&tuner->lock, NULL);
    rsrc_arena_init(&tuner->arena);
    tuner->cpu = rsrc_cpu_model(&tuner->arena);
    run->tuner = tuner;
    return RSRC_OK;
}

void rsrc_close_tuner(struct rsrc_run *run) {
    struct rsrc_tuner *tuner = run->tuner;
    if (tuner == NULL)
        return;
    rsrc_unmap_pages(tuner->stream, tuner->stream_bytes);
    rsrc_arena_free(&tuner->arena);
    pthread_mutex_destroy(&tuner->lock);
    pthread_rwlock_destroy(&tuner->machine);
    free(tuner);
    run->tuner = NULL;
}

void rsrc_begin_work(const struct rsrc_run *run) {
    if (run->tuner != NULL)
        pthread_rwlock_rdlock(&run->tuner->machine);
}

void rsrc_end_work(const struct rsrc_run *run) {
    if (run->tuner != NULL)
        pthread_rwlock_unlock(&run->tuner->machine);
}

/* ---- what is known --------------------------------------------------------------------------- */

/* Layers with equal keys do equal work. Statistics of the weights are in the key only if the index
 * is instructions or members, because their number depends on the weights. */
static struct rsrc_cache_key key_of(const struct candidate *a) {
    struct rsrc_run *run = run_of(a);
    const struct rsr_matrix *own = &a->state->matrix, *reduced = &a->state->reduced;
    const struct rsr_regime_plan *plan = a->plan;
    const bool by_weights = (rsrc_kernel_row(plan->kernel)->traits & RSRC_HAS_K) != 0;
    const struct rsr_stats none = {0};
    const struct rsr_stats *stats = by_weights ? &a->state->stats : &none;
    const struct rsr_stats *fold = plan->kernel == RSR_KERNEL_FOLD ? &a->state->fold_stats : &none;
    const uint64_t numbers[] = {own->rows,
                                own->cols,
                                reduced->rows,
                                reduced->cols,
                                reduced->alphabet,
                                reduced->group_cols,
                                rsrc_group_scale_bytes(reduced),
                                a->state->item->input,
                                a->state->item->layer != NULL,
                                a->regime,
                                plan->kernel,
                                plan->k,
                                plan->fold,
                                plan->tile_rows,
                                plan->token_tile,
                                by_weights ? plan->weight_bytes : 0,
                                stats->n_members,
                                stats->n_segments,
                                stats->n_fold_adds,
                                stats->n_direct_adds,
                                fold->n_members,
                                fold->n_segments,
                                fold->n_fold_adds};
    return rsrc_key_of_time(run, &a->state->compilation->inputs.specs[a->target], run->tuner->cpu,
                            numbers, sizeof(numbers) / sizeof(numbers[0]));
}

static void remember(struct rsrc_tuner *tuner, const struct rsrc_cache_key *key, double us) {
    pthread_mutex_lock(&tuner->lock);
    tuner->known = rsrc_arena_grown(&tuner->arena, tuner->known, tuner->n_known, &tuner->capacity,
                                    sizeof(*tuner->known));
    tuner->known[tuner->n_known++] = (struct known_time){*key, us};
    pthread_mutex_unlock(&tuner->lock);
}

static bool find_known(struct rsrc_tuner *tuner, const struct rsrc_cache_key *key, double *us) {
    bool found = false;
    pthread_mutex_lock(&tuner->lock);
    for (uint32_t i = 0; i < tuner->n_known && !found; i++) {
        found = memcmp(&tuner->known[i].key, key, sizeof(*key)) == 0;
        if (found)
            *us = tuner->known[i].us;
    }
    pthread_mutex_unlock(&tuner->lock);
    return found;
}

/* An entry is "us 29.25". */
static bool parse_entry(struct rsrc_diag *diag, const struct rsrc_buffer *text, double *us) {
    struct rsrc_arena arena;
    rsrc_arena_init(&arena);
    struct rsrc_diag *mistakes = rsrc_diag_hold(diag);
    struct rsrc_scan scan;
    rsrc_scan_init(&scan, mistakes, &arena, "entry", "tune", text->data, text->size_bytes);
    const bool parsed = rsrc_scan_word(&scan, "us") == RSRC_OK &&
                        rsrc_scan_double(&scan, "us", us) == RSRC_OK &&
                        rsrc_scan_line_end(&scan) == RSRC_OK && rsrc_scan_at_end(&scan);
    rsrc_diag_close_held(mistakes, false);
    rsrc_arena_free(&arena);
    return parsed;
}

static bool find_cached(const struct candidate *a, const struct rsrc_cache_key *key, double *us) {
    struct rsrc_run *run = run_of(a);
    struct rsrc_buffer entry = {0};
    const bool found = rsrc_cache_get(&run->cache, a->state->diag, key, &entry);
    const bool parsed = found && parse_entry(a->state->diag, &entry, us);
    if (found && !parsed)
        rsrc_diag_emit(a->state->diag, RSRC_REMARK_MISSED, "cache", NULL, NULL,
                       "a measured time is not used: its entry is none");
    rsrc_buffer_free(&entry);
    if (parsed)
        remember(run->tuner, key, *us);
    return parsed;
}

static void store(const struct candidate *a, const struct rsrc_cache_key *key, double us) {
    struct rsrc_run *run = run_of(a);
    struct rsrc_buffer entry = {0};
    rsrc_buffer_puts(&entry, "us ");
    rsrc_put_double(&entry, us);
    rsrc_buffer_puts(&entry, "\n");
    rsrc_cache_put(&run->cache, a->state->diag, key, entry.data, entry.size_bytes);
    rsrc_buffer_free(&entry);
    remember(run->tuner, key, us);
}

/* ---- measuring ------------------------------------------------------------------------------- */

/* Sets up, once, what every measurement needs. */
static enum rsrc_status prepare(struct rsrc_run *run, const char *triple, uint64_t weight_bytes) {
    struct rsrc_tuner *tuner = run->tuner;
    if (tuner->dir == NULL) {
        const struct rsrc_toolchain_request request = {.cc = run->options->cc,
                                                       .ld = run->options->ld,
                                                       .triple = triple,
                                                       .needs_cc = rsrc_makes_c_for_objects(run)};
        if (rsrc_find_toolchain(run->diag, &tuner->arena, &request, &tuner->toolchain) != RSRC_OK ||
            rsrc_scratch_dir(run->diag, &tuner->arena, "rsrc-tune", &tuner->dir) != RSRC_OK)
            return RSRC_FAILED;
        tuner->toolchain.compiling =
            (struct rsrc_spawn_options){.n_jobs = 1, .print = run->options->verbose};
    }
    const uint64_t wanted =
        weight_bytes > rsrc_stream_bytes() / 4 ? 4 * weight_bytes : rsrc_stream_bytes();
    if (tuner->stream_bytes >= wanted)
        return RSRC_OK;
    rsrc_unmap_pages(tuner->stream, tuner->stream_bytes);
    tuner->stream = rsrc_map_pages(wanted);
    tuner->stream_bytes = tuner->stream != NULL ? wanted : 0;
    if (tuner->stream != NULL)
        return RSRC_OK;
    return rsrc_refuse(
        run->diag, "tune-memory", NULL, "leave out --tune on a machine with so little memory",
        "--tune: there are no %llu MiB to measure in", (unsigned long long)(wanted >> 20));
}

/* Makes the kernel with the first back end that takes it, as in a module. False without a
 * diagnostic: no back end takes it. */
static enum rsrc_status load(const struct candidate *a, struct rsrc_arena *arena,
                             struct rsr_kernel *kernel, struct rsrc_loaded_kernel *loaded) {
    struct rsrc_run *run = run_of(a);
    struct rsrc_maker makers[RSRC_MAX_MAKERS];
    const uint32_t n_makers = rsrc_list_makers(run, RSR_UNIT_OBJ, makers);
    struct rsrc_load_input input = {.opt_level = run->options->opt_level,
                                    .toolchain = &run->tuner->toolchain,
                                    .dir = run->tuner->dir};
    for (uint32_t m = 0; m < n_makers; m++) {
        input.name = rsrc_arena_printf(arena, "kernel%u_%u", run->tuner->n_measured, m);
        input.backend = makers[m].backend;
        input.kind = makers[m].kind;
        const char *why = NULL;
        double emit_ms;
        if (rsrc_load_kernel(run->diag, arena, &input, kernel, loaded, &emit_ms, &why))
            return RSRC_OK;
        if (why == NULL)
            return RSRC_FAILED;
    }
    return RSRC_OK;
}

static void show_progress(const struct candidate *a) {
    struct rsrc_run *run = run_of(a);
    if (run->options->progress)
        fprintf(stderr, "\r\033[K[%u measured] %ux%u %s %s", run->tuner->n_measured,
                a->state->matrix.rows, a->state->matrix.cols, rsrc_regime_name(a->regime),
                rsrc_variant_of(a->plan));
}

static enum rsrc_status run_kernel(const struct candidate *a, struct rsrc_arena *arena,
                                   struct rsr_lowered *lowered, double *us) {
    struct rsrc_run *run = run_of(a);
    struct rsrc_loaded_kernel loaded = {0};
    if (prepare(run, lowered->kernel.spec->triple,
                lowered->codes.size_bytes + lowered->index.size_bytes) != RSRC_OK ||
        load(a, arena, &lowered->kernel, &loaded) != RSRC_OK)
        return RSRC_FAILED;
    const uint32_t n_tokens = a->regime == RSR_REGIME_DECODE ? 1 : RSRC_PREFILL_TOKENS;
    const struct rsrc_time_input input = {
        .run = loaded.run,
        .lowered = lowered,
        .n_scales = a->state->reduced.group_cols != 0 ? 1 : a->state->matrix.n_scales,
        .n_tokens = n_tokens,
        .stream = run->tuner->stream,
        .stream_bytes = run->tuner->stream_bytes};
    *us = 0;
    if (loaded.run != NULL && rsrc_time_kernel(&input, us))
        *us /= n_tokens;
    rsrc_unload_kernel(&loaded);
    return RSRC_OK;
}

/* Measures while no other work runs. The time is 0 for a kernel that lowering refuses or no back
 * end makes. */
static enum rsrc_status measure(const struct candidate *a, double *us) {
    struct rsrc_diag *refusals = rsrc_diag_hold(a->state->diag);
    struct rsrc_arena arena;
    rsrc_arena_init(&arena);
    struct rsr_lowered lowered = {0};
    show_progress(a);
    *us = 0;
    const bool lowers =
        rsrc_lower_planned(a->state, a->target, a->plan, refusals, &arena, &lowered) == RSRC_OK;
    rsrc_diag_close_held(refusals, false);
    const enum rsrc_status status = lowers ? run_kernel(a, &arena, &lowered, us) : RSRC_OK;
    run_of(a)->tuner->n_measured++;
    rsrc_arena_free(&arena);
    return status;
}

/* ---- the planner's question ------------------------------------------------------------------ */

static void remark(const struct candidate *a, double us, const char *source) {
    const struct rsrc_place place = {.tensor = a->state->item->name};
    if (us > 0)
        rsrc_diag_emit(a->state->diag, RSRC_REMARK, "tune", &place, NULL,
                       "%s: %s %s %.4g us a token, predicted %.4g", rsrc_regime_name(a->regime),
                       rsrc_variant_of(a->plan), source, us, a->plan->predicted_us);
    else
        rsrc_diag_emit(a->state->diag, RSRC_REMARK_MISSED, "tune", &place, NULL,
                       "%s: %s cannot be run by itself", rsrc_regime_name(a->regime),
                       rsrc_variant_of(a->plan));
}

static enum rsrc_status measure_alone(const struct candidate *a, const struct rsrc_cache_key *key,
                                      double *us, bool *measured) {
    struct rsrc_run *run = run_of(a);
    enum rsrc_status status = RSRC_OK;
    rsrc_end_work(run);
    pthread_rwlock_wrlock(&run->tuner->machine);
    *measured = !find_known(run->tuner, key, us); /* another layer may have measured it meanwhile */
    if (*measured) {
        status = measure(a, us);
        if (status == RSRC_OK)
            store(a, key, *us);
    }
    pthread_rwlock_unlock(&run->tuner->machine);
    rsrc_begin_work(run);
    return status;
}

static enum rsrc_status time_candidate(void *context, enum rsr_regime regime,
                                       const struct rsr_regime_plan *plan, double *us) {
    const struct rsrc_layer_timer *timer = context;
    const struct candidate a = {timer->state, timer->target, regime, plan};
    struct rsrc_run *run = run_of(&a);
    const struct rsrc_cache_key key = key_of(&a);
    bool measured = false;
    if (!find_known(run->tuner, &key, us) && !find_cached(&a, &key, us)) {
        if (run->options->dry_run) { /* runs nothing: the time stays predicted */
            *us = 0;
            return RSRC_OK;
        }
        if (measure_alone(&a, &key, us, &measured) != RSRC_OK)
            return RSRC_FAILED;
    }
    remark(&a, *us, measured ? "measured" : "known to take");
    return RSRC_OK;
}

void rsrc_init_timer(struct rsrc_layer_timer *timer, struct rsrc_layer_state *state,
                     uint32_t target) {
    *timer = (struct rsrc_layer_timer){
        .state = state, .target = target, .plan = {.context = timer, .measure = time_candidate}};
}
