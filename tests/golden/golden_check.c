/* golden_check.c - compares a compiled model with a record of transformers for its checkpoint.
 *
 *     golden_check [--corrupt=TENSOR] MODEL.so GOLDEN.safetensors
 *
 * Evaluates the recorded tokens four times: teacher-forced and free-running, the whole prompt in
 * one batch and token by token. If the record holds a text, its tokens and perplexity are compared,
 * too; if it holds embeddings, the embeddings of their tokens. Prints one line a pass and exits 0
 * if all agree. --corrupt changes one element of the record first, to show that the check can fail.
 */
#include <dlfcn.h>
#include <fenv.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "golden_file.h"
#include "golden_pass.h"
#include "rsr.h"

/* The module is opened by hand, so that its tables can be read. */
struct opened {
    void *library;
    rsr_model *model;
    rsr_model_info info;
    uint32_t outputs; /* floats a token: logits, or the hidden state of an embedding model */
    const struct rsr_target *target;
};

static void must(rsr_status status, const char *what, const rsr_error *err) {
    if (status != RSR_OK) {
        golden_die("%s: %s", what, err->message);
    }
}

static void open_model(const char *path, struct opened *out) {
    rsr_error err = RSR_ERROR_INIT;
    *out = (struct opened){.info = RSR_MODEL_INFO_INIT};
    out->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (out->library == NULL) {
        golden_die("%s", dlerror());
    }
    rsr_module_query_fn *query;
    void *symbol = dlsym(out->library, "rsr_module_query");
    if (symbol == NULL) {
        golden_die("%s is not a compiled model", path);
    }
    memcpy(&query, &symbol, sizeof(query));
    must(rsr_open_query(query, NULL, &out->model, &err), "rsr_open_query", &err);
    must(rsr_model_get_info(out->model, &out->info), "rsr_model_get_info", &err);
    const struct rsr_host host = {.size_bytes = sizeof(host), .abi_version = RSR_ABI_VERSION};
    const struct rsr_module *module = query(RSR_ABI_VERSION, &host);
    if (module == NULL) {
        golden_die("%s is of another version", path);
    }
    out->outputs = out->info.pooling != NULL ? out->info.hidden : out->info.vocab;
    for (uint32_t i = 0; i < module->n_targets; i++) {
        if (strcmp(module->targets[i].name, out->info.target) == 0) {
            out->target = &module->targets[i];
        }
    }
    if (out->target == NULL) {
        golden_die("%s does not list the target '%s' that it chose", path, out->info.target);
    }
}

static void close_model(struct opened *opened) {
    rsr_close(opened->model);
    dlclose(opened->library);
}

/* Outputs of every token, [n_tokens][outputs], with `batch` tokens per evaluation. The caller frees
 * them. */
static float *evaluate(const struct opened *opened, const int32_t *tokens, uint32_t n_tokens,
                       uint32_t batch, struct golden_pass *pass) {
    const uint32_t cols = opened->outputs;
    rsr_error err = RSR_ERROR_INIT;
    rsr_engine_options options = RSR_ENGINE_OPTIONS_INIT;
    options.n_threads = batch == 1 ? 1 : 2;
    options.kv_type = "f32"; /* as the reference has them */
    options.probe = pass != NULL ? golden_pass_probe : NULL;
    options.probe_user = pass;
    rsr_engine *engine;
    rsr_sequence *sequence;
    must(rsr_engine_create(opened->model, &options, &engine, &err), "rsr_engine_create", &err);
    must(rsr_sequence_create(engine, &sequence, &err), "rsr_sequence_create", &err);

    float *outputs = calloc((size_t)n_tokens * cols, sizeof(*outputs));
    rsr_batch_entry *entries = calloc(batch, sizeof(*entries));
    if (outputs == NULL || entries == NULL) {
        golden_die("out of memory");
    }
    for (uint32_t done = 0; done < n_tokens; done += batch) {
        uint32_t n = n_tokens - done < batch ? n_tokens - done : batch;
        for (uint32_t i = 0; i < n; i++) {
            entries[i] = (rsr_batch_entry){sequence, done + i, (uint32_t)tokens[done + i], true};
        }
        rsr_batch request = RSR_BATCH_INIT;
        request.entries = entries;
        request.n_entries = n;
        request.logits = outputs + (size_t)done * cols;
        request.logits_capacity = (size_t)n * cols;
        must(rsr_eval(engine, &request, &err), "rsr_eval", &err);
    }
    free(entries);
    rsr_sequence_destroy(sequence);
    rsr_engine_destroy(engine);
    return outputs;
}

static void print_teacher_forced(const struct golden_pass *pass) {
    printf(
        "%s: %llu sums equal, %llu codes, %llu ties, %llu floats; error over largest: inputs %.1e, "
        "outputs %.1e, norms %.1e, attention %.1e, results %.1e\n",
        pass->name, (unsigned long long)pass->n_sums, (unsigned long long)pass->n_codes,
        (unsigned long long)pass->n_ties, (unsigned long long)pass->n_floats,
        (double)pass->worst_input, (double)pass->worst_output, (double)pass->worst_norm,
        (double)pass->worst_attention, (double)pass->worst_result);
}

static void print_free_running(const struct golden_pass *pass, uint32_t n_clear, bool embeds) {
    printf("%s: ", pass->name);
    if (!embeds) {
        printf("%u of %u tokens clear and equal, ", n_clear, pass->golden->n_tokens);
    }
    printf("%llu codes, %llu ties, %llu downstream\n", (unsigned long long)pass->n_codes,
           (unsigned long long)pass->n_ties, (unsigned long long)pass->n_downstream);
}

/* Returns the number of disagreements. */
static uint32_t run_pass(const struct opened *opened, struct golden *golden, const char *name,
                         uint32_t batch, bool inject) {
    struct golden_pass pass;
    golden_pass_init(&pass, golden, name, opened->target, opened->info.n_layers, inject);
    float *outputs = evaluate(opened, golden->tokens, golden->n_tokens, batch, &pass);
    uint32_t n_clear = 0;
    if (opened->info.pooling != NULL) {
        golden_pass_hidden(&pass, outputs, opened->outputs);
    } else {
        n_clear = golden_pass_logits(&pass, outputs, opened->outputs);
    }
    free(outputs);
    if (!inject) {
        golden_pass_explain(&pass);
    }
    const char *unseen = golden_unseen(golden);
    if (inject && unseen != NULL) {
        golden_pass_fail(&pass, "'%s' was recorded and never compared", unseen);
    }
    if (pass.n_inputs != golden_count_inputs(golden)) {
        golden_pass_fail(&pass, "the probe showed too few inputs");
    }
    if (inject) {
        print_teacher_forced(&pass);
    } else {
        print_free_running(&pass, n_clear, opened->info.pooling != NULL);
    }
    if (pass.n_failures > 0) {
        printf("%s: %u disagreements\n", name, pass.n_failures);
    }
    return pass.n_failures;
}

/* The text of the record: the tokenizers library's tokens, and transformers' perplexity. */
static uint32_t check_text(const struct opened *opened, const struct golden *golden) {
    const struct golden_tensor *text = golden_find(golden, RSR_DTYPE_U8, "text");
    const struct golden_tensor *expected = golden_find(golden, RSR_DTYPE_I32, "text_tokens");
    if (text == NULL || expected == NULL) {
        return 0;
    }
    rsr_error err = RSR_ERROR_INIT;
    uint32_t *tokens = calloc(expected->rows, sizeof(*tokens));
    size_t n_tokens;
    if (tokens == NULL) {
        golden_die("out of memory");
    }
    must(rsr_tokenize(opened->model, text->data, text->rows, RSR_TOKENIZE_ADD_SPECIAL, tokens,
                      expected->rows, &n_tokens, &err),
         "rsr_tokenize", &err);
    if (n_tokens != expected->rows ||
        memcmp(tokens, expected->data, n_tokens * sizeof(*tokens)) != 0) {
        printf("text: the tokens differ from the tokenizers library's\n");
        free(tokens);
        return 1;
    }
    free(tokens);
    float *logits = evaluate(opened, expected->data, expected->rows, expected->rows, NULL);
    double nll = golden_mean_nll(logits, opened->outputs, expected->data, expected->rows);
    free(logits);
    const float *reference = golden_need(golden, RSR_DTYPE_F32, 1, 1, "text_nll")->data;
    double error = golden_perplexity_error(nll, (double)*reference);
    bool close = error <= GOLDEN_PERPLEXITY_TOLERANCE;
    printf("text: %u bytes, %u tokens, perplexity %.4f, transformers' %.4f, %s\n", text->rows,
           expected->rows, exp(nll), exp((double)*reference), close ? "close" : "too far");
    return !close;
}

static rsr_status embed(rsr_engine *engine, const struct golden_tensor *tokens, float *out,
                        size_t capacity, rsr_error *err) {
    const uint32_t *text = tokens->data;
    const size_t n_tokens = tokens->rows;
    return rsr_embed(engine, &text, &n_tokens, 1, NULL, out, capacity, err);
}

/* No code of these texts is near a rounding tie, so free-running results must be close. */
static uint32_t check_embeddings(const struct opened *opened, const struct golden *golden) {
    if (opened->info.pooling == NULL) {
        return 0;
    }
    rsr_error err = RSR_ERROR_INIT;
    rsr_engine *engine;
    must(rsr_engine_create(opened->model, NULL, &engine, &err), "rsr_engine_create", &err);
    float *ours = calloc(2 * (size_t)opened->outputs, sizeof(*ours));
    if (ours == NULL) {
        golden_die("out of memory");
    }
    float *again = ours + opened->outputs;
    uint32_t n_failures = 0;
    float worst = 0.0f;
    uint32_t n = 0;
    do {
        const struct golden_tensor *embedding =
            golden_need(golden, RSR_DTYPE_F32, 1, opened->outputs, "embedding.%u", n);
        const struct golden_tensor *tokens =
            golden_find(golden, RSR_DTYPE_I32, "embedding.%u.tokens", n);
        if (tokens == NULL) {
            golden_die("the record lacks 'embedding.%u.tokens'", n);
        }
        must(embed(engine, tokens, ours, opened->outputs, &err), "rsr_embed", &err);
        fesetround(FE_UPWARD);
        rsr_status status = embed(engine, tokens, again, opened->outputs, &err);
        fesetround(FE_TONEAREST);
        must(status, "rsr_embed", &err);
        if (memcmp(ours, again, opened->outputs * sizeof(*ours)) != 0) {
            printf("embedding %u: another one where the caller rounds upward\n", n);
            n_failures++;
        }
        if (!golden_floats_close(embedding, 0, ours, &worst)) {
            printf("embedding %u: too far from transformers'\n", n);
            n_failures++;
        }
        n++;
    } while (golden_find(golden, RSR_DTYPE_F32, "embedding.%u", n) != NULL);
    printf("embeddings: %u texts, pooling '%s', error over largest %.1e\n", n, opened->info.pooling,
           (double)worst);
    free(ours);
    rsr_engine_destroy(engine);
    return n_failures;
}

int main(int argc, char **argv) {
    static const char corrupt[] = "--corrupt=";
    const char *corrupted = NULL;
    if (argc == 4 && strncmp(argv[1], corrupt, sizeof(corrupt) - 1) == 0) {
        corrupted = argv[1] + sizeof(corrupt) - 1;
    } else if (argc != 3) {
        fputs("usage: golden_check [--corrupt=TENSOR] MODEL.so GOLDEN.safetensors\n", stderr);
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF,
            BUFSIZ); /* so that failures are seen even if a later pass crashes */
    struct golden golden;
    struct opened opened;
    golden_open(&golden, argv[argc - 1]);
    open_model(argv[argc - 2], &opened);
    if (corrupted != NULL) {
        golden_corrupt(&golden, corrupted);
    }
    uint32_t n = golden.n_tokens;
    uint32_t failures = run_pass(&opened, &golden, "teacher-forced, whole", n, true);
    failures += run_pass(&opened, &golden, "teacher-forced, stepwise", 1, true);
    failures += run_pass(&opened, &golden, "free-running, whole", n, false);
    failures += run_pass(&opened, &golden, "free-running, stepwise", 1, false);
    failures += check_text(&opened, &golden);
    failures += check_embeddings(&opened, &golden);
    printf("%s: %s\n", opened.info.target,
           failures == 0 ? "agrees with transformers" : "DISAGREES");
    close_model(&opened);
    golden_close(&golden);
    return failures != 0;
}
