/* spec.h - target descriptions: specs/<name>.yaml, with inheritance and places in diagnostics. */
#ifndef RSRC_SPEC_SPEC_H
#define RSRC_SPEC_SPEC_H

#include "ir.h"

/* `target` is a name (looked up as <dir>/<name>.yaml in the search directories), a path to a .yaml
 * file, or "native" (the host's features on top of the best matching file). */
RSRC_NODISCARD enum rsrc_status rsrc_load_spec(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                               const char *target, const char *spec_dir,
                                               struct rsr_spec *out);
/* Parsing alone, for tests and fuzzing: no file access, `inherit` is refused. */
RSRC_NODISCARD enum rsrc_status rsrc_parse_spec(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                                const char *file, const uint8_t *bytes,
                                                uint64_t size_bytes, struct rsr_spec *out);
/* Names of all specs in the directory, sorted, with "native". */
RSRC_NODISCARD enum rsrc_status rsrc_list_specs(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                                const char *spec_dir, const char *const **names,
                                                uint32_t *n_names);
/* YAML of the resolved description, for --print-target. */
void rsrc_print_spec(const struct rsr_spec *spec, struct rsrc_buffer *out);
/* "avx2+fma": the features of `mask` by their spec names, for messages. */
const char *rsrc_feature_names(struct rsrc_arena *arena, uint64_t mask);
/* What this machine's CPU and operating system support. */
uint64_t rsrc_host_features(void);
/* "x86_64-linux-gnu" */
const char *rsrc_host_triple(void);

#endif
