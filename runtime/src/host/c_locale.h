/* c_locale.h - numbers are read and written with a '.', whatever setlocale() the application has
 * called. */
#ifndef RSR_SRC_C_LOCALE_H
#define RSR_SRC_C_LOCALE_H

#include <locale.h>

/* The calling thread is in the C locale until rsr_leave_c_locale(what this returned). (In the
 * unlikely case that there is no memory for it nothing changes.) */
static inline locale_t rsr_enter_c_locale(void) {
    return uselocale(newlocale(LC_ALL_MASK, "C", (locale_t)0));
}

static inline void rsr_leave_c_locale(locale_t before) {
    const locale_t mine = uselocale(before);
    if (mine != before)
        freelocale(mine);
}

#endif
