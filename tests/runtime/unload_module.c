/* Repeatedly opens a module, computes and closes it: afterwards its file must not be mapped, and
 * memory must not have grown.
 *     unload_module FILE ROUNDS [THREADS...]
 * FILE includes its folder. Prints "mapped" or "not mapped" where this is checked. Exits 1 if
 * memory has grown. */
#include <dirent.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "rsr.h"

#define MUST(call)                                                                                 \
    do {                                                                                           \
        if ((call) != RSR_OK) {                                                                    \
            printf("line %d: %s\n", __LINE__, err.message);                                        \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static rsr_error err = RSR_ERROR_INIT;

struct state {
    unsigned of_file, mappings, threads;
    size_t heap_bytes;
};

static struct state look(const char *path) {
    struct state state = {.heap_bytes = mallinfo2().uordblks};
    const char *name = strrchr(path, '/');
    FILE *maps = fopen("/proc/self/maps", "r");
    DIR *tasks = opendir("/proc/self/task");
    char line[4096];
    while (fgets(line, sizeof(line), maps) != NULL) {
        state.mappings++;
        state.of_file += strstr(line, name) != NULL;
    }
    for (const struct dirent *entry; (entry = readdir(tasks)) != NULL;)
        state.threads += entry->d_name[0] != '.';
    fclose(maps);
    closedir(tasks);
    return state;
}

static void tell(const char *when, const char *path) {
    printf("%s: %s\n", when, look(path).of_file != 0 ? "mapped" : "not mapped");
}

static rsr_model *open_model(const char *path) {
    rsr_model *model = NULL;
    MUST(rsr_open(path, NULL, &model, &err));
    return model;
}

static void compute(rsr_model *model, unsigned n_threads) {
    rsr_engine_options options = RSR_ENGINE_OPTIONS_INIT;
    rsr_engine *engine = NULL;
    rsr_sequence *sequence = NULL;
    options.n_threads = n_threads;
    MUST(rsr_engine_create(model, &options, &engine, &err));
    MUST(rsr_sequence_create(engine, &sequence, &err));
    MUST(rsr_generate(engine, sequence, "ab", 2, NULL, NULL, NULL, NULL, &err));
    rsr_sequence_destroy(sequence);
    rsr_engine_destroy(engine);
}

static void close_in_child(rsr_model *model, const char *path) {
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        rsr_close(model);
        tell("closed by a child", path);
        fflush(stdout);
        _exit(0);
    }
    waitpid(child, NULL, 0);
}

int main(int argc, char **argv) {
    const char *path = argv[1];
    rsr_model *first = open_model(path), *second = open_model(path);
    compute(first, 2);
    rsr_close(first);
    tell("another is open", path);
    compute(second, 2);
    close_in_child(second, path);
    rsr_close(second);
    tell("closed", path);
    struct state begin = {0};
    for (int i = 0; i < atoi(argv[2]); i++) {
        for (int k = 3; k < argc; k++) {
            rsr_model *model = open_model(path);
            compute(model, (unsigned)atoi(argv[k]));
            rsr_close(model);
            if (look(path).of_file != 0) {
                tell("closed", path);
                return 1;
            }
        }
        if (i == 10)
            begin = look(path);
    }
    struct state end = look(path);
    for (int i = 0; i < 200 && end.threads > begin.threads; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 10 * 1000 * 1000}, NULL); /* joined, not yet gone */
        end = look(path);
    }
    const bool grown = end.mappings > begin.mappings + 4 || end.threads > begin.threads ||
                       end.heap_bytes > begin.heap_bytes + 1024;
    printf("%s: mappings %u to %u, threads %u, bytes %zu to %zu\n", grown ? "grown" : "as before",
           begin.mappings, end.mappings, end.threads, begin.heap_bytes, end.heap_bytes);
    return grown;
}
