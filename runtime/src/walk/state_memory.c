/* state_memory.c - see state_memory.h. The mapping has room for many states, which cost nothing
 * before they are used. */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "host/host_memory.h"
#include "runtime.h"
#include "state_memory.h"

/* A sequence takes two while a batch extends it. */
#define MOST_STATES 1024u
#define LEAST_STATES 2u

static const char *const type_names[RSR_STATE_TYPES] = {
    [RSR_STATE_F32] = "f32",
    [RSR_STATE_BF16] = "bf16",
};

const char *rsr_state_type_name(enum rsr_state_type type) {
    return type_names[type];
}

static rsr_status parse_type(const char *name, const struct rsr_hyper *hyper,
                             enum rsr_state_type *type, rsr_error *err) {
    if (name == NULL || name[0] == '\0')
        return RSR_OK;
    if (hyper->delta_layers == 0)
        return rsr_fail(err, RSR_ERR_ARGUMENT,
                        "state type '%.80s': the model has no recurrent states", name);
    for (uint32_t i = 0; i < RSR_STATE_TYPES; i++) {
        if (strcmp(name, type_names[i]) == 0) {
            *type = (enum rsr_state_type)i;
            return RSR_OK;
        }
    }
    return rsr_fail(err, RSR_ERR_ARGUMENT, "state type '%.80s' is unknown; there are f32 and bf16",
                    name);
}

rsr_status rsr_state_memory_create(struct rsr_state_memory *states, const struct rsr_hyper *hyper,
                                   const char *type, rsr_error *err) {
    const uint64_t key_dim = hyper->delta_key_dim, value_dim = hyper->delta_value_dim;
    struct rsr_state_memory made = {.n_heads = hyper->delta_value_heads};
    rsr_status status = parse_type(type, hyper, &made.type, err);
    if (status != RSR_OK || hyper->delta_layers == 0)
        return status;
    made.value_cols = (hyper->delta_value_dim + RSR_DELTA_PAD - 1) / RSR_DELTA_PAD * RSR_DELTA_PAD;
    /* The loader bounds the sizes, so that no product overflows. */
    made.matrix_bytes = key_dim * made.value_cols * rsr_state_element_bytes(made.type);
    const uint64_t rows_bytes = RSR_DELTA_PAST * (2 * key_dim + value_dim) * sizeof(float);
    made.head_bytes = (made.matrix_bytes + rows_bytes + 63) / 64 * 64;
    made.layer_bytes = made.head_bytes * made.n_heads;
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

char *rsr_state_memory_head(const struct rsr_state_memory *states, uint32_t state, uint32_t layer,
                            uint32_t head) {
    return states->memory + state * states->state_bytes + layer * states->layer_bytes +
           head * states->head_bytes;
}

void rsr_state_memory_save(const struct rsr_state_memory *states, uint32_t state, void *bytes) {
    memcpy(bytes, states->memory + state * states->state_bytes, states->state_bytes);
}

static bool is_finite_at(const char *at, uint32_t element_bytes) {
    uint32_t bits = 0; /* those of a bfloat16 are the high half of a float's */
    memcpy((char *)&bits + (sizeof(bits) - element_bytes), at, element_bytes);
    return (bits & 0x7f800000u) != 0x7f800000u;
}

static bool are_finite(const char *from, uint64_t n_bytes, uint32_t element_bytes) {
    for (uint64_t i = 0; i < n_bytes; i += element_bytes)
        if (!is_finite_at(from + i, element_bytes))
            return false;
    return true;
}

bool rsr_state_memory_load(const struct rsr_state_memory *states, uint32_t state,
                           const void *bytes) {
    const char *head = bytes, *end = head + states->state_bytes;
    for (; head < end; head += states->head_bytes)
        if (!are_finite(head, states->matrix_bytes, rsr_state_element_bytes(states->type)) ||
            !are_finite(head + states->matrix_bytes, states->head_bytes - states->matrix_bytes,
                        sizeof(float)))
            return false;
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
