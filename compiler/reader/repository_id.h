/* repository_id.h - names of models on Hugging Face where files are expected. */
#ifndef RSRC_READER_REPOSITORY_ID_H
#define RSRC_READER_REPOSITORY_ID_H

#include "base/arena.h"
#include "diag.h"

/* Whether an input is "owner/name" and no such file or folder exists. An error then says how to
 * download it. */
bool rsrc_refuse_repository_id(struct rsrc_diag *diag, struct rsrc_arena *arena, const char *input);

#endif
