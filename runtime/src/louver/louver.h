/* louver.h - what the files of the KV index share. rsr_louver.h says what it does.
 *
 * A query works on views of pages: 64 keys and values as they lie in the KV cache, and a sidecar
 * with the page's sketches and bounds. The same code thus serves the pages of rsr_louver.h and
 * those of an engine; no key is copied. A page without a sidecar (the open one, or one that a
 * window cuts) is scored key by key.
 *
 *     louver_pass_begin   views, thresholds and queries; scratch is cut
 *     louver_pass_run     masks of the keys that each head attends to, then attention over them
 *     louver_certify      what was left out
 */
#ifndef RSR_LOUVER_INTERNAL_H
#define RSR_LOUVER_INTERNAL_H

#include <math.h>
#include <stdatomic.h>

#include "host/fetch_line.h"
#include "host/stack.h"
#include "kv/kv_rows.h"
#include "ops/ops.h"
#include "rsr_louver.h"
#include "sketch/sketch.h"

#define LOUVER_MAX_HEADS 64u
#define LOUVER_MAX_DIM 256u
#define LOUVER_SAMPLE_KEYS 512u

_Static_assert(LOUVER_MAX_DIM <= RSR_KV_MAX_LOSS_DIM, "losses are kept of all keys");
_Static_assert(RSR_PAGE_TOKENS == RSR_SKETCH_VECTORS && RSR_PAGE_TOKENS == 64,
               "a page is a block, and a mask has a bit for each key");

/* What all pages of an index have in common. */
struct louver_setup {
    uint32_t head_dim, row_floats; /* as in kv */
    struct rsr_kv_format kv;
    float scale;
    struct rsr_sketch_shape shape;
    const struct rsr_sketch_kernel *kernel;
    const struct rsr_ops *ops;
};

/* What sealing a page makes of it; the sketch block follows at LOUVER_SKETCH_AT. Norms are rounded
 * up. */
struct louver_norms {
    double key, value;       /* largest |k| and |v| */
    struct rsr_kv_loss loss; /* largest of what storing lost */
};
struct louver_sidecar {
    struct louver_norms norms;
    bool usable; /* false: a key or value is not finite */
};
#define LOUVER_SKETCH_AT 64u

/* A view of a page; owns nothing. */
struct louver_page {
    struct rsr_kv_rows rows; /* n_keys of them, readable up to the next multiple of 4 */
    uint32_t n_keys;
    const struct louver_sidecar *sidecar; /* of 64 keys; NULL: none */
};

/* The K largest of the numbers it was given, the least first. */
struct louver_best {
    double *heap;
    uint32_t *keys; /* whose numbers they are; NULL: that is not kept */
    uint32_t n, k;
};

/* One query head on its way. Arrays [keys] have 64 elements a page. */
struct louver_head_state {
    struct rsr_sketch_query sketch;
    double threshold; /* a key whose bound is below it is left out */
    uint64_t *masks;  /* [pages]: keys that are attended to */
    uint32_t n_attended;
    const float *q; /* [row_floats] */
    float *out;     /* [row_floats]: attention, not yet divided by state.sum */
    struct rsr_attend_state state;
    /* topk and budget */
    double *uppers;            /* [keys]: of products of keys in the masks; NULL: not wanted */
    struct louver_best best;   /* of lower bounds, [keys] */
    struct louver_best sample; /* of those of a sample of pages, [keys] */
    double *joined;            /* [keys]: a heap of what all members found */
    /* mass: upper bound of the sum of exp(scale q.k - reference) over keys left out, and lower
     * bound of that over keys attended to */
    float *x;                        /* [keys] */
    struct rsr_sketch_frame *frames; /* [pages], of those with a sidecar */
    double skipped, attended;
    float reference;
    bool gave_up;       /* nothing more is left out */
    uint32_t best_page; /* attended to, whatever happens; n_pages: there is none with a sidecar */
    double least_bound; /* of a page */
    double budget;      /* what may be left out in all */
    double cut;         /* everything left out has x below it */
};

/* A page whose second plane is about to be read: the heads for which something of it may be
 * relevant, and the keys. */
struct louver_candidates {
    uint32_t page;
    uint64_t forced; /* louver_forced_keys() */
    uint32_t n, heads[LOUVER_MAX_HEADS];
    struct rsr_sketch_frame frames[LOUVER_MAX_HEADS];
    uint64_t keys[LOUVER_MAX_HEADS];
};

/* Keys that the sketches left to a head, to be scored together. Their rows lie far apart, and
 * whoever asks for one waits until its address is translated: the waits for a batch are one. */
struct louver_survivor {
    uint32_t page;
    uint8_t head, key;
};
#define LOUVER_BATCH 16u
struct louver_batch {
    uint32_t n;
    struct louver_survivor keys[LOUVER_BATCH];
};

/* Threads that run one pass together. Each has a struct louver_pass of its own, a span of the pages
 * and some of the heads: arrays of pages are shared, and what is of a whole head is in the first
 * member's pass. What the pass finds does not depend on how many they are. */
struct louver_team {
    uint32_t n, number; /* of members; this one's */
    /* Returns when all members are here; what they wrote before can be read then. */
    void (*meet)(void *user);
    struct louver_pass *(*member)(void *user, uint32_t number);
    void *user;
};

struct louver_pass {
    const struct louver_setup *setup;
    struct louver_team team;
    struct louver_pass *first; /* the first member's; itself, where there is one member */
    uint32_t begin, end;       /* this member's span of the pages */
    struct louver_page *pages;
    struct louver_norms *norms; /* [pages]: of pages with a sidecar, its own; of others, |k| */
    uint32_t n_pages, n_keys, n_heads;
    rsr_louver_threshold threshold;
    const double *values;                                     /* as in louver_pass_begin */
    const struct rsr_sketch_query *queries[LOUVER_MAX_HEADS]; /* of the heads */
    float *page_out;                                          /* [row_floats] */
    /* Of a member that is not the first: what heads got of each page, [end - begin][n_heads] */
    float *kept_out; /* ... [row_floats] */
    struct rsr_attend_state *kept_states;
    double *sampled; /* [LOUVER_SAMPLE_KEYS], thresholds from a sample: products of one head */
    uint64_t closed; /* heads that are not visited now: a bit each */
    struct louver_candidates sieved[2]; /* of the last two pages that were visited, in turn */
    uint32_t n_visits;
    struct louver_batch found,
        fetched; /* survivors, and those before them, whose keys were asked for */
    struct louver_head_state heads[LOUVER_MAX_HEADS];
    rsr_louver_stats stats;
    struct louver_norms storage; /* largest of all keys that are seen; zeros for RSR_KV_F32 */
};

/* The number of a page's first key; a window may cut the first page. */
static inline uint32_t louver_first_key(const struct louver_pass *pass, uint32_t page) {
    return page == 0 ? 0 : pass->pages[0].n_keys + (page - 1) * RSR_PAGE_TOKENS;
}

static inline uint64_t louver_all_keys(uint32_t n_keys) {
    return n_keys < 64 ? (UINT64_C(1) << n_keys) - 1 : UINT64_MAX;
}

/* How many; without the processor's instruction compilers call their own library, which modules do
 * without. */
static inline uint32_t louver_count_keys(uint64_t mask) {
    mask -= mask >> 1 & UINT64_C(0x5555555555555555);
    mask = (mask & UINT64_C(0x3333333333333333)) + (mask >> 2 & UINT64_C(0x3333333333333333));
    mask = (mask + (mask >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f);
    return (uint32_t)(mask * UINT64_C(0x0101010101010101) >> 56);
}

/* Row number j of keys or values is read soon. */
RSR_FETCHER void louver_fetch_row(const struct louver_setup *setup, const void *rows, uint32_t j) {
    const char *row = (const char *)rows + j * setup->kv.row_bytes;
    for (size_t at = 0; at < setup->kv.row_bytes; at += 64)
        rsr_fetch_line(row + at, setup->kernel->far);
}

static inline struct louver_pass *louver_member(const struct louver_pass *pass, uint32_t number) {
    return pass->team.n > 1 ? pass->team.member(pass->team.user, number) : pass->first;
}

/* Waits for the other members. */
static inline void louver_meet(const struct louver_pass *pass) {
    if (pass->team.n > 1)
        pass->team.meet(pass->team.user);
}

/* Whether this member does what is to be done once for head h. */
static inline bool louver_has_head(const struct louver_pass *pass, uint32_t h) {
    return h % pass->team.n == pass->team.number;
}

static inline const void *louver_sketch(const struct louver_page *page) {
    return (const char *)page->sidecar + LOUVER_SKETCH_AT;
}

/* ---- louver_page.c ---- */

/* scale 0: 1 / sqrt(head_dim). */
struct louver_setup louver_setup_of(enum rsr_kv_type type, uint32_t head_dim, uint32_t n_planes,
                                    float scale, const struct rsr_ops *ops, uint64_t cpu_features);

/* Of one sidecar, a multiple of 64; its memory is aligned to 64 bytes. */
uint32_t louver_sidecar_bytes(const struct louver_setup *setup);
void louver_seal(const struct louver_setup *setup, struct louver_sidecar *sidecar,
                 const struct rsr_kv_rows *rows);

/* Row number j of keys or values as float32: itself, or what it widens to in `buffer`,
 * [row_floats]. */
const float *louver_row(const struct louver_setup *setup, const void *rows, uint32_t j,
                        float *buffer);

/* The larger of two; a NaN stays. */
static inline double louver_larger(double x, double largest) {
    return x <= largest || isnan(largest) ? largest : x;
}

/* Raises *most to *loss where that is larger, and norms->loss to what storing n rows lost. A NaN
 * stays. */
void louver_raise_loss(struct rsr_kv_loss *most, const struct rsr_kv_loss *loss);
void louver_add_losses(struct louver_norms *norms, const struct rsr_kv_rows *rows, uint32_t n);

/* |v| of a row, rounded up. */
double louver_row_norm(const float *row, uint32_t n);
/* The largest of n stored rows: at least that, and hardly more; NaN if one is. */
double louver_rows_norm(const struct louver_setup *setup, const void *rows, uint32_t n);

/* z[j] = scale * dot(q, k[j]) for the keys in the mask: the float operations of attention. Others
 * are left alone. */
void louver_scores(const struct louver_setup *setup, const struct louver_page *page, const float *q,
                   uint64_t mask, float *z);
/* How far such a z is from the real number, at most. */
double louver_score_error(const struct louver_setup *setup, double q_norm, double key_norm);

/* ---- louver_threshold.c ---- */

/* Refuses kinds and numbers that rsr_louver.h does not allow. */
RSR_NODISCARD rsr_status louver_check_threshold(const rsr_louver_threshold *threshold,
                                                rsr_error *err);
/* The other way round, to the last bit; in at most 41 bytes. */
void louver_write_rule(const rsr_louver_threshold *threshold, char *text, size_t capacity);
/* RULE of rsr_louver_threshold_parse; *text moves after it. */
RSR_NODISCARD rsr_status louver_parse_rule(const char **text, rsr_louver_threshold *threshold,
                                           rsr_error *err);
/* What follows it. min_keys: where N of ,min=N goes; NULL: there is no such option. */
RSR_NODISCARD rsr_status louver_parse_options(const char *text, rsr_louver_threshold *threshold,
                                              uint32_t *min_keys, rsr_error *err);

/* ---- louver_pass.c ---- */

/* Memory of each member's pass, 64-byte aligned; UINT64_MAX: too large. */
uint64_t louver_pass_bytes(const struct louver_setup *setup, rsr_louver_kind kind, uint32_t n_heads,
                           uint32_t n_pages, uint32_t n_members);
/* Fills *pass. Sidecars that are not usable are struck from `pages`. q is finite, [n_heads] rows
 * q_stride floats apart; `values`, if not NULL, has a T a head. team NULL: the pass is run by
 * one thread; else by a team, of which this is the first member's. */
void louver_pass_begin(struct louver_pass *pass, const struct louver_setup *setup,
                       struct louver_page *pages, uint32_t n_pages,
                       const rsr_louver_threshold *threshold, const double *values, const float *q,
                       size_t q_stride, uint32_t n_heads, const struct louver_team *team,
                       void *memory);
/* The pass of another member of the team, after the first one's has begun; it may run already. */
void louver_pass_join(struct louver_pass *pass, struct louver_pass *first,
                      const struct louver_team *team, void *memory);
/* All members call it. What heads got is in the first's pass, for who has the head
 * (louver_has_head) to read; statistics are each member's own. */
void louver_pass_run(struct louver_pass *pass);
/* Notes the norms of a page; whether it has a sidecar that is usable. Sidecars are far apart in
 * memory: a run looks at one when it is about to read the sketch after it; where it reads no
 * sketch, certificates need the norms all the same. */
bool louver_open_sidecar(struct louver_pass *pass, uint32_t page);
/* The same of all of the member's pages. */
void louver_open_sidecars(struct louver_pass *pass);
/* Of one of them with a sidecar that was opened, and of all, opening them: the frames of all
 * heads. */
void louver_find_frame(struct louver_pass *pass, uint32_t page);
void louver_find_frames(struct louver_pass *pass);
/* Keys of a page that are attended to whatever their products. */
uint64_t louver_forced_keys(const struct louver_pass *pass, uint32_t page);

/* ---- louver_visit.c ---- */

/* q . k lies between `lower` and `upper`; `value` is what float64 says. */
struct louver_product {
    double value, lower, upper;
};
struct louver_product louver_exact_product(const struct louver_setup *setup, const float *q,
                                           const struct louver_page *page, uint32_t key);

/* Into the masks of the heads that are not closed: keys of page p whose products can reach the
 * thresholds. `next`, if not NULL, is visited next. They are there after some more visits, or after
 * louver_end_visits(). */
void louver_visit_page(struct louver_pass *pass, uint32_t p, const struct louver_page *next);
void louver_end_visits(struct louver_pass *pass);
/* All keys of the page for all heads. */
void louver_take_page(struct louver_pass *pass, uint32_t p);

/* ---- louver_sample.c: the threshold of a head from a sample ---- */
double louver_sample_threshold(const struct louver_pass *pass,
                               const struct louver_head_state *head);

/* ---- louver_topk.c: the K best keys ---- */

/* How many topk and budget ask for. */
uint32_t louver_best_keys(const struct louver_pass *pass);
void louver_run_topk(struct louver_pass *pass);
/* A key that a visit found has at least this product. */
void louver_note_lower(struct louver_head_state *head, double lower);
void louver_sort_descending(double *x, uint32_t n);

/* ---- louver_mass.c: every head leaves out what may carry at most EPS of its softmax ---- */
void louver_run_mass(struct louver_pass *pass);

/* ---- louver_attend.c: attention over the keys in the masks, which it counts; all members ---- */
void louver_attend(struct louver_pass *pass);

/* ---- louver_error.c ---- */

/* Notes pass->storage. */
void louver_note_losses(struct louver_pass *pass);

/* What a head got, after louver_pass_run. `out` is its final output. */
void louver_certify(const struct louver_pass *pass, const struct louver_head_state *state,
                    const float *out, rsr_louver_head *head);

/* Upper bounds of exp: y[i] >= exp(x[i]). At most 64 at once. */
void louver_exp_upper(const struct rsr_ops *ops, float *y, const float *x, uint32_t n);
/* At most the sum of exp of n real numbers that are within `error` of z[i] - reference. n <= 64. */
double louver_exp_sum_lower(const struct rsr_ops *ops, const float *z, uint32_t n, float reference,
                            double error);
/* scale * product - reference, rounded up. */
float louver_exponent_up(const struct louver_setup *setup, double product, double reference);

/* ---- louver.c ---- */

/* Refuse n rows of which one is not finite ("key 3 is not finite ..."), and a thread whose
 * floating-point environment would break the bounds. */
RSR_NODISCARD rsr_status louver_check_finite(const float *rows, size_t n, uint32_t head_dim,
                                             const char *what, rsr_error *err);
RSR_NODISCARD rsr_status louver_check_float_mode(rsr_error *err);

/* What sealing a page takes of a stack: its keys widened, 64 KiB, and the sketch in the making, 110
 * KiB. A query takes 40. */
#define LOUVER_STACK_BYTES ((size_t)224 << 10)

/* A page that indexes own, shared by forks. */
struct louver_block {
    atomic_uint references;
    struct louver_shelf *shelf;
    struct rsr_kv_rows rows; /* 64 */
    struct louver_sidecar *sidecar;
};

/* Memory of up to 64 pages: sidecars side by side, for scans to stream. */
struct louver_shelf {
    atomic_uint references;       /* blocks that are in use, and the index that takes from it */
    atomic_uint_least64_t in_use; /* a bit for each block */
    uint32_t n_blocks;
    size_t bytes; /* of the mapping that begins here */
    struct louver_block blocks[];
};

struct rsr_louver {
    struct louver_setup setup;
    struct louver_block **blocks;
    uint32_t n_blocks, capacity_blocks, n_keys;
    struct louver_shelf *shelf;   /* that new blocks come from; NULL: none yet */
    uint32_t n_taken;             /* from shelves, over its life */
    struct rsr_known_stack stack; /* of the thread that uses it */
    void *scratch;                /* of queries, kept for the next one */
    uint64_t scratch_bytes;
};

/* ---- louver_shelf.c ---- */

/* A page with one reference, its rows zero from head_dim on; NULL if there is no memory. */
struct louver_block *louver_take_block(struct rsr_louver *index);
/* May run while another thread takes from the same shelf. NULL is fine. */
void louver_release_block(struct louver_block *block);
/* When the index no longer takes from it. NULL is fine. */
void louver_release_shelf(struct louver_shelf *shelf);

#endif
