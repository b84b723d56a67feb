/* hf_quantization.c - what config.json says about the weights of the linear layers: the scale rule,
 * the layers that stay in floating point, and what the layers multiply with.
 *
 *   quantization_config of quant_method "bitnet"   packed weights or float masters; int8
 *                                                  activations
 *   weight_bits 1, input_bits 8 (1bitLLM)          float masters; int8 activations
 *   nothing                                        floats that are already ternary, as in TriLM and
 *   Ternary-Bonsai; float activations
 *
 * The last case is only assumed here; decoding checks it weight by weight (model/ternary_values.h).
 * Source of the first case: transformers' bitnet quantizer and its configuration class.
 */
#include <string.h>

#include "family/family.h"
#include "reader/hf_document.h"

#define MAX_MODULES 4096u

static void read_not_converted(struct rsrc_hf_document *doc, const json_t *quantization) {
    const json_t *modules = rsrc_hf_field(quantization, "modules_to_not_convert");
    if (modules != NULL && !json_is_array(modules)) {
        rsrc_hf_refuse(doc, "config-field", NULL,
                       "\"modules_to_not_convert\" is %s where a list is expected",
                       rsrc_json_type_name(modules));
        return;
    }
    size_t n = json_array_size(modules);
    if (n > MAX_MODULES) {
        rsrc_hf_refuse(doc, "config-field", NULL,
                       "\"modules_to_not_convert\" has more than %u entries", MAX_MODULES);
        return;
    }
    const char **names = RSRC_NEW_ARRAY(doc->arena, n + 1, const char *);
    for (size_t i = 0; i < n; i++) {
        const char *name = json_string_value(json_array_get(modules, i));
        if (name == NULL) {
            rsrc_hf_refuse(doc, "config-field", NULL,
                           "\"modules_to_not_convert\" holds %s where a string is expected",
                           rsrc_json_type_name(json_array_get(modules, i)));
            return;
        }
        if (strpbrk(name, "*+?[](){}|^$\\") != NULL) {
            rsrc_hf_refuse(
                doc, "config-unsupported",
                "name the modules: model.layers.1.self_attn.q_proj, or q_proj for all",
                "\"modules_to_not_convert\" has the regular expression '%s'; plain names "
                "are supported",
                rsrc_quote(doc->arena, name));
            return;
        }
        names[i] = rsrc_arena_strdup(doc->arena, name);
    }
    if (modules == NULL) {
        names[n++] = "lm_head"; /* what transformers assumes */
    }
    doc->config->not_converted = names;
    doc->config->n_not_converted = (uint32_t)n;
}

/* The cases of transformers' bitnet quantizer. */
static const struct {
    const char *linear_class;
    const char *mode;
    enum rsr_scale_rule rule;
} SCALE_RULES[] = {
    {"bitlinear", "offline", RSR_SCALE_DIVIDE},
    {"autobitlinear", "offline", RSR_SCALE_MULTIPLY},
    {"autobitlinear", "online", RSR_SCALE_ONLINE},
};

static void read_scale_rule(struct rsrc_hf_document *doc, const json_t *quantization) {
    const char *given_class = rsrc_hf_string(doc, quantization, "linear_class", NULL);
    const char *given_mode = rsrc_hf_string(doc, quantization, "quantization_mode", NULL);
    if (doc->failed) {
        return;
    }
    const char *linear_class = given_class == NULL ? "bitlinear" : given_class;
    const char *mode = given_mode == NULL ? "offline" : given_mode;
    for (size_t i = 0; i < sizeof(SCALE_RULES) / sizeof(SCALE_RULES[0]); i++) {
        if (strcmp(linear_class, SCALE_RULES[i].linear_class) == 0 &&
            strcmp(mode, SCALE_RULES[i].mode) == 0) {
            doc->config->scale_rule = SCALE_RULES[i].rule;
            doc->config->scale_reason = rsrc_arena_printf(
                doc->arena, "linear_class \"%s\"%s, quantization_mode \"%s\"%s",
                SCALE_RULES[i].linear_class, given_class == NULL ? " (by default)" : "",
                SCALE_RULES[i].mode, given_mode == NULL ? " (by default)" : "");
            return;
        }
    }
    rsrc_hf_refuse(doc, "config-linear-class",
                   "supported: bitlinear (offline), autobitlinear (offline or online)",
                   "linear_class '%s' with quantization_mode '%s' is not supported",
                   rsrc_quote(doc->arena, linear_class), rsrc_quote(doc->arena, mode));
}

/* Every linear layer of the bitnet quantizer may begin with a norm of its own. */
static void read_projection_norms(struct rsrc_hf_document *doc, const json_t *quantization) {
    if (!rsrc_hf_flag(doc, quantization, "use_rms_norm", false))
        return;
    const double eps = rsrc_hf_number(doc, quantization, "rms_norm_eps", 1e-6);
    if (!(eps > 0.0) || eps > 1.0 || (float)eps == 0.0f)
        rsrc_hf_refuse(doc, "config-field", NULL,
                       "\"rms_norm_eps\" of \"quantization_config\" is %g, outside (0, 1]", eps);
    doc->config->projection_norm = "rms_norm";
    doc->config->projection_norm_eps = (float)eps;
}

static void read_bitnet(struct rsrc_hf_document *doc, const json_t *quantization) {
    if (!json_is_object(quantization)) {
        rsrc_hf_refuse(doc, "config-field", NULL,
                       "\"quantization_config\" is %s where an object is expected",
                       rsrc_json_type_name(quantization));
        return;
    }
    const bool failed_before = doc->failed;
    const char *method = rsrc_hf_string(doc, quantization, "quant_method", "(none)");
    if (doc->failed && !failed_before)
        return; /* the type is wrong, which was reported */
    if (strcmp(method, "bitnet") != 0) {
        rsrc_hf_refuse(doc, "config-quantization", "\"bitnet\" is supported",
                       "quant_method '%s' is not supported", rsrc_quote(doc->arena, method));
        return;
    }
    doc->config->input = RSR_INPUT_I8;
    doc->config->input_reason = "quant_method \"bitnet\" quantises activations to int8";
    read_scale_rule(doc, quantization);
    read_not_converted(doc, quantization);
    read_projection_norms(doc, quantization);
}

/* Used if there is no list. */
static const char *const HEAD_ALONE[] = {"lm_head"};

void rsrc_keep_head(struct rsr_config *config) {
    config->not_converted = HEAD_ALONE;
    config->n_not_converted = 1;
}

/* weight_bits and input_bits of 1bitLLM's configuration, whose head is a plain linear layer. */
static void read_bits(struct rsrc_hf_document *doc) {
    rsrc_keep_head(doc->config);
    const uint32_t weight_bits = rsrc_hf_count(doc, doc->root, "weight_bits", 32, 1);
    const uint32_t input_bits = rsrc_hf_count(doc, doc->root, "input_bits", 32, 8);
    if (weight_bits != 1 || input_bits != 8)
        rsrc_hf_refuse(doc, "config-quantization", "weight_bits 1 and input_bits 8 are supported",
                       "weight_bits %u and input_bits %u are not supported", weight_bits,
                       input_bits);
    doc->config->scale_rule = RSR_SCALE_ONLINE;
    doc->config->scale_reason = rsrc_arena_printf(
        doc->arena, "architecture \"%s\" quantises its masters when it runs, weight_bits 1",
        doc->config->architecture);
    doc->config->input = RSR_INPUT_I8;
    doc->config->input_reason = "input_bits 8";
}

void rsrc_hf_read_quantization(struct rsrc_hf_document *doc, const struct rsrc_family *family) {
    const json_t *quantization = rsrc_hf_field(doc->root, "quantization_config");
    if (quantization != NULL) {
        read_bitnet(doc, quantization);
        return;
    }
    if (family->has_bits) {
        read_bits(doc);
        return;
    }
    doc->config->scale_rule = RSR_SCALE_VALUES;
    doc->config->scale_reason =
        "no \"quantization_config\": the floats must already be ternary, times a scale";
    doc->config->input = RSR_INPUT_F32;
    doc->config->input_reason = "no \"quantization_config\" quantises activations";
}
