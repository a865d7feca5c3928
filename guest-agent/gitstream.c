/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gitstream.c - a libgit2 stream over a CONNECT tunnel of the proxy on 127.0.0.1.
 *
 * Owns its socket. Resolves no name and connects to nothing but the proxy.
 */
#include "gitstream.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <git2.h>
#include <git2/sys/errors.h>
#include <git2/sys/stream.h>

#define HEAD_BYTES 4096u /* of the proxy's answer */
#define HOME_BYTES 300u

struct gitstream {
	git_stream parent; /* first: libgit2 knows this part */
	int fd;
	char *host, *port;
};

/* One process clones one thing at a time; libgit2 hands its callbacks no context. */
static uint16_t proxy_port;
static struct gitstream_refusal refusal;
static int staying;
static char home[HOME_BYTES]; /* "host:port" to stay at, "" before the first connect */

static int fail(const char *what)
{
	char text[GITSTREAM_TEXT_BYTES];

	snprintf(text, sizeof(text), "%s: %s", what, strerror(errno));
	git_error_set_str(GIT_ERROR_NET, text);
	return -1;
}

static int send_all(int fd, const char *p, size_t n)
{
	while (n > 0) {
		ssize_t sent = send(fd, p, n, MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			return -1;
		p += sent;
		n -= (size_t)sent;
	}
	return 0;
}

static ssize_t receive(int fd, void *p, size_t n)
{
	ssize_t got;

	do {
		got = recv(fd, p, n, 0);
	} while (got < 0 && errno == EINTR);
	return got;
}

static int dial(void)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(proxy_port),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int one = 1;

	if (fd < 0)
		return -1;
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0) {
		close(fd);
		return -1;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)); /* only a matter of speed */
	return fd;
}

static int say_connect(int fd, const char *host, const char *port)
{
	char head[2 * 256 + 128];
	const char *open = strchr(host, ':') ? "[" : "", *close = *open ? "]" : "";
	int n = snprintf(head, sizeof(head), "CONNECT %s%s%s:%s HTTP/1.1\r\nHost: %s%s%s:%s\r\n\r\n",
			 open, host, close, port, open, host, close, port);

	if (n < 0 || (size_t)n >= sizeof(head)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	return send_all(fd, head, (size_t)n);
}

/*
 * The head of the answer, up to its empty line and not a byte further: what follows is the
 * server's. It is short and comes once a connection, so single bytes do.
 */
static int read_head(int fd, char *head, size_t cap)
{
	size_t n = 0;

	while (n + 1 < cap) {
		ssize_t got = receive(fd, head + n, 1);

		if (got == 0)
			errno = ECONNRESET;
		if (got <= 0)
			return -1;
		head[++n] = '\0';
		if (n >= 4 && memcmp(head + n - 4, "\r\n\r\n", 4) == 0)
			return 0;
	}
	errno = EMSGSIZE;
	return -1;
}

static void read_refusal(int fd, int status)
{
	size_t n = 0;
	ssize_t got;

	while (n + 1 < sizeof(refusal.text) &&
	       (got = receive(fd, refusal.text + n, sizeof(refusal.text) - 1 - n)) > 0)
		n += (size_t)got;
	while (n > 0 && (refusal.text[n - 1] == '\n' || refusal.text[n - 1] == '\r'))
		n--;
	refusal.text[n] = '\0';
	if (n == 0)
		snprintf(refusal.text, sizeof(refusal.text), "the proxy answered %d", status);
	refusal.status = status;
	git_error_set_str(GIT_ERROR_NET, refusal.text);
}

static int may_go_to(const struct gitstream *s)
{
	char to[HOME_BYTES];

	if (!staying)
		return 1;
	snprintf(to, sizeof(to), "%.255s:%.8s", s->host, s->port);
	if (!*home)
		snprintf(home, sizeof(home), "%s", to);
	if (strcmp(home, to) == 0)
		return 1;
	snprintf(refusal.text, sizeof(refusal.text), "the server redirects to %s, and credentials are "
		 "for the repository's own host and port only: name the address that it redirects to", to);
	refusal.status = 403;
	git_error_set_str(GIT_ERROR_NET, refusal.text);
	return 0;
}

static int on_connect(git_stream *stream)
{
	struct gitstream *s = (struct gitstream *)stream;
	char head[HEAD_BYTES];
	char *rest;
	long status;

	refusal.status = 0;
	if (!may_go_to(s))
		return -1;
	s->fd = dial();
	if (s->fd < 0)
		return fail("cannot connect to the proxy in the guest");
	if (say_connect(s->fd, s->host, s->port) < 0 || read_head(s->fd, head, sizeof(head)) < 0)
		return fail("the proxy in the guest did not answer");
	status = strncmp(head, "HTTP/1.", 7) == 0 && strlen(head) > 9 ? strtol(head + 9, &rest, 10) : 0;
	if (status >= 200 && status <= 299)
		return 0;
	read_refusal(s->fd, (int)status);
	return -1;
}

static ssize_t on_read(git_stream *stream, void *p, size_t n)
{
	ssize_t got = receive(((struct gitstream *)stream)->fd, p, n);

	return got < 0 ? fail("the connection to the server broke") : got;
}

static ssize_t on_write(git_stream *stream, const char *p, size_t n, int flags)
{
	(void)flags;
	if (send_all(((struct gitstream *)stream)->fd, p, n) < 0)
		return fail("the connection to the server broke");
	return (ssize_t)n;
}

static int on_close(git_stream *stream)
{
	struct gitstream *s = (struct gitstream *)stream;

	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
	return 0;
}

static void on_free(git_stream *stream)
{
	struct gitstream *s = (struct gitstream *)stream;

	on_close(stream);
	free(s->host);
	free(s->port);
	free(s);
}

static int on_new(git_stream **out, const char *host, const char *port)
{
	struct gitstream *s = calloc(1, sizeof(*s));

	if (!s || !(s->host = strdup(host)) || !(s->port = strdup(port))) {
		if (s)
			free(s->host);
		free(s);
		git_error_set_oom();
		return -1;
	}
	s->fd = -1;
	s->parent = (git_stream){ .version = GIT_STREAM_VERSION, .connect = on_connect,
				  .read = on_read, .write = on_write, .close = on_close,
				  .free = on_free };
	*out = &s->parent;
	return 0;
}

int gitstream_register(uint16_t port)
{
	git_stream_registration r = { .version = GIT_STREAM_VERSION, .init = on_new };

	proxy_port = port;
	return git_stream_register(GIT_STREAM_STANDARD, &r);
}

void gitstream_stay(int stay)
{
	staying = stay;
	home[0] = '\0';
}

const struct gitstream_refusal *gitstream_refusal(void)
{
	return &refusal;
}
