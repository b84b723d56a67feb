/* clang.c - compiles CUDA C++ by clang in a private directory, with our own declarations of what
 * the kernels use of CUDA (cuda/clang/clang_device.cuh).
 *
 * The files have relative names, so that no path of this machine gets into a text.
 */
#include "emit/ptx/clang.h"

#include <stdio.h>
#include <string.h>

#include "base/mapped_file.h"
#include "emit/template.h"

/* Debian's `clang` is older than the LLVM that rsrc is built with. */
static const char *const NAMES[] = {"clang-19", "clang"};
const char rsrc_clang_names[] = "clang-19, clang";
/* Clang 16 leaves loops rolled up that the kernels need unrolled, and puts their arrays into
 * memory. */
#define OLDEST 19u
#define DEVICE "clang_device.cuh"
#define N(array) (sizeof(array) / sizeof((array)[0]))

static enum rsrc_status write_text(struct rsrc_diag *diag, const struct rsrc_clang *clang,
                                   const char *name, const char *text) {
    return rsrc_write_file(diag, clang->dir, name, text, strlen(text));
}

/* Appends a file that clang wrote. */
static enum rsrc_status read_text(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                  const struct rsrc_clang *clang, const char *name,
                                  struct rsrc_buffer *out) {
    struct rsrc_mapping file;
    const char *path = rsrc_arena_printf(arena, "%s/%s", clang->dir, name);
    if (rsrc_map_file(diag, arena, path, &file) != RSRC_OK)
        return RSRC_FAILED;
    rsrc_buffer_append(out, file.data, file.size_bytes);
    rsrc_unmap_file(&file);
    return RSRC_OK;
}

/* ---- finding it ------------------------------------------------------------------------------ */

/* Asks the preprocessor, whose answer is the same in every language and distribution. */
static enum rsrc_status ask_version(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                    const struct rsrc_clang *clang, struct rsrc_buffer *out) {
    static const char QUESTION[] = "__clang_major__ __clang_minor__ __clang_patchlevel__\n";
    const char *const argv[] = {clang->path, "-E", "-P",          "-x", "c",
                                "version.h", "-o", "version.txt", NULL};
    const struct rsrc_command command = {argv, clang->dir};
    struct rsrc_spawn_options quiet = *clang->spawn;
    quiet.progress = NULL;
    if (write_text(diag, clang, "version.h", QUESTION) != RSRC_OK ||
        rsrc_spawn_all(diag, arena, &command, 1, &quiet) != RSRC_OK)
        return RSRC_FAILED;
    return quiet.dry_run ? RSRC_OK : read_text(diag, arena, clang, "version.txt", out);
}

static enum rsrc_status check_version(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                      struct rsrc_clang *clang, const char *answer) {
    static const char HELP[] = "install clang 19 or later (Debian: clang-19) and name it with "
                               "--cuda-cc, or install NVIDIA's package nvidia-cuda-nvrtc";
    unsigned major = 0, minor = 0, patch = 0;
    if (sscanf(answer, "%u %u %u", &major, &minor, &patch) != 3)
        return rsrc_refuse(diag, "cuda-cc", NULL, HELP, "%s is no clang", clang->path);
    clang->version = rsrc_arena_printf(arena, "%u.%u.%u", major, minor, patch);
    if (major < OLDEST)
        return rsrc_refuse(diag, "cuda-cc", NULL, HELP,
                           "%s is clang %s: kernels of GPUs need clang %u or later", clang->path,
                           clang->version, OLDEST);
    return RSRC_OK;
}

enum rsrc_status rsrc_clang_find(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                 const char *cuda_cc, uint32_t sm,
                                 const struct rsrc_spawn_options *spawn, struct rsrc_clang *out) {
    const struct rsrc_tool tool = {cuda_cc, "--cuda-cc", "RSRC_CUDA_CC", NAMES, N(NAMES)};
    *out = (struct rsrc_clang){.spawn = spawn, .version = "?", .sm = sm};
    if (rsrc_find_tool(diag, arena, &tool, &out->path) != RSRC_OK)
        return RSRC_FAILED;
    if (out->path == NULL)
        return RSRC_OK;
    struct rsrc_buffer answer = {0};
    enum rsrc_status status = rsrc_scratch_dir(diag, arena, "rsrc-cuda", &out->dir);
    if (status == RSRC_OK)
        status = ask_version(diag, arena, out, &answer);
    if (status == RSRC_OK && !spawn->dry_run)
        status = check_version(diag, arena, out, answer.data != NULL ? answer.data : "");
    rsrc_buffer_free(&answer);
    return status;
}

/* ---- compiling ------------------------------------------------------------------------------- */

/* The kernels use nothing newer than sm_80, except for dependent launches, which sm_90 has. Code
 * for a GPU runs on every later one, so any clang does for any GPU, and texts of either kind differ
 * only in the target that they state. Floats are rounded after every operation, divided exactly,
 * and denormals are kept, as NVRTC is told to (nvrtc.c). */
static struct rsrc_command compile_command(struct rsrc_arena *arena, const struct rsrc_clang *clang,
                                           uint32_t i) {
    const bool dependent = clang->sm >= 90;
    const char *const argv[] = {clang->path,
                                "-x",
                                "cuda",
                                "--cuda-device-only",
                                dependent ? "--cuda-gpu-arch=sm_90" : "--cuda-gpu-arch=sm_80",
                                dependent ? "--cuda-feature=+ptx78" : "--cuda-feature=+ptx70",
                                "-nocudainc",
                                "-nocudalib",
                                "-nostdinc",
                                "-Wno-unknown-cuda-version",
                                "-std=c++17",
                                "-O3",
                                "-ffp-contract=off",
                                "-fno-gpu-flush-denormals-to-zero",
                                "-include",
                                DEVICE,
                                "-S",
                                rsrc_arena_printf(arena, "kernel_%u.cu", i),
                                "-o",
                                rsrc_arena_printf(arena, "kernel_%u.ptx", i),
                                NULL};
    const char **copy = RSRC_NEW_ARRAY(arena, N(argv), const char *);
    memcpy(copy, argv, sizeof(argv));
    return (struct rsrc_command){copy, clang->dir};
}

static enum rsrc_status write_headers(struct rsrc_diag *diag, const struct rsrc_clang *clang) {
    static const char *const HEADERS[] = {DEVICE,
#define X(name) name,
                                          RSRC_CUDA_HEADERS(X)
#undef X
    };
    enum rsrc_status status = RSRC_OK;
    for (size_t i = 0; i < N(HEADERS) && status == RSRC_OK; i++)
        status = write_text(diag, clang, HEADERS[i], rsrc_template_text(HEADERS[i]));
    return status;
}

enum rsrc_status rsrc_clang_compile(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                    const struct rsrc_clang *clang,
                                    struct rsrc_cuda_text *const *texts, uint32_t n_texts) {
    struct rsrc_command *commands = RSRC_NEW_ARRAY(arena, n_texts, struct rsrc_command);
    enum rsrc_status status = write_headers(diag, clang);
    for (uint32_t i = 0; i < n_texts && status == RSRC_OK; i++) {
        commands[i] = compile_command(arena, clang, i);
        status = write_text(diag, clang, rsrc_arena_printf(arena, "kernel_%u.cu", i),
                            texts[i]->source.data);
    }
    if (status == RSRC_OK)
        status = rsrc_spawn_all(diag, arena, commands, n_texts, clang->spawn);
    for (uint32_t i = 0; i < n_texts && status == RSRC_OK && !clang->spawn->dry_run; i++)
        status = read_text(diag, arena, clang, rsrc_arena_printf(arena, "kernel_%u.ptx", i),
                           &texts[i]->ptx);
    return status;
}
