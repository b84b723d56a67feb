/* reduce.h - the smaller matrix from which a layer follows: rows that repeat up to sign are
 * computed once, zero rows and columns not at all.
 */
#ifndef RSRC_RSR_REDUCE_H
#define RSRC_RSR_REDUCE_H

#include "ir.h"

/* Makes the reduced matrix and the maps back, both in the arena; *reduced may borrow the matrix's
 * values. Dead columns count as zero. Dead rows count as zero if the row map pays; else they are
 * computed like others. If anything is dead, the alphabet must have a zero. Scales stay those of
 * the layer: one, or one for each of the layer's rows. If groups of columns have scales, all rows
 * and columns stay. */
void rsrc_reduce_matrix(struct rsrc_arena *arena, const struct rsr_matrix *matrix,
                        const struct rsr_dead *dead, struct rsr_matrix *reduced,
                        struct rsr_reduction *reduction);
/* Makes a reduction that changes nothing: no maps, and counts of 0. */
void rsrc_keep_matrix(const struct rsr_matrix *matrix, struct rsr_matrix *reduced,
                      struct rsr_reduction *reduction);

/* Rebuilds the layer's matrix from the reduced matrix and the maps, with zeros for dead, dropped
 * rows and columns, and compares every entry. Reports the first difference. */
RSRC_NODISCARD enum rsrc_status
rsrc_verify_reduction(struct rsrc_diag *diag, const struct rsr_matrix *matrix,
                      const struct rsr_dead *dead, const struct rsr_matrix *reduced,
                      const struct rsr_reduction *reduction, const char *layer_name);

/* Words on what was found and saved, for reasons and remarks: "computes 320 of 640 rows (320 repeat
 * others)". `why_all` says why a map is missing. NULL: nothing was found. */
const char *rsrc_reduction_text(struct rsrc_arena *arena, const struct rsr_reduction *reduction,
                                const char *why_all);
/* A map that would not pay for itself is not made. */
#define RSRC_TOO_FEW_TO_MAP "too few to pay for a map"

/* The text form; see reduce_text.c. */
void rsrc_print_reduction(const struct rsr_reduction *reduction, const char *layer_name,
                          struct rsrc_buffer *out);

#endif
