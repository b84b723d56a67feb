/* probe.h - rates of this machine's instructions, as the kernels of a target use them.
 *
 * Probes are kernels: a back end turns their operation lists into code. So a probe measures the
 * instructions that the target's kernels use, without the code around them.
 */
#ifndef RSRC_MEASURE_PROBE_H
#define RSRC_MEASURE_PROBE_H

#include "link/linker.h"

struct rsrc_probe_input {
    const struct rsr_spec *spec; /* this machine can run it; vector_bits not 0 */
    const struct rsrc_backend *backend;
    enum rsr_unit_kind kind; /* kind of unit that the back end makes: OBJ or C */
    const struct rsrc_toolchain *toolchain;
    const char *dir; /* private and flat: files are left in it */
};

/* Multiply-adds of int8 values, 1e9 a second, four to an operand from the first-level cache. The
 * rate is that of the target's fastest operation; *how names it. */
RSRC_NODISCARD enum rsrc_status rsrc_probe_dot(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                               const struct rsrc_probe_input *input, double *gmacs,
                                               const char **how);
/* Vector instructions, 1e9 a second: additions, four to an operand from the first-level cache, and
 * a look-up in 16 bytes to three of them where the target has it. */
RSRC_NODISCARD enum rsrc_status rsrc_probe_vector(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                                  const struct rsrc_probe_input *input,
                                                  double *gips, const char **how);
/* Rates of two kernels, in the units of the planner (instructions or multiply-adds, 1e9 per
 * second), for a random ternary matrix in cache and a batch of prefill: of folded code, and of
 * `dot` over the codes of `lut`. *how is unchanged if the target has no such kernel. */
RSRC_NODISCARD enum rsrc_status rsrc_probe_fold(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                                const struct rsrc_probe_input *input, double *gips,
                                                const char **how);
RSRC_NODISCARD enum rsrc_status rsrc_probe_panel(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                                 const struct rsrc_probe_input *input,
                                                 double *gmacs, const char **how);
/* Additions of `scatter`, as the planner counts them: 1e9 a second, of a random ternary matrix in
 * cache. */
RSRC_NODISCARD enum rsrc_status rsrc_probe_additions(struct rsrc_diag *diag,
                                                     struct rsrc_arena *arena,
                                                     const struct rsrc_probe_input *input,
                                                     double *gops, const char **how);

#endif
