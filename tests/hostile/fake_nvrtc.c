/* fake_nvrtc.c - an NVRTC that misbehaves: with FAILS it fails to compile, otherwise it succeeds
 * and makes TEXT. nvrtc.test builds it and passes it as --cuda-path. */
#include <stddef.h>
#include <string.h>

#ifdef FAILS
#define LOG "model.cu(1): error: \033[31mno\n%s%n"
#define TEXT ""
#else
#define LOG ""
#endif

int nvrtcVersion(int *major, int *minor) {
    *major = 99;
    *minor = 9;
    return 0;
}

int nvrtcGetNumSupportedArchs(int *n) {
    *n = 1;
    return 0;
}

int nvrtcGetSupportedArchs(int *archs) {
    archs[0] = 90;
    return 0;
}

int nvrtcCreateProgram(void **program, const char *source, const char *name, int n,
                       const char *const *headers, const char *const *names) {
    static int one;
    (void)source, (void)name, (void)n, (void)headers, (void)names;
    *program = &one;
    return 0;
}

int nvrtcDestroyProgram(void **program) {
    *program = NULL;
    return 0;
}

int nvrtcCompileProgram(void *program, int n, const char *const *options) {
    (void)program, (void)n, (void)options;
    return TEXT[0] == '\0';
}

static int size_of(const char *text, size_t *size) {
    *size = strlen(text) + 1;
    return 0;
}

static int copy(const char *text, char *out) {
    memcpy(out, text, strlen(text) + 1);
    return 0;
}

int nvrtcGetPTXSize(void *program, size_t *size) {
    (void)program;
    return size_of(TEXT, size);
}

int nvrtcGetPTX(void *program, char *text) {
    (void)program;
    return copy(TEXT, text);
}

int nvrtcGetCUBINSize(void *program, size_t *size) {
    return nvrtcGetPTXSize(program, size);
}

int nvrtcGetCUBIN(void *program, char *bytes) {
    return nvrtcGetPTX(program, bytes);
}

int nvrtcGetProgramLogSize(void *program, size_t *size) {
    (void)program;
    return size_of(LOG, size);
}

int nvrtcGetProgramLog(void *program, char *text) {
    (void)program;
    return copy(LOG, text);
}
