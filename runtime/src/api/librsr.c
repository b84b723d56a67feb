/* librsr.c - the small library that applications link: opens a module and forwards every call to
 * the table of the module that made the object, so that modules of different ages live in one
 * process.
 *
 * A module stays loaded until the process ends: it is linked with -z nodelete, because its threads
 * and constant tables must outlive every object, so the handle is kept by nobody.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host/stack.h"
#include "runtime.h"

/* Measured: 21, of which the dynamic linker takes most. */
#define OPEN_STACK_BYTES ((size_t)32 << 10)

/* The table behind an object: its first member. */
static const struct rsr_api *api_of(const void *object) {
    const struct rsr_api *api;
    memcpy(&api, object, sizeof(api));
    return api;
}

static rsr_status refuse_null(rsr_error *err, const char *what) {
    return rsr_fail(err, RSR_ERR_ARGUMENT, "the %s is NULL", what);
}

/* ---- Opening ---- */

rsr_status rsr_open_query(const struct rsr_module *(*query)(uint32_t, const struct rsr_host *),
                          const rsr_open_options *options, rsr_model **model, rsr_error *err) {
    if (query == NULL || model == NULL)
        return refuse_null(err, query == NULL ? "query function" : "result pointer");
    const struct rsr_host host = {.size_bytes = sizeof(host), .abi_version = RSR_ABI_VERSION};
    const struct rsr_module *module = query(RSR_ABI_VERSION, &host);
    if (module == NULL)
        return rsr_fail(err, RSR_ERR_ABI,
                        "the module is newer than this librsr (%s, ABI %u); update librsr",
                        rsr_version(), RSR_ABI_VERSION);
    /* Of a module of another version only these two are sure to be where this library looks. */
    if (module->abi_version != RSR_ABI_VERSION || module->size_bytes != sizeof(*module))
        return rsr_fail(err, RSR_ERR_ABI,
                        "the module has ABI %u, this librsr reads %u; compile the model again",
                        module->abi_version, RSR_ABI_VERSION);
    if (module->api == NULL || module->api->size_bytes < sizeof(struct rsr_api))
        return rsr_fail(err, RSR_ERR_ABI,
                        "the module's runtime lacks functions of this librsr; compile again");
    return module->api->open(module, &host, options, model, err);
}

/* dlopen looks up a name without a slash in the library path; a model is a file. It also knows what
 * it has loaded by name first, whatever file has the name now: `number` of a file, unless it is NULL,
 * is spelled in front of its name, a bit as ./ or .//, so that another file has another path. Returns
 * owned. */
static char *file_path(const char *path, const struct stat *number) {
    const char *slash = strrchr(path, '/'), *name = slash == NULL ? path : slash + 1;
    const uint64_t words[] = {number == NULL ? 0 : number->st_dev,
                              number == NULL ? 0 : number->st_ino};
    const size_t n_bits = number == NULL ? 0 : 64 * sizeof(words) / sizeof(words[0]);
    char *result = malloc(strlen(path) + strlen("./") + n_bits * strlen(".//") + 1);
    if (result == NULL)
        return NULL;
    char *end = stpcpy(result, slash == NULL ? "./" : "");
    end = mempcpy(end, path, (size_t)(name - path));
    for (size_t i = 0; i < n_bits; i++)
        end = stpcpy(end, (words[i / 64] >> i % 64 & 1) != 0 ? ".//" : "./");
    strcpy(end, name);
    return result;
}

/* dlopen maps what the program headers say without looking at the file's size, and reading past the
 * end of a file that was cut off is SIGBUS. Checks that every segment is in the file. */
static rsr_status check_segments(int fd, uint64_t file_bytes, const char *path, rsr_error *err) {
    ElfW(Ehdr) header;
    if (pread(fd, &header, sizeof(header), 0) != (ssize_t)sizeof(header) ||
        memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_phentsize != sizeof(ElfW(Phdr)) ||
        header.e_phoff > file_bytes)
        return rsr_fail(err, RSR_ERR_FILE, "not a module that rsrc made: %s is no shared library",
                        path);
    for (unsigned i = 0; i < header.e_phnum; i++) {
        ElfW(Phdr) segment;
        const off_t at = (off_t)(header.e_phoff + i * sizeof(segment));
        const bool in_file = pread(fd, &segment, sizeof(segment), at) == (ssize_t)sizeof(segment);
        if (!in_file ||
            (segment.p_type == PT_LOAD &&
             (segment.p_offset > file_bytes || segment.p_filesz > file_bytes - segment.p_offset)))
            return rsr_fail(err, RSR_ERR_FILE,
                            "%s is cut off: its %llu bytes end before its last segment does", path,
                            (unsigned long long)file_bytes);
    }
    return RSR_OK;
}

static rsr_status check_file(const char *path, struct stat *info, rsr_error *err) {
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not block */
    if (fd < 0 || fstat(fd, info) != 0) {
        const int reason = errno;
        if (fd >= 0)
            close(fd);
        return rsr_fail(err, RSR_ERR_FILE, "%s: %s", path, strerror(reason));
    }
    rsr_status status =
        S_ISREG(info->st_mode)
            ? check_segments(fd, (uint64_t)info->st_size, path, err)
            : rsr_fail(err, RSR_ERR_FILE, "not a module that rsrc made: %s is not a file", path);
    close(fd);
    return status;
}

static rsr_status load_file(const char *path, const struct stat *info, void **handle,
                            rsr_error *err) {
    char *file = file_path(path, NULL), *numbered = file_path(path, info);
    rsr_status status = RSR_OK;
    if (file == NULL || numbered == NULL) {
        status = rsr_fail(err, RSR_ERR_MEMORY, "no memory for a path");
    } else {
        void *known = dlopen(file, RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD);
        if (known != NULL)
            dlclose(known);
        const char *name = known == NULL ? file : numbered;
        void *loaded = dlopen(name, RTLD_NOW | RTLD_LOCAL);
        if (loaded != NULL) {
            *handle = loaded;
        } else {
            const char *why = dlerror();
            if (strncmp(why, name, strlen(name)) == 0)
                why += strlen(name) + strspn(why + strlen(name), ": ");
            status = rsr_fail(err, RSR_ERR_FILE,
                              "cannot load %s, perhaps not a module that rsrc made: %s", file, why);
        }
    }
    free(file);
    free(numbered);
    return status;
}

rsr_status rsr_open(const char *path, const rsr_open_options *options, rsr_model **model,
                    rsr_error *err) {
    struct stat info;
    void *handle = NULL;
    if (path == NULL || model == NULL)
        return refuse_null(err, path == NULL ? "path" : "result pointer");
    rsr_status status = rsr_check_stack(NULL, OPEN_STACK_BYTES, "rsr_open", err);
    if (status == RSR_OK)
        status = check_file(path, &info, err);
    if (status == RSR_OK)
        status = load_file(path, &info, &handle, err);
    if (status != RSR_OK)
        return status;
    void *symbol = dlsym(handle, "rsr_module_query");
    if (symbol == NULL) {
        dlclose(handle);
        return rsr_fail(err, RSR_ERR_FILE,
                        "%s is a shared library, but not a module that rsrc made", path);
    }
    rsr_module_query_fn *query;
    memcpy(&query, &symbol, sizeof(query)); /* ISO C has no cast from void * to a function */
    status = rsr_open_query(query, options, model, err);
    if (status != RSR_OK)
        dlclose(handle);
    return status;
}

void rsr_close(rsr_model *model) {
    if (model != NULL)
        api_of(model)->close(model);
}

const char *rsr_version(void) {
    return RSRC_VERSION;
}

/* ---- Forwards ---- */

rsr_status rsr_model_get_info(const rsr_model *model, rsr_model_info *info) {
    return model == NULL ? RSR_ERR_ARGUMENT : api_of(model)->model_get_info(model, info);
}

rsr_status rsr_model_get_kernel(const rsr_model *model, uint32_t index, rsr_kernel_info *info) {
    return model == NULL ? RSR_ERR_ARGUMENT : api_of(model)->model_get_kernel(model, index, info);
}

rsr_status rsr_tokenize(const rsr_model *model, const char *text, size_t text_bytes, uint32_t flags,
                        uint32_t *tokens, size_t capacity, size_t *n_tokens, rsr_error *err) {
    if (model == NULL)
        return refuse_null(err, "model");
    return api_of(model)->tokenize(model, text, text_bytes, flags, tokens, capacity, n_tokens, err);
}

rsr_status rsr_detokenize(const rsr_model *model, const uint32_t *tokens, size_t n_tokens,
                          bool skip_special, char *text, size_t capacity, size_t *text_bytes,
                          rsr_error *err) {
    if (model == NULL)
        return refuse_null(err, "model");
    return api_of(model)->detokenize(model, tokens, n_tokens, skip_special, text, capacity,
                                     text_bytes, err);
}

rsr_status rsr_detokenizer_create(const rsr_model *model, uint32_t flags,
                                  rsr_detokenizer **detokenizer, rsr_error *err) {
    if (model == NULL)
        return refuse_null(err, "model");
    return api_of(model)->detokenizer_create(model, flags, detokenizer, err);
}

void rsr_detokenizer_destroy(rsr_detokenizer *detokenizer) {
    if (detokenizer != NULL)
        api_of(detokenizer)->detokenizer_destroy(detokenizer);
}

rsr_status rsr_detokenizer_push(rsr_detokenizer *detokenizer, uint32_t token, const char **text,
                                size_t *text_bytes, rsr_error *err) {
    if (detokenizer == NULL)
        return refuse_null(err, "detokenizer");
    return api_of(detokenizer)->detokenizer_push(detokenizer, token, text, text_bytes, err);
}

rsr_status rsr_detokenizer_finish(rsr_detokenizer *detokenizer, const char **text,
                                  size_t *text_bytes, rsr_error *err) {
    if (detokenizer == NULL)
        return refuse_null(err, "detokenizer");
    return api_of(detokenizer)->detokenizer_finish(detokenizer, text, text_bytes, err);
}

rsr_status rsr_model_get_token(const rsr_model *model, uint32_t token, char *bytes, size_t capacity,
                               size_t *n_bytes, rsr_token_info *info, rsr_error *err) {
    if (model == NULL)
        return refuse_null(err, "model");
    return api_of(model)->model_get_token(model, token, bytes, capacity, n_bytes, info, err);
}

rsr_status rsr_chat_format(const rsr_model *model, const rsr_message *messages, size_t n_messages,
                           bool add_generation_prompt, char *text, size_t capacity,
                           size_t *text_bytes, rsr_error *err) {
    if (model == NULL)
        return refuse_null(err, "model");
    return api_of(model)->chat_format(model, messages, n_messages, add_generation_prompt, text,
                                      capacity, text_bytes, err);
}

rsr_status rsr_engine_create(rsr_model *model, const rsr_engine_options *options,
                             rsr_engine **engine, rsr_error *err) {
    if (model == NULL)
        return refuse_null(err, "model");
    return api_of(model)->engine_create(model, options, engine, err);
}

void rsr_engine_destroy(rsr_engine *engine) {
    if (engine != NULL)
        api_of(engine)->engine_destroy(engine);
}

rsr_status rsr_engine_get_info(const rsr_engine *engine, rsr_engine_info *info) {
    return engine == NULL ? RSR_ERR_ARGUMENT : api_of(engine)->engine_get_info(engine, info);
}

rsr_status rsr_engine_profile(rsr_engine *engine, bool enable, rsr_profile_entry *entries,
                              size_t capacity, size_t *n_entries) {
    if (engine == NULL)
        return RSR_ERR_ARGUMENT;
    return api_of(engine)->engine_profile(engine, enable, entries, capacity, n_entries);
}

rsr_status rsr_engine_attention_stats(rsr_engine *engine, bool reset, rsr_attention_stats *stats) {
    if (engine == NULL)
        return RSR_ERR_ARGUMENT;
    return api_of(engine)->engine_attention_stats(engine, reset, stats);
}

rsr_status rsr_engine_head_stats(rsr_engine *engine, bool reset, rsr_head_stats *stats) {
    if (engine == NULL)
        return RSR_ERR_ARGUMENT;
    return api_of(engine)->engine_head_stats(engine, reset, stats);
}

rsr_status rsr_sequence_create(rsr_engine *engine, rsr_sequence **sequence, rsr_error *err) {
    if (engine == NULL)
        return refuse_null(err, "engine");
    return api_of(engine)->sequence_create(engine, sequence, err);
}

void rsr_sequence_destroy(rsr_sequence *sequence) {
    if (sequence != NULL)
        api_of(sequence)->sequence_destroy(sequence);
}

uint32_t rsr_sequence_length(const rsr_sequence *sequence) {
    return sequence == NULL ? 0 : api_of(sequence)->sequence_length(sequence);
}

const uint32_t *rsr_sequence_tokens(const rsr_sequence *sequence) {
    return sequence == NULL ? NULL : api_of(sequence)->sequence_tokens(sequence);
}

rsr_status rsr_sequence_truncate(rsr_sequence *sequence, uint32_t length, rsr_error *err) {
    if (sequence == NULL)
        return refuse_null(err, "sequence");
    return api_of(sequence)->sequence_truncate(sequence, length, err);
}

rsr_status rsr_sequence_fork(rsr_sequence *sequence, rsr_sequence **fork, rsr_error *err) {
    if (sequence == NULL)
        return refuse_null(err, "sequence");
    return api_of(sequence)->sequence_fork(sequence, fork, err);
}

rsr_status rsr_sequence_read_kv(rsr_sequence *sequence, uint32_t position, uint32_t layer,
                                float *keys, float *values, rsr_error *err) {
    if (sequence == NULL)
        return refuse_null(err, "sequence");
    return api_of(sequence)->sequence_read_kv(sequence, position, layer, keys, values, err);
}

void rsr_cancel_request(rsr_cancel *cancel) {
    __atomic_store_n(&cancel->requested, 1, __ATOMIC_RELAXED);
}

rsr_status rsr_eval(rsr_engine *engine, const rsr_batch *batch, rsr_error *err) {
    if (engine == NULL)
        return refuse_null(err, "engine");
    return api_of(engine)->eval(engine, batch, err);
}

rsr_status rsr_embed(rsr_engine *engine, const uint32_t *const *tokens, const size_t *n_tokens,
                     size_t n_texts, const rsr_embed_options *options, float *embeddings,
                     size_t capacity, rsr_error *err) {
    if (engine == NULL)
        return refuse_null(err, "engine");
    return api_of(engine)->embed(engine, tokens, n_tokens, n_texts, options, embeddings, capacity,
                                 err);
}

rsr_status rsr_sample(const rsr_model *model, const rsr_sampling *sampling, const float *logits,
                      const uint32_t *history, size_t n_history, uint32_t *token, rsr_error *err) {
    if (model == NULL)
        return refuse_null(err, "model");
    return api_of(model)->sample(model, sampling, logits, history, n_history, token, err);
}

rsr_status rsr_generate(rsr_engine *engine, rsr_sequence *sequence, const char *prompt,
                        size_t prompt_bytes, const rsr_generate_options *options,
                        rsr_generate_fn *callback, void *user, rsr_generate_result *result,
                        rsr_error *err) {
    if (engine == NULL)
        return refuse_null(err, "engine");
    return api_of(engine)->generate(engine, sequence, prompt, prompt_bytes, options, callback, user,
                                    result, err);
}
