/* process.c - the installed tree around the executable; signals. */
#include "base/process.h"

#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/mapped_file.h"
#include "base/spawn.h"

static const char *program = "rsrc";

void rsrc_set_program(const char *name) {
    program = name;
}

const char *rsrc_program(void) {
    return program;
}

const char *rsrc_beside_executable(struct rsrc_arena *arena, const char *relative) {
    char path[PATH_MAX];
    const ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
    if (n <= 0)
        return NULL;
    path[n] = '\0';
    char *slash = strrchr(path, '/');
    if (slash == NULL)
        return NULL;
    *slash = '\0';
    return rsrc_arena_printf(arena, "%s/../%s", path, relative);
}

static void fill_signals(sigset_t *signals) {
    sigemptyset(signals);
    sigaddset(signals, SIGINT);
    sigaddset(signals, SIGTERM);
    sigaddset(signals, SIGHUP);
}

/* One thread waits for signals. It may use ordinary functions to clean up; a handler might not.
 * Children are in process groups of their own, and this thread ends them. */
static void *wait_for_signal(void *unused) {
    (void)unused;
    sigset_t signals;
    fill_signals(&signals);
    int signal_number = 0;
    sigwait(&signals, &signal_number);
    rsrc_spawn_kill_all();
    rsrc_remove_temporaries_and_block();
    _exit(128 + signal_number);
}

static void say_in_handler(const char *text) {
    const ssize_t ignored = write(STDERR_FILENO, text, strlen(text));
    (void)ignored;
}

/* Our own read of a mapped file raised it, so we hold no lock and no call is interrupted. */
static void input_was_cut(int signal_number) {
    (void)signal_number;
    say_in_handler(program);
    say_in_handler(": error: an input file was cut while it was being read [file-unreadable]\n"
                   "  help: wait until the file is complete and run again\n");
    rsrc_spawn_kill_all();
    rsrc_remove_temporaries_and_block();
    _exit(1);
}

/* Our own write to stdout or stderr raised it; nobody reads messages any more. */
static void reader_is_gone(int signal_number) {
    rsrc_spawn_kill_all();
    rsrc_remove_temporaries_and_block();
    signal(signal_number, SIG_DFL);
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, signal_number);
    raise(signal_number);
    pthread_sigmask(SIG_UNBLOCK, &signals, NULL);
}

void rsrc_watch_signals(void) {
    sigset_t signals;
    fill_signals(&signals);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    /* A file-size limit makes write() fail instead of ending the process. The same holds for a
     * closed pipe if our parent ignores SIGPIPE. */
    signal(SIGXFSZ, SIG_IGN);
    if (signal(SIGPIPE, reader_is_gone) == SIG_IGN)
        signal(SIGPIPE, SIG_IGN);
    signal(SIGBUS, input_was_cut);
    pthread_t thread;
    if (pthread_create(&thread, NULL, wait_for_signal, NULL) == 0)
        pthread_detach(thread);
    else
        pthread_sigmask(SIG_UNBLOCK, &signals, NULL);
}
