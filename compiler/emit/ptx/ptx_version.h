/* ptx_version.h - the lowest PTX version that a text can state. */
#ifndef RSRC_EMIT_PTX_PTX_VERSION_H
#define RSRC_EMIT_PTX_PTX_VERSION_H

#include <stdint.h>

/* 10 * major + minor of the lowest version that has the target sm_<sm>; 0: unknown. */
uint32_t rsrc_ptx_version_of_target(uint32_t sm);
/* The lowest version that has every directive and instruction of the text; 0: the text has a word
 * that is not in the tables. */
uint32_t rsrc_ptx_version_of_text(const char *text);

#endif
