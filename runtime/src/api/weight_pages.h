/* weight_pages.h - puts the weights on huge pages. */
#ifndef RSR_WEIGHT_PAGES_H
#define RSR_WEIGHT_PAGES_H

#include "runtime.h"

/* Applies RSR_PAGES_* to model->target: sets model->pages, and with COPY replaces model->target by
 * a copy (model->copy) whose weights lie in anonymous memory. */
RSR_NODISCARD rsr_status rsr_weight_pages_apply(rsr_model *model, int pages, rsr_error *err);

#endif
