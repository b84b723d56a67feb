/* choose_target.h - which of a module's targets an engine runs. */
#ifndef RSR_CHOOSE_TARGET_H
#define RSR_CHOOSE_TARGET_H

#include <stdbool.h>

#include "rsr.h"
#include "rsr_abi.h"

/* The machine to choose for; a parameter, so that tests can pretend to be any machine. */
struct rsr_host_cpu {
    uint64_t features;                 /* RSR_CPU_MASK bits */
    bool (*enable)(uint64_t features); /* as rsr_cpu_enable; called only for the chosen target */
};

/* Finds the target that needs the most features among those that the host can run, the first of
 * equals. If `forced` is not NULL, only the target of that name will do. A refusal names the
 * missing features. */
RSR_NODISCARD rsr_status rsr_choose_target(const struct rsr_module *module, const char *forced,
                                           const struct rsr_host_cpu *host,
                                           const struct rsr_target **result, rsr_error *err);

#endif
