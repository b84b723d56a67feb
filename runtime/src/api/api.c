/* api.c - the one table through which the world reaches this runtime.
 *
 * Emitted model.c points rsr_module.api here. Rows are in the order of struct rsr_api; each is
 * implemented in the file that runtime.h names.
 */
#include "runtime.h"

const struct rsr_api rsr_runtime_api = {
    .size_bytes = sizeof(struct rsr_api),
    .abi_version = RSR_ABI_VERSION,
    .open = rsr_api_open,
    .close = rsr_api_close,
    .model_get_info = rsr_api_model_get_info,
    .model_get_kernel = rsr_api_model_get_kernel,
    .tokenize = rsr_api_tokenize,
    .detokenize = rsr_api_detokenize,
    .chat_format = rsr_api_chat_format,
    .engine_create = rsr_api_engine_create,
    .engine_destroy = rsr_api_engine_destroy,
    .engine_get_info = rsr_api_engine_get_info,
    .engine_profile = rsr_api_engine_profile,
    .sequence_create = rsr_api_sequence_create,
    .sequence_destroy = rsr_api_sequence_destroy,
    .sequence_length = rsr_api_sequence_length,
    .sequence_truncate = rsr_api_sequence_truncate,
    .sequence_fork = rsr_api_sequence_fork,
    .eval = rsr_api_eval,
    .sample = rsr_api_sample,
    .generate = rsr_api_generate,
    .engine_attention_stats = rsr_api_engine_attention_stats,
    .sequence_read_kv = rsr_api_sequence_read_kv,
    .embed = rsr_api_embed,
    .engine_head_stats = rsr_api_engine_head_stats,
    .detokenizer_create = rsr_api_detokenizer_create,
    .detokenizer_destroy = rsr_api_detokenizer_destroy,
    .detokenizer_push = rsr_api_detokenizer_push,
    .detokenizer_finish = rsr_api_detokenizer_finish,
    .model_get_token = rsr_api_model_get_token,
    .sequence_tokens = rsr_api_sequence_tokens,
    .chat_tokens = rsr_api_chat_tokens,
    .chat_format_json = rsr_api_chat_format_json,
    .prefix_cache_create = rsr_api_prefix_cache_create,
    .prefix_cache_destroy = rsr_api_prefix_cache_destroy,
    .prefix_cache_take = rsr_api_prefix_cache_take,
    .prefix_cache_put = rsr_api_prefix_cache_put,
    .prefix_cache_shrink = rsr_api_prefix_cache_shrink,
    .prefix_cache_get_info = rsr_api_prefix_cache_get_info,
};
