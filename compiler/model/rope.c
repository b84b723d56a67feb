/* rope.c - inverse frequencies as modeling_rope_utils.py of transformers computes them: in float32,
 * with one rounding per step; values that Python computes in double are double here. Powers are
 * correctly rounded.
 */
#include "model/rope.h"

#include <math.h>

#define TWO_PI 6.283185307179586

/* theta^(2i / head_dim) */
static float position_frequency(const struct rsr_rope_config *config, uint32_t head_dim,
                                uint32_t i) {
    const float exponent = (float)(2 * i) / (float)head_dim;
    return (float)pow(config->theta, (double)exponent);
}

/* Long waves are stretched, short ones kept, those in between mixed. */
static float llama3_frequency(const struct rsr_rope_config *config, float plain) {
    const float context = (float)config->original_context;
    const float low = (float)(config->original_context / config->low_freq_factor);
    const float high = (float)(config->original_context / config->high_freq_factor);
    const float wave = (float)TWO_PI / plain, factor = (float)config->factor;
    if (wave > low)
        return plain / factor;
    if (wave < high)
        return plain;
    const float smooth = (context / wave - (float)config->low_freq_factor) /
                         (float)(config->high_freq_factor - config->low_freq_factor);
    return (1.0f - smooth) * (plain / factor) + smooth * plain;
}

/* The dimension that makes this many turns within the original context. */
static double yarn_dimension(const struct rsr_rope_config *config, uint32_t head_dim,
                             double rotations) {
    return head_dim * log(config->original_context / (rotations * TWO_PI)) /
           (2.0 * log(config->theta));
}

struct ramp {
    float begin, width;
};

static struct ramp yarn_ramp(const struct rsr_rope_config *config, uint32_t head_dim) {
    double begin = yarn_dimension(config, head_dim, config->beta_fast);
    double end = yarn_dimension(config, head_dim, config->beta_slow);
    if (config->truncate) {
        begin = floor(begin);
        end = ceil(end);
    }
    begin = begin < 0.0 ? 0.0 : begin;
    end = end > head_dim - 1.0 ? head_dim - 1.0 : end;
    if (begin == end)
        end += 0.001;
    return (struct ramp){(float)begin, (float)(end - begin)};
}

static float yarn_frequency(const struct rsr_rope_config *config, const struct ramp *ramp,
                            float power, uint32_t i) {
    const float stretched = 1.0f / ((float)config->factor * power), plain = 1.0f / power;
    float rise = ((float)i - ramp->begin) / ramp->width;
    rise = rise < 0.0f ? 0.0f : rise > 1.0f ? 1.0f : rise;
    const float kept = 1.0f - rise;
    return stretched * (1.0f - kept) + plain * kept;
}

void rsrc_build_rope(struct rsrc_arena *arena, const struct rsr_rope_config *config,
                     uint32_t head_dim, struct rsr_rope *out) {
    float *inv_freq = RSRC_NEW_ARRAY(arena, head_dim / 2, float);
    struct ramp ramp = {0.0f, 1.0f};
    if (config->kind == RSR_ROPE_YARN)
        ramp = yarn_ramp(config, head_dim);
    for (uint32_t i = 0; i < head_dim / 2; i++) {
        const float power = position_frequency(config, head_dim, i);
        switch (config->kind) {
        case RSR_ROPE_PLAIN:
            inv_freq[i] = 1.0f / power;
            break;
        case RSR_ROPE_LINEAR:
            inv_freq[i] = 1.0f / power / (float)config->factor;
            break;
        case RSR_ROPE_LLAMA3:
            inv_freq[i] = llama3_frequency(config, 1.0f / power);
            break;
        case RSR_ROPE_YARN:
            inv_freq[i] = yarn_frequency(config, &ramp, power, i);
            break;
        }
    }
    *out = (struct rsr_rope){
        inv_freq, config->kind == RSR_ROPE_YARN ? (float)config->attention_factor : 1.0f};
}
