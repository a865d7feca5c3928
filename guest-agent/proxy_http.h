/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proxy_http.h - the head of a request to an HTTP proxy: parsing and rewriting. Pure: no I/O.
 * RFC 9112 (sections 2 to 5), RFC 9110 section 7.6.1 and 9.3.6.
 */
#ifndef KILN_AGENT_PROXY_HTTP_H
#define KILN_AGENT_PROXY_HTTP_H

#include <stddef.h>
#include <stdint.h>

#define PROXY_HTTP_HEAD_BYTES 16384u /* of a request's head, the empty line included */
#define PROXY_HTTP_HOST_BYTES 256u   /* with NUL: 255 is the protocol's limit */

enum proxy_http_status {
	PROXY_HTTP_MORE = 0,  /* the head is not whole: push more */
	PROXY_HTTP_DONE,      /* the fields below are filled */
	PROXY_HTTP_BAD,       /* not HTTP/1.x, or something in it is not allowed: 400 */
	PROXY_HTTP_TOO_LONG,  /* above PROXY_HTTP_HEAD_BYTES: 431 */
	PROXY_HTTP_NOT_PROXY, /* a request to a web server, which this is not: 400 */
	PROXY_HTTP_SCHEME     /* an absolute address that is not http: 501 */
};

struct proxy_http {
	enum proxy_http_status status;
	int is_connect;
	char minor; /* digit of HTTP/1.x: the server must not answer with what the client lacks */
	uint16_t port;
	char host[PROXY_HTTP_HOST_BYTES]; /* lower case not forced; IPv6 without brackets */
	/* Where in head[] the parts of the request line are. */
	size_t method_bytes, path_at, path_bytes, fields_at;
	size_t head_bytes, line_chars; /* filled so far; characters of the current line */
	char head[PROXY_HTTP_HEAD_BYTES];
};

void proxy_http_init(struct proxy_http *h);

/*
 * Feed n bytes; may be cut anywhere. *used gets how many belong to the head: those after it
 * are the client's next bytes. Not to be called again after anything but PROXY_HTTP_MORE.
 */
enum proxy_http_status proxy_http_push(struct proxy_http *h, const char *p, size_t n, size_t *used);

/*
 * Write the head of the request as it goes to the server: origin-form, Host of the address,
 * without hop-by-hop fields, Connection: close. Not for CONNECT. cap of
 * PROXY_HTTP_HEAD_BYTES + PROXY_HTTP_HOST_BYTES + 64 is always enough. Returns the length, or 0
 * when cap is too small.
 */
size_t proxy_http_rewrite(const struct proxy_http *h, char *out, size_t cap);

/*
 * Write an answer of the proxy itself: status line, X-Kiln-Refused (the sentence cleaned to one
 * line), a text body with the sentence, Connection: close. Returns the length; cap of 4096 is
 * always enough for the 1024 bytes of a sentence.
 */
size_t proxy_http_answer(int status, const char *sentence, size_t n, char *out, size_t cap);

#endif
