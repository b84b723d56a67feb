/* page.c - GET /: one static file. Its policy forbids it to load anything or to run another
 * script. */
#include "page.h"

#include "replies.h"
#include "routes.h"

void serve_page(struct serve_server *server, const struct serve_request *request,
                struct serve_reply *reply) {
    const struct serve_page_file *page = &serve_page_files[SERVE_PAGE_HTML];
    (void)server;
    (void)request;
    serve_reply_static(reply, "text/html; charset=utf-8", page->text, page->size_bytes);
    reply->policy = serve_page_files[SERVE_PAGE_POLICY].text;
}
