/* cuda_image.c - the code of a module on a GPU: which of the module's GPUs, which images, which
 * functions. */
#include <stdio.h>
#include <stdlib.h>

#include "cuda_engine.h"

enum { LAYERS, OPERATIONS }; /* struct rsr_cuda_engine.modules */
enum { DEPENDENT_SM = 90 };  /* code for it and for later GPUs waits for the launches before */

/* Machine code is for GPUs of one major number; text is compiled for any newer GPU. */
static bool fits(const struct rsr_gpu_image *image, uint32_t sm) {
    return image->sm <= sm && (image->kind == RSR_GPU_IMAGE_PTX || image->sm / 10 == sm / 10);
}

static bool any_fits(const struct rsr_gpu_image *images, uint32_t n_images, uint32_t sm) {
    for (uint32_t i = 0; i < n_images; i++)
        if (fits(&images[i], sm))
            return true;
    return false;
}

static rsr_status refuse_module(const struct rsr_cuda_engine *e, rsr_error *err) {
    const struct rsr_module *module = e->engine->model->module;
    char names[160] = "";
    size_t used = 0;
    for (uint32_t g = 0; g < module->n_gpus && used < sizeof(names); g++)
        used += (size_t)snprintf(names + used, sizeof(names) - used, "%s%.40s", g == 0 ? "" : ", ",
                                 module->gpus[g].name);
    return rsr_fail(err, RSR_ERR_DEVICE,
                    "%s cannot run this model, which %s%s: compile it with --target=sm_%u,native",
                    e->device.title,
                    module->n_gpus == 0 ? "has code for CPUs alone" : "has code for ", names,
                    e->device.sm);
}

rsr_status rsr_cuda_choose_gpu(struct rsr_cuda_engine *e, rsr_error *err) {
    const struct rsr_module *module = e->engine->model->module;
    const uint32_t sm = e->device.sm;
    for (uint32_t g = 0; g < module->n_gpus; g++) {
        const struct rsr_gpu_target *gpu = &module->gpus[g];
        if (any_fits(gpu->images, gpu->n_images, sm) &&
            any_fits(gpu->operation_images, gpu->n_operation_images, sm) &&
            (e->gpu == NULL || gpu->sm > e->gpu->sm))
            e->gpu = gpu;
    }
    return e->gpu != NULL ? RSR_OK : refuse_module(e, err);
}

/* Loads the first image that fits. A driver may still refuse machine code, and take the text. */
static rsr_status load(struct rsr_cuda_engine *e, const struct rsr_gpu_image *images,
                       uint32_t n_images, void **module, rsr_error *err) {
    rsr_status status = RSR_ERR_DEVICE;
    for (uint32_t i = 0; i < n_images && status == RSR_ERR_DEVICE; i++)
        if (fits(&images[i], e->device.sm)) {
            status = rsr_cuda_load(&e->device, images[i].bytes, module, err);
            e->overlaps = e->overlaps && (status != RSR_OK || images[i].sm >= DEPENDENT_SM);
        }
    return status;
}

static rsr_status find_layers(struct rsr_cuda_engine *e, rsr_error *err) {
    const struct rsr_gpu_target *gpu = e->gpu;
    size_t n = 0;
    for (uint32_t i = 0; i < gpu->n_kernels; i++)
        n += gpu->kernels[i].n_entries;
    for (uint32_t i = 0; i < gpu->n_groups; i++)
        n += gpu->groups[i].n_entries;
    e->layers = calloc(gpu->n_kernels + 1u, sizeof(*e->layers));
    e->groups = calloc(gpu->n_groups + 1u, sizeof(*e->groups));
    e->functions = calloc(n + 1, sizeof(*e->functions));
    if (e->layers == NULL || e->groups == NULL || e->functions == NULL)
        return rsr_fail(err, RSR_ERR_MEMORY, "no memory for a list of kernels");
    rsr_status status = RSR_OK;
    struct rsr_cuda_kernel *next = e->functions;
    for (uint32_t i = 0; i < gpu->n_kernels; i++) {
        const struct rsr_gpu_kernel *kernel = &gpu->kernels[i];
        e->layers[i].functions = next;
        for (uint32_t f = 0; f < kernel->n_entries && status == RSR_OK; f++)
            status = rsr_cuda_find(&e->device, e->modules[LAYERS], kernel->entries[f].symbol,
                                   next++, err);
    }
    for (uint32_t i = 0; i < gpu->n_groups; i++) {
        const struct rsr_gpu_group *group = &gpu->groups[i];
        e->groups[i] = next;
        for (uint32_t f = 0; f < group->n_entries && status == RSR_OK; f++)
            status = rsr_cuda_find(&e->device, e->modules[OPERATIONS], group->entries[f].symbol,
                                   next++, err);
    }
    return status;
}

static rsr_status find_operations(struct rsr_cuda_engine *e, rsr_error *err) {
    const struct rsr_gpu_target *gpu = e->gpu;
    rsr_status status = RSR_OK;
    if (gpu->quantize != NULL)
        status =
            rsr_cuda_find(&e->device, e->modules[LAYERS], gpu->quantize->symbol, &e->quantize, err);
    for (uint32_t i = 0; i < RSR_GPU_OPERATIONS && status == RSR_OK; i++)
        status = rsr_cuda_find(&e->device, e->modules[OPERATIONS], gpu->operations[i].symbol,
                               &e->operations[i], err);
    return status;
}

rsr_status rsr_cuda_load_gpu(struct rsr_cuda_engine *e, rsr_error *err) {
    const struct rsr_gpu_target *gpu = e->gpu;
    rsr_status status = load(e, gpu->images, gpu->n_images, &e->modules[LAYERS], err);
    if (status == RSR_OK)
        status =
            load(e, gpu->operation_images, gpu->n_operation_images, &e->modules[OPERATIONS], err);
    if (status == RSR_OK && e->overlaps)
        rsr_cuda_overlap(&e->device);
    if (status == RSR_OK)
        status = find_layers(e, err);
    return status == RSR_OK ? find_operations(e, err) : status;
}
