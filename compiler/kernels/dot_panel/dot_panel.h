/* dot_panel.h - `dot` over the codes of `lut`, for batches: one stored copy serves both regimes.
 * What its files share; private to them.
 *
 * A vector of rows at a time, codes become a panel in the second-level cache: bytes u with four
 * columns of a row side by side (a quad), as the integer dot product wants them. Then all tokens of a
 * group pass over the panel, a few at a time. Ternary u = w + 1, or w itself where products take signed
 * bytes; signs u = (w + 1) / 2, bits u = w; y = alpha * sum of u x + beta * sum of x as in lower_dot.c.
 *
 *   codes of lut ── kernel/lut_unpack.c ──> panel ─┐
 *                                                  ├─ dot_panel_products.c ──> sums, int32
 *   activations, a few tokens at a time ───────────┘                            │
 *   results <── dot_panel_sums.c: rows in order, corrected, scaled ─────────────┘
 *
 * lower_dot_panel.c has the loops around them. Unpacking a column costs about six instructions a
 * vector and a product one a token and quarter of a vector, so that 128 tokens hide it. Scratch
 * memory: the panel; the sums of the group's tokens, since rows may be longer than the panel; a
 * last, short vector.
 */
#ifndef RSRC_KERNELS_DOT_PANEL_DOT_PANEL_H
#define RSRC_KERNELS_DOT_PANEL_DOT_PANEL_H

#include "kernel/lut_unpack.h"

#define RSRC_PANEL_QUARTERS 4u /* vectors of int32 sums of a vector of rows */
#define RSRC_PANEL_MAX_TOKENS 6u
#define RSRC_PANEL_GROUP_TOKENS 128u
#define RSRC_PANEL_TILE_QUADS 16u /* of a matrix register */

struct rsrc_panel_machine {
    struct rsrc_machine head;
    enum rsr_kop_kind product; /* an integer dot product, or MADD_U8S8 and what widens it */
    uint32_t n_tokens;         /* whose sums fit the registers */
    uint32_t matrix_tokens;    /* that go first, in matrix registers; 0: there are none */
};
/* The layout of the codes that lut stores for the target. */
struct rsrc_lut_layout rsrc_panel_codes(const struct rsr_spec *spec, enum rsr_alphabet alphabet,
                                        uint32_t rows, uint32_t cols);

struct rsrc_panel {
    struct rsrc_lut_unpack codes; /* its quads are the panel's */
    struct rsrc_frame frame;
    const struct rsrc_panel_machine *machine;
    struct rsrc_lut_layout layout;
    uint32_t cols;
    uint32_t block_macros;
    int64_t sums_at, tail_at; /* scratch memory; the panel is at 0 */
    /* Registers, i64. */
    uint16_t row; /* first row of the vector */
    uint16_t n_quads, block_x;
    uint16_t first_token, end_token;
};

/* The panel holds w, and sums need no correction. */
static inline bool rsrc_panel_has_weights(const struct rsrc_panel *panel) {
    return panel->machine->product == RSR_KOP_DOT_S8S8 && panel->layout.alphabet == RSR_TERNARY;
}

/* Rows of a vector of int32 sums. */
static inline uint32_t rsrc_panel_lanes(const struct rsrc_panel *panel) {
    return panel->layout.vector_rows / 4;
}

/* ---- dot_panel_products.c -------------------------------------------------------------------- */

/* The panel's part of four columns: struct rsrc_lut_unpack. */
void rsrc_panel_put_quad(struct rsrc_lut_unpack *codes, const uint16_t columns[4], uint32_t q,
                         uint16_t to);
/* All tokens of the group over the panel. */
void rsrc_panel_multiply(struct rsrc_panel *panel);

/* ---- dot_panel_sums.c ------------------------------------------------------------------------ */

void rsrc_panel_clear_sums(struct rsrc_panel *panel);
/* The register of a token's offset within the sums. */
uint16_t rsrc_panel_sums_at(struct rsrc_panel *panel, uint16_t token, const char *suffix);
/* A quarter of the sums of token `t` from the one at `sums_at` on. */
struct rsrc_address rsrc_panel_sums(const struct rsrc_panel *panel, uint16_t sums_at, uint32_t t,
                                    uint32_t quarter);
void rsrc_panel_store_results(struct rsrc_panel *panel);

#endif
