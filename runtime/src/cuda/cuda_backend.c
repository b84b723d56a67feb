/* cuda_backend.c - the backend of GPUs. It finds the device, and refuses every model, because
 * modules have no code for GPUs yet. */
#include <stdlib.h>
#include <string.h>

#include "cuda_device.h"
#include "engine/engine.h"

#define PREFIX "cuda:"

/* The number of "cuda:1"; "cuda" is the first device. */
static rsr_status read_number(const char *device, uint32_t *number, rsr_error *err) {
    *number = 0;
    if (strcmp(device, "cuda") == 0)
        return RSR_OK;
    const char *digits = device + strlen(PREFIX);
    const size_t n = strncmp(device, PREFIX, strlen(PREFIX)) == 0 ? strlen(digits) : 0;
    if (n == 0 || n > 6 || strspn(digits, "0123456789") != n)
        return rsr_fail(err, RSR_ERR_ARGUMENT,
                        "device '%s': expected cuda:N, where N is a GPU's number from 0 on",
                        device);
    *number = (uint32_t)strtoul(digits, NULL, 10);
    return RSR_OK;
}

static rsr_status cuda_create(struct rsr_engine *engine, const rsr_engine_options *options,
                              rsr_error *err) {
    (void)engine;
    uint32_t number;
    rsr_status status = read_number(options->device, &number, err);
    if (status != RSR_OK)
        return status;
    struct rsr_cuda_device *device = calloc(1, sizeof(*device));
    if (device == NULL)
        return rsr_fail(err, RSR_ERR_MEMORY, "no memory for an engine");
    status = rsr_cuda_device_open(device, RSR_CUDA_LIBRARY, number, err);
    if (status == RSR_OK) {
        status = rsr_fail(err, RSR_ERR_DEVICE,
                          "%s cannot run this model: this runtime has no loader for GPUs yet",
                          device->title);
        rsr_cuda_device_close(device, false);
    }
    free(device);
    return status;
}

const struct rsr_backend rsr_backend_cuda = {.name = "cuda", .create = cuda_create};
