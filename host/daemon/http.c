/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http.c - libmicrohttpd driven from the loop: one MHD daemon a listening socket, its epoll
 * descriptor in a uv_poll, its timeout in a uv_timer, no thread. Owns listeners and requests.
 *
 * Order of judgement for a request: Host, Origin, token, route, method, content type, size.
 * A refusal is answered when the body has passed, so that the connection can go on and the
 * client gets to read it; bodies are thrown away from the cap on, and the connection is cut
 * when one goes beyond HTTP_FLOOD_FACTOR times the cap.
 */
#include "http.h"

#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "auth.h"
#include "listen.h"
#include "log.h"

#define HTTP_CONNECTIONS_MAX 4096
#define HTTP_IDLE_S 60
#define HTTP_CONNECTION_BYTES (24 * 1024)
#define HTTP_FLOOD_FACTOR 8
#define HTTP_PATH_MAX 8192
#define LISTENERS 2

struct listener {
	struct httpd *h;
	struct MHD_Daemon *mhd;
	uv_poll_t poll;
	uv_timer_t timer;
	int tcp;
};

struct httpd {
	struct kilnd *k;
	struct listener listeners[LISTENERS];
	unsigned count;
	char *token;       /* NULL: none is asked for */
	size_t body_max;
	unsigned open;     /* handles not yet closed */
};

/* ---- one request ---- */

const char *request_header(struct request *r, const char *name)
{
	return MHD_lookup_connection_value(r->conn, MHD_HEADER_KIND, name);
}

int request_query(struct request *r, const char *name, char *buf, size_t cap)
{
	const char *v = MHD_lookup_connection_value(r->conn, MHD_GET_ARGUMENT_KIND, name);

	if (!v)
		return 0;
	return route_decode(v, strlen(v), buf, cap) < 0 ? -1 : 1;
}

struct unknown {
	const char *const *known;
	const char *found;
};

static enum MHD_Result check_known(void *cls, enum MHD_ValueKind kind, const char *key,
				   const char *value)
{
	struct unknown *u = cls;

	(void)kind;
	(void)value;
	for (const char *const *k = u->known; *k; k++) {
		if (strcmp(*k, key) == 0)
			return MHD_YES;
	}
	u->found = key;
	return MHD_NO;
}

const char *request_query_unknown(struct request *r, const char *const *known)
{
	struct unknown u = { known, NULL };

	MHD_get_connection_values(r->conn, MHD_GET_ARGUMENT_KIND, check_known, &u);
	return u.found;
}

void request_hold(struct request *r)
{
	r->held = 1;
	MHD_suspend_connection(r->conn);
}

static void request_free(struct request *r)
{
	if (!r)
		return;
	for (unsigned i = 0; i < ROUTE_PARAMS_MAX; i++)
		free(r->params[i]);
	if (r->body)
		explicit_bzero(r->body, r->body_len); /* it may hold secrets */
	free(r->body);
	if (r->answer)
		MHD_destroy_response(r->answer);
	free(r);
}

/* ---- judgement ---- */

static int judge_origin(struct request *r, const struct listener *l)
{
	const char *host = request_header(r, MHD_HTTP_HEADER_HOST);
	const char *origin = request_header(r, MHD_HTTP_HEADER_ORIGIN);
	const union MHD_ConnectionInfo *ci;
	char local[64] = "";

	if (l->tcp) {
		ci = MHD_get_connection_info(r->conn, MHD_CONNECTION_INFO_CONNECTION_FD);
		if (ci)
			listen_local_name(ci->connect_fd, local, sizeof(local));
		if (!host || !auth_host_ok(host, local, config_str(r->k->cfg, CONFIG_HOST),
					   config_list(r->k->cfg, CONFIG_ALLOWED_HOSTS))) {
			reply_error(r, 403, "host_refused", "Host", "'%.200s' is no name of this server; "
				    "allowed_hosts in its configuration adds one", host ? host : "");
			return -1;
		}
	}
	if (origin && !auth_origin_ok(origin, host)) {
		reply_error(r, 403, "origin_refused", "Origin", "requests from other web pages are refused");
		return -1;
	}
	return 0;
}

static int judge_token(struct request *r, const struct listener *l)
{
	struct MHD_Response *resp;

	if (!l->tcp || !l->h->token ||
	    auth_token_ok(request_header(r, MHD_HTTP_HEADER_AUTHORIZATION), l->h->token))
		return 0;
	resp = reply_make_json(json_pack("{s{ss, ss}}", "error", "code", "unauthorized", "message",
					 "this server needs the header Authorization: Bearer <token>"));
	if (resp)
		MHD_add_response_header(resp, MHD_HTTP_HEADER_WWW_AUTHENTICATE, "Bearer");
	reply_response(r, 401, resp);
	return -1;
}

static int judge_route(struct request *r, const char *method, const char *path)
{
	struct route_match m;
	struct MHD_Response *resp;
	int rc = route_find(method, path, &m);

	if (rc == 404) {
		reply_error(r, 404, "no_such_route", NULL, "there is no %.200s", path);
		return -1;
	}
	if (rc == 405) {
		resp = reply_make_json(json_pack("{s{ss, ss}}", "error", "code", "method_not_allowed",
						 "message", "this path has other methods: see Allow"));
		if (resp)
			MHD_add_response_header(resp, MHD_HTTP_HEADER_ALLOW, m.allow);
		reply_response(r, 405, resp);
		return -1;
	}
	r->route = m.route;
	for (unsigned i = 0; i < ROUTE_PARAMS_MAX && m.params[i].text; i++) {
		r->params[i] = malloc(m.params[i].n + 1);
		if (!r->params[i] || route_decode(m.params[i].text, m.params[i].n, r->params[i],
						  m.params[i].n + 1) < 0) {
			reply_error(r, 400, "bad_path", NULL, "the path is not properly encoded");
			return -1;
		}
	}
	return 0;
}

static int judge_content(struct request *r, const char *method)
{
	const char *type = request_header(r, MHD_HTTP_HEADER_CONTENT_TYPE);
	const char *length = request_header(r, MHD_HTTP_HEADER_CONTENT_LENGTH);
	int bare = !r->route->body && (!length || strcmp(length, "0") == 0) &&
		   !request_header(r, MHD_HTTP_HEADER_TRANSFER_ENCODING);
	size_t n = strlen("application/json");

	if (strcmp(method, "POST") != 0 || (!type && bare))
		return 0;
	if (type && strncasecmp(type, "application/json", n) == 0 && strchr("; \t", type[n]))
		return 0;
	reply_error(r, 415, "unsupported_media_type", "Content-Type",
		    "send JSON, with the header Content-Type: application/json");
	return -1;
}

/* Everything that can be said before the body. An answer is kept until the body has passed. */
static int judge(struct request *r, const struct listener *l, const char *method, const char *path)
{
	if (strlen(path) > HTTP_PATH_MAX) {
		reply_error(r, 414, "path_too_long", NULL, "the path has more than %d bytes",
			    HTTP_PATH_MAX);
		return -1;
	}
	if (judge_origin(r, l) < 0 || judge_token(r, l) < 0 || judge_route(r, method, path) < 0)
		return -1;
	return judge_content(r, method);
}

/* ---- libmicrohttpd's callbacks ---- */

static enum MHD_Result take_body(struct request *r, const struct httpd *h, const char *data, size_t n)
{
	char *grown;

	r->body_seen += n;
	if (r->body_seen > h->body_max * HTTP_FLOOD_FACTOR)
		return MHD_NO;
	if (r->answer || r->body_seen > h->body_max)
		return MHD_YES;
	grown = realloc(r->body, r->body_len + n + 1);
	if (!grown)
		return MHD_NO;
	memcpy(grown + r->body_len, data, n);
	r->body = grown;
	r->body_len += n;
	r->body[r->body_len] = '\0';
	return MHD_YES;
}

/* A body that says beforehand that it is a flood is not waited for. */
static int declared_flood(struct request *r, const struct httpd *h)
{
	const char *length = request_header(r, MHD_HTTP_HEADER_CONTENT_LENGTH);

	return length && strtoull(length, NULL, 10) > h->body_max * HTTP_FLOOD_FACTOR;
}

static enum MHD_Result queue_answer(struct request *r)
{
	enum MHD_Result rc = MHD_queue_response(r->conn, r->answer_status, r->answer);

	MHD_destroy_response(r->answer);
	r->answer = NULL;
	return rc;
}

static void handle(struct request *r, const struct httpd *h)
{
	r->handled = 1;
	r->in_handler = 1;
	if (r->body_seen > h->body_max)
		reply_error(r, 413, "too_large", NULL, "the body has %zu bytes, at most %zu are allowed",
			    r->body_seen, h->body_max);
	else if (h->k->stopping)
		reply_error(r, 503, "stopping", NULL, "kilnd is stopping");
	else
		r->route->handle(r);
	r->in_handler = 0;
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *conn, const char *path,
				  const char *method, const char *version, const char *data,
				  size_t *data_size, void **con_cls)
{
	struct listener *l = cls;
	struct request *r = *con_cls;

	(void)version;
	if (!r) {
		r = calloc(1, sizeof(*r));
		if (!r)
			return MHD_NO;
		*con_cls = r;
		r->k = l->h->k;
		r->conn = conn;
		if (judge(r, l, method, path) == 0 && declared_flood(r, l->h))
			reply_error(r, 413, "too_large", NULL, "at most %zu bytes are allowed",
				    l->h->body_max);
		return r->answer && declared_flood(r, l->h) ? queue_answer(r) : MHD_YES;
	}
	if (*data_size > 0) {
		size_t n = *data_size;

		*data_size = 0;
		return take_body(r, l->h, data, n);
	}
	if (r->answer)
		return queue_answer(r);
	if (!r->handled)
		handle(r, l->h);
	return MHD_YES;
}

static void on_completed(void *cls, struct MHD_Connection *conn, void **con_cls,
			 enum MHD_RequestTerminationCode why)
{
	(void)cls;
	(void)conn;
	(void)why;
	request_free(*con_cls);
	*con_cls = NULL;
}

/* Paths and queries are decoded by us, strictly: libmicrohttpd would end a path at %00. */
static size_t no_unescape(void *cls, struct MHD_Connection *conn, char *s)
{
	(void)cls;
	(void)conn;
	return strlen(s);
}

/* ---- the loop ---- */

static void on_due(uv_timer_t *t);

static void run_listener(struct listener *l)
{
	MHD_UNSIGNED_LONG_LONG ms;

	MHD_run(l->mhd);
	if (MHD_get_timeout(l->mhd, &ms) == MHD_YES)
		uv_timer_start(&l->timer, on_due, ms, 0);
	else
		uv_timer_stop(&l->timer);
}

static void on_due(uv_timer_t *t)
{
	run_listener(t->data);
}

static void on_ready(uv_poll_t *p, int status, int events)
{
	(void)status;
	(void)events;
	run_listener(p->data);
}

void httpd_resume(struct httpd *h, struct MHD_Connection *conn)
{
	MHD_resume_connection(conn);
	for (unsigned i = 0; i < h->count; i++)
		uv_timer_start(&h->listeners[i].timer, on_due, 0, 0);
}

static int add_listener(struct httpd *h, int fd, int tcp, struct err *e)
{
	struct listener *l = &h->listeners[h->count];
	const union MHD_DaemonInfo *info;

	l->h = h;
	l->tcp = tcp;
	l->mhd = MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, on_request, l,
				  MHD_OPTION_LISTEN_SOCKET, fd,
				  MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL,
				  MHD_OPTION_UNESCAPE_CALLBACK, no_unescape, NULL,
				  MHD_OPTION_CONNECTION_LIMIT, (unsigned)HTTP_CONNECTIONS_MAX,
				  MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)HTTP_IDLE_S,
				  MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HTTP_CONNECTION_BYTES,
				  MHD_OPTION_END);
	if (!l->mhd) {
		close(fd);
		return err_set(e, "io", "cannot start the HTTP server");
	}
	info = MHD_get_daemon_info(l->mhd, MHD_DAEMON_INFO_EPOLL_FD);
	uv_poll_init(h->k->loop, &l->poll, info->epoll_fd);
	uv_timer_init(h->k->loop, &l->timer);
	l->poll.data = l;
	l->timer.data = l;
	uv_poll_start(&l->poll, UV_READABLE, on_ready);
	h->count++;
	h->open += 2;
	return 0;
}

static int add_tcp(struct httpd *h, struct err *e)
{
	const struct config *cfg = h->k->cfg;
	const char *host = config_str(cfg, CONFIG_HOST);
	int64_t port = config_int(cfg, CONFIG_PORT);
	struct addrinfo *ai = NULL;
	char what[128] = "";
	int fd = -1, rc;

	if (listen_resolve(host, port, &ai, e) < 0)
		return -1;
	/* Before anything listens: a connection that came in between would be accepted. */
	if (!h->token && !listen_is_loopback(ai))
		rc = err_field(e, "config", "host", "host %s can be reached from elsewhere, so a token is "
			       "needed: run `kiln token create --output %s/token` and set token_file to "
			       "that file", host, config_str(cfg, CONFIG_DIR));
	else
		rc = listen_tcp(ai, host, port, &fd, what, sizeof(what), e);
	freeaddrinfo(ai);
	if (rc < 0 || add_listener(h, fd, 1, e) < 0)
		return -1;
	log_line(LOG_LEVEL_INFO, NULL, "listening on http://%s%s", what, h->token ? " (token)" : "");
	return 0;
}

static int add_unix(struct httpd *h, struct err *e)
{
	const char *path = config_str(h->k->cfg, CONFIG_SOCKET);
	int fd = -1;

	if (listen_unix(path, &fd, e) < 0 || add_listener(h, fd, 0, e) < 0)
		return -1;
	log_line(LOG_LEVEL_INFO, NULL, "listening on %s", path);
	return 0;
}

int httpd_start(struct kilnd *k, struct httpd **out, struct err *e)
{
	struct httpd *h = calloc(1, sizeof(*h));

	if (!h)
		return err_set(e, "io", "no memory");
	h->k = k;
	h->body_max = (size_t)config_int(k->cfg, CONFIG_LIMITS_BODY_BYTES);
	if (*config_str(k->cfg, CONFIG_TOKEN_FILE) &&
	    config_secret(k->cfg, CONFIG_TOKEN_FILE, &h->token, e) < 0)
		goto fail;
	if (add_unix(h, e) < 0 || (config_int(k->cfg, CONFIG_PORT) > 0 && add_tcp(h, e) < 0))
		goto fail;
	*out = h;
	return 0;
fail:
	httpd_stop(h);
	return -1;
}

void httpd_quiesce(struct httpd *h)
{
	for (unsigned i = 0; i < h->count; i++) {
		int fd = MHD_quiesce_daemon(h->listeners[i].mhd);

		if (fd >= 0)
			close(fd);
	}
}

static void httpd_free(struct httpd *h)
{
	if (h->token)
		explicit_bzero(h->token, strlen(h->token));
	free(h->token);
	free(h);
}

static void on_closed(uv_handle_t *handle)
{
	struct listener *l = handle->data;

	if (--l->h->open == 0)
		httpd_free(l->h);
}

void httpd_stop(struct httpd *h)
{
	if (!h)
		return;
	if (h->count == 0) {
		httpd_free(h);
		return;
	}
	for (unsigned i = 0; i < h->count; i++) {
		struct listener *l = &h->listeners[i];

		uv_poll_stop(&l->poll);
		MHD_stop_daemon(l->mhd);
		uv_close((uv_handle_t *)&l->poll, on_closed);
		uv_close((uv_handle_t *)&l->timer, on_closed);
	}
}
