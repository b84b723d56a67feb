/* How many CPUs and cores a program may use, with and without OpenMP binding its first thread to
 * one CPU. Each case starts this program again, because OpenMP reads its variables once. */
#include <errno.h>
#include <omp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "check.h"
#include "host/cpu.h"

/* The number that the program counts when it is started with `settings` (of env). */
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

/* A mask that another program narrows is narrow for OpenMP, too. */
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

/* A machine whose CPUs 0, 1, ... are of these cores: files like those of the system. */
static void write_siblings(const char *folder, unsigned cpu, const char *list) {
    char path[300];
    snprintf(path, sizeof path, "%s/cpu%u", folder, cpu);
    CHECK(mkdir(path, 0700) == 0 || errno == EEXIST);
    snprintf(path, sizeof path, "%s/cpu%u/topology", folder, cpu);
    CHECK(mkdir(path, 0700) == 0 || errno == EEXIST);
    snprintf(path, sizeof path, "%s/cpu%u/topology/thread_siblings_list", folder, cpu);
    FILE *file = fopen(path, "we");
    CHECK(file != NULL && fprintf(file, "%s\n", list) > 0 && fclose(file) == 0);
}

/* Whether the first two CPUs that this thread may use are one core. */
static void test_cores(int n_cpus) {
    char folder[] = "/tmp/test_cpus.XXXXXX", command[64], list[64];
    const uint32_t n = rsr_cpu_available(0);
    CHECK(mkdtemp(folder) != NULL);
    CHECK_INT(rsr_cpu_cores(0, folder), n); /* without information, each CPU counts as a core */
    if (n_cpus >= 2 && (int)n == n_cpus) {
        cpu_set_t mask;
        unsigned cpus[2], found = 0;
        CHECK(sched_getaffinity(0, sizeof mask, &mask) == 0);
        for (unsigned cpu = 0; cpu < CPU_SETSIZE && found < 2; cpu++)
            if (CPU_ISSET(cpu, &mask))
                cpus[found++] = cpu;
        static const char *const forms[] = {"%u,%u", "%u-%u"};
        for (size_t i = 0; i < 2; i++) {
            if (i == 1 && cpus[1] != cpus[0] + 1)
                continue;
            snprintf(list, sizeof list, forms[i], cpus[0], cpus[1]);
            write_siblings(folder, cpus[0], list);
            write_siblings(folder, cpus[1], list);
            CHECK_INT(rsr_cpu_cores(0, folder), n - 1);
            CHECK_INT(rsr_cpu_cores(2 * n, folder), n); /* on 2 n CPUs, two for each core */
        }
        snprintf(list, sizeof list, "%u,4000", cpus[0]); /* CPU 4000 is not ours */
        write_siblings(folder, cpus[0], list);
        write_siblings(folder, cpus[1], "a-b,,");
        CHECK_INT(rsr_cpu_cores(0, folder), n);
    }
    snprintf(command, sizeof command, "rm -r %s", folder);
    CHECK_INT(system(command), 0);
    CHECK(rsr_cpu_cores(0, RSR_CPU_FOLDER) <= n);
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "count") == 0) {
        printf("%u\n", rsr_cpu_available(rsr_cpu_placed()));
        return omp_get_max_threads() < 1; /* so that OpenMP is there, as in some programs */
    }
    const int n_cpus = take_all_cpus();
    if (n_cpus < 2)
        fprintf(stderr, "one CPU: binding makes no difference here\n");
    test_cores(n_cpus);
    test_binding(argv[0]);
    test_narrow_mask(argv[0]);
    return CHECK_EXIT();
}
