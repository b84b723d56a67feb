/* rsr_run_attention.c - rsr-run's output about attention: statistics of the KV index, and
 * --dump-qkv, which writes the inputs of attention so that benchmarks can replay them. The file,
 * all little-endian:
 *
 *     char     magic[8]      "RSRQKV1\0"
 *     uint32   n_layers, n_heads, n_kv_heads, head_dim, n_tokens, 0, 0, 0... to byte 64
 *     then for each layer
 *     float32  q[n_tokens][n_heads][head_dim]       rotated, as they meet the keys
 *     float32  k[n_tokens][n_kv_heads][head_dim]    as the KV cache has them
 *     float32  v[n_tokens][n_kv_heads][head_dim]
 *
 * Query head h reads KV head h / (n_heads / n_kv_heads). The tokens are those of the sequence: the
 * prompt and the generated tokens, except the last one, which was not evaluated.
 */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "rsr_run.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "numbers are written as they lie");

/* ---- Statistics ------------------------------------------------------------------------------ */

static rsr_attention_stats stats_of(const struct run_session *session) {
    rsr_attention_stats stats = RSR_ATTENTION_STATS_INIT;
    if (rsr_engine_attention_stats(session->engine, false, &stats) != RSR_OK)
        exit(run_fail("the engine does not tell about its attention"));
    return stats;
}

static bool is_dense(const rsr_attention_stats *stats) {
    return strcmp(stats->name, "dense") == 0;
}

static double part(uint64_t n, uint64_t of) {
    return of > 0 ? (double)n / (double)of : 0.0;
}

/* NULL: the module is older than the types. */
static const char *kv_type_of(const struct run_session *session) {
    const char *type = session->engine_info.kv_type;
    return type ? type : "f32";
}

void run_print_attention(const struct run_session *session) {
    const rsr_attention_stats s = stats_of(session);
    if (is_dense(&s)) {
        fprintf(stderr, "attention dense: keys and values in %s\n", kv_type_of(session));
        return;
    }
    if (s.min_keys == UINT32_MAX) {
        fprintf(stderr,
                "attention %s: dense, which is faster for these numbers of keys; ,min=KEYS "
                "uses the index; keys and values in %s\n",
                s.name, kv_type_of(session));
        return;
    }
    char relative[64] = "", flat[96] = "";
    if (s.flat > 0)
        snprintf(flat, sizeof(flat), ", %.1f %% without an index, for logits too even",
                 100.0 * part(s.flat, s.dense + s.indexed));
    if (s.max_relative_error > 0.0)
        snprintf(relative, sizeof(relative), ", %.3g of the values' spread", s.max_relative_error);
    fprintf(
        stderr,
        "attention %s: %.1f %% of (token, layer, KV head) below %u keys, dense%s; of the others' "
        "keys %.2f %% scanned, %.2f %% by plane 2, %.2f %% read; of their pages %.2f %% "
        "skipped; softmax left out <= %.3g, error of an output <= %.3g%s; keys and values in "
        "%s, error by storing <= %.3g\n",
        s.name, 100.0 * part(s.dense - s.flat, s.dense + s.indexed), s.min_keys, flat,
        100.0 * part(s.scanned, s.keys), 100.0 * part(s.plane2, s.keys),
        100.0 * part(s.exact, s.keys), 100.0 * part(s.pages_skipped, s.pages), s.max_mass,
        s.max_error, relative, kv_type_of(session), s.max_storage_error);
}

/* An infinite error (numbers overflowed) is null, because JSON has no infinity. */
json_t *run_attention_json(const struct run_session *session) {
    const rsr_attention_stats s = stats_of(session);
    if (is_dense(&s))
        return json_pack("{s:s, s:s}", "name", s.name, "kv_type", kv_type_of(session));
    return json_pack(
        "{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:o?, s:o?, s:o?}",
        "name", s.name, "kv_type", kv_type_of(session), "min_keys", (json_int_t)s.min_keys, "dense",
        (json_int_t)s.dense, "flat", (json_int_t)s.flat, "indexed", (json_int_t)s.indexed, "keys",
        (json_int_t)s.keys, "scanned", (json_int_t)s.scanned, "plane2", (json_int_t)s.plane2,
        "exact", (json_int_t)s.exact, "pages", (json_int_t)s.pages, "pages_skipped",
        (json_int_t)s.pages_skipped, "max_mass", s.max_mass, "max_error", json_real(s.max_error),
        "max_storage_error", json_real(s.max_storage_error), "max_relative_error",
        json_real(s.max_relative_error));
}

/* ---- Collecting queries ---------------------------------------------------------------------- */

struct run_trace {
    uint32_t n_layers, capacity_tokens;
    size_t row_floats; /* n_heads * head_dim */
    float **q;         /* [n_layers] rows by position */
};

static void make_room(struct run_trace *trace, uint32_t n_tokens) {
    if (n_tokens <= trace->capacity_tokens)
        return;
    const uint32_t capacity = n_tokens < UINT32_MAX / 2 ? 2 * n_tokens : n_tokens;
    for (uint32_t l = 0; l < trace->n_layers; l++) {
        float *rows = run_alloc((size_t)capacity * trace->row_floats, sizeof(float));
        if (trace->q[l])
            memcpy(rows, trace->q[l], trace->capacity_tokens * trace->row_floats * sizeof(float));
        free(trace->q[l]);
        trace->q[l] = rows;
    }
    trace->capacity_tokens = capacity;
}

static void collect(void *user, const rsr_probe_point *point) {
    struct run_trace *trace = user;
    if (point->kind != RSR_PROBE_ATTENTION_INPUT || point->block >= trace->n_layers ||
        point->cols != trace->row_floats)
        return;
    for (uint32_t t = 0; t < point->n_tokens; t++) {
        const char *row = (const char *)point->data + t * point->row_bytes;
        make_room(trace, point->positions[t] + 1);
        memcpy(trace->q[point->block] + point->positions[t] * trace->row_floats, row,
               trace->row_floats * sizeof(float));
    }
}

struct run_trace *run_trace_create(const struct run_session *session, rsr_engine_options *options) {
    struct run_trace *trace = run_alloc(1, sizeof(*trace));
    trace->n_layers = session->info.n_layers;
    trace->row_floats = (size_t)session->info.n_heads * session->info.head_dim;
    trace->q = run_alloc(trace->n_layers, sizeof(*trace->q));
    options->probe = collect;
    options->probe_user = trace;
    return trace;
}

void run_trace_destroy(struct run_trace *trace) {
    for (uint32_t l = 0; trace && l < trace->n_layers; l++)
        free(trace->q[l]);
    if (trace)
        free(trace->q);
    free(trace);
}

/* ---- Writing --------------------------------------------------------------------------------- */

/* The file of the trace: a temporary file next to its place until it is complete, or a device. */
struct trace_file {
    FILE *stream;
    char *temporary; /* owned; NULL: a device */
};

static struct trace_file open_trace(const char *path) {
    struct trace_file file = {0};
    struct stat info;
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode)) {
        file.stream = fopen(path, "wb");
        return file;
    }
    const size_t size = strlen(path) + sizeof(".tmp-XXXXXX");
    file.temporary = run_alloc(size, 1);
    snprintf(file.temporary, size, "%s.tmp-XXXXXX", path);
    const int fd = mkstemp(file.temporary);
    if (fd < 0)
        return file;
    const mode_t mask = umask(0);
    umask(mask);
    fchmod(fd, 0666 & ~mask);
    file.stream = fdopen(fd, "wb");
    return file;
}

/* Moves the file to its place, or removes it. */
static bool close_trace(struct trace_file *file, const char *path, bool is_whole) {
    bool ok = fclose(file->stream) == 0 && is_whole;
    if (file->temporary && ok)
        ok = rename(file->temporary, path) == 0;
    const int error = errno;
    if (file->temporary && !ok)
        unlink(file->temporary);
    errno = error;
    free(file->temporary);
    return ok;
}

bool run_is_file(const struct stat *a, const char *path) {
    struct stat b;
    return path && stat(path, &b) == 0 && a->st_dev == b.st_dev && a->st_ino == b.st_ino;
}

bool run_trace_check(const struct run_options *o) {
    struct stat info;
    if (o->qkv_file[0] == '\0') {
        run_fail("--dump-qkv needs the name of a file");
        return false;
    }
    if (o->speculate > 0) { /* drafts have queries, too */
        run_fail("--dump-qkv and --speculate exclude each other");
        return false;
    }
    const bool exists = stat(o->qkv_file, &info) == 0;
    if (exists && (run_is_file(&info, o->model) || run_is_file(&info, o->prompt_file))) {
        run_fail("--dump-qkv would replace %s, which this run reads", o->qkv_file);
        return false;
    }
    if (exists && !S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode))
        return true;
    struct trace_file file = open_trace(o->qkv_file);
    if (!file.stream) {
        run_fail("cannot write %s: %s", o->qkv_file, strerror(errno));
        free(file.temporary);
        return false;
    }
    (void)close_trace(&file, o->qkv_file, false);
    return true;
}

static bool write_header(const struct run_session *session, uint32_t n_tokens, FILE *file) {
    const rsr_model_info *info = &session->info;
    char header[64] = "RSRQKV1";
    const uint32_t numbers[] = {info->n_layers, info->n_heads, info->n_kv_heads, info->head_dim,
                                n_tokens};
    memcpy(header + 8, numbers, sizeof(numbers));
    return fwrite(header, sizeof(header), 1, file) == 1;
}

/* Writes keys, then values, of a layer; `kv` has room for both, for all tokens. */
static bool write_layer(const struct run_session *session, uint32_t layer, uint32_t n_tokens,
                        float *kv, FILE *file) {
    const rsr_model_info *info = &session->info;
    const size_t row = (size_t)info->n_kv_heads * info->head_dim, n = row * n_tokens;
    const size_t n_q = session->trace->row_floats * n_tokens;
    for (uint32_t t = 0; t < n_tokens; t++)
        if (rsr_sequence_read_kv(session->sequence, t, layer, kv + t * row, kv + n + t * row,
                                 NULL) != RSR_OK)
            return false;
    return fwrite(session->trace->q[layer], sizeof(float), n_q, file) == n_q &&
           fwrite(kv, sizeof(float), 2 * n, file) == 2 * n;
}

bool run_trace_write(const struct run_session *session) {
    const char *path = session->options->qkv_file;
    const uint32_t n_tokens = rsr_sequence_length(session->sequence);
    struct trace_file file = open_trace(path);
    if (!file.stream) {
        run_fail("cannot write %s: %s", path, strerror(errno));
        free(file.temporary);
        return false;
    }
    make_room(session->trace, n_tokens);
    float *kv = run_alloc((size_t)n_tokens * 2 * session->info.n_kv_heads * session->info.head_dim,
                          sizeof(float));
    bool ok = write_header(session, n_tokens, file.stream);
    for (uint32_t l = 0; ok && l < session->info.n_layers; l++)
        ok = write_layer(session, l, n_tokens, kv, file.stream);
    ok = close_trace(&file, path, ok);
    free(kv);
    if (!ok)
        run_fail("cannot write %s: %s", path, strerror(errno));
    return ok;
}
