/* block_layers.h - the slots of a block for tests: seven ternary linear layers and up to four
 * norms. */
#ifndef BLOCK_LAYERS_H
#define BLOCK_LAYERS_H

#include "ir.h"

static inline struct rsr_linear_slot ternary_slot(uint32_t layer) {
    return (struct rsr_linear_slot){.layer = layer, .dense = RSR_NO_LAYER, .norm = RSR_NO_NORM};
}

/* Layers `layer` to `layer` + 6 and norms `norm` to `norm` + 3, or to `norm` + 1 without
 * sub-norms. */
static inline struct rsr_block_layers block_layers(uint32_t layer, uint32_t norm, bool sub_norms) {
    return (struct rsr_block_layers){
        .q = ternary_slot(layer),
        .k = ternary_slot(layer + 1),
        .v = ternary_slot(layer + 2),
        .o = ternary_slot(layer + 3),
        .gate = ternary_slot(layer + 4),
        .up = ternary_slot(layer + 5),
        .down = ternary_slot(layer + 6),
        .input_norm = norm,
        .q_norm = RSR_NO_NORM,
        .k_norm = RSR_NO_NORM,
        .attn_sub_norm = sub_norms ? norm + 1 : RSR_NO_NORM,
        .attn_out_norm = RSR_NO_NORM,
        .post_norm = norm + 2,
        .ffn_sub_norm = sub_norms ? norm + 3 : RSR_NO_NORM,
        .ffn_out_norm = RSR_NO_NORM,
        .delta = RSR_NO_LAYER,
    };
}

#endif
