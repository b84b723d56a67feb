/* louver.h - declarations that the files of the KV index share. rsr_louver.h describes the index.
 *
 * A query works on views of pages: 64 keys and values in place, and a sidecar with the page's
 * sketches and bounds. So this code serves both the pages of rsr_louver.h and those of an engine,
 * without copying keys. A page without a sidecar (the open one, or one that a window cuts) is
 * scored key by key.
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
#include "kv/kv_disk.h"
#include "kv/kv_rows.h"
#include "ops/ops.h"
#include "rsr_louver.h"
#include "sketch/sketch.h"

#define LOUVER_MAX_HEADS 64u
#define LOUVER_MAX_DIM 320u
#define LOUVER_SAMPLE_KEYS 512u

_Static_assert(LOUVER_MAX_DIM <= RSR_KV_MAX_LOSS_DIM, "losses are kept of all keys");
_Static_assert(RSR_PAGE_TOKENS == RSR_SKETCH_VECTORS && RSR_PAGE_TOKENS == 64,
               "a page is a block, and a mask has a bit for each key");

/* Properties that all pages of an index share. */
struct louver_setup {
    uint32_t head_dim, row_floats; /* as in kv */
    struct rsr_kv_format kv;
    float scale;
    bool has_centres; /* of pages' values, which the rule error needs */
    float least_gain; /* that a rotation of a page's keys must promise; 0: all are rotated */
    struct rsr_sketch_shape shape;
    const struct rsr_sketch_kernel *kernel;
    const struct louver_lanes *lanes; /* louver_mass.h */
    const struct rsr_ops *ops;
    struct rsr_kv_disk *disk; /* has the rows; NULL: none does */
};

/* The norms that sealing a page computes; the sketch block follows at LOUVER_SKETCH_AT, and after
 * it the centre of the page's values in bfloat16, [row_floats], if pages have centres. Norms are
 * rounded up, `square` down. */
struct louver_norms {
    double key, value;       /* largest |k| and |v| */
    struct rsr_kv_loss loss; /* largest errors of storing */
    /* 0 without a centre */
    double radius, off; /* largest |v - centre|; |mean of the values - centre| */
    double square;      /* sum of |v - mean of the values|^2 */
};
struct louver_sidecar {
    struct louver_norms norms;
    bool usable;  /* false: a key or value is not finite */
    bool rotated; /* the sketch is that of rotated keys (louver_rotate.c) */
};
#define LOUVER_SKETCH_AT 64u

/* A view of a page; owns nothing. */
struct louver_page {
    struct rsr_kv_rows rows; /* n_keys of them, readable up to the next multiple of 4 */
    uint32_t n_keys;
    const struct louver_sidecar *sidecar; /* of 64 keys; NULL: none */
    bool rotated;                         /* as in the sidecar, once that is open */
};

/* The K largest of the numbers added so far, the smallest first. */
struct louver_best {
    double *heap;
    uint32_t *keys; /* the keys of these numbers; NULL: not kept */
    uint32_t n, k;
};

/* A rotated query, for sketches of rotated keys. */
struct louver_rotated {
    struct rsr_sketch_query *query; /* prepared if the pass has_rotated */
    void *memory;                   /* of the prepared query */
    float *q;                       /* [row_floats] */
    double error;                   /* louver_rotate_query() */
};

/* The state of one query head. Arrays [keys] have 64 elements for each page. */
struct louver_head_state {
    struct rsr_sketch_query sketch;
    const struct rsr_sketch_query *queries[2]; /* for sketches of keys, and of rotated keys */
    struct louver_rotated rotated;
    double threshold; /* a key whose bound is below it is left out */
    uint64_t *masks;  /* [pages]: keys that are attended to */
    uint32_t n_attended;
    const float *q; /* [row_floats] */
    float *out;     /* [row_floats]: attention, not yet divided by state.sum */
    struct rsr_attend_state state;
    /* topk and budget */
    double *uppers;            /* [keys]: of products of keys in the masks; NULL: not wanted */
    struct louver_best best;   /* by lower bounds, [keys] */
    struct louver_best sample; /* by lower bounds of a sample of pages, [keys] */
    double *joined;            /* [keys]: a heap of what all members found */
    /* mass: with w = exp(scale q.k - reference), an upper bound of the sum of w over keys left out,
     * and a lower bound of it over keys attended to */
    float *x;                        /* [keys] */
    struct rsr_sketch_frame *frames; /* [pages], of those with a sidecar */
    uint64_t *given; /* [pages]: keys that `attended` has; they are attended to in any case */
    double skipped, attended;
    float reference;
    uint32_t best_page; /* with the highest bound; n_pages: none has one */
    double least_bound; /* of a page */
    bool is_even;       /* the logits of tried pages' centres are close together */
    double budget;      /* weight that may be left out in total */
    double cut;         /* all keys left out have x below it */
    /* error: w of a key also has the factor omega of its page in x, `skipped` and `budget` */
    const float *weights; /* [pages]: louver_spread.weights; NULL: another rule */
    double given_reach;   /* upper bound of |attention over the keys in `given` - centre| */
    double reach;         /* the same bound for attention over all keys that stay */
};

/* The values that a pass sees, for the rule error (louver_spread.c). */
struct louver_spread {
    double *centre;  /* [head_dim] */
    double farthest; /* upper bound of |v - centre| of all values */
    double spread;   /* lower bound of the values' spread */
    /* omega of a page is at least (largest |v - centre|) / spread. */
    float *weights;     /* [pages], of those with a sidecar: upper bounds of log omega */
    float least_weight; /* of them */
    double least;       /* lower bound of all omega */
};

/* A page whose second plane will be read next: the heads for which some of its keys may count, and
 * these keys. */
struct louver_candidates {
    uint32_t page;
    uint64_t forced; /* louver_forced_keys() */
    uint32_t n, heads[LOUVER_MAX_HEADS];
    struct rsr_sketch_frame frames[LOUVER_MAX_HEADS];
    uint64_t keys[LOUVER_MAX_HEADS];
};

/* Keys that the sketches could not drop, scored in batches. Their rows are far apart in memory, so
 * each access first waits for the translation of its address; in a batch these waits overlap. */
struct louver_survivor {
    uint32_t page;
    uint8_t head, key;
};
#define LOUVER_BATCH 16u
#define LOUVER_DISK_BATCH                                                                          \
    256u /* if rows lie on a disk: more reads at a time (64: 1.6 times the time) */
struct louver_batch {
    uint32_t n;
    struct louver_survivor keys[LOUVER_DISK_BATCH];
};

/* Threads that run one pass together. Each member has its own struct louver_pass, a span of the
 * pages and some of the heads. Arrays of pages are shared; data of a whole head is in the first
 * member's pass. The result does not depend on the number of members. */
struct louver_team {
    uint32_t n, number; /* number of members; this member's number */
    /* Returns when all members have called it; what they wrote before is then visible. */
    void (*meet)(void *user);
    struct louver_pass *(*member)(void *user, uint32_t number);
    void *user;
};

struct louver_pass {
    const struct louver_setup *setup;
    struct louver_team team;
    struct louver_pass *first; /* the first member's pass; this pass, if there is one member */
    uint32_t begin, end;       /* this member's span of the pages */
    struct louver_page *pages;
    struct louver_norms *norms; /* [pages]: with a sidecar, its norms; without one, only |k| */
    uint32_t n_pages, n_keys, n_heads;
    rsr_louver_threshold threshold;
    const double *values;                                        /* as in louver_pass_begin */
    const struct rsr_sketch_query *queries[2][LOUVER_MAX_HEADS]; /* of the heads */
    float *page_out;                                             /* [row_floats] */
    /* In members other than the first: results of each page, [end - begin][n_heads] */
    float *kept_out; /* ... [row_floats] */
    struct rsr_attend_state *kept_states;
    double *sampled;  /* [LOUVER_SAMPLE_KEYS]: products of one head with the sample */
    bool has_rotated; /* queries[1] are prepared */
    uint64_t closed;  /* heads that are not visited now, one bit each */
    struct louver_candidates sieved[2]; /* of the last two visited pages, alternating */
    uint32_t n_visits;
    struct louver_batch found,
        fetched; /* survivors, and the batch before them, whose keys are being prefetched */
    struct louver_head_state heads[LOUVER_MAX_HEADS];
    rsr_louver_stats stats;
    struct louver_norms storage; /* largest norms of all keys that are seen; zeros for RSR_KV_F32 */
    struct louver_spread spread; /* of the first member's pass */
};

/* The number of a page's first key; a window may cut the first page. */
static inline uint32_t louver_first_key(const struct louver_pass *pass, uint32_t page) {
    return page == 0 ? 0 : pass->pages[0].n_keys + (page - 1) * RSR_PAGE_TOKENS;
}

static inline uint64_t louver_all_keys(uint32_t n_keys) {
    return n_keys < 64 ? (UINT64_C(1) << n_keys) - 1 : UINT64_MAX;
}

/* The number of keys in a mask. Not the builtin: without the CPU's instruction it calls the
 * compiler's library, which modules must not need. */
static inline uint32_t louver_count_keys(uint64_t mask) {
    mask -= mask >> 1 & UINT64_C(0x5555555555555555);
    mask = (mask & UINT64_C(0x3333333333333333)) + (mask >> 2 & UINT64_C(0x3333333333333333));
    mask = (mask + (mask >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f);
    return (uint32_t)(mask * UINT64_C(0x0101010101010101) >> 56);
}

/* Wants rows begin .. end - 1 of keys or values, if they lie on a disk; or those in a mask, where
 * rows without a gap are asked for together. */
static inline void louver_want_rows(const struct louver_setup *setup, const void *rows,
                                    uint32_t begin, uint32_t end) {
    if (setup->disk != NULL)
        rsr_kv_disk_want(setup->disk, (const char *)rows + begin * setup->kv.row_bytes,
                         (uint64_t)(end - begin) * setup->kv.row_bytes);
}

static inline void louver_want_mask(const struct louver_setup *setup, const void *rows,
                                    uint64_t mask) {
    while (setup->disk != NULL && mask != 0) {
        const uint32_t begin = (uint32_t)__builtin_ctzll(mask);
        const uint64_t after = ~(mask >> begin);
        const uint32_t end = after != 0 ? begin + (uint32_t)__builtin_ctzll(after) : 64;
        louver_want_rows(setup, rows, begin, end);
        mask &= end < 64 ? UINT64_MAX << end : 0;
    }
}

/* Prefetches row j of keys or values. */
RSR_FETCHER void louver_fetch_row(const struct louver_setup *setup, const void *rows, uint32_t j) {
    const char *row = (const char *)rows + j * setup->kv.row_bytes;
    louver_want_rows(setup, rows, j, j + 1);
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

/* Whether this member does the work of head h that is done once. */
static inline bool louver_has_head(const struct louver_pass *pass, uint32_t h) {
    return h % pass->team.n == pass->team.number;
}

/* Whether keys are left out while their weights stay within a budget. */
static inline bool louver_has_budget(rsr_louver_kind kind) {
    return kind == RSR_LOUVER_MASS || kind == RSR_LOUVER_ERROR;
}

/* What reads the sketch of a page with an open sidecar: a head's query, and those of all heads. */
static inline const struct rsr_sketch_query *louver_query_of(const struct louver_head_state *head,
                                                             const struct louver_page *page) {
    return head->queries[page->rotated];
}

static inline const struct rsr_sketch_query *const *
louver_queries_of(const struct louver_pass *pass, const struct louver_page *page) {
    return pass->queries[page->rotated];
}

static inline const void *louver_sketch(const struct louver_page *page) {
    return (const char *)page->sidecar + LOUVER_SKETCH_AT;
}

/* ---- louver_page.c ---- */

/* scale 0: 1 / sqrt(head_dim). Pages have centres. */
struct louver_setup louver_setup_of(enum rsr_kv_type type, uint32_t head_dim, uint32_t n_planes,
                                    float scale, const struct rsr_ops *ops, uint64_t cpu_features);

/* Bytes of a sidecar, a multiple of 64; its memory is aligned to 64 bytes. */
uint32_t louver_sidecar_bytes(const struct louver_setup *setup);
void louver_seal(const struct louver_setup *setup, struct louver_sidecar *sidecar,
                 const struct rsr_kv_rows *rows);

/* Row j of keys or values as float32: the row itself, or its widened copy in `buffer`,
 * [row_floats]. */
const float *louver_row(const struct louver_setup *setup, const void *rows, uint32_t j,
                        float *buffer);

/* The larger of two; a NaN stays. */
static inline double louver_larger(double x, double largest) {
    return x <= largest || isnan(largest) ? largest : x;
}

/* Raises the members of *most to those of *loss where these are larger. A NaN stays.
 * louver_add_losses raises norms->loss to the errors of storing n rows. */
void louver_raise_loss(struct rsr_kv_loss *most, const struct rsr_kv_loss *loss);
void louver_add_losses(struct louver_norms *norms, const struct rsr_kv_rows *rows, uint32_t n);

/* |v| of a row, rounded up. */
double louver_row_norm(const float *row, uint32_t n);
/* An upper bound of the largest norm of n stored rows, hardly larger than it; NaN if one is NaN. */
double louver_rows_norm(const struct louver_setup *setup, const void *rows, uint32_t n);

/* z[j] = scale * dot(q, k[j]) for the keys in the mask, with the float operations of attention.
 * Other elements do not change. */
void louver_scores(const struct louver_setup *setup, const struct louver_page *page, const float *q,
                   uint64_t mask, float *z);
/* Upper bound of the error of such a z. */
double louver_score_error(const struct louver_setup *setup, double q_norm, double key_norm);

/* ---- louver_rotate.c ---- */

/* The least gain at which rotated keys pay. */
#define LOUVER_LEAST_GAIN 1.0625f

extern const float louver_rotation_signs[LOUVER_MAX_DIM];

/* Whether the sketch of 64 keys should be that of their rotations. `longest` is an upper bound of
 * |k|. */
bool louver_rotation_pays(const struct louver_setup *setup, const float *keys, double longest);
/* Rotates 64 keys, [row_floats] each; `rotated` may be `keys`. */
void louver_rotate_keys(const struct louver_setup *setup, float *rotated, const float *keys);
/* Rotates a query, whose |q| is at most `norm`. `rotated` is [row_floats], and 0 before. Returns
 * the part of louver_rotation_slack that |k| multiplies. */
double louver_rotate_query(const struct louver_setup *setup, float *rotated, const float *q,
                           double norm);
/* What q . k exceeds the product of the rotated vectors by, at most; |q| <= q_norm, |k| <=
 * key_norm. */
double louver_rotation_slack(double error, double q_norm, double key_norm);

/* ---- louver_threshold.c ---- */

/* Refuses kinds and numbers that rsr_louver.h does not allow. */
RSR_NODISCARD rsr_status louver_check_threshold(const rsr_louver_threshold *threshold,
                                                rsr_error *err);
/* Writes a rule as text that parses to the same bits, in at most 41 bytes. */
void louver_write_rule(const rsr_louver_threshold *threshold, char *text, size_t capacity);
/* Parses the rule of rsr_louver_threshold_parse and moves *text past it. */
RSR_NODISCARD rsr_status louver_parse_rule(const char **text, rsr_louver_threshold *threshold,
                                           rsr_error *err);
/* Parses the options after the rule. min_keys receives N of ,min=N; NULL: there is no such
 * option. */
RSR_NODISCARD rsr_status louver_parse_options(const char *text, rsr_louver_threshold *threshold,
                                              uint32_t *min_keys, rsr_error *err);

/* ---- louver_pass.c ---- */

/* Memory of each member's pass, 64-byte aligned; UINT64_MAX: too large. */
uint64_t louver_pass_bytes(const struct louver_setup *setup, rsr_louver_kind kind, uint32_t n_heads,
                           uint32_t n_pages, uint32_t n_members);
/* Whether the rule would read nearly all keys of a KV head whose logits have this standard
 * deviation over the keys. louver_flat.c */
bool louver_is_flat(const struct louver_setup *setup, const rsr_louver_threshold *threshold,
                    float spread);

/* Fills *pass. Removes unusable sidecars from `pages`. q is finite: [n_heads] rows, q_stride floats
 * apart. `values`, if not NULL, has T of each head. team NULL: one thread runs the pass; otherwise
 * a team does, and this is the first member's pass. */
void louver_pass_begin(struct louver_pass *pass, const struct louver_setup *setup,
                       struct louver_page *pages, uint32_t n_pages,
                       const rsr_louver_threshold *threshold, const double *values, const float *q,
                       size_t q_stride, uint32_t n_heads, const struct louver_team *team,
                       void *memory);
/* Fills the pass of another member, after the first member's pass has begun; that may be running
 * already. */
void louver_pass_join(struct louver_pass *pass, struct louver_pass *first,
                      const struct louver_team *team, void *memory);
/* Called by all members. Results of heads are in the first member's pass; the member that has the
 * head (louver_has_head) may read them. Each member has its own statistics. */
void louver_pass_run(struct louver_pass *pass);
/* Notes the norms of a page. Returns whether it has a usable sidecar. Sidecars are far apart in
 * memory, so a run opens one just before it reads the sketch after it. Certificates need the norms
 * even if no sketch is read. */
bool louver_open_sidecar(struct louver_pass *pass, uint32_t page);
/* Opens the sidecars of all of the member's pages. */
void louver_open_sidecars(struct louver_pass *pass);
/* Frames of a page with an open sidecar for all heads, [n_heads]. */
void louver_frames_of(const struct louver_pass *pass, uint32_t page,
                      struct rsr_sketch_frame *frames);
/* Notes the frames of all heads for a page with an open sidecar. Their data is between sidecar and
 * codes: louver_fetch_frame prefetches it for a page of the member. */
void louver_find_frame(struct louver_pass *pass, uint32_t page);
void louver_fetch_frame(const struct louver_pass *pass, uint32_t page);
/* Keys of a page that are attended to whatever their products. */
uint64_t louver_forced_keys(const struct louver_pass *pass, uint32_t page);

/* ---- louver_visit.c ---- */

/* q . k is between `lower` and `upper`; `value` is the float64 result. */
struct louver_product {
    double value, lower, upper;
};
struct louver_product louver_exact_product(const struct louver_setup *setup, const float *q,
                                           const struct louver_page *page, uint32_t key);

/* Finds the keys of page p whose products can reach the thresholds, for heads that are not closed.
 * `next`, if not NULL, is the page of the next visit. The masks are complete only after some more
 * visits, or after louver_end_visits(). */
void louver_visit_page(struct louver_pass *pass, uint32_t p, const struct louver_page *next);
void louver_end_visits(struct louver_pass *pass);
/* Puts all keys of the page into the masks of all heads. */
void louver_take_page(struct louver_pass *pass, uint32_t p);

/* ---- louver_sample.c: the threshold of a head from a sample ---- */
double louver_sample_threshold(const struct louver_pass *pass,
                               const struct louver_head_state *head);

/* ---- louver_topk.c: the K best keys ---- */

/* How many keys topk or budget asks for. */
uint32_t louver_best_keys(const struct louver_pass *pass);
void louver_run_topk(struct louver_pass *pass);
/* Notes a lower bound of the product of a key that a visit found. */
void louver_note_lower(struct louver_head_state *head, double lower);
void louver_sort_descending(double *x, uint32_t n);

/* ---- louver_mass.c: every head leaves out keys that have at most EPS of its softmax, or that
 * change its output by at most EPS of the values' spread ---- */
void louver_run_mass(struct louver_pass *pass);

/* ---- louver_spread.c ---- */

/* Fills the sidecar's centre and norms->radius, off and square of 64 finite rows [row_floats]. */
void louver_seal_values(const struct louver_setup *setup, struct louver_sidecar *sidecar,
                        const float *rows, struct louver_norms *norms);
/* Bytes of a centre, a multiple of 64; 0 if pages have none. */
uint32_t louver_centre_bytes(const struct louver_setup *setup);
/* An upper bound of the error of a head's output by the rule error; `rounding` bounds the relative
 * errors of its weights. */
double louver_spread_error(const struct louver_pass *pass, const struct louver_head_state *head,
                           const float *out, double attended, double rounding);

/* ---- louver_attend.c: attention over the keys in the masks, which it counts; called by all
 * members ---- */
void louver_attend(struct louver_pass *pass);

/* ---- louver_error.c ---- */

/* Notes pass->storage. */
void louver_note_losses(struct louver_pass *pass);

/* Certifies the result of a head, after louver_pass_run. `out` is its final output. */
void louver_certify(const struct louver_pass *pass, const struct louver_head_state *state,
                    const float *out, rsr_louver_head *head);

/* Upper bounds of exp: y[i] >= exp(x[i]). At most 64 at once. */
void louver_exp_upper(const struct rsr_ops *ops, float *y, const float *x, uint32_t n);
/* A lower bound of the sum of exp of n real numbers that are within `error` of z[i] - reference. n
 * <= 64. */
double louver_exp_sum_lower(const struct rsr_ops *ops, const float *z, uint32_t n, float reference,
                            double error);
/* scale * product - reference, rounded up. */
float louver_exponent_up(const struct louver_setup *setup, double product, double reference);

/* ---- louver.c ---- */

/* Two checks. The first refuses n rows of which one is not finite ("key 3 is not finite ..."), the
 * second a thread whose floating-point environment would break the bounds. */
RSR_NODISCARD rsr_status louver_check_finite(const float *rows, size_t n, uint32_t head_dim,
                                             const char *what, rsr_error *err);
RSR_NODISCARD rsr_status louver_check_float_mode(rsr_error *err);

/* Stack that sealing a page needs: 80 KiB for widened keys, and 110 KiB for the sketch that is
 * being made. A query needs less. */
#define LOUVER_STACK_BYTES ((size_t)224 << 10)

/* A page that indexes own, shared by forks. */
struct louver_block {
    atomic_uint references;
    struct louver_shelf *shelf;
    struct rsr_kv_rows rows; /* 64 */
    struct louver_sidecar *sidecar;
};

/* Memory of up to 64 pages; their sidecars are next to each other, so that scans read a stream. */
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
    struct louver_shelf *shelf;   /* source of new blocks; NULL: none yet */
    uint32_t n_taken;             /* blocks taken from shelves so far */
    struct rsr_known_stack stack; /* of the thread that uses it */
    void *scratch;                /* memory of queries, kept for the next one */
    uint64_t scratch_bytes;
};

/* ---- louver_shelf.c ---- */

/* A page with one reference, its rows zero from head_dim on; NULL if there is no memory. */
struct louver_block *louver_take_block(struct rsr_louver *index);
/* May run while another thread takes from the same shelf. NULL is fine. */
void louver_release_block(struct louver_block *block);
/* Called when the index no longer takes from the shelf. NULL is fine. */
void louver_release_shelf(struct louver_shelf *shelf);

#endif
