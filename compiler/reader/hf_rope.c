/* hf_rope.c - rotations of queries and keys, and the blocks that see only a window of keys.
 *
 * A rotation is given by fields of config.json itself (rope_theta), by rope_scaling (transformers
 * 4) or by rope_parameters (transformers 5), which is one object or one per layer type. Sources:
 * modeling_rope_utils.py of transformers for the kinds and their fields, configuration_gemma3.py
 * for layer types.
 */
#include <math.h>
#include <string.h>

#include "family/family.h"
#include "reader/hf_document.h"
#include "reader/limits.h"

#define FULL "full_attention"
#define SLIDING "sliding_attention"
#define MAX_FACTOR 1e6

/* ---- kinds of rotations ---------------------------------------------------------------------- */

#define KIND_FIELDS 8

static const struct kind {
    const char *name;
    enum rsr_rope_kind kind;
    const char *fields[KIND_FIELDS]; /* keys allowed in addition to those of every kind */
} KINDS[] = {
    {"default", RSR_ROPE_PLAIN, {NULL}},
    {"linear", RSR_ROPE_LINEAR, {"factor"}},
    {"llama3",
     RSR_ROPE_LLAMA3,
     {"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"}},
    {"yarn",
     RSR_ROPE_YARN,
     {"factor", "beta_fast", "beta_slow", "attention_factor", "truncate",
      "original_max_position_embeddings"}},
};

#define N_KINDS (sizeof KINDS / sizeof *KINDS)
#define KIND_HELP "\"default\", \"linear\", \"llama3\" and \"yarn\" are supported"

static const char *const COMMON_FIELDS[] = {"rope_theta", "rope_type", "type",
                                            "partial_rotary_factor"};

/* Of models that see pictures, too: which frequencies turn by rows and columns. For text the
 * positions are all the same. */
static const char *const PICTURE_FIELDS[] = {"mrope_section", "mrope_interleaved"};

static bool is_field_of(const struct kind *kind, const char *name, bool is_partial) {
    for (size_t i = 0; i < sizeof PICTURE_FIELDS / sizeof *PICTURE_FIELDS; i++)
        if (is_partial && strcmp(name, PICTURE_FIELDS[i]) == 0)
            return true;
    for (size_t i = 0; i < sizeof COMMON_FIELDS / sizeof *COMMON_FIELDS; i++)
        if (strcmp(name, COMMON_FIELDS[i]) == 0)
            return true;
    for (size_t i = 0; i < KIND_FIELDS && kind->fields[i] != NULL; i++)
        if (strcmp(name, kind->fields[i]) == 0)
            return true;
    return false;
}

/* NULL: refused. */
static const struct kind *read_kind(struct rsrc_hf_document *doc, const char *key,
                                    const json_t *rope) {
    const char *type = rsrc_hf_string(doc, rope, "rope_type", NULL);
    const char *legacy_type = rsrc_hf_string(doc, rope, "type", NULL);
    const char *name = type != NULL ? type : legacy_type;
    if (name == NULL)
        return &KINDS[0];
    for (size_t i = 0; i < N_KINDS; i++)
        if (strcmp(name, KINDS[i].name) == 0 &&
            (legacy_type == NULL || strcmp(legacy_type, name) == 0))
            return &KINDS[i];
    rsrc_hf_refuse(doc, "config-rope", KIND_HELP, "\"%s\" has type '%s'", key,
                   rsrc_quote(doc->arena, name));
    return NULL;
}

static bool check_fields(struct rsrc_hf_document *doc, const char *key, json_t *rope,
                         const struct kind *kind, bool is_partial) {
    const char *name;
    json_t *value;
    json_object_foreach(rope, name, value) {
        if (json_is_null(value) || is_field_of(kind, name, is_partial))
            continue;
        rsrc_hf_refuse(doc, "config-rope", KIND_HELP,
                       "\"%s\" has the field '%s', which is not understood of type \"%s\"", key,
                       rsrc_quote(doc->arena, name), kind->name);
        return false;
    }
    return true;
}

/* A number that the kind requires (fallback 0) or may have. */
static double read_factor(struct rsrc_hf_document *doc, const char *key, const json_t *rope,
                          const char *name, double fallback) {
    const bool failed_before = doc->failed;
    const double value = rsrc_hf_number(doc, rope, name, fallback);
    const bool is_typed = doc->failed == failed_before; /* else it was refused already */
    if (is_typed && (!(value > 0.0) || value > MAX_FACTOR))
        rsrc_hf_refuse(doc, "config-rope", NULL, "\"%s\" of \"%s\" is %s%g, outside (0, 1e6]", name,
                       key, rsrc_hf_field(rope, name) == NULL ? "missing: " : "", value);
    return value;
}

/* The factor of YaRN's cosines and sines that its paper suggests. */
static double yarn_attention_factor(double factor) {
    return factor <= 1.0 ? 1.0 : 0.1 * log(factor) + 1.0;
}

static void read_kind_fields(struct rsrc_hf_document *doc, const char *key, const json_t *rope,
                             struct rsr_rope_config *out) {
    if (out->kind == RSR_ROPE_PLAIN)
        return;
    out->factor = read_factor(doc, key, rope, "factor", 0.0);
    if (out->factor > 0.0 && out->factor < 1.0) /* angles would be too large for the runtime */
        rsrc_hf_refuse(doc, "config-rope", NULL, "\"factor\" of \"%s\" is %g, below 1", key,
                       out->factor);
    if (out->kind == RSR_ROPE_LINEAR)
        return;
    if (rsrc_hf_field(rope, "original_max_position_embeddings") == NULL)
        rsrc_hf_refuse(doc, "config-rope", NULL,
                       "\"original_max_position_embeddings\" of \"%s\" is missing", key);
    out->original_context = rsrc_hf_count(doc, rope, "original_max_position_embeddings",
                                          RSRC_MAX_CONTEXT, doc->config->hyper.context);
    if (rsrc_hf_count(doc, doc->root, "original_max_position_embeddings", RSRC_MAX_CONTEXT,
                      out->original_context) != out->original_context)
        rsrc_hf_refuse(doc, "config-rope", "keep one of the two",
                       "\"original_max_position_embeddings\" is another one in \"%s\"", key);
    if (out->kind == RSR_ROPE_LLAMA3) {
        out->low_freq_factor = read_factor(doc, key, rope, "low_freq_factor", 0.0);
        out->high_freq_factor = read_factor(doc, key, rope, "high_freq_factor", 0.0);
        if (!(out->low_freq_factor < out->high_freq_factor) && !doc->failed)
            rsrc_hf_refuse(doc, "config-rope", NULL,
                           "\"low_freq_factor\" %g of \"%s\" is not below \"high_freq_factor\" %g",
                           out->low_freq_factor, key, out->high_freq_factor);
        return;
    }
    out->beta_fast = read_factor(doc, key, rope, "beta_fast", 32.0);
    out->beta_slow = read_factor(doc, key, rope, "beta_slow", 1.0);
    out->attention_factor =
        read_factor(doc, key, rope, "attention_factor", yarn_attention_factor(out->factor));
    out->truncate = rsrc_hf_flag(doc, rope, "truncate", true);
}

/* A rotation object. The base in it must agree with out->theta unless that is 0. */
static void read_rotation(struct rsrc_hf_document *doc, const struct rsrc_family *family,
                          const char *key, json_t *rope, struct rsr_rope_config *out) {
    const bool is_partial = family->rotary_factor != 0.0;
    if (rope == NULL)
        return;
    if (!json_is_object(rope)) {
        rsrc_hf_refuse(doc, "config-field", NULL, "\"%s\" is %s where an object is expected", key,
                       rsrc_json_type_name(rope));
        return;
    }
    const struct kind *kind = read_kind(doc, key, rope);
    if (kind == NULL || !check_fields(doc, key, rope, kind, is_partial))
        return;
    if (!is_partial && rsrc_hf_number(doc, rope, "partial_rotary_factor", 1.0) != 1.0)
        rsrc_hf_refuse(doc, "config-rope", NULL,
                       "\"%s\" asks for partial rotary embeddings, which are not supported", key);
    out->kind = kind->kind;
    read_kind_fields(doc, key, rope, out);
    const double theta = rsrc_hf_number(doc, rope, "rope_theta", 0.0);
    if (theta != 0.0 && out->theta != 0.0 && theta != out->theta)
        rsrc_hf_refuse(doc, "config-rope", "keep one of the two",
                       "rope_theta is %g, but %g in \"%s\"", out->theta, theta, key);
    else if (theta != 0.0)
        out->theta = theta;
}

static void check_theta(struct rsrc_hf_document *doc, const char *key, double fallback,
                        struct rsr_rope_config *out) {
    const json_t *given = rsrc_hf_field(doc->root, key);
    if (out->theta == 0.0 && given == NULL)
        out->theta = fallback;
    /* A value that is not a number was refused. */
    if ((given == NULL || json_is_number(given)) && (!(out->theta >= 1.0) || out->theta > 1e12))
        rsrc_hf_refuse(doc, "config-field", NULL, "\"%s\" is %g, outside [1, 1e12]", key,
                       out->theta);
    else if (out->kind == RSR_ROPE_YARN && out->theta == 1.0)
        rsrc_hf_refuse(doc, "config-rope", NULL, "\"%s\" is 1, where every dimension turns alike",
                       key);
}

/* If there are several layer types, rope_parameters of transformers 5 has an object for each. */
static bool has_layer_types(const struct rsrc_family *family, const json_t *parameters) {
    return family->has_windows && (json_object_get(parameters, FULL) != NULL ||
                                   json_object_get(parameters, SLIDING) != NULL);
}

static void read_rotations(struct rsrc_hf_document *doc, const struct rsrc_family *family) {
    struct rsr_rope_config *all = &doc->config->ropes[0], *local = &doc->config->ropes[1];
    json_t *parameters = rsrc_hf_field(doc->root, "rope_parameters");
    all->theta = rsrc_hf_number(doc, doc->root, "rope_theta", 0.0);
    if (parameters != NULL && rsrc_hf_field(doc->root, "rope_scaling") != NULL)
        rsrc_hf_refuse(doc, "config-rope", "keep \"rope_parameters\", the newer one",
                       "there are both \"rope_parameters\" and \"rope_scaling\"");
    if (has_layer_types(family, parameters)) {
        read_rotation(doc, family, FULL, rsrc_hf_field(parameters, FULL), all);
        read_rotation(doc, family, SLIDING, rsrc_hf_field(parameters, SLIDING), local);
    } else if (family->has_windows && parameters != NULL) {
        rsrc_hf_refuse(doc, "config-rope",
                       "it has an object \"" FULL "\" and one \"" SLIDING "\" for this model type",
                       "\"rope_parameters\" does not say which layers it is of");
    } else {
        read_rotation(doc, family, "rope_parameters", parameters, all);
    }
    read_rotation(doc, family, "rope_scaling", rsrc_hf_field(doc->root, "rope_scaling"), all);
    check_theta(doc, "rope_theta", family->rope_theta, all);
    doc->config->hyper.rope_theta = (float)all->theta;
    if (!family->has_windows)
        return;
    if (local->theta == 0.0)
        local->theta = rsrc_hf_number(doc, doc->root, "rope_local_base_freq", 0.0);
    check_theta(doc, "rope_local_base_freq", family->local_rope_theta, local);
}

/* ---- windows --------------------------------------------------------------------------------- */

static void refuse_layer_type(struct rsrc_hf_document *doc, const struct rsrc_family *family,
                              const char *type) {
    rsrc_hf_refuse(doc, "config-unsupported",
                   family->has_windows ? "\"" FULL "\" and \"" SLIDING "\" layers are supported"
                                       : "only \"" FULL
                                         "\" layers are supported for this model type",
                   "\"layer_types\" holds '%s'", rsrc_quote(doc->arena, type == NULL ? "?" : type));
}

/* Flags of the blocks with a window; false: refused. */
static bool read_layer_types(struct rsrc_hf_document *doc, const struct rsrc_family *family,
                             uint8_t *has_window) {
    const uint32_t n = doc->config->hyper.n_layers;
    const json_t *types = rsrc_hf_field(doc->root, "layer_types");
    if (types == NULL) {
        const uint32_t every = rsrc_hf_count(doc, doc->root, "sliding_window_pattern",
                                             RSRC_MAX_LAYERS, family->window_pattern);
        for (uint32_t i = 0; i < n; i++)
            has_window[i] = family->has_windows && (i + 1) % every != 0;
        return true;
    }
    if (!json_is_array(types)) {
        rsrc_hf_refuse(doc, "config-field", NULL, "\"layer_types\" is %s where a list is expected",
                       rsrc_json_type_name(types));
        return false;
    }
    if (family->has_windows && json_array_size(types) != n) {
        rsrc_hf_refuse(doc, "config-field", NULL,
                       "\"layer_types\" has %zu entries for num_hidden_layers %u",
                       json_array_size(types), n);
        return false;
    }
    for (size_t i = 0; i < json_array_size(types); i++) {
        const char *type = json_string_value(json_array_get(types, i));
        const bool sliding = family->has_windows && type != NULL && strcmp(type, SLIDING) == 0;
        if (sliding)
            has_window[i] = 1;
        if (!sliding && (type == NULL || strcmp(type, FULL) != 0)) {
            refuse_layer_type(doc, family, type);
            return false;
        }
    }
    return true;
}

static void read_windows(struct rsrc_hf_document *doc, const struct rsrc_family *family) {
    const json_t *window = rsrc_hf_field(doc->root, "sliding_window");
    const uint32_t n = doc->config->hyper.n_layers;
    if (n == 0)
        return; /* was refused */
    uint8_t *has_window = RSRC_NEW_ARRAY(doc->arena, n, uint8_t);
    if (!read_layer_types(doc, family, has_window))
        return;
    if (!family->has_windows) {
        const json_t *used = rsrc_hf_field(doc->root, "use_sliding_window");
        const bool is_off = json_is_null(json_object_get(doc->root, "sliding_window"));
        if ((window != NULL && !json_is_false(used)) || (json_is_true(used) && !is_off))
            rsrc_hf_refuse(doc, "config-unsupported",
                           "this model cannot be compiled by this version",
                           "\"sliding_window\" asks for sliding-window attention, which is not "
                           "supported for this model type");
        return;
    }
    bool any = false;
    for (uint32_t i = 0; i < n; i++)
        any |= has_window[i] != 0;
    if (!any)
        return;
    if (window == NULL)
        rsrc_hf_refuse(doc, "config-missing", "the config.json may be incomplete; fetch it again",
                       "\"sliding_window\" is missing");
    doc->config->window = rsrc_hf_count(doc, doc->root, "sliding_window", RSRC_MAX_CONTEXT, 1);
    doc->config->has_window = has_window;
}

void rsrc_hf_read_rope(struct rsrc_hf_document *doc, const struct rsrc_family *family) {
    read_rotations(doc, family);
    if (family->rotary_factor != 0.0)
        rsrc_hf_read_rotary(doc, rsrc_hf_field(doc->root, "rope_parameters"),
                            family->rotary_factor);
    if (family->delta_path != NULL)
        rsrc_hf_read_deltas(doc);
    else
        read_windows(doc, family);
}
