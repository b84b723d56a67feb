/* tiles.c - tiles of rows and tokens; see tiles.h. */
#include "layout/tiles.h"

#include "base/round.h"
#include "layout/dot_layout.h"
#include "layout/lut_f32_layout.h"
#include "layout/lut_layout.h"

/* The smallest vector that fold computes tokens in. */
#define MIN_VECTOR_BITS 128u

/* What a kernel can have: units of rows, and tokens. */
struct tiling {
    uint32_t unit_rows;  /* 0: there is no such kernel */
    uint32_t token_tile; /* the nearest to the plan's */
};

/* The largest power of two that neither the plan nor the registers exceed. */
static struct tiling dot_tiling(const struct rsr_spec *spec, uint32_t planned) {
    const uint32_t most = rsrc_find_dot_machine(spec)->max_tokens;
    uint32_t tokens = 1;
    while (tokens * 2 <= planned && tokens * 2 <= most)
        tokens *= 2;
    return (struct tiling){RSRC_DOT_QUAD, tokens};
}

/* Rows come in chunks of a list; columns in blocks, four rows to a byte. */
static struct tiling listed_tiling(const struct rsr_spec *spec, enum rsr_packing packing) {
    const struct rsrc_dot_machine *machine = rsrc_find_listed_machine(spec);
    if (machine == NULL)
        return (struct tiling){0, 1};
    return (struct tiling){packing == RSR_PACKING_ROWS ? RSR_LIST_CHUNK : 4 * machine->vector_bytes,
                           1};
}

/* Neither alphabet nor columns matter to units of rows. */
static struct tiling lut_tiling(const struct rsr_spec *spec, uint32_t rows) {
    struct rsrc_lut_layout layout;
    if (!rsrc_make_lut_layout(spec, RSR_TERNARY, rows, 1, &layout))
        return (struct tiling){0, 1};
    return (struct tiling){layout.unit_vectors * layout.vector_rows, 1};
}

static struct tiling lut_f32_tiling(const struct rsr_spec *spec, uint32_t rows) {
    const struct rsrc_lut_f32_shape shape = {.alphabet = RSR_TERNARY, .rows = rows, .cols = 1};
    struct rsrc_lut_f32_layout layout;
    if (!rsrc_make_lut_f32_layout(spec, &shape, &layout))
        return (struct tiling){0, 1};
    return (struct tiling){layout.unit_vectors * layout.vector_rows, 1};
}

static struct tiling panel_tiling(const struct rsr_spec *spec, uint32_t rows) {
    struct rsrc_lut_layout layout;
    if (!rsrc_make_lut_layout(spec, RSR_TERNARY, rows, 1, &layout))
        return (struct tiling){0, 1};
    const struct rsrc_panel_machine *machine = rsrc_find_panel_machine(spec, layout.vector_rows);
    if (machine == NULL)
        return (struct tiling){0, 1};
    return (struct tiling){layout.unit_vectors * layout.vector_rows, machine->matrix_tokens != 0
                                                                         ? machine->matrix_tokens
                                                                         : machine->n_tokens};
}

/* The plan's tokens, up to a vector; at least the narrowest vector of the element. One where the
 * plan is for one token or the target has no vectors. */
static struct tiling fold_tiling(const struct rsr_spec *spec, enum rsr_input input,
                                 const struct rsr_regime_plan *plan) {
    const uint32_t elem_bits = input == RSR_INPUT_I8 ? 16 : 32;
    if (spec->vector_bits < MIN_VECTOR_BITS || plan->token_tile <= 1)
        return (struct tiling){plan->k, 1};
    uint32_t lanes = MIN_VECTOR_BITS / elem_bits;
    while (lanes < plan->token_tile && lanes * 2 * elem_bits <= spec->vector_bits)
        lanes *= 2;
    return (struct tiling){plan->k, lanes};
}

static struct tiling find_tiling(const struct rsr_spec *spec, enum rsr_input input, uint32_t rows,
                                 const struct rsr_regime_plan *plan) {
    switch (plan->variant) {
    case RSR_VARIANT_SCATTER:
        return (struct tiling){plan->k, 1};
    case RSR_VARIANT_FOLD:
        return fold_tiling(spec, input, plan);
    case RSR_VARIANT_LUT:
        return input == RSR_INPUT_F32 ? lut_f32_tiling(spec, rows) : lut_tiling(spec, rows);
    case RSR_VARIANT_DOT:
        return plan->packing == RSR_PACKING_PLANES ? dot_tiling(spec, plan->token_tile)
               : plan->packing == RSR_PACKING_LUT  ? panel_tiling(spec, rows)
                                                   : listed_tiling(spec, plan->packing);
    case RSR_VARIANT_COUNT:
        break;
    }
    return (struct tiling){0, 1};
}

void rsrc_fit_tiles(const struct rsr_spec *spec, enum rsr_input input, uint32_t rows,
                    struct rsr_regime_plan *plan) {
    const struct tiling tiling = find_tiling(spec, input, rows, plan);
    if (tiling.unit_rows == 0)
        return;
    const uint32_t n_units = rsrc_divide_up(rows, tiling.unit_rows);
    const uint32_t wanted = rsrc_divide_up(plan->tile_rows, tiling.unit_rows);
    plan->tile_rows = (wanted == 0 ? 1 : wanted < n_units ? wanted : n_units) * tiling.unit_rows;
    plan->token_tile = tiling.token_tile;
}
