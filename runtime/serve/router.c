/* router.c - the table of routes; see routes.h. */
#include <string.h>

#include "replies.h"
#include "routes.h"

enum {
    ROUTE_OPEN = 1,  /* needs no key */
    ROUTE_EARLY = 2, /* answers while models are being loaded */
    ROUTE_BELOW = 4  /* the path begins with this */
};

struct route {
    const char *method, *path;
    unsigned flags;
    serve_handler *handler;
};

static const struct route routes[] = {
    {"GET", "/", ROUTE_OPEN | ROUTE_EARLY, serve_page},
    {"GET", "/health", ROUTE_OPEN | ROUTE_EARLY, serve_health},
    {"GET", "/ready", ROUTE_OPEN | ROUTE_EARLY, serve_ready},
    {"GET", "/metrics", 0, serve_show_metrics},
    {"GET", "/slots", 0, serve_show_slots},
    {"GET", "/report.json", 0, serve_show_report},
    {"GET", "/v1/models", 0, serve_list_models},
    {"GET", "/v1/models/", ROUTE_BELOW, serve_show_model},
    {"POST", "/v1/completions", 0, serve_completions},
    {"POST", "/v1/chat/completions", 0, serve_chat},
    {"POST", "/v1/embeddings", 0, serve_embeddings},
    {"POST", "/tokenize", 0, serve_tokenize},
    {"POST", "/detokenize", 0, serve_detokenize},
    {"POST", "/apply-template", 0, serve_apply_template},
    {"GET", "/tokenizer_info", 0, serve_tokenizer_info},
};

/* Other routes of OpenAI's API, and what to use instead. */
static const struct {
    const char *path, *what;
} others[] = {
    {"/v1/responses", "The Responses API is not served; ask /v1/chat/completions."},
    {"/v1/audio", "Audio is not served: the models read and write text."},
    {"/v1/images", "Images are not served: the models read and write text."},
    {"/v1/videos", "Videos are not served: the models read and write text."},
    {"/v1/realtime", "The Realtime API is not served; /v1/chat/completions streams."},
    {"/v1/files", "Files are not kept: every request has all that it needs."},
    {"/v1/uploads", "Files are not kept: every request has all that it needs."},
    {"/v1/batches",
     "Batches are not kept; send the requests at once, they are evaluated together."},
    {"/v1/fine_tuning", "Models are not trained here; rsrc compiles what was trained."},
    {"/v1/fine-tunes", "Models are not trained here; rsrc compiles what was trained."},
    {"/v1/assistants",
     "Assistants are not kept; ask /v1/chat/completions with the whole conversation."},
    {"/v1/threads", "Threads are not kept; ask /v1/chat/completions with the whole conversation."},
    {"/v1/conversations",
     "Conversations are not kept; ask /v1/chat/completions with the whole one."},
    {"/v1/vector_stores", "Vectors are not kept; /v1/embeddings makes them."},
    {"/v1/moderations", "Moderation is not served."},
    {"/v1/edits", "Edits are not served; ask /v1/chat/completions."},
    {"/v1/evals", "Evaluations are not served; /v1/completions gives log-probabilities for them."},
    {"/v1/containers", "Containers are not served."},
    {"/v1/organization", "There are no organizations here; --api-key-file has the keys."},
};

static bool is_path(const struct route *route, const char *path) {
    const size_t n = strlen(route->path);
    return strncmp(route->path, path, n) == 0 &&
           (path[n] == '\0') != ((route->flags & ROUTE_BELOW) != 0);
}

static bool is_method(const struct route *route, const char *method) {
    return strcmp(route->method, method) == 0 ||
           (strcmp(method, "HEAD") == 0 && strcmp(route->method, "GET") == 0);
}

static void fail_unknown_path(const char *path, struct serve_error *error) {
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        const size_t n = strlen(others[i].path);
        if (strncmp(others[i].path, path, n) == 0 && (path[n] == '\0' || path[n] == '/')) {
            serve_fail(error, 404, "not_supported", NULL, "%s", others[i].what);
            return;
        }
    }
    serve_fail(error, 404, "not_found", NULL, "There is no \"%.200s\" here.", path);
}

/* Whether the route may answer this request now; if not, sets the error. */
static bool check_request(const struct serve_server *server, const struct route *route,
                          const struct serve_request *request, struct serve_error *error) {
    const enum serve_state state = atomic_load(&server->state);
    if (!request->has_key && !(route->flags & ROUTE_OPEN))
        return serve_fail(error, 401, "invalid_api_key", NULL,
                          "This server asks for a key: send \"Authorization: Bearer KEY\".");
    if (!is_method(route, request->method))
        return serve_fail(error, 405, "method_not_allowed", NULL,
                          "%.200s is asked by %s, not by %.20s.", request->path, route->method,
                          request->method);
    if (state == SERVE_LOADING && !(route->flags & ROUTE_EARLY))
        return serve_fail(error, 503, "loading", NULL, "The models are being loaded; try again.");
    if (state == SERVE_DRAINING && strcmp(route->method, "POST") == 0)
        return serve_fail(error, 503, "draining", NULL, "The server is about to end.");
    return true;
}

void serve_route(struct serve_server *server, const struct serve_request *request,
                 struct serve_reply *reply) {
    struct serve_error error;
    const struct route *route = NULL;
    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]) && !route; i++)
        if (is_path(&routes[i], request->path))
            route = &routes[i];
    if (!route)
        fail_unknown_path(request->path, &error);
    else if (check_request(server, route, request, &error)) {
        route->handler(server, request, reply);
        return;
    }
    serve_reply_error(reply, &error);
    if (error.status == 405)
        reply->allow = strcmp(route->method, "GET") == 0 ? "GET, HEAD" : route->method;
}
