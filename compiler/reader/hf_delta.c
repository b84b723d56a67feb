/* hf_delta.c - blocks with a gated delta rule: which they are, their sizes, and the part of an
 * attention head that is rotated beside them. Source: configuration_qwen3_5.py of transformers.
 */
#include <string.h>

#include "family/family.h"
#include "reader/hf_document.h"
#include "reader/limits.h"

#define FULL "full_attention"
#define LINEAR "linear_attention"

/* Flags of the blocks with a delta rule; false: refused. */
static bool read_layer_types(struct rsrc_hf_document *doc, uint8_t *has_delta) {
    const uint32_t n = doc->config->hyper.n_layers;
    const json_t *types = rsrc_hf_field(doc->root, "layer_types");
    const uint32_t every =
        rsrc_hf_count(doc, doc->root, "full_attention_interval", RSRC_MAX_LAYERS, 4);
    if (types == NULL) {
        for (uint32_t i = 0; i < n; i++)
            has_delta[i] = (i + 1) % every != 0;
        return true;
    }
    if (!json_is_array(types) || json_array_size(types) != n) {
        rsrc_hf_refuse(doc, "config-field", NULL,
                       "\"layer_types\" is no list of num_hidden_layers %u names", n);
        return false;
    }
    for (uint32_t i = 0; i < n; i++) {
        const char *type = json_string_value(json_array_get(types, i));
        has_delta[i] = type != NULL && strcmp(type, LINEAR) == 0;
        if (has_delta[i] == 0 && (type == NULL || strcmp(type, FULL) != 0)) {
            rsrc_hf_refuse(
                doc, "config-unsupported", "\"" FULL "\" and \"" LINEAR "\" layers are supported",
                "\"layer_types\" holds '%s'", rsrc_quote(doc->arena, type == NULL ? "?" : type));
            return false;
        }
    }
    return true;
}

static void read_sizes(struct rsrc_hf_document *doc, struct rsr_hyper *hyper) {
    hyper->delta_key_heads =
        rsrc_hf_count(doc, doc->root, "linear_num_key_heads", RSRC_MAX_HEADS, 16);
    hyper->delta_value_heads =
        rsrc_hf_count(doc, doc->root, "linear_num_value_heads", RSRC_MAX_HEADS, 32);
    hyper->delta_key_dim =
        rsrc_hf_count(doc, doc->root, "linear_key_head_dim", RSRC_MAX_HEAD_DIM, 128);
    hyper->delta_value_dim =
        rsrc_hf_count(doc, doc->root, "linear_value_head_dim", RSRC_MAX_HEAD_DIM, 128);
    const uint32_t taps = rsrc_hf_count(doc, doc->root, "linear_conv_kernel_dim", 1024, 4);
    if (taps != RSR_DELTA_TAPS)
        rsrc_hf_refuse(doc, "config-unsupported", "this model cannot be compiled by this version",
                       "\"linear_conv_kernel_dim\" asks for a convolution of %u tokens, where %u "
                       "are supported",
                       taps, RSR_DELTA_TAPS);
    if (hyper->activation != RSR_ACTIVATION_SILU)
        rsrc_hf_refuse(doc, "config-activation", "\"silu\" is supported",
                       "the convolution of this model type applies \"hidden_act\", which is not "
                       "\"silu\"");
    if (!doc->failed && hyper->delta_value_heads % hyper->delta_key_heads != 0)
        rsrc_hf_refuse(doc, "config-heads", NULL,
                       "linear_num_value_heads %u is not a multiple of linear_num_key_heads %u",
                       hyper->delta_value_heads, hyper->delta_key_heads);
}

void rsrc_hf_read_deltas(struct rsrc_hf_document *doc) {
    struct rsr_hyper *hyper = &doc->config->hyper;
    static const char window[] = "sliding_window";
    if (rsrc_hf_field(doc->root, window) != NULL)
        rsrc_hf_refuse(doc, "config-unsupported", "this model cannot be compiled by this version",
                       "\"%s\" asks for sliding-window attention, which is not supported for this "
                       "model type",
                       window);
    if (!rsrc_hf_flag(doc, doc->root, "attn_output_gate", true))
        rsrc_hf_refuse(doc, "config-unsupported", "this model cannot be compiled by this version",
                       "\"attn_output_gate\" asks for attention without gates, which is not "
                       "supported for this model type");
    if (doc->failed)
        return;
    uint8_t *has_delta = RSRC_NEW_ARRAY(doc->arena, hyper->n_layers, uint8_t);
    if (!read_layer_types(doc, has_delta))
        return;
    for (uint32_t i = 0; i < hyper->n_layers; i++)
        hyper->delta_layers += has_delta[i];
    doc->config->has_delta = has_delta;
    if (hyper->delta_layers != 0)
        read_sizes(doc, hyper);
}

void rsrc_hf_read_rotary(struct rsrc_hf_document *doc, const json_t *rope, double fallback) {
    static const char key[] = "partial_rotary_factor";
    struct rsr_hyper *hyper = &doc->config->hyper;
    const double outer = rsrc_hf_number(doc, doc->root, key, 0.0);
    const double inner = rope == NULL ? 0.0 : rsrc_hf_number(doc, rope, key, 0.0);
    const double factor = inner != 0.0 ? inner : outer != 0.0 ? outer : fallback;
    if (inner != 0.0 && outer != 0.0 && inner != outer) {
        rsrc_hf_refuse(doc, "config-rope", "keep one of the two",
                       "\"%s\" is %g, but %g in \"rope_parameters\"", key, outer, inner);
        return;
    }
    if (!(factor > 0.0) || factor > 1.0) {
        rsrc_hf_refuse(doc, "config-rope", NULL, "\"%s\" is %g, outside (0, 1]", key, factor);
        return;
    }
    hyper->rotary_dim = (uint32_t)((double)hyper->head_dim * factor);
    if (!doc->failed && (hyper->rotary_dim == 0 || hyper->rotary_dim % 2 != 0))
        rsrc_hf_refuse(doc, "config-rope", NULL,
                       "\"%s\" %g rotates %u of the %u dimensions of a head, where an even number "
                       "is needed",
                       key, factor, hyper->rotary_dim, hyper->head_dim);
}
