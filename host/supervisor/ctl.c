/* SPDX-License-Identifier: Apache-2.0 */
/* ctl.c - the control socket of a build. Owns its listener and at most CTL_CLIENTS clients. */
#include "ctl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "child.h"
#include "cleanup.h"
#include "jsonx.h"
#include "listener.h"

int ctl_open(struct ctl *c, int dir_fd, uid_t owner, struct err *e)
{
	struct child_id self = { .drop = false };

	c->owner = owner;
	for (int i = 0; i < CTL_CLIENTS; i++)
		c->client[i].fd = -1;
	c->listen_fd = listener_unix(dir_fd, "ctl", self, e);
	return c->listen_fd < 0 ? -1 : 0;
}

void ctl_poll(const struct ctl *c, struct pollfd p[CTL_CLIENTS + 1])
{
	int busy = 0;

	for (int i = 0; i < CTL_CLIENTS; i++) {
		p[i] = (struct pollfd){ .fd = c->client[i].fd, .events = POLLIN };
		busy += c->client[i].fd >= 0;
	}
	p[CTL_CLIENTS] = (struct pollfd){ .fd = busy < CTL_CLIENTS ? c->listen_fd : -1,
					  .events = POLLIN };
}

uint64_t ctl_deadline_ms(const struct ctl *c)
{
	uint64_t first = UINT64_MAX;

	for (int i = 0; i < CTL_CLIENTS; i++)
		if (c->client[i].fd >= 0 && c->client[i].until_ms < first)
			first = c->client[i].until_ms;
	return first;
}

static void drop(struct ctl_client *k)
{
	close(k->fd);
	k->fd = -1;
}

static bool may_speak(const struct ctl *c, int fd)
{
	struct ucred u;
	socklen_t n = sizeof(u);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &u, &n) == 0 &&
	       (u.uid == 0 || u.uid == geteuid() || u.uid == c->owner);
}

static void take_clients(struct ctl *c, uint64_t now_ms)
{
	for (int i = 0; i < CTL_CLIENTS; i++) {
		struct ctl_client *k = &c->client[i];
		int fd;

		if (k->fd >= 0)
			continue;
		fd = accept4(c->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd < 0)
			return;
		if (!may_speak(c, fd)) {
			close(fd);
			continue;
		}
		k->fd = fd;
		k->used = 0;
		k->until_ms = now_ms + CTL_CLIENT_TIMEOUT_MS;
	}
}

static enum ctl_command parse(const char *line, size_t n, struct err *e)
{
	static const char *const known[] = { "cmd", "reason" };
	enum ctl_command cmd = CTL_NONE;
	const char *word = "";
	json_t *o = NULL;

	if (jsonx_parse_object(line, n, CTL_LINE_BYTES, &o, e) < 0)
		return CTL_NONE;
	if (jsonx_only(o, known, 2, e) < 0 || jsonx_str(o, "cmd", 32, &word, e) < 0) {
		json_decref(o);
		return CTL_NONE;
	}
	if (strcmp(word, "cancel") == 0)
		cmd = CTL_CANCEL;
	else if (strcmp(word, "kill") == 0)
		cmd = CTL_KILL;
	else
		err_set(e, "bad_value", "cmd must be cancel or kill");
	json_decref(o);
	return cmd;
}

/* One request a connection. */
static enum ctl_command read_client(struct ctl_client *k)
{
	struct err e = { .text = "" };
	char answer[ERR_TEXT_BYTES + 16];
	enum ctl_command cmd;
	const char *end;
	ssize_t n = recv(k->fd, k->line + k->used, sizeof(k->line) - k->used, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return CTL_NONE;
	if (n > 0)
		k->used += (size_t)n;
	end = memchr(k->line, '\n', k->used);
	if (!end && n > 0 && k->used < sizeof(k->line))
		return CTL_NONE;
	if (!end) {
		drop(k);
		return CTL_NONE;
	}
	cmd = parse(k->line, (size_t)(end - k->line), &e);
	if (cmd != CTL_NONE)
		snprintf(answer, sizeof(answer), "ok\n");
	else
		snprintf(answer, sizeof(answer), "error %s\n", e.text);
	send(k->fd, answer, strlen(answer), MSG_DONTWAIT | MSG_NOSIGNAL);
	drop(k);
	return cmd;
}

enum ctl_command ctl_serve(struct ctl *c, uint64_t now_ms)
{
	enum ctl_command strongest = CTL_NONE;

	if (c->listen_fd < 0)
		return CTL_NONE;
	take_clients(c, now_ms);
	for (int i = 0; i < CTL_CLIENTS; i++) {
		struct ctl_client *k = &c->client[i];
		enum ctl_command cmd;

		if (k->fd < 0)
			continue;
		cmd = read_client(k);
		if (cmd > strongest)
			strongest = cmd;
		if (k->fd >= 0 && now_ms >= k->until_ms)
			drop(k);
	}
	return strongest;
}

void ctl_close(struct ctl *c)
{
	for (int i = 0; i < CTL_CLIENTS; i++)
		if (c->client[i].fd >= 0)
			drop(&c->client[i]);
	cleanup_fd(&c->listen_fd);
	c->listen_fd = -1;
}
