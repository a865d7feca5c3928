/* SPDX-License-Identifier: Apache-2.0 */
/*
 * builddir.c - reads builds on disk. Opens for reading only; the one thing it does to a build is
 * to send a command or a signal to its supervisor. Never touches `lock`.
 */
#include "builddir.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "cleanup.h"
#include "fileio.h"
#include "jsonx.h"
#include "proc.h"

#define ANSWER_S 10

json_t *builddir_all(const struct config *cfg)
{
	json_t *ids = json_array();
	_cleanup_dir_ DIR *d = NULL;
	char path[PATH_MAX];
	struct dirent *ent;

	if (config_below(cfg, path, sizeof(path), "builds") == 0)
		d = opendir(path);
	while (ids && d && (ent = readdir(d)))
		if (job_id_ok(ent->d_name))
			json_array_append_new(ids, json_string(ent->d_name));
	return ids;
}

static int64_t changed_ms(const struct config *cfg, const char *id)
{
	char path[PATH_MAX];
	struct stat st;

	if (config_below(cfg, path, sizeof(path), "builds/%s", id) < 0 || stat(path, &st) < 0)
		return 0;
	return st.st_ctim.tv_sec * 1000 + st.st_ctim.tv_nsec / 1000000;
}

static int is_meant(const char *id, const char *word)
{
	size_t n = strlen(word);

	return n > 0 && (strncmp(id, word, n) == 0 || strncmp(id + strlen("build_"), word, n) == 0);
}

int builddir_resolve(const struct config *cfg, const char *word, char id[JOB_ID_BYTES],
		     struct err *e)
{
	json_t *ids = builddir_all(cfg), *item;
	int last = strcmp(word, "last") == 0;
	int64_t newest = -1;
	size_t i, found = 0;

	json_array_foreach(ids, i, item) {
		const char *name = json_string_value(item);
		int64_t at = last ? changed_ms(cfg, name) : 0;

		if (last ? at <= newest : !is_meant(name, word))
			continue;
		newest = at;
		found = last ? 1 : found + 1;
		snprintf(id, JOB_ID_BYTES, "%s", name);
	}
	json_decref(ids);
	if (found > 1)
		return err_set(e, "ambiguous", "%zu builds begin with '%.60s': give more of the id", found,
			       word);
	if (found == 0)
		return err_set(e, "not_found", "there is no build '%.60s' in %s/builds", word,
			       config_str(cfg, CONFIG_DIR));
	return 0;
}

int builddir_open(const struct config *cfg, const char *id, int *fd, struct err *e)
{
	char path[PATH_MAX];

	if (config_below(cfg, path, sizeof(path), "builds/%s", id) < 0)
		return err_set(e, "io", "the path of dir is too long");
	*fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (*fd < 0)
		return err_errno(e, errno == ENOENT ? "not_found" : "io", "cannot open %s", path);
	return 0;
}

int builddir_json(int dirfd, const char *name, json_t **out, struct err *e)
{
	_cleanup_free_ char *text = NULL;
	size_t n;

	if (fileio_read(dirfd, name, BUILDDIR_JSON_MAX, &text, &n, e) < 0)
		return -1;
	if (jsonx_parse_object(text, n, BUILDDIR_JSON_MAX, out, e) < 0)
		return err_prefix(e, "%s", name);
	return 0;
}

/* The process of run.json, if it is still that one. */
static pid_t live_pid(const json_t *run)
{
	json_int_t pid = json_integer_value(json_object_get(run, "pid"));
	json_int_t start = json_integer_value(json_object_get(run, "start_ticks"));
	const char *boot = json_string_value(json_object_get(run, "boot_id"));
	char now[PROC_BOOT_ID_BYTES];
	unsigned long long ticks;

	if (pid <= 1 || pid > INT_MAX || !boot || proc_boot_id(now) < 0 || strcmp(now, boot) != 0)
		return 0;
	if (proc_start_ticks((pid_t)pid, &ticks) < 0 || ticks != (unsigned long long)start)
		return 0;
	return (pid_t)pid;
}

int builddir_process(int dirfd, json_t **run, pid_t *pid, struct err *e)
{
	if (builddir_json(dirfd, "run.json", run, e) < 0)
		return -1;
	*pid = live_pid(*run);
	return 0;
}

/* Through /proc, since a socket's path may have only 107 bytes. */
static int connect_ctl(int dirfd, struct err *e)
{
	_cleanup_fd_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	struct timeval patience = { .tv_sec = ANSWER_S };

	snprintf(a.sun_path, sizeof(a.sun_path), "/proc/self/fd/%d/ctl", dirfd);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0)
		return err_errno(e, "io", "cannot make a socket");
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0) {
		if (errno == ENOENT || errno == ECONNREFUSED)
			return err_set(e, "not_running", "the build is not running");
		return err_errno(e, "io", "cannot reach the supervisor");
	}
	return take_fd(&fd);
}

int builddir_ctl(int dirfd, const char *cmd, struct err *e)
{
	_cleanup_fd_ int fd = connect_ctl(dirfd, e);
	char line[1024];
	size_t n = 0;
	int len;

	if (fd < 0)
		return -1;
	len = snprintf(line, sizeof(line), "{\"cmd\":\"%s\",\"reason\":\"user\"}\n", cmd);
	if (fileio_write_full(fd, line, (size_t)len, e) < 0)
		return -1;
	while (n < sizeof(line) - 1) {
		ssize_t got = read(fd, line + n, 1);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0 || line[n] == '\n')
			break;
		n++;
	}
	line[n] = '\0';
	if (strcmp(line, "ok") == 0)
		return 0;
	if (strncmp(line, "error ", 6) == 0)
		return err_set(e, "supervisor", "%s", line + 6);
	return err_set(e, "io", "the supervisor did not answer");
}

int builddir_kill(int dirfd, struct err *e)
{
	_cleanup_fd_ int pidfd = -1;
	json_t *run = NULL;
	pid_t pid;

	if (builddir_process(dirfd, &run, &pid, e) < 0)
		return -1;
	if (pid > 0)
		pidfd = pidfd_open(pid, 0);
	/* Now that the descriptor is held the number cannot change hands: look again. */
	if (pidfd >= 0)
		pid = live_pid(run);
	json_decref(run);
	if (pidfd < 0 || pid == 0)
		return err_set(e, "not_running", "the build is not running");
	/* ESRCH: it ended in this moment, which is what was wanted. */
	if (pidfd_send_signal(pidfd, SIGKILL, NULL, 0) < 0 && errno != ESRCH)
		return err_errno(e, "io", "cannot kill the supervisor %d", (int)pid);
	return 0;
}
