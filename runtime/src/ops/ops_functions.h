/* ops_functions.h - the functions of one level; ops_table.c puts them into struct rsr_ops. */
#ifndef RSR_OPS_FUNCTIONS_H
#define RSR_OPS_FUNCTIONS_H

#include "ops_vector.h"

void RSR_OPS(embed)(float *dst, const struct rsr_matrix_data *matrix, uint32_t row);
void RSR_OPS(scale)(float *x, float factor, uint32_t n);
void RSR_OPS(rope_table)(float *dst, const struct rsr_rope *rope, uint32_t head_dim,
                         uint32_t position);
void RSR_OPS(rope)(float *dst, const float *src, const float *table, uint32_t head_dim);
void RSR_OPS(add)(float *dst, const float *src, uint32_t n);
void RSR_OPS(rotate)(float *dst, const float *src, const struct rsr_rotation *rotation,
                     bool inverse);
bool RSR_OPS(norm)(float *dst, const float *src, const float *weight, float eps, uint32_t n);
bool RSR_OPS(quantize)(struct rsr_act_row *dst, const float *src, uint32_t n);
void RSR_OPS(act_mul)(float *dst, const float *gate, const float *up, uint32_t n,
                      enum rsr_activation activation);
void RSR_OPS(head)(float *y, const struct rsr_matrix_data *matrix, uint32_t row_begin,
                   uint32_t row_end, const float *x);
void RSR_OPS(head_some)(float *y, const struct rsr_matrix_data *matrix, const uint32_t *rows,
                        uint32_t n, const float *x);
/* Those three of a packed matrix. */
void RSR_OPS(embed_packed)(float *dst, const struct rsr_matrix_data *matrix, uint32_t row);
void RSR_OPS(head_packed)(float *y, const struct rsr_matrix_data *matrix, uint32_t row_begin,
                          uint32_t row_end, const float *x);
void RSR_OPS(head_some_packed)(float *y, const struct rsr_matrix_data *matrix, const uint32_t *rows,
                               uint32_t n, const float *x);
float RSR_OPS(largest_score)(const float *z);
/* How the output of a page is merged into the output of earlier pages. */
struct rsr_page_merge {
    float old_factor, new_factor;
    bool is_first; /* no page is earlier: the page's output is taken as it is */
};
#define RSR_MERGED_HEADS 8u /* the two factors of these heads fill one vector */
/* Merges the states of a page into those of n_heads heads, RSR_MERGED_HEADS at most. */
void RSR_OPS(merge_states)(const struct rsr_attend_head *heads, uint32_t n_heads,
                           const struct rsr_attend_state *pages, struct rsr_page_merge *merges);
/* Merges n output elements, a multiple of 16. */
void RSR_OPS(merge_outputs)(float *out, const float *page, const struct rsr_page_merge *merge,
                            uint32_t n);
void RSR_OPS(attend_merge)(const struct rsr_attend_head *heads, const struct rsr_attend_head *pages,
                           uint32_t n_heads, uint32_t row_floats);
void RSR_OPS(attend_finish)(float *dst, const float *out, const struct rsr_attend_state *state,
                            uint32_t n);
void RSR_OPS(exp)(float *y, const float *x, uint32_t n);
void RSR_OPS(gate)(float *dst, const float *x, const float *gate, uint32_t n);
void RSR_OPS(convolve)(float *dst, const float *const *rows, const float *taps, size_t tap_floats,
                       uint32_t n);
void RSR_OPS(unit)(float *dst, const float *src, float scale, uint32_t n);
void RSR_OPS(delta_gates)(float *decay, float *beta, float a, float b, float rate, float shift);
void RSR_OPS(delta_f32)(void *to, const void *from, const struct rsr_delta_tokens *tokens);
void RSR_OPS(delta_bf16)(void *to, const void *from, const struct rsr_delta_tokens *tokens);

/* Functions of every type of stored rows are written once, with the type as a constant, and get
 * their names from this list: RSR_OPS(load_bf16). */
#define RSR_EACH_KV_TYPE(X)                                                                        \
    X(f32, RSR_KV_F32)                                                                             \
    X(bf16, RSR_KV_BF16)                                                                           \
    X(f16, RSR_KV_F16)                                                                             \
    X(int8, RSR_KV_INT8)

#define RSR_DECLARE_KV_OPS(name, type)                                                             \
    void RSR_OPS(store_##name)(void *row, uint32_t row_floats, const float *x, uint32_t n);        \
    void RSR_OPS(load_##name)(float *x, const void *row, uint32_t row_floats);                     \
    void RSR_OPS(dots_##name)(float *y, const void *rows, uint32_t row_floats, uint64_t mask,      \
                              const float *x);                                                     \
    float RSR_OPS(largest_square_##name)(const void *rows, uint32_t row_floats, uint32_t n);       \
    struct rsr_exact_dot RSR_OPS(exact_##name)(const void *row, uint32_t row_floats,               \
                                               const float *x);                                    \
    void RSR_OPS(add_##name)(float *out, const void *rows, uint32_t row_floats, const float *p,    \
                             uint64_t mask);                                                       \
    void RSR_OPS(attend_page_##name)(const struct rsr_attend_head *heads, uint32_t n_heads,        \
                                     const struct rsr_attend_page *page, float scale);             \
    void RSR_OPS(attend_run_##name)(const struct rsr_attend_run *run,                              \
                                    const struct rsr_attend_page *page, float scale);
RSR_EACH_KV_TYPE(RSR_DECLARE_KV_OPS)
#undef RSR_DECLARE_KV_OPS

#endif
