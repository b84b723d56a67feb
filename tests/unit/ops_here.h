/* ops_here.h - which levels of the float operations this CPU runs. */
#ifndef TESTS_UNIT_OPS_HERE_H
#define TESTS_UNIT_OPS_HERE_H

#include <stdio.h>

#include "host/cpu.h"
#include "ops/ops.h"

/* The operations of a level; NULL, with a note, where the CPU cannot run them. */
static inline const struct rsr_ops *ops_here(enum rsr_ops_level level) {
    const struct rsr_ops *ops = rsr_ops_get(level);
    if (ops != NULL && (rsr_ops_features(level) & ~rsr_cpu_features()) == 0)
        return ops;
    fprintf(stderr, "note: level %d does not run here\n", (int)level);
    return NULL;
}

#endif
