/* lay_weights.h - puts the weights into a file that a linker made with an empty section for
 * them. */
#ifndef RSRC_LINK_LAY_WEIGHTS_H
#define RSRC_LINK_LAY_WEIGHTS_H

#include "link/elf_writer.h"

/* Copies the data of the closed writer's object into the module or relocatable object at `path`,
 * which was linked with writer->place. *laid false: the linker has left no place for it. */
RSRC_NODISCARD enum rsrc_status rsrc_lay_weights(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                                 const char *path,
                                                 const struct rsrc_elf_writer *weights, bool *laid);

#endif
