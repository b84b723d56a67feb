/* kernel_names.h - the words of a kernel's text form, for its printer and its parser. */
#ifndef RSRC_KERNEL_KERNEL_NAMES_H
#define RSRC_KERNEL_KERNEL_NAMES_H

#include "ir.h"

/* "add", "load_lanes" */
extern const char *const rsrc_kop_names[RSR_KOP_COUNT];
extern const char *const rsrc_elem_names[RSR_ELEM_COUNT];
extern const char *const rsrc_kbuf_names[RSR_KBUF_COUNT];
extern const char *const rsrc_kparam_names[RSR_KPARAM_COUNT];
extern const char *const rsrc_kvariant_names[RSR_VARIANT_COUNT];
#define RSRC_N_INPUTS (RSR_INPUT_F32 + 1u)
extern const char *const rsrc_kinput_names[RSRC_N_INPUTS];
#define RSRC_N_EPILOGUES (RSR_EPILOGUE_RAW + 1u)
extern const char *const rsrc_kepilogue_names[RSRC_N_EPILOGUES];

/* Whether the operation's imm is written after its operands. */
bool rsrc_kop_prints_immediate(uint32_t kind);

#endif
