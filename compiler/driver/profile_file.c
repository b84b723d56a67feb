/* profile_file.c - --profile-use=FILE and --calibrate: tells items and the head what a text's
 * tokens do in them.
 *
 * Every profile must be of this checkpoint. Several are merged, with what --calibrate measured.
 */
#include <math.h>
#include <string.h>

#include "driver/compilation.h"
#include "model/head_sketch.h"
#include "model/relu2_lists.h"
#include "rsr_hash.h"

enum rsr_list rsrc_item_list(const struct rsrc_input_set *in, const struct rsrc_item *item) {
    return item->layer != NULL ? rsrc_list_for(&in->graph, item->layer) : RSR_LIST_NONE;
}

static enum rsrc_status check_checkpoint(const struct rsrc_input_set *in, const char *file,
                                         const struct rsrc_profile *profile) {
    const struct rsrc_place place = {.file = file};
    char own[RSR_HASH_TEXT_BYTES], other[RSR_HASH_TEXT_BYTES];
    rsr_hash_text(in->checkpoint.hash, own);
    rsr_hash_text(profile->checkpoint, other);
    if (strcmp(own, other) == 0)
        return RSRC_OK;
    return rsrc_refuse(in->run->diag, "profile-model", &place,
                       "calibrate this checkpoint: rsrc MODEL --calibrate=TEXT",
                       "is of another checkpoint: its hash is %s, and %s has %s", other,
                       in->run->options->input, own);
}

static struct rsrc_item *find_item(const struct rsrc_input_set *in,
                                   const struct rsrc_profile_layer *layer) {
    for (uint32_t i = 0; i < in->n_items; i++)
        if (in->items[i].block == layer->block && rsrc_item_list(in, &in->items[i]) == layer->list)
            return &in->items[i];
    return NULL;
}

static enum rsrc_status give(const struct rsrc_input_set *in, const char *file,
                             const struct rsrc_profile_layer *layer) {
    const struct rsrc_place place = {.file = file};
    struct rsrc_item *item = find_item(in, layer);
    if (item == NULL || rsrc_item_channels(item) != layer->n_channels)
        return rsrc_refuse(in->run->diag, "profile-layer", &place, "calibrate the model again",
                           "the model has no %s with %u channels after a squared ReLU in block %u",
                           rsrc_profile_role(layer->list), layer->n_channels, layer->block);
    rsrc_merge_activity(&item->activity, &layer->activity);
    return RSRC_OK;
}

static enum rsrc_status give_head(struct rsrc_input_set *in, const char *file,
                                  const struct rsrc_open_rows *head) {
    const struct rsrc_place place = {.file = file};
    const char *unused;
    if (head->n_picks == 0)
        return RSRC_OK;
    if (!rsrc_can_sketch_head(&in->graph, &unused) || head->n_rows != in->graph.hyper.vocab)
        return rsrc_refuse(in->run->diag, "profile-head", &place, "calibrate the model again",
                           "the model has no head of %u rows that can have a sketch", head->n_rows);
    rsrc_merge_open_rows(&in->open_rows, head);
    return RSRC_OK;
}

static enum rsrc_status give_spreads(struct rsrc_input_set *in, const char *file,
                                     const struct rsrc_profile *profile) {
    const struct rsrc_place place = {.file = file};
    const uint32_t n_heads = in->graph.hyper.n_kv_heads;
    if (profile->n_attention == 0)
        return RSRC_OK;
    if (in->spreads == NULL)
        in->spreads = RSRC_NEW_ARRAY(&in->run->arena, rsrc_n_spreads(in), double);
    for (uint32_t i = 0; i < profile->n_attention; i++) {
        const struct rsrc_profile_spreads *row = &profile->attention[i];
        if (!rsrc_has_attention(in, row->block) || row->n_heads != n_heads)
            return rsrc_refuse(in->run->diag, "profile-attention", &place,
                               "calibrate the model again",
                               "the model has no attention with %u KV heads in block %u",
                               row->n_heads, row->block);
        for (uint32_t h = 0; h < n_heads; h++)
            rsrc_merge_spread(&in->spreads[rsrc_spread_at(in, row->block, h)], in->n_spread,
                              row->spread[h], profile->n_tokens);
    }
    if (profile->n_attention * n_heads != rsrc_n_spreads(in))
        return rsrc_refuse(in->run->diag, "profile-attention", &place, "calibrate the model again",
                           "has the attention of %u of the model's %u blocks with keys",
                           profile->n_attention, rsrc_n_spreads(in) / n_heads);
    in->n_spread += profile->n_tokens;
    return RSRC_OK;
}

static enum rsrc_status use_profile(struct rsrc_input_set *in, const char *file, const void *bytes,
                                    uint64_t size_bytes) {
    struct rsrc_profile profile;
    if (rsrc_read_profile(in->run->diag, &in->run->arena, file, bytes, size_bytes, &profile) !=
            RSRC_OK ||
        check_checkpoint(in, file, &profile) != RSRC_OK)
        return RSRC_FAILED;
    for (uint32_t i = 0; i < profile.n_layers; i++)
        if (give(in, file, &profile.layers[i]) != RSRC_OK)
            return RSRC_FAILED;
    return give_head(in, file, &profile.head) == RSRC_OK ? give_spreads(in, file, &profile)
                                                         : RSRC_FAILED;
}

static enum rsrc_status use_file(struct rsrc_input_set *in, const char *path) {
    struct rsrc_mapping text;
    if (rsrc_map_file(in->run->diag, &in->run->arena, path, &text) != RSRC_OK)
        return RSRC_FAILED;
    const enum rsrc_status status = use_profile(in, path, text.data, text.size_bytes);
    rsrc_unmap_file(&text);
    return status;
}

static void remark_spreads(const struct rsrc_input_set *in) {
    double least = RSRC_PROFILE_MOST_SPREAD, most = 0;
    if (in->spreads == NULL)
        return;
    for (uint32_t i = 0; i < rsrc_n_spreads(in); i++) {
        least = fmin(least, in->spreads[i]);
        most = fmax(most, in->spreads[i]);
    }
    rsrc_diag_emit(in->run->diag, RSRC_REMARK, "plan",
                   &(struct rsrc_place){.file = in->run->options->input}, NULL,
                   "attention: the logits of %u KV heads have spreads of %.2f to %.2f, as measured",
                   rsrc_n_spreads(in), least, most);
}

enum rsrc_status rsrc_read_profiles(struct rsrc_input_set *in) {
    const struct rsrc_options *options = in->run->options;
    const struct rsrc_buffer *measured = &in->run->profile;
    if (options->n_profiles != 0 && !in->has_graph)
        return rsrc_refuse(in->run->diag, "option-value",
                           &(struct rsrc_place){.file = options->input}, "leave it out",
                           "--profile-use: profiles are of models, and this is none");
    for (uint32_t i = 0; i < options->n_profiles; i++)
        if (use_file(in, options->profiles[i]) != RSRC_OK)
            return RSRC_FAILED;
    if (measured->size_bytes != 0 &&
        use_profile(in, "--calibrate", measured->data, measured->size_bytes) != RSRC_OK)
        return RSRC_FAILED;
    remark_spreads(in);
    return RSRC_OK;
}
