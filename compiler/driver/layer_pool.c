/* layer_pool.c - layers in parallel, their results in order.
 *
 * A worker takes the next item, runs its passes in a private arena, then waits for its turn to
 * emit: results and diagnostics are written in item order whatever finished first, and what follows
 * a failed layer is dropped, so all output is the same at any -j. No more layers are in memory than
 * there are workers. With --info no layer is dropped, and none written.
 */
#include "driver/driver.h"
#include "driver/turns.h"
#include "model/dead_channels.h"

struct pool {
    struct rsrc_compilation *compilation;
    struct rsrc_turns turns; /* of items */
};

static enum rsrc_status run_passes(struct rsrc_layer_state *state) {
    struct rsrc_compilation *c = state->compilation;
    for (uint32_t id = 0; id < PASS_COUNT && id <= (uint32_t)c->to; id++) {
        const struct rsrc_pass *pass = &rsrc_passes[id];
        if (pass->run_layer == NULL)
            continue;
        const struct rsrc_lap lap = rsrc_lap_begin(&c->times);
        rsrc_begin_work(c);
        const enum rsrc_status ran = pass->run_layer(state);
        rsrc_end_work(c);
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
    rsrc_begin_work(c);
    const enum rsrc_status status = rsrc_finish_pending_units(c);
    rsrc_end_work(c);
    rsrc_lap_end(&c->times, PASS_EMIT, &lap);
    if (status != RSRC_OK)
        rsrc_fail_turns(&pool->turns);
}

static enum rsrc_status write_layer(struct rsrc_layer_state *state) {
    rsrc_begin_work(state->compilation);
    const enum rsrc_status status = rsrc_layer_write(state);
    rsrc_end_work(state->compilation);
    return status;
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
    if (c->survey != NULL)
        rsrc_survey_layer(&state, status);

    const bool none_failed = rsrc_await_turn(&pool->turns, item_index);
    rsrc_diag_close_held(state.diag, none_failed || c->survey != NULL);
    if (status == RSRC_OK && none_failed && c->survey == NULL)
        status = write_layer(&state);
    rsrc_show_progress(c, "layers", item_index + 1, c->n_items);
    rsrc_end_turn(&pool->turns, status);
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
    uint32_t item;
    while (rsrc_take_item(&pool->turns, &item))
        process(pool, item);
    return NULL;
}

enum rsrc_status rsrc_run_layers(struct rsrc_compilation *c) {
    struct pool pool = {.compilation = c,
                        .turns = {.n_items = c->n_items, .goes_on = c->survey != NULL}};
    if (c->has_graph && !c->options->no_reduce)
        c->dead_channels = rsrc_dead_channels_create(&c->arena, &c->graph);
    const enum rsrc_status status = rsrc_run_turns(&pool.turns, c->n_jobs, work, &pool);
    rsrc_dead_channels_destroy(c->dead_channels);
    if (c->options->progress)
        fprintf(stderr, "\r\033[K");
    return status;
}
