/* road.c - the table of passes, and the loop that runs those of a compilation.
 *
 * The input of a compilation and its purpose (enum rsrc_way) choose its rows; --to and --emit say
 * where it ends. A row works on the whole input, or on each layer; consecutive rows of layers run
 * layer by layer. A worker takes the next layer, runs its passes in a private arena, then waits for
 * the layer's turn to be written. Results and diagnostics are written in the order of the layers,
 * and layers after a failed one are dropped, so all output is equal at any -j. At most as many
 * layers are in memory as there are workers. With --info no layer is dropped, and none is written.
 */
#include "driver/layer.h"
#include "driver/turns.h"

/* Sets of ways that share rows. */
#define COMPILE RSRC_WAY_COMPILE
#define INFO RSRC_WAY_INFO
#define WEIGHTS (COMPILE | INFO)
#define TEXTS (RSRC_WAY_PLANS | RSRC_WAY_STEPS | RSRC_WAY_KERNELS)
#define WRITTEN (COMPILE | TEXTS)

/* A row that always runs, whatever --to says, and is not timed. */
#define NO_PASS PASS_COUNT

static const struct pass {
    enum rsrc_pass_id id;
    uint32_t ways;
    enum rsrc_status (*run)(struct rsrc_compilation *);
    void (*dump)(struct rsrc_compilation *, struct rsrc_buffer *);
    /* For a layer: work that can be done in any order, then work that must be done in the order of
     * the layers. */
    enum rsrc_status (*run_layer)(struct rsrc_layer_state *);
    enum rsrc_status (*run_in_order)(struct rsrc_layer_state *);
    enum rsrc_status (*verify_layer)(struct rsrc_layer_state *);
    void (*dump_layer)(struct rsrc_layer_state *, struct rsrc_buffer *);
    bool in_any_case; /* also after a failure */
} PASSES[] = {
    {PASS_READ, WEIGHTS, .run = rsrc_model_read, .dump = rsrc_dump_read},
    {PASS_READ, TEXTS, .run = rsrc_model_parse},
    {PASS_GRAPH, WEIGHTS, .run = rsrc_model_graph, .dump = rsrc_dump_graph},
    {NO_PASS, WEIGHTS, .run = rsrc_choose_items},
    {NO_PASS, INFO, .run = rsrc_begin_survey},
    {NO_PASS, COMPILE, .run = rsrc_check_calibration},
    {NO_PASS, COMPILE, .run = rsrc_read_measurements},
    {NO_PASS, WRITTEN, .run = rsrc_open_outputs},

    {PASS_DECODE, WEIGHTS, .run_layer = rsrc_layer_decode, .dump_layer = rsrc_layer_dump_decode},
    {PASS_REDUCE, WEIGHTS, .run_layer = rsrc_layer_reduce, .verify_layer = rsrc_layer_verify_reduce,
     .dump_layer = rsrc_layer_dump_reduce},
    {PASS_RSR, WEIGHTS, .run_layer = rsrc_layer_rsr, .verify_layer = rsrc_layer_verify_rsr,
     .dump_layer = rsrc_layer_dump_rsr},
    {PASS_PLAN, WEIGHTS, .run_layer = rsrc_layer_plan, .run_in_order = rsrc_layer_record,
     .dump_layer = rsrc_layer_dump_plan},
    {PASS_LOWER, WEIGHTS, .run_layer = rsrc_layer_lower, .verify_layer = rsrc_layer_verify_lower,
     .dump_layer = rsrc_layer_dump_kernel},
    {PASS_EMIT, COMPILE, .run_layer = rsrc_layer_assemble, .run_in_order = rsrc_layer_emit},
    {NO_PASS, INFO, .run_layer = rsrc_layer_survey, .in_any_case = true},

    {PASS_PLAN, RSRC_WAY_PLANS, .dump = rsrc_dump_parsed},
    {PASS_SCHEDULE, COMPILE, .run = rsrc_model_schedule, .dump = rsrc_dump_schedule},
    {PASS_SCHEDULE, RSRC_WAY_STEPS, .dump = rsrc_dump_parsed},
    {PASS_LOWER, RSRC_WAY_KERNELS, .dump = rsrc_dump_parsed},
    {PASS_EMIT, RSRC_WAY_KERNELS, .run = rsrc_emit_parsed},
    {PASS_EMIT, COMPILE, .run = rsrc_emit_gpus},
    {PASS_LINK, COMPILE | RSRC_WAY_KERNELS, .run = rsrc_model_link},
    {PASS_REPORT, COMPILE, .run = rsrc_model_report},
    {NO_PASS, INFO, .run = rsrc_describe, .in_any_case = true},
    {NO_PASS, WRITTEN, .run = rsrc_commit_outputs},
};
#define N_PASSES (sizeof(PASSES) / sizeof(PASSES[0]))

bool rsrc_has_dump(enum rsrc_pass_id id) {
    for (uint32_t p = 0; p < N_PASSES; p++)
        if (PASSES[p].id == id && (PASSES[p].dump != NULL || PASSES[p].dump_layer != NULL))
            return true;
    return false;
}

static bool is_taken(const struct rsrc_run *run, const struct pass *pass) {
    return (pass->ways & (uint32_t)run->way) != 0 && (pass->id == NO_PASS || pass->id <= run->to);
}

static bool is_of_layers(const struct pass *pass) {
    return pass->run_layer != NULL || pass->run_in_order != NULL;
}

static bool is_dumped(const struct rsrc_run *run, const struct pass *pass) {
    return pass->id != NO_PASS && (run->dumps & (1u << pass->id)) != 0;
}

static void end_lap(struct rsrc_run *run, const struct pass *pass, const struct rsrc_lap *lap) {
    if (pass->id != NO_PASS)
        rsrc_lap_end(&run->times, pass->id, lap);
}

/* Writes the text to the outputs that --emit asks for, and frees it. */
static enum rsrc_status write_text(struct rsrc_compilation *c, const struct pass *pass,
                                   struct rsrc_buffer *text) {
    enum rsrc_status status = RSRC_OK;
    if (text->size_bytes != 0)
        status = rsrc_sink_write(&c->run, &c->outputs.texts[pass->id], text);
    rsrc_buffer_free(text);
    return status;
}

/* ---- a layer --------------------------------------------------------------------------------- */

/* Consecutive rows of layers, and the layer whose turn it is. */
struct pool {
    struct rsrc_compilation *compilation;
    const struct pass *first, *end;
    struct rsrc_turns turns; /* of items */
};

static enum rsrc_status run_layer_pass(struct rsrc_layer_state *state, const struct pass *pass) {
    struct rsrc_run *run = &state->compilation->run;
    const struct rsrc_lap lap = rsrc_lap_begin(&run->times);
    rsrc_begin_work(run);
    const enum rsrc_status ran = pass->run_layer(state);
    rsrc_end_work(run);
    end_lap(run, pass, &lap);
    if (ran != RSRC_OK)
        return RSRC_FAILED;
    if (run->options->verify_each && pass->verify_layer != NULL &&
        pass->verify_layer(state) != RSRC_OK)
        return RSRC_FAILED;
    if (is_dumped(run, pass) && pass->dump_layer != NULL)
        pass->dump_layer(state, &state->dump);
    return RSRC_OK;
}

static void run_layer_passes(const struct pool *pool, struct rsrc_layer_state *state) {
    for (const struct pass *pass = pool->first; pass < pool->end; pass++)
        if (pass->run_layer != NULL && is_taken(&pool->compilation->run, pass) &&
            (!state->failed || pass->in_any_case) && run_layer_pass(state, pass) != RSRC_OK)
            state->failed = true;
}

/* Prints the pass's text if --emit asks for it, then does the pass's work in order. */
static enum rsrc_status write_pass(struct rsrc_layer_state *state, const struct pass *pass) {
    struct rsrc_compilation *c = state->compilation;
    struct rsrc_buffer text = {0};
    if (pass->dump_layer != NULL && c->outputs.texts[pass->id].open)
        pass->dump_layer(state, &text);
    enum rsrc_status status = write_text(c, pass, &text);
    if (status != RSRC_OK || pass->run_in_order == NULL)
        return status;
    const struct rsrc_lap lap = rsrc_lap_begin(&c->run.times);
    status = pass->run_in_order(state);
    end_lap(&c->run, pass, &lap);
    return status;
}

/* In order: writes all results of the layer. */
static enum rsrc_status write_layer(const struct pool *pool, struct rsrc_layer_state *state) {
    struct rsrc_run *run = &pool->compilation->run;
    rsrc_begin_work(run);
    enum rsrc_status status = rsrc_stdout_write(run->diag, &state->dump);
    for (const struct pass *pass = pool->first; pass < pool->end && status == RSRC_OK; pass++)
        if (is_taken(run, pass))
            status = write_pass(state, pass);
    rsrc_end_work(run);
    return status;
}

/* ---- layers ---------------------------------------------------------------------------------- */

static bool goes_on(const struct rsrc_run *run) {
    return ((uint32_t)run->way & INFO) != 0;
}

static void begin_layer(struct rsrc_compilation *c, uint32_t item, struct rsrc_layer_state *state) {
    *state = (struct rsrc_layer_state){.compilation = c,
                                       .diag = rsrc_diag_hold(c->run.diag),
                                       .item = &c->inputs.items[item],
                                       .item_index = item};
    rsrc_arena_init(&state->arena);
    const size_t n_kernels = (size_t)c->inputs.n_specs * RSR_REGIME_COUNT;
    state->plans = RSRC_NEW_ARRAY(&state->arena, c->inputs.n_specs, struct rsr_plan);
    state->lowered = RSRC_NEW_ARRAY(&state->arena, n_kernels, struct rsr_lowered);
    state->bodies = RSRC_NEW_ARRAY(&state->arena, n_kernels, struct rsrc_bodies);
}

static void end_layer(struct rsrc_layer_state *state) {
    rsrc_buffer_free(&state->dump);
    for (uint32_t i = 0; i < state->compilation->inputs.n_specs * RSR_REGIME_COUNT; i++) {
        rsrc_buffer_free(&state->bodies[i].text);
        rsrc_buffer_free(&state->bodies[i].object);
    }
    rsrc_arena_free(&state->arena);
}

/* This runs outside the layer's turn, so that several workers make code at the same time. */
static void finish_units(struct pool *pool) {
    struct rsrc_run *run = &pool->compilation->run;
    const struct rsrc_lap lap = rsrc_lap_begin(&run->times);
    rsrc_begin_work(run);
    const enum rsrc_status status = rsrc_finish_pending_units(&pool->compilation->units);
    rsrc_end_work(run);
    rsrc_lap_end(&run->times, PASS_EMIT, &lap);
    if (status != RSRC_OK)
        rsrc_fail_turns(&pool->turns);
}

static void process(struct pool *pool, uint32_t item) {
    struct rsrc_compilation *c = pool->compilation;
    struct rsrc_layer_state state;
    begin_layer(c, item, &state);
    run_layer_passes(pool, &state);
    enum rsrc_status status = state.failed ? RSRC_FAILED : RSRC_OK;
    const bool none_failed = rsrc_await_turn(&pool->turns, item);
    rsrc_diag_close_held(state.diag, none_failed || goes_on(&c->run));
    if (status == RSRC_OK && none_failed)
        status = write_layer(pool, &state);
    rsrc_show_progress(&c->run, "layers", item + 1, c->inputs.n_items);
    rsrc_end_turn(&pool->turns, status);
    end_layer(&state);
    finish_units(pool);
}

static void *work(void *argument) {
    struct pool *pool = argument;
    uint32_t item;
    while (rsrc_take_item(&pool->turns, &item))
        process(pool, item);
    return NULL;
}

static enum rsrc_status run_layers(struct rsrc_compilation *c, const struct pass *first,
                                   const struct pass *end) {
    const struct rsrc_input_set *in = &c->inputs;
    struct rsrc_arena *arena = &c->run.arena;
    const size_t n = (size_t)in->n_items * in->n_specs;
    c->made.linears = RSRC_NEW_ARRAY(arena, n * RSR_REGIME_COUNT, struct rsr_linear_unit);
    c->made.reports = RSRC_NEW_ARRAY(arena, n, struct rsr_report_layer);
    c->made.gpu_kernels = RSRC_NEW_ARRAY(arena, n * RSR_REGIME_COUNT, struct rsr_kernel);
    if (in->has_graph && !c->run.options->no_reduce)
        c->made.dead_channels = rsrc_dead_channels_create(arena, &in->graph);
    struct pool pool = {.compilation = c,
                        .first = first,
                        .end = end,
                        .turns = {.n_items = in->n_items, .goes_on = goes_on(&c->run)}};
    const enum rsrc_status status = rsrc_run_turns(&pool.turns, c->run.n_jobs, work, &pool);
    rsrc_dead_channels_destroy(c->made.dead_channels);
    rsrc_end_progress(&c->run);
    return status;
}

/* ---- all ------------------------------------------------------------------------------------- */

static enum rsrc_status run_pass(struct rsrc_compilation *c, const struct pass *pass) {
    const struct rsrc_lap lap = rsrc_lap_begin(&c->run.times);
    const enum rsrc_status ran = pass->run != NULL ? pass->run(c) : RSRC_OK;
    end_lap(&c->run, pass, &lap);
    if (ran != RSRC_OK || pass->dump == NULL)
        return ran;
    struct rsrc_buffer text = {0};
    if (is_dumped(&c->run, pass) || c->outputs.texts[pass->id].open)
        pass->dump(c, &text);
    const bool dumped =
        !is_dumped(&c->run, pass) || rsrc_stdout_write(c->run.diag, &text) == RSRC_OK;
    const enum rsrc_status written = write_text(c, pass, &text);
    return dumped ? written : RSRC_FAILED;
}

enum rsrc_status rsrc_run_passes(struct rsrc_compilation *c) {
    const struct pass *const last = PASSES + N_PASSES;
    enum rsrc_status status = RSRC_OK;
    for (const struct pass *pass = PASSES, *next; pass < last; pass = next) {
        next = pass + 1;
        const bool may_run = status == RSRC_OK || (pass->in_any_case && !is_of_layers(pass));
        if (!may_run || !is_taken(&c->run, pass))
            continue;
        while (is_of_layers(pass) && next < last && is_of_layers(next))
            next++;
        if ((is_of_layers(pass) ? run_layers(c, pass, next) : run_pass(c, pass)) != RSRC_OK)
            status = RSRC_FAILED;
    }
    return status;
}
