/* rsr_api.h - the function table through which librsr reaches the runtime inside a module.
 *
 * Every opaque object begins with a pointer to the table of the module that made it, so modules of
 * different ages live in one process. librsr's functions (rsr.h) forward to the row of their name.
 *
 * Fixed forever: the two numbers at the start of the table, and the order, names and types of its
 * rows. New rows are only appended; size_bytes tells how many there are. librsr fails a call whose
 * row is missing in the module's table, and never reads rows that it does not know. rsr.h fixes the
 * structs that the rows take: structs that begin with their size grow at the end, and both sides go
 * by the smaller size (rsr_read_options, rsr_write_info). rsr_batch states the size of its entries,
 * picks and logprobs. rsr_message and rsr_cancel never change.
 */
#ifndef RSR_API_H
#define RSR_API_H

#include "rsr.h"
#include "rsr_abi.h"

struct rsr_api {
    uint32_t size_bytes;
    uint32_t abi_version;
    rsr_status (*open)(const struct rsr_module *, const struct rsr_host *, const rsr_open_options *,
                       rsr_model **, rsr_error *);
    void (*close)(rsr_model *);
    rsr_status (*model_get_info)(const rsr_model *, rsr_model_info *);
    rsr_status (*model_get_kernel)(const rsr_model *, uint32_t, rsr_kernel_info *);
    rsr_status (*tokenize)(const rsr_model *, const char *, size_t, uint32_t, uint32_t *, size_t,
                           size_t *, rsr_error *);
    rsr_status (*detokenize)(const rsr_model *, const uint32_t *, size_t, bool, char *, size_t,
                             size_t *, rsr_error *);
    rsr_status (*chat_format)(const rsr_model *, const rsr_message *, size_t, bool, char *, size_t,
                              size_t *, rsr_error *);
    rsr_status (*engine_create)(rsr_model *, const rsr_engine_options *, rsr_engine **,
                                rsr_error *);
    void (*engine_destroy)(rsr_engine *);
    rsr_status (*engine_get_info)(const rsr_engine *, rsr_engine_info *);
    rsr_status (*engine_profile)(rsr_engine *, bool, rsr_profile_entry *, size_t, size_t *);
    rsr_status (*sequence_create)(rsr_engine *, rsr_sequence **, rsr_error *);
    void (*sequence_destroy)(rsr_sequence *);
    uint32_t (*sequence_length)(const rsr_sequence *);
    rsr_status (*sequence_truncate)(rsr_sequence *, uint32_t, rsr_error *);
    rsr_status (*sequence_fork)(rsr_sequence *, rsr_sequence **, rsr_error *);
    rsr_status (*eval)(rsr_engine *, const rsr_batch *, rsr_error *);
    rsr_status (*sample)(const rsr_model *, const rsr_sampling *, const float *, const uint32_t *,
                         size_t, uint32_t *, rsr_error *);
    rsr_status (*generate)(rsr_engine *, rsr_sequence *, const char *, size_t,
                           const rsr_generate_options *, rsr_generate_fn *, void *,
                           rsr_generate_result *, rsr_error *);
    rsr_status (*engine_attention_stats)(rsr_engine *, bool, rsr_attention_stats *);
    rsr_status (*sequence_read_kv)(rsr_sequence *, uint32_t, uint32_t, float *, float *,
                                   rsr_error *);
    rsr_status (*embed)(rsr_engine *, const uint32_t *const *, const size_t *, size_t,
                        const rsr_embed_options *, float *, size_t, rsr_error *);
    rsr_status (*engine_head_stats)(rsr_engine *, bool, rsr_head_stats *);
    rsr_status (*detokenizer_create)(const rsr_model *, uint32_t, rsr_detokenizer **, rsr_error *);
    void (*detokenizer_destroy)(rsr_detokenizer *);
    rsr_status (*detokenizer_push)(rsr_detokenizer *, uint32_t, const char **, size_t *,
                                   rsr_error *);
    rsr_status (*detokenizer_finish)(rsr_detokenizer *, const char **, size_t *, rsr_error *);
    rsr_status (*model_get_token)(const rsr_model *, uint32_t, char *, size_t, size_t *,
                                  rsr_token_info *, rsr_error *);
    const uint32_t *(*sequence_tokens)(const rsr_sequence *);
    rsr_status (*chat_tokens)(const rsr_model *, const char *, size_t, bool, uint32_t *, size_t,
                              size_t *, rsr_error *);
    rsr_status (*chat_format_json)(const rsr_model *, const char *, size_t, bool, char *, size_t,
                                   size_t *, rsr_error *);
    rsr_status (*sequence_save)(rsr_sequence *, const char *, rsr_error *);
    rsr_status (*sequence_load)(rsr_engine *, const char *, rsr_sequence **, rsr_error *);
    rsr_status (*prefix_cache_create)(rsr_engine *, const rsr_prefix_cache_options *,
                                      rsr_prefix_cache **, rsr_error *);
    void (*prefix_cache_destroy)(rsr_prefix_cache *);
    rsr_status (*prefix_cache_take)(rsr_prefix_cache *, const uint32_t *, size_t, rsr_sequence **,
                                    rsr_error *);
    rsr_status (*prefix_cache_put)(rsr_prefix_cache *, rsr_sequence *, rsr_error *);
    rsr_status (*prefix_cache_shrink)(rsr_prefix_cache *, uint64_t, rsr_error *);
    rsr_status (*prefix_cache_get_info)(const rsr_prefix_cache *, rsr_prefix_cache_info *);
    rsr_status (*engine_follow)(rsr_engine *, rsr_error *);
    rsr_status (*engine_get_rank)(const rsr_engine *, uint32_t, rsr_rank_info *);
    rsr_status (*model_get_image)(const rsr_model *, uint32_t, rsr_image_info *);
};

/* What every model begins with. */
struct rsr_model_head {
    const struct rsr_api *api;
    void *loaded; /* belongs to librsr: what rsr_close unmaps. The runtime sets it to NULL */
};

/* Defined by the runtime that is linked into a module. */
extern const struct rsr_api rsr_runtime_api;

#endif
