/* SPDX-License-Identifier: Apache-2.0 */
/*
 * launch.c - posix_spawn of a supervisor. Owns nothing. posix_spawn and not fork: kilnd has a
 * second thread; not uv_spawn: the child must live on when kilnd ends.
 */
#include "launch.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DOCUMENT_MAX (2u << 20) /* docs/build-directory.md */

extern char **environ;

static int add_fds(posix_spawn_file_actions_t *fa, int child_fd, int out_fd, int err_fd)
{
	int rc = posix_spawn_file_actions_addopen(fa, 0, "/dev/null", O_RDONLY, 0);

	/* The sources are above 3: kilnd fills 0 to 3 before it opens anything (main.c). */
	rc |= posix_spawn_file_actions_adddup2(fa, out_fd, 1);
	rc |= posix_spawn_file_actions_adddup2(fa, err_fd, 2);
	rc |= posix_spawn_file_actions_adddup2(fa, child_fd, 3);
	rc |= posix_spawn_file_actions_addclosefrom_np(fa, 4);
	return rc;
}

int launch_process(char *const argv[], int child_fd, int out_fd, int err_fd, pid_t *pid,
		  struct err *e)
{
	posix_spawn_file_actions_t fa;
	posix_spawnattr_t attr;
	sigset_t none, all;
	int rc;

	sigemptyset(&none);
	sigfillset(&all);
	if (posix_spawn_file_actions_init(&fa) != 0)
		return err_set(e, "launch", "no memory");
	if (posix_spawnattr_init(&attr) != 0) {
		posix_spawn_file_actions_destroy(&fa);
		return err_set(e, "launch", "no memory");
	}
	rc = add_fds(&fa, child_fd, out_fd, err_fd);
	rc |= posix_spawnattr_setsigmask(&attr, &none);
	rc |= posix_spawnattr_setsigdefault(&attr, &all);
	rc |= posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK |
				       POSIX_SPAWN_SETSIGDEF);
	if (rc == 0)
		rc = posix_spawn(pid, argv[0], &fa, &attr, argv, environ);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&fa);
	if (rc != 0)
		return err_set(e, "launch", "cannot start %s: %s", argv[0], strerror(rc));
	return 0;
}

int launch_frame(const char *json, size_t n, char **frame, size_t *frame_len, struct err *e)
{
	char *f;

	if (n > DOCUMENT_MAX)
		return err_set(e, "launch", "the job has %zu bytes, a supervisor takes at most %u", n,
			       DOCUMENT_MAX);
	f = malloc(n + 4);
	if (!f)
		return err_set(e, "launch", "no memory");
	for (unsigned i = 0; i < 4; i++)
		f[i] = (char)(unsigned char)((uint32_t)n >> (8 * i));
	memcpy(f + 4, json, n);
	*frame = f;
	*frame_len = n + 4;
	return 0;
}
