/* settings_yaml.c - the file of --config: a mapping of names to values, and of `model` to a mapping
 * or a list. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "log.h"
#include "settings.h"

struct reader {
    const char *path;
    yaml_document_t document;
    const struct serve_setter *setter;
};

static bool fail_at(const struct reader *r, size_t line, const char *what) {
    return serve_log("%s:%zu: %s", r->path, line + 1, what);
}

/* A copy, which lives as long as the program; NULL after a sentence. */
static char *copy_scalar(const struct reader *r, const yaml_node_t *node, const char *what) {
    if (!node || node->type != YAML_SCALAR_NODE) {
        fail_at(r, node ? node->start_mark.line : 0, what);
        return NULL;
    }
    const char *text = (const char *)node->data.scalar.value;
    if (strlen(text) != node->data.scalar.length) {
        fail_at(r, node->start_mark.line, "a value has a NUL byte");
        return NULL;
    }
    char *copy = strdup(text);
    if (!copy)
        serve_log("out of memory");
    return copy;
}

static bool set(const struct reader *r, const yaml_node_t *at, const char *name,
                const char *value) {
    char place[480];
    snprintf(place, sizeof(place), "%s:%zu", r->path, at->start_mark.line + 1);
    return value && r->setter->set(r->setter->user, place, name, value);
}

/* NAME: FILE.so becomes NAME=FILE.so. */
static bool set_named(struct reader *r, const char *name, const yaml_node_pair_t *pair) {
    const yaml_node_t *key = yaml_document_get_node(&r->document, pair->key);
    const yaml_node_t *value = yaml_document_get_node(&r->document, pair->value);
    char *left = copy_scalar(r, key, "expected a name");
    char *right = left ? copy_scalar(r, value, "expected a file") : NULL;
    const size_t n = right ? strlen(left) + strlen(right) + 2 : 0;
    char *both = right ? malloc(n) : NULL;
    if (both)
        snprintf(both, n, "%s=%s", left, right);
    free(left);
    free(right);
    return both && set(r, key, name, both);
}

static bool set_value(struct reader *r, const char *name, const yaml_node_t *value) {
    bool ok = true;
    const bool has_many = strcmp(name, "model") == 0;
    if (has_many && value->type == YAML_MAPPING_NODE)
        for (const yaml_node_pair_t *pair = value->data.mapping.pairs.start;
             ok && pair < value->data.mapping.pairs.top; pair++)
            ok = set_named(r, name, pair);
    else if (has_many && value->type == YAML_SEQUENCE_NODE)
        for (const yaml_node_item_t *item = value->data.sequence.items.start;
             ok && item < value->data.sequence.items.top; item++) {
            const yaml_node_t *node = yaml_document_get_node(&r->document, *item);
            ok = set(r, node, name, copy_scalar(r, node, "expected NAME=FILE.so"));
        }
    else
        ok = set(r, value, name, copy_scalar(r, value, "expected one value"));
    return ok;
}

static bool read_document(struct reader *r) {
    const yaml_node_t *root = yaml_document_get_root_node(&r->document);
    if (!root)
        return fail_at(r, 0, "the file is empty");
    if (root->type != YAML_MAPPING_NODE)
        return fail_at(r, root->start_mark.line, "expected options, as \"port: 8000\"");
    bool ok = true;
    for (const yaml_node_pair_t *pair = root->data.mapping.pairs.start;
         ok && pair < root->data.mapping.pairs.top; pair++) {
        char *name = copy_scalar(r, yaml_document_get_node(&r->document, pair->key),
                                 "expected the name of an option");
        ok = name && set_value(r, name, yaml_document_get_node(&r->document, pair->value));
        free(name);
    }
    return ok;
}

bool serve_read_yaml(const char *path, const struct serve_setter *setter) {
    struct reader r = {.path = path, .setter = setter};
    FILE *file = fopen(path, "rbe");
    if (!file)
        return serve_log("cannot read %s: %s", path, strerror(errno));
    yaml_parser_t parser;
    bool ok = yaml_parser_initialize(&parser) != 0;
    if (!ok)
        serve_log("out of memory");
    if (ok) {
        yaml_parser_set_input_file(&parser, file);
        ok = yaml_parser_load(&parser, &r.document) != 0;
        if (!ok)
            fail_at(&r, parser.problem_mark.line,
                    parser.problem ? parser.problem : "cannot be read");
        if (ok) {
            ok = read_document(&r);
            yaml_document_delete(&r.document);
        }
        yaml_parser_delete(&parser);
    }
    fclose(file);
    return ok;
}
