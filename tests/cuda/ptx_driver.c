/* ptx_driver.c - a stand-in for libcuda that runs PTX in the interpreter (ptx/ptx.h): so programs
 * that need a GPU are tested on machines without one. An image is PTX text; a cubin is refused.
 * Launches end before they return. Each launch has another order of warps and blocks. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda_driver.h"
#include "ptx/ptx.h"

#define EXPORT __attribute__((visibility("default")))

enum { SUCCESS = 0, INVALID_VALUE = 1, INVALID_IMAGE = 200, NOT_FOUND = 500, FAILED = 719 };

/* A library's state, as libcuda has one: it begins with cuInit. */
static struct {
    struct rsrc_arena arena;
    struct ptx_memory memory;
    struct ptx_error error;
    uint64_t n_launches;
    char text[400];
} driver;

/* The functions that cuda_driver.h declares as members. */
#define X(member, name, parameters) EXPORT int member parameters __asm__(name);
CUDA_DRIVER_FUNCTIONS(X)
#undef X

int init(unsigned flags) {
    rsrc_arena_init(&driver.arena);
    ptx_memory_init(&driver.memory);
    return flags == 0 ? SUCCESS : INVALID_VALUE;
}

int error_text(int code, const char **text) {
    snprintf(driver.text, sizeof driver.text, "line %u: %s", driver.error.line, driver.error.text);
    *text = code == FAILED || code == INVALID_IMAGE ? driver.text : "refused by the interpreter";
    return SUCCESS;
}

int get_device(int *device, int number) {
    *device = number;
    return number == 0 ? SUCCESS : INVALID_VALUE;
}

int device_name(char *name, int size, int device) {
    (void)device;
    snprintf(name, (size_t)size, "no GPU but an interpreter");
    return SUCCESS;
}

int attribute(int *value, int which, int device) {
    (void)which;
    (void)device;
    *value = 1;
    return SUCCESS;
}

int retain_context(void **context, int device) {
    (void)device;
    *context = &driver;
    return SUCCESS;
}

int release_context(int device) {
    (void)device;
    ptx_memory_free(&driver.memory);
    rsrc_arena_free(&driver.arena);
    return SUCCESS;
}

int use_context(void *context) {
    (void)context;
    return SUCCESS;
}

int synchronize(void) {
    return SUCCESS;
}

int load_module(void **module, const void *image, unsigned n_options, int *options, void **values) {
    struct ptx_module *parsed = RSRC_NEW(&driver.arena, struct ptx_module);
    (void)n_options, (void)options, (void)values;
    *module = parsed;
    return ptx_parse(&driver.arena, image, strlen(image), parsed, &driver.error) ? SUCCESS
                                                                                 : INVALID_IMAGE;
}

int find_kernel(void **kernel, void *module, const char *name) {
    const struct ptx_kernel *found = ptx_find_kernel(module, name);
    *kernel = (void *)(uintptr_t)found;
    return found != NULL ? SUCCESS : NOT_FOUND;
}

int allocate(cuda_address *address, size_t size) {
    *address = ptx_allocate(&driver.memory, size);
    return SUCCESS;
}

int release(cuda_address address) {
    return ptx_release(&driver.memory, address) ? SUCCESS : INVALID_VALUE;
}

int upload(cuda_address to, const void *from, size_t size) {
    return ptx_upload(&driver.memory, to, from, size) ? SUCCESS : INVALID_VALUE;
}

int download(void *to, cuda_address from, size_t size) {
    return ptx_download(&driver.memory, to, from, size) ? SUCCESS : INVALID_VALUE;
}

int fill(cuda_address address, unsigned char byte, size_t size) {
    uint8_t *bytes = ptx_bytes(&driver.memory, address, size);
    if (bytes == NULL)
        return INVALID_VALUE;
    memset(bytes, byte, size);
    return upload(address, bytes, size);
}

int launch(void *kernel, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
           unsigned block_y, unsigned block_z, unsigned shared_bytes, void *stream,
           void **parameters, void **extra) {
    const struct ptx_kernel *k = kernel;
    uint8_t bytes[4096];
    if (shared_bytes != 0 || stream != NULL || extra != NULL)
        return INVALID_VALUE;
    for (uint32_t i = 0; i < k->n_parameters; i++)
        memcpy(bytes + k->parameters[i].offset, parameters[i], k->parameters[i].size_bytes);
    const struct ptx_launch launched = {.kernel = k,
                                        .grid = {grid_x, grid_y, grid_z},
                                        .block = {block_x, block_y, block_z},
                                        .parameters = bytes,
                                        .seed = driver.n_launches++};
    return ptx_run(&driver.memory, &launched, NULL, &driver.error) ? SUCCESS : FAILED;
}
