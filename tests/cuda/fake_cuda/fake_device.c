/* fake_device.c - settings, devices, and the contexts of threads. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fake_cuda/fake_cuda.h"

#define MAX_CONTEXTS 8u

enum {
    ATTRIBUTE_SM_COUNT = 16,
    ATTRIBUTE_L2_BYTES = 38,
    ATTRIBUTE_SM_MAJOR = 75,
    ATTRIBUTE_SM_MINOR = 76
};

struct fake_cuda fake = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* The calling thread's contexts: those of devices, or NULL. */
static _Thread_local struct fake_device *contexts[MAX_CONTEXTS];
static _Thread_local uint32_t n_contexts;

/* ---- calls ----------------------------------------------------------------------------------- */

int fake_begin(const char *function) {
    pthread_mutex_lock(&fake.lock);
    int code = fake.pid == (int)getpid() ? FAKE_OK : FAKE_NOT_INITIALIZED;
    for (uint32_t i = 0; i < fake.n_failures; i++)
        if (strcmp(fake.failures[i].function, function) == 0 && fake.failures[i].left-- == 1)
            code = fake.failures[i].code;
    return code;
}

int fake_end(int code) {
    pthread_mutex_unlock(&fake.lock);
    return code;
}

struct fake_device *fake_current(void) {
    struct fake_device *device = n_contexts != 0 ? contexts[n_contexts - 1] : NULL;
    return device != NULL && device->n_retained != 0 ? device : NULL;
}

int fake_begin_work(const char *function) {
    const int code = fake_begin(function);
    if (code != FAKE_OK)
        return code;
    const struct fake_device *device = fake_current();
    return device != NULL ? device->failure : FAKE_INVALID_CONTEXT;
}

/* ---- settings -------------------------------------------------------------------------------- */

static uint64_t setting(const char *name, uint64_t otherwise) {
    const char *text = getenv(name);
    return text != NULL ? strtoull(text, NULL, 10) : otherwise;
}

/* "cuMemAlloc_v2:2:700,cuLaunchKernel:1:719" */
static void read_failures(const char *text) {
    fake.n_failures = 0;
    while (text != NULL && fake.n_failures < sizeof fake.failures / sizeof *fake.failures) {
        struct fake_failure *f = &fake.failures[fake.n_failures];
        if (sscanf(text, "%63[^:]:%u:%d", f->function, &f->left, &f->code) != 3) {
            fprintf(stderr, "fake_cuda: FAKE_CUDA_FAIL: %s is not FUNCTION:N:CODE\n", text);
            exit(1);
        }
        fake.n_failures++;
        const char *comma = strchr(text, ',');
        text = comma != NULL ? comma + 1 : NULL;
    }
}

static void read_settings(void) {
    fake.n_devices = (int)setting("FAKE_CUDA_DEVICES", 1);
    if (fake.n_devices > FAKE_MAX_DEVICES)
        fake.n_devices = FAKE_MAX_DEVICES;
    fake.sm = (int)setting("FAKE_CUDA_SM", 90);
    fake.memory_bytes = setting("FAKE_CUDA_MEMORY", UINT64_C(4) << 30);
    fake.launches = getenv("FAKE_CUDA_LAUNCHES");
    fake.only_pinned = setting("FAKE_CUDA_PINNED", 0) != 0;
    read_failures(getenv("FAKE_CUDA_FAIL"));
}

/* Works before cuInit. */
int cuDriverGetVersion(int *version) {
    *version = (int)setting("FAKE_CUDA_VERSION", 12040);
    return FAKE_OK;
}

/* A process that was forked after cuInit has no CUDA. */
int cuInit(unsigned flags) {
    pthread_mutex_lock(&fake.lock);
    if (fake.pid != 0 && fake.pid != (int)getpid())
        return fake_end(FAKE_NOT_INITIALIZED);
    read_settings();
    fake.pid = (int)getpid();
    pthread_mutex_unlock(&fake.lock);
    const int code = fake_begin("cuInit");
    if (code != FAKE_OK)
        return fake_end(code);
    return fake_end(flags != 0            ? FAKE_INVALID_VALUE
                    : fake.n_devices == 0 ? FAKE_NO_DEVICE
                                          : FAKE_OK);
}

int cuGetErrorString(int code, const char **text) {
    static _Thread_local char said[400];
    pthread_mutex_lock(&fake.lock);
    if (code == FAKE_LAUNCH_FAILED && fake.error.text[0] != '\0')
        snprintf(said, sizeof said, "line %u: %s", fake.error.line, fake.error.text);
    else
        snprintf(said, sizeof said, "error %d of the fake driver", code);
    *text = said;
    return fake_end(FAKE_OK);
}

/* ---- devices --------------------------------------------------------------------------------- */

int cuDeviceGetCount(int *count) {
    const int code = fake_begin("cuDeviceGetCount");
    *count = fake.n_devices;
    return fake_end(code);
}

int cuDeviceGet(int *device, int number) {
    const int code = fake_begin("cuDeviceGet");
    if (code != FAKE_OK)
        return fake_end(code);
    *device = number;
    return fake_end(number >= 0 && number < fake.n_devices ? FAKE_OK : FAKE_INVALID_DEVICE);
}

/* Begins a call about a device. */
static int begin_device(const char *function, int device) {
    const int code = fake_begin(function);
    return code != FAKE_OK                          ? code
           : device >= 0 && device < fake.n_devices ? FAKE_OK
                                                    : FAKE_INVALID_DEVICE;
}

int cuDeviceGetName(char *name, int size, int device) {
    const int code = begin_device("cuDeviceGetName", device);
    snprintf(name, (size_t)size, "no GPU but an interpreter");
    return fake_end(code);
}

int cuDeviceTotalMem_v2(size_t *size, int device) {
    const int code = begin_device("cuDeviceTotalMem_v2", device);
    *size = fake.memory_bytes;
    return fake_end(code);
}

int cuDeviceGetAttribute(int *value, int attribute, int device) {
    const int code = begin_device("cuDeviceGetAttribute", device);
    if (code != FAKE_OK)
        return fake_end(code);
    switch (attribute) {
    case ATTRIBUTE_SM_COUNT:
        *value = 1;
        break;
    case ATTRIBUTE_L2_BYTES: /* an interpreter has none; programs that measure expect some */
        *value = 1 << 14;
        break;
    case ATTRIBUTE_SM_MAJOR:
        *value = fake.sm / 10;
        break;
    case ATTRIBUTE_SM_MINOR:
        *value = fake.sm % 10;
        break;
    default:
        return fake_end(FAKE_INVALID_VALUE);
    }
    return fake_end(FAKE_OK);
}

/* ---- contexts -------------------------------------------------------------------------------- */

int cuDevicePrimaryCtxRetain(void **context, int device) {
    const int code = begin_device("cuDevicePrimaryCtxRetain", device);
    if (code != FAKE_OK)
        return fake_end(code);
    struct fake_device *d = &fake.devices[device];
    if (d->n_retained++ == 0) {
        *d = (struct fake_device){.n_retained = 1, .stream.device = d};
        ptx_memory_init(&d->memory);
    }
    *context = d;
    return fake_end(FAKE_OK);
}

int cuDevicePrimaryCtxRelease_v2(int device) {
    const int code = begin_device("cuDevicePrimaryCtxRelease_v2", device);
    if (code != FAKE_OK)
        return fake_end(code);
    struct fake_device *d = &fake.devices[device];
    if (d->n_retained == 0)
        return fake_end(FAKE_INVALID_CONTEXT);
    if (--d->n_retained == 0) {
        fake_forget(d);
        fake_unload_all(d);
        fake_free_pinned(d);
        ptx_memory_free(&d->memory);
    }
    return fake_end(FAKE_OK);
}

int cuCtxSetCurrent(void *context) {
    const int code = fake_begin("cuCtxSetCurrent");
    if (code == FAKE_OK) {
        n_contexts += n_contexts == 0;
        contexts[n_contexts - 1] = context;
    }
    return fake_end(code);
}

int cuCtxPushCurrent_v2(void *context) {
    const int code = fake_begin("cuCtxPushCurrent_v2");
    if (code != FAKE_OK)
        return fake_end(code);
    if (context == NULL || n_contexts == MAX_CONTEXTS)
        return fake_end(FAKE_INVALID_VALUE);
    contexts[n_contexts++] = context;
    return fake_end(FAKE_OK);
}

int cuCtxPopCurrent_v2(void **context) {
    const int code = fake_begin("cuCtxPopCurrent_v2");
    if (code != FAKE_OK)
        return fake_end(code);
    if (n_contexts == 0)
        return fake_end(FAKE_INVALID_CONTEXT);
    n_contexts--;
    if (context != NULL)
        *context = contexts[n_contexts];
    return fake_end(FAKE_OK);
}

int cuCtxSynchronize(void) {
    const int code = fake_begin_work("cuCtxSynchronize");
    return fake_end(code != FAKE_OK ? code : fake_finish(fake_current()));
}
