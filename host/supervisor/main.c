/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - kiln-supervisor: takes the document from its parent, answers, and runs the build.
 * The contract is docs/build-directory.md.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "control.h"
#include "fileio.h"
#include "log.h"
#include "probe.h"
#include "rundir.h"
#include "supjob.h"

struct options {
	const char *dir;
	int job_fd, source_fd, config_fd;
	bool probe;
};

static int fd_number(const char *word, int *out)
{
	char *end;
	unsigned long n = strtoul(word, &end, 10);

	if (*word == '\0' || *end != '\0' || n > 1023 || fcntl((int)n, F_SETFD, FD_CLOEXEC) < 0)
		return -1;
	*out = (int)n;
	return 0;
}

static int usage(void)
{
	fputs("usage: kiln-supervisor --dir DIRECTORY --job-fd N [--source-fd N]\n"
	      "       kiln-supervisor --probe --config-fd N\n"
	      "       kiln-supervisor --version\n"
	      "Started by kilnd and by kiln run; see docs/build-directory.md.\n", stderr);
	return 2;
}

static int parse_options(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {
		{ "dir", required_argument, NULL, 'd' },
		{ "job-fd", required_argument, NULL, 'j' },
		{ "source-fd", required_argument, NULL, 's' },
		{ "config-fd", required_argument, NULL, 'c' },
		{ "probe", no_argument, NULL, 'p' },
		{ "version", no_argument, NULL, 'v' },
		{ NULL, 0, NULL, 0 },
	};
	int opt, rc = 0;

	*o = (struct options){ .job_fd = -1, .source_fd = -1, .config_fd = -1 };
	while (rc == 0 && (opt = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (opt) {
		case 'd': o->dir = optarg; break;
		case 'j': rc = fd_number(optarg, &o->job_fd); break;
		case 's': rc = fd_number(optarg, &o->source_fd); break;
		case 'c': rc = fd_number(optarg, &o->config_fd); break;
		case 'p': o->probe = true; break;
		case 'v': puts("kiln-supervisor " KILN_VERSION); exit(0);
		default: rc = -1;
		}
	}
	if (optind != argc || (o->probe ? o->config_fd < 0 : !o->dir || o->job_fd < 0))
		rc = -1;
	return rc;
}

/* A length as u32 little-endian, then so many bytes. *out is wiped and freed by free_document. */
static int read_document(int fd, char **out, size_t *n, struct err *e)
{
	uint8_t head[4];
	uint32_t len;

	if (fileio_read_full(fd, head, sizeof(head), e) < 0)
		return err_prefix(e, "the document");
	len = head[0] | (uint32_t)head[1] << 8 | (uint32_t)head[2] << 16 | (uint32_t)head[3] << 24;
	if (len > SUPJOB_DOCUMENT_BYTES)
		return err_set(e, "too_large", "the document has %u bytes, at most %u are allowed", len,
			       SUPJOB_DOCUMENT_BYTES);
	*out = malloc(len + 1u);
	if (!*out)
		return err_set(e, "io", "no memory for the document");
	*n = len;
	if (fileio_read_full(fd, *out, len, e) < 0)
		return err_prefix(e, "the document");
	return 0;
}

static void free_document(char *text, size_t n)
{
	if (text)
		explicit_bzero(text, n);
	free(text);
}

/* One line; the parent may be gone already, which changes nothing. */
static void answer(int fd, const struct err *e)
{
	char line[ERR_TEXT_BYTES + ERR_FIELD_BYTES + 16];

	if (e)
		snprintf(line, sizeof(line), "error %s\n", e->text);
	else
		snprintf(line, sizeof(line), "ok\n");
	send(fd, line, strlen(line), MSG_NOSIGNAL);
	close(fd);
}

static int take_source(struct supjob *job, int fd, struct err *e)
{
	struct stat st;

	if (fd < 0)
		return 0;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || lseek(fd, 0, SEEK_SET) < 0)
		return err_set(e, "bad_value", "--source-fd is no seekable file");
	job->source_fd = fd;
	job->source_bytes = (uint64_t)st.st_size;
	return 0;
}

static int take_job(const struct options *o, struct supjob *job, struct rundir *dir, struct err *e)
{
	char *text = NULL;
	size_t n = 0;
	int rc = read_document(o->job_fd, &text, &n, e);

	if (rc == 0)
		rc = supjob_parse(job, text, n, e);
	free_document(text, n);
	if (rc == 0)
		rc = take_source(job, o->source_fd, e);
	if (rc == 0)
		rc = rundir_open(dir, o->dir, e);
	if (rc == 0)
		rc = rundir_write_run(dir, job, geteuid(), 0, e);
	return rc;
}

static int run(const struct options *o)
{
	struct rundir dir = { .fd = -1, .lock_fd = -1, .vm_fd = -1 };
	struct supjob job = { .source_fd = -1 };
	struct err e = { .text = "" };
	int rc = take_job(o, &job, &dir, &e);

	answer(o->job_fd, rc < 0 ? &e : NULL);
	if (rc == 0) {
		setsid(); /* the terminal's signals are for whoever started us */
		if (chdir("/") < 0)
			log_line(LOG_LEVEL_WARN, job.build_id, "cannot leave the working directory");
		rc = control_run(&job, &dir, &e);
	}
	if (rc < 0)
		log_line(LOG_LEVEL_ERROR, job.build_id[0] ? job.build_id : NULL, "%s", e.text);
	rundir_close(&dir);
	supjob_fini(&job);
	return rc < 0;
}

static int probe(const struct options *o)
{
	struct child_id self = { .drop = false };
	struct supjob job = { .source_fd = -1 };
	struct err e = { .text = "" };
	struct vmm_facts facts;
	char *text = NULL, *line = NULL;
	json_t *v = NULL;
	size_t n = 0;
	int rc = read_document(o->config_fd, &text, &n, &e);

	if (rc == 0)
		rc = supjob_parse_vmm(&job, text, n, &e);
	if (rc == 0 && job.uid_count && geteuid() == 0) /* judged as a build would be */
		self = (struct child_id){ .drop = true, .uid = job.uid_first, .gid = job.uid_first };
	if (rc == 0)
		rc = vmm_backend(&job)->probe(&job, self, &facts, &e);
	if (rc == 0) {
		v = probe_json(vmm_backend(&job), &facts, 0);
		line = v ? json_dumps(v, JSON_COMPACT) : NULL;
	}
	printf("%s%s\n", line ? "" : "error ", line ? line : e.text);
	free(line);
	json_decref(v);
	free_document(text, n);
	supjob_fini(&job);
	return line ? 0 : 1;
}

int main(int argc, char **argv)
{
	const char *level = getenv("KILN_LOG");
	enum log_level l;
	struct options o;

	if (parse_options(argc, argv, &o) < 0)
		return usage();
	if (level && log_level_parse(level, &l) == 0)
		log_set_level(l);
	umask(022);
	return o.probe ? probe(&o) : run(&o);
}
