/* check.h - the few macros that unit tests need. A failed check prints its place and both values
 * and the program exits 1 at the end of main through CHECK_EXIT. */
#ifndef TESTS_UNIT_CHECK_H
#define TESTS_UNIT_CHECK_H

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Whether this build has sanitizers. Checks that do not work with sanitizers run only in the build
 * without them. */
#if defined(__SANITIZE_ADDRESS__)
#define TEST_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TEST_SANITIZED 1
#endif
#endif
#ifndef TEST_SANITIZED
#define TEST_SANITIZED 0
#endif

/* Whether tests run in their long forms, as tests/check.sh --long asks for. */
static inline bool test_is_long(void) {
    return getenv("RSRC_TEST_LONG") != NULL;
}

static int check_failures;
static int check_count;

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        check_count++;                                                                             \
        if (!(condition)) {                                                                        \
            check_failures++;                                                                      \
            fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #condition);                \
        }                                                                                          \
    } while (0)

#define CHECK_INT(actual, expected)                                                                \
    do {                                                                                           \
        int64_t check_a = (int64_t)(actual), check_e = (int64_t)(expected);                        \
        check_count++;                                                                             \
        if (check_a != check_e) {                                                                  \
            check_failures++;                                                                      \
            fprintf(stderr, "%s:%d: %s is %" PRId64 ", expected %" PRId64 "\n", __FILE__,          \
                    __LINE__, #actual, check_a, check_e);                                          \
        }                                                                                          \
    } while (0)

#define CHECK_STR(actual, expected)                                                                \
    do {                                                                                           \
        const char *check_a = (actual), *check_e = (expected);                                     \
        check_count++;                                                                             \
        if (check_a == NULL || strcmp(check_a, check_e) != 0) {                                    \
            check_failures++;                                                                      \
            fprintf(stderr, "%s:%d: %s is \"%s\", expected \"%s\"\n", __FILE__, __LINE__, #actual, \
                    check_a ? check_a : "(null)", check_e);                                        \
        }                                                                                          \
    } while (0)

/* A test without any check counts as failed. */
#define CHECK_EXIT()                                                                               \
    (printf("%d checks, %d failed\n", check_count, check_failures),                                \
     check_failures != 0 || check_count == 0)

/* SplitMix64. Tests that use it print their seeds. */
static inline uint64_t check_random(uint64_t *state) {
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

#endif
