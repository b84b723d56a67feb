/* rsr_run_verify.c - rsr-run --verify: whether a module's file is as rsrc wrote it, section by
 * section. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "rsr_run.h"

static void print_section(void *user, const rsr_section *section) {
    (void)user;
    run_put_name(section->name);
    printf("%*s %12" PRIu64 " %s\n", 24 - (int)strlen(section->name), "",
           section->end - section->begin, section->intact ? "ok" : "differs");
}

static void add_section(void *user, const rsr_section *section) {
    json_array_append_new(user, json_pack("{s:s, s:I, s:I, s:b}", "name", section->name, "begin",
                                          (json_int_t)section->begin, "bytes",
                                          (json_int_t)(section->end - section->begin), "ok",
                                          section->intact));
}

int run_verify(const struct run_options *options) {
    json_t *sections = options->json ? json_array() : NULL;
    rsr_error err = RSR_ERROR_INIT;
    const rsr_status status =
        rsr_verify(options->model, options->json ? add_section : print_section, sections, &err);
    int code = 0;
    if (options->json)
        code = run_put_json(json_pack("{s:b, s:o}", "ok", status == RSR_OK, "sections", sections),
                            JSON_INDENT(1) | JSON_ENSURE_ASCII);
    return status == RSR_OK ? code : run_fail("%s", err.message);
}
