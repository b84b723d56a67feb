/* dot_panel.h - `dot` over the codes of `lut`, for batches: one stored copy serves both regimes.
 * Private to the files of this kernel.
 *
 * For one vector of rows at a time, codes are unpacked into a panel in the second-level cache:
 * bytes u, with four columns of a row side by side (a quad), as the integer dot product needs them.
 * Then all tokens of a group use the panel, a few at a time. Ternary u = w + 1, or w itself if
 * products take signed bytes; signs u = (w + 1) / 2, bits u = w; y = alpha * sum of u x + beta *
 * sum of x as in lower_dot.c.
 *
 *   codes of lut ── kernel/lut_unpack.c ──> panel ─┐
 *                                                  ├─ dot_panel_products.c ──> sums, int32
 *   activations, a few tokens at a time ───────────┘                            │
 *   results <── dot_panel_sums.c: rows in order, corrected, scaled ─────────────┘
 *
 * If groups of columns have scales, all of this is done for one group after another, and
 * dot_panel_groups.c stands between sums and results. lower_dot_panel.c has the loops around them.
 * Unpacking a column costs about six instructions per vector. A product costs one instruction per
 * token and quarter of a vector, so 128 tokens hide the unpacking. With VBMI, unpacking costs three
 * instructions, and products hide most of them at once (dot_panel_fields.c, where panels and
 * activations have another order). Scratch memory has the panel; the sums of the group's tokens,
 * since rows may be longer than the panel; a last, short vector; activations in the order of
 * dot_panel_fields.c; and what dot_panel_groups.c needs.
 */
#ifndef RSRC_KERNELS_DOT_PANEL_DOT_PANEL_H
#define RSRC_KERNELS_DOT_PANEL_DOT_PANEL_H

#include "kernel/lut_unpack.h"
#include "kernel/token_tiles.h"

#define RSRC_PANEL_QUARTERS 4u /* vectors of int32 sums of a vector of rows */
#define RSRC_PANEL_GROUP_TOKENS 128u
#define RSRC_PANEL_TILE_QUADS 16u /* rows of a matrix register */

struct rsrc_panel_machine {
    struct rsrc_machine head;
    enum rsr_kop_kind product; /* an integer dot product, or MADD_U8S8 and its widening */
    uint32_t n_tokens;         /* largest tile whose sums fit the registers */
    uint32_t first_tokens;     /* largest tile that is multiplied while fields are unpacked; 0:
                               unpacking comes first */
    uint32_t matrix_tokens;    /* tokens that come first, in matrix registers; 0: there are none */
};
/* Registers and sizes for dot_panel_fields.c. */
struct rsrc_panel_fields {
    uint32_t whole_macros; /* the last macro step may lack codes */
    uint32_t n_names;      /* makes register names unique */
    uint32_t ordered_at;   /* scratch memory: activations of the group's tokens, in order */
    uint16_t ordered_step; /* i64: distance of two tokens in bytes */
    uint16_t whole_end;    /* codes of the block, with first_macro and end_macro */
    uint16_t order[3], tables[2][2], mirrors[2], mask; /* constants */
};

struct rsrc_panel {
    struct rsrc_lut_unpack codes; /* its quads are the panel's */
    struct rsrc_frame frame;
    const struct rsrc_panel_machine *machine;
    struct rsrc_lut_layout layout;
    bool has_fields; /* else codes are unpacked a column at a time, by kernel/lut_unpack.c */
    bool is_packed;  /* the panel has packed digits (fields, on machines with first_tokens) */
    bool has_groups; /* groups of columns have scales */
    uint32_t cols;   /* of a group: without scales, all */
    uint32_t group_tokens;
    uint32_t macro_bytes; /* of the panel */
    uint32_t block_macros;
    bool starts_at_zero;          /* there is only one block, so there are no earlier sums */
    int64_t sums_at, tail_at;     /* scratch memory; the panel is at 0 */
    int64_t totals_at, x_sums_at; /* the same, with groups: float totals as sums lie; int32 sums of
                                     x, negated, token after token, a group each */
    /* Registers, i64. */
    uint16_t row; /* first row of the vector */
    uint16_t n_quads, block_x;
    uint16_t group, head_at, group_x; /* with groups: the current one, its first byte of codes, and
                                         the distance of its activations from the first group's */
    uint16_t first_token, end_token;
    uint16_t first_tile; /* its tokens; RSR_NO_KREG: unpacking comes first */
    struct rsrc_token_tiles tiles;
    struct rsrc_panel_fields fields;
};

/* A tile of tokens that use the panel together. */
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
/* Bytes of a macro step's packed digits; bytes of a token's activations in that order. */
uint32_t rsrc_panel_packed_bytes(const struct rsrc_lut_layout *layout);
uint32_t rsrc_panel_ordered_bytes(const struct rsrc_panel *panel);
/* The same of a group, which begins at a multiple of them. */
uint32_t rsrc_panel_ordered_group_bytes(const struct rsrc_panel *panel);
void rsrc_panel_pack_fields(struct rsrc_arena *arena, const struct rsrc_panel *panel,
                            struct rsr_blob *index);
void rsrc_panel_load_fields(struct rsrc_panel *panel);
/* Copies the group's activations to scratch memory, in the order of fields. */
void rsrc_panel_order_activations(struct rsrc_panel *panel);
/* The place there of the token in register `token`. */
struct rsrc_frame_token rsrc_panel_ordered(struct rsrc_panel *panel, uint16_t token,
                                           const char *suffix);
/* Adds the products of the tile and the block's packed digits. */
void rsrc_panel_multiply_packed(struct rsrc_panel *panel, const struct rsrc_panel_tile *tile);
/* Unpacks the codes of a block to the panel; with first_tile, multiplies that tile meanwhile. */
void rsrc_panel_unpack_fields(struct rsrc_panel *panel);

/* ---- dot_panel_products.c -------------------------------------------------------------------- */

/* Stores four columns into the panel: `put` of struct rsrc_lut_unpack. */
void rsrc_panel_put_quad(struct rsrc_lut_unpack *codes, const uint16_t columns[4], uint32_t q,
                         uint16_t to);
/* Begins a tile of tokens from register `token` on, without defining its accumulators. */
struct rsrc_panel_tile rsrc_panel_tile(struct rsrc_panel *panel, uint32_t n_tokens, uint16_t token,
                                       const char *suffix);
/* Sets the first values of the tile's accumulators. */
void rsrc_panel_begin_sums(struct rsrc_panel *panel, const struct rsrc_panel_tile *tile);
void rsrc_panel_store_sums(struct rsrc_panel *panel, const struct rsrc_panel_tile *tile);
/* Adds the products of quad `quad` + q of the block, whose weights are given. */
void rsrc_panel_add_products(struct rsrc_panel *panel, const struct rsrc_panel_tile *tile,
                             const uint16_t weights[RSRC_PANEL_QUARTERS], uint16_t quad, uint32_t q,
                             const char *suffix);
/* Multiplies the rest of the group's tokens by the panel. */
void rsrc_panel_multiply(struct rsrc_panel *panel);

/* ---- dot_panel_groups.c ---------------------------------------------------------------------- */

uint64_t rsrc_panel_x_sums_bytes(const struct rsrc_panel *panel);
/* Sums the activations of the tokens, group by group. */
void rsrc_panel_sum_x(struct rsrc_panel *panel);
void rsrc_panel_clear_totals(struct rsrc_panel *panel);
/* The sums with which the group begins for a token. */
uint16_t rsrc_panel_first_sums(struct rsrc_panel *panel, uint16_t token);
/* Adds the group's sums of all tokens, scaled, to their totals. */
void rsrc_panel_scale_group(struct rsrc_panel *panel);

/* ---- dot_panel_sums.c ------------------------------------------------------------------------ */

void rsrc_panel_clear_sums(struct rsrc_panel *panel);
/* The register of a token's offset within the sums. */
uint16_t rsrc_panel_sums_at(struct rsrc_panel *panel, uint16_t token, const char *suffix);
/* The address of a quarter of the sums of token `t`, counted from the token at `sums_at`. */
struct rsrc_address rsrc_panel_sums(const struct rsrc_panel *panel, uint16_t sums_at, uint32_t t,
                                    uint32_t quarter);
/* Brings sums into the order of rows: four consecutive runs. Names of registers end with
 * `suffix`. */
void rsrc_panel_sort_rows(struct rsrc_panel *panel, const uint16_t quarters[RSRC_PANEL_QUARTERS],
                          const char *suffix, uint16_t runs[RSRC_PANEL_QUARTERS]);
void rsrc_panel_store_results(struct rsrc_panel *panel);

#endif
