/* fuzz_config.c - a config.json from a stranger, then the same bytes as generation_config.json. What is
 * accepted keeps the promises that the rest of the compiler computes sizes with. */
#include "fuzz_target.h"
#include "reader/reader.h"

static void check_promises(const struct rsr_config *config) {
    const struct rsr_hyper *hyper = &config->hyper;
    assert(hyper->hidden >= 1 && hyper->hidden <= 65536);
    assert(hyper->n_heads >= 1 && hyper->n_heads * hyper->head_dim <= 65536);
    assert(hyper->head_dim >= 2 && hyper->head_dim % 2 == 0);
    assert(hyper->n_kv_heads >= 1 && hyper->n_heads % hyper->n_kv_heads == 0);
    assert(hyper->ffn >= 1 && hyper->vocab >= 1 && hyper->context >= 1 && hyper->n_layers >= 1);
    assert(hyper->norm_eps > 0.0f && hyper->rope_theta >= 1.0f);
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
    } else {
        config = (struct rsr_config){.hyper = {.vocab = 1000}, .bos_token = RSR_NO_TOKEN};
    }
    fuzz_target_end(&target, accepted);

    fuzz_target_begin(&target);
    accepted = rsrc_parse_generation_config(target.diag, &target.arena, "generation_config.json",
                                            bytes, size_bytes, &config) == RSRC_OK;
    fuzz_target_end(&target, accepted);
    return 0;
}
