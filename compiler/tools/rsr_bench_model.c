/* rsr_bench_model.c - prefill and decode speed of a compiled model beside the machine's bandwidth. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rsr.h"
#include "rsr_bench.h"

#define MAX_PROFILE 64

struct model_bench {
    const struct bench_options *options;
    rsr_error err;
    rsr_model *model;
    rsr_engine *engine;
    rsr_model_info info;
    rsr_sequence **sequences; /* [batch] */
    rsr_batch_entry *entries;
    float *logits; /* [batch][vocab] */
};

/* Every failure of the library arrives here once. */
static bool say(const struct model_bench *b) {
    fprintf(stderr, "rsr-bench: %s\n", b->err.message);
    return false;
}

static uint64_t resident_bytes(void) {
    uint64_t pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file != NULL) {
        unsigned long long size, resident;
        if (fscanf(file, "%llu %llu", &size, &resident) == 2)
            pages = resident;
        fclose(file);
    }
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static bool prefill(struct model_bench *b, uint32_t sequence, uint64_t *seed, double *ns) {
    const uint32_t n = b->options->prompt_tokens;
    for (uint32_t i = 0; i < n; i++)
        b->entries[i] = (rsr_batch_entry){.sequence = b->sequences[sequence],
                                          .position = i,
                                          .token = (uint32_t)(rsrc_random(seed) % b->info.vocab),
                                          .want_logits = i + 1 == n};
    rsr_batch batch = RSR_BATCH_INIT;
    batch.entries = b->entries;
    batch.n_entries = n;
    batch.logits = b->logits + (size_t)sequence * b->info.vocab;
    batch.logits_capacity = b->info.vocab;
    const uint64_t start = rsrc_now_ns();
    if (rsr_eval(b->engine, &batch, &b->err) != RSR_OK)
        return say(b);
    *ns += (double)(rsrc_now_ns() - start);
    return true;
}

static bool decode(struct model_bench *b, double *ns) {
    const uint32_t n = b->options->batch;
    const rsr_sampling greedy = RSR_SAMPLING_INIT;
    for (uint32_t g = 0; g < b->options->gen_tokens; g++) {
        const uint64_t start = rsrc_now_ns();
        for (uint32_t s = 0; s < n; s++) {
            uint32_t token;
            if (rsr_sample(b->model, &greedy, b->logits + (size_t)s * b->info.vocab, NULL, 0,
                           &token, &b->err) != RSR_OK)
                return say(b);
            b->entries[s] = (rsr_batch_entry){.sequence = b->sequences[s],
                                              .position = b->options->prompt_tokens + g,
                                              .token = token,
                                              .want_logits = true};
        }
        rsr_batch batch = RSR_BATCH_INIT;
        batch.entries = b->entries;
        batch.n_entries = n;
        batch.logits = b->logits;
        batch.logits_capacity = (size_t)n * b->info.vocab;
        if (rsr_eval(b->engine, &batch, &b->err) != RSR_OK)
            return say(b);
        *ns += (double)(rsrc_now_ns() - start);
    }
    return true;
}

static bool one_run(struct model_bench *b, uint64_t *seed, double *prefill_tps,
                    double *decode_tps) {
    double prefill_ns = 0, decode_ns = 0;
    for (uint32_t s = 0; s < b->options->batch; s++) {
        if (rsr_sequence_truncate(b->sequences[s], 0, &b->err) != RSR_OK)
            return say(b);
        if (!prefill(b, s, seed, &prefill_ns))
            return false;
    }
    if (!decode(b, &decode_ns))
        return false;
    const double batch = b->options->batch;
    *prefill_tps = b->options->prompt_tokens * batch / prefill_ns * 1e9;
    *decode_tps = b->options->gen_tokens * batch / decode_ns * 1e9;
    return true;
}

static json_t *profile(struct model_bench *b) {
    rsr_profile_entry entries[MAX_PROFILE];
    size_t n = 0;
    if (rsr_engine_profile(b->engine, true, entries, MAX_PROFILE, &n) != RSR_OK)
        return NULL;
    uint64_t total = 1;
    for (size_t i = 0; i < n; i++)
        total += entries[i].time_ns;
    json_t *rows = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(
            rows, json_pack("{s:s, s:f, s:f, s:I, s:f}", "op", entries[i].name, "ms",
                            (double)entries[i].time_ns / 1e6, "share",
                            (double)entries[i].time_ns / (double)total, "calls",
                            (json_int_t)entries[i].calls, "gbps",
                            entries[i].time_ns == 0
                                ? 0.0
                                : (double)entries[i].weight_bytes / (double)entries[i].time_ns));
    return rows;
}

/* Bytes of one decode step by the layout of the model: weights once, KV of the mean context. */
static double bytes_per_step(const struct model_bench *b) {
    const double context = b->options->prompt_tokens + b->options->gen_tokens / 2.0;
    const double kv = context * b->info.n_layers * b->info.n_kv_heads * b->info.head_dim * 2.0 *
                      sizeof(float) * b->options->batch;
    return (double)b->info.token_bytes + kv;
}

static bool set_up(struct model_bench *b, double *load_ms) {
    const struct bench_options *options = b->options;
    const uint64_t start = rsrc_now_ns();
    if (rsr_open(options->model, NULL, &b->model, &b->err) != RSR_OK)
        return say(b);
    *load_ms = (double)(rsrc_now_ns() - start) / 1e6;
    if (rsr_model_get_info(b->model, &b->info) != RSR_OK)
        return say(b);
    const uint64_t length = (uint64_t)options->prompt_tokens + options->gen_tokens;
    if (length > b->info.context) {
        fprintf(stderr, "rsr-bench: %llu tokens exceed the model's context of %u\n",
                (unsigned long long)length, b->info.context);
        return false;
    }
    rsr_engine_options engine = RSR_ENGINE_OPTIONS_INIT;
    engine.n_threads = options->threads;
    engine.attention = options->attention;
    engine.context = (uint32_t)length;
    engine.kv_tokens = ((uint32_t)length + 64) * options->batch;
    if (rsr_engine_create(b->model, &engine, &b->engine, &b->err) != RSR_OK)
        return say(b);
    const uint32_t n_entries =
        options->prompt_tokens > options->batch ? options->prompt_tokens : options->batch;
    b->sequences = calloc(options->batch, sizeof(*b->sequences));
    b->entries = calloc(n_entries, sizeof(*b->entries));
    b->logits = calloc((size_t)options->batch * b->info.vocab, sizeof(float));
    if (b->sequences == NULL || b->entries == NULL || b->logits == NULL)
        rsrc_out_of_memory((size_t)options->batch * b->info.vocab * sizeof(float));
    for (uint32_t s = 0; s < options->batch; s++)
        if (rsr_sequence_create(b->engine, &b->sequences[s], &b->err) != RSR_OK)
            return say(b);
    return true;
}

static json_t *measure(struct model_bench *b, double load_ms) {
    const struct bench_options *options = b->options;
    double prefill_tps[64], decode_tps[64], prefill_spread, decode_spread;
    const uint32_t runs = options->runs < 64 ? options->runs : 64;
    uint64_t seed = options->seed;
    double ignored[2];
    if (!one_run(b, &seed, &ignored[0], &ignored[1])) /* the first touches pages and caches */
        return NULL;
    if (options->profile) {
        size_t n = 0;
        if (rsr_engine_profile(b->engine, true, NULL, 0, &n) != RSR_OK)
            return NULL;
    }
    for (uint32_t i = 0; i < runs; i++)
        if (!one_run(b, &seed, &prefill_tps[i], &decode_tps[i]))
            return NULL;
    json_t *rows = options->profile ? profile(b) : NULL;
    const uint64_t rss = resident_bytes();
    rsr_engine_info engine = RSR_ENGINE_INFO_INIT;
    if (rsr_engine_get_info(b->engine, &engine) != RSR_OK)
        return NULL;
    void *memory = bench_alloc(BENCH_STREAM_BYTES);
    if (memory == NULL)
        return NULL;
    const double dram = bench_read_gbps(memory, BENCH_STREAM_BYTES, engine.n_threads, runs);
    rsrc_unmap_pages(memory, BENCH_STREAM_BYTES);
    const double prefill = rsrc_median(prefill_tps, runs, &prefill_spread);
    const double decode = rsrc_median(decode_tps, runs, &decode_spread);
    const double step_bytes = bytes_per_step(b);
    json_t *result = json_pack(
        "{s:f, s:f, s:f, s:f, s:f, s:f, s:I, s:i, s:i, s:i, s:f, s:f}", "prefill_tps", prefill,
        "decode_tps", decode, "bytes_per_token", step_bytes / options->batch, "dram_gbps", dram,
        "roofline_ratio", step_bytes * decode / options->batch / 1e9 / dram, "load_ms", load_ms,
        "rss_bytes", (json_int_t)rss, "threads", (int)engine.n_threads, "batch",
        (int)options->batch, "runs", (int)runs, "prefill_spread", prefill_spread, "decode_spread",
        decode_spread);
    if (rows != NULL)
        json_object_set_new(result, "profile", rows);
    return result;
}

int bench_model(const struct bench_options *options) {
    struct model_bench b = {.options = options, .err = RSR_ERROR_INIT, .info = RSR_MODEL_INFO_INIT};
    double load_ms = 0;
    json_t *result = set_up(&b, &load_ms) ? measure(&b, load_ms) : NULL;
    const int code = result != NULL ? 0 : 1;
    if (result != NULL)
        bench_print(result, options->json);
    for (uint32_t s = 0; b.sequences != NULL && s < options->batch; s++)
        rsr_sequence_destroy(b.sequences[s]);
    free(b.sequences);
    free(b.entries);
    free(b.logits);
    rsr_engine_destroy(b.engine);
    rsr_close(b.model);
    return code;
}
