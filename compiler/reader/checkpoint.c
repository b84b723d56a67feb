/* checkpoint.c - finds the files of a checkpoint, maps them and reads them into one rsr_checkpoint.
 *
 *   FILE.safetensors    a model if a config.json is beside it, else a matrix file
 *   FILE.npy            a matrix file
 *   FILE.gguf           a model, or FILE-00001-of-0000N.gguf, its first part
 *   FILE.index.json     weight_map: tensor -> shard in the same folder
 *   FOLDER              model.safetensors.index.json, else model.safetensors, else the only one;
 *                       a folder with both of the first two is refused, because transformers
 *                       prefers the second
 *
 * Every file is mapped and stays so until rsrc_checkpoint_close: tensors borrow their bytes.
 */
#include "reader/checkpoint.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "rsr_hash.h"
#include "base/json.h"
#include "base/mapped_file.h"
#include "base/suffix.h"
#include "reader/activations.h"
#include "reader/gguf_split.h"
#include "reader/npy.h"
#include "reader/reader.h"

#define MAX_SHARDS 4096u
#define MAX_TENSORS (UINT32_C(1) << 18)
#define WEIGHTS_SUFFIX ".safetensors"
#define INDEX_SUFFIX ".index.json"
#define INDEX_NAME "model.safetensors.index.json"
#define INPUT_HELP                                                                                 \
    "give a .safetensors, .gguf or .npy file, an .index.json file or a Hugging Face folder"

/* Where a file's configuration is: a config.json beside it makes it a model. */
enum config_place { CONFIG_BESIDE, CONFIG_NOWHERE, CONFIG_INSIDE };

/* Files of tensors, by the endings of their names. */
static const struct format {
    const char *suffix;
    enum config_place config;
    /* NULL if the configuration is in the file: read_gguf() */
    enum rsrc_status (*parse)(struct rsrc_diag *, struct rsrc_arena *, const char *,
                              const uint8_t *, uint64_t, struct rsr_tensor **, uint32_t *);
} FORMATS[] = {
    {WEIGHTS_SUFFIX, CONFIG_BESIDE, rsrc_parse_safetensors},
    {".npy", CONFIG_NOWHERE, rsrc_parse_npy},
    {".gguf", CONFIG_INSIDE, NULL},
};
#define N_FORMATS (sizeof(FORMATS) / sizeof(FORMATS[0]))

/* A checkpoint being read. */
struct opening {
    struct rsrc_diag *diag;
    struct rsrc_arena *arena;
    const char *folder;
    bool needs_config;   /* a lone file may be a matrix file */
    bool ignores_config; /* its format has only matrices, or has its configuration inside */
    uint32_t max_tokens; /* tokens of the longest text that sentence-transformers does not cut; 0:
                            unknown */
    const struct rsrc_read_choices *choices;
    struct rsr_checkpoint *out;
    const char **files;
    uint32_t n_files, files_capacity;
    uint32_t tensors_capacity;
};

/* Whether the name has this ending, and something before it. */
static bool has_suffix(const char *path, const char *suffix) {
    return strlen(path) > strlen(suffix) && rsrc_ends_with(path, suffix);
}

/* NULL: none. */
static const struct format *find_format(const char *path) {
    for (size_t i = 0; i < N_FORMATS; i++)
        if (has_suffix(path, FORMATS[i].suffix))
            return &FORMATS[i];
    return NULL;
}

static const char *beside(const struct opening *opening, const char *name) {
    return rsrc_arena_join(opening->arena, opening->folder, name);
}

static enum rsrc_status refuse(const struct opening *opening, const char *slug, const char *file,
                               const char *help, const char *problem) {
    struct rsrc_place place = {.file = file};
    return rsrc_refuse(opening->diag, slug, &place, help, "%s", problem);
}

/* Maps a file; the mapping joins those of the checkpoint. */
static enum rsrc_status open_file(struct opening *opening, const char *path,
                                  const struct rsrc_mapping **out) {
    struct rsrc_mapping *mapping = RSRC_NEW(opening->arena, struct rsrc_mapping);
    if (rsrc_map_file(opening->diag, opening->arena, path, mapping) != RSRC_OK) {
        return RSRC_FAILED;
    }
    mapping->next = opening->out->mappings;
    opening->out->mappings = mapping;
    if (opening->n_files == opening->files_capacity) {
        uint32_t capacity = 2 * opening->files_capacity + 8;
        const char **files = RSRC_NEW_ARRAY(opening->arena, capacity, const char *);
        if (opening->n_files != 0) {
            memcpy(files, opening->files, opening->n_files * sizeof(*files));
        }
        opening->files = files;
        opening->files_capacity = capacity;
    }
    opening->files[opening->n_files++] = mapping->path;
    *out = mapping;
    return RSRC_OK;
}

/* ---- tensors --------------------------------------------------------------------------------- */

static int compare_names(const void *left, const void *right) {
    return strcmp(((const struct rsr_tensor *)left)->name,
                  ((const struct rsr_tensor *)right)->name);
}

/* Adds the tensors of one file. With a weight_map (tensor -> shard), all of them must be listed for
 * this shard. */
static enum rsrc_status read_weights(struct opening *opening, const char *path, const char *shard,
                                     const json_t *weight_map) {
    const struct format *format = find_format(path); /* the caller has looked */
    const struct rsrc_mapping *mapping;
    struct rsr_tensor *tensors;
    uint32_t n;
    if (open_file(opening, path, &mapping) != RSRC_OK ||
        format->parse(opening->diag, opening->arena, mapping->path, mapping->data,
                      mapping->size_bytes, &tensors, &n) != RSRC_OK) {
        return RSRC_FAILED;
    }
    for (uint32_t i = 0; i < n && weight_map != NULL; i++) {
        const char *listed = json_string_value(json_object_get(weight_map, tensors[i].name));
        if (listed == NULL || strcmp(listed, shard) != 0) {
            struct rsrc_place place = {.file = mapping->path,
                                       .has_offset = true,
                                       .offset = tensors[i].offset,
                                       .tensor = tensors[i].name};
            return rsrc_refuse(opening->diag, "checkpoint-index", &place,
                               "fetch index and shards again, from one revision", "the index %s",
                               listed == NULL ? "does not list it" : "lists it for another shard");
        }
    }
    struct rsr_checkpoint *out = opening->out;
    /* Names are unique: a file has each name once, and an index lists each tensor once. */
    assert(n <= MAX_TENSORS - out->n_tensors);
    if (out->n_tensors + n > opening->tensors_capacity) {
        uint32_t capacity = 2 * opening->tensors_capacity + n;
        struct rsr_tensor *all = RSRC_NEW_ARRAY(opening->arena, capacity, struct rsr_tensor);
        if (out->n_tensors != 0) {
            memcpy(all, out->tensors, out->n_tensors * sizeof(*all));
        }
        out->tensors = all;
        opening->tensors_capacity = capacity;
    }
    memcpy(out->tensors + out->n_tensors, tensors, n * sizeof(*tensors));
    out->n_tensors += n;
    return RSRC_OK;
}

static int compare_strings(const void *left, const void *right) {
    return strcmp(*(const char *const *)left, *(const char *const *)right);
}

/* A plain file name in the folder of the index. */
static bool is_shard_name(const char *name) {
    return name != NULL && strchr(name, '/') == NULL && strstr(name, "..") == NULL &&
           name[0] != '.' && has_suffix(name, WEIGHTS_SUFFIX);
}

/* The distinct shards of a weight_map, sorted. */
static enum rsrc_status list_shards(struct opening *opening, const char *file, json_t *weight_map,
                                    const char ***out, uint32_t *n_out) {
    size_t n_entries = json_object_size(weight_map);
    if (n_entries == 0 || n_entries > MAX_TENSORS) {
        return refuse(opening, "checkpoint-index", file, NULL,
                      "\"weight_map\" is missing, empty or too large");
    }
    const char **shards = RSRC_NEW_ARRAY(opening->arena, n_entries, const char *);
    const char *tensor;
    json_t *value;
    size_t n = 0;
    json_object_foreach(weight_map, tensor, value) {
        const char *shard = json_string_value(value);
        if (!is_shard_name(shard)) {
            struct rsrc_place place = {.file = file, .tensor = tensor};
            return rsrc_refuse(opening->diag, "checkpoint-shard-name", &place,
                               "shards are *.safetensors files in the folder of the index",
                               "'%s' is not a shard's name",
                               shard == NULL ? rsrc_json_type_name(value)
                                             : rsrc_quote(opening->arena, shard));
        }
        shards[n++] = shard;
    }
    qsort(shards, n, sizeof(*shards), compare_strings);
    uint32_t n_distinct = 0;
    for (size_t i = 0; i < n; i++) {
        if (n_distinct == 0 || strcmp(shards[i], shards[n_distinct - 1]) != 0) {
            shards[n_distinct++] = shards[i];
        }
    }
    if (n_distinct > MAX_SHARDS) {
        return refuse(opening, "checkpoint-index", file, NULL, "more than 4096 shards");
    }
    *out = shards;
    *n_out = n_distinct;
    return RSRC_OK;
}

/* Checks that every listed tensor exists. (Shards have only listed ones, as checked before.) */
static enum rsrc_status check_index_complete(const struct opening *opening, const char *file,
                                             json_t *weight_map) {
    const char *tensor;
    json_t *value;
    json_object_foreach(weight_map, tensor, value) {
        if (rsrc_find_tensor(opening->out, tensor) == NULL) {
            struct rsrc_place place = {.file = file, .tensor = tensor};
            return rsrc_refuse(opening->diag, "checkpoint-index", &place,
                               "fetch index and shards again, from one revision",
                               "shard '%s' does not hold it",
                               rsrc_quote(opening->arena, json_string_value(value)));
        }
    }
    return RSRC_OK;
}

/* Sorts; no name occurs twice, neither in one file nor, by the index, in several shards. */
static void sort_tensors(struct rsr_checkpoint *checkpoint) {
    qsort(checkpoint->tensors, checkpoint->n_tensors, sizeof(*checkpoint->tensors), compare_names);
}

static enum rsrc_status read_sharded(struct opening *opening, const char *path) {
    const struct rsrc_mapping *mapping;
    json_t *root = NULL;
    const char **shards;
    uint32_t n_shards;
    enum rsrc_status status = RSRC_FAILED;
    if (open_file(opening, path, &mapping) != RSRC_OK ||
        rsrc_json_parse(opening->diag, mapping->path, mapping->data, mapping->size_bytes,
                        "checkpoint-index", &root) != RSRC_OK) {
        goto cleanup;
    }
    json_t *weight_map = json_object_get(root, "weight_map");
    if (list_shards(opening, mapping->path, weight_map, &shards, &n_shards) != RSRC_OK) {
        goto cleanup;
    }
    for (uint32_t i = 0; i < n_shards; i++) {
        if (read_weights(opening, beside(opening, shards[i]), shards[i], weight_map) != RSRC_OK) {
            goto cleanup;
        }
    }
    sort_tensors(opening->out);
    status = check_index_complete(opening, mapping->path, weight_map);
cleanup:
    json_decref(root);
    return status;
}

static enum rsrc_status read_single(struct opening *opening, const char *path) {
    if (strstr(path, "-of-") != NULL && rsrc_file_is_there(beside(opening, INDEX_NAME))) {
        return refuse(opening, "checkpoint-shard", path,
                      "give the folder, or its model.safetensors.index.json",
                      "this is one shard of a checkpoint");
    }
    if (read_weights(opening, path, NULL, NULL) != RSRC_OK) {
        return RSRC_FAILED;
    }
    sort_tensors(opening->out);
    return RSRC_OK;
}

/* One file, or the first of several. */
static enum rsrc_status read_gguf(struct opening *opening, const char *path) {
    uint32_t number = 1, n_parts = 1;
    size_t n_stem = 0;
    if (!rsrc_gguf_part_of_name(path, &number, &n_parts, &n_stem))
        number = n_parts = 1;
    const char *stem = rsrc_arena_strndup(opening->arena, path, n_stem);
    if (number != 1 || n_parts > RSRC_GGUF_MAX_PARTS)
        return refuse(
            opening, "gguf-split", path,
            rsrc_arena_printf(opening->arena, "give %s-00001-of-%05u.gguf", stem, n_parts),
            number != 1 ? "this is not the first of the files of a model"
                        : "a model in more than 4096 files");
    struct rsrc_gguf_part *parts = RSRC_NEW_ARRAY(opening->arena, n_parts, struct rsrc_gguf_part);
    for (uint32_t i = 0; i < n_parts; i++) {
        const struct rsrc_mapping *mapping;
        const char *name = n_parts == 1 ? path
                                        : rsrc_arena_printf(opening->arena, "%s-%05u-of-%05u.gguf",
                                                            stem, i + 1, n_parts);
        if (open_file(opening, name, &mapping) != RSRC_OK)
            return RSRC_FAILED;
        parts[i] = (struct rsrc_gguf_part){mapping->path, mapping->data, mapping->size_bytes};
    }
    return rsrc_parse_gguf_parts(opening->diag, opening->arena, parts, n_parts, opening->choices,
                                 opening->out);
}

/* The only *.safetensors file of the folder. */
static enum rsrc_status find_only_weights(const struct opening *opening, const char **out) {
    DIR *dir = opendir(opening->folder);
    if (dir == NULL) {
        return refuse(opening, "file-unreadable", opening->folder, NULL, strerror(errno));
    }
    const char *found = NULL;
    uint32_t n = 0;
    const struct dirent *entry;
    while ((errno = 0, entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] != '.' && has_suffix(entry->d_name, WEIGHTS_SUFFIX)) {
            found = n++ == 0 ? beside(opening, entry->d_name) : found;
        }
    }
    const int error = errno; /* not 0: the rest of the folder cannot be read */
    closedir(dir);
    if (error != 0) {
        return refuse(opening, "file-unreadable", opening->folder, NULL, strerror(error));
    }
    if (n != 1) {
        return refuse(opening, "checkpoint-no-weights", opening->folder,
                      n == 0 ? "a Hugging Face folder holds model.safetensors or its shards"
                             : "name the file to compile, or add model.safetensors.index.json",
                      n == 0 ? "the folder holds no *.safetensors file"
                             : "the folder holds several *.safetensors files and no index");
    }
    *out = found;
    return RSRC_OK;
}

static bool was_read(const struct opening *opening, const char *path) {
    for (uint32_t i = 0; i < opening->n_files; i++) {
        if (strcmp(opening->files[i], path) == 0) {
            return true;
        }
    }
    return false;
}

static enum rsrc_status read_folder(struct opening *opening) {
    const char *index = beside(opening, INDEX_NAME);
    const char *single = beside(opening, "model.safetensors");
    if (rsrc_file_is_there(index)) {
        if (read_sharded(opening, index) != RSRC_OK) {
            return RSRC_FAILED;
        }
        return !rsrc_file_is_there(single) || was_read(opening, single)
                   ? RSRC_OK
                   : refuse(opening, "checkpoint-two-models", opening->folder,
                            "name the one to compile, or remove the other",
                            "the folder holds both a model.safetensors and the index of another "
                            "model's shards");
    }
    if (!rsrc_file_is_there(single) && find_only_weights(opening, &single) != RSRC_OK) {
        return RSRC_FAILED;
    }
    return read_single(opening, single);
}

/* ---- the files beside the weights ------------------------------------------------------------ */

static enum rsrc_status read_config(struct opening *opening, const char *path) {
    const struct rsrc_mapping *mapping;
    struct rsr_config *config = &opening->out->config;
    if (open_file(opening, path, &mapping) != RSRC_OK ||
        rsrc_parse_config(opening->diag, opening->arena, mapping->path, mapping->data,
                          mapping->size_bytes, config) != RSRC_OK) {
        return RSRC_FAILED;
    }
    opening->out->has_config = true;
    const char *generation = beside(opening, "generation_config.json");
    if (!rsrc_file_is_there(generation)) {
        return RSRC_OK;
    }
    if (open_file(opening, generation, &mapping) != RSRC_OK) {
        return RSRC_FAILED;
    }
    return rsrc_parse_generation_config(opening->diag, opening->arena, mapping->path, mapping->data,
                                        mapping->size_bytes, config);
}

/* The modules around an embedding model, if it is one. */
static enum rsrc_status read_modules(struct opening *opening) {
    const struct rsrc_mapping *mapping;
    struct rsr_config *config = &opening->out->config;
    const char *path = beside(opening, "modules.json");
    const char *folder = NULL;
    bool normalized = false;
    if (!rsrc_file_is_there(path)) {
        return RSRC_OK;
    }
    if (open_file(opening, path, &mapping) != RSRC_OK ||
        rsrc_parse_modules(opening->diag, opening->arena, mapping->path, mapping->data,
                           mapping->size_bytes, &folder, &normalized) != RSRC_OK) {
        return RSRC_FAILED;
    }
    config->hyper.normalized = normalized;
    static const char *const SETTINGS[] = {"sentence_bert_config.json",
                                           "config_sentence_transformers.json"};
    for (size_t i = 0; i < sizeof(SETTINGS) / sizeof(SETTINGS[0]); i++) {
        path = beside(opening, SETTINGS[i]);
        if (rsrc_file_is_there(path) &&
            (open_file(opening, path, &mapping) != RSRC_OK ||
             rsrc_check_sentence_settings(opening->diag, opening->arena, mapping->path,
                                          mapping->data, mapping->size_bytes,
                                          &opening->max_tokens) != RSRC_OK)) {
            return RSRC_FAILED;
        }
    }
    path = beside(opening, rsrc_arena_printf(opening->arena, "%s/config.json", folder));
    if (open_file(opening, path, &mapping) != RSRC_OK) {
        return RSRC_FAILED;
    }
    return rsrc_parse_pooling(opening->diag, opening->arena, mapping->path, mapping->data,
                              mapping->size_bytes, config);
}

/* A token without an embedding can never be an input of the model. */
static enum rsrc_status check_vocabulary(const struct opening *opening, const char *file) {
    uint32_t n_tokens = opening->out->tokenizer.section->n_tokens;
    uint32_t vocab = opening->out->config.hyper.vocab;
    if (n_tokens > vocab) {
        struct rsrc_place place = {.file = file};
        return rsrc_refuse(opening->diag, "tokenizer-vocab", &place,
                           "tokenizer and weights may come from different models",
                           "the largest token id is %u, but config.json has vocab_size %u",
                           n_tokens - 1, vocab);
    }
    return RSRC_OK;
}

/* Files that transformers wrote before tokenizer_config.json listed all added tokens. */
static enum rsrc_status read_older_files(struct opening *opening) {
    static const struct {
        const char *name;
        enum rsrc_status (*parse)(struct rsrc_diag *, struct rsrc_arena *, const char *,
                                  const uint8_t *, uint64_t, struct rsr_tokenizer *);
    } FILES[] = {
        {"special_tokens_map.json", rsrc_parse_special_tokens},
        {"added_tokens.json", rsrc_parse_added_tokens},
    };
    const struct rsrc_mapping *mapping;
    for (size_t i = 0; i < sizeof(FILES) / sizeof(FILES[0]); i++) {
        const char *path = beside(opening, FILES[i].name);
        if (rsrc_file_is_there(path) &&
            (open_file(opening, path, &mapping) != RSRC_OK ||
             FILES[i].parse(opening->diag, opening->arena, mapping->path, mapping->data,
                            mapping->size_bytes, &opening->out->tokenizer) != RSRC_OK)) {
            return RSRC_FAILED;
        }
    }
    return RSRC_OK;
}

static enum rsrc_status read_tokenizer_config(struct opening *opening) {
    struct rsr_tokenizer *tokenizer = &opening->out->tokenizer;
    const struct rsrc_mapping *mapping;
    const char *path = beside(opening, "tokenizer_config.json"), *template_path = path;
    bool lists_added = false;
    if (rsrc_file_is_there(path) &&
        (open_file(opening, path, &mapping) != RSRC_OK ||
         rsrc_parse_tokenizer_config(opening->diag, opening->arena, mapping->path, mapping->data,
                                     mapping->size_bytes, tokenizer, &lists_added) != RSRC_OK)) {
        return RSRC_FAILED;
    }
    if (!lists_added && read_older_files(opening) != RSRC_OK) {
        return RSRC_FAILED;
    }
    path = beside(opening, "chat_template.jinja");
    if (rsrc_file_is_there(path)) {
        template_path = path;
        if (open_file(opening, path, &mapping) != RSRC_OK ||
            rsrc_parse_chat_template(opening->diag, opening->arena, mapping->path, mapping->data,
                                     mapping->size_bytes, tokenizer) != RSRC_OK) {
            return RSRC_FAILED;
        }
    }
    rsrc_probe_chat_template(opening->diag, opening->arena, template_path, tokenizer);
    return RSRC_OK;
}

static enum rsrc_status read_tokenizer(struct opening *opening) {
    const struct rsrc_mapping *mapping;
    const char *path = beside(opening, "tokenizer.json");
    if (!rsrc_file_is_there(path)) {
        if (rsrc_file_is_there(beside(opening, "tokenizer.model"))) {
            struct rsrc_place place = {.file = beside(opening, "tokenizer.model")};
            opening->out->tokenizer.is_unread = true;
            rsrc_warning(opening->diag, "tokenizer-missing", &place,
                         "python3 -c \"from transformers import AutoTokenizer; "
                         "AutoTokenizer.from_pretrained('.').save_pretrained('.')\" in its folder "
                         "makes tokenizer.json; without it the module works on token ids alone",
                         "of SentencePiece tokenizers tokenizer.json is read, not this file");
        }
        return RSRC_OK;
    }
    if (open_file(opening, path, &mapping) != RSRC_OK ||
        rsrc_parse_tokenizer(opening->diag, opening->arena, mapping->path, mapping->data,
                             mapping->size_bytes, &opening->out->tokenizer) != RSRC_OK ||
        (opening->out->has_config && check_vocabulary(opening, mapping->path) != RSRC_OK)) {
        return RSRC_FAILED;
    }
    return read_tokenizer_config(opening);
}

/* The context of an embedding model ends where sentence-transformers cuts a text, so that the
 * runtime refuses longer ones. */
static void limit_texts(struct opening *opening) {
    struct rsr_hyper *hyper = &opening->out->config.hyper;
    const uint32_t max =
        opening->max_tokens != 0 ? opening->max_tokens : opening->out->tokenizer.max_tokens;
    if (hyper->pooling != RSR_POOLING_NONE && max != 0 && max < hyper->context) {
        hyper->context = max;
    }
}

/* Adapters that transformers would add to the weights. */
static enum rsrc_status refuse_adapter(const struct opening *opening) {
    const char *path = beside(opening, "adapter_config.json");
    return rsrc_file_is_there(path)
               ? refuse(opening, "checkpoint-adapter", path,
                        "merge the adapter into the weights (merge_and_unload of PEFT), or remove "
                        "its files to compile the model without it",
                        "an adapter lies beside the model, and adapters are not supported")
               : RSRC_OK;
}

/* Both files are read, so that problems in each are reported. */
static enum rsrc_status read_model_files(struct opening *opening, const char *config) {
    const bool goes_on = opening->choices->goes_on;
    const struct rsr_tokenizer none = opening->out->tokenizer;
    if (refuse_adapter(opening) != RSRC_OK) {
        return RSRC_FAILED;
    }
    enum rsrc_status status = read_config(opening, config);
    if (status == RSRC_OK) {
        status = read_modules(opening);
        rsrc_recognise_masters(opening->out);
    }
    if (status == RSRC_OK) {
        const struct rsrc_place place = {.file = config};
        status = rsrc_choose_activations(opening->diag, &place, opening->choices->activations,
                                         &opening->out->config);
    }
    if (status != RSRC_OK && !goes_on) {
        return RSRC_FAILED;
    }
    if (read_tokenizer(opening) == RSRC_OK) {
        limit_texts(opening);
        return status;
    }
    opening->out->tokenizer = none;
    return goes_on ? status : RSRC_FAILED;
}

/* ---- identity -------------------------------------------------------------------------------- */

/* GGUF's dense types are converted into the arena. */
static void mark_mapped(struct rsr_checkpoint *checkpoint) {
    for (uint32_t i = 0; i < checkpoint->n_tensors; i++) {
        struct rsr_tensor *tensor = &checkpoint->tensors[i];
        const uintptr_t at = (uintptr_t)tensor->data;
        for (const struct rsrc_mapping *m = checkpoint->mappings; m != NULL; m = m->next) {
            const uintptr_t begin = (uintptr_t)m->data;
            tensor->is_mapped |= at >= begin && at - begin < m->size_bytes;
        }
    }
}

static void hash_sized(struct rsr_hash *hash, const void *bytes, uint64_t size_bytes) {
    rsr_hash_update(hash, &size_bytes, sizeof(size_bytes));
    if (size_bytes != 0) {
        rsr_hash_update(hash, bytes, (size_t)size_bytes);
    }
}

/* The hash of the configuration file's bytes, the modules of an embedding model, and every tensor's
 * name, type, shape and bytes, in order of names. Shards and the order of tensors in a file make no
 * difference. */
static void hash_checkpoint(struct rsr_checkpoint *checkpoint) {
    struct rsr_hash hash;
    rsr_hash_init(&hash);
    for (const struct rsrc_mapping *m = checkpoint->mappings; m != NULL; m = m->next) {
        if (checkpoint->has_config && strcmp(m->path, checkpoint->config.file) == 0) {
            hash_sized(&hash, m->data, m->size_bytes);
        }
    }
    const uint32_t modules[] = {checkpoint->config.hyper.pooling,
                                checkpoint->config.hyper.normalized};
    hash_sized(&hash, modules, sizeof(modules));
    for (uint32_t i = 0; i < checkpoint->n_tensors; i++) {
        const struct rsr_tensor *tensor = &checkpoint->tensors[i];
        uint32_t dtype = (uint32_t)tensor->dtype;
        hash_sized(&hash, tensor->name, strlen(tensor->name));
        rsr_hash_update(&hash, &dtype, sizeof(dtype));
        hash_sized(&hash, tensor->shape, tensor->n_dims * sizeof(tensor->shape[0]));
        rsr_hash_update(&hash, &tensor->size_bytes, sizeof(tensor->size_bytes));
        struct rsrc_pieces pieces = {tensor->data, tensor->size_bytes, tensor->is_mapped, 0};
        while (rsrc_next_piece(&pieces)) {
            rsr_hash_update(&hash, pieces.bytes, pieces.n_bytes);
        }
    }
    rsr_hash_final(&hash, checkpoint->hash);
}

/* A model in a folder has the folder's name, any other file its own. */
static const char *checkpoint_name(const struct opening *opening, const char *path) {
    char resolved[PATH_MAX];
    const struct format *format = find_format(path);
    const bool is_folder =
        opening->out->has_config && (format == NULL || format->config == CONFIG_BESIDE);
    const char *named = is_folder ? opening->folder : path;
    const char *full = realpath(named, resolved) == NULL ? named : resolved;
    const char *slash = strrchr(full, '/');
    const char *last = slash == NULL ? full : slash + 1;
    size_t n = strlen(last), n_stem;
    uint32_t number, n_parts;
    if (!is_folder && rsrc_gguf_part_of_name(last, &number, &n_parts, &n_stem)) {
        n = n_stem;
    } else if (!is_folder && format != NULL && has_suffix(last, format->suffix)) {
        n -= strlen(format->suffix);
    }
    return n == 0 ? "model" : rsrc_arena_strndup(opening->arena, last, n);
}

/* ---- entry points ---------------------------------------------------------------------------- */

static const char *folder_of(struct rsrc_arena *arena, const char *path) {
    const char *slash = strrchr(path, '/');
    if (slash == NULL) {
        return ".";
    }
    return slash == path ? "/" : rsrc_arena_strndup(arena, path, (size_t)(slash - path));
}

/* Other formats than GGUF have no I2_S. */
static enum rsrc_status check_choices(const struct opening *opening, const char *path) {
    const struct format *format = find_format(path);
    if ((format != NULL && format->config == CONFIG_INSIDE) ||
        opening->choices->i2s_layout == RSRC_I2S_AUTO)
        return RSRC_OK;
    return refuse(opening, "option-value", path, "leave the option out",
                  "--i2s-layout is for GGUF files, and this is none");
}

static enum rsrc_status read_by_kind(struct opening *opening, const char *path) {
    struct stat info;
    if (stat(path, &info) != 0)
        return rsrc_cannot_open(opening->diag, opening->arena, path, INPUT_HELP);
    if (check_choices(opening, path) != RSRC_OK)
        return RSRC_FAILED;
    if (S_ISDIR(info.st_mode)) {
        opening->folder = path;
        opening->needs_config = true;
        return read_folder(opening);
    }
    opening->folder = folder_of(opening->arena, path);
    if (has_suffix(path, INDEX_SUFFIX)) {
        opening->needs_config = true;
        return read_sharded(opening, path);
    }
    const struct format *format = find_format(path);
    if (format == NULL) {
        return refuse(opening, "checkpoint-kind", path,
                      INPUT_HELP "; a text of --emit=rsr, plan, step or kernel goes with --from",
                      "this kind of file is not read");
    }
    opening->ignores_config = format->config != CONFIG_BESIDE;
    return format->config == CONFIG_INSIDE ? read_gguf(opening, path) : read_single(opening, path);
}

enum rsrc_status rsrc_read_checkpoint(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                      const char *path, const struct rsrc_read_choices *choices,
                                      struct rsr_checkpoint *out) {
    struct rsr_checkpoint checkpoint = {
        .path = rsrc_arena_strdup(arena, path),
        .tokenizer = {.bos_text = "", .eos_text = ""},
        .config = {.bos_token = RSR_NO_TOKEN},
    };
    struct opening opening = {.diag = diag, .arena = arena, .choices = choices, .out = &checkpoint};
    if (read_by_kind(&opening, checkpoint.path) != RSRC_OK) {
        goto failed;
    }
    const char *config = beside(&opening, "config.json");
    if (rsrc_file_is_there(config) && !opening.ignores_config) {
        if (read_model_files(&opening, config) != RSRC_OK) {
            goto failed;
        }
    } else if (opening.needs_config) {
        refuse(&opening, "checkpoint-no-config", opening.folder,
               "a Hugging Face folder holds config.json; a matrix is given as a .safetensors or "
               ".npy file",
               "there is no config.json beside the weights");
        goto failed;
    }
    if (!checkpoint.has_config && choices->activations != RSRC_ACTIVATIONS_AUTO) {
        refuse(&opening, "option-value", path, "--input says what a file of matrices multiplies",
               "--activations is for models, and this is a file of matrices");
        goto failed;
    }
    checkpoint.name = checkpoint_name(&opening, checkpoint.path);
    checkpoint.files = opening.files;
    checkpoint.n_files = opening.n_files;
    mark_mapped(&checkpoint);
    hash_checkpoint(&checkpoint);
    *out = checkpoint;
    return RSRC_OK;
failed:
    rsrc_checkpoint_close(&checkpoint);
    return RSRC_FAILED;
}

void rsrc_checkpoint_close(struct rsr_checkpoint *checkpoint) {
    for (struct rsrc_mapping *m = checkpoint->mappings; m != NULL; m = m->next) {
        rsrc_unmap_file(m);
    }
    checkpoint->mappings = NULL;
}

struct rsr_tensor *rsrc_find_tensor(const struct rsr_checkpoint *checkpoint, const char *name) {
    uint32_t low = 0, high = checkpoint->n_tensors;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int order = strcmp(name, checkpoint->tensors[middle].name);
        if (order == 0) {
            return &checkpoint->tensors[middle];
        }
        if (order < 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return NULL;
}
