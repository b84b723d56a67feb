/* assemble.h - LLVM's assembler: text to an object file in memory. */
#ifndef RSRC_EMIT_LLVM_ASSEMBLE_H
#define RSRC_EMIT_LLVM_ASSEMBLE_H

#include "ir.h"

/* Assembles `text` for spec->triple into `object`. A mistake in the text fails with LLVM's first
 * message, kept in the arena, in *why. */
RSRC_NODISCARD enum rsrc_status rsrc_llvm_assemble(const struct rsr_spec *spec,
                                                   const struct rsrc_buffer *text,
                                                   struct rsrc_arena *arena,
                                                   struct rsrc_buffer *object, const char **why);

#endif
