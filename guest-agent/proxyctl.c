/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proxyctl.c - keeps the proxy running. Owns the listening socket, so that no connection of a
 * step is refused while a worker that died is replaced.
 */
#include "proxyctl.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent.h"
#include "loop.h"

#define PROXY_BACKLOG 128
#define PROXY_PIDS 16u
#define PROXY_STARTS_MAX 2u

static int open_listener(struct fail *f)
{
	struct sockaddr_in at = {
		.sin_family = AF_INET, .sin_port = htons(WORLD_PROXY_PORT),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int on = 1;

	if (fd < 0)
		return fail_errno(f, WIRE_CLASS_AGENT, "cannot make the proxy's socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(fd, PROXY_BACKLOG) < 0) {
		fail_errno(f, WIRE_CLASS_AGENT, "cannot listen on port %u", WORLD_PROXY_PORT);
		close(fd);
		return -1;
	}
	return fd;
}

static int start_worker(struct agent *a, struct fail *f)
{
	struct child_plan plan = {
		.name = "proxy", .main = proxy_main, .cgroup_parent_fd = a->cgroups.root_fd,
		.proc_fd = a->boot.proc_fd,
		.pids_max = PROXY_PIDS, .epoll_fd = a->core_epoll_fd, .epoll_key = LOOP_KEY_PROXY,
		.needs_secret = 1, .secret = a->link.secret,
	};

	plan.env = (struct worker_env){
		.job = a->job, .secret = a->link.secret, .send_max_bytes = a->link.send_max_bytes,
		.workspace_fd = -1, .uid = WORLD_PROXY_UID, .gid = WORLD_PROXY_UID, .home = "/",
		.ca_path = "", .build_system = "", .proxy_port = WORLD_PROXY_PORT,
		.listen_fd = a->proxy_listen_fd, .vsock_port = a->link.port,
	};
	a->proxy_starts++;
	return child_start(&a->proxy, &plan, f);
}

int proxyctl_start(struct agent *a, struct fail *f)
{
	a->proxy_listen_fd = open_listener(f);
	return a->proxy_listen_fd < 0 ? -1 : start_worker(a, f);
}

void proxyctl_ended(struct agent *a, int status)
{
	struct fail f;

	child_reaped(&a->proxy, status);
	proxyctl_reports(a);
	if (a->run.phase == RUN_RESULT)
		return;
	output_say(&a->output, &a->journal, "the proxy ended (%s %d)%s",
		   WIFSIGNALED(status) ? "signal" : "status",
		   WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status),
		   a->proxy_starts < PROXY_STARTS_MAX ? "; it is started again" : "");
	if (a->proxy_starts < PROXY_STARTS_MAX && start_worker(a, &f) < 0)
		output_say(&a->output, &a->journal, "%s", f.text);
}

void proxyctl_reports(struct agent *a)
{
	struct worker_msg msg;

	while (a->run.phase != RUN_RESULT && journal_room(&a->journal) > JOURNAL_KEEP_LINES &&
	       child_report(&a->proxy, &msg) == 1)
		if (msg.kind == WORKER_LINE || msg.kind == WORKER_FAIL)
			output_say(&a->output, &a->journal, "%s", msg.text);
}
