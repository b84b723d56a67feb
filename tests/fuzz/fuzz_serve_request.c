/* fuzz_serve_request.c - any bytes as the body of a request to a model: refused with a sentence, or
 * answered.
 *
 * The first byte picks the route. The second picks the text that the model generates: a stand-in
 * for the scheduler invents tokens. Every reply is JSON, or events of it, in valid UTF-8.
 */
#include <jansson.h>

#include "embedder.h"
#include "fake_module.h"
#include "metrics.h"
#include "reader/checkpoint.h"
#include "routes.h"
#include "settings.h"

#define CONTEXT 256u

/* ---- A model --------------------------------------------------------------------------------- */

static const char template[] =
    "{% if tools %}{% for t in tools %}{{ t | tojson }}{% endfor %}{% endif %}{% for m in messages "
    "%}"
    "{{ m.role }}: {{ m.content }}{% for c in m.tool_calls or [] %}{{ c.function.arguments | "
    "tojson }}"
    "{% endfor %}<|eot_id|>{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}";

static const struct rsr_tokenizer_header *read_tokenizer(struct rsrc_arena *arena) {
    const char *path = TEST_SOURCE_DIR "/examples/model/kjv/tokenizer.json";
    static char text[1 << 20];
    FILE *file = fopen(path, "rb");
    struct rsrc_diag *diag = rsrc_diag_create(stderr, false, RSRC_COLOR_NEVER);
    struct rsr_tokenizer tokenizer = {0};
    if (file == NULL ||
        rsrc_parse_tokenizer(diag, arena, path, (const uint8_t *)text,
                             fread(text, 1, sizeof(text), file), &tokenizer) != RSRC_OK)
        abort();
    fclose(file);
    rsrc_diag_destroy(diag);
    return tokenizer.section;
}

static void open_model(struct serve_model *model) {
    static struct fake_module fake;
    static struct rsrc_arena arena;
    rsrc_arena_init(&arena);
    const struct rsr_tokenizer_header *tokenizer = read_tokenizer(&arena);
    const struct fake_shape shape = fake_small_shape(tokenizer->n_tokens, CONTEXT);
    fake_module_init(&fake, &shape, 1);
    fake.module.tokenizer = tokenizer;
    fake.module.chat_template = template;
    *model = (struct serve_model){.name = "fake",
                                  .model = fake_open(&fake, RSR_OPS_GENERIC),
                                  .info = RSR_MODEL_INFO_INIT,
                                  .pooling = "mean",
                                  .tools = SERVE_TOOLS_TAGGED,
                                  .fingerprint = "fp"};
    if (rsr_model_get_info(model->model, &model->info) != RSR_OK ||
        rsr_vocabulary_create(model->model, &model->vocabulary, NULL) != RSR_OK)
        abort();
}

/* ---- A scheduler ----------------------------------------------------------------------------- */

static struct serve_job *taken; /* the one that a request submitted */
static uint8_t mood;            /* its reply */

uint32_t serve_scheduler_max_tokens(const struct serve_model *model) {
    return model->info.context;
}

uint32_t serve_embedder_max_tokens(const struct serve_model *model) {
    return model->info.context;
}

uint32_t serve_max_tokens(const struct serve_model *model) {
    return model->info.context;
}

struct serve_load serve_scheduler_load(struct serve_scheduler *scheduler) {
    (void)scheduler;
    return (struct serve_load){.is_idle = true};
}

uint32_t serve_embedder_load(struct serve_embedder *embedder) {
    (void)embedder;
    return 0;
}

static enum serve_verdict take(struct serve_job *job) {
    if (mood % 8 == 7)
        return mood % 16 == 15 ? SERVE_QUEUE_FULL : SERVE_CLOSED;
    taken = job;
    return SERVE_TAKEN;
}

enum serve_verdict serve_scheduler_submit(struct serve_scheduler *scheduler,
                                          struct serve_job *job) {
    (void)scheduler;
    for (size_t p = 0; p < job->n_prompts; p++)
        if (job->prompts[p].n_tokens + job->max_tokens > CONTEXT || job->prompts[p].n_tokens == 0)
            abort();
    return take(job);
}

enum serve_verdict serve_embedder_submit(struct serve_embedder *embedder, struct serve_job *job) {
    (void)embedder;
    job->is_done = true;
    return take(job);
}

static void fill_logprobs(const struct serve_job *job, rsr_logprob *row, uint32_t token) {
    for (uint32_t i = 0; i <= job->n_top_logprobs; i++)
        row[i] = (rsr_logprob){.logprob = i == 3 ? -INFINITY : -1.5 * i,
                               .token = (token + 7 * i) % job->model->info.vocab,
                               .rank = i};
}

static void *grow(void *memory, size_t n, size_t size) {
    void *grown = realloc(memory, n * size);
    if (grown == NULL)
        abort();
    return grown;
}

/* The prompt's log-probabilities, before the first token. */
static void begin_choice(struct serve_job *job, struct serve_choice *choice, size_t prompt) {
    const size_t row = 1 + job->n_top_logprobs, n = job->prompts[prompt].n_tokens;
    if (!job->prompt_logprobs || choice->prompt_logprobs != NULL)
        return;
    choice->prompt_logprobs = grow(NULL, n * row, sizeof(rsr_logprob));
    for (size_t t = 0; t < n; t++)
        fill_logprobs(job, choice->prompt_logprobs + t * row, job->prompts[prompt].tokens[t]);
}

/* One more token, or the end. */
static void advance(struct serve_job *job, struct serve_choice *choice, uint64_t *random) {
    static const char *const texts[] = {"",   "word ",       "\xc3\xa9",
                                        "{",  "<tool_call>", "{\"name\": \"f\", \"arguments\": {}}",
                                        "\n", "<tool",       "</tool_call>"};
    const uint64_t any = check_random(random);
    const char *text = texts[any % (sizeof(texts) / sizeof(texts[0]))];
    const size_t n = choice->n_tokens, row = 1 + job->n_top_logprobs;
    if (n == job->max_tokens || any >> 60 == 0) {
        choice->finish = n == job->max_tokens ? SERVE_LENGTH : SERVE_STOP;
        job->n_unfinished--;
        return;
    }
    if (!rsr_bytes_append(&choice->text, text, strlen(text)))
        abort();
    choice->tokens = grow(choice->tokens, n + 1, sizeof(*choice->tokens));
    choice->tokens[n] = (struct serve_token){(uint32_t)(any >> 20) % job->model->info.vocab,
                                             (uint32_t)choice->text.size};
    if (job->logprobs) {
        choice->logprobs = grow(choice->logprobs, (n + 1) * row, sizeof(*choice->logprobs));
        fill_logprobs(job, choice->logprobs + n * row, choice->tokens[n].token);
    }
    choice->n_tokens++;
}

static void step(struct serve_job *job, uint64_t *random) {
    for (size_t i = 0; i < job->n_prompts * job->n_choices; i++) {
        begin_choice(job, &job->choices[i], i / job->n_choices);
        if (job->choices[i].finish == SERVE_GOES_ON)
            advance(job, &job->choices[i], random);
    }
    if (mood % 8 == 6 && check_random(random) % 16 == 0) {
        job->error = (struct serve_error){.status = 500, .type = "server_error", .message = "?"};
        job->is_done = true;
    }
    job->is_done |= job->n_unfinished == 0;
}

/* ---- Replies --------------------------------------------------------------------------------- */

static void check_json(const char *text, size_t n_bytes, bool is_error) {
    json_t *json = json_loadb(text, n_bytes, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    const char *message =
        json_string_value(json_object_get(json_object_get(json, "error"), "message"));
    if (json == NULL || is_error != (message != NULL) || (message != NULL && message[0] == '\0'))
        abort();
    json_decref(json);
}

static bool begins_with(const char *text, const char *end, const char *what) {
    return (size_t)(end - text) >= strlen(what) && memcmp(text, what, strlen(what)) == 0;
}

/* "data: {...}" and an empty line, again and again; at the end [DONE] or an error. */
static void check_events(const struct rsr_bytes *body) {
    const char *at = body->data, *end = at + body->size;
    bool has_ended = false;
    while (at < end) {
        const char *line = memchr(at, '\n', (size_t)(end - at));
        if (has_ended || !begins_with(at, end, "data: ") || line == NULL ||
            !begins_with(line, end, "\n\n"))
            abort();
        has_ended =
            begins_with(at, end, "data: [DONE]") || begins_with(at, end, "data: {\"error\"");
        if (!begins_with(at, end, "data: [DONE]"))
            check_json(at + 6, (size_t)(line - at) - 6, has_ended);
        at = line + 2;
    }
    if (!has_ended)
        abort();
}

static void drive(struct serve_reply *reply) {
    uint64_t random = mood;
    enum serve_progress progress;
    while ((progress = reply->later->begin(reply->user, reply)) == SERVE_WAIT)
        step(taken, &random);
    while (progress != SERVE_DONE) {
        progress = reply->later->more(reply->user, &reply->body);
        if (progress == SERVE_WAIT)
            step(taken, &random);
    }
    if (reply->content_type != NULL && strcmp(reply->content_type, "text/event-stream") == 0)
        check_events(&reply->body);
    else
        check_json(reply->body.data, reply->body.size, reply->status != 200);
    reply->later->end(reply->user);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const struct serve_settings settings = {.timeout_s = 0};
    static struct serve_server server = {.settings = &settings, .n_models = 1};
    static serve_handler *const routes[] = {serve_completions, serve_chat,
                                            serve_embeddings,  serve_tokenize,
                                            serve_detokenize,  serve_apply_template};
    if (size < 2)
        return 0;
    if (server.metrics == NULL) {
        open_model(&server.models[0]);
        server.metrics = serve_metrics_create();
    }
    struct rsr_bytes body = {0};
    if (!rsr_bytes_append(&body, data + 2, size - 2) || !rsr_bytes_append(&body, "", 1))
        abort();
    const struct serve_request request = {
        .method = "POST", .path = "/", .body = body.data, .body_bytes = size - 2, .has_key = true};
    struct serve_reply reply = {0};
    mood = data[1];
    taken = NULL;
    routes[data[0] % (sizeof(routes) / sizeof(routes[0]))](&server, &request, &reply);
    if (reply.later != NULL)
        drive(&reply);
    else
        check_json(reply.body.data, reply.body.size, reply.status != 200);
    rsr_bytes_free(&reply.body);
    rsr_bytes_free(&body);
    return 0;
}
