/* module_check.h - refuses a module whose tables the engine could not walk safely. */
#ifndef RSR_MODULE_CHECK_H
#define RSR_MODULE_CHECK_H

#include "rsr.h"
#include "rsr_abi.h"

/* Call it before anything else of the module is read. */
RSR_NODISCARD rsr_status rsr_check_module_abi(const struct rsr_module *module, rsr_error *err);
/* Checks the sizes of the model, before its targets and GPUs. */
RSR_NODISCARD rsr_status rsr_check_model(const struct rsr_module *module, rsr_error *err);
RSR_NODISCARD rsr_status rsr_check_tensors(const struct rsr_module *module,
                                           const struct rsr_tensors *tensors, rsr_error *err);
/* Checks the tables of one target. */
RSR_NODISCARD rsr_status rsr_check_target(const struct rsr_module *module,
                                          const struct rsr_target *target, rsr_error *err);
/* Checks the tables of all GPUs. gpu_check.c */
RSR_NODISCARD rsr_status rsr_check_gpus(const struct rsr_module *module, rsr_error *err);

#endif
