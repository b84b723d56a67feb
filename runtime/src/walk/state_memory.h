/* state_memory.h - the host's recurrent states: for every (state, layer, value head) a matrix
 * [delta_key_dim][value_cols], of floats or of bfloat16, and after it the last three tokens' rows
 * of qkv that the head convolves, in floats: three of its queries, three of its keys, three of its
 * values.
 *
 * Every value head keeps rows of its key head for itself, so that heads do not wait for each
 * other. */
#ifndef RSR_STATE_MEMORY_H
#define RSR_STATE_MEMORY_H

#include "ops/ops.h"
#include "rsr.h"

#define RSR_DELTA_PAST (RSR_DELTA_TAPS - 1) /* tokens before the current one */

struct rsr_state_memory {
    enum rsr_state_type type;
    uint32_t n_states;
    uint32_t value_cols;   /* delta_value_dim, with padding that stays zero */
    uint64_t matrix_bytes; /* a multiple of 32, as head_bytes is of 64 */
    uint64_t head_bytes, layer_bytes, state_bytes;
    uint32_t n_heads;
    char *memory; /* mapped, committed by the kernel when touched; NULL: no recurrence */
};

const char *rsr_state_type_name(enum rsr_state_type type);
/* Without a recurrence there are no states, and `type` must be NULL or "". Otherwise it is "f32",
 * "bf16", or NULL or "" for f32. */
RSR_NODISCARD rsr_status rsr_state_memory_create(struct rsr_state_memory *states,
                                                 const struct rsr_hyper *hyper, const char *type,
                                                 rsr_error *err);
void rsr_state_memory_destroy(struct rsr_state_memory *states); /* zeros are fine */
/* The matrix of a head; its rows of qkv are matrix_bytes after it. */
char *rsr_state_memory_head(const struct rsr_state_memory *states, uint32_t state, uint32_t layer,
                            uint32_t head);
/* Copy a state of state_bytes from and to its memory. load refuses numbers that are not finite. */
void rsr_state_memory_save(const struct rsr_state_memory *states, uint32_t state, void *bytes);
RSR_NODISCARD bool rsr_state_memory_load(const struct rsr_state_memory *states, uint32_t state,
                                         const void *bytes);
/* Gives the memory of a state back to the system. */
void rsr_state_memory_drop(const struct rsr_state_memory *states, uint32_t state);

#endif
