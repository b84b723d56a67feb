/* rsr_run_kv.c - --load-kv and --save-kv: keys and values that outlive the program. */
#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "rsr_run.h"

/* Whether the folder takes a file. */
static bool is_writable(const char *path) {
    struct run_text copy = {0};
    run_text_append(&copy, path, strlen(path));
    const bool ok = access(dirname(copy.data), W_OK | X_OK) == 0;
    free(copy.data);
    return ok;
}

bool run_kv_check(const struct run_session *session) {
    const struct run_options *o = session->options;
    struct stat info;
    if ((o->load_kv || o->save_kv) && (session->info.pooling || o->pooling)) {
        run_fail("%s has no meaning with an embedding", o->load_kv ? "--load-kv" : "--save-kv");
        return false;
    }
    if (o->load_kv && (o->qkv_file || o->logprobs)) {
        run_fail("%s and --load-kv exclude each other: of tokens from a file only keys and values "
                 "are known",
                 o->qkv_file ? "--dump-qkv" : "--logprobs");
        return false;
    }
    if (!o->save_kv)
        return true;
    const bool exists = stat(o->save_kv, &info) == 0;
    if (o->save_kv[0] == '\0') {
        run_fail("--save-kv needs the name of a file");
        return false;
    }
    if (exists && (run_is_file(&info, o->model) || run_is_file(&info, o->prompt_file) ||
                   run_is_file(&info, o->schema_file) || run_is_file(&info, o->grammar_file))) {
        run_fail("--save-kv would replace %s, which this run reads", o->save_kv);
        return false;
    }
    if ((!exists || S_ISREG(info.st_mode)) && is_writable(o->save_kv))
        return true;
    run_fail("cannot write %s: %s", o->save_kv,
             exists && !S_ISREG(info.st_mode) ? "it is no file" : strerror(errno));
    return false;
}

rsr_status run_begin_sequence(struct run_session *session, rsr_error *err) {
    const char *path = session->options->load_kv;
    return path ? rsr_sequence_load(session->engine, path, &session->sequence, err)
                : rsr_sequence_create(session->engine, &session->sequence, err);
}

bool run_keep_common(const struct run_session *session, const uint32_t *tokens, size_t n_tokens) {
    rsr_sequence *sequence = session->sequence;
    const uint32_t *held = rsr_sequence_tokens(sequence), n_held = rsr_sequence_length(sequence);
    uint32_t n = 0;
    while (n < n_held && n + 1 < n_tokens && held[n] == tokens[n])
        n++;
    rsr_error err = RSR_ERROR_INIT;
    if (rsr_sequence_truncate(sequence, n, &err) == RSR_OK)
        return true;
    run_fail("%s", err.message);
    return false;
}

int run_save_kv(const struct run_session *session) {
    rsr_error err = RSR_ERROR_INIT;
    if (rsr_sequence_save(session->sequence, session->options->save_kv, &err) == RSR_OK)
        return 0;
    return run_fail("%s", err.message);
}
