/* choose_target.h - which of a module's targets an engine runs. */
#ifndef RSR_CHOOSE_TARGET_H
#define RSR_CHOOSE_TARGET_H

#include <stdbool.h>

#include "rsr.h"
#include "rsr_abi.h"

/* The machine that decides; a parameter, so that tests can be any. */
struct rsr_host_cpu {
    uint64_t features;                 /* RSR_CPU_MASK bits */
    bool (*enable)(uint64_t features); /* as rsr_cpu_enable; called for the target taken only */
};

/* Of the targets that the host can run, the one that needs the most features, the first of equals;
 * with `forced` (NULL: not) the one of that name or none. Refuses with what is missing. */
RSR_NODISCARD rsr_status rsr_choose_target(const struct rsr_module *module, const char *forced,
                                           const struct rsr_host_cpu *host,
                                           const struct rsr_target **result, rsr_error *err);

#endif
