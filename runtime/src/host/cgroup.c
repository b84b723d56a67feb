/* cgroup.c - see cgroup.h. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cgroup.h"

int rsr_cgroup_read(const char *folder, const char *name, int64_t *first, int64_t *second) {
    char path[4200], line[64];
    if ((size_t)snprintf(path, sizeof(path), "%s/%s", folder, name) >= sizeof(path))
        return 0;
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return 0;
    int n = 0;
    if (fgets(line, sizeof(line), file) != NULL)
        n = sscanf(line, "%" SCNd64 " %" SCNd64, first, second);
    fclose(file);
    return n > 0 ? n : 0;
}

static uint64_t smaller(uint64_t a, uint64_t b) {
    return b == 0 || (a != 0 && a < b) ? a : b;
}

/* The smallest limit of `group` and its ancestors below `root`. */
static uint64_t limit_below(const char *root, const char *group,
                            uint64_t (*read_limit)(const char *folder)) {
    char folder[4160];
    uint64_t smallest = 0;
    if ((size_t)snprintf(folder, sizeof(folder), "%s%s", root, group) >= sizeof(folder))
        return 0;
    for (;;) {
        smallest = smaller(read_limit(folder), smallest);
        char *slash = strrchr(folder, '/');
        if (slash == NULL || (size_t)(slash - folder) < strlen(root))
            return smallest;
        *slash = '\0';
    }
}

/* Lines of /proc/self/cgroup: "0::/group" (v2) or "4:cpu,cpuacct:/group" (v1). */
uint64_t rsr_cgroup_limit(const struct rsr_cgroup_resource *resource) {
    uint64_t smallest = 0;
    char line[4096];
    FILE *file = fopen("/proc/self/cgroup", "re");
    if (file == NULL)
        return 0;
    while (fgets(line, sizeof(line), file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':');
        char *group = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
        if (group == NULL)
            continue;
        *group++ = '\0';
        controllers++;
        if (controllers[0] == '\0')
            smallest = smaller(limit_below("/sys/fs/cgroup", group, resource->read_v2), smallest);
        else if (strcmp(controllers, resource->controllers[0]) == 0 ||
                 strcmp(controllers, resource->controllers[1]) == 0)
            smallest = smaller(limit_below(resource->v1_root, group, resource->read_v1), smallest);
    }
    fclose(file);
    return smallest;
}
