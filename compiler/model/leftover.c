/* leftover.c - diagnostics for tensors that are missing or that nothing consumes.
 *
 * A missing tensor and a leftover one with a similar name are reported as one mistake. Leftovers
 * whose kind is known get their own slug and say what is not supported. At most a few of each are
 * named; the last message counts the rest.
 */
#include "model/leftover.h"

#include <string.h>

#include "base/suffix.h"
#include "model/tensor_data.h"

#define MAX_UNEXPECTED 8u
#define MAX_CANDIDATES 512u

/* Endings of tensor names that belong to features this compiler does not have. */
static const struct {
    const char *suffix;
    const char *slug;
    const char *help;
} known_kinds[] = {
    {".bias", "graph-bias", "biases of linear layers and norms are not supported"},
    {".rms_norm.weight", "graph-extra-norm",
     "only ternary layers normalise their own input, where use_rms_norm of quantization_config is "
     "true"},
    {".q_norm.weight", "graph-extra-norm",
     "this family does not normalise queries and keys; model_type \"qwen3\" does"},
    {".k_norm.weight", "graph-extra-norm",
     "this family does not normalise queries and keys; model_type \"qwen3\" does"},
    {".inner_attn_ln.weight", "graph-extra-norm",
     "this family has no such norm; architecture \"BitnetForCausalLM\" of model_type \"llama\" "
     "has"},
    {".ffn_layernorm.weight", "graph-extra-norm",
     "this family has no such norm; architecture \"BitnetForCausalLM\" of model_type \"llama\" "
     "has"},
    {"_sub_norm.weight", "graph-extra-norm",
     "this family has no norms inside its block; model_type \"bitnet\" has"},
    {".weight_scale", "graph-unexpected-scale",
     "float weights have no scale; an embedding of bytes is not supported"},
};

/* The name for messages: that of the file. */
static const char *told_name(const struct rsr_tensor *tensor) {
    return tensor->stored_name ? tensor->stored_name : tensor->name;
}

void rsrc_missing_add(struct rsrc_missing *missing, const char *name, const char *expected) {
    if (missing->n_total < RSRC_MAX_MISSING) {
        missing->names[missing->n_total] = name;
        missing->expected[missing->n_total] = expected;
    }
    missing->n_total++;
}

static void report_missing(struct rsrc_diag *diag, const struct rsr_checkpoint *checkpoint,
                           const char *name, const char *expected, const char *near) {
    struct rsrc_place place = {.file = checkpoint->path};

    if (near)
        rsrc_error(diag, "graph-missing-tensor", &place,
                   "if that is the tensor, rename it in the checkpoint",
                   "there is no tensor %s, %s; did you mean %s, which nothing uses?", name,
                   expected, near);
    else
        rsrc_error(diag, "graph-missing-tensor", &place,
                   "the checkpoint is incomplete, or its configuration is that of another one",
                   "there is no tensor %s, %s", name, expected);
}

static void report_unexpected(struct rsrc_diag *diag, const struct rsr_tensor *tensor) {
    struct rsrc_place place = rsrc_tensor_place(tensor, 0);

    for (size_t i = 0; i < sizeof known_kinds / sizeof *known_kinds; i++) {
        if (rsrc_ends_with(tensor->name, known_kinds[i].suffix)) {
            rsrc_error(diag, known_kinds[i].slug, &place, known_kinds[i].help,
                       "nothing in this architecture uses it");
            return;
        }
    }
    rsrc_error(diag, "graph-unexpected-tensor", &place,
               "leaving a weight out would change the model; remove it if it is not needed",
               "nothing in this architecture uses it");
}

/* Collects unconsumed tensors, except those already named with a missing one. Returns how many. */
static uint32_t report_all_unexpected(struct rsrc_diag *diag,
                                      const struct rsr_checkpoint *checkpoint,
                                      const char *const *named, uint32_t n_named) {
    uint32_t n = 0;

    for (uint32_t i = 0; i < checkpoint->n_tensors; i++) {
        const struct rsr_tensor *tensor = &checkpoint->tensors[i];
        bool was_named = tensor->consumed;

        for (uint32_t j = 0; j < n_named && !was_named; j++)
            was_named = named[j] == told_name(tensor);
        if (was_named)
            continue;
        if (n++ < MAX_UNEXPECTED)
            report_unexpected(diag, tensor);
    }
    return n;
}

static void report_rest(struct rsrc_diag *diag, const struct rsr_checkpoint *checkpoint,
                        const char *slug, const char *what, uint32_t n, uint32_t n_shown) {
    struct rsrc_place place = {.file = checkpoint->path};

    if (n > n_shown)
        rsrc_error(diag, slug, &place, NULL, "and %u more tensors %s", n - n_shown, what);
}

enum rsrc_status rsrc_report_leftovers(struct rsrc_diag *diag,
                                       const struct rsr_checkpoint *checkpoint,
                                       const struct rsrc_missing *missing) {
    const char *candidates[MAX_CANDIDATES], *named[RSRC_MAX_MISSING];
    uint32_t n_candidates = 0, n_named = 0;

    for (uint32_t i = 0; i < checkpoint->n_tensors && n_candidates < MAX_CANDIDATES; i++)
        if (!checkpoint->tensors[i].consumed)
            candidates[n_candidates++] = told_name(&checkpoint->tensors[i]);
    for (uint32_t i = 0; i < missing->n_total && i < RSRC_MAX_MISSING; i++) {
        const char *near = rsrc_did_you_mean(missing->names[i], candidates, n_candidates);

        report_missing(diag, checkpoint, missing->names[i], missing->expected[i], near);
        if (near)
            named[n_named++] = near;
    }
    report_rest(diag, checkpoint, "graph-missing-tensor", "are missing", missing->n_total,
                RSRC_MAX_MISSING);

    uint32_t n_unexpected = report_all_unexpected(diag, checkpoint, named, n_named);
    report_rest(diag, checkpoint, "graph-unexpected-tensor", "have no use", n_unexpected,
                MAX_UNEXPECTED);
    return missing->n_total + n_unexpected + n_named > 0 ? RSRC_FAILED : RSRC_OK;
}
