/* librsr.c - the small library that applications link: opens a module and forwards every call to
 * the table of the module that made the object. So modules of different ages live in one process.
 * librsr reads only those parts of a module that rsr_abi.h and rsr_api.h call fixed.
 */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host/stack.h"
#include "host/static_program.h"
#include "rsr_module_file.h"
#include "runtime.h"

/* Measured: 21 KiB, most of it in the dynamic linker. */
#define OPEN_STACK_BYTES ((size_t)32 << 10)

_Static_assert(offsetof(struct rsr_module, abi_version) == 0 &&
                   offsetof(struct rsr_module, size_bytes) == 4 &&
                   offsetof(struct rsr_module, api) == 8,
               "modules of all ages have these here");
_Static_assert(offsetof(struct rsr_api, size_bytes) == 0 && offsetof(struct rsr_api, open) == 8,
               "and these");
_Static_assert(sizeof(struct rsr_note) == 3800 && RSR_NOTE_TYPE == 1, "and this note");

/* The table of an object is its first member. */
static const struct rsr_api *api_of(const void *object) {
    const struct rsr_api *api;
    memcpy(&api, object, sizeof(api));
    return api;
}

static rsr_status refuse_null(rsr_error *err, const char *what) {
    return rsr_fail(err, RSR_ERR_ARGUMENT, "the %s is NULL", what);
}

/* Refuses a table without the row at this offset, which is that of rsr_<name>. */
static rsr_status check_row(const struct rsr_api *api, size_t at, const char *name,
                            rsr_error *err) {
    void *row = NULL;
    if (at + sizeof(row) <= api->size_bytes)
        memcpy(&row, (const char *)api + at, sizeof(row));
    return row != NULL
               ? RSR_OK
               : rsr_fail(err, RSR_ERR_ABI,
                          "the module's runtime is older than rsr_%s(); compile it again", name);
}
#define CHECK_ROW(api, row, err) check_row(api, offsetof(struct rsr_api, row), #row, err)

static rsr_status check_call(const void *object, const char *what, size_t at, const char *name,
                             rsr_error *err) {
    return object == NULL ? refuse_null(err, what) : check_row(api_of(object), at, name, err);
}

/* The whole body of a forwarding function: calls the row of its name in the object's module. */
#define FORWARD(err, row, object, ...)                                                             \
    const rsr_status status =                                                                      \
        check_call(object, #object, offsetof(struct rsr_api, row), #row, err);                     \
    return status == RSR_OK ? api_of(object)->row(object, __VA_ARGS__) : status

/* For functions that return no status. */
#define HAS_ROW(object, row)                                                                       \
    (check_call(object, "", offsetof(struct rsr_api, row), "", NULL) == RSR_OK)

/* ---- Opening ---- */

static rsr_status refuse_newer(rsr_error *err) {
    return rsr_fail(err, RSR_ERR_ABI,
                    "the module is newer than this librsr (%s, ABI %u); update librsr",
                    rsr_version(), RSR_ABI_VERSION);
}

static rsr_status refuse_older(uint32_t abi_version, rsr_error *err) {
    return rsr_fail(err, RSR_ERR_ABI,
                    "the module has ABI %u, this librsr reads %u and later ones; compile the model "
                    "again",
                    abi_version, RSR_ABI_OLDEST);
}

/* Keeps the OpenMP library loaded: its threads may still run when the last module is unmapped, and
 * would crash in unmapped code. (glibc's dladdr gives the name by which dlopen knows a library.) */
static void keep_openmp(rsr_module_query_fn *query) {
    void *symbol;
    Dl_info module, openmp;
    memcpy(&symbol, &query, sizeof(symbol));
    if (rsr_program_is_static() || dladdr(symbol, &module) == 0)
        return;
    void *handle = dlopen(module.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
    if (handle == NULL)
        return; /* the program itself */
    symbol = dlsym(handle, "omp_get_thread_num");
    if (symbol != NULL && dladdr(symbol, &openmp) != 0) {
        void *kept = dlopen(openmp.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
        if (kept != NULL)
            dlclose(kept);
    }
    dlclose(handle);
}

static rsr_status open_query(rsr_module_query_fn *query, const rsr_open_options *options,
                             rsr_model **model, rsr_error *err) {
    const struct rsr_host host = {.size_bytes = sizeof(host), .abi_version = RSR_ABI_VERSION};
    const struct rsr_module *module = query(RSR_ABI_VERSION, &host);
    if (module == NULL)
        return refuse_newer(err);
    if (module->abi_version < RSR_ABI_OLDEST)
        return refuse_older(module->abi_version, err);
    if (module->api == NULL)
        return rsr_fail(err, RSR_ERR_ABI, "the module is broken: it has no table of functions");
    const rsr_status status = CHECK_ROW(module->api, open, err);
    if (status != RSR_OK)
        return status;
    keep_openmp(query);
    return module->api->open(module, &host, options, model, err);
}

/* Reads the options that librsr itself needs; the module's runtime reads the others. */
static rsr_status read_flags(const rsr_open_options *given, uint64_t *flags, rsr_error *err) {
    rsr_open_options options = RSR_OPEN_OPTIONS_INIT;
    if (given != NULL && given->size_bytes < offsetof(rsr_open_options, flags) + sizeof(*flags))
        return RSR_OK; /* an older application's struct has no flags */
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

/* Spells a path so that dlopen loads this very file. dlopen would look up a name without a slash in
 * the library path. It also recognises loaded files by their names, even if another file has the
 * name now. So the bits of the file's `number` (unless NULL) are spelled in front of its name as ./
 * or .//, and another file gets another path. Returns owned. */
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

/* Refuses a module by its note. */
static rsr_status check_note(const struct rsr_note *note, const char *path, rsr_error *err) {
    if (note->kind != RSR_NOTE_MODEL)
        return rsr_fail(err, RSR_ERR_FILE,
                        "%s is a library of matrices, and no model: call its functions", path);
    return note->abi_version >= RSR_ABI_OLDEST ? RSR_OK : refuse_older(note->abi_version, err);
}

/* dlopen opens by name, and another file may have got the name since the note was read. */
static rsr_status check_still_there(const char *path, const struct stat *info, rsr_error *err) {
    struct stat now;
    if (stat(path, &now) == 0 && now.st_dev == info->st_dev && now.st_ino == info->st_ino &&
        now.st_size == info->st_size && now.st_mtim.tv_sec == info->st_mtim.tv_sec &&
        now.st_mtim.tv_nsec == info->st_mtim.tv_nsec)
        return RSR_OK;
    return rsr_fail(err, RSR_ERR_FILE, "%s was replaced while it was opened; open it again", path);
}

/* What rsr_open keeps for a model that it loaded. A child after fork() unmaps nothing, because
 * another thread of the parent may have held the dynamic linker's lock. */
struct loaded {
    void *handle;
    pid_t owner_pid;
};

/* The model takes `loaded`. */
static rsr_status open_loaded(struct loaded *loaded, const char *path,
                              const rsr_open_options *options, rsr_model **model, rsr_error *err) {
    void *symbol = dlsym(loaded->handle, "rsr_module_query");
    if (symbol == NULL)
        return rsr_fail(err, RSR_ERR_FILE, "%s does not export rsr_module_query", path);
    rsr_module_query_fn *query;
    memcpy(&query, &symbol, sizeof(query)); /* ISO C has no cast from void * to a function */
    rsr_model *made = NULL;
    const rsr_status status = open_query(query, options, &made, err);
    if (status != RSR_OK)
        return status;
    ((struct rsr_model_head *)made)->loaded = loaded;
    *model = made;
    return RSR_OK;
}

static void unload(struct loaded *loaded) {
    if (loaded != NULL && loaded->owner_pid == getpid())
        dlclose(loaded->handle);
    free(loaded);
}

/* Opens a file whose note has been read. */
static rsr_status open_file(const struct rsr_module_file *file, const char *path,
                            const rsr_open_options *options, rsr_model **model, rsr_error *err) {
    uint64_t flags = 0;
    rsr_status status = check_note(&file->note, path, err);
    if (status == RSR_OK)
        status = read_flags(options, &flags, err);
    if (status == RSR_OK && (flags & RSR_OPEN_VERIFY) != 0)
        status = rsr_module_file_verify(file, path, NULL, NULL, err);
    if (status != RSR_OK)
        return status;
    struct loaded *loaded = malloc(sizeof(*loaded));
    if (loaded == NULL)
        return rsr_fail(err, RSR_ERR_MEMORY, "no memory for a model");
    loaded->owner_pid = getpid();
    status = load_file(path, &file->info, &loaded->handle, err);
    if (status != RSR_OK) {
        free(loaded);
        return status;
    }
    status = check_still_there(path, &file->info, err);
    if (status == RSR_OK)
        status = open_loaded(loaded, path, options, model, err);
    if (status != RSR_OK)
        unload(loaded);
    return status;
}

rsr_status rsr_open(const char *path, const rsr_open_options *options, rsr_model **model,
                    rsr_error *err) {
    struct rsr_module_file file;
    if (path == NULL || model == NULL)
        return refuse_null(err, path == NULL ? "path" : "result pointer");
    if (rsr_program_is_static())
        return rsr_fail(err, RSR_ERR_FILE,
                        "this program is linked statically and can load no module: link the object "
                        "of rsrc --emit=obj and librsr_module.a into it, and call rsr_open_query");
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
    if (!HAS_ROW(model, close))
        return;
    struct loaded *loaded = ((const struct rsr_model_head *)model)->loaded;
    api_of(model)->close(model);
    unload(loaded);
}

const char *rsr_version(void) {
    return RSRC_VERSION;
}

/* ---- Forwards ---- */

rsr_status rsr_model_get_info(const rsr_model *model, rsr_model_info *info) {
    FORWARD(NULL, model_get_info, model, info);
}

rsr_status rsr_model_get_kernel(const rsr_model *model, uint32_t index, rsr_kernel_info *info) {
    FORWARD(NULL, model_get_kernel, model, index, info);
}

rsr_status rsr_model_get_image(const rsr_model *model, uint32_t index, rsr_image_info *info) {
    FORWARD(NULL, model_get_image, model, index, info);
}

rsr_status rsr_tokenize(const rsr_model *model, const char *text, size_t text_bytes, uint32_t flags,
                        uint32_t *tokens, size_t capacity, size_t *n_tokens, rsr_error *err) {
    FORWARD(err, tokenize, model, text, text_bytes, flags, tokens, capacity, n_tokens, err);
}

rsr_status rsr_detokenize(const rsr_model *model, const uint32_t *tokens, size_t n_tokens,
                          bool skip_special, char *text, size_t capacity, size_t *text_bytes,
                          rsr_error *err) {
    FORWARD(err, detokenize, model, tokens, n_tokens, skip_special, text, capacity, text_bytes,
            err);
}

rsr_status rsr_detokenizer_create(const rsr_model *model, uint32_t flags,
                                  rsr_detokenizer **detokenizer, rsr_error *err) {
    FORWARD(err, detokenizer_create, model, flags, detokenizer, err);
}

void rsr_detokenizer_destroy(rsr_detokenizer *detokenizer) {
    if (HAS_ROW(detokenizer, detokenizer_destroy))
        api_of(detokenizer)->detokenizer_destroy(detokenizer);
}

rsr_status rsr_detokenizer_push(rsr_detokenizer *detokenizer, uint32_t token, const char **text,
                                size_t *text_bytes, rsr_error *err) {
    FORWARD(err, detokenizer_push, detokenizer, token, text, text_bytes, err);
}

rsr_status rsr_detokenizer_finish(rsr_detokenizer *detokenizer, const char **text,
                                  size_t *text_bytes, rsr_error *err) {
    FORWARD(err, detokenizer_finish, detokenizer, text, text_bytes, err);
}

rsr_status rsr_model_get_token(const rsr_model *model, uint32_t token, char *bytes, size_t capacity,
                               size_t *n_bytes, rsr_token_info *info, rsr_error *err) {
    FORWARD(err, model_get_token, model, token, bytes, capacity, n_bytes, info, err);
}

rsr_status rsr_chat_format(const rsr_model *model, const rsr_message *messages, size_t n_messages,
                           bool add_generation_prompt, char *text, size_t capacity,
                           size_t *text_bytes, rsr_error *err) {
    FORWARD(err, chat_format, model, messages, n_messages, add_generation_prompt, text, capacity,
            text_bytes, err);
}

rsr_status rsr_chat_tokens(const rsr_model *model, const char *conversation,
                           size_t conversation_bytes, bool add_generation_prompt, uint32_t *tokens,
                           size_t capacity, size_t *n_tokens, rsr_error *err) {
    FORWARD(err, chat_tokens, model, conversation, conversation_bytes, add_generation_prompt,
            tokens, capacity, n_tokens, err);
}

rsr_status rsr_chat_format_json(const rsr_model *model, const char *conversation,
                                size_t conversation_bytes, bool add_generation_prompt, char *text,
                                size_t capacity, size_t *text_bytes, rsr_error *err) {
    FORWARD(err, chat_format_json, model, conversation, conversation_bytes, add_generation_prompt,
            text, capacity, text_bytes, err);
}

rsr_status rsr_engine_create(rsr_model *model, const rsr_engine_options *options,
                             rsr_engine **engine, rsr_error *err) {
    FORWARD(err, engine_create, model, options, engine, err);
}

void rsr_engine_destroy(rsr_engine *engine) {
    if (HAS_ROW(engine, engine_destroy))
        api_of(engine)->engine_destroy(engine);
}

rsr_status rsr_engine_follow(rsr_engine *engine, rsr_error *err) {
    FORWARD(err, engine_follow, engine, err);
}

rsr_status rsr_engine_get_rank(const rsr_engine *engine, uint32_t rank, rsr_rank_info *info) {
    FORWARD(NULL, engine_get_rank, engine, rank, info);
}

rsr_status rsr_engine_get_info(const rsr_engine *engine, rsr_engine_info *info) {
    FORWARD(NULL, engine_get_info, engine, info);
}

rsr_status rsr_engine_profile(rsr_engine *engine, bool enable, rsr_profile_entry *entries,
                              size_t capacity, size_t *n_entries) {
    FORWARD(NULL, engine_profile, engine, enable, entries, capacity, n_entries);
}

rsr_status rsr_engine_attention_stats(rsr_engine *engine, bool reset, rsr_attention_stats *stats) {
    FORWARD(NULL, engine_attention_stats, engine, reset, stats);
}

rsr_status rsr_engine_head_stats(rsr_engine *engine, bool reset, rsr_head_stats *stats) {
    FORWARD(NULL, engine_head_stats, engine, reset, stats);
}

rsr_status rsr_sequence_create(rsr_engine *engine, rsr_sequence **sequence, rsr_error *err) {
    FORWARD(err, sequence_create, engine, sequence, err);
}

void rsr_sequence_destroy(rsr_sequence *sequence) {
    if (HAS_ROW(sequence, sequence_destroy))
        api_of(sequence)->sequence_destroy(sequence);
}

uint32_t rsr_sequence_length(const rsr_sequence *sequence) {
    return HAS_ROW(sequence, sequence_length) ? api_of(sequence)->sequence_length(sequence) : 0;
}

const uint32_t *rsr_sequence_tokens(const rsr_sequence *sequence) {
    return HAS_ROW(sequence, sequence_tokens) ? api_of(sequence)->sequence_tokens(sequence) : NULL;
}

rsr_status rsr_sequence_truncate(rsr_sequence *sequence, uint32_t length, rsr_error *err) {
    FORWARD(err, sequence_truncate, sequence, length, err);
}

rsr_status rsr_sequence_fork(rsr_sequence *sequence, rsr_sequence **fork, rsr_error *err) {
    FORWARD(err, sequence_fork, sequence, fork, err);
}

rsr_status rsr_sequence_read_kv(rsr_sequence *sequence, uint32_t position, uint32_t layer,
                                float *keys, float *values, rsr_error *err) {
    FORWARD(err, sequence_read_kv, sequence, position, layer, keys, values, err);
}

rsr_status rsr_sequence_save(rsr_sequence *sequence, const char *path, rsr_error *err) {
    FORWARD(err, sequence_save, sequence, path, err);
}

rsr_status rsr_sequence_load(rsr_engine *engine, const char *path, rsr_sequence **sequence,
                             rsr_error *err) {
    FORWARD(err, sequence_load, engine, path, sequence, err);
}

rsr_status rsr_prefix_cache_create(rsr_engine *engine, const rsr_prefix_cache_options *options,
                                   rsr_prefix_cache **cache, rsr_error *err) {
    FORWARD(err, prefix_cache_create, engine, options, cache, err);
}

void rsr_prefix_cache_destroy(rsr_prefix_cache *cache) {
    if (HAS_ROW(cache, prefix_cache_destroy))
        api_of(cache)->prefix_cache_destroy(cache);
}

rsr_status rsr_prefix_cache_take(rsr_prefix_cache *cache, const uint32_t *tokens, size_t n_tokens,
                                 rsr_sequence **sequence, rsr_error *err) {
    FORWARD(err, prefix_cache_take, cache, tokens, n_tokens, sequence, err);
}

rsr_status rsr_prefix_cache_put(rsr_prefix_cache *cache, rsr_sequence *sequence, rsr_error *err) {
    FORWARD(err, prefix_cache_put, cache, sequence, err);
}

rsr_status rsr_prefix_cache_shrink(rsr_prefix_cache *cache, uint64_t bytes, rsr_error *err) {
    FORWARD(err, prefix_cache_shrink, cache, bytes, err);
}

rsr_status rsr_prefix_cache_get_info(const rsr_prefix_cache *cache, rsr_prefix_cache_info *info) {
    FORWARD(NULL, prefix_cache_get_info, cache, info);
}

void rsr_cancel_request(rsr_cancel *cancel) {
    __atomic_store_n(&cancel->requested, 1, __ATOMIC_RELAXED);
}

rsr_status rsr_eval(rsr_engine *engine, const rsr_batch *batch, rsr_error *err) {
    FORWARD(err, eval, engine, batch, err);
}

rsr_status rsr_embed(rsr_engine *engine, const uint32_t *const *tokens, const size_t *n_tokens,
                     size_t n_texts, const rsr_embed_options *options, float *embeddings,
                     size_t capacity, rsr_error *err) {
    FORWARD(err, embed, engine, tokens, n_tokens, n_texts, options, embeddings, capacity, err);
}

rsr_status rsr_sample(const rsr_model *model, const rsr_sampling *sampling, const float *logits,
                      const uint32_t *history, size_t n_history, uint32_t *token, rsr_error *err) {
    FORWARD(err, sample, model, sampling, logits, history, n_history, token, err);
}

rsr_status rsr_generate(rsr_engine *engine, rsr_sequence *sequence, const char *prompt,
                        size_t prompt_bytes, const rsr_generate_options *options,
                        rsr_generate_fn *callback, void *user, rsr_generate_result *result,
                        rsr_error *err) {
    FORWARD(err, generate, engine, sequence, prompt, prompt_bytes, options, callback, user, result,
            err);
}
