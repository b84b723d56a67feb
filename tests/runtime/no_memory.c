/* Lets every allocation in a module's life fail once: the current call must return RSR_ERR_MEMORY
 *     and change nothing, and all earlier objects must still work. no_memory MODEL.so
 * This program's malloc is the module's, too. The calls of the dynamic
 * linker do not fail. */
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "rsr.h"
#include "rsr_louver.h"

/* ---- Memory that fails ---- */

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t),
    *__libc_memalign(size_t, size_t);

static _Atomic long n_left = -1; /* calls before the one that fails; below 0: none does */

static bool fails(const void *caller) {
    Dl_info info;
    if (n_left < 0 || dladdr(caller, &info) == 0 || strstr(info.dli_fname, "/ld-") != NULL ||
        n_left-- > 0)
        return false;
    errno = ENOMEM;
    return true;
}
#define FAILS fails(__builtin_return_address(0))

RSR_EXPORT void *malloc(size_t n) {
    return FAILS ? NULL : __libc_malloc(n);
}
RSR_EXPORT void *calloc(size_t n, size_t size) {
    return FAILS ? NULL : __libc_calloc(n, size);
}
RSR_EXPORT void *realloc(void *old, size_t n) {
    return FAILS ? NULL : __libc_realloc(old, n);
}
RSR_EXPORT void *aligned_alloc(size_t alignment, size_t n) {
    return FAILS ? NULL : __libc_memalign(alignment, n);
}
RSR_EXPORT void *mmap(void *at, size_t n, int access, int flags, int fd, off_t offset) {
    if (FAILS)
        return MAP_FAILED;
    return (void *)syscall(SYS_mmap, at, n, access, flags, fd, offset); /* NOLINT */
}

/* ---- What is tried ---- */

#define N_TOKENS 70u
#define DIM 64u
#define N_KEYS 200u

static rsr_error err = RSR_ERROR_INIT;
static int n_problems;

static bool problem(const char *what) {
    printf("%s: status %d: %s\n", what, (int)err.status, err.message);
    n_problems++;
    return false;
}

/* True: the call succeeded. False: there was no memory, and the message says so. */
static bool done(const char *what, rsr_status status) {
    if (status == RSR_OK) /* and does not change err */
        return err.message[0] == '\0' || problem(what);
    if (status != RSR_ERR_MEMORY || err.status != status || err.message[0] == '\0')
        problem(what);
    return false;
}
#define DONE(call) done(#call, call)

struct life {
    rsr_model *model;
    rsr_engine *engine;
    rsr_sequence *sequence, *fork, *taken, *loaded;
    rsr_prefix_cache *cache;
    rsr_louver *index, *index_fork;
};

/* The results, which must be equal in all runs that succeed. */
struct outcome {
    uint32_t tokens[32], chat[64], picked;
    size_t n_tokens, n_chat, n_bytes;
    char text[512];
    float out[DIM];
};

static bool use_text(struct life *l, const char *path, struct outcome *o) {
    const char text[] = "The \xc3\xa9 of\xff <|eot_id|> it";
    const rsr_message message = {"user", "Hi \xff"};
    const char conversation[] = "[{\"role\":\"user\",\"content\":\"\\u00e9 <|eot_id|>\xff\"}]";
    return DONE(rsr_open(path, NULL, &l->model, &err)) &&
           DONE(rsr_tokenize(l->model, text, sizeof(text) - 1, RSR_TOKENIZE_PARSE_SPECIAL,
                             o->tokens, 32, &o->n_tokens, &err)) &&
           DONE(rsr_chat_format(l->model, &message, 1, true, o->text, sizeof(o->text), &o->n_bytes,
                                &err)) &&
           DONE(rsr_chat_tokens(l->model, conversation, sizeof(conversation) - 1, true, o->chat, 64,
                                &o->n_chat, &err));
}

static rsr_status append_tokens(struct life *l, uint32_t n, const rsr_pick *pick,
                                uint32_t *picked) {
    rsr_batch_entry entries[N_TOKENS];
    rsr_batch batch = RSR_BATCH_INIT;
    for (uint32_t i = 0; i < n; i++)
        entries[i] = (rsr_batch_entry){
            .sequence = l->sequence, .position = rsr_sequence_length(l->sequence) + i, .token = i};
    batch.entries = entries;
    batch.n_entries = n;
    batch.picks = pick;
    batch.n_picks = pick != NULL;
    batch.picked = picked;
    return rsr_eval(l->engine, &batch, &err);
}

static bool use_engine(struct life *l, struct outcome *o) {
    rsr_engine_options options = RSR_ENGINE_OPTIONS_INIT;
    rsr_sampling sampling = RSR_SAMPLING_INIT;
    const rsr_pick pick = {N_TOKENS - 1, &sampling};
    rsr_generate_options generate = RSR_GENERATE_OPTIONS_INIT;
    options.n_threads = 2;
    options.kv_tokens = 512;
    options.attention = "louver:topk:4,min=1";
    options.kv_type = "int8";
    sampling.temperature = 1.0f;
    sampling.repeat_penalty = 1.2f;
    generate.max_tokens = 3;
    generate.sampling = &sampling;
    return DONE(rsr_engine_create(l->model, &options, &l->engine, &err)) &&
           DONE(rsr_sequence_create(l->engine, &l->sequence, &err)) &&
           DONE(append_tokens(l, N_TOKENS, &pick, &o->picked)) &&
           DONE(rsr_sequence_fork(l->sequence, &l->fork, &err)) &&
           DONE(rsr_sequence_truncate(l->fork, 63, &err)) &&
           DONE(rsr_generate(l->engine, l->fork, "it", 2, &generate, NULL, NULL, NULL, &err));
}

static bool use_prefixes(struct life *l, const char *path) {
    char file[4096];
    const uint32_t *tokens = rsr_sequence_tokens(l->sequence);
    snprintf(file, sizeof(file), "%s.kv", path);
    return DONE(rsr_prefix_cache_create(l->engine, NULL, &l->cache, &err)) &&
           DONE(rsr_prefix_cache_put(l->cache, l->sequence, &err)) &&
           DONE(rsr_prefix_cache_take(l->cache, tokens, N_TOKENS, &l->taken, &err)) &&
           DONE(rsr_sequence_save(l->taken, file, &err)) &&
           DONE(rsr_sequence_load(l->engine, file, &l->loaded, &err));
}

static bool use_index(struct life *l, struct outcome *o) {
    static float rows[N_KEYS * DIM];
    rsr_louver_options options = RSR_LOUVER_OPTIONS_INIT;
    rsr_louver_query query = RSR_LOUVER_QUERY_INIT;
    rsr_louver_info info = RSR_LOUVER_INFO_INIT;
    for (uint32_t i = 0; i < N_KEYS * DIM; i++)
        rows[i] = (float)(i * 7919 % 101) - 50.0f;
    options.head_dim = DIM;
    query.q = rows;
    query.out = o->out;
    if (!DONE(rsr_louver_create(&options, &l->index, &err)) ||
        !DONE(rsr_louver_append(l->index, rows, rows, 10, &err)))
        return false;
    if (!DONE(rsr_louver_append(l->index, rows, rows, N_KEYS - 10, &err)))
        return rsr_louver_get_info(l->index, &info) != RSR_OK || info.length != 10
                   ? problem("keys of an append that failed")
                   : false;
    return DONE(rsr_louver_fork(l->index, &l->index_fork, &err)) &&
           DONE(rsr_louver_truncate(l->index_fork, 65, &err)) &&
           DONE(rsr_louver_attend(l->index_fork, &query, NULL, &err));
}

/* Checks that existing objects work, and that all pages are given back. */
static void end(struct life *l) {
    rsr_engine_info info = RSR_ENGINE_INFO_INIT;
    if (l->sequence != NULL && append_tokens(l, 1, NULL, NULL) != RSR_OK)
        problem("a token behind a failure");
    rsr_sequence_destroy(l->sequence);
    rsr_sequence_destroy(l->fork);
    rsr_sequence_destroy(l->taken);
    rsr_sequence_destroy(l->loaded);
    rsr_prefix_cache_destroy(l->cache);
    if (l->engine != NULL &&
        (rsr_engine_get_info(l->engine, &info) != RSR_OK || info.kv_tokens_free != info.kv_tokens))
        problem("pages of sequences that ended");
    rsr_louver_destroy(l->index);
    rsr_louver_destroy(l->index_fork);
    rsr_engine_destroy(l->engine);
    rsr_close(l->model);
}

/* Lets the allocation after n_before others fail; true if there were that many. */
static bool live(const char *path, long n_before, const struct outcome *right) {
    struct life life = {0};
    struct outcome outcome = {0};
    err = (rsr_error)RSR_ERROR_INIT;
    n_left = n_before;
    const bool well = use_text(&life, path, &outcome) && use_engine(&life, &outcome) &&
                      use_prefixes(&life, path) && use_index(&life, &outcome);
    const bool failed = n_left < 0;
    n_left = -1;
    if (well && memcmp(&outcome, right, sizeof(outcome)) != 0)
        problem("another outcome");
    end(&life);
    return failed;
}

int main(int argc, char **argv) {
    struct life life = {0};
    struct outcome right = {0};
    if (argc != 2)
        return 2;
    const bool well = use_text(&life, argv[1], &right) && use_engine(&life, &right) &&
                      use_prefixes(&life, argv[1]) && use_index(&life, &right);
    end(&life);
    long n = 0;
    while (well && live(argv[1], n, &right))
        n++;
    printf("%ld allocations failed\n", n);
    return !well || n_problems != 0;
}
