/* engine_times.c - times of a whole model on a device, for tests/gpu.sh: one line a row, as soon as
 * it is known. Unlike rsr-bench it has nothing of the compiler, so that it runs without LLVM.
 *
 * usage: engine_times MODULE.so DEVICE REPEATS decode|prefill|profile N...
 *   decode   a step of one token after N keys; N ascend, up to the model's context
 *   prefill  a prompt of N tokens
 *   profile  the four operations of such a step of decoding that take most of its time
 *
 * A row (gpu_rows.h) has the median and the least of REPEATS times.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "gpu_rows.h"
#include "rsr.h"

#define MOST_REPEATS 64u
#define MOST_LENGTHS 16u
#define MOST_OPERATIONS 64u
#define PROFILED 4u

struct bench {
    rsr_model *model;
    rsr_model_info info;
    rsr_engine *engine;
    rsr_sequence *sequence;
    rsr_batch_entry *entries; /* [longest] */
    const char *way;          /* "dependent", "graph" or "plain" */
    uint32_t repeats, longest;
    uint32_t lengths[MOST_LENGTHS], n_lengths;
    uint64_t random;
    rsr_error err;
};

static void die(const struct bench *b, const char *what) {
    fprintf(stderr, "engine_times: %s: %s\n", what, b->err.message);
    exit(1);
}

static double now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static uint32_t random_token(struct bench *b) {
    b->random = b->random * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (uint32_t)((b->random >> 33) % b->info.vocab);
}

/* Cuts the sequence to `keys` tokens, appends n, and picks what follows. Microseconds. */
static double step(struct bench *b, uint32_t keys, uint32_t n) {
    if (rsr_sequence_truncate(b->sequence, keys, &b->err) != RSR_OK)
        die(b, "rsr_sequence_truncate");
    for (uint32_t i = 0; i < n; i++)
        b->entries[i] = (rsr_batch_entry){
            .sequence = b->sequence, .position = keys + i, .token = random_token(b)};
    uint32_t picked = 0;
    const rsr_pick pick = {.entry = n - 1};
    rsr_batch batch = RSR_BATCH_INIT;
    batch.entries = b->entries;
    batch.n_entries = n;
    batch.picks = &pick;
    batch.n_picks = 1;
    batch.picked = &picked;
    const double start = now_us();
    if (rsr_eval(b->engine, &batch, &b->err) != RSR_OK)
        die(b, "rsr_eval");
    return now_us() - start;
}

/* ---- Operations ------------------------------------------------------------------------------ */

struct operations {
    rsr_profile_entry entries[MOST_OPERATIONS];
    size_t n;
};

static void profile(struct bench *b, bool enable, struct operations *out) {
    memset(out, 0, sizeof *out);
    out->entries[0] = (rsr_profile_entry)RSR_PROFILE_ENTRY_INIT;
    if (rsr_engine_profile(b->engine, enable, out->entries, MOST_OPERATIONS, &out->n) != RSR_OK)
        die(b, "rsr_engine_profile: more operations than expected");
}

/* The bytes that such a step reads, by the engine's count. */
static uint64_t step_bytes(struct bench *b, uint32_t keys, uint32_t n) {
    struct operations all;
    uint64_t bytes = 0;
    profile(b, true, &all);
    (void)step(b, keys, n);
    profile(b, false, &all);
    for (size_t i = 0; i < all.n; i++)
        bytes += all.entries[i].bytes;
    return bytes;
}

struct operation {
    const char *name;
    uint64_t bytes;
    double times[MOST_REPEATS], median;
};

static int by_time(const void *a, const void *b) {
    const double x = ((const struct operation *)a)->median,
                 y = ((const struct operation *)b)->median;
    return (x < y) - (x > y);
}

static void tell_profile(struct bench *b, uint32_t keys) {
    static struct operation operations[MOST_OPERATIONS];
    struct operations all = {.n = 0};
    profile(b, true, &all);
    for (uint32_t r = 0; r < b->repeats; r++) {
        (void)step(b, keys, 1);
        profile(b, r + 1 < b->repeats, &all);
        for (size_t i = 0; i < all.n; i++) {
            operations[i].name = all.entries[i].name;
            operations[i].bytes = all.entries[i].bytes;
            operations[i].times[r] = (double)all.entries[i].time_ns / 1e3;
        }
    }
    for (size_t i = 0; i < all.n; i++)
        operations[i].median = gpu_row_median(operations[i].times, b->repeats);
    qsort(operations, all.n, sizeof *operations, by_time);
    for (size_t i = 0; i < all.n && i < PROFILED; i++) {
        char name[96];
        snprintf(name, sizeof name, "profile, %u keys, %s", keys, operations[i].name);
        gpu_row_print(name, operations[i].bytes, operations[i].times, b->repeats, 0);
    }
}

/* ---- All ------------------------------------------------------------------------------------- */

static void tell_steps(struct bench *b, const char *name, uint32_t keys, uint32_t n) {
    double times[MOST_REPEATS];
    (void)step(b, keys, n); /* the first one captures */
    for (uint32_t r = 0; r < b->repeats; r++)
        times[r] = step(b, keys, n);
    gpu_row_print(name, step_bytes(b, keys, n), times, b->repeats, 0);
}

static void tell_length(struct bench *b, const char *what, uint32_t n, uint32_t before) {
    char name[96];
    if (strcmp(what, "prefill") == 0) {
        snprintf(name, sizeof name, "prefill, %u tokens, %s", n, b->way);
        tell_steps(b, name, 0, n);
        return;
    }
    if (n > before)
        (void)step(b, before, n - before);
    if (strcmp(what, "profile") == 0) {
        tell_profile(b, n);
        return;
    }
    snprintf(name, sizeof name, "decode, %u keys, %s", n, b->way);
    tell_steps(b, name, n, 1);
}

static void open_all(struct bench *b, const char *module, const char *device) {
    if (rsr_open(module, NULL, &b->model, &b->err) != RSR_OK)
        die(b, "rsr_open");
    if (rsr_model_get_info(b->model, &b->info) != RSR_OK)
        die(b, "rsr_model_get_info");
    rsr_engine_options options = RSR_ENGINE_OPTIONS_INIT;
    options.device = device;
    options.context = b->longest + 1;
    if (rsr_engine_create(b->model, &options, &b->engine, &b->err) != RSR_OK)
        die(b, "rsr_engine_create");
    if (rsr_sequence_create(b->engine, &b->sequence, &b->err) != RSR_OK)
        die(b, "rsr_sequence_create");
    b->entries = calloc(b->longest + 1, sizeof *b->entries);
    if (b->entries == NULL)
        die(b, "no memory");
}

/* A number up to `most`, or UINT32_MAX. */
static uint32_t read_number(const char *text, uint32_t most) {
    char *end;
    const unsigned long n = strtoul(text, &end, 10);
    return *text >= '0' && *text <= '9' && *end == '\0' && n <= most ? (uint32_t)n : UINT32_MAX;
}

static bool read_lengths(struct bench *b, const char *what, char **texts, int n) {
    const bool is_decode = strcmp(what, "decode") == 0 || strcmp(what, "profile") == 0;
    if ((!is_decode && strcmp(what, "prefill") != 0) || n < 1 || n > (int)MOST_LENGTHS)
        return false;
    for (int i = 0; i < n; i++) {
        const uint32_t length = read_number(texts[i], 1u << 24);
        if (length == UINT32_MAX || length < (is_decode ? b->longest : 1))
            return false;
        b->lengths[b->n_lengths++] = length;
        b->longest = length > b->longest ? length : b->longest;
    }
    return true;
}

int main(int argc, char **argv) {
    static struct bench b = {.info = RSR_MODEL_INFO_INIT, .err = RSR_ERROR_INIT, .random = 1};
    b.repeats = argc > 3 ? read_number(argv[3], MOST_REPEATS) : 0;
    if (argc < 6 || b.repeats == 0 || b.repeats > MOST_REPEATS ||
        !read_lengths(&b, argv[4], argv + 5, argc - 5)) {
        fputs("usage: engine_times MODULE.so DEVICE REPEATS decode|prefill|profile N...\n", stderr);
        return 2;
    }
    const char *comma = strchr(argv[2], ',');
    b.way = comma != NULL ? comma + 1 : "dependent";
    open_all(&b, argv[1], argv[2]);
    for (uint32_t i = 0; i < b.n_lengths; i++)
        tell_length(&b, argv[4], b.lengths[i], i == 0 ? 0 : b.lengths[i - 1]);
    free(b.entries);
    rsr_sequence_destroy(b.sequence);
    rsr_engine_destroy(b.engine);
    rsr_close(b.model);
    return 0;
}
