/* simplify.c - removes operations whose results nobody reads.
 *
 * Lowering emits constants and parameters before it knows whether an epilogue, a ragged edge or an
 * alphabet needs them; C compilers warn of unused variables. Input and output: a kernel's operations.
 */
#include "lower/variants.h"

static const uint8_t op_arity[RSR_KOP_COUNT] = {
#define X(name, arity, help) [RSR_KOP_##name] = arity,
    RSR_KOPS(X)
#undef X
};

/* Operations with a result and no other effect. */
static bool is_pure(const struct rsr_kop *op) {
    return op->dst != RSR_NO_KREG && op->kind != RSR_KOP_LOOP;
}

static void count_reads(const struct rsr_kernel *kernel, uint32_t *n_reads) {
    for (uint32_t i = 0; i < kernel->n_regs; i++)
        n_reads[i] = 0;
    for (uint32_t i = 0; i < kernel->n_ops; i++) {
        const struct rsr_kop *op = &kernel->ops[i];
        const uint16_t operands[3] = {op->a, op->b, op->c};
        for (uint32_t j = 0; j < op_arity[op->kind]; j++)
            n_reads[operands[j]]++;
        for (uint32_t j = 0; j < 3; j++)
            if (op->term[j] != RSR_NO_KREG)
                n_reads[op->term[j]]++;
    }
}

void rsrc_simplify_kernel(struct rsrc_arena *arena, struct rsr_kernel *kernel) {
    uint32_t *n_reads = RSRC_NEW_ARRAY(arena, kernel->n_regs + 1u, uint32_t);
    uint32_t n_before;
    do {
        n_before = kernel->n_ops;
        count_reads(kernel, n_reads);
        uint32_t n = 0;
        for (uint32_t i = 0; i < n_before; i++)
            if (!is_pure(&kernel->ops[i]) || n_reads[kernel->ops[i].dst] != 0)
                kernel->ops[n++] = kernel->ops[i];
        kernel->n_ops = n;
    } while (kernel->n_ops != n_before);
}
