/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ctl.h - builds/<id>/ctl: cancel and kill from outside (docs/build-directory.md).
 *
 * One JSON line a request, one line back. Only root, the supervisor's own uid and the owner
 * of the build directory are listened to.
 */
#ifndef KILN_CTL_H
#define KILN_CTL_H

#include <poll.h>
#include <stdint.h>
#include <sys/types.h>

#include "err.h"

#define CTL_CLIENTS    4
#define CTL_LINE_BYTES 512
#define CTL_CLIENT_TIMEOUT_MS 5000

enum ctl_command { CTL_NONE, CTL_CANCEL, CTL_KILL };

struct ctl_client {
	int fd; /* -1: free */
	uint64_t until_ms;
	size_t used;
	char line[CTL_LINE_BYTES];
};

struct ctl {
	int listen_fd; /* -1: none */
	uid_t owner;
	struct ctl_client client[CTL_CLIENTS];
};

/* Listen on `ctl` below dir_fd. owner: uid of the caller. Code "host". */
int ctl_open(struct ctl *c, int dir_fd, uid_t owner, struct err *e);

/* Fill p[0..CTL_CLIENTS] with what to wait for; unused entries have fd -1. */
void ctl_poll(const struct ctl *c, struct pollfd p[CTL_CLIENTS + 1]);

/* When the slowest client is given up, or UINT64_MAX. */
uint64_t ctl_deadline_ms(const struct ctl *c);

/*
 * Serve what is ready; never blocks. Returns the strongest command that came. The answer
 * has been sent: both commands always succeed.
 */
enum ctl_command ctl_serve(struct ctl *c, uint64_t now_ms);

void ctl_close(struct ctl *c);

#endif
