/* emit_asm.h - the bodies of a kernel as assembly, without a code generator.
 *
 * A body is straight-line code in a few registers (ir.h, struct rsr_kbody): its operations are
 * printed one by one, and each of its registers is a machine register. An assembler needs a tenth
 * of the time of an optimising compiler, which could not improve millions of additions anyway.
 *
 * A kernel whose bodies are made here has extern_bodies set, and the back end that makes its loops
 * calls them as <kernel symbol>_body_<number>, hidden functions of (const void *columns, void
 * *sums).
 */
#ifndef RSRC_EMIT_ASM_EMIT_ASM_H
#define RSRC_EMIT_ASM_EMIT_ASM_H

#include "ir.h"

/* Appends the bodies of a kernel in GNU syntax to `text`, which may have bodies of other kernels.
 * It declines targets other than x86-64, and operations that bodies of `fold` do not have, with a
 * sentence in *why and `text` unchanged. Memory operands of 16-byte vectors without AVX must be
 * aligned. */
RSRC_NODISCARD enum rsrc_status rsrc_asm_bodies(const struct rsr_kernel *kernel,
                                                struct rsrc_buffer *text, const char **why);

/* Assembles what rsrc_asm_bodies() has printed into a relocatable object, in this process. */
RSRC_NODISCARD enum rsrc_status rsrc_asm_assemble(const struct rsr_spec *spec,
                                                  const struct rsrc_buffer *text,
                                                  struct rsrc_arena *arena,
                                                  struct rsrc_buffer *object, const char **why);

#endif
