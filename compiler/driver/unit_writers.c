/* unit_writers.c - puts kernels into the units of back ends.
 *
 * Kernels come one by one, in the order of the layers. The first of several equal kernels goes into
 * a unit of every writer: the module's own writer, and one for each kind that --emit asks for. A
 * text with all kernels gets an alias for every layer; the tables of a module name the functions
 * directly. A writer has a list of makers, the preferred back end first. If one declines a kernel,
 * the next one gets it, and a remark says so. A unit that has all its kernels is finished outside
 * the order of layers, because making code takes longest.
 */
#include <stdlib.h>
#include <string.h>

#include "base/spawn.h"
#include "driver/units.h"
#include "emit/c/emit_c.h"
#include "emit/llvm/emit_llvm.h"
#include "emit/template.h"

/* A new back end is a row. */
static const struct rsrc_backend *const BACKENDS[] = {&rsrc_backend_c, &rsrc_backend_llvm};
#define N_BACKENDS (sizeof(BACKENDS) / sizeof(BACKENDS[0]))
_Static_assert(N_BACKENDS <= RSRC_MAX_MAKERS, "every back end may make a kind");

/* The back end of modules unless --backend names another. */
static const char DEFAULT_BACKEND[] = "llvm";

static const char *const SUFFIXES[RSR_UNIT_KIND_COUNT] = {
    [RSR_UNIT_C] = ".c",   [RSR_UNIT_LLVM] = ".ll", [RSR_UNIT_ASM] = ".s",
    [RSR_UNIT_OBJ] = ".o", [RSR_UNIT_PTX] = ".ptx", [RSR_UNIT_CUBIN] = ".cubin"};

/* ---- who makes what -------------------------------------------------------------------------- */

/* The row with this name, or N_BACKENDS. */
static uint32_t find_backend(const struct rsrc_run *run) {
    const char *asked = run->options->backend != NULL ? run->options->backend : DEFAULT_BACKEND;
    uint32_t b = 0;
    while (b < N_BACKENDS && strcmp(BACKENDS[b]->name, asked) != 0)
        b++;
    return b;
}

enum rsrc_status rsrc_check_backend(struct rsrc_run *run) {
    if (find_backend(run) != N_BACKENDS)
        return RSRC_OK;
    const char *names = BACKENDS[0]->name;
    for (uint32_t b = 1; b < N_BACKENDS; b++)
        names = rsrc_arena_printf(&run->arena, "%s or %s", names, BACKENDS[b]->name);
    return rsrc_bad_option(run, "it makes the kernels of modules and objects",
                           "--backend takes %s, not '%s'", names, run->options->backend);
}

static uint32_t add_maker(const struct rsrc_backend *backend, enum rsr_unit_kind kind,
                          struct rsrc_maker *out) {
    if ((backend->kinds & (1u << kind)) == 0) {
        /* A unit of C whose object the C compiler makes. */
        if (kind != RSR_UNIT_OBJ || (backend->kinds & (1u << RSR_UNIT_C)) == 0)
            return 0;
        kind = RSR_UNIT_C;
    }
    *out = (struct rsrc_maker){backend, kind};
    return 1;
}

uint32_t rsrc_list_makers(const struct rsrc_run *run, enum rsr_unit_kind kind,
                          struct rsrc_maker makers[RSRC_MAX_MAKERS]) {
    const struct rsrc_backend *preferred = BACKENDS[find_backend(run)];
    uint32_t n = add_maker(preferred, kind, makers);
    for (uint32_t i = 0; i < N_BACKENDS; i++)
        if (BACKENDS[i] != preferred)
            n += add_maker(BACKENDS[i], kind, makers + n);
    return n;
}

bool rsrc_makes_c_for_objects(const struct rsrc_run *run) {
    struct rsrc_maker makers[RSRC_MAX_MAKERS];
    return rsrc_list_makers(run, RSR_UNIT_OBJ, makers) != 0 && makers[0].kind == RSR_UNIT_C;
}

void rsrc_open_units(struct rsrc_units *units, struct rsrc_unit_writer *writer,
                     enum rsr_unit_kind kind, const char *dir) {
    *writer = (struct rsrc_unit_writer){
        .active = true, .kind = kind, .dir = dir, .one_unit = dir == NULL};
    writer->n_makers = rsrc_list_makers(units->run, kind, writer->makers);
    const struct rsrc_input_set *in = units->inputs;
    struct rsrc_arena *arena = &units->run->arena;
    const size_t n = (size_t)in->n_items * in->n_specs * RSR_REGIME_COUNT;
    writer->files = RSRC_NEW_ARRAY(arena, 2 * n + 1, struct rsrc_unit_file);
    if (units->kernels != NULL)
        return;
    units->kernels = RSRC_NEW_ARRAY(arena, n, struct rsrc_emitted_kernel);
    units->aliases = RSRC_NEW_ARRAY(arena, n, const char *);
}

/* ---- finishing ------------------------------------------------------------------------------- */

/* Makes the code, or takes it from the cache if an earlier compilation had the same kernels. */
static enum rsrc_status make_code(struct rsrc_units *units, struct rsrc_pending_unit *pending,
                                  struct rsrc_arena *arena, const char **why) {
    const struct rsrc_backend *backend = pending->maker->backend;
    struct rsr_unit *unit = &pending->unit;
    if (unit->kind != RSR_UNIT_OBJ || units->run->cache.dir == NULL)
        return backend->finish(unit, arena, why);
    struct rsrc_buffer known = {0};
    if (rsrc_cache_get(&units->run->cache, units->run->diag, &pending->key, &known)) {
        backend->abandon(unit);
        rsrc_buffer_free(&unit->text);
        unit->text = known;
        return RSRC_OK;
    }
    if (backend->finish(unit, arena, why) != RSRC_OK)
        return RSRC_FAILED;
    rsrc_cache_put(&units->run->cache, units->run->diag, &pending->key, unit->text.data,
                   unit->text.size_bytes);
    return RSRC_OK;
}

static enum rsrc_status finish_unit(struct rsrc_units *units, struct rsrc_pending_unit *pending) {
    struct rsrc_unit_writer *writer = pending->writer;
    struct rsr_unit *unit = &pending->unit;
    struct rsrc_arena arena;
    rsrc_arena_init(&arena);
    const char *why = NULL;
    enum rsrc_status status = make_code(units, pending, &arena, &why);
    if (status == RSRC_OK && pending->bodies.size_bytes != 0)
        rsrc_buffer_append(&unit->text, pending->bodies.data, pending->bodies.size_bytes);
    rsrc_buffer_free(&pending->bodies);
    if (status != RSRC_OK) {
        rsrc_error(units->run->diag, "emit-failed", NULL, "choose another back end with --backend",
                   "the %s back end cannot finish %s: %s", pending->maker->backend->name,
                   unit->name, why);
    } else if (writer->one_unit) {
        status = rsrc_sink_write(units->run, &writer->sink, &unit->text);
    } else {
        const char *file = rsrc_arena_printf(&arena, "%s%s", unit->name, SUFFIXES[unit->kind]);
        status = rsrc_write_file(units->run->diag, writer->dir, file, unit->text.data,
                                 unit->text.size_bytes);
    }
    rsrc_buffer_free(&unit->text);
    rsrc_arena_free(&arena);
    return status;
}

/* Closes a unit that has all its kernels. */
static void close_unit(struct rsrc_units *units, struct rsrc_unit_writer *writer) {
    struct rsrc_open_unit *open = &writer->open;
    if (open->maker == NULL)
        return;
    struct rsrc_pending_unit *pending = malloc(sizeof(*pending));
    if (pending == NULL)
        rsrc_out_of_memory(sizeof(*pending));
    writer->files[writer->n_files++] =
        (struct rsrc_unit_file){.name = open->unit.name, .kind = open->unit.kind};
    pthread_mutex_lock(&units->lock);
    *pending = (struct rsrc_pending_unit){.writer = writer,
                                          .maker = open->maker,
                                          .unit = open->unit,
                                          .key = rsrc_cache_key_end(&open->key),
                                          .bodies = open->bodies,
                                          .next = units->pending};
    *open = (struct rsrc_open_unit){0};
    units->pending = pending;
    pthread_mutex_unlock(&units->lock);
}

static void abandon_unit(struct rsrc_unit_writer *writer) {
    struct rsrc_open_unit *open = &writer->open;
    if (open->maker == NULL)
        return;
    open->maker->backend->abandon(&open->unit);
    rsrc_buffer_free(&open->unit.text);
    rsrc_buffer_free(&open->bodies);
    *open = (struct rsrc_open_unit){0};
}

static struct rsrc_pending_unit *take_pending(struct rsrc_units *units) {
    pthread_mutex_lock(&units->lock);
    struct rsrc_pending_unit *pending = units->pending;
    if (pending != NULL)
        units->pending = pending->next;
    pthread_mutex_unlock(&units->lock);
    return pending;
}

enum rsrc_status rsrc_finish_pending_units(struct rsrc_units *units) {
    enum rsrc_status status = RSRC_OK;
    struct rsrc_pending_unit *pending;
    while (status == RSRC_OK && (pending = take_pending(units)) != NULL) {
        status = finish_unit(units, pending);
        free(pending);
    }
    return status;
}

/* ---- kernels to units ------------------------------------------------------------------------ */

static enum rsrc_status open_unit(struct rsrc_units *units, struct rsrc_unit_writer *writer,
                                  const struct rsrc_maker *maker, const struct rsr_kernel *kernel,
                                  const char **why) {
    struct rsrc_open_unit *open = &writer->open;
    if (open->maker != NULL)
        return RSRC_OK;
    const char *title = rsrc_model_name(units->inputs);
    *open = (struct rsrc_open_unit){.unit = {.kind = maker->kind,
                                             .name = writer->one_unit ? "kernels" : kernel->symbol,
                                             .opt_level = units->run->options->opt_level}};
    if (maker->backend->begin(&open->unit, title, kernel->spec, why) != RSRC_OK) {
        rsrc_buffer_free(&open->unit.text);
        return RSRC_FAILED;
    }
    open->maker = maker;
    rsrc_begin_unit_key(units->run, maker, &open->unit, kernel->spec, title, &open->key);
    return RSRC_OK;
}

static enum rsrc_status emit_with(struct rsrc_units *units, struct rsrc_unit_writer *writer,
                                  const struct rsrc_maker *maker, const struct rsr_kernel *kernel,
                                  struct rsrc_arena *arena, const char **why) {
    struct rsrc_open_unit *open = &writer->open;
    if (open_unit(units, writer, maker, kernel, why) != RSRC_OK)
        return RSRC_FAILED;
    if (maker->backend->emit(&open->unit, kernel, arena, why) != RSRC_OK) {
        abandon_unit(writer);
        return RSRC_FAILED;
    }
    if (open->unit.kind == RSR_UNIT_OBJ)
        rsrc_add_to_unit_key(units->run, kernel, &open->key);
    return RSRC_OK;
}

/* Finds the first maker that takes the kernel. A remark names every maker that declined. */
static enum rsrc_status make_kernel(struct rsrc_units *units, struct rsrc_unit_writer *writer,
                                    const struct rsrc_item *item, const struct rsr_kernel *kernel) {
    const struct rsrc_place place = {.tensor = item->name};
    struct rsrc_arena arena;
    rsrc_arena_init(&arena);
    enum rsrc_status status = RSRC_FAILED;
    for (uint32_t m = 0; m < writer->n_makers && status != RSRC_OK; m++) {
        const char *why = "it gives no reason";
        status = emit_with(units, writer, &writer->makers[m], kernel, &arena, &why);
        if (status == RSRC_OK)
            continue;
        const char *name = writer->makers[m].backend->name;
        if (m + 1 < writer->n_makers)
            rsrc_diag_emit(units->run->diag, RSRC_REMARK_MISSED, "emit", &place, NULL,
                           "the %s back end declined %s, the %s back end is asked: %s", name,
                           kernel->symbol, writer->makers[m + 1].backend->name, why);
        else
            rsrc_error(units->run->diag, "emit-declined", &place,
                       "choose another variant with --variant, or another kind with --emit",
                       "the %s back end cannot emit %s: %s", name, kernel->symbol, why);
    }
    rsrc_arena_free(&arena);
    return status;
}

/* ---- bodies ---------------------------------------------------------------------------------- */

/* C and LLVM IR contain a kernel's bodies; objects and assembly take them from the assembler. */
static bool calls_bodies(const struct rsrc_unit_writer *writer) {
    return writer->active && (writer->kind == RSR_UNIT_OBJ || writer->kind == RSR_UNIT_ASM);
}

bool rsrc_wants_bodies(const struct rsrc_units *units) {
    bool wanted = calls_bodies(&units->link);
    for (uint32_t k = 0; k < RSR_UNIT_KIND_COUNT; k++)
        wanted |= calls_bodies(&units->kinds[k]);
    return wanted;
}

/* Objects of bodies are files beside the unit that calls them; listings of bodies follow the unit's
 * own text. */
static enum rsrc_status write_bodies(struct rsrc_units *units, struct rsrc_unit_writer *writer,
                                     const char *symbol, const struct rsrc_bodies *bodies) {
    if (writer->kind == RSR_UNIT_ASM) {
        rsrc_buffer_append(&writer->open.bodies, bodies->text.data, bodies->text.size_bytes);
        return RSRC_OK;
    }
    const char *name = rsrc_arena_printf(&units->run->arena, "%s_bodies", symbol);
    const char *file = rsrc_arena_printf(&units->run->arena, "%s%s", name, SUFFIXES[RSR_UNIT_OBJ]);
    writer->files[writer->n_files++] = (struct rsrc_unit_file){.name = name, .kind = RSR_UNIT_OBJ};
    return rsrc_write_file(units->run->diag, writer->dir, file, bodies->object.data,
                           bodies->object.size_bytes);
}

/* ---- equal kernels --------------------------------------------------------------------------- */

static enum rsrc_status write_kernel(struct rsrc_units *units, struct rsrc_unit_writer *writer,
                                     const struct rsrc_item *item, const struct rsr_kernel *kernel,
                                     const struct rsrc_bodies *bodies) {
    if (!writer->active || rsrc_is_gpu_unit(writer->kind))
        return RSRC_OK;
    struct rsr_kernel caller = *kernel;
    caller.extern_bodies = calls_bodies(writer) && bodies->object.size_bytes != 0;
    if (make_kernel(units, writer, item, &caller) != RSRC_OK ||
        (caller.extern_bodies && write_bodies(units, writer, kernel->symbol, bodies) != RSRC_OK))
        return RSRC_FAILED;
    if (!writer->one_unit)
        close_unit(units, writer);
    return RSRC_OK;
}

static enum rsrc_status write_first(struct rsrc_units *units, const struct rsrc_item *item,
                                    const struct rsr_kernel *kernel, const char *function,
                                    const struct rsrc_bodies *bodies) {
    struct rsr_kernel named = *kernel;
    named.symbol = function;
    for (uint32_t k = 0; k < RSR_UNIT_KIND_COUNT; k++)
        if (write_kernel(units, &units->kinds[k], item, &named, bodies) != RSRC_OK)
            return RSRC_FAILED;
    return write_kernel(units, &units->link, item, &named, bodies);
}

/* Different kernels with equal names get numbers. */
static struct rsrc_emitted_kernel name_function(struct rsrc_units *units,
                                                const struct rsr_kernel *kernel) {
    struct rsrc_arena *arena = &units->run->arena;
    const char *name = rsrc_arena_strdup(arena, kernel->name);
    uint32_t number = 1;
    for (uint32_t i = 0; i < units->n_kernels; i++)
        number += strcmp(units->kernels[i].name, name) == 0;
    return (struct rsrc_emitted_kernel){
        .key = rsrc_arena_strdup(arena, kernel->key),
        .name = name,
        .function = number == 1 ? name : rsrc_arena_printf(arena, "%s_%u", name, number)};
}

static void add_alias(struct rsrc_units *units, const struct rsr_kernel *kernel,
                      const char *function) {
    if (strcmp(kernel->symbol, function) == 0)
        return;
    for (uint32_t k = 0; k < RSR_UNIT_KIND_COUNT; k++) {
        struct rsrc_open_unit *open = &units->kinds[k].open;
        if (open->maker != NULL)
            open->maker->backend->alias(&open->unit, kernel->symbol, function, kernel->title);
    }
    units->aliases[units->n_aliases++] =
        rsrc_arena_printf(&units->run->arena, "%s=%s", kernel->symbol, function);
}

enum rsrc_status rsrc_emit_kernel(struct rsrc_units *units, const struct rsrc_item *item,
                                  const struct rsr_kernel *kernel, const struct rsrc_bodies *bodies,
                                  const char **function) {
    /* Keys in a text are not trusted. And if no writer collects kernels, there is nothing to
     * share. */
    if (units->run->way == RSRC_WAY_KERNELS || units->kernels == NULL) {
        *function = rsrc_arena_strdup(&units->run->arena, kernel->symbol);
        return write_first(units, item, kernel, *function, bodies);
    }
    uint32_t i = 0;
    while (i < units->n_kernels && strcmp(units->kernels[i].key, kernel->key) != 0)
        i++;
    if (i == units->n_kernels) {
        const struct rsrc_emitted_kernel emitted = name_function(units, kernel);
        if (write_first(units, item, kernel, emitted.function, bodies) != RSRC_OK)
            return RSRC_FAILED;
        units->kernels[units->n_kernels++] = emitted;
    }
    *function = units->kernels[i].function;
    add_alias(units, kernel, *function);
    return RSRC_OK;
}

/* ---- tables ---------------------------------------------------------------------------------- */

/* Writes a C file together with the files that it includes. */
static enum rsrc_status write_c(struct rsrc_diag *diag, const char *dir, const char *file,
                                const struct rsrc_buffer *text) {
    static const char *const HEADERS[] = {"rsr_abi.h", "rsr_cpu_features.def"};
    for (uint32_t i = 0; i < sizeof(HEADERS) / sizeof(HEADERS[0]); i++) {
        const char *header = rsrc_template_text(HEADERS[i]);
        if (rsrc_write_file(diag, dir, HEADERS[i], header, strlen(header)) != RSRC_OK)
            return RSRC_FAILED;
    }
    return rsrc_write_file(diag, dir, file, text->data, text->size_bytes);
}

static enum rsrc_status write_tables_with(struct rsrc_units *units, const struct rsrc_maker *maker,
                                          const char *dir, const char *name,
                                          const struct rsrc_tables *tables, const char **why) {
    struct rsrc_run *run = units->run;
    struct rsr_unit unit = {
        .kind = maker->kind, .name = name, .opt_level = run->options->opt_level};
    enum rsrc_status status =
        maker->backend->write_tables(&unit, tables, &units->inputs->specs[0], &run->arena, why);
    if (status == RSRC_OK) {
        const char *file = rsrc_arena_printf(&run->arena, "%s%s", name, SUFFIXES[unit.kind]);
        *why = NULL;
        status = unit.kind == RSR_UNIT_C
                     ? write_c(run->diag, dir, file, &unit.text)
                     : rsrc_write_file(run->diag, dir, file, unit.text.data, unit.text.size_bytes);
    }
    rsrc_buffer_free(&unit.text);
    return status;
}

/* The first back end that takes them makes the tables that are linked. */
static enum rsrc_status write_linked_tables(struct rsrc_units *units, const char *name,
                                            const struct rsrc_tables *tables) {
    struct rsrc_unit_writer *link = &units->link;
    for (uint32_t m = 0; m < link->n_makers; m++) {
        const struct rsrc_maker *maker = &link->makers[m];
        const char *why = "it gives no reason";
        if (write_tables_with(units, maker, link->dir, name, tables, &why) == RSRC_OK) {
            link->files[link->n_files++] = (struct rsrc_unit_file){name, maker->kind};
            return RSRC_OK;
        }
        if (why == NULL)
            return RSRC_FAILED; /* it cannot be written */
        if (m + 1 < link->n_makers)
            rsrc_diag_emit(units->run->diag, RSRC_REMARK_MISSED, "emit", NULL, NULL,
                           "the %s back end declined the tables, the %s back end is asked: %s",
                           maker->backend->name, link->makers[m + 1].backend->name, why);
        else
            rsrc_error(units->run->diag, "emit-failed", NULL,
                       "choose another back end with --backend",
                       "the %s back end cannot make the tables: %s", maker->backend->name, why);
    }
    return RSRC_FAILED;
}

enum rsrc_status rsrc_write_tables(struct rsrc_units *units, const char *dir, const char *name,
                                   const struct rsrc_tables *tables) {
    static const struct rsrc_maker c_maker = {&rsrc_backend_c, RSR_UNIT_C};
    const char *why = NULL;
    if (units->link.active && write_linked_tables(units, name, tables) != RSRC_OK)
        return RSRC_FAILED;
    return dir != NULL ? write_tables_with(units, &c_maker, dir, name, tables, &why) : RSRC_OK;
}

/* ---- the end --------------------------------------------------------------------------------- */

enum rsrc_status rsrc_close_units(struct rsrc_units *units) {
    for (uint32_t k = 0; k < RSR_UNIT_KIND_COUNT; k++)
        close_unit(units, &units->kinds[k]);
    return rsrc_finish_pending_units(units);
}

enum rsrc_status rsrc_compile_c_units(struct rsrc_units *units,
                                      const struct rsrc_unit_writer *writer) {
    const char **names = RSRC_NEW_ARRAY(&units->run->arena, writer->n_files, const char *);
    uint32_t n = 0;
    for (uint32_t i = 0; i < writer->n_files; i++)
        if (writer->files[i].kind == RSR_UNIT_C)
            names[n++] = writer->files[i].name;
    return rsrc_compile_cached(units->run, writer->dir, names, n);
}

void rsrc_abandon_units(struct rsrc_units *units) {
    struct rsrc_pending_unit *pending;
    while ((pending = take_pending(units)) != NULL) {
        pending->maker->backend->abandon(&pending->unit);
        rsrc_buffer_free(&pending->unit.text);
        rsrc_buffer_free(&pending->bodies);
        free(pending);
    }
    abandon_unit(&units->link);
    for (uint32_t k = 0; k < RSR_UNIT_KIND_COUNT; k++)
        abandon_unit(&units->kinds[k]);
}
