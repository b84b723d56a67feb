/* cuda_fold.c - prints the CUDA C++ of `fold`: the bodies, which the C back end's printer makes of
 * their operations, and the choice of a body by its number.
 *
 * CUDA C++ takes the road of all other kernels: NVRTC or clang, their cache, and cubins. The choice
 * is a tree of comparisons and no switch, so that it is no indirect branch in PTX.
 */
#include "emit/c/c_code.h"
#include "emit/ptx/cuda_unit.h"

static void print_body(const struct rsr_kernel *kernel, uint32_t number, struct rsrc_arena *arena,
                       struct rsrc_buffer *out) {
    const struct rsr_matvec *m = kernel->matvec;
    const uint32_t row = number / m->steps * m->warp_rows, col = number % m->steps * m->chunk_cols;
    const uint32_t end_row = row + m->warp_rows, end_col = col + m->chunk_cols;
    struct rsrc_c_code code = {.kernel = kernel,
                               .regs = kernel->body_regs,
                               .n_regs = kernel->n_body_regs,
                               .ops = kernel->bodies[number].ops,
                               .n_ops = kernel->bodies[number].n_ops};
    rsrc_c_nest(&code, arena);
    rsrc_c_place_declarations(&code, arena);
    rsrc_buffer_printf(out,
                       "\nstatic __device__ __forceinline__ void %s_body_%u(const char *columns, "
                       "char *sums) {\n"
                       "    asm volatile(\"// rows %u .. %u, columns %u .. %u\");\n",
                       kernel->symbol, number, row, (end_row < m->rows ? end_row : m->rows) - 1,
                       col, (end_col < m->cols ? end_col : m->cols) - 1);
    rsrc_c_put_code(&code, arena, out);
    rsrc_buffer_puts(out, "}\n");
}

/* Calls body `number`, one of [first, end). */
static void print_choice(const struct rsr_kernel *kernel, uint32_t first, uint32_t end,
                         uint32_t depth, struct rsrc_buffer *out) {
    const int indent = 4 * (int)depth;
    if (end - first == 1) {
        rsrc_buffer_printf(out, "%*s%s_body_%u(columns, sums);\n", indent, "", kernel->symbol,
                           first);
        return;
    }
    const uint32_t middle = first + (end - first) / 2;
    rsrc_buffer_printf(out, "%*sif (number < %u) {\n", indent, "", middle);
    print_choice(kernel, first, middle, depth + 1, out);
    rsrc_buffer_printf(out, "%*s} else {\n", indent, "");
    print_choice(kernel, middle, end, depth + 1, out);
    rsrc_buffer_printf(out, "%*s}\n", indent, "");
}

void rsrc_print_cuda_fold(const struct rsr_kernel *kernel, struct rsrc_buffer *out) {
    struct rsrc_arena arena;
    rsrc_arena_init(&arena);
    rsrc_buffer_puts(out, "\nnamespace rsr {\n");
    for (uint32_t b = 0; b < kernel->n_bodies; b++)
        print_body(kernel, b, &arena, out);
    rsrc_buffer_printf(out,
                       "\nstruct %s_bodies {\n"
                       "    static __device__ __forceinline__ void add(unsigned number, const char "
                       "*columns,\n"
                       "                                               char *sums) {\n",
                       kernel->symbol);
    print_choice(kernel, 0, kernel->n_bodies, 2, out);
    rsrc_buffer_puts(out, "    }\n};\n\n} // namespace rsr\n");
    rsrc_arena_free(&arena);
}
