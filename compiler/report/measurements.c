/* measurements.c - copies, from files of measurements, the members that a report draws. These are
 * in the tables below; numbers must not be negative, and texts must be strings. Other members are
 * ignored. */
#include "report/measurements.h"

#include <string.h>

#include "base/json.h"
#include "base/mapped_file.h"
#include "report/json_members.h"
#include "rsr_hash.h"

#define SLUG "measurement"

/* One file while it is read. */
struct reading {
    struct rsrc_diag *diag;
    const char *path;
    const char *help; /* command that writes such a file */
    struct rsrc_buffer *out;
};

struct field {
    const char *key;
    enum { TEXT, NUMBER, ROWS } kind;
    bool may_lack;
};

static const struct field RUN_FIELDS[] = {{"model", TEXT, false},
                                          {"target", TEXT, false},
                                          {"attention", TEXT, false},
                                          {"kv_type", TEXT, false},
                                          {"threads", NUMBER, false},
                                          {"batch", NUMBER, false},
                                          {"runs", NUMBER, false},
                                          {"prompt_tokens", NUMBER, false},
                                          {"prefill_tps", NUMBER, false},
                                          {"decode_tps", NUMBER, false},
                                          {"floor_tps", NUMBER, false},
                                          {"dram_gbps", NUMBER, false},
                                          {"prefill_spread", NUMBER, false},
                                          {"decode_spread", NUMBER, false},
                                          {"profile", ROWS, false},
                                          {"prefill_profile", ROWS, false}};
static const struct field ROW_FIELDS[] = {{"op", TEXT, false},
                                          {"us", NUMBER, false},
                                          {"wait_us", NUMBER, false},
                                          {"mbytes", NUMBER, false}};
/* Dense attention has only a name and a type; an infinite error is null. */
static const struct field ATTENTION_FIELDS[] = {{"name", TEXT, false},
                                                {"kv_type", TEXT, false},
                                                {"min_keys", NUMBER, true},
                                                {"dense", NUMBER, true},
                                                {"flat", NUMBER, true},
                                                {"indexed", NUMBER, true},
                                                {"keys", NUMBER, true},
                                                {"scanned", NUMBER, true},
                                                {"plane2", NUMBER, true},
                                                {"exact", NUMBER, true},
                                                {"pages", NUMBER, true},
                                                {"pages_skipped", NUMBER, true},
                                                {"max_mass", NUMBER, true},
                                                {"max_error", NUMBER, true},
                                                {"max_storage_error", NUMBER, true},
                                                {"max_relative_error", NUMBER, true}};
#define N_FIELDS(table) (sizeof(table) / sizeof(table[0]))

/* Operations of a step: rsr-bench lists at most 64, and two sums. */
#define MAX_ROWS 66u

static enum rsrc_status refuse(const struct reading *r, const char *slug, const char *what,
                               const char *key) {
    const struct rsrc_place place = {.file = r->path};
    return rsrc_refuse(r->diag, slug, &place, r->help, what, key);
}

static enum rsrc_status copy_fields(const struct reading *r, const struct field *fields, size_t n,
                                    const json_t *object);

static enum rsrc_status copy_rows(const struct reading *r, const char *key, const json_t *rows) {
    if (!json_is_array(rows) || json_array_size(rows) > MAX_ROWS)
        return refuse(r, SLUG "-field", "\"%s\" is not a list of operations", key);
    rsrc_put_key(r->out, key);
    rsrc_buffer_puts(r->out, "[");
    for (size_t i = 0; i < json_array_size(rows); i++) {
        rsrc_put_object(r->out);
        if (copy_fields(r, ROW_FIELDS, N_FIELDS(ROW_FIELDS), json_array_get(rows, i)) != RSRC_OK)
            return RSRC_FAILED;
        rsrc_buffer_puts(r->out, "}");
    }
    rsrc_buffer_puts(r->out, "]");
    return RSRC_OK;
}

static enum rsrc_status copy_field(const struct reading *r, const struct field *field,
                                   const json_t *value) {
    if (field->kind == ROWS)
        return copy_rows(r, field->key, value);
    if (field->kind == TEXT) {
        if (!json_is_string(value))
            return refuse(r, SLUG "-field", "\"%s\" is not there, or no text", field->key);
        rsrc_put_text(r->out, field->key, json_string_value(value));
        return RSRC_OK;
    }
    if (!json_is_number(value) || !(json_number_value(value) >= 0))
        return refuse(r, SLUG "-field", "\"%s\" is not there, or no number from 0 on", field->key);
    rsrc_put_real(r->out, field->key, json_number_value(value));
    return RSRC_OK;
}

static enum rsrc_status copy_fields(const struct reading *r, const struct field *fields, size_t n,
                                    const json_t *object) {
    for (size_t i = 0; i < n; i++) {
        const json_t *value = json_object_get(object, fields[i].key);
        if (fields[i].may_lack && (value == NULL || json_is_null(value)))
            continue;
        if (copy_field(r, &fields[i], value) != RSRC_OK)
            return RSRC_FAILED;
    }
    return RSRC_OK;
}

/* ---- files ----------------------------------------------------------------------------------- */

static enum rsrc_status read_object(const struct reading *r, struct rsrc_arena *arena,
                                    json_t **root) {
    struct rsrc_mapping file;
    if (rsrc_map_file(r->diag, arena, r->path, &file) != RSRC_OK)
        return RSRC_FAILED;
    const enum rsrc_status status =
        rsrc_json_parse(r->diag, r->path, file.data, file.size_bytes, SLUG, root);
    rsrc_unmap_file(&file);
    return status;
}

/* Returns the members as an object in the arena; frees the buffer and the document. */
static enum rsrc_status finish(const struct reading *r, enum rsrc_status status, json_t *root,
                               struct rsrc_arena *arena, const char **json) {
    rsrc_buffer_puts(r->out, "}");
    if (status == RSRC_OK)
        *json = rsrc_arena_strdup(arena, r->out->data);
    rsrc_buffer_free(r->out);
    json_decref(root);
    return status;
}

static enum rsrc_status check_run(const struct reading *r, const json_t *root,
                                  const uint8_t model_hash[16]) {
    char hash[RSR_HASH_TEXT_BYTES];
    rsr_hash_text(model_hash, hash);
    const char *measured = json_string_value(json_object_get(root, "model_hash"));
    if (measured == NULL || json_object_get(root, "profile") == NULL)
        return refuse(r, SLUG "-kind", "is not of rsr-bench %s", "model --profile --json");
    if (strcmp(measured, hash) != 0)
        return refuse(r, SLUG "-model", "was measured with another model: its hash is not %s",
                      hash);
    if (json_number_value(json_object_get(root, "batch")) > 1)
        return refuse(r, SLUG "-batch", "was measured with a %s, and plans are for one sequence",
                      "--batch");
    return RSRC_OK;
}

enum rsrc_status rsrc_read_measured(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                    const char *path, const uint8_t model_hash[16],
                                    const char **json) {
    struct rsrc_buffer text = {0};
    const struct reading r = {.diag = diag,
                              .path = path,
                              .help = "rsr-bench model MODEL.so --profile --json, with a module of "
                                      "this checkpoint, writes such a file",
                              .out = &text};
    json_t *root = NULL;
    if (read_object(&r, arena, &root) != RSRC_OK)
        return RSRC_FAILED;
    enum rsrc_status status = check_run(&r, root, model_hash);
    rsrc_buffer_puts(&text, "{");
    if (status == RSRC_OK)
        status = copy_fields(&r, RUN_FIELDS, N_FIELDS(RUN_FIELDS), root);
    return finish(&r, status, root, arena, json);
}

enum rsrc_status rsrc_read_attention_stats(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                           const char *path, const char **json) {
    struct rsrc_buffer text = {0};
    const struct reading r = {.diag = diag,
                              .path = path,
                              .help =
                                  "rsr-run MODEL.so --attention=louver --json writes such a file",
                              .out = &text};
    json_t *root = NULL;
    if (read_object(&r, arena, &root) != RSRC_OK)
        return RSRC_FAILED;
    const json_t *attention = json_object_get(root, "attention");
    enum rsrc_status status = json_is_object(attention)
                                  ? RSRC_OK
                                  : refuse(&r, SLUG "-kind", "is not of rsr-run %s", "--json");
    rsrc_buffer_puts(&text, "{");
    if (status == RSRC_OK)
        status = copy_fields(&r, ATTENTION_FIELDS, N_FIELDS(ATTENTION_FIELDS), attention);
    return finish(&r, status, root, arena, json);
}
