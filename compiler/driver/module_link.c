/* module_link.c - makes the parts of a module other than kernels: its tables and tensors,
 * compiling, linking. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "driver/compilation.h"
#include "driver/gpu_operations.h"
#include "emit/ptx/cuda_unit.h"
#include "link/seal.h"
#include "model/delta_weights.h"
#include "model/graph.h"
#include "model/ternary.h"

/* ---- opening --------------------------------------------------------------------------------- */

/* The linker works in a temporary directory on the file system of its output. --save-temps can keep
 * the files that it reads. */
static enum rsrc_status open_work_dir(struct rsrc_outputs *outputs, const char *output) {
    struct rsrc_run *run = outputs->run;
    const struct rsrc_options *options = run->options;
    const bool shared = outputs->dir != NULL;
    if (rsrc_temporary_dir(run->diag, &run->arena, shared ? outputs->temporary_dir : output,
                           &outputs->link_dir) != RSRC_OK)
        return RSRC_FAILED;
    outputs->work_dir = outputs->link_dir;
    if (!options->save_temps || options->dry_run)
        return RSRC_OK;
    const char *help = "name a directory with --save-temps=DIR";
    const char *dir =
        options->temps_dir != NULL
            ? options->temps_dir
            : rsrc_arena_printf(&run->arena, "%s.temps", shared ? outputs->dir : output);
    outputs->work_dir = dir;
    if (rsrc_claim_output(outputs, "--save-temps", dir) != RSRC_OK ||
        rsrc_check_directory(run->diag, dir, help) != RSRC_OK)
        return RSRC_FAILED;
    if (mkdir(dir, 0777) == 0 || errno == EEXIST)
        return RSRC_OK;
    return rsrc_refuse(run->diag, "output-unwritable", &(struct rsrc_place){.file = dir}, help,
                       "cannot create: %s", strerror(errno));
}

/* Reported before any work, because the user will have to start again. */
static void warn_without_tokenizer(const struct rsrc_input_set *in) {
    const struct rsr_checkpoint *checkpoint = &in->checkpoint;
    if (!in->has_checkpoint || !checkpoint->has_config || checkpoint->tokenizer.section != NULL ||
        checkpoint->tokenizer.is_unread)
        return;
    const struct rsrc_place place = {.file = checkpoint->path};
    rsrc_warning(
        in->run->diag, "tokenizer-missing", &place,
        "put the model's tokenizer.json beside its config.json, or give a GGUF file with a "
        "tokenizer",
        "has no tokenizer: the module takes token ids alone, and rsr-run needs text");
}

enum rsrc_status rsrc_open_link(struct rsrc_compilation *c, const char *path) {
    if (rsrc_output_check(c->run.diag, rsrc_final_path(&c->outputs, path)) != RSRC_OK ||
        open_work_dir(&c->outputs, path) != RSRC_OK)
        return RSRC_FAILED;
    rsrc_open_units(&c->units, &c->units.link, RSR_UNIT_OBJ, c->outputs.work_dir);
    warn_without_tokenizer(&c->inputs);
    return rsrc_open_weights_object(&c->weights, c->outputs.work_dir);
}

/* ---- tables and tensors ---------------------------------------------------------------------- */

static enum rsrc_status emit_norms(struct rsrc_compilation *c, const char **symbols) {
    rsrc_begin_part(&c->weights, "norms");
    for (uint32_t n = 0; n < c->inputs.graph.n_norms; n++) {
        const struct rsr_norm_layer *norm = &c->inputs.graph.norms[n];
        struct rsrc_arena arena;
        rsrc_arena_init(&arena);
        const float *weight = NULL;
        enum rsrc_status status = rsrc_decode_norm(c->run.diag, &arena, norm, &weight);
        const struct rsr_blob blob = {.symbol = rsrc_arena_printf(&arena, "rsr_w_norm_%u", n),
                                      .bytes = weight,
                                      .size_bytes = (uint64_t)norm->cols * sizeof(float),
                                      .align = 64};
        if (status == RSRC_OK)
            status = rsrc_emit_own_blob(&c->weights, blob, &symbols[n]);
        rsrc_arena_free(&arena);
        if (status != RSRC_OK)
            return status;
    }
    return RSRC_OK;
}

/* What profiles know of attention's logits, for the KV index. */
static enum rsrc_status emit_spreads(struct rsrc_compilation *c, const char **symbol) {
    const uint32_t n = rsrc_n_spreads(&c->inputs);
    if (c->inputs.spreads == NULL)
        return RSRC_OK;
    rsrc_begin_part(&c->weights, "logit spreads");
    float *spreads = RSRC_NEW_ARRAY(&c->run.arena, n, float);
    for (uint32_t i = 0; i < n; i++)
        spreads[i] = (float)c->inputs.spreads[i];
    const struct rsr_blob blob = {.symbol = "rsr_w_logit_spreads",
                                  .bytes = spreads,
                                  .size_bytes = (uint64_t)n * sizeof(*spreads),
                                  .align = 64};
    return rsrc_emit_own_blob(&c->weights, blob, symbol);
}

static enum rsrc_status emit_deltas(struct rsrc_compilation *c, const char **symbols) {
    const struct rsr_graph *graph = &c->inputs.graph;
    enum rsrc_status status = RSRC_OK;
    rsrc_begin_part(&c->weights, "delta rules");
    for (uint32_t i = 0; status == RSRC_OK && i < graph->n_deltas; i++) {
        struct rsrc_arena arena;
        rsrc_arena_init(&arena);
        struct rsr_blob blob = {.symbol = rsrc_arena_printf(&arena, "rsr_w_delta_%u", i),
                                .align = 64};
        blob.bytes = rsrc_decode_delta(&arena, graph, i, &blob.size_bytes);
        status = rsrc_emit_own_blob(&c->weights, blob, &symbols[i]);
        rsrc_arena_free(&arena);
    }
    return status;
}

static enum rsrc_status emit_tensor(struct rsrc_compilation *c, const char *part,
                                    const struct rsr_tensor *tensor, const char *name,
                                    const char **symbol) {
    rsrc_begin_part(&c->weights, part);
    const struct rsr_blob blob = {.symbol = name,
                                  .bytes = tensor->data,
                                  .size_bytes = tensor->size_bytes,
                                  .is_mapped = tensor->is_mapped,
                                  .align = 4096};
    return rsrc_emit_matrix(&c->weights, blob, symbol);
}

static enum rsrc_status emit_embedding(struct rsrc_compilation *c, const char **symbol) {
    static const char *const part = "embedding", *const name = "rsr_w_embedding";
    if (c->inputs.graph.embedding_blocks == NULL && !c->made.packed_embedding.is_packed)
        return emit_tensor(c, part, c->inputs.graph.embedding, name, symbol);
    rsrc_begin_part(&c->weights, part);
    *symbol = name;
    if (c->made.packed_embedding.is_packed)
        return rsrc_emit_packed(c, c->inputs.graph.embedding, name);
    return rsrc_emit_expanded_embedding(c, name);
}

/* A ternary head is a kernel, an embedding model has none. */
static enum rsrc_status emit_head(struct rsrc_compilation *c, const char **symbol) {
    if (c->inputs.graph.head == NULL || c->inputs.graph.head_slot.layer != RSR_NO_LAYER)
        return RSRC_OK;
    const struct rsr_tensor *head = c->inputs.graph.head;
    if (!rsrc_packing_of(c, head)->is_packed)
        return emit_tensor(c, "head", head, "rsr_w_head", symbol);
    *symbol = head == c->inputs.graph.embedding ? "rsr_w_embedding" : "rsr_w_head";
    if (head == c->inputs.graph.embedding) /* which has been written */
        return RSRC_OK;
    rsrc_begin_part(&c->weights, "head");
    return rsrc_emit_packed(c, head, *symbol);
}

static enum rsrc_status emit_dense(struct rsrc_compilation *c, const char **symbols) {
    enum rsrc_status status = RSRC_OK;
    for (uint32_t i = 0; status == RSRC_OK && i < c->inputs.graph.n_dense; i++)
        status = emit_tensor(c, "dense layers", c->inputs.graph.dense[i].weight,
                             rsrc_arena_printf(&c->run.arena, "rsr_w_dense_%u", i), &symbols[i]);
    return status;
}

static enum rsrc_status emit_tokenizer(struct rsrc_compilation *c, const char **symbol) {
    const struct rsr_blob tokenizer = {.symbol = "rsr_w_tokenizer",
                                       .bytes = c->inputs.checkpoint.tokenizer.section,
                                       .size_bytes = c->inputs.checkpoint.tokenizer.size_bytes,
                                       .align = 64};
    rsrc_begin_part(&c->weights, "tokenizer");
    return rsrc_emit_own_blob(&c->weights, tokenizer, symbol);
}

/* The name that probes show: the role; for a linear layer's own norm, also the layer's role. */
static const char *norm_name(struct rsrc_compilation *c, uint32_t number) {
    const struct rsr_norm_layer *norm = &c->inputs.graph.norms[number];
    const char *name = rsrc_role_name(norm->role);
    return norm->role == RSR_ROLE_PROJ_NORM
               ? rsrc_arena_printf(&c->run.arena, "%s.%s", rsrc_role_name(norm->owner), name)
               : name;
}

/* Indexed by kernel number, see struct rsrc_step_kernels. */
static const struct rsr_linear_unit *list_linears(struct rsrc_compilation *c, uint32_t target) {
    const struct rsrc_step_kernels *kernels = &c->made.steps[target].kernels;
    struct rsr_linear_unit *linears =
        RSRC_NEW_ARRAY(&c->run.arena, kernels->n_kernels, struct rsr_linear_unit);
    for (uint32_t i = 0; i < kernels->n_kernels; i++) {
        const size_t item = (size_t)target * c->inputs.n_items + kernels->layer[i];
        const bool prefill = i >= c->inputs.graph.n_layers;
        linears[i] = c->made.linears[item * RSR_REGIME_COUNT +
                                     (prefill ? RSR_REGIME_PREFILL : RSR_REGIME_DECODE)];
    }
    return linears;
}

/* Any number but 0. */
#define HOLLOW_SEED UINT64_C(0x9e3779b97f4a7c15)

static enum rsrc_status write_tables(struct rsrc_compilation *c) {
    static const char *const QUERY[] = {"rsr_module_query"};
    const struct rsr_graph *graph = &c->inputs.graph;
    struct rsrc_arena *arena = &c->run.arena;
    const char **norms = RSRC_NEW_ARRAY(arena, graph->n_norms, const char *);
    const char **roles = RSRC_NEW_ARRAY(arena, graph->n_norms, const char *);
    const char **dense = RSRC_NEW_ARRAY(arena, graph->n_dense, const char *);
    const char **deltas = RSRC_NEW_ARRAY(arena, graph->n_deltas, const char *);
    for (uint32_t n = 0; n < graph->n_norms; n++)
        roles[n] = norm_name(c, n);
    const struct rsr_module_note note = rsrc_describe_module(c, NULL);
    struct rsr_module_input input = {.note = &note,
                                     .hollow_seed = c->run.options->hollow ? HOLLOW_SEED : 0,
                                     .shard = c->inputs.shard,
                                     .n_shards = c->inputs.n_shards,
                                     .graph = graph,
                                     .n_targets = c->inputs.n_cpus,
                                     .n_gpus = rsrc_n_gpus(&c->inputs),
                                     .norm_roles = roles,
                                     .norm_symbols = norms,
                                     .dense_symbols = dense,
                                     .delta_symbols = deltas};
    struct rsr_module_target *targets =
        RSRC_NEW_ARRAY(arena, c->inputs.n_specs, struct rsr_module_target);
    for (uint32_t t = 0; t < c->inputs.n_specs; t++)
        targets[t] = (struct rsr_module_target){
            .spec = &c->inputs.specs[t],
            .linears = list_linears(c, t),
            .n_linears = c->made.steps[t].kernels.n_kernels,
            .steps = c->made.steps[t].steps,
            .n_steps = c->made.steps[t].n_steps,
            .images = c->made.images[t].list,
            .n_images = c->made.images[t].n,
            .operation_images = c->made.operation_images[t].list,
            .n_operation_images = c->made.operation_images[t].n,
            .operations = rsrc_is_gpu(&c->inputs, t) ? rsrc_gpu_operations : NULL,
            .groups = c->made.gpu_products[t].list,
            .n_groups = c->made.gpu_products[t].n,
            .quantize = rsrc_is_gpu(&c->inputs, t) ? &rsrc_gpu_quantize : NULL};
    input.targets = targets;
    input.gpus = targets + c->inputs.n_cpus;
    input.packed_embedding = c->made.packed_embedding.is_packed;
    input.packed_head = graph->head != NULL && rsrc_packing_of(c, graph->head)->is_packed;
    if (emit_norms(c, norms) != RSRC_OK || emit_deltas(c, deltas) != RSRC_OK ||
        emit_embedding(c, &input.embedding_symbol) != RSRC_OK ||
        emit_head(c, &input.head_symbol) != RSRC_OK ||
        rsrc_emit_head_sketch(c, &input.head_sketch) != RSRC_OK ||
        emit_spreads(c, &input.spreads_symbol) != RSRC_OK || emit_dense(c, dense) != RSRC_OK ||
        emit_tokenizer(c, &input.tokenizer_symbol) != RSRC_OK)
        return RSRC_FAILED;
    rsrc_shard_weights(c, &input);
    struct rsrc_tables tables;
    rsrc_tables_init(arena, &tables);
    rsrc_describe_model(&tables, &input);
    c->made.exports = QUERY;
    c->made.n_exports = 1;
    return rsrc_write_tables(&c->units, c->outputs.temporary_dir, "model", &tables);
}

/* Writes the tables of a complete model (without --layers), or the functions of matrices. Kernels
 * that were read as text have neither. */
static enum rsrc_status finish_emission(struct rsrc_compilation *c) {
    const struct rsrc_input_set *in = &c->inputs;
    if (rsrc_close_units(&c->units) != RSRC_OK)
        return RSRC_FAILED;
    const bool collects = c->weights.elf_open || c->weights.raw_open;
    const bool has_tables = c->run.way == RSRC_WAY_COMPILE && collects;
    if (has_tables && rsrc_is_whole(in) && write_tables(c) != RSRC_OK)
        return RSRC_FAILED;
    if (has_tables && !in->has_graph && rsrc_write_matrices(c) != RSRC_OK)
        return RSRC_FAILED;
    return rsrc_close_weights(&c->weights);
}

/* ---- linking --------------------------------------------------------------------------------- */

/* Objects per layer go to the directory of the output. */
static enum rsrc_status compile_own_objects(struct rsrc_compilation *c) {
    struct rsrc_unit_writer *units = &c->units.kinds[RSR_UNIT_OBJ];
    if (!units->active)
        return RSRC_OK;
    if (rsrc_compile_c_units(&c->units, units) != RSRC_OK)
        return RSRC_FAILED;
    for (uint32_t i = 0; i < units->n_files && !c->run.options->dry_run; i++) {
        const char *name = units->files[i].name;
        const char *to =
            rsrc_arena_printf(&c->run.arena, "%s/%s.o", c->outputs.temporary_dir, name);
        if (rename(rsrc_arena_printf(&c->run.arena, "%s/%s.o", units->dir, name), to) != 0)
            return rsrc_cannot_finish(c->run.diag, to);
    }
    return RSRC_OK;
}

/* Kinds of modules, and where the linker makes one. */
static const struct rsrc_kind *const LINKED[] = {&rsrc_kinds[RSRC_KIND_SO],
                                                 &rsrc_kinds[RSRC_KIND_OBJ]};
#define N_LINKED (sizeof(LINKED) / sizeof(LINKED[0]))

static const char *linked_name(struct rsrc_run *run, const struct rsrc_kind *kind) {
    return rsrc_arena_printf(&run->arena, "out%s", kind->suffix);
}

/* Links one kind of module; none if a directory of objects was asked for. */
static bool links(const struct rsrc_compilation *c, const struct rsrc_kind *kind) {
    return c->units.link.active && rsrc_wants(&c->run, kind->emit) &&
           !(kind->emit == RSRC_EMIT_OBJ && c->units.kinds[RSR_UNIT_OBJ].active);
}

const char *rsrc_linked_path(struct rsrc_compilation *c, const struct rsrc_kind *kind) {
    return rsrc_arena_printf(&c->run.arena, "%s/%s", c->outputs.link_dir,
                             linked_name(&c->run, kind));
}

/* Seals a library that has tables. A relocatable object is not yet a file that can be loaded. */
static bool has_note(const struct rsrc_compilation *c, const struct rsrc_kind *kind) {
    return kind->emit == RSRC_EMIT_SO && c->run.way == RSRC_WAY_COMPILE && !c->run.options->dry_run;
}

static enum rsrc_status link_outputs(struct rsrc_compilation *c) {
    const struct rsrc_unit_writer *units = &c->units.link;
    struct rsrc_arena *arena = &c->run.arena;
    if (compile_own_objects(c) != RSRC_OK)
        return RSRC_FAILED;
    if (!units->active)
        return RSRC_OK;
    if (rsrc_compile_c_units(&c->units, units) != RSRC_OK)
        return RSRC_FAILED;
    const char *dir = rsrc_absolute_path(arena, c->outputs.work_dir);
    const char **objects = RSRC_NEW_ARRAY(arena, units->n_files, const char *);
    for (uint32_t i = 0; i < units->n_files; i++)
        objects[i] = rsrc_arena_printf(arena, "%s/%s.o", dir, units->files[i].name);
    for (uint32_t i = 0; i < N_LINKED; i++) {
        if (!links(c, LINKED[i]))
            continue;
        rsrc_show_progress(&c->run, "modules linked", 0, 1);
        const struct rsrc_link_input input = {.dir = dir,
                                              .objects = objects,
                                              .n_objects = units->n_files,
                                              .weights = &c->weights.elf,
                                              .aliases = c->units.aliases,
                                              .n_aliases = c->units.n_aliases,
                                              .exports = c->made.exports,
                                              .n_exports = c->made.n_exports,
                                              .output_dir = c->outputs.link_dir,
                                              .output = linked_name(&c->run, LINKED[i]),
                                              .relocatable = LINKED[i]->emit == RSRC_EMIT_OBJ};
        if (rsrc_link(c->run.diag, arena, &c->run.toolchain, &input) != RSRC_OK ||
            (has_note(c, LINKED[i]) &&
             rsrc_seal_module(c->run.diag, arena, rsrc_linked_path(c, LINKED[i]),
                              &c->weights.elf) != RSRC_OK))
            return RSRC_FAILED;
    }
    return RSRC_OK;
}

enum rsrc_status rsrc_commit_linked(struct rsrc_compilation *c) {
    for (uint32_t i = 0; i < N_LINKED; i++) {
        if (!links(c, LINKED[i]))
            continue;
        const char *path = rsrc_output_path(&c->outputs, LINKED[i]);
        if (rsrc_publish(c->run.diag, rsrc_linked_path(c, LINKED[i]), path) != RSRC_OK)
            return RSRC_FAILED;
    }
    return RSRC_OK;
}

static void add_tool(struct rsrc_times *times, uint32_t row, const struct rsrc_spawn_usage *usage) {
    times->rows[row].n_runs = usage->n_commands;
    times->rows[row].wall_s = usage->wall_s;
    times->rows[row].cpu_s = usage->cpu_s;
    times->rows[row].peak_bytes = usage->peak_bytes;
}

enum rsrc_status rsrc_model_link(struct rsrc_compilation *c) {
    if (finish_emission(c) != RSRC_OK)
        return RSRC_FAILED;
    const enum rsrc_status status = link_outputs(c);
    add_tool(&c->run.times, TIME_CC, &c->run.cc_usage);
    add_tool(&c->run.times, TIME_LD, &c->run.ld_usage);
    rsrc_end_progress(&c->run);
    return status;
}
