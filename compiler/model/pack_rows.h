/* pack_rows.h - a matrix of bfloat16 without loss in 12 bits a weight; RSR_DTYPE_BF16_PACKED of
 * rsr_abi.h has the format.
 */
#ifndef RSRC_MODEL_PACK_ROWS_H
#define RSRC_MODEL_PACK_ROWS_H

#include "ir.h"

/* Whether a matrix [rows][cols] can be packed; if not, *reason says why. */
bool rsrc_can_pack(const struct rsr_tensor *tensor, const char **reason);

/* Reads the matrix: finds the high bytes of every row and the exact size; the arena gets what
 * comes before the rows. Where it would be more than `most_bytes`, *plan says so and is not
 * packed. */
void rsrc_plan_packing(struct rsrc_arena *arena, const struct rsr_tensor *tensor,
                       uint64_t most_bytes, struct rsr_packing *plan);

/* Packs rows first .. first + n - 1 to `out`, rsrc_packed_row_bytes() each. */
uint64_t rsrc_packed_row_bytes(const struct rsr_tensor *tensor);
void rsrc_pack_rows(const struct rsr_tensor *tensor, const struct rsr_packing *plan, uint32_t first,
                    uint32_t n, uint8_t *out);

#endif
