/* emit_llvm.c - the LLVM back end's table of functions. */
#include "emit/llvm/emit_llvm.h"

static enum rsrc_status begin_unit(struct rsr_unit *unit, const char *title,
                                   const struct rsr_spec *spec, const char **why) {
    (void)unit, (void)title, (void)spec;
    *why = "the LLVM back end makes no code yet";
    return RSRC_FAILED;
}

static enum rsrc_status emit_kernel(struct rsr_unit *unit, const struct rsr_kernel *kernel,
                                    struct rsrc_arena *arena, const char **why) {
    (void)unit, (void)kernel, (void)arena, (void)why;
    return RSRC_FAILED;
}

static enum rsrc_status finish_unit(struct rsr_unit *unit, struct rsrc_arena *arena,
                                    const char **why) {
    (void)unit, (void)arena, (void)why;
    return RSRC_FAILED;
}

static void abandon_unit(struct rsr_unit *unit) {
    (void)unit;
}

const struct rsrc_backend rsrc_backend_llvm = {
    .name = "llvm",
    .kinds = 1u << RSR_UNIT_LLVM | 1u << RSR_UNIT_ASM | 1u << RSR_UNIT_OBJ,
    .begin = begin_unit,
    .emit = emit_kernel,
    .finish = finish_unit,
    .abandon = abandon_unit};
