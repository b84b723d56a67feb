/* cgroup.h - limits that control groups (v1 and v2) set for this process. */
#ifndef RSR_CGROUP_H
#define RSR_CGROUP_H

#include <stdint.h>

/* Where the limits of one resource are. Each reader returns the limit in a group's folder; 0:
 * none. */
struct rsr_cgroup_resource {
    const char *controllers[2]; /* as /proc/self/cgroup names version 1's; may repeat */
    const char *v1_root;        /* where version 1 is mounted */
    uint64_t (*read_v1)(const char *folder);
    uint64_t (*read_v2)(const char *folder);
};

/* The smallest limit of the process's groups and their ancestors; 0: none. Files that cannot be
 * read set none. */
uint64_t rsr_cgroup_limit(const struct rsr_cgroup_resource *resource);

/* Reads the first number in FOLDER/NAME, and the second if two are wanted. Returns how many there
 * are; "max" counts as 0 numbers. */
int rsr_cgroup_read(const char *folder, const char *name, int64_t *first, int64_t *second);

#endif
