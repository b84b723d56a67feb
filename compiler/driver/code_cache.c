/* code_cache.c - the results of a compilation that the cache keeps, and what each depends on.
 *
 *   assembled bodies    the assembly text, the target
 *   objects of LLVM     the text of every kernel in the unit, names, level, target
 *   objects of C        the C text, the C compiler, level
 *   PTX                 the CUDA C++ text, its compiler, the GPU
 *
 *   measured times      what was run (shape, variant, regime), back end, level, target, CPU
 *
 * A module is linked from the first three and its weights. All also depend on this program itself,
 * so every key begins with its identity.
 */
#include <string.h>

#include "driver/units.h"
#include "lower/lower.h"
#include "spec/spec.h"

static void key_number(struct rsr_hash *hash, uint64_t number) {
    rsr_hash_update(hash, &number, sizeof(number));
}

static void key_string(struct rsr_hash *hash, const char *text) {
    rsrc_cache_key_text(hash, text != NULL ? text : "", text != NULL ? strlen(text) : 0);
}

static void key_spec(struct rsr_hash *hash, const struct rsr_spec *spec) {
    struct rsrc_buffer text = {0};
    rsrc_print_spec(spec, &text);
    rsrc_cache_key_text(hash, text.data, text.size_bytes);
    rsrc_buffer_free(&text);
}

struct rsrc_cache_key rsrc_key_of_assembly(const struct rsrc_run *run, const struct rsr_spec *spec,
                                           const struct rsrc_buffer *text) {
    struct rsr_hash hash;
    rsrc_cache_key_begin(&run->cache, "assembly", &hash);
    key_spec(&hash, spec);
    rsrc_cache_key_text(&hash, text->data, text->size_bytes);
    return rsrc_cache_key_end(&hash);
}

struct rsrc_cache_key rsrc_key_of_time(const struct rsrc_run *run, const struct rsr_spec *spec,
                                       const char *cpu, const uint64_t *numbers,
                                       uint32_t n_numbers) {
    struct rsr_hash hash;
    rsrc_cache_key_begin(&run->cache, "time", &hash);
    key_string(&hash, run->options->backend);
    key_number(&hash, run->options->opt_level);
    key_spec(&hash, spec);
    key_string(&hash, cpu);
    for (uint32_t i = 0; i < n_numbers; i++)
        key_number(&hash, numbers[i]);
    return rsrc_cache_key_end(&hash);
}

void rsrc_begin_unit_key(const struct rsrc_run *run, const struct rsrc_maker *maker,
                         const struct rsr_unit *unit, const struct rsr_spec *spec,
                         const char *title, struct rsr_hash *hash) {
    if (run->cache.dir == NULL)
        return;
    rsrc_cache_key_begin(&run->cache, "unit", hash);
    key_string(hash, maker->backend->name);
    key_string(hash, unit->name);
    key_string(hash, title);
    key_number(hash, unit->kind);
    key_number(hash, unit->opt_level);
    key_spec(hash, spec);
}

void rsrc_add_to_unit_key(const struct rsrc_run *run, const struct rsr_kernel *kernel,
                          struct rsr_hash *hash) {
    if (run->cache.dir == NULL)
        return;
    struct rsrc_buffer text = {0};
    rsrc_print_kernel(kernel, &text);
    rsrc_cache_key_text(hash, text.data, text.size_bytes);
    key_number(hash, kernel->extern_bodies);
    rsrc_buffer_free(&text);
}

/* ---- what the C compiler makes --------------------------------------------------------------- */

static enum rsrc_status key_of_c_unit(struct rsrc_run *run, const char *path,
                                      struct rsrc_cache_key *out) {
    struct rsrc_mapping text;
    if (rsrc_map_file(run->diag, &run->arena, path, &text) != RSRC_OK)
        return RSRC_FAILED;
    struct rsr_hash hash;
    rsrc_cache_key_begin(&run->cache, "c", &hash);
    rsrc_cache_key_program(&hash, run->toolchain.cc);
    key_string(&hash, run->toolchain.cc_target);
    key_number(&hash, run->options->opt_level);
    rsrc_cache_key_text(&hash, text.data, (size_t)text.size_bytes);
    *out = rsrc_cache_key_end(&hash);
    rsrc_unmap_file(&text);
    return RSRC_OK;
}

static enum rsrc_status load_object(struct rsrc_run *run, const char *dir, const char *name,
                                    const struct rsrc_cache_key *key, bool *found) {
    struct rsrc_buffer object = {0};
    enum rsrc_status status = RSRC_OK;
    *found = rsrc_cache_get(&run->cache, run->diag, key, &object);
    if (*found)
        status = rsrc_write_file(run->diag, dir, rsrc_arena_printf(&run->arena, "%s.o", name),
                                 object.data, object.size_bytes);
    rsrc_buffer_free(&object);
    return status;
}

static enum rsrc_status store_objects(struct rsrc_run *run, const char *dir,
                                      const char *const *names, const struct rsrc_cache_key *keys,
                                      uint32_t n) {
    for (uint32_t i = 0; i < n && !run->options->dry_run; i++) {
        struct rsrc_mapping object;
        const char *path = rsrc_arena_printf(&run->arena, "%s/%s.o", dir, names[i]);
        if (rsrc_map_file(run->diag, &run->arena, path, &object) != RSRC_OK)
            return RSRC_FAILED;
        rsrc_cache_put(&run->cache, run->diag, &keys[i], object.data, (size_t)object.size_bytes);
        rsrc_unmap_file(&object);
    }
    return RSRC_OK;
}

enum rsrc_status rsrc_compile_cached(struct rsrc_run *run, const char *dir,
                                     const char *const *names, uint32_t n_names) {
    if (run->cache.dir == NULL)
        return rsrc_compile_units(run->diag, &run->arena, &run->toolchain, dir, names, n_names,
                                  run->options->opt_level);
    const char **missing = RSRC_NEW_ARRAY(&run->arena, n_names, const char *);
    struct rsrc_cache_key *keys = RSRC_NEW_ARRAY(&run->arena, n_names, struct rsrc_cache_key);
    uint32_t n_missing = 0;
    for (uint32_t i = 0; i < n_names; i++) {
        bool found = false;
        const char *path = rsrc_arena_printf(&run->arena, "%s/%s.c", dir, names[i]);
        if (key_of_c_unit(run, path, &keys[n_missing]) != RSRC_OK ||
            load_object(run, dir, names[i], &keys[n_missing], &found) != RSRC_OK)
            return RSRC_FAILED;
        if (!found)
            missing[n_missing++] = names[i];
    }
    if (rsrc_compile_units(run->diag, &run->arena, &run->toolchain, dir, missing, n_missing,
                           run->options->opt_level) != RSRC_OK)
        return RSRC_FAILED;
    return store_objects(run, dir, missing, keys, n_missing);
}

/* ---- what NVRTC and clang make --------------------------------------------------------------- */

static struct rsrc_cache_key key_of_ptx(const struct rsrc_ptx_of_target *of, const char *compiler,
                                        const char *source) {
    struct rsr_hash hash;
    rsrc_cache_key_begin(&of->run->cache, "ptx", &hash);
    rsrc_cache_key_program(&hash, compiler);
    key_spec(&hash, of->spec);
    key_string(&hash, source);
    return rsrc_cache_key_end(&hash);
}

static bool get_ptx(void *context, const char *compiler, const char *source,
                    struct rsrc_buffer *out) {
    const struct rsrc_ptx_of_target *of = context;
    const struct rsrc_cache_key key = key_of_ptx(of, compiler, source);
    return rsrc_cache_get(&of->run->cache, of->run->diag, &key, out);
}

static void put_ptx(void *context, const char *compiler, const char *source,
                    const struct rsrc_buffer *text) {
    const struct rsrc_ptx_of_target *of = context;
    const struct rsrc_cache_key key = key_of_ptx(of, compiler, source);
    rsrc_cache_put(&of->run->cache, of->run->diag, &key, text->data, text->size_bytes);
}

struct rsrc_ptx_store rsrc_ptx_store(struct rsrc_ptx_of_target *of) {
    return (struct rsrc_ptx_store){of, get_ptx, put_ptx};
}
