/* state_memory.c - see state_memory.h. The mapping has room for many states, which cost nothing
 * before they are used. */
#include <math.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "host/host_memory.h"
#include "runtime.h"
#include "state_memory.h"

/* A sequence takes two while a batch extends it. */
#define MOST_STATES 1024u
#define LEAST_STATES 2u

rsr_status rsr_state_memory_create(struct rsr_state_memory *states, const struct rsr_hyper *hyper,
                                   rsr_error *err) {
    const uint64_t key_dim = hyper->delta_key_dim, value_dim = hyper->delta_value_dim;
    struct rsr_state_memory made = {.n_heads = hyper->delta_value_heads};
    if (hyper->delta_layers == 0)
        return RSR_OK;
    made.value_cols = (hyper->delta_value_dim + RSR_DELTA_PAD - 1) / RSR_DELTA_PAD * RSR_DELTA_PAD;
    /* The loader bounds the sizes, so that no product overflows. */
    made.head_floats =
        (key_dim * made.value_cols + RSR_DELTA_PAST * (2 * key_dim + value_dim) + 15) / 16 * 16;
    made.layer_bytes = made.head_floats * made.n_heads * sizeof(float);
    made.state_bytes = made.layer_bytes * hyper->delta_layers;
    const uint64_t most = rsr_host_memory() / made.state_bytes;
    if (most < LEAST_STATES)
        return rsr_fail(err, RSR_ERR_MEMORY,
                        "a sequence takes two recurrent states of %.4g GiB each, and this process "
                        "may have %.4g GiB",
                        (double)made.state_bytes / (double)(1u << 30),
                        (double)rsr_host_memory() / (double)(1u << 30));
    made.n_states = most < MOST_STATES ? (uint32_t)most : MOST_STATES;
    void *memory = mmap(NULL, (size_t)(made.n_states * made.state_bytes), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return rsr_fail(err, RSR_ERR_MEMORY,
                        "no address space for %u recurrent states of %llu bytes", made.n_states,
                        (unsigned long long)made.state_bytes);
    made.memory = memory;
    *states = made;
    return RSR_OK;
}

void rsr_state_memory_destroy(struct rsr_state_memory *states) {
    if (states->memory != NULL)
        munmap(states->memory, (size_t)(states->n_states * states->state_bytes));
    *states = (struct rsr_state_memory){0};
}

float *rsr_state_memory_head(const struct rsr_state_memory *states, uint32_t state, uint32_t layer,
                             uint32_t head) {
    const uint64_t at = state * states->state_bytes + layer * states->layer_bytes +
                        head * states->head_floats * sizeof(float);
    return (float *)(void *)(states->memory + at);
}

void rsr_state_memory_save(const struct rsr_state_memory *states, uint32_t state, void *bytes) {
    memcpy(bytes, states->memory + state * states->state_bytes, states->state_bytes);
}

bool rsr_state_memory_load(const struct rsr_state_memory *states, uint32_t state,
                           const void *bytes) {
    const char *from = bytes;
    for (uint64_t i = 0; i < states->state_bytes; i += sizeof(float)) {
        float number;
        memcpy(&number, from + i, sizeof(number));
        if (!isfinite(number))
            return false;
    }
    memcpy(states->memory + state * states->state_bytes, bytes, states->state_bytes);
    return true;
}

void rsr_state_memory_drop(const struct rsr_state_memory *states, uint32_t state) {
    const uintptr_t unit = (uintptr_t)sysconf(_SC_PAGESIZE);
    const uintptr_t begin = (uintptr_t)states->memory + state * states->state_bytes;
    const uintptr_t first = (begin + unit - 1) / unit * unit;
    const uintptr_t end = (begin + states->state_bytes) / unit * unit;
    if (first < end)
        madvise((void *)first, end - first, MADV_DONTNEED);
}
