/* rank_gather.c - gives every rank the results of all. One worker packs its rank's rows, gathers,
 * and unpacks the others', while the other workers wait.
 *
 * Every part begins with a header. By it rank 0 cancels the walk of all ranks at the same
 * operation, and learns how long each rank computed. */
#include <stdlib.h>
#include <string.h>

#include "crew.h"
#include "ranks.h"

struct part_header {
    uint64_t compute_ns;
    uint32_t cancelled;
    uint32_t reserved;
};

/* Gathers of logits have at most about this many bytes, of as many tokens as fit. */
#define LOGITS_BYTES (1u << 20)

/* ---- Rows ---- */

static uint32_t smaller(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

static struct rsr_range units_of(const struct rsr_ranks *ranks, const struct rsr_rank_rows *rows,
                                 uint32_t rank) {
    return rsr_ranks_units(ranks, rows->n_units, rank);
}

/* The rows of units: rows of the matrix, or numbers of entries of its map. */
static struct rsr_range rows_of(const struct rsr_rank_rows *rows, struct rsr_range units) {
    if (rows->mapped != NULL)
        return (struct rsr_range){rows->mapped->row_map[units.begin],
                                  rows->mapped->row_map[units.end]};
    const uint64_t begin = (uint64_t)units.begin * rows->unit_rows;
    const uint64_t end = (uint64_t)units.end * rows->unit_rows;
    return (struct rsr_range){begin < rows->n_rows ? (uint32_t)begin : rows->n_rows,
                              end < rows->n_rows ? (uint32_t)end : rows->n_rows};
}

static size_t floats_of(const struct rsr_rank_rows *rows, struct rsr_range units) {
    const struct rsr_range range = rows_of(rows, units);
    return (size_t)(range.end - range.begin) * rows->n_tokens;
}

/* Copies the units' rows to `packed`, or from there. */
static void copy_rows(const struct rsr_rank_rows *rows, struct rsr_range units, float *packed,
                      bool unpacks) {
    const struct rsr_range range = rows_of(rows, units);
    const uint32_t n = range.end - range.begin;
    for (uint32_t t = 0; t < rows->n_tokens; t++, packed += n) {
        float *y = rows->y + t * rows->ld;
        if (rows->mapped == NULL) {
            memcpy(unpacks ? y + range.begin : packed, unpacks ? packed : y + range.begin,
                   n * sizeof(*y));
            continue;
        }
        const struct rsr_row_entry *entries = rsr_row_entries(rows->mapped) + range.begin;
        for (uint32_t i = 0; i < n; i++) {
            if (unpacks)
                y[entries[i].row] = packed[i];
            else
                packed[i] = y[entries[i].row];
        }
    }
}

/* ---- An exchange ---- */

static bool reserve(char **memory, size_t *capacity, size_t bytes) {
    if (bytes <= *capacity)
        return true;
    char *more = realloc(*memory, bytes);
    if (more == NULL)
        return false;
    *memory = more;
    *capacity = bytes;
    return true;
}

/* Makes room for what ranks->bytes says, `all` in total. Returns this; 0 after an error. */
static size_t reserve_parts(struct rsr_ranks *ranks, size_t all) {
    if (reserve(&ranks->own, &ranks->own_bytes, ranks->bytes[ranks->transport.rank]) &&
        reserve(&ranks->all, &ranks->all_bytes, all))
        return all;
    (void)rsr_fail(&ranks->lost, RSR_ERR_MEMORY, "rank %u: no memory to gather %zu bytes",
                   ranks->transport.rank, all);
    return 0;
}

/* Finds every rank's bytes, and makes room for them. Returns the bytes of all ranks; 0 after an
 * error. */
static size_t make_room(struct rsr_ranks *ranks, const struct rsr_rank_rows *rows, uint32_t n) {
    size_t all = 0;
    for (uint32_t r = 0; r < ranks->transport.size; r++) {
        ranks->bytes[r] = sizeof(struct part_header);
        for (uint32_t i = 0; i < n; i++)
            ranks->bytes[r] += floats_of(&rows[i], units_of(ranks, &rows[i], r)) * sizeof(float);
        all += ranks->bytes[r];
    }
    return reserve_parts(ranks, all);
}

static void pack(struct rsr_ranks *ranks, const struct rsr_rank_rows *rows, uint32_t n) {
    float *to = (float *)(void *)(ranks->own + sizeof(struct part_header));
    for (uint32_t i = 0; i < n; i++) {
        const struct rsr_range units = units_of(ranks, &rows[i], ranks->transport.rank);
        copy_rows(&rows[i], units, to, false);
        to += floats_of(&rows[i], units);
    }
}

static void unpack(struct rsr_ranks *ranks, const struct rsr_rank_rows *rows, uint32_t n) {
    char *at = ranks->all;
    for (uint32_t r = 0; r < ranks->transport.size; at += ranks->bytes[r++]) {
        float *from = (float *)(void *)(at + sizeof(struct part_header));
        for (uint32_t i = 0; r != ranks->transport.rank && i < n; i++) {
            const struct rsr_range units = units_of(ranks, &rows[i], r);
            copy_rows(&rows[i], units, from, true);
            from += floats_of(&rows[i], units);
        }
    }
}

/* Reads what the headers of all parts say. */
static void read_headers(struct rsr_crew *crew, uint32_t op_index, size_t all_bytes) {
    struct rsr_ranks *ranks = crew->ranks;
    const char *at = ranks->all;
    for (uint32_t r = 0; r < ranks->transport.size; at += ranks->bytes[r++]) {
        struct part_header header;
        memcpy(&header, at, sizeof(header));
        ranks->counts[r].compute_ns += header.compute_ns;
        ranks->counts[r].n_gathers++;
        ranks->counts[r].gathered_bytes += all_bytes;
        if (r == 0 && header.cancelled != 0)
            atomic_store(&crew->last_op, op_index);
    }
    ranks->since_ns = rsr_now_ns();
}

/* Gathers what `own` holds after its header. Each rank's bytes are in ranks->bytes, and there is
 * room for all of them. */
static void swap_parts(struct rsr_crew *crew, uint32_t op_index, size_t all_bytes) {
    struct rsr_ranks *ranks = crew->ranks;
    const rsr_transport *transport = &ranks->transport;
    const struct part_header header = {
        .compute_ns = ranks->is_pipeline ? ranks->layers_ns : rsr_now_ns() - ranks->since_ns,
        .cancelled = rsr_is_cancelled(crew->chunk->cancel)};
    memcpy(ranks->own, &header, sizeof(header));
    ranks->layers_ns = 0;
    ranks->lost.status =
        transport->allgatherv(transport->user, ranks->own, ranks->all, ranks->bytes, &ranks->lost);
    if (ranks->lost.status != RSR_OK)
        atomic_store(&crew->last_op, op_index);
    else
        read_headers(crew, op_index, all_bytes);
}

static void exchange(struct rsr_crew *crew, uint32_t op_index, const struct rsr_rank_rows *rows,
                     uint32_t n) {
    struct rsr_ranks *ranks = crew->ranks;
    const size_t bytes = make_room(ranks, rows, n);
    if (bytes == 0) {
        atomic_store(&crew->last_op, op_index);
        return;
    }
    pack(ranks, rows, n);
    swap_parts(crew, op_index, bytes);
    if (ranks->lost.status == RSR_OK)
        unpack(ranks, rows, n);
}

/* ---- What is gathered ---- */

/* The results of a kernel, or of a dense matrix, in y. */
static struct rsr_rank_rows matrix_rows(const struct rsr_crew *crew, const struct rsr_step_op *op,
                                        float *y, size_t ld, uint32_t n_tokens) {
    const struct rsr_target *target = crew->model->target;
    struct rsr_rank_rows rows = {.y = y, .ld = ld, .n_tokens = n_tokens};
    if (op->kind == RSR_OP_DENSE || (op->kind == RSR_OP_HEAD && op->arg == RSR_NO_KERNEL)) {
        const struct rsr_matrix_data *matrix =
            op->kind == RSR_OP_DENSE ? &target->tensors->dense[op->arg] : &target->tensors->head;
        rows.n_rows = matrix->rows;
        rows.n_units = rsr_dense_blocks(matrix);
        rows.unit_rows = RSR_DENSE_BLOCK_ROWS;
    } else {
        const struct rsr_kernel_desc *kernel = &target->kernels[op->arg];
        rows.n_rows = kernel->rows;
        rows.n_units = kernel->n_tiles;
        rows.unit_rows = kernel->tile_rows;
        rows.mapped = kernel->row_map != NULL ? kernel : NULL;
    }
    return rows;
}

/* The results that an operation of the step left in its buffer. */
static struct rsr_rank_rows results_of(const struct rsr_crew *crew, const struct rsr_step_op *op) {
    const struct rsr_hyper *hyper = &crew->model->module->hyper;
    const struct rsr_step_rows buffer = rsr_crew_buffer(crew, op->dst);
    float *y = (float *)(void *)buffer.memory;
    const size_t ld = buffer.row_bytes / sizeof(float);
    if (op->kind != RSR_OP_ATTENTION)
        return matrix_rows(crew, op, y, ld, crew->chunk->n_tokens);
    return (struct rsr_rank_rows){.y = y,
                                  .ld = ld,
                                  .n_tokens = crew->chunk->n_tokens,
                                  .n_rows = hyper->n_heads * hyper->head_dim,
                                  .n_units = hyper->n_kv_heads,
                                  .unit_rows =
                                      hyper->n_heads / hyper->n_kv_heads * hyper->head_dim};
}

/* More results than this are gathered by several exchanges; a step has one or two at a time. */
#define MOST_RESULTS 8u

void rsr_rank_gather(struct rsr_crew *crew, uint32_t op_index) {
    const struct rsr_step_table *step = crew->chunk->step;
    const struct rsr_rank_op *op = rsr_rank_op_of(crew, op_index);
    const uint32_t *gathers =
        crew->ranks->steps[step - crew->model->target->steps].gathers + op->first_gather;
    for (uint32_t i = 0, n; i < op->n_gathers && crew->ranks->lost.status == RSR_OK; i += n) {
        struct rsr_rank_rows rows[MOST_RESULTS];
        n = smaller(op->n_gathers - i, MOST_RESULTS);
        for (uint32_t j = 0; j < n; j++)
            rows[j] = results_of(crew, &step->ops[gathers[i + j]]);
        exchange(crew, op_index, rows, n);
    }
}

void rsr_rank_gather_logits(struct rsr_crew *crew, uint32_t op_index, float *logits, uint32_t n,
                            size_t ld) {
    const struct rsr_step_op *op = &crew->chunk->step->ops[op_index];
    const uint32_t fit =
        LOGITS_BYTES / ((uint32_t)sizeof(float) * crew->model->module->hyper.vocab);
    for (uint32_t i = 0, some; i < n && crew->ranks->lost.status == RSR_OK; i += some) {
        some = smaller(n - i, fit > 0 ? fit : 1);
        const struct rsr_rank_rows rows = matrix_rows(crew, op, logits + i * ld, ld, some);
        exchange(crew, op_index, &rows, 1);
    }
}

/* ---- Rows that may be chosen ---- */

#define NO_BOUNDS UINT32_MAX /* a rank's count of rows, if its bounds may not hold */

/* The rows of a pick that this rank has; one without blocks has not looked for any. */
static uint32_t own_count(const struct rsr_crew *crew, const struct rsr_head_scan *scan) {
    const struct rsr_range blocks = rsr_rank_head_blocks(crew);
    if (atomic_load(&scan->excluded))
        return NO_BOUNDS;
    return blocks.begin < blocks.end ? rsr_head_gather(crew, scan) : 0;
}

/* Notes what all ranks have counted, and for which picks some rank has no bounds. */
static void read_counts(struct rsr_crew *crew, size_t part_bytes) {
    struct rsr_ranks *ranks = crew->ranks;
    for (uint32_t r = 0; r < ranks->transport.size; r++) {
        uint32_t *counts = ranks->row_counts + (size_t)r * RSR_MAX_PICKS;
        memcpy(counts, ranks->all + r * part_bytes + sizeof(struct part_header),
               crew->slots.n_sketched * sizeof(*counts));
        for (uint32_t i = 0; i < crew->slots.n_sketched; i++)
            if (counts[i] == NO_BOUNDS && !atomic_exchange(&crew->slots.scans[i].excluded, true))
                crew->slots.scans[i].late = true;
    }
}

void rsr_rank_gather_counts(struct rsr_crew *crew, uint32_t op_index) {
    struct rsr_ranks *ranks = crew->ranks;
    const uint32_t n = crew->slots.n_sketched, size = ranks->transport.size;
    const size_t each = sizeof(struct part_header) + n * sizeof(uint32_t);
    if (ranks->lost.status != RSR_OK || n == 0)
        return;
    for (uint32_t r = 0; r < size; r++)
        ranks->bytes[r] = each;
    if (reserve_parts(ranks, each * size) == 0) {
        atomic_store(&crew->last_op, op_index);
        return;
    }
    uint32_t *own = (uint32_t *)(void *)(ranks->own + sizeof(struct part_header));
    for (uint32_t i = 0; i < n; i++)
        own[i] = own_count(crew, &crew->slots.scans[i]);
    swap_parts(crew, op_index, each * size);
    if (ranks->lost.status == RSR_OK)
        read_counts(crew, each);
}

static void gather_excluded(struct rsr_crew *crew, uint32_t op_index) {
    const uint32_t vocab = crew->model->module->hyper.vocab;
    for (uint32_t i = 0; i < crew->slots.n_sketched; i++) {
        const struct rsr_rank_rows rows = {.y = crew->slots.scans[i].all,
                                           .n_tokens = 1,
                                           .n_rows = vocab,
                                           .n_units = rsr_sketch_blocks_of(vocab),
                                           .unit_rows = RSR_SKETCH_VECTORS};
        if (atomic_load(&crew->slots.scans[i].excluded) && crew->ranks->lost.status == RSR_OK)
            exchange(crew, op_index, &rows, 1);
    }
}

/* How many rows of pick i rank r has that are gathered. */
static uint32_t count_of(const struct rsr_crew *crew, uint32_t r, uint32_t i) {
    return atomic_load(&crew->slots.scans[i].excluded)
               ? 0
               : crew->ranks->row_counts[(size_t)r * RSR_MAX_PICKS + i];
}

/* Puts the rows of all ranks where a rank's own were. */
static void list_rows(struct rsr_crew *crew) {
    const struct rsr_ranks *ranks = crew->ranks;
    const char *at = ranks->all;
    for (uint32_t i = 0; i < crew->slots.n_sketched; i++)
        crew->slots.scans[i].n_gathered = 0;
    for (uint32_t r = 0; r < ranks->transport.size; at += ranks->bytes[r++]) {
        const char *from = at + sizeof(struct part_header);
        for (uint32_t i = 0; i < crew->slots.n_sketched; i++) {
            struct rsr_head_scan *scan = &crew->slots.scans[i];
            const uint32_t n = count_of(crew, r, i);
            memcpy(scan->listed + scan->n_gathered, from, n * sizeof(*scan->listed));
            scan->n_gathered += n;
            from += n * sizeof(*scan->listed);
        }
    }
}

/* Finds how many bytes of rows each rank has. False: more rows than its part of the head. */
static bool find_bytes(struct rsr_crew *crew, size_t *all) {
    struct rsr_ranks *ranks = crew->ranks;
    const uint32_t n_blocks = rsr_sketch_blocks_of(crew->model->module->hyper.vocab);
    *all = 0;
    for (uint32_t r = 0; r < ranks->transport.size; r++) {
        const struct rsr_range blocks = rsr_ranks_units(ranks, n_blocks, r);
        ranks->bytes[r] = sizeof(struct part_header);
        for (uint32_t i = 0; i < crew->slots.n_sketched; i++) {
            if (count_of(crew, r, i) > (blocks.end - blocks.begin) * RSR_SKETCH_VECTORS)
                return false;
            ranks->bytes[r] += count_of(crew, r, i) * sizeof(struct rsr_head_row);
        }
        *all += ranks->bytes[r];
    }
    return true;
}

void rsr_rank_gather_rows(struct rsr_crew *crew, uint32_t op_index) {
    struct rsr_ranks *ranks = crew->ranks;
    size_t all = 0;
    if (ranks->lost.status == RSR_OK)
        gather_excluded(crew, op_index);
    if (ranks->lost.status != RSR_OK || crew->slots.n_sketched == 0)
        return;
    if (!find_bytes(crew, &all))
        (void)rsr_fail(&ranks->lost, RSR_ERR_RANK, "a rank has found more rows than it has");
    else
        all = reserve_parts(ranks, all);
    if (ranks->lost.status != RSR_OK) {
        atomic_store(&crew->last_op, op_index);
        return;
    }
    char *to = ranks->own + sizeof(struct part_header);
    for (uint32_t i = 0; i < crew->slots.n_sketched; i++)
        to = mempcpy(to, crew->slots.scans[i].listed,
                     count_of(crew, ranks->transport.rank, i) * sizeof(struct rsr_head_row));
    swap_parts(crew, op_index, all);
    if (ranks->lost.status == RSR_OK)
        list_rows(crew);
}

/* ---- Of a pipeline ---- */

/* The first operation that met a number that is not finite, for every token. */
static struct rsr_rank_rows failures(const struct rsr_crew *crew) {
    const struct rsr_chunk *chunk = crew->chunk;
    return (struct rsr_rank_rows){.y =
                                      (float *)(void *)chunk->failed_ops, /* they are only copied */
                                  .n_tokens = 1,
                                  .n_rows = chunk->n_tokens,
                                  .n_units = 1,
                                  .unit_rows = chunk->n_tokens};
}

/* Rank 0 reads the operations that other ranks have named. */
static void check_failures(struct rsr_crew *crew, uint32_t op_index) {
    const struct rsr_chunk *chunk = crew->chunk;
    for (uint32_t t = 0; t < chunk->n_tokens && crew->ranks->lost.status == RSR_OK; t++)
        if (chunk->failed_ops[t] != UINT32_MAX && chunk->failed_ops[t] >= chunk->step->n_ops) {
            (void)rsr_fail(&crew->ranks->lost, RSR_ERR_RANK,
                           "rank %u names operation %u of a step of %u", crew->ranks->sender,
                           chunk->failed_ops[t], chunk->step->n_ops);
            atomic_store(&crew->last_op, op_index);
        }
}

/* Whole rows, ld floats apart. */
static struct rsr_rank_rows whole_rows(void *y, uint32_t n_tokens, uint32_t ld) {
    return (struct rsr_rank_rows){
        .y = y, .ld = ld, .n_tokens = n_tokens, .n_rows = ld, .n_units = 1, .unit_rows = ld};
}

void rsr_rank_pass_on(struct rsr_crew *crew, uint32_t op_index) {
    const struct rsr_step_table *step = crew->chunk->step;
    const struct rsr_rank_op *op = rsr_rank_op_of(crew, op_index);
    const uint32_t *gathers =
        crew->ranks->steps[step - crew->model->target->steps].gathers + op->first_gather;
    uint32_t i = 0;
    do {
        struct rsr_rank_rows rows[MOST_RESULTS] = {failures(crew)};
        uint32_t n = 1;
        for (; n < MOST_RESULTS && i < op->n_gathers; i++) {
            const struct rsr_step_rows buffer = rsr_crew_buffer(crew, step->ops[gathers[i]].dst);
            rows[n++] = whole_rows(buffer.memory, crew->chunk->n_tokens,
                                   (uint32_t)(buffer.row_bytes / sizeof(float)));
        }
        exchange(crew, op_index, rows, n);
    } while (i < op->n_gathers && crew->ranks->lost.status == RSR_OK);
    check_failures(crew, op_index);
}

void rsr_rank_gather_answers(struct rsr_crew *crew) {
    const struct rsr_chunk *chunk = crew->chunk;
    const struct rsr_head_slots *slots = &crew->slots;
    const uint32_t last = chunk->step->n_ops - 1;
    const struct rsr_hyper *hyper = &crew->model->module->hyper;
    const bool has_logits = chunk->step->ops[last].kind == RSR_OP_HEAD && !chunk->wants_states;
    const struct rsr_rank_rows rows[] = {
        failures(crew), whole_rows(chunk->outputs, chunk->n_wanted, hyper->hidden)};
    exchange(crew, last, rows, has_logits ? 1 : 2);
    check_failures(crew, last);
    if (!has_logits)
        return;
    rsr_rank_gather_logits(crew, last, chunk->outputs, chunk->n_wanted, hyper->vocab);
    rsr_rank_gather_logits(crew, last, (float *)(void *)slots->memory, slots->n_all,
                           slots->slot_bytes / sizeof(float));
    rsr_rank_gather_counts(crew, last);
    rsr_rank_gather_rows(crew, last);
}
