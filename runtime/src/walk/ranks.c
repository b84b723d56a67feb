/* ranks.c - creates and ends a rank's part of an engine: before anything else, all ranks compare
 * what must be equal. */
#include "ranks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crew.h"
#include "rsr_hash.h"

/* ---- What must be equal ---- */

/* Numbers and texts end in zeros. A later version appends; the size of the exchange stays. */
struct rank_facts {
    uint32_t abi_version;
    uint32_t n_ranks, rank;
    uint32_t context, kv_tokens, max_batch;
    uint8_t model[16];
    uint8_t plan[16]; /* of the kernels and the steps */
    char compiler[16];
    char target[32];
    char kv_type[16];
    char attention[96];
    uint32_t shard, n_shards; /* of its module */
    uint32_t is_pipeline;
    uint8_t reserved[284];
};
_Static_assert(sizeof(struct rank_facts) == 512, "ranks of all versions exchange this many bytes");

/* Compared in this order: a later fact follows from an earlier one. */
static const struct fact {
    const char *name, *help;
    size_t at, n_bytes;
    bool is_text;
} facts_table[] = {
#define FACT(member, name, is_text, help)                                                          \
    {                                                                                              \
        name, help, offsetof(struct rank_facts, member), sizeof(((struct rank_facts *)0)->member), \
            is_text                                                                                \
    }
    FACT(abi_version, "module ABI", false, "compile the model again"),
    FACT(n_ranks, "number of ranks", false, "start all of them with one transport"),
    FACT(model, "model hash", false, "give all ranks the same file"),
    FACT(compiler, "compiler version", true, "give all ranks the same file"),
    FACT(target, "target", true, "choose one that every machine can run"),
    FACT(plan, "hash of kernels and steps", false, "give all ranks the same file"),
    FACT(context, "context", false, "give all ranks the same options"),
    FACT(kv_tokens, "kv_tokens", false, "give all ranks the same options"),
    FACT(max_batch, "max_batch", false, "give all ranks the same options"),
    FACT(kv_type, "kv_type", true, "give all ranks the same options"),
    FACT(attention, "attention", true, "give all ranks the same options"),
    FACT(is_pipeline, "pipeline", false, "give all ranks the same options"),
#undef FACT
};

static void copy_text(char *to, size_t capacity, const char *from) {
    snprintf(to, capacity, "%s", from != NULL ? from : "");
}

static void hash_plan(const struct rsr_target *target, uint8_t out[16]) {
    struct rsr_hash hash;
    rsr_hash_init(&hash);
    for (uint32_t i = 0; i < target->n_kernels; i++) {
        const struct rsr_kernel_desc *k = &target->kernels[i];
        const uint32_t sizes[] = {k->rows, k->cols, k->n_tiles, k->tile_rows, k->row_map != NULL};
        rsr_hash_update(&hash, k->name, strlen(k->name) + 1);
        rsr_hash_update(&hash, k->variant, strlen(k->variant) + 1);
        rsr_hash_update(&hash, sizes, sizeof(sizes));
    }
    for (uint32_t i = 0; i < target->n_steps; i++) {
        const struct rsr_step_table *step = &target->steps[i];
        rsr_hash_update(&hash, &step->max_tokens, sizeof(step->max_tokens));
        rsr_hash_update(&hash, step->ops, step->n_ops * sizeof(*step->ops));
    }
    rsr_hash_final(&hash, out);
}

static void describe_fact(const struct rank_facts *facts, const struct fact *fact, char *text,
                          size_t capacity) {
    const char *at = (const char *)facts + fact->at;
    char hash[RSR_HASH_TEXT_BYTES];
    uint32_t number;
    if (fact->is_text) {
        snprintf(text, capacity, "\"%.*s\"", (int)fact->n_bytes, at);
    } else if (fact->n_bytes == 16) {
        rsr_hash_text((const uint8_t *)at, hash);
        snprintf(text, capacity, "%.12s", hash);
    } else {
        memcpy(&number, at, sizeof(number));
        snprintf(text, capacity, "%u", number);
    }
}

/* Compares the facts of all ranks with those of rank 0. */
static rsr_status compare(const struct rank_facts *facts, uint32_t n_ranks, rsr_error *err) {
    for (size_t f = 0; f < sizeof(facts_table) / sizeof(facts_table[0]); f++)
        for (uint32_t r = 0; r < n_ranks; r++) {
            const struct fact *fact = &facts_table[f];
            char own[112], first[112];
            if (memcmp((const char *)&facts[r] + fact->at, (const char *)facts + fact->at,
                       fact->n_bytes) == 0)
                continue;
            describe_fact(&facts[r], fact, own, sizeof(own));
            describe_fact(facts, fact, first, sizeof(first));
            return rsr_fail(err, RSR_ERR_RANK, "rank %u has another %s (%s) than rank 0 (%s): %s",
                            r, fact->name, own, first, fact->help);
        }
    for (uint32_t r = 0; r < n_ranks; r++)
        if (facts[r].rank != r)
            return rsr_fail(err, RSR_ERR_RANK, "two ranks have the number %u", facts[r].rank);
    return RSR_OK;
}

/* A rank may have the whole module, or its own part of one for this number of ranks. */
static rsr_status compare_shards(const struct rank_facts *facts, uint32_t n_ranks, rsr_error *err) {
    for (uint32_t r = 0; r < n_ranks; r++)
        if (facts[r].n_shards != 0 && facts[r].n_shards != n_ranks)
            return rsr_fail(err, RSR_ERR_RANK,
                            "rank %u has a part of a module for %u ranks, and there are %u: start "
                            "as many, or compile with --shard=I/%u",
                            r, facts[r].n_shards, n_ranks, n_ranks);
    for (uint32_t r = 0; r < n_ranks; r++)
        for (uint32_t other = 0; facts[r].n_shards != 0 && other < r; other++)
            if (facts[other].n_shards != 0 && facts[other].shard == facts[r].shard)
                return rsr_fail(err, RSR_ERR_RANK,
                                "ranks %u and %u have the same part of the module, %u/%u: give "
                                "each its own, as model.%%r.so",
                                other, r, facts[r].shard, n_ranks);
    for (uint32_t r = 0; r < n_ranks; r++)
        if (facts[r].n_shards != 0 && facts[r].shard != r)
            return rsr_fail(err, RSR_ERR_RANK,
                            "rank %u has part %u/%u of the module: give each its own, as "
                            "model.%%r.so",
                            r, facts[r].shard, n_ranks);
    return RSR_OK;
}

static rsr_status gather_equal(struct rsr_ranks *ranks, const void *part, size_t part_bytes,
                               void *all, rsr_error *err) {
    for (uint32_t r = 0; r < ranks->transport.size; r++)
        ranks->bytes[r] = part_bytes;
    return ranks->transport.allgatherv(ranks->transport.user, part, all, ranks->bytes, err);
}

static rsr_status agree(const struct rsr_crew *crew, const rsr_engine_options *options,
                        rsr_error *err) {
    struct rsr_ranks *ranks = crew->ranks;
    const struct rsr_module *module = crew->model->module;
    const rsr_engine_info *info = &crew->engine->info;
    struct rank_facts own = {.abi_version = RSR_ABI_VERSION,
                             .n_ranks = ranks->transport.size,
                             .rank = ranks->transport.rank,
                             .context = info->context,
                             .kv_tokens = info->kv_tokens,
                             .max_batch = info->max_batch,
                             .shard = module->shard,
                             .n_shards = module->n_shards,
                             .is_pipeline = options->pipeline};
    memcpy(own.model, module->model_hash, sizeof(own.model));
    hash_plan(crew->model->target, own.plan);
    copy_text(own.compiler, sizeof(own.compiler), module->compiler_version);
    copy_text(own.target, sizeof(own.target), crew->model->target->name);
    copy_text(own.kv_type, sizeof(own.kv_type), options->kv_type);
    copy_text(own.attention, sizeof(own.attention), options->attention);
    struct rank_facts *all = calloc(ranks->transport.size, sizeof(*all));
    if (all == NULL)
        return rsr_fail(err, RSR_ERR_MEMORY, "no memory for the facts of %u ranks",
                        ranks->transport.size);
    rsr_status status = gather_equal(ranks, &own, sizeof(own), all, err);
    if (status == RSR_OK)
        status = compare(all, ranks->transport.size, err);
    if (status == RSR_OK)
        status = compare_shards(all, ranks->transport.size, err);
    free(all);
    return status;
}

/* ---- What is refused ---- */

static rsr_status check_transport(const rsr_transport *transport, rsr_error *err) {
    if (transport->size > RSR_MOST_RANKS || transport->rank >= transport->size)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "rank %u of %u ranks; there are 1 to %u",
                        transport->rank, transport->size, RSR_MOST_RANKS);
    if (transport->allgatherv == NULL || transport->bcast == NULL || transport->barrier == NULL)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "a function of the transport is NULL");
    return RSR_OK;
}

/* One process needs all rows. */
static rsr_status refuse_part(const struct rsr_module *module, rsr_error *err) {
    if (module->n_shards == 0)
        return RSR_OK;
    return rsr_fail(err, RSR_ERR_RANK,
                    "the module is part %u/%u, which has the rows of one rank: run all parts with "
                    "mpirun -n %u rsr-mpi, or compile without --shard",
                    module->shard, module->n_shards, module->n_shards);
}

/* All ranks refuse alike, after they have found that their options are equal. */
static rsr_status check_options(const struct rsr_crew *crew, const rsr_engine_options *options,
                                rsr_error *err) {
    const struct rsr_module *module = crew->model->module;
    const struct rsr_hyper *hyper = &module->hyper;
    const uint32_t size = crew->ranks->transport.size;
    if (options->pipeline && module->n_shards != 0)
        return rsr_fail(err, RSR_ERR_RANK,
                        "the module is part %u/%u, which has rows of all layers, and a rank of a "
                        "pipeline needs all rows of some: compile without --shard",
                        module->shard, module->n_shards);
    if (options->pipeline && size > hyper->n_layers)
        return rsr_fail(err, RSR_ERR_ARGUMENT,
                        "a pipeline of %u ranks needs as many layers, and the model has %u: start "
                        "at most %u",
                        size, hyper->n_layers, hyper->n_layers);
    if (hyper->delta_layers != 0)
        return rsr_fail(err, RSR_ERR_ARGUMENT,
                        "%u layers of the model are recurrent, and their states are not shared out "
                        "among ranks: run it in one process",
                        hyper->delta_layers);
    if (options->attention != NULL && strcmp(options->attention, "dense") != 0)
        return rsr_fail(err, RSR_ERR_ARGUMENT,
                        "attention \"%s\" is not shared out among ranks: take dense attention",
                        options->attention);
    if (options->probe != NULL)
        return rsr_fail(err, RSR_ERR_ARGUMENT,
                        "a probe sees only what its rank computes: run the "
                        "model in one process");
    return RSR_OK;
}

/* ---- Life ---- */

static struct rsr_range heads_of(const struct rsr_ranks *ranks, const struct rsr_hyper *hyper,
                                 uint32_t rank) {
    return ranks->is_pipeline ? (struct rsr_range){0, hyper->n_kv_heads}
                              : rsr_rank_share(hyper->n_kv_heads, rank, ranks->transport.size);
}

static struct rsr_range layers_of(const struct rsr_ranks *ranks, const struct rsr_hyper *hyper,
                                  uint32_t rank) {
    return ranks->is_pipeline
               ? rsr_rank_layers(hyper->n_layers, ranks->head_layers, rank, ranks->transport.size)
               : (struct rsr_range){0, hyper->n_layers};
}

static rsr_status make_ranks(struct rsr_crew *crew, struct rsr_engine *engine,
                             const rsr_transport *transport, bool is_pipeline, rsr_error *err) {
    const struct rsr_hyper *hyper = &crew->model->module->hyper;
    const uint32_t n = transport->size, max_batch = crew->engine->info.max_batch;
    struct rsr_ranks *ranks = calloc(1, sizeof(*ranks));
    if (ranks == NULL)
        return rsr_fail(err, RSR_ERR_MEMORY, "no memory for a rank");
    crew->ranks = ranks;
    ranks->engine = engine;
    ranks->transport = *transport;
    ranks->lost = (rsr_error)RSR_ERROR_INIT;
    ranks->is_pipeline = is_pipeline;
    ranks->head_layers = rsr_rank_head_layers(crew->model);
    ranks->kv_heads = heads_of(ranks, hyper, transport->rank);
    ranks->layers = layers_of(ranks, hyper, transport->rank);
    pthread_mutex_init(&ranks->noting, NULL);
    ranks->bytes = calloc(n, sizeof(*ranks->bytes));
    ranks->counts = calloc(n, sizeof(*ranks->counts));
    ranks->published = calloc(n, sizeof(*ranks->published));
    ranks->row_counts = calloc(n, RSR_MAX_PICKS * sizeof(*ranks->row_counts));
    ranks->sequences = calloc(max_batch, sizeof(*ranks->sequences));
    ranks->entries = calloc(max_batch, sizeof(*ranks->entries));
    if (ranks->row_counts == NULL || ranks->bytes == NULL || ranks->counts == NULL ||
        ranks->published == NULL || ranks->sequences == NULL || ranks->entries == NULL)
        return rsr_fail(err, RSR_ERR_MEMORY, "no memory for a rank");
    for (uint32_t r = 0; r < n; r++) {
        const struct rsr_range heads = heads_of(ranks, hyper, r);
        const struct rsr_range layers = layers_of(ranks, hyper, r);
        ranks->published[r] = ranks->counts[r] =
            (rsr_rank_info){.n_ranks = n,
                            .first_kv_head = heads.begin,
                            .n_kv_heads = heads.end - heads.begin,
                            .first_layer = layers.begin,
                            .n_layers = layers.end - layers.begin};
    }
    return RSR_OK;
}

rsr_status rsr_ranks_create(struct rsr_crew *crew, struct rsr_engine *engine,
                            const rsr_engine_options *options, rsr_error *err) {
    rsr_transport transport = RSR_TRANSPORT_INIT;
    const struct rsr_module *module = crew->model->module;
    if (options->transport == NULL && options->pipeline)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "a pipeline needs a transport between its ranks");
    if (options->transport == NULL)
        return refuse_part(module, err);
    rsr_status status = rsr_read_options(&transport, sizeof(transport), options->transport, err);
    if (status == RSR_OK)
        status = check_transport(&transport, err);
    if (status == RSR_OK && transport.size == 1)
        status = refuse_part(module, err);
    if (status != RSR_OK || transport.size == 1)
        return status;
    status = make_ranks(crew, engine, &transport, options->pipeline, err);
    if (status == RSR_OK)
        status = agree(crew, options, err);
    if (status == RSR_OK)
        status = check_options(crew, options, err);
    return status;
}

/* What a rank says when its engine is created, or why it is not. */
struct rank_ready {
    uint32_t failed;
    uint32_t n_pages;
    char why[504];
};

rsr_status rsr_ranks_ready(struct rsr_ranks *ranks, rsr_status status, uint32_t *n_pages,
                           rsr_error *err) {
    rsr_error why = RSR_ERROR_INIT;
    struct rank_ready own = {.failed = status != RSR_OK, .n_pages = *n_pages};
    struct rank_ready *all = calloc(ranks->transport.size, sizeof(*all));
    if (all == NULL)
        return rsr_fail(err, RSR_ERR_MEMORY, "no memory for the answers of %u ranks",
                        ranks->transport.size);
    if (status != RSR_OK)
        copy_text(own.why, sizeof(own.why), err != NULL ? err->message : "it could not start");
    const rsr_status reached = gather_equal(ranks, &own, sizeof(own), all, &why);
    if (status == RSR_OK && reached != RSR_OK)
        status = rsr_fail(err, reached, "%s", why.message);
    for (uint32_t r = 0; status == RSR_OK && r < ranks->transport.size; r++) {
        if (all[r].failed != 0)
            status =
                rsr_fail(err, RSR_ERR_RANK, "rank %u: %.*s", r, (int)sizeof(own.why), all[r].why);
        *n_pages = all[r].n_pages < *n_pages ? all[r].n_pages : *n_pages;
    }
    free(all);
    return status;
}

void rsr_ranks_destroy(struct rsr_ranks *ranks) {
    if (ranks == NULL)
        return;
    rsr_rank_plan_free(ranks);
    pthread_mutex_destroy(&ranks->noting);
    free(ranks->bytes);
    free(ranks->own);
    free(ranks->all);
    free(ranks->counts);
    free(ranks->row_counts);
    free(ranks->published);
    free(ranks->message.words);
    free(ranks->notes.words);
    free(ranks->sequences);
    free(ranks->entries);
    free(ranks->outputs);
    free(ranks);
}

void rsr_rank_count_step(struct rsr_ranks *ranks, uint64_t ns) {
    for (uint32_t r = 0; r < ranks->transport.size; r++)
        ranks->counts[r].step_ns += ns;
}

void rsr_rank_publish(struct rsr_ranks *ranks) {
    memcpy(ranks->published, ranks->counts, ranks->transport.size * sizeof(*ranks->counts));
}
