/* rank_message.c - see rank_message.h. */
#include "rank_message.h"

#include <stdlib.h>
#include <string.h>

#include "runtime.h"

#define FIRST_WORDS 256u /* of the first broadcast: a token after 14,000 others fits */
#define LIMIT_WORDS (UINT32_C(1) << 28)

static bool reserve(struct rsr_rank_message *message, size_t n) {
    if (n <= message->capacity)
        return true;
    const size_t capacity = n > 2 * message->capacity ? n : 2 * message->capacity;
    uint32_t *words = realloc(message->words, capacity * sizeof(*words));
    if (words == NULL)
        return false;
    message->words = words;
    message->capacity = capacity;
    return true;
}

void rsr_rank_put_all(struct rsr_rank_message *message, const uint32_t *words, size_t n) {
    message->failed = message->failed || !reserve(message, message->n + n);
    if (message->failed || n == 0)
        return;
    memcpy(message->words + message->n, words, n * sizeof(*words));
    message->n += n;
}

void rsr_rank_put(struct rsr_rank_message *message, uint32_t word) {
    rsr_rank_put_all(message, &word, 1);
}

uint32_t *rsr_rank_take_all(struct rsr_rank_message *message, size_t n) {
    message->failed = message->failed || n > message->n - message->at;
    if (message->failed)
        return NULL;
    message->at += n;
    return message->words + message->at - n;
}

uint32_t rsr_rank_take(struct rsr_rank_message *message) {
    const uint32_t *word = rsr_rank_take_all(message, 1);
    return word != NULL ? *word : 0;
}

static size_t in_first(size_t n) {
    return n < FIRST_WORDS - 2 ? n : FIRST_WORDS - 2;
}

rsr_status rsr_rank_send(const rsr_transport *transport, enum rsr_rank_order order,
                         struct rsr_rank_message *message, rsr_error *err) {
    uint32_t first[FIRST_WORDS] = {(uint32_t)order, (uint32_t)message->n};
    const size_t n = in_first(message->n);
    if (message->failed || message->n > LIMIT_WORDS)
        return rsr_fail(err, RSR_ERR_MEMORY, "no memory for a message to the other ranks");
    if (n > 0)
        memcpy(first + 2, message->words, n * sizeof(*first));
    rsr_status status = transport->bcast(transport->user, first, sizeof(first), 0, err);
    if (status == RSR_OK && message->n > n)
        status = transport->bcast(transport->user, message->words + n,
                                  (message->n - n) * sizeof(*first), 0, err);
    return status;
}

rsr_status rsr_rank_receive(const rsr_transport *transport, enum rsr_rank_order *order,
                            struct rsr_rank_message *message, rsr_error *err) {
    uint32_t first[FIRST_WORDS];
    rsr_status status = transport->bcast(transport->user, first, sizeof(first), 0, err);
    if (status != RSR_OK)
        return status;
    if (first[0] > RSR_RANK_END || first[1] > LIMIT_WORDS)
        return rsr_fail(err, RSR_ERR_RANK, "rank 0 sent a message of kind %u with %u numbers",
                        first[0], first[1]);
    const size_t n = in_first(first[1]);
    message->n = message->at = 0;
    message->failed = !reserve(message, first[1]);
    if (message->failed)
        return rsr_fail(err, RSR_ERR_MEMORY, "no memory for a message of %u numbers", first[1]);
    rsr_rank_put_all(message, first + 2, n);
    if (first[1] > n)
        status = transport->bcast(transport->user, message->words + n,
                                  (first[1] - n) * sizeof(*first), 0, err);
    message->n = first[1];
    *order = (enum rsr_rank_order)first[0];
    return status;
}
