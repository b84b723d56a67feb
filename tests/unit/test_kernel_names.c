/* test_kernel_names.c - every operation, element, buffer, parameter and variant has a word of its
 * own in the text form of kernels, and the word consists of letters that the parser reads. */
#include "check.h"
#include "kernel/kernel_names.h"

static void check_words(const char *const *names, uint32_t n_names, const char *what) {
    for (uint32_t i = 0; i < n_names; i++) {
        CHECK(names[i] != NULL && names[i][0] != '\0');
        if (names[i] == NULL) {
            fprintf(stderr, "%s %u has no name\n", what, i);
            continue;
        }
        CHECK_INT(strspn(names[i], "abcdefghijklmnopqrstuvwxyz0123456789_"), strlen(names[i]));
        for (uint32_t j = 0; j < i; j++)
            CHECK(names[j] == NULL || strcmp(names[i], names[j]) != 0);
    }
}

int main(void) {
    check_words(rsrc_kop_names, RSR_KOP_COUNT, "operation");
    check_words(rsrc_elem_names, RSR_ELEM_COUNT, "element");
    check_words(rsrc_kbuf_names, RSR_KBUF_COUNT, "buffer");
    check_words(rsrc_kparam_names, RSR_KPARAM_COUNT, "parameter");
    check_words(rsrc_kvariant_names, RSR_VARIANT_COUNT, "variant");
    return CHECK_EXIT();
}
