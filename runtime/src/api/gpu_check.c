/* gpu_check.c - the loader's checks of a module's GPUs: images, launches, kernels and steps.
 *
 * What a device does with wrong numbers is worse than what the host does: a launch that is too
 * small leaves rows unwritten, and a driver reads an image to the end that its size says.
 */
#include <string.h>

#include "module_check.h"
#include "runtime.h"
#include "step_check.h"

/* A block of any GPU since sm_70: threads, shared memory, blocks of a grid's first dimension. */
#define LIMIT_THREADS 1024u
#define LIMIT_SHARED (256u << 10)
#define LIMIT_BLOCKS ((1u << 31) - 1)
#define WARP 32u
#define LIMIT_SM 10000u
/* Weights in a byte of codes: five base-3 digits. */
#define MOST_A_BYTE 5u

static const unsigned char ELF_MAGIC[] = {0x7f, 'E', 'L', 'F'};

static rsr_status check_image(const struct rsr_gpu_target *gpu, const struct rsr_gpu_image *image,
                              rsr_error *err) {
    const unsigned char *bytes = image->bytes;
    if (bytes == NULL || image->size_bytes < sizeof(ELF_MAGIC) ||
        image->kind >= RSR_GPU_IMAGE_KIND_COUNT || image->sm == 0 || image->sm > gpu->sm)
        return BROKEN("an image of GPU %s is incomplete", gpu->name);
    const bool is_elf = memcmp(bytes, ELF_MAGIC, sizeof(ELF_MAGIC)) == 0;
    if (image->kind == RSR_GPU_IMAGE_CUBIN ? !is_elf : bytes[image->size_bytes - 1] != '\0')
        return BROKEN("an image of GPU %s is no %s", gpu->name,
                      image->kind == RSR_GPU_IMAGE_CUBIN ? "cubin" : "text");
    return RSR_OK;
}

static rsr_status check_entry(const char *of, const struct rsr_gpu_entry *e, rsr_error *err) {
    if (e->symbol == NULL || e->call >= RSR_GPU_CALL_COUNT ||
        (e->blocks == 0) == (e->call == RSR_GPU_CALL_LINEAR) || e->blocks > LIMIT_BLOCKS ||
        e->threads == 0 || e->threads > LIMIT_THREADS || e->threads % WARP != 0 ||
        e->shared_bytes > LIMIT_SHARED || e->token_tile == 0)
        return BROKEN("%s: a function has %u blocks of %u threads and %u bytes", of, e->blocks,
                      e->threads, e->shared_bytes);
    return RSR_OK;
}

/* Entries of a kernel or of a group must cover every number of tokens exactly once. */
static rsr_status check_entries(const char *of, const struct rsr_gpu_entry *entries,
                                uint32_t n_entries, enum rsr_gpu_call call, rsr_error *err) {
    uint64_t next = 1;
    rsr_status status = RSR_OK;
    for (uint32_t i = 0; status == RSR_OK && i < n_entries; i++) {
        const struct rsr_gpu_entry *e = &entries[i];
        if (e->min_tokens != next || e->max_tokens < e->min_tokens)
            return BROKEN("kernel %s: entry %u serves %u to %u tokens", of, i, e->min_tokens,
                          e->max_tokens);
        next = (uint64_t)e->max_tokens + 1;
        status = e->call == (uint32_t)call ? check_entry(of, e, err)
                                           : BROKEN("kernel %s: entry %u is no layer", of, i);
    }
    if (status == RSR_OK && next != (uint64_t)UINT32_MAX + 1)
        return BROKEN("kernel %s: no entry serves %llu tokens", of, (unsigned long long)next);
    return status;
}

static rsr_status check_groups(const struct rsr_gpu_target *gpu, rsr_error *err) {
    if (gpu->n_groups != 0 && gpu->groups == NULL)
        return BROKEN("GPU %s has no groups", gpu->name);
    rsr_status status = RSR_OK;
    for (uint32_t i = 0; status == RSR_OK && i < gpu->n_groups; i++) {
        const struct rsr_gpu_group *group = &gpu->groups[i];
        status = group->entries == NULL || group->block_rows == 0 || group->layout >= gpu->n_groups
                     ? BROKEN("group %u of GPU %s has blocks of %u rows", i, gpu->name,
                              group->block_rows)
                     : check_entries(gpu->name, group->entries, group->n_entries,
                                     RSR_GPU_CALL_PRODUCTS, err);
    }
    return status;
}

static rsr_status check_kernel(const struct rsr_gpu_target *gpu, uint32_t i, rsr_error *err) {
    const struct rsr_gpu_kernel *k = &gpu->kernels[i];
    if (k->name == NULL || k->variant == NULL || k->reason == NULL || k->role >= RSR_ROLE_COUNT ||
        k->entries == NULL || k->n_entries == 0)
        return BROKEN("kernel %u of GPU %s is incomplete", i, gpu->name);
    if (k->rows == 0 || k->cols == 0 || k->rows > LIMIT_SIZE || k->cols > LIMIT_SIZE ||
        k->epilogue != RSR_EPILOGUE_SCALE)
        return BROKEN("kernel %s: %u x %u", k->name, k->rows, k->cols);
    if (k->weights.scale == NULL || (k->weights.n_scales != 1 && k->weights.n_scales != k->rows))
        return BROKEN("kernel %s: %u scales for %u rows", k->name, k->weights.n_scales, k->rows);
    const uint64_t least = ((uint64_t)k->rows * k->cols + MOST_A_BYTE - 1) / MOST_A_BYTE;
    if ((k->weights.codes == NULL) != (k->codes_bytes == 0) ||
        (k->weights.index == NULL) != (k->index_bytes == 0) ||
        (k->codes_bytes != 0 && k->codes_bytes < least))
        return BROKEN("kernel %s: %llu bytes of codes for %u x %u", k->name,
                      (unsigned long long)k->codes_bytes, k->rows, k->cols);
    if (k->group > gpu->n_groups)
        return BROKEN("kernel %s: group %u of %u", k->name, k->group, gpu->n_groups);
    return check_entries(k->name, k->entries, k->n_entries, RSR_GPU_CALL_LINEAR, err);
}

static struct rsr_walked_kernel describe_kernel(const void *kernels, uint32_t i) {
    const struct rsr_gpu_kernel *k = (const struct rsr_gpu_kernel *)kernels + i;
    return (struct rsr_walked_kernel){k->rows, k->cols, rsr_act_row_bytes(k->cols)};
}

/* Steps that quantise need the function that does. */
static rsr_status check_quantize(const struct rsr_gpu_target *gpu, rsr_error *err) {
    const struct rsr_gpu_entry *q = gpu->quantize;
    if (q != NULL)
        return q->call == RSR_GPU_CALL_QUANTIZE && q->min_tokens == 1 && q->max_tokens == UINT32_MAX
                   ? check_entry(gpu->name, q, err)
                   : BROKEN("GPU %s quantises by function %u", gpu->name, q->call);
    for (uint32_t s = 0; s < gpu->n_steps; s++)
        for (uint32_t i = 0; i < gpu->steps[s].n_ops; i++)
            if (gpu->steps[s].ops[i].kind == RSR_OP_QUANT)
                return BROKEN("GPU %s has no function that quantises", gpu->name);
    return RSR_OK;
}

static rsr_status check_images(const struct rsr_gpu_target *gpu, const struct rsr_gpu_image *images,
                               uint32_t n_images, rsr_error *err) {
    if (n_images == 0 || images == NULL)
        return BROKEN("GPU %s has no images", gpu->name);
    rsr_status status = RSR_OK;
    for (uint32_t i = 0; status == RSR_OK && i < n_images; i++)
        status = check_image(gpu, &images[i], err);
    return status;
}

/* Operations must be all there are, in their order. */
static rsr_status check_operations(const struct rsr_gpu_target *gpu, rsr_error *err) {
    if (gpu->operations == NULL || gpu->n_operations != RSR_GPU_OPERATIONS)
        return BROKEN("GPU %s has %u operations", gpu->name, gpu->n_operations);
    rsr_status status = RSR_OK;
    for (uint32_t i = 0; status == RSR_OK && i < RSR_GPU_OPERATIONS; i++) {
        const struct rsr_gpu_entry *e = &gpu->operations[i];
        status = e->call == RSR_GPU_FIRST_OPERATION + i
                     ? check_entry(gpu->name, e, err)
                     : BROKEN("GPU %s: operation %u is call %u", gpu->name, i, e->call);
    }
    return status;
}

static rsr_status check_gpu(const struct rsr_module *module, const struct rsr_gpu_target *gpu,
                            rsr_error *err) {
    if (gpu->name == NULL || gpu->sm == 0 || gpu->sm > LIMIT_SM)
        return BROKEN("a GPU has no name or compute capability");
    if (gpu->n_kernels != 0 && gpu->kernels == NULL)
        return BROKEN("GPU %s has no kernels", gpu->name);
    rsr_status status = rsr_check_tensors(module, gpu->tensors, err);
    if (status == RSR_OK && (gpu->tensors->embedding.dtype == RSR_DTYPE_BF16_PACKED ||
                             gpu->tensors->head.dtype == RSR_DTYPE_BF16_PACKED))
        status = BROKEN("GPU %s cannot read a packed embedding or head", gpu->name);
    if (status == RSR_OK)
        status = check_images(gpu, gpu->images, gpu->n_images, err);
    if (status == RSR_OK)
        status = check_images(gpu, gpu->operation_images, gpu->n_operation_images, err);
    if (status == RSR_OK)
        status = check_operations(gpu, err);
    if (status == RSR_OK)
        status = check_groups(gpu, err);
    for (uint32_t i = 0; status == RSR_OK && i < gpu->n_kernels; i++)
        status = check_kernel(gpu, i, err);
    const struct rsr_walked walked = {.name = gpu->name,
                                      .tensors = gpu->tensors,
                                      .steps = gpu->steps,
                                      .n_steps = gpu->n_steps,
                                      .n_kernels = gpu->n_kernels,
                                      .kernels = gpu->kernels,
                                      .kernel = describe_kernel};
    if (status == RSR_OK)
        status = rsr_check_steps(module, &walked, err);
    return status == RSR_OK ? check_quantize(gpu, err) : status;
}

rsr_status rsr_check_gpus(const struct rsr_module *module, rsr_error *err) {
    if (module->n_gpus != 0 && module->gpus == NULL)
        return BROKEN("the table of GPUs is missing");
    rsr_status status = RSR_OK;
    for (uint32_t i = 0; status == RSR_OK && i < module->n_gpus; i++)
        status = check_gpu(module, &module->gpus[i], err);
    return status;
}
