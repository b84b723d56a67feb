/* model_tables.c - describes the constant tables of rsr_abi.h for one model; see tables.h. */
#include "emit/module/model_tables.h"

#include <string.h>

static const char HEAD[] =
    "/*\n"
    " * The tables of one compiled model, made by rsrc: what its kernels are, where its weights "
    "lie, "
    "and in\n"
    " * which order one forward pass runs. rsr_abi.h describes every structure.\n"
    " */\n"
    "#include \"rsr_abi.h\"\n";

#define TARGETS "targets"
#define NORMS "norms"
#define DENSE "dense"
#define DELTAS "deltas"
#define ROPES "ropes"
#define ROTATIONS "rotations"
#define STOP_TOKENS "stop_tokens"
#define SAMPLING "sampling"
#define RUNTIME_API "rsr_runtime_api"

/* ---- what libraries of matrices have, too ---------------------------------------------------- */

void rsrc_describe_note(struct rsrc_tables *tables, const struct rsr_module_note *note,
                        enum rsr_note_kind kind) {
    struct rsrc_table *table = RSRC_STRUCT(tables, struct rsr_file_note, "note");
    table->attribute = "RSR_NOTE_PLACE";
    table->section = RSR_NOTE_SECTION;
    table->align = RSR_NOTE_ALIGN;
    RSRC_PUT_SPELLED(tables, rsr_file_note, owner_bytes, sizeof(RSR_NOTE_OWNER));
    RSRC_PUT_SPELLED(tables, rsr_file_note, note_bytes, sizeof(struct rsr_note));
    RSRC_PUT_SPELLED(tables, rsr_file_note, type, RSR_NOTE_TYPE);
    RSRC_PUT(tables, rsr_file_note, owner, RSR_NOTE_OWNER);
    RSRC_PUT_SPELLED(tables, rsr_file_note, note.abi_version, RSR_ABI_VERSION);
    RSRC_PUT(tables, rsr_file_note, note.kind, kind);
    RSRC_PUT(tables, rsr_file_note, note.checkpoint, note->checkpoint);
    RSRC_PUT(tables, rsr_file_note, note.targets, note->targets);
    RSRC_PUT(tables, rsr_file_note, note.compiler_version, RSRC_VERSION);
    RSRC_PUT(tables, rsr_file_note, note.options, note->options);
}

void rsrc_declare_weights(struct rsrc_tables *tables, const struct rsr_linear_unit *linear) {
    rsrc_declare(tables, RSRC_DECLARED_ARRAY, "const uint8_t", linear->codes);
    rsrc_declare(tables, RSRC_DECLARED_ARRAY, "const uint8_t", linear->index);
    rsrc_declare(tables, RSRC_DECLARED_ARRAY, "const float", linear->scale);
}

void rsrc_declare_linears(struct rsrc_tables *tables, const struct rsr_module_target *targets,
                          uint32_t n_targets) {
    for (uint32_t t = 0; t < n_targets; t++) {
        for (uint32_t l = 0; l < targets[t].n_linears; l++) {
            const struct rsr_linear_unit *linear = &targets[t].linears[l];
            rsrc_declare(tables, RSRC_DECLARED_FUNCTION, "rsr_kernel_fn", linear->function);
            rsrc_declare_weights(tables, linear);
        }
    }
}

/* Equal texts get equal numbers. */
static uint32_t tables_number(const struct rsr_module_target *target, uint32_t linear) {
    const char *text = target->linears[linear].tables;
    if (text == NULL)
        return 0;
    for (uint32_t l = 0; l < linear; l++)
        if (target->linears[l].tables != NULL && strcmp(target->linears[l].tables, text) == 0)
            return l + 1;
    return linear + 1;
}

static const char *kernels_name(struct rsrc_tables *tables, uint32_t target) {
    return rsrc_arena_printf(tables->arena, "kernels_%u", target);
}

/* Layers share kernels: what a kernel knows of its layer is here. */
static void describe_kernel(struct rsrc_tables *tables, const struct rsr_linear_unit *linear,
                            uint32_t tables_of_x) {
    rsrc_begin_row(tables,
                   rsrc_arena_printf(tables->arena, "%s: %s", linear->title, linear->tokens));
    RSRC_PUT(tables, rsr_kernel_desc, name, linear->name);
    RSRC_PUT(tables, rsr_kernel_desc, variant, linear->variant);
    RSRC_PUT(tables, rsr_kernel_desc, reason, linear->reason);
    RSRC_PUT(tables, rsr_kernel_desc, fn, linear->function);
    if (linear->scale_source != NULL)
        rsrc_comment_member(tables,
                            rsrc_arena_printf(tables->arena, "scale: %s", linear->scale_source));
    RSRC_PUT(tables, rsr_kernel_desc, weights.codes, linear->codes);
    RSRC_PUT(tables, rsr_kernel_desc, weights.index, linear->index);
    RSRC_PUT(tables, rsr_kernel_desc, weights.scale, linear->scale);
    RSRC_PUT(tables, rsr_kernel_desc, weights.n_scales, linear->n_scales);
    RSRC_PUT(tables, rsr_kernel_desc, rows, linear->rows);
    RSRC_PUT(tables, rsr_kernel_desc, cols, linear->cols);
    RSRC_PUT(tables, rsr_kernel_desc, n_tiles, linear->n_tiles);
    RSRC_PUT(tables, rsr_kernel_desc, tile_rows, linear->tile_rows);
    if (linear->epilogue == RSR_EPILOGUE_RAW)
        RSRC_PUT_SPELLED(tables, rsr_kernel_desc, epilogue, RSR_EPILOGUE_RAW);
    else
        RSRC_PUT_SPELLED(tables, rsr_kernel_desc, epilogue, RSR_EPILOGUE_SCALE);
    RSRC_PUT(tables, rsr_kernel_desc, block, linear->block);
    RSRC_PUT(tables, rsr_kernel_desc, role, linear->role);
    RSRC_PUT(tables, rsr_kernel_desc, input, linear->input);
    RSRC_PUT(tables, rsr_kernel_desc, tables, tables_of_x);
    RSRC_PUT(tables, rsr_kernel_desc, list, linear->list);
    RSRC_PUT(tables, rsr_kernel_desc, scratch_bytes, linear->scratch_bytes);
    RSRC_PUT(tables, rsr_kernel_desc, weight_bytes, linear->weight_bytes);
    RSRC_PUT(tables, rsr_kernel_desc, token_bytes, linear->token_bytes);
    RSRC_PUT(tables, rsr_kernel_desc, stream_bytes, linear->stream_bytes);
    RSRC_PUT(tables, rsr_kernel_desc, tile_bytes, linear->tile_bytes);
    RSRC_PUT(tables, rsr_kernel_desc, n_streams, linear->n_streams);
    if (linear->has_row_map)
        RSRC_PUT_BYTE(tables, rsr_kernel_desc, row_map, linear->index, linear->row_map_at);
}

void rsrc_describe_kernels(struct rsrc_tables *tables, const struct rsr_module_target *target,
                           uint32_t number) {
    RSRC_TABLE(tables, struct rsr_kernel_desc, kernels_name(tables, number));
    for (uint32_t l = 0; l < target->n_linears; l++)
        describe_kernel(tables, &target->linears[l], tables_number(target, l));
}

void rsrc_begin_target(struct rsrc_tables *tables, const struct rsr_module_target *target,
                       uint32_t number) {
    rsrc_begin_row(tables, NULL);
    RSRC_PUT(tables, rsr_target, name, target->spec->name);
    RSRC_PUT_MASK(tables, rsr_target, cpu_features, target->spec->cpu_features);
    RSRC_PUT(tables, rsr_target, n_kernels, target->n_linears);
    RSRC_PUT(tables, rsr_target, n_steps, target->n_steps);
    RSRC_PUT(tables, rsr_target, kernels, kernels_name(tables, number));
}

/* ---- the parts of a model -------------------------------------------------------------------- */

static void declare_parts(struct rsrc_tables *tables, const struct rsr_module_input *input) {
    const struct rsr_graph *graph = input->graph;
    rsrc_declare(tables, RSRC_DECLARED_OBJECT, "const struct rsr_api", RUNTIME_API);
    rsrc_declare_linears(tables, input->targets, input->n_targets);
    rsrc_declare_gpus(tables, input->gpus, input->n_gpus);
    for (uint32_t n = 0; n < graph->n_norms; n++)
        rsrc_declare(tables, RSRC_DECLARED_ARRAY, "const float", input->norm_symbols[n]);
    for (uint32_t i = 0; i < graph->n_deltas; i++)
        rsrc_declare(tables, RSRC_DECLARED_ARRAY, "const float", input->delta_symbols[i]);
    rsrc_declare(tables, RSRC_DECLARED_ARRAY, "const uint8_t", input->embedding_symbol);
    for (uint32_t i = 0; i < graph->n_dense; i++)
        rsrc_declare(tables, RSRC_DECLARED_ARRAY, "const uint8_t", input->dense_symbols[i]);
    rsrc_declare(tables, RSRC_DECLARED_ARRAY, "const uint8_t", input->head_symbol);
    rsrc_declare(tables, RSRC_DECLARED_ARRAY, "const uint8_t", input->head_sketch.blocks);
    rsrc_declare(tables, RSRC_DECLARED_ARRAY, "const float", input->head_sketch.centre);
    rsrc_declare(tables, RSRC_DECLARED_ARRAY, "const float", input->spreads_symbol);
    rsrc_declare(tables, RSRC_DECLARED_ARRAY, "const struct rsr_tokenizer_header",
                 input->tokenizer_symbol);
}

static void describe_norms(struct rsrc_tables *tables, const struct rsr_module_input *input) {
    RSRC_TABLE(tables, struct rsr_norm, NORMS)->comment = "epsilons are the configuration's";
    for (uint32_t n = 0; n < input->graph->n_norms; n++) {
        const struct rsr_norm_layer *norm = &input->graph->norms[n];
        rsrc_begin_row(tables, norm->name);
        RSRC_PUT(tables, rsr_norm, name, input->norm_roles[n]);
        RSRC_PUT(tables, rsr_norm, weight, input->norm_symbols[n]);
        RSRC_PUT(tables, rsr_norm, cols, norm->cols);
        RSRC_PUT(tables, rsr_norm, eps, norm->eps);
    }
}

static void describe_dense(struct rsrc_tables *tables, const struct rsr_module_input *input) {
    if (input->graph->n_dense == 0)
        return;
    RSRC_TABLE(tables, struct rsr_matrix_data, DENSE);
    for (uint32_t i = 0; i < input->graph->n_dense; i++) {
        const struct rsr_dense_layer *layer = &input->graph->dense[i];
        rsrc_begin_row(tables, NULL);
        RSRC_PUT(tables, rsr_matrix_data, data, input->dense_symbols[i]);
        RSRC_PUT(tables, rsr_matrix_data, dtype, layer->weight->dtype);
        RSRC_PUT(tables, rsr_matrix_data, rows, layer->rows);
        RSRC_PUT(tables, rsr_matrix_data, cols, layer->cols);
        RSRC_PUT(tables, rsr_matrix_data, role, layer->role);
    }
}

static void describe_deltas(struct rsrc_tables *tables, const struct rsr_module_input *input) {
    const struct rsr_hyper *hyper = &input->graph->hyper;
    const uint32_t heads = hyper->delta_value_heads;
    const uint32_t taps = RSR_DELTA_TAPS * (2 * hyper->delta_key_heads * hyper->delta_key_dim +
                                            heads * hyper->delta_value_dim);
    if (input->graph->n_deltas == 0)
        return;
    RSRC_TABLE(tables, struct rsr_delta, DELTAS);
    for (uint32_t i = 0; i < input->graph->n_deltas; i++) {
        const char *symbol = input->delta_symbols[i];
        rsrc_begin_row(tables, input->graph->deltas[i].name);
        RSRC_PUT(tables, rsr_delta, taps, symbol);
        RSRC_PUT_ELEMENT(tables, rsr_delta, rate, symbol, taps);
        RSRC_PUT_ELEMENT(tables, rsr_delta, shift, symbol, taps + heads);
        RSRC_PUT_ELEMENT(tables, rsr_delta, norm, symbol, taps + 2 * heads);
        RSRC_PUT(tables, rsr_delta, norm_eps, hyper->norm_eps);
    }
}

static void describe_ropes(struct rsrc_tables *tables, const struct rsr_graph *graph) {
    const char **names = RSRC_NEW_ARRAY(tables->arena, graph->n_ropes, const char *);
    for (uint32_t r = 0; r < graph->n_ropes; r++) {
        names[r] = rsrc_arena_printf(tables->arena, "inv_freq_%u", r);
        rsrc_add_floats(tables, names[r],
                        "angles of a position, from theta and scaling of the configuration",
                        graph->ropes[r].inv_freq, graph->hyper.rotary_dim / 2);
    }
    RSRC_TABLE(tables, struct rsr_rope, ROPES);
    for (uint32_t r = 0; r < graph->n_ropes; r++) {
        rsrc_begin_row(tables, NULL);
        RSRC_PUT(tables, rsr_rope, inv_freq, names[r]);
        RSRC_PUT(tables, rsr_rope, scale, graph->ropes[r].scale);
    }
}

static const char *describe_signs(struct rsrc_tables *tables, const struct rsr_rotation *rotation,
                                  uint32_t number) {
    if (rotation->signs == NULL)
        return NULL;
    const char *name = rsrc_arena_printf(tables->arena, "signs_%u", number);
    rsrc_add_floats(tables, name, NULL, rotation->signs, rotation->cols);
    return name;
}

static void describe_rotations(struct rsrc_tables *tables, const struct rsr_graph *graph) {
    const char **signs = RSRC_NEW_ARRAY(tables->arena, graph->n_rotations, const char *);
    if (graph->n_rotations == 0)
        return;
    for (uint32_t r = 0; r < graph->n_rotations; r++)
        signs[r] = describe_signs(tables, &graph->rotations[r], r);
    RSRC_TABLE(tables, struct rsr_rotation, ROTATIONS)->comment =
        "of inputs whose layers have rotated weights";
    for (uint32_t r = 0; r < graph->n_rotations; r++) {
        rsrc_begin_row(tables, NULL);
        RSRC_PUT(tables, rsr_rotation, signs, signs[r]);
        RSRC_PUT(tables, rsr_rotation, cols, graph->rotations[r].cols);
        RSRC_PUT(tables, rsr_rotation, block, graph->rotations[r].block);
    }
}

/* ---- targets --------------------------------------------------------------------------------- */

static const char *numbered(struct rsrc_tables *tables, const char *name, uint32_t target,
                            uint32_t step) {
    return rsrc_arena_printf(tables->arena, "%s_%u_%u", name, target, step);
}

static void describe_step(struct rsrc_tables *tables, const struct rsr_step *step, uint32_t target,
                          uint32_t number) {
    RSRC_TABLE(tables, struct rsr_buffer, numbered(tables, "buffers", target, number))->is_terse =
        true;
    for (uint32_t b = 0; b < step->n_buffers; b++) {
        rsrc_begin_row(tables, NULL);
        RSRC_PUT(tables, rsr_buffer, name, step->buffers[b].name);
        RSRC_PUT(tables, rsr_buffer, row_bytes, step->buffers[b].row_bytes);
        RSRC_PUT(tables, rsr_buffer, cols, step->buffers[b].cols);
        RSRC_PUT(tables, rsr_buffer, offset, step->buffers[b].offset);
    }
    RSRC_TABLE(tables, struct rsr_step_op, numbered(tables, "ops", target, number))->is_terse =
        true;
    for (uint32_t i = 0; i < step->n_ops; i++) {
        const struct rsr_step_op *op = &step->ops[i];
        rsrc_begin_row(tables, NULL);
        RSRC_PUT(tables, rsr_step_op, kind, op->kind);
        RSRC_PUT(tables, rsr_step_op, flags, op->flags);
        RSRC_PUT(tables, rsr_step_op, block, op->block);
        RSRC_PUT(tables, rsr_step_op, dst, op->dst);
        RSRC_PUT(tables, rsr_step_op, src, op->src);
        RSRC_PUT(tables, rsr_step_op, layer, op->layer);
        RSRC_PUT(tables, rsr_step_op, arg, op->arg);
    }
}

const char *rsrc_steps_name(struct rsrc_tables *tables, uint32_t target) {
    return rsrc_arena_printf(tables->arena, "steps_%u", target);
}

static void describe_steps(struct rsrc_tables *tables, const struct rsr_module_target *target,
                           uint32_t number) {
    for (uint32_t s = 0; s < target->n_steps; s++)
        describe_step(tables, &target->steps[s], number, s);
    RSRC_TABLE(tables, struct rsr_step_table, rsrc_steps_name(tables, number));
    for (uint32_t s = 0; s < target->n_steps; s++) {
        const struct rsr_step *step = &target->steps[s];
        rsrc_begin_row(tables, NULL);
        RSRC_PUT(tables, rsr_step_table, regime, step->regime);
        RSRC_PUT(tables, rsr_step_table, min_tokens, step->min_tokens);
        RSRC_PUT(tables, rsr_step_table, max_tokens, step->max_tokens);
        RSRC_PUT(tables, rsr_step_table, n_ops, step->n_ops);
        RSRC_PUT(tables, rsr_step_table, n_buffers, step->n_buffers);
        RSRC_PUT(tables, rsr_step_table, ops, numbered(tables, "ops", number, s));
        RSRC_PUT(tables, rsr_step_table, buffers, numbered(tables, "buffers", number, s));
        RSRC_PUT(tables, rsr_step_table, arena_bytes_per_token, step->arena_bytes_per_token);
    }
}

static void put_head(struct rsrc_tables *tables, const struct rsr_module_input *input) {
    const struct rsr_graph *graph = input->graph;
    if (input->head_symbol == NULL)
        return;
    RSRC_PUT(tables, rsr_tensors, head.data, input->head_symbol);
    RSRC_PUT(tables, rsr_tensors, head.dtype,
             input->packed_head ? RSR_DTYPE_BF16_PACKED : (uint32_t)graph->head->dtype);
    RSRC_PUT(tables, rsr_tensors, head.rows, graph->hyper.vocab);
    RSRC_PUT(tables, rsr_tensors, head.cols, graph->hyper.hidden);
    RSRC_PUT(tables, rsr_tensors, head.role, RSR_ROLE_HEAD);
    if (input->head_sketch.blocks == NULL)
        return;
    RSRC_PUT(tables, rsr_tensors, head_sketch.blocks, input->head_sketch.blocks);
    RSRC_PUT(tables, rsr_tensors, head_sketch.centre, input->head_sketch.centre);
    RSRC_PUT(tables, rsr_tensors, head_sketch.block_bytes, input->head_sketch.block_bytes);
    RSRC_PUT(tables, rsr_tensors, head_sketch.token_bytes, input->head_sketch.token_bytes);
    RSRC_PUT(tables, rsr_tensors, head_sketch.n_planes, input->head_sketch.n_planes);
}

static void describe_tensors(struct rsrc_tables *tables, const struct rsr_module_input *input) {
    const struct rsr_graph *graph = input->graph;
    RSRC_STRUCT(tables, struct rsr_tensors, RSRC_TABLE_TENSORS)->comment = "of all targets";
    RSRC_PUT(tables, rsr_tensors, norms, NORMS);
    if (graph->n_dense != 0)
        RSRC_PUT(tables, rsr_tensors, dense, DENSE);
    if (graph->n_deltas != 0)
        RSRC_PUT(tables, rsr_tensors, deltas, DELTAS);
    RSRC_PUT(tables, rsr_tensors, n_norms, graph->n_norms);
    RSRC_PUT(tables, rsr_tensors, n_dense, graph->n_dense);
    RSRC_PUT(tables, rsr_tensors, n_deltas, graph->n_deltas);
    RSRC_PUT(tables, rsr_tensors, embedding.data, input->embedding_symbol);
    RSRC_PUT(tables, rsr_tensors, embedding.dtype,
             input->packed_embedding ? RSR_DTYPE_BF16_PACKED : (uint32_t)graph->embedding->dtype);
    RSRC_PUT(tables, rsr_tensors, embedding.rows, graph->hyper.vocab);
    RSRC_PUT(tables, rsr_tensors, embedding.cols, graph->hyper.hidden);
    RSRC_PUT(tables, rsr_tensors, embedding.role, RSR_ROLE_EMBED);
    put_head(tables, input);
    if (input->spreads_symbol != NULL)
        RSRC_PUT(tables, rsr_tensors, logit_spreads, input->spreads_symbol);
}

static void describe_target(struct rsrc_tables *tables, const struct rsr_module_input *input,
                            uint32_t number) {
    rsrc_begin_target(tables, &input->targets[number], number);
    RSRC_PUT(tables, rsr_target, steps, rsrc_steps_name(tables, number));
    RSRC_PUT(tables, rsr_target, tensors, RSRC_TABLE_TENSORS);
}

static void describe_targets(struct rsrc_tables *tables, const struct rsr_module_input *input) {
    for (uint32_t t = 0; t < input->n_targets; t++) {
        rsrc_describe_kernels(tables, &input->targets[t], t);
        describe_steps(tables, &input->targets[t], t);
    }
    if (input->n_targets != 0)
        RSRC_TABLE(tables, struct rsr_target, TARGETS);
    for (uint32_t t = 0; t < input->n_targets; t++)
        describe_target(tables, input, t);
    for (uint32_t g = 0; g < input->n_gpus; g++) {
        rsrc_describe_gpu_kernels(tables, &input->gpus[g], g);
        describe_steps(tables, &input->gpus[g], input->n_targets + g);
    }
    if (input->n_gpus != 0)
        rsrc_describe_gpus(tables, input->gpus, input->n_gpus, input->n_targets);
}

/* ---- the module ------------------------------------------------------------------------------ */

static void describe_stop_tokens(struct rsrc_tables *tables, const struct rsr_config *config) {
    uint32_t *tokens = RSRC_NEW_ARRAY(tables->arena, config->n_eos_tokens + 1u, uint32_t);
    for (uint32_t i = 0; i < config->n_eos_tokens; i++)
        tokens[i] = config->eos_tokens[i];
    tokens[config->n_eos_tokens] = RSR_NO_TOKEN;
    rsrc_add_numbers(tables, STOP_TOKENS, tokens, config->n_eos_tokens + 1u);
}

/* The checkpoint's sampling settings, if it has any. */
static void describe_sampling(struct rsrc_tables *tables, const struct rsr_config *config) {
    const struct rsr_sampling_advice *advice = &config->sampling;
    if (!config->has_sampling)
        return;
    RSRC_STRUCT(tables, struct rsr_sampling_advice, SAMPLING);
    RSRC_PUT(tables, rsr_sampling_advice, temperature, advice->temperature);
    RSRC_PUT(tables, rsr_sampling_advice, top_k, advice->top_k);
    RSRC_PUT(tables, rsr_sampling_advice, top_p, advice->top_p);
    RSRC_PUT(tables, rsr_sampling_advice, min_p, advice->min_p);
    RSRC_PUT(tables, rsr_sampling_advice, repeat_penalty, advice->repeat_penalty);
}

static void put_hyper(struct rsrc_tables *tables, const struct rsr_hyper *hyper) {
    rsrc_comment_member(tables, "as the configuration has it");
    RSRC_PUT(tables, rsr_module, hyper.hidden, hyper->hidden);
    RSRC_PUT(tables, rsr_module, hyper.n_layers, hyper->n_layers);
    RSRC_PUT(tables, rsr_module, hyper.n_heads, hyper->n_heads);
    RSRC_PUT(tables, rsr_module, hyper.n_kv_heads, hyper->n_kv_heads);
    RSRC_PUT(tables, rsr_module, hyper.head_dim, hyper->head_dim);
    RSRC_PUT(tables, rsr_module, hyper.ffn, hyper->ffn);
    RSRC_PUT(tables, rsr_module, hyper.vocab, hyper->vocab);
    RSRC_PUT(tables, rsr_module, hyper.context, hyper->context);
    RSRC_PUT(tables, rsr_module, hyper.activation, hyper->activation);
    RSRC_PUT(tables, rsr_module, hyper.tied_head, hyper->tied_head);
    RSRC_PUT(tables, rsr_module, hyper.pooling, hyper->pooling);
    RSRC_PUT(tables, rsr_module, hyper.normalized, hyper->normalized);
    RSRC_PUT(tables, rsr_module, hyper.norm_eps, hyper->norm_eps);
    RSRC_PUT(tables, rsr_module, hyper.rope_theta, hyper->rope_theta);
    RSRC_PUT(tables, rsr_module, hyper.attention_scale, hyper->attention_scale);
    RSRC_PUT(tables, rsr_module, hyper.embedding_scale, hyper->embedding_scale);
    RSRC_PUT(tables, rsr_module, hyper.rotary_dim, hyper->rotary_dim);
    if (hyper->delta_layers == 0)
        return;
    RSRC_PUT(tables, rsr_module, hyper.delta_layers, hyper->delta_layers);
    RSRC_PUT(tables, rsr_module, hyper.delta_key_heads, hyper->delta_key_heads);
    RSRC_PUT(tables, rsr_module, hyper.delta_value_heads, hyper->delta_value_heads);
    RSRC_PUT(tables, rsr_module, hyper.delta_key_dim, hyper->delta_key_dim);
    RSRC_PUT(tables, rsr_module, hyper.delta_value_dim, hyper->delta_value_dim);
}

static void put_parts(struct rsrc_tables *tables, const struct rsr_module_input *input) {
    const struct rsr_graph *graph = input->graph;
    RSRC_PUT(tables, rsr_module, ropes, ROPES);
    RSRC_PUT(tables, rsr_module, n_ropes, graph->n_ropes);
    if (graph->n_rotations != 0) {
        RSRC_PUT(tables, rsr_module, n_rotations, graph->n_rotations);
        RSRC_PUT(tables, rsr_module, rotations, ROTATIONS);
    }
    RSRC_PUT(tables, rsr_module, targets, input->n_targets != 0 ? TARGETS : NULL);
    RSRC_PUT(tables, rsr_module, gpus, input->n_gpus != 0 ? RSRC_TABLE_GPUS : NULL);
    RSRC_PUT(tables, rsr_module, n_targets, input->n_targets);
    RSRC_PUT(tables, rsr_module, n_gpus, input->n_gpus);
    RSRC_PUT_SPELLED(tables, rsr_module, size_gpu_kernel, sizeof(struct rsr_gpu_kernel));
}

static void put_texts(struct rsrc_tables *tables, const struct rsr_module_input *input) {
    const struct rsr_config *config = &input->graph->checkpoint->config;
    const struct rsr_tokenizer *tokenizer = &input->graph->checkpoint->tokenizer;
    RSRC_PUT(tables, rsr_module, n_stop_tokens, config->n_eos_tokens);
    RSRC_PUT(tables, rsr_module, stop_tokens, STOP_TOKENS);
    RSRC_PUT(tables, rsr_module, bos_token, config->bos_token);
    RSRC_PUT(tables, rsr_module, eos_token,
             config->n_eos_tokens != 0 ? config->eos_tokens[0] : RSR_NO_TOKEN);
    RSRC_PUT(tables, rsr_module, tokenizer, input->tokenizer_symbol);
    RSRC_PUT(tables, rsr_module, chat_template, tokenizer->chat_template);
    RSRC_PUT(tables, rsr_module, chat_problem, tokenizer->chat_problem);
    RSRC_PUT(tables, rsr_module, bos_text, tokenizer->bos_text);
    RSRC_PUT(tables, rsr_module, eos_text, tokenizer->eos_text);
    RSRC_PUT(tables, rsr_module, sampling, config->has_sampling ? SAMPLING : NULL);
    RSRC_PUT(tables, rsr_module, hollow_seed, input->hollow_seed);
    RSRC_PUT(tables, rsr_module, shard, input->shard);
    RSRC_PUT(tables, rsr_module, n_shards, input->n_shards);
}

static void describe_module(struct rsrc_tables *tables, const struct rsr_module_input *input) {
    const struct rsr_checkpoint *checkpoint = input->graph->checkpoint;
    tables->module = "module";
    RSRC_STRUCT(tables, struct rsr_module, tables->module);
    RSRC_PUT_SPELLED(tables, rsr_module, abi_version, RSR_ABI_VERSION);
    RSRC_PUT_SPELLED(tables, rsr_module, size_bytes, sizeof(struct rsr_module));
    RSRC_PUT(tables, rsr_module, api, RUNTIME_API);
    RSRC_PUT_SPELLED(tables, rsr_module, size_kernel_desc, sizeof(struct rsr_kernel_desc));
    RSRC_PUT_SPELLED(tables, rsr_module, size_step_op, sizeof(struct rsr_step_op));
    RSRC_PUT(tables, rsr_module, model_name,
             input->hollow_seed != 0
                 ? rsrc_arena_printf(tables->arena, "%s (hollow)", checkpoint->name)
                 : checkpoint->name);
    RSRC_PUT(tables, rsr_module, architecture, input->graph->architecture);
    RSRC_PUT(tables, rsr_module, compiler_version, RSRC_VERSION);
    RSRC_PUT(tables, rsr_module, model_hash, checkpoint->hash);
    put_hyper(tables, &input->graph->hyper);
    put_parts(tables, input);
    put_texts(tables, input);
}

void rsrc_describe_model(struct rsrc_tables *tables, const struct rsr_module_input *input) {
    const struct rsr_config *config = &input->graph->checkpoint->config;
    tables->head = HEAD;
    rsrc_describe_note(tables, input->note, RSR_NOTE_MODEL);
    declare_parts(tables, input);
    describe_norms(tables, input);
    describe_dense(tables, input);
    describe_deltas(tables, input);
    describe_tensors(tables, input);
    describe_targets(tables, input);
    describe_ropes(tables, input->graph);
    describe_rotations(tables, input->graph);
    describe_sampling(tables, config);
    describe_stop_tokens(tables, config);
    describe_module(tables, input);
}
