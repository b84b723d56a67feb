/* diag.c - prints diagnostics as text (with a caret where the line is known) or as JSON lines. */
#include "diag.h"

#include <assert.h>
#include <pthread.h>
#include <regex.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/process.h"

struct rsrc_diag {
    FILE *stream;             /* NULL: messages go to `kept` */
    struct rsrc_diag *parent; /* in a held diag: owns the pattern of remarks */
    struct rsrc_buffer kept;
    bool json;
    bool color;
    struct pattern {
        bool is_set;
        regex_t regex;
    } remarks[2]; /* chosen, missed: pattern_of() */
    uint32_t n_errors;
    pthread_mutex_t lock;
};

static const struct {
    const char *name;
    const char *color;
} SEVERITIES[] = {
    [RSRC_ERROR] = {"error", "\033[1;31m"},   [RSRC_WARNING] = {"warning", "\033[1;35m"},
    [RSRC_REMARK] = {"remark", "\033[1;34m"}, [RSRC_REMARK_MISSED] = {"missed", "\033[1;34m"},
    [RSRC_NOTE] = {"note", "\033[1;36m"},
};

static bool wants_color(FILE *stream, enum rsrc_color color) {
    if (color != RSRC_COLOR_AUTO)
        return color == RSRC_COLOR_ALWAYS;
    const char *no_color = getenv("NO_COLOR");
    return (no_color == NULL || no_color[0] == '\0') && isatty(fileno(stream));
}

struct rsrc_diag *rsrc_diag_create(FILE *stream, bool json, enum rsrc_color color) {
    struct rsrc_diag *diag = calloc(1, sizeof(*diag));
    if (diag == NULL)
        rsrc_out_of_memory(sizeof(*diag));
    diag->stream = stream;
    diag->json = json;
    diag->color = wants_color(stream, color);
    pthread_mutex_init(&diag->lock, NULL);
    return diag;
}

void rsrc_diag_destroy(struct rsrc_diag *diag) {
    if (diag == NULL)
        return;
    for (uint32_t i = 0; i < sizeof(diag->remarks) / sizeof(diag->remarks[0]); i++)
        if (diag->remarks[i].is_set)
            regfree(&diag->remarks[i].regex);
    pthread_mutex_destroy(&diag->lock);
    free(diag);
}

struct rsrc_diag *rsrc_diag_hold(struct rsrc_diag *parent) {
    struct rsrc_diag *held = calloc(1, sizeof(*held));
    if (held == NULL)
        rsrc_out_of_memory(sizeof(*held));
    held->parent = parent;
    held->json = parent->json;
    held->color = parent->color;
    pthread_mutex_init(&held->lock, NULL);
    return held;
}

/* Appends whole messages. */
static void deliver(struct rsrc_diag *diag, const struct rsrc_buffer *text, uint32_t n_errors) {
    pthread_mutex_lock(&diag->lock);
    diag->n_errors += n_errors;
    if (diag->stream == NULL) {
        rsrc_buffer_append(&diag->kept, text->data, text->size_bytes);
    } else if (text->size_bytes != 0) {
        fwrite(text->data, 1, text->size_bytes, diag->stream);
        fflush(diag->stream);
    }
    pthread_mutex_unlock(&diag->lock);
}

void rsrc_diag_close_held(struct rsrc_diag *held, bool keep) {
    if (keep)
        deliver(held->parent, &held->kept, held->n_errors);
    rsrc_buffer_free(&held->kept);
    rsrc_diag_destroy(held);
}

static bool is_remark(enum rsrc_severity severity) {
    return severity == RSRC_REMARK || severity == RSRC_REMARK_MISSED;
}

static struct pattern *pattern_of(struct rsrc_diag *diag, enum rsrc_severity severity) {
    while (diag->parent != NULL)
        diag = diag->parent;
    return &diag->remarks[severity == RSRC_REMARK_MISSED];
}

static bool shows_remark(struct rsrc_diag *diag, enum rsrc_severity severity, const char *slug) {
    const struct pattern *pattern = pattern_of(diag, severity);
    return pattern->is_set && regexec(&pattern->regex, slug, 0, NULL, 0) == 0;
}

bool rsrc_diag_show_remarks(struct rsrc_diag *diag, enum rsrc_severity severity, const char *text) {
    assert(is_remark(severity));
    regex_t compiled;
    const int error = regcomp(&compiled, text, REG_EXTENDED | REG_NOSUB);
    if (error != 0) {
        char why[128];
        regerror(error, &compiled, why, sizeof(why));
        rsrc_error(diag, "option-value", NULL, "give a POSIX extended regular expression",
                   "%s: bad pattern '%s': %s", severity == RSRC_REMARK ? "-Rpass" : "-Rpass-missed",
                   text, why);
        return false;
    }
    struct pattern *pattern = pattern_of(diag, severity);
    if (pattern->is_set)
        regfree(&pattern->regex);
    *pattern = (struct pattern){.is_set = true, .regex = compiled};
    return true;
}

uint32_t rsrc_diag_error_count(const struct rsrc_diag *diag) {
    return diag->n_errors;
}

static void put_place(struct rsrc_buffer *out, const struct rsrc_place *place) {
    if (place == NULL || place->file == NULL) {
        rsrc_buffer_printf(out, "%s: ", rsrc_program());
        return;
    }
    rsrc_buffer_put_terminal(out, place->file);
    if (place->has_offset)
        rsrc_buffer_printf(out, ":0x%llx", (unsigned long long)place->offset);
    else if (place->line != 0 && place->column != 0)
        rsrc_buffer_printf(out, ":%u:%u", place->line, place->column);
    else if (place->line != 0)
        rsrc_buffer_printf(out, ":%u", place->line);
    rsrc_buffer_puts(out, ": ");
}

/* Messages may quote another program's output with its line ends. The bar shows that a line still
 * belongs to the message, even if another program wrote it. */
static void put_lines(struct rsrc_buffer *out, const char *text) {
    const size_t length = strlen(text);
    struct rsrc_buffer line = {0};
    for (size_t at = 0; at < length;) {
        const size_t n = strcspn(text + at, "\n");
        rsrc_buffer_clear(&line);
        rsrc_buffer_append(&line, text + at, n);
        rsrc_buffer_put_terminal(out, line.data);
        at += n + 1;
        if (at < length)
            rsrc_buffer_puts(out, "\n    | ");
    }
    rsrc_buffer_free(&line);
}

static void put_caret(struct rsrc_buffer *out, const struct rsrc_place *place) {
    const size_t n = strcspn(place->source_line, "\r\n");
    rsrc_buffer_puts(out, "    ");
    /* Prints one column per byte, so that the caret stands under its character, and no byte that a
     * terminal could take for a command. */
    for (size_t i = 0; i < n; i++) {
        const unsigned char c = (unsigned char)place->source_line[i];
        rsrc_buffer_append(out, c < 0x20 ? " " : c >= 0x7f ? "?" : (const char *)&c, 1);
    }
    if (place->column != 0)
        rsrc_buffer_printf(out, "\n    %*s", (int)(place->column < 4096 ? place->column : 4096),
                           "^");
    rsrc_buffer_puts(out, "\n");
}

static void put_text(struct rsrc_buffer *out, const struct rsrc_diag *diag,
                     enum rsrc_severity severity, const char *slug, const struct rsrc_place *place,
                     const char *help, const char *message) {
    put_place(out, place);
    if (diag->color)
        rsrc_buffer_puts(out, SEVERITIES[severity].color);
    rsrc_buffer_printf(out, "%s:%s ", SEVERITIES[severity].name, diag->color ? "\033[0m" : "");
    if (place != NULL && place->tensor != NULL) {
        rsrc_buffer_puts(out, "tensor '");
        rsrc_buffer_put_terminal(out, place->tensor);
        rsrc_buffer_puts(out, "': ");
    }
    put_lines(out, message);
    rsrc_buffer_printf(out, " [%s]\n", slug);
    if (place != NULL && place->source_line != NULL)
        put_caret(out, place);
    if (help != NULL) {
        rsrc_buffer_puts(out, "  help: ");
        put_lines(out, help);
        rsrc_buffer_puts(out, "\n");
    }
}

static void put_field(struct rsrc_buffer *out, const char *key, const char *value) {
    if (value == NULL)
        return;
    rsrc_buffer_printf(out, ",\"%s\":", key);
    rsrc_buffer_put_json(out, value);
}

static void put_json(struct rsrc_buffer *out, enum rsrc_severity severity, const char *slug,
                     const struct rsrc_place *place, const char *help, const char *message) {
    rsrc_buffer_printf(out, "{\"severity\":\"%s\",\"slug\":\"%s\"", SEVERITIES[severity].name,
                       slug);
    if (place != NULL) {
        put_field(out, "file", place->file);
        if (place->line != 0)
            rsrc_buffer_printf(out, ",\"line\":%u", place->line);
        if (place->column != 0)
            rsrc_buffer_printf(out, ",\"column\":%u", place->column);
        if (place->has_offset)
            rsrc_buffer_printf(out, ",\"offset\":%llu", (unsigned long long)place->offset);
        put_field(out, "tensor", place->tensor);
    }
    put_field(out, "message", message);
    put_field(out, "help", help);
    rsrc_buffer_puts(out, "}\n");
}

void rsrc_diag_emit(struct rsrc_diag *diag, enum rsrc_severity severity, const char *slug,
                    const struct rsrc_place *place, const char *help, const char *format, ...) {
    if (is_remark(severity) && !shows_remark(diag, severity, slug))
        return;
    struct rsrc_buffer message = {0}, out = {0};
    va_list args;
    va_start(args, format);
    char *text = NULL;
    if (vasprintf(&text, format, args) < 0)
        rsrc_out_of_memory(0);
    va_end(args);
    rsrc_buffer_puts(&message, text);
    free(text);
    if (diag->json)
        put_json(&out, severity, slug, place, help, message.data);
    else
        put_text(&out, diag, severity, slug, place, help, message.data);
    deliver(diag, &out, severity == RSRC_ERROR);
    rsrc_buffer_free(&message);
    rsrc_buffer_free(&out);
}

/* Edit distance with adjacent swaps, capped: names are short. */
#define MAX_WORD 64

static uint32_t distance(const char *a, size_t na, const char *b) {
    uint32_t row[3][MAX_WORD + 1];
    const size_t nb = strlen(b);
    if (na > MAX_WORD || nb > MAX_WORD)
        return UINT32_MAX;
    for (uint32_t j = 0; j <= nb; j++)
        row[0][j] = j;
    for (uint32_t i = 1; i <= na; i++) {
        uint32_t *now = row[i % 3], *above = row[(i + 2) % 3], *two = row[(i + 1) % 3];
        now[0] = i;
        for (uint32_t j = 1; j <= nb; j++) {
            uint32_t best = above[j - 1] + (a[i - 1] != b[j - 1]);
            if (above[j] + 1 < best)
                best = above[j] + 1;
            if (now[j - 1] + 1 < best)
                best = now[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                two[j - 2] + 1 < best)
                best = two[j - 2] + 1;
            now[j] = best;
        }
    }
    return row[na % 3][nb];
}

const char *rsrc_did_you_mean(const char *word, const char *const *names, uint32_t n_names) {
    const char *best = NULL;
    const size_t n = strcspn(word, "=");
    /* A third of the letters may differ. */
    uint32_t limit = (uint32_t)(n < 192 ? n : 192) / 3 + 1;
    for (uint32_t i = 0; i < n_names; i++) {
        const uint32_t d = distance(word, n, names[i]);
        if (d < limit) {
            limit = d;
            best = names[i];
        }
    }
    return best;
}
