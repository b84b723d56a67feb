/* ranks.h - a model that several processes evaluate together (rsr_transport of rsr.h): what each
 * rank computes, and how ranks give each other their results.
 *
 * Ranks are one more level of the division of a step's work. A rank has a range of the tiles of
 * every kernel, of the row blocks of every dense matrix, and of the KV heads; its workers share
 * them out as usual. Every rank runs all operations marked T for all tokens. So a result that
 * another rank needs is gathered before the first operation that reads it, and nothing is ever
 * summed across ranks. Queries, keys and values are read by their own head's rank alone: each rank
 * computes the tiles that its heads need, and these results are not gathered.
 *
 * In a pipeline (rank_pipeline.c) a rank has the operations of some layers instead, each whole.
 *
 * Rank 0 leads: its engine is used as any other. It tells the others of every chunk, and of the
 * pages that were copied and dropped before it. They have no sequences and choose no tokens.
 */
#ifndef RSR_RANKS_H
#define RSR_RANKS_H

#include <pthread.h>

#include "engine/engine.h"
#include "rank_message.h"
#include "rank_share.h"

#define RSR_RANK_EDIT_WORDS (sizeof(struct rsr_edit) / sizeof(uint32_t))
_Static_assert(sizeof(struct rsr_edit) % sizeof(uint32_t) == 0, "messages have whole words");

struct rsr_crew;

struct rsr_rank_op {
    struct rsr_range part; /* this rank's tiles of a kernel, or blocks of a dense matrix */
    bool runs;             /* false: in a pipeline, another rank runs it */
    uint32_t first_gather, n_gathers; /* in rsr_rank_step.gathers */
};

struct rsr_rank_step {
    struct rsr_rank_op *ops; /* [n_ops] */
    uint32_t *gathers;       /* operations whose results are gathered before another one */
    uint32_t *first_ops;     /* [size] of a pipeline: where each rank's layers begin */
};

/* Rows of results of which every rank has its share: rows of tokens in `y`, ld elements apart. */
struct rsr_rank_rows {
    float *y;
    size_t ld;
    uint32_t n_tokens;
    uint32_t n_rows, n_units, unit_rows;
    const struct rsr_kernel_desc *mapped; /* the kernel, if it has a row_map; else NULL */
};

struct rsr_ranks {
    struct rsr_engine *engine;
    rsr_transport transport;
    bool is_pipeline;
    uint32_t head_layers;              /* of a pipeline: rsr_rank_head_layers() */
    struct rsr_range kv_heads, layers; /* this rank's */
    struct rsr_rank_step *steps;       /* [target->n_steps] */
    uint32_t n_steps;

    /* For the thread that leads or follows. */
    rsr_error lost; /* status other than RSR_OK: an exchange failed, and no other is tried */
    size_t *bytes;  /* [size] */
    char *own, *all;
    size_t own_bytes, all_bytes; /* their capacity */
    uint64_t since_ns;           /* when the last gather ended, or the step began */
    uint32_t sender;             /* of a pipeline: the rank that runs its layers, or whose results
                                    are gathered */
    uint64_t layers_ns;          /* of a pipeline: how long this rank ran its layers */
    uint32_t *row_counts;        /* [size][RSR_MAX_PICKS] */
    rsr_rank_info *counts;       /* [size] */
    rsr_rank_info *published;    /* [size]: a copy, under the engine's lock */
    struct rsr_rank_message message;

    /* Pages that were copied and dropped since the last chunk, for the other ranks. */
    pthread_mutex_t noting;
    struct rsr_rank_message notes;

    /* Of a rank that follows: */
    struct rsr_sequence *sequences;        /* [max_batch] */
    rsr_batch_entry *entries;              /* [max_batch] */
    struct rsr_edits edits[RSR_MAX_PICKS]; /* their places lie in the message */
    float *outputs;
    uint64_t output_floats;
};

/* What a rank has of n units: its share, or, in a pipeline, all of the rank that has results. */
static inline struct rsr_range rsr_ranks_units(const struct rsr_ranks *ranks, uint32_t n,
                                               uint32_t rank) {
    if (ranks->is_pipeline)
        return (struct rsr_range){0, rank == ranks->sender ? n : 0};
    return rsr_rank_share(n, rank, ranks->transport.size);
}

/* Creates crew->ranks if the options have a transport of several ranks, after it has compared model
 * and options of all ranks. ranks.c */
RSR_NODISCARD rsr_status rsr_ranks_create(struct rsr_crew *crew, struct rsr_engine *engine,
                                          const rsr_engine_options *options, rsr_error *err);
/* Tells the others whether this rank's engine could be created (`status`, `err`) and how many pages
 * it has. *n_pages becomes the smallest number. Fails if any rank failed. ranks.c */
RSR_NODISCARD rsr_status rsr_ranks_ready(struct rsr_ranks *ranks, rsr_status status,
                                         uint32_t *n_pages, rsr_error *err);
void rsr_ranks_destroy(struct rsr_ranks *ranks); /* NULL is fine */
/* Count a step of this time; make the counts those that rsr_engine_get_rank() gives, with the
 * engine's lock. ranks.c */
void rsr_rank_count_step(struct rsr_ranks *ranks, uint64_t ns);
void rsr_rank_publish(struct rsr_ranks *ranks);

/* Plans what this rank does of every step. rank_parts.c */
RSR_NODISCARD rsr_status rsr_rank_plan(struct rsr_crew *crew, rsr_error *err);
void rsr_rank_plan_free(struct rsr_ranks *ranks);
/* The blocks of the head's sketch, and so of its rows, of which this rank bounds picks. */
struct rsr_range rsr_rank_head_blocks(const struct rsr_crew *crew);
/* Keeps weights that this rank does not read out of its memory. rank_memory.c */
void rsr_rank_keep_own(const struct rsr_crew *crew);
/* What this rank does of operation `op_index` of the chunk's step. */
const struct rsr_rank_op *rsr_rank_op_of(const struct rsr_crew *crew, uint32_t op_index);

/* Exchanges, by one worker while the others wait. A failure is kept in ranks->lost and ends the
 * walk (crew->last_op), as rank 0's cancellation does. rank_gather.c
 * Gathers results that the operation reads. */
void rsr_rank_gather(struct rsr_crew *crew, uint32_t op_index);
/* Gathers logits of n tokens, [n][ld]. */
void rsr_rank_gather_logits(struct rsr_crew *crew, uint32_t op_index, float *logits, uint32_t n,
                            size_t ld);

/* Gather how many rows each rank has found for the picks with a sketch, and whether its bounds
 * hold; then these rows, or all logits where they do not. */
void rsr_rank_gather_counts(struct rsr_crew *crew, uint32_t op_index);
void rsr_rank_gather_rows(struct rsr_crew *crew, uint32_t op_index);

/* Of a pipeline. rank_pipeline.c
 * The layers of a rank; size is at least 2. The head counts as so many layers of the last rank as
 * have its weights, but leaves it one. */
struct rsr_range rsr_rank_layers(uint32_t n_layers, uint32_t head_layers, uint32_t rank,
                                 uint32_t size);
/* How many layers have the weights that a step reads for the head, rounded down. */
uint32_t rsr_rank_head_layers(const rsr_model *model);
/* Plans a step, as rsr_rank_plan(). False: its operations do not go from layer to layer. */
RSR_NODISCARD bool rsr_rank_plan_layers(const struct rsr_crew *crew,
                                        const struct rsr_step_table *step,
                                        struct rsr_rank_step *plan);
/* All ranks call it for a chunk: each runs its layers when the rank before it has. */
void rsr_rank_walk(struct rsr_crew *crew);
/* Gather what the operation and those after it read of the sender's results, and, after the last
 * one, what rank 0 needs of the head. rank_gather.c */
void rsr_rank_pass_on(struct rsr_crew *crew, uint32_t op_index);
void rsr_rank_gather_answers(struct rsr_crew *crew);

/* Rank 0 tells the others of the chunk that it runs next. rank_lead.c */
RSR_NODISCARD rsr_status rsr_rank_send_chunk(struct rsr_crew *crew, rsr_error *err);
/* Ends rsr_engine_follow() of the others. */
void rsr_rank_send_end(struct rsr_ranks *ranks);
/* Note what happened to pages; any thread. */
void rsr_rank_note_copy(struct rsr_ranks *ranks, uint32_t to, uint32_t from, uint32_t n_tokens);
void rsr_rank_note_drop(struct rsr_ranks *ranks, uint32_t page);
/* Runs chunks as rank 0 says, until it ends. rank_follow.c */
RSR_NODISCARD rsr_status rsr_rank_follow(struct rsr_crew *crew, rsr_error *err);

#endif
