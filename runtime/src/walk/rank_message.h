/* rank_message.h - what rank 0 tells the other ranks: numbers of 32 bits, by broadcasts.
 *
 * The first broadcast has a fixed size. It holds the kind of the message, the count of its numbers,
 * and the first of them, which in most steps are all; a second broadcast has the others.
 *
 *   CHUNK  n_notes, of each: page `to`, page `from`, n_tokens (0: page `to` is dropped)
 *          wants_states, n_tokens, n_sequences, n_picks
 *          of each sequence: length, n_pages, its pages
 *          of each token: sequence, token, position, want_logits
 *          of each pick of a token that wants no logits: token, mode, n_history; temperature,
 *          top_p, min_p, repeat_penalty, frequency_penalty, presence_penalty as bits; top_k; seed
 *          and sequence_id, the lower half first; bits and n_raised of its edits, and their places
 *   END    nothing
 */
#ifndef RSR_RANK_MESSAGE_H
#define RSR_RANK_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rsr.h"

enum rsr_rank_order { RSR_RANK_CHUNK, RSR_RANK_END };

struct rsr_rank_message {
    uint32_t *words;
    size_t n, capacity;
    size_t at;   /* of reading */
    bool failed; /* memory ran out, or more was read than there is */
};

void rsr_rank_put(struct rsr_rank_message *message, uint32_t word);
void rsr_rank_put_all(struct rsr_rank_message *message, const uint32_t *words, size_t n);
uint32_t rsr_rank_take(struct rsr_rank_message *message);
/* The next n words in place; NULL: there are fewer. */
uint32_t *rsr_rank_take_all(struct rsr_rank_message *message, size_t n);

/* Sends a message from rank 0, and receives it elsewhere. */
RSR_NODISCARD rsr_status rsr_rank_send(const rsr_transport *transport, enum rsr_rank_order order,
                                       struct rsr_rank_message *message, rsr_error *err);
RSR_NODISCARD rsr_status rsr_rank_receive(const rsr_transport *transport,
                                          enum rsr_rank_order *order,
                                          struct rsr_rank_message *message, rsr_error *err);

#endif
