/* prefix_cache.c - prefix caches: trees of KV pages and recurrent states (kv/prefix_tree.h) with a
 * budget, which give pages and states up to sequences that need them.
 *
 * The engine's lock guards them. Caches share pages as forks do, and the open page, too: the
 * sequence that writes to it next gets a copy (rsr_sequence_reserve). A finished state never
 * changes (states.c). So neither take nor put computes or copies.
 *
 * A model with a recurrence goes on only where a state is kept: after the tokens of a batch that a
 * sequence had done when it was put.
 */
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "kv/prefix_tree.h"

struct rsr_prefix_cache {
    const struct rsr_api *api; /* first, always */
    rsr_engine *engine;
    struct rsr_prefix_cache *next; /* the engine's next cache */
    struct rsr_prefix_tree tree;
    uint64_t page_bytes, state_bytes;
    uint64_t budget_bytes;
    rsr_prefix_cache_info counts; /* from `takes` on */
};

/* ---- Pages ---- */

/* Evicts a page as rsr_prefix_tree_evict does; false: there was none. Called with the lock. */
static bool evict(struct rsr_prefix_cache *cache, const struct rsr_prefix_node *last) {
    uint32_t state;
    const uint32_t page = rsr_prefix_tree_evict(&cache->tree, last, &state);
    if (page == RSR_NO_PAGE)
        return false;
    if (state != RSR_NO_PAGE)
        rsr_engine_release_state(cache->engine, state);
    rsr_kv_page_unkeep(&cache->engine->kv, page);
    rsr_kv_page_release(&cache->engine->kv, page, false);
    cache->counts.evicted_pages++;
    return true;
}

bool rsr_prefix_caches_yield(rsr_engine *engine) {
    for (struct rsr_prefix_cache *cache = engine->caches; cache != NULL; cache = cache->next) {
        if (!evict(cache, NULL))
            continue;
        cache->counts.yielded_pages++;
        return true;
    }
    return false;
}

bool rsr_prefix_caches_yield_state(rsr_engine *engine) {
    for (struct rsr_prefix_cache *cache = engine->caches; cache != NULL; cache = cache->next) {
        const uint32_t state = rsr_prefix_tree_take_state(&cache->tree);
        if (state == RSR_NO_PAGE)
            continue;
        rsr_engine_release_state(engine, state);
        return true;
    }
    return false;
}

static uint64_t kept_bytes(const struct rsr_prefix_cache *cache) {
    return cache->tree.n_pages * cache->page_bytes + cache->tree.n_states * cache->state_bytes;
}

/* Called with the lock, which it releases. */
static void shrink_to(struct rsr_prefix_cache *cache, uint64_t bytes) {
    while (kept_bytes(cache) > bytes)
        (void)evict(cache, NULL);
    rsr_engine_drop_warm(cache->engine);
}

/* ---- Life ---- */

rsr_status rsr_api_prefix_cache_create(rsr_engine *engine, const rsr_prefix_cache_options *given,
                                       rsr_prefix_cache **cache, rsr_error *err) {
    if (engine == NULL || cache == NULL)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "rsr_prefix_cache_create: a pointer is NULL");
    rsr_prefix_cache_options options = RSR_PREFIX_CACHE_OPTIONS_INIT;
    rsr_status status = rsr_read_options(&options, sizeof(options), given, err);
    if (status == RSR_OK)
        status = rsr_check_owner(engine->owner_pid, err);
    if (status != RSR_OK)
        return status;
    const uint64_t page_bytes = engine->info.kv_bytes / engine->kv.n_pages;
    const uint64_t n = options.budget_bytes / page_bytes;
    if (options.budget_bytes != 0 && n == 0)
        return rsr_fail(
            err, RSR_ERR_ARGUMENT,
            "a budget of %llu bytes holds no page of keys and values, which takes %llu bytes",
            (unsigned long long)options.budget_bytes, (unsigned long long)page_bytes);
    struct rsr_prefix_cache *made = calloc(1, sizeof(*made));
    if (made == NULL)
        return rsr_fail(err, RSR_ERR_MEMORY, "no memory for a prefix cache");
    made->api = engine->api;
    made->engine = engine;
    made->page_bytes = page_bytes;
    made->state_bytes = engine->info.state_bytes;
    const bool has_states = engine->info.n_states != 0; /* beside pages */
    made->budget_bytes =
        n == 0 || (n > engine->kv.n_pages && !has_states) ? engine->info.kv_bytes : n * page_bytes;
    pthread_mutex_lock(&engine->lock);
    made->next = engine->caches;
    engine->caches = made;
    pthread_mutex_unlock(&engine->lock);
    *cache = made;
    return RSR_OK;
}

void rsr_api_prefix_cache_destroy(rsr_prefix_cache *cache) {
    if (cache == NULL)
        return;
    rsr_engine *engine = cache->engine;
    if (rsr_engine_is_ours(engine)) {
        pthread_mutex_lock(&engine->lock);
        struct rsr_prefix_cache **place = &engine->caches;
        while (*place != cache)
            place = &(*place)->next;
        *place = cache->next;
        shrink_to(cache, 0);
        pthread_mutex_unlock(&engine->lock);
    } else {
        uint32_t state;
        while (rsr_prefix_tree_evict(&cache->tree, NULL, &state) != RSR_NO_PAGE)
            ;
    }
    free(cache->tree.root.children);
    free(cache);
}

/* ---- Use ---- */

/* With the lock. */
static void take_prefix(struct rsr_prefix_cache *cache, const uint32_t *tokens, size_t n_tokens,
                        struct rsr_sequence *sequence) {
    rsr_engine *engine = cache->engine;
    const size_t n_but_last = n_tokens == 0 ? 0 : n_tokens - 1;
    const uint32_t most =
        n_but_last < engine->info.context ? (uint32_t)n_but_last : engine->info.context;
    uint32_t n = rsr_prefix_tree_find(&cache->tree, tokens, most, sequence->pages);
    if (engine->info.n_states != 0) {
        n = rsr_prefix_tree_find_state(&cache->tree, tokens, n, &sequence->state.state);
        sequence->state.n_tokens = n;
        if (n > 0)
            rsr_kv_page_share(&engine->states, sequence->state.state);
    }
    sequence->length = n;
    sequence->n_pages = rsr_pages_of(n);
    for (uint32_t i = 0; i < sequence->n_pages; i++)
        rsr_kv_page_share(&engine->kv, sequence->pages[i]);
    if (n > 0)
        memcpy(sequence->tokens, tokens, n * sizeof(*tokens));
    cache->counts.takes++;
    cache->counts.hits += n > 0;
    cache->counts.tokens += n_tokens;
    cache->counts.cached_tokens += n;
}

rsr_status rsr_api_prefix_cache_take(rsr_prefix_cache *cache, const uint32_t *tokens,
                                     size_t n_tokens, rsr_sequence **sequence, rsr_error *err) {
    if (cache == NULL || sequence == NULL || (tokens == NULL && n_tokens > 0))
        return rsr_fail(err, RSR_ERR_ARGUMENT, "rsr_prefix_cache_take: a pointer is NULL");
    rsr_engine *engine = cache->engine;
    rsr_status status = rsr_check_owner(engine->owner_pid, err);
    if (status != RSR_OK)
        return status;
    struct rsr_sequence *made = rsr_sequence_new(engine, err);
    if (made == NULL)
        return RSR_ERR_MEMORY;
    pthread_mutex_lock(&engine->lock);
    take_prefix(cache, tokens, n_tokens, made);
    pthread_mutex_unlock(&engine->lock);
    *sequence = made;
    return RSR_OK;
}

/* Adds the page that begins with token `begin` below *node; *node then is the page's node. Called
 * with the lock. */
static rsr_status put_page(struct rsr_prefix_cache *cache, const struct rsr_sequence *sequence,
                           uint32_t begin, struct rsr_prefix_node **node, rsr_error *err) {
    struct rsr_kv_pool *kv = &cache->engine->kv;
    const uint32_t left = sequence->length - begin;
    const uint32_t page = sequence->pages[begin / RSR_PAGE_TOKENS];
    uint32_t unused;
    if (!rsr_prefix_tree_add(&cache->tree, node, sequence->tokens + begin,
                             left < RSR_PAGE_TOKENS ? left : RSR_PAGE_TOKENS, page, &unused))
        return rsr_fail(err, RSR_ERR_MEMORY, "no memory for a prefix cache of %u pages",
                        cache->tree.n_pages + 1);
    if (unused == page)
        return RSR_OK;
    rsr_kv_page_keep(kv, page);
    if (unused != RSR_NO_PAGE) {
        rsr_kv_page_unkeep(kv, unused);
        rsr_kv_page_release(kv, unused, false);
    }
    return RSR_OK;
}

/* Keeps a state of the sequence where the cache has its tokens, and no state of them yet. Other
 * texts, but no part of this one, make room for it. */
static void put_state(struct rsr_prefix_cache *cache, const struct rsr_sequence *sequence,
                      struct rsr_state_mark mark) {
    struct rsr_prefix_node *node =
        mark.n_tokens > sequence->length
            ? NULL
            : rsr_prefix_tree_node_of(&cache->tree, sequence->tokens, mark.n_tokens);
    const uint32_t in_node = (mark.n_tokens - 1) % RSR_PAGE_TOKENS + 1;
    const uint64_t bytes = rsr_pages_of(mark.n_tokens) * cache->page_bytes + cache->state_bytes;
    if (node == NULL || bytes > cache->budget_bytes ||
        (node->state != RSR_NO_PAGE && node->n_state_tokens == in_node))
        return;
    rsr_kv_page_share(&cache->engine->states, mark.state);
    rsr_engine_release_state(cache->engine,
                             rsr_prefix_tree_set_state(&cache->tree, node, mark.state, in_node));
    bool fits = true;
    while (fits && kept_bytes(cache) > cache->budget_bytes)
        fits = evict(cache, node);
    if (!fits)
        rsr_engine_release_state(cache->engine,
                                 rsr_prefix_tree_set_state(&cache->tree, node, RSR_NO_PAGE, 0));
}

/* Adds page by page until the budget is used up. */
static rsr_status put_pages(struct rsr_prefix_cache *cache, const struct rsr_sequence *sequence,
                            rsr_error *err) {
    uint32_t n_pages;
    rsr_status status = rsr_check_idle(sequence, err);
    if (status != RSR_OK)
        return status;
    struct rsr_prefix_node *node =
        rsr_prefix_tree_descend(&cache->tree, sequence->tokens, sequence->length, &n_pages);
    bool fits = true;
    for (; status == RSR_OK && fits && n_pages < sequence->n_pages; n_pages++) {
        status = put_page(cache, sequence, n_pages * RSR_PAGE_TOKENS, &node, err);
        while (fits && kept_bytes(cache) > cache->budget_bytes)
            fits = evict(cache, node);
    }
    if (!fits)
        (void)evict(cache, NULL);
    if (status == RSR_OK) {
        put_state(cache, sequence, sequence->earlier);
        put_state(cache, sequence, sequence->state);
    }
    return status;
}

static rsr_status check_cache(const rsr_prefix_cache *cache, const char *name, rsr_error *err) {
    return cache == NULL ? rsr_fail(err, RSR_ERR_ARGUMENT, "%s: the cache is NULL", name)
                         : rsr_check_owner(cache->engine->owner_pid, err);
}

rsr_status rsr_api_prefix_cache_put(rsr_prefix_cache *cache, rsr_sequence *sequence,
                                    rsr_error *err) {
    rsr_status status = check_cache(cache, "rsr_prefix_cache_put", err);
    if (status != RSR_OK)
        return status;
    rsr_engine *engine = cache->engine;
    if (sequence == NULL || sequence->engine != engine)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "rsr_prefix_cache_put: the sequence is %s",
                        sequence == NULL ? "NULL" : "another engine's");
    pthread_mutex_lock(&engine->lock);
    status = put_pages(cache, sequence, err);
    rsr_engine_drop_warm(engine);
    pthread_mutex_unlock(&engine->lock);
    return status;
}

rsr_status rsr_api_prefix_cache_shrink(rsr_prefix_cache *cache, uint64_t bytes, rsr_error *err) {
    const rsr_status status = check_cache(cache, "rsr_prefix_cache_shrink", err);
    if (status != RSR_OK)
        return status;
    pthread_mutex_lock(&cache->engine->lock);
    shrink_to(cache, bytes);
    pthread_mutex_unlock(&cache->engine->lock);
    return RSR_OK;
}

rsr_status rsr_api_prefix_cache_get_info(const rsr_prefix_cache *cache,
                                         rsr_prefix_cache_info *info) {
    const rsr_status status = info == NULL ? RSR_ERR_ARGUMENT : check_cache(cache, "", NULL);
    if (status != RSR_OK)
        return status;
    pthread_mutex_lock(&cache->engine->lock);
    rsr_prefix_cache_info known = cache->counts;
    known.budget_bytes = cache->budget_bytes;
    known.bytes = kept_bytes(cache);
    pthread_mutex_unlock(&cache->engine->lock);
    return rsr_write_info(info, &known, sizeof(known), NULL);
}
