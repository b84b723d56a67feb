/* gpu_products.c - one product for all layers that differ in their rows alone. */
#include "driver/gpu_products.h"

#include "emit/ptx/cuda_unit.h"

static bool is_member(const struct rsr_kernel *kernel) {
    const struct rsr_matvec *m = kernel->matvec;
    return (m->product == RSR_GPU_DOT || m->product == RSR_GPU_MMA) &&
           m->epilogue == RSR_EPILOGUE_SCALE;
}

/* Codes lie in the same order, and scales are as many. */
static bool same_layout(const struct rsr_matvec *a, const struct rsr_matvec *b) {
    return a->codes == b->codes && a->cols == b->cols && a->scale_per_row == b->scale_per_row;
}

static bool same_product(const struct rsr_matvec *a, const struct rsr_matvec *b) {
    return same_layout(a, b) && a->product == b->product && a->token_tile == b->token_tile &&
           a->row_warps == b->row_warps && a->col_warps == b->col_warps;
}

static struct rsr_gpu_group make_product(struct rsrc_arena *arena, const struct rsr_matvec *matvec,
                                         uint32_t number) {
    struct rsr_gpu_entry *entries =
        RSRC_NEW_ARRAY(arena, RSR_GPU_MAX_FUNCTIONS, struct rsr_gpu_entry);
    const uint32_t n = rsrc_gpu_launches(matvec, entries);
    for (uint32_t i = 0; i < n; i++) {
        entries[i].symbol =
            rsrc_arena_printf(arena, RSRC_GPU_PRODUCT, number, entries[i].token_tile);
        entries[i].call = RSR_GPU_CALL_PRODUCTS;
        entries[i].blocks = 0;
    }
    return (struct rsr_gpu_group){.entries = entries,
                                  .n_entries = n,
                                  .block_rows = matvec->row_warps * RSR_GPU_ROWS_PER_WARP,
                                  .layout = number};
}

void rsrc_list_gpu_products(struct rsrc_arena *arena, const struct rsr_kernel *kernels,
                            uint32_t n_kernels, struct rsrc_gpu_products *out) {
    const struct rsr_matvec **made = RSRC_NEW_ARRAY(arena, n_kernels, const struct rsr_matvec *);
    struct rsrc_buffer source = {0};
    *out =
        (struct rsrc_gpu_products){.list = RSRC_NEW_ARRAY(arena, n_kernels, struct rsr_gpu_group),
                                   .of_kernel = RSRC_NEW_ARRAY(arena, n_kernels, uint32_t)};
    for (uint32_t k = 0; k < n_kernels; k++) {
        const struct rsr_matvec *matvec = kernels[k].matvec;
        uint32_t i = 0, layout = 0;
        if (!is_member(&kernels[k]))
            continue;
        while (i < out->n && !same_product(made[i], matvec))
            i++;
        while (layout < out->n && !same_layout(made[layout], matvec))
            layout++;
        if (i == out->n) {
            made[out->n++] = matvec;
            out->list[i] = make_product(arena, matvec, i);
            out->list[i].layout = layout;
            rsrc_print_cuda_product(matvec, &out->list[i], &source);
        }
        out->of_kernel[k] = i + 1;
    }
    out->source = rsrc_arena_printf(arena, "%s", source.data != NULL ? source.data : "");
    rsrc_buffer_free(&source);
}
