/* How many CPUs there are to use, with and without OpenMP binding the program's first thread to one.
 * Each case is this program started again: OpenMP reads its variables once. */
#include <omp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "host/cpu.h"

/* What the program counts when it is started with `settings` (of env). */
static uint32_t count_with(const char *program, const char *settings) {
    char command[4200];
    uint32_t count = 0;
    snprintf(command, sizeof command,
             "env -u OMP_PROC_BIND -u OMP_PLACES -u GOMP_CPU_AFFINITY %s '%s' count", settings,
             program);
    FILE *pipe = popen(command, "r");
    CHECK(pipe != NULL);
    CHECK(pipe != NULL && fscanf(pipe, "%u", &count) == 1);
    CHECK(pipe != NULL && pclose(pipe) == 0);
    return count;
}

/* OpenMP may have bound this thread, too. Returns how many CPUs there are. */
static int take_all_cpus(void) {
    cpu_set_t mask;
    memset(&mask, 0xff, sizeof mask);
    CHECK(sched_setaffinity(0, sizeof mask, &mask) == 0);
    CHECK(sched_getaffinity(0, sizeof mask, &mask) == 0);
    return CPU_COUNT(&mask);
}

static void test_binding(const char *program) {
    static const char *const settings[] = {"OMP_PROC_BIND=true", "OMP_PROC_BIND=close",
                                           "OMP_PROC_BIND=false", "OMP_PLACES=threads",
                                           "OMP_PROC_BIND=spread OMP_PLACES=cores"};
    const uint32_t free_count = count_with(program, "");
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        CHECK_INT(count_with(program, settings[i]), free_count);
}

/* A mask that is narrowed from outside is narrow for OpenMP, too. */
static void test_narrow_mask(const char *program) {
    cpu_set_t before, one;
    CHECK(sched_getaffinity(0, sizeof before, &before) == 0);
    CPU_ZERO(&one);
    for (size_t cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; cpu++)
        if (CPU_ISSET(cpu, &before))
            CPU_SET(cpu, &one);
    CHECK(sched_setaffinity(0, sizeof one, &one) == 0);
    CHECK_INT(count_with(program, ""), 1);
    CHECK_INT(count_with(program, "OMP_PROC_BIND=true"), 1);
    CHECK(sched_setaffinity(0, sizeof before, &before) == 0);
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "count") == 0) {
        printf("%u\n", rsr_cpu_available(rsr_cpu_placed()));
        return omp_get_max_threads() < 1; /* so that OpenMP is there, as in every module */
    }
    if (take_all_cpus() < 2)
        fprintf(stderr, "one CPU: binding makes no difference here\n");
    test_binding(argv[0]);
    test_narrow_mask(argv[0]);
    return CHECK_EXIT();
}
