/* static_program.c - looks for a dynamic linker in the program's headers. */
#include <link.h>

#include "static_program.h"

/* The first object is the program; it need not be asked further. */
static int find_interpreter(struct dl_phdr_info *program, size_t size, void *found) {
    (void)size;
    for (unsigned i = 0; i < program->dlpi_phnum; i++)
        if (program->dlpi_phdr[i].p_type == PT_INTERP)
            *(bool *)found = true;
    return 1;
}

bool rsr_program_is_static(void) {
    bool has_interpreter = false;
    dl_iterate_phdr(find_interpreter, &has_interpreter);
    return !has_interpreter;
}
