/* survey.c - rsrc --info: what a checkpoint is, what would be refused, and what a compilation would
 * make.
 *
 * Every layer runs through the passes up to lowering, and nothing is written. Unlike a compilation,
 * it continues after a refused layer, so that all mistakes are reported at once. It always prints
 * what it found out.
 */
#include <stdlib.h>
#include <string.h>

#include "base/suffix.h"
#include "rsr_hash.h"
#include "base/round.h"
#include "driver/layer.h"
#include "model/delta_weights.h"
#include "model/graph.h"
#include "model/tensor_data.h"
#include "report/info.h"

/* ---- layers ---------------------------------------------------------------------------------- */

/* The bytes that the kernel of a layer, for one regime and target, adds to a module. */
struct survey_kernel {
    uint8_t key[16]; /* equal keys: the same code */
    uint64_t code_bytes;
    struct survey_blob {
        uint8_t hash[16];
        uint64_t size_bytes;
        uint32_t align;
    } blobs[3];
};

struct rsrc_survey {
    struct rsr_info_layer *layers; /* [n_items] */
    struct survey_kernel *kernels; /* [n_items][n_specs][RSR_REGIME_COUNT]; code_bytes 0: none */
};

/* Sizes counted in compiled kernels of every variant. */
#define CODE_BYTES_PER_OP 8u
/* A function of a GPU in the images: PTX of 20 to 80 KB, and of NVRTC a cubin of half that; with
 * its share of the products of several layers, of which there are fewer. */
#define GPU_FUNCTION_BYTES 110000u

/* Weights are -1, 0 and 1, so the nonzero ones are odd. */
static uint64_t count_zeros(const struct rsr_matrix *matrix) {
    const uint64_t ones = UINT64_C(0x0101010101010101);
    const uint64_t n = (uint64_t)matrix->rows * matrix->cols;
    uint64_t n_odd = 0, i = 0;
    for (; i + 8 <= n; i += 8) {
        uint64_t bytes;
        memcpy(&bytes, matrix->values + i, sizeof(bytes));
        n_odd += (bytes & ones) * ones >> 56; /* at most 8 */
    }
    for (; i < n; i++)
        n_odd += matrix->values[i] & 1;
    return n - n_odd;
}

static struct survey_blob describe_blob(const struct rsr_blob *blob) {
    struct survey_blob described = {.size_bytes = blob->size_bytes, .align = blob->align};
    memcpy(described.hash, blob->hash, sizeof(described.hash));
    return described;
}

static void survey_kernel(const struct rsrc_layer_state *state, uint32_t target, uint32_t regime,
                          struct survey_kernel *out) {
    const struct rsr_lowered *lowered = rsrc_lowered_of(state, target, regime);
    const struct rsr_kernel *kernel = &lowered->kernel;
    struct rsr_hash hash;
    rsr_hash_init(&hash);
    rsr_hash_update(&hash, kernel->key, strlen(kernel->key));
    rsr_hash_final(&hash, out->key);
    out->code_bytes =
        kernel->matvec != NULL ? GPU_FUNCTION_BYTES : (uint64_t)kernel->n_ops * CODE_BYTES_PER_OP;
    if (kernel->n_bodies != 0) /* the index is code */
        out->code_bytes += rsrc_weight_bytes_of(state, target, regime);
    out->blobs[0] = describe_blob(&lowered->codes);
    out->blobs[1] = describe_blob(&lowered->index);
    out->blobs[2] = describe_blob(&lowered->scale);
}

static void survey_uses(const struct rsrc_layer_state *state, struct rsr_info_layer *layer) {
    const struct rsrc_compilation *c = state->compilation;
    for (uint32_t t = 0; t < c->inputs.n_specs; t++) {
        struct rsr_info_use *use = &layer->uses[t];
        for (uint32_t r = 0; r < RSR_REGIME_COUNT; r++) {
            use->variant[r] = rsrc_variant_of(&state->plans[t].regimes[r]);
            use->us[r] = state->plans[t].regimes[r].predicted_us;
        }
        use->token_bytes = rsrc_weight_bytes_of(state, t, RSR_REGIME_DECODE);
        const size_t first = ((size_t)state->item_index * c->inputs.n_specs + t) * RSR_REGIME_COUNT;
        for (uint32_t r = 0; r < rsrc_n_kernels(state, t); r++)
            survey_kernel(state, t, r, &c->made.survey->kernels[first + r]);
    }
}

enum rsrc_status rsrc_layer_survey(struct rsrc_layer_state *state) {
    struct rsrc_compilation *c = state->compilation;
    struct rsr_info_layer *layer = &c->made.survey->layers[state->item_index];
    if (state->matrix.values == NULL)
        return RSRC_OK;
    layer->is_decoded = true;
    layer->rows = state->matrix.rows;
    layer->cols = state->matrix.cols;
    layer->alphabet = rsrc_alphabet_name(state->matrix.alphabet);
    layer->n_zero = count_zeros(&state->matrix);
    if (!state->failed)
        survey_uses(state, layer);
    return RSRC_OK;
}

/* What the checkpoint says of a layer; for a layer that cannot be decoded this is all. */
static struct rsr_info_layer begin_layer(const struct rsrc_item *item) {
    const struct rsr_tensor *tensor = item->layer != NULL ? item->layer->weight : item->tensor;
    struct rsr_info_layer layer = {
        .label = item->name, .stored = rsrc_tensor_type_name(tensor), .input = item->input};
    if (item->layer != NULL) {
        layer.label = rsrc_role_name(item->role);
        layer.rows = item->layer->rows;
        layer.cols = item->layer->cols;
        if (item->layer->encoding == RSR_ENCODING_PACKED2)
            layer.stored = "packed2";
    }
    return layer;
}

enum rsrc_status rsrc_begin_survey(struct rsrc_compilation *c) {
    const struct rsrc_input_set *in = &c->inputs;
    struct rsrc_arena *arena = &c->run.arena;
    struct rsrc_survey *survey = RSRC_NEW(arena, struct rsrc_survey);
    survey->layers = RSRC_NEW_ARRAY(arena, in->n_items, struct rsr_info_layer);
    survey->kernels = RSRC_NEW_ARRAY(arena, (size_t)in->n_items * in->n_specs * RSR_REGIME_COUNT,
                                     struct survey_kernel);
    for (uint32_t i = 0; i < in->n_items; i++) {
        survey->layers[i] = begin_layer(&in->items[i]);
        survey->layers[i].uses = RSRC_NEW_ARRAY(arena, in->n_specs, struct rsr_info_use);
    }
    c->made.survey = survey;
    return RSRC_OK;
}

/* ---- the size of the module ------------------------------------------------------------------ */

/* Size of the runtime in a Release build: its character tables and its code. A library of matrices
 * links only a little of it. */
#define RUNTIME_DATA_BYTES UINT64_C(575000)
#define RUNTIME_CODE_BYTES UINT64_C(1350000)
#define MATRIX_RUNTIME_CODE_BYTES UINT64_C(8000)
/* Per kernel: descriptor, relocations, names, reason, and its operations in a step. */
#define KERNEL_TABLE_BYTES UINT64_C(800)
/* Symbols and section headers. */
#define SYMBOL_BYTES UINT64_C(35000)
#define MATRIX_SYMBOL_BYTES UINT64_C(4000)

static int compare_blobs(const void *left, const void *right) {
    const struct survey_blob *a = left, *b = right;
    if (a->size_bytes != b->size_bytes)
        return a->size_bytes < b->size_bytes ? -1 : 1;
    return memcmp(a->hash, b->hash, sizeof(a->hash));
}

/* Each once, at its alignment. */
static uint64_t add_blobs(struct survey_blob *blobs, size_t n) {
    qsort(blobs, n, sizeof(*blobs), compare_blobs);
    uint64_t bytes = 0;
    for (size_t i = 0; i < n; i++)
        if (blobs[i].size_bytes != 0 && (i == 0 || compare_blobs(&blobs[i], &blobs[i - 1]) != 0))
            bytes += rsrc_round_up(blobs[i].size_bytes, blobs[i].align);
    return bytes;
}

static int compare_kernels(const void *left, const void *right) {
    const struct survey_kernel *a = left, *b = right;
    return memcmp(a->key, b->key, sizeof(a->key));
}

static uint64_t add_code(struct survey_kernel *kernels, size_t n) {
    qsort(kernels, n, sizeof(*kernels), compare_kernels);
    uint64_t bytes = 0;
    for (size_t i = 0; i < n; i++)
        if (i == 0 || compare_kernels(&kernels[i], &kernels[i - 1]) != 0)
            bytes += kernels[i].code_bytes;
    return bytes;
}

/* Bytes of packed layers, and the estimate of their code. */
static void add_layers(struct rsrc_compilation *c, struct rsr_info_module *module,
                       size_t *n_kernels) {
    struct rsrc_survey *survey = c->made.survey;
    const size_t n = (size_t)c->inputs.n_items * c->inputs.n_specs * RSR_REGIME_COUNT;
    struct survey_blob *blobs = RSRC_NEW_ARRAY(&c->run.arena, 3 * n, struct survey_blob);
    for (size_t i = 0; i < n; i++) {
        memcpy(&blobs[3 * i], survey->kernels[i].blobs, sizeof(survey->kernels[i].blobs));
        if (c->run.options->hollow)
            blobs[3 * i].size_bytes = 0; /* codes */
        *n_kernels += survey->kernels[i].code_bytes != 0;
    }
    module->layer_bytes = add_blobs(blobs, 3 * n);
    module->code_bytes = add_code(survey->kernels, n);
}

static uint64_t page_bytes(uint64_t bytes) {
    return rsrc_round_up(bytes, 4096);
}

/* Of floats. */
static uint64_t add_matrices(const struct rsrc_compilation *c) {
    const struct rsr_graph *graph = &c->inputs.graph;
    const struct rsr_tensor *head = rsrc_own_head(graph);
    uint64_t bytes = page_bytes(rsrc_stored_bytes(c, graph->embedding));
    if (head != NULL)
        bytes += page_bytes(rsrc_stored_bytes(c, head));
    for (uint32_t i = 0; i < graph->n_dense; i++)
        bytes += page_bytes(graph->dense[i].weight->size_bytes);
    return bytes;
}

static uint64_t add_other_data(const struct rsrc_compilation *c) {
    if (!c->inputs.has_graph)
        return 0;
    const struct rsr_graph *graph = &c->inputs.graph;
    uint64_t bytes = c->inputs.checkpoint.tokenizer.size_bytes;
    if (!c->run.options->hollow)
        bytes += add_matrices(c);
    for (uint32_t n = 0; n < graph->n_norms; n++)
        bytes += rsrc_round_up((uint64_t)graph->norms[n].cols * sizeof(float), 64);
    for (uint32_t i = 0; i < graph->n_deltas; i++)
        bytes += rsrc_round_up(rsrc_delta_floats(&graph->hyper) * sizeof(float), 64);
    return bytes;
}

/* If the weights are aligned to huge pages, so is every segment of the file: tables, code, and two
 * small segments of relocated data. */
static uint64_t add_segments(uint64_t data, uint64_t tables, uint64_t code) {
    if (data < 8 * RSRC_HUGE_PAGE)
        return data + tables + code;
    return data + rsrc_round_up(tables, RSRC_HUGE_PAGE) + rsrc_round_up(code, RSRC_HUGE_PAGE) +
           2 * RSRC_HUGE_PAGE;
}

static struct rsr_info_module estimate_module(struct rsrc_compilation *c) {
    const struct rsr_head_plan *sketch = &c->made.head_plan;
    struct rsr_info_module module = {.other_bytes = add_other_data(c),
                                     .sketch_bytes = page_bytes(sketch->size_bytes)};
    size_t n_kernels = 0;
    add_layers(c, &module, &n_kernels);
    const uint64_t code =
        module.code_bytes + (c->inputs.has_graph ? RUNTIME_CODE_BYTES : MATRIX_RUNTIME_CODE_BYTES);
    const uint64_t tables =
        n_kernels * KERNEL_TABLE_BYTES + (c->inputs.has_graph ? RUNTIME_DATA_BYTES : 0);
    const uint64_t symbols = c->inputs.has_graph ? SYMBOL_BYTES : MATRIX_SYMBOL_BYTES;
    module.code_bytes = code + tables + symbols;
    module.total_bytes =
        add_segments(module.layer_bytes + module.other_bytes + module.sketch_bytes, tables, code) +
        symbols;
    return module;
}

/* ---- what is told ---------------------------------------------------------------------------- */

static enum rsrc_status print(struct rsrc_compilation *c, const struct rsr_info *info) {
    struct rsrc_buffer text = {0};
    (c->run.options->info == RSRC_INFO_JSON ? rsrc_info_json : rsrc_info_text)(info, &text);
    enum rsrc_status status = rsrc_stdout_write(c->run.diag, &text);
    if (status == RSRC_OK)
        status = rsrc_stdout_finish(c->run.diag);
    rsrc_buffer_free(&text);
    return status;
}

enum rsrc_status rsrc_describe(struct rsrc_compilation *c) {
    struct rsr_info info = rsrc_describe_input(c);
    if (c->made.survey != NULL) { /* the input could be read */
        info.layers = c->made.survey->layers;
        info.n_layers = c->inputs.n_items;
        info.specs = c->inputs.specs;
        info.n_targets = c->inputs.n_specs;
        rsrc_info_group(&c->run.arena, &info);
    }
    info.n_errors = rsrc_diag_error_count(c->run.diag);
    const bool has_module = c->inputs.has_graph || rsrc_n_gpus(&c->inputs) == 0;
    if (info.n_errors == 0 && has_module)
        info.module = estimate_module(c);
    return print(c, &info) == RSRC_OK && info.n_errors == 0 ? RSRC_OK : RSRC_FAILED;
}
