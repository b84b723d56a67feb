/* module_check.h - refuses a module whose tables the engine could not walk safely. */
#ifndef RSR_MODULE_CHECK_H
#define RSR_MODULE_CHECK_H

#include "rsr.h"
#include "rsr_abi.h"

/* Call it before anything else of the module is read. */
RSR_NODISCARD rsr_status rsr_check_module_abi(const struct rsr_module *module, rsr_error *err);
/* Checks the sizes of the model and the tables of one target. */
RSR_NODISCARD rsr_status rsr_check_module_tables(const struct rsr_module *module,
                                                 const struct rsr_target *target, rsr_error *err);

#endif
