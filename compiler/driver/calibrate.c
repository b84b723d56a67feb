/* calibrate.c - runs a linked module on a text and writes its profile.
 *
 * The module is made for this machine, whatever the targets of the compilation are: activations
 * have the same bits on every target, and so has their profile. It exists among temporary files
 * alone. The text is evaluated in pieces that are spread over all of it; a probe counts, behind
 * every squared ReLU, the channels that a list would name. Of some tokens it keeps what the head
 * multiplies, and with their largest logits the rows are counted that a sketch of the head would
 * leave open. Attention's logits are measured, too (logit_spreads.c).
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "driver/compilation.h"
#include "driver/logit_spreads.h"
#include "model/open_rows.h"
#include "rsr.h"
#include "rsr_abi.h"

/* What is evaluated of a text. Means of 512 tokens of two texts differ by less than 0.1 % of the
 * channels (synthetic weights, 6912 channels). A piece is so long that attention has a past. */
#define PIECES 8u
#define PIECE_TOKENS 64u
#define TEXT_MAX (UINT64_C(1) << 24)
/* Of a piece, every PICK_STEP-th token is one whose next token is picked, and so is the last. */
#define PICK_STEP 8u
#define PIECE_PICKS (PIECE_TOKENS / PICK_STEP + 1)

/* Sums over all tokens. */
struct count {
    uint64_t active, runs, n_tokens;
};

/* Tokens whose next token is picked. */
struct picks {
    bool wanted;   /* false: no sketch comes into question */
    float *states; /* [PIECES * PIECE_PICKS][hidden]: what the head multiplies */
    float *best;   /* [PIECES * PIECE_PICKS]: the largest logits */
    float *logits; /* [PIECE_PICKS][vocab]: of a piece */
    uint32_t n;
};

struct calibration {
    const struct rsrc_compilation *c;
    struct count *counts; /* [n_items] */
    rsr_error err;
    rsr_model *model;
    rsr_engine *engine;
    rsr_model_info info;
    uint32_t *tokens;
    uint32_t n_tokens;
    struct picks picks;
    struct rsrc_logit_spreads spreads;
    uint32_t n_entries; /* of the piece that is evaluated */
    uint64_t n_evaluated;
};

/* ---- before the module is made --------------------------------------------------------------- */

/* Whether a plan depends on what a sketch of the head leaves open. */
static bool has_sketchable_head(const struct rsrc_input_set *in) {
    const char *unused;
    return rsrc_can_sketch_head(&in->graph, &unused) && in->graph.head->data != NULL &&
           rsrc_is_large_head(in->graph.head->size_bytes);
}

enum rsrc_status rsrc_check_calibration(struct rsrc_compilation *c) {
    const struct rsrc_input_set *in = &c->inputs;
    const char *why = NULL;
    if (c->run.calibration == NULL)
        return RSRC_OK;
    if (!in->has_graph)
        why = "matrices run on no text";
    else if (in->checkpoint.tokenizer.section == NULL)
        why = "the checkpoint has no tokenizer to read a text with";
    if (why == NULL)
        return RSRC_OK;
    return rsrc_refuse(c->run.diag, "calibrate-model",
                       &(struct rsrc_place){.file = c->run.options->input}, "leave out --calibrate",
                       "--calibrate: %s", why);
}

/* ---- counting -------------------------------------------------------------------------------- */

static void count_channel(struct count *count, bool is_active, bool *was_active) {
    count->active += is_active;
    count->runs += is_active && !*was_active;
    *was_active = is_active;
}

/* Rows of up: what the gate leaves above 0. (A NaN counts, because a list names it.) */
static void count_gate(const rsr_probe_point *point, struct count *count) {
    for (uint32_t t = 0; t < point->n_tokens; t++) {
        const float *row =
            (const float *)(const void *)((const char *)point->data + t * point->row_bytes);
        bool was_active = false;
        for (uint32_t i = 0; i < point->cols; i++)
            count_channel(count, !(row[i] <= 0.0f), &was_active);
    }
    count->n_tokens += point->n_tokens;
}

/* Columns of down: activations that are not 0 in int8. */
static void count_activations(const rsr_probe_point *point, struct count *count) {
    for (uint32_t t = 0; t < point->n_tokens; t++) {
        const int8_t *row = (const int8_t *)point->data + t * point->row_bytes + RSR_ACT_HEADER;
        bool was_active = false;
        for (uint32_t i = 0; i < point->cols; i++)
            count_channel(count, row[i] != 0, &was_active);
    }
    count->n_tokens += point->n_tokens;
}

/* NULL: nothing is counted there. */
static struct count *count_of(const struct calibration *b, uint32_t block, enum rsr_list list) {
    const struct rsrc_input_set *in = &b->c->inputs;
    for (uint32_t i = 0; i < in->n_items; i++)
        if (in->items[i].block == block && rsrc_item_list(in, &in->items[i]) == list)
            return &b->counts[i];
    return NULL;
}

static bool is_picked(const struct calibration *b, uint32_t position) {
    return b->picks.wanted &&
           (position % PICK_STEP == PICK_STEP - 1 || position + 1 == b->n_entries);
}

static void keep_states(struct calibration *b, const rsr_probe_point *point) {
    for (uint32_t t = 0; t < point->n_tokens; t++)
        if (is_picked(b, point->positions[t]))
            memcpy(b->picks.states + (size_t)b->picks.n++ * point->cols,
                   (const char *)point->data + t * point->row_bytes, point->cols * sizeof(float));
}

static void probe(void *user, const rsr_probe_point *point) {
    struct calibration *b = user;
    rsrc_probe_spreads(&b->spreads, point);
    if (point->kind == RSR_PROBE_LOGITS_INPUT)
        keep_states(b, point);
    const bool is_gate = point->kind == RSR_PROBE_LINEAR_OUTPUT && strcmp(point->role, "gate") == 0;
    const bool is_down = point->kind == RSR_PROBE_LINEAR_INPUT &&
                         strcmp(point->role, "down") == 0 && point->has_int8_rows;
    struct count *count = is_gate   ? count_of(b, point->block, RSR_LIST_ROWS)
                          : is_down ? count_of(b, point->block, RSR_LIST_COLS)
                                    : NULL;
    if (count == NULL)
        return;
    if (is_gate)
        count_gate(point, count);
    else
        count_activations(point, count);
}

/* ---- running --------------------------------------------------------------------------------- */

static enum rsrc_status refuse_run(const struct calibration *b) {
    return rsrc_refuse(b->c->run.diag, "calibrate-run", NULL, "leave out --calibrate",
                       "--calibrate: %s", b->err.message);
}

static enum rsrc_status open_model(struct calibration *b, const char *path) {
    rsr_engine_options options = RSR_ENGINE_OPTIONS_INIT;
    b->info = (rsr_model_info)RSR_MODEL_INFO_INIT;
    if (rsr_open(path, NULL, &b->model, &b->err) != RSR_OK ||
        rsr_model_get_info(b->model, &b->info) != RSR_OK)
        return refuse_run(b);
    const uint32_t most = PIECE_TOKENS + 1; /* with the first of a text */
    options.n_threads = b->c->run.n_jobs;
    options.context = b->info.context < most ? b->info.context : most;
    options.max_batch = most;
    options.probe = probe;
    options.probe_user = b;
    return rsr_engine_create(b->model, &options, &b->engine, &b->err) == RSR_OK ? RSRC_OK
                                                                                : refuse_run(b);
}

static void begin_picks(struct calibration *b, struct rsrc_arena *arena) {
    struct picks *picks = &b->picks;
    picks->wanted = has_sketchable_head(&b->c->inputs);
    if (!picks->wanted)
        return;
    picks->states = RSRC_NEW_ARRAY(arena, (size_t)PIECES * PIECE_PICKS * b->info.hidden, float);
    picks->best = RSRC_NEW_ARRAY(arena, PIECES * PIECE_PICKS, float);
    picks->logits = RSRC_NEW_ARRAY(arena, (size_t)PIECE_PICKS * b->info.vocab, float);
}

static float largest_of(const float *x, uint32_t n) {
    float largest = -INFINITY;
    for (uint32_t i = 0; i < n; i++)
        largest = x[i] > largest ? x[i] : largest;
    return largest;
}

static enum rsrc_status read_text(struct calibration *b) {
    const struct rsrc_calibration *asked = b->c->run.calibration;
    const size_t n_bytes = asked->text_bytes < TEXT_MAX ? asked->text_bytes : TEXT_MAX;
    const char *text = (const char *)asked->text;
    size_t n = 0;
    rsr_status status =
        n_bytes == 0 ? RSR_OK : rsr_tokenize(b->model, text, n_bytes, 0, NULL, 0, &n, &b->err);
    if (status == RSR_OK || status == RSR_ERR_FULL) {
        b->tokens = malloc((n + 1) * sizeof *b->tokens);
        if (b->tokens == NULL)
            rsrc_out_of_memory((n + 1) * sizeof *b->tokens);
        status =
            n == 0 ? RSR_OK : rsr_tokenize(b->model, text, n_bytes, 0, b->tokens, n, &n, &b->err);
    }
    if (status != RSR_OK)
        return refuse_run(b);
    b->n_tokens = (uint32_t)n;
    return n != 0 ? RSRC_OK
                  : rsrc_refuse(b->c->run.diag, "calibrate-text",
                                &(struct rsrc_place){.file = asked->text_name},
                                "give a text like those that the model will see",
                                "--calibrate: there is no text to run the model on");
}

static enum rsrc_status evaluate(struct calibration *b, const uint32_t *tokens, uint32_t n) {
    const bool has_bos = b->info.bos_token != UINT32_MAX && n < b->info.context;
    rsr_batch_entry entries[PIECE_TOKENS + 1];
    rsr_sequence *sequence = NULL;
    if (rsr_sequence_create(b->engine, &sequence, &b->err) != RSR_OK)
        return refuse_run(b);
    b->n_entries = n + has_bos;
    for (uint32_t t = 0; t < b->n_entries; t++)
        entries[t] = (rsr_batch_entry){.sequence = sequence,
                                       .position = t,
                                       .token = !has_bos ? tokens[t]
                                                : t == 0 ? b->info.bos_token
                                                         : tokens[t - 1],
                                       .want_logits = is_picked(b, t)};
    const uint32_t first = b->picks.n, vocab = b->info.vocab;
    rsr_batch batch = RSR_BATCH_INIT;
    batch.entries = entries;
    batch.n_entries = b->n_entries;
    batch.logits = b->picks.logits;
    batch.logits_capacity = b->picks.wanted ? (size_t)PIECE_PICKS * vocab : 0;
    const rsr_status status = rsr_eval(b->engine, &batch, &b->err);
    rsr_sequence_destroy(sequence);
    for (uint32_t i = first; i < b->picks.n; i++)
        b->picks.best[i] = largest_of(b->picks.logits + (size_t)(i - first) * vocab, vocab);
    b->n_evaluated += b->n_entries;
    return status == RSR_OK ? RSRC_OK : refuse_run(b);
}

/* Pieces of a short text follow one another; those of a long text are spread evenly. */
static enum rsrc_status evaluate_pieces(struct calibration *b) {
    const uint32_t size = b->info.context < PIECE_TOKENS ? b->info.context : PIECE_TOKENS;
    const uint32_t last = b->n_tokens > size ? b->n_tokens - size : 0;
    for (uint32_t i = 0; i < PIECES; i++) {
        const uint32_t spread = (uint32_t)((uint64_t)last * i / (PIECES - 1));
        const uint32_t first = b->n_tokens > PIECES * size ? spread : i * size;
        if (first >= b->n_tokens)
            break;
        const uint32_t left = b->n_tokens - first;
        rsrc_show_progress(&b->c->run, "pieces of the text", i + 1, PIECES);
        if (evaluate(b, b->tokens + first, left < size ? left : size) != RSRC_OK)
            return RSRC_FAILED;
    }
    rsrc_end_progress(&b->c->run);
    return RSRC_OK;
}

/* ---- the profile ----------------------------------------------------------------------------- */

static struct rsrc_open_rows count_open_rows(const struct calibration *b) {
    const struct picks *picks = &b->picks;
    struct rsrc_open_rows rows = {.n_picks = picks->n, .n_rows = b->info.vocab};
    if (picks->n != 0)
        rsrc_count_open_rows(&b->c->inputs.graph, picks->states, picks->best, picks->n, rows.open);
    return rows;
}

static void print_profile(const struct calibration *b, struct rsrc_buffer *out) {
    const struct rsrc_input_set *in = &b->c->inputs;
    struct rsrc_arena arena;
    rsrc_arena_init(&arena);
    struct rsrc_profile profile = {
        .n_tokens = b->n_evaluated,
        .layers = RSRC_NEW_ARRAY(&arena, in->n_items, struct rsrc_profile_layer),
        .head = count_open_rows(b)};
    memcpy(profile.checkpoint, in->checkpoint.hash, sizeof(profile.checkpoint));
    for (uint32_t i = 0; i < in->n_items; i++) {
        const struct count *count = &b->counts[i];
        if (count->n_tokens == 0)
            continue;
        const double n = (double)count->n_tokens;
        profile.layers[profile.n_layers++] = (struct rsrc_profile_layer){
            .block = in->items[i].block,
            .list = rsrc_item_list(in, &in->items[i]),
            .n_channels = rsrc_item_channels(&in->items[i]),
            .activity = {count->n_tokens, (double)count->active / n, (double)count->runs / n}};
    }
    profile.n_attention = rsrc_list_spreads(&b->spreads, &arena, &profile.attention);
    rsrc_print_profile(&profile, out);
    rsrc_arena_free(&arena);
}

enum rsrc_status rsrc_calibrate(struct rsrc_compilation *c) {
    struct calibration b = {.c = c, .err = RSR_ERROR_INIT};
    b.counts = RSRC_NEW_ARRAY(&c->run.arena, c->inputs.n_items, struct count);
    enum rsrc_status status = open_model(&b, rsrc_linked_path(c, &rsrc_kinds[RSRC_KIND_SO]));
    if (status == RSRC_OK) {
        begin_picks(&b, &c->run.arena);
        rsrc_begin_spreads(&b.spreads, &c->inputs, &c->run.arena, PIECE_TOKENS + 1);
        status = read_text(&b);
    }
    if (status == RSRC_OK)
        status = evaluate_pieces(&b);
    if (status == RSRC_OK)
        print_profile(&b, &c->run.calibration->profile);
    rsr_engine_destroy(b.engine);
    rsr_close(b.model);
    free(b.tokens);
    return status;
}

const char *rsrc_profile_path(const struct rsrc_compilation *c) {
    const char *asked = c->run.options->profile_output;
    return !c->run.options->calibrate ? NULL
           : asked != NULL            ? asked
                                      : rsrc_beside_outputs(&c->outputs, ".profile.json");
}
