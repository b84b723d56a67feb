/* static_program.h - whether this program was linked statically. */
#ifndef RSR_STATIC_PROGRAM_H
#define RSR_STATIC_PROGRAM_H

#include <stdbool.h>

/* Whether the program has no dynamic linker. In such a program glibc's dlopen would load a second C
 * library, which knows nothing about the program's threads. */
bool rsr_program_is_static(void);

#endif
