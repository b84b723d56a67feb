/* stubs.c - stands in for files that are on their way; goes when they are there. */
#include "replies.h"
#include "routes.h"

#define WEAK __attribute__((weak))
#define STUB(name)                                                                                 \
    WEAK void name(struct serve_server *server, const struct serve_request *request,               \
                   struct serve_reply *reply) {                                                    \
        (void)server, (void)request;                                                               \
        struct serve_error error;                                                                  \
        serve_fail(&error, 501, "not_implemented", NULL, #name " is not there yet.");              \
        serve_reply_error(reply, &error);                                                          \
    }
STUB(serve_completions)
STUB(serve_chat)
STUB(serve_embeddings)
STUB(serve_tokenize)
STUB(serve_detokenize)
STUB(serve_apply_template)
STUB(serve_tokenizer_info)
STUB(serve_page)
