/* time_report.c - measures passes and prints what they cost, as text and as JSON. */
#include "report/time_report.h"

#include <stdio.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static double now(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

/* Memory of the process that no file backs: a mapped checkpoint does not count. */
static uint64_t anonymous_bytes(void) {
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL)
        return 0;
    unsigned long long total = 0, resident = 0, shared = 0;
    const int n = fscanf(file, "%llu %llu %llu", &total, &resident, &shared);
    fclose(file);
    return n == 3 && resident > shared ? (resident - shared) * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

void rsrc_times_init(struct rsrc_times *times, bool active) {
    *times = (struct rsrc_times){.active = active};
    pthread_mutex_init(&times->lock, NULL);
    if (active)
        times->begin_s = now(CLOCK_MONOTONIC);
}

void rsrc_times_destroy(struct rsrc_times *times) {
    pthread_mutex_destroy(&times->lock);
}

struct rsrc_lap rsrc_lap_begin(const struct rsrc_times *times) {
    if (!times->active)
        return (struct rsrc_lap){0};
    return (struct rsrc_lap){now(CLOCK_MONOTONIC), now(CLOCK_THREAD_CPUTIME_ID)};
}

void rsrc_lap_end(struct rsrc_times *times, uint32_t row, const struct rsrc_lap *lap) {
    if (!times->active)
        return;
    const double wall_s = now(CLOCK_MONOTONIC) - lap->wall_s;
    const double cpu_s = now(CLOCK_THREAD_CPUTIME_ID) - lap->cpu_s;
    const uint64_t bytes = anonymous_bytes();
    pthread_mutex_lock(&times->lock);
    struct rsrc_time_row *r = &times->rows[row];
    r->n_runs++;
    r->wall_s += wall_s;
    r->cpu_s += cpu_s;
    if (bytes > r->peak_bytes)
        r->peak_bytes = bytes;
    pthread_mutex_unlock(&times->lock);
}

/* Times since the start; the peak is that of the whole process, with files. */
static struct rsrc_time_row total(const struct rsrc_times *times) {
    struct rusage usage = {0};
    getrusage(RUSAGE_SELF, &usage);
    return (struct rsrc_time_row){.name = "rsrc",
                                  .n_runs = 1,
                                  .wall_s = now(CLOCK_MONOTONIC) - times->begin_s,
                                  .cpu_s = now(CLOCK_PROCESS_CPUTIME_ID),
                                  .peak_bytes = (uint64_t)usage.ru_maxrss * 1024};
}

static void put_text_row(const struct rsrc_time_row *row, struct rsrc_buffer *out) {
    rsrc_buffer_printf(out, "  %-10s %7llu %10.3f %10.3f %10.1f\n", row->name,
                       (unsigned long long)row->n_runs, row->wall_s, row->cpu_s,
                       (double)row->peak_bytes / 1048576);
}

void rsrc_times_text(struct rsrc_times *times, struct rsrc_buffer *out) {
    rsrc_buffer_puts(out, "  pass          runs     wall s      CPU s   peak MiB\n");
    const struct rsrc_time_row all = total(times);
    pthread_mutex_lock(&times->lock);
    for (uint32_t i = 0; i < times->n_rows; i++)
        if (times->rows[i].n_runs != 0)
            put_text_row(&times->rows[i], out);
    pthread_mutex_unlock(&times->lock);
    put_text_row(&all, out);
}

static void put_json_row(const struct rsrc_time_row *row, struct rsrc_buffer *out) {
    rsrc_buffer_printf(
        out, "{\"name\":\"%s\",\"runs\":%llu,\"wall_s\":%.6f,\"cpu_s\":%.6f,\"peak_bytes\":%llu}",
        row->name, (unsigned long long)row->n_runs, row->wall_s, row->cpu_s,
        (unsigned long long)row->peak_bytes);
}

void rsrc_times_json(struct rsrc_times *times, struct rsrc_buffer *out) {
    const struct rsrc_time_row all = total(times);
    rsrc_buffer_puts(out, "{\"total\":");
    put_json_row(&all, out);
    rsrc_buffer_puts(out, ",\"passes\":[");
    const char *separator = "";
    pthread_mutex_lock(&times->lock);
    for (uint32_t i = 0; i < times->n_rows; i++) {
        if (times->rows[i].n_runs == 0)
            continue;
        rsrc_buffer_puts(out, separator);
        put_json_row(&times->rows[i], out);
        separator = ",";
    }
    pthread_mutex_unlock(&times->lock);
    rsrc_buffer_puts(out, "]}");
}
