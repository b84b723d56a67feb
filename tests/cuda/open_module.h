/* open_module.h - a module's tables, for tests that run its kernels themselves. */
#ifndef OPEN_MODULE_H
#define OPEN_MODULE_H

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "rsr_abi.h"

/* NULL: the file is no module, which is told. It stays loaded. */
static inline const struct rsr_module *open_module(const char *path) {
    const struct rsr_host host = {sizeof host, RSR_ABI_VERSION, path};
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    void *symbol = library != NULL ? dlsym(library, "rsr_module_query") : NULL;
    rsr_module_query_fn *query;
    memcpy(&query, &symbol, sizeof query);
    const struct rsr_module *module = symbol != NULL ? query(RSR_ABI_VERSION, &host) : NULL;
    if (module == NULL)
        fprintf(stderr, "error: %s is no module: %s\n", path, library == NULL ? dlerror() : "");
    return module;
}

#endif
