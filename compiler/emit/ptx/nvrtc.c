/* nvrtc.c - finds libnvrtc, and compiles CUDA C++ with it.
 *
 * The declarations below are the part of NVRTC's C interface that is used; it is stable across the
 * versions 12 and 13.
 */
#include "emit/ptx/nvrtc.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "emit/ptx/cuda_unit.h"
#include "emit/template.h"

typedef struct nvrtc_program nvrtc_program;

/* X-macro: member, name in the library, parameters. All return 0 on success. */
#define FUNCTIONS(X)                                                                               \
    X(version, "nvrtcVersion", (int *major, int *minor))                                           \
    X(count_archs, "nvrtcGetNumSupportedArchs", (int *n))                                          \
    X(list_archs, "nvrtcGetSupportedArchs", (int *archs))                                          \
    X(create, "nvrtcCreateProgram",                                                                \
      (nvrtc_program * *program, const char *source, const char *name, int n_headers,              \
       const char *const *headers, const char *const *header_names))                               \
    X(destroy, "nvrtcDestroyProgram", (nvrtc_program * *program))                                  \
    X(compile, "nvrtcCompileProgram",                                                              \
      (nvrtc_program * program, int n_options, const char *const *options))                        \
    X(ptx_size, "nvrtcGetPTXSize", (nvrtc_program * program, size_t * size))                       \
    X(ptx, "nvrtcGetPTX", (nvrtc_program * program, char *text))                                   \
    X(cubin_size, "nvrtcGetCUBINSize", (nvrtc_program * program, size_t * size))                   \
    X(cubin, "nvrtcGetCUBIN", (nvrtc_program * program, char *bytes))                              \
    X(log_size, "nvrtcGetProgramLogSize", (nvrtc_program * program, size_t * size))                \
    X(log, "nvrtcGetProgramLog", (nvrtc_program * program, char *text))

struct rsrc_nvrtc {
    void *library;
#define X(member, name, parameters) int(*member) parameters;
    FUNCTIONS(X)
#undef X
};

/* ---- finding it ------------------------------------------------------------------------------ */

/* Names of the library, newest first; the plain one comes with development packages. */
static const char *const NAMES[] = {"libnvrtc.so", "libnvrtc.so.13", "libnvrtc.so.12"};
/* Folders of the library in a toolkit and in NVIDIA's Python wheels. */
static const char *const SUBDIRS[] = {"/lib64", "/lib", ""};
static const char *const USUAL[] = {"/usr/local/cuda", "/opt/cuda", "/usr/lib/x86_64-linux-gnu",
                                    "/usr/lib/aarch64-linux-gnu"};
#define N(array) (sizeof(array) / sizeof((array)[0]))

struct search {
    struct rsrc_arena *arena;
    struct rsrc_nvrtc *found;
    const char *places; /* paths tried so far; NULL: none */
};

/* False if a function is missing: the version is unknown. */
static bool bind_functions(struct rsrc_nvrtc *nvrtc) {
    const struct {
        const char *name;
        void *member;
    } functions[] = {
#define X(member, name, parameters) {name, &nvrtc->member},
        FUNCTIONS(X)
#undef X
    };
    for (size_t i = 0; i < N(functions); i++) {
        void *address = dlsym(nvrtc->library, functions[i].name);
        if (address == NULL)
            return false;
        memcpy(functions[i].member, &address, sizeof address);
    }
    return true;
}

static void try_library(struct search *search, const char *path) {
    if (search->found != NULL)
        return;
    struct rsrc_nvrtc *nvrtc = RSRC_NEW(search->arena, struct rsrc_nvrtc);
    /* NODELETE: NVRTC keeps memory for the process; unloading would leak it. */
    nvrtc->library = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (nvrtc->library == NULL)
        return;
    if (bind_functions(nvrtc))
        search->found = nvrtc;
    else
        dlclose(nvrtc->library);
}

static void try_installation(struct search *search, const char *path) {
    if (path == NULL || path[0] == '\0' || search->found != NULL)
        return;
    search->places = search->places == NULL
                         ? rsrc_arena_strdup(search->arena, path)
                         : rsrc_arena_printf(search->arena, "%s, %s", search->places, path);
    for (size_t d = 0; d < N(SUBDIRS); d++)
        for (size_t n = 0; n < N(NAMES); n++)
            try_library(search,
                        rsrc_arena_printf(search->arena, "%s%s/%s", path, SUBDIRS[d], NAMES[n]));
}

struct rsrc_nvrtc *rsrc_nvrtc_open(struct rsrc_arena *arena, const char *cuda_path,
                                   const char **places) {
    struct search search = {.arena = arena};
    if (cuda_path != NULL) {
        try_installation(&search, cuda_path);
        *places = search.places;
        return search.found;
    }
    try_installation(&search, getenv("CUDA_PATH"));
    try_installation(&search, getenv("CUDA_HOME"));
    for (size_t i = 0; i < N(USUAL); i++)
        try_installation(&search, USUAL[i]);
    for (size_t n = 0; n < N(NAMES); n++)
        try_library(&search, NAMES[n]);
    *places = rsrc_arena_printf(arena, "%s, the dynamic linker's directories", search.places);
    return search.found;
}

void rsrc_nvrtc_close(struct rsrc_nvrtc *nvrtc) {
    dlclose(nvrtc->library);
}

const char *rsrc_nvrtc_name(struct rsrc_arena *arena, const struct rsrc_nvrtc *nvrtc) {
    int major = 0, minor = 0;
    (void)nvrtc->version(&major, &minor);
    return rsrc_arena_printf(arena, "NVRTC %d.%d", major, minor);
}

const char *rsrc_nvrtc_file(struct rsrc_arena *arena, const struct rsrc_nvrtc *nvrtc) {
    Dl_info info;
    void *address;
    memcpy(&address, &nvrtc->version, sizeof(address));
    return dladdr(address, &info) != 0 ? rsrc_arena_strdup(arena, info.dli_fname) : "";
}

/* ---- compiling ------------------------------------------------------------------------------- */

static enum rsrc_status check_arch(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                   const struct rsrc_nvrtc *nvrtc, uint32_t sm) {
    int n = 0;
    if (nvrtc->count_archs(&n) != 0 || n <= 0 || n > 1000)
        n = 0;
    int *archs = RSRC_NEW_ARRAY(arena, (size_t)n + 1, int);
    if (n != 0)
        (void)nvrtc->list_archs(archs);
    const char *list = "";
    for (int i = 0; i < n; i++) {
        if (archs[i] == (int)sm)
            return RSRC_OK;
        list = rsrc_arena_printf(arena, "%s sm_%d", list, archs[i]);
    }
    return rsrc_refuse(
        diag, "nvrtc-arch", NULL, "choose another --cuda-path, or --cuda-path=none for clang",
        "%s does not know sm_%u; it knows%s", rsrc_nvrtc_name(arena, nvrtc), sm, list);
}

static const char *read_log(struct rsrc_arena *arena, const struct rsrc_nvrtc *nvrtc,
                            nvrtc_program *program) {
    size_t size = 0;
    if (program == NULL || nvrtc->log_size(program, &size) != 0 || size == 0)
        return "no message";
    char *text = RSRC_NEW_ARRAY(arena, size + 1, char);
    return nvrtc->log(program, text) == 0 ? text : "no message";
}

/* Compiles and reads the result; false: the log says why. */
static bool compile(struct rsrc_arena *arena, const struct rsrc_nvrtc *nvrtc,
                    nvrtc_program *program, const struct rsrc_nvrtc_job *job,
                    struct rsrc_buffer *out) {
    const bool ptx = job->kind == RSR_UNIT_PTX;
    const char *const options[] = {
        rsrc_arena_printf(arena, "--gpu-architecture=%s_%u", ptx ? "compute" : "sm", job->sm),
        "--std=c++17", "--fmad=false"};
    size_t size = 0;
    if (nvrtc->compile(program, (int)N(options), options) != 0 ||
        (ptx ? nvrtc->ptx_size : nvrtc->cubin_size)(program, &size) != 0 || size == 0)
        return false;
    char *bytes = RSRC_NEW_ARRAY(arena, size, char);
    if ((ptx ? nvrtc->ptx : nvrtc->cubin)(program, bytes) != 0)
        return false;
    rsrc_buffer_append(out, bytes, ptx ? strnlen(bytes, size) : size);
    return true;
}

enum rsrc_status rsrc_nvrtc_compile(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                    const struct rsrc_nvrtc *nvrtc,
                                    const struct rsrc_nvrtc_job *job, struct rsrc_buffer *out) {
    static const char *const HEADERS[] = {
#define X(name) name,
        RSRC_CUDA_HEADERS(X)
#undef X
    };
    const char *texts[N(HEADERS)];
    for (size_t i = 0; i < N(HEADERS); i++)
        texts[i] = rsrc_template_text(HEADERS[i]);
    if (check_arch(diag, arena, nvrtc, job->sm) != RSRC_OK)
        return RSRC_FAILED;
    nvrtc_program *program = NULL;
    const bool done =
        nvrtc->create(&program, job->source, "model.cu", (int)N(HEADERS), texts, HEADERS) == 0 &&
        compile(arena, nvrtc, program, job, out);
    if (!done)
        rsrc_error(diag, "nvrtc-failed", NULL, NULL, "%s could not compile the kernels: %s",
                   rsrc_nvrtc_name(arena, nvrtc), read_log(arena, nvrtc, program));
    if (program != NULL)
        (void)nvrtc->destroy(&program);
    return done ? RSRC_OK : RSRC_FAILED;
}
