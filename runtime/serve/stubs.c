/* stubs.c - stands in for the page, which is on its way. */
#include "replies.h"
#include "routes.h"

void serve_page(struct serve_server *server, const struct serve_request *request,
                struct serve_reply *reply) {
    (void)server, (void)request;
    serve_reply_static(reply, "text/plain", "", 0);
}
