/* test_spec.c - target descriptions: every diagnostic with its place, inheritance, native,
 * printing. */
#include <stdlib.h>
#include <unistd.h>

#include "base/arena.h"
#include "check.h"
#include "diag_fixture.h"
#include "rsr_cpu_detect.h"
#include "spec/spec.h"

#define SPEC_DIR TEST_SOURCE_DIR "/specs"

/* Every key except `name` and those that a test gives. */
#define NUMBERS                                                                                    \
    "cpu: x86-64\ncores: 2\nl2_bytes: 2M\nread_gbps: 10.5\nprefetch_level: 1\n"                    \
    "dot_gmacs: 4\nvector_gips: 3\nfold_gips: 2\npanel_gmacs: 5\nadd_gops: 1\n"
#define TRIPLE "triple: x86_64-linux-gnu\n"
#define AARCH64 "triple: aarch64-linux-gnu\n"
#define COMMON TRIPLE "features: []\nvector_bits: 0\n" NUMBERS
#if defined(__aarch64__)
#define HOST_COMMON AARCH64 "features: []\nvector_bits: 0\n" NUMBERS
#else
#define HOST_COMMON COMMON
#endif

static const struct {
    const char *slug;
    const char *place; /* after the file's name */
    const char *text;
    const char *says; /* in message, help, or the quoted line */
} BAD_SPECS[] = {
    {"spec-syntax", ":2:7:", "name: a\ncpu: b: c\n", "this is not YAML"},
    {"spec-syntax", ":2:1:", "name: \"a\n", "this is not YAML"},
    {"spec-type", ":1:1:", "", "the file is empty"},
    {"spec-type", ":1:1:", "- a\n- b\n", "is a mapping"},
    {"spec-type", ":2:8:", "name: a\ncores: [1]\n", "one plain value"},
    {"spec-type", ":2:8:", "name: a\ncores: {a: 1}\n", "one plain value"},
    {"spec-type", ":2:1:", "name: a\n[a]: 1\n", "a key is one name"},
    {"spec-type", ":2:11:", "name: a\nfeatures: avx2\n", "write features: [avx2, fma]"},
    {"spec-type", ":2:12:", "name: a\nfeatures: [[avx2]]\n", "a feature is one name"},
    {"spec-type", ":12:1:", "name: a\n" NUMBERS "---\nname: b\n", "more than one document"},
    {"spec-alias", ":1:7:", "name: &x a\ncpu: *x\n", "not supported"},
    {"spec-alias", ":2:6:", "name: a\ncpu: *x\n", "not supported"},
    {"spec-alias", ":1:7:", "name: !!str a\n", "not supported"},
    {"spec-alias", ":1:1:", "&a\nname: a\n", "not supported"},
    {"spec-unknown-key", ":2:1:", "name: a\nvektor_bits: 0\n", "did you mean 'vector_bits'?"},
    {"spec-unknown-key", ":2:1:", "name: a\n\"x\\e[31m\": 0\n", "unknown key 'x\\x1b[31m'"},
    {"spec-duplicate-key", ":3:1:", "name: a\ncores: 1\ncores: 2\n", "'cores' is given twice"},
    {"spec-value", ":1:7:", "name: ../a\n", "this is not a name"},
    {"spec-value", ":1:7:", "name: -a\n", "this is not a name"},
    {"spec-value", ":1:7:", "name: \"a\\0b\"\n", "visible ASCII"},
    {"spec-value", ":1:7:", "name: \"\"\n", "empty"},
    {"spec-value", ":2:8:", "name: a\ncores: two\n", "not a whole number"},
    {"spec-value", ":2:8:", "name: a\ncores: 2K\n", "not a whole number"},
    {"spec-value", ":2:11:", "name: a\nl2_bytes: 48KB\n", "write a size as 49152, 48K, 2M or 1G"},
    {"spec-value", ":2:11:", "name: a\nl2_bytes: 99999999999999999999\n", "not a whole number"},
    {"spec-value", ":2:12:", "name: a\nread_gbps: nan\n", "not a number"},
    {"spec-value", ":2:12:", "name: a\nread_gbps: 1.0x\n", "not a number"},
    {"spec-value", ":2:14:", "name: a\nvector_bits: 384\n", "no such width"},
    {"spec-range", ":2:12:", "name: a\nread_gbps: 0\n", "0.001..1e+06"},
    {"spec-range", ":2:12:", "name: a\nread_gbps: -1\n", "0.001..1e+06"},
    {"spec-range", ":2:12:", "name: a\nread_gbps: 1e300\n", "0.001..1e+06"},
    {"spec-range", ":2:8:", "name: a\ncores: 0\n", "1..65536"},
    {"spec-range", ":2:17:", "name: a\nprefetch_level: 3\n", "1..2"},
    {"spec-range", ":2:11:", "name: a\nl2_bytes: 999999999999999G\n", "1024..1e+12"},
    {"spec-feature", ":2:17:", "name: a\nfeatures: [fma, avx22]\n", "did you mean 'avx2'?"},
    {"spec-feature", ":2:12:", "name: a\nfeatures: [quantum]\n",
     "the features are ssse3, sse4.1, "},
    {"spec-feature", ":3:17:", "name: a\n" TRIPLE "features: [fma, neon]\nvector_bits: 0\n" NUMBERS,
     "neon is not a feature of x86_64-linux-gnu"},
    {"spec-feature",
     ":3:18:", "name: a\n" AARCH64 "features: [neon, avx2, fma]\nvector_bits: 0\n" NUMBERS,
     "avx2+fma is not a feature of aarch64-linux-gnu"},
    {"spec-feature", ":4:14:", "name: a\n" AARCH64 "features: [neon]\nvector_bits: 256\n" NUMBERS,
     "aarch64-linux-gnu has vectors of 128 bits at most"},
    {"spec-triple",
     ":2:9:", "name: a\ntriple: riscv64-linux-gnu\nfeatures: []\nvector_bits: 0\n" NUMBERS,
     "no code is made for riscv64-linux-gnu"},
    {"spec-feature", ":4:14:", "name: a\n" TRIPLE "features: []\nvector_bits: 256\n" NUMBERS,
     "vector_bits needs the feature avx2"},
    {"spec-feature", ":4:14:", "name: a\n" TRIPLE "features: [avx2]\nvector_bits: 512\n" NUMBERS,
     "avx512f+avx512bw+avx512vl+avx512dq"},
    {"spec-missing", ":", COMMON, "has no name"},
    {"spec-missing", ":", "name: a\n" NUMBERS, "'triple' is missing"},
    {"spec-inherit", ":2:10:", "name: a\ninherit: generic\n", "not possible without files"},
};

static void test_bad_specs(void) {
    for (size_t i = 0; i < sizeof BAD_SPECS / sizeof BAD_SPECS[0]; i++) {
        struct fixture f;
        setup(&f);
        struct rsr_spec spec;
        const char *text = BAD_SPECS[i].text;
        CHECK_INT(
            rsrc_parse_spec(f.diag, &f.arena, "t.yaml", (const uint8_t *)text, strlen(text), &spec),
            RSRC_FAILED);
        CHECK_INT(rsrc_diag_error_count(f.diag), 1);
        char slug[64], place[64];
        snprintf(slug, sizeof slug, "[%s]", BAD_SPECS[i].slug);
        snprintf(place, sizeof place, "t.yaml%s", BAD_SPECS[i].place);
        bool good = strstr(f.text, slug) != NULL && strncmp(f.text, place, strlen(place)) == 0 &&
                    strstr(f.text, BAD_SPECS[i].says) != NULL;
        CHECK(good);
        if (!good)
            fprintf(stderr, "spec %zu wanted %s %s \"%s\", got: %s\n", i, place, slug,
                    BAD_SPECS[i].says, f.text);
        teardown(&f);
    }
}

/* The line is quoted with a caret under the value. */
static void test_caret(void) {
    struct fixture f;
    setup(&f);
    static const char text[] = "name: a\ncores: two\n";
    struct rsr_spec spec;
    CHECK_INT(
        rsrc_parse_spec(f.diag, &f.arena, "t.yaml", (const uint8_t *)text, strlen(text), &spec),
        RSRC_FAILED);
    CHECK(strstr(f.text, "    cores: two\n           ^\n") != NULL);
    teardown(&f);
}

static void test_too_large(void) {
    struct fixture f;
    setup(&f);
    size_t n = (64u << 10) + 1;
    uint8_t *text = rsrc_arena_alloc(&f.arena, n);
    memset(text, '#', n);
    struct rsr_spec spec;
    CHECK_INT(rsrc_parse_spec(f.diag, &f.arena, "t.yaml", text, n, &spec), RSRC_FAILED);
    CHECK(strstr(f.text, "[spec-too-large]") != NULL);
    /* A file of the largest size that nests as deeply as its bytes allow is refused, and not
     * followed. */
    memset(text, '[', n);
    CHECK_INT(rsrc_parse_spec(f.diag, &f.arena, "t.yaml", text, n - 1, &spec), RSRC_FAILED);
    teardown(&f);
}

static void test_values(void) {
    struct fixture f;
    setup(&f);
    static const char text[] = "# comment\nname: my-cpu_1.x\ntriple: x86_64-linux-gnu\n"
                               "features: [avx2, fma, avx2]\nvector_bits: 256\ncpu: znver3\n"
                               "cores: 16\nl2_bytes: 1000000\n"
                               "read_gbps: 12.75\nprefetch_level: 2\n"
                               "dot_gmacs: 1.65e2\nvector_gips: 2.5\nfold_gips: 1.5\n"
                               "panel_gmacs: 120\nadd_gops: 0.1\n";
    struct rsr_spec spec;
    CHECK_INT(
        rsrc_parse_spec(f.diag, &f.arena, "t.yaml", (const uint8_t *)text, strlen(text), &spec),
        RSRC_OK);
    CHECK_STR(spec.name, "my-cpu_1.x");
    CHECK_STR(spec.cpu, "znver3");
    CHECK(spec.cpu_features == (RSR_CPU_MASK(AVX2) | RSR_CPU_MASK(FMA)));
    CHECK_INT(spec.vector_bits, 256);
    CHECK_INT(spec.cores, 16);
    CHECK_INT(spec.l2_bytes, 1000000);
    CHECK_INT((int64_t)(spec.read_gbps * 100), 1275);
    CHECK_INT(spec.prefetch_level, 2);
    CHECK_INT((int64_t)spec.dot_gmacs, 165);
    CHECK_INT((int64_t)(spec.fold_gips * 10), 15);
    CHECK_INT((int64_t)spec.panel_gmacs, 120);
    struct rsrc_buffer printed = {0}, again = {0};
    rsrc_print_spec(&spec, &printed);
    CHECK(strstr(printed.data, "features: [avx2, fma]\n") != NULL);
    CHECK(strstr(printed.data, "cores: 16\nl2_bytes: 1000000\n") != NULL);
    CHECK(strstr(printed.data, "add_gops: 0.1\n") != NULL);
    struct rsr_spec second;
    CHECK_INT(rsrc_parse_spec(f.diag, &f.arena, "p.yaml", (const uint8_t *)printed.data,
                              printed.size_bytes, &second),
              RSRC_OK);
    rsrc_print_spec(&second, &again);
    CHECK_STR(again.data, printed.data);
    rsrc_buffer_free(&printed);
    rsrc_buffer_free(&again);
    teardown(&f);
}

/* ---- the installed descriptions -------------------------------------------------------------- */

static void test_installed_specs(void) {
    struct fixture f;
    setup(&f);
    const char *const *names;
    uint32_t n_names = 0;
    CHECK_INT(rsrc_list_specs(f.diag, &f.arena, SPEC_DIR, &names, &n_names), RSRC_OK);
    bool has_native = false;
    for (uint32_t i = 0; i < n_names; i++) {
        struct rsr_spec spec;
        CHECK(i == 0 || strcmp(names[i - 1], names[i]) < 0);
        CHECK_INT(rsrc_load_spec(f.diag, &f.arena, names[i], SPEC_DIR, &spec), RSRC_OK);
        CHECK_STR(spec.name, names[i]);
        has_native |= strcmp(names[i], "native") == 0;
    }
    CHECK(has_native && n_names >= 5);
    struct rsr_spec avx512;
    CHECK_INT(rsrc_load_spec(f.diag, &f.arena, "avx512", SPEC_DIR, &avx512), RSRC_OK);
    uint64_t wanted = RSR_CPU_MASK(AVX512F) | RSR_CPU_MASK(AVX512BW) | RSR_CPU_MASK(AVX512VL) |
                      RSR_CPU_MASK(AVX512DQ) | RSR_CPU_MASK(AVX512VNNI) | RSR_CPU_MASK(AVX512VBMI) |
                      RSR_CPU_MASK(GFNI) | RSR_CPU_MASK(AVX2);
    CHECK((avx512.cpu_features & wanted) == wanted);
    CHECK_INT(avx512.vector_bits, 512);
    CHECK_STR(avx512.triple, "x86_64-linux-gnu"); /* from the grandparent */
    struct rsr_spec vnni;
    CHECK_INT(rsrc_load_spec(f.diag, &f.arena, "avx512vnni", SPEC_DIR, &vnni), RSRC_OK);
    CHECK((vnni.cpu_features & (RSR_CPU_MASK(AVX512VBMI) | RSR_CPU_MASK(GFNI))) == 0);
    CHECK((vnni.cpu_features & RSR_CPU_MASK(AVX512VNNI)) != 0);
    CHECK_STR(rsrc_feature_names(&f.arena, RSR_CPU_MASK(AVX2) | RSR_CPU_MASK(FMA)), "avx2+fma");
    CHECK_STR(rsrc_feature_names(&f.arena, 0), "none");
    teardown(&f);
}

static void write_file(const char *dir, const char *name, const char *text) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s.yaml", dir, name);
    FILE *file = fopen(path, "w");
    CHECK(file != NULL);
    if (file == NULL)
        return;
    fputs(text, file);
    CHECK_INT(fclose(file), 0);
}

/* `native` has the host's features, and no weaker code than any description that the host can
 * run. */
static void test_native(void) {
    struct fixture f;
    setup(&f);
    struct rsr_spec native;
    CHECK_INT(rsrc_load_spec(f.diag, &f.arena, "native", SPEC_DIR, &native), RSRC_OK);
    CHECK_STR(native.name, "native");
    CHECK(native.file == NULL);
    CHECK((native.cpu_features & ~rsrc_host_features()) == 0);
    CHECK(native.cpu_features == rsrc_host_features());
    CHECK(native.cores >= 1 && native.l2_bytes >= 1024);
    const char *const *names;
    uint32_t n_names = 0;
    CHECK_INT(rsrc_list_specs(f.diag, &f.arena, SPEC_DIR, &names, &n_names), RSRC_OK);
    for (uint32_t i = 0; i < n_names; i++) {
        struct rsr_spec spec;
        CHECK_INT(rsrc_load_spec(f.diag, &f.arena, names[i], SPEC_DIR, &spec), RSRC_OK);
        if ((spec.cpu_features & ~rsrc_host_features()) != 0)
            continue;
        CHECK(spec.vector_bits <= native.vector_bits);
        /* If there is a description of exactly this processor, `native` has its numbers. */
        if (strcmp(spec.cpu, native.cpu) == 0) {
            CHECK(spec.read_gbps == native.read_gbps);
            CHECK_INT(spec.prefetch_level, native.prefetch_level);
        }
    }
    teardown(&f);
}

/* Whether the operating system says that the processor is an AMD before family 26 (Zen 5). */
static bool kernel_knows_far_fetches(void) {
    FILE *file = fopen("/proc/cpuinfo", "r");
    char line[512];
    bool is_amd = false;
    int family = 26;
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        is_amd |= strstr(line, "AuthenticAMD") != NULL;
        (void)sscanf(line, "cpu family : %d", &family);
    }
    if (file != NULL)
        fclose(file);
    return is_amd && family < 26;
}

/* A processor that has no description. */
static void test_far_fetches(void) {
    char dir[] = "/tmp/test_spec_XXXXXX";
    struct fixture f;
    struct rsr_spec native;
    setup(&f);
    CHECK(mkdtemp(dir) != NULL);
    write_file(dir, "plain", "name: plain\n" HOST_COMMON);
    CHECK_INT(rsrc_load_spec(f.diag, &f.arena, "native", dir, &native), RSRC_OK);
    CHECK_INT(native.prefetch_level, kernel_knows_far_fetches() ? 2 : 1);
    char command[64];
    snprintf(command, sizeof command, "rm -r %s", dir);
    CHECK_INT(system(command), 0);
    teardown(&f);
}

char *LLVMGetHostCPUFeatures(void); /* the headers are the back end's */
void LLVMDisposeMessage(char *message);

/* LLVM's list checks our reading of CPUID and XGETBV: "+avx2,-amx-int8,...". */
static void test_detection(void) {
#if defined(__x86_64__)
    static const struct {
        const char *wanted;
        uint64_t mask;
    } features[] = {
#define RSR_CPU_FEATURE(id, bit, spec_name, attribute) {",+" spec_name ",", RSR_CPU_MASK(id)},
#include "rsr_cpu_features.def"
#undef RSR_CPU_FEATURE
    };
    char *list = LLVMGetHostCPUFeatures(), text[8192];
    CHECK(snprintf(text, sizeof text, ",%s,", list) < (int)sizeof text);
    LLVMDisposeMessage(list);
    for (size_t i = 0; i < sizeof features / sizeof *features; i++)
        if ((features[i].mask & RSR_CPU_X86_64) != 0)
            CHECK_INT((rsrc_host_features() & features[i].mask) != 0,
                      strstr(text, features[i].wanted) != NULL);
#endif
}

/* ---- files and inheritance ------------------------------------------------------------------- */

static void check_failure(const char *target, const char *dir, const char *slug, const char *says) {
    struct fixture f;
    setup(&f);
    struct rsr_spec spec;
    CHECK_INT(rsrc_load_spec(f.diag, &f.arena, target, dir, &spec), RSRC_FAILED);
    CHECK_INT(rsrc_diag_error_count(f.diag), 1);
    bool good = strstr(f.text, slug) != NULL && strstr(f.text, says) != NULL;
    CHECK(good);
    if (!good)
        fprintf(stderr, "target %s: wanted %s \"%s\", got: %s\n", target, slug, says, f.text);
    teardown(&f);
}

static void test_inheritance(void) {
    char dir[] = "/tmp/test_spec_XXXXXX";
    CHECK(mkdtemp(dir) != NULL);
    write_file(dir, "base", "name: base\n" COMMON);
    write_file(dir, "child", "name: child\ninherit: base\nfeatures: [avx2]\ncores: 9\n");
    write_file(dir, "grand", "name: grand\ninherit: child\nfeatures: [fma]\nvector_bits: 256\n");
    write_file(dir, "loop_a", "name: loop_a\ninherit: loop_b\n");
    write_file(dir, "loop_b", "name: loop_b\ninherit: loop_a\n");
    write_file(dir, "self", "name: self\ninherit: self\n");
    write_file(dir, "orphan", "name: orphan\ninherit: bass\n");
    write_file(dir, "other", "name: another\n" COMMON);
    for (int i = 0; i < 12; i++) {
        char name[16], text[64];
        snprintf(name, sizeof name, "deep%d", i);
        snprintf(text, sizeof text, "name: deep%d\ninherit: deep%d\n", i, i + 1);
        write_file(dir, name, text);
    }
    write_file(dir, "deep12", "name: deep12\n" COMMON);

    struct fixture f;
    setup(&f);
    struct rsr_spec spec = {.name = NULL};
    CHECK_INT(rsrc_load_spec(f.diag, &f.arena, "grand", dir, &spec), RSRC_OK);
    CHECK(spec.cpu_features == (RSR_CPU_MASK(AVX2) | RSR_CPU_MASK(FMA)));
    CHECK_INT(spec.cores, 9);
    CHECK_INT(spec.vector_bits, 256);
    CHECK_INT(spec.l2_bytes, 2 << 20);
    CHECK_STR(spec.name, "grand");
    /* By path, with the parent found beside the child and not in the search directories. */
    char path[128];
    snprintf(path, sizeof path, "%s/child.yaml", dir);
    CHECK_INT(rsrc_load_spec(f.diag, &f.arena, path, SPEC_DIR, &spec), RSRC_OK);
    CHECK_STR(spec.name, "child");
    CHECK_STR(spec.file, path);
    CHECK_INT(rsrc_load_spec(f.diag, &f.arena, "deep5", dir, &spec), RSRC_OK);
    teardown(&f);

    check_failure("loop_a", dir, "[spec-inherit-cycle]", "loop_b.yaml:2:10:");
    check_failure("self", dir, "[spec-inherit-cycle]", "self.yaml:2:10:");
    check_failure("orphan", dir, "[spec-inherit]", "did you mean 'base'?");
    check_failure("deep0", dir, "[spec-inherit-depth]", "more than 8");
    check_failure("other", dir, "[spec-name]", "calls itself 'another'");
    check_failure("grant", dir, "[spec-unknown-target]", "did you mean 'grand'?");
    check_failure("nativ", dir, "[spec-unknown-target]", "did you mean 'native'?");
    check_failure("..", dir, "[spec-unknown-target]", "unknown target '..'");
    check_failure("x", "/nonexistent", "[spec-none]", "/nonexistent");
    check_failure("native", "/nonexistent", "[spec-none]", "/nonexistent");
    check_failure("/nonexistent/x.yaml", dir, "error", "/nonexistent/x.yaml");

    char command[64];
    snprintf(command, sizeof command, "rm -r %s", dir);
    CHECK_INT(system(command), 0);
}

int main(void) {
    test_bad_specs();
    test_caret();
    test_too_large();
    test_values();
    test_installed_specs();
    test_native();
    test_far_fetches();
    test_detection();
    test_inheritance();
    return CHECK_EXIT();
}
