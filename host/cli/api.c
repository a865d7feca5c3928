/* SPDX-License-Identifier: Apache-2.0 */
/* api.c - libcurl against kilnd. Owns the handles and the token. Answers are not trusted with more than caps. */
#include "api.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "sse_read.h"

#define CALL_TIMEOUT_S 60L
#define CONNECT_TIMEOUT_S 10L
#define URL_MAX 8192u
#define FOLLOW_TRIES 2

struct api {
	char base[512];          /* "http://localhost" or --url, without a slash at the end */
	char socket[108];        /* or "" */
	char *token;
	struct curl_slist *headers;
};

struct answer {
	CURL *curl;
	char *data;
	size_t len, room;
	api_data_fn fn;          /* with a fn only errors are kept */
	void *arg;
	int stopped;
};

static int set_base(struct api *a, const struct config *cfg, struct err *e)
{
	const char *url = config_str(cfg, CONFIG_URL), *host = config_str(cfg, CONFIG_HOST);
	const char *o_host = config_origin(cfg, CONFIG_HOST), *o_port = config_origin(cfg, CONFIG_PORT);
	int n;

	if (*url) {
		n = snprintf(a->base, sizeof(a->base), "%s", url);
		while (n > 0 && n < (int)sizeof(a->base) && a->base[n - 1] == '/')
			a->base[--n] = '\0';
	} else if (strncmp(o_host, "flag", 4) == 0 || strncmp(o_port, "flag", 4) == 0) {
		n = snprintf(a->base, sizeof(a->base), strchr(host, ':') ? "http://[%s]:%d" : "http://%s:%d",
			     host, (int)config_int(cfg, CONFIG_PORT));
	} else {
		snprintf(a->base, sizeof(a->base), "http://localhost");
		n = snprintf(a->socket, sizeof(a->socket), "%s", config_str(cfg, CONFIG_SOCKET));
		if (n >= (int)sizeof(a->socket))
			return err_set(e, "config", "socket: a path of a Unix socket has at most %zu bytes",
				       sizeof(a->socket) - 1);
		return 0;
	}
	return n < (int)sizeof(a->base) ? 0 : err_set(e, "config", "url is too long");
}

static int set_headers(struct api *a, const struct config *cfg, struct err *e)
{
	char line[5000];

	if (!*a->socket && *config_str(cfg, CONFIG_TOKEN_FILE)) {
		if (config_secret(cfg, CONFIG_TOKEN_FILE, &a->token, e) < 0)
			return -1;
		snprintf(line, sizeof(line), "Authorization: Bearer %s", a->token);
		a->headers = curl_slist_append(a->headers, line);
	}
	a->headers = curl_slist_append(a->headers, "Content-Type: application/json");
	a->headers = curl_slist_append(a->headers, "Expect:");
	return a->headers ? 0 : err_set(e, "io", "no memory");
}

int api_open(const struct config *cfg, struct api **out, struct err *e)
{
	struct api *a = calloc(1, sizeof(*a));

	if (!a || curl_global_init(CURL_GLOBAL_DEFAULT) != 0) {
		free(a);
		return err_set(e, "io", "no memory");
	}
	if (set_base(a, cfg, e) < 0 || set_headers(a, cfg, e) < 0) {
		api_close(a);
		return -1;
	}
	*out = a;
	return 0;
}

void api_close(struct api *a)
{
	if (!a)
		return;
	curl_slist_free_all(a->headers);
	free(a->token);
	free(a);
}

static int keep(struct answer *ans, const char *data, size_t n)
{
	if (ans->len + n > API_BODY_MAX)
		return -1;
	if (ans->len + n + 1 > ans->room) {
		size_t room = (ans->len + n + 1) * 2;
		char *bigger = realloc(ans->data, room);

		if (!bigger)
			return -1;
		ans->data = bigger;
		ans->room = room;
	}
	memcpy(ans->data + ans->len, data, n);
	ans->len += n;
	ans->data[ans->len] = '\0';
	return 0;
}

static size_t on_data(char *data, size_t size, size_t count, void *arg)
{
	struct answer *ans = arg;
	size_t n = size * count;
	long status = 0;

	curl_easy_getinfo(ans->curl, CURLINFO_RESPONSE_CODE, &status);
	if (!ans->fn || status >= 400)
		return keep(ans, data, n) < 0 ? 0 : n;
	ans->stopped = ans->fn(ans->arg, data, n);
	return ans->stopped ? 0 : n;
}

/* Codes of err are static words; the server's is one of those that callers ask for, or "server". */
static const char *known_code(const char *code)
{
	static const char *const codes[] = { "not_found", "over_ceiling", "conflict", "unauthorized",
					     "unsupported_scheme", "unknown_image" };

	for (size_t i = 0; code && i < sizeof(codes) / sizeof(codes[0]); i++)
		if (strcmp(code, codes[i]) == 0)
			return codes[i];
	return "server";
}

static int server_error(const struct answer *ans, long status, struct err *e)
{
	json_t *o = ans->data ? json_loadb(ans->data, ans->len, 0, NULL) : NULL;
	json_t *error = json_object_get(o, "error");
	const char *message = json_string_value(json_object_get(error, "message"));
	const char *field = json_string_value(json_object_get(error, "field"));
	const char *code = json_string_value(json_object_get(error, "code"));

	err_field(e, known_code(code), field ? field : "", "%s",
		  message ? message : "kilnd answered without words");
	if (!message)
		err_prefix(e, "HTTP status %ld", status);
	json_decref(o);
	return -1;
}

static int transport_error(const struct api *a, CURLcode rc, struct err *e)
{
	if (rc == CURLE_COULDNT_CONNECT || rc == CURLE_COULDNT_RESOLVE_HOST)
		return err_set(e, "no_daemon", "kilnd does not answer on %s: is it running? (`kiln run` "
			       "builds without it)", *a->socket ? a->socket : a->base);
	return err_set(e, "io", "talking to kilnd: %s", curl_easy_strerror(rc));
}

static int perform(struct api *a, struct answer *ans, const char *path, struct err *e)
{
	char url[URL_MAX];
	long status = 0;
	CURLcode rc;

	if (snprintf(url, sizeof(url), "%s%s", a->base, path) >= (int)sizeof(url))
		return err_set(e, "io", "the path of the request is too long");
	curl_easy_setopt(ans->curl, CURLOPT_URL, url);
	if (*a->socket)
		curl_easy_setopt(ans->curl, CURLOPT_UNIX_SOCKET_PATH, a->socket);
	curl_easy_setopt(ans->curl, CURLOPT_NOPROXY, *a->socket ? "*" : NULL);
	curl_easy_setopt(ans->curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(ans->curl, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(ans->curl, CURLOPT_CONNECTTIMEOUT, CONNECT_TIMEOUT_S);
	curl_easy_setopt(ans->curl, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(ans->curl, CURLOPT_WRITEFUNCTION, on_data);
	curl_easy_setopt(ans->curl, CURLOPT_WRITEDATA, ans);
	rc = curl_easy_perform(ans->curl);
	curl_easy_getinfo(ans->curl, CURLINFO_RESPONSE_CODE, &status);
	if (rc != CURLE_OK && !ans->stopped)
		return transport_error(a, rc, e);
	return status >= 400 ? server_error(ans, status, e) : 0;
}

static int with_curl(struct api *a, struct answer *ans, struct err *e)
{
	ans->curl = curl_easy_init();
	if (!ans->curl)
		return err_set(e, "io", "no memory");
	curl_easy_setopt(ans->curl, CURLOPT_HTTPHEADER, a->headers);
	return 0;
}

int api_call(struct api *a, const char *method, const char *path, const json_t *body, json_t **out,
	     struct err *e)
{
	_cleanup_free_ char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	struct answer ans = { 0 };
	int rc;

	if (with_curl(a, &ans, e) < 0)
		return -1;
	curl_easy_setopt(ans.curl, CURLOPT_TIMEOUT, CALL_TIMEOUT_S);
	if (strcmp(method, "POST") == 0)
		curl_easy_setopt(ans.curl, CURLOPT_POSTFIELDS, text ? text : "");
	rc = perform(a, &ans, path, e);
	if (rc == 0) {
		*out = ans.data ? json_loadb(ans.data, ans.len, 0, NULL) : NULL;
		if (!json_is_object(*out) && !json_is_array(*out)) {
			json_decref(*out);
			rc = err_set(e, "io", "kilnd's answer is no JSON");
		}
	}
	curl_easy_cleanup(ans.curl);
	free(ans.data);
	return rc;
}

int api_stream(struct api *a, const char *path, api_data_fn fn, void *arg, struct err *e)
{
	struct answer ans = { .fn = fn, .arg = arg };
	int rc;

	if (with_curl(a, &ans, e) < 0)
		return -1;
	rc = perform(a, &ans, path, e);
	curl_easy_cleanup(ans.curl);
	free(ans.data);
	return rc;
}

struct following {
	struct sse_read sse;
	api_data_fn fn;
	void *arg;
	json_t *end;
};

static int on_sse(void *arg, const char *name, const char *data, size_t n)
{
	struct following *f = arg;

	if (strcmp(name, "end") == 0) {
		f->end = json_loadb(data, n, 0, NULL);
		return 1;
	}
	return *name ? 0 : f->fn(f->arg, data, n);
}

static int on_stream(void *arg, const char *data, size_t n)
{
	struct following *f = arg;

	return sse_read_push(&f->sse, data, n, on_sse, f);
}

static int follow_once(struct api *a, const char *path, struct following *f, struct err *e)
{
	struct answer ans = { .fn = on_stream, .arg = f };
	struct curl_slist *headers = NULL;
	char line[64];
	int rc;

	if (with_curl(a, &ans, e) < 0)
		return -1;
	for (struct curl_slist *h = a->headers; h; h = h->next)
		headers = curl_slist_append(headers, h->data);
	if (f->sse.id > 0) {
		snprintf(line, sizeof(line), "Last-Event-ID: %llu", (unsigned long long)f->sse.id);
		headers = curl_slist_append(headers, line);
	}
	curl_easy_setopt(ans.curl, CURLOPT_HTTPHEADER, headers);
	rc = perform(a, &ans, path, e);
	curl_slist_free_all(headers);
	curl_easy_cleanup(ans.curl);
	free(ans.data);
	return rc;
}

int api_follow(struct api *a, const char *id, api_data_fn fn, void *arg, json_t **end, struct err *e)
{
	struct following f = { .fn = fn, .arg = arg };
	char path[256];
	int rc = 0;

	snprintf(path, sizeof(path), "/build/%s/log?follow=1&encoding=base64", id);
	for (int fruitless = 0; fruitless < FOLLOW_TRIES && !f.end && !f.sse.broken;) {
		uint64_t had = f.sse.id;

		rc = follow_once(a, path, &f, e);
		if (rc < 0 && strcmp(e->code, "io") != 0)
			break;
		if (rc == 0 && !f.end)
			rc = err_set(e, "io", "kilnd ended the log stream before the verdict");
		fruitless = f.sse.id > had ? 0 : fruitless + 1;
		sse_read_restart(&f.sse);
	}
	if (f.sse.broken)
		rc = err_set(e, "io", "kilnd's log stream cannot be understood");
	if (f.end) {
		*end = f.end;
		rc = 0;
	}
	sse_read_fini(&f.sse);
	return rc;
}

int api_escape_path(const char *text, char *buf, size_t n)
{
	static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~/";
	size_t w = 0;

	for (; *text; text++) {
		if (w + 4 > n)
			return -1;
		if (strchr(plain, *text))
			buf[w++] = *text;
		else
			w += (size_t)snprintf(buf + w, n - w, "%%%02X", (unsigned char)*text);
	}
	buf[w] = '\0';
	return 0;
}
