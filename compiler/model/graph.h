/* graph.h - from named tensors to a model: which tensor plays which role.
 *
 * Architectures are tables (family/): patterns of tensor names, roles and expected shapes. Every
 * tensor that is missing, misshapen or left over is refused by name.
 */
#ifndef RSRC_MODEL_GRAPH_H
#define RSRC_MODEL_GRAPH_H

#include "ir.h"

/* Marks the checkpoint's tensors as consumed. */
RSRC_NODISCARD enum rsrc_status rsrc_build_graph(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                                 const struct rsr_checkpoint *checkpoint,
                                                 struct rsr_graph *out);

/* Text form of the graph, for --dump=graph. */
void rsrc_print_graph(const struct rsr_graph *graph, struct rsrc_buffer *out);

/* "q", "gate", "input_norm": fixed lower-case names of enum rsr_role. */
const char *rsrc_role_name(enum rsr_role role);
/* "multiply", "relu2": names of other enums. */
const char *rsrc_scale_rule_name(enum rsr_scale_rule rule);
const char *rsrc_activation_name(enum rsr_activation activation);

#endif
