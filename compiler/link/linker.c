/* linker.c - finds the C compiler, linker and runtime; builds their command lines.
 *
 * ld.lld is run directly: it needs no compiler driver and no files for development for a shared
 * library whose only needs are libc and libm, and it keeps sections of more than 2 GiB apart from
 * code. Without ld.lld, `cc -shared` links.
 */
#include "link/linker.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/mapped_file.h"
#include "base/process.h"
#include "base/spawn.h"
#include "link/lay_weights.h"

static const char *const CC_NAMES[] = {"cc", "gcc", "clang", "clang-19"};
/* Clang compiles for every machine; gcc is looked for by the triple's name before them. */
static const char *const CROSS_CC_NAMES[] = {"clang", "clang-19"};
/* Releases before 19 do not place large sections apart, which matters from 2 GiB of weights. */
static const char *const LD_NAMES[] = {"ld.lld-19", "ld.lld"};
#define N_NAMES(names) ((uint32_t)(sizeof(names) / sizeof((names)[0])))
/* Where an installation may have its own linker, as a Python wheel has: no other program has a name
 * in this folder. */
#define OWN_LD "rsrc/ld.lld"

static bool is_cross(const char *triple) {
    return strcmp(triple, RSRC_TRIPLE) != 0;
}

static const char *join_names(struct rsrc_arena *arena, const char *const *names, uint32_t n) {
    const char *list = names[0];
    for (uint32_t i = 1; i < n; i++)
        list = rsrc_arena_printf(arena, "%s, %s", list, names[i]);
    return list;
}

/* ---- the C compiler -------------------------------------------------------------------------- */

/* Names in PATH; returns their number. */
static uint32_t list_compilers(struct rsrc_arena *arena, const char *triple,
                               const char *names[N_NAMES(CC_NAMES)]) {
    uint32_t n = 0;
    if (is_cross(triple))
        names[n++] = rsrc_arena_printf(arena, "%s-gcc", triple);
    for (uint32_t i = 0; i < N_NAMES(CROSS_CC_NAMES) && is_cross(triple); i++)
        names[n++] = CROSS_CC_NAMES[i];
    for (uint32_t i = 0; i < N_NAMES(CC_NAMES) && !is_cross(triple); i++)
        names[n++] = CC_NAMES[i];
    return n;
}

static enum rsrc_status refuse_without_compiler(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                                const char *triple) {
    const char *names[N_NAMES(CC_NAMES)];
    const uint32_t n = list_compilers(arena, triple, names);
    return rsrc_refuse(diag, "tool-missing", NULL,
                       rsrc_arena_printf(arena, "install %s or clang, or name one with --cc=PATH",
                                         is_cross(triple) ? names[0] : "gcc"),
                       "no C compiler for %s: --cc and RSRC_CC are not set, and PATH has none of "
                       "%s",
                       triple, join_names(arena, names, n));
}

static enum rsrc_status find_compiler(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                      const struct rsrc_toolchain_request *request,
                                      struct rsrc_toolchain *found) {
    const char *names[N_NAMES(CC_NAMES)];
    const uint32_t n = list_compilers(arena, request->triple, names);
    const struct rsrc_tool cc = {request->cc, "--cc", "RSRC_CC", names, n};
    if (rsrc_find_tool(diag, arena, &cc, &found->cc) != RSRC_OK)
        return RSRC_FAILED;
    if (found->cc == NULL)
        return request->needs_cc ? refuse_without_compiler(diag, arena, request->triple) : RSRC_OK;
    const char *slash = strrchr(found->cc, '/');
    if (is_cross(request->triple) && strstr(slash != NULL ? slash : found->cc, "clang") != NULL)
        found->cc_target = rsrc_arena_printf(arena, "--target=%s", request->triple);
    return RSRC_OK;
}

/* ---- the linker ------------------------------------------------------------------------------ */

static enum rsrc_status find_linker(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                    const struct rsrc_toolchain_request *request,
                                    struct rsrc_toolchain *found) {
    const char *names[2 + N_NAMES(LD_NAMES)];
    uint32_t n = 0;
    const char *beside = rsrc_beside_executable(arena, "lib/" OWN_LD);
    if (beside != NULL)
        names[n++] = beside;
    names[n++] = RSRC_LIBDIR "/" OWN_LD;
    const uint32_t n_own = n;
    for (uint32_t i = 0; i < N_NAMES(LD_NAMES); i++)
        names[n++] = LD_NAMES[i];
    const struct rsrc_tool ld = {request->ld, "--ld", "RSRC_LD", names, n};
    if (rsrc_find_tool(diag, arena, &ld, &found->ld) != RSRC_OK)
        return RSRC_FAILED;
    if (found->ld != NULL || found->cc != NULL)
        return RSRC_OK;
    return rsrc_refuse(
        diag, "tool-missing", NULL, "install lld-19, or name a linker with --ld=PATH",
        "no linker: --ld and RSRC_LD are not set, there is no %s, and PATH has none of %s, nor a C "
        "compiler for %s that could link",
        join_names(arena, names, n_own), join_names(arena, LD_NAMES, N_NAMES(LD_NAMES)),
        request->triple);
}

/* ---- the runtime ----------------------------------------------------------------------------- */

/* The runtime's build puts a file beside its archive that lists what linking needs besides libm and
 * libc. */
static enum rsrc_status find_runtime(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                     const char *triple, struct rsrc_toolchain *found) {
    const char *const dirs[] = {
        rsrc_beside_executable(arena, rsrc_arena_printf(arena, "lib/rsrc/%s", triple)),
        rsrc_arena_printf(arena, "%s/rsrc/%s", RSRC_LIBDIR, triple)};
    for (uint32_t i = 0; i < N_NAMES(dirs); i++) {
        if (dirs[i] == NULL)
            continue;
        const char *archive = rsrc_arena_printf(arena, "%s/librsr_module.a", dirs[i]);
        const char *args = rsrc_arena_printf(arena, "%s/link.args", dirs[i]);
        if (access(archive, R_OK) != 0 || access(args, R_OK) != 0)
            continue;
        found->runtime = archive;
        found->runtime_dir = dirs[i];
        found->runtime_args = rsrc_arena_printf(arena, "@%s", args);
        return RSRC_OK;
    }
    return rsrc_refuse(
        diag, "runtime-missing", NULL,
        !is_cross(triple)
            ? "install rsrc completely"
            : rsrc_arena_printf(arena,
                                "build the runtime for %s (for AArch64: cmake --preset "
                                "aarch64) and install its component 'module' where rsrc is "
                                "installed",
                                triple),
        "no runtime for %s: looked for librsr_module.a and link.args in %s and %s", triple,
        dirs[0] != NULL ? dirs[0] : "(no executable path)", dirs[1]);
}

enum rsrc_status rsrc_find_toolchain(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                     const struct rsrc_toolchain_request *request,
                                     struct rsrc_toolchain *out) {
    struct rsrc_toolchain found = {.triple = rsrc_arena_strdup(arena, request->triple)};
    if (find_compiler(diag, arena, request, &found) != RSRC_OK ||
        find_linker(diag, arena, request, &found) != RSRC_OK ||
        find_runtime(diag, arena, request->triple, &found) != RSRC_OK)
        return RSRC_FAILED;
    *out = found;
    return RSRC_OK;
}

/* ---- compiling ------------------------------------------------------------------------------- */

enum rsrc_status rsrc_compile_units(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                    const struct rsrc_toolchain *toolchain, const char *dir,
                                    const char *const *names, uint32_t n_names,
                                    uint32_t opt_level) {
    struct rsrc_command *commands = RSRC_NEW_ARRAY(arena, n_names, struct rsrc_command);
    if (n_names != 0 && toolchain->cc == NULL)
        return refuse_without_compiler(diag, arena, toolchain->triple);
    for (uint32_t i = 0; i < n_names; i++) {
        /* Relative names in a private directory keep this machine's paths out of the objects. */
        const char *const argv[] = {toolchain->cc,
                                    rsrc_arena_printf(arena, "-O%u", opt_level),
                                    "-std=gnu11",
                                    "-fPIC",
                                    "-fvisibility=hidden",
                                    "-ffp-contract=off",
                                    "-ffunction-sections",
                                    "-c",
                                    rsrc_arena_printf(arena, "%s.c", names[i]),
                                    "-o",
                                    rsrc_arena_printf(arena, "%s.o", names[i]),
                                    toolchain->cc_target, /* or the end */
                                    NULL};
        const char **copy = RSRC_NEW_ARRAY(arena, N_NAMES(argv), const char *);
        memcpy(copy, argv, sizeof(argv));
        commands[i] = (struct rsrc_command){.argv = copy, .directory = dir};
    }
    return rsrc_spawn_all(diag, arena, commands, n_names, &toolchain->compiling);
}

/* ---- linking --------------------------------------------------------------------------------- */

struct arguments {
    struct rsrc_arena *arena;
    const char **argv;
    uint32_t n, capacity;
    bool through_cc;
};

static void make_room(struct arguments *args) {
    args->argv =
        rsrc_arena_grown(args->arena, args->argv, args->n, &args->capacity, sizeof(*args->argv));
}

static void add(struct arguments *args, const char *arg) {
    make_room(args);
    args->argv[args->n++] = arg;
    make_room(args);
    args->argv[args->n] = NULL;
}

/* An option of the linker itself, wrapped when a compiler driver runs it. */
static void add_linker(struct arguments *args, const char *arg) {
    if (args->through_cc)
        add(args, "-Xlinker");
    add(args, arg);
}

#define VERSION_SCRIPT "exports.map"

static enum rsrc_status write_version_script(struct rsrc_diag *diag,
                                             const struct rsrc_link_input *input) {
    struct rsrc_buffer text = {0};
    rsrc_buffer_puts(&text, "{\n");
    if (input->n_exports != 0)
        rsrc_buffer_puts(&text, "global:\n");
    for (uint32_t i = 0; i < input->n_exports; i++)
        rsrc_buffer_printf(&text, "    %s;\n", input->exports[i]);
    rsrc_buffer_puts(&text, "local:\n    *;\n};\n");
    const enum rsrc_status status =
        rsrc_write_file(diag, input->dir, VERSION_SCRIPT, text.data, text.size_bytes);
    rsrc_buffer_free(&text);
    return status;
}

static void add_keyword(struct arguments *args, const char *keyword) {
    add_linker(args, "-z");
    add_linker(args, keyword);
}

static void add_shared_options(struct arguments *args, const struct rsrc_link_input *input) {
    static const char *const KEYWORDS[] = {
        "now",
        "relro",
        "noexecstack",
#ifndef RSRC_SANITIZED /* a sanitizer's symbols come with the program */
        "defs",
#endif
    };
    static const char *const OPTIONS[] = {"--gc-sections", "--eh-frame-hdr", "--hash-style=gnu",
                                          "--build-id=none"};
    add(args, "-shared");
    for (uint32_t i = 0; i < N_NAMES(KEYWORDS); i++)
        add_keyword(args, KEYWORDS[i]);
    for (uint32_t i = 0; i < N_NAMES(OPTIONS); i++)
        add_linker(args, OPTIONS[i]);
    if (rsrc_elf_is_huge(input->weights)) {
        add_keyword(args, "max-page-size=0x200000");
        if (!args->through_cc) { /* ld.lld alone knows these */
            add_keyword(args, "separate-loadable-segments");
            add_keyword(args, "lrodata-after-bss"); /* code reaches its own data across 2 GiB */
        }
    }
    add_linker(args,
               rsrc_arena_printf(args->arena, "--version-script=%s/" VERSION_SCRIPT, input->dir));
    for (uint32_t i = 0; i < input->n_aliases; i++)
        add_linker(args, rsrc_arena_printf(args->arena, "--defsym=%s", input->aliases[i]));
}

/* What modules load besides themselves. These are the files that programs load, not those that
 * packages for development link with. */
static const char *const LIBRARIES[] = {"libm.so.6", "libc.so.6"};

/* The folder of the libc that runs this program; NULL: it has none of its own. */
static const char *own_libc_dir(struct rsrc_arena *arena) {
    Dl_info info;
    void *symbol = dlsym(RTLD_DEFAULT, "gnu_get_libc_version");
    if (symbol == NULL || dladdr(symbol, &info) == 0 || info.dli_fname[0] != '/')
        return NULL;
    return rsrc_arena_printf(arena, "%.*s", (int)(strrchr(info.dli_fname, '/') - info.dli_fname),
                             info.dli_fname);
}

/* Where distributions have libraries of a triple. */
#define LIBRARY_DIRS 6u

static uint32_t list_library_dirs(struct rsrc_arena *arena, const char *triple,
                                  const char *dirs[LIBRARY_DIRS]) {
    const char *own = is_cross(triple) ? NULL : own_libc_dir(arena);
    uint32_t n = 0;
    if (own != NULL)
        dirs[n++] = own;
    dirs[n++] = rsrc_arena_printf(arena, "/lib/%s", triple);
    dirs[n++] = rsrc_arena_printf(arena, "/usr/lib/%s", triple);
    if (is_cross(triple)) {
        dirs[n++] = rsrc_arena_printf(arena, "/usr/%s/lib", triple);                /* Debian */
        dirs[n++] = rsrc_arena_printf(arena, "/usr/%s/sys-root/usr/lib64", triple); /* Fedora */
    } else {
        dirs[n++] = "/lib64";
        dirs[n++] = "/usr/lib64";
    }
    return n;
}

static void add_libraries(struct arguments *args, const struct rsrc_toolchain *toolchain) {
    add(args, rsrc_arena_printf(args->arena, "-L%s", toolchain->runtime_dir));
    if (args->through_cc) {
        add(args, toolchain->runtime_args);
        add(args, "-lm");
        return;
    }
    const char *dirs[LIBRARY_DIRS];
    const uint32_t n = list_library_dirs(args->arena, toolchain->triple, dirs);
    for (uint32_t i = 0; i < n; i++)
        add(args, rsrc_arena_printf(args->arena, "-L%s", dirs[i]));
    add(args, "--as-needed");
    add(args, toolchain->runtime_args);
    for (uint32_t i = 0; i < N_NAMES(LIBRARIES); i++)
        add(args, rsrc_arena_printf(args->arena, "-l:%s", LIBRARIES[i]));
}

/* NULL: they are all there. */
static const char *find_missing_library(struct rsrc_arena *arena, const char *triple) {
    const char *dirs[LIBRARY_DIRS];
    const uint32_t n_dirs = list_library_dirs(arena, triple, dirs);
    for (uint32_t i = 0; i < N_NAMES(LIBRARIES); i++) {
        uint32_t d = 0;
        while (d < n_dirs && access(rsrc_arena_join(arena, dirs[d], LIBRARIES[i]), R_OK) != 0)
            d++;
        if (d == n_dirs)
            return LIBRARIES[i];
    }
    return NULL;
}

static enum rsrc_status refuse_without_library(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                               const char *triple, const char *library) {
    const char *dirs[LIBRARY_DIRS];
    const uint32_t n = list_library_dirs(arena, triple, dirs);
    return rsrc_refuse(diag, "library-missing", NULL,
                       strcmp(triple, "aarch64-linux-gnu") == 0
                           ? "install it (Debian: libc6-arm64-cross), or name another linker with "
                             "--ld=PATH that knows where it is"
                           : "install it, or name another linker with --ld=PATH that knows where "
                             "it is",
                       "modules for %s are linked with its %s, which is in none of %s", triple,
                       library, join_names(arena, dirs, n));
}

static uint64_t file_bytes(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 ? (uint64_t)info.st_size : 0;
}

/* At least the size of the objects, at most that and the runtime. */
static uint64_t output_bytes(const struct rsrc_toolchain *toolchain,
                             const struct rsrc_link_input *input, bool at_most) {
    uint64_t n_bytes = at_most && !input->relocatable ? file_bytes(toolchain->runtime) : 0;
    n_bytes += file_bytes(input->weights->output.path);
    for (uint32_t i = 0; i < input->n_objects; i++)
        n_bytes += file_bytes(input->objects[i]);
    return n_bytes;
}

static enum rsrc_status refuse_full_disk(struct rsrc_diag *diag,
                                         const struct rsrc_link_input *input, int error) {
    return rsrc_refuse(diag, "output-write-failed", &(struct rsrc_place){.file = input->output_dir},
                       "free some space or raise the limit", "the linker cannot write: %s",
                       strerror(error));
}

/* A failure is the linker's own message, unless its reason can be told better: a library is not
 * there, or the disk is full. ld.lld writes through a mapping. A full disk ends it by SIGBUS or by
 * LLVM's fatal error, which asks users to report a bug. So room for the objects is checked before
 * it runs. If it fails and the disk has no room for its largest possible output, the diagnostic
 * blames the disk. */
static enum rsrc_status run_linker(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                   const struct rsrc_toolchain *toolchain,
                                   const struct rsrc_link_input *input, const char *const *argv) {
    const struct rsrc_command command = {.argv = argv, .directory = input->output_dir};
    const char *dir = toolchain->linking.dry_run ? NULL : input->output_dir;
    int error = dir != NULL ? rsrc_lacks_room(dir, output_bytes(toolchain, input, false)) : 0;
    if (error != 0)
        return refuse_full_disk(diag, input, error);
    struct rsrc_diag *held = rsrc_diag_hold(diag);
    const enum rsrc_status status = rsrc_spawn_all(held, arena, &command, 1, &toolchain->linking);
    const char *missing = NULL;
    if (status != RSRC_OK && toolchain->ld != NULL && !input->relocatable)
        missing = find_missing_library(arena, toolchain->triple);
    if (status != RSRC_OK && missing == NULL)
        error = rsrc_lacks_room(dir, output_bytes(toolchain, input, true));
    rsrc_diag_close_held(held, error == 0 && missing == NULL);
    if (missing != NULL)
        return refuse_without_library(diag, arena, toolchain->triple, missing);
    return error == 0 ? status : refuse_full_disk(diag, input, error);
}

static enum rsrc_status link_with(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                  const struct rsrc_toolchain *toolchain,
                                  const struct rsrc_link_input *input, const char *weights) {
    struct arguments args = {.arena = arena, .through_cc = toolchain->ld == NULL};
    add(&args, args.through_cc ? toolchain->cc : toolchain->ld);
    if (args.through_cc && toolchain->cc_target != NULL)
        add(&args, toolchain->cc_target);
    if (input->relocatable) {
        add(&args, "-r");
        if (args.through_cc)
            add(&args, "-nostdlib");
    } else {
        if (write_version_script(diag, input) != RSRC_OK)
            return RSRC_FAILED;
        add_shared_options(&args, input);
    }
    /* The name without its folder: ld.lld replaces every % of a path by a random digit. */
    add(&args, "-o");
    add(&args, input->output);
    for (uint32_t i = 0; i < input->n_objects; i++)
        add(&args, input->objects[i]);
    add(&args, rsrc_absolute_path(arena, weights));
    if (!input->relocatable) {
        add(&args, toolchain->runtime);
        add_libraries(&args, toolchain);
    }
    return run_linker(diag, arena, toolchain, input, args.argv);
}

/* Commands that are shown and not run do not count on what follows the linker. */
enum rsrc_status rsrc_link(struct rsrc_diag *diag, struct rsrc_arena *arena,
                           const struct rsrc_toolchain *toolchain,
                           const struct rsrc_link_input *input) {
    const struct rsrc_elf_writer *weights = input->weights;
    const char *made = rsrc_arena_join(arena, input->output_dir, input->output);
    bool laid = false;
    if (weights->place != NULL && toolchain->ld != NULL && !toolchain->linking.dry_run &&
        (link_with(diag, arena, toolchain, input, weights->place) != RSRC_OK ||
         rsrc_lay_weights(diag, arena, made, weights, &laid) != RSRC_OK))
        return RSRC_FAILED;
    return laid ? RSRC_OK : link_with(diag, arena, toolchain, input, weights->output.path);
}
