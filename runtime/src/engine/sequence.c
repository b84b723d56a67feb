/* sequence.c - a sequence is its tokens and a list of the KV pages they filled. Forks may share
 * full pages. A page that is written to is never shared: rsr_sequence_reserve copies it first if
 * necessary. */
#include <stdlib.h>
#include <string.h>

#include "engine.h"

void rsr_sequence_free(struct rsr_sequence *sequence) {
    free(sequence->pages);
    free(sequence->tokens);
    free(sequence);
}

struct rsr_sequence *rsr_sequence_new(rsr_engine *engine, rsr_error *err) {
    struct rsr_sequence *sequence = calloc(1, sizeof(*sequence));
    if (sequence != NULL) {
        sequence->api = engine->api;
        sequence->engine = engine;
        sequence->state.state = sequence->earlier.state = sequence->next.state = RSR_NO_PAGE;
        sequence->pages = malloc(rsr_pages_of(engine->info.context) * sizeof(*sequence->pages));
        sequence->tokens = malloc(engine->info.context * sizeof(*sequence->tokens));
        if (sequence->pages != NULL && sequence->tokens != NULL)
            return sequence;
        rsr_sequence_free(sequence);
    }
    (void)rsr_fail(err, RSR_ERR_MEMORY, "no memory for a sequence");
    return NULL;
}

/* If no page is free, waits for pages whose memory is on its way to the system. */
static uint32_t take_free_page(struct rsr_engine *engine) {
    while (engine->kv.n_free == 0 && engine->n_dropping > 0)
        pthread_cond_wait(&engine->dropped, &engine->lock);
    const uint32_t page = rsr_kv_page_take(&engine->kv);
    engine->page_error = 0;
    if (page != RSR_NO_PAGE && engine->backend->take_page != NULL)
        engine->page_error = engine->backend->take_page(engine, page);
    if (engine->page_error == 0)
        return page;
    rsr_kv_page_release(&engine->kv, page, true);
    return RSR_NO_PAGE;
}

uint32_t rsr_engine_take_page(struct rsr_engine *engine) {
    uint32_t page = take_free_page(engine);
    while (page == RSR_NO_PAGE && engine->kv.n_only_kept > 0 && rsr_prefix_caches_yield(engine))
        page = take_free_page(engine);
    return page;
}

rsr_status rsr_fail_no_page(const struct rsr_engine *engine, rsr_error *err) {
    if (engine->page_error != 0)
        return rsr_fail(err, RSR_ERR_FULL,
                        "the disk of kv_dir has no room for another page of keys and values (%s); "
                        "end a sequence or free some of the disk",
                        strerror(engine->page_error));
    return rsr_fail(
        err, RSR_ERR_FULL,
        "all %u KV pages of %u tokens are taken; end a sequence or create the engine with "
        "more kv_tokens",
        engine->kv.n_pages, RSR_PAGE_TOKENS);
}

void rsr_engine_drop_warm(struct rsr_engine *engine) {
    struct rsr_kv_pool *kv = &engine->kv;
    while (kv->n_warm > RSR_WARM_PAGES) {
        const uint32_t page = rsr_kv_page_take(kv); /* one that still has its memory */
        engine->n_dropping++;
        pthread_mutex_unlock(&engine->lock);
        engine->backend->drop_page(engine, page);
        pthread_mutex_lock(&engine->lock);
        rsr_kv_page_release(kv, page, true);
        engine->n_dropping--;
        pthread_cond_broadcast(&engine->dropped);
    }
}

bool rsr_sequence_reserve(struct rsr_sequence *sequence, uint32_t position) {
    struct rsr_engine *engine = sequence->engine;
    struct rsr_kv_pool *kv = &engine->kv;
    const uint32_t number = position / RSR_PAGE_TOKENS;
    uint32_t page;
    do { /* the page that a cache gives up may be the shared one itself */
        if (number < sequence->n_pages && !rsr_kv_page_is_shared(kv, sequence->pages[number]))
            return true;
        page = take_free_page(engine);
    } while (page == RSR_NO_PAGE && rsr_prefix_caches_yield(engine));
    if (page == RSR_NO_PAGE)
        return false;
    if (number < sequence->n_pages) { /* truncated into a page that a fork or a cache still has */
        engine->backend->copy_page(engine, page, sequence->pages[number],
                                   position % RSR_PAGE_TOKENS);
        rsr_kv_page_release(kv, sequence->pages[number], false);
    } else {
        sequence->n_pages++;
    }
    sequence->pages[number] = page;
    return true;
}

void rsr_sequence_release_from(struct rsr_sequence *sequence, uint32_t n_tokens) {
    while (sequence->n_pages > rsr_pages_of(n_tokens))
        rsr_kv_page_release(&sequence->engine->kv, sequence->pages[--sequence->n_pages], false);
    rsr_engine_drop_warm(sequence->engine);
}

rsr_status rsr_api_sequence_create(rsr_engine *engine, rsr_sequence **sequence, rsr_error *err) {
    if (engine == NULL || sequence == NULL)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "rsr_sequence_create: a pointer is NULL");
    rsr_status status = rsr_check_owner(engine->owner_pid, err);
    if (status != RSR_OK)
        return status;
    struct rsr_sequence *made = rsr_sequence_new(engine, err);
    if (made == NULL)
        return RSR_ERR_MEMORY;
    *sequence = made;
    return RSR_OK;
}

void rsr_api_sequence_destroy(rsr_sequence *sequence) {
    if (sequence == NULL)
        return;
    rsr_engine *engine = sequence->engine;
    if (rsr_engine_is_ours(engine)) {
        pthread_mutex_lock(&engine->lock);
        rsr_sequence_release_from(sequence, 0);
        rsr_sequence_rewind_state(sequence, 0);
        pthread_mutex_unlock(&engine->lock);
    }
    rsr_sequence_free(sequence);
}

rsr_status rsr_check_idle(const struct rsr_sequence *sequence, rsr_error *err) {
    if (sequence->pending == 0)
        return RSR_OK;
    return rsr_fail(err, RSR_ERR_ARGUMENT,
                    "the sequence is in a batch of another call that is not done");
}

uint32_t rsr_api_sequence_length(const rsr_sequence *sequence) {
    return sequence != NULL ? sequence->length : 0;
}

const uint32_t *rsr_api_sequence_tokens(const rsr_sequence *sequence) {
    return sequence != NULL ? sequence->tokens : NULL;
}

rsr_status rsr_api_sequence_truncate(rsr_sequence *sequence, uint32_t length, rsr_error *err) {
    if (sequence == NULL)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "rsr_sequence_truncate: the sequence is NULL");
    rsr_engine *engine = sequence->engine;
    rsr_status status = rsr_check_owner(engine->owner_pid, err);
    if (status != RSR_OK)
        return status;
    if (length > sequence->length)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "cannot truncate a sequence of %u tokens to %u",
                        sequence->length, length);
    pthread_mutex_lock(&engine->lock);
    status = rsr_check_idle(sequence, err);
    if (status == RSR_OK) {
        rsr_sequence_release_from(sequence, length);
        rsr_sequence_rewind_state(sequence, length);
        sequence->length = length;
    }
    pthread_mutex_unlock(&engine->lock);
    return status;
}

void rsr_sequence_show(rsr_sequence *sequence, uint32_t length) {
    pthread_mutex_lock(&sequence->engine->lock);
    sequence->length = length;
    pthread_mutex_unlock(&sequence->engine->lock);
}

/* Shares the full pages and copies the open one, with the turn and the lock. On failure nothing is
 * shared. */
static rsr_status copy_pages(struct rsr_sequence *to, const struct rsr_sequence *from,
                             rsr_error *err) {
    struct rsr_kv_pool *kv = &to->engine->kv;
    const uint32_t n_full = from->length / RSR_PAGE_TOKENS;
    const uint32_t n_open = from->length % RSR_PAGE_TOKENS;
    const rsr_status status = rsr_check_idle(from, err);
    if (status != RSR_OK)
        return status;
    if (n_open != 0) {
        const uint32_t page = rsr_engine_take_page(to->engine);
        if (page == RSR_NO_PAGE && to->engine->page_error == 0)
            return rsr_fail(err, RSR_ERR_FULL,
                            "no free KV page for a fork's last %u tokens; raise kv_tokens", n_open);
        if (page == RSR_NO_PAGE)
            return rsr_fail_no_page(to->engine, err);
        to->engine->backend->copy_page(to->engine, page, from->pages[n_full], n_open);
        to->pages[n_full] = page;
    }
    for (uint32_t i = 0; i < n_full; i++) {
        to->pages[i] = from->pages[i];
        rsr_kv_page_share(kv, to->pages[i]);
    }
    memcpy(to->tokens, from->tokens, from->length * sizeof(*to->tokens));
    rsr_sequence_share_state(to, from);
    to->n_pages = rsr_pages_of(from->length);
    to->length = from->length;
    return RSR_OK;
}

rsr_status rsr_api_sequence_fork(rsr_sequence *sequence, rsr_sequence **fork, rsr_error *err) {
    if (sequence == NULL || fork == NULL)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "rsr_sequence_fork: a pointer is NULL");
    rsr_engine *engine = sequence->engine;
    rsr_status status = rsr_check_owner(engine->owner_pid, err);
    if (status != RSR_OK)
        return status;
    struct rsr_sequence *made = rsr_sequence_new(engine, err);
    if (made == NULL)
        return RSR_ERR_MEMORY;
    rsr_turns_take(&engine->turns);
    pthread_mutex_lock(&engine->lock);
    status = copy_pages(made, sequence, err);
    pthread_mutex_unlock(&engine->lock);
    rsr_turns_give(&engine->turns);
    if (status == RSR_OK)
        *fork = made;
    else
        rsr_sequence_free(made);
    return status;
}

/* Finds a block's number among those with keys and values. */
static bool find_kv_layer(const struct rsr_step_table *step, uint32_t block, uint32_t *layer) {
    for (uint32_t i = 0; i < step->n_ops; i++)
        if (step->ops[i].kind == RSR_OP_ROPE_APPEND && step->ops[i].block == block) {
            *layer = step->ops[i].layer;
            return true;
        }
    return false;
}

rsr_status rsr_api_sequence_read_kv(rsr_sequence *sequence, uint32_t position, uint32_t layer,
                                    float *keys, float *values, rsr_error *err) {
    if (sequence == NULL || keys == NULL || values == NULL)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "rsr_sequence_read_kv: a pointer is NULL");
    rsr_engine *engine = sequence->engine;
    rsr_status status = rsr_check_owner(engine->owner_pid, err);
    if (status != RSR_OK)
        return status;
    const uint32_t n_layers = engine->model->module->hyper.n_layers;
    if (position >= sequence->length || layer >= n_layers)
        return rsr_fail(err, RSR_ERR_ARGUMENT,
                        "no key of position %u in layer %u: the sequence has %u tokens, the model "
                        "%u layers",
                        position, layer, sequence->length, n_layers);
    if (!find_kv_layer(&engine->steps[0], layer, &layer))
        return rsr_fail(err, RSR_ERR_ARGUMENT,
                        "layer %u has no keys: it is recurrent, and keeps a state", layer);
    rsr_turns_take(&engine->turns);
    status = engine->backend->read_rows(engine, sequence->pages[position / RSR_PAGE_TOKENS],
                                        position % RSR_PAGE_TOKENS, layer, keys, values, err);
    rsr_turns_give(&engine->turns);
    return status;
}
