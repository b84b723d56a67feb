/* runtime.h - declarations about models and errors that the runtime's files share. */
#ifndef RSR_RUNTIME_H
#define RSR_RUNTIME_H

#include <time.h>

#include "rsr.h"
#include "rsr_abi.h"
#include "rsr_api.h"
#include "rsr_packed.h"

struct rsr_text;  /* tokenizer and chat template, ready to use: text.h */
struct rsr_turns; /* host/turns.h */
struct rsr_ops;   /* float operations of one level: ops/ops.h */

struct rsr_model {
    const struct rsr_api *api; /* first, always: librsr dispatches through it */
    void *loaded;              /* struct rsr_model_head */
    const struct rsr_module *module;
    const struct rsr_target *target; /* NULL: the module is for GPUs alone */
    const struct rsr_ops *ops;
    struct rsr_text *text; /* NULL: the module has no tokenizer */
    int owner_pid;         /* calls from another process are refused */
    const char *pages;     /* sentence for rsr_model_info */
    const char **target_names;
    void *copy; /* RSR_PAGES_COPY: owned mapping, else NULL */
    uint64_t copy_bytes;
    uint64_t weight_bytes, token_bytes, logits_bytes, usual_bytes;
    rsr_sampling sampling;      /* a copy of module->sampling, if that is not NULL */
    struct rsr_turns *pipeline; /* an engine's turn to compute, of those with a pipeline of ranks */
};

/* Fills *err (if not NULL) and returns status, so that failing is one line:
 *     return rsr_fail(err, RSR_ERR_ARGUMENT, "token %u is outside the vocabulary", t); */
rsr_status rsr_fail(rsr_error *err, rsr_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Reading and writing structs whose caller may be of another version. They begin with a uint32_t
 * size. rsr_read_options copies min(given, known) bytes over the defaults in `known`; given == NULL
 * copies nothing. It refuses a newer struct in which something is set that this version does not
 * know. rsr_write_info copies as much of `known` as the caller's struct holds. Both keep the
 * destination's size_bytes and refuse a size that no version had, such as that of a struct that was
 * never initialised. rsr_check_info refuses such a size before long work begins. */
RSR_NODISCARD rsr_status rsr_read_options(void *known, size_t known_bytes, const void *given,
                                          rsr_error *err);
RSR_NODISCARD rsr_status rsr_write_info(void *caller, const void *known, size_t known_bytes,
                                        rsr_error *err);
RSR_NODISCARD rsr_status rsr_check_info(const void *caller, rsr_error *err);

/* NULL is never cancelled. */
static inline bool rsr_is_cancelled(const rsr_cancel *cancel) {
    return cancel != NULL && __atomic_load_n(&cancel->requested, __ATOMIC_RELAXED) != 0;
}

/* Fails with RSR_ERR_FORK if this is not the process that made the object. */
RSR_NODISCARD rsr_status rsr_check_owner(int owner_pid, rsr_error *err);

/* Bytes of weights that one execution of an operation reads, without embedding rows. load.c */
uint64_t rsr_op_weight_bytes(const struct rsr_target *target, const struct rsr_step_op *op);
/* What one token usually reads of a kernel's weights; a table made by hand may not say it. */
static inline uint64_t rsr_usual_bytes(const struct rsr_kernel_desc *kernel) {
    return kernel->token_bytes != 0 ? kernel->token_bytes : kernel->weight_bytes;
}

/* Says that the module is for GPUs alone, and which. choose_target.c */
RSR_NODISCARD rsr_status rsr_refuse_gpus(const struct rsr_module *module, rsr_error *err);

const char *rsr_pooling_name(uint32_t pooling); /* NULL: none. embed.c */
const char *rsr_role_name(uint32_t role);       /* "q", "gate", ...; "" outside enum rsr_role */
const char *rsr_op_name(uint32_t kind);         /* "norm", ...; "" outside enum rsr_op_kind */

/* text.c: built once at open; NULL tokenizer section gives NULL text. */
RSR_NODISCARD rsr_status rsr_text_create(const struct rsr_module *module, struct rsr_text **text,
                                         rsr_error *err);
void rsr_text_destroy(struct rsr_text *text);

/* The rows of rsr_runtime_api (api.c). rsr.h describes the function of each name. */
rsr_status rsr_api_open(const struct rsr_module *, const struct rsr_host *,
                        const rsr_open_options *, rsr_model **, rsr_error *); /* load.c */
void rsr_api_close(rsr_model *);
rsr_status rsr_api_model_get_info(const rsr_model *, rsr_model_info *);
rsr_status rsr_api_model_get_kernel(const rsr_model *, uint32_t, rsr_kernel_info *);
rsr_status rsr_api_model_get_image(const rsr_model *, uint32_t, rsr_image_info *);
rsr_status rsr_api_tokenize(const rsr_model *, const char *, size_t, uint32_t, uint32_t *, size_t,
                            size_t *, rsr_error *); /* text.c */
rsr_status rsr_api_detokenize(const rsr_model *, const uint32_t *, size_t, bool, char *, size_t,
                              size_t *, rsr_error *);
rsr_status rsr_api_detokenizer_create(const rsr_model *, uint32_t, rsr_detokenizer **,
                                      rsr_error *); /* token_text.c */
void rsr_api_detokenizer_destroy(rsr_detokenizer *);
rsr_status rsr_api_detokenizer_push(rsr_detokenizer *, uint32_t, const char **, size_t *,
                                    rsr_error *);
rsr_status rsr_api_detokenizer_finish(rsr_detokenizer *, const char **, size_t *, rsr_error *);
rsr_status rsr_api_model_get_token(const rsr_model *, uint32_t, char *, size_t, size_t *,
                                   rsr_token_info *, rsr_error *);
rsr_status rsr_api_chat_format(const rsr_model *, const rsr_message *, size_t, bool, char *, size_t,
                               size_t *, rsr_error *);
rsr_status rsr_api_chat_tokens(const rsr_model *, const char *, size_t, bool, uint32_t *, size_t,
                               size_t *, rsr_error *);
rsr_status rsr_api_chat_format_json(const rsr_model *, const char *, size_t, bool, char *, size_t,
                                    size_t *, rsr_error *);
rsr_status rsr_api_engine_create(rsr_model *, const rsr_engine_options *, rsr_engine **,
                                 rsr_error *); /* engine.c */
void rsr_api_engine_destroy(rsr_engine *);
rsr_status rsr_api_engine_get_info(const rsr_engine *, rsr_engine_info *);
rsr_status rsr_api_engine_follow(rsr_engine *, rsr_error *);
rsr_status rsr_api_engine_get_rank(const rsr_engine *, uint32_t, rsr_rank_info *);
rsr_status rsr_api_engine_attention_stats(rsr_engine *, bool,
                                          rsr_attention_stats *); /* profile.c */
rsr_status rsr_api_engine_head_stats(rsr_engine *, bool, rsr_head_stats *);
rsr_status rsr_api_engine_profile(rsr_engine *, bool, rsr_profile_entry *, size_t, size_t *);
rsr_status rsr_api_sequence_create(rsr_engine *, rsr_sequence **, rsr_error *); /* sequence.c */
void rsr_api_sequence_destroy(rsr_sequence *);
uint32_t rsr_api_sequence_length(const rsr_sequence *);
const uint32_t *rsr_api_sequence_tokens(const rsr_sequence *);
rsr_status rsr_api_sequence_truncate(rsr_sequence *, uint32_t, rsr_error *);
rsr_status rsr_api_sequence_read_kv(rsr_sequence *, uint32_t, uint32_t, float *, float *,
                                    rsr_error *);
rsr_status rsr_api_sequence_fork(rsr_sequence *, rsr_sequence **, rsr_error *);
rsr_status rsr_api_sequence_save(rsr_sequence *, const char *, rsr_error *); /* kv_file.c */
rsr_status rsr_api_sequence_load(rsr_engine *, const char *, rsr_sequence **, rsr_error *);
rsr_status rsr_api_prefix_cache_create(rsr_engine *, const rsr_prefix_cache_options *,
                                       rsr_prefix_cache **, rsr_error *); /* prefix_cache.c */
void rsr_api_prefix_cache_destroy(rsr_prefix_cache *);
rsr_status rsr_api_prefix_cache_take(rsr_prefix_cache *, const uint32_t *, size_t, rsr_sequence **,
                                     rsr_error *);
rsr_status rsr_api_prefix_cache_put(rsr_prefix_cache *, rsr_sequence *, rsr_error *);
rsr_status rsr_api_prefix_cache_shrink(rsr_prefix_cache *, uint64_t, rsr_error *);
rsr_status rsr_api_prefix_cache_get_info(const rsr_prefix_cache *, rsr_prefix_cache_info *);
rsr_status rsr_api_eval(rsr_engine *, const rsr_batch *, rsr_error *); /* eval.c */
rsr_status rsr_api_embed(rsr_engine *, const uint32_t *const *, const size_t *, size_t,
                         const rsr_embed_options *, float *, size_t, rsr_error *); /* embed.c */
rsr_status rsr_api_sample(const rsr_model *, const rsr_sampling *, const float *, const uint32_t *,
                          size_t, uint32_t *, rsr_error *); /* sample.c */
rsr_status rsr_api_generate(rsr_engine *, rsr_sequence *, const char *, size_t,
                            const rsr_generate_options *, rsr_generate_fn *, void *,
                            rsr_generate_result *, rsr_error *); /* generate.c */

/* What generate.c needs to know of an engine. */
const rsr_model *rsr_engine_model(const rsr_engine *);
bool rsr_engine_has_probe(const rsr_engine *);
/* The sequence has this length from now on, which is on the page of its last token, and no longer
 * than what rsr_eval appended last: unlike a truncation it can be taken back. */
void rsr_sequence_show(rsr_sequence *, uint32_t length);

/* Floats of a wanted output: logits, or the hidden state of an embedding model. */
static inline uint32_t rsr_output_size(const struct rsr_hyper *hyper) {
    return hyper->pooling == RSR_POOLING_NONE ? hyper->vocab : hyper->hidden;
}

/* Bytes of a row of a dense matrix; of a packed one without its share of what comes before. */
static inline uint64_t rsr_matrix_row_bytes(const struct rsr_matrix_data *matrix) {
    if (matrix->dtype == RSR_DTYPE_BF16_PACKED)
        return rsr_packed_row_bytes(matrix->cols);
    return (uint64_t)matrix->cols * (matrix->dtype == RSR_DTYPE_F32 ? 4 : 2);
}

/* Its first row. */
static inline const void *rsr_matrix_rows(const struct rsr_matrix_data *matrix) {
    return matrix->dtype == RSR_DTYPE_BF16_PACKED ? rsr_packed_row_of(matrix, 0).low : matrix->data;
}

/* Monotonic time. */
static inline uint64_t rsr_now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

#endif
