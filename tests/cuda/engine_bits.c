/* engine_bits.c - evaluates a module on the CPU and on a device, in every way that the API has: all
 * results must have the same bits.
 *
 * usage: engine_bits MODULE.so short|long
 *
 * short: one type of keys and values, one size of batches, and fewer tokens.
 */
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "rsr.h"
#include "rsr_abi.h"
#include "rsr_api.h"

#define MOST_TOKENS 150u /* more than two KV pages */

static rsr_model *model;
static rsr_model_info info = RSR_MODEL_INFO_INIT;
static rsr_error err = RSR_ERROR_INIT;
static uint32_t n_outputs; /* floats of a token's output */
static uint32_t n_tokens;  /* of the longest sequence */

static void die(const char *what) {
    fprintf(stderr, "engine_bits: %s: %s\n", what, err.message);
    exit(1);
}

static void must(rsr_status status, const char *what) {
    if (status != RSR_OK)
        die(what);
}

/* ---- Results --------------------------------------------------------------------------------- */

/* What an engine gave, piece by piece. */
struct record {
    char *bytes;
    size_t n, capacity;
    struct piece {
        const char *name;
        uint32_t number;
        size_t end;
    } pieces[4000];
    uint32_t n_pieces;
};

static void add(struct record *record, const char *name, uint32_t number, const void *bytes,
                size_t n) {
    while (record->n + n > record->capacity) {
        record->capacity = 2 * record->capacity + 4096;
        record->bytes = realloc(record->bytes, record->capacity);
        if (record->bytes == NULL)
            die("no memory");
    }
    memcpy(record->bytes + record->n, bytes, n);
    record->n += n;
    record->pieces[record->n_pieces++] = (struct piece){name, number, record->n};
}

/* Names the first piece that differs. */
static bool same(const char *setting, const struct record *cpu, const struct record *device) {
    size_t begin = 0;
    for (uint32_t i = 0; i < cpu->n_pieces; i++) {
        const struct piece *a = &cpu->pieces[i], *b = &device->pieces[i];
        if (i == device->n_pieces || a->end != b->end ||
            memcmp(cpu->bytes + begin, device->bytes + begin, a->end - begin) != 0) {
            printf("%s: %s %u differs\n", setting, a->name, a->number);
            return false;
        }
        begin = a->end;
    }
    return true;
}

/* ---- What an engine does --------------------------------------------------------------------- */

/* Tokens of no text; never the last one, which poison() breaks. */
static uint32_t token_at(uint32_t sequence, uint32_t position) {
    const uint64_t x = (sequence * 977u + position + 1u) * UINT64_C(6364136223846793005);
    return (uint32_t)((x >> 33) % (info.vocab - 1));
}

static rsr_sequence *new_sequence(rsr_engine *engine) {
    rsr_sequence *sequence = NULL;
    must(rsr_sequence_create(engine, &sequence, &err), "rsr_sequence_create");
    return sequence;
}

struct part { /* of a batch: tokens that a sequence gets */
    rsr_sequence *sequence;
    uint32_t text; /* whose tokens they are */
    uint32_t end;
};

/* Evaluates one token of each sequence after another, until all have theirs. Two of three tokens
 * want outputs. */
static void eval(rsr_engine *engine, const struct part *parts, uint32_t n_parts, bool states,
                 const char *name, struct record *record) {
    rsr_batch_entry entries[4 * MOST_TOKENS];
    uint32_t n = 0, n_wanted = 0, next[4] = {0};
    for (uint32_t p = 0; p < n_parts; p++)
        next[p] = rsr_sequence_length(parts[p].sequence);
    for (bool more = true; more;) {
        more = false;
        for (uint32_t p = 0; p < n_parts; p++) {
            if (next[p] == parts[p].end)
                continue;
            entries[n] = (rsr_batch_entry){parts[p].sequence, next[p],
                                           token_at(parts[p].text, next[p]), n % 3 != 1};
            n_wanted += n++ % 3 != 1;
            more = ++next[p] != parts[p].end || more;
        }
    }
    const size_t row = states ? info.hidden : n_outputs;
    float *outputs = calloc(n_wanted + 1u, row * sizeof *outputs);
    rsr_batch batch = RSR_BATCH_INIT;
    batch.entries = entries;
    batch.n_entries = n;
    batch.logits = outputs;
    batch.logits_capacity = n_wanted * row;
    batch.want_states = states;
    must(rsr_eval(engine, &batch, &err), name);
    for (uint32_t i = 0; i < n_wanted; i++)
        add(record, name, i, outputs + i * row, row * sizeof *outputs);
    free(outputs);
}

static void read_kv(rsr_sequence *sequence, struct record *record) {
    const size_t row = (size_t)info.n_kv_heads * info.head_dim;
    float *rows = calloc(2 * row, sizeof *rows);
    for (uint32_t position = 0; position < rsr_sequence_length(sequence); position += 7)
        for (uint32_t layer = 0; layer < info.n_layers; layer++) {
            must(rsr_sequence_read_kv(sequence, position, layer, rows, rows + row, &err),
                 "rsr_sequence_read_kv");
            add(record, "key and value", position, rows, 2 * row * sizeof *rows);
        }
    free(rows);
}

/* Ways of picking: every mode of the head, with and without a sketch; and the likeliest token,
 * which a sketch that is read wrongly may find by chance, of many states. */
#define N_WAYS 26u
static void set_way(uint32_t way, const uint32_t *few, rsr_sampling *s) {
    static const rsr_logit_bias sure = {3, 1e5f};
    *s = (rsr_sampling)RSR_SAMPLING_INIT;
    s->seed = 5;
    s->sequence_id = way;
    s->temperature = way == 0 || way == 7 || way == 10 || way == 11 || way > 13 ? 0.0f : 0.9f;
    s->top_k = way == 2 ? 5 : 0;
    s->top_p = way == 3 ? 0.7f : 1.0f;
    s->min_p = way == 4 ? 0.05f : 0.0f;
    s->repeat_penalty = way == 5 ? 1.3f : 1.0f;
    s->presence_penalty = way == 9 ? 0.5f : 0.0f;
    s->logit_bias = &sure;
    s->n_logit_bias = way == 9;
    if (way == 7 || way == 8) {
        s->allowed = few;
        s->allowed_words = (info.vocab + 31) / 32;
    }
}

static void pick(rsr_engine *engine, rsr_sequence *from, struct record *record) {
    rsr_batch_entry entries[N_WAYS];
    rsr_sampling ways[N_WAYS];
    rsr_pick picks[N_WAYS];
    rsr_logprob results[4];
    uint32_t picked[N_WAYS], *few = calloc((info.vocab + 31) / 32, sizeof *few);
    const uint32_t at = rsr_sequence_length(from);
    float *logits = calloc(n_outputs, sizeof *logits);
    for (uint32_t i = 0; i < info.vocab; i += 1 + info.vocab / 7)
        few[i / 32] |= 1u << i % 32;
    for (uint32_t i = 0; i < N_WAYS; i++) {
        rsr_sequence *fork = NULL;
        must(rsr_sequence_fork(from, &fork, &err), "rsr_sequence_fork");
        set_way(i, few, &ways[i]);
        entries[i] = (rsr_batch_entry){fork, at, token_at(i, at), i == 3};
        picks[i] = (rsr_pick){i, &ways[i]};
    }
    const rsr_logprobs logprobs = {4, UINT32_MAX, 3, results};
    rsr_batch batch = RSR_BATCH_INIT;
    batch.entries = entries;
    batch.n_entries = batch.n_picks = N_WAYS;
    batch.logits = logits;
    batch.logits_capacity = n_outputs;
    batch.picks = picks;
    batch.picked = picked;
    batch.logprobs = &logprobs;
    batch.n_logprobs = 1;
    must(rsr_eval(engine, &batch, &err), "picks");
    add(record, "picks", 0, picked, sizeof picked);
    add(record, "logits of a pick", 0, logits, n_outputs * sizeof *logits);
    add(record, "log-probabilities", 0, results, sizeof results);
    for (uint32_t i = 0; i < N_WAYS; i++)
        rsr_sequence_destroy(entries[i].sequence);
    free(few);
    free(logits);
}

/* One sequence meets numbers that are not finite; the other one goes on. */
static void fail(rsr_engine *engine, uint32_t poisoned, struct record *record) {
    rsr_sequence *a = new_sequence(engine), *b = new_sequence(engine);
    const rsr_batch_entry entries[] = {{a, 0, token_at(1, 0), false},
                                       {b, 0, token_at(2, 0), false},
                                       {a, 1, poisoned, false},
                                       {b, 1, token_at(2, 1), false},
                                       {a, 2, token_at(1, 2), false}};
    rsr_status statuses[5] = {RSR_OK};
    rsr_batch batch = RSR_BATCH_INIT;
    batch.entries = entries;
    batch.n_entries = 5;
    batch.statuses = statuses;
    if (rsr_eval(engine, &batch, &err) != RSR_ERR_NUMERIC)
        die("a poisoned token passes");
    add(record, "statuses", 0, statuses, sizeof statuses);
    add(record, err.message, 0, err.message, strlen(err.message));
    const uint32_t lengths[] = {rsr_sequence_length(a), rsr_sequence_length(b)};
    add(record, "lengths", 0, lengths, sizeof lengths);
    rsr_sequence_destroy(a);
    rsr_sequence_destroy(b);
}

/* A batch that is cancelled changes nothing. */
static void cancel(rsr_engine *engine, rsr_sequence *sequence, struct record *record) {
    rsr_cancel cancelled = RSR_CANCEL_INIT;
    rsr_cancel_request(&cancelled);
    const rsr_batch_entry entry = {sequence, rsr_sequence_length(sequence), 1, false};
    rsr_batch batch = RSR_BATCH_INIT;
    batch.entries = &entry;
    batch.n_entries = 1;
    batch.cancel = &cancelled;
    const rsr_status status = rsr_eval(engine, &batch, &err);
    const uint32_t length = rsr_sequence_length(sequence);
    add(record, "status of a cancelled batch", 0, &status, sizeof status);
    add(record, "length after a cancelled batch", 0, &length, sizeof length);
}

/* Notes what a probe sees, and exchanges the first and the last number of every row, so that what
 * it changed must have reached the operations after it. */
static void look(void *user, const rsr_probe_point *point) {
    struct record *record = user;
    const uint32_t numbers[] = {(uint32_t)point->kind, point->cols, point->n_tokens,
                                point->has_int8_rows, point->has_dense_layer};
    add(record, "probed numbers", point->block, numbers, sizeof numbers);
    add(record, "probed positions", point->block, point->positions,
        point->n_tokens * sizeof *point->positions);
    add(record, "probed role", point->block, point->role, strlen(point->role));
    for (uint32_t t = 0; t < point->n_tokens; t++) {
        char *row = (char *)point->data + t * point->row_bytes;
        const size_t each = point->has_int8_rows ? 1 : sizeof(float), last = point->cols - 1;
        if (point->has_int8_rows)
            row += sizeof(struct rsr_act_row);
        add(record, point->role, point->block, row, point->cols * each);
        char first[sizeof(float)];
        memcpy(first, row, each);
        memcpy(row, row + last * each, each);
        memcpy(row + last * each, first, each);
    }
}

/* What a probe sees of a prompt and of a token, and what its changes make of them. */
static void probe(const char *device, struct record *record) {
    rsr_engine_options options = RSR_ENGINE_OPTIONS_INIT;
    rsr_engine *engine = NULL;
    options.device = device;
    options.max_batch = 3;
    options.context = MOST_TOKENS;
    options.n_threads = 1;
    options.probe = look;
    options.probe_user = record;
    must(rsr_engine_create(model, &options, &engine, &err), "rsr_engine_create with a probe");
    record->n = record->n_pieces = 0;
    rsr_sequence *sequence = new_sequence(engine);
    eval(engine, &(struct part){sequence, 0, 3}, 1, false, "probed prompt", record);
    eval(engine, &(struct part){sequence, 0, 4}, 1, false, "probed token", record);
    read_kv(sequence, record);
    rsr_sequence_destroy(sequence);
    rsr_engine_destroy(engine);
}

/* A child may only end an engine, and must be able to. */
static void fork_process(rsr_engine *engine, rsr_sequence *sequence) {
    fflush(NULL);
    const pid_t child = fork();
    if (child == 0) {
        const rsr_batch_entry entry = {sequence, rsr_sequence_length(sequence), 1, false};
        rsr_batch batch = RSR_BATCH_INIT;
        batch.entries = &entry;
        batch.n_entries = 1;
        const rsr_status status = rsr_eval(engine, &batch, NULL);
        rsr_sequence_destroy(sequence);
        rsr_engine_destroy(engine);
        _exit(status == RSR_ERR_FORK ? 0 : 1);
    }
    int code = -1;
    if (waitpid(child, &code, 0) != child || code != 0)
        die("a child of this process");
}

static void work(rsr_engine *engine, uint32_t poisoned, struct record *record) {
    rsr_sequence *a = new_sequence(engine), *b = new_sequence(engine), *fork = NULL;
    const uint32_t half = n_tokens / 2;
    /* A token, a prompt, then a token at a time. */
    eval(engine, &(struct part){a, 0, 1}, 1, false, "first token", record);
    cancel(engine, a, record);
    fork_process(engine, a);
    eval(engine, &(struct part){a, 0, half}, 1, false, "prompt", record);
    for (uint32_t i = 1; i <= 3; i++)
        eval(engine, &(struct part){a, 0, half + i}, 1, false, "token", record);
    /* Several sequences, of which two share pages. */
    must(rsr_sequence_fork(a, &fork, &err), "rsr_sequence_fork");
    const struct part three[] = {{b, 1, 5}, {a, 0, n_tokens - 2}, {fork, 2, half + 8}};
    eval(engine, three, 3, false, "sequences", record);
    read_kv(a, record);
    read_kv(fork, record);
    /* A truncation into a page that is shared, and one to nothing. */
    must(rsr_sequence_truncate(fork, half - 3, &err), "rsr_sequence_truncate");
    must(rsr_sequence_truncate(b, 0, &err), "rsr_sequence_truncate");
    const struct part again[] = {{fork, 3, half + 2}, {b, 4, 6}, {a, 0, n_tokens - 1}};
    eval(engine, again, 3, false, "after truncations", record);
    eval(engine, &(struct part){a, 0, n_tokens}, 1, true, "states", record);
    if (info.pooling == NULL)
        pick(engine, b, record);
    if (poisoned != UINT32_MAX)
        fail(engine, poisoned, record);
    rsr_sequence_destroy(a);
    rsr_sequence_destroy(b);
    rsr_sequence_destroy(fork);
}

/* ---- Settings -------------------------------------------------------------------------------- */

static void run(const char *device, const char *kv_type, uint32_t max_batch, uint32_t poisoned,
                struct record *record) {
    rsr_engine_options options = RSR_ENGINE_OPTIONS_INIT;
    rsr_engine *engine = NULL;
    options.device = device;
    options.kv_type = kv_type;
    options.max_batch = max_batch;
    options.context = MOST_TOKENS;
    options.kv_tokens = 20 * MOST_TOKENS;
    options.n_threads = 1;
    must(rsr_engine_create(model, &options, &engine, &err), "rsr_engine_create");
    record->n = record->n_pieces = 0;
    if (kv_type != NULL)
        work(engine, poisoned, record);
    else
        fail(engine, poisoned, record);
    rsr_engine_destroy(engine);
}

/* kv_type NULL: only what fails. */
static bool compare(const char *kv_type, uint32_t max_batch, uint32_t poisoned) {
    static struct record cpu, device;
    char setting[64];
    snprintf(setting, sizeof setting, "%s, batches of %u", kv_type != NULL ? kv_type : "failures",
             max_batch);
    static const char *const programs[] = {"cuda:0", "cuda:0,plain"};
    run(programs[0], kv_type, max_batch, poisoned, &device);
    run("cpu", kv_type, max_batch, poisoned, &cpu);
    if (!same(setting, &cpu, &device))
        return false;
    run(programs[1], kv_type, max_batch, poisoned, &device);
    if (!same(setting, &cpu, &device))
        return false;
    printf("%s: %u results, %zu bytes, the CPU's\n", setting, cpu.n_pieces, cpu.n);
    return true;
}

static bool compare_probes(void) {
    static struct record cpu, device;
    probe("cpu", &cpu);
    probe("cuda:0", &device);
    if (!same("probes", &cpu, &device))
        return false;
    printf("probes: %u results, %zu bytes, the CPU's\n", cpu.n_pieces, cpu.n);
    return true;
}

static struct rsr_module tables; /* of the module */

/* What rsr_open_query calls. The module's runtime evaluates, or that which is linked with this
 * program: engine_mutants.sh breaks it. */
static const struct rsr_module *give_tables(uint32_t max_abi, const struct rsr_host *host) {
    (void)max_abi, (void)host;
#ifdef OWN_RUNTIME
    tables.api = &rsr_runtime_api;
#endif
    return &tables;
}

static void open_module(const char *path) {
    rsr_module_query_fn *query;
    const struct rsr_host host = {sizeof host, RSR_ABI_VERSION, path};
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    void *symbol = library != NULL ? dlsym(library, "rsr_module_query") : NULL;
    memcpy(&query, &symbol, sizeof query);
    const struct rsr_module *module = symbol != NULL ? query(RSR_ABI_VERSION, &host) : NULL;
    if (module == NULL || module->n_gpus == 0)
        die("no module with a GPU");
    tables = *module;
    must(rsr_open_query(give_tables, NULL, &model, &err), "rsr_open_query");
}

/* Writes to constants of the module. */
static bool overwrite(const void *at, const void *bytes, size_t n) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *begin = (char *)((uintptr_t)at / page * page);
    if (mprotect(begin, 2 * page, PROT_READ | PROT_WRITE) != 0)
        return false;
    memcpy((char *)(uintptr_t)at, bytes, n);
    return true;
}

/* Makes a number of a token's embedding infinite, in this process's copy of the module, so that one
 * token fails. A head that is the embedding would fail for all. */
static uint32_t poison(void) {
    const struct rsr_tensors *tensors = tables.gpus[0].tensors;
    const struct rsr_matrix_data *embedding = &tensors->embedding;
    if (tensors->head.data == embedding->data)
        return UINT32_MAX;
    const uint32_t token = info.vocab - 1, bits = UINT32_C(0x7f800000);
    const bool wide = embedding->dtype == RSR_DTYPE_F32;
    const uint16_t half = embedding->dtype == RSR_DTYPE_BF16 ? 0x7f80 : 0x7c00;
    const char *at =
        (const char *)embedding->data + ((size_t)token * embedding->cols + 3) * (wide ? 4 : 2);
    return overwrite(at, wide ? (const void *)&bits : &half, wide ? 4 : 2) ? token : UINT32_MAX;
}

/* The first norm gives infinity from finite numbers: what quantises its rows meets it first. */
static bool compare_failures(void) {
    const float weight = INFINITY;
    return overwrite(tables.gpus[0].tensors->norms[0].weight + 3, &weight, sizeof weight) &&
           compare(NULL, 7, 0);
}

int main(int argc, char **argv) {
    static const char *const types[] = {"bf16", "f32", "f16", "int8"};
    const bool is_short = argc == 3 && strcmp(argv[2], "short") == 0;
    if (argc != 3 || (!is_short && strcmp(argv[2], "long") != 0)) {
        fputs("usage: engine_bits MODULE.so short|long\n", stderr);
        return 2;
    }
    open_module(argv[1]);
    must(rsr_model_get_info(model, &info), "rsr_model_get_info");
    n_outputs = (uint32_t)info.output_size;
    n_tokens = is_short ? 30 : 140;
    const uint32_t poisoned = poison();
    bool right = true;
    for (size_t i = 0; right && i < (is_short ? 1 : sizeof types / sizeof *types); i++)
        right = compare(types[i], is_short ? 9 : 1 + 13 * (uint32_t)i, poisoned);
    right = right && compare_probes() && compare_failures();
    rsr_close(model);
    return !right;
}
