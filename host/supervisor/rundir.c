/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rundir.c - control's files in the build directory. Never reads what the conduit wrote but
 * the length of the log.
 *
 * As root the directory belongs to root and the conduit's group may add files to it; the sticky
 * bit keeps the conduit from removing or renaming lock, run.json and result.json.
 */
#include "rundir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"
#include "fileio.h"
#include "wire.h"

const char *const rundir_words[RUNDIR_WORDS] = { "starting_vm", "cloning_repo", "running_build",
						 "collecting_artifacts" };

int rundir_open(struct rundir *d, const char *path, struct err *e)
{
	struct stat st;

	*d = (struct rundir){ .fd = -1, .lock_fd = -1, .vm_fd = -1 };
	d->started_at_ms = clock_wall_ms();
	d->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (d->fd < 0 || fstat(d->fd, &st) < 0)
		return err_errno(e, errno == ENOENT ? "not_found" : "io",
				 "cannot open the build directory %s", path);
	d->owner = st.st_uid;
	d->lock_fd = openat(d->fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (d->lock_fd < 0)
		return err_errno(e, "io", "cannot create the lock in %s", path);
	if (flock(d->lock_fd, LOCK_EX | LOCK_NB) < 0)
		return err_set(e, "busy", "another supervisor holds the lock of %s", path);
	if (faccessat(d->fd, "result.json", F_OK, AT_SYMLINK_NOFOLLOW) == 0 ||
	    faccessat(d->fd, "run.json", F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return err_set(e, "used", "%s was used by a build before", path);
	d->ours = true;
	return 0;
}

/* The first line of a small file of /proc, "" when there is none. */
static void read_line(const char *path, char *out, size_t n)
{
	_cleanup_fd_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got = fd < 0 ? 0 : read(fd, out, n - 1);

	out[got > 0 ? got : 0] = '\0';
	out[strcspn(out, "\n")] = '\0';
}

/* Field 22 of proc(5)'s stat; the name in the second may hold anything, but ends with ')'. */
static unsigned long long start_ticks(void)
{
	unsigned long long ticks = 0;
	char line[1024], *p;

	read_line("/proc/self/stat", line, sizeof(line));
	p = strrchr(line, ')');
	if (!p)
		return 0;
	if (sscanf(p + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d "
		   "%*d %llu", &ticks) != 1)
		return 0;
	return ticks;
}

static int write_json(int dir_fd, const char *name, json_t *o, struct err *e)
{
	_cleanup_free_ char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
	_cleanup_free_ char *line = NULL;
	int n;

	json_decref(o);
	n = text ? asprintf(&line, "%s\n", text) : -1;
	if (n < 0) {
		line = NULL;
		return err_set(e, "io", "no memory for %s", name);
	}
	return fileio_replace(dir_fd, name, line, (size_t)n, 0644, e);
}

int rundir_write_run(const struct rundir *d, const struct supjob *job, uid_t uid, pid_t vmm_pid,
		     struct err *e)
{
	char boot[64];

	read_line("/proc/sys/kernel/random/boot_id", boot, sizeof(boot));
	return write_json(d->fd, "run.json",
			  json_pack("{s:i, s:s, s:i, s:I, s:s, s:i, s:i, s:I, s:i, s:i, s:I}",
				    "format", 1, "build_id", job->build_id, "pid", (int)getpid(),
				    "start_ticks", (json_int_t)start_ticks(), "boot_id", boot,
				    "attempt", (int)job->attempt, "vmm_pid", (int)vmm_pid,
				    "uid", (json_int_t)uid, "vcpus", (int)job->machine.vcpus,
				    "memory_mib", (int)job->machine.memory_mib,
				    "started_at_ms", (json_int_t)d->started_at_ms), e);
}

int rundir_share(struct rundir *d, const struct uid_lease *ids, struct err *e)
{
	if (ids->conduit.drop && (fchown(d->fd, (uid_t)-1, ids->conduit.gid) < 0 ||
				  fchmod(d->fd, 01770) < 0))
		return err_errno(e, "host", "cannot give the build directory to group %u",
				 ids->conduit.gid);
	if (mkdirat(d->fd, "vm", 0700) < 0)
		return err_errno(e, "host", "cannot make the directory vm");
	d->vm_fd = openat(d->fd, "vm", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (d->vm_fd < 0)
		return err_errno(e, "host", "cannot open the directory vm");
	if (ids->others.drop && fchown(d->vm_fd, ids->others.uid, ids->others.gid) < 0)
		return err_errno(e, "host", "cannot give vm/ to uid %u", ids->others.uid);
	return 0;
}

static uint64_t log_bytes(const struct rundir *d, const struct link_totals *t)
{
	struct stat st;

	if (fstatat(d->fd, "log", &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
		return (uint64_t)st.st_size;
	return t->log_bytes;
}

static json_t *state_times(const struct rundir_result *r)
{
	json_t *o = json_object();

	for (unsigned i = 0; o && i < RUNDIR_WORDS; i++)
		if (i <= r->word)
			json_object_set_new(o, rundir_words[i], json_integer((json_int_t)r->word_ms[i]));
	return o;
}

static json_t *blame(const struct rundir_result *r, json_t *o)
{
	const struct verdict *v = r->verdict;

	json_object_set_new(o, "step", v->has_step ? json_integer(v->step) : json_null());
	json_object_set_new(o, "step_name", v->has_step ? json_string(r->step_name) : json_null());
	json_object_set_new(o, "exit_code", v->has_step ? json_integer(v->exit_code) : json_null());
	json_object_set_new(o, "signal", v->has_step ? json_integer(v->signal) : json_null());
	json_object_set_new(o, "commit", *r->commit ? json_string(r->commit) : json_null());
	return o;
}

static void clear(const struct rundir *d)
{
	fileio_remove_tree(d->fd, "vm", NULL);
	unlinkat(d->fd, "ctl", 0);
}

int rundir_write_result(const struct rundir *d, const struct supjob *job,
			const struct rundir_result *r, struct err *e)
{
	json_t *message = json_string(r->verdict->message);
	json_t *o = json_pack("{s:i, s:s, s:i, s:s, s:o, s:s, s:I, s:i, s:I, s:I, s:I, s:o, s:{s:I, s:I}}",
			      "format", 1, "build_id", job->build_id, "attempt", (int)job->attempt,
			      "class", r->verdict->class_,
			      "message", message ? message : json_string("(not UTF-8)"),
			      "state", rundir_words[r->word],
			      "log_bytes", (json_int_t)log_bytes(d, &r->totals),
			      "artifacts_count", (int)r->totals.artifacts,
			      "artifacts_bytes", (json_int_t)r->totals.artifact_bytes,
			      "started_at_ms", (json_int_t)d->started_at_ms,
			      "ended_at_ms", (json_int_t)clock_wall_ms(),
			      "state_ms", state_times(r),
			      "used", "cpu_us", (json_int_t)r->used.cpu_us,
			      "peak_bytes", (json_int_t)r->used.peak_bytes);

	if (!o)
		return err_set(e, "io", "no memory for result.json");
	blame(r, o);
	if (r->vmm)
		json_object_set(o, "vmm", r->vmm);
	else
		json_object_set_new(o, "vmm", json_null());
	if (r->verdict->with_console)
		json_object_set_new(o, "console_tail", json_string(r->console_tail));
	clear(d); /* who finds the result finds nothing of the VM */
	unlinkat(d->fd, "result.json.new", 0); /* whoever made it: nobody else runs any more */
	return write_json(d->fd, "result.json", o, e);
}

void rundir_close(struct rundir *d)
{
	if (d->ours)
		clear(d);
	cleanup_fd(&d->vm_fd);
	cleanup_fd(&d->fd);
	cleanup_fd(&d->lock_fd);
	d->fd = d->vm_fd = d->lock_fd = -1;
}
