/* cuda_library.c - binds the functions of the driver, and checks that it is new enough. */
#include <dlfcn.h>
#include <string.h>

#include "cuda_library.h"
#include "host/static_program.h"

#define INSTALL "install NVIDIA's driver, or compute on the CPU"

struct binding {
    const char *name;
    void *member;
    int version;
};

static rsr_status open_handle(struct rsr_cuda_library *library, const char *name, rsr_error *err) {
    if (rsr_program_is_static())
        return rsr_fail(err, RSR_ERR_DEVICE,
                        "this program is linked statically and cannot load %s; a dynamic one can "
                        "use GPUs",
                        name);
    /* The driver has threads, so it is never unmapped. */
    library->handle = dlopen(name, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (library->handle == NULL)
        return rsr_fail(err, RSR_ERR_DEVICE, "no CUDA driver: %s; " INSTALL, dlerror());
    return RSR_OK;
}

/* The function that the driver lacks and that came with the latest version of CUDA, or NULL. */
static const struct binding *find_all(void *handle, const struct binding *bindings, size_t n) {
    const struct binding *missing = NULL;
    for (size_t i = 0; i < n; i++) {
        void *address = dlsym(handle, bindings[i].name);
        memcpy(bindings[i].member, &address, sizeof(address));
        if (address == NULL && (missing == NULL || bindings[i].version > missing->version))
            missing = &bindings[i];
    }
    return missing;
}

static rsr_status too_old(int version, const struct binding *needs, rsr_error *err) {
    return rsr_fail(err, RSR_ERR_DEVICE,
                    "the CUDA driver is too old: it has version %d.%d, and %s needs %d.%d or "
                    "later; update NVIDIA's driver",
                    version / 1000, version % 1000 / 10, needs->name, needs->version / 1000,
                    needs->version % 1000 / 10);
}

static void find_later(struct rsr_cuda_library *library, int version) {
#define X(member, symbol, version, parameters) {symbol, &library->member, version},
    const struct binding bindings[] = {RSR_CUDA_LATER_FUNCTIONS(X)};
#undef X
    for (size_t i = 0; i < sizeof(bindings) / sizeof(bindings[0]); i++)
        if (version >= bindings[i].version)
            (void)find_all(library->handle, &bindings[i], 1);
}

/* Finds all functions. A driver that has them and states a lower version does not do what they
 * promise. */
static rsr_status bind_all(struct rsr_cuda_library *library, const char *name, rsr_error *err) {
#define X(member, symbol, version, parameters) {symbol, &library->member, version},
    const struct binding bindings[] = {RSR_CUDA_FUNCTIONS(X)};
#undef X
    const size_t n = sizeof(bindings) / sizeof(bindings[0]);
    const struct binding *missing = find_all(library->handle, bindings, n);
    int version = 0;
    if (library->driver_version == NULL || library->init == NULL || library->error_text == NULL)
        return rsr_fail(err, RSR_ERR_DEVICE, "%s is no CUDA driver: it has no %s; " INSTALL, name,
                        missing->name);
    (void)library->driver_version(&version); /* a failure leaves 0.0, which is too old */
    if (missing != NULL)
        return too_old(version, missing, err);
    for (size_t i = 0; i < n; i++)
        if (missing == NULL || bindings[i].version > missing->version)
            missing = &bindings[i];
    if (version < missing->version)
        return too_old(version, missing, err);
    find_later(library, version);
    return RSR_OK;
}

static rsr_status begin(const struct rsr_cuda_library *library, rsr_error *err) {
    const int code = library->init(0);
    switch (code) {
    case 0:
        return RSR_OK;
    case RSR_CUDA_NO_DEVICE:
        return rsr_fail(err, RSR_ERR_DEVICE,
                        "the CUDA driver sees no GPU; nvidia-smi lists those of this machine, and "
                        "CUDA_VISIBLE_DEVICES hides some");
    case RSR_CUDA_NOT_INITIALIZED:
        return rsr_fail(err, RSR_ERR_FORK,
                        "this process was forked from one that uses CUDA, so it cannot: start it "
                        "with exec, or open the model before anything else uses CUDA");
    case RSR_CUDA_STUB_LIBRARY:
        return rsr_fail(err, RSR_ERR_DEVICE,
                        "the CUDA driver is a toolkit's stub, for linkers alone; " INSTALL);
    case RSR_CUDA_DRIVER_MISMATCH:
        return rsr_fail(err, RSR_ERR_DEVICE,
                        "the CUDA driver and the kernel's module have different versions; restart "
                        "the machine");
    default:
        return rsr_fail(err, RSR_ERR_DEVICE, "the CUDA driver does not start: %s (%d)",
                        rsr_cuda_text(library, code), code);
    }
}

rsr_status rsr_cuda_library_open(struct rsr_cuda_library *library, const char *name,
                                 rsr_error *err) {
    *library = (struct rsr_cuda_library){0};
    rsr_status status = open_handle(library, name, err);
    if (status == RSR_OK)
        status = bind_all(library, name, err);
    if (status == RSR_OK)
        status = begin(library, err);
    if (status != RSR_OK)
        rsr_cuda_library_close(library);
    return status;
}

void rsr_cuda_library_close(struct rsr_cuda_library *library) {
    if (library->handle != NULL)
        dlclose(library->handle);
    *library = (struct rsr_cuda_library){0};
}

const char *rsr_cuda_text(const struct rsr_cuda_library *library, int code) {
    const char *text = NULL;
    return library->error_text(code, &text) == 0 && text != NULL ? text : "an unknown error";
}
