/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api_files.c - the log and the artifacts of a build. Owns nothing: descriptors go on to the
 * answer. What is sent comes from a hostile guest: types are fixed, nothing is sniffed.
 */
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api.h"
#include "builddir.h"
#include "cleanup.h"
#include "follow.h"
#include "http.h"
#include "job.h"
#include "log.h"
#include "manifest.h"
#include "store.h"
#include "tarout.h"

#define LOG_TYPE "text/plain; charset=utf-8"
#define TAR_BLOCK_BYTES (64 * 1024)

/* The row of the build that the path names; an unknown one is answered. */
static int get_record(struct request *r, struct record **rec)
{
	struct err e = { 0 };

	if (!job_id_ok(r->params[0]))
		err_set(&e, "not_found", "there is no build %.80s", r->params[0]);
	else if (store_get(r->k->store, r->params[0], rec, &e) == 0)
		return 0;
	reply_err(r, &e);
	return -1;
}

/* ---- the log ---- */

/* Where a follower goes on: 0, or behind the last event it has seen. */
static int parse_last_id(struct request *r, off_t size, uint64_t *from)
{
	const char *text = request_header(r, "Last-Event-ID");
	char *end = NULL;

	*from = 0;
	if (!text || !*text)
		return 0;
	*from = strtoull(text, &end, 10);
	if (*end || *text < '0' || *text > '9' || strlen(text) > 18) {
		reply_error(r, 400, "bad_value", "Last-Event-ID", "Last-Event-ID must be a byte offset");
		return -1;
	}
	if (*from > (uint64_t)size) {
		reply_error(r, 416, "range", "Last-Event-ID", "the log has only %jd bytes so far",
			    (intmax_t)size);
		return -1;
	}
	return 0;
}

static int parse_encoding(struct request *r, int *base64)
{
	char text[16] = "text";

	if (request_query(r, "encoding", text, sizeof(text)) < 0 ||
	    (strcmp(text, "text") != 0 && strcmp(text, "base64") != 0)) {
		reply_error(r, 400, "bad_value", "encoding", "encoding must be text or base64");
		return -1;
	}
	*base64 = strcmp(text, "base64") == 0;
	return 0;
}

/* The log so far; a build that has none yet has an empty one. */
static int open_log(struct request *r, int *fd, off_t *size)
{
	_cleanup_fd_ int dirfd = -1;
	struct err e = { 0 };

	*fd = -1;
	*size = 0;
	if (builddir_open(r->k->builds_fd, r->params[0], &dirfd, &e) == 0 &&
	    builddir_open_file(dirfd, "log", fd, size, &e) == 0)
		return 0;
	if (strcmp(e.code, "not_found") == 0)
		return 0;
	reply_err(r, &e);
	return -1;
}

static void empty_log(struct request *r)
{
	static char none[] = "";
	struct MHD_Response *resp = MHD_create_response_from_buffer(0, none, MHD_RESPMEM_PERSISTENT);

	if (resp)
		MHD_add_response_header(resp, MHD_HTTP_HEADER_CONTENT_TYPE, LOG_TYPE);
	reply_response(r, 200, resp);
}

void api_log(struct request *r)
{
	struct record *rec = NULL;
	char follow[8] = "0";
	uint64_t from;
	off_t size;
	int fd = -1, base64 = 0;

	if (get_record(r, &rec) < 0)
		return;
	if (request_query(r, "follow", follow, sizeof(follow)) < 0 ||
	    (strcmp(follow, "0") != 0 && strcmp(follow, "1") != 0)) {
		reply_error(r, 400, "bad_value", "follow", "follow must be 0 or 1");
	} else if (open_log(r, &fd, &size) == 0) {
		if (*follow == '1') {
			cleanup_fd(&fd);
			if (parse_last_id(r, size, &from) == 0 && parse_encoding(r, &base64) == 0)
				follow_start(r->k->follows, r, rec, from, base64);
		} else if (fd < 0) {
			empty_log(r);
		} else {
			reply_file(r, fd, size, LOG_TYPE, NULL, NULL);
		}
	}
	record_free(rec);
}

/* ---- artifacts ---- */

static int open_build(struct request *r, int *dirfd)
{
	struct record *rec = NULL;
	struct err e = { 0 };

	if (get_record(r, &rec) < 0)
		return -1;
	record_free(rec);
	*dirfd = -1;
	if (builddir_open(r->k->builds_fd, r->params[0], dirfd, &e) < 0 &&
	    strcmp(e.code, "not_found") != 0) {
		reply_err(r, &e);
		return -1;
	}
	return 0;
}

/* A build that collected nothing yet has an empty manifest. */
void api_manifest(struct request *r)
{
	_cleanup_fd_ int dirfd = -1;
	struct err e = { 0 };
	off_t size;
	int fd;

	if (open_build(r, &dirfd) < 0)
		return;
	if (dirfd < 0 || builddir_open_file(dirfd, "manifest.json", &fd, &size, &e) < 0) {
		if (dirfd >= 0 && strcmp(e.code, "not_found") != 0)
			reply_err(r, &e);
		else
			reply_json(r, 200, json_pack("{si, ss, si, s[]}", "format", 1, "build_id",
						     r->params[0], "total_bytes", 0, "files"));
		return;
	}
	reply_file(r, fd, size, "application/json", NULL, NULL);
}

/* attachment; the name for old clients in ASCII, the true one as RFC 8187 asks for. */
static void disposition(const char *path, char *out, size_t cap)
{
	static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.";
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	size_t n = (size_t)snprintf(out, cap, "attachment; filename=\"");

	for (const char *p = name; *p && n + 64 < cap / 4; p++)
		out[n++] = strchr(plain, *p) ? *p : '_';
	n += (size_t)snprintf(out + n, cap - n, "\"; filename*=UTF-8''");
	for (const char *p = name; *p && n + 4 < cap; p++) {
		if (strchr(plain, *p))
			out[n++] = *p;
		else
			n += (size_t)snprintf(out + n, cap - n, "%%%02X", (unsigned char)*p);
	}
	out[n] = '\0';
}

void api_artifact(struct request *r)
{
	_cleanup_fd_ int dirfd = -1;
	char how[2048], etag[80];
	json_t *entry = NULL;
	const char *sha;
	struct err e = { 0 };
	off_t size;
	int fd;

	if (open_build(r, &dirfd) < 0)
		return;
	if (dirfd < 0 || manifest_find(dirfd, r->params[1], &entry, &e) < 0) {
		if (dirfd < 0 || strcmp(e.code, "not_found") == 0)
			reply_error(r, 404, "not_found", NULL, "the build has no artifacts");
		else
			reply_err(r, &e);
		return;
	}
	if (!entry) {
		reply_error(r, 404, "not_found", NULL, "the build has no artifact of this name");
	} else if (manifest_open(dirfd, entry, &fd, &size, &e) < 0) {
		reply_err(r, &e);
	} else {
		disposition(r->params[1], how, sizeof(how));
		sha = json_string_value(json_object_get(entry, "sha256"));
		snprintf(etag, sizeof(etag), "\"%.64s\"", sha ? sha : "");
		reply_file(r, fd, size, "application/octet-stream", how, sha ? etag : NULL);
	}
	json_decref(entry);
}

static ssize_t on_tar_read(void *cls, uint64_t pos, char *buf, size_t max)
{
	struct err e = { 0 };
	ssize_t n = tarout_read(cls, buf, max, &e);

	(void)pos;
	if (n < 0) {
		log_line(LOG_LEVEL_ERROR, NULL, "artifacts.tar: %s", e.text);
		return MHD_CONTENT_READER_END_WITH_ERROR;
	}
	return n > 0 ? n : MHD_CONTENT_READER_END_OF_STREAM;
}

static void on_tar_gone(void *cls)
{
	tarout_free(cls);
}

void api_artifacts_tar(struct request *r)
{
	_cleanup_fd_ int dirfd = -1;
	struct MHD_Response *resp;
	struct tarout *t = NULL;
	struct err e = { 0 };
	char how[128];

	if (open_build(r, &dirfd) < 0)
		return;
	if (dirfd < 0 || tarout_new(dirfd, &t, &e) < 0) {
		if (dirfd < 0 || strcmp(e.code, "not_found") == 0)
			reply_error(r, 404, "not_found", NULL, "the build has no artifacts");
		else
			reply_err(r, &e);
		return;
	}
	resp = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, TAR_BLOCK_BYTES, on_tar_read, t,
						 on_tar_gone);
	if (!resp) {
		tarout_free(t);
		reply_response(r, 500, NULL);
		return;
	}
	snprintf(how, sizeof(how), "attachment; filename=\"%s.tar\"", r->params[0]);
	MHD_add_response_header(resp, MHD_HTTP_HEADER_CONTENT_TYPE, "application/x-tar");
	MHD_add_response_header(resp, MHD_HTTP_HEADER_CONTENT_DISPOSITION, how);
	MHD_add_response_header(resp, "X-Content-Type-Options", "nosniff");
	MHD_add_response_header(resp, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
	reply_response(r, 200, resp);
}
