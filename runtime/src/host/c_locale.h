/* c_locale.h - makes numbers read and written with a '.', whatever locale the application has
 * set. */
#ifndef RSR_SRC_C_LOCALE_H
#define RSR_SRC_C_LOCALE_H

#include <locale.h>

/* Puts the calling thread into the C locale until rsr_leave_c_locale(the returned value). (If there
 * is no memory for a locale, which is unlikely, nothing changes.) */
static inline locale_t rsr_enter_c_locale(void) {
    return uselocale(newlocale(LC_ALL_MASK, "C", (locale_t)0));
}

static inline void rsr_leave_c_locale(locale_t before) {
    const locale_t mine = uselocale(before);
    if (mine != before)
        freelocale(mine);
}

#endif
