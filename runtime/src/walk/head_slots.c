/* head_slots.c - where the picks of a chunk are worked on: a slot each, made ready before the head
 * and answered from after it. head_sketch.c says how the rows are found. */
#include <string.h>
#include <sys/mman.h>

#include "crew.h"
#include "host/cpu.h"

/* ---- Memory ---- */

/* A slot, in bytes: a pick's arrays. Most of a slot is not touched, so it is mapped and not
 * filled. */
struct slot_layout {
    uint64_t all, t, estimates, block_bounds, block_estimates, frames, penalized, best, n_listed,
        listed, query, bytes;
};

static uint64_t take(uint64_t *bytes, uint64_t n, uint64_t element) {
    const uint64_t at = *bytes;
    *bytes = (at + n * element + 63) & ~UINT64_C(63);
    return at;
}

/* Without a sketch a slot holds logits alone. */
static struct slot_layout slot_layout_of(const struct rsr_crew *crew) {
    const uint32_t rows = crew->model->module->hyper.vocab;
    const uint64_t n_blocks = rsr_sketch_blocks_of(rows);
    const uint64_t padded = n_blocks * RSR_SKETCH_VECTORS;
    struct slot_layout s = {0};
    s.all = take(&s.bytes, padded, sizeof(float));
    if (crew->slots.shape.dim == 0)
        return s;
    s.t = take(&s.bytes, padded, sizeof(float));
    s.estimates = take(&s.bytes, padded, sizeof(float));
    s.block_estimates = take(&s.bytes, n_blocks, sizeof(float));
    s.block_bounds = take(&s.bytes, n_blocks, sizeof(float));
    s.frames = take(&s.bytes, n_blocks, sizeof(struct rsr_head_frame));
    s.penalized = take(&s.bytes, n_blocks, sizeof(uint64_t));
    s.best = take(&s.bytes, rows / RSR_HEAD_TOP_PART + 1, sizeof(struct rsr_head_row));
    s.n_listed =
        take(&s.bytes, (uint64_t)crew->n_workers * RSR_HEAD_COUNT_STRIDE, sizeof(uint32_t));
    s.listed = take(&s.bytes, padded, sizeof(struct rsr_head_row));
    s.query = take(&s.bytes, rsr_sketch_query_bytes(&crew->slots.shape), 1);
    return s;
}

void rsr_head_slots_create(struct rsr_crew *crew) {
    const struct rsr_target *target = crew->model->target;
    struct rsr_head_slots *slots = &crew->slots;
    if (target->head_sketch.blocks != NULL) {
        slots->shape = rsr_sketch_flat_shape(target->head.cols, target->head_sketch.n_planes);
        slots->kernel = rsr_sketch_kernel_for(rsr_cpu_features());
    }
    slots->slot_bytes = slot_layout_of(crew).bytes;
}

void rsr_head_slots_destroy(struct rsr_head_slots *slots) {
    if (slots->memory != NULL)
        munmap(slots->memory, (size_t)slots->memory_bytes);
    slots->memory = NULL;
    slots->memory_bytes = 0;
}

static rsr_status reserve_slots(struct rsr_head_slots *slots, uint32_t n, rsr_error *err) {
    const uint64_t bytes = n * slots->slot_bytes;
    if (bytes <= slots->memory_bytes)
        return RSR_OK;
    rsr_head_slots_destroy(slots);
    void *memory =
        mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return rsr_fail(err, RSR_ERR_MEMORY, "no memory to pick %u tokens", n);
    slots->memory = memory;
    slots->memory_bytes = bytes;
    return RSR_OK;
}

static void set_slot(const struct slot_layout *at, char *slot, struct rsr_head_scan *scan) {
    scan->all = (float *)(void *)(slot + at->all);
    scan->t = (float *)(void *)(slot + at->t);
    scan->keys = scan->asked->mode == RSR_PICK_DRAW ? scan->all : scan->t;
    scan->estimates = (float *)(void *)(slot + at->estimates);
    scan->block_estimates = (float *)(void *)(slot + at->block_estimates);
    scan->block_bounds = (float *)(void *)(slot + at->block_bounds);
    scan->frames = (struct rsr_head_frame *)(void *)(slot + at->frames);
    scan->penalized = (uint64_t *)(void *)(slot + at->penalized);
    scan->best = (struct rsr_head_row *)(void *)(slot + at->best);
    scan->n_listed = (uint32_t *)(void *)(slot + at->n_listed);
    scan->listed = (struct rsr_head_row *)(void *)(slot + at->listed);
    scan->query_memory = slot + at->query;
}

/* ---- Before the head ---- */

static void mark_penalized(const struct rsr_crew *crew, struct rsr_head_scan *scan) {
    const struct rsr_head_pick *pick = scan->asked;
    const rsr_sampling *s = &pick->sampling;
    const uint32_t vocab = crew->model->module->hyper.vocab;
    memset(scan->penalized, 0, ((size_t)vocab + 63) / 64 * sizeof(uint64_t));
    if (s->repeat_penalty == 1.0f)
        return;
    const uint32_t n = pick->n_history < s->repeat_window ? pick->n_history : s->repeat_window;
    for (uint32_t i = pick->n_history - n; i < pick->n_history; i++)
        scan->penalized[pick->history[i] / 64] |= UINT64_C(1) << pick->history[i] % 64;
}

static void set_sketched(struct rsr_crew *crew, const struct slot_layout *at,
                         struct rsr_head_pick *pick) {
    struct rsr_head_slots *slots = &crew->slots;
    const uint32_t slot = slots->n_all + slots->n_sketched;
    struct rsr_head_scan *scan = &slots->scans[slots->n_sketched++];
    const rsr_sampling *s = &pick->sampling;
    scan->asked = pick;
    atomic_store(&scan->excluded, false);
    set_slot(at, slots->memory + slot * slots->slot_bytes, scan);
    mark_penalized(crew, scan);
    scan->n_wanted = pick->mode == RSR_PICK_TOP && s->top_k > 0 ? s->top_k : 1;
    scan->noise_key = rsr_noise_key(s->seed, s->sequence_id, pick->n_history);
}

rsr_status rsr_head_slots_begin(struct rsr_crew *crew, struct rsr_picks *picks, rsr_error *err) {
    struct rsr_head_slots *slots = &crew->slots;
    slots->n_all = slots->n_sketched = 0;
    if (picks->n == 0)
        return RSR_OK;
    rsr_status status = reserve_slots(slots, picks->n, err);
    if (status != RSR_OK)
        return status;
    const struct slot_layout at = slot_layout_of(crew);
    for (uint32_t i = 0; i < picks->n; i++) {
        struct rsr_head_pick *pick = &picks->picks[i];
        if (pick->mode != RSR_PICK_ALL || pick->logits != NULL)
            continue;
        pick->logits =
            (const float *)(const void *)(slots->memory + slots->n_all * slots->slot_bytes);
        slots->all_tokens[slots->n_all++] = pick->token;
    }
    for (uint32_t i = 0; i < picks->n; i++)
        if (picks->picks[i].mode != RSR_PICK_ALL)
            set_sketched(crew, &at, &picks->picks[i]);
    return RSR_OK;
}

/* ---- Behind the head ---- */

/* Moves the rows that each worker read together. */
static uint32_t gather(const struct rsr_crew *crew, const struct rsr_head_scan *scan) {
    const uint32_t n_blocks = rsr_sketch_blocks_of(crew->model->module->hyper.vocab);
    uint32_t n = 0;
    for (uint32_t w = 0; w < crew->n_workers; w++) {
        const uint32_t first = rsr_head_blocks_before(n_blocks, w, crew->n_workers);
        const uint32_t n_listed = scan->n_listed[(size_t)w * RSR_HEAD_COUNT_STRIDE];
        memmove(scan->listed + n, scan->listed + (size_t)first * RSR_SKETCH_VECTORS,
                n_listed * sizeof(*scan->listed));
        n += n_listed;
    }
    return n;
}

void rsr_head_slots_answer(struct rsr_crew *crew) {
    for (uint32_t i = 0; i < crew->slots.n_sketched; i++) {
        const struct rsr_head_scan *scan = &crew->slots.scans[i];
        if (atomic_load(&scan->excluded)) {
            scan->asked->logits = scan->all;
        } else {
            scan->asked->rows = scan->listed;
            scan->asked->n_rows = gather(crew, scan);
        }
    }
}
