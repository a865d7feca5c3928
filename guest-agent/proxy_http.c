/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proxy_http.c - reads what a client says to its proxy, and says it to a server. Owns nothing.
 *
 *	head    = method SP target SP "HTTP/1." DIGIT line-end *( name ":" value line-end ) line-end
 *	target  = host ":" port                      for CONNECT
 *	        | "http://" host [ ":" port ] path   else; no user info
 *	host    = name | "[" IPv6 "]"
 *	line-end = CR LF
 *
 * Strict where leniency would let two readers understand two things: no folded lines, no space
 * before a colon, no control characters, no line feed without a carriage return. One request a connection: what follows the head is
 * relayed untouched, and the server is told to close.
 */
#include "proxy_http.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* Fields that speak to the next hop only, besides those that Connection names. */
static const char *const hop_fields[] = {
	"connection", "proxy-connection", "keep-alive", "proxy-authorization",
	"proxy-authenticate", "te", "trailer", "upgrade",
};

void proxy_http_init(struct proxy_http *h)
{
	memset(h, 0, offsetof(struct proxy_http, head));
}

static int is_token_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c && strchr("!#$%&'*+-.^_`|~", c));
}

static int is_host_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '-' || c == '.' || c == '_';
}

static int is_address_char(char c)
{
	return (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F') || (c >= '0' && c <= '9') ||
	       c == ':' || c == '.';
}

/* host, or [address], at p[0..n). Returns the bytes used, 0 when it is none. */
static size_t parse_host(struct proxy_http *h, const char *p, size_t n)
{
	size_t at = 0, host = 0, bracket = n > 0 && p[0] == '[';
	int (*ok)(char) = bracket ? is_address_char : is_host_char;

	for (at = bracket; at < n && ok(p[at]); at++) {
		if (host + 1 >= sizeof(h->host))
			return 0;
		h->host[host++] = p[at];
	}
	h->host[host] = '\0';
	if (host == 0 || (bracket && (at >= n || p[at] != ']')))
		return 0;
	return at + bracket;
}

/* ":" port at p[0..n), all of it. 0 or -1. */
static int parse_port(struct proxy_http *h, const char *p, size_t n)
{
	uint32_t port = 0;

	if (n < 2 || n > 6 || p[0] != ':')
		return -1;
	for (size_t i = 1; i < n; i++) {
		if (p[i] < '0' || p[i] > '9')
			return -1;
		port = port * 10 + (uint32_t)(p[i] - '0');
	}
	if (port == 0 || port > 65535)
		return -1;
	h->port = (uint16_t)port;
	return 0;
}

static enum proxy_http_status parse_authority(struct proxy_http *h, const char *p, size_t n,
					      int port_needed)
{
	size_t used = parse_host(h, p, n);

	if (used == 0)
		return PROXY_HTTP_BAD;
	if (used == n && !port_needed)
		return PROXY_HTTP_DONE;
	return parse_port(h, p + used, n - used) < 0 ? PROXY_HTTP_BAD : PROXY_HTTP_DONE;
}

static enum proxy_http_status parse_absolute(struct proxy_http *h, const char *p, size_t n)
{
	size_t at, authority = 0;

	if (n > 0 && (p[0] == '/' || p[0] == '*'))
		return PROXY_HTTP_NOT_PROXY;
	for (at = 0; at + 3 <= n && memcmp(p + at, "://", 3) != 0; at++)
		;
	if (at + 3 > n)
		return PROXY_HTTP_BAD;
	if (at != 4 || strncasecmp(p, "http", 4) != 0)
		return PROXY_HTTP_SCHEME;
	at += 3;
	while (at + authority < n && !strchr("/?#", p[at + authority]))
		authority++;
	h->port = 80;
	h->path_at = (size_t)(p - h->head) + at + authority;
	h->path_bytes = n - at - authority;
	return parse_authority(h, p + at, authority, 0);
}

/* The request line is p[0..n), without its line end. */
static enum proxy_http_status parse_line(struct proxy_http *h, const char *p, size_t n)
{
	size_t method = 0, target;

	while (method < n && is_token_char(p[method]))
		method++;
	if (method == 0 || n < method + 11 || p[method] != ' ' ||
	    memcmp(p + n - 9, " HTTP/1.", 8) != 0 || p[n - 1] < '0' || p[n - 1] > '9')
		return PROXY_HTTP_BAD;
	h->method_bytes = method;
	target = n - 9 - (method + 1);
	for (size_t i = 0; i < target; i++) {
		if ((unsigned char)p[method + 1 + i] <= ' ' || p[method + 1 + i] == 0x7f)
			return PROXY_HTTP_BAD;
	}
	h->minor = p[n - 1];
	h->is_connect = method == 7 && memcmp(p, "CONNECT", 7) == 0;
	if (h->is_connect)
		return parse_authority(h, p + method + 1, target, 1);
	return parse_absolute(h, p + method + 1, target);
}

/* The next line of the head from at: its length without line end; *next is where the one after begins. */
static size_t line_at(const struct proxy_http *h, size_t at, size_t *next)
{
	const char *end = memchr(h->head + at, '\n', h->head_bytes - at);
	size_t n = end ? (size_t)(end - (h->head + at)) : h->head_bytes - at;

	*next = at + n + (end != NULL);
	return n > 0 && h->head[at + n - 1] == '\r' ? n - 1 : n;
}

/* name ":" value. 0 or -1. */
static int check_field(const char *p, size_t n)
{
	size_t name = 0;

	while (name < n && is_token_char(p[name]))
		name++;
	if (name == 0 || name == n || p[name] != ':')
		return -1;
	for (size_t i = name + 1; i < n; i++) {
		if (((unsigned char)p[i] < ' ' && p[i] != '\t') || p[i] == 0x7f)
			return -1;
	}
	return 0;
}

static enum proxy_http_status parse_head(struct proxy_http *h)
{
	size_t at, next;
	size_t n = line_at(h, 0, &next);
	enum proxy_http_status st = parse_line(h, h->head, n);

	if (st != PROXY_HTTP_DONE)
		return st;
	h->fields_at = next;
	for (at = next; (n = line_at(h, at, &next)) > 0; at = next) {
		if (check_field(h->head + at, n) < 0)
			return PROXY_HTTP_BAD;
	}
	return PROXY_HTTP_DONE;
}

enum proxy_http_status proxy_http_push(struct proxy_http *h, const char *p, size_t n, size_t *used)
{
	for (*used = 0; *used < n;) {
		char c = p[(*used)++];

		if (c == '\0')
			return h->status = PROXY_HTTP_BAD;
		/* Empty lines before a request are passed over (RFC 9112, 2.2). */
		if (h->head_bytes == 0 && (c == '\r' || c == '\n'))
			continue;
		/* c belongs to the head; a head that is full without an end is too long. */
		if (h->head_bytes == sizeof(h->head))
			return h->status = PROXY_HTTP_TOO_LONG;
		h->head[h->head_bytes++] = c;
		if (c == '\n' && (h->head_bytes < 2 || h->head[h->head_bytes - 2] != '\r'))
			return h->status = PROXY_HTTP_BAD;
		if (c == '\n' && h->line_chars == 0)
			return h->status = parse_head(h);
		if (c == '\n')
			h->line_chars = 0;
		else if (c != '\r')
			h->line_chars++;
	}
	return PROXY_HTTP_MORE;
}

/* A buffer that stops taking when it is full. */
struct out {
	char *p;
	size_t n, cap;
	int full;
};

static void put(struct out *o, const char *p, size_t n)
{
	if (o->full || n > o->cap - o->n) {
		o->full = 1;
		return;
	}
	memcpy(o->p + o->n, p, n);
	o->n += n;
}

static void puts_out(struct out *o, const char *s)
{
	put(o, s, strlen(s));
}

static size_t name_bytes(const char *p, size_t n)
{
	const char *colon = memchr(p, ':', n);

	return colon ? (size_t)(colon - p) : 0;
}

/* Is name[0..n) in the comma list of some Connection field? */
static int named_by_connection(const struct proxy_http *h, const char *name, size_t n)
{
	size_t at, next, line;

	for (at = h->fields_at; (line = line_at(h, at, &next)) > 0; at = next) {
		const char *p = h->head + at;
		size_t i = name_bytes(p, line) + 1;

		if (i != 11 || strncasecmp(p, "connection", 10) != 0)
			continue;
		while (i < line) {
			size_t begin, bytes = 0;

			while (i < line && strchr(" \t,", p[i]))
				i++;
			begin = i;
			while (i < line && !strchr(" \t,", p[i])) {
				i++;
				bytes++;
			}
			if (bytes == n && strncasecmp(p + begin, name, n) == 0)
				return 1;
		}
	}
	return 0;
}

static int is_left_out(const struct proxy_http *h, const char *name, size_t n)
{
	for (size_t i = 0; i < sizeof(hop_fields) / sizeof(hop_fields[0]); i++) {
		if (strlen(hop_fields[i]) == n && strncasecmp(hop_fields[i], name, n) == 0)
			return 1;
	}
	if (n == 4 && strncasecmp(name, "host", 4) == 0)
		return 1; /* the address counts, not what the client says there */
	/* What frames the body must stay, whatever Connection says. */
	if ((n == 17 && strncasecmp(name, "transfer-encoding", 17) == 0) ||
	    (n == 14 && strncasecmp(name, "content-length", 14) == 0))
		return 0;
	return named_by_connection(h, name, n);
}

size_t proxy_http_rewrite(const struct proxy_http *h, char *out, size_t cap)
{
	struct out o = { .p = out, .cap = cap };
	const char *bracket = strchr(h->host, ':') ? "[" : "";
	size_t at, next, n, path = h->path_bytes;
	char port[8];

	for (size_t i = 0; i < path; i++) {
		if (h->head[h->path_at + i] == '#') /* a fragment is not sent */
			path = i;
	}
	put(&o, h->head, h->method_bytes);
	puts_out(&o, " ");
	if (path == 0 || h->head[h->path_at] != '/')
		puts_out(&o, h->method_bytes == 7 && path == 0 && memcmp(h->head, "OPTIONS", 7) == 0 ?
			 "*" : "/");
	put(&o, h->head + h->path_at, path);
	puts_out(&o, " HTTP/1.");
	put(&o, &h->minor, 1);
	puts_out(&o, "\r\nHost: ");
	puts_out(&o, bracket);
	puts_out(&o, h->host);
	puts_out(&o, *bracket ? "]" : "");
	snprintf(port, sizeof(port), ":%u", (unsigned)h->port);
	puts_out(&o, h->port == 80 ? "\r\n" : port);
	puts_out(&o, h->port == 80 ? "" : "\r\n");
	for (at = h->fields_at; (n = line_at(h, at, &next)) > 0; at = next) {
		if (is_left_out(h, h->head + at, name_bytes(h->head + at, n)))
			continue;
		put(&o, h->head + at, n);
		puts_out(&o, "\r\n");
	}
	puts_out(&o, "Connection: close\r\n\r\n");
	return o.full ? 0 : o.n;
}

static const char *reason_of(int status)
{
	switch (status) {
	case 400: return "Bad Request";
	case 403: return "Forbidden";
	case 408: return "Request Timeout";
	case 431: return "Request Header Fields Too Large";
	case 501: return "Not Implemented";
	case 502: return "Bad Gateway";
	case 503: return "Service Unavailable";
	case 504: return "Gateway Timeout";
	default: return "Error";
	}
}

size_t proxy_http_answer(int status, const char *sentence, size_t n, char *out, size_t cap)
{
	struct out o = { .p = out, .cap = cap };
	char line[96];

	snprintf(line, sizeof(line), "HTTP/1.1 %d %s\r\nX-Kiln-Refused: ", status, reason_of(status));
	puts_out(&o, line);
	for (size_t i = 0; i < n; i++)
		put(&o, (unsigned char)sentence[i] < ' ' || sentence[i] == 0x7f ? " " : sentence + i, 1);
	snprintf(line, sizeof(line), "\r\nContent-Type: text/plain; charset=utf-8\r\n"
		 "Content-Length: %zu\r\n", n + 1);
	puts_out(&o, line);
	puts_out(&o, "Connection: close\r\n\r\n");
	put(&o, sentence, n);
	puts_out(&o, "\n");
	return o.full ? 0 : o.n;
}
