/* unit_writers.c - kernels to the units of back ends.
 *
 * Kernels come one by one, in the order of the layers. Each goes into a unit of every writer: the
 * module's own, and one for each kind that --emit asks for. A writer has its makers, the preferred
 * back end first; a kernel that one declines goes to the next, and a remark says so. A unit that
 * has all its kernels waits to be finished outside the order, because making code takes longest.
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

/* What makes the code of modules unless --backend says otherwise. */
static const char DEFAULT_BACKEND[] = "llvm";

static const char *const SUFFIXES[RSR_UNIT_KIND_COUNT] = {
    [RSR_UNIT_C] = ".c",   [RSR_UNIT_LLVM] = ".ll", [RSR_UNIT_ASM] = ".s",
    [RSR_UNIT_OBJ] = ".o", [RSR_UNIT_PTX] = ".ptx", [RSR_UNIT_CUBIN] = ".cubin"};

/* ---- who makes what -------------------------------------------------------------------------- */

/* The row of that name, or N_BACKENDS. */
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
        /* The C compiler makes an object of C. */
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

void rsrc_open_units(struct rsrc_units *units, struct rsrc_unit_writer *writer,
                     enum rsr_unit_kind kind, const char *dir) {
    *writer = (struct rsrc_unit_writer){
        .active = true, .kind = kind, .dir = dir, .one_unit = dir == NULL};
    writer->n_makers = rsrc_list_makers(units->run, kind, writer->makers);
    const struct rsrc_input_set *in = units->inputs;
    struct rsrc_arena *arena = &units->run->arena;
    const size_t n = (size_t)in->n_items * in->n_specs * RSR_REGIME_COUNT;
    writer->units =
        RSRC_NEW_ARRAY(arena, (size_t)in->n_specs * RSRC_MAX_MAKERS, struct rsrc_open_unit);
    writer->files = RSRC_NEW_ARRAY(arena, 2 * n + 1, struct rsrc_unit_file);
    writer->keys = RSRC_NEW_ARRAY(arena, n, struct rsrc_kernel_key);
    writer->aliases = RSRC_NEW_ARRAY(arena, n, const char *);
}

/* ---- finishing ------------------------------------------------------------------------------- */

/* Makes the code, or finds what an earlier compilation made of the same kernels. */
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

/* The unit has all its kernels. */
static void close_unit(struct rsrc_units *units, struct rsrc_unit_writer *writer, uint32_t target,
                       uint32_t maker) {
    struct rsrc_open_unit *open = &writer->units[target * RSRC_MAX_MAKERS + maker];
    if (!open->open)
        return;
    open->open = false;
    if (open->n_kernels == 0) {
        writer->makers[maker].backend->abandon(&open->unit);
        rsrc_buffer_free(&open->unit.text);
        rsrc_buffer_free(&open->bodies);
        return;
    }
    struct rsrc_pending_unit *pending = malloc(sizeof(*pending));
    if (pending == NULL)
        rsrc_out_of_memory(sizeof(*pending));
    writer->files[writer->n_files++] =
        (struct rsrc_unit_file){.name = open->unit.name, .kind = open->unit.kind};
    pthread_mutex_lock(&units->lock);
    *pending = (struct rsrc_pending_unit){.writer = writer,
                                          .maker = &writer->makers[maker],
                                          .unit = open->unit,
                                          .key = rsrc_cache_key_end(&open->key),
                                          .bodies = open->bodies,
                                          .next = units->pending};
    open->bodies = (struct rsrc_buffer){0};
    units->pending = pending;
    pthread_mutex_unlock(&units->lock);
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

/* Makers after the first keep units of their own beside it: "+c" can be no part of a target's
 * name. */
static const char *unit_name(struct rsrc_units *units, const struct rsrc_unit_writer *writer,
                             const struct rsrc_item *item, uint32_t target, uint32_t maker) {
    if (writer->one_unit)
        return "kernels";
    const char *name = item->block == RSR_NO_BLOCK
                           ? item->stem
                           : rsrc_arena_printf(&units->run->arena, "layer_%u", item->block);
    if (units->inputs->n_specs != 1)
        name =
            rsrc_arena_printf(&units->run->arena, "%s_%s", name, units->inputs->specs[target].name);
    return maker == 0 ? name
                      : rsrc_arena_printf(&units->run->arena, "%s+%s", name,
                                          writer->makers[maker].backend->name);
}

/* The kernels of a block share a file; so do all of a run with one output. An item without a block
 * has a file of its own. */
static bool belongs(const struct rsrc_unit_writer *writer, const struct rsrc_open_unit *open,
                    const struct rsrc_item *item) {
    return writer->one_unit || open->item == item ||
           (item->block != RSR_NO_BLOCK && open->item->block == item->block);
}

static enum rsrc_status select_unit(struct rsrc_units *units, struct rsrc_unit_writer *writer,
                                    const struct rsrc_item *item, uint32_t target, uint32_t maker,
                                    const char **why) {
    struct rsrc_open_unit *open = &writer->units[target * RSRC_MAX_MAKERS + maker];
    if (open->open && belongs(writer, open, item))
        return RSRC_OK;
    close_unit(units, writer, target, maker);
    *open = (struct rsrc_open_unit){.item = item,
                                    .unit = {.kind = writer->makers[maker].kind,
                                             .name = unit_name(units, writer, item, target, maker),
                                             .opt_level = units->run->options->opt_level}};
    const char *title = rsrc_model_name(units->inputs);
    const struct rsr_spec *spec = &units->inputs->specs[target];
    const enum rsrc_status status =
        writer->makers[maker].backend->begin(&open->unit, title, spec, why);
    rsrc_begin_unit_key(units->run, &writer->makers[maker], &open->unit, spec, title, &open->key);
    open->open = status == RSRC_OK;
    if (status != RSRC_OK)
        rsrc_buffer_free(&open->unit.text);
    return status;
}

static enum rsrc_status emit_with(struct rsrc_units *units, struct rsrc_unit_writer *writer,
                                  const struct rsrc_item *item, uint32_t target, uint32_t maker,
                                  const struct rsr_kernel *kernel, struct rsrc_arena *arena,
                                  const char **why) {
    if (select_unit(units, writer, item, target, maker, why) != RSRC_OK)
        return RSRC_FAILED;
    struct rsrc_open_unit *open = &writer->units[target * RSRC_MAX_MAKERS + maker];
    if (writer->makers[maker].backend->emit(&open->unit, kernel, arena, why) != RSRC_OK)
        return RSRC_FAILED;
    open->n_kernels++;
    if (open->unit.kind == RSR_UNIT_OBJ)
        rsrc_add_to_unit_key(units->run, kernel, &open->key);
    return RSRC_OK;
}

/* The first maker that takes the kernel. Every one that declined is told of. */
static enum rsrc_status make_kernel(struct rsrc_units *units, struct rsrc_unit_writer *writer,
                                    const struct rsrc_item *item, uint32_t target,
                                    const struct rsr_kernel *kernel, uint32_t *maker) {
    const struct rsrc_place place = {.tensor = item->name};
    struct rsrc_arena arena;
    rsrc_arena_init(&arena);
    enum rsrc_status status = RSRC_FAILED;
    for (uint32_t m = 0; m < writer->n_makers && status != RSRC_OK; m++) {
        const char *why = "it gives no reason";
        status = emit_with(units, writer, item, target, m, kernel, &arena, &why);
        *maker = m;
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

/* C and LLVM IR show a kernel whole; objects and assembly take its bodies from the assembler. */
static bool calls_bodies(const struct rsrc_unit_writer *writer) {
    return writer->active && (writer->kind == RSR_UNIT_OBJ || writer->kind == RSR_UNIT_ASM);
}

bool rsrc_wants_bodies(const struct rsrc_units *units) {
    bool wanted = calls_bodies(&units->link);
    for (uint32_t k = 0; k < RSR_UNIT_KIND_COUNT; k++)
        wanted |= calls_bodies(&units->kinds[k]);
    return wanted;
}

/* Objects stand beside the unit that calls them, listings follow its own. */
static enum rsrc_status write_bodies(struct rsrc_units *units, struct rsrc_unit_writer *writer,
                                     uint32_t target, uint32_t maker, const char *symbol,
                                     const struct rsrc_bodies *bodies) {
    if (writer->kind == RSR_UNIT_ASM) {
        rsrc_buffer_append(&writer->units[target * RSRC_MAX_MAKERS + maker].bodies,
                           bodies->text.data, bodies->text.size_bytes);
        return RSRC_OK;
    }
    const char *name = rsrc_arena_printf(&units->run->arena, "%s_bodies", symbol);
    const char *file = rsrc_arena_printf(&units->run->arena, "%s%s", name, SUFFIXES[RSR_UNIT_OBJ]);
    writer->files[writer->n_files++] = (struct rsrc_unit_file){.name = name, .kind = RSR_UNIT_OBJ};
    return rsrc_write_file(units->run->diag, writer->dir, file, bodies->object.data,
                           bodies->object.size_bytes);
}

static enum rsrc_status write_kernel(struct rsrc_units *units, struct rsrc_unit_writer *writer,
                                     const struct rsrc_item *item, uint32_t target,
                                     const struct rsr_kernel *kernel,
                                     const struct rsrc_bodies *bodies, const char **symbol) {
    const char *name = rsrc_arena_strdup(&units->run->arena, kernel->symbol);
    for (uint32_t i = 0; writer->share_equal && i < writer->n_keys; i++) {
        if (strcmp(writer->keys[i].key, kernel->key) == 0) {
            writer->aliases[writer->n_aliases++] =
                rsrc_arena_printf(&units->run->arena, "%s=%s", name, writer->keys[i].symbol);
            *symbol = writer->keys[i].symbol;
            return RSRC_OK;
        }
    }
    struct rsr_kernel caller = *kernel;
    caller.extern_bodies = calls_bodies(writer) && bodies->object.size_bytes != 0;
    uint32_t maker = 0;
    if (make_kernel(units, writer, item, target, &caller, &maker) != RSRC_OK ||
        (caller.extern_bodies &&
         write_bodies(units, writer, target, maker, kernel->symbol, bodies) != RSRC_OK))
        return RSRC_FAILED;
    if (writer->share_equal)
        writer->keys[writer->n_keys++] = (struct rsrc_kernel_key){
            .key = rsrc_arena_strdup(&units->run->arena, kernel->key), .symbol = name};
    *symbol = name;
    return RSRC_OK;
}

enum rsrc_status rsrc_emit_kernel(struct rsrc_units *units, const struct rsrc_item *item,
                                  uint32_t target, const struct rsr_kernel *kernel,
                                  const struct rsrc_bodies *bodies, const char **symbol) {
    const char *own = NULL;
    for (uint32_t k = 0; k < RSR_UNIT_KIND_COUNT; k++)
        if (units->kinds[k].active &&
            write_kernel(units, &units->kinds[k], item, target, kernel, bodies, &own) != RSRC_OK)
            return RSRC_FAILED;
    if (units->link.active)
        return write_kernel(units, &units->link, item, target, kernel, bodies, symbol);
    *symbol = rsrc_arena_strdup(&units->run->arena, kernel->symbol);
    return RSRC_OK;
}

/* ---- C that the module is made of besides kernels -------------------------------------------- */

/* With what it includes. */
static enum rsrc_status write_c_to(struct rsrc_diag *diag, const char *dir, const char *file,
                                   const struct rsrc_buffer *text) {
    static const char *const HEADERS[] = {"rsr_abi.h", "rsr_cpu_features.def"};
    for (uint32_t i = 0; i < sizeof(HEADERS) / sizeof(HEADERS[0]); i++) {
        const char *header = rsrc_template_text(HEADERS[i]);
        if (rsrc_write_file(diag, dir, HEADERS[i], header, strlen(header)) != RSRC_OK)
            return RSRC_FAILED;
    }
    return rsrc_write_file(diag, dir, file, text->data, text->size_bytes);
}

enum rsrc_status rsrc_write_c(struct rsrc_units *units, const char *dir, const char *name,
                              const struct rsrc_buffer *text) {
    struct rsrc_run *run = units->run;
    struct rsrc_unit_writer *link = &units->link;
    const char *file = rsrc_arena_printf(&run->arena, "%s.c", name);
    if (link->active) {
        link->files[link->n_files++] = (struct rsrc_unit_file){name, RSR_UNIT_C};
        if (write_c_to(run->diag, link->dir, file, text) != RSRC_OK)
            return RSRC_FAILED;
    }
    return dir != NULL ? write_c_to(run->diag, dir, file, text) : RSRC_OK;
}

/* ---- the end --------------------------------------------------------------------------------- */

static void close_writer(struct rsrc_units *units, struct rsrc_unit_writer *writer) {
    for (uint32_t t = 0; writer->active && t < units->inputs->n_specs; t++)
        for (uint32_t m = 0; m < writer->n_makers; m++)
            close_unit(units, writer, t, m);
}

enum rsrc_status rsrc_close_units(struct rsrc_units *units) {
    close_writer(units, &units->link);
    for (uint32_t k = 0; k < RSR_UNIT_KIND_COUNT; k++)
        close_writer(units, &units->kinds[k]);
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

static void abandon_writer(struct rsrc_units *units, struct rsrc_unit_writer *writer) {
    for (uint32_t u = 0; writer->active && u < units->inputs->n_specs * RSRC_MAX_MAKERS; u++) {
        if (writer->units[u].open)
            writer->makers[u % RSRC_MAX_MAKERS].backend->abandon(&writer->units[u].unit);
        if (writer->units[u].open)
            rsrc_buffer_free(&writer->units[u].unit.text);
        rsrc_buffer_free(&writer->units[u].bodies);
        writer->units[u].open = false;
    }
}

void rsrc_abandon_units(struct rsrc_units *units) {
    struct rsrc_pending_unit *pending;
    while ((pending = take_pending(units)) != NULL) {
        pending->maker->backend->abandon(&pending->unit);
        rsrc_buffer_free(&pending->unit.text);
        rsrc_buffer_free(&pending->bodies);
        free(pending);
    }
    abandon_writer(units, &units->link);
    for (uint32_t k = 0; k < RSR_UNIT_KIND_COUNT; k++)
        abandon_writer(units, &units->kinds[k]);
}
