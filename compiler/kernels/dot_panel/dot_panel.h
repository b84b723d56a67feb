/* dot_panel.h - `dot` over the codes of `lut`, for batches: one stored copy serves both regimes.
 * What its files share; private to them.
 *
 * A vector of rows at a time, codes become a panel in the second-level cache: bytes u with four
 * columns of a row side by side (a quad), as the integer dot product wants them. Then all tokens of
 * a group pass over the panel, a few at a time. Ternary u = w + 1, or w itself where products take
 * signed bytes; signs u = (w + 1) / 2, bits u = w; y = alpha * sum of u x + beta * sum of x as in
 * lower_dot.c.
 *
 *   codes of lut ── kernel/lut_unpack.c ──> panel ─┐
 *                                                  ├─ dot_panel_products.c ──> sums, int32
 *   activations, a few tokens at a time ───────────┘                            │
 *   results <── dot_panel_sums.c: rows in order, corrected, scaled ─────────────┘
 *
 * lower_dot_panel.c has the loops around them. Unpacking a column costs about six instructions a
 * vector and a product one a token and quarter of a vector, so that 128 tokens hide it; with VBMI
 * three, most of which products hide at once (dot_panel_fields.c, where panels and activations have
 * another order). Scratch memory: the panel; the sums of the group's tokens, since rows may be
 * longer than the panel; a last, short vector; activations in that order.
 */
#ifndef RSRC_KERNELS_DOT_PANEL_DOT_PANEL_H
#define RSRC_KERNELS_DOT_PANEL_DOT_PANEL_H

#include "kernel/lut_unpack.h"
#include "kernel/token_tiles.h"

#define RSRC_PANEL_QUARTERS 4u /* vectors of int32 sums of a vector of rows */
#define RSRC_PANEL_GROUP_TOKENS 128u
#define RSRC_PANEL_TILE_QUADS 16u /* of a matrix register */

struct rsrc_panel_machine {
    struct rsrc_machine head;
    enum rsr_kop_kind product; /* an integer dot product, or MADD_U8S8 and what widens it */
    uint32_t n_tokens;         /* of a tile, at most: whose sums fit the registers */
    uint32_t first_tokens;  /* of a tile that is multiplied while fields are unpacked, at most; 0:
                               unpacking goes first */
    uint32_t matrix_tokens; /* that go first, in matrix registers; 0: there are none */
};
/* The layout of the codes that lut stores for the target. */
struct rsrc_lut_layout rsrc_panel_codes(const struct rsr_spec *spec, enum rsr_alphabet alphabet,
                                        uint32_t rows, uint32_t cols);

/* Registers and sizes of dot_panel_fields.c. */
struct rsrc_panel_fields {
    uint32_t whole_macros; /* the last macro step may lack codes */
    uint32_t n_names;      /* makes register names unique */
    uint32_t ordered_at;   /* scratch memory: activations of the group's tokens, in order */
    uint16_t ordered_step; /* i64: bytes from one token's to the next one's */
    uint16_t whole_end;    /* of the block, as first_macro and end_macro */
    uint16_t order[3], tables[2][2], mirrors[2], mask; /* constants */
};

struct rsrc_panel {
    struct rsrc_lut_unpack codes; /* its quads are the panel's */
    struct rsrc_frame frame;
    const struct rsrc_panel_machine *machine;
    struct rsrc_lut_layout layout;
    bool has_fields; /* else codes are unpacked a column at a time, by kernel/lut_unpack.c */
    bool is_packed;  /* the panel has packed digits: fields, of machines with first_tokens */
    uint32_t cols;
    uint32_t group_tokens;
    uint32_t macro_bytes; /* of the panel */
    uint32_t block_macros;
    bool starts_at_zero;      /* there is one block, and no other sums to add to */
    int64_t sums_at, tail_at; /* scratch memory; the panel is at 0 */
    /* Registers, i64. */
    uint16_t row; /* first row of the vector */
    uint16_t n_quads, block_x;
    uint16_t first_token, end_token;
    uint16_t first_tile; /* tokens of it; RSR_NO_KREG: unpacking goes first */
    struct rsrc_token_tiles tiles;
    struct rsrc_panel_fields fields;
};

/* A tile of tokens that pass over the panel together. */
struct rsrc_panel_tile {
    uint32_t n_tokens;
    const char *suffix; /* of register names */
    struct rsrc_frame_token tokens[RSRC_MAX_TILE_TOKENS];
    uint16_t sums_at; /* of the first token */
    uint16_t acc[RSRC_MAX_TILE_TOKENS][RSRC_PANEL_QUARTERS];
};

/* The panel holds w, and sums need no correction. */
static inline bool rsrc_panel_has_weights(const struct rsrc_panel *panel) {
    return panel->machine->product == RSR_KOP_DOT_S8S8 && panel->layout.alphabet == RSR_TERNARY;
}

/* Rows of a vector of int32 sums. */
static inline uint32_t rsrc_panel_lanes(const struct rsrc_panel *panel) {
    return panel->layout.vector_rows / 4;
}

/* ---- dot_panel_fields.c ---------------------------------------------------------------------- */

/* Whether all digits of a code are looked up at once. */
bool rsrc_panel_has_fields(const struct rsrc_lut_layout *layout);
uint64_t rsrc_panel_fields_bytes(const struct rsrc_lut_layout *layout);
/* Of packed digits, a macro step's; of a token's activations in order, all. */
uint32_t rsrc_panel_packed_bytes(const struct rsrc_lut_layout *layout);
uint32_t rsrc_panel_ordered_bytes(const struct rsrc_panel *panel);
void rsrc_panel_pack_fields(struct rsrc_arena *arena, const struct rsrc_panel *panel,
                            struct rsr_blob *index);
void rsrc_panel_load_fields(struct rsrc_panel *panel);
/* The group's activations to scratch memory, in the order in which fields come. */
void rsrc_panel_order_activations(struct rsrc_panel *panel);
/* Where those of the token in register `token` are. */
struct rsrc_frame_token rsrc_panel_ordered(struct rsrc_panel *panel, uint16_t token,
                                           const char *suffix);
/* Adds the products of the tile and the block's packed digits. */
void rsrc_panel_multiply_packed(struct rsrc_panel *panel, const struct rsrc_panel_tile *tile);
/* The codes of a block to the panel; with first_tile its tokens are multiplied on the way. */
void rsrc_panel_unpack_fields(struct rsrc_panel *panel);

/* ---- dot_panel_products.c -------------------------------------------------------------------- */

/* The panel's part of four columns: struct rsrc_lut_unpack. */
void rsrc_panel_put_quad(struct rsrc_lut_unpack *codes, const uint16_t columns[4], uint32_t q,
                         uint16_t to);
/* A tile of tokens from register `token` on, its accumulators not yet defined. */
struct rsrc_panel_tile rsrc_panel_tile(struct rsrc_panel *panel, uint32_t n_tokens, uint16_t token,
                                       const char *suffix);
/* What the tile's accumulators begin with. */
void rsrc_panel_begin_sums(struct rsrc_panel *panel, const struct rsrc_panel_tile *tile);
void rsrc_panel_store_sums(struct rsrc_panel *panel, const struct rsrc_panel_tile *tile);
/* Adds the products of quad `quad` + q of the block, whose weights are given. */
void rsrc_panel_add_products(struct rsrc_panel *panel, const struct rsrc_panel_tile *tile,
                             const uint16_t weights[RSRC_PANEL_QUARTERS], uint16_t quad, uint32_t q,
                             const char *suffix);
/* The tokens of the group that are left over the panel. */
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
