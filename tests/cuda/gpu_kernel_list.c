/* gpu_kernel_list.c - prints and reads kernels.txt. */
#include "gpu_kernel_list.h"

#include <inttypes.h>
#include <string.h>

#include "kernels/matvec/matvec.h"

#define FIELDS 14

void gpu_kernel_list_write(const struct gpu_kernel_list *list, FILE *file) {
    for (uint32_t i = 0; i < list->n_modules; i++)
        fprintf(file, "module %s\n", list->modules[i]);
    for (uint32_t i = 0; i < list->n_kernels; i++) {
        const struct rsr_matvec *plan = &list->plans[i];
        fprintf(file, "kernel %d %d %d %d %u %u %u %u %u %u %u %d %" PRIu64 " %g\n",
                (int)list->full_size[i], (int)plan->codes, (int)plan->product, (int)plan->epilogue,
                plan->rows, plan->cols, plan->steps, plan->row_warps, plan->col_warps,
                plan->token_tile, plan->blocks, (int)plan->scale_per_row, plan->weight_bytes,
                list->predicted_us[i]);
    }
}

static bool read_kernel(struct gpu_kernel_list *list, const char *line) {
    if (list->n_kernels == GPU_MAX_KERNELS)
        return false;
    struct rsr_matvec *plan = &list->plans[list->n_kernels];
    int full_size = 0, codes = 0, product = 0, epilogue = 0, scale_per_row = 0;
    const int n =
        sscanf(line, "kernel %d %d %d %d %u %u %u %u %u %u %u %d %" SCNu64 " %lg", &full_size,
               &codes, &product, &epilogue, &plan->rows, &plan->cols, &plan->steps,
               &plan->row_warps, &plan->col_warps, &plan->token_tile, &plan->blocks, &scale_per_row,
               &plan->weight_bytes, &list->predicted_us[list->n_kernels]);
    plan->codes = (enum rsr_gpu_codes)codes;
    plan->product = (enum rsr_gpu_product)product;
    plan->epilogue = (enum rsr_epilogue)epilogue;
    plan->scale_per_row = scale_per_row != 0;
    list->full_size[list->n_kernels++] = full_size != 0;
    if (n != FIELDS || plan->col_warps == 0)
        return false;
    rsrc_set_matvec_functions(plan);
    return true;
}

static bool read_module(struct gpu_kernel_list *list, const char *line) {
    return list->n_modules < GPU_MAX_MODULES &&
           sscanf(line, "module %31s", list->modules[list->n_modules++]) == 1;
}

bool gpu_kernel_list_read(struct gpu_kernel_list *list, FILE *file) {
    memset(list, 0, sizeof *list);
    char line[256];
    while (fgets(line, sizeof line, file) != NULL)
        if (!(line[0] == 'm' ? read_module : read_kernel)(list, line))
            return false;
    return list->n_modules != 0 && list->n_kernels != 0;
}
