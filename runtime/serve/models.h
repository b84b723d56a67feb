/* models.h - the models of a server, opened with their engines. */
#ifndef RSR_SERVE_MODELS_H
#define RSR_SERVE_MODELS_H

#include "serve.h"

/* Opens all models that the settings name and logs what each takes. False after a message. */
bool serve_open_models(struct serve_server *server);
void serve_close_models(struct serve_server *server);

/* The model of that name; NULL: there is none. */
const struct serve_model *serve_find_model(const struct serve_server *server, const char *name);

#endif
