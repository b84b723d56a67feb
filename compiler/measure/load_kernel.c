/* load_kernel.c - emits one kernel by itself, links it into a library and opens the library. */
#include "measure/load_kernel.h"

#include <dlfcn.h>
#include <string.h>

#include "base/mapped_file.h"
#include "base/spawn.h"
#include "emit/asm/emit_asm.h"
#include "measure/measure.h"
#include "spec/spec.h"

struct load {
    struct rsrc_diag *diag;
    struct rsrc_arena *arena;
    const struct rsrc_load_input *input;
    struct rsr_kernel *kernel;
    const char *kernel_file, *bodies_file, *library_file; /* names in the directory */
    const char **why;
};

const char *rsrc_lacks_for(struct rsrc_arena *arena, const struct rsr_spec *spec) {
    const uint64_t missing = spec->cpu_features & ~rsrc_host_features();
    if (spec->gpu.sm != 0 || strcmp(spec->triple, rsrc_host_triple()) != 0)
        return rsrc_arena_printf(arena, "a processor of %s", spec->triple);
    return missing != 0 ? rsrc_feature_names(arena, missing) : NULL;
}

static const char *path_of(const struct load *l, const char *file) {
    return rsrc_arena_printf(l->arena, "%s/%s", l->input->dir, file);
}

static bool write_text(const struct load *l, const char *name, const struct rsrc_buffer *text) {
    struct rsrc_output file;
    if (rsrc_output_open(l->diag, l->arena, path_of(l, name), &file) != RSRC_OK)
        return false;
    if (rsrc_output_write(l->diag, &file, text->data, text->size_bytes) == RSRC_OK)
        return rsrc_output_commit(l->diag, &file) == RSRC_OK;
    rsrc_output_abandon(&file);
    return false;
}

/* Bodies are assembled as in modules; the back end prints those that the assembler declines. */
static bool assemble_bodies(const struct load *l) {
    struct rsr_kernel *kernel = l->kernel;
    if (kernel->n_bodies == 0)
        return true;
    struct rsrc_buffer text = {0}, object = {0};
    const char *why = NULL;
    kernel->extern_bodies =
        rsrc_asm_bodies(kernel, &text, &why) == RSRC_OK &&
        rsrc_asm_assemble(kernel->spec, &text, l->arena, &object, &why) == RSRC_OK;
    const bool written = !kernel->extern_bodies || write_text(l, l->bodies_file, &object);
    rsrc_buffer_free(&text);
    rsrc_buffer_free(&object);
    return written;
}

static bool emit(const struct load *l, double *emit_ms) {
    const struct rsrc_backend *backend = l->input->backend;
    struct rsr_unit unit = {
        .kind = l->input->kind, .name = l->input->name, .opt_level = l->input->opt_level};
    const uint64_t start_ns = rsrc_now_ns();
    const bool made = backend->begin(&unit, l->input->name, l->kernel->spec, l->why) == RSRC_OK &&
                      backend->emit(&unit, l->kernel, l->arena, l->why) == RSRC_OK &&
                      backend->finish(&unit, l->arena, l->why) == RSRC_OK;
    *emit_ms = (double)(rsrc_now_ns() - start_ns) / 1e6;
    backend->abandon(&unit);
    bool written = made;
    if (made) {
        *l->why = NULL;
        written = write_text(l, l->kernel_file, &unit.text);
    }
    rsrc_buffer_free(&unit.text);
    return written;
}

/* Kernels are hidden in modules; here the linker makes a name that dlsym can find. */
#define FOUND "rsrc_loaded_kernel"

static bool link_library(const struct load *l) {
    const struct rsrc_toolchain *toolchain = l->input->toolchain;
    const char *level = rsrc_arena_printf(l->arena, "-O%u", l->input->opt_level);
    const char *name = rsrc_arena_printf(l->arena, "--defsym=" FOUND "=%s", l->kernel->symbol);
    const char *bodies = l->kernel->extern_bodies ? l->bodies_file : NULL;
    const char *const by_cc[] = {
        toolchain->cc, level, "-std=gnu11",    "-ffp-contract=off", "-fPIC", "-shared", "-Xlinker",
        name,          "-o",  l->library_file, l->kernel_file,      bodies,  NULL};
    const char *const by_ld[] = {toolchain->ld,   "-shared",      name,   "-o",
                                 l->library_file, l->kernel_file, bodies, NULL};
    const bool through_cc = l->input->kind == RSR_UNIT_C || toolchain->ld == NULL;
    const struct rsrc_command command = {.argv = through_cc ? by_cc : by_ld,
                                         .directory = l->input->dir};
    const struct rsrc_spawn_options one = {.n_jobs = 1, .print = toolchain->compiling.print};
    return rsrc_spawn_all(l->diag, l->arena, &command, 1, &one) == RSRC_OK;
}

static bool open_library(const struct load *l, struct rsrc_loaded_kernel *out) {
    const char *path = path_of(l, l->library_file);
    const struct rsrc_place place = {.file = path};
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    void *symbol = library != NULL ? dlsym(library, FOUND) : NULL;
    if (symbol == NULL) {
        rsrc_error(l->diag, "measure-load", &place, "look at the directory of temporary files",
                   "a kernel to measure cannot be loaded: %s", dlerror());
        if (library != NULL)
            dlclose(library);
        return false;
    }
    memcpy(&out->run, &symbol, sizeof(symbol));
    out->library = library;
    return true;
}

bool rsrc_load_kernel(struct rsrc_diag *diag, struct rsrc_arena *arena,
                      const struct rsrc_load_input *input, struct rsr_kernel *kernel,
                      struct rsrc_loaded_kernel *out, double *emit_ms, const char **why) {
    const char *suffix = input->kind == RSR_UNIT_C ? "c" : "o";
    const struct load l = {.diag = diag,
                           .arena = arena,
                           .input = input,
                           .kernel = kernel,
                           .kernel_file = rsrc_arena_printf(arena, "%s.%s", input->name, suffix),
                           .bodies_file = rsrc_arena_printf(arena, "%s_bodies.o", input->name),
                           .library_file = rsrc_arena_printf(arena, "%s.so", input->name),
                           .why = why};
    *why = NULL;
    return assemble_bodies(&l) && emit(&l, emit_ms) && link_library(&l) && open_library(&l, out);
}

void rsrc_unload_kernel(struct rsrc_loaded_kernel *loaded) {
    if (loaded->library != NULL)
        dlclose(loaded->library);
    *loaded = (struct rsrc_loaded_kernel){0};
}
