/* simplify.c - removes operations whose results nobody reads.
 *
 * Lowering emits constants and parameters before it knows whether an epilogue, a ragged edge or an
 * alphabet needs them; C compilers warn of unused variables. Input and output: a kernel's
 * operations. Bodies are not simplified, because their generator emits only what it needs.
 */
#include "kernel_ops.h"
#include "kernel/kernel.h"

/* Adds `change` to the reads of every register that the operation reads. */
static void count_reads(const struct rsr_kop *op, uint32_t *n_reads, uint32_t change) {
    const uint16_t operands[3] = {op->a, op->b, op->c};
    for (uint32_t j = 0; j < rsrc_kop_arity(op->kind); j++)
        n_reads[operands[j]] += change;
    for (uint32_t j = 0; j < 3; j++)
        if (op->term[j] != RSR_NO_KREG)
            n_reads[op->term[j]] += change;
}

/* Operations with a result and no other effect. */
static bool is_pure(const struct rsr_kop *op) {
    return rsrc_kop_has_result(op->kind) && op->kind != RSR_KOP_LOOP;
}

void rsrc_simplify_kernel(struct rsrc_arena *arena, struct rsr_kernel *kernel) {
    if (kernel->n_ops == 0) /* a GPU's kernel has no operation list */
        return;
    uint32_t *n_reads = RSRC_NEW_ARRAY(arena, kernel->n_regs + 1u, uint32_t);
    for (uint32_t i = 0; i < kernel->n_ops; i++)
        count_reads(&kernel->ops[i], n_reads, 1);
    /* It goes backwards, so that one round also removes operations that only dead operations read.
     * If the dead reader is earlier in a loop's body, another round is needed. */
    uint32_t n_before;
    do {
        n_before = kernel->n_ops;
        uint32_t begin = n_before;
        for (uint32_t i = n_before; i-- > 0;) {
            struct rsr_kop *op = &kernel->ops[i];
            if (is_pure(op) && n_reads[op->dst] == 0)
                count_reads(op, n_reads, UINT32_MAX);
            else
                kernel->ops[--begin] = *op;
        }
        kernel->ops += begin;
        kernel->n_ops -= begin;
    } while (kernel->n_ops != n_before);
}
