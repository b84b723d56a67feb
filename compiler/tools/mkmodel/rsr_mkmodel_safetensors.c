/* rsr_mkmodel_safetensors.c - streams tensors into safetensors files, one or several with an
 * index. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rsr_mkmodel.h"

/* Data made and written at a time; a multiple of 64. */
#define CHUNK_BYTES (UINT64_C(1) << 20)

#define SINGLE_FILE "model.safetensors"
#define INDEX_FILE "model.safetensors.index.json"

/* Tensors [begin, end) of the plan, one file. */
struct shard {
    const char *file;
    uint32_t begin, end;
    uint64_t data_bytes;
};

static json_t *shape_json(const struct mkmodel_tensor *tensor) {
    json_t *shape = json_array();

    for (uint32_t i = 0; i < tensor->n_dims; i++)
        json_array_append_new(shape, json_integer((json_int_t)tensor->shape[i]));
    return shape;
}

/* The header's text, padded with spaces to a multiple of 8 bytes as the format asks. */
static const char *header_text(const struct mkmodel_writer *writer, const struct mkmodel_plan *plan,
                               const struct shard *shard) {
    json_t *root = json_object();
    uint64_t at = 0;

    json_object_set_new(root, "__metadata__", json_pack("{s:s}", "format", "pt"));
    for (uint32_t i = shard->begin; i < shard->end; i++) {
        const struct mkmodel_tensor *tensor = &plan->tensors[i];
        uint64_t end = at + mkmodel_tensor_bytes(tensor);

        json_object_set_new(root, tensor->name,
                            json_pack("{s:s, s:o, s:[I, I]}", "dtype", tensor->dtype, "shape",
                                      shape_json(tensor), "data_offsets", (json_int_t)at,
                                      (json_int_t)end));
        at = end;
    }
    char *dumped = json_dumps(root, JSON_COMPACT);
    const char *text = mkmodel_break_header(writer->arena, writer->fault, dumped);
    text = rsrc_arena_printf(writer->arena, "%s%.*s", text, (int)(-strlen(text) & 7), "       ");
    free(dumped);
    json_decref(root);
    return text;
}

static enum rsrc_status write_header(const struct mkmodel_writer *writer, struct rsrc_output *out,
                                     const char *header) {
    uint64_t n = mkmodel_break_length(writer->fault, strlen(header));
    uint8_t length[8];

    for (uint32_t i = 0; i < 8; i++)
        length[i] = (uint8_t)(n >> (8 * i));
    if (rsrc_output_write(writer->diag, out, length, sizeof length) != RSRC_OK)
        return RSRC_FAILED;
    return rsrc_output_write(writer->diag, out, header, strlen(header));
}

/* Writes the first size_bytes bytes of a tensor. */
static enum rsrc_status write_tensor(const struct mkmodel_writer *writer, struct rsrc_output *out,
                                     const struct mkmodel_tensor *tensor, uint64_t size_bytes,
                                     struct mkmodel_maker *maker, uint8_t *chunk) {
    mkmodel_maker_init(maker, writer->spec, tensor);
    for (uint64_t at = 0; at < size_bytes; at += CHUNK_BYTES) {
        uint64_t n = size_bytes - at < CHUNK_BYTES ? size_bytes - at : CHUNK_BYTES;

        mkmodel_maker_fill(maker, at, chunk, n);
        if (at == 0 && tensor->patch)
            memcpy(chunk, tensor->patch, tensor->n_patch < n ? tensor->n_patch : n);
        if (rsrc_output_write(writer->diag, out, chunk, n) != RSRC_OK)
            return RSRC_FAILED;
    }
    return RSRC_OK;
}

static enum rsrc_status write_data(const struct mkmodel_writer *writer,
                                   const struct mkmodel_plan *plan, const struct shard *shard,
                                   struct rsrc_output *out) {
    struct mkmodel_maker *maker = RSRC_NEW(writer->arena, struct mkmodel_maker);
    uint8_t *chunk = rsrc_arena_alloc(writer->arena, CHUNK_BYTES);
    int64_t cut = mkmodel_break_cut(writer->fault, shard->data_bytes);
    uint64_t left = shard->data_bytes - (cut > 0 ? (uint64_t)cut : 0);

    for (uint32_t i = shard->begin; i < shard->end; i++) {
        uint64_t size_bytes = mkmodel_tensor_bytes(&plan->tensors[i]);
        uint64_t n = size_bytes < left ? size_bytes : left;

        if (write_tensor(writer, out, &plan->tensors[i], n, maker, chunk) != RSRC_OK)
            return RSRC_FAILED;
        left -= n;
    }
    if (cut >= 0)
        return RSRC_OK;
    memset(chunk, 0, (size_t)-cut);
    return rsrc_output_write(writer->diag, out, chunk, (uint64_t)-cut);
}

static enum rsrc_status write_shard(const struct mkmodel_writer *writer,
                                    const struct mkmodel_plan *plan, const struct shard *shard) {
    struct rsrc_output out;

    if (rsrc_output_open(writer->diag, writer->arena, shard->file, &out) != RSRC_OK)
        return RSRC_FAILED;
    if (write_header(writer, &out, header_text(writer, plan, shard)) != RSRC_OK ||
        write_data(writer, plan, shard, &out) != RSRC_OK) {
        rsrc_output_abandon(&out);
        return RSRC_FAILED;
    }
    return rsrc_output_commit(writer->diag, &out);
}

static const char *shard_name(struct rsrc_arena *arena, uint32_t shard, uint32_t n_shards) {
    return rsrc_arena_printf(arena, "model-%05u-of-%05u.safetensors", shard + 1, n_shards);
}

static enum rsrc_status write_index(const struct mkmodel_writer *writer,
                                    const struct mkmodel_plan *plan) {
    json_t *map = json_object();
    uint64_t total = 0;

    for (uint32_t i = 0; i < plan->n_tensors; i++) {
        const struct mkmodel_tensor *tensor = &plan->tensors[i];

        json_object_set_new(map, tensor->name,
                            json_string(shard_name(writer->arena, tensor->shard, plan->n_shards)));
        total += mkmodel_tensor_bytes(tensor);
    }
    return mkmodel_write_json(writer, INDEX_FILE,
                              json_pack("{s:{s:I}, s:o}", "metadata", "total_size",
                                        (json_int_t)total, "weight_map", map));
}

/* Removes files of an earlier run with other sizes, which would shadow the new ones. */
static enum rsrc_status remove_stale(const struct mkmodel_writer *writer, const char *file) {
    const char *path = rsrc_arena_join(writer->arena, writer->path, file);

    if (unlink(path) == 0 || errno == ENOENT)
        return RSRC_OK;
    struct rsrc_place place = {.file = path};
    return rsrc_refuse(writer->diag, "output-unwritable", &place,
                       "remove it, or choose another folder", "an older file is in the way: %s",
                       strerror(errno));
}

enum rsrc_status mkmodel_write_weights(const struct mkmodel_writer *writer,
                                       const struct mkmodel_plan *plan, bool is_folder) {
    bool is_sharded = plan->n_shards > 1;
    uint32_t begin = 0;

    if (is_folder && remove_stale(writer, is_sharded ? SINGLE_FILE : INDEX_FILE) != RSRC_OK)
        return RSRC_FAILED;
    for (uint32_t i = 0; i < plan->n_shards; i++) {
        const char *name = is_sharded ? shard_name(writer->arena, i, plan->n_shards) : SINGLE_FILE;
        struct shard shard = {.file = is_folder ? rsrc_arena_join(writer->arena, writer->path, name)
                                                : writer->path,
                              .begin = begin};

        for (shard.end = begin; shard.end < plan->n_tensors && plan->tensors[shard.end].shard == i;
             shard.end++)
            shard.data_bytes += mkmodel_tensor_bytes(&plan->tensors[shard.end]);
        if (write_shard(writer, plan, &shard) != RSRC_OK)
            return RSRC_FAILED;
        begin = shard.end;
    }
    return is_sharded ? write_index(writer, plan) : RSRC_OK;
}
