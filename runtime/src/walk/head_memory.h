/* head_memory.h - gives back the memory of rows that tokens do not read any more.
 *
 * With a sketch a token reads a few dozen rows of the head, and one of the embedding. Both lie in
 * the module's file, which is mapped. With every row the kernel maps the 64 KB around it, whatever
 * it was advised, so after some thousand rows everything would be resident, though hardly any row
 * is read again. Therefore the rows are unmapped from time to time. The page cache keeps them where
 * the system has room, so the next reading of a row costs a fault, but does not read the disk.
 */
#ifndef RSR_HEAD_MEMORY_H
#define RSR_HEAD_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

struct rsr_crew;

/* Whole pages of the rows of a matrix. */
struct rsr_mapped_rows {
    char *begin;
    uint64_t bytes; /* 0: they stay */
};

struct rsr_head_memory {
    struct rsr_mapped_rows head, embedding; /* embedding: bytes is 0 if it is the head */
    uint64_t n_parts, n_rows;               /* counted since they were last compared */
};

/* Called once for a crew, after rsr_head_slots_create(). */
void rsr_head_memory_create(struct rsr_crew *crew);
/* Counts what the walk that has just ended read, and may give memory back. */
void rsr_head_memory_step(struct rsr_crew *crew);

/* Counts parts (a worker's work for a token) and the rows that were read; returns whether to give
 * memory back now. */
bool rsr_head_memory_due(struct rsr_head_memory *memory, uint64_t n_parts, uint64_t n_rows);

#endif
