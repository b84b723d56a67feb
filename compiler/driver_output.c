/* driver_output.c - where results go: text sinks, units of emitted C, packed weights, the module.
 *
 * Everything is written under a temporary name and renamed by rsrc_commit_outputs() when the whole
 * compilation has succeeded, so a failure leaves nothing behind.
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "driver.h"
#include "emit/template.h"
#include "model/graph.h"
#include "model/ternary.h"

/* ---- sinks -------------------------------------------------------------------------------------------- */

static enum rsrc_status stdout_failed(struct rsrc_compilation *c) {
    rsrc_error(c->diag, "output-write-failed", NULL, NULL, "cannot write to stdout: %s",
               strerror(errno));
    return RSRC_FAILED;
}

enum rsrc_status rsrc_stdout_write(struct rsrc_compilation *c, const struct rsrc_buffer *text) {
    if (text->size_bytes == 0 ||
        fwrite(text->data, 1, text->size_bytes, stdout) == text->size_bytes)
        return RSRC_OK;
    return stdout_failed(c);
}

enum rsrc_status rsrc_stdout_finish(struct rsrc_compilation *c) {
    return fflush(stdout) == 0 ? RSRC_OK : stdout_failed(c);
}

static enum rsrc_status open_sink(struct rsrc_compilation *c, const char *path,
                                  struct rsrc_sink *sink) {
    sink->is_stdout = strcmp(path, "-") == 0;
    if (!sink->is_stdout && rsrc_output_open(c->diag, &c->arena, path, &sink->file) != RSRC_OK)
        return RSRC_FAILED;
    sink->open = true;
    return RSRC_OK;
}

enum rsrc_status rsrc_sink_write(struct rsrc_compilation *c, struct rsrc_sink *sink,
                                 const struct rsrc_buffer *text) {
    if (!sink->open || text->size_bytes == 0)
        return RSRC_OK;
    if (!sink->is_stdout)
        return rsrc_output_write(c->diag, &sink->file, text->data, text->size_bytes);
    return rsrc_stdout_write(c, text);
}

static enum rsrc_status commit_sink(struct rsrc_compilation *c, struct rsrc_sink *sink) {
    if (!sink->open)
        return RSRC_OK;
    sink->open = false;
    return sink->is_stdout ? RSRC_OK : rsrc_output_commit(c->diag, &sink->file);
}

static void abandon_sink(struct rsrc_sink *sink) {
    if (sink->open && !sink->is_stdout)
        rsrc_output_abandon(&sink->file);
    sink->open = false;
}

static enum rsrc_status write_file(struct rsrc_compilation *c, const char *dir, const char *name,
                                   const char *text, size_t size_bytes) {
    struct rsrc_output file;
    const char *path = rsrc_arena_printf(&c->arena, "%s/%s", dir, name);
    if (rsrc_output_open(c->diag, &c->arena, path, &file) != RSRC_OK)
        return RSRC_FAILED;
    if (rsrc_output_write(c->diag, &file, text, size_bytes) != RSRC_OK) {
        rsrc_output_abandon(&file);
        return RSRC_FAILED;
    }
    return rsrc_output_commit(c->diag, &file);
}

static enum rsrc_status cannot_finish(struct rsrc_compilation *c, const char *path) {
    const struct rsrc_place place = {.file = path};
    rsrc_error(c->diag, "output-write-failed", &place, NULL, "cannot finish: %s", strerror(errno));
    return RSRC_FAILED;
}

/* ---- names of outputs ------------------------------------------------------------------------------------ */

static const struct {
    enum rsrc_emit kind;
    const char *suffix;
    bool is_text;
} KINDS[] = {
    {RSRC_EMIT_SO, ".so", false},        {RSRC_EMIT_OBJ, ".o", false},
    {RSRC_EMIT_C, ".c", true},           {RSRC_EMIT_RSR, ".rsr", true},
    {RSRC_EMIT_PLAN, ".plan", true},     {RSRC_EMIT_STEP, ".step", true},
    {RSRC_EMIT_KERNEL, ".kernel", true}, {RSRC_EMIT_REPORT, ".report.txt", true},
};
#define N_KINDS (sizeof(KINDS) / sizeof(KINDS[0]))

/* "dir/model.safetensors" and "dir/model/" both give "model", in the current directory. Only known endings
 * go: model names have dots. */
static const char *stem_of_input(struct rsrc_compilation *c) {
    static const char *const ENDINGS[] = {".safetensors.index.json", ".index.json", ".safetensors",
                                          ".rsr"};
    const char *input = c->options->input;
    size_t end = strlen(input);
    while (end > 1 && input[end - 1] == '/')
        end--;
    size_t begin = end;
    while (begin > 0 && input[begin - 1] != '/')
        begin--;
    for (uint32_t i = 0; i < sizeof(ENDINGS) / sizeof(ENDINGS[0]); i++) {
        const size_t n = strlen(ENDINGS[i]);
        if (end - begin > n && memcmp(input + end - n, ENDINGS[i], n) == 0) {
            end -= n;
            break;
        }
    }
    const char *stem = rsrc_arena_strndup(&c->arena, input + begin, end - begin);
    const bool is_place =
        strcmp(stem, "") == 0 || strcmp(stem, ".") == 0 || strcmp(stem, "..") == 0;
    return is_place ? "model" : stem;
}

/* One kind writes OUT itself; several share it as a stem. */
static const char *path_of_kind(struct rsrc_compilation *c, enum rsrc_emit kind) {
    const uint32_t all = c->options->emit;
    const bool only = (all & (all - 1)) == 0;
    if (c->options->output != NULL && only) {
        /* A name like an option must not become one of the linker's. */
        const bool like_option = c->options->output[0] == '-' && c->options->output[1] != '\0';
        return like_option ? rsrc_arena_printf(&c->arena, "./%s", c->options->output)
                           : c->options->output;
    }
    const char *suffix = "";
    for (uint32_t i = 0; i < N_KINDS; i++)
        if (KINDS[i].kind == kind)
            suffix = KINDS[i].suffix;
    const char *stem = c->options->output != NULL ? c->options->output : stem_of_input(c);
    return rsrc_arena_printf(&c->arena, "%s%s", stem, suffix);
}

static bool wants(const struct rsrc_compilation *c, enum rsrc_emit kind) {
    return (c->options->emit & (uint32_t)kind) != 0;
}

/* ---- opening ----------------------------------------------------------------------------------------------- */

static void init_units(struct rsrc_compilation *c, struct rsrc_unit_writer *units) {
    const size_t n = (size_t)c->n_items * c->n_specs * RSR_REGIME_COUNT;
    units->active = true;
    units->units = RSRC_NEW_ARRAY(&c->arena, c->n_specs, struct rsrc_open_unit);
    units->names = RSRC_NEW_ARRAY(&c->arena, n + 1, const char *);
    units->keys = RSRC_NEW_ARRAY(&c->arena, n, struct rsrc_kernel_key);
    units->aliases = RSRC_NEW_ARRAY(&c->arena, n, const char *);
}

static bool is_directory_name(const char *path) {
    struct stat info;
    const size_t n = strlen(path);
    return (n != 0 && path[n - 1] == '/') || (stat(path, &info) == 0 && S_ISDIR(info.st_mode));
}

static enum rsrc_status open_c(struct rsrc_compilation *c) {
    const char *path = path_of_kind(c, RSRC_EMIT_C);
    init_units(c, &c->c_units);
    if (!is_directory_name(path)) {
        if (c->n_specs > 1) {
            rsrc_error(c->diag, "option-value", NULL, "give a directory: -o DIR/",
                       "-o: the C of several targets does not fit in one file");
            return RSRC_FAILED;
        }
        c->c_units.one_unit = true;
        return open_sink(c, path, &c->c_units.sink);
    }
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    c->c_dir = rsrc_arena_strndup(&c->arena, path, n);
    if (rsrc_temporary_dir(c->diag, &c->arena, c->c_dir, &c->c_units.dir) != RSRC_OK)
        return RSRC_FAILED;
    const char *weights = rsrc_arena_printf(&c->arena, "%s/model.weights", c->c_units.dir);
    if (rsrc_output_open(c->diag, &c->arena, weights, &c->weights.raw) != RSRC_OK)
        return RSRC_FAILED;
    c->weights.raw_open = true;
    return RSRC_OK;
}

static enum rsrc_status open_link(struct rsrc_compilation *c, const char *path) {
    if (rsrc_output_check(c->diag, path) != RSRC_OK ||
        rsrc_temporary_dir(c->diag, &c->arena, path, &c->work_dir) != RSRC_OK)
        return RSRC_FAILED;
    init_units(c, &c->link_units);
    c->link_units.share_equal = true;
    c->link_units.dir = c->work_dir;
    const char *weights = rsrc_arena_printf(&c->arena, "%s/weights.o", c->work_dir);
    if (rsrc_elf_open(c->diag, &c->arena, weights, c->specs[0].triple, &c->weights.elf) != RSRC_OK)
        return RSRC_FAILED;
    c->weights.elf_open = true;
    return RSRC_OK;
}

/* Only one kind, and only text, can go to standard output. */
static enum rsrc_status check_stdout(struct rsrc_compilation *c) {
    if (c->options->output == NULL || strcmp(c->options->output, "-") != 0)
        return RSRC_OK;
    for (uint32_t i = 0; i < N_KINDS; i++)
        if (KINDS[i].is_text && c->options->emit == (uint32_t)KINDS[i].kind)
            return RSRC_OK;
    rsrc_error(c->diag, "option-value", NULL, "name a file with -o, or choose one text kind",
               "-o -: standard output takes one of c, rsr, plan, step, kernel, report");
    return RSRC_FAILED;
}

enum rsrc_status rsrc_open_outputs(struct rsrc_compilation *c) {
    const struct {
        enum rsrc_emit kind;
        struct rsrc_sink *sink;
    } sinks[] = {{RSRC_EMIT_RSR, &c->rsr_sink},
                 {RSRC_EMIT_PLAN, &c->plan_sink},
                 {RSRC_EMIT_STEP, &c->step_sink},
                 {RSRC_EMIT_KERNEL, &c->kernel_sink},
                 {RSRC_EMIT_REPORT, &c->report_sink}};
    if (check_stdout(c) != RSRC_OK)
        return RSRC_FAILED;
    for (uint32_t i = 0; i < sizeof(sinks) / sizeof(sinks[0]); i++)
        if (wants(c, sinks[i].kind) &&
            open_sink(c, path_of_kind(c, sinks[i].kind), sinks[i].sink) != RSRC_OK)
            return RSRC_FAILED;
    if (c->to >= PASS_EMIT && wants(c, RSRC_EMIT_C) && open_c(c) != RSRC_OK)
        return RSRC_FAILED;
    if (c->to < PASS_LINK)
        return RSRC_OK;
    if (wants(c, RSRC_EMIT_SO))
        return open_link(c, path_of_kind(c, RSRC_EMIT_SO));
    return wants(c, RSRC_EMIT_OBJ) ? open_link(c, path_of_kind(c, RSRC_EMIT_OBJ)) : RSRC_OK;
}

/* ---- units -------------------------------------------------------------------------------------------------- */

static enum rsrc_status close_unit(struct rsrc_compilation *c, struct rsrc_unit_writer *writer,
                                   uint32_t target) {
    if (!writer->active || !writer->units[target].open)
        return RSRC_OK;
    writer->units[target].open = false;
    struct rsr_unit *unit = &writer->units[target].unit;
    enum rsrc_status status;
    if (writer->one_unit) {
        status = rsrc_sink_write(c, &writer->sink, &unit->text);
    } else {
        const char *file = rsrc_arena_printf(&c->arena, "%s.c", unit->name);
        status = write_file(c, writer->dir, file, unit->text.data, unit->text.size_bytes);
        writer->names[writer->n_names++] = unit->name;
    }
    rsrc_buffer_free(&unit->text);
    return status;
}

static const char *unit_name(struct rsrc_compilation *c, const struct rsrc_unit_writer *writer,
                             const struct rsrc_item *item, const struct rsr_spec *spec) {
    if (writer->one_unit)
        return "kernels";
    const char *name = item->block == RSR_NO_BLOCK
                           ? item->stem
                           : rsrc_arena_printf(&c->arena, "layer_%u", item->block);
    return c->n_specs == 1 ? name : rsrc_arena_printf(&c->arena, "%s_%s", name, spec->name);
}

/* A layer's kernels share a file; so do all of a run with one output. Items without a block are files
 * of their own. */
static enum rsrc_status select_unit(struct rsrc_compilation *c, struct rsrc_unit_writer *writer,
                                    const struct rsrc_item *item, uint32_t target) {
    struct rsrc_open_unit *open = &writer->units[target];
    if (open->open &&
        (writer->one_unit || (item->block != RSR_NO_BLOCK && open->block == item->block)))
        return RSRC_OK;
    if (close_unit(c, writer, target) != RSRC_OK)
        return RSRC_FAILED;
    const struct rsr_spec *spec = &c->specs[target];
    *open = (struct rsrc_open_unit){
        .open = true,
        .block = item->block,
        .unit = {.kind = RSR_UNIT_C, .name = unit_name(c, writer, item, spec)}};
    const char *model = c->has_checkpoint ? c->checkpoint.name : c->options->input;
    const char *why = NULL;
    return rsrc_backend_c.begin(&open->unit, model, spec, &why);
}

enum rsrc_status rsrc_emit_kernel(struct rsrc_compilation *c, struct rsrc_unit_writer *writer,
                                  const struct rsrc_item *item, uint32_t target,
                                  const struct rsr_kernel *kernel, const char **symbol) {
    const char *name = rsrc_arena_strdup(&c->arena, kernel->symbol);
    for (uint32_t i = 0; writer->share_equal && i < writer->n_keys; i++) {
        if (strcmp(writer->keys[i].key, kernel->key) == 0) {
            writer->aliases[writer->n_aliases++] =
                rsrc_arena_printf(&c->arena, "%s=%s", name, writer->keys[i].symbol);
            *symbol = writer->keys[i].symbol;
            return RSRC_OK;
        }
    }
    if (select_unit(c, writer, item, target) != RSRC_OK)
        return RSRC_FAILED;
    struct rsrc_arena arena;
    rsrc_arena_init(&arena);
    const char *why = NULL;
    const enum rsrc_status status =
        rsrc_backend_c.emit(&writer->units[target].unit, kernel, &arena, &why);
    if (status != RSRC_OK)
        rsrc_error(c->diag, "emit-declined", NULL, "choose another variant with --variant",
                   "the C back end cannot emit %s: %s", name, why);
    rsrc_arena_free(&arena);
    writer->keys[writer->n_keys++] =
        (struct rsrc_kernel_key){.key = rsrc_arena_strdup(&c->arena, kernel->key), .symbol = name};
    *symbol = name;
    return status;
}

/* ---- weights ------------------------------------------------------------------------------------------------- */

static const char *find_section(struct rsrc_weights_writer *weights, const uint8_t hash[16],
                                uint64_t size_bytes) {
    for (uint32_t i = 0; i < weights->n_sections; i++)
        if (weights->sections[i].size_bytes == size_bytes &&
            memcmp(weights->sections[i].hash, hash, 16) == 0)
            return weights->sections[i].symbol;
    return NULL;
}

static void add_section(struct rsrc_compilation *c, const uint8_t hash[16], uint64_t size_bytes,
                        const char *symbol) {
    struct rsrc_weights_writer *weights = &c->weights;
    if (weights->n_sections == weights->capacity) {
        const uint32_t capacity = weights->capacity * 2 + 64;
        struct rsrc_section_key *grown =
            RSRC_NEW_ARRAY(&c->arena, capacity, struct rsrc_section_key);
        if (weights->n_sections != 0)
            memcpy(grown, weights->sections, weights->n_sections * sizeof(*grown));
        weights->sections = grown;
        weights->capacity = capacity;
    }
    struct rsrc_section_key *section = &weights->sections[weights->n_sections++];
    *section = (struct rsrc_section_key){.size_bytes = size_bytes, .symbol = symbol};
    memcpy(section->hash, hash, 16);
}

static enum rsrc_status write_raw(struct rsrc_compilation *c, const struct rsr_blob *blob) {
    static const uint8_t zeros[4096];
    struct rsrc_weights_writer *weights = &c->weights;
    uint64_t missing = (blob->align - weights->raw_bytes % blob->align) % blob->align;
    weights->raw_bytes += missing;
    while (missing != 0) {
        const uint64_t n = missing < sizeof(zeros) ? missing : sizeof(zeros);
        if (rsrc_output_write(c->diag, &weights->raw, zeros, n) != RSRC_OK)
            return RSRC_FAILED;
        missing -= n;
    }
    rsrc_buffer_printf(&weights->stub,
                       "    .globl %s\n    .hidden %s\n    .set %s, weights + %" PRIu64 "\n",
                       blob->symbol, blob->symbol, blob->symbol, weights->raw_bytes);
    weights->raw_bytes += blob->size_bytes;
    return rsrc_output_write(c->diag, &weights->raw, blob->bytes, blob->size_bytes);
}

enum rsrc_status rsrc_emit_blob(struct rsrc_compilation *c, const struct rsr_blob *blob,
                                const char **symbol) {
    *symbol = NULL;
    if (blob->size_bytes == 0)
        return RSRC_OK;
    const char *known = find_section(&c->weights, blob->hash, blob->size_bytes);
    if (known != NULL) {
        *symbol = known;
        return RSRC_OK;
    }
    struct rsr_blob named = *blob;
    /* Targets of one module may pack the same layer differently. */
    named.symbol = c->n_specs == 1
                       ? rsrc_arena_strdup(&c->arena, blob->symbol)
                       : rsrc_arena_printf(&c->arena, "%s_%u", blob->symbol, c->weights.n_sections);
    add_section(c, blob->hash, blob->size_bytes, named.symbol);
    *symbol = named.symbol;
    if (c->weights.elf_open && rsrc_elf_append(c->diag, &c->weights.elf, &named) != RSRC_OK)
        return RSRC_FAILED;
    return c->weights.raw_open ? write_raw(c, &named) : RSRC_OK;
}

/* A blob that no layer was lowered to. */
static enum rsrc_status emit_own_blob(struct rsrc_compilation *c, struct rsr_blob blob,
                                      const char **symbol) {
    struct rsrc_hash hash;
    rsrc_hash_init(&hash);
    rsrc_hash_update(&hash, blob.bytes, blob.size_bytes);
    rsrc_hash_final(&hash, blob.hash);
    return rsrc_emit_blob(c, &blob, symbol);
}

/* ---- the rest of the module -------------------------------------------------------------------------------------- */

static enum rsrc_status emit_norms(struct rsrc_compilation *c, const char **symbols) {
    for (uint32_t n = 0; n < c->graph.n_norms; n++) {
        const struct rsr_norm_layer *norm = &c->graph.norms[n];
        struct rsrc_arena arena;
        rsrc_arena_init(&arena);
        const float *weight = NULL;
        enum rsrc_status status = rsrc_decode_norm(c->diag, &arena, norm, &weight);
        const struct rsr_blob blob = {.symbol = rsrc_arena_printf(&arena, "rsr_w_norm_%u", n),
                                      .bytes = weight,
                                      .size_bytes = (uint64_t)norm->cols * sizeof(float),
                                      .align = 64};
        if (status == RSRC_OK)
            status = emit_own_blob(c, blob, &symbols[n]);
        rsrc_arena_free(&arena);
        if (status != RSRC_OK)
            return status;
    }
    return RSRC_OK;
}

static enum rsrc_status emit_tensor(struct rsrc_compilation *c, const struct rsr_tensor *tensor,
                                    const char *name, const char **symbol) {
    const struct rsr_blob blob = {
        .symbol = name, .bytes = tensor->data, .size_bytes = tensor->size_bytes, .align = 4096};
    return emit_own_blob(c, blob, symbol);
}

/* By kernel number, see struct rsrc_step_kernels. */
static const struct rsr_linear_unit *list_linears(struct rsrc_compilation *c, uint32_t target) {
    const struct rsrc_step_kernels *kernels = &c->steps[target].kernels;
    struct rsr_linear_unit *linears =
        RSRC_NEW_ARRAY(&c->arena, kernels->n_kernels, struct rsr_linear_unit);
    for (uint32_t i = 0; i < kernels->n_kernels; i++) {
        const size_t item = (size_t)target * c->n_items + kernels->layer[i];
        const bool prefill = i >= c->graph.n_layers;
        linears[i] = c->linears[item * RSR_REGIME_COUNT +
                                (prefill ? RSR_REGIME_PREFILL : RSR_REGIME_DECODE)];
    }
    return linears;
}

static enum rsrc_status emit_tables(struct rsrc_compilation *c, struct rsrc_buffer *text) {
    const char **norms = RSRC_NEW_ARRAY(&c->arena, c->graph.n_norms, const char *);
    const char **roles = RSRC_NEW_ARRAY(&c->arena, c->graph.n_norms, const char *);
    for (uint32_t n = 0; n < c->graph.n_norms; n++)
        roles[n] = rsrc_role_name(c->graph.norms[n].role);
    struct rsr_module_input input = {
        .graph = &c->graph, .n_targets = c->n_specs, .norm_roles = roles, .norm_symbols = norms};
    struct rsr_module_target *targets =
        RSRC_NEW_ARRAY(&c->arena, c->n_specs, struct rsr_module_target);
    for (uint32_t t = 0; t < c->n_specs; t++)
        targets[t] = (struct rsr_module_target){.spec = &c->specs[t],
                                                .linears = list_linears(c, t),
                                                .n_linears = c->steps[t].kernels.n_kernels,
                                                .steps = c->steps[t].steps,
                                                .n_steps = c->steps[t].n_steps};
    input.targets = targets;
    const struct rsr_blob tokenizer = {.symbol = "rsr_w_tokenizer",
                                       .bytes = c->checkpoint.tokenizer.section,
                                       .size_bytes = c->checkpoint.tokenizer.size_bytes,
                                       .align = 64};
    if (emit_norms(c, norms) != RSRC_OK ||
        emit_tensor(c, c->graph.embedding, "rsr_w_embedding", &input.embedding_symbol) != RSRC_OK ||
        emit_tensor(c, c->graph.head, "rsr_w_head", &input.head_symbol) != RSRC_OK ||
        emit_own_blob(c, tokenizer, &input.tokenizer_symbol) != RSRC_OK)
        return RSRC_FAILED;
    rsrc_emit_module(&input, text);
    return RSRC_OK;
}

/* model.c includes them. */
static enum rsrc_status write_abi_headers(struct rsrc_compilation *c, const char *dir) {
    static const char *const HEADERS[] = {"rsr_abi.h", "rsr_cpu_features.def"};
    for (uint32_t i = 0; i < sizeof(HEADERS) / sizeof(HEADERS[0]); i++) {
        const char *text = rsrc_template_text(HEADERS[i]);
        if (write_file(c, dir, HEADERS[i], text, strlen(text)) != RSRC_OK)
            return RSRC_FAILED;
    }
    return RSRC_OK;
}

/* What a directory of C needs besides its units: the ABI headers, the weights. */
static enum rsrc_status finish_c_directory(struct rsrc_compilation *c) {
    const char *dir = c->c_units.dir;
    struct rsrc_buffer stub = {0};
    const bool x86 = strncmp(c->specs[0].triple, "x86_64", 6) == 0;
    rsrc_buffer_printf(&stub,
                       "/* The weights, for the assembler: run it in this directory. */\n"
                       "    .section .lrodata, \"a%s\", %%progbits\n    .balign 2097152\n"
                       "weights:\n    .incbin \"model.weights\"\n",
                       x86 ? "l" : "");
    if (c->weights.stub.size_bytes != 0)
        rsrc_buffer_puts(&stub, c->weights.stub.data);
    rsrc_buffer_puts(&stub, "    .section .note.GNU-stack, \"\", %progbits\n");
    enum rsrc_status status = write_file(c, dir, "weights.S", stub.data, stub.size_bytes);
    rsrc_buffer_free(&stub);
    if (status == RSRC_OK && c->has_graph)
        status = write_abi_headers(c, dir);
    if (status != RSRC_OK)
        return status;
    c->weights.raw_open = false;
    return rsrc_output_commit(c->diag, &c->weights.raw);
}

enum rsrc_status rsrc_finish_emission(struct rsrc_compilation *c) {
    for (uint32_t t = 0; t < c->n_specs; t++)
        if (close_unit(c, &c->link_units, t) != RSRC_OK || close_unit(c, &c->c_units, t) != RSRC_OK)
            return RSRC_FAILED;
    enum rsrc_status status = RSRC_OK;
    const bool whole = c->has_graph && c->n_items == c->graph.n_layers; /* no --layers */
    if (whole && (c->link_units.active || c->c_units.dir != NULL)) {
        struct rsrc_buffer text = {0};
        status = emit_tables(c, &text);
        if (status == RSRC_OK && c->link_units.active) {
            status = write_file(c, c->work_dir, "model.c", text.data, text.size_bytes);
            c->link_units.names[c->link_units.n_names++] = "model";
        }
        if (status == RSRC_OK && c->c_units.dir != NULL)
            status = write_file(c, c->c_units.dir, "model.c", text.data, text.size_bytes);
        rsrc_buffer_free(&text);
    }
    if (status == RSRC_OK && c->weights.raw_open)
        status = finish_c_directory(c);
    if (status == RSRC_OK && c->weights.elf_open) {
        c->weights.elf_open = false;
        status = rsrc_elf_close(c->diag, &c->weights.elf);
    }
    return status;
}

/* ---- linking ---------------------------------------------------------------------------------------------------- */

/* What linking makes in the work directory. */
static const struct {
    enum rsrc_emit kind;
    const char *name;
} LINKED[] = {{RSRC_EMIT_SO, "out.so"}, {RSRC_EMIT_OBJ, "out.o"}};
#define N_LINKED (sizeof(LINKED) / sizeof(LINKED[0]))

static enum rsrc_status compile_link_units(struct rsrc_compilation *c) {
    if (write_abi_headers(c, c->work_dir) != RSRC_OK)
        return RSRC_FAILED;
    return rsrc_compile_units(c->diag, &c->arena, &c->toolchain, c->work_dir, c->link_units.names,
                              c->link_units.n_names, c->options->opt_level);
}

enum rsrc_status rsrc_link_outputs(struct rsrc_compilation *c) {
    if (!c->link_units.active)
        return RSRC_OK;
    if (compile_link_units(c) != RSRC_OK)
        return RSRC_FAILED;
    const struct rsrc_unit_writer *units = &c->link_units;
    const char **objects = RSRC_NEW_ARRAY(&c->arena, units->n_names + 1, const char *);
    for (uint32_t i = 0; i < units->n_names; i++)
        objects[i] = rsrc_arena_printf(&c->arena, "%s/%s.o", c->work_dir, units->names[i]);
    objects[units->n_names] = rsrc_arena_printf(&c->arena, "%s/weights.o", c->work_dir);
    for (uint32_t i = 0; i < N_LINKED; i++) {
        if (!wants(c, LINKED[i].kind))
            continue;
        const struct rsrc_link_input input = {
            .dir = c->work_dir,
            .objects = objects,
            .n_objects = units->n_names + 1,
            .aliases = units->aliases,
            .n_aliases = units->n_aliases,
            .triple = c->specs[0].triple,
            .output = rsrc_arena_printf(&c->arena, "%s/%s", c->work_dir, LINKED[i].name),
            .huge_pages = rsrc_elf_is_huge(&c->weights.elf),
            .relocatable = LINKED[i].kind == RSRC_EMIT_OBJ};
        if (rsrc_link(c->diag, &c->arena, &c->toolchain, &input) != RSRC_OK)
            return RSRC_FAILED;
    }
    return RSRC_OK;
}

static enum rsrc_status commit_linked(struct rsrc_compilation *c) {
    for (uint32_t i = 0; i < N_LINKED && c->link_units.active; i++) {
        const char *path = path_of_kind(c, LINKED[i].kind);
        if (wants(c, LINKED[i].kind) &&
            rename(rsrc_arena_printf(&c->arena, "%s/%s", c->work_dir, LINKED[i].name), path) != 0)
            return cannot_finish(c, path);
    }
    return RSRC_OK;
}

/* The files of a directory of C move to their place one by one: it may have existed before. */
static enum rsrc_status commit_c_directory(struct rsrc_compilation *c) {
    if (c->c_dir == NULL)
        return RSRC_OK;
    if (mkdir(c->c_dir, 0777) != 0 && errno != EEXIST)
        return cannot_finish(c, c->c_dir);
    DIR *dir = opendir(c->c_units.dir);
    if (dir == NULL)
        return cannot_finish(c, c->c_units.dir);
    enum rsrc_status status = RSRC_OK;
    const struct dirent *entry;
    while (status == RSRC_OK && (entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] == '.')
            continue;
        const char *from = rsrc_arena_printf(&c->arena, "%s/%s", c->c_units.dir, entry->d_name);
        const char *to = rsrc_arena_printf(&c->arena, "%s/%s", c->c_dir, entry->d_name);
        if (rename(from, to) != 0)
            status = cannot_finish(c, to);
    }
    closedir(dir);
    return status;
}

#define N_SINKS 6u

static void list_sinks(struct rsrc_compilation *c, struct rsrc_sink *sinks[N_SINKS]) {
    struct rsrc_sink *const all[N_SINKS] = {&c->rsr_sink,    &c->plan_sink,   &c->step_sink,
                                            &c->kernel_sink, &c->report_sink, &c->c_units.sink};
    memcpy(sinks, all, sizeof(all));
}

enum rsrc_status rsrc_commit_outputs(struct rsrc_compilation *c) {
    struct rsrc_sink *sinks[N_SINKS];
    list_sinks(c, sinks);
    for (uint32_t i = 0; i < N_SINKS; i++)
        if (commit_sink(c, sinks[i]) != RSRC_OK)
            return RSRC_FAILED;
    return commit_c_directory(c) == RSRC_OK ? commit_linked(c) : RSRC_FAILED;
}

void rsrc_abandon_outputs(struct rsrc_compilation *c) {
    struct rsrc_sink *sinks[N_SINKS];
    list_sinks(c, sinks);
    for (uint32_t i = 0; i < N_SINKS; i++)
        abandon_sink(sinks[i]);
    for (uint32_t t = 0; t < c->n_specs; t++) {
        if (c->link_units.active)
            rsrc_buffer_free(&c->link_units.units[t].unit.text);
        if (c->c_units.active)
            rsrc_buffer_free(&c->c_units.units[t].unit.text);
    }
    rsrc_buffer_free(&c->weights.stub);
    if (c->weights.elf_open)
        rsrc_elf_abandon(&c->weights.elf);
    if (c->weights.raw_open)
        rsrc_output_abandon(&c->weights.raw);
    rsrc_remove_temporaries();
}
