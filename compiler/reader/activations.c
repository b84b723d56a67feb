/* activations.c - --activations, applied to a model that says what it multiplies. */
#include "reader/activations.h"

enum rsrc_status rsrc_choose_activations(struct rsrc_diag *diag, const struct rsrc_place *place,
                                         enum rsrc_activations wanted, struct rsr_config *config) {
    if (wanted == RSRC_ACTIVATIONS_FLOAT && config->input == RSR_INPUT_I8)
        return rsrc_refuse(diag, "activations", place, config->input_reason,
                           "--activations=float: this model's linear layers take int8");
    if (wanted == RSRC_ACTIVATIONS_INT8 && config->input == RSR_INPUT_F32) {
        config->input = RSR_INPUT_I8;
        config->input_reason = "--activations=int8, which approximates the model's float ones";
    }
    return RSRC_OK;
}
