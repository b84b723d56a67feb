/* delta_weights.c - see delta_weights.h. The graph has checked shapes and numbers. */
#include "model/delta_weights.h"

#include <math.h>

#include "model/tensor_data.h"

static uint64_t channels_of(const struct rsr_hyper *hyper) {
    return 2 * (uint64_t)hyper->delta_key_heads * hyper->delta_key_dim +
           (uint64_t)hyper->delta_value_heads * hyper->delta_value_dim;
}

uint64_t rsrc_delta_floats(const struct rsr_hyper *hyper) {
    return RSR_DELTA_TAPS * channels_of(hyper) + 2 * (uint64_t)hyper->delta_value_heads +
           hyper->delta_value_dim;
}

const float *rsrc_decode_delta(struct rsrc_arena *arena, const struct rsr_graph *graph,
                               uint32_t number, uint64_t *size_bytes) {
    const struct rsr_delta_layer *layer = &graph->deltas[number];
    const struct rsr_hyper *hyper = &graph->hyper;
    const uint32_t heads = hyper->delta_value_heads, values = hyper->delta_value_dim;
    const uint64_t channels = channels_of(hyper), n = rsrc_delta_floats(hyper);
    float *out = RSRC_NEW_ARRAY(arena, n, float), *at = out;
    float *stored = RSRC_NEW_ARRAY(arena, RSR_DELTA_TAPS * channels, float);
    rsrc_load_floats(layer->taps->dtype, layer->taps->data, RSR_DELTA_TAPS * channels, stored);
    for (uint32_t tap = 0; tap < RSR_DELTA_TAPS; tap++)
        for (uint64_t i = 0; i < channels; i++)
            *at++ = stored[i * RSR_DELTA_TAPS + tap];
    rsrc_load_floats(layer->decay->dtype, layer->decay->data, heads, at);
    for (uint32_t i = 0; i < heads; i++, at++)
        *at = layer->decay_is_rate ? -*at : (float)exp((double)*at);
    rsrc_load_floats(layer->shift->dtype, layer->shift->data, heads, at);
    rsrc_load_floats(layer->norm->dtype, layer->norm->data, values, at + heads);
    *size_bytes = n * sizeof(float);
    return out;
}
