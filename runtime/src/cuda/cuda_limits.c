/* cuda_limits.c - what an engine on a GPU refuses before it takes memory: the reason says what, and
 * how large it is. */
#include <string.h>

#include "cuda_engine.h"

static rsr_status check_options(const struct rsr_cuda_engine *e, const rsr_engine_options *options,
                                rsr_error *err) {
    const char *title = e->device.title;
    if (options->attention != NULL && strcmp(options->attention, "dense") != 0)
        return rsr_fail(err, RSR_ERR_DEVICE,
                        "%s: attention '%.60s' is not to be had on a device, which attends to all "
                        "keys: leave it out, or say dense",
                        title, options->attention);
    if (options->transport != NULL)
        return rsr_fail(err, RSR_ERR_DEVICE, "%s: several ranks (%u) are not to be had on a device",
                        title, options->transport->size);
    if (options->n_threads > 1)
        return rsr_fail(err, RSR_ERR_DEVICE,
                        "%s: %u threads are asked for, and an engine on a device has none but its "
                        "caller's: leave their number out",
                        title, options->n_threads);
    if (e->engine->info.max_batch > RSR_CUDA_MAX_ROWS)
        return rsr_fail(err, RSR_ERR_DEVICE, "%s: max_batch %u; at most %u on a device", title,
                        e->engine->info.max_batch, RSR_CUDA_MAX_ROWS);
    return RSR_OK;
}

/* A grid has so many blocks, and the largest one is that of a dense matrix. */
static rsr_status check_dense(const struct rsr_cuda_engine *e, rsr_error *err) {
    const struct rsr_tensors *tensors = e->gpu->tensors;
    const uint64_t n_tokens = e->engine->info.max_batch;
    for (uint32_t i = 0; i < tensors->n_dense; i++)
        if (n_tokens * rsr_cuda_blocks(tensors->dense[i].rows, RSR_GPU_DENSE_ROWS) >
            RSR_CUDA_MAX_BLOCKS)
            return rsr_fail(err, RSR_ERR_DEVICE,
                            "%s: max_batch %u is too large for a dense layer of %u rows",
                            e->device.title, e->engine->info.max_batch, tensors->dense[i].rows);
    return RSR_OK;
}

static rsr_status check_steps(const struct rsr_cuda_engine *e, rsr_error *err) {
    for (uint32_t s = 0; s < e->gpu->n_steps; s++)
        for (uint32_t i = 0; i < e->gpu->steps[s].n_ops; i++) {
            const struct rsr_step_op *op = &e->gpu->steps[s].ops[i];
            if (!rsr_cuda_has_op(op))
                return rsr_fail(err, RSR_ERR_DEVICE,
                                "%s cannot run this model: a device has no kernel for the "
                                "operation %s%s, the first of them in block %u of %u",
                                e->device.title, rsr_op_name(op->kind),
                                op->kind == RSR_OP_ROPE_APPEND ? " with gated queries" : "",
                                op->block, e->engine->model->module->hyper.n_layers);
        }
    return RSR_OK;
}

rsr_status rsr_cuda_check_limits(const struct rsr_cuda_engine *e, const rsr_engine_options *options,
                                 rsr_error *err) {
    const struct rsr_hyper *hyper = &e->engine->model->module->hyper;
    rsr_status status = check_options(e, options, err);
    if (status == RSR_OK && hyper->delta_layers != 0)
        status =
            rsr_fail(err, RSR_ERR_DEVICE,
                     "%s cannot run this model: %u of its %u blocks are recurrent, and a device "
                     "has no kernel for their states",
                     e->device.title, hyper->delta_layers, hyper->n_layers);
    if (status == RSR_OK && hyper->head_dim > RSR_GPU_MAX_HEAD_DIM)
        status = rsr_fail(err, RSR_ERR_DEVICE,
                          "%s cannot run this model: its heads have %u floats, and attention on a "
                          "device at most %u",
                          e->device.title, hyper->head_dim, RSR_GPU_MAX_HEAD_DIM);
    if (status == RSR_OK)
        status = check_steps(e, err);
    return status == RSR_OK ? check_dense(e, err) : status;
}
