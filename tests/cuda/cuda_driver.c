/* cuda_driver.c - binds libcuda; a failed call ends the program, because nothing works after it. */
#include "cuda_driver.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define JIT_ERROR_LOG 5
#define JIT_ERROR_LOG_BYTES 6

struct binding {
    const char *name;
    void *member;
};

/* The first function that the library lacks, or NULL. */
static const char *bind_functions(void *library, const struct binding *bindings, size_t n) {
    for (size_t i = 0; i < n; i++) {
        void *address = dlsym(library, bindings[i].name);
        if (address == NULL)
            return bindings[i].name;
        memcpy(bindings[i].member, &address, sizeof address);
    }
    return NULL;
}

static const char *bind_all(struct cuda_driver *d) {
#define X(member, name, parameters) {name, &d->member},
    const struct binding needed[] = {CUDA_DRIVER_FUNCTIONS(X) CUDA_TIMING_FUNCTIONS(X)};
#undef X
    return bind_functions(d->library, needed, sizeof needed / sizeof *needed);
}

static const char *text_of(const struct cuda_driver *d, int code) {
    const char *text = NULL;
    return d->error_text(code, &text) == 0 && text != NULL ? text : "an unknown error";
}

bool cuda_driver_open(struct cuda_driver *d, const char *library) {
    *d = (struct cuda_driver){.library = dlopen(library, RTLD_NOW | RTLD_LOCAL)};
    if (d->library == NULL) {
        fprintf(stderr, "error: no GPU: %s\n", dlerror());
        return false;
    }
    const char *missing = bind_all(d);
    if (missing != NULL) {
        fprintf(stderr, "error: no GPU: %s has no %s\n", library, missing);
        return false;
    }
    int code = d->init(0);
    if (code == 0)
        code = d->get_device(&d->device, 0);
    void *context = NULL;
    if (code == 0)
        code = d->retain_context(&context, d->device);
    if (code == 0)
        code = d->use_context(context);
    if (code != 0)
        fprintf(stderr, "error: no GPU: %s: %s\n", library, text_of(d, code));
    return code == 0;
}

void cuda_driver_close(struct cuda_driver *d) {
    (void)d->release_context(d->device);
    dlclose(d->library);
}

void cuda_require(const struct cuda_driver *d, int code, const char *what) {
    if (code == 0)
        return;
    fprintf(stderr, "error: CUDA, %s: %s (%d)\n", what, text_of(d, code), code);
    exit(1);
}

int cuda_attribute(const struct cuda_driver *d, int attribute) {
    int value = 0;
    CUDA_DO(d, attribute, &value, attribute, d->device);
    return value;
}

cuda_address cuda_copy_of(const struct cuda_driver *d, const void *bytes, size_t size) {
    cuda_address address = 0;
    CUDA_DO(d, allocate, &address, size);
    CUDA_DO(d, upload, address, bytes, size);
    return address;
}

void *cuda_load(const struct cuda_driver *d, const char *name, const void *image) {
    char log[4096] = "";
    int options[] = {JIT_ERROR_LOG, JIT_ERROR_LOG_BYTES};
    void *values[] = {log, (void *)(uintptr_t)sizeof log};
    void *module = NULL;
    const int code = d->load_module(&module, image, 2, options, values);
    if (code != 0)
        fprintf(stderr, "%s: %s\n", name, log);
    cuda_require(d, code, name);
    return module;
}
