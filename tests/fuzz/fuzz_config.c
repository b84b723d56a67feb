/* fuzz_config.c - any bytes as a config.json, then as generation_config.json, modules.json and the
 * configuration of a Pooling. An accepted configuration satisfies the limits from which the rest of
 * the compiler computes sizes. */
#include <math.h>
#include <string.h>

#include "family/family.h"
#include "fuzz_target.h"
#include "model/rope.h"
#include "reader/reader.h"

/* Angles of every rotation are finite, whatever its factors. */
static void check_rotations(struct rsrc_arena *arena, const struct rsr_config *config) {
    const uint32_t head_dim = config->hyper.head_dim;
    for (uint32_t r = 0; r < (config->window != 0 ? 2u : 1u); r++) {
        struct rsr_rope rope;
        rsrc_build_rope(arena, &config->ropes[r], head_dim, &rope);
        for (uint32_t i = 0; i < head_dim / 2; i++)
            assert(isfinite(rope.inv_freq[i]));
        assert(isfinite(rope.scale));
    }
}

static void check_promises(const struct rsr_config *config) {
    const struct rsr_hyper *hyper = &config->hyper;
    assert(hyper->hidden >= 1 && hyper->hidden <= 65536);
    assert(hyper->n_heads >= 1 && hyper->n_heads * hyper->head_dim <= 65536);
    assert(hyper->head_dim >= 2 && hyper->head_dim % 2 == 0);
    assert(hyper->n_kv_heads >= 1 && hyper->n_heads % hyper->n_kv_heads == 0);
    assert(hyper->ffn >= 1 && hyper->vocab >= 1 && hyper->context >= 1 && hyper->n_layers >= 1);
    assert(hyper->norm_eps > 0.0f && hyper->rope_theta >= 1.0f);
    assert(rsrc_find_family(config->model_type, config->architecture) != NULL);
    assert((config->window != 0) == (config->has_window != NULL));
    assert(config->projection_norm == NULL || config->projection_norm_eps > 0.0f);
    assert(config->scale_reason != NULL && config->scale_reason[0] != '\0');
    assert(config->bos_token == RSR_NO_TOKEN || config->bos_token < hyper->vocab);
    for (uint32_t i = 0; i < config->n_eos_tokens; i++) {
        assert(config->eos_tokens[i] < hyper->vocab);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes) {
    struct fuzz_target target;
    struct rsr_config config;
    fuzz_target_begin(&target);
    bool accepted = rsrc_parse_config(target.diag, &target.arena, "config.json", bytes, size_bytes,
                                      &config) == RSRC_OK;
    if (accepted) {
        check_promises(&config);
        check_rotations(&target.arena, &config);
    } else {
        config = (struct rsr_config){.hyper = {.vocab = 1000}, .bos_token = RSR_NO_TOKEN};
    }
    fuzz_target_end(&target, accepted);

    fuzz_target_begin(&target);
    accepted = rsrc_parse_generation_config(target.diag, &target.arena, "generation_config.json",
                                            bytes, size_bytes, &config) == RSRC_OK;
    fuzz_target_end(&target, accepted);

    const char *folder = NULL;
    bool normalized = false;
    fuzz_target_begin(&target);
    accepted = rsrc_parse_modules(target.diag, &target.arena, "modules.json", bytes, size_bytes,
                                  &folder, &normalized) == RSRC_OK;
    assert(!accepted || (folder[0] != '.' && strchr(folder, '/') == NULL));
    fuzz_target_end(&target, accepted);

    fuzz_target_begin(&target);
    accepted = rsrc_parse_pooling(target.diag, &target.arena, "config.json", bytes, size_bytes,
                                  &config) == RSRC_OK;
    assert(!accepted || config.hyper.pooling != RSR_POOLING_NONE);
    fuzz_target_end(&target, accepted);
    return 0;
}
