/* SPDX-License-Identifier: Apache-2.0 */
/* supervise.c - starts a supervisor and hands the job over. Never puts a job into argv or a file. */
#include "supervise.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "fileio.h"

#define DOCUMENT_MAX (2u << 20)
#define ANSWER_MAX 1024u
#define FD_ABOVE 16 /* sources of dup2 stay clear of its targets */

extern char **environ;

static int send_document(int fd, const json_t *doc, struct err *e)
{
	_cleanup_free_ char *text = json_dumps(doc, JSON_COMPACT);
	uint8_t head[4];
	size_t n;

	if (!text)
		return err_set(e, "spawn", "no memory for the job");
	n = strlen(text);
	if (n > DOCUMENT_MAX)
		return err_set(e, "spawn", "the job has %zu bytes, a supervisor takes at most %u", n,
			       DOCUMENT_MAX);
	for (int i = 0; i < 4; i++)
		head[i] = (uint8_t)((uint32_t)n >> (8 * i));
	if (fileio_write_full(fd, head, sizeof(head), e) < 0 || fileio_write_full(fd, text, n, e) < 0)
		return -1;
	return 0;
}

/* One line: "ok" or "error <sentence>". */
static int read_answer(int fd, struct err *e)
{
	char line[ANSWER_MAX];
	size_t n = 0;

	while (n < sizeof(line) - 1) {
		ssize_t got = read(fd, line + n, 1);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		if (line[n] == '\n')
			break;
		n++;
	}
	line[n] = '\0';
	if (strcmp(line, "ok") == 0)
		return 0;
	if (strncmp(line, "error ", 6) == 0)
		return err_set(e, "supervisor", "%s", line + 6);
	return err_set(e, "supervisor", "kiln-supervisor ended without an answer");
}

static int move_up(int *fd)
{
	int up = fcntl(*fd, F_DUPFD_CLOEXEC, FD_ABOVE);

	if (up < 0)
		return -1;
	close(*fd);
	*fd = up;
	return 0;
}

static int spawn(char *const argv[], int job_fd, int source_fd, int log_fd, pid_t *pid, struct err *e)
{
	posix_spawn_file_actions_t fa;
	posix_spawnattr_t attr;
	sigset_t none, all;
	int rc;

	sigemptyset(&none);
	sigfillset(&all);
	if (posix_spawn_file_actions_init(&fa) != 0 || posix_spawnattr_init(&attr) != 0)
		return err_set(e, "spawn", "no memory");
	rc = posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDONLY, 0);
	rc |= posix_spawn_file_actions_addopen(&fa, 1, "/dev/null", O_WRONLY, 0);
	rc |= posix_spawn_file_actions_adddup2(&fa, log_fd, 2);
	rc |= posix_spawn_file_actions_adddup2(&fa, job_fd, 3);
	if (source_fd >= 0)
		rc |= posix_spawn_file_actions_adddup2(&fa, source_fd, 4);
	rc |= posix_spawn_file_actions_addclosefrom_np(&fa, source_fd >= 0 ? 5 : 4);
	rc |= posix_spawnattr_setsigmask(&attr, &none);
	rc |= posix_spawnattr_setsigdefault(&attr, &all);
	rc |= posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK |
				       POSIX_SPAWN_SETSIGDEF);
	if (rc == 0)
		rc = posix_spawn(pid, argv[0], &fa, &attr, argv, environ);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&fa);
	if (rc != 0)
		return err_set(e, "spawn", "cannot start %s: %s", argv[0], strerror(rc));
	return 0;
}

static int start(const struct config *cfg, const char *dir, int job_fd, int source_fd,
		 struct supervise *s, struct err *e)
{
	char *argv[] = { (char *)config_str(cfg, CONFIG_SUPERVISOR), (char *)"--dir", (char *)dir,
			 (char *)"--job-fd", (char *)"3", source_fd >= 0 ? (char *)"--source-fd" : NULL,
			 (char *)"4", NULL };

	if (spawn(argv, job_fd, source_fd, s->log_fd, &s->pid, e) < 0)
		return -1;
	s->pidfd = pidfd_open(s->pid, 0);
	if (s->pidfd < 0) {
		err_errno(e, "spawn", "cannot watch the supervisor");
		kill(s->pid, SIGKILL);
		waitpid(s->pid, NULL, 0);
		return -1;
	}
	return 0;
}

int supervise_start(const struct config *cfg, const char *dir, const json_t *doc, int source_fd,
		    struct supervise *out, struct err *e)
{
	struct supervise s = { .pid = -1, .pidfd = -1, .log_fd = -1 };
	_cleanup_fd_ int mine = -1, theirs = -1, source = -1;
	char words[256];
	int pair[2];

	s.log_fd = memfd_create("supervisor", MFD_CLOEXEC);
	if (s.log_fd < 0 || move_up(&s.log_fd) < 0 ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
		err_errno(e, "spawn", "cannot prepare the supervisor");
		supervise_close(&s);
		return -1;
	}
	mine = pair[0];
	theirs = pair[1];
	if (source_fd >= 0)
		source = fcntl(source_fd, F_DUPFD_CLOEXEC, FD_ABOVE);
	if (move_up(&theirs) < 0 || (source_fd >= 0 && source < 0)) {
		err_errno(e, "spawn", "cannot prepare the supervisor");
		supervise_close(&s);
		return -1;
	}
	if (start(cfg, dir, theirs, source, &s, e) < 0) {
		supervise_close(&s);
		return -1;
	}
	close(take_fd(&theirs)); /* so that its end shows as end of file */
	/* When it ends early the write fails; its own words, if any, say more. */
	if (send_document(mine, doc, e) == 0 || errno == EPIPE) {
		if (read_answer(mine, e) == 0) {
			*out = s;
			return 0;
		}
	}
	waitpid(s.pid, NULL, 0);
	supervise_last_words(&s, words, sizeof(words));
	if (*words && e && strcmp(e->code, "supervisor") == 0 && strstr(e->text, "without an answer"))
		err_set(e, "supervisor", "kiln-supervisor: %s", words);
	supervise_close(&s);
	return -1;
}

void supervise_last_words(const struct supervise *s, char *buf, size_t n)
{
	char tail[1024];
	off_t end = lseek(s->log_fd, 0, SEEK_END);
	off_t at = end > (off_t)sizeof(tail) - 1 ? end - (off_t)sizeof(tail) + 1 : 0;
	ssize_t got = end > 0 ? pread(s->log_fd, tail, sizeof(tail) - 1, at) : 0;
	char *line;

	while (got > 0 && tail[got - 1] == '\n')
		got--;
	tail[got > 0 ? got : 0] = '\0';
	line = strrchr(tail, '\n');
	snprintf(buf, n, "%s", line ? line + 1 : tail);
}

void supervise_kill(struct supervise *s)
{
	pidfd_send_signal(s->pidfd, SIGKILL, NULL, 0);
	waitpid(s->pid, NULL, 0);
	supervise_close(s);
}

void supervise_close(struct supervise *s)
{
	if (s->pidfd >= 0)
		close(s->pidfd);
	if (s->log_fd >= 0)
		close(s->log_fd);
	s->pidfd = s->log_fd = -1;
}
