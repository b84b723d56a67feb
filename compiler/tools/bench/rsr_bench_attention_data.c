/* rsr_bench_attention_data.c - memory for keys, values and queries; they are drawn
 * (rsr_bench_attention_draw.c), or come from a model, in a file that rsr-run --dump-qkv writes.
 *
 * Such a file begins with 64 bytes: "RSRQKV1" and, from byte 8 on, five uint32: layers, query
 * heads, KV heads, head size, tokens. For every layer follow the tokens' queries, keys and values,
 * rows of float32. The first N tokens are the context; the queries are those of the last of them
 * and of all later tokens.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/round.h"
#include "rsr_bench_attention.h"

#define CHECKED_QUERIES 64u /* at least */

#define TRACE "trace:"
#define TRACE_HEADER_BYTES 64u

static bool refuse(const char *sentence) {
    fprintf(stderr, "rsr-bench: %s\n", sentence);
    return false;
}

/* ---- Traces ---- */

struct trace {
    FILE *file;
    uint32_t n_layers, n_heads, n_kv_heads, head_dim, n_tokens;
};

/* The file's size is checked before memory is allocated. */
static bool check_size(const struct trace *t) {
    struct stat status;
    const uint64_t rows = t->n_heads + UINT64_C(2) * t->n_kv_heads;
    uint64_t promised = rows * t->head_dim * sizeof(float) * t->n_layers;
    if (__builtin_mul_overflow(promised, (uint64_t)t->n_tokens, &promised) ||
        __builtin_add_overflow(promised, (uint64_t)TRACE_HEADER_BYTES, &promised))
        return refuse("the trace's header promises more than there can be");
    if (fstat(fileno(t->file), &status) != 0 || !S_ISREG(status.st_mode))
        return refuse("the trace is not a regular file");
    if ((uint64_t)status.st_size == promised)
        return true;
    fprintf(stderr, "rsr-bench: the trace has %llu bytes, its header promises %llu\n",
            (unsigned long long)status.st_size, (unsigned long long)promised);
    return false;
}

static bool open_trace(const char *path, struct trace *t) {
    char header[TRACE_HEADER_BYTES];
    t->file = fopen(path, "rbe");
    if (t->file == NULL) {
        fprintf(stderr, "rsr-bench: cannot read %s: %s\n", path, strerror(errno));
        return false;
    }
    if (fread(header, sizeof(header), 1, t->file) != 1 || memcmp(header, "RSRQKV1", 8) != 0)
        return refuse("the trace does not begin as rsr-run --dump-qkv writes it");
    uint32_t n[5];
    memcpy(n, header + 8, sizeof(n));
    t->n_layers = n[0], t->n_heads = n[1], t->n_kv_heads = n[2];
    t->head_dim = n[3], t->n_tokens = n[4];
    const bool ok = t->n_layers >= 1 && t->n_layers <= 4096 && t->n_kv_heads >= 1 &&
                    t->n_kv_heads <= 4096 && t->n_heads % t->n_kv_heads == 0 && t->n_heads >= 1 &&
                    t->n_heads / t->n_kv_heads <= ATTENTION_MAX_GROUP && t->head_dim >= 1 &&
                    t->head_dim <= ATTENTION_MAX_DIM && t->n_tokens >= 1 && t->n_tokens <= 1u << 24;
    return ok ? check_size(t) : refuse("the trace has a shape that cannot be measured");
}

static bool read_floats(FILE *file, float *row, size_t n) {
    if (fread(row, sizeof(float), n, file) != n)
        return refuse("the trace ends too early");
    for (size_t i = 0; i < n; i++)
        if (!isfinite(row[i]))
            return refuse("the trace has a number that is not finite");
    return true;
}

/* Copies rows of `tokens` tokens, [token][KV head][head_dim], to every KV head's place. */
static bool read_rows(const struct trace *t, const struct attention_data *d, uint32_t layer,
                      bool values, float *row) {
    const size_t n = (size_t)t->n_kv_heads * t->head_dim;
    for (uint32_t token = 0; token < t->n_tokens; token++) {
        if (!read_floats(t->file, row, n))
            return false;
        for (uint32_t head = 0; token < d->n_keys && head < d->kv_heads; head++) {
            float *rows =
                values ? attention_values(d, layer, head) : attention_keys(d, layer, head);
            memcpy(rows + (size_t)token * d->row_floats, row + (size_t)head * d->head_dim,
                   d->head_dim * sizeof(float));
        }
    }
    return true;
}

static bool read_trace(const struct trace *t, const struct attention_data *d) {
    const size_t n = (size_t)t->n_heads * t->head_dim;
    float *row = calloc(n, sizeof(float));
    bool ok = row != NULL || refuse("no memory for the trace");
    for (uint32_t layer = 0; ok && layer < t->n_layers; layer++) {
        for (uint32_t token = 0; ok && token < t->n_tokens; token++) {
            ok = read_floats(t->file, row, n);
            const uint32_t first = d->n_keys - 1;
            if (ok && token >= first && token - first < d->n_steps)
                memcpy(attention_queries(d, layer, token - first, 0), row, n * sizeof(float));
        }
        ok = ok && read_rows(t, d, layer, false, row) && read_rows(t, d, layer, true, row);
    }
    free(row);
    return ok;
}

/* ---- Making ---- */

/* Memory for data of this shape, zeros. */
static bool reserve(const struct bench_options *options, struct attention_data *d) {
    d->row_floats = (d->head_dim + 15u) & ~15u;
    /* Kernels read rows up to the next multiple of 4. */
    d->head_floats = UINT64_C(2) * ((d->n_keys + 3u) & ~3u) * d->row_floats;
    const uint64_t layer_bytes = d->head_floats * sizeof(float) * d->kv_heads;
    const uint64_t round = layer_bytes * d->n_sources;
    const uint64_t n_rounds = options->quick ? 1 : (BENCH_STREAM_BYTES + round - 1) / round;
    if (n_rounds * d->n_sources > UINT32_MAX)
        return refuse("the context is too short to be measured without --quick");
    d->n_layers = d->n_kv_layers = (uint32_t)n_rounds * d->n_sources;
    d->kv_bytes = layer_bytes * d->n_layers;
    d->queries = calloc((size_t)d->n_sources * d->n_steps * d->kv_heads * d->group * d->head_dim,
                        sizeof(float));
    if (d->queries == NULL)
        return refuse("no memory for queries");
    d->kv = bench_alloc(d->kv_bytes);
    if (d->kv != NULL)
        memset(d->kv, 0, d->kv_bytes);
    return d->kv != NULL;
}

static void copy_sources(struct attention_data *d) {
    const uint64_t floats = d->head_floats * d->kv_heads * d->n_sources;
    for (uint64_t at = floats; at < d->kv_bytes / sizeof(float); at += floats)
        memcpy(d->kv + at, d->kv, floats * sizeof(float));
}

static bool refuse_tokens(const struct trace *t, const struct attention_data *d) {
    fprintf(stderr,
            "rsr-bench: the trace has too few tokens, %u, for a --context of %u and the queries of "
            "%u tokens after its last\n",
            t->n_tokens, d->n_keys, d->n_steps - 1);
    return false;
}

static bool make_from_trace(const struct bench_options *options, struct attention_data *d) {
    struct trace t = {0};
    bool ok = open_trace(options->data + strlen(TRACE), &t);
    if (ok) {
        d->head_dim = t.head_dim;
        d->kv_heads = t.n_kv_heads;
        d->group = t.n_heads / t.n_kv_heads;
        d->n_sources = t.n_layers;
        d->n_steps = rsrc_divide_up(CHECKED_QUERIES, t.n_heads);
        const uint32_t most = t.n_tokens >= d->n_steps ? t.n_tokens - d->n_steps + 1 : 1;
        d->n_keys = options->context != 0 ? options->context : most;
        ok = (uint64_t)d->n_keys + d->n_steps - 1 <= t.n_tokens || refuse_tokens(&t, d);
    }
    ok = ok && reserve(options, d) && read_trace(&t, d);
    if (t.file != NULL)
        fclose(t.file);
    return ok;
}

static bool make_drawn(const struct bench_options *options, struct attention_data *d) {
    struct attention_drawing drawing;
    if (!attention_drawing_parse(options->data, options->head_dim, &drawing))
        return false;
    if (options->heads % options->kv_heads != 0 ||
        options->heads / options->kv_heads > ATTENTION_MAX_GROUP)
        return refuse("--heads must be a multiple of --kv-heads, at most 64 times as many");
    d->n_keys = options->context;
    d->head_dim = options->head_dim;
    d->kv_heads = options->kv_heads;
    d->group = options->heads / options->kv_heads;
    d->n_sources = 1;
    d->n_steps = rsrc_divide_up(CHECKED_QUERIES, options->heads);
    d->n_needles = drawing.needles;
    if (d->n_needles >= d->n_keys && d->n_needles > 0)
        return refuse("there are to be fewer needles than keys");
    d->needles = calloc((size_t)d->kv_heads * d->n_needles + 1, sizeof(*d->needles));
    if (d->needles == NULL)
        return refuse("no memory for needles");
    if (!reserve(options, d))
        return false;
    attention_draw(d, &drawing, options->seed, options->threads);
    return true;
}

bool bench_is_traced(const struct bench_options *options) {
    return strncmp(options->data, TRACE, strlen(TRACE)) == 0;
}

bool attention_data_make(const struct bench_options *options, struct attention_data *data) {
    if (!(bench_is_traced(options) ? make_from_trace : make_drawn)(options, data))
        return false;
    copy_sources(data);
    return true;
}

void attention_data_free(struct attention_data *data) {
    free(data->queries);
    free(data->needles);
    rsrc_unmap_pages(data->kv, data->kv_bytes);
}
