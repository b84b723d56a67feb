/* gpu_tables.c - describes the tables of a module's GPUs (rsr_abi.h); see tables.h. */
#include "emit/module/model_tables.h"

static const char *entries_name(struct rsrc_tables *tables, uint32_t gpu) {
    return rsrc_arena_printf(tables->arena, "gpu_entries_%u", gpu);
}

static const char *kernels_name(struct rsrc_tables *tables, uint32_t gpu) {
    return rsrc_arena_printf(tables->arena, "gpu_kernels_%u", gpu);
}

static const char *images_name(struct rsrc_tables *tables, uint32_t gpu) {
    return rsrc_arena_printf(tables->arena, "gpu_images_%u", gpu);
}

static const char *operation_images_name(struct rsrc_tables *tables, uint32_t gpu) {
    return rsrc_arena_printf(tables->arena, "gpu_operation_images_%u", gpu);
}

static const char *group_entries_name(struct rsrc_tables *tables, uint32_t gpu) {
    return rsrc_arena_printf(tables->arena, "gpu_group_entries_%u", gpu);
}

static const char *groups_name(struct rsrc_tables *tables, uint32_t gpu) {
    return rsrc_arena_printf(tables->arena, "gpu_groups_%u", gpu);
}

#define OPERATIONS "gpu_operations" /* the same for every GPU */

void rsrc_declare_gpus(struct rsrc_tables *tables, const struct rsr_module_target *gpus,
                       uint32_t n_gpus) {
    for (uint32_t g = 0; g < n_gpus; g++) {
        for (uint32_t i = 0; i < gpus[g].n_images; i++)
            rsrc_declare(tables, RSRC_DECLARED_ARRAY, "const uint8_t", gpus[g].images[i].symbol);
        for (uint32_t i = 0; i < gpus[g].n_operation_images; i++)
            rsrc_declare(tables, RSRC_DECLARED_ARRAY, "const uint8_t",
                         gpus[g].operation_images[i].symbol);
        for (uint32_t l = 0; l < gpus[g].n_linears; l++)
            rsrc_declare_weights(tables, &gpus[g].linears[l]);
    }
}

static void describe_entry(struct rsrc_tables *tables, const struct rsr_gpu_entry *entry) {
    rsrc_begin_row(tables, NULL);
    RSRC_PUT(tables, rsr_gpu_entry, symbol, entry->symbol);
    RSRC_PUT(tables, rsr_gpu_entry, call, entry->call);
    RSRC_PUT(tables, rsr_gpu_entry, min_tokens, entry->min_tokens);
    RSRC_PUT(tables, rsr_gpu_entry, max_tokens, entry->max_tokens);
    RSRC_PUT(tables, rsr_gpu_entry, blocks, entry->blocks);
    RSRC_PUT(tables, rsr_gpu_entry, threads, entry->threads);
    RSRC_PUT(tables, rsr_gpu_entry, shared_bytes, entry->shared_bytes);
    RSRC_PUT(tables, rsr_gpu_entry, token_tile, entry->token_tile);
}

/* What quantises is the first one, if there is one. */
static void describe_entries(struct rsrc_tables *tables, const struct rsr_module_target *gpu,
                             uint32_t number) {
    RSRC_TABLE(tables, struct rsr_gpu_entry, entries_name(tables, number));
    if (gpu->quantize != NULL)
        describe_entry(tables, gpu->quantize);
    for (uint32_t l = 0; l < gpu->n_linears; l++)
        for (uint32_t e = 0; e < gpu->linears[l].n_entries; e++)
            describe_entry(tables, &gpu->linears[l].entries[e]);
}

static void describe_kernel(struct rsrc_tables *tables, const struct rsr_linear_unit *linear,
                            uint32_t gpu, uint32_t first_entry) {
    rsrc_begin_row(tables,
                   rsrc_arena_printf(tables->arena, "%s: %s", linear->title, linear->tokens));
    RSRC_PUT(tables, rsr_gpu_kernel, name, linear->name);
    RSRC_PUT(tables, rsr_gpu_kernel, variant, linear->variant);
    RSRC_PUT(tables, rsr_gpu_kernel, reason, linear->reason);
    if (linear->scale_source != NULL)
        rsrc_comment_member(tables,
                            rsrc_arena_printf(tables->arena, "scale: %s", linear->scale_source));
    RSRC_PUT(tables, rsr_gpu_kernel, weights.codes, linear->codes);
    RSRC_PUT(tables, rsr_gpu_kernel, weights.index, linear->index);
    RSRC_PUT(tables, rsr_gpu_kernel, weights.scale, linear->scale);
    RSRC_PUT(tables, rsr_gpu_kernel, weights.n_scales, linear->n_scales);
    RSRC_PUT(tables, rsr_gpu_kernel, codes_bytes, linear->codes_bytes);
    RSRC_PUT(tables, rsr_gpu_kernel, index_bytes, linear->index_bytes);
    RSRC_PUT_ELEMENT(tables, rsr_gpu_kernel, entries, entries_name(tables, gpu), first_entry);
    RSRC_PUT(tables, rsr_gpu_kernel, n_entries, linear->n_entries);
    RSRC_PUT(tables, rsr_gpu_kernel, rows, linear->rows);
    RSRC_PUT(tables, rsr_gpu_kernel, cols, linear->cols);
    RSRC_PUT(tables, rsr_gpu_kernel, epilogue, linear->epilogue);
    RSRC_PUT(tables, rsr_gpu_kernel, block, linear->block);
    RSRC_PUT(tables, rsr_gpu_kernel, role, linear->role);
    RSRC_PUT(tables, rsr_gpu_kernel, group, linear->group);
}

void rsrc_describe_gpu_kernels(struct rsrc_tables *tables, const struct rsr_module_target *gpu,
                               uint32_t number) {
    describe_entries(tables, gpu, number);
    RSRC_TABLE(tables, struct rsr_gpu_kernel, kernels_name(tables, number));
    uint32_t first_entry = gpu->quantize != NULL;
    for (uint32_t l = 0; l < gpu->n_linears; l++) {
        describe_kernel(tables, &gpu->linears[l], number, first_entry);
        first_entry += gpu->linears[l].n_entries;
    }
}

static void describe_images(struct rsrc_tables *tables, const char *name,
                            const struct rsr_module_image *images, uint32_t n_images) {
    RSRC_TABLE(tables, struct rsr_gpu_image, name);
    for (uint32_t i = 0; i < n_images; i++) {
        const struct rsr_module_image *image = &images[i];
        rsrc_begin_row(tables, rsrc_arena_printf(tables->arena, "%u kernels", image->n_kernels));
        RSRC_PUT(tables, rsr_gpu_image, bytes, image->symbol);
        RSRC_PUT(tables, rsr_gpu_image, size_bytes, image->size_bytes);
        RSRC_PUT(tables, rsr_gpu_image, kind, image->kind);
        RSRC_PUT(tables, rsr_gpu_image, sm, image->sm);
    }
}

static void describe_groups(struct rsrc_tables *tables, const struct rsr_module_target *gpu,
                            uint32_t number) {
    RSRC_TABLE(tables, struct rsr_gpu_entry, group_entries_name(tables, number));
    for (uint32_t i = 0; i < gpu->n_groups; i++)
        for (uint32_t e = 0; e < gpu->groups[i].n_entries; e++)
            describe_entry(tables, &gpu->groups[i].entries[e]);
    RSRC_TABLE(tables, struct rsr_gpu_group, groups_name(tables, number));
    for (uint32_t i = 0, first = 0; i < gpu->n_groups; i++) {
        const struct rsr_gpu_group *group = &gpu->groups[i];
        rsrc_begin_row(tables, NULL);
        RSRC_PUT_ELEMENT(tables, rsr_gpu_group, entries, group_entries_name(tables, number), first);
        RSRC_PUT(tables, rsr_gpu_group, n_entries, group->n_entries);
        RSRC_PUT(tables, rsr_gpu_group, block_rows, group->block_rows);
        RSRC_PUT(tables, rsr_gpu_group, layout, group->layout);
        first += group->n_entries;
    }
}

void rsrc_describe_gpus(struct rsrc_tables *tables, const struct rsr_module_target *gpus,
                        uint32_t n_gpus, uint32_t first_steps) {
    for (uint32_t g = 0; g < n_gpus; g++) {
        describe_images(tables, images_name(tables, g), gpus[g].images, gpus[g].n_images);
        describe_images(tables, operation_images_name(tables, g), gpus[g].operation_images,
                        gpus[g].n_operation_images);
        if (gpus[g].n_groups != 0)
            describe_groups(tables, &gpus[g], g);
    }
    RSRC_TABLE(tables, struct rsr_gpu_entry, OPERATIONS);
    for (uint32_t i = 0; i < RSR_GPU_OPERATIONS; i++)
        describe_entry(tables, &gpus[0].operations[i]);
    RSRC_TABLE(tables, struct rsr_gpu_target, RSRC_TABLE_GPUS);
    for (uint32_t g = 0; g < n_gpus; g++) {
        rsrc_begin_row(tables, NULL);
        RSRC_PUT(tables, rsr_gpu_target, name, gpus[g].spec->name);
        RSRC_PUT(tables, rsr_gpu_target, sm, gpus[g].spec->gpu.sm);
        RSRC_PUT(tables, rsr_gpu_target, n_images, gpus[g].n_images);
        RSRC_PUT(tables, rsr_gpu_target, images, images_name(tables, g));
        RSRC_PUT(tables, rsr_gpu_target, n_kernels, gpus[g].n_linears);
        RSRC_PUT(tables, rsr_gpu_target, n_steps, gpus[g].n_steps);
        RSRC_PUT(tables, rsr_gpu_target, kernels, kernels_name(tables, g));
        RSRC_PUT(tables, rsr_gpu_target, steps, rsrc_steps_name(tables, first_steps + g));
        if (gpus[g].quantize != NULL)
            RSRC_PUT(tables, rsr_gpu_target, quantize, entries_name(tables, g));
        RSRC_PUT(tables, rsr_gpu_target, tensors, RSRC_TABLE_TENSORS);
        RSRC_PUT(tables, rsr_gpu_target, operation_images, operation_images_name(tables, g));
        RSRC_PUT(tables, rsr_gpu_target, n_operation_images, gpus[g].n_operation_images);
        RSRC_PUT(tables, rsr_gpu_target, n_operations, RSR_GPU_OPERATIONS);
        RSRC_PUT(tables, rsr_gpu_target, operations, OPERATIONS);
        RSRC_PUT(tables, rsr_gpu_target, n_groups, gpus[g].n_groups);
        if (gpus[g].n_groups != 0)
            RSRC_PUT(tables, rsr_gpu_target, groups, groups_name(tables, g));
    }
}
