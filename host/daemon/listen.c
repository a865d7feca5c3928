/* SPDX-License-Identifier: Apache-2.0 */
/* listen.c - the sockets kilnd listens on. Owns nothing; see unix(7), ip(7). */
#include "listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "cleanup.h"

#define BACKLOG 1024

/* Does somebody answer? A socket file stays behind when its process is killed. */
static int answers(const struct sockaddr_un *a)
{
	_cleanup_fd_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	return fd >= 0 && (connect(fd, (const struct sockaddr *)a, sizeof(*a)) == 0 || errno == EAGAIN);
}

static void give_to_group(const char *path)
{
	struct group *g = getgrnam("kiln");

	/* Not root and not in the group: the owner alone can use it, which is all it can mean. */
	if (g && chown(path, (uid_t)-1, g->gr_gid) < 0)
		return;
}

int listen_unix(const char *path, int *out, struct err *e)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	_cleanup_fd_ int fd = -1;
	struct stat st;
	mode_t was;
	int rc;

	if (strlen(path) >= sizeof(a.sun_path))
		return err_field(e, "config", "socket", "the socket path %s is longer than %zu bytes: set "
				 "socket to a shorter one", path, sizeof(a.sun_path) - 1);
	memcpy(a.sun_path, path, strlen(path) + 1);
	if (lstat(path, &st) == 0) {
		if (!S_ISSOCK(st.st_mode))
			return err_field(e, "config", "socket", "%s exists and is no socket: remove it or set "
					 "socket to another path", path);
		if (answers(&a))
			return err_field(e, "in_use", "socket", "kilnd is already running: something answers on "
					 "%s", path);
		unlink(path);
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_errno(e, "io", "cannot make a socket");
	was = umask(0117);
	rc = bind(fd, (struct sockaddr *)&a, sizeof(a));
	umask(was);
	if (rc < 0)
		return err_errno(e, "io", "cannot listen on %s", path);
	give_to_group(path);
	if (listen(fd, BACKLOG) < 0)
		return err_errno(e, "io", "cannot listen on %s", path);
	*out = take_fd(&fd);
	return 0;
}

int listen_is_loopback(const struct addrinfo *ai)
{
	const struct sockaddr *sa = ai->ai_addr;

	if (sa->sa_family == AF_INET)
		return ntohl(((const struct sockaddr_in *)sa)->sin_addr.s_addr) >> 24 == 127;
	return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)sa)->sin6_addr);
}

static int bind_to(const struct addrinfo *ai, const char *host, int64_t port, int *out, struct err *e)
{
	_cleanup_fd_ int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int one = 1;

	if (fd < 0)
		return err_errno(e, "io", "cannot make a socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, ai->ai_addr, ai->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0) {
		if (errno == EADDRINUSE)
			return err_field(e, "in_use", "port", "port %lld of %s is in use by another program: stop "
					 "it, or choose another with --port", (long long)port, host);
		return err_errno(e, "io", "cannot listen on %s port %lld", host, (long long)port);
	}
	*out = take_fd(&fd);
	return 0;
}

int listen_resolve(const char *host, int64_t port, struct addrinfo **ai, struct err *e)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV };
	char text[32];
	int rc;

	snprintf(text, sizeof(text), "%lld", (long long)port);
	rc = getaddrinfo(host, text, &hints, ai);
	if (rc != 0)
		return err_field(e, "config", "host", "host %s: %s", host, gai_strerror(rc));
	return 0;
}

int listen_tcp(const struct addrinfo *ai, const char *host, int64_t port, int *fd, char *what,
	       size_t what_cap, struct err *e)
{
	struct sockaddr_storage ss;
	socklen_t n = sizeof(ss);
	char name[NI_MAXHOST] = "", serv[NI_MAXSERV] = "";

	if (bind_to(ai, host, port, fd, e) < 0)
		return -1;
	if (what && getsockname(*fd, (struct sockaddr *)&ss, &n) == 0 &&
	    getnameinfo((struct sockaddr *)&ss, n, name, sizeof(name), serv, sizeof(serv),
			NI_NUMERICHOST | NI_NUMERICSERV) == 0)
		snprintf(what, what_cap, strchr(name, ':') ? "[%s]:%s" : "%s:%s", name, serv);
	return 0;
}

void listen_local_name(int fd, char *name, size_t cap)
{
	struct sockaddr_storage ss;
	socklen_t n = sizeof(ss);

	*name = '\0';
	if (getsockname(fd, (struct sockaddr *)&ss, &n) < 0 || ss.ss_family == AF_UNIX)
		return;
	if (getnameinfo((struct sockaddr *)&ss, n, name, (socklen_t)cap, NULL, 0, NI_NUMERICHOST) != 0)
		*name = '\0';
	if (strncmp(name, "::ffff:", 7) == 0)
		memmove(name, name + 7, strlen(name + 7) + 1);
}
