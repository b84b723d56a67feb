/* profile.c - prints, reads and merges profiles:
 *
 *     {
 *       "rsrc_profile": 1,
 *       "checkpoint": "0123456789abcdef0123456789abcdef",
 *       "tokens": 512,
 *       "layers": [
 *         {"block": 0, "role": "up", "channels": 6912, "active": 1383.41, "runs": 1106.02},
 *         {"block": 0, "role": "down", "channels": 6912, "active": 1352.73, "runs": 1090.87}
 *       ],
 *       "head": {"rows": 128256, "picks": 64, "open": [812.25, 41.50]},
 *       "attention": [
 *         {"block": 0, "spreads": [1.2345, 0.9876]}
 *       ]
 *     }
 *
 * "layers" has what follows a squared ReLU, and may be empty. "head" is missing where no sketch of
 * the head comes into question, and "attention" in profiles that are older than it.
 */
#include "profile/profile.h"

#include <inttypes.h>
#include <string.h>

#include "base/json.h"
#include "rsr_hash.h"

#define SLUG "profile"
#define HELP "rsrc MODEL --calibrate writes such a file"

static const char *const ROLES[] = {[RSR_LIST_ROWS] = "up", [RSR_LIST_COLS] = "down"};

const char *rsrc_profile_role(enum rsr_list list) {
    return ROLES[list];
}

static void print_head(const struct rsrc_open_rows *head, struct rsrc_buffer *out) {
    rsrc_buffer_printf(out, ",\n  \"head\": {\"rows\": %u, \"picks\": %" PRIu64 ", \"open\": [",
                       head->n_rows, head->n_picks);
    for (uint32_t p = 0; p < RSR_HEAD_PLANES; p++)
        rsrc_buffer_printf(out, "%s%.2f", p == 0 ? "" : ", ", head->open[p]);
    rsrc_buffer_puts(out, "]}");
}

static void print_attention(const struct rsrc_profile *profile, struct rsrc_buffer *out) {
    rsrc_buffer_puts(out, ",\n  \"attention\": [");
    for (uint32_t i = 0; i < profile->n_attention; i++) {
        const struct rsrc_profile_spreads *row = &profile->attention[i];
        rsrc_buffer_printf(out, "%s\n    {\"block\": %u, \"spreads\": [", i == 0 ? "" : ",",
                           row->block);
        for (uint32_t h = 0; h < row->n_heads; h++)
            rsrc_buffer_printf(out, "%s%.4f", h == 0 ? "" : ", ", row->spread[h]);
        rsrc_buffer_puts(out, "]}");
    }
    rsrc_buffer_puts(out, "\n  ]");
}

void rsrc_print_profile(const struct rsrc_profile *profile, struct rsrc_buffer *out) {
    char hash[RSR_HASH_TEXT_BYTES];
    rsr_hash_text(profile->checkpoint, hash);
    rsrc_buffer_printf(
        out,
        "{\n  \"rsrc_profile\": %u,\n  \"checkpoint\": \"%s\",\n  \"tokens\": %" PRIu64
        ",\n  \"layers\": [",
        RSRC_PROFILE_VERSION, hash, profile->n_tokens);
    for (uint32_t i = 0; i < profile->n_layers; i++) {
        const struct rsrc_profile_layer *layer = &profile->layers[i];
        rsrc_buffer_printf(
            out,
            "%s\n    {\"block\": %u, \"role\": \"%s\", \"channels\": %u, \"active\": "
            "%.2f, \"runs\": %.2f}",
            i == 0 ? "" : ",", layer->block, ROLES[layer->list], layer->n_channels,
            layer->activity.active, layer->activity.runs);
    }
    rsrc_buffer_puts(out, profile->n_layers == 0 ? "]" : "\n  ]");
    if (profile->head.n_picks != 0)
        print_head(&profile->head, out);
    if (profile->n_attention != 0)
        print_attention(profile, out);
    rsrc_buffer_puts(out, "\n}\n");
}

/* The share of `more` in a mean of both. */
static double share_of(uint64_t more, uint64_t others) {
    return (double)more / ((double)more + (double)others);
}

void rsrc_merge_activity(struct rsrc_activity *sum, const struct rsrc_activity *more) {
    const double share = share_of(more->n_tokens, sum->n_tokens);
    sum->active += share * (more->active - sum->active);
    sum->runs += share * (more->runs - sum->runs);
    sum->n_tokens += more->n_tokens;
}

void rsrc_merge_open_rows(struct rsrc_open_rows *sum, const struct rsrc_open_rows *more) {
    const double share = share_of(more->n_picks, sum->n_picks);
    for (uint32_t p = 0; p < RSR_HEAD_PLANES; p++)
        sum->open[p] += share * (more->open[p] - sum->open[p]);
    sum->n_picks += more->n_picks;
    sum->n_rows = more->n_rows;
}

void rsrc_merge_spread(double *sum, uint64_t n, double more, uint64_t n_more) {
    *sum += share_of(n_more, n) * (more - *sum);
}

/* ---- reading --------------------------------------------------------------------------------- */

/* One file while it is read. */
struct reading {
    struct rsrc_diag *diag;
    struct rsrc_arena *arena;
    const char *file;
};

static enum rsrc_status refuse_field(const struct reading *r, const char *key, const char *what) {
    const struct rsrc_place place = {.file = r->file};
    return rsrc_refuse(r->diag, SLUG "-field", &place, HELP, "\"%s\" is not there, or not %s", key,
                       what);
}

/* An integer member, least .. most. */
static enum rsrc_status read_count(const struct reading *r, const json_t *object, const char *key,
                                   uint64_t least, uint64_t most, uint64_t *out) {
    const json_t *value = json_object_get(object, key);
    const json_int_t number = json_integer_value(value);
    if (!json_is_integer(value) || number < (json_int_t)least || number > (json_int_t)most)
        return refuse_field(
            r, key,
            rsrc_arena_printf(r->arena, "an integer from %" PRIu64 " to %" PRIu64, least, most));
    *out = (uint64_t)number;
    return RSRC_OK;
}

static enum rsrc_status check_mean(const struct reading *r, const json_t *value, const char *key,
                                   double most, double *out) {
    const double number = json_number_value(value);
    if (!json_is_number(value) || !(number >= 0 && number <= most))
        return refuse_field(r, key, rsrc_arena_printf(r->arena, "a number from 0 to %.17g", most));
    *out = number;
    return RSRC_OK;
}

static enum rsrc_status read_mean(const struct reading *r, const json_t *object, const char *key,
                                  double most, double *out) {
    return check_mean(r, json_object_get(object, key), key, most, out);
}

static enum rsrc_status read_version(const struct reading *r, const json_t *root) {
    const struct rsrc_place place = {.file = r->file};
    const json_t *version = json_object_get(root, "rsrc_profile");
    if (!json_is_integer(version))
        return rsrc_refuse(r->diag, SLUG "-kind", &place, HELP,
                           "is no profile: \"rsrc_profile\" is not there, or no version");
    if (json_integer_value(version) != RSRC_PROFILE_VERSION)
        return rsrc_refuse(r->diag, SLUG "-version", &place, "calibrate again with this rsrc",
                           "has version %lld of profiles, and this rsrc reads %u",
                           (long long)json_integer_value(version), RSRC_PROFILE_VERSION);
    return RSRC_OK;
}

static int digit_of(char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static enum rsrc_status read_hash(const struct reading *r, const json_t *root, uint8_t out[16]) {
    const char *text = json_string_value(json_object_get(root, "checkpoint"));
    bool fits = text != NULL && strlen(text) == RSR_HASH_TEXT_BYTES - 1;
    for (uint32_t i = 0; fits && i < 16; i++) {
        const int high = digit_of(text[2 * i]), low = digit_of(text[2 * i + 1]);
        fits = high >= 0 && low >= 0;
        out[i] = (uint8_t)(fits ? high << 4 | low : 0);
    }
    return fits ? RSRC_OK : refuse_field(r, "checkpoint", "a hash of 32 digits");
}

static enum rsrc_status read_role(const struct reading *r, const json_t *object,
                                  enum rsr_list *out) {
    const char *role = json_string_value(json_object_get(object, "role"));
    for (uint32_t list = RSR_LIST_ROWS; role != NULL && list <= RSR_LIST_COLS; list++)
        if (strcmp(role, ROLES[list]) == 0) {
            *out = (enum rsr_list)list;
            return RSRC_OK;
        }
    return refuse_field(r, "role", "\"up\" or \"down\"");
}

static enum rsrc_status read_layer(const struct reading *r, const json_t *object,
                                   struct rsrc_profile_layer *out) {
    uint64_t block, n_channels;
    if (read_count(r, object, "block", 0, UINT32_MAX - 1, &block) != RSRC_OK ||
        read_role(r, object, &out->list) != RSRC_OK ||
        read_count(r, object, "channels", 1, INT32_MAX, &n_channels) != RSRC_OK ||
        read_mean(r, object, "active", (double)n_channels, &out->activity.active) != RSRC_OK ||
        read_mean(r, object, "runs", out->activity.active, &out->activity.runs) != RSRC_OK)
        return RSRC_FAILED;
    out->block = (uint32_t)block;
    out->n_channels = (uint32_t)n_channels;
    return RSRC_OK;
}

/* Layers come in order, so that none can be there twice. */
static enum rsrc_status check_order(const struct reading *r, const struct rsrc_profile_layer *last,
                                    const struct rsrc_profile_layer *layer) {
    const struct rsrc_place place = {.file = r->file};
    if (last->block < layer->block || (last->block == layer->block && last->list < layer->list))
        return RSRC_OK;
    return rsrc_refuse(r->diag, SLUG "-order", &place,
                       "blocks come in their order, and up before down",
                       "block %u's %s comes after block %u's %s", layer->block, ROLES[layer->list],
                       last->block, ROLES[last->list]);
}

static enum rsrc_status read_layers(const struct reading *r, const json_t *root,
                                    struct rsrc_profile *out) {
    const json_t *list = json_object_get(root, "layers");
    if (!json_is_array(list) || json_array_size(list) > UINT32_MAX)
        return refuse_field(r, "layers", "a list");
    out->n_layers = (uint32_t)json_array_size(list);
    out->layers = RSRC_NEW_ARRAY(r->arena, out->n_layers, struct rsrc_profile_layer);
    for (uint32_t i = 0; i < out->n_layers; i++) {
        struct rsrc_profile_layer *layer = &out->layers[i];
        if (read_layer(r, json_array_get(list, i), layer) != RSRC_OK ||
            (i > 0 && check_order(r, layer - 1, layer) != RSRC_OK))
            return RSRC_FAILED;
        layer->activity.n_tokens = out->n_tokens;
    }
    return RSRC_OK;
}

/* A row that one plane excludes is excluded by more planes, too. */
static enum rsrc_status read_open(const struct reading *r, const json_t *list,
                                  struct rsrc_open_rows *out) {
    if (json_array_size(list) != RSR_HEAD_PLANES)
        return refuse_field(r, "open",
                            rsrc_arena_printf(r->arena, "a list of %u numbers", RSR_HEAD_PLANES));
    double most = out->n_rows;
    for (uint32_t p = 0; p < RSR_HEAD_PLANES; p++) {
        if (check_mean(r, json_array_get(list, p), "open", most, &out->open[p]) != RSRC_OK)
            return RSRC_FAILED;
        most = out->open[p];
    }
    return RSRC_OK;
}

static enum rsrc_status read_head(const struct reading *r, const json_t *root,
                                  struct rsrc_open_rows *out) {
    const json_t *head = json_object_get(root, "head");
    uint64_t n_rows;
    if (head == NULL)
        return RSRC_OK;
    if (!json_is_object(head))
        return refuse_field(r, "head", "an object");
    if (read_count(r, head, "rows", 1, INT32_MAX, &n_rows) != RSRC_OK ||
        read_count(r, head, "picks", 1, RSRC_PROFILE_MAX_TOKENS, &out->n_picks) != RSRC_OK)
        return RSRC_FAILED;
    out->n_rows = (uint32_t)n_rows;
    return read_open(r, json_object_get(head, "open"), out);
}

static enum rsrc_status read_spreads(const struct reading *r, const json_t *object,
                                     struct rsrc_profile_spreads *out) {
    const json_t *list = json_object_get(object, "spreads");
    uint64_t block;
    if (read_count(r, object, "block", 0, UINT32_MAX - 1, &block) != RSRC_OK)
        return RSRC_FAILED;
    if (json_array_size(list) == 0 || json_array_size(list) > RSRC_PROFILE_MOST_HEADS)
        return refuse_field(r, "spreads", "a list of a number for each KV head");
    out->block = (uint32_t)block;
    out->n_heads = (uint32_t)json_array_size(list);
    out->spread = RSRC_NEW_ARRAY(r->arena, out->n_heads, double);
    for (uint32_t h = 0; h < out->n_heads; h++)
        if (check_mean(r, json_array_get(list, h), "spreads", RSRC_PROFILE_MOST_SPREAD,
                       &out->spread[h]) != RSRC_OK)
            return RSRC_FAILED;
    return RSRC_OK;
}

static enum rsrc_status read_attention(const struct reading *r, const json_t *root,
                                       struct rsrc_profile *out) {
    const json_t *list = json_object_get(root, "attention");
    if (list == NULL)
        return RSRC_OK;
    if (!json_is_array(list) || json_array_size(list) > UINT32_MAX)
        return refuse_field(r, "attention", "a list");
    out->n_attention = (uint32_t)json_array_size(list);
    out->attention = RSRC_NEW_ARRAY(r->arena, out->n_attention, struct rsrc_profile_spreads);
    for (uint32_t i = 0; i < out->n_attention; i++) {
        struct rsrc_profile_spreads *row = &out->attention[i];
        if (read_spreads(r, json_array_get(list, i), row) != RSRC_OK)
            return RSRC_FAILED;
        if (i > 0 && row->block <= row[-1].block)
            return rsrc_refuse(r->diag, SLUG "-order", &(struct rsrc_place){.file = r->file},
                               "blocks come in their order",
                               "the attention of block %u comes after that of block %u", row->block,
                               row[-1].block);
    }
    return RSRC_OK;
}

enum rsrc_status rsrc_read_profile(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                   const char *file, const void *bytes, uint64_t size_bytes,
                                   struct rsrc_profile *out) {
    const struct reading r = {.diag = diag, .arena = arena, .file = file};
    struct rsrc_profile profile = {0};
    json_t *root = NULL;
    if (rsrc_json_parse(diag, file, bytes, size_bytes, SLUG, &root) != RSRC_OK)
        return RSRC_FAILED;
    enum rsrc_status status = RSRC_FAILED;
    if (read_version(&r, root) == RSRC_OK && read_hash(&r, root, profile.checkpoint) == RSRC_OK &&
        read_count(&r, root, "tokens", 1, RSRC_PROFILE_MAX_TOKENS, &profile.n_tokens) == RSRC_OK &&
        read_layers(&r, root, &profile) == RSRC_OK &&
        read_head(&r, root, &profile.head) == RSRC_OK &&
        read_attention(&r, root, &profile) == RSRC_OK) {
        *out = profile;
        status = RSRC_OK;
    }
    json_decref(root);
    return status;
}
