/* routes.h - the table of routes, and their handlers. A handler is one of http.h. */
#ifndef RSR_SERVE_ROUTES_H
#define RSR_SERVE_ROUTES_H

#include "http.h"

/* Finds the route and calls its handler. 404: unknown path, with a hint for OpenAI's other routes;
 * 405: wrong method. */
serve_handler serve_route;

/* completions.c, chat.c, embeddings.c */
serve_handler serve_completions, serve_chat, serve_embeddings;
/* text_routes.c */
serve_handler serve_tokenize, serve_detokenize, serve_apply_template, serve_tokenizer_info;
/* state_routes.c */
serve_handler serve_list_models, serve_show_model, serve_health, serve_ready, serve_show_metrics,
    serve_show_slots, serve_show_report;
/* page.c */
serve_handler serve_page;

#endif
