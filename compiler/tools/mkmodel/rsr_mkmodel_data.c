/* rsr_mkmodel_data.c - reproducible tensor data at memory speed.
 *
 * Element i of a tensor is table[r], where r is 16-bit field i mod 4 of mix(key + i / 4), and the
 * key is a hash of seed and name. So any part can be made alone, and a tensor does not depend on
 * its neighbours. The table has 65536 entries drawn from the wanted distribution, so its
 * probabilities are multiples of 2^-16. Tables are made with integers and single IEEE operations,
 * never with libm, so files have equal bytes, whichever compiler and library built the tool.
 */
#include <math.h>
#include <string.h>

#include "rsr_mkmodel.h"

/* Entries of a table, and the unit of probabilities. */
#define TABLE_SIZE 65536u

/* The finaliser of SplitMix64. */
uint64_t mkmodel_mix(uint64_t x) {
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

/* FNV-1a, stirred with the seed. */
uint64_t mkmodel_hash_name(uint64_t seed, const char *name) {
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    for (; *name; name++)
        hash = (hash ^ (uint8_t)*name) * UINT64_C(0x100000001b3);
    return mkmodel_mix(hash ^ mkmodel_mix(seed));
}

/* ---- floats as stored ------------------------------------------------------------------------ */

static uint16_t bf16_of(float value) {
    uint32_t bits;

    memcpy(&bits, &value, sizeof bits);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1)) >> 16); /* round half to even */
}

/* Normal numbers only; smaller ones become zero and larger ones the largest. */
static uint16_t f16_of(float value) {
    uint32_t bits, sign, rounded;

    memcpy(&bits, &value, sizeof bits);
    sign = bits >> 16 & 0x8000u;
    bits &= 0x7fffffffu;
    rounded = bits + 0xfffu + (bits >> 13 & 1);
    if (rounded < 0x38800000u)
        return (uint16_t)sign;
    if (rounded >= 0x47800000u)
        return (uint16_t)(sign | 0x7bffu);
    return (uint16_t)(sign | (rounded - 0x38000000u) >> 13);
}

uint16_t mkmodel_store(const char *dtype, double value) {
    return strcmp(dtype, "F16") == 0 ? f16_of((float)value) : bf16_of((float)value);
}

double mkmodel_load(const char *dtype, uint16_t bits) {
    uint32_t wide = (uint32_t)bits << 16;
    float value;

    if (strcmp(dtype, "F16") == 0)
        wide = (wide & 0x80000000u) |
               ((bits & 0x7fffu) == 0 ? 0 : (uint32_t)(bits & 0x7fffu) * 8192 + 0x38000000u);
    memcpy(&value, &wide, sizeof value);
    return (double)value;
}

static uint16_t stored(const struct mkmodel_tensor *tensor, double value) {
    return mkmodel_store(tensor->dtype, value);
}

/* ---- tables ---------------------------------------------------------------------------------- */

/* About normal, mean 0 and variance 1: the sum of four uniform 16-bit numbers. */
static double sample_normal(uint64_t i) {
    uint64_t bits = mkmodel_mix(i);
    int64_t sum =
        (int64_t)((bits & 0xffff) + (bits >> 16 & 0xffff) + (bits >> 32 & 0xffff) + (bits >> 48));

    return (double)(sum - 2 * 65535) * (1.0 / 37837.0); /* sqrt(4/12) 2^16 */
}

/* How many of the 2^15 units of probability are zero, +1 and -1: even shares for the signs. */
static uint32_t sign_share(double zero_density) {
    return (uint32_t)((1.0 - zero_density) * 16384.0 + 0.5);
}

/* All 81 legal bytes with the products of their codes' probabilities, summed exactly. */
static void fill_packed_table(uint16_t *table, double zero_density) {
    uint32_t sign = sign_share(zero_density);
    const uint64_t share[3] = {sign, 32768u - 2 * sign, sign};
    uint64_t sum = 0;
    uint32_t at = 0;

    for (uint32_t byte = 0; byte < 256; byte++) {
        uint64_t product = 1;

        for (uint32_t i = 0; i < 4; i++) {
            uint32_t code = byte >> (2 * i) & 3;
            product *= code < 3 ? share[code] : 0; /* at most 2^60 */
        }
        sum += product;
        while (at < (sum >> 44)) /* 2^60 / 2^16 */
            table[at++] = (uint16_t)byte;
    }
}

/* Small or large magnitudes of either sign: W / mean|W| is far from one half in both cases. */
static double sample_master(uint64_t i, double zero_density, double mean) {
    uint64_t bits = mkmodel_mix(i);
    double unit = (double)(bits & 0xffff) * (1.0 / 65536.0);
    double zero = zero_density, rest = 1.0 - zero_density;
    bool is_zero = (double)(bits >> 16 & 0xffff) < zero * 65536.0;
    double magnitude = is_zero ? unit * rest * 0.5 : 0.75 + 0.75 * unit;
    double expected = zero * rest * 0.25 + rest * 1.125;

    return (bits >> 32 & 1 ? -magnitude : magnitude) * (mean / expected);
}

/* -1, 0 or 1 with the density asked for; i counts through the table. */
static int sample_ternary(uint32_t i, double zero_density) {
    uint32_t sign = 2 * sign_share(zero_density);

    return i < sign ? 1 : i < 2 * sign ? -1 : 0;
}

static uint16_t sample(const struct mkmodel_tensor *tensor, uint32_t i, double zero_density) {
    switch (tensor->fill) {
    case MKMODEL_FILL_NORMAL:
        return stored(tensor, tensor->mean + tensor->spread * sample_normal(i));
    case MKMODEL_FILL_MASTER:
        return stored(tensor, sample_master(i, zero_density, tensor->spread));
    case MKMODEL_FILL_SCALED:
        return stored(tensor, tensor->spread * sample_ternary(i, zero_density));
    case MKMODEL_FILL_CONSTANT:
        return stored(tensor, tensor->mean);
    case MKMODEL_FILL_TERNARY:
        return (uint8_t)sample_ternary(i, zero_density);
    case MKMODEL_FILL_SIGN:
        return i & 1 ? 0x01 : 0xff;
    case MKMODEL_FILL_BIT:
        return i & 1;
    case MKMODEL_FILL_PACKED:
        break;
    }
    return 0;
}

void mkmodel_source_init(struct mkmodel_source *source, const struct mkmodel_tensor *tensor,
                         double zero_density, uint64_t seed) {
    source->key = mkmodel_hash_name(seed, tensor->name);
    source->element_bytes = mkmodel_dtype_bytes(tensor->dtype) == 1 ? 1 : 2;
    if (tensor->fill == MKMODEL_FILL_PACKED) {
        fill_packed_table(source->table, zero_density);
        return;
    }
    for (uint32_t i = 0; i < TABLE_SIZE; i++)
        source->table[i] = sample(tensor, i, zero_density);
}

uint16_t mkmodel_source_element(const struct mkmodel_source *source, uint64_t number) {
    return source->table[mkmodel_mix(source->key + number / 4) >> (16 * (number % 4)) & 0xffff];
}

/* ---- streams --------------------------------------------------------------------------------- */

/* Four elements from one number; element_bytes is a constant in both calls. */
static inline void draw(const struct mkmodel_source *source, uint64_t counter, uint8_t *bytes,
                        size_t element_bytes) {
    uint64_t bits = mkmodel_mix(counter);

    for (size_t i = 0; i < 4; i++, bits >>= 16)
        memcpy(bytes + i * element_bytes, &source->table[bits & 0xffff], element_bytes);
}

static inline void fill(const struct mkmodel_source *source, uint64_t offset, uint8_t *bytes,
                        size_t n_bytes, size_t element_bytes) {
    size_t group_bytes = 4 * element_bytes, at = 0;
    uint64_t counter = source->key + offset / group_bytes;
    uint8_t last[8];

    for (; at + group_bytes <= n_bytes; at += group_bytes)
        draw(source, counter++, bytes + at, element_bytes);
    draw(source, counter, last, element_bytes);
    memcpy(bytes + at, last, n_bytes - at);
}

void mkmodel_source_fill(const struct mkmodel_source *source, uint64_t offset, uint8_t *bytes,
                         size_t n_bytes) {
    if (source->element_bytes == 1)
        fill(source, offset, bytes, n_bytes, 1);
    else
        fill(source, offset, bytes, n_bytes, 2);
}

void mkmodel_fill_elements(mkmodel_element *element, const void *tensor,
                           const struct mkmodel_source *source, uint64_t offset, uint8_t *bytes,
                           size_t n_bytes) {
    const uint32_t size = source->element_bytes;
    for (size_t at = 0; at + size <= n_bytes; at += size) {
        const uint16_t value = element(tensor, source, (offset + at) / size);
        memcpy(bytes + at, &value, size);
    }
}

void mkmodel_maker_init(struct mkmodel_maker *maker, const struct mkmodel_spec *spec,
                        const struct mkmodel_tensor *tensor) {
    maker->spec = spec;
    maker->tensor = tensor;
    mkmodel_source_init(&maker->source, tensor, spec->zero_density, spec->seed);
    mkmodel_redundant_init(&maker->redundant, &spec->redundancy, tensor, spec->seed);
    mkmodel_margin_init(&maker->margin, tensor, &maker->source, spec->seed);
    mkmodel_sparse_init(&maker->sparse, spec, tensor);
}

void mkmodel_maker_fill(const struct mkmodel_maker *maker, uint64_t offset, uint8_t *bytes,
                        size_t n_bytes) {
    const struct mkmodel_sparse *sparse = &maker->sparse;

    if (maker->spec->sparsity.inactive > 0 && (sparse->is_gate || sparse->is_embedding))
        mkmodel_sparse_fill(sparse, &maker->source, offset, bytes, n_bytes);
    else if (mkmodel_has_redundancy(&maker->spec->redundancy))
        mkmodel_redundant_fill(&maker->redundant, &maker->source, offset, bytes, n_bytes);
    else
        mkmodel_source_fill(&maker->source, offset, bytes, n_bytes);
    if (mkmodel_has_margin(maker->tensor))
        mkmodel_margin_apply(&maker->margin, offset, bytes, n_bytes);
}
