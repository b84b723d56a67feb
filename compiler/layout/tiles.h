/* tiles.h - which tiles of rows and tokens the kernel of a plan can have.
 *
 * Planning takes one of them, lowering makes the plan's and refuses any other.
 */
#ifndef RSRC_LAYOUT_TILES_H
#define RSRC_LAYOUT_TILES_H

#include "ir.h"

/* Changes tile_rows and token_tile to the nearest that the plan's kernel of `rows` rows can have:
 * whole units of rows, at least one and no more than hold the matrix; tokens as registers hold
 * them. A plan that the target has no kernel for stays as it is. */
void rsrc_fit_tiles(const struct rsr_spec *spec, enum rsr_input input, uint32_t rows,
                    struct rsr_regime_plan *plan);

#endif
