/* fake_memory.c - modules, and memory of devices. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake_cuda/fake_cuda.h"

enum { JIT_ERROR_LOG = 5, JIT_ERROR_LOG_BYTES = 6 };

/* ---- modules --------------------------------------------------------------------------------- */

struct fake_module {
    struct fake_module *next;
    struct rsrc_arena arena;
    struct ptx_module parsed;
};

/* Fills the caller's buffer for the log of the driver's compiler. */
static void write_log(unsigned n_options, const int *options, void **values) {
    char *log = NULL;
    size_t size = 0;
    for (unsigned i = 0; i < n_options; i++) {
        if (options[i] == JIT_ERROR_LOG)
            log = values[i];
        else if (options[i] == JIT_ERROR_LOG_BYTES)
            size = (size_t)(uintptr_t)values[i] & UINT32_MAX;
    }
    if (log != NULL && size != 0)
        snprintf(log, size, "fake_cuda: line %u: %s\n", fake.error.line, fake.error.text);
}

static void unload(struct fake_module *module) {
    rsrc_arena_free(&module->arena);
    free(module);
}

int cuModuleLoadDataEx(void **module, const void *image, unsigned n_options, int *options,
                       void **values) {
    const int code = fake_begin_work("cuModuleLoadDataEx");
    if (code != FAKE_OK)
        return fake_end(code);
    if (memcmp(image, "\177ELF", 4) == 0) /* a cubin, of whatever GPU */
        return fake_end(FAKE_NO_BINARY_FOR_GPU);
    struct fake_module *loaded = calloc(1, sizeof *loaded);
    if (loaded == NULL)
        rsrc_out_of_memory(sizeof *loaded);
    rsrc_arena_init(&loaded->arena);
    /* The text may end with the call. */
    const char *text = rsrc_arena_strdup(&loaded->arena, image);
    int sm = 0;
    int failed = FAKE_OK;
    if (!ptx_parse(&loaded->arena, text, strlen(text), &loaded->parsed, &fake.error)) {
        write_log(n_options, options, values);
        failed = FAKE_INVALID_PTX;
    } else if (sscanf(loaded->parsed.target, "sm_%d", &sm) != 1 || sm > fake.sm) {
        failed = FAKE_NO_BINARY_FOR_GPU;
    }
    if (failed != FAKE_OK) {
        unload(loaded);
        return fake_end(failed);
    }
    loaded->next = fake_current()->modules;
    fake_current()->modules = loaded;
    *module = loaded;
    return fake_end(FAKE_OK);
}

int cuModuleGetFunction(void **kernel, void *module, const char *name) {
    const int code = fake_begin_work("cuModuleGetFunction");
    if (code != FAKE_OK)
        return fake_end(code);
    const struct fake_module *loaded = module;
    const struct ptx_kernel *found = ptx_find_kernel(&loaded->parsed, name);
    *kernel = (void *)(uintptr_t)found;
    return fake_end(found != NULL ? FAKE_OK : FAKE_NOT_FOUND);
}

int cuModuleUnload(void *module) {
    int code = fake_begin_work("cuModuleUnload");
    if (code == FAKE_OK)
        code = fake_finish(fake_current()); /* queued launches have its kernels */
    if (code != FAKE_OK)
        return fake_end(code);
    struct fake_module **link = &fake_current()->modules;
    while (*link != NULL && *link != module)
        link = &(*link)->next;
    if (*link == NULL)
        return fake_end(FAKE_INVALID_VALUE);
    *link = (*link)->next;
    unload(module);
    return fake_end(FAKE_OK);
}

void fake_unload_all(struct fake_device *device) {
    for (struct fake_module *m = device->modules, *next; m != NULL; m = next) {
        next = m->next;
        unload(m);
    }
}

/* ---- memory ---------------------------------------------------------------------------------- */

int cuMemGetInfo_v2(size_t *free_bytes, size_t *total_bytes) {
    const int code = fake_begin_work("cuMemGetInfo_v2");
    if (code != FAKE_OK)
        return fake_end(code);
    *total_bytes = fake.memory_bytes;
    *free_bytes = fake.memory_bytes - fake_current()->used_bytes;
    return fake_end(FAKE_OK);
}

int cuMemAlloc_v2(cuda_address *address, size_t size) {
    const int code = fake_begin_work("cuMemAlloc_v2");
    if (code != FAKE_OK)
        return fake_end(code);
    struct fake_device *device = fake_current();
    if (size == 0)
        return fake_end(FAKE_INVALID_VALUE);
    if (size > fake.memory_bytes - device->used_bytes)
        return fake_end(FAKE_OUT_OF_MEMORY);
    device->used_bytes += size;
    *address = ptx_allocate(&device->memory, size);
    return fake_end(FAKE_OK);
}

int cuMemFree_v2(cuda_address address) {
    int code = fake_begin_work("cuMemFree_v2");
    if (code == FAKE_OK)
        code = fake_finish(fake_current());
    if (code != FAKE_OK)
        return fake_end(code);
    struct fake_device *device = fake_current();
    const struct ptx_region *region = ptx_find_region(&device->memory, address);
    const uint64_t size = region != NULL ? region->size_bytes : 0;
    if (!ptx_release(&device->memory, address))
        return fake_end(FAKE_INVALID_VALUE);
    device->used_bytes -= size;
    return fake_end(FAKE_OK);
}

/* ---- pinned memory of the host --------------------------------------------------------------- */

/* Its content is arbitrary. */
int cuMemHostAlloc(void **memory, size_t size, unsigned flags) {
    const int code = fake_begin_work("cuMemHostAlloc");
    if (code != FAKE_OK)
        return fake_end(code);
    if (size == 0 || flags != 0)
        return fake_end(FAKE_INVALID_VALUE);
    struct fake_pinned *pinned = calloc(1, sizeof *pinned);
    char *taken = malloc(size);
    if (pinned == NULL || taken == NULL) {
        free(pinned);
        free(taken);
        return fake_end(FAKE_OUT_OF_MEMORY);
    }
    struct fake_device *device = fake_current();
    memset(taken, 0xa5, size);
    *pinned = (struct fake_pinned){device->pinned, taken, size};
    device->pinned = pinned;
    *memory = taken;
    return fake_end(FAKE_OK);
}

static void free_first(struct fake_pinned **link) {
    struct fake_pinned *pinned = *link;
    *link = pinned->next;
    free(pinned->memory);
    free(pinned);
}

int cuMemFreeHost(void *memory) {
    int code = fake_begin_work("cuMemFreeHost");
    if (code == FAKE_OK)
        code = fake_finish(fake_current()); /* queued copies read and write it */
    if (code != FAKE_OK)
        return fake_end(code);
    struct fake_pinned **link = &fake_current()->pinned;
    while (*link != NULL && (*link)->memory != memory)
        link = &(*link)->next;
    if (*link == NULL)
        return fake_end(FAKE_INVALID_VALUE);
    free_first(link);
    return fake_end(FAKE_OK);
}

void fake_free_pinned(struct fake_device *device) {
    while (device->pinned != NULL)
        free_first(&device->pinned);
}

bool fake_is_pinned(const struct fake_device *device, const void *memory, size_t size) {
    const uintptr_t at = (uintptr_t)memory;
    for (const struct fake_pinned *p = device->pinned; p != NULL; p = p->next) {
        const uintptr_t begin = (uintptr_t)p->memory;
        if (at >= begin && at - begin <= p->size && size <= p->size - (at - begin))
            return true;
    }
    return false;
}

/* ---- copies ---------------------------------------------------------------------------------- */

/* Calls that wait: nothing else is under way while they work. */
static int begin_alone(const char *function) {
    const int code = fake_begin_work(function);
    return code != FAKE_OK ? code : fake_finish(fake_current());
}

int cuMemcpyHtoD_v2(cuda_address to, const void *from, size_t size) {
    int code = begin_alone("cuMemcpyHtoD_v2");
    if (code == FAKE_OK && !ptx_upload(&fake_current()->memory, to, from, size))
        code = FAKE_INVALID_VALUE;
    return fake_end(code);
}

int cuMemcpyDtoH_v2(void *to, cuda_address from, size_t size) {
    int code = begin_alone("cuMemcpyDtoH_v2");
    if (code == FAKE_OK && !ptx_download(&fake_current()->memory, to, from, size))
        code = FAKE_INVALID_VALUE;
    return fake_end(code);
}

int cuMemsetD8_v2(cuda_address address, unsigned char byte, size_t size) {
    int code = begin_alone("cuMemsetD8_v2");
    if (code == FAKE_OK && !ptx_fill(&fake_current()->memory, address, byte, size))
        code = FAKE_INVALID_VALUE;
    return fake_end(code);
}
