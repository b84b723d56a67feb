/* test_emit_asm.c - bodies as assembly: the text printed for each encoding, the bodies declined,
 * and the assembler's messages about mistakes. test_fold.c runs such bodies.
 *
 * `test_emit_asm TARGET` prints the bodies of one small matrix instead; emit_asm/fold.test reads
 * them.
 */
#include "emit/asm/emit_asm.h"
#include "kernel_harness.h"

static const struct rsr_spec aarch64 = {
    .name = "neon", .triple = "aarch64-linux-gnu", .cpu = "generic", .vector_bits = 128};

/* Blocks of two rows and one: columns 0 and 2, 1 and 3 (negated), and 4; then 0 and 1 (negated). */
static const int8_t weights[3 * 5] = {1, 0,  1, 0,  1, /* */
                                      0, 1,  0, -1, 1, /* */
                                      1, -1, 0, 0,  0};

static struct test_case *lower_small(struct suite *suite, const struct rsr_spec *spec) {
    const struct shape shape = {3, 5, 4};
    struct test_case *c = make_case(suite, &shape, RSR_TERNARY, RSR_EPILOGUE_RAW, false);
    c->matrix.values = weights;
    c->plan.kernel = RSR_KERNEL_FOLD;
    c->plan.k = 2;
    c->plan.token_tile = 32;
    lower_case(suite, c, spec, 0);
    return c;
}

static const char *print_small(struct suite *suite, const struct rsr_spec *spec) {
    struct rsrc_buffer text = {0};
    const char *why = "";
    CHECK_INT(rsrc_asm_bodies(&lower_small(suite, spec)->lowered.kernel, &text, &why), RSRC_OK);
    const char *copy = rsrc_arena_strdup(&suite->arena, text.data);
    rsrc_buffer_free(&text);
    return copy;
}

static void expect(const char *text, const char *line) {
    if (strstr(text, line) == NULL)
        fprintf(stderr, "'%s' is missing from:\n%s", line, text);
    CHECK(strstr(text, line) != NULL);
}

static void test_encodings(struct suite *suite) {
    const char *evex = print_small(suite, find_spec("avx512"));
    expect(evex, "\tvmovdqu64 (%rdi), %zmm");
    expect(evex, "\tvpaddw 128(%rdi), %zmm");
    expect(evex, "\tvpsubw 192(%rdi), %zmm");
    expect(evex, "\tvzeroupper\n\tretq\n");
    /* Narrower vectors use registers that only EVEX has, so that displacements are scaled. */
    const char *narrow = print_small(suite, find_spec("avx512vl"));
    expect(narrow, "\tvpaddw 64(%rdi), %ymm16, %ymm16\n");
    CHECK(strstr(narrow, "vzeroupper") == NULL);
    const char *vex = print_small(suite, find_spec("avx2"));
    expect(vex, "\tvpaddw 64(%rdi), %ymm0, %ymm0\n");
    const char *sse = print_small(suite, find_spec("generic"));
    expect(sse, "\tpaddw 32(%rdi), %xmm0\n");
    const char *scalar = print_small(suite, find_spec("scalar"));
    expect(scalar, "\taddl 8(%rdi), %eax\n");
    CHECK(strstr(scalar, "xmm") == NULL);
}

static void test_declined(struct suite *suite) {
    struct rsr_kernel *kernel = &lower_small(suite, find_spec("avx512"))->lowered.kernel;
    struct rsrc_buffer text = {0};
    const char *why = "";
    kernel->spec = &aarch64;
    CHECK_INT(rsrc_asm_bodies(kernel, &text, &why), RSRC_FAILED);
    expect(why, "x86-64 alone");
    kernel->spec = find_spec("avx2");
    CHECK_INT(rsrc_asm_bodies(kernel, &text, &why), RSRC_FAILED);
    expect(why, "vectors that the target lacks");
    kernel->spec = find_spec("avx512");
    kernel->bodies[0].ops[0].kind = RSR_KOP_MUL;
    CHECK_INT(rsrc_asm_bodies(kernel, &text, &why), RSRC_FAILED);
    expect(why, "operation that fold does not need");
    CHECK_INT(text.size_bytes, 0);
    rsrc_buffer_free(&text);
}

/* An encoding with two operands copies the first one to the result. If the result is the second
 * operand, that copy would destroy it before it is added. */
static void test_result_over_operand(struct suite *suite) {
    static const enum rsr_kop_kind kinds[] = {RSR_KOP_ADD, RSR_KOP_SUB};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct rsr_kernel *kernel = &lower_small(suite, find_spec("generic"))->lowered.kernel;
        struct rsrc_buffer text = {0};
        const char *why = "";
        kernel->bodies[0].ops[0] =
            (struct rsr_kop){.kind = (uint16_t)kinds[i], .dst = 1, .a = 0, .b = 1};
        CHECK_INT(rsrc_asm_bodies(kernel, &text, &why), RSRC_FAILED);
        kernel->spec = find_spec("avx2");
        CHECK_INT(rsrc_asm_bodies(kernel, &text, &why), RSRC_OK);
        rsrc_buffer_free(&text);
    }
}

static void test_mistakes(struct suite *suite) {
    struct rsrc_buffer text = {0}, object = {0};
    const char *why = "";
    rsrc_buffer_puts(&text, "\tvpaddw (%rdi), %nothing\n");
    CHECK_INT(rsrc_asm_assemble(find_spec("avx512"), &text, &suite->arena, &object, &why),
              RSRC_FAILED);
    expect(why, "the assembler says: ");
    CHECK_INT(object.size_bytes, 0);
    rsrc_buffer_clear(&text);
    rsrc_buffer_puts(&text, "\tretq\n");
    CHECK_INT(rsrc_asm_assemble(find_spec("avx512"), &text, &suite->arena, &object, &why), RSRC_OK);
    CHECK(object.size_bytes > 4 && memcmp(object.data, "\177ELF", 4) == 0);
    rsrc_buffer_free(&text);
    rsrc_buffer_free(&object);
}

int main(int argc, char **argv) {
    struct suite suite;
    if (argc == 2) {
        suite = (struct suite){.diag = rsrc_diag_create(stderr, false, RSRC_COLOR_NEVER)};
        rsrc_arena_init(&suite.arena);
        fputs(print_small(&suite, find_spec(argv[1])), stdout);
        suite_end(&suite);
        return CHECK_EXIT();
    }
    suite_begin(&suite, "test_emit_asm", 20261122);
    test_encodings(&suite);
    test_declined(&suite);
    test_result_over_operand(&suite);
    test_mistakes(&suite);
    suite_end(&suite);
    return CHECK_EXIT();
}
