/* seal.h - the last step of linking a module: hashes of its sections, in its note (rsr_abi.h). */
#ifndef RSRC_LINK_SEAL_H
#define RSRC_LINK_SEAL_H

#include "link/elf_writer.h"

/* Refuses a file that librsr would refuse to load. `weights` wrote the object from which the linker
 * made .lrodata: each of its parts becomes a section, and what it leaves out a hole in the file. */
RSRC_NODISCARD enum rsrc_status rsrc_seal_module(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                                 const char *path,
                                                 const struct rsrc_elf_writer *weights);

#endif
