/* Compares the multiply-add of the portable float operations with fmaf(): random bits, sums on
 * or near the midpoint of two floats, denormal results and overflow. `test_fused N` tries N
 * triples. */
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#if defined(__x86_64__)
#include "check.h"
#include "ops/ops_fused.h"

static float float_of(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof(x));
    return x;
}

struct triple {
    float a, b, c;
};

/* Any bits, also infinities and NaN. */
static struct triple any_bits(uint64_t r, uint64_t s) {
    return (struct triple){float_of((uint32_t)r), float_of((uint32_t)(r >> 32)),
                           float_of((uint32_t)s)};
}

/* A sum of normal size whose parts overlap, or cancel. */
static struct triple of_a_size(uint64_t r, uint64_t s) {
    const float a = ldexpf((float)(int32_t)r, -31), b = ldexpf((float)(int32_t)(r >> 32), -31);
    const float c = (s >> 60) == 0 ? -(a * b) : ldexpf((float)(int32_t)s, (int)(s >> 32 & 63) - 62);
    return (struct triple){a, b, c};
}

/* c plus half a unit of c's last place, or (1 +- e 2^-23) (1 -+ f 2^-23) times that half: a tie, or
 * as near to one as 2^-46 of the half. */
static struct triple near_midpoint(uint64_t r, uint64_t s) {
    const uint32_t exponent = 1 + (uint32_t)(r % 253);
    const float c = float_of((uint32_t)(s & 0x807fffffu) | exponent << 23);
    const float half =
        ldexpf(1.0f, (int)exponent - 127 - 24); /* half of the unit of c's last place */
    const int e = (int)(s >> 32 & 3), f = (int)(s >> 34 & 3);
    const float sign = (s >> 36 & 1) != 0 ? 1.0f : -1.0f;
    /* `half` is split between the factors, because it may be below the smallest float */
    const float a = (1.0f + sign * (float)e * 0x1p-23f) * ldexpf(1.0f, ((int)exponent - 151) / 2);
    const float b =
        (1.0f - sign * (float)f * 0x1p-23f) * (half / ldexpf(1.0f, ((int)exponent - 151) / 2));
    return (struct triple){(s >> 37 & 1) != 0 ? a : -a, b, c};
}

/* Ties of denormal results: c is a multiple of 2^-149, and the product is near 0.5 or 1.5 times
 * 2^-149. */
static struct triple denormal(uint64_t r, uint64_t s) {
    const float c = float_of((uint32_t)(s & 0x807fffffu));
    const float tiny = 0x1p-23f * (float)(int)(r % 5), times = (r >> 8 & 1) != 0 ? 1.0f : 3.0f;
    const float a = (1.0f + tiny) * 0x1p-75f * ((r >> 9 & 1) != 0 ? 1.0f : -1.0f);
    return (struct triple){a, (1.0f - ((r >> 10 & 1) != 0 ? tiny : 0.0f)) * times * 0x1p-75f, c};
}

static struct triple overflowing(uint64_t r, uint64_t s) {
    const float a =
        float_of((uint32_t)(r & 0x807fffffu) | (127u + (uint32_t)(s >> 40 & 127)) << 23);
    const float b = float_of((uint32_t)(r >> 32 & 0x807fffffu) |
                             (127u + 127u - (uint32_t)(s >> 40 & 127)) << 23);
    return (struct triple){a, b, float_of((uint32_t)(s & 0x80ffffffu) | 253u << 23)};
}

static const struct kind {
    const char *name;
    struct triple (*make)(uint64_t r, uint64_t s);
} kinds[] = {{"any bits", any_bits},
             {"of a size", of_a_size},
             {"near a midpoint", near_midpoint},
             {"denormal", denormal},
             {"overflowing", overflowing}};
#define N_KINDS (sizeof(kinds) / sizeof(kinds[0]))

static bool is_same(float a, float b) {
    return (isnan(a) && isnan(b)) || memcmp(&a, &b, sizeof(a)) == 0;
}

/* Counts how many of four triples differ. */
static uint64_t try_four(const struct kind *kind, uint64_t *state) {
    float a[4], b[4], c[4], d[4];
    for (int i = 0; i < 4; i++) {
        const uint64_t r = check_random(state);
        const struct triple t = kind->make(r, check_random(state));
        a[i] = t.a;
        b[i] = t.b;
        c[i] = t.c;
    }
    _mm_storeu_ps(d, rsr_fused4(_mm_loadu_ps(a), _mm_loadu_ps(b), _mm_loadu_ps(c)));
    uint64_t n_wrong = 0;
    for (int i = 0; i < 4; i++) {
        const bool same = is_same(d[i], fmaf(a[i], b[i], c[i]));
        if (!same && n_wrong == 0)
            fprintf(stderr, "%s: %a * %a + %a is %a, expected %a\n", kind->name, (double)a[i],
                    (double)b[i], (double)c[i], (double)d[i], (double)fmaf(a[i], b[i], c[i]));
        n_wrong += !same;
    }
    return n_wrong;
}

int main(int argc, char **argv) {
    const uint64_t n_triples = argc > 1 ? (uint64_t)strtod(argv[1], NULL) : 2000000;
    uint64_t state = 20261123;
    for (size_t k = 0; k < N_KINDS; k++) {
        uint64_t n_wrong = 0;
        for (uint64_t i = 0; i < n_triples / (4 * N_KINDS) && n_wrong < 10; i++)
            n_wrong += try_four(&kinds[k], &state);
        CHECK_INT(n_wrong, 0);
    }
    printf("%" PRIu64 " triples\n", n_triples);
    return CHECK_EXIT();
}

#else

int main(void) {
    puts("every CPU of this architecture has an instruction for it");
    return 0;
}

#endif
