/* spawn.c - runs other programs without a shell, several at a time, their output captured. */
#include "base/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buffer.h"

extern char **environ;

/* Compilers repeat themselves: the beginning of their output says what is wrong. */
#define MAX_CAPTURE ((size_t)64 << 10)
#define MAX_JOBS 256

/* Process groups of running children, process-wide like the temporaries of mapped_file.c and for the
 * same reason: whatever ends the process must find them. */
static struct {
    pthread_mutex_t lock;
    bool closed;
    pid_t group[MAX_JOBS]; /* 0: free */
} children = {.lock = PTHREAD_MUTEX_INITIALIZER};

void rsrc_spawn_kill_all(void) {
    pthread_mutex_lock(&children.lock);
    children.closed = true;
    for (uint32_t i = 0; i < MAX_JOBS; i++)
        if (children.group[i] != 0)
            kill(-children.group[i], SIGKILL);
    pthread_mutex_unlock(&children.lock);
}

static void forget_child(pid_t pid) {
    pthread_mutex_lock(&children.lock);
    for (uint32_t i = 0; i < MAX_JOBS; i++)
        if (children.group[i] == pid)
            children.group[i] = 0;
    pthread_mutex_unlock(&children.lock);
}

struct job {
    const struct rsrc_command *command;
    pid_t pid;  /* 0: free slot */
    int output; /* read end of the child's stdout and stderr */
    struct rsrc_buffer text;
};

/* Commands may run in another directory, so their paths must not depend on ours. */
static const char *absolute_path(struct rsrc_arena *arena, const char *path) {
    char *here = path[0] == '/' ? NULL : getcwd(NULL, 0);
    if (here == NULL)
        return rsrc_arena_strdup(arena, path);
    const char *absolute = rsrc_arena_printf(arena, "%s/%s", here, path);
    free(here);
    return absolute;
}

static bool is_program(const char *path) {
    struct stat info;
    return access(path, X_OK) == 0 && stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

const char *rsrc_find_program(struct rsrc_arena *arena, const char *name) {
    if (strchr(name, '/') != NULL)
        return is_program(name) ? absolute_path(arena, name) : NULL;
    const char *path = getenv("PATH");
    while (path != NULL && *path != '\0') {
        const size_t n = strcspn(path, ":");
        const char *candidate = rsrc_arena_printf(arena, "%.*s/%s", (int)n, path, name);
        if (n != 0 && is_program(candidate))
            return absolute_path(arena, candidate);
        path += n + (path[n] == ':');
    }
    return NULL;
}

static void print_command(const struct rsrc_command *command) {
    struct rsrc_buffer line = {0};
    for (const char *const *arg = command->argv; *arg != NULL; arg++) {
        rsrc_buffer_puts(&line, " ");
        rsrc_buffer_put_c_string(&line, *arg);
    }
    fprintf(stderr, "%s\n", line.data);
    rsrc_buffer_free(&line);
}

static int start(struct job *job, const struct rsrc_command *command) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return errno;
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 2);
    if (command->directory != NULL)
        posix_spawn_file_actions_addchdir_np(&actions, command->directory);
    /* Our own threads block the signals that a dedicated thread waits for; children must not. */
    sigset_t none;
    sigemptyset(&none);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
    /* posix_spawn takes char *const[] for historical reasons and does not write to it. */
    char *const *argv = (char *const *)(uintptr_t)command->argv;
    pid_t pid = 0;
    pthread_mutex_lock(&children.lock);
    const int error = children.closed
                          ? ECANCELED
                          : posix_spawnp(&pid, argv[0], &actions, &attributes, argv, environ);
    for (uint32_t i = 0; i < MAX_JOBS && error == 0; i++) {
        if (children.group[i] == 0) {
            children.group[i] = pid;
            break;
        }
    }
    pthread_mutex_unlock(&children.lock);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    close(ends[1]);
    if (error != 0) {
        close(ends[0]);
        return error;
    }
    *job = (struct job){.command = command, .pid = pid, .output = ends[0]};
    return 0;
}

/* Reads what there is; false at end of file. */
static bool drain(struct job *job) {
    char bytes[4096];
    const ssize_t n = read(job->output, bytes, sizeof(bytes));
    if (n < 0)
        return errno == EINTR || errno == EAGAIN;
    if (n > 0 && job->text.size_bytes < MAX_CAPTURE)
        rsrc_buffer_append(&job->text, bytes, (size_t)n);
    return n > 0;
}

static enum rsrc_status finish(struct rsrc_diag *diag, struct job *job, bool report) {
    int code = 0;
    while (waitpid(job->pid, &code, 0) < 0 && errno == EINTR) {
    }
    forget_child(job->pid);
    close(job->output);
    const bool good = WIFEXITED(code) && WEXITSTATUS(code) == 0;
    if (!good && report) {
        const char *program = job->command->argv[0];
        if (WIFSIGNALED(code))
            rsrc_error(diag, "spawn-failed", NULL, "run with -v to see the whole command",
                       "%s was ended by signal %d\n%s", program, WTERMSIG(code),
                       job->text.data != NULL ? job->text.data : "");
        else
            rsrc_error(diag, "spawn-failed", NULL, "run with -v to see the whole command",
                       "%s failed with exit status %d\n%s", program, WEXITSTATUS(code),
                       job->text.data != NULL ? job->text.data : "");
    }
    rsrc_buffer_free(&job->text);
    *job = (struct job){0};
    return good ? RSRC_OK : RSRC_FAILED;
}

/* Waits for output or the end of any running job and collects the ended ones. */
static enum rsrc_status wait_some(struct rsrc_diag *diag, struct job *jobs, uint32_t n_jobs,
                                  uint32_t *n_running, bool report) {
    struct pollfd fds[MAX_JOBS];
    struct job *owner[MAX_JOBS];
    nfds_t n = 0;
    for (uint32_t i = 0; i < n_jobs; i++) {
        if (jobs[i].pid != 0) {
            fds[n] = (struct pollfd){.fd = jobs[i].output, .events = POLLIN};
            owner[n++] = &jobs[i];
        }
    }
    enum rsrc_status status = RSRC_OK;
    if (poll(fds, n, -1) < 0)
        return RSRC_OK;
    for (nfds_t i = 0; i < n; i++) {
        if (fds[i].revents == 0 || drain(owner[i]))
            continue;
        (*n_running)--;
        if (finish(diag, owner[i], report && status == RSRC_OK) != RSRC_OK)
            status = RSRC_FAILED;
    }
    return status;
}

enum rsrc_status rsrc_spawn_all(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                const struct rsrc_command *commands, uint32_t n_commands,
                                uint32_t n_jobs, bool print) {
    if (n_jobs < 1)
        n_jobs = 1;
    if (n_jobs > MAX_JOBS)
        n_jobs = MAX_JOBS;
    struct job *jobs = RSRC_NEW_ARRAY(arena, n_jobs, struct job);
    enum rsrc_status status = RSRC_OK;
    uint32_t next = 0, n_running = 0;
    while ((next < n_commands && status == RSRC_OK) || n_running > 0) {
        if (next < n_commands && n_running < n_jobs && status == RSRC_OK) {
            struct job *slot = jobs;
            while (slot->pid != 0)
                slot++;
            const struct rsrc_command *command = &commands[next++];
            if (print)
                print_command(command);
            const int error = start(slot, command);
            if (error != 0) {
                rsrc_error(diag, "spawn-missing", NULL, NULL, "cannot run %s: %s", command->argv[0],
                           strerror(error));
                status = RSRC_FAILED;
            } else {
                n_running++;
            }
            continue;
        }
        if (wait_some(diag, jobs, n_jobs, &n_running, status == RSRC_OK) != RSRC_OK)
            status = RSRC_FAILED;
    }
    return status;
}
