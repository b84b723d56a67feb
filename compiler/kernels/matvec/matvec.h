/* matvec.h - the kernels of GPUs that multiply codes, `dot` and `mma`: the order of their codes,
 * and their constants for a plan. Both read codes of 2 bits or of base-3 digits, in one order. */
#ifndef RSRC_KERNELS_MATVEC_MATVEC_H
#define RSRC_KERNELS_MATVEC_MATVEC_H

#include "kernel/kernel.h"

/* The most columns: tensor cores sum up products of a quarter of them with codes shifted by six
 * bits, in 32 bits. */
#define RSRC_MATVEC_MAX_COLS 262144u
#define RSRC_MATVEC_MAX_WARPS 8u  /* of a block */
#define RSRC_MATVEC_DOT_TOKENS 4u /* the most that share a reading: accumulators */
#define RSRC_MATVEC_MMA_TOKENS 8u /* the columns of an mma */

/* What a kernel's id says. */
struct rsrc_matvec_kind {
    enum rsr_gpu_codes codes;
    enum rsr_gpu_product product;
};
struct rsrc_matvec_kind rsrc_matvec_kind(enum rsr_kernel_id kernel);

/* Columns of a step: 32 for every group of four codes in a word. */
static inline uint32_t rsrc_matvec_groups(enum rsr_gpu_codes codes) {
    return codes == RSR_GPU_BITS2 ? 4 : 5;
}
static inline uint32_t rsrc_matvec_step_cols(enum rsr_gpu_codes codes) {
    return 32 * rsrc_matvec_groups(codes);
}

/* The constants of a plan that has passed rsrc_fit_plan(): warps without rows share the steps of
 * the others. */
struct rsr_matvec rsrc_make_matvec(const struct rsrc_lower_input *input);

/* Sets the functions of a kernel from its other constants. */
void rsrc_set_matvec_functions(struct rsr_matvec *matvec);

/* Packs weights as the codes that cuda/kernels/matvec.cuh reads; `out` has matvec->weight_bytes
 * bytes.
 *
 * Codes are weight + 1. For every 16 rows, for every step, lane l of the warp, with t = l % 4, has
 * 16 bytes: four 32-bit words (little-endian), words 0 and 2 of row l / 4 of the 16, words 1 and 3
 * of row l / 4 + 8. A word has four (2 bits) or five (base 3) groups of four codes each. Byte j of
 * group g of word w of step s belongs to this column, with n columns a step:
 *
 *     s * n + g / 2 * 64 + t * 16 + g % 2 * 8 + w / 2 * 4 + j     g < 4
 *     s * n + 128        + t * 8              + w / 2 * 4 + j     g = 4
 *
 * so that a lane reads 16 consecutive bytes of activations for two groups of all its words, and
 * four lanes read 64. Group g of a word is bits 2g, 2g + 1 of its bytes (2 bits). In base 3, a byte
 * stores a number v as ceil(v * 256 / 243), and group g is the digit of v with weight 3^(4 - g).
 * Columns and rows beyond the matrix have code 0: whatever is read as their activations adds
 * nothing, the sums of such rows are not stored.
 */
void rsrc_pack_matvec(const struct rsr_matrix *matrix, const struct rsr_matvec *matvec,
                      uint8_t *out);

#endif
