/* family.c - the list of families. */
#include "family/family.h"

#include <string.h>

extern const struct rsrc_family rsrc_family_bitnet;
extern const struct rsrc_family rsrc_family_bitnet_1bitllm;
extern const struct rsrc_family rsrc_family_gemma3;
extern const struct rsrc_family rsrc_family_llama;
extern const struct rsrc_family rsrc_family_qwen3;
extern const struct rsrc_family rsrc_family_qwen35;
extern const struct rsrc_family rsrc_family_qwen3_5;
extern const struct rsrc_family rsrc_family_qwen3_5_text;

/* Families with an architecture come before families of the same model type without one. */
static const struct rsrc_family *const FAMILIES[] = {
    &rsrc_family_bitnet,       &rsrc_family_bitnet_1bitllm, &rsrc_family_llama,
    &rsrc_family_qwen3,        &rsrc_family_qwen3_5,        &rsrc_family_qwen35,
    &rsrc_family_qwen3_5_text, &rsrc_family_gemma3,
};

#define N_FAMILIES (sizeof FAMILIES / sizeof *FAMILIES)

const struct rsrc_family *rsrc_find_family(const char *model_type, const char *architecture) {
    for (size_t i = 0; i < N_FAMILIES; i++) {
        const struct rsrc_family *family = FAMILIES[i];
        if (strcmp(family->model_type, model_type) == 0 &&
            (family->architecture == NULL ||
             (architecture != NULL && strcmp(family->architecture, architecture) == 0)))
            return family;
    }
    return NULL;
}

const char *rsrc_family_list(struct rsrc_arena *arena) {
    const char *text = "";

    for (size_t i = 0; i < N_FAMILIES; i++) {
        bool seen = false;
        for (size_t j = 0; j < i; j++)
            seen |= strcmp(FAMILIES[j]->model_type, FAMILIES[i]->model_type) == 0;
        if (!seen)
            text = rsrc_arena_printf(arena, "%s%s\"%s\"", text,
                                     i == 0                ? ""
                                     : i + 1 == N_FAMILIES ? " and "
                                                           : ", ",
                                     FAMILIES[i]->model_type);
    }
    return text;
}
