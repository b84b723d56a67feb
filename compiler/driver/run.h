/* run.h - what every part of a compilation shares: options, messages, memory, time, tools, and
 * which passes run. */
#ifndef RSRC_DRIVER_RUN_H
#define RSRC_DRIVER_RUN_H

#include "cache/cache.h"
#include "ir.h"
#include "link/linker.h"
#include "plan/plan.h"
#include "report/time_report.h"
#include "rsrc.h"

enum rsrc_pass_id {
#define RSRC_PASS(id, name, help) PASS_##id,
#include "driver/passes.def"
#undef RSRC_PASS
    PASS_COUNT
};

struct rsrc_pass_name {
    const char *name, *help;
};

extern const struct rsrc_pass_name rsrc_pass_names[PASS_COUNT];

/* A kind of output of --emit: a row of kinds.def. */
struct rsrc_kind {
    enum rsrc_emit emit;
    const char *name, *suffix;
    bool is_text;
    enum rsrc_pass_id pass;
    enum rsr_unit_kind unit; /* RSR_UNIT_KIND_COUNT: no unit of a back end */
};

enum {
#define RSRC_KIND(id, name, suffix, is_text, pass, unit) RSRC_KIND_##id,
#include "driver/kinds.def"
#undef RSRC_KIND
    RSRC_KIND_COUNT
};

extern const struct rsrc_kind rsrc_kinds[RSRC_KIND_COUNT];

/* Whether only GPUs have such units. */
static inline bool rsrc_is_gpu_unit(enum rsr_unit_kind unit) {
    return unit == RSR_UNIT_PTX || unit == RSR_UNIT_CUBIN;
}

/* The way of a compilation: its input and purpose, which decide its passes. One of these bits. */
enum rsrc_way {
    RSRC_WAY_COMPILE = 1, /* weights to kernels */
    RSRC_WAY_INFO = 2,    /* --info: weights to a description */
    RSRC_WAY_PLANS = 4,   /* from the text of plans, of steps, of kernels */
    RSRC_WAY_STEPS = 8,
    RSRC_WAY_KERNELS = 16
};

/* Rows of -ftime-report after those of the passes: programs that were run. */
enum { TIME_CC = PASS_COUNT, TIME_LD, TIME_COUNT };

/* A compilation whose module runs on a text once, and is then thrown away. */
struct rsrc_calibration {
    const char *text_name; /* NULL: the text that rsrc brings */
    const uint8_t *text;
    uint64_t text_bytes;
    struct rsrc_buffer profile; /* the result */
};

struct rsrc_run {
    const struct rsrc_options *options;
    struct rsrc_diag *diag;
    struct rsrc_arena arena;
    enum rsrc_way way;
    enum rsrc_pass_id from, to;
    uint32_t dumps;                                          /* bits of enum rsrc_pass_id */
    struct rsrc_plan_options plan_options, gpu_plan_options; /* of CPUs, of GPUs */
    uint32_t n_jobs;
    struct rsrc_toolchain toolchain;
    struct rsrc_cache cache;
    struct rsrc_times times;
    struct rsrc_spawn_usage cc_usage, ld_usage;
    struct rsrc_calibration *calibration; /* NULL: outputs are written */
    struct rsrc_buffer profile;           /* what --calibrate measured; empty: nothing */
    struct rsrc_tuner *tuner;             /* for --tune; NULL: nothing is measured */
};

/* Reports that the request is refused; returns the status that ends the compilation. */
#define rsrc_bad_option(run, help, ...)                                                            \
    rsrc_refuse((run)->diag, "option-value", NULL, (help), __VA_ARGS__)

bool rsrc_wants(const struct rsrc_run *run, enum rsrc_emit kind);
/* The report that --report asks for. */
enum rsrc_report_form { RSRC_REPORT_NONE, RSRC_REPORT_TEXT, RSRC_REPORT_JSON, RSRC_REPORT_HTML };
enum rsrc_report_form rsrc_report_form(const struct rsrc_options *options);
/* The progress line, on a terminal: "[3/210] layers". */
void rsrc_show_progress(const struct rsrc_run *run, const char *what, uint32_t done,
                        uint32_t total);
void rsrc_end_progress(const struct rsrc_run *run);
/* Standard output, for dumps and reports. A writer calls rsrc_stdout_finish() at the end: a full
 * disk may show only then. */
RSRC_NODISCARD enum rsrc_status rsrc_stdout_write(struct rsrc_diag *diag,
                                                  const struct rsrc_buffer *text);

#endif
