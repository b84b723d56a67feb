/* matrix_library.c - a file of matrices without a model: the library's functions and its header.
 *
 * Functions are named <stem>_<matrix>_<i8 or f32>, after the output and the tensor. Both names may
 * have any characters: a run of others than letters and digits becomes '_', and long names are cut.
 * If another tensor has the name already, a number is added, in the order of the tensors. Names
 * that differ only in case count as equal, because macros are upper case.
 */
#include <string.h>
#include <strings.h>

#include "driver/compilation.h"
#include "emit/c/matrices_header.h"
#include "rsr/segment.h"

#define MAX_NAME 100

/* ---- names ----------------------------------------------------------------------------------- */

static bool is_letter(char ch) {
    return (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z');
}

static bool is_digit(char ch) {
    return ch >= '0' && ch <= '9';
}

/* Keeps letters and digits; a run of other characters between them becomes '_'. */
static const char *to_identifier(struct rsrc_arena *arena, const char *text) {
    char *name = rsrc_arena_strndup(arena, text, strnlen(text, MAX_NAME));
    size_t n = 0;
    for (const char *at = name; *at != '\0'; at++) {
        if (is_letter(*at) || is_digit(*at))
            name[n++] = *at;
        else if (n != 0 && name[n - 1] != '_')
            name[n++] = '_';
    }
    if (n != 0 && name[n - 1] == '_')
        n--;
    name[n] = '\0';
    return n == 0 ? "matrix" : name;
}

/* A hash table of the names in use, with open addressing: more than half of its slots stay
 * empty. */
struct names {
    const char **slots;
    uint32_t mask;
};

static bool same_name(const char *a, const char *b) {
    return strcasecmp(a, b) == 0;
}

/* False: the name is in use. */
static bool take_name(struct names *names, const char *name) {
    uint32_t at = 2166136261u; /* FNV-1a, of letters in one case */
    for (const char *ch = name; *ch != '\0'; ch++)
        at = (at ^ (uint8_t)(is_letter(*ch) ? *ch | 0x20 : *ch)) * 16777619u;
    for (at &= names->mask; names->slots[at] != NULL; at = (at + 1) & names->mask)
        if (same_name(names->slots[at], name))
            return false;
    names->slots[at] = name;
    return true;
}

static struct names make_names(struct rsrc_arena *arena, uint32_t n) {
    uint32_t n_slots = 16;
    while (n_slots / 2 <= n)
        n_slots *= 2;
    return (struct names){RSRC_NEW_ARRAY(arena, n_slots, const char *), n_slots - 1};
}

static const char *unique_name(struct rsrc_arena *arena, struct names *names, const char *tensor) {
    const char *base = to_identifier(arena, tensor);
    const char *name = base;
    for (uint32_t number = 2; !take_name(names, name); number++)
        name = rsrc_arena_printf(arena, "%s_%u", base, number);
    return name;
}

/* The start of every name, from the output's name: "mats" for "out/mats.so". */
static const char *library_stem(struct rsrc_compilation *c) {
    const char *path = rsrc_header_path(c);
    if (path == NULL)
        path = rsrc_model_name(&c->inputs);
    const char *slash = strrchr(path, '/');
    const char *name = slash != NULL ? slash + 1 : path;
    const char *stem =
        to_identifier(&c->run.arena, rsrc_with_suffix(&c->run.arena, name, ".h", ""));
    return is_letter(stem[0]) ? stem : rsrc_arena_printf(&c->run.arena, "m%s", stem);
}

const char *rsrc_header_path(struct rsrc_compilation *c) {
    const bool so = rsrc_wants(&c->run, RSRC_EMIT_SO);
    const bool obj = rsrc_wants(&c->run, RSRC_EMIT_OBJ) && !c->units.kinds[RSR_UNIT_OBJ].active;
    if (c->inputs.has_graph || (!so && !obj))
        return NULL;
    const struct rsrc_kind *kind = &rsrc_kinds[so ? RSRC_KIND_SO : RSRC_KIND_OBJ];
    return rsrc_with_suffix(&c->run.arena, rsrc_output_path(&c->outputs, kind), kind->suffix, ".h");
}

/* ---- the library ----------------------------------------------------------------------------- */

/* Two kernels per item; the kernel for few vectors also serves many if the plan has no other. */
static const struct rsr_linear_unit *list_linears(struct rsrc_compilation *c, uint32_t target) {
    const size_t n = (size_t)c->inputs.n_items * RSR_REGIME_COUNT;
    struct rsr_linear_unit *linears = RSRC_NEW_ARRAY(&c->run.arena, n, struct rsr_linear_unit);
    memcpy(linears, &c->made.linears[target * n], n * sizeof(*linears));
    for (size_t i = RSR_REGIME_PREFILL; i < n; i += RSR_REGIME_COUNT)
        if (linears[i].function == NULL)
            linears[i] = linears[i - 1];
    return linears;
}

static struct rsr_matrices_input describe(struct rsrc_compilation *c) {
    struct rsr_matrix_entry *entries =
        RSRC_NEW_ARRAY(&c->run.arena, c->inputs.n_items, struct rsr_matrix_entry);
    struct rsr_module_target *targets =
        RSRC_NEW_ARRAY(&c->run.arena, c->inputs.n_cpus, struct rsr_module_target);
    struct names names = make_names(&c->run.arena, c->inputs.n_items);
    for (uint32_t i = 0; i < c->inputs.n_items; i++) {
        const struct rsrc_item *item = &c->inputs.items[i];
        const struct rsr_linear_unit *linear = &c->made.linears[(size_t)i * RSR_REGIME_COUNT];
        const bool again =
            i > 0 && item->tensor == item[-1].tensor && item->index == item[-1].index;
        entries[i] = (struct rsr_matrix_entry){
            .tensor = item->name,
            .symbol =
                again ? entries[i - 1].symbol : unique_name(&c->run.arena, &names, item->name),
            .input = item->input,
            .rows = linear->rows,
            .cols = linear->cols};
    }
    uint32_t max_few =
        1; /* the largest of all targets: near that size, both kernels take almost equal times */
    for (uint32_t t = 0; t < c->inputs.n_cpus; t++) {
        const uint32_t n = rsrc_count_decode_tokens(c, t);
        max_few = n > max_few ? n : max_few;
        targets[t] = (struct rsr_module_target){.spec = &c->inputs.specs[t],
                                                .linears = list_linears(c, t),
                                                .n_linears = c->inputs.n_items * RSR_REGIME_COUNT};
    }
    return (struct rsr_matrices_input){.source = rsrc_model_name(&c->inputs),
                                       .stem = library_stem(c),
                                       .entries = entries,
                                       .n_entries = c->inputs.n_items,
                                       .targets = targets,
                                       .n_targets = c->inputs.n_cpus,
                                       .max_few = max_few};
}

static void list_exports(struct rsrc_compilation *c, const struct rsrc_tables *tables) {
    const char **exports = RSRC_NEW_ARRAY(&c->run.arena, tables->n_calls, const char *);
    for (uint32_t i = 0; i < tables->n_calls; i++)
        exports[c->made.n_exports++] = tables->calls[i].symbol;
    c->made.exports = exports;
}

/* matrices.c includes the header by a name of our own, unless the library has that name. */
static enum rsrc_status write_header(struct rsrc_compilation *c, const struct rsrc_buffer *text) {
    static const char NAME[] = "matrices.h";
    if (rsrc_sink_write(&c->run, &c->outputs.header, text) != RSRC_OK)
        return RSRC_FAILED;
    if (c->units.link.active && rsrc_write_file(c->run.diag, c->outputs.work_dir, NAME, text->data,
                                                text->size_bytes) != RSRC_OK)
        return RSRC_FAILED;
    const char *dir = c->outputs.temporary_dir;
    if (dir == NULL || (c->outputs.header.open &&
                        strcmp(c->outputs.header.file.path,
                               rsrc_arena_printf(&c->run.arena, "%s/%s", dir, NAME)) == 0))
        return RSRC_OK;
    return rsrc_write_file(c->run.diag, dir, NAME, text->data, text->size_bytes);
}

enum rsrc_status rsrc_write_matrices(struct rsrc_compilation *c) {
    struct rsr_matrices_input input = describe(c);
    const struct rsr_module_note note = rsrc_describe_module(c, input.stem);
    input.note = &note;
    struct rsrc_tables tables;
    rsrc_tables_init(&c->run.arena, &tables);
    rsrc_describe_matrices(&tables, &input);
    struct rsrc_buffer header = {0};
    rsrc_c_put_matrices_header(&c->run.arena, &input, &tables, &header);
    const enum rsrc_status status = write_header(c, &header);
    rsrc_buffer_free(&header);
    list_exports(c, &tables);
    return status == RSRC_OK
               ? rsrc_write_tables(&c->units, c->outputs.temporary_dir, "matrices", &tables)
               : RSRC_FAILED;
}
