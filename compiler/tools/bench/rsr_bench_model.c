/* rsr_bench_model.c - prefill and decode speed of a compiled model, compared with the machine's
 * bandwidth, by length of the prompt and number of sequences.
 *
 * The floor of a decode step is the time to read its bytes from memory: the bytes that the engine's
 * profile counts, over the read bandwidth measured in the same run with the same number of
 * threads. Of a GPU it is not known. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rsr.h"
#include "rsr_bench.h"
#include "rsr_hash.h"

#define MAX_PROFILE 64

struct model_bench {
    const struct bench_options *options;
    rsr_error err;
    rsr_model *model;
    rsr_engine *engine;
    rsr_model_info info;
    rsr_sequence **sequences; /* [batch] */
    rsr_batch_entry *entries;
    rsr_pick *picks;  /* [batch], greedy */
    uint32_t *tokens; /* [batch], picked last */
};

/* Reports a failure of the library, once. */
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
                                          .token = (uint32_t)(rsrc_random(seed) % b->info.vocab)};
    const rsr_pick pick = {.entry = n - 1};
    rsr_batch batch = RSR_BATCH_INIT;
    batch.entries = b->entries;
    batch.n_entries = n;
    batch.picks = &pick;
    batch.n_picks = 1;
    batch.picked = &b->tokens[sequence];
    const uint64_t start = rsrc_now_ns();
    if (rsr_eval(b->engine, &batch, &b->err) != RSR_OK)
        return say(b);
    *ns += (double)(rsrc_now_ns() - start);
    return true;
}

static bool decode(struct model_bench *b, double *ns) {
    const uint32_t n = b->options->batch;
    for (uint32_t g = 0; g < b->options->gen_tokens; g++) {
        const uint64_t start = rsrc_now_ns();
        for (uint32_t s = 0; s < n; s++) {
            b->entries[s] = (rsr_batch_entry){.sequence = b->sequences[s],
                                              .position = b->options->prompt_tokens + g,
                                              .token = b->tokens[s]};
            b->picks[s] = (rsr_pick){.entry = s};
        }
        rsr_batch batch = RSR_BATCH_INIT;
        batch.entries = b->entries;
        batch.n_entries = n;
        batch.picks = b->picks;
        batch.n_picks = n;
        batch.picked = b->tokens;
        if (rsr_eval(b->engine, &batch, &b->err) != RSR_OK)
            return say(b);
        *ns += (double)(rsrc_now_ns() - start);
    }
    return true;
}

static bool truncate_all(struct model_bench *b, uint32_t length) {
    for (uint32_t s = 0; s < b->options->batch; s++)
        if (rsr_sequence_truncate(b->sequences[s], length, &b->err) != RSR_OK)
            return say(b);
    return true;
}

/* The other sequences become forks of the first one, each with a first token of its own. */
static bool fork_first(struct model_bench *b, uint64_t *seed) {
    for (uint32_t s = 1; s < b->options->batch; s++) {
        rsr_sequence_destroy(b->sequences[s]);
        b->sequences[s] = NULL;
        if (rsr_sequence_fork(b->sequences[0], &b->sequences[s], &b->err) != RSR_OK)
            return say(b);
        b->tokens[s] = (uint32_t)(rsrc_random(seed) % b->info.vocab);
    }
    return true;
}

static uint32_t n_prompts(const struct model_bench *b) {
    return b->options->shared_prefix ? 1 : b->options->batch;
}

static bool prefill_all(struct model_bench *b, uint64_t *seed, double *ns) {
    if (!truncate_all(b, 0))
        return false;
    for (uint32_t s = 0; s < n_prompts(b); s++)
        if (!prefill(b, s, seed, ns))
            return false;
    return !b->options->shared_prefix || fork_first(b, seed);
}

static bool one_run(struct model_bench *b, uint64_t *seed, double *prefill_tps,
                    double *decode_tps) {
    double prefill_ns = 0, decode_ns = 0;
    if (!prefill_all(b, seed, &prefill_ns) || !decode(b, &decode_ns))
        return false;
    const double batch = b->options->batch;
    *prefill_tps = b->options->prompt_tokens * (double)n_prompts(b) / prefill_ns * 1e9;
    *decode_tps = b->options->gen_tokens * batch / decode_ns * 1e9;
    return true;
}

/* ---- Bytes and times by operation ---- */

/* Results of more steps with the engine's profile on, of decoding or of reading a prompt. Their
 * times show the parts of the unprofiled steps' times; their bytes are those of the unprofiled
 * steps. */
struct step_profile {
    rsr_profile_entry entries[MAX_PROFILE];
    size_t n_entries;
    double n_steps;
    double ns;    /* of a step, calls included */
    double bytes; /* of a step */
};

static bool begin_profile(struct model_bench *b) {
    size_t n = 0;
    return rsr_engine_profile(b->engine, true, NULL, 0, &n) == RSR_OK;
}

/* Averages n steps that took total_ns together. */
static bool end_profile(struct model_bench *b, uint32_t n, double ns,
                        struct step_profile *profile) {
    *profile =
        (struct step_profile){.n_steps = n, .ns = ns / n, .entries = {RSR_PROFILE_ENTRY_INIT}};
    if (rsr_engine_profile(b->engine, false, profile->entries, MAX_PROFILE, &profile->n_entries) !=
        RSR_OK)
        return false;
    for (size_t i = 0; i < profile->n_entries; i++)
        profile->bytes += (double)profile->entries[i].bytes / profile->n_steps;
    return true;
}

static bool profile_prompt(struct model_bench *b, uint64_t *seed, struct step_profile *profile) {
    double ns = 0;
    return begin_profile(b) && prefill_all(b, seed, &ns) &&
           end_profile(b, n_prompts(b), ns, profile);
}

/* Continues after the prompts of the last run, so that long prompts are not read again. */
static bool profile_decode(struct model_bench *b, struct step_profile *profile) {
    double ns = 0;
    return truncate_all(b, b->options->prompt_tokens) && begin_profile(b) && decode(b, &ns) &&
           end_profile(b, b->options->gen_tokens, ns, profile);
}

/* null for what is not known. */
static json_t *known_number(double x) {
    return isfinite(x) ? json_real(x) : json_null();
}

/* The bandwidth of the memory that the model lies in: what the CPU reads, or NaN, because that of a
 * GPU is not measured here. */
static double memory_gbps(const struct bench_options *options, const rsr_engine_info *engine,
                          uint32_t runs) {
    if (options->device != NULL && strcmp(options->device, "cpu") != 0)
        return NAN;
    const uint64_t stream_bytes = bench_stream_bytes(options);
    void *memory = bench_alloc(stream_bytes);
    if (memory == NULL)
        return -1;
    const double gbps = bench_read_gbps(memory, stream_bytes, engine->n_threads, runs);
    rsrc_unmap_pages(memory, stream_bytes);
    return gbps;
}

/* One row: microseconds and bytes of a step, and the floor's share of the time. */
static json_t *profile_row(const char *name, double ns, double wait_ns, double bytes,
                           double step_ns, double dram_gbps) {
    return json_pack("{s:s, s:f, s:f, s:f, s:f, s:f, s:o}", "op", name, "us", ns / 1e3, "share",
                     ns / step_ns, "wait_us", wait_ns / 1e3, "mbytes", bytes / 1e6, "gbps",
                     ns > 0 ? bytes / ns : 0.0, "floor_share",
                     known_number(ns > 0 ? bytes / dram_gbps / ns : 0.0));
}

static json_t *profile_rows(const struct step_profile *profile, double dram_gbps) {
    const double n = profile->n_steps;
    json_t *rows = json_array();
    double outside_ns = profile->ns, wait_ns = 0;
    for (size_t i = 0; i < profile->n_entries; i++) {
        const rsr_profile_entry *entry = &profile->entries[i];
        outside_ns -= (double)entry->time_ns / n;
        wait_ns += (double)entry->wait_ns / n;
        json_array_append_new(rows, profile_row(entry->name, (double)entry->time_ns / n,
                                                (double)entry->wait_ns / n,
                                                (double)entry->bytes / n, profile->ns, dram_gbps));
    }
    json_array_append_new(rows, profile_row("(between)", outside_ns, 0, 0, profile->ns, dram_gbps));
    json_array_append_new(
        rows, profile_row("(all)", profile->ns, wait_ns, profile->bytes, profile->ns, dram_gbps));
    return rows;
}

/* Replaces 0 in the options by the most that the model takes. */
static bool choose_length(const struct model_bench *b, struct bench_options *options) {
    const uint64_t most = b->info.context;
    if (options->prompt_tokens == 0 && most > options->gen_tokens)
        options->prompt_tokens = (uint32_t)most - options->gen_tokens;
    const uint64_t length = (uint64_t)options->prompt_tokens + options->gen_tokens;
    if (options->prompt_tokens != 0 && length <= most)
        return true;
    fprintf(stderr, "rsr-bench: %llu tokens exceed the model's context of %u\n",
            (unsigned long long)length, b->info.context);
    return false;
}

static bool create_engine(struct model_bench *b) {
    const struct bench_options *options = b->options;
    const uint32_t length = options->prompt_tokens + options->gen_tokens;
    rsr_engine_options engine = RSR_ENGINE_OPTIONS_INIT;
    engine.n_threads = options->threads;
    engine.attention = options->attention;
    engine.kv_type = options->kv_type;
    engine.kv_dir = options->kv_dir;
    engine.state_type = options->state_type;
    engine.device = options->device;
    engine.context = length;
    engine.kv_tokens = (length + 64) * options->batch;
    if (rsr_engine_create(b->model, &engine, &b->engine, &b->err) != RSR_OK)
        return say(b);
    const uint32_t n_entries =
        options->prompt_tokens > options->batch ? options->prompt_tokens : options->batch;
    b->sequences = calloc(options->batch, sizeof(*b->sequences));
    b->entries = calloc(n_entries, sizeof(*b->entries));
    b->picks = calloc(options->batch, sizeof(*b->picks));
    b->tokens = calloc(options->batch, sizeof(*b->tokens));
    if (b->sequences == NULL || b->entries == NULL || b->picks == NULL || b->tokens == NULL)
        rsrc_out_of_memory(n_entries * sizeof(*b->entries));
    for (uint32_t s = 0; s < options->batch; s++)
        if (rsr_sequence_create(b->engine, &b->sequences[s], &b->err) != RSR_OK)
            return say(b);
    return true;
}

/* The time before the first prompt can be read. */
struct start_times {
    double load_ms;
    double engine_ms;
};

static bool set_up(struct model_bench *b, struct bench_options *options,
                   struct start_times *times) {
    uint64_t start = rsrc_now_ns();
    if (rsr_open(options->files[0], NULL, &b->model, &b->err) != RSR_OK)
        return say(b);
    times->load_ms = (double)(rsrc_now_ns() - start) / 1e6;
    if (rsr_model_get_info(b->model, &b->info) != RSR_OK)
        return say(b);
    if (b->info.is_hollow)
        fprintf(stderr, "rsr-bench: warning: %s is hollow: its weights are random\n",
                options->files[0]);
    if (!choose_length(b, options))
        return false;
    start = rsrc_now_ns();
    const bool created = create_engine(b);
    times->engine_ms = (double)(rsrc_now_ns() - start) / 1e6;
    return created;
}

/* Identifies the module, for rsrc --measured. */
static void tell_model(const struct model_bench *b, json_t *result) {
    char hash[RSR_HASH_TEXT_BYTES];
    rsr_hash_text(b->info.model_hash, hash);
    json_object_set_new(result, "model", json_string(b->info.name));
    json_object_set_new(result, "model_hash", json_string(hash));
    json_object_set_new(result, "target", json_string(b->info.target));
    json_object_set_new(result, "prompt_tokens", json_integer(b->options->prompt_tokens));
}

static double to_first_token_ms(const struct model_bench *b, double prefill_tps) {
    return b->options->prompt_tokens * 1e3 / prefill_tps;
}

/* With --profile: the operations of decoding, and of reading the prompts once more. */
static bool add_profiles(struct model_bench *b, uint64_t *seed, const struct step_profile *step,
                         double dram_gbps, json_t *result) {
    if (!b->options->profile)
        return true;
    struct step_profile prompt;
    if (!profile_prompt(b, seed, &prompt))
        return false;
    json_object_set_new(result, "profile", profile_rows(step, dram_gbps));
    json_object_set_new(result, "prefill_profile", profile_rows(&prompt, dram_gbps));
    return true;
}

static json_t *measure(struct model_bench *b, const struct start_times *times) {
    const struct bench_options *options = b->options;
    double prefill_tps[64], decode_tps[64], prefill_spread, decode_spread;
    const uint32_t runs = options->runs < 64 ? options->runs : 64;
    uint64_t seed = options->seed;
    double cold[2];
    if (!one_run(b, &seed, &cold[0], &cold[1])) /* the first touches pages and caches */
        return NULL;
    for (uint32_t i = 0; i < runs; i++)
        if (!one_run(b, &seed, &prefill_tps[i], &decode_tps[i]))
            return NULL;
    struct step_profile profile;
    if (!profile_decode(b, &profile))
        return NULL;
    const uint64_t rss = resident_bytes();
    rsr_engine_info engine = RSR_ENGINE_INFO_INIT;
    if (rsr_engine_get_info(b->engine, &engine) != RSR_OK)
        return NULL;
    const double dram = memory_gbps(options, &engine, runs);
    if (dram < 0)
        return NULL;
    const double prefill = rsrc_median(prefill_tps, runs, &prefill_spread);
    const double decode = rsrc_median(decode_tps, runs, &decode_spread);
    const double floor_tps = dram * 1e9 / profile.bytes * options->batch;
    json_t *result = json_pack(
        "{s:f, s:f, s:f, s:f, s:o, s:o, s:f, s:f, s:o, s:f, s:I, s:i, s:i, s:i, s:i, s:f, s:f}",
        "prefill_tps", prefill, "decode_tps", decode, "ttft_ms", to_first_token_ms(b, prefill),
        "cold_ttft_ms", times->load_ms + times->engine_ms + to_first_token_ms(b, cold[0]),
        "floor_tps", known_number(floor_tps), "roofline_ratio", known_number(decode / floor_tps),
        "floor_bytes", profile.bytes, "bytes_per_token", profile.bytes / options->batch,
        "dram_gbps", known_number(dram), "load_ms", times->load_ms, "rss_bytes", (json_int_t)rss,
        "threads", (int)engine.n_threads, "step_threads", (int)engine.n_step_threads, "batch",
        (int)options->batch, "runs", (int)runs, "prefill_spread", prefill_spread, "decode_spread",
        decode_spread);
    json_object_set_new(result, "attention",
                        json_string(options->attention == NULL ? "dense" : options->attention));
    json_object_set_new(result, "kv_type", json_string(engine.kv_type));
    if (engine.state_type != NULL)
        json_object_set_new(result, "state_type", json_string(engine.state_type));
    json_object_set_new(result, "kv_on_disk", json_boolean(options->kv_dir != NULL));
    json_object_set_new(result, "shared_prefix", json_boolean(options->shared_prefix));
    tell_model(b, result);
    if (add_profiles(b, &seed, &profile, dram, result))
        return result;
    json_decref(result);
    return NULL;
}

static bool measure_one(struct bench_options *options) {
    struct model_bench b = {.options = options, .err = RSR_ERROR_INIT, .info = RSR_MODEL_INFO_INIT};
    struct start_times times = {0};
    json_t *result = set_up(&b, options, &times) ? measure(&b, &times) : NULL;
    if (result != NULL)
        bench_print(result, options->json);
    for (uint32_t s = 0; b.sequences != NULL && s < options->batch; s++)
        rsr_sequence_destroy(b.sequences[s]);
    free(b.sequences);
    free(b.entries);
    free(b.picks);
    free(b.tokens);
    rsr_engine_destroy(b.engine);
    rsr_close(b.model);
    return result != NULL;
}

int bench_model(const struct bench_options *given) {
    struct bench_options options = *given;
    for (uint32_t p = 0; p < given->prompts.n; p++)
        for (uint32_t s = 0; s < given->batches.n; s++) {
            options.prompt_tokens = given->prompts.values[p];
            options.batch = given->batches.values[s];
            if (p + s > 0 && !options.json)
                printf("\n");
            if (!measure_one(&options))
                return 1;
        }
    return 0;
}
