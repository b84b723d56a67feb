/* time_report.h - the cost of each pass and each tool: -ftime-report.
 *
 * A row sums over all workers, so its wall time can exceed the time of the compilation. Nothing is
 * read from the system unless the report was asked for. Thread-safe.
 */
#ifndef RSRC_REPORT_TIME_REPORT_H
#define RSRC_REPORT_TIME_REPORT_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"

#define RSRC_MAX_TIME_ROWS 24u

struct rsrc_time_row {
    const char *name;
    uint64_t n_runs;
    double wall_s, cpu_s;
    uint64_t peak_bytes; /* of this process without its files, read at the end of a run; or of a
                            tool */
};

struct rsrc_times {
    bool active;
    pthread_mutex_t lock;
    double begin_s;
    struct rsrc_time_row rows[RSRC_MAX_TIME_ROWS];
    uint32_t n_rows;
};

/* One run of a pass, measured on the thread that begins and ends it. */
struct rsrc_lap {
    double wall_s, cpu_s;
};

void rsrc_times_init(struct rsrc_times *times, bool active);
void rsrc_times_destroy(struct rsrc_times *times);
struct rsrc_lap rsrc_lap_begin(const struct rsrc_times *times);
void rsrc_lap_end(struct rsrc_times *times, uint32_t row, const struct rsrc_lap *lap);
/* Rows that did not run are omitted. */
void rsrc_times_text(struct rsrc_times *times, struct rsrc_buffer *out);
/* {"total":{...},"passes":[{...}, ...]} */
void rsrc_times_json(struct rsrc_times *times, struct rsrc_buffer *out);

#endif
