/* linker.c - finds the C compiler, linker and runtime; builds their command lines.
 *
 * ld.lld is run directly: it needs no compiler driver for a shared library whose only needs are
 * libc and libm, and it keeps sections of more than 2 GiB apart from code. Without ld.lld, `cc
 * -shared` links.
 */
#include "link/linker.h"

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
/* A Python wheel brings a linker. */
#define OWN_LD "lib/rsrc/ld.lld"
/* Releases before 19 do not place large sections apart, which matters from 2 GiB of weights. */
static const char *const LD_NAMES[] = {"ld.lld-19", "ld.lld"};
#define N_NAMES(names) ((uint32_t)(sizeof(names) / sizeof((names)[0])))

static enum rsrc_status find_compiler(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                      const char *cc_option, const char *triple,
                                      struct rsrc_toolchain *found) {
    const bool cross = strcmp(triple, RSRC_TRIPLE) != 0;
    const char *names[N_NAMES(CC_NAMES) + N_NAMES(CROSS_CC_NAMES) + 1];
    struct rsrc_tool cc = {cc_option, "--cc", "RSRC_CC", names, 0};
    if (cross)
        names[cc.n_names++] = rsrc_arena_printf(arena, "%s-gcc", triple);
    for (uint32_t i = 0; i < (cross ? N_NAMES(CROSS_CC_NAMES) : N_NAMES(CC_NAMES)); i++)
        names[cc.n_names++] = cross ? CROSS_CC_NAMES[i] : CC_NAMES[i];
    if (rsrc_find_tool(diag, arena, &cc, &found->cc) != RSRC_OK)
        return RSRC_FAILED;
    if (found->cc == NULL) {
        const char *list = names[0];
        for (uint32_t i = 1; i < cc.n_names; i++)
            list = rsrc_arena_printf(arena, "%s, %s", list, names[i]);
        return rsrc_refuse(
            diag, "tool-missing", NULL,
            rsrc_arena_printf(arena, "install %s or clang, or name one with --cc=PATH",
                              cross ? names[0] : "gcc"),
            "no C compiler for %s: --cc and RSRC_CC are not set, and PATH has none of %s", triple,
            list);
    }
    const char *slash = strrchr(found->cc, '/');
    if (cross && strstr(slash != NULL ? slash : found->cc, "clang") != NULL)
        found->cc_target = rsrc_arena_printf(arena, "--target=%s", triple);
    return RSRC_OK;
}

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
        found->runtime_args = rsrc_arena_printf(arena, "@%s", args);
        return RSRC_OK;
    }
    return rsrc_refuse(
        diag, "runtime-missing", NULL,
        strcmp(triple, RSRC_TRIPLE) == 0
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
                                     const char *cc_option, const char *ld_option,
                                     const char *triple, struct rsrc_toolchain *out) {
    struct rsrc_toolchain found = {0};
    const char *names[N_NAMES(LD_NAMES) + 1];
    struct rsrc_tool ld = {ld_option, "--ld", "RSRC_LD", names, 0};
    const char *own = rsrc_beside_executable(arena, OWN_LD);
    if (own != NULL)
        names[ld.n_names++] = own;
    for (uint32_t i = 0; i < N_NAMES(LD_NAMES); i++)
        names[ld.n_names++] = LD_NAMES[i];
    if (find_compiler(diag, arena, cc_option, triple, &found) != RSRC_OK ||
        rsrc_find_tool(diag, arena, &ld, &found.ld) != RSRC_OK ||
        find_runtime(diag, arena, triple, &found) != RSRC_OK)
        return RSRC_FAILED;
    *out = found;
    return RSRC_OK;
}

enum rsrc_status rsrc_compile_units(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                    const struct rsrc_toolchain *toolchain, const char *dir,
                                    const char *const *names, uint32_t n_names,
                                    uint32_t opt_level) {
    struct rsrc_command *commands = RSRC_NEW_ARRAY(arena, n_names, struct rsrc_command);
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

static void add_libraries(struct arguments *args, const struct rsrc_toolchain *toolchain,
                          const char *triple) {
    if (args->through_cc) {
        add(args, toolchain->runtime_args);
        add(args, "-lm");
        return;
    }
    add(args, rsrc_arena_printf(args->arena, "-L/lib/%s", triple));
    add(args, rsrc_arena_printf(args->arena, "-L/usr/lib/%s", triple));
    add(args, rsrc_arena_printf(args->arena, "-L/usr/%s/lib", triple)); /* Debian's for crossing */
    add(args, "-L/lib64");
    add(args, "-L/usr/lib64");
    add(args, "--as-needed");
    add(args, toolchain->runtime_args);
    add(args, "-l:libm.so.6");
    add(args, "-l:libc.so.6");
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

/* ld.lld writes through a mapping. A full disk ends it by SIGBUS or by LLVM's fatal error, which
 * asks users to report a bug. So room for the objects is checked before it runs. If it fails and
 * the disk has no room for its largest possible output, the diagnostic blames the disk. */
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
    if (status != RSRC_OK)
        error = rsrc_lacks_room(dir, output_bytes(toolchain, input, true));
    rsrc_diag_close_held(held, error == 0);
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
        add_libraries(&args, toolchain, input->triple);
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
