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
    return rsr_rank_share(rows->n_units, rank, ranks->transport.size);
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
    if (reserve(&ranks->own, &ranks->own_bytes, ranks->bytes[ranks->transport.rank]) &&
        reserve(&ranks->all, &ranks->all_bytes, all))
        return all;
    (void)rsr_fail(&ranks->lost, RSR_ERR_MEMORY, "rank %u: no memory to gather %zu bytes",
                   ranks->transport.rank, all);
    return 0;
}

static void pack(const struct rsr_crew *crew, const struct rsr_rank_rows *rows, uint32_t n) {
    struct rsr_ranks *ranks = crew->ranks;
    const struct part_header header = {.compute_ns = rsr_now_ns() - ranks->since_ns,
                                       .cancelled = rsr_is_cancelled(crew->chunk->cancel)};
    float *to = (float *)(void *)mempcpy(ranks->own, &header, sizeof(header));
    for (uint32_t i = 0; i < n; i++) {
        const struct rsr_range units = units_of(ranks, &rows[i], ranks->transport.rank);
        copy_rows(&rows[i], units, to, false);
        to += floats_of(&rows[i], units);
    }
}

static void unpack(struct rsr_crew *crew, uint32_t op_index, const struct rsr_rank_rows *rows,
                   uint32_t n) {
    struct rsr_ranks *ranks = crew->ranks;
    char *at = ranks->all;
    for (uint32_t r = 0; r < ranks->transport.size; at += ranks->bytes[r++]) {
        struct part_header header;
        memcpy(&header, at, sizeof(header));
        float *from = (float *)(void *)(at + sizeof(header));
        ranks->counts[r].compute_ns += header.compute_ns;
        if (r == 0 && header.cancelled != 0)
            atomic_store(&crew->last_op, op_index);
        for (uint32_t i = 0; r != ranks->transport.rank && i < n; i++) {
            const struct rsr_range units = units_of(ranks, &rows[i], r);
            copy_rows(&rows[i], units, from, true);
            from += floats_of(&rows[i], units);
        }
    }
}

static void exchange(struct rsr_crew *crew, uint32_t op_index, const struct rsr_rank_rows *rows,
                     uint32_t n) {
    struct rsr_ranks *ranks = crew->ranks;
    const rsr_transport *transport = &ranks->transport;
    const size_t bytes = make_room(ranks, rows, n);
    if (bytes == 0) {
        atomic_store(&crew->last_op, op_index);
        return;
    }
    pack(crew, rows, n);
    const rsr_status status =
        transport->allgatherv(transport->user, ranks->own, ranks->all, ranks->bytes, &ranks->lost);
    if (status != RSR_OK) {
        ranks->lost.status = status;
        atomic_store(&crew->last_op, op_index);
        return;
    }
    unpack(crew, op_index, rows, n);
    for (uint32_t r = 0; r < transport->size; r++) {
        ranks->counts[r].n_gathers++;
        ranks->counts[r].gathered_bytes += bytes;
    }
    ranks->since_ns = rsr_now_ns();
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
