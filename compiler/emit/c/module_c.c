/* module_c.c - model.c: the constant tables of rsr_abi.h for one model, as C text.
 *
 * Numbers are printed so that they read back exactly (floats in hexadecimal); text from the
 * checkpoint goes through the escapers.
 */
#include "emit/c/module_c.h"

#include <inttypes.h>
#include <string.h>

#include "emit/template.h"

static void put_float(struct rsrc_buffer *out, float value) {
    rsrc_buffer_printf(out, "%af", (double)value);
}

/* An optional pointer to a weight section. */
static void put_symbol(struct rsrc_buffer *out, const char *symbol) {
    rsrc_buffer_puts(out, symbol != NULL ? symbol : "0");
}

static void put_optional_string(struct rsrc_buffer *out, const char *text) {
    if (text == NULL)
        rsrc_buffer_puts(out, "0");
    else
        rsrc_buffer_put_c_string(out, text);
}

static void declare(struct rsrc_buffer *out, const char *type, const char *symbol) {
    if (symbol != NULL)
        rsrc_buffer_printf(out, "extern const %s %s[];\n", type, symbol);
}

static bool seen_before(const struct rsr_module_target *targets, uint32_t target, uint32_t linear,
                        const char *symbol) {
    for (uint32_t t = 0; t <= target; t++)
        for (uint32_t l = 0; l < (t == target ? linear : targets[t].n_linears); l++)
            if (strcmp(targets[t].linears[l].function, symbol) == 0)
                return true;
    return false;
}

void rsrc_put_linear_declarations(const struct rsr_module_target *targets, uint32_t n_targets,
                                  struct rsrc_buffer *out) {
    for (uint32_t t = 0; t < n_targets; t++) {
        for (uint32_t l = 0; l < targets[t].n_linears; l++) {
            const struct rsr_linear_unit *linear = &targets[t].linears[l];
            if (!seen_before(targets, t, l, linear->function))
                rsrc_buffer_printf(out, "extern rsr_kernel_fn %s;\n", linear->function);
            declare(out, "uint8_t", linear->codes);
            declare(out, "uint8_t", linear->index);
            declare(out, "float", linear->scale);
        }
    }
}

static void put_declarations(const struct rsr_module_input *input, struct rsrc_buffer *out) {
    rsrc_put_linear_declarations(input->targets, input->n_targets, out);
    for (uint32_t n = 0; n < input->graph->n_norms; n++)
        declare(out, "float", input->norm_symbols[n]);
    for (uint32_t i = 0; i < input->graph->n_deltas; i++)
        declare(out, "float", input->delta_symbols[i]);
    declare(out, "uint8_t", input->embedding_symbol);
    for (uint32_t i = 0; i < input->graph->n_dense; i++)
        declare(out, "uint8_t", input->dense_symbols[i]);
    if (input->head_symbol != NULL && strcmp(input->head_symbol, input->embedding_symbol) != 0)
        declare(out, "uint8_t", input->head_symbol);
    declare(out, "uint8_t", input->head_sketch.blocks);
    declare(out, "float", input->head_sketch.centre);
    declare(out, "uint8_t", input->tokenizer_symbol);
}

/* Equal texts get equal numbers. */
static uint32_t tables_number(const struct rsr_module_target *target, uint32_t linear) {
    const char *tables = target->linears[linear].tables;
    if (tables == NULL)
        return 0;
    for (uint32_t l = 0; l < linear; l++)
        if (target->linears[l].tables != NULL && strcmp(target->linears[l].tables, tables) == 0)
            return l + 1;
    return linear + 1;
}

/* Layers share kernels: what a kernel knows of its layer is here. */
static void put_scale_source(struct rsrc_buffer *out, const struct rsr_linear_unit *linear) {
    if (linear->scale_source == NULL)
        return;
    rsrc_buffer_puts(out, "     /* scale: ");
    rsrc_buffer_put_comment(out, linear->scale_source);
    rsrc_buffer_puts(out, " */\n");
}

void rsrc_put_kernels(const struct rsr_module_target *target, uint32_t number,
                      struct rsrc_buffer *out) {
    rsrc_buffer_printf(out, "\nstatic const struct rsr_kernel_desc kernels_%u[] = {\n", number);
    for (uint32_t l = 0; l < target->n_linears; l++) {
        const struct rsr_linear_unit *linear = &target->linears[l];
        rsrc_buffer_puts(out, "    /* ");
        rsrc_buffer_put_comment(out, linear->title);
        rsrc_buffer_printf(out, ": %s */\n", linear->tokens);
        rsrc_buffer_printf(out, "    {.name = \"%s\",\n     .variant = \"%s\",\n     .reason = ",
                           linear->name, linear->variant);
        rsrc_buffer_put_c_string(out, linear->reason);
        rsrc_buffer_printf(out, ",\n     .fn = %s,\n", linear->function);
        put_scale_source(out, linear);
        rsrc_buffer_puts(out, "     .weights = {.codes = ");
        put_symbol(out, linear->codes);
        rsrc_buffer_puts(out, ", .index = ");
        put_symbol(out, linear->index);
        rsrc_buffer_puts(out, ", .scale = ");
        put_symbol(out, linear->scale);
        rsrc_buffer_printf(
            out,
            ", .n_scales = %u},\n"
            "     .rows = %u, .cols = %u, .n_tiles = %u, .tile_rows = %u,\n"
            "     .epilogue = %s, .block = %uu, .role = %u, .input = %u, .tables = %u, .list = "
            "%u,\n"
            "     .scratch_bytes = %" PRIu64 "u, .weight_bytes = %" PRIu64 "u,\n"
            "     .stream_bytes = %" PRIu64 "u, .tile_bytes = %" PRIu64 "u, .n_streams = %u",
            linear->n_scales, linear->rows, linear->cols, linear->n_tiles, linear->tile_rows,
            linear->epilogue == RSR_EPILOGUE_RAW ? "RSR_EPILOGUE_RAW" : "RSR_EPILOGUE_SCALE",
            linear->block, (unsigned)linear->role, (unsigned)linear->input,
            tables_number(target, l), (unsigned)linear->list, linear->scratch_bytes,
            linear->weight_bytes, linear->stream_bytes, linear->tile_bytes, linear->n_streams);
        if (linear->has_row_map)
            rsrc_buffer_printf(out, ",\n     .row_map = (const void *)(%s + %" PRIu64 "u)",
                               linear->index, linear->row_map_at);
        rsrc_buffer_puts(out, "},\n");
    }
    rsrc_buffer_puts(out, "};\n");
}

static void put_step(const struct rsr_step *step, uint32_t target, uint32_t number,
                     struct rsrc_buffer *out) {
    rsrc_buffer_printf(out, "\nstatic const struct rsr_buffer buffers_%u_%u[] = {\n", target,
                       number);
    for (uint32_t b = 0; b < step->n_buffers; b++) {
        const struct rsr_buffer *buffer = &step->buffers[b];
        rsrc_buffer_printf(out, "    {\"%s\", %u, %u, %" PRIu64 "u},\n", buffer->name,
                           buffer->row_bytes, buffer->cols, buffer->offset);
    }
    rsrc_buffer_puts(out, "};\n");
    rsrc_buffer_printf(out,
                       "\n/* kind, flags, block, dst, {src}, reserved, arg */\n"
                       "static const struct rsr_step_op ops_%u_%u[] = {\n",
                       target, number);
    for (uint32_t i = 0; i < step->n_ops; i++) {
        const struct rsr_step_op *op = &step->ops[i];
        rsrc_buffer_printf(out, "    {%u, %u, %uu, %u, {%u, %u, %u, %u}, %u, %u},\n", op->kind,
                           op->flags, op->block, op->dst, op->src[0], op->src[1], op->src[2],
                           op->src[3], op->layer, op->arg);
    }
    rsrc_buffer_puts(out, "};\n");
}

static void put_steps(const struct rsr_module_target *target, uint32_t number,
                      struct rsrc_buffer *out) {
    for (uint32_t s = 0; s < target->n_steps; s++)
        put_step(&target->steps[s], number, s, out);
    rsrc_buffer_printf(out, "\nstatic const struct rsr_step_table steps_%u[] = {\n", number);
    for (uint32_t s = 0; s < target->n_steps; s++) {
        const struct rsr_step *step = &target->steps[s];
        rsrc_buffer_printf(
            out, "    {\"%s\", %uu, %uu, %u, %u, ops_%u_%u, buffers_%u_%u, %" PRIu64 "u},\n",
            step->regime, step->min_tokens, step->max_tokens, step->n_ops, step->n_buffers, number,
            s, number, s, step->arena_bytes_per_token);
    }
    rsrc_buffer_puts(out, "};\n");
}

static void put_norms(const struct rsr_module_input *input, struct rsrc_buffer *out) {
    rsrc_buffer_puts(out, "\n/* role, weights, columns, epsilon of the configuration */\n"
                          "static const struct rsr_norm norms[] = {\n");
    for (uint32_t n = 0; n < input->graph->n_norms; n++) {
        const struct rsr_norm_layer *norm = &input->graph->norms[n];
        rsrc_buffer_puts(out, "    {");
        rsrc_buffer_printf(out, "\"%s\", %s, %u, ", input->norm_roles[n], input->norm_symbols[n],
                           norm->cols);
        put_float(out, norm->eps);
        rsrc_buffer_puts(out, "}, /* ");
        rsrc_buffer_put_comment(out, norm->name);
        rsrc_buffer_puts(out, " */\n");
    }
    rsrc_buffer_puts(out, "};\n");
}

/* {data, dtype, rows, cols, role} */
static void put_dense(const char *symbol, enum rsr_dtype dtype, uint32_t rows, uint32_t cols,
                      enum rsr_role role, struct rsrc_buffer *out) {
    rsrc_buffer_printf(out, "{%s, %u, %u, %u, %u}", symbol, (unsigned)dtype, rows, cols,
                       (unsigned)role);
}

static void put_dense_layers(const struct rsr_module_input *input, struct rsrc_buffer *out) {
    if (input->graph->n_dense == 0)
        return;
    rsrc_buffer_puts(out, "\nstatic const struct rsr_matrix_data dense[] = {\n");
    for (uint32_t i = 0; i < input->graph->n_dense; i++) {
        const struct rsr_dense_layer *layer = &input->graph->dense[i];
        rsrc_buffer_puts(out, "    ");
        put_dense(input->dense_symbols[i], layer->weight->dtype, layer->rows, layer->cols,
                  layer->role, out);
        rsrc_buffer_puts(out, ",\n");
    }
    rsrc_buffer_puts(out, "};\n");
}

static void put_deltas(const struct rsr_module_input *input, struct rsrc_buffer *out) {
    const struct rsr_hyper *hyper = &input->graph->hyper;
    const uint32_t heads = hyper->delta_value_heads;
    const uint32_t taps = RSR_DELTA_TAPS * (2 * hyper->delta_key_heads * hyper->delta_key_dim +
                                            heads * hyper->delta_value_dim);
    if (input->graph->n_deltas == 0)
        return;
    rsrc_buffer_puts(out, "\nstatic const struct rsr_delta deltas[] = {\n");
    for (uint32_t i = 0; i < input->graph->n_deltas; i++) {
        const char *symbol = input->delta_symbols[i];
        rsrc_buffer_printf(out, "    {%s, %s + %u, %s + %u, %s + %u, ", symbol, symbol, taps,
                           symbol, taps + heads, symbol, taps + 2 * heads);
        put_float(out, hyper->norm_eps);
        rsrc_buffer_puts(out, ", 0}, /* ");
        rsrc_buffer_put_comment(out, input->graph->deltas[i].name);
        rsrc_buffer_puts(out, " */\n");
    }
    rsrc_buffer_puts(out, "};\n");
}

static void put_sketch(const struct rsr_module_sketch *sketch, struct rsrc_buffer *out) {
    if (sketch->blocks == NULL)
        return;
    rsrc_buffer_printf(out,
                       ",\n    .head_sketch = {.blocks = %s, .centre = %s,\n"
                       "                    .block_bytes = %" PRIu64 "u, .n_planes = %u}",
                       sketch->blocks, sketch->centre, sketch->block_bytes, sketch->n_planes);
}

/* What all targets share. */
static void put_tensors(const struct rsr_module_input *input, struct rsrc_buffer *out) {
    const struct rsr_graph *graph = input->graph;
    rsrc_buffer_printf(out,
                       "\nstatic const struct rsr_tensors tensors = {\n"
                       "    .n_norms = %u, .norms = norms,\n"
                       "    .embedding = ",
                       graph->n_norms);
    put_dense(input->embedding_symbol, graph->embedding->dtype, graph->hyper.vocab,
              graph->hyper.hidden, RSR_ROLE_EMBED, out);
    if (input->head_symbol != NULL) {
        rsrc_buffer_puts(out, ",\n    .head = ");
        put_dense(input->head_symbol, graph->head->dtype, graph->hyper.vocab, graph->hyper.hidden,
                  RSR_ROLE_HEAD, out);
    }
    put_sketch(&input->head_sketch, out);
    if (graph->n_dense != 0)
        rsrc_buffer_printf(out, ",\n    .n_dense = %u, .dense = dense", graph->n_dense);
    if (graph->n_deltas != 0)
        rsrc_buffer_printf(out, ",\n    .n_deltas = %u, .deltas = deltas", graph->n_deltas);
    rsrc_buffer_puts(out, "};\n");
}

static void put_targets(const struct rsr_module_input *input, struct rsrc_buffer *out) {
    rsrc_buffer_puts(out, "\nstatic const struct rsr_target targets[] = {\n");
    for (uint32_t t = 0; t < input->n_targets; t++) {
        const struct rsr_module_target *target = &input->targets[t];
        rsrc_buffer_printf(out,
                           "    {.name = \"%s\",\n"
                           "     .cpu_features = UINT64_C(0x%" PRIx64 "),\n"
                           "     .n_kernels = %u, .kernels = kernels_%u,\n"
                           "     .steps = steps_%u, .n_steps = %u,\n"
                           "     .tensors = &tensors},\n",
                           target->spec->name, target->spec->cpu_features, target->n_linears, t, t,
                           target->n_steps);
    }
    rsrc_buffer_puts(out, "};\n");
}

#define SIGNS_A_LINE 16u

static void put_rotations(const struct rsr_graph *graph, struct rsrc_buffer *out) {
    for (uint32_t r = 0; r < graph->n_rotations; r++) {
        const struct rsr_rotation *rotation = &graph->rotations[r];
        if (rotation->signs == NULL)
            continue;
        rsrc_buffer_printf(out, "\nstatic const float signs_%u[] = {", r);
        for (uint32_t i = 0; i < rotation->cols; i++)
            rsrc_buffer_printf(out, "%s%d,", i % SIGNS_A_LINE == 0 ? "\n    " : " ",
                               rotation->signs[i] < 0 ? -1 : 1);
        rsrc_buffer_puts(out, "\n};\n");
    }
    if (graph->n_rotations == 0)
        return;
    rsrc_buffer_puts(out, "\n/* of inputs whose layers have rotated weights */\n"
                          "static const struct rsr_rotation rotations[] = {\n");
    for (uint32_t r = 0; r < graph->n_rotations; r++) {
        const struct rsr_rotation *rotation = &graph->rotations[r];
        if (rotation->signs == NULL)
            rsrc_buffer_puts(out, "    {NULL");
        else
            rsrc_buffer_printf(out, "    {signs_%u", r);
        rsrc_buffer_printf(out, ", %u, %u},\n", rotation->cols, rotation->block);
    }
    rsrc_buffer_puts(out, "};\n");
}

static void put_ropes(const struct rsr_graph *graph, struct rsrc_buffer *out) {
    for (uint32_t r = 0; r < graph->n_ropes; r++) {
        rsrc_buffer_printf(
            out,
            "\n/* angles of a position, from theta and scaling of the configuration */\n"
            "static const float inv_freq_%u[] = {\n",
            r);
        for (uint32_t i = 0; i < graph->hyper.rotary_dim / 2; i++) {
            rsrc_buffer_puts(out, "    ");
            put_float(out, graph->ropes[r].inv_freq[i]);
            rsrc_buffer_puts(out, ",\n");
        }
        rsrc_buffer_puts(out, "};\n");
    }
    rsrc_buffer_puts(out, "\nstatic const struct rsr_rope ropes[] = {\n");
    for (uint32_t r = 0; r < graph->n_ropes; r++) {
        rsrc_buffer_printf(out, "    {inv_freq_%u, ", r);
        put_float(out, graph->ropes[r].scale);
        rsrc_buffer_puts(out, "},\n");
    }
    rsrc_buffer_puts(out, "};\n");
}

static void put_hyper(const struct rsr_hyper *hyper, struct rsrc_buffer *out) {
    rsrc_buffer_printf(out,
                       "    /* as the configuration has it */\n"
                       "    .hyper = {.hidden = %u, .n_layers = %u, .n_heads = %u,\n"
                       "              .n_kv_heads = %u, .head_dim = %u, .ffn = %u, .vocab = %u,\n"
                       "              .context = %u, .activation = %u, .tied_head = %u,\n"
                       "              .norm_eps = ",
                       hyper->hidden, hyper->n_layers, hyper->n_heads, hyper->n_kv_heads,
                       hyper->head_dim, hyper->ffn, hyper->vocab, hyper->context, hyper->activation,
                       hyper->tied_head);
    put_float(out, hyper->norm_eps);
    rsrc_buffer_puts(out, ", .rope_theta = ");
    put_float(out, hyper->rope_theta);
    rsrc_buffer_puts(out, ",\n              .attention_scale = ");
    put_float(out, hyper->attention_scale);
    rsrc_buffer_puts(out, ", .embedding_scale = ");
    put_float(out, hyper->embedding_scale);
    rsrc_buffer_printf(out, ",\n              .pooling = %u, .normalized = %u, .rotary_dim = %u",
                       hyper->pooling, hyper->normalized, hyper->rotary_dim);
    if (hyper->delta_layers != 0)
        rsrc_buffer_printf(out,
                           ",\n              .delta_layers = %u, .delta_key_heads = %u,\n"
                           "              .delta_value_heads = %u, .delta_key_dim = %u,\n"
                           "              .delta_value_dim = %u",
                           hyper->delta_layers, hyper->delta_key_heads, hyper->delta_value_heads,
                           hyper->delta_key_dim, hyper->delta_value_dim);
    rsrc_buffer_puts(out, "},\n");
}

/* Prints the checkpoint's sampling settings, if it has any. */
static void put_sampling(const struct rsr_config *config, struct rsrc_buffer *out) {
    const struct rsr_sampling_advice *s = &config->sampling;
    if (!config->has_sampling)
        return;
    rsrc_buffer_puts(out, "\nstatic const struct rsr_sampling_advice sampling = {.temperature = ");
    put_float(out, s->temperature);
    rsrc_buffer_printf(out, ",\n    .top_k = %u, .top_p = ", s->top_k);
    put_float(out, s->top_p);
    rsrc_buffer_puts(out, ", .min_p = ");
    put_float(out, s->min_p);
    rsrc_buffer_puts(out, ", .repeat_penalty = ");
    put_float(out, s->repeat_penalty);
    rsrc_buffer_puts(out, "};\n");
}

static void put_hash(const uint8_t hash[16], struct rsrc_buffer *out) {
    for (uint32_t i = 0; i < 16; i++)
        rsrc_buffer_printf(out, "%s0x%02x", i == 0 ? "{" : ", ", hash[i]);
    rsrc_buffer_puts(out, "}");
}

void rsrc_put_note(const struct rsr_module_note *note, const char *kind, struct rsrc_buffer *out) {
    rsrc_buffer_printf(out,
                       "static const struct rsr_file_note note RSR_NOTE_PLACE = RSR_NOTE_INIT(\n"
                       "    %s,\n    .checkpoint = ",
                       kind);
    put_hash(note->checkpoint, out);
    rsrc_buffer_puts(out, ",\n    .targets = ");
    put_hash(note->targets, out);
    rsrc_buffer_printf(out, ",\n    .compiler_version = \"%s\",\n    .options = ", RSRC_VERSION);
    rsrc_buffer_put_c_string(out, note->options);
    rsrc_buffer_puts(out, ");\n\n");
}

static void put_module(const struct rsr_module_input *input, struct rsrc_buffer *out) {
    const struct rsr_checkpoint *checkpoint = input->graph->checkpoint;
    const struct rsr_config *config = &checkpoint->config;
    put_sampling(config, out);
    rsrc_buffer_puts(out, "\nstatic const uint32_t stop_tokens[] = {");
    for (uint32_t i = 0; i < config->n_eos_tokens; i++)
        rsrc_buffer_printf(out, "%u, ", config->eos_tokens[i]);
    rsrc_buffer_puts(out, "RSR_NO_TOKEN};\n\nstatic const struct rsr_module module = {\n"
                          "    .abi_version = RSR_ABI_VERSION,\n"
                          "    .size_bytes = sizeof(struct rsr_module),\n"
                          "    .size_kernel_desc = sizeof(struct rsr_kernel_desc),\n"
                          "    .size_step_op = sizeof(struct rsr_step_op),\n"
                          "    .size_gpu_kernel = sizeof(struct rsr_gpu_kernel),\n"
                          "    .model_name = ");
    rsrc_buffer_put_c_string(out, checkpoint->name);
    rsrc_buffer_printf(out, ",\n    .architecture = \"%s\",\n    .compiler_version = \"%s\",\n",
                       input->graph->architecture, RSRC_VERSION);
    rsrc_buffer_puts(out, "    .model_hash = ");
    put_hash(checkpoint->hash, out);
    rsrc_buffer_puts(out, ",\n");
    put_hyper(&input->graph->hyper, out);
    rsrc_buffer_printf(out,
                       "    .ropes = ropes,\n    .n_ropes = %u,\n"
                       "    .targets = targets,\n    .n_targets = %u,\n"
                       "    .n_stop_tokens = %u,\n    .stop_tokens = stop_tokens,\n"
                       "    .bos_token = %uu,\n    .eos_token = %uu,\n",
                       input->graph->n_ropes, input->n_targets, config->n_eos_tokens,
                       config->bos_token,
                       config->n_eos_tokens != 0 ? config->eos_tokens[0] : RSR_NO_TOKEN);
    if (input->graph->n_rotations != 0)
        rsrc_buffer_printf(out, "    .n_rotations = %u,\n    .rotations = rotations,\n",
                           input->graph->n_rotations);
    rsrc_buffer_puts(out, "    .tokenizer = (const struct rsr_tokenizer_header *)(const void *)");
    put_symbol(out, input->tokenizer_symbol);
    rsrc_buffer_puts(out, ",\n    .chat_template = ");
    put_optional_string(out, checkpoint->tokenizer.chat_template);
    rsrc_buffer_puts(out, ",\n    .chat_problem = ");
    put_optional_string(out, checkpoint->tokenizer.chat_problem);
    rsrc_buffer_puts(out, ",\n    .bos_text = ");
    put_optional_string(out, checkpoint->tokenizer.bos_text);
    rsrc_buffer_puts(out, ",\n    .eos_text = ");
    put_optional_string(out, checkpoint->tokenizer.eos_text);
    rsrc_buffer_printf(out, ",\n    .sampling = %s,\n    .api = &rsr_runtime_api,\n};\n",
                       config->has_sampling ? "&sampling" : "NULL");
}

void rsrc_emit_module(const struct rsr_module_input *input, struct rsrc_buffer *out) {
    rsrc_buffer_puts(out, rsrc_template_text("module_head.c.txt"));
    rsrc_put_note(input->note, "RSR_NOTE_MODEL", out);
    put_declarations(input, out);
    put_norms(input, out);
    put_dense_layers(input, out);
    put_deltas(input, out);
    put_tensors(input, out);
    for (uint32_t t = 0; t < input->n_targets; t++) {
        rsrc_put_kernels(&input->targets[t], t, out);
        put_steps(&input->targets[t], t, out);
    }
    put_targets(input, out);
    put_ropes(input->graph, out);
    put_rotations(input->graph, out);
    put_module(input, out);
    rsrc_buffer_puts(out, rsrc_template_text("module_tail.c.txt"));
}
