/* gpu_segment.h - `segment` of GPUs: the sums of a segment in shared memory, selected by codes;
 * the order of the codes. cuda/kernels/segment.cuh is the kernel.
 */
#ifndef RSRC_KERNELS_GPU_SEGMENT_GPU_SEGMENT_H
#define RSRC_KERNELS_GPU_SEGMENT_GPU_SEGMENT_H

#include "kernel/kernel.h"

#define RSRC_GPU_SEGMENT_ROWS 32u /* of a warp: a row a lane */
/* A code has four columns, and so 81 sums. With five, 243 sums take three times the making and the
 * memory, and save a fifth of the additions. */
#define RSRC_GPU_SEGMENT_COLS 4u
#define RSRC_GPU_SEGMENT_CODES 32u /* of a row and a chunk: 16 bytes in each of two loads */
#define RSRC_GPU_SEGMENT_CHUNK_COLS (RSRC_GPU_SEGMENT_CODES * RSRC_GPU_SEGMENT_COLS)
/* The most tokens that share a reading. Their sums of a chunk have 20.7 KB: four blocks fit a
 * multiprocessor of 100 KB. */
#define RSRC_GPU_SEGMENT_TOKENS 4u
#define RSRC_GPU_SEGMENT_MAX_WARPS 8u
#define RSRC_GPU_SEGMENT_REGISTERS 64u

/* Packs weights as codes; `out` has matvec->weight_bytes bytes.
 *
 * A code is the sum of (weight + 1) 3^i over the four columns i of a segment. For every 32 rows,
 * for every chunk, for each of its two loads, lane l has 16 bytes, the codes of row l: byte j of
 * load i is the chunk's segment 16 i + j. Rows and columns beyond the matrix have weights of 0.
 */
void rsrc_pack_gpu_segment(const struct rsr_matrix *matrix, const struct rsr_matvec *matvec,
                           uint8_t *out);

#endif
