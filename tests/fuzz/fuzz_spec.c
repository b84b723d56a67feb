/* fuzz_spec.c - libFuzzer: any bytes as a target description, as an index and as a plan. What parses
 * must print and parse again to the same text. */
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "plan/plan.h"
#include "rsr/segment.h"
#include "spec/spec.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes);

static void require(int condition) {
    if (!condition)
        abort();
}

static void fuzz_spec(struct rsrc_diag *diag, struct rsrc_arena *arena, const uint8_t *bytes,
                      size_t n_bytes) {
    struct rsr_spec spec, again;
    if (rsrc_parse_spec(diag, arena, "fuzz.yaml", bytes, n_bytes, &spec) != RSRC_OK)
        return;
    struct rsrc_buffer first = {0}, second = {0};
    rsrc_print_spec(&spec, &first);
    require(rsrc_parse_spec(diag, arena, "again.yaml", (const uint8_t *)first.data,
                            first.size_bytes, &again) == RSRC_OK);
    rsrc_print_spec(&again, &second);
    require(strcmp(first.data, second.data) == 0);
    rsrc_buffer_free(&first);
    rsrc_buffer_free(&second);
}

static void fuzz_index(struct rsrc_diag *diag, struct rsrc_arena *arena, const uint8_t *bytes,
                       size_t n_bytes) {
    struct rsr_named_index *layers = NULL;
    uint32_t n_layers = 0;
    if (rsrc_parse_indexes(diag, arena, "fuzz.rsr", (const char *)bytes, n_bytes, &layers,
                           &n_layers) != RSRC_OK)
        return;
    for (uint32_t i = 0; i < n_layers; i++) {
        if ((uint64_t)layers[i].index.rows * layers[i].index.cols > 1u << 20)
            continue;
        struct rsr_matrix matrix;
        rsrc_rebuild_matrix(arena, &layers[i].index, &matrix);
        require(rsrc_verify_index(diag, &layers[i].index, &matrix, "fuzz") == RSRC_OK);
    }
}

static void fuzz_plan(struct rsrc_diag *diag, struct rsrc_arena *arena, const uint8_t *bytes,
                      size_t n_bytes) {
    struct rsr_named_plan *plans = NULL;
    uint32_t n_plans = 0;
    if (rsrc_parse_plans(diag, arena, "fuzz.plan", (const char *)bytes, n_bytes, &plans,
                         &n_plans) != RSRC_OK)
        return;
    struct rsrc_buffer text = {0};
    for (uint32_t i = 0; i < n_plans; i++)
        rsrc_print_plan(&plans[i].plan, plans[i].layer_name, &text);
    uint32_t n_again = 0;
    if (n_plans > 0)
        require(rsrc_parse_plans(diag, arena, "again.plan", text.data, text.size_bytes, &plans,
                                 &n_again) == RSRC_OK &&
                n_again == n_plans);
    rsrc_buffer_free(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes) {
    static const char index_word[] = "rsr", plan_word[] = "plan";
    FILE *sink = fopen("/dev/null", "w");
    require(sink != NULL);
    struct rsrc_diag *diag = rsrc_diag_create(sink, false, RSRC_COLOR_NEVER);
    struct rsrc_arena arena;
    rsrc_arena_init(&arena);
    if (n_bytes >= 3 && memcmp(bytes, index_word, 3) == 0)
        fuzz_index(diag, &arena, bytes, n_bytes);
    else if (n_bytes >= 4 && memcmp(bytes, plan_word, 4) == 0)
        fuzz_plan(diag, &arena, bytes, n_bytes);
    else
        fuzz_spec(diag, &arena, bytes, n_bytes);
    rsrc_arena_free(&arena);
    rsrc_diag_destroy(diag);
    fclose(sink);
    return 0;
}
