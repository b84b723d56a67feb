/* gguf_activations.c - decides between int8 and float activations of a GGUF file.
 *
 * No key of the file says which. BitNet models quantise activations to int8: the bitnet
 * architectures, and models with I2_S, IQ1_BN or IQ2_BN, whose kernels allow nothing else. Weights
 * with one scale per group were rounded from a float model, and multiply floats. One scale per
 * tensor in a type of ggml's is ambiguous: Llama models trained like BitNet (int8) and TriLM
 * (float) both have it. A wrong guess would give fluent nonsense, so then the user has to say
 * which.
 */
#include "reader/gguf_activations.h"

#include <string.h>

#include "reader/activations.h"

/* Ambiguous types, and the place of a block's scale, a float16. */
static const struct group_type {
    enum rsr_blocks blocks;
    uint32_t bytes, scale_at;
} GROUP_TYPES[] = {
    {RSR_BLOCKS_TQ1_0, 54, 52},    {RSR_BLOCKS_TQ2_0, 66, 64}, {RSR_BLOCKS_Q2_0, 18, 0},
    {RSR_BLOCKS_Q2_0_G128, 34, 0}, {RSR_BLOCKS_Q1_0, 18, 0},   {RSR_BLOCKS_PTQ1_0, 28, 26},
    {RSR_BLOCKS_STQ1_0, 42, 40},
};

static const struct group_type *find_group_type(enum rsr_blocks blocks) {
    for (size_t i = 0; i < sizeof(GROUP_TYPES) / sizeof(GROUP_TYPES[0]); i++)
        if (GROUP_TYPES[i].blocks == blocks)
            return &GROUP_TYPES[i];
    return NULL;
}

/* Blocks without weights have the scale 0. */
static bool has_group_scales(const struct rsr_tensor *tensor, const struct group_type *type) {
    uint16_t first = 0;
    for (uint64_t at = type->scale_at; at < tensor->size_bytes; at += type->bytes) {
        uint16_t scale;
        memcpy(&scale, tensor->data + at, sizeof(scale));
        if (scale != 0 && first != 0 && scale != first)
            return true;
        first = scale != 0 ? scale : first;
    }
    return false;
}

/* Evidence in the file. */
struct shown {
    enum rsrc_activations activations; /* AUTO: nothing */
    const char *reason;
    const struct rsr_tensor *tensor; /* the first of a linear layer; NULL: there is none */
};

static struct shown look_at(const struct rsrc_gguf *gguf) {
    struct shown shown = {.activations = RSRC_ACTIVATIONS_AUTO};
    for (uint32_t i = 0; i < gguf->n_tensors; i++) {
        const struct rsr_tensor *tensor = &gguf->tensors[i];
        const struct group_type *type = find_group_type(tensor->blocks);
        const bool is_bitnet =
            tensor->blocks == RSR_BLOCKS_I2_S_X86 || tensor->blocks == RSR_BLOCKS_I2_S_ARM ||
            tensor->blocks == RSR_BLOCKS_IQ1_BN || tensor->blocks == RSR_BLOCKS_IQ2_BN;
        if ((type != NULL || is_bitnet) && shown.tensor == NULL)
            shown.tensor = tensor;
        if (is_bitnet)
            return (struct shown){RSRC_ACTIVATIONS_INT8,
                                  "types I2_S, IQ1_BN and IQ2_BN are those of BitNet", tensor};
        if (shown.activations == RSRC_ACTIVATIONS_AUTO && type != NULL &&
            has_group_scales(tensor, type))
            shown = (struct shown){RSRC_ACTIVATIONS_FLOAT,
                                   "groups of weights have scales of their own", tensor};
    }
    return shown;
}

static struct rsrc_place place_of(const char *file, const struct rsr_tensor *tensor) {
    return (struct rsrc_place){.file = tensor == NULL ? file : tensor->file,
                               .has_offset = tensor != NULL,
                               .offset = tensor == NULL ? 0 : tensor->offset,
                               .tensor = tensor == NULL ? NULL : tensor->name};
}

enum rsrc_status rsrc_gguf_find_input(struct rsrc_diag *diag, const char *file,
                                      const struct rsrc_gguf *gguf,
                                      enum rsrc_activations of_architecture,
                                      enum rsrc_activations wanted, struct rsr_config *config) {
    struct shown shown = look_at(gguf);
    if (of_architecture != RSRC_ACTIVATIONS_AUTO && shown.activations != RSRC_ACTIVATIONS_INT8) {
        shown.activations = of_architecture;
        shown.reason = of_architecture == RSRC_ACTIVATIONS_INT8
                           ? "models of this architecture quantise activations to int8"
                           : "models of this architecture have float activations";
    }
    if (shown.activations == RSRC_ACTIVATIONS_AUTO && shown.tensor == NULL)
        shown = (struct shown){RSRC_ACTIVATIONS_INT8, "there is no ternary layer", NULL};
    const struct rsrc_place place = place_of(file, shown.tensor);
    if (shown.activations == RSRC_ACTIVATIONS_AUTO && wanted == RSRC_ACTIVATIONS_AUTO)
        return rsrc_refuse(
            diag, "gguf-activations", &place,
            "say it: --activations=int8 for models trained like BitNet (Falcon3-1.58bit, "
            "Llama3-8B-1.58), --activations=float for TriLM; the wrong one gives nonsense "
            "without an error",
            "nothing in the file says whether linear layers with these weights take int8 "
            "or float activations");
    if (shown.activations == RSRC_ACTIVATIONS_AUTO)
        shown = (struct shown){wanted, "--activations says so", shown.tensor};
    config->input = shown.activations == RSRC_ACTIVATIONS_FLOAT ? RSR_INPUT_F32 : RSR_INPUT_I8;
    config->input_reason = shown.reason;
    return rsrc_choose_activations(diag, &place, wanted, config);
}
