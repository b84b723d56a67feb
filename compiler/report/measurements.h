/* measurements.h - reads measurements of rsr-bench and rsr-run from their JSON, for a report. */
#ifndef RSRC_REPORT_MEASUREMENTS_H
#define RSRC_REPORT_MEASUREMENTS_H

#include <stdint.h>

#include "base/arena.h"
#include "diag.h"

/* Reads `rsr-bench model --profile --json` of a module that was compiled from the checkpoint with
 * this hash. *json gets the checked members for a report, in the arena. */
RSRC_NODISCARD enum rsrc_status rsrc_read_measured(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                                   const char *path, const uint8_t model_hash[16],
                                                   const char **json);
/* Reads `rsr-run --json`: the bytes that attention read. */
RSRC_NODISCARD enum rsrc_status rsrc_read_attention_stats(struct rsrc_diag *diag,
                                                          struct rsrc_arena *arena,
                                                          const char *path, const char **json);

#endif
