/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reply.c - answers: JSON, errors, files. Owns a response until libmicrohttpd has it. The one
 * place that knows which status an error code means.
 */
#include <inttypes.h>
#include <microhttpd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "http.h"
#include "range.h"

static const struct {
	const char *code;
	unsigned status;
} statuses[] = {
	{ "not_found", 404 }, { "over_ceiling", 403 }, { "never_fits", 403 }, { "too_large", 413 },
	{ "queue_full", 429 }, { "io", 500 }, { "store", 500 }, { "launch", 500 },
};

static void common_headers(struct MHD_Response *resp)
{
	MHD_add_response_header(resp, "X-Content-Type-Options", "nosniff");
	MHD_add_response_header(resp, "Cache-Control", "no-store");
}

struct MHD_Response *reply_make_json(json_t *body)
{
	char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	struct MHD_Response *resp = NULL;

	json_decref(body);
	if (text)
		resp = MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE);
	if (!resp) {
		free(text);
		return NULL;
	}
	MHD_add_response_header(resp, MHD_HTTP_HEADER_CONTENT_TYPE, "application/json");
	common_headers(resp);
	return resp;
}

void reply_response(struct request *r, unsigned status, struct MHD_Response *resp)
{
	static char none[] = "";

	if (!resp) {
		status = 500;
		resp = MHD_create_response_from_buffer(0, none, MHD_RESPMEM_PERSISTENT);
	}
	if (r->in_handler && !r->held) {
		MHD_queue_response(r->conn, status, resp);
		MHD_destroy_response(resp);
		return;
	}
	r->answer = resp;
	r->answer_status = status;
	if (r->held) {
		r->held = 0;
		httpd_resume(r->k->httpd, r->conn);
	}
}

void reply_json(struct request *r, unsigned status, json_t *body)
{
	reply_response(r, status, reply_make_json(body));
}

static json_t *error_body(const char *code, const char *field, const char *text)
{
	json_t *o = json_pack("{s{ss}}", "error", "code", code);
	json_t *in = json_object_get(o, "error");
	json_t *message = json_string(text);

	/* Words that quote a broken request may hold bytes that are no UTF-8. */
	json_object_set_new(in, "message", message ? message : json_string("the request is malformed"));
	if (field && *field)
		json_object_set_new(in, "field", json_string(field));
	return o;
}

void reply_error(struct request *r, unsigned status, const char *code, const char *field,
		 const char *fmt, ...)
{
	char text[ERR_TEXT_BYTES];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	reply_json(r, status, error_body(code, field, text));
}

void reply_err(struct request *r, const struct err *e)
{
	unsigned status = 400;
	struct MHD_Response *resp;
	json_t *body;

	for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
		if (strcmp(statuses[i].code, e->code) == 0)
			status = statuses[i].status;
	}
	body = error_body(e->code, e->field, e->text);
	if (*e->ceiling)
		json_object_set_new(json_object_get(body, "error"), "ceiling",
				    json_loads(e->ceiling, JSON_DECODE_ANY, NULL));
	resp = reply_make_json(body);
	if (resp && status == 429)
		MHD_add_response_header(resp, MHD_HTTP_HEADER_RETRY_AFTER, "10");
	reply_response(r, status, resp);
}

static void unsatisfiable(struct request *r, off_t size)
{
	char range[64];
	struct MHD_Response *resp;

	resp = reply_make_json(error_body("range", "Range", "there are no such bytes"));
	if (resp) {
		snprintf(range, sizeof(range), "bytes */%jd", (intmax_t)size);
		MHD_add_response_header(resp, MHD_HTTP_HEADER_CONTENT_RANGE, range);
	}
	reply_response(r, 416, resp);
}

void reply_file(struct request *r, int fd, off_t size, const char *content_type,
		const char *disposition, const char *etag)
{
	uint64_t first = 0, count = (uint64_t)size;
	enum range_kind kind = range_parse(request_header(r, MHD_HTTP_HEADER_RANGE), (uint64_t)size,
					   &first, &count);
	struct MHD_Response *resp;
	char text[96];

	if (kind == RANGE_UNSATISFIABLE) {
		close(fd);
		unsatisfiable(r, size);
		return;
	}
	resp = MHD_create_response_from_fd_at_offset64(count, fd, first);
	if (!resp) {
		close(fd);
		reply_response(r, 500, NULL);
		return;
	}
	common_headers(resp);
	MHD_add_response_header(resp, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
	MHD_add_response_header(resp, MHD_HTTP_HEADER_ACCEPT_RANGES, "bytes");
	if (disposition)
		MHD_add_response_header(resp, MHD_HTTP_HEADER_CONTENT_DISPOSITION, disposition);
	if (etag)
		MHD_add_response_header(resp, MHD_HTTP_HEADER_ETAG, etag);
	if (kind == RANGE_PART) {
		snprintf(text, sizeof(text), "bytes %" PRIu64 "-%" PRIu64 "/%jd", first, first + count - 1,
			 (intmax_t)size);
		MHD_add_response_header(resp, MHD_HTTP_HEADER_CONTENT_RANGE, text);
	}
	reply_response(r, kind == RANGE_PART ? 206 : 200, resp);
}
