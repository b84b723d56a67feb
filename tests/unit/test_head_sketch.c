/* Compares picks with rsr_sample() on all logits: both give one token, whatever the head, the
 * sampling, the threads and the batch, and picks leave most of the head unread where they can.
 *
 * Compiled with RSR_HEAD_OMIT=n, RSR_NUCLEUS_OMIT=n or RSR_SKETCH_OMIT=n this file and its own copy
 * of head_sketch.c, head_nucleus.c or sketch.c leave one term out of the bounds, and the program
 * succeeds if it then finds wrong picks. */
#include "fake_module.h"
#include "sample/edits.h"
#include "sample/sample.h"
#include "sketch/sketch.h"

#if defined(RSR_HEAD_OMIT) || defined(RSR_NUCLEUS_OMIT) || defined(RSR_SKETCH_OMIT)
#define OMITTED 1
#else
#define OMITTED 0
#endif

#define N_TOKENS 20u
#define VOCAB 1100u
#define HIDDEN 144u
#define N_BLOCKS ((VOCAB + RSR_SKETCH_VECTORS - 1) / RSR_SKETCH_VECTORS)

static const struct fake_shape shape = {.hidden = HIDDEN,
                                        .n_layers = 1,
                                        .n_heads = 2,
                                        .n_kv_heads = 1,
                                        .head_dim = 16,
                                        .ffn = 64,
                                        .vocab = VOCAB,
                                        .context = 64,
                                        .activation = RSR_ACTIVATION_SILU,
                                        .head_dtype = RSR_DTYPE_F32};

static uint32_t tokens[N_TOKENS];
static float
    hidden[N_TOKENS]
          [HIDDEN]; /* the vectors that the head multiplies; they do not depend on the head */

/* ---- Heads ---- */

static _Alignas(64) float rows[VOCAB * HIDDEN];
static _Alignas(64) uint16_t narrow[VOCAB * HIDDEN];

static double uniform(uint64_t *state) {
    return ((double)(check_random(state) >> 11) + 0.5) * 0x1p-53;
}

static float gaussian(uint64_t *state) {
    return (float)(sqrt(-2.0 * log(uniform(state))) * cos(6.283185307179586 * uniform(state)));
}

static void fill_gaussian(uint64_t *state) {
    for (uint32_t i = 0; i < VOCAB * HIDDEN; i++)
        rows[i] = 0.25f * gaussian(state);
}

/* Each token has a row that stands out, as in trained heads. */
static void fill_margin(uint64_t *state) {
    fill_gaussian(state);
    for (uint32_t t = 0; t < N_TOKENS; t++) {
        float *row = rows + check_random(state) % VOCAB * HIDDEN;
        for (uint32_t i = 0; i < HIDDEN; i++)
            row[i] += 0.12f * hidden[t][i];
    }
}

static void add_along(float *row, const float *direction, double product) {
    double before = 0.0, square = 0.0;
    for (uint32_t i = 0; i < HIDDEN; i++) {
        before += (double)row[i] * (double)direction[i];
        square += (double)direction[i] * (double)direction[i];
    }
    for (uint32_t i = 0; i < HIDDEN; i++)
        row[i] += (float)((product - before) / square * (double)direction[i]);
}

/* The row that belongs to the last token is short. All other rows are long and unrelated to the
 * token, so their bounds are the best ones. */
static void fill_short(uint64_t *state) {
    for (uint32_t r = 0; r < VOCAB; r++) {
        float *row = rows + r * HIDDEN;
        for (uint32_t i = 0; i < HIDDEN; i++)
            row[i] = r == 777 ? 0.0f : 0.5f * gaussian(state);
        add_along(row, hidden[N_TOKENS - 1], r == 777 ? 6.0 : 0.0);
    }
}

static void fill_duplicates(uint64_t *state) {
    fill_margin(state);
    for (uint32_t r = 0; r < VOCAB; r++)
        memmove(rows + r * HIDDEN, rows + r % 37 * HIDDEN, HIDDEN * sizeof(float));
}

/* All rows are equal, so everything is a tie. The centre is that row, and only the logits are
 * rounded. */
static void fill_equal(uint64_t *state) {
    fill_gaussian(state);
    for (uint32_t i = 0; i < HIDDEN; i++)
        rows[i] += 0.5f * hidden[0][i];
    for (uint32_t r = 1; r < VOCAB; r++)
        memcpy(rows + r * HIDDEN, rows, HIDDEN * sizeof(float));
}

/* Rows that differ by less than the rounding of their logits. The largest logit may belong to
 * another row than the largest product, although bounds tell the products apart. */
static void fill_alike(uint64_t *state) {
    fill_equal(state);
    for (uint32_t i = 0; i < VOCAB * HIDDEN; i++)
        rows[i] = check_random(state) % 16 == 0 ? nextafterf(rows[i], 9.0f) : rows[i];
}

static void fill_norms(uint64_t *state) {
    fill_gaussian(state);
    for (uint32_t r = 0; r < VOCAB; r++) {
        const float scale = powf(10.0f, (float)(uniform(state) * 40.0 - 36.0));
        for (uint32_t i = 0; i < HIDDEN; i++)
            rows[r * HIDDEN + i] *= r % 64 == 9 ? scale * 1e3f : scale;
    }
}

static void fill_denormal(uint64_t *state) {
    fill_gaussian(state);
    for (uint32_t i = 0; i < VOCAB * HIDDEN; i++)
        rows[i] *= 1e-42f;
}

/* Logits that are finite, although no bound can show it. */
static void fill_huge(uint64_t *state) {
    fill_gaussian(state);
    for (uint32_t i = 0; i < VOCAB * HIDDEN; i++)
        rows[i] *= 1e37f;
}

static void fill_zero(uint64_t *state) {
    fill_gaussian(state);
    memset(rows, 0, sizeof(rows) / 2);
}

static void fill_off_centre(uint64_t *state) {
    fill_margin(state);
    for (uint32_t i = 0; i < VOCAB * HIDDEN; i++)
        rows[i] += 8.0f * sinf((float)(i % HIDDEN));
}

/* The rounding error of every 7th row's codes points along a query: the first plane does not see
 * the part that makes these rows the largest. */
static void fill_adversarial(uint64_t *state) {
    for (uint32_t r = 0; r < VOCAB; r++) {
        const float *q = hidden[r / 7 % N_TOKENS];
        for (uint32_t i = 0; i < HIDDEN; i++) {
            const uint32_t slice = i / RSR_SKETCH_SLICE * RSR_SKETCH_SLICE;
            const float largest = 119.0f / 16.0f, digit = (float)(check_random(state) % 7) - 3.0f;
            const float lost = 0.45f * (q[i] > 0.0f ? 1.0f : -1.0f);
            rows[r * HIDDEN + i] = i == slice ? largest : digit + (r % 7 == 0 ? lost : 0.0f);
        }
    }
    for (uint32_t i = 0; i < VOCAB * HIDDEN; i++)
        rows[i] *= 0.05f * (1.0f + 0.01f * (float)uniform(state));
}

static const struct {
    const char *name;
    void (*fill)(uint64_t *);
    enum rsr_dtype dtype;
} cases[] = {
    {"gaussian", fill_gaussian, RSR_DTYPE_BF16},
    {"margin", fill_margin, RSR_DTYPE_BF16},
    {"margin f32", fill_margin, RSR_DTYPE_F32},
    {"short", fill_short, RSR_DTYPE_BF16},
    {"duplicates", fill_duplicates, RSR_DTYPE_BF16},
    {"equal", fill_equal, RSR_DTYPE_F32},
    {"alike", fill_alike, RSR_DTYPE_F32},
    {"norms", fill_norms, RSR_DTYPE_F32},
    {"denormal", fill_denormal, RSR_DTYPE_F32},
    {"huge", fill_huge, RSR_DTYPE_BF16},
    {"zero", fill_zero, RSR_DTYPE_BF16},
    {"off centre", fill_off_centre, RSR_DTYPE_F32},
    {"adversarial", fill_adversarial, RSR_DTYPE_F32},
};
#define N_CASES (sizeof(cases) / sizeof(cases[0]))

/* Rounds `rows` to the type. Returns the stored head. */
static struct rsr_matrix_data store_head(enum rsr_dtype dtype) {
    for (uint32_t i = 0; dtype == RSR_DTYPE_BF16 && i < VOCAB * HIDDEN; i++) {
        uint32_t bits;
        memcpy(&bits, &rows[i], sizeof(bits));
        narrow[i] = (uint16_t)(bits >> 16);
        bits &= 0xffff0000u;
        memcpy(&rows[i], &bits, sizeof(bits));
    }
    return (struct rsr_matrix_data){.data = dtype == RSR_DTYPE_F32 ? (void *)rows : (void *)narrow,
                                    .dtype = dtype,
                                    .rows = VOCAB,
                                    .cols = HIDDEN};
}

static float centre[HIDDEN];

static struct rsr_head_sketch sketch_of(uint32_t n_planes, char *blocks) {
    const struct rsr_sketch_shape s = rsr_sketch_flat_shape(HIDDEN, n_planes);
    static float block[RSR_SKETCH_VECTORS * HIDDEN];
    for (uint32_t i = 0; i < HIDDEN; i++) {
        double sum = 0.0;
        for (uint32_t r = 0; r < VOCAB; r++)
            sum += (double)rows[r * HIDDEN + i];
        centre[i] =
            fabs(sum / VOCAB) < (double)RSR_SKETCH_LARGEST_CENTRE ? (float)(sum / VOCAB) : 0.0f;
    }
    for (uint32_t b = 0; b < N_BLOCKS; b++) {
        const uint32_t first = b * RSR_SKETCH_VECTORS, left = VOCAB - first;
        const uint32_t n = left < RSR_SKETCH_VECTORS ? left : RSR_SKETCH_VECTORS;
        memset(block, 0, sizeof(block));
        memcpy(block, rows + (size_t)first * HIDDEN, (size_t)n * HIDDEN * sizeof(float));
        rsr_sketch_build(&s, blocks + (size_t)b * s.block_bytes, block, HIDDEN, centre, NULL);
    }
    return (struct rsr_head_sketch){
        .blocks = blocks, .centre = centre, .block_bytes = s.block_bytes, .n_planes = n_planes};
}

/* ---- Samplings ---- */

struct some_sampling {
    float temperature;
    uint32_t top_k;
    float top_p, min_p, penalty;
    bool reads_all;
};

static const struct some_sampling samplings[] = {
    {0.0f, 0, 1.0f, 0.0f, 1.0f, false},
    {0.0f, 5, 0.5f, 0.2f, 1.3f, false},
    {1.0f, 0, 1.0f, 0.0f, 1.0f, false},
    {0.1f, 0, 1.0f, 0.0f, 1.0f, false},
    {8.0f, 0, 1.0f, 0.0f, 1.0f, false},
    {1.0f, 0, 1.0f, 0.0f, 1.2f, false},
    {1.0f, 1, 1.0f, 0.0f, 1.0f, false},
    {1.0f, 2, 1.0f, 0.0f, 1.0f, false},
    {2.0f, 40, 1.0f, 0.0f, 1.0f, false},
    {2.0f, 40, 1.0f, 0.0f, 1.5f, false},
    {3.0f, VOCAB / 8, 1.0f, 0.0f, 1.0f, false},
    {3.0f, VOCAB / 8 + 1, 1.0f, 0.0f, 1.0f, true},
    {3.0f, VOCAB, 1.0f, 0.0f, 1.0f, true},
    {1.0f, 0, 1.0f, 0.05f, 1.0f, false},
    {4.0f, 0, 1.0f, 0.5f, 1.0f, false},
    {4.0f, 0, 1.0f, 1.0f, 1.0f, false},
    {1.0f, 0, 1.0f, 1e-6f, 1.1f, false},
    {5.0f, 10, 1.0f, 0.1f, 1.1f, false},
    {1.0f, 0, 1.0f, 0.0f, 0.8f, true},
    {2.0f, 40, 0.6f, 0.0f, 1.5f, false},
    {4.0f, 90, 0.3f, 0.05f, 1.0f, false},
    {0.0f, 0, 1.0f, 0.0f, 0.7f, true},
    {1e-37f, 0, 1.0f, 0.0f, 1.0f, false},
    {1e-39f, 0, 1.0f, 0.0f, 1.0f, false}, /* scores beyond float32 */
};
#define N_SAMPLINGS (sizeof(samplings) / sizeof(samplings[0]))

static rsr_sampling sampling_of(size_t i, uint64_t seed) {
    rsr_sampling s = RSR_SAMPLING_INIT;
    s.temperature = samplings[i].temperature;
    s.top_k = samplings[i].top_k;
    s.top_p = samplings[i].top_p;
    s.min_p = samplings[i].min_p;
    s.repeat_penalty = samplings[i].penalty;
    s.repeat_window = 6;
    s.seed = seed;
    s.sequence_id = seed % 3;
    return s;
}

/* ---- Picks ---- */

struct fixture {
    struct fake_module fake;
    rsr_model *model;
    rsr_engine *engine;
    float logits[N_TOKENS * VOCAB];
};
static struct fixture f;

static void record(void *user, const rsr_probe_point *point) {
    (void)user;
    for (uint32_t t = 0; point->kind == RSR_PROBE_LOGITS_INPUT && t < point->n_tokens; t++)
        memcpy(hidden[point->positions[t]], (const char *)point->data + t * point->row_bytes,
               sizeof(hidden[0]));
}

static rsr_engine *engine_of(uint32_t n_threads, uint32_t max_batch, rsr_probe_fn *probe) {
    rsr_engine_options options = RSR_ENGINE_OPTIONS_INIT;
    rsr_error err = RSR_ERROR_INIT;
    rsr_engine *engine = NULL;
    options.n_threads = n_threads;
    options.all_threads = true;
    options.max_batch = max_batch;
    options.probe = probe;
    options.kv_tokens = 256;
    CHECK_INT(rsr_runtime_api.engine_create(f.model, &options, &engine, &err), RSR_OK);
    CHECK_STR(err.message, "");
    return engine;
}

static rsr_sequence *new_sequence(rsr_engine *engine) {
    rsr_sequence *sequence = NULL;
    CHECK_INT(rsr_runtime_api.sequence_create(engine, &sequence, NULL), RSR_OK);
    return sequence;
}

/* Evaluates one batch of all tokens with these picks, and with logits if they are wanted. */
static rsr_status eval_picks(rsr_engine *engine, const rsr_pick *picks, size_t n, uint32_t *picked,
                             const bool *want_logits, float *logits) {
    rsr_batch_entry entries[N_TOKENS];
    rsr_sequence *sequence = new_sequence(engine);
    for (uint32_t i = 0; i < N_TOKENS; i++)
        entries[i] =
            (rsr_batch_entry){sequence, i, tokens[i], want_logits != NULL && want_logits[i]};
    rsr_batch batch = RSR_BATCH_INIT;
    batch.entries = entries;
    batch.n_entries = N_TOKENS;
    batch.picks = picks;
    batch.n_picks = n;
    batch.picked = picked;
    batch.logits = logits;
    batch.logits_capacity = logits != NULL ? (size_t)N_TOKENS * VOCAB : 0;
    rsr_error err = RSR_ERROR_INIT;
    const rsr_status status = rsr_runtime_api.eval(engine, &batch, &err);
    CHECK((status == RSR_OK) == (err.message[0] == '\0'));
    CHECK_INT(rsr_runtime_api.sequence_length(sequence), status == RSR_OK ? N_TOKENS : 0);
    rsr_runtime_api.sequence_destroy(sequence);
    return status;
}

static uint32_t sampled(const rsr_sampling *s, uint32_t entry) {
    uint32_t token = UINT32_MAX;
    rsr_error err = RSR_ERROR_INIT;
    CHECK_INT(rsr_runtime_api.sample(f.model, s, f.logits + (size_t)entry * VOCAB, tokens,
                                     entry + 1, &token, &err),
              RSR_OK);
    return token;
}

static void open_head(enum rsr_dtype dtype, const struct rsr_head_sketch *sketch) {
    f.fake.tensors.head = store_head(dtype);
    f.fake.tensors.head_sketch =
        sketch != NULL ? *sketch : (struct rsr_head_sketch){.blocks = NULL};
    f.model = fake_open(&f.fake, RSR_OPS_GENERIC);
}

static void all_logits(void) {
    bool want[N_TOKENS];
    for (uint32_t i = 0; i < N_TOKENS; i++)
        want[i] = true;
    rsr_engine *engine = engine_of(1, 64, record);
    CHECK_INT(eval_picks(engine, NULL, 0, NULL, want, f.logits), RSR_OK);
    rsr_runtime_api.engine_destroy(engine);
}

/* Returns the bytes of the head and its sketch that picks have read since the last call; the first
 * call starts the count. */
static uint64_t head_bytes(rsr_engine *engine) {
    rsr_profile_entry entries[64] = {RSR_PROFILE_ENTRY_INIT};
    size_t n = 0;
    uint64_t bytes = 0;
    CHECK_INT(rsr_runtime_api.engine_profile(engine, true, entries, 64, &n), RSR_OK);
    for (size_t i = 0; i < n; i++)
        if (strcmp(entries[i].name, "head") == 0)
            bytes += entries[i].bytes;
    return bytes;
}

/* Counts the wrong picks of one engine, over all samplings. */
static int count_wrong(rsr_engine *engine, uint64_t seed, bool excluded) {
    int wrong = 0;
    (void)head_bytes(engine);
    for (size_t i = 0; i < N_SAMPLINGS; i++) {
        rsr_pick picks[N_TOKENS];
        rsr_sampling s[N_TOKENS];
        uint32_t picked[N_TOKENS];
        for (uint32_t t = 0; t < N_TOKENS; t++) {
            s[t] = sampling_of(i, seed + t);
            picks[t] = (rsr_pick){.entry = t, .sampling = &s[t]};
        }
        CHECK_INT(eval_picks(engine, picks, N_TOKENS, picked, NULL, NULL), RSR_OK);
        for (uint32_t t = 0; t < N_TOKENS; t++)
            wrong += picked[t] != sampled(&s[t], t);
        rsr_head_stats stats = RSR_HEAD_STATS_INIT;
        CHECK_INT(rsr_runtime_api.engine_head_stats(engine, true, &stats), RSR_OK);
        CHECK_INT(stats.full, samplings[i].reads_all || excluded ? N_TOKENS : 0);
        CHECK_INT(stats.sketched + stats.full, N_TOKENS);
        /* An element of a row has at least two bytes. */
        CHECK(head_bytes(engine) >= stats.full * VOCAB * HIDDEN * (samplings[i].reads_all ? 0 : 2));
    }
    return wrong;
}

/* ---- Random picks of everything ---- */

/* N_TOKENS picks for each head, number of planes and number of threads: 10,400 picks. */
#define N_BATCHES 10u
#define MAX_BIASES 40u
struct random_sampling {
    rsr_sampling sampling;
    rsr_logit_bias biases[MAX_BIASES];
    uint32_t allowed[(VOCAB + 31) / 32];
};

static float one_of(uint64_t *state, const float *values, size_t n) {
    return values[check_random(state) % n];
}
#define ONE_OF(state, ...)                                                                         \
    one_of(state, (const float[]){__VA_ARGS__},                                                    \
           sizeof((const float[]){__VA_ARGS__}) / sizeof(float))

/* Returns a random row, half of the time one with one of the largest logits. */
static uint32_t some_row(uint64_t *state, const float *logits) {
    uint32_t best = (uint32_t)(check_random(state) % VOCAB);
    for (uint32_t i = 0, n = (uint32_t)(check_random(state) % 400); i < n && n > 200; i++) {
        const uint32_t row = (uint32_t)(check_random(state) % VOCAB);
        best = logits[row] > logits[best] ? row : best;
    }
    return best;
}

static void set_biases(struct random_sampling *r, uint64_t *state, const float *logits) {
    r->sampling.n_logit_bias = (size_t)ONE_OF(state, 0, 0, 1, 3, MAX_BIASES);
    r->sampling.logit_bias = r->biases;
    for (size_t i = 0; i < r->sampling.n_logit_bias; i++)
        r->biases[i] = (rsr_logit_bias){some_row(state, logits),
                                        ONE_OF(state, -INFINITY, -3.0f, 0.1f, 1.0f, 4.0f, 30.0f)};
}

/* Allows all, half, most, few or one of the tokens, but never none. */
static void set_allowed(struct random_sampling *r, uint64_t *state, const float *logits) {
    const uint32_t kind = (uint32_t)(check_random(state) % 8), n_words = (VOCAB + 31) / 32;
    if (kind < 4)
        return;
    r->sampling.allowed = r->allowed;
    r->sampling.allowed_words = n_words;
    for (uint32_t i = 0; i < n_words; i++)
        r->allowed[i] = kind == 4 ? (uint32_t)check_random(state) : kind == 5 ? UINT32_MAX : 0;
    for (uint32_t i = 0; i < 30; i++) {
        const uint32_t row = some_row(state, logits), bit = UINT32_C(1) << row % 32;
        if (kind == 6 || (kind == 7 && i == 0))
            r->allowed[row / 32] |= bit;
        else if (kind < 6)
            r->allowed[row / 32] &= ~bit;
    }
    r->allowed[VOCAB / 32] |= UINT32_MAX << VOCAB % 32; /* behind the vocabulary */
}

/* The first allowed token stays, so that there is always one. */
static void leave_one(struct random_sampling *r) {
    uint32_t first = 0;
    while (!rsr_is_allowed(r->sampling.allowed, first))
        first++;
    for (size_t i = 0; i < r->sampling.n_logit_bias; i++)
        if (r->biases[i].token == first && r->biases[i].bias == -INFINITY)
            r->biases[i].bias = -3.0f;
}

static void set_random(struct random_sampling *r, uint64_t *state, const float *logits) {
    rsr_sampling *s = &r->sampling;
    *s = (rsr_sampling)RSR_SAMPLING_INIT;
    s->temperature = ONE_OF(state, 0.0f, 0.1f, 0.3f, 0.7f, 1.0f, 2.0f, 8.0f);
    s->top_k = (uint32_t)ONE_OF(state, 0, 0, 0, 1, 5, 40, VOCAB / 8, VOCAB / 8 + 1);
    s->top_p = ONE_OF(state, 1.0f, 1.0f, 0.01f, 0.5f, 0.9f, 0.95f, 0.99f, 0.9999f);
    s->min_p = ONE_OF(state, 0.0f, 0.0f, 0.0f, 0.01f, 0.3f);
    s->repeat_penalty = ONE_OF(state, 1.0f, 1.0f, 1.2f, 0.8f);
    s->repeat_window = (uint32_t)ONE_OF(state, 0, 3, 64);
    s->presence_penalty = ONE_OF(state, 0.0f, 0.0f, 0.5f, -0.7f, 2.0f);
    s->frequency_penalty = ONE_OF(state, 0.0f, 0.0f, 0.3f, -0.2f);
    s->generated_from = (uint32_t)(check_random(state) % (N_TOKENS + 2));
    s->seed = check_random(state);
    set_biases(r, state, logits);
    set_allowed(r, state, logits);
    leave_one(r);
}

/* Counts wrong picks in n batches. */
static int count_random_wrong(rsr_engine *engine, uint64_t seed, uint32_t n_batches) {
    int wrong = 0;
    uint64_t state = seed;
    static struct random_sampling r[N_TOKENS];
    for (uint32_t i = 0; i < n_batches; i++) {
        rsr_pick picks[N_TOKENS];
        uint32_t picked[N_TOKENS];
        for (uint32_t t = 0; t < N_TOKENS; t++) {
            set_random(&r[t], &state, f.logits + (size_t)t * VOCAB);
            picks[t] = (rsr_pick){t, &r[t].sampling};
        }
        CHECK_INT(eval_picks(engine, picks, N_TOKENS, picked, NULL, NULL), RSR_OK);
        for (uint32_t t = 0; t < N_TOKENS; t++)
            wrong += picked[t] != sampled(&r[t].sampling, t);
    }
    return wrong;
}

static int test_case(size_t c, char *blocks) {
    uint64_t state = 7 + c;
    int wrong = 0;
    cases[c].fill(&state);
    open_head(cases[c].dtype, NULL);
    all_logits();
    rsr_runtime_api.close(f.model);
    for (uint32_t n_planes = 1; n_planes <= 2; n_planes++) {
        const struct rsr_head_sketch sketch = sketch_of(n_planes, blocks);
        open_head(cases[c].dtype, &sketch);
        for (uint32_t n_threads = 1; n_threads <= (n_planes == 1 ? 1 : 3); n_threads++) {
            rsr_engine *engine = engine_of(n_threads, n_threads == 2 ? 7 : 64, NULL);
            wrong += count_wrong(engine, 100 * n_threads, strcmp(cases[c].name, "huge") == 0);
            wrong += count_random_wrong(engine, 10 * c + n_threads, N_BATCHES);
            rsr_runtime_api.engine_destroy(engine);
        }
        rsr_runtime_api.close(f.model);
    }
    printf("%-12s %d wrong picks\n", cases[c].name, wrong);
    return wrong;
}

#if !OMITTED

static char *blocks_of_head(enum rsr_dtype dtype, void (*fill)(uint64_t *), char *blocks) {
    uint64_t state = 5;
    fill(&state);
    store_head(dtype);
    const struct rsr_head_sketch sketch = sketch_of(2, blocks);
    open_head(dtype, &sketch);
    all_logits();
    return blocks;
}

/* Most of a head with a margin stays unread, and less than a plane is read twice: for the best
 * token, for tokens within min-p, with min-p alone and with a top-k that would leave more
 * tokens. */
static void test_reads_little(char *blocks) {
    rsr_sampling s[3] = {RSR_SAMPLING_INIT, RSR_SAMPLING_INIT, RSR_SAMPLING_INIT};
    s[1].temperature = s[2].temperature = 0.2f;
    s[1].min_p = s[2].min_p = 0.5f;
    s[2].top_k = 100;
    blocks_of_head(RSR_DTYPE_BF16, fill_margin, blocks);
    rsr_engine *engine = engine_of(1, 64, NULL);
    for (uint32_t i = 0; i < 3; i++) {
        const rsr_pick pick = {.entry = N_TOKENS - 1, .sampling = &s[i]};
        uint32_t picked;
        CHECK_INT(eval_picks(engine, &pick, 1, &picked, NULL, NULL), RSR_OK);
        rsr_head_stats stats = RSR_HEAD_STATS_INIT;
        CHECK_INT(rsr_runtime_api.engine_head_stats(engine, true, &stats), RSR_OK);
        CHECK_INT(stats.n_planes, 2);
        CHECK_INT(stats.sketched, 1);
        CHECK_INT(stats.scanned, N_BLOCKS * RSR_SKETCH_VECTORS);
        CHECK(stats.plane2 < VOCAB / 4);
        CHECK(stats.exact >= 1 && stats.exact <= 20 + s[i].top_k);
    }
    rsr_runtime_api.engine_destroy(engine);
    rsr_runtime_api.close(f.model);
}

static rsr_head_stats pick_last(rsr_engine *engine, const rsr_sampling *s) {
    const rsr_pick pick = {.entry = N_TOKENS - 1, .sampling = s};
    uint32_t picked;
    rsr_head_stats stats = RSR_HEAD_STATS_INIT;
    CHECK_INT(eval_picks(engine, &pick, 1, &picked, NULL, NULL), RSR_OK);
    CHECK_INT(picked, sampled(s, N_TOKENS - 1));
    CHECK_INT(rsr_runtime_api.engine_head_stats(engine, true, &stats), RSR_OK);
    return stats;
}

/* Top-p alone reads little if one token has most of the probability; if all tokens have similar
 * probabilities, it mostly reads all. */
static void test_reads_nucleus(char *blocks) {
    rsr_sampling s = RSR_SAMPLING_INIT;
    uint64_t n_full = 0;
    s.top_p = 0.95f;
    blocks_of_head(RSR_DTYPE_BF16, fill_margin, blocks);
    rsr_engine *engine = engine_of(2, 64, NULL);
    for (s.seed = 0; s.seed < 20; s.seed++) {
        s.temperature = 0.2f;
        const rsr_head_stats peaked = pick_last(engine, &s);
        CHECK_INT(peaked.sketched, 1);
        CHECK(peaked.exact <= VOCAB / 8);
        s.temperature = 50.0f;
        n_full += pick_last(engine, &s).full;
    }
    CHECK(n_full >= 10);
    rsr_runtime_api.engine_destroy(engine);
    rsr_runtime_api.close(f.model);
}

/* With a short allowed set only its rows are read, with and without a sketch, for every kind of
 * sampling. */
static void test_reads_allowed(char *blocks) {
    uint32_t allowed[(VOCAB + 31) / 32] = {0};
    const rsr_logit_bias banned[] = {{3, -INFINITY}, {64, -INFINITY}, {1099, -INFINITY}};
    for (size_t i = 0; i < 3; i++)
        allowed[banned[i].token / 32] |= UINT32_C(1) << banned[i].token % 32;
    for (uint32_t sketched = 0; sketched < 2; sketched++) {
        blocks_of_head(RSR_DTYPE_BF16, fill_margin, blocks);
        if (sketched == 0) {
            rsr_runtime_api.close(f.model);
            open_head(RSR_DTYPE_BF16, NULL);
        }
        rsr_engine *engine = engine_of(2, 64, NULL);
        for (uint32_t i = 0; i < 40; i++) {
            rsr_sampling s = RSR_SAMPLING_INIT;
            s.temperature = i % 2 == 0 ? 0.0f : 3.0f;
            s.top_p = i % 4 < 2 ? 1.0f : 0.7f;
            s.seed = i;
            s.allowed = allowed;
            s.allowed_words = (VOCAB + 31) / 32;
            const rsr_head_stats stats = pick_last(engine, &s);
            CHECK_INT(stats.full, 0);
            CHECK_INT(stats.scanned, 0);
            CHECK_INT(stats.exact, 3);
            s.logit_bias = banned;
            s.n_logit_bias = 3;
            const rsr_pick pick = {.entry = N_TOKENS - 1, .sampling = &s};
            uint32_t picked;
            CHECK_INT(eval_picks(engine, &pick, 1, &picked, NULL, NULL), RSR_ERR_NUMERIC);
            rsr_head_stats failed = RSR_HEAD_STATS_INIT;
            CHECK_INT(rsr_runtime_api.engine_head_stats(engine, true, &failed), RSR_OK);
        }
        rsr_runtime_api.engine_destroy(engine);
        rsr_runtime_api.close(f.model);
    }
}

/* A row that seems the best is tried before rows with better bounds. */
static void test_tries_likely_rows(char *blocks) {
    blocks_of_head(RSR_DTYPE_BF16, fill_short, blocks);
    for (uint32_t n_threads = 1; n_threads <= 2; n_threads++) {
        rsr_engine *engine = engine_of(n_threads, 64, NULL);
        const rsr_pick pick = {.entry = N_TOKENS - 1, .sampling = NULL};
        uint32_t picked;
        CHECK_INT(eval_picks(engine, &pick, 1, &picked, NULL, NULL), RSR_OK);
        rsr_head_stats stats = RSR_HEAD_STATS_INIT;
        CHECK_INT(rsr_runtime_api.engine_head_stats(engine, false, &stats), RSR_OK);
        CHECK_INT(picked, 777);
        CHECK(stats.exact >= 1 && stats.exact <= 40);
        rsr_runtime_api.engine_destroy(engine);
    }
    rsr_runtime_api.close(f.model);
}

/* Entries with picks, with wanted logits, or with both, in chunks. */
static void test_mixed(char *blocks) {
    blocks_of_head(RSR_DTYPE_BF16, fill_margin, blocks);
    for (uint32_t max_batch = 3; max_batch <= 43; max_batch += 20) {
        rsr_engine *engine = engine_of(2, max_batch, NULL);
        const rsr_sampling greedy = sampling_of(0, 0), warm = sampling_of(2, 4),
                           narrowed = sampling_of(18, 9);
        const rsr_pick picks[] = {
            {1, &greedy}, {2, &narrowed}, {5, &warm}, {6, NULL}, {19, &narrowed}};
        const bool want[N_TOKENS] = {[0] = true, [2] = true, [6] = true, [7] = true};
        float *logits = malloc(sizeof(f.logits));
        uint32_t picked[5];
        CHECK_INT(eval_picks(engine, picks, 5, picked, want, logits), RSR_OK);
        for (uint32_t i = 0; i < 5; i++)
            CHECK_INT(picked[i], sampled(picks[i].sampling, (uint32_t)picks[i].entry));
        const uint32_t wanted[] = {0, 2, 6, 7};
        for (uint32_t i = 0; i < 4; i++)
            CHECK(memcmp(logits + (size_t)i * VOCAB, f.logits + (size_t)wanted[i] * VOCAB,
                         VOCAB * sizeof(float)) == 0);
        free(logits);
        rsr_runtime_api.engine_destroy(engine);
    }
    rsr_runtime_api.close(f.model);
}

static void test_refusals(char *blocks) {
    blocks_of_head(RSR_DTYPE_BF16, fill_margin, blocks);
    rsr_engine *engine = engine_of(1, 64, NULL);
    uint32_t picked[2];
    rsr_sampling bad = RSR_SAMPLING_INIT;
    bad.temperature = -1.0f;
    const rsr_pick behind[] = {{N_TOKENS, NULL}}, twice[] = {{3, NULL}, {3, NULL}},
                   wrong[] = {{3, &bad}};
    CHECK_INT(eval_picks(engine, behind, 1, picked, NULL, NULL), RSR_ERR_ARGUMENT);
    CHECK_INT(eval_picks(engine, twice, 2, picked, NULL, NULL), RSR_ERR_ARGUMENT);
    CHECK_INT(eval_picks(engine, wrong, 1, picked, NULL, NULL), RSR_ERR_ARGUMENT);
    CHECK_INT(eval_picks(engine, twice, 1, NULL, NULL, NULL), RSR_ERR_ARGUMENT);
    CHECK_INT(eval_picks(engine, NULL, 1, picked, NULL, NULL), RSR_ERR_ARGUMENT);
    rsr_runtime_api.engine_destroy(engine);
    rsr_runtime_api.close(f.model);
}

/* A query becomes infinite or NaN after the last norm: its pick reads all logits, and is refused
 * because of them. */
static void spoil(void *user, const rsr_probe_point *point) {
    const uint32_t *token = user;
    if (point->kind == RSR_PROBE_LOGITS_INPUT)
        *(float *)(void *)((char *)point->data + *token * point->row_bytes) = NAN;
}

static void test_not_finite(char *blocks) {
    blocks_of_head(RSR_DTYPE_BF16, fill_margin, blocks);
    uint32_t spoilt = 4, picked[2];
    rsr_engine_options options = RSR_ENGINE_OPTIONS_INIT;
    rsr_engine *engine = NULL;
    options.n_threads = 2;
    options.probe = spoil;
    options.probe_user = &spoilt;
    CHECK_INT(rsr_runtime_api.engine_create(f.model, &options, &engine, NULL), RSR_OK);
    const rsr_pick picks[] = {{3, NULL}, {4, NULL}};
    CHECK_INT(eval_picks(engine, picks, 2, picked, NULL, NULL), RSR_ERR_NUMERIC);
    CHECK_INT(eval_picks(engine, picks, 1, picked, NULL, NULL), RSR_OK);
    CHECK_INT(picked[0], sampled(NULL, 3));
    rsr_runtime_api.engine_destroy(engine);
    rsr_runtime_api.close(f.model);
}

static void test_broken_modules(char *blocks) {
    const struct rsr_head_sketch good = sketch_of(2, blocks);
    float far[HIDDEN] = {0.0f};
    far[HIDDEN - 1] = INFINITY;
    struct rsr_head_sketch bad[6];
    for (size_t i = 0; i < 6; i++)
        bad[i] = good;
    bad[0].block_bytes += 64;
    bad[1].n_planes = 3;
    bad[2].n_planes = 0;
    bad[3].centre = NULL;
    bad[4].centre = far;
    bad[5].blocks = blocks + 8;
    for (size_t i = 0; i < 6; i++) {
        rsr_open_options options = RSR_OPEN_OPTIONS_INIT;
        rsr_error err = RSR_ERROR_INIT;
        rsr_model *model = NULL;
        options.target = f.fake.target.name;
        f.fake.tensors.head_sketch = bad[i];
        CHECK_INT(rsr_runtime_api.open(&f.fake.module, NULL, &options, &model, &err), RSR_ERR_ABI);
        CHECK(strstr(err.message, "sketch") != NULL);
    }
}

/* Noise bounds: above the noise, by less than one where it is large. */
static void test_noise_bound(void) {
    const uint64_t key = rsr_noise_key(3, 1, 4);
    for (uint32_t token = 0; token < 100000; token++) {
        const double noise = rsr_gumbel(key, token), bound = rsr_gumbel_bound(key, token);
        CHECK(bound >= noise);
        CHECK(noise < 2.0 || bound < noise + 0.3);
    }
    /* The largest noise that there is. */
    const uint64_t last = rsr_noise_key(UINT64_C(0xda560b97b3c8edee), 0, 0);
    CHECK(rsr_gumbel_bound(last, 0) >= rsr_gumbel(last, 0) && rsr_gumbel(last, 0) > 36.0);
}

#endif

int main(void) {
    uint64_t state = 11;
    int wrong = 0;
    char *blocks =
        aligned_alloc(64, (size_t)N_BLOCKS * rsr_sketch_flat_shape(HIDDEN, 2).block_bytes);
    for (uint32_t i = 0; i < N_TOKENS; i++)
        tokens[i] = (uint32_t)(check_random(&state) % VOCAB);
    tokens[9] = tokens[8];
    fake_module_init(&f.fake, &shape, 1);
    open_head(RSR_DTYPE_F32, NULL);
    all_logits(); /* for `hidden` */
    rsr_runtime_api.close(f.model);
    for (size_t c = 0; c < N_CASES && !(OMITTED && wrong > 0); c++)
        wrong += test_case(c, blocks);
#if OMITTED
    CHECK(wrong > 0);
#else
    CHECK_INT(wrong, 0);
    test_reads_little(blocks);
    test_reads_nucleus(blocks);
    test_reads_allowed(blocks);
    test_tries_likely_rows(blocks);
    test_mixed(blocks);
    test_refusals(blocks);
    test_not_finite(blocks);
    test_broken_modules(blocks);
    test_noise_bound();
#endif
    free(blocks);
    return CHECK_EXIT();
}
