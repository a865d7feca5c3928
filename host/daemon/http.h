/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http.h - requests and answers. A request is answered exactly once, by one reply_ call: from
 * within its handler, or later when the handler called request_hold.
 */
#ifndef KILN_HTTP_H
#define KILN_HTTP_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon.h"
#include "err.h"
#include "route.h"

#define HTTP_QUERY_MAX 2048

struct MHD_Connection;
struct MHD_Response;
struct httpd;

struct request {
	struct kilnd *k;
	struct MHD_Connection *conn;
	const struct route *route;
	char *params[ROUTE_PARAMS_MAX]; /* decoded, heap */
	char *body;
	size_t body_len;
	size_t body_seen;               /* also what was thrown away */
	int in_handler;                 /* an answer goes out at once */
	int held;                       /* the connection is suspended */
	int handled;
	struct MHD_Response *answer;    /* waits for its turn */
	unsigned answer_status;
};

/* The handler returns without an answer; a later reply_ call wakes the connection. */
void request_hold(struct request *r);
/* NULL when it was not sent. */
const char *request_header(struct request *r, const char *name);
/* A query parameter, decoded. 1: there, 0: absent, -1: undecodable or longer than the buffer. */
int request_query(struct request *r, const char *name, char *buf, size_t cap);
/* The first query parameter that is not in known[] (NULL-terminated); NULL: none. */
const char *request_query_unknown(struct request *r, const char *const *known);

/* body is taken over; NULL (no memory) becomes a 500. */
void reply_json(struct request *r, unsigned status, json_t *body);
/* {"error": {"code", "message", "field"}}; field may be NULL. */
void reply_error(struct request *r, unsigned status, const char *code, const char *field,
		 const char *fmt, ...) __attribute__((format(printf, 5, 6)));
/* The status follows from e->code. */
void reply_err(struct request *r, const struct err *e);
/* Any response; it is taken over. */
void reply_response(struct request *r, unsigned status, struct MHD_Response *response);
/* As reply_json, before more headers are put to it. NULL: no memory. */
struct MHD_Response *reply_make_json(json_t *body);
/*
 * A file from the disk, Range honoured (200, 206, 416). Owns fd. size: bytes there are now.
 * disposition and etag may be NULL.
 */
void reply_file(struct request *r, int fd, off_t size, const char *content_type,
		const char *disposition, const char *etag);

/* Listens on the configured Unix socket and TCP address. Codes: "config", "in_use", "io". */
int httpd_start(struct kilnd *k, struct httpd **out, struct err *e);
/* No new connections. */
void httpd_quiesce(struct httpd *h);
/*
 * Wake a suspended connection: it goes on in the next turn of the loop. (libmicrohttpd has no
 * descriptor that would say so when it runs without a thread of its own.)
 */
void httpd_resume(struct httpd *h, struct MHD_Connection *conn);
/* Ends every connection. No request may be held any more. */
void httpd_stop(struct httpd *h);

#endif
