/* shard_holes.c - for LD_PRELOAD: a file system that makes no holes. */
#include <errno.h>
#include <fcntl.h>

int fallocate(int fd, int mode, off_t begin, off_t n_bytes) {
    (void)fd;
    (void)mode;
    (void)begin;
    (void)n_bytes;
    errno = EOPNOTSUPP;
    return -1;
}
