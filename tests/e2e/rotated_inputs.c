/* rotated_inputs.c - evaluates tokens of a module with rotated weights. Checks that the input of
 * every layer that ROLES names is, bit for bit, the rotation of what the norm or the attention
 * before it gave, and that of every other layer is not. Writes the logits as float32.
 *
 * usage: rotated_inputs MODULE.so LOGITS BLOCK SIGNS ROLES N_TOKENS
 *
 * SIGNS.<width> has a byte for every sign. ROLES is "q,k,o". Down is not checked: no probe shows
 * its input before the rotation.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rsr.h"

#define MAX_WIDTH 4096u
#define MAX_TOKENS 64u

struct check {
    const char *signs, *roles;
    uint32_t block;
    float before[MAX_TOKENS][MAX_WIDTH]; /* of the last norm or attention */
    uint32_t n_checked, n_wrong;
};

static rsr_error err = RSR_ERROR_INIT;

static void must(rsr_status status, const char *what) {
    if (status == RSR_OK)
        return;
    fprintf(stderr, "rotated_inputs: %s: %s\n", what, err.message);
    exit(1);
}

/* The order of ops.h. */
static void rotate(const struct check *check, float *x, uint32_t width) {
    char path[4096];
    signed char signs[MAX_WIDTH];
    snprintf(path, sizeof path, "%s.%u", check->signs, width);
    FILE *file = fopen(path, "rb");
    if (file == NULL || fread(signs, 1, width, file) != width) {
        perror(path);
        exit(1);
    }
    fclose(file);
    const float factor = 1.0f / sqrtf((float)check->block);
    for (uint32_t i = 0; i < width; i++)
        x[i] = (x[i] * (float)signs[i]) * factor;
    for (uint32_t d = 1; d < check->block; d *= 2)
        for (uint32_t i = 0; i < width; i++)
            if ((i & d) == 0) {
                const float u = x[i], v = x[i + d];
                x[i] = u + v;
                x[i + d] = u - v;
            }
}

static bool has_role(const struct check *check, const char *role) {
    const char *at = strstr(check->roles, role);
    const size_t n = strlen(role);
    return at != NULL && (at[n] == ',' || at[n] == '\0') && (at == check->roles || at[-1] == ',');
}

static void probe(void *user, const rsr_probe_point *point) {
    struct check *check = user;
    const bool gives =
        point->kind == RSR_PROBE_NORM_OUTPUT || point->kind == RSR_PROBE_ATTENTION_OUTPUT;
    if (!gives && (point->kind != RSR_PROBE_LINEAR_INPUT || strcmp(point->role, "down") == 0))
        return;
    for (uint32_t t = 0; t < point->n_tokens; t++) {
        float *row = (float *)(void *)((char *)point->data + t * point->row_bytes);
        if (gives) {
            memcpy(check->before[t], row, point->cols * sizeof *row);
            continue;
        }
        float expected[MAX_WIDTH];
        memcpy(expected, check->before[t], point->cols * sizeof *row);
        if (has_role(check, point->role))
            rotate(check, expected, point->cols);
        check->n_checked++;
        check->n_wrong += memcmp(expected, row, point->cols * sizeof *row) != 0;
    }
}

int main(int argc, char **argv) {
    if (argc != 7) {
        fprintf(stderr, "usage: rotated_inputs MODULE.so LOGITS BLOCK SIGNS ROLES N_TOKENS\n");
        return 2;
    }
    struct check *check = calloc(1, sizeof *check);
    const uint32_t n = (uint32_t)atoi(argv[6]);
    rsr_model *model;
    rsr_engine *engine;
    rsr_sequence *sequence;
    rsr_model_info info = RSR_MODEL_INFO_INIT;
    must(rsr_open(argv[1], NULL, &model, &err), "rsr_open");
    must(rsr_model_get_info(model, &info), "rsr_model_get_info");
    check->block = (uint32_t)atoi(argv[3]);
    check->signs = argv[4];
    check->roles = argv[5];
    rsr_engine_options options = RSR_ENGINE_OPTIONS_INIT;
    options.n_threads = 2;
    options.kv_type = "f32";
    options.probe = probe;
    options.probe_user = check;
    must(rsr_engine_create(model, &options, &engine, &err), "rsr_engine_create");
    must(rsr_sequence_create(engine, &sequence, &err), "rsr_sequence_create");

    rsr_batch_entry entries[MAX_TOKENS];
    float *logits = calloc((size_t)n * info.vocab, sizeof *logits);
    for (uint32_t i = 0; i < n; i++)
        entries[i] = (rsr_batch_entry){sequence, i, (7 * i + 3) % info.vocab, true};
    rsr_batch batch = RSR_BATCH_INIT;
    batch.entries = entries;
    batch.n_entries = n;
    batch.logits = logits;
    batch.logits_capacity = (size_t)n * info.vocab;
    must(rsr_eval(engine, &batch, &err), "rsr_eval");

    FILE *out = fopen(argv[2], "wb");
    if (out == NULL || fwrite(logits, sizeof *logits, (size_t)n * info.vocab, out) == 0 ||
        fclose(out) != 0) {
        perror(argv[2]);
        return 1;
    }
    printf("%u of %u inputs wrong\n", check->n_wrong, check->n_checked);
    rsr_sequence_destroy(sequence);
    rsr_engine_destroy(engine);
    rsr_close(model);
    free(logits);
    free(check);
    return 0;
}
