/* rsr_bench_compare.c - compares results: files of rsr-bench --json, with any number of objects,
 * and of rsrc --report=json, in a page that draws them (report/report_page.h).
 *
 * Files may come from other machines and versions. The page shows the members that a file has, and
 * omits missing ones.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/json.h"
#include "base/mapped_file.h"
#include "report/json_members.h"
#include "report/report_page.h"
#include "rsr_bench.h"

#define MAX_OBJECTS 10000u

/* The kind of an object, by a key that only this kind has. */
static const struct {
    const char *kind, *key;
} KINDS[] = {{"kernel", "streamed_us"},
             {"attention", "louver_us"},
             {"model", "floor_tps"},
             {"report", "targets"}};

struct comparison {
    struct rsrc_diag *diag;
    struct rsrc_arena arena;
    struct rsrc_buffer json;
    uint32_t n_objects;
};

static const char *find_kind(const json_t *object) {
    for (size_t i = 0; i < sizeof(KINDS) / sizeof(KINDS[0]); i++)
        if (json_object_get(object, KINDS[i].key) != NULL)
            return KINDS[i].kind;
    return NULL;
}

/* A page of comparisons draws neither of these; they would be most of its size. */
static void drop_pictures(json_t *object) {
    size_t i, r;
    json_t *entry, *layer;
    json_array_foreach(json_object_get(object, "analysis"), i, entry) json_object_del(entry, "map");
    json_array_foreach(json_object_get(object, "targets"), i, entry) {
        json_array_foreach(json_object_get(entry, "layers"), r, layer) {
            json_object_del(json_object_get(layer, "decode"), "alternatives");
            json_object_del(json_object_get(layer, "prefill"), "alternatives");
        }
    }
}

static enum rsrc_status add_object(struct comparison *c, const char *path, json_t *object) {
    const struct rsrc_place place = {.file = path};
    const char *kind = find_kind(object);
    if (kind == NULL || c->n_objects++ >= MAX_OBJECTS)
        return rsrc_refuse(c->diag, "comparison-kind", &place,
                           "compare what rsr-bench kernel, model and attention --json and "
                           "rsrc --report=json print, but not kernel --tokens",
                           kind == NULL
                               ? "has an object that is not a kernel, model, attention or report"
                               : "has more objects than a page can show");
    drop_pictures(object);
    char *text = json_dumps(object, JSON_COMPACT);
    if (text == NULL)
        rsrc_out_of_memory(0);
    rsrc_put_object(&c->json);
    rsrc_put_text(&c->json, "file", path);
    rsrc_put_text(&c->json, "kind", kind);
    rsrc_put_key(&c->json, "data");
    rsrc_buffer_puts(&c->json, text);
    rsrc_buffer_puts(&c->json, "}");
    free(text);
    return RSRC_OK;
}

/* The end of the object that begins at `at`: after its last brace, or at the end of the text. */
static uint64_t end_of_object(const char *text, uint64_t size_bytes, uint64_t at) {
    uint64_t depth = 0;
    bool in_string = false;
    for (; at < size_bytes; at++) {
        const char c = text[at];
        if (in_string && c == '\\')
            at++;
        else if (c == '"')
            in_string = !in_string;
        else if (!in_string && c == '{')
            depth++;
        else if (!in_string && c == '}' && --depth == 0)
            return at + 1;
    }
    return size_bytes;
}

static bool is_space(char c) {
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

/* One object or several, one after the other. */
static enum rsrc_status add_objects(struct comparison *c, const char *path, const char *text,
                                    uint64_t size_bytes) {
    uint64_t at = 0;
    enum rsrc_status status = RSRC_OK;
    do {
        while (at < size_bytes && is_space(text[at]))
            at++;
        const uint64_t end = at < size_bytes && text[at] == '{'
                                 ? end_of_object(text, size_bytes, at)
                                 : size_bytes; /* no object: the parser reports it */
        json_t *object = NULL;
        status = rsrc_json_parse(c->diag, path, text + at, end - at, "comparison", &object);
        if (status == RSRC_OK)
            status = add_object(c, path, object);
        json_decref(object);
        at = end;
        while (at < size_bytes && is_space(text[at]))
            at++;
    } while (status == RSRC_OK && at < size_bytes);
    return status;
}

static enum rsrc_status add_file(struct comparison *c, const char *path, const char *output) {
    struct rsrc_mapping file;
    struct stat info;
    if (rsrc_map_file(c->diag, &c->arena, path, &file) != RSRC_OK)
        return RSRC_FAILED;
    enum rsrc_status status = RSRC_OK;
    if (stat(output, &info) == 0 && info.st_dev == file.info.st_dev &&
        info.st_ino == file.info.st_ino)
        status = rsrc_refuse(c->diag, "output-is-input", &(struct rsrc_place){.file = output},
                             "give the page another name", "is compared, and -o would replace it");
    if (status == RSRC_OK)
        status =
            add_objects(c, path, file.data != NULL ? (const char *)file.data : "", file.size_bytes);
    rsrc_unmap_file(&file);
    return status;
}

static enum rsrc_status write_page(struct comparison *c, const char *path) {
    struct rsrc_output file;
    struct rsrc_buffer page = {0};
    rsrc_put_page(c->json.data, &page);
    enum rsrc_status status = rsrc_output_open(c->diag, &c->arena, path, &file);
    if (status == RSRC_OK) {
        status = rsrc_output_write(c->diag, &file, page.data, page.size_bytes);
        if (status == RSRC_OK)
            status = rsrc_output_commit(c->diag, &file);
        else
            rsrc_output_abandon(&file);
    }
    rsrc_buffer_free(&page);
    return status;
}

int bench_compare(const struct bench_options *options) {
    struct comparison c = {.diag = rsrc_diag_create(stderr, false, RSRC_COLOR_AUTO)};
    rsrc_arena_init(&c.arena);
    rsrc_buffer_puts(&c.json, "{\"compare\":[");
    enum rsrc_status status = RSRC_OK;
    for (uint32_t i = 0; i < options->n_files && status == RSRC_OK; i++)
        status = add_file(&c, options->files[i], options->output);
    rsrc_buffer_puts(&c.json, "]}");
    if (status == RSRC_OK)
        status = write_page(&c, options->output);
    rsrc_buffer_free(&c.json);
    rsrc_remove_temporaries();
    rsrc_arena_free(&c.arena);
    rsrc_diag_destroy(c.diag);
    return status == RSRC_OK ? 0 : 1;
}
