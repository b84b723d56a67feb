/* run.c - the names of passes and of outputs of --emit, progress, and standard output. */
#include <string.h>

#include "base/mapped_file.h"
#include "driver/run.h"

const struct rsrc_pass_name rsrc_pass_names[PASS_COUNT] = {
#define RSRC_PASS(id, name, help) [PASS_##id] = {name, help},
#include "driver/passes.def"
#undef RSRC_PASS
};

const struct rsrc_kind rsrc_kinds[RSRC_KIND_COUNT] = {
#define RSR_UNIT_NONE RSR_UNIT_KIND_COUNT
#define RSRC_KIND(id, name, suffix, is_text, pass, unit)                                           \
    [RSRC_KIND_##id] = {RSRC_EMIT_##id, name, suffix, is_text, PASS_##pass, RSR_UNIT_##unit},
#include "driver/kinds.def"
#undef RSRC_KIND
#undef RSR_UNIT_NONE
};

bool rsrc_wants(const struct rsrc_run *run, enum rsrc_emit kind) {
    return (run->options->emit & (uint32_t)kind) != 0;
}

enum rsrc_report_form rsrc_report_form(const struct rsrc_options *options) {
    const char *asked = options->report;
    return asked == NULL                    ? RSRC_REPORT_NONE
           : strncmp(asked, "json", 4) == 0 ? RSRC_REPORT_JSON
           : strncmp(asked, "html", 4) == 0 ? RSRC_REPORT_HTML
                                            : RSRC_REPORT_TEXT;
}

void rsrc_show_progress(const struct rsrc_run *run, const char *what, uint32_t done,
                        uint32_t total) {
    if (run->options->progress)
        fprintf(stderr, "\r\033[K[%u/%u] %s", done, total, what);
}

void rsrc_end_progress(const struct rsrc_run *run) {
    if (run->options->progress)
        fputs("\r\033[K", stderr);
}

enum rsrc_status rsrc_stdout_write(struct rsrc_diag *diag, const struct rsrc_buffer *text) {
    if (text->size_bytes == 0 ||
        fwrite(text->data, 1, text->size_bytes, stdout) == text->size_bytes)
        return RSRC_OK;
    return rsrc_stdout_failed(diag);
}
