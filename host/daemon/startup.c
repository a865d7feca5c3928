/* SPDX-License-Identifier: Apache-2.0 */
/* startup.c - checks and directories before kilnd begins. Owns nothing. */
#include "startup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "cleanup.h"
#include "fileio.h"
#include "job.h"
#include "log.h"

#define SUPERVISOR_LOG_MAX (8 << 20)
#define FREE_MIB_MIN 16u /* database and logs; what a build needs is its supervisor's to ask for */

static const struct {
	enum config_key key;
	int mode;
	const char *what, *remedy;
} needed[] = {
	{ CONFIG_SUPERVISOR, X_OK, "kiln-supervisor", "run `make`, or set supervisor" },
	{ CONFIG_KERNEL, R_OK, "guest kernel", "run `kiln kernel install --build`, or set kernel" },
	{ CONFIG_INITRAMFS, R_OK, "agent initramfs", "run `make agent`, or set initramfs" },
	{ CONFIG_VMM_QEMU, X_OK, "QEMU", "run `apt install qemu-system-x86`, or set vmm.qemu" },
};

/* A job without a wish gets the default image: if that is not there, no such job can run. */
static int check_image(const struct config *cfg, struct err *e)
{
	json_t *body = json_pack("{ss}", "repo_url", "https://example.org/x.git"), *job = NULL, *doc = NULL;
	int rc = -1;

	if (!body || job_from_request(body, cfg, &job, e) < 0 ||
	    job_supervisor_doc(job, cfg, "build_00000000-0000-4000-8000-000000000000", 1, &doc, e) < 0)
		err_prefix(e, "the default image can't be used");
	else
		rc = 0;
	json_decref(doc);
	json_decref(job);
	json_decref(body);
	return rc;
}

int startup_check(const struct config *cfg, struct err *e)
{
	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
		const char *path = config_str(cfg, needed[i].key);
		struct stat st;

		if (stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, needed[i].mode) == 0)
			continue;
		return err_set(e, "config", "no usable %s at %s (from %s): %s", needed[i].what, path,
			       config_origin(cfg, needed[i].key), needed[i].remedy);
	}
	return check_image(cfg, e);
}

static int take_lock(const char *dir, int *lock_fd, struct err *e)
{
	char path[PATH_MAX], text[32];
	_cleanup_fd_ int fd = -1;

	snprintf(path, sizeof(path), "%s/kilnd.lock", dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return err_errno(e, "io", "cannot write to %s: make it writable, or set another with --dir",
				 dir);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

		text[n > 0 ? n : 0] = '\0';
		return err_set(e, "in_use", "kilnd is already running on %s (pid %s)", dir,
			       *text ? text : "unknown");
	}
	snprintf(text, sizeof(text), "%d", (int)getpid());
	if (ftruncate(fd, 0) < 0 || pwrite(fd, text, strlen(text), 0) < 0)
		return err_errno(e, "io", "cannot write to %s: is the disk full?", path);
	*lock_fd = take_fd(&fd);
	return 0;
}

/* Supervisors outlive kilnd: a pipe as their standard error might lose its reader. */
static int open_log(const char *dir, int *out, struct err *e)
{
	char path[PATH_MAX], old[PATH_MAX];
	struct stat st;
	int fd;

	snprintf(path, sizeof(path), "%s/supervisors.log", dir);
	snprintf(old, sizeof(old), "%s/supervisors.log.1", dir);
	if (lstat(path, &st) == 0 && st.st_size > SUPERVISOR_LOG_MAX && rename(path, old) < 0)
		return err_errno(e, "io", "cannot rename %s", path);
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return err_errno(e, "io", "cannot open %s", path);
	*out = fd;
	return 0;
}

static int check_room(const char *dir, struct err *e)
{
	struct statvfs fs;
	uint64_t free_mib;

	if (statvfs(dir, &fs) < 0)
		return err_errno(e, "io", "cannot see how much room %s has", dir);
	free_mib = (uint64_t)fs.f_bavail * fs.f_frsize >> 20;
	if (free_mib < FREE_MIB_MIN)
		return err_set(e, "io", "the disk of %s is full: %" PRIu64 " MiB are free, kilnd needs %u: remove "
			       "old builds (`kiln clean`), or set another with --dir", dir, free_mib,
			       FREE_MIB_MIN);
	return 0;
}

int startup_dirs(struct kilnd *k, int *lock_fd, struct err *e)
{
	const char *dir = config_str(k->cfg, CONFIG_DIR);

	/* 0711: the uids that supervisors run under must get through, and no further. */
	if (config_below(k->cfg, k->builds_dir, sizeof(k->builds_dir) - 64, "builds") < 0)
		return err_set(e, "config", "the path of dir is too long: %s", dir);
	if (fileio_mkdirs(dir, 0711, e) < 0 || check_room(dir, e) < 0 || take_lock(dir, lock_fd, e) < 0 ||
	    fileio_mkdirs(k->builds_dir, 0711, e) < 0)
		return -1;
	k->builds_fd = open(k->builds_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (k->builds_fd < 0)
		return err_errno(e, "io", "cannot open %s", k->builds_dir);
	return open_log(dir, &k->supervisor_log_fd, e);
}

void startup_sweep(const struct kilnd *k)
{
	_cleanup_dir_ DIR *d = opendir(k->builds_dir);
	struct dirent *ent;
	struct err e = { 0 };

	while (d && (ent = readdir(d))) {
		if (strncmp(ent->d_name, ".trash-", 7) == 0 &&
		    fileio_remove_tree(k->builds_fd, ent->d_name, &e) < 0)
			log_line(LOG_LEVEL_WARN, NULL, "%s", e.text);
	}
}
