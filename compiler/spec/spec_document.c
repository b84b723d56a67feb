/* spec_document.c - YAML text to one target description; places survive into every diagnostic.
 *
 * Input: bytes of a file, untrusted. A description is one flat mapping of known keys to scalars,
 * and `features` to a list of names. It is read through libyaml's events, so that other constructs
 * (aliases, anchors, tags, nesting, a second document) are refused before they are built.
 */
#include "spec/spec_document.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/text_scan.h"
#include "spec/spec.h"

#define MAX_DOCUMENT_BYTES (64u << 10)
#define MAX_NAME 64u
#define MAX_NUMBER 32u

enum field_kind { FIELD_NAME, FIELD_FEATURES, FIELD_VECTOR, FIELD_U32, FIELD_SIZE, FIELD_NUMBER };

static const struct field {
    enum field_kind kind;
    size_t offset; /* in struct rsrc_spec_document */
    double min, max;
} FIELDS[RSRC_SPEC_FIELD_COUNT] = {
#define X(id, key, kind, member, min, max)                                                         \
    [RSRC_SPEC_FIELD_##                                                                            \
        id] = {FIELD_##kind, offsetof(struct rsrc_spec_document, values.member), min, max},
    RSRC_SPEC_FIELDS(X)
#undef X
        [RSRC_SPEC_FIELD_NAME] = {FIELD_NAME, offsetof(struct rsrc_spec_document, name), 0, 0},
    [RSRC_SPEC_FIELD_INHERIT] = {FIELD_NAME, offsetof(struct rsrc_spec_document, inherit), 0, 0},
};

const char *const RSRC_SPEC_KEYS[RSRC_SPEC_FIELD_COUNT] = {
#define X(id, key, kind, member, min, max) [RSRC_SPEC_FIELD_##id] = key,
    RSRC_SPEC_FIELDS(X)
#undef X
        [RSRC_SPEC_FIELD_NAME] = "name",
    [RSRC_SPEC_FIELD_INHERIT] = "inherit",
};

static const struct {
    const char *name;
    uint64_t mask;
} FEATURES[] = {
#define RSR_CPU_FEATURE(id, bit, spec_name, attribute) {spec_name, RSR_CPU_MASK(id)},
#include "rsr_cpu_features.def"
#undef RSR_CPU_FEATURE
};
#define N_FEATURES (sizeof FEATURES / sizeof FEATURES[0])

/* ---- places ---------------------------------------------------------------------------------- */

struct rsrc_place rsrc_spec_place(struct rsrc_arena *arena,
                                  const struct rsrc_spec_document *document, uint32_t line,
                                  uint32_t column) {
    struct rsrc_place place = {.file = document->file, .line = line, .column = column};
    const char *text = (const char *)document->bytes;
    const char *end = text == NULL ? NULL : text + document->size_bytes;
    for (uint32_t i = 1; i < line && text != NULL && text < end; i++) {
        const char *newline = memchr(text, '\n', (size_t)(end - text));
        text = newline == NULL ? NULL : newline + 1;
    }
    if (line == 0 || text == NULL || text >= end)
        return place;
    const char *newline = memchr(text, '\n', (size_t)(end - text));
    size_t length = (size_t)((newline == NULL ? end : newline) - text);
    if (length <= 200)
        place.source_line = rsrc_arena_strndup(arena, text, length);
    return place;
}

bool rsrc_spec_name_valid(const char *name) {
    size_t n = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-");
    return n > 0 && n <= MAX_NAME && name[n] == '\0' && name[0] != '.' && name[0] != '-';
}

/* ---- the reader ------------------------------------------------------------------------------ */

struct reader {
    struct rsrc_diag *diag;
    struct rsrc_arena *arena;
    yaml_parser_t yaml;
    yaml_event_t event; /* the current one; owned */
    struct rsrc_spec_document *document;
};

static enum rsrc_status fail_at(struct reader *reader, yaml_mark_t mark, const char *slug,
                                const char *help, const char *message) {
    struct rsrc_place place = rsrc_spec_place(reader->arena, reader->document,
                                              (uint32_t)mark.line + 1, (uint32_t)mark.column + 1);
    return rsrc_refuse(reader->diag, slug, &place, help, "%s", message);
}

static enum rsrc_status fail(struct reader *reader, const char *slug, const char *help,
                             const char *message) {
    return fail_at(reader, reader->event.start_mark, slug, help, message);
}

/* Whether the current event has an anchor, an alias or a tag. */
static bool is_indirect(const yaml_event_t *event) {
    switch (event->type) {
    case YAML_ALIAS_EVENT:
        return true;
    case YAML_SCALAR_EVENT:
        return event->data.scalar.anchor != NULL || event->data.scalar.tag != NULL;
    case YAML_SEQUENCE_START_EVENT:
        return event->data.sequence_start.anchor != NULL || event->data.sequence_start.tag != NULL;
    case YAML_MAPPING_START_EVENT:
        return event->data.mapping_start.anchor != NULL || event->data.mapping_start.tag != NULL;
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_STREAM_END_EVENT:
    case YAML_DOCUMENT_START_EVENT:
    case YAML_DOCUMENT_END_EVENT:
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        return false;
    }
    return false;
}

static enum rsrc_status next_event(struct reader *reader) {
    yaml_event_delete(&reader->event);
    if (!yaml_parser_parse(&reader->yaml, &reader->event)) {
        yaml_mark_t mark = reader->yaml.problem_mark;
        const char *problem = reader->yaml.problem != NULL ? reader->yaml.problem : "bad YAML";
        return fail_at(reader, mark, "spec-syntax", NULL,
                       rsrc_arena_printf(reader->arena, "this is not YAML: %s", problem));
    }
    if (is_indirect(&reader->event))
        return fail(reader, "spec-alias", "write the value itself",
                    "anchors, aliases and tags are not supported");
    return RSRC_OK;
}

static enum rsrc_status expect(struct reader *reader, yaml_event_type_t type, const char *message) {
    if (next_event(reader) != RSRC_OK)
        return RSRC_FAILED;
    if (reader->event.type != type)
        return fail(reader, "spec-type", NULL, message);
    return RSRC_OK;
}

/* The current scalar in the arena, if it is printable ASCII of a reasonable length. */
static enum rsrc_status scalar_text(struct reader *reader, size_t max, const char **out) {
    const unsigned char *value = reader->event.data.scalar.value;
    size_t n = reader->event.data.scalar.length;
    bool plain = n > 0 && n <= max;
    for (size_t i = 0; plain && i < n; i++)
        plain = value[i] > 0x20 && value[i] < 0x7f;
    if (!plain)
        return fail(reader, "spec-value", NULL,
                    "the value is empty, too long, or has characters other than visible ASCII");
    *out = rsrc_arena_strndup(reader->arena, (const char *)value, n);
    return RSRC_OK;
}

/* ---- values ---------------------------------------------------------------------------------- */

static enum rsrc_status fail_range(struct reader *reader, const struct field *field) {
    return fail(
        reader, "spec-range", NULL,
        rsrc_arena_printf(reader->arena, "the value must be in %g..%g", field->min, field->max));
}

static enum rsrc_status read_number(struct reader *reader, const struct field *field,
                                    const char *text, double *out) {
    char *end;
    double value = strtod(text, &end);
    bool plain = strspn(text, "0123456789.eE+-") == strlen(text);
    if (!plain || end == text || *end != '\0' || !isfinite(value))
        return fail(reader, "spec-value", NULL, "this is not a number");
    if (value < field->min || value > field->max)
        return fail_range(reader, field);
    *out = value;
    return RSRC_OK;
}

/* A whole number with an optional unit of `units` ("KMG": 2^10, 2^20, 2^30). */
static enum rsrc_status read_whole(struct reader *reader, const struct field *field,
                                   const char *text, const char *units, uint64_t *out) {
    uint64_t value = 0;
    size_t n = strspn(text, "0123456789");
    const char *unit = text[n] == '\0' ? NULL : strchr(units, text[n]);
    if (n == 0 || n > 18 || (text[n] != '\0' && (unit == NULL || text[n + 1] != '\0')))
        return fail(reader, "spec-value",
                    units[0] != '\0' ? "write a size as 49152, 48K, 2M or 1G" : NULL,
                    "this is not a whole number");
    for (size_t i = 0; i < n; i++)
        value = 10 * value + (uint64_t)(text[i] - '0');
    uint32_t shift = unit == NULL ? 0 : 10 * (uint32_t)(unit - units + 1);
    if ((double)value < field->min / (double)(UINT64_C(1) << shift) ||
        (double)value > field->max / (double)(UINT64_C(1) << shift))
        return fail_range(reader, field);
    *out = value << shift;
    return RSRC_OK;
}

static enum rsrc_status read_vector_bits(struct reader *reader, const struct field *field,
                                         const char *text, uint32_t *out) {
    uint64_t bits;
    if (read_whole(reader, field, text, "", &bits) != RSRC_OK)
        return RSRC_FAILED;
    if (bits != 0 && bits != 128 && bits != 256 && bits != 512)
        return fail(reader, "spec-value", "use 0 (scalar code), 128, 256 or 512",
                    "vector_bits has no such width");
    *out = (uint32_t)bits;
    return RSRC_OK;
}

static const char *list_features(struct rsrc_arena *arena) {
    const char *list = "the features are";
    for (size_t i = 0; i < N_FEATURES; i++)
        list = rsrc_arena_printf(arena, "%s%s %s", list, i == 0 ? "" : ",", FEATURES[i].name);
    return list;
}

static enum rsrc_status read_feature(struct reader *reader, uint64_t *mask) {
    const char *text;
    if (reader->event.type != YAML_SCALAR_EVENT)
        return fail(reader, "spec-type", NULL, "a feature is one name");
    if (scalar_text(reader, MAX_NAME, &text) != RSRC_OK)
        return RSRC_FAILED;
    const char *names[N_FEATURES];
    for (size_t i = 0; i < N_FEATURES; i++) {
        names[i] = FEATURES[i].name;
        if (strcmp(text, FEATURES[i].name) == 0) {
            const yaml_mark_t mark = reader->event.start_mark;
            reader->document->feature_at[__builtin_ctzll(FEATURES[i].mask)] =
                (struct rsrc_spec_at){(uint32_t)mark.line + 1, (uint32_t)mark.column + 1};
            *mask |= FEATURES[i].mask;
            return RSRC_OK;
        }
    }
    const char *meant = rsrc_did_you_mean(text, names, N_FEATURES);
    return fail(reader, "spec-feature",
                meant == NULL ? list_features(reader->arena)
                              : rsrc_arena_printf(reader->arena, "did you mean '%s'?", meant),
                rsrc_arena_printf(reader->arena, "unknown CPU feature '%s'", text));
}

static enum rsrc_status read_features(struct reader *reader, uint64_t *out) {
    uint64_t mask = 0;
    if (reader->event.type != YAML_SEQUENCE_START_EVENT)
        return fail(reader, "spec-type", "write features: [avx2, fma]", "features is a list");
    if (next_event(reader) != RSRC_OK)
        return RSRC_FAILED;
    while (reader->event.type != YAML_SEQUENCE_END_EVENT)
        if (read_feature(reader, &mask) != RSRC_OK || next_event(reader) != RSRC_OK)
            return RSRC_FAILED;
    *out = mask;
    return RSRC_OK;
}

/* The value of a key that holds one scalar. */
static enum rsrc_status read_scalar(struct reader *reader, const struct field *field, void *out) {
    const char *text;
    if (reader->event.type != YAML_SCALAR_EVENT)
        return fail(reader, "spec-type", NULL, "this key has one plain value");
    if (scalar_text(reader, field->kind == FIELD_NAME ? MAX_NAME : MAX_NUMBER, &text) != RSRC_OK)
        return RSRC_FAILED;
    uint64_t whole = 0;
    switch (field->kind) {
    case FIELD_NAME:
        if (!rsrc_spec_name_valid(text))
            return fail(reader, "spec-value", "use letters, digits, '_', '.' and '-'",
                        "this is not a name");
        *(const char **)out = text;
        return RSRC_OK;
    case FIELD_VECTOR:
        return read_vector_bits(reader, field, text, out);
    case FIELD_U32:
        if (read_whole(reader, field, text, "", &whole) != RSRC_OK)
            return RSRC_FAILED;
        *(uint32_t *)out = (uint32_t)whole;
        return RSRC_OK;
    case FIELD_SIZE:
        return read_whole(reader, field, text, "KMG", out);
    case FIELD_NUMBER:
        return read_number(reader, field, text, out);
    case FIELD_FEATURES:
        break;
    }
    abort(); /* read_pair reads features */
}

/* ---- the mapping ----------------------------------------------------------------------------- */

static enum rsrc_status find_key(struct reader *reader, uint32_t *out) {
    const char *key = (const char *)reader->event.data.scalar.value;
    for (uint32_t f = 0; f < RSRC_SPEC_FIELD_COUNT; f++) {
        if (strcmp(key, RSRC_SPEC_KEYS[f]) == 0) {
            *out = f;
            return RSRC_OK;
        }
    }
    const char *meant = rsrc_did_you_mean(key, RSRC_SPEC_KEYS, RSRC_SPEC_FIELD_COUNT);
    return fail(reader, "spec-unknown-key",
                meant == NULL ? NULL
                              : rsrc_arena_printf(reader->arena, "did you mean '%s'?", meant),
                rsrc_arena_printf(reader->arena, "unknown key '%.64s'", key));
}

static enum rsrc_status read_pair(struct reader *reader) {
    struct rsrc_spec_document *document = reader->document;
    uint32_t f;
    if (reader->event.type != YAML_SCALAR_EVENT)
        return fail(reader, "spec-type", NULL, "a key is one name");
    if (find_key(reader, &f) != RSRC_OK)
        return RSRC_FAILED;
    if ((document->set >> f & 1) != 0)
        return fail(reader, "spec-duplicate-key", NULL,
                    rsrc_arena_printf(reader->arena, "'%s' is given twice", RSRC_SPEC_KEYS[f]));
    if (next_event(reader) != RSRC_OK)
        return RSRC_FAILED;
    document->set |= 1u << f;
    document->at[f].line = (uint32_t)reader->event.start_mark.line + 1;
    document->at[f].column = (uint32_t)reader->event.start_mark.column + 1;
    void *out = (char *)document + FIELDS[f].offset;
    return FIELDS[f].kind == FIELD_FEATURES ? read_features(reader, out)
                                            : read_scalar(reader, &FIELDS[f], out);
}

static enum rsrc_status read_document(struct reader *reader) {
    if (expect(reader, YAML_STREAM_START_EVENT, "not a YAML stream") != RSRC_OK ||
        expect(reader, YAML_DOCUMENT_START_EVENT, "the file is empty") != RSRC_OK ||
        expect(reader, YAML_MAPPING_START_EVENT,
               "a target description is a mapping, 'key: value' on every line") != RSRC_OK ||
        next_event(reader) != RSRC_OK)
        return RSRC_FAILED;
    while (reader->event.type != YAML_MAPPING_END_EVENT)
        if (read_pair(reader) != RSRC_OK || next_event(reader) != RSRC_OK)
            return RSRC_FAILED;
    if (expect(reader, YAML_DOCUMENT_END_EVENT, "expected the end") != RSRC_OK ||
        expect(reader, YAML_STREAM_END_EVENT, "the file has more than one document") != RSRC_OK)
        return RSRC_FAILED;
    struct rsrc_spec_document *document = reader->document;
    if (document->name == NULL)
        return rsrc_refuse(
            reader->diag, "spec-missing", &(struct rsrc_place){.file = document->file},
            "add a line such as 'name: my-target'", "the target description has no name");
    document->values.name = document->name;
    document->values.file = document->file;
    return RSRC_OK;
}

enum rsrc_status rsrc_parse_spec_document(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                          const char *file, const uint8_t *bytes,
                                          uint64_t size_bytes, struct rsrc_spec_document *out) {
    struct rsrc_spec_document document = {.file = file, .bytes = bytes, .size_bytes = size_bytes};
    if (size_bytes > MAX_DOCUMENT_BYTES)
        return rsrc_refuse(diag, "spec-too-large", &(struct rsrc_place){.file = file}, NULL,
                           "the file has more than %u bytes and is not a target description",
                           MAX_DOCUMENT_BYTES);
    struct reader reader = {.diag = diag, .arena = arena, .document = &document};
    if (!yaml_parser_initialize(&reader.yaml))
        rsrc_out_of_memory(sizeof reader.yaml);
    static const unsigned char nothing[1] = {0};
    yaml_parser_set_input_string(&reader.yaml, bytes != NULL ? bytes : nothing, (size_t)size_bytes);
    enum rsrc_status status = read_document(&reader);
    yaml_event_delete(&reader.event);
    yaml_parser_delete(&reader.yaml);
    if (status == RSRC_OK)
        *out = document;
    return status;
}

/* ---- resolving ------------------------------------------------------------------------------- */

/* Features that code of a vector width or level needs, whatever else is listed. */
#define NEEDS_AVX2 RSR_CPU_MASK(AVX2)
#define NEEDS_AVX512                                                                               \
    (NEEDS_AVX2 | RSR_CPU_MASK(AVX512F) | RSR_CPU_MASK(AVX512BW) | RSR_CPU_MASK(AVX512VL) |        \
     RSR_CPU_MASK(AVX512DQ))

static const char *const X86_CPUS[] = {
#define X86_CPU(name) name,
#define AARCH64_CPU(name)
#include "emit/llvm/llvm_cpus.def"
#undef X86_CPU
#undef AARCH64_CPU
};

static const char *const AARCH64_CPUS[] = {
#define X86_CPU(name)
#define AARCH64_CPU(name) name,
#include "emit/llvm/llvm_cpus.def"
#undef X86_CPU
#undef AARCH64_CPU
};

/* The architectures that code is made for. */
static const struct architecture {
    const char *prefix;      /* of the triple */
    const char *const *cpus; /* that LLVM knows */
    uint32_t n_cpus;
    uint64_t features;         /* features that the CPU can have */
    uint64_t for_256, for_512; /* features needed for vectors of these bits */
    uint32_t max_vector_bits;
} ARCHITECTURES[] = {
    {"x86_64-", X86_CPUS, sizeof X86_CPUS / sizeof *X86_CPUS, RSR_CPU_X86_64, NEEDS_AVX2,
     NEEDS_AVX512, 512},
    {"aarch64-", AARCH64_CPUS, sizeof AARCH64_CPUS / sizeof *AARCH64_CPUS, RSR_CPU_AARCH64, 0, 0,
     128},
};

static enum rsrc_status fail_at_place(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                      const struct rsrc_spec_document *document,
                                      struct rsrc_spec_at at, const char *slug, const char *help,
                                      const char *message) {
    struct rsrc_place place = rsrc_spec_place(arena, document, at.line, at.column);
    return rsrc_refuse(diag, slug, &place, help, "%s", message);
}

static enum rsrc_status fail_field(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                   const struct rsrc_spec_document *document,
                                   enum rsrc_spec_field field, const char *slug, const char *help,
                                   const char *message) {
    return fail_at_place(diag, arena, document, document->at[field], slug, help, message);
}

static const struct architecture *find_architecture(const char *triple) {
    for (size_t i = 0; i < sizeof ARCHITECTURES / sizeof ARCHITECTURES[0]; i++)
        if (strncmp(triple, ARCHITECTURES[i].prefix, strlen(ARCHITECTURES[i].prefix)) == 0)
            return &ARCHITECTURES[i];
    return NULL;
}

/* Points at the first feature of another architecture, or at the triple if the feature was
 * inherited. */
static enum rsrc_status fail_foreign_features(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                              const struct rsrc_spec_document *document,
                                              const struct rsr_spec *spec, uint64_t foreign) {
    struct rsrc_spec_at at = document->at[RSRC_SPEC_FIELD_TRIPLE];
    for (uint64_t left = foreign; left != 0; left &= left - 1) {
        const struct rsrc_spec_at own = document->feature_at[__builtin_ctzll(left)];
        if (own.line != 0) {
            at = own;
            break;
        }
    }
    return fail_at_place(diag, arena, document, at, "spec-feature", NULL,
                         rsrc_arena_printf(arena, "%s is not a feature of %s",
                                           rsrc_feature_names(arena, foreign), spec->triple));
}

/* LLVM would decline every kernel for a name that it does not know. */
static enum rsrc_status check_cpu(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                  const struct rsrc_spec_document *document,
                                  const struct architecture *architecture, const char *cpu) {
    for (uint32_t i = 0; i < architecture->n_cpus; i++)
        if (strcmp(architecture->cpus[i], cpu) == 0)
            return RSRC_OK;
    const char *close = "";
    for (uint32_t i = 0; i < architecture->n_cpus; i++)
        if (rsrc_did_you_mean(cpu, &architecture->cpus[i], 1) != NULL)
            close = rsrc_arena_printf(arena, "%s%s%s", close, close[0] == '\0' ? "" : ", ",
                                      architecture->cpus[i]);
    return fail_field(
        diag, arena, document, RSRC_SPEC_FIELD_CPU, "spec-cpu",
        close[0] != '\0' ? rsrc_arena_printf(arena, "names close to it: %s", close)
                         : "leave it out to inherit one; llc-19 -mcpu=help lists them",
        rsrc_arena_printf(arena, "LLVM knows no processor '%s' of %.*s", cpu,
                          (int)strlen(architecture->prefix) - 1, architecture->prefix));
}

static enum rsrc_status check_machine(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                      const struct rsrc_spec_document *document,
                                      const struct rsr_spec *spec) {
    const struct architecture *architecture = find_architecture(spec->triple);
    if (architecture == NULL)
        return fail_field(diag, arena, document, RSRC_SPEC_FIELD_TRIPLE, "spec-triple",
                          "use x86_64-linux-gnu or aarch64-linux-gnu",
                          rsrc_arena_printf(arena, "no code is made for %s", spec->triple));
    const uint64_t foreign = spec->cpu_features & ~architecture->features;
    if (foreign != 0)
        return fail_foreign_features(diag, arena, document, spec, foreign);
    if (spec->vector_bits > architecture->max_vector_bits)
        return fail_field(diag, arena, document, RSRC_SPEC_FIELD_VECTOR_BITS, "spec-feature", NULL,
                          rsrc_arena_printf(arena, "%s has vectors of %u bits at most",
                                            spec->triple, architecture->max_vector_bits));
    const uint64_t for_vector = spec->vector_bits == 512   ? architecture->for_512
                                : spec->vector_bits == 256 ? architecture->for_256
                                                           : 0;
    const uint64_t missing = for_vector & ~spec->cpu_features;
    if (missing == 0)
        return check_cpu(diag, arena, document, architecture, spec->cpu);
    return fail_field(diag, arena, document, RSRC_SPEC_FIELD_VECTOR_BITS, "spec-feature",
                      "add it to 'features'",
                      rsrc_arena_printf(arena, "%s needs the feature %s",
                                        RSRC_SPEC_KEYS[RSRC_SPEC_FIELD_VECTOR_BITS],
                                        rsrc_feature_names(arena, missing)));
}

static size_t field_size(enum field_kind kind) {
    switch (kind) {
    case FIELD_NAME:
        return sizeof(const char *);
    case FIELD_FEATURES:
    case FIELD_SIZE:
        return sizeof(uint64_t);
    case FIELD_VECTOR:
    case FIELD_U32:
        return sizeof(uint32_t);
    case FIELD_NUMBER:
        return sizeof(double);
    }
    abort();
}

/* Kinds of targets that a key is for. */
enum machine { ANY_MACHINE, CPU_MACHINE, GPU_MACHINE };

static enum machine machine_of(uint32_t field) {
    if (field == RSRC_SPEC_FIELD_TRIPLE || field == RSRC_SPEC_FIELD_CPU)
        return ANY_MACHINE;
    return field >= RSRC_SPEC_FIELD_SM && field <= RSRC_SPEC_FIELD_LAUNCH_US ? GPU_MACHINE
                                                                             : CPU_MACHINE;
}

static bool applies(uint32_t field, bool is_gpu) {
    const enum machine machine = machine_of(field);
    return machine == ANY_MACHINE || (machine == GPU_MACHINE) == is_gpu;
}

static enum rsrc_status fail_foreign_key(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                         const struct rsrc_spec_document *document, uint32_t field,
                                         bool is_gpu) {
    return fail_field(diag, arena, document, (enum rsrc_spec_field)field, "spec-foreign-key",
                      is_gpu ? "leave it out" : "a GPU's description has 'sm' and no CPU as parent",
                      rsrc_arena_printf(arena, "'%s' says nothing about a %s",
                                        RSRC_SPEC_KEYS[field], is_gpu ? "GPU" : "CPU"));
}

enum rsrc_status rsrc_resolve_spec(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                   const struct rsrc_spec_document *document,
                                   const struct rsr_spec *parent, struct rsr_spec *out) {
    struct rsr_spec spec = document->values;
    const bool is_gpu = parent != NULL ? parent->gpu.sm != 0 : spec.gpu.sm != 0;
    for (uint32_t f = 0; f < RSRC_SPEC_N_INHERITED; f++) {
        const bool set = (document->set >> f & 1) != 0;
        if (set && !applies(f, is_gpu))
            return fail_foreign_key(diag, arena, document, f, is_gpu);
        if (set || !applies(f, is_gpu))
            continue;
        if (parent == NULL)
            return fail_field(diag, arena, document, (enum rsrc_spec_field)f, "spec-missing",
                              "add the key, or 'inherit: generic'",
                              rsrc_arena_printf(arena, "'%s' is missing", RSRC_SPEC_KEYS[f]));
        size_t at = FIELDS[f].offset - offsetof(struct rsrc_spec_document, values);
        memcpy((char *)&spec + at, (const char *)parent + at, field_size(FIELDS[f].kind));
    }
    if (parent != NULL)
        spec.cpu_features |= parent->cpu_features;
    if (!is_gpu && check_machine(diag, arena, document, &spec) != RSRC_OK)
        return RSRC_FAILED;
    *out = spec;
    return RSRC_OK;
}

enum rsrc_status rsrc_parse_spec(struct rsrc_diag *diag, struct rsrc_arena *arena, const char *file,
                                 const uint8_t *bytes, uint64_t size_bytes, struct rsr_spec *out) {
    struct rsrc_spec_document document;
    if (rsrc_parse_spec_document(diag, arena, file, bytes, size_bytes, &document) != RSRC_OK)
        return RSRC_FAILED;
    if (document.inherit != NULL)
        return fail_field(diag, arena, &document, RSRC_SPEC_FIELD_INHERIT, "spec-inherit",
                          "give every key", "'inherit' is not possible without files");
    return rsrc_resolve_spec(diag, arena, &document, NULL, out);
}

/* ---- printing -------------------------------------------------------------------------------- */

const char *rsrc_feature_names(struct rsrc_arena *arena, uint64_t mask) {
    const char *text = "";
    for (size_t i = 0; i < N_FEATURES; i++)
        if ((mask & FEATURES[i].mask) != 0)
            text = rsrc_arena_printf(arena, "%s%s%s", text, text[0] == '\0' ? "" : "+",
                                     FEATURES[i].name);
    return text[0] == '\0' ? "none" : text;
}

static void print_size(struct rsrc_buffer *out, uint64_t bytes) {
    uint32_t unit = 0;
    while (unit < 3 && bytes != 0 && bytes % 1024 == 0) {
        bytes /= 1024;
        unit++;
    }
    rsrc_buffer_printf(out, "%llu%.1s", (unsigned long long)bytes, &"\0KMG"[unit]);
}

static void print_features(struct rsrc_buffer *out, uint64_t mask) {
    const char *separator = "";
    rsrc_buffer_puts(out, "[");
    for (size_t i = 0; i < N_FEATURES; i++) {
        if ((mask & FEATURES[i].mask) == 0)
            continue;
        rsrc_buffer_printf(out, "%s%s", separator, FEATURES[i].name);
        separator = ", ";
    }
    rsrc_buffer_puts(out, "]");
}

static void print_field(struct rsrc_buffer *out, const struct field *field, const void *value) {
    switch (field->kind) {
    case FIELD_NAME:
        rsrc_buffer_puts(out, *(const char *const *)value);
        break;
    case FIELD_FEATURES:
        print_features(out, *(const uint64_t *)value);
        break;
    case FIELD_VECTOR:
    case FIELD_U32:
        rsrc_buffer_printf(out, "%u", *(const uint32_t *)value);
        break;
    case FIELD_SIZE:
        print_size(out, *(const uint64_t *)value);
        break;
    case FIELD_NUMBER:
        rsrc_put_double(out, *(const double *)value);
        break;
    }
}

void rsrc_print_spec(const struct rsr_spec *spec, struct rsrc_buffer *out) {
    rsrc_buffer_printf(out, "name: %s\n", spec->name);
    for (uint32_t f = 0; f < RSRC_SPEC_N_INHERITED; f++) {
        if (!applies(f, spec->gpu.sm != 0))
            continue;
        size_t at = FIELDS[f].offset - offsetof(struct rsrc_spec_document, values);
        rsrc_buffer_printf(out, "%s: ", RSRC_SPEC_KEYS[f]);
        print_field(out, &FIELDS[f], (const char *)spec + at);
        rsrc_buffer_puts(out, "\n");
    }
}
