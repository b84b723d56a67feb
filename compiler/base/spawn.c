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
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/buffer.h"

extern char **environ;

/* Compilers repeat themselves: the beginning of their output says what is wrong. */
#define MAX_CAPTURE ((size_t)64 << 10)
#define MAX_JOBS 256

/* Process groups of running children, process-wide like the temporaries of mapped_file.c and for
 * the same reason: whatever ends the process must find them. */
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
    struct timespec start;
    struct rsrc_buffer text;
};

const char *rsrc_absolute_path(struct rsrc_arena *arena, const char *path) {
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
        return is_program(name) ? rsrc_absolute_path(arena, name) : NULL;
    const char *path = getenv("PATH");
    while (path != NULL && *path != '\0') {
        const size_t n = strcspn(path, ":");
        const char *candidate = rsrc_arena_printf(arena, "%.*s/%s", (int)n, path, name);
        if (n != 0 && is_program(candidate))
            return rsrc_absolute_path(arena, candidate);
        path += n + (path[n] == ':');
    }
    return NULL;
}

enum rsrc_status rsrc_find_tool(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                const struct rsrc_tool *tool, const char **out) {
    const char *asked = tool->option, *source = tool->option_name;
    if (asked == NULL) {
        asked = getenv(tool->variable);
        source = tool->variable;
    }
    if (asked != NULL && asked[0] != '\0') {
        *out = rsrc_find_program(arena, asked);
        if (*out == NULL)
            return rsrc_refuse(diag, "tool-missing", NULL, NULL,
                               "%s names '%s', which cannot be run", source, asked);
        return RSRC_OK;
    }
    *out = NULL;
    for (uint32_t i = 0; i < tool->n_names && *out == NULL; i++)
        *out = rsrc_find_program(arena, tool->names[i]);
    return RSRC_OK;
}

/* Prints a word as a shell needs it: plain, in single quotes, or with escapes where a terminal
 * would interpret it. */
static void put_quoted(struct rsrc_buffer *out, const char *arg) {
    static const char PLAIN[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "_-+=./,:@%";
    if (arg[0] != '\0' && strspn(arg, PLAIN) == strlen(arg)) {
        rsrc_buffer_puts(out, arg);
        return;
    }
    bool printable = true;
    for (const char *c = arg; *c != '\0'; c++)
        printable &= *c >= ' ' && *c <= '~';
    rsrc_buffer_puts(out, printable ? "'" : "$'");
    for (const char *c = arg; *c != '\0'; c++) {
        if (printable && *c == '\'')
            rsrc_buffer_puts(out, "'\\''");
        else if (printable || (*c >= ' ' && *c <= '~' && *c != '\'' && *c != '\\'))
            rsrc_buffer_append(out, c, 1);
        else
            rsrc_buffer_printf(out, "\\%03o", (unsigned)(unsigned char)*c);
    }
    rsrc_buffer_puts(out, "'");
}

static void print_command(const struct rsrc_command *command) {
    struct rsrc_buffer line = {0};
    if (command->directory != NULL) {
        rsrc_buffer_puts(&line, " cd ");
        put_quoted(&line, command->directory);
        rsrc_buffer_puts(&line, " &&");
    }
    for (const char *const *arg = command->argv; *arg != NULL; arg++) {
        rsrc_buffer_puts(&line, " ");
        put_quoted(&line, *arg);
    }
    fprintf(stderr, "%s\n", line.data);
    rsrc_buffer_free(&line);
}

/* The environment of a command with a directory. Its TMPDIR is that directory, so that temporaries
 * of a killed compiler are removed with the directory. The caller frees the list. */
static char **environment_there(void) {
    static char here[] = "TMPDIR=.";
    size_t n = 0, n_copied = 0;
    while (environ[n] != NULL)
        n++;
    char **copy = calloc(n + 2, sizeof(*copy));
    if (copy == NULL)
        rsrc_out_of_memory(n * sizeof(*copy));
    copy[n_copied++] = here;
    for (size_t i = 0; i < n; i++)
        if (strncmp(environ[i], "TMPDIR=", 7) != 0)
            copy[n_copied++] = environ[i];
    return copy;
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
    char **own = command->directory != NULL ? environment_there() : NULL;
    pid_t pid = 0;
    pthread_mutex_lock(&children.lock);
    const int error = children.closed ? ECANCELED
                                      : posix_spawnp(&pid, argv[0], &actions, &attributes, argv,
                                                     own != NULL ? own : environ);
    for (uint32_t i = 0; i < MAX_JOBS && error == 0; i++) {
        if (children.group[i] == 0) {
            children.group[i] = pid;
            break;
        }
    }
    pthread_mutex_unlock(&children.lock);
    free(own);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    close(ends[1]);
    if (error != 0) {
        close(ends[0]);
        return error;
    }
    *job = (struct job){.command = command, .pid = pid, .output = ends[0]};
    clock_gettime(CLOCK_MONOTONIC, &job->start);
    return 0;
}

/* Reads the available bytes; false at end of file. */
static bool drain(struct job *job) {
    char bytes[4096];
    const ssize_t n = read(job->output, bytes, sizeof(bytes));
    if (n < 0)
        return errno == EINTR || errno == EAGAIN;
    if (n > 0 && job->text.size_bytes < MAX_CAPTURE)
        rsrc_buffer_append(&job->text, bytes, (size_t)n);
    return n > 0;
}

static double seconds(struct timeval time) {
    return (double)time.tv_sec + (double)time.tv_usec * 1e-6;
}

static void add_usage(const struct job *job, const struct rusage *resources,
                      struct rsrc_spawn_usage *usage) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    const uint64_t peak = (uint64_t)resources->ru_maxrss * 1024;
    usage->n_commands++;
    usage->wall_s += (double)(now.tv_sec - job->start.tv_sec) +
                     (double)(now.tv_nsec - job->start.tv_nsec) * 1e-9;
    usage->cpu_s += seconds(resources->ru_utime) + seconds(resources->ru_stime);
    if (peak > usage->peak_bytes)
        usage->peak_bytes = peak;
}

static enum rsrc_status finish(struct rsrc_diag *diag, struct job *job,
                               struct rsrc_spawn_usage *usage, bool report) {
    int code = 0;
    struct rusage resources = {0};
    while (wait4(job->pid, &code, 0, &resources) < 0 && errno == EINTR) {
    }
    if (usage != NULL)
        add_usage(job, &resources, usage);
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

/* The jobs of one call. */
struct pool {
    struct rsrc_diag *diag;
    const struct rsrc_spawn_options *options;
    struct job *jobs;
    uint32_t n_jobs, n_running, n_done, n_commands;
    enum rsrc_status status;
};

/* Waits for output or the end of any running job and collects the ended ones. */
static void wait_some(struct pool *pool) {
    struct pollfd fds[MAX_JOBS];
    struct job *owner[MAX_JOBS];
    nfds_t n = 0;
    for (uint32_t i = 0; i < pool->n_jobs; i++) {
        if (pool->jobs[i].pid != 0) {
            fds[n] = (struct pollfd){.fd = pool->jobs[i].output, .events = POLLIN};
            owner[n++] = &pool->jobs[i];
        }
    }
    if (poll(fds, n, -1) < 0)
        return;
    for (nfds_t i = 0; i < n; i++) {
        if (fds[i].revents == 0 || drain(owner[i]))
            continue;
        pool->n_running--;
        if (finish(pool->diag, owner[i], pool->options->usage, pool->status == RSRC_OK) != RSRC_OK)
            pool->status = RSRC_FAILED;
        else if (pool->options->progress != NULL)
            pool->options->progress(pool->options->context, ++pool->n_done, pool->n_commands);
    }
}

static void start_command(struct pool *pool, const struct rsrc_command *command) {
    if (pool->options->print || pool->options->dry_run)
        print_command(command);
    if (pool->options->dry_run)
        return;
    struct job *slot = pool->jobs;
    while (slot->pid != 0)
        slot++;
    const int error = start(slot, command);
    if (error == 0) {
        pool->n_running++;
        return;
    }
    rsrc_error(pool->diag, "spawn-missing", NULL, NULL, "cannot run %s: %s", command->argv[0],
               strerror(error));
    pool->status = RSRC_FAILED;
}

enum rsrc_status rsrc_spawn_all(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                const struct rsrc_command *commands, uint32_t n_commands,
                                const struct rsrc_spawn_options *options) {
    struct pool pool = {.diag = diag, .options = options, .n_commands = n_commands};
    pool.n_jobs = options->n_jobs < 1 ? 1 : options->n_jobs > MAX_JOBS ? MAX_JOBS : options->n_jobs;
    pool.jobs = RSRC_NEW_ARRAY(arena, pool.n_jobs, struct job);
    uint32_t next = 0;
    while ((next < n_commands && pool.status == RSRC_OK) || pool.n_running > 0) {
        if (next < n_commands && pool.n_running < pool.n_jobs && pool.status == RSRC_OK)
            start_command(&pool, &commands[next++]);
        else
            wait_some(&pool);
    }
    return pool.status;
}
