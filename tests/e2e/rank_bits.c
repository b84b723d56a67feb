/* rank_bits.c - evaluates a module with several ranks, in every way that its API has: all results
 * must have the bits of one process. Prints a hash of them.
 *
 * usage: rank_bits MODULE.so                        ranks are threads of this process: 2, 3, 4, 7
 *        rank_bits MODULE.so N PARTS                N ranks, each with its own part: PARTS-0.so and
 *                                                   so on
 *        mpirun -n N rank_bits_mpi MODULE.so        ranks are processes
 *
 * With RANK_BITS_PIPELINE in the environment ranks share out layers, at most one rank a layer.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rsr.h"

#ifdef RANK_BITS_MPI
#include "mpi_transport.h"
#else
#include "thread_ranks.h"
#endif

#define N_TOKENS 150 /* more than two KV pages, and not a multiple of anything */

static uint32_t tokens[N_TOKENS];
static rsr_model *model;
static rsr_model_info info = RSR_MODEL_INFO_INIT;
static rsr_error err = RSR_ERROR_INIT;
static uint64_t hash;

static void must(rsr_status status, const char *what) {
    if (status != RSR_OK) {
        fprintf(stderr, "rank_bits: %s: %s\n", what, err.message);
        exit(1);
    }
}

static void add(const void *results, size_t n_bytes) { /* FNV-1a */
    const unsigned char *bytes = results;
    for (size_t i = 0; i < n_bytes; i++)
        hash = (hash ^ bytes[i]) * 1099511628211u;
}

/* ---- One engine's work ---- */

static float *outputs; /* [N_TOKENS][output_size] */

static rsr_sequence *new_sequence(rsr_engine *engine) {
    rsr_sequence *sequence = NULL;
    must(rsr_sequence_create(engine, &sequence, &err), "rsr_sequence_create");
    return sequence;
}

static uint32_t put_tokens(rsr_batch_entry *entries, uint32_t n, rsr_sequence *sequence,
                           uint32_t begin, uint32_t end) {
    for (uint32_t i = begin; i < end; i++)
        entries[n++] = (rsr_batch_entry){sequence, i, tokens[i], i % 5 != 2};
    return n;
}

static void eval(rsr_engine *engine, rsr_batch *batch, const rsr_batch_entry *entries, uint32_t n) {
    batch->entries = entries;
    batch->n_entries = n;
    batch->logits = outputs;
    batch->logits_capacity = (size_t)N_TOKENS * info.output_size;
    memset(outputs, 0, batch->logits_capacity * sizeof(float));
    must(rsr_eval(engine, batch, &err), "rsr_eval");
    add(outputs, batch->logits_capacity * sizeof(float));
}

/* A step of each sequence, with picks of every kind and log-probabilities. */
static void pick(rsr_engine *engine, rsr_sequence **sequences, uint32_t n, uint32_t step) {
    rsr_batch batch = RSR_BATCH_INIT;
    rsr_batch_entry entries[4];
    rsr_pick picks[4];
    rsr_sampling sampling[4];
    rsr_logprob found[3] = {{0}};
    uint32_t picked[4], allowed[8] = {0};
    const rsr_logprobs logprobs = {.entry = 1, .token = UINT32_MAX, .n_top = 2, .results = found};
    const rsr_logit_bias bias = {.token = 17, .bias = 30.0f};
    for (uint32_t i = 0; i < 8; i++)
        allowed[i] = 0x5;
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t length = rsr_sequence_length(sequences[i]);
        entries[i] = (rsr_batch_entry){sequences[i], length, tokens[length], step == 2 && i == 0};
        sampling[i] = (rsr_sampling)RSR_SAMPLING_INIT;
        sampling[i].seed = step;
        picks[i] = (rsr_pick){i, &sampling[i]};
    }
    sampling[1].temperature = 0.8f;
    sampling[1].top_k = 3;
    sampling[2].temperature = 1.1f;
    sampling[2].top_p = step == 0 ? 0.9f : 1.0f;
    sampling[2].min_p = step == 1 ? 0.05f : 0.0f;
    if (step % 2 == 1) { /* penalties, and a token that becomes likelier */
        sampling[0].repeat_penalty = 1.3f;
        sampling[1].frequency_penalty = 0.4f;
        sampling[1].logit_bias = &bias;
        sampling[1].n_logit_bias = 1;
    }
    sampling[3].allowed = allowed;
    sampling[3].allowed_words = info.vocab < 256 ? (info.vocab + 31) / 32 : 8;
    batch.picks = picks;
    batch.n_picks = info.vocab < 256 ? n : n - 1; /* the mask is of 256 tokens */
    batch.picked = picked;
    batch.logprobs = &logprobs;
    batch.n_logprobs = 1;
    eval(engine, &batch, entries, n);
    add(picked, batch.n_picks * sizeof(picked[0]));
    add(found, sizeof(found));
}

static bool take_token(void *user, const rsr_generated *generated) {
    (void)user;
    add(&generated->token, sizeof(generated->token));
    return true;
}

/* A text that repeats itself, with drafts. */
static void speculate(rsr_engine *engine) {
    rsr_sequence *sequence = new_sequence(engine);
    rsr_generate_options options = RSR_GENERATE_OPTIONS_INIT;
    uint32_t prompt[60];
    for (uint32_t i = 0; i < 60; i++)
        prompt[i] = tokens[i % 6];
    options.prompt_tokens = prompt;
    options.n_prompt_tokens = 60;
    options.max_tokens = 24;
    options.ignore_stop = true;
    options.speculate = 6;
    must(rsr_generate(engine, sequence, NULL, 0, &options, take_token, NULL, NULL, &err),
         "rsr_generate");
    rsr_sequence_destroy(sequence);
}

static void embed(rsr_engine *engine) {
    const uint32_t *const texts[] = {tokens, tokens + 9, tokens + 20};
    const size_t lengths[] = {9, 70, 1};
    rsr_embed_options options = RSR_EMBED_OPTIONS_INIT;
    options.pooling = "mean";
    memset(outputs, 0, 3 * info.hidden * sizeof(float));
    must(rsr_embed(engine, texts, lengths, 3, &options, outputs, (size_t)3 * info.hidden, &err),
         "rsr_embed");
    add(outputs, 3 * info.hidden * sizeof(float));
}

/* Returns the hash of all results. */
static uint64_t work(rsr_engine *engine) {
    rsr_batch batch = RSR_BATCH_INIT;
    rsr_batch_entry entries[N_TOKENS];
    rsr_sequence *a = new_sequence(engine), *b = NULL, *c = new_sequence(engine), *d = NULL;
    hash = 14695981039346656037u;
    eval(engine, &batch, entries, put_tokens(entries, 0, a, 0, 100));
    must(rsr_sequence_fork(a, &b, &err), "rsr_sequence_fork");
    must(rsr_sequence_truncate(b, 70, &err), "rsr_sequence_truncate");
    uint32_t n = put_tokens(entries, 0, c, 0, 40);
    n = put_tokens(entries, n, a, 100, 101);
    n = put_tokens(entries, n, b, 70, 75);
    eval(engine, &batch, entries, put_tokens(entries, n, c, 40, 43));
    must(rsr_sequence_fork(b, &d, &err), "rsr_sequence_fork");
    rsr_sequence *const all[] = {a, b, c, d};
    for (uint32_t step = 0; step < 4 && info.pooling == NULL; step++)
        pick(engine, (rsr_sequence **)all, 4, step);
    if (info.pooling == NULL && info.has_tokenizer)
        speculate(engine);
    embed(engine);
    for (uint32_t i = 0; i < 4; i++)
        rsr_sequence_destroy(all[i]);
    return hash;
}

/* ---- Engines ---- */

static const struct way {
    const char *kv_type;
    uint32_t n_threads, max_batch;
} ways[] = {{"f32", 1, 128}, {"bf16", 2, 128}, {"f16", 1, 7}, {"int8", 2, 1}};
#define N_WAYS (sizeof(ways) / sizeof(ways[0]))

static bool is_pipeline;
static const char *parts_name; /* NULL: all ranks have the whole module */
static rsr_model *parts[8];

static rsr_model *model_of(uint32_t rank, const rsr_transport *transport) {
    char path[4096];
    rsr_error why = RSR_ERROR_INIT;
    if (parts_name == NULL || transport == NULL)
        return model;
    snprintf(path, sizeof(path), "%s-%u.so", parts_name, rank);
    if (parts[rank] == NULL && rsr_open(path, NULL, &parts[rank], &why) != RSR_OK) {
        fprintf(stderr, "rank_bits: %s\n", why.message);
        exit(1);
    }
    return parts[rank];
}

static rsr_status create(void *user, uint32_t rank, const rsr_transport *transport,
                         rsr_engine **engine, rsr_error *error) {
    const struct way *way = user;
    rsr_engine_options options = RSR_ENGINE_OPTIONS_INIT;
    options.n_threads = way->n_threads;
    options.all_threads = true;
    options.context = 256;
    options.kv_tokens = 2048;
    options.max_batch = way->max_batch;
    options.kv_type = way->kv_type;
    options.transport = transport;
    options.pipeline = is_pipeline && transport != NULL;
    return rsr_engine_create(model_of(rank, transport), &options, engine, error);
}

static void open_module(const char *path) {
    uint64_t state = 12345;
    is_pipeline = getenv("RANK_BITS_PIPELINE") != NULL;
    must(rsr_open(path, NULL, &model, &err), "rsr_open");
    must(rsr_model_get_info(model, &info), "rsr_model_get_info");
    outputs =
        calloc((size_t)N_TOKENS * (info.output_size > info.hidden ? info.output_size : info.hidden),
               sizeof(float));
    for (uint32_t i = 0; i < N_TOKENS; i++) {
        state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        tokens[i] = (uint32_t)((state >> 33) % info.vocab);
    }
}

/* The hash of one process, and whether that of the ranks is another. */
static uint32_t compare(const struct way *way, uint32_t n_ranks, rsr_engine *engine) {
    rsr_engine *alone = NULL;
    must(create((void *)(uintptr_t)way, 0, NULL, &alone, &err), "rsr_engine_create");
    const uint64_t expected = work(alone);
    rsr_engine_destroy(alone);
    const bool differs = work(engine) != expected;
    rsr_head_stats stats = RSR_HEAD_STATS_INIT;
    must(rsr_engine_head_stats(engine, false, &stats), "rsr_engine_head_stats");
    printf("%u ranks, %s: %016" PRIx64 ", %u picks by a sketch%s\n", n_ranks, way->kv_type,
           expected, (unsigned)stats.sketched, differs ? ", and other bits" : "");
    return differs;
}

#ifdef RANK_BITS_MPI
int main(int argc, char **argv) {
    uint32_t n_bad = 0;
    rsr_transport transport;
    if (argc != 2 || !mpi_transport_begin("rank_bits"))
        return 1;
    mpi_transport_open(&transport);
    open_module(argv[1]);
    for (size_t i = 0; i < N_WAYS; i++) {
        rsr_engine *engine = NULL;
        must(create((void *)(uintptr_t)&ways[i], 0, &transport, &engine, &err),
             "rsr_engine_create");
        if (transport.rank == 0)
            n_bad += compare(&ways[i], transport.size, engine);
        else
            must(rsr_engine_follow(engine, &err), "rsr_engine_follow");
        rsr_engine_destroy(engine);
    }
    rsr_close(model);
    free(outputs);
    mpi_transport_end();
    return n_bad != 0;
}
#else
int main(int argc, char **argv) {
    static const uint32_t sizes[] = {2, 3, 4, 7};
    uint32_t n_bad = 0;
    const unsigned long n_parts = argc == 4 ? strtoul(argv[2], NULL, 10) : 0;
    if (argc != 2 && (n_parts < 2 || n_parts > sizeof(parts) / sizeof(parts[0])))
        return 2;
    parts_name = argv[argc == 4 ? 3 : argc];
    open_module(argv[1]);
    for (size_t i = 0; i < N_WAYS; i++) {
        struct thread_ranks ranks = {.create = create,
                                     .user = (void *)(uintptr_t)&ways[i],
                                     .follow = rsr_engine_follow,
                                     .destroy = rsr_engine_destroy};
        uint32_t n_ranks = argc == 4 ? (uint32_t)n_parts : sizes[i];
        if (is_pipeline && n_ranks > info.n_layers)
            n_ranks = info.n_layers;
        thread_ranks_begin(&ranks, n_ranks);
        err = ranks.ranks[0].err;
        must(ranks.ranks[0].created, "rsr_engine_create");
        n_bad += compare(&ways[i], n_ranks, ranks.ranks[0].engine);
        thread_ranks_end(&ranks);
        for (uint32_t r = 1; r < n_ranks; r++)
            n_bad += ranks.ranks[r].followed != RSR_OK;
    }
    for (size_t r = 0; r < sizeof(parts) / sizeof(parts[0]); r++)
        rsr_close(parts[r]);
    rsr_close(model);
    free(outputs);
    return n_bad != 0;
}
#endif
