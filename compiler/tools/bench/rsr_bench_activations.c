/* rsr_bench_activations.c - what int8 activations would cost a model that has float ones: the error
 * of every layer, and of the logits.
 *
 * A chunk of tokens is evaluated twice. The first time, a probe keeps what every ternary layer
 * computes. The second time, it rounds each layer's input to int8 as the runtime would (a scale a
 * token), compares the layer's output with the one that it kept, and puts both back, so that every
 * layer's error is its own. Another sequence is evaluated with all inputs rounded and nothing put
 * back: its logits are those of a model compiled with --activations=int8.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rsr.h"
#include "rsr_bench.h"

#define CHUNK_TOKENS 16u
#define MAX_LAYERS 8192u /* of a model: its ternary layers */
#define TEXT_MAX (1u << 20)
#define PAGE_TOKENS 64u

/* A ternary layer, in the order of evaluation. */
struct layer {
    uint32_t block;
    char role[16];
    uint32_t cols;
    float *output;       /* [CHUNK_TOKENS][cols] */
    double error, power; /* sums of squares: of differences, of outputs */
    double worst;        /* of a token: its relative error */
};

enum pass { KEEP, COMPARE, ROUND };

struct activation_bench {
    const struct bench_options *options;
    rsr_error err;
    rsr_model *model;
    rsr_engine *engine;
    rsr_model_info info;
    rsr_sequence *exact, *rounded;
    uint32_t *tokens;
    uint32_t n_tokens;
    float *logits[2]; /* [CHUNK_TOKENS][vocab]: exact, rounded */
    /* Of the probe. */
    enum pass pass;
    struct layer *layers;
    uint32_t n_layers, next;
    rsr_probe_point input_of; /* the current layer's input, */
    float *input;             /* a copy of it, */
    size_t input_floats;      /* and the copy's capacity */
    const char *problem;      /* NULL: none */
    /* Of the logits. */
    double logits_error, logits_power;
    uint32_t n_other; /* tokens whose likeliest next token differs */
};

/* Reports a failure of the library. */
static bool say(const struct activation_bench *b) {
    fprintf(stderr, "rsr-bench: %s\n", b->err.message);
    return false;
}

/* ---- the probe ------------------------------------------------------------------------------- */

/* As the runtime quantises, and back: to the nearest, ties to even. */
static void round_row(float *x, uint32_t n) {
    float largest = 1e-5f;
    for (uint32_t i = 0; i < n; i++)
        largest = fmaxf(largest, fabsf(x[i]));
    const float s = (1.0f / largest) * 127.0f, scale = 1.0f / s;
    for (uint32_t i = 0; i < n; i++)
        x[i] = fminf(fmaxf(rintf(x[i] * s), -128.0f), 127.0f) * scale;
}

static float *row_of(const rsr_probe_point *point, uint32_t token) {
    return (float *)(void *)((char *)point->data + token * point->row_bytes);
}

static bool keep_input(struct activation_bench *b, const rsr_probe_point *point) {
    const size_t n = (size_t)point->n_tokens * point->cols;
    if (n > b->input_floats) {
        float *more = realloc(b->input, n * sizeof *more);
        if (more == NULL)
            return false;
        b->input = more;
        b->input_floats = n;
    }
    for (uint32_t t = 0; t < point->n_tokens; t++)
        memcpy(b->input + (size_t)t * point->cols, row_of(point, t), point->cols * sizeof(float));
    return true;
}

static void take_input(struct activation_bench *b, const rsr_probe_point *point) {
    if (b->pass == KEEP)
        return;
    if (b->pass == COMPARE && !keep_input(b, point)) {
        b->problem = "there is not enough memory";
        return;
    }
    for (uint32_t t = 0; t < point->n_tokens; t++)
        round_row(row_of(point, t), point->cols);
    b->input_of = *point;
}

/* The layer's record, made in the first pass over the first chunk. */
static struct layer *layer_of(struct activation_bench *b, const rsr_probe_point *point) {
    if (b->next == b->n_layers) {
        if (b->n_layers == MAX_LAYERS) {
            b->problem = "the model has too many layers";
            return NULL;
        }
        struct layer *layer = &b->layers[b->n_layers];
        *layer = (struct layer){.block = point->block, .cols = point->cols};
        snprintf(layer->role, sizeof layer->role, "%s", point->role);
        layer->output = malloc((size_t)CHUNK_TOKENS * point->cols * sizeof *layer->output);
        if (layer->output == NULL) {
            b->problem = "there is not enough memory";
            return NULL;
        }
        b->n_layers++;
    }
    return &b->layers[b->next++];
}

static void compare_row(struct layer *layer, const float *exact, float *row) {
    double error = 0, power = 0;
    for (uint32_t i = 0; i < layer->cols; i++) {
        const double difference = (double)row[i] - (double)exact[i];
        error += difference * difference;
        power += (double)exact[i] * (double)exact[i];
    }
    layer->error += error;
    layer->power += power;
    if (power > 0 && sqrt(error / power) > layer->worst)
        layer->worst = sqrt(error / power);
    memcpy(row, exact, layer->cols * sizeof *row);
}

static void take_output(struct activation_bench *b, const rsr_probe_point *point) {
    struct layer *layer = b->pass == ROUND ? NULL : layer_of(b, point);
    if (layer == NULL)
        return;
    for (uint32_t t = 0; t < point->n_tokens; t++) {
        float *kept = layer->output + (size_t)t * layer->cols;
        if (b->pass == KEEP) {
            memcpy(kept, row_of(point, t), layer->cols * sizeof *kept);
            continue;
        }
        compare_row(layer, kept, row_of(point, t));
        memcpy(row_of(&b->input_of, t), b->input + (size_t)t * b->input_of.cols,
               b->input_of.cols * sizeof(float));
    }
}

/* Layers of float weights stay as they are. A float head's output is the logits. */
static void probe(void *user, const rsr_probe_point *point) {
    struct activation_bench *b = user;
    if (point->has_dense_layer || b->problem != NULL)
        return;
    if (point->has_int8_rows)
        b->problem = "its layers multiply int8 activations already";
    else if (point->n_tokens > CHUNK_TOKENS)
        b->problem = "the engine joined batches";
    else if (point->kind == RSR_PROBE_LINEAR_INPUT)
        take_input(b, point);
    else if (point->kind == RSR_PROBE_LINEAR_OUTPUT)
        take_output(b, point);
    else if (point->kind == RSR_PROBE_LOGITS_INPUT && b->pass == ROUND)
        take_input(b, point);
}

/* ---- passes ---------------------------------------------------------------------------------- */

static bool evaluate(struct activation_bench *b, enum pass pass, rsr_sequence *sequence,
                     uint32_t first, uint32_t n, float *logits) {
    rsr_batch_entry entries[CHUNK_TOKENS];
    for (uint32_t t = 0; t < n; t++)
        entries[t] = (rsr_batch_entry){.sequence = sequence,
                                       .position = first + t,
                                       .token = b->tokens[first + t],
                                       .want_logits = logits != NULL};
    rsr_batch batch = RSR_BATCH_INIT;
    batch.entries = entries;
    batch.n_entries = n;
    batch.logits = logits;
    batch.logits_capacity = logits != NULL ? (size_t)n * b->info.vocab : 0;
    b->pass = pass;
    b->next = 0;
    if (rsr_eval(b->engine, &batch, &b->err) != RSR_OK)
        return say(b);
    if (b->problem != NULL)
        fprintf(stderr, "rsr-bench: %s: %s\n", b->options->files[0], b->problem);
    return b->problem == NULL;
}

static uint32_t likeliest(const float *logits, uint32_t n) {
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++)
        if (logits[i] > logits[best])
            best = i;
    return best;
}

static void compare_logits(struct activation_bench *b, uint32_t n) {
    for (uint32_t t = 0; t < n; t++) {
        const float *exact = b->logits[0] + (size_t)t * b->info.vocab;
        const float *rounded = b->logits[1] + (size_t)t * b->info.vocab;
        for (uint32_t i = 0; i < b->info.vocab; i++) {
            const double difference = (double)rounded[i] - (double)exact[i];
            b->logits_error += difference * difference;
            b->logits_power += (double)exact[i] * (double)exact[i];
        }
        b->n_other += likeliest(exact, b->info.vocab) != likeliest(rounded, b->info.vocab);
    }
}

/* A fork is evaluated, because a truncated sequence might have to evaluate tokens again. */
static bool keep(struct activation_bench *b, uint32_t first, uint32_t n) {
    rsr_sequence *fork = NULL;
    if (rsr_sequence_fork(b->exact, &fork, &b->err) != RSR_OK)
        return say(b);
    const bool done = evaluate(b, KEEP, fork, first, n, b->logits[0]);
    rsr_sequence_destroy(fork);
    return done;
}

static bool measure(struct activation_bench *b) {
    for (uint32_t first = 0; first < b->n_tokens; first += CHUNK_TOKENS) {
        const uint32_t left = b->n_tokens - first;
        const uint32_t n = left < CHUNK_TOKENS ? left : CHUNK_TOKENS;
        if (!keep(b, first, n) || !evaluate(b, COMPARE, b->exact, first, n, NULL) ||
            !evaluate(b, ROUND, b->rounded, first, n, b->logits[1]))
            return false;
        compare_logits(b, n);
    }
    return true;
}

/* ---- tokens ---------------------------------------------------------------------------------- */

/* The first tokens of the file. */
static bool read_tokens(struct activation_bench *b, uint32_t n) {
    const char *path = b->options->text;
    char *text = malloc(TEXT_MAX);
    FILE *file = fopen(path, "re");
    size_t n_bytes = 0, n_found = 0;
    if (text == NULL || file == NULL) {
        fprintf(stderr, "rsr-bench: cannot read '%s'\n", path);
    } else {
        n_bytes = fread(text, 1, TEXT_MAX, file);
        const rsr_status status = rsr_tokenize(b->model, text, n_bytes, RSR_TOKENIZE_ADD_SPECIAL,
                                               b->tokens, n, &n_found, &b->err);
        if (status != RSR_OK && status != RSR_ERR_FULL) {
            n_found = 0;
            say(b);
        } else if (n_bytes == 0 || n_found == 0) {
            n_found = 0;
            fprintf(stderr, "rsr-bench: '%s' has no text\n", path);
        }
    }
    b->n_tokens = n_found < n ? (uint32_t)n_found : n;
    if (file != NULL)
        fclose(file);
    free(text);
    return b->n_tokens != 0;
}

static bool choose_tokens(struct activation_bench *b) {
    const uint32_t wanted = b->options->prompts.values[0];
    const uint32_t n = wanted == 0 || wanted > b->info.context ? b->info.context : wanted;
    uint64_t seed = b->options->seed;
    b->tokens = malloc(n * sizeof *b->tokens);
    if (b->tokens == NULL) {
        fputs("rsr-bench: there is not enough memory\n", stderr);
        return false;
    }
    if (b->options->text != NULL)
        return read_tokens(b, n);
    for (b->n_tokens = 0; b->n_tokens < n; b->n_tokens++)
        b->tokens[b->n_tokens] = (uint32_t)(rsrc_random(&seed) % b->info.vocab);
    return true;
}

/* ---- the command ----------------------------------------------------------------------------- */

static bool open_model(struct activation_bench *b) {
    rsr_engine_options options = RSR_ENGINE_OPTIONS_INIT;
    b->info = (rsr_model_info)RSR_MODEL_INFO_INIT;
    if (rsr_open(b->options->files[0], NULL, &b->model, &b->err) != RSR_OK ||
        rsr_model_get_info(b->model, &b->info) != RSR_OK)
        return say(b);
    if (!choose_tokens(b))
        return false;
    options.n_threads = b->options->threads;
    options.context = b->n_tokens;
    options.kv_tokens = 2 * (b->n_tokens + PAGE_TOKENS) + PAGE_TOKENS; /* and the fork's page */
    options.max_batch = CHUNK_TOKENS;
    options.kv_type = "f32";
    options.probe = probe;
    options.probe_user = b;
    if (rsr_engine_create(b->model, &options, &b->engine, &b->err) != RSR_OK ||
        rsr_sequence_create(b->engine, &b->exact, &b->err) != RSR_OK ||
        rsr_sequence_create(b->engine, &b->rounded, &b->err) != RSR_OK)
        return say(b);
    b->layers = calloc(MAX_LAYERS, sizeof *b->layers);
    for (uint32_t i = 0; i < 2; i++)
        b->logits[i] = malloc((size_t)CHUNK_TOKENS * b->info.vocab * sizeof(float));
    if (b->layers != NULL && b->logits[0] != NULL && b->logits[1] != NULL)
        return true;
    fputs("rsr-bench: there is not enough memory\n", stderr);
    return false;
}

static double relative(double error, double power) {
    return power > 0 ? sqrt(error / power) : 0;
}

/* One object for every layer; the whole is one JSON object. */
static json_t *results(const struct activation_bench *b) {
    json_t *layers = json_array();
    double worst = 0;
    for (uint32_t i = 0; i < b->n_layers; i++) {
        const struct layer *layer = &b->layers[i];
        const double error = relative(layer->error, layer->power);
        worst = error > worst ? error : worst;
        json_t *row = json_pack("{s:s, s:f, s:f}", "role", layer->role, "error", error,
                                "worst_token", layer->worst);
        if (layer->block != UINT32_MAX)
            json_object_set_new(row, "block", json_integer(layer->block));
        json_array_append_new(layers, row);
    }
    return json_pack("{s:s, s:s, s:i, s:f, s:f, s:i, s:o}", "model", b->options->files[0],
                     "tokens_of", b->options->text != NULL ? b->options->text : "random", "tokens",
                     (int)b->n_tokens, "worst_layer_error", worst, "logits_error",
                     relative(b->logits_error, b->logits_power), "other_likeliest", (int)b->n_other,
                     "layers", layers);
}

static void print_table(const struct activation_bench *b) {
    printf("%-8s%-16s%14s%14s\n", "block", "layer", "error", "worst token");
    for (uint32_t i = 0; i < b->n_layers; i++) {
        const struct layer *layer = &b->layers[i];
        char block[16] = "";
        if (layer->block != UINT32_MAX)
            snprintf(block, sizeof block, "%u", layer->block);
        printf("%-8s%-16s%14.5f%14.5f\n", block, layer->role, relative(layer->error, layer->power),
               layer->worst);
    }
    printf("logits of all layers together: error %.5f; the likeliest token differs after %u of %u "
           "tokens%s\n",
           relative(b->logits_error, b->logits_power), b->n_other, b->n_tokens,
           b->options->text != NULL ? "" : ", which are random");
}

static void release(struct activation_bench *b) {
    rsr_sequence_destroy(b->exact);
    rsr_sequence_destroy(b->rounded);
    rsr_engine_destroy(b->engine);
    rsr_close(b->model);
    for (uint32_t i = 0; i < b->n_layers; i++)
        free(b->layers[i].output);
    free(b->layers);
    free(b->input);
    free(b->tokens);
    free(b->logits[0]);
    free(b->logits[1]);
}

int bench_activations(const struct bench_options *options) {
    struct activation_bench b = {.options = options, .err = RSR_ERROR_INIT};
    const bool done = open_model(&b) && measure(&b);
    if (done && b.n_layers == 0)
        fprintf(stderr, "rsr-bench: %s: there is no ternary layer\n", options->files[0]);
    const bool has_result = done && b.n_layers != 0;
    if (has_result && options->json)
        bench_print(results(&b), true);
    else if (has_result)
        print_table(&b);
    release(&b);
    return has_result ? 0 : 1;
}
