/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dialer.c - resolves and connects for the guest, after judging; one poll loop.
 *
 * Owns the resolver, the sockets under way, and a fixed table of requests, which callbacks
 * name by slot and generation. Judging is egress.c's. A request:
 *
 *	judge the name -> RESOLVING -> judge each address -> CONNECTING -> reply
 *
 * with a reply and the end of the request from any of them. What is connected to is the
 * very address that was judged. After start it must not open a file.
 */
#include "dialer.h"

#include <ares.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "dialer_hosts.h"
#include "egress.h"
#include "link.h"
#include "lockdown.h"
#include "log.h"

#define QUERY_MS    3000
#define QUERY_TRIES 3
#define POLLS_MAX   (1 + ARES_GETSOCK_MAXNUM + DIALER_REQUESTS_MAX * DIALER_ADDRESSES_MAX)

enum dial_state { DIAL_FREE, DIAL_RESOLVING, DIAL_CONNECTING };

struct dial {
	enum dial_state state;
	uint32_t gen, id;
	uint16_t port;
	char host[EGRESS_HOST_BYTES];
	struct egress_judgement judgement;
	uint64_t deadline_ms, next_ms;              /* next_ms: when the next address is tried */
	unsigned addresses, tried;
	struct in6_addr address[DIALER_ADDRESSES_MAX];
	int fd[DIALER_ADDRESSES_MAX];               /* under way, or -1 */
	int error;                                  /* errno of the last that failed */
};

struct dialer {
	const struct supjob *job;
	int conduit_fd, quit;
	struct egress *egress;
	struct hosts *hosts;
	ares_channel ares;
	uint64_t now_ms;
	struct dial dials[DIALER_REQUESTS_MAX];
	struct pollfd polls[POLLS_MAX];
	uint16_t owner[POLLS_MAX];                  /* slot * DIALER_ADDRESSES_MAX + address */
};

static void end_dial(struct dial *d)
{
	for (unsigned i = 0; i < DIALER_ADDRESSES_MAX; i++) {
		if (d->fd[i] >= 0)
			close(d->fd[i]);
		d->fd[i] = -1;
	}
	d->state = DIAL_FREE;
	d->gen++;
}

/* The answer, with descriptor fd (or -1) riding along, and the end of the request. */
static void reply(struct dialer *r, struct dial *d, enum dial_verdict verdict,
		  const struct in6_addr *address, const char *text, int fd)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct dial_reply out = { .id = d->id, .verdict = (uint8_t)verdict,
				  .audited = (uint8_t)d->judgement.audited };
	struct iovec iov = { &out, sizeof(out) };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *h;

	snprintf(out.rule, sizeof(out.rule), "%s", d->judgement.rule);
	snprintf(out.text, sizeof(out.text), "%s", text);
	if (address)
		egress_addr_text(address, out.address);
	if (fd >= 0) {
		m.msg_control = &control;
		m.msg_controllen = sizeof(control);
		h = CMSG_FIRSTHDR(&m);
		h->cmsg_level = SOL_SOCKET;
		h->cmsg_type = SCM_RIGHTS;
		h->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(h), &fd, sizeof(int));
	}
	sendmsg(r->conduit_fd, &m, MSG_NOSIGNAL);
	end_dial(d);
}

static void fail(struct dialer *r, struct dial *d, enum dial_verdict verdict, const char *why)
{
	char text[320];
	const struct in6_addr *last = d->tried ? &d->address[d->tried - 1] : NULL;

	snprintf(text, sizeof(text), "cannot %s %.200s:%u: %.80s",
		 verdict == DIAL_RESOLVE ? "resolve" : "connect to", d->host, d->port, why);
	reply(r, d, verdict, last, text, -1);
}

/* Start the next address. Returns 0 when one is under way or connected at once. */
static int try_next(struct dialer *r, struct dial *d)
{
	while (d->tried < d->addresses) {
		unsigned i = d->tried++;
		struct sockaddr_storage to;
		socklen_t n = egress_addr_sockaddr(&d->address[i], d->port, &to);
		int one = 1;
		int fd = socket(to.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

		d->next_ms = r->now_ms + DIALER_STAGGER_MS;
		if (fd >= 0 && (connect(fd, (struct sockaddr *)&to, n) == 0 ||
				errno == EINPROGRESS)) {
			setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
			d->fd[i] = fd;
			return 0;
		}
		d->error = errno;
		if (fd >= 0)
			close(fd);
	}
	d->next_ms = 0;
	return -1;
}

static int any_under_way(const struct dial *d)
{
	for (unsigned i = 0; i < d->addresses; i++)
		if (d->fd[i] >= 0)
			return 1;
	return 0;
}

/* Addresses are known: keep those that may be connected to, and begin. */
static void connect_to(struct dialer *r, struct dial *d, const struct in6_addr *list, unsigned n)
{
	struct egress_judgement judged = d->judgement, refused = { 0 };
	struct in6_addr last = { 0 };

	for (unsigned i = 0; i < n && d->addresses < DIALER_ADDRESSES_MAX; i++) {
		struct egress_judgement j = d->judgement;

		if (egress_judge_address(r->egress, d->host, &list[i], d->port, &j)) {
			d->address[d->addresses++] = list[i];
			judged = j;
		} else {
			refused = j;
			last = list[i];
		}
	}
	if (d->addresses == 0 && refused.text[0]) {
		d->judgement = refused;
		reply(r, d, DIAL_POLICY, &last, refused.text, -1);
		return;
	}
	d->judgement = judged;
	if (d->addresses == 0) {
		fail(r, d, DIAL_RESOLVE, "it has no address");
		return;
	}
	d->state = DIAL_CONNECTING;
	if (try_next(r, d) < 0)
		fail(r, d, DIAL_CONNECT, strerror(d->error));
}

/* c-ares: arg is slot and generation, as the request may be over by now. */
struct ares_arg {
	struct dialer *r;
	unsigned slot;
	uint32_t gen;
};

static void on_resolved(void *ptr, int status, int timeouts, struct ares_addrinfo *res)
{
	struct ares_arg arg = *(struct ares_arg *)ptr;
	struct dial *d = &arg.r->dials[arg.slot];
	struct in6_addr list[DIALER_ADDRESSES_MAX * 4];
	unsigned n = 0;

	(void)timeouts;
	free(ptr);
	for (struct ares_addrinfo_node *a = res ? res->nodes : NULL; a; a = a->ai_next) {
		char text[EGRESS_ADDR_TEXT];
		const void *raw = a->ai_family == AF_INET ?
			(const void *)&((struct sockaddr_in *)a->ai_addr)->sin_addr :
			(const void *)&((struct sockaddr_in6 *)a->ai_addr)->sin6_addr;

		if (n < sizeof(list) / sizeof(list[0]) &&
		    ares_inet_ntop(a->ai_family, raw, text, sizeof(text)) &&
		    egress_addr_parse(text, &list[n]) == 0)
			n++;
	}
	if (res)
		ares_freeaddrinfo(res);
	if (status == ARES_EDESTRUCTION || d->gen != arg.gen || d->state != DIAL_RESOLVING)
		return;
	if (status != ARES_SUCCESS)
		fail(arg.r, d, DIAL_RESOLVE, ares_strerror(status));
	else
		connect_to(arg.r, d, list, n);
}

static void resolve(struct dialer *r, struct dial *d)
{
	const struct ares_addrinfo_hints hints = { .ai_family = AF_UNSPEC,
						   .ai_socktype = SOCK_STREAM,
						   .ai_flags = ARES_AI_NOSORT };
	struct in6_addr list[DIALER_ADDRESSES_MAX];
	struct ares_arg *arg;
	unsigned n = 1;

	d->state = DIAL_RESOLVING;
	if (egress_addr_parse(d->host, &list[0]) < 0)
		n = hosts_find(r->hosts, d->host, list, DIALER_ADDRESSES_MAX);
	if (n) {
		connect_to(r, d, list, n);
		return;
	}
	arg = malloc(sizeof(*arg));
	if (!arg) {
		fail(r, d, DIAL_RESOLVE, "no memory");
		return;
	}
	*arg = (struct ares_arg){ r, (unsigned)(d - r->dials), d->gen };
	ares_getaddrinfo(r->ares, d->host, NULL, &hints, on_resolved, arg);
}

static void begin(struct dialer *r, const struct dial_request *req)
{
	struct dial *d = NULL;

	for (unsigned i = 0; i < DIALER_REQUESTS_MAX && !d; i++)
		if (r->dials[i].state == DIAL_FREE)
			d = &r->dials[i];
	if (!d)
		return; /* not reached: the loop reads requests only while there is room */
	d->id = req->id;
	d->port = req->port;
	d->addresses = d->tried = 0;
	d->next_ms = 0;
	d->deadline_ms = r->now_ms + DIALER_DEADLINE_MS;
	memset(&d->judgement, 0, sizeof(d->judgement));
	if (egress_host(req->host, d->host) < 0) {
		snprintf(d->judgement.rule, sizeof(d->judgement.rule), "not a host name");
		reply(r, d, DIAL_POLICY, NULL, "a name that is neither a host name nor an address",
		      -1);
	} else if (!egress_judge_name(r->egress, d->host, d->port, req->cloning, &d->judgement)) {
		reply(r, d, DIAL_POLICY, NULL, d->judgement.text, -1);
	} else {
		resolve(r, d);
	}
}

static void on_request(struct dialer *r)
{
	struct dial_request req;
	ssize_t n = recv(r->conduit_fd, &req, sizeof(req), MSG_DONTWAIT);

	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		r->quit = 1;
	if (n != (ssize_t)sizeof(req))
		return;
	req.host[sizeof(req.host) - 1] = '\0';
	begin(r, &req);
}

/* A connect has ended, one way or the other. */
static void on_connect(struct dialer *r, struct dial *d, unsigned i)
{
	socklen_t n = sizeof(d->error);
	int error = 0, fd = d->fd[i];

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &n) < 0)
		error = errno;
	if (error == 0) {
		reply(r, d, DIAL_OK, &d->address[i], "", fd);
		return;
	}
	d->error = error;
	close(fd);
	d->fd[i] = -1;
	if (try_next(r, d) < 0 && !any_under_way(d))
		fail(r, d, DIAL_CONNECT, strerror(d->error));
}

static void timers(struct dialer *r)
{
	for (unsigned i = 0; i < DIALER_REQUESTS_MAX; i++) {
		struct dial *d = &r->dials[i];

		if (d->state == DIAL_FREE)
			continue;
		if (r->now_ms >= d->deadline_ms)
			fail(r, d, d->state == DIAL_RESOLVING ? DIAL_RESOLVE : DIAL_CONNECT,
			     "no answer within 10 s");
		else if (d->state == DIAL_CONNECTING && d->next_ms && r->now_ms >= d->next_ms)
			try_next(r, d);
	}
}

static int earlier(int ms, uint64_t due, uint64_t now)
{
	int left = due <= now ? 0 : (int)(due - now);

	return ms < 0 || left < ms ? left : ms;
}

/* Fill polls; returns their number. *ms: how long to wait. */
static unsigned collect(struct dialer *r, unsigned *ares_first, unsigned *dial_first, int *ms)
{
	ares_socket_t socks[ARES_GETSOCK_MAXNUM];
	/* Low half: readable, high half: writable. c-ares' own macros shift a signed 1 by 31. */
	unsigned bits = (unsigned)ares_getsock(r->ares, socks, ARES_GETSOCK_MAXNUM);
	struct timeval tv, *next = ares_timeout(r->ares, NULL, &tv);
	unsigned n = 1, busy = 0;

	*ms = next ? (int)(next->tv_sec * 1000 + next->tv_usec / 1000 + 1) : -1;
	*ares_first = n;
	for (unsigned i = 0; i < ARES_GETSOCK_MAXNUM; i++) {
		short events = (short)((bits >> i & 1 ? POLLIN : 0) |
				       (bits >> (i + ARES_GETSOCK_MAXNUM) & 1 ? POLLOUT : 0));

		if (events)
			r->polls[n++] = (struct pollfd){ .fd = socks[i], .events = events };
	}
	*dial_first = n;
	for (unsigned i = 0; i < DIALER_REQUESTS_MAX; i++) {
		struct dial *d = &r->dials[i];

		if (d->state == DIAL_FREE)
			continue;
		busy++;
		*ms = earlier(*ms, d->deadline_ms, r->now_ms);
		if (d->state == DIAL_CONNECTING && d->next_ms)
			*ms = earlier(*ms, d->next_ms, r->now_ms);
		for (unsigned k = 0; k < d->addresses; k++) {
			if (d->state != DIAL_CONNECTING || d->fd[k] < 0)
				continue;
			r->owner[n] = (uint16_t)(i * DIALER_ADDRESSES_MAX + k);
			r->polls[n++] = (struct pollfd){ .fd = d->fd[k], .events = POLLOUT };
		}
	}
	r->polls[0] = (struct pollfd){ .fd = r->conduit_fd,
				       .events = busy < DIALER_REQUESTS_MAX ? POLLIN : 0 };
	return n;
}

static void turn(struct dialer *r)
{
	unsigned ares_first, dial_first;
	int ms;
	unsigned n = collect(r, &ares_first, &dial_first, &ms);

	if (poll(r->polls, n, ms) < 0 && errno != EINTR)
		r->quit = 1;
	r->now_ms = clock_mono_ms();
	for (unsigned i = dial_first; i < n; i++) {
		struct dial *d = &r->dials[r->owner[i] / DIALER_ADDRESSES_MAX];
		unsigned k = r->owner[i] % DIALER_ADDRESSES_MAX;

		if (r->polls[i].revents && d->state == DIAL_CONNECTING &&
		    d->fd[k] == r->polls[i].fd)
			on_connect(r, d, k);
	}
	for (unsigned i = ares_first; i < dial_first; i++)
		if (r->polls[i].revents)
			ares_process_fd(r->ares,
					r->polls[i].revents & ~POLLOUT ? r->polls[i].fd : ARES_SOCKET_BAD,
					r->polls[i].revents & POLLOUT ? r->polls[i].fd : ARES_SOCKET_BAD);
	ares_process_fd(r->ares, ARES_SOCKET_BAD, ARES_SOCKET_BAD); /* its timeouts */
	timers(r);
	if (r->polls[0].revents)
		on_request(r);
}

static int set_up(struct dialer *r, struct err *e)
{
	char lookups[] = "b"; /* DNS; the hosts file is ours */
	struct ares_options options = { .flags = ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES,
					.timeout = QUERY_MS, .tries = QUERY_TRIES,
					.lookups = lookups };
	int rc;

	if (egress_new(&r->egress, &r->job->egress, &r->job->repo, e) < 0 ||
	    hosts_load(&r->hosts, "/etc/hosts", e) < 0)
		return -1;
	rc = ares_library_init(ARES_LIB_INIT_ALL);
	if (rc == ARES_SUCCESS)
		rc = ares_init_options(&r->ares, &options, ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS |
				       ARES_OPT_TRIES | ARES_OPT_LOOKUPS);
	if (rc != ARES_SUCCESS)
		return err_set(e, "internal", "the resolver: %s", ares_strerror(rc));
	return 0;
}

int dialer_run(const struct supjob *job, int conduit_fd)
{
	struct dialer *r = calloc(1, sizeof(*r));
	const struct sigaction ignore = { .sa_handler = SIG_IGN };
	struct lockdown_facts facts;
	struct err e = { 0 };

	sigaction(SIGPIPE, &ignore, NULL);
	if (!r)
		return 1;
	r->job = job;
	r->conduit_fd = conduit_fd;
	for (unsigned i = 0; i < DIALER_REQUESTS_MAX; i++)
		memset(r->dials[i].fd, 0xff, sizeof(r->dials[i].fd));
	if (set_up(r, &e) < 0 || lockdown_enter(LOCKDOWN_DIALER, -1, &facts, &e) < 0) {
		log_line(LOG_LEVEL_ERROR, job->build_id, "dialer: %s", e.text);
		return 1;
	}
	r->now_ms = clock_mono_ms();
	while (!r->quit)
		turn(r);
	return 0;
}
