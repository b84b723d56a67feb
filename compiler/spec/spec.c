/* spec.c - finds target descriptions, merges parents in, and describes this machine as `native`.
 *
 * Search directories: the one given, else <executable>/../share/rsrc/specs (build and installed
 * trees look alike) and the directory that the build was configured to install to. A parent is
 * looked for beside its child first.
 */
#include "spec/spec.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/mapped_file.h"
#include "base/process.h"
#include "emit/llvm/host_cpu.h"
#include "spec/host.h"
#include "spec/spec_document.h"

#ifndef RSRC_SPEC_DIR
#define RSRC_SPEC_DIR "/usr/local/share/rsrc/specs"
#endif

#define MAX_INHERITANCE 8u
#define MAX_DIRS 3u
/* A limit of entries, above that of any directory of target descriptions. */
#define MAX_SPECS 1024u

struct search {
    struct rsrc_diag *diag;
    struct rsrc_arena *arena;
    const char *dirs[MAX_DIRS];
    uint32_t n_dirs;
    struct file_list *files; /* read so far */
};

/* A list that grows; it holds at most all descriptions of a directory and their parents. */
struct file_list {
    const char **paths;
    uint32_t n, capacity;
};

/* ---- directories ----------------------------------------------------------------------------- */

static struct search make_search(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                 const char *spec_dir) {
    struct search search = {
        .diag = diag, .arena = arena, .files = RSRC_NEW(arena, struct file_list)};
    if (spec_dir != NULL) {
        search.dirs[search.n_dirs++] = spec_dir;
        return search;
    }
    const char *beside = rsrc_beside_executable(arena, "share/rsrc/specs");
    if (beside != NULL)
        search.dirs[search.n_dirs++] = beside;
    search.dirs[search.n_dirs++] = RSRC_SPEC_DIR;
    return search;
}

static const char *dir_names(const struct search *search) {
    const char *text = search->dirs[0];
    for (uint32_t d = 1; d < search->n_dirs; d++)
        text = rsrc_arena_printf(search->arena, "%s, %s", text, search->dirs[d]);
    return text;
}

/* Path of <name>.yaml, or NULL. */
static const char *find_spec_file(const struct search *search, const char *name) {
    for (uint32_t d = 0; d < search->n_dirs; d++) {
        const char *path = rsrc_arena_printf(search->arena, "%s/%s.yaml", search->dirs[d], name);
        if (rsrc_file_is_there(path))
            return path;
    }
    return NULL;
}

/* ---- listing --------------------------------------------------------------------------------- */

struct name_list {
    const char *names[MAX_SPECS];
    uint32_t n;
};

static void add_name(struct name_list *list, const char *name) {
    for (uint32_t i = 0; i < list->n; i++)
        if (strcmp(list->names[i], name) == 0)
            return;
    if (list->n < MAX_SPECS)
        list->names[list->n++] = name;
}

static void add_dir(struct rsrc_arena *arena, const char *path, struct name_list *list) {
    DIR *dir = opendir(path);
    if (dir == NULL)
        return;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        size_t n = strlen(entry->d_name);
        if (n <= 5 || strcmp(entry->d_name + n - 5, ".yaml") != 0)
            continue;
        const char *name = rsrc_arena_strndup(arena, entry->d_name, n - 5);
        if (rsrc_spec_name_valid(name) && strcmp(name, "native") != 0)
            add_name(list, name);
    }
    closedir(dir);
}

static int compare_names(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The descriptions of all directories, sorted; without "native". */
static struct name_list *list_names(const struct search *search) {
    struct name_list *list = RSRC_NEW(search->arena, struct name_list);
    for (uint32_t d = 0; d < search->n_dirs; d++)
        add_dir(search->arena, search->dirs[d], list);
    qsort(list->names, list->n, sizeof list->names[0], compare_names);
    return list;
}

static enum rsrc_status fail_no_specs(const struct search *search) {
    return rsrc_refuse(search->diag, "spec-none", NULL,
                       "install rsrc completely, or name the directory of the target descriptions",
                       "no target descriptions found in %s", dir_names(search));
}

enum rsrc_status rsrc_list_specs(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                 const char *spec_dir, const char *const **names,
                                 uint32_t *n_names) {
    struct search search = make_search(diag, arena, spec_dir);
    struct name_list *list = list_names(&search);
    if (list->n == 0)
        return fail_no_specs(&search);
    add_name(list, "native");
    qsort(list->names, list->n, sizeof list->names[0], compare_names);
    *names = list->names;
    *n_names = list->n;
    return RSRC_OK;
}

/* ---- files and inheritance ------------------------------------------------------------------- */

/* The files being read, child before parent. */
struct chain {
    const char *path;
    const struct chain *child;
    uint32_t depth;
};

static enum rsrc_status load_file(const struct search *search, const char *path,
                                  const struct chain *child, struct rsr_spec *out);

/* Searches the directory of `path` before all others. */
static struct search search_beside(const struct search *search, const char *path) {
    struct search beside = *search;
    const char *slash = strrchr(path, '/');
    const char *dir =
        slash == NULL
            ? "."
            : rsrc_arena_strndup(search->arena, path, slash == path ? 1 : (size_t)(slash - path));
    if (strcmp(dir, beside.dirs[0]) == 0 || beside.n_dirs == MAX_DIRS)
        return beside;
    memmove(beside.dirs + 1, beside.dirs, beside.n_dirs * sizeof beside.dirs[0]);
    beside.dirs[0] = dir;
    beside.n_dirs++;
    return beside;
}

static enum rsrc_status load_parent(const struct search *search,
                                    const struct rsrc_spec_document *document,
                                    const struct chain *chain, struct rsr_spec *out) {
    struct rsrc_place place =
        rsrc_spec_place(search->arena, document, document->at[RSRC_SPEC_FIELD_INHERIT].line,
                        document->at[RSRC_SPEC_FIELD_INHERIT].column);
    struct search beside = search_beside(search, chain->path);
    const char *path = find_spec_file(&beside, document->inherit);
    if (path == NULL) {
        struct name_list *list = list_names(&beside);
        const char *meant = rsrc_did_you_mean(document->inherit, list->names, list->n);
        return rsrc_refuse(
            search->diag, "spec-inherit", &place,
            meant == NULL ? NULL : rsrc_arena_printf(search->arena, "did you mean '%s'?", meant),
            "there is no target description '%s' to inherit from in %s", document->inherit,
            dir_names(&beside));
    }
    for (const struct chain *c = chain; c != NULL; c = c->child) {
        if (strcmp(c->path, path) == 0)
            return rsrc_refuse(search->diag, "spec-inherit-cycle", &place, NULL,
                               "'%s' inherits from itself", document->inherit);
    }
    if (chain->depth >= MAX_INHERITANCE)
        return rsrc_refuse(search->diag, "spec-inherit-depth", &place, NULL,
                           "more than %u target descriptions inherit from one another",
                           MAX_INHERITANCE);
    return load_file(&beside, path, chain, out);
}

static enum rsrc_status load_mapped(const struct search *search, const struct rsrc_mapping *mapping,
                                    const struct chain *chain, struct rsr_spec *out) {
    struct rsrc_spec_document document;
    if (rsrc_parse_spec_document(search->diag, search->arena, mapping->path, mapping->data,
                                 mapping->size_bytes, &document) != RSRC_OK)
        return RSRC_FAILED;
    struct rsr_spec parent;
    if (document.inherit != NULL && load_parent(search, &document, chain, &parent) != RSRC_OK)
        return RSRC_FAILED;
    return rsrc_resolve_spec(search->diag, search->arena, &document,
                             document.inherit != NULL ? &parent : NULL, out);
}

static void remember_file(const struct search *search, const char *path) {
    struct file_list *files = search->files;
    for (uint32_t i = 0; i < files->n; i++)
        if (strcmp(files->paths[i], path) == 0)
            return;
    files->paths = rsrc_arena_grown(search->arena, files->paths, files->n, &files->capacity,
                                    sizeof(*files->paths));
    files->paths[files->n++] = rsrc_arena_strdup(search->arena, path);
}

static enum rsrc_status load_file(const struct search *search, const char *path,
                                  const struct chain *child, struct rsr_spec *out) {
    struct chain chain = {path, child, child == NULL ? 1 : child->depth + 1};
    struct rsrc_mapping mapping;
    if (rsrc_map_file(search->diag, search->arena, path, &mapping) != RSRC_OK)
        return RSRC_FAILED;
    remember_file(search, path);
    enum rsrc_status status = load_mapped(search, &mapping, &chain, out);
    rsrc_unmap_file(&mapping);
    return status;
}

/* Reads a description by its name; the name in the file must be equal. */
static enum rsrc_status load_name(const struct search *search, const char *name,
                                  struct rsr_spec *out) {
    const char *path = rsrc_spec_name_valid(name) ? find_spec_file(search, name) : NULL;
    if (path == NULL) {
        struct name_list *list = list_names(search);
        if (list->n == 0)
            return fail_no_specs(search);
        add_name(list, "native");
        const char *meant = rsrc_did_you_mean(name, list->names, list->n);
        return rsrc_refuse(search->diag, "spec-unknown-target", NULL,
                           meant == NULL
                               ? "--print-targets lists them; a path ends in .yaml"
                               : rsrc_arena_printf(search->arena, "did you mean '%s'?", meant),
                           "unknown target '%s'", name);
    }
    struct rsr_spec spec;
    if (load_file(search, path, NULL, &spec) != RSRC_OK)
        return RSRC_FAILED;
    if (strcmp(spec.name, name) != 0)
        return rsrc_refuse(search->diag, "spec-name", &(struct rsrc_place){.file = path},
                           "rename the file or change its 'name'",
                           "the target description calls itself '%s'", spec.name);
    *out = spec;
    return RSRC_OK;
}

/* ---- native ---------------------------------------------------------------------------------- */

#if defined(__x86_64__)
#define HOST_TRIPLE "x86_64-linux-gnu"
#elif defined(__aarch64__)
#define HOST_TRIPLE "aarch64-linux-gnu"
#else
#define HOST_TRIPLE "unknown"
#endif

const char *rsrc_host_triple(void) {
    return HOST_TRIPLE;
}

/* The description with more features is better. With equal numbers it is the one for the host's own
 * processor. */
static bool suits_better(const struct rsr_spec *spec, const struct rsr_spec *best,
                         const char *host_cpu) {
    const int more = __builtin_popcountll(spec->cpu_features) -
                     (best->name == NULL ? -1 : __builtin_popcountll(best->cpu_features));
    return more != 0 ? more > 0
                     : strcmp(spec->cpu, host_cpu) == 0 && strcmp(best->cpu, host_cpu) != 0;
}

/* The best description that the host can run; of several, the first by name. */
static enum rsrc_status load_native(const struct search *search, struct rsr_spec *out) {
    struct name_list *list = list_names(search);
    if (list->n == 0)
        return fail_no_specs(search);
    uint64_t host = rsrc_host_features();
    const char *host_cpu = rsrc_host_cpu_name(search->arena);
    struct rsr_spec best = {.name = NULL};
    for (uint32_t i = 0; i < list->n; i++) {
        struct rsr_spec spec;
        if (load_name(search, list->names[i], &spec) != RSRC_OK)
            return RSRC_FAILED;
        bool runs = strcmp(spec.triple, HOST_TRIPLE) == 0 && (spec.cpu_features & ~host) == 0;
        if (runs && suits_better(&spec, &best, host_cpu))
            best = spec;
    }
    if (best.name == NULL)
        return rsrc_refuse(search->diag, "spec-native", NULL, "give a target by name",
                           "no target description is for this machine (%s)", HOST_TRIPLE);
    if (strcmp(best.cpu, host_cpu) != 0) /* a description of this very processor is more exact */
        best.prefetch_level = rsrc_host_prefetch_level(best.prefetch_level);
    best.name = "native";
    best.file = NULL;
    best.cpu = host_cpu;
    best.cpu_features |= host;
    best.cores = rsrc_host_cores();
    best.l2_bytes = rsrc_host_l2_bytes(best.l2_bytes);
    *out = best;
    return RSRC_OK;
}

enum rsrc_status rsrc_load_spec(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                const char *target, const char *spec_dir, struct rsr_spec *out) {
    struct search search = make_search(diag, arena, spec_dir);
    struct rsr_spec spec;
    size_t n = strlen(target);
    bool is_path = strchr(target, '/') != NULL || (n > 5 && strcmp(target + n - 5, ".yaml") == 0);
    enum rsrc_status status = strcmp(target, "native") == 0 ? load_native(&search, &spec)
                              : is_path ? load_file(&search, target, NULL, &spec)
                                        : load_name(&search, target, &spec);
    if (status != RSRC_OK)
        return status;
    spec.files = search.files->paths;
    spec.n_files = search.files->n;
    *out = spec;
    return RSRC_OK;
}
