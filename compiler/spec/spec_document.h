/* spec_document.h - one target description file by itself, before its parent is merged in. */
#ifndef RSRC_SPEC_SPEC_DOCUMENT_H
#define RSRC_SPEC_SPEC_DOCUMENT_H

#include "ir.h"

/* The keys of a GPU's description. It also has `triple` and `cpu`, and no other key of a CPU's. */
#define RSRC_SPEC_GPU_FIELDS(X)                                                                    \
    X(SM, "sm", U32, gpu.sm, 80, 129)                                                              \
    X(SM_COUNT, "sm_count", U32, gpu.sm_count, 1, 65536)                                           \
    X(CLOCK_GHZ, "clock_ghz", NUMBER, gpu.clock_ghz, 0.001, 1e3)                                   \
    X(MEMORY_GBPS, "memory_gbps", NUMBER, gpu.memory_gbps, 0.001, 1e6)                             \
    X(LAUNCH_US, "launch_us", NUMBER, gpu.launch_us, 0, 1e6)

/* Every key of a target description: name, kind of value, member of rsr_spec, smallest and largest
 * value, text for --print-target's readers. The order is that of printing. */
#define RSRC_SPEC_FIELDS(X)                                                                        \
    X(TRIPLE, "triple", NAME, triple, 0, 0)                                                        \
    X(CPU, "cpu", NAME, cpu, 0, 0)                                                                 \
    X(FEATURES, "features", FEATURES, cpu_features, 0, 0)                                          \
    X(VECTOR_BITS, "vector_bits", VECTOR, vector_bits, 0, 512)                                     \
    X(CORES, "cores", U32, cores, 1, 65536)                                                        \
    X(L2_BYTES, "l2_bytes", SIZE, l2_bytes, 1024, 1e12)                                            \
    X(READ_GBPS, "read_gbps", NUMBER, read_gbps, 0.001, 1e6)                                       \
    X(PREFETCH_LEVEL, "prefetch_level", U32, prefetch_level, 1, 2)                                 \
    X(DOT_GMACS, "dot_gmacs", NUMBER, dot_gmacs, 0.001, 1e9)                                       \
    X(VECTOR_GIPS, "vector_gips", NUMBER, vector_gips, 0.001, 1e6)                                 \
    X(FOLD_GIPS, "fold_gips", NUMBER, fold_gips, 0.001, 1e6)                                       \
    X(PANEL_GMACS, "panel_gmacs", NUMBER, panel_gmacs, 0.001, 1e9)                                 \
    X(ADD_GOPS, "add_gops", NUMBER, add_gops, 0.001, 1e6)                                          \
    RSRC_SPEC_GPU_FIELDS(X)

enum rsrc_spec_field {
#define X(id, key, kind, member, min, max) RSRC_SPEC_FIELD_##id,
    RSRC_SPEC_FIELDS(X)
#undef X
        RSRC_SPEC_FIELD_NAME, /* `name` and `inherit` are not inherited */
    RSRC_SPEC_FIELD_INHERIT,
    RSRC_SPEC_FIELD_COUNT
};
#define RSRC_SPEC_N_INHERITED RSRC_SPEC_FIELD_NAME

extern const char *const RSRC_SPEC_KEYS[RSRC_SPEC_FIELD_COUNT];

struct rsrc_spec_document {
    const char *file;
    const uint8_t *bytes; /* source lines; borrowed while parsing and checking */
    uint64_t size_bytes;
    struct rsr_spec values; /* values of the keys that are set */
    uint32_t set;           /* bit per field */
    const char *name;
    const char *inherit; /* NULL: no parent */
    struct rsrc_spec_at {
        uint32_t line, column;
    } at[RSRC_SPEC_FIELD_COUNT];        /* of the values */
    struct rsrc_spec_at feature_at[64]; /* by bit; line 0: not in this document */
};

RSRC_NODISCARD enum rsrc_status rsrc_parse_spec_document(struct rsrc_diag *diag,
                                                         struct rsrc_arena *arena, const char *file,
                                                         const uint8_t *bytes, uint64_t size_bytes,
                                                         struct rsrc_spec_document *out);

/* Merges the document with its parent (NULL: none) and checks that the result is complete and
 * consistent. Features are added to the parent's; every other key replaces the parent's. */
RSRC_NODISCARD enum rsrc_status rsrc_resolve_spec(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                                  const struct rsrc_spec_document *document,
                                                  const struct rsr_spec *parent,
                                                  struct rsr_spec *out);

/* A place in the document with its line; the place of the whole file where line is 0. */
struct rsrc_place rsrc_spec_place(struct rsrc_arena *arena,
                                  const struct rsrc_spec_document *document, uint32_t line,
                                  uint32_t column);

/* Letters, digits, '_', '.' and '-', at most 64, not beginning with '.' or '-'. */
bool rsrc_spec_name_valid(const char *name);

#endif
