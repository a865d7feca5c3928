/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unpack.c - the worker that unpacks the source stream into the workspace, as the build user.
 *
 * Owns the stream. The tar comes from the person who asked for the build, so it may hold
 * anything: libarchive creates nothing through a link, above the workspace or at an absolute
 * path. libarchive reads the frames' data where the stream received it.
 */
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "bulk.h"
#include "bulk_dial.h"
#include "gitlib.h"
#include "wire_msg.h"
#include "worker.h"

#define FLAGS (ARCHIVE_EXTRACT_TIME | ARCHIVE_EXTRACT_PERM | ARCHIVE_EXTRACT_SECURE_SYMLINKS | \
	       ARCHIVE_EXTRACT_SECURE_NODOTDOT | ARCHIVE_EXTRACT_SECURE_NOABSOLUTEPATHS)

struct unpack {
	const struct worker_env *env;
	struct bulk *bulk;
	struct archive *in, *out;
	uint64_t total_bytes; /* as OPENED said */
	uint32_t entries;
	int ended;            /* END was read */
	int broken;           /* fail was filled by the stream */
	struct fail *fail;
};

static la_ssize_t on_read(struct archive *a, void *ctx, const void **p)
{
	struct unpack *u = ctx;
	const uint8_t *data;
	size_t n;

	if (u->ended)
		return 0;
	if (bulk_read(u->bulk, &data, &n, u->fail) < 0) {
		u->broken = 1;
		archive_set_error(a, EIO, "the stream broke");
		return -1;
	}
	u->ended = n == 0;
	*p = data;
	return (la_ssize_t)n;
}

static int open_stream(struct unpack *u, struct fail *f)
{
	const struct worker_env *env = u->env;
	struct bulk_want want = { .kind = WIRE_KIND_SOURCE, .secret = env->secret,
				  .send_max_bytes = env->send_max_bytes };
	int fd = bulk_dial(env->vsock_port, 0, f);
	int rc = fd < 0 ? -1 : bulk_open(fd, &want, &u->bulk, &u->total_bytes, f);

	worker_wipe_secret(env);
	return rc;
}

static int open_archives(struct unpack *u, struct fail *f)
{
	u->in = archive_read_new();
	u->out = archive_write_disk_new();
	if (!u->in || !u->out || archive_read_support_format_tar(u->in) != ARCHIVE_OK ||
	    archive_write_disk_set_options(u->out, FLAGS) != ARCHIVE_OK)
		return fail_set(f, WIRE_CLASS_AGENT, "cannot begin to unpack");
	if (archive_read_open(u->in, u, NULL, on_read, NULL) != ARCHIVE_OK && !u->broken)
		return fail_set(f, WIRE_CLASS_USER, "the source is not a tar: %s",
				archive_error_string(u->in));
	return u->broken ? -1 : 0;
}

/* The archive that failed has the reason; a full disk is a class of its own. */
static int fail_entry(struct unpack *u, struct archive *a, const char *path, struct fail *f)
{
	if (u->broken)
		return -1;
	return fail_set(f, archive_errno(a) == ENOSPC ? WIRE_CLASS_DISK_FULL : WIRE_CLASS_USER,
			"cannot unpack the source: %.300s: %s", path,
			archive_error_string(a) ? archive_error_string(a) : "no reason given");
}

static int copy_data(struct unpack *u, const char *path, struct fail *f)
{
	const void *p;
	size_t n;
	la_int64_t offset;
	int rc;

	while ((rc = archive_read_data_block(u->in, &p, &n, &offset)) == ARCHIVE_OK) {
		if (archive_write_data_block(u->out, p, n, offset) < ARCHIVE_OK)
			return fail_entry(u, u->out, path, f);
	}
	return rc == ARCHIVE_EOF ? 0 : fail_entry(u, u->in, path, f);
}

static int unpack_entries(struct unpack *u, struct fail *f)
{
	struct archive_entry *e;
	int rc;

	while ((rc = archive_read_next_header(u->in, &e)) == ARCHIVE_OK || rc == ARCHIVE_WARN) {
		const char *path = archive_entry_pathname(e);

		if (!path)
			path = "(a name that cannot be read)";
		if (archive_write_header(u->out, e) < ARCHIVE_WARN)
			return fail_entry(u, u->out, path, f);
		if (archive_entry_size(e) > 0 && copy_data(u, path, f) < 0)
			return -1;
		if (archive_write_finish_entry(u->out) < ARCHIVE_WARN)
			return fail_entry(u, u->out, path, f);
		u->entries++;
	}
	if (rc != ARCHIVE_EOF)
		return fail_entry(u, u->in, "the tar", f);
	/* Times and modes of directories are set when it closes. */
	if (archive_write_close(u->out) < ARCHIVE_WARN)
		return fail_entry(u, u->out, "the end", f);
	return 0;
}

/* What stands behind the end of the tar belongs to the stream all the same. */
static int read_to_end(struct unpack *u, struct fail *f)
{
	while (!u->ended) {
		const uint8_t *p;
		size_t n;

		if (bulk_read(u->bulk, &p, &n, f) < 0)
			return -1;
		u->ended = n == 0;
	}
	if (u->total_bytes && u->total_bytes != bulk_received_bytes(u->bulk))
		return fail_set(f, WIRE_CLASS_AGENT,
				"the host announced %llu bytes of source and sent %llu",
				(unsigned long long)u->total_bytes,
				(unsigned long long)bulk_received_bytes(u->bulk));
	return bulk_send_ack(u->bulk, u->entries, 0, f);
}

static int report(const struct unpack *u, double seconds, struct fail *f)
{
	char commit[65], ref[257];
	struct stat st;
	int shallow;

	worker_line(u->env, "unpacked the source: %u entries, %.1f MiB in %.1f s",
		    (unsigned)u->entries, (double)bulk_received_bytes(u->bulk) / 1048576.0, seconds);
	if (lstat(".git", &st) < 0)
		return 0;
	if (gitlib_start(u->env, f) < 0)
		return -1;
	if (gitlib_head(".", commit, ref, &shallow) == 0)
		worker_source(u->env, commit, ref, shallow, 0);
	else
		worker_line(u->env, "the source has a .git, but no commit can be read from it");
	return 0;
}

static int unpack(struct unpack *u, struct fail *f)
{
	struct timespec began, now;

	clock_gettime(CLOCK_MONOTONIC, &began);
	if (open_stream(u, f) < 0)
		return -1;
	if (fchdir(u->env->workspace_fd) < 0)
		return fail_errno(f, WIRE_CLASS_AGENT, "cannot go to the workspace");
	if (worker_drop(u->env, f) < 0 || open_archives(u, f) < 0 || unpack_entries(u, f) < 0 ||
	    read_to_end(u, f) < 0)
		return -1;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return report(u, (double)(now.tv_sec - began.tv_sec) +
		      (double)(now.tv_nsec - began.tv_nsec) / 1e9, f);
}

int unpack_main(const struct worker_env *env)
{
	struct fail f = { 0 };
	struct unpack u = { .env = env, .fail = &f };
	int rc;

	setlocale(LC_CTYPE, "C.UTF-8"); /* libarchive converts names by it */
	rc = unpack(&u, &f);
	if (rc < 0 && u.bulk && !u.ended)
		bulk_reset(u.bulk, WIRE_CODE_INTERNAL, f.text);
	if (u.in)
		archive_read_free(u.in);
	if (u.out)
		archive_write_free(u.out);
	bulk_free(u.bulk);
	return rc < 0 ? worker_fail(env, &f) : worker_done(env);
}
