/* librsr.c - the small library that applications link: opens a module and forwards every call to
 * the table of the module that made the object, so that modules of different ages live in one
 * process.
 *
 * A module stays loaded until the process ends: it is linked with -z nodelete, because its threads
 * and constant tables must outlive every object, so the handle is kept by nobody.
 */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "host/stack.h"
#include "rsr_module_file.h"
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

static rsr_status refuse_newer(rsr_error *err) {
    return rsr_fail(err, RSR_ERR_ABI,
                    "the module is newer than this librsr (%s, ABI %u); update librsr",
                    rsr_version(), RSR_ABI_VERSION);
}

static rsr_status refuse_older(uint32_t abi_version, rsr_error *err) {
    return rsr_fail(err, RSR_ERR_ABI,
                    "the module has ABI %u, this librsr reads %u; compile the model again",
                    abi_version, RSR_ABI_VERSION);
}

static rsr_status open_query(rsr_module_query_fn *query, const rsr_open_options *options,
                             rsr_model **model, rsr_error *err) {
    const struct rsr_host host = {.size_bytes = sizeof(host), .abi_version = RSR_ABI_VERSION};
    const struct rsr_module *module = query(RSR_ABI_VERSION, &host);
    if (module == NULL)
        return refuse_newer(err);
    /* Of a module of another version only these two are sure to be where this library looks. */
    if (module->abi_version != RSR_ABI_VERSION || module->size_bytes != sizeof(*module))
        return refuse_older(module->abi_version, err);
    if (module->api == NULL || module->api->size_bytes < sizeof(struct rsr_api))
        return rsr_fail(err, RSR_ERR_ABI,
                        "the module's runtime lacks functions of this librsr; compile again");
    return module->api->open(module, &host, options, model, err);
}

/* What librsr needs of the options; the module's runtime reads the others. */
static rsr_status read_flags(const rsr_open_options *given, uint64_t *flags, rsr_error *err) {
    rsr_open_options options = RSR_OPEN_OPTIONS_INIT;
    if (given != NULL && given->size_bytes < sizeof(options))
        return RSR_OK; /* of an application that does not know them */
    if (given != NULL)
        options.flags = given->flags;
    if ((options.flags & ~(uint64_t)RSR_OPEN_VERIFY) != 0)
        return rsr_fail(err, RSR_ERR_ARGUMENT,
                        "flags has a bit that this librsr (%s) does not know", rsr_version());
    *flags = options.flags;
    return RSR_OK;
}

rsr_status rsr_open_query(const struct rsr_module *(*query)(uint32_t, const struct rsr_host *),
                          const rsr_open_options *options, rsr_model **model, rsr_error *err) {
    uint64_t flags = 0;
    if (query == NULL || model == NULL)
        return refuse_null(err, query == NULL ? "query function" : "result pointer");
    const rsr_status status = read_flags(options, &flags, err);
    if (status != RSR_OK)
        return status;
    if ((flags & RSR_OPEN_VERIFY) != 0)
        return rsr_fail(err, RSR_ERR_ARGUMENT,
                        "RSR_OPEN_VERIFY is of files: rsr_verify() before they are loaded");
    return open_query(query, options, model, err);
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

/* By what its note says. */
static rsr_status check_note(const struct rsr_note *note, const char *path, rsr_error *err) {
    if (note->kind != RSR_NOTE_MODEL)
        return rsr_fail(err, RSR_ERR_FILE,
                        "%s is a library of matrices, and no model: call its functions", path);
    if (note->abi_version > RSR_ABI_VERSION)
        return refuse_newer(err);
    return note->abi_version == RSR_ABI_VERSION ? RSR_OK : refuse_older(note->abi_version, err);
}

/* dlopen goes by the name, which may have become another file's since the note was read. */
static rsr_status check_still_there(const char *path, const struct stat *info, rsr_error *err) {
    struct stat now;
    if (stat(path, &now) == 0 && now.st_dev == info->st_dev && now.st_ino == info->st_ino &&
        now.st_size == info->st_size && now.st_mtim.tv_sec == info->st_mtim.tv_sec &&
        now.st_mtim.tv_nsec == info->st_mtim.tv_nsec)
        return RSR_OK;
    return rsr_fail(err, RSR_ERR_FILE, "%s was replaced while it was opened; open it again", path);
}

static rsr_status open_handle(void *handle, const char *path, const rsr_open_options *options,
                              rsr_model **model, rsr_error *err) {
    void *symbol = dlsym(handle, "rsr_module_query");
    if (symbol == NULL)
        return rsr_fail(err, RSR_ERR_FILE, "%s does not export rsr_module_query", path);
    rsr_module_query_fn *query;
    memcpy(&query, &symbol, sizeof(query)); /* ISO C has no cast from void * to a function */
    return open_query(query, options, model, err);
}

/* Of a file whose note has been read. */
static rsr_status open_file(const struct rsr_module_file *file, const char *path,
                            const rsr_open_options *options, rsr_model **model, rsr_error *err) {
    uint64_t flags = 0;
    void *handle = NULL;
    rsr_status status = check_note(&file->note, path, err);
    if (status == RSR_OK)
        status = read_flags(options, &flags, err);
    if (status == RSR_OK && (flags & RSR_OPEN_VERIFY) != 0)
        status = rsr_module_file_verify(file, path, NULL, NULL, err);
    if (status == RSR_OK)
        status = load_file(path, &file->info, &handle, err);
    if (status != RSR_OK)
        return status;
    status = check_still_there(path, &file->info, err);
    if (status == RSR_OK)
        status = open_handle(handle, path, options, model, err);
    if (status != RSR_OK)
        dlclose(handle);
    return status;
}

rsr_status rsr_open(const char *path, const rsr_open_options *options, rsr_model **model,
                    rsr_error *err) {
    struct rsr_module_file file;
    if (path == NULL || model == NULL)
        return refuse_null(err, path == NULL ? "path" : "result pointer");
    rsr_status status = rsr_check_stack(NULL, OPEN_STACK_BYTES, "rsr_open", err);
    if (status == RSR_OK)
        status = rsr_module_file_open(path, &file, err);
    if (status != RSR_OK)
        return status;
    status = open_file(&file, path, options, model, err);
    rsr_module_file_close(&file);
    return status;
}

rsr_status rsr_verify(const char *path, rsr_section_fn *found, void *user, rsr_error *err) {
    struct rsr_module_file file;
    if (path == NULL)
        return refuse_null(err, "path");
    rsr_status status = rsr_module_file_open(path, &file, err);
    if (status != RSR_OK)
        return status;
    status = rsr_module_file_verify(&file, path, found, user, err);
    rsr_module_file_close(&file);
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

rsr_status rsr_chat_tokens(const rsr_model *model, const char *conversation,
                           size_t conversation_bytes, bool add_generation_prompt, uint32_t *tokens,
                           size_t capacity, size_t *n_tokens, rsr_error *err) {
    if (model == NULL)
        return refuse_null(err, "model");
    return api_of(model)->chat_tokens(model, conversation, conversation_bytes,
                                      add_generation_prompt, tokens, capacity, n_tokens, err);
}

rsr_status rsr_chat_format_json(const rsr_model *model, const char *conversation,
                                size_t conversation_bytes, bool add_generation_prompt, char *text,
                                size_t capacity, size_t *text_bytes, rsr_error *err) {
    if (model == NULL)
        return refuse_null(err, "model");
    return api_of(model)->chat_format_json(model, conversation, conversation_bytes,
                                           add_generation_prompt, text, capacity, text_bytes, err);
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
