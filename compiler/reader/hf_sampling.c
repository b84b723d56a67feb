/* hf_sampling.c - the sampling settings of generation_config.json, which become defaults of the
 * module. Settings that cannot be followed give a warning, and the module then has none.
 */
#include "reader/hf_document.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* A field, the member that it fills, and transformers' default. */
struct sampling_field {
    const char *key;
    size_t offset; /* of a float in struct rsr_sampling_advice */
    double fallback;
    double min, max;
    bool is_whole;
};

#define MEMBER(name) offsetof(struct rsr_sampling_advice, name)
#define LARGEST 1e6

static const struct sampling_field NUMBERS[] = {
    {"temperature", MEMBER(temperature), 1, 0, LARGEST, false},
    {"top_p", MEMBER(top_p), 1, 1e-9, 1, false},
    {"min_p", MEMBER(min_p), 0, 0, 1, false},
    {"repetition_penalty", MEMBER(repeat_penalty), 1, 1 / LARGEST, LARGEST, false},
};
#define N_NUMBERS (sizeof(NUMBERS) / sizeof(NUMBERS[0]))

static const struct sampling_field TOP_K = {"top_k", 0, 50, 0, 1e9, true};
static const char DO_SAMPLE[] = "do_sample";

static bool says_anything(const json_t *root) {
    bool any = rsrc_hf_field(root, DO_SAMPLE) != NULL || rsrc_hf_field(root, TOP_K.key) != NULL;
    for (size_t i = 0; i < N_NUMBERS; i++)
        any = any || rsrc_hf_field(root, NUMBERS[i].key) != NULL;
    return any;
}

static void warn(const struct rsrc_hf_document *doc, const char *key, const char *expected) {
    const struct rsrc_place place = {.file = doc->file};
    rsrc_warning(doc->diag, "config-sampling", &place,
                 "correct it, or give rsr-run --temp and the like",
                 "\"%s\" is not %s; the module says nothing of sampling", key, expected);
}

static bool read_number(const struct rsrc_hf_document *doc, const struct sampling_field *field,
                        double *out) {
    const json_t *value = rsrc_hf_field(doc->root, field->key);
    *out = value != NULL ? json_number_value(value) : field->fallback;
    if (value == NULL || (json_is_number(value) && *out >= field->min && *out <= field->max &&
                          !(field->is_whole && *out != floor(*out))))
        return true;
    char expected[64];
    snprintf(expected, sizeof(expected), "%s from %g to %g",
             field->is_whole ? "an integer" : "a number", field->min, field->max);
    warn(doc, field->key, expected);
    return false;
}

/* Follows transformers with one difference: numbers without "do_sample" are used. transformers
 * ignores them, with a warning. */
void rsrc_hf_read_sampling(struct rsrc_hf_document *doc) {
    const json_t *do_sample = rsrc_hf_field(doc->root, DO_SAMPLE);
    struct rsr_sampling_advice advice = {0};
    double number;
    if (!says_anything(doc->root))
        return;
    if (do_sample != NULL && !json_is_boolean(do_sample)) {
        warn(doc, DO_SAMPLE, "true or false");
        return;
    }
    for (size_t i = 0; i < N_NUMBERS; i++) {
        if (!read_number(doc, &NUMBERS[i], &number))
            return;
        const float value = (float)number;
        memcpy((char *)&advice + NUMBERS[i].offset, &value, sizeof(value));
    }
    struct sampling_field top_k = TOP_K;
    if (json_is_false(do_sample)) { /* greedy: only requested filters apply */
        advice.temperature = 0;
        top_k.fallback = 0;
    }
    if (!read_number(doc, &top_k, &number))
        return;
    advice.top_k = (uint32_t)number;
    doc->config->has_sampling = true;
    doc->config->sampling = advice;
}
