/* load.c - opens a module: checks its tables, picks a target that the host can run, and keeps what
 * the engines need to know. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "choose_target.h"
#include "host/cpu.h"
#include "host/turns.h"
#include "kv/kv_rows.h"
#include "module_check.h"
#include "ops/ops.h"
#include "sample/sample.h"
#include "sketch/sketch.h"
#include "tokenizer/text.h"
#include "tokenizer/tokenizer.h"
#include "weight_pages.h"

static const char *const role_names[RSR_ROLE_COUNT] = {
#define ROLE_NAME(id, name) [RSR_ROLE_##id] = name,
    RSR_ROLES(ROLE_NAME)
#undef ROLE_NAME
};

static const char *const op_names[RSR_OP_KIND_COUNT] = {
#define OP_NAME(id, name) [RSR_OP_##id] = name,
    RSR_OP_KINDS(OP_NAME)
#undef OP_NAME
};

const char *rsr_op_name(uint32_t kind) {
    return kind < RSR_OP_KIND_COUNT ? op_names[kind] : "";
}

const char *rsr_role_name(uint32_t role) {
    return role < RSR_ROLE_COUNT ? role_names[role] : "";
}

/* ---- What is read from every target, chosen or not ---- */

static rsr_status check_targets(const struct rsr_module *module, rsr_error *err) {
    if (module->n_targets == 0 && module->n_gpus == 0)
        return rsr_fail(err, RSR_ERR_ABI, "the module has no target");
    if (module->n_targets != 0 && module->hollow_seed != 0)
        return rsr_fail(err, RSR_ERR_ABI, "the module is broken: its CPUs have no weights");
    if (module->n_shards != 0 && module->shard >= module->n_shards)
        return rsr_fail(err, RSR_ERR_ABI, "the module is broken: it is part %u of %u",
                        module->shard, module->n_shards);
    if (module->n_targets != 0 && module->targets == NULL)
        return rsr_fail(err, RSR_ERR_ABI, "the module is broken: its table of targets is missing");
    for (uint32_t i = 0; i < module->n_targets; i++)
        if (module->targets[i].name == NULL)
            return rsr_fail(err, RSR_ERR_ABI, "target %u of the module is broken", i);
    return RSR_OK;
}

/* ---- Sizes, for the reports ---- */

static uint64_t matrix_bytes(const struct rsr_matrix_data *matrix) {
    if (matrix->data == NULL)
        return 0;
    if (matrix->dtype == RSR_DTYPE_BF16_PACKED)
        return rsr_packed_bytes(matrix->rows, matrix->cols, rsr_packed_exceptions(matrix->data));
    return matrix->rows * rsr_matrix_row_bytes(matrix);
}

uint64_t rsr_op_weight_bytes(const struct rsr_target *target, const struct rsr_step_op *op) {
    if (op->kind == RSR_OP_DENSE)
        return matrix_bytes(&target->tensors->dense[op->arg]);
    if (op->kind == RSR_OP_HEAD && op->arg == RSR_NO_KERNEL)
        return matrix_bytes(&target->tensors->head);
    return op->kind == RSR_OP_LINEAR || op->kind == RSR_OP_HEAD
               ? target->kernels[op->arg].weight_bytes
               : 0;
}

/* The kernels of decode and prefill may read the same codes. */
static bool shares_codes(const struct rsr_kernel_desc *kernels, uint32_t i) {
    for (uint32_t j = 0; j < i; j++)
        if (kernels[i].weights.codes != NULL &&
            kernels[j].weights.codes == kernels[i].weights.codes)
            return true;
    return false;
}

/* Bytes of the first n_planes planes; 0: there is no sketch. */
static uint64_t sketch_bytes(const struct rsr_tensors *tensors, uint32_t n_planes) {
    if (tensors->head_sketch.blocks == NULL)
        return 0;
    const uint64_t n_blocks = rsr_sketch_blocks_of(tensors->head.rows);
    return n_blocks * rsr_sketch_flat_shape(tensors->head.cols, n_planes).block_bytes;
}

static uint64_t tensor_bytes(const struct rsr_tensors *tensors) {
    uint64_t bytes =
        matrix_bytes(&tensors->embedding) + sketch_bytes(tensors, tensors->head_sketch.n_planes);
    if (tensors->head.data != tensors->embedding.data)
        bytes += matrix_bytes(&tensors->head);
    for (uint32_t i = 0; i < tensors->n_dense; i++)
        bytes += matrix_bytes(&tensors->dense[i]);
    return bytes;
}

static uint64_t all_weight_bytes(const struct rsr_target *target) {
    uint64_t bytes = tensor_bytes(target->tensors);
    for (uint32_t i = 0; i < target->n_kernels; i++)
        if (!shares_codes(target->kernels, i))
            bytes += target->kernels[i].weight_bytes;
    return bytes;
}

/* Bytes that the step for one token reads: its layers, one embedding row, and the first plane of
 * the head's sketch. *logits_bytes receives what all logits add. Without a sketch the head itself
 * counts, and they add nothing. */
static uint64_t decode_weight_bytes(const struct rsr_target *target, uint64_t *logits_bytes) {
    const struct rsr_step_table *step = &target->steps[0];
    const uint64_t sketch = sketch_bytes(target->tensors, 1);
    const uint64_t head = matrix_bytes(&target->tensors->head);
    uint64_t bytes = rsr_matrix_row_bytes(&target->tensors->embedding);
    for (uint32_t i = 0; i < step->n_ops; i++)
        bytes += rsr_op_weight_bytes(target, &step->ops[i]);
    *logits_bytes = sketch != 0 && sketch < head ? head - sketch : 0;
    return bytes - *logits_bytes;
}

/* The same as it usually is: a part of listed rows and columns, and what the head's sketch leaves
 * open. */
static uint64_t usual_token_bytes(const struct rsr_target *target, uint64_t token_bytes) {
    const struct rsr_step_table *step = &target->steps[0];
    const struct rsr_head_sketch *sketch = &target->tensors->head_sketch;
    uint64_t bytes = token_bytes;
    for (uint32_t i = 0; i < step->n_ops; i++) {
        const struct rsr_step_op *op = &step->ops[i];
        if ((op->kind == RSR_OP_LINEAR || op->kind == RSR_OP_HEAD) && op->arg != RSR_NO_KERNEL)
            bytes +=
                rsr_usual_bytes(&target->kernels[op->arg]) - target->kernels[op->arg].weight_bytes;
    }
    return sketch->blocks != NULL && sketch->token_bytes != 0
               ? bytes - sketch_bytes(target->tensors, 1) + sketch->token_bytes
               : bytes;
}

/* Reads the sampling that the checkpoint recommends, in the form that rsr_generate takes. */
static rsr_status read_sampling(rsr_model *model, rsr_error *err) {
    const struct rsr_sampling_advice *advice = model->module->sampling;
    model->sampling = (rsr_sampling)RSR_SAMPLING_INIT;
    if (advice == NULL)
        return RSR_OK;
    model->sampling.temperature = advice->temperature;
    model->sampling.top_k = advice->top_k;
    model->sampling.top_p = advice->top_p;
    model->sampling.min_p = advice->min_p;
    model->sampling.repeat_penalty = advice->repeat_penalty;
    model->sampling.repeat_window = UINT32_MAX;
    if (rsr_check_sampling(&model->sampling, model->module->hyper.vocab, NULL) == RSR_OK)
        return RSR_OK;
    return rsr_fail(err, RSR_ERR_ABI,
                    "the module is broken: a number of its sampling is out of range");
}

/* Bytes of keys and values per token, in an engine without options. */
static uint64_t kv_token_bytes(const rsr_model *model) {
    const struct rsr_hyper *h = &model->module->hyper;
    const struct rsr_kv_format format =
        rsr_kv_format_of(rsr_kv_default(h->pooling), h->head_dim, false, model->ops);
    return rsr_kv_page_bytes(&format, 0, h) / RSR_PAGE_TOKENS;
}

/* ---- Rows of the table ---- */

_Static_assert(offsetof(struct rsr_model, api) == offsetof(struct rsr_model_head, api) &&
                   offsetof(struct rsr_model, loaded) == offsetof(struct rsr_model_head, loaded),
               "librsr reads the head of a model");

static rsr_status fill_model(rsr_model *model, const rsr_open_options *options, rsr_error *err) {
    const struct rsr_module *module = model->module;
    const struct rsr_host_cpu cpu = {rsr_cpu_features(), rsr_cpu_enable};
    rsr_status status = check_targets(module, err);
    if (status == RSR_OK)
        status = rsr_check_model(module, err);
    if (status == RSR_OK)
        status = rsr_check_gpus(module, err);
    if (status == RSR_OK && (module->n_targets != 0 || options->target != NULL))
        status = rsr_choose_target(module, options->target, &cpu, &model->target, err);
    if (status == RSR_OK && model->target != NULL)
        status = rsr_check_target(module, model->target, err);
    if (status == RSR_OK)
        status = read_sampling(model, err);
    if (status != RSR_OK)
        return status;
    model->ops = rsr_ops_best(cpu.features);
    if (model->target != NULL) {
        model->weight_bytes = all_weight_bytes(model->target);
        model->token_bytes = decode_weight_bytes(model->target, &model->logits_bytes);
        model->usual_bytes = usual_token_bytes(model->target, model->token_bytes);
    }
    /* One more than there are: no size of 0. */
    model->target_names = malloc((module->n_targets + 1) * sizeof(*model->target_names));
    if (model->target_names == NULL)
        return rsr_fail(err, RSR_ERR_MEMORY, "no memory for a model");
    for (uint32_t i = 0; i < module->n_targets; i++)
        model->target_names[i] = module->targets[i].name;
    status = rsr_weight_pages_apply(model, (int)options->pages, err);
    if (status == RSR_OK)
        status = rsr_text_create(module, &model->text, err);
    return status;
}

rsr_status rsr_api_open(const struct rsr_module *module, const struct rsr_host *host,
                        const rsr_open_options *given, rsr_model **result, rsr_error *err) {
    (void)host; /* its path is for messages of the loading side */
    if (module == NULL || result == NULL)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "rsr_open: a pointer is NULL");
    rsr_open_options options = RSR_OPEN_OPTIONS_INIT;
    rsr_status status = rsr_check_module_abi(module, err);
    if (status == RSR_OK)
        status = rsr_read_options(&options, sizeof(options), given, err);
    if (status != RSR_OK)
        return status;
    rsr_model *model = calloc(1, sizeof(*model));
    if (model == NULL)
        return rsr_fail(err, RSR_ERR_MEMORY, "no memory for a model");
    model->api = &rsr_runtime_api;
    model->module = module;
    model->owner_pid = (int)getpid();
    model->pipeline = malloc(sizeof(*model->pipeline));
    if (model->pipeline == NULL) {
        rsr_api_close(model);
        return rsr_fail(err, RSR_ERR_MEMORY, "no memory for a model");
    }
    rsr_turns_create(model->pipeline);
    status = fill_model(model, &options, err);
    if (status != RSR_OK) {
        rsr_api_close(model);
        return status;
    }
    *result = model;
    return RSR_OK;
}

void rsr_api_close(rsr_model *model) {
    if (model == NULL)
        return;
    if (model->text != NULL)
        rsr_text_destroy(model->text);
    if (model->copy != NULL)
        munmap(model->copy, (size_t)model->copy_bytes);
    if (model->pipeline != NULL && model->owner_pid == (int)getpid()) /* no copy of fork() */
        rsr_turns_destroy(model->pipeline);
    free(model->pipeline);
    free(model->target_names);
    free(model);
}

rsr_status rsr_api_model_get_info(const rsr_model *model, rsr_model_info *info) {
    if (model == NULL || info == NULL)
        return RSR_ERR_ARGUMENT;
    rsr_status status = rsr_check_owner(model->owner_pid, NULL);
    if (status != RSR_OK)
        return status;
    const struct rsr_module *module = model->module;
    const struct rsr_hyper *h = &module->hyper;
    rsr_model_info known = {
        .name = module->model_name,
        .architecture = module->architecture,
        .target = model->target != NULL ? model->target->name : "",
        .targets = model->target_names,
        .n_targets = module->n_targets,
        .hidden = h->hidden,
        .n_layers = h->n_layers,
        .n_heads = h->n_heads,
        .n_kv_heads = h->n_kv_heads,
        .head_dim = h->head_dim,
        .ffn = h->ffn,
        .vocab = h->vocab,
        .context = h->context,
        .bos_token = module->bos_token,
        .eos_token = module->eos_token,
        .stop_tokens = module->stop_tokens,
        .n_stop_tokens = module->n_stop_tokens,
        .has_tokenizer = module->tokenizer != NULL,
        .has_chat_template = module->chat_template != NULL,
        .weight_bytes = model->weight_bytes,
        .token_bytes = model->token_bytes,
        .compiler_version = module->compiler_version,
        .pages = model->pages,
        .pooling = rsr_pooling_name(h->pooling),
        .float_operations = model->ops->name,
        .output_size = rsr_output_size(h),
        .logits_bytes = model->logits_bytes,
        .sampling = module->sampling != NULL ? &model->sampling : NULL,
        .chat_problem = module->chat_problem,
        .text_bytes = model->text != NULL ? rsr_encoder_text_bytes(model->text->encoder) : 0,
        .kv_token_bytes = kv_token_bytes(model),
        .kv_page_tokens = RSR_PAGE_TOKENS,
        .chat_template = module->chat_template,
        .is_hollow = module->hollow_seed != 0,
        .shard = module->shard,
        .n_shards = module->n_shards,
        .usual_token_bytes = model->usual_bytes,
    };
    memcpy(known.model_hash, module->model_hash, sizeof(known.model_hash));
    return rsr_write_info(info, &known, sizeof(known), NULL);
}

rsr_status rsr_api_model_get_kernel(const rsr_model *model, uint32_t index, rsr_kernel_info *info) {
    if (model == NULL || info == NULL || model->target == NULL || index >= model->target->n_kernels)
        return RSR_ERR_ARGUMENT;
    rsr_status status = rsr_check_owner(model->owner_pid, NULL);
    if (status != RSR_OK)
        return status;
    const struct rsr_kernel_desc *kernel = &model->target->kernels[index];
    const rsr_kernel_info known = {
        .name = kernel->name,
        .variant = kernel->variant,
        .reason = kernel->reason,
        .role = rsr_role_name(kernel->role),
        .block = kernel->block,
        .rows = kernel->rows,
        .cols = kernel->cols,
        .weight_bytes = kernel->weight_bytes,
        .token_bytes = rsr_usual_bytes(kernel),
    };
    return rsr_write_info(info, &known, sizeof(known), NULL);
}

/* NULL: there are fewer. */
static const struct rsr_gpu_image *find_image(const struct rsr_module *module, uint32_t index,
                                              const struct rsr_gpu_target **gpu) {
    for (uint32_t g = 0; g < module->n_gpus; g++) {
        *gpu = &module->gpus[g];
        if (index < (*gpu)->n_images)
            return &(*gpu)->images[index];
        index -= (*gpu)->n_images;
    }
    return NULL;
}

rsr_status rsr_api_model_get_image(const rsr_model *model, uint32_t index, rsr_image_info *info) {
    const struct rsr_gpu_target *gpu = NULL;
    const struct rsr_gpu_image *image =
        model != NULL && info != NULL ? find_image(model->module, index, &gpu) : NULL;
    if (image == NULL)
        return RSR_ERR_ARGUMENT;
    rsr_status status = rsr_check_owner(model->owner_pid, NULL);
    if (status != RSR_OK)
        return status;
    const rsr_image_info known = {.target = gpu->name,
                                  .kind = image->kind == RSR_GPU_IMAGE_CUBIN ? "cubin" : "PTX",
                                  .sm = image->sm,
                                  .image_bytes = image->size_bytes};
    return rsr_write_info(info, &known, sizeof(known), NULL);
}
