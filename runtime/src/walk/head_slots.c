/* head_slots.c - working memory of the picks of a chunk: a slot for each, prepared before the head
 * and read after it. head_sketch.c finds the rows. */
#include <string.h>
#include <sys/mman.h>

#include "crew.h"
#include "host/cpu.h"
#include "ranks.h"

/* ---- Memory ---- */

/* Byte offsets of a pick's arrays in its slot. Most of a slot is never touched, so its memory is
 * mapped and not cleared. */
struct slot_layout {
    uint64_t all, n_listed, listed, t, estimates, block_bounds, block_estimates, frames, best,
        query, bytes;
};

static uint64_t take(uint64_t *bytes, uint64_t n, uint64_t element) {
    const uint64_t at = *bytes;
    *bytes = (at + n * element + 63) & ~UINT64_C(63);
    return at;
}

/* Without a sketch a slot holds all logits, or those of an allowed set. */
static struct slot_layout slot_layout_of(const struct rsr_crew *crew) {
    const uint32_t rows = crew->model->module->hyper.vocab;
    const uint64_t n_blocks = rsr_sketch_blocks_of(rows);
    const uint64_t padded = n_blocks * RSR_SKETCH_VECTORS;
    struct slot_layout s = {0};
    s.all = take(&s.bytes, padded, sizeof(float));
    s.n_listed =
        take(&s.bytes, (uint64_t)crew->n_workers * RSR_HEAD_COUNT_STRIDE, sizeof(uint32_t));
    s.listed = take(&s.bytes, padded, sizeof(struct rsr_head_row));
    if (crew->slots.shape.dim == 0)
        return s;
    s.t = take(&s.bytes, padded, sizeof(float));
    s.estimates = take(&s.bytes, padded, sizeof(float));
    s.block_estimates = take(&s.bytes, n_blocks, sizeof(float));
    s.block_bounds = take(&s.bytes, n_blocks, sizeof(float));
    s.frames = take(&s.bytes, n_blocks, sizeof(struct rsr_head_frame));
    s.best = take(&s.bytes, rows / RSR_HEAD_TOP_PART + 1, sizeof(struct rsr_head_row));
    s.query = take(&s.bytes, rsr_sketch_query_bytes(&crew->slots.shape), 1);
    return s;
}

void rsr_head_slots_create(struct rsr_crew *crew) {
    const struct rsr_target *target = crew->model->target;
    struct rsr_head_slots *slots = &crew->slots;
    if (target->tensors->head_sketch.blocks != NULL) {
        slots->shape = rsr_sketch_flat_shape(target->tensors->head.cols,
                                             target->tensors->head_sketch.n_planes);
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
    scan->n_listed = (uint32_t *)(void *)(slot + at->n_listed);
    scan->listed = (struct rsr_head_row *)(void *)(slot + at->listed);
    scan->t = (float *)(void *)(slot + at->t);
    scan->keys = scan->draws ? scan->all : scan->t;
    scan->estimates = (float *)(void *)(slot + at->estimates);
    scan->block_estimates = (float *)(void *)(slot + at->block_estimates);
    scan->block_bounds = (float *)(void *)(slot + at->block_bounds);
    scan->frames = (struct rsr_head_frame *)(void *)(slot + at->frames);
    scan->best = (struct rsr_head_row *)(void *)(slot + at->best);
    scan->query_memory = slot + at->query;
}

/* ---- Before the head ---- */

static void set_scan(struct rsr_crew *crew, const struct slot_layout *at,
                     struct rsr_head_pick *pick) {
    struct rsr_head_slots *slots = &crew->slots;
    const uint32_t number = slots->n_sketched + slots->n_listed;
    struct rsr_head_scan *scan = &slots->scans[number];
    const rsr_sampling *s = &pick->sampling;
    scan->asked = pick;
    scan->draws = pick->mode == RSR_PICK_DRAW || pick->mode == RSR_PICK_NUCLEUS;
    atomic_store(&scan->excluded, false);
    atomic_store(&scan->undecided, false);
    scan->late = false;
    set_slot(at, slots->memory + (slots->n_all + number) * slots->slot_bytes, scan);
    scan->n_wanted = pick->mode == RSR_PICK_TOP && s->top_k > 0 ? s->top_k : 1;
    scan->noise_key = rsr_noise_key(s->seed, s->sequence_id, pick->n_history);
    if (pick->mode == RSR_PICK_LISTED)
        slots->n_listed++;
    else
        slots->n_sketched++;
}

static void set_scans(struct rsr_crew *crew, const struct slot_layout *at, struct rsr_picks *picks,
                      bool listed) {
    for (uint32_t i = 0; i < picks->n; i++)
        if (picks->picks[i].mode != RSR_PICK_ALL &&
            (picks->picks[i].mode == RSR_PICK_LISTED) == listed)
            set_scan(crew, at, &picks->picks[i]);
}

rsr_status rsr_head_slots_begin(struct rsr_crew *crew, struct rsr_picks *picks, rsr_error *err) {
    struct rsr_head_slots *slots = &crew->slots;
    slots->n_all = slots->n_sketched = slots->n_listed = 0;
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
    set_scans(crew, &at, picks, false);
    set_scans(crew, &at, picks, true);
    return RSR_OK;
}

/* ---- After the head ---- */

uint32_t rsr_head_gather(const struct rsr_crew *crew, const struct rsr_head_scan *scan) {
    const struct rsr_range blocks = rsr_rank_head_blocks(crew);
    uint32_t n = 0;
    for (uint32_t w = 0; w < crew->n_workers; w++) {
        const uint32_t first =
            rsr_head_blocks_before(blocks.end - blocks.begin, w, crew->n_workers);
        const uint32_t n_listed = scan->n_listed[(size_t)w * RSR_HEAD_COUNT_STRIDE];
        memmove(scan->listed + n, scan->listed + (size_t)first * RSR_SKETCH_VECTORS,
                n_listed * sizeof(*scan->listed));
        n += n_listed;
    }
    return n;
}

void rsr_head_slots_answer(struct rsr_crew *crew) {
    for (uint32_t i = 0; i < crew->slots.n_sketched + crew->slots.n_listed; i++) {
        const struct rsr_head_scan *scan = &crew->slots.scans[i];
        scan->asked->rows = scan->listed;
        if (atomic_load(&scan->excluded) || atomic_load(&scan->undecided))
            scan->asked->logits = scan->all;
        else if (scan->asked->mode == RSR_PICK_NUCLEUS)
            scan->asked->n_rows = 1;
        else
            scan->asked->n_rows =
                crew->ranks != NULL ? scan->n_gathered : rsr_head_gather(crew, scan);
    }
}
