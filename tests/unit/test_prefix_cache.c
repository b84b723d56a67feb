/* Prefix caches: compares the tree of pages with a list of everything that was put, over random
 * texts. Conversations with caches of an engine have the bits of conversations without. */
#include <math.h>
#include <pthread.h>
#include <stdlib.h>

#include "check.h"
#include "engine/engine.h"
#include "fake_module.h"
#include "kv/prefix_tree.h"

#define API (&rsr_runtime_api)

/* ---- The tree by itself ---- */

enum { LONGEST = 3 * RSR_PAGE_TOKENS + 9, KEPT = 40, OPERATIONS = 100000 };

/* A page of the tree, identified by all tokens up to its end. */
struct known {
    uint32_t tokens[LONGEST], n;
    uint64_t used; /* when last */
};

/* The list that the tree is compared with: all pages, in no order. A page's number is its index. */
struct list {
    struct known pages[KEPT + 1];
    bool is_taken[KEPT + 1];
    uint32_t n_taken;
    uint64_t now;
};

static bool begins_with(const struct known *page, const uint32_t *tokens, uint32_t n) {
    return page->n >= n && memcmp(page->tokens, tokens, n * sizeof(*tokens)) == 0;
}

/* Where the page begins. */
static uint32_t begin_of(const struct known *page) {
    return (page->n - 1) / RSR_PAGE_TOKENS * RSR_PAGE_TOKENS;
}

static uint32_t longest_common(const struct list *list, const uint32_t *tokens, uint32_t n) {
    uint32_t best = 0;
    for (uint32_t i = 0; i <= KEPT; i++) {
        const struct known *page = &list->pages[i];
        if (!list->is_taken[i] || !begins_with(page, tokens, best))
            continue;
        while (best < n && best < page->n && page->tokens[best] == tokens[best])
            best++;
    }
    return best;
}

/* Marks the pages that hold the first n tokens as used now. If several pages continue after these
 * tokens, only one of them, `last`, is marked. */
static void use_pages(struct list *list, const uint32_t *tokens, uint32_t n, uint32_t last) {
    list->now++;
    for (uint32_t i = 0; i <= KEPT; i++) {
        const struct known *page = &list->pages[i];
        if (list->is_taken[i] && page->n <= n && begins_with(page, tokens, page->n))
            list->pages[i].used = list->now;
    }
    if (last != RSR_NO_PAGE)
        list->pages[last].used = list->now;
}

static uint32_t free_place(const struct list *list) {
    uint32_t i = 0;
    while (list->is_taken[i])
        i++;
    return i;
}

/* Whether the page was not used for the longest time; among pages used at one time, the one that
 * ends last counts as oldest. */
static bool is_oldest(const struct list *list, uint32_t page) {
    for (uint32_t i = 0; i <= KEPT; i++) {
        const struct known *a = &list->pages[i], *b = &list->pages[page];
        if (list->is_taken[i] && i != page &&
            (a->used < b->used || (a->used == b->used && a->n > b->n)))
            return false;
    }
    return list->is_taken[page];
}

static void evict(struct list *list, struct rsr_prefix_tree *tree) {
    uint32_t state;
    const uint32_t page = rsr_prefix_tree_evict(tree, NULL, &state);
    CHECK(page <= KEPT && is_oldest(list, page));
    for (uint32_t i = 0; page <= KEPT && i <= KEPT; i++) /* a leaf */
        CHECK(!list->is_taken[i] || i == page || list->pages[i].n <= list->pages[page].n ||
              !begins_with(&list->pages[i], list->pages[page].tokens, list->pages[page].n));
    list->is_taken[page] = false;
    list->n_taken--;
}

static void find(struct list *list, struct rsr_prefix_tree *tree, const uint32_t *tokens,
                 uint32_t n) {
    uint32_t pages[LONGEST / RSR_PAGE_TOKENS + 1];
    const uint32_t found = rsr_prefix_tree_find(tree, tokens, n, pages);
    CHECK_INT(found, longest_common(list, tokens, n));
    for (uint32_t p = 0; p < rsr_pages_of(found); p++) {
        const uint32_t end = (p + 1) * RSR_PAGE_TOKENS < found ? (p + 1) * RSR_PAGE_TOKENS : found;
        CHECK(pages[p] <= KEPT && list->is_taken[pages[p]]);
        CHECK(begins_with(&list->pages[pages[p]], tokens, end));
        CHECK_INT(begin_of(&list->pages[pages[p]]), p * RSR_PAGE_TOKENS);
    }
    use_pages(list, tokens, found, found > 0 ? pages[rsr_pages_of(found) - 1] : RSR_NO_PAGE);
}

/* Adds one page of a text after another, as rsr_prefix_cache_put does. */
static void put(struct list *list, struct rsr_prefix_tree *tree, const uint32_t *tokens,
                uint32_t n) {
    uint32_t n_pages, unused;
    struct rsr_prefix_node *node = rsr_prefix_tree_descend(tree, tokens, n, &n_pages);
    CHECK_INT(n_pages, longest_common(list, tokens, n) / RSR_PAGE_TOKENS);
    use_pages(list, tokens, n_pages * RSR_PAGE_TOKENS, RSR_NO_PAGE);
    for (; n_pages < rsr_pages_of(n); n_pages++) {
        const uint32_t begin = n_pages * RSR_PAGE_TOKENS;
        const uint32_t end = begin + RSR_PAGE_TOKENS < n ? begin + RSR_PAGE_TOKENS : n;
        const uint32_t page = free_place(list), common = longest_common(list, tokens, end);
        CHECK(rsr_prefix_tree_add(tree, &node, tokens + begin, end - begin, page, &unused));
        CHECK((unused == page) == (common == end));
        if (unused != page) {
            memcpy(list->pages[page].tokens, tokens, end * sizeof(*tokens));
            list->pages[page].n = end;
            list->is_taken[page] = true;
            list->n_taken++;
        }
        if (unused != page && unused != RSR_NO_PAGE) { /* a beginning of the new one */
            CHECK(list->is_taken[unused] && list->pages[unused].n == common);
            list->is_taken[unused] = false;
            list->n_taken--;
        }
        use_pages(list, tokens, end, node->page);
        if (tree->n_pages > KEPT)
            evict(list, tree);
    }
}

/* Makes texts that share beginnings: random walks over few words, cut anywhere. */
static uint32_t make_text(uint64_t *state, uint32_t *tokens) {
    const uint32_t n = (uint32_t)(check_random(state) % (LONGEST + 1));
    const uint64_t kind = check_random(state) % 4;
    for (uint32_t i = 0; i < n; i++) {
        const bool turns = kind == 0 ? i % 61 == 0 : kind == 1 ? i % 7 == 0 && i > 60 : i == 150;
        tokens[i] = turns ? (uint32_t)(check_random(state) % 3) : 1;
    }
    return n;
}

static void test_tree(void) {
    static struct list list;
    struct rsr_prefix_tree tree = {.n_pages = 0};
    uint32_t tokens[LONGEST];
    uint64_t state = 1;
    for (uint32_t i = 0; i < OPERATIONS; i++) {
        const uint32_t n = make_text(&state, tokens);
        const uint64_t what = check_random(&state) % 16;
        if (what == 0 && tree.n_pages > 0)
            evict(&list, &tree);
        else if (what < 8)
            find(&list, &tree, tokens, n);
        else
            put(&list, &tree, tokens, n);
        CHECK(tree.n_pages <= KEPT && tree.n_pages == list.n_taken);
    }
    CHECK(tree.n_pages > KEPT / 2);
    while (tree.n_pages > 0)
        evict(&list, &tree);
    uint32_t none;
    CHECK_INT(rsr_prefix_tree_evict(&tree, NULL, &none), RSR_NO_PAGE);
    free(tree.root.children);
}

/* ---- Caches of an engine ---- */

enum { VOCAB = 7, CONTEXT = 256, N_TALKS = 60, PAGES = 9 };

static rsr_prefix_cache *new_cache(rsr_engine *engine, uint64_t budget_bytes) {
    rsr_prefix_cache_options options = RSR_PREFIX_CACHE_OPTIONS_INIT;
    rsr_prefix_cache *cache = NULL;
    options.budget_bytes = budget_bytes;
    CHECK_INT(API->prefix_cache_create(engine, &options, &cache, NULL), RSR_OK);
    return cache;
}

static rsr_prefix_cache_info info_of(const rsr_prefix_cache *cache) {
    rsr_prefix_cache_info info = RSR_PREFIX_CACHE_INFO_INIT;
    CHECK_INT(API->prefix_cache_get_info(cache, &info), RSR_OK);
    CHECK(info.bytes <= info.budget_bytes);
    return info;
}

static uint32_t n_free_tokens(const rsr_engine *engine) {
    rsr_engine_info info = RSR_ENGINE_INFO_INIT;
    CHECK_INT(API->engine_get_info(engine, &info), RSR_OK);
    return info.kv_tokens_free;
}

static rsr_sequence *take(rsr_prefix_cache *cache, const uint32_t *tokens, uint32_t n,
                          uint32_t n_cached) {
    rsr_sequence *sequence = NULL;
    CHECK_INT(API->prefix_cache_take(cache, tokens, n, &sequence, NULL), RSR_OK);
    CHECK_INT(API->sequence_length(sequence), n_cached);
    CHECK(n_cached == 0 ||
          memcmp(API->sequence_tokens(sequence), tokens, n_cached * sizeof(*tokens)) == 0);
    return sequence;
}

/* A turn of a conversation: tokens that the cache has are not evaluated, and the logits of the
 * others are the expected ones. */
static void talk(rsr_engine *engine, rsr_prefix_cache *cache, const uint32_t *tokens, uint32_t n,
                 const float *expected) {
    static float logits[CONTEXT * VOCAB];
    rsr_sequence *sequence = NULL;
    CHECK_INT(API->prefix_cache_take(cache, tokens, n, &sequence, NULL), RSR_OK);
    const uint32_t n_cached = API->sequence_length(sequence);
    CHECK(n_cached < n);
    CHECK_INT(fake_feed(engine, sequence, tokens + n_cached, n - n_cached, VOCAB, logits), RSR_OK);
    CHECK(memcmp(logits, expected + (size_t)n_cached * VOCAB,
                 (n - n_cached) * VOCAB * sizeof(*logits)) == 0);
    CHECK_INT(API->prefix_cache_put(cache, sequence, NULL), RSR_OK);
    API->sequence_destroy(sequence);
}

/* Random conversations that share beginnings, through a cache with room for few pages, and through
 * one with room for all pages, which gives them up when sequences need them. */
static void test_bits(rsr_model *model, const char *attention, uint32_t n_threads,
                      uint64_t budget_pages) {
    static float expected[CONTEXT * VOCAB];
    rsr_engine_options options = RSR_ENGINE_OPTIONS_INIT;
    rsr_engine *with = NULL, *without = NULL;
    uint32_t tokens[CONTEXT] = {0};
    uint64_t state = 7;
    options.n_threads = n_threads;
    options.all_threads = true;
    options.max_batch = 48;
    options.attention = attention;
    options.kv_tokens = PAGES * RSR_PAGE_TOKENS;
    CHECK_INT(API->engine_create(model, &options, &with, NULL), RSR_OK);
    options.n_threads = 1;
    CHECK_INT(API->engine_create(model, &options, &without, NULL), RSR_OK);
    rsr_prefix_cache *cache = new_cache(with, budget_pages * (with->info.kv_bytes / PAGES));
    for (uint32_t i = 0; i < N_TALKS; i++) {
        const uint32_t n = 1 + (uint32_t)(check_random(&state) % (CONTEXT - 1));
        uint32_t kept = (uint32_t)(check_random(&state) % 4) * 70; /* tokens of the last text */
        for (; kept < n; kept++)
            tokens[kept] = (uint32_t)(check_random(&state) % VOCAB);
        rsr_sequence *sequence;
        CHECK_INT(API->sequence_create(without, &sequence, NULL), RSR_OK);
        CHECK_INT(fake_feed(without, sequence, tokens, n, VOCAB, expected), RSR_OK);
        API->sequence_destroy(sequence);
        talk(with, cache, tokens, n, expected);
        CHECK_INT(n_free_tokens(with), PAGES * RSR_PAGE_TOKENS); /* cached pages count as free */
    }
    const rsr_prefix_cache_info info = info_of(cache);
    CHECK(info.takes == N_TALKS && info.hits > N_TALKS / 4 && info.cached_tokens > 0);
    CHECK(info.cached_tokens < info.tokens && info.evicted_pages > 0);
    CHECK((info.yielded_pages > 0) == (budget_pages == 0));
    CHECK_INT(API->prefix_cache_shrink(cache, 0, NULL), RSR_OK);
    CHECK_INT(info_of(cache).bytes, 0);
    CHECK_INT(with->kv.n_free, PAGES);
    API->prefix_cache_destroy(cache);
    API->engine_destroy(with);
    API->engine_destroy(without);
}

/* Checks step by step who holds which page. */
static void test_pages(rsr_model *model) {
    rsr_engine *engine = fake_engine(model, 1, 64, 4 * RSR_PAGE_TOKENS);
    const uint64_t page_bytes = engine->info.kv_bytes / 4;
    rsr_prefix_cache *cache = new_cache(engine, 3 * page_bytes + 1);
    uint32_t tokens[CONTEXT] = {0};
    rsr_sequence *a, *b;
    CHECK_INT(info_of(cache).budget_bytes, 3 * page_bytes);
    a = take(cache, NULL, 0, 0);
    CHECK_INT(fake_feed(engine, a, tokens, 100, VOCAB, NULL), RSR_OK);
    CHECK_INT(API->prefix_cache_put(cache, a, NULL), RSR_OK);
    CHECK_INT(info_of(cache).bytes, 2 * page_bytes);
    CHECK_INT(engine->kv.n_free, 2); /* nothing was copied */
    CHECK_INT(API->prefix_cache_put(cache, a, NULL), RSR_OK);
    CHECK_INT(info_of(cache).bytes, 2 * page_bytes);
    b = take(cache, tokens, 90, 89);
    CHECK_INT(engine->kv.n_free, 2);
    CHECK_INT(n_free_tokens(engine), 2 * RSR_PAGE_TOKENS); /* sequences have what is cached */
    CHECK_INT(fake_feed(engine, b, tokens + 1, 1, VOCAB, NULL), RSR_OK); /* its own open page */
    CHECK_INT(engine->kv.n_free, 1);
    CHECK_INT(fake_feed(engine, a, tokens + 1, 20, VOCAB, NULL), RSR_OK);
    CHECK_INT(engine->kv.n_free, 0);
    API->sequence_destroy(b);
    CHECK_INT(API->prefix_cache_put(cache, a, NULL), RSR_OK); /* takes the place of its beginning */
    CHECK_INT(info_of(cache).bytes, 2 * page_bytes);
    CHECK_INT(engine->kv.n_free, 2);
    CHECK_INT(info_of(cache).evicted_pages, 0);
    API->sequence_destroy(a);
    CHECK_INT(n_free_tokens(engine), 4 * RSR_PAGE_TOKENS);
    /* A sequence that needs all pages gets the cache's pages, too. */
    CHECK_INT(API->sequence_create(engine, &a, NULL), RSR_OK);
    CHECK_INT(fake_feed(engine, a, tokens, CONTEXT, VOCAB, NULL), RSR_OK);
    CHECK_INT(info_of(cache).yielded_pages, 2);
    /* If tokens exceed the budget, the beginning is kept. */
    CHECK_INT(API->prefix_cache_put(cache, a, NULL), RSR_OK);
    CHECK_INT(info_of(cache).bytes, 3 * page_bytes);
    b = take(cache, tokens, CONTEXT, 3 * RSR_PAGE_TOKENS);
    API->sequence_destroy(a);
    API->sequence_destroy(b);
    API->prefix_cache_destroy(cache);
    CHECK_INT(engine->kv.n_free, 4);
    CHECK_INT(engine->kv.n_only_kept, 0);
    API->engine_destroy(engine);
}

/* A sequence holds all pages, and the cache also holds its open page: the cache gives up this very
 * page. */
static void test_own_page(rsr_model *model) {
    rsr_engine *engine = fake_engine(model, 1, 64, 2 * RSR_PAGE_TOKENS);
    rsr_prefix_cache *cache = new_cache(engine, 0);
    const uint32_t tokens[CONTEXT] = {0};
    rsr_sequence *a = take(cache, tokens, 1, 0);
    CHECK_INT(fake_feed(engine, a, tokens, 100, VOCAB, NULL), RSR_OK);
    CHECK_INT(API->prefix_cache_put(cache, a, NULL), RSR_OK);
    CHECK_INT(fake_feed(engine, a, tokens, 28, VOCAB, NULL), RSR_OK);
    CHECK_INT(info_of(cache).yielded_pages, 1);
    CHECK_INT(fake_feed(engine, a, tokens, 1, VOCAB, NULL), RSR_ERR_FULL);
    CHECK_INT(info_of(cache).bytes, 0); /* although that could not help */
    API->sequence_destroy(a);
    API->prefix_cache_destroy(cache);
    API->engine_destroy(engine);
}

static void test_refusals(rsr_model *model) {
    rsr_engine *engine = fake_engine(model, 1, 64, 64), *other = fake_engine(model, 1, 64, 64);
    rsr_prefix_cache_options options = RSR_PREFIX_CACHE_OPTIONS_INIT;
    rsr_prefix_cache *cache = NULL;
    rsr_sequence *sequence = NULL;
    rsr_error err = RSR_ERROR_INIT;
    CHECK_INT(API->prefix_cache_create(NULL, NULL, &cache, &err), RSR_ERR_ARGUMENT);
    options.budget_bytes = 1;
    CHECK_INT(API->prefix_cache_create(engine, &options, &cache, &err), RSR_ERR_ARGUMENT);
    CHECK(strncmp(err.message, "a budget of 1 bytes holds no page of keys and values", 52) == 0);
    CHECK(cache == NULL);
    cache = new_cache(engine, 0);
    CHECK_INT(API->prefix_cache_take(cache, NULL, 3, &sequence, &err), RSR_ERR_ARGUMENT);
    CHECK_STR(err.message, "rsr_prefix_cache_take: a pointer is NULL");
    CHECK(sequence == NULL);
    CHECK_INT(API->prefix_cache_put(cache, NULL, &err), RSR_ERR_ARGUMENT);
    CHECK_INT(API->sequence_create(other, &sequence, NULL), RSR_OK);
    CHECK_INT(API->prefix_cache_put(cache, sequence, &err), RSR_ERR_ARGUMENT);
    CHECK_STR(err.message, "rsr_prefix_cache_put: the sequence is another engine's");
    CHECK_INT(API->prefix_cache_put(NULL, sequence, &err), RSR_ERR_ARGUMENT);
    CHECK_INT(API->prefix_cache_shrink(NULL, 0, &err), RSR_ERR_ARGUMENT);
    CHECK_INT(API->prefix_cache_get_info(cache, NULL), RSR_ERR_ARGUMENT);
    API->sequence_destroy(sequence);
    API->prefix_cache_destroy(NULL);
    API->prefix_cache_destroy(cache);
    API->engine_destroy(engine);
    API->engine_destroy(other);
}

int main(void) {
    static struct fake_module fake;
    struct fake_shape shape = fake_small_shape(VOCAB, CONTEXT);
    shape.head_dim = 12; /* rows are padded to 16 */
    fake_module_init(&fake, &shape, 1);
    rsr_model *model = fake_open(&fake, RSR_OPS_GENERIC);
    test_tree();
    test_pages(model);
    test_own_page(model);
    test_refusals(model);
    test_bits(model, NULL, 1, 0);
    test_bits(model, NULL, 2, 4);
    test_bits(model, "louver:topk:8,min=1", 2, 0);
    test_bits(model, "louver:mass:1e-2,min=80", 1, 4);
    API->close(model);
    return CHECK_EXIT();
}
