/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_run.c - `kiln run`: from the command line to the exit status of the build. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "builddir.h"
#include "cleanup.h"
#include "cli.h"
#include "clock.h"
#include "extract.h"
#include "fileio.h"
#include "jobopts.h"
#include "pack.h"
#include "run.h"
#include "outcome.h"

static const struct opt options[] = {
	JOBOPTS_ROWS,
	{ "--output", 'o', "DIR", "where the artifacts go (default ./" PACK_OUT ")" },
	{ "--force", 'f', NULL, "replace DIR even if it holds something" },
	{ "--include-ignored", 0, NULL, "a local directory with what git ignores" },
	{ "--no-source", 0, NULL, "without a source: only a command in a VM" },
	{ "--json", 0, NULL, "events, log and result as JSON, one object a line, on stdout" },
	{ "--timestamps", 't', NULL, "the time in front of each line" },
	{ "--no-color", 0, NULL, "no colours" },
	{ 0 },
};

static int is_directory(const char *path)
{
	struct stat st;

	return !strstr(path, "://") && stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static int open_temporary(const struct config *cfg, int *fd, struct err *e)
{
	const char *dir = config_str(cfg, CONFIG_DIR);
	char name[PATH_MAX];

	if (fileio_mkdirs(dir, 0755, e) < 0)
		return -1;
	*fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (*fd >= 0)
		return 0;
	if (snprintf(name, sizeof(name), "%s/source-XXXXXX", dir) >= (int)sizeof(name))
		return err_set(e, "io", "the path of dir is too long");
	*fd = mkostemp(name, O_CLOEXEC);
	if (*fd < 0)
		return err_errno(e, "io", "cannot make a temporary file in %s", dir);
	unlink(name);
	return 0;
}

/* A directory becomes a tar in an unlinked file. */
static int pack_source(struct run *r, const char *dir, struct err *e)
{
	const struct config *cfg = r->cli->cfg;
	const char *skip[] = { config_str(cfg, CONFIG_DIR), NULL, NULL };
	const char *output = opt_get(&r->cli->opts, "--output");
	_cleanup_free_ char *real = output ? realpath(output, NULL) : NULL;
	struct pack_result pack = { 0 };
	char size[32];
	int rc;

	skip[1] = real;
	if (open_temporary(cfg, &r->source_fd, e) < 0)
		return -1;
	term_say(&r->cli->term, TERM_DIM, "packing %s", dir);
	rc = pack_directory(dir, opt_get(&r->cli->opts, "--include-ignored") != NULL, skip, r->source_fd,
			    &pack, e);
	r->log_lines = pack.log_lines;
	if (rc < 0)
		return -1;
	term_size(pack.bytes, size, sizeof(size));
	term_say(&r->cli->term, TERM_DIM, "%llu files, %s", (unsigned long long)pack.files, size);
	return 0;
}

static int check_kernel(const struct config *cfg, struct err *e)
{
	static const struct { enum config_key key; const char *cure; } needed[] = {
		{ CONFIG_SUPERVISOR, "it is built and installed together with kiln" },
		{ CONFIG_KERNEL, "`kiln kernel install --build` makes one" },
		{ CONFIG_INITRAMFS, "`make agent` makes it in kiln's source tree" },
	};

	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
		const char *path = config_str(cfg, needed[i].key);

		if (access(path, R_OK) < 0)
			return err_set(e, "host", "%s: cannot read %s: %s; %s",
				       config_settings[needed[i].key].name, path, strerror(errno),
				       needed[i].cure);
	}
	return 0;
}

static int make_job(struct run *r, struct err *e)
{
	const struct opt_set *o = &r->cli->opts;
	const char *what = o->args_count > 0 ? o->args[0] : NULL;
	json_t *request = NULL;
	int rc, none = opt_get(o, "--no-source") != NULL;
	int local = what && is_directory(what);

	if (!what && !none)
		return err_set(e, "usage", "say what to build: a repository's URL or a directory");
	if (what && none)
		return err_set(e, "usage", "--no-source takes no repository or directory");
	if (jobopts_request(o, &request, e) < 0)
		return -1;
	if (none || local)
		json_object_set_new(request, "source", json_string(none ? "none" : "tar"));
	else
		json_object_set_new(request, "repo_url", json_string(what));
	rc = job_from_local(request, r->cli->cfg, &r->job, e);
	json_decref(request);
	if (rc < 0 && !local && what && strcmp(e->code, "unsupported_scheme") == 0 && !strchr(what, ':'))
		return err_set(e, "bad_value", "%.200s is neither a directory nor a URL", what);
	if (rc < 0)
		return -1;
	if (check_kernel(r->cli->cfg, e) < 0)
		return -1;
	return local ? pack_source(r, what, e) : 0;
}

static int copy(void *arg, const json_t *entry, int fd, struct err *e)
{
	return extract_copy_local(((struct run *)arg)->dirfd, entry, fd, e);
}

static void left_out(void *arg, const char *path, const char *why)
{
	term_say(&((struct run *)arg)->cli->term, TERM_PLAIN, "artifact left out: %s: %s", path, why);
}

/* Where the artifacts go. */
static int set_target(struct run *r, struct extract *x, char target[PATH_MAX], struct err *e)
{
	const char *output = opt_get(&r->cli->opts, "--output");
	size_t n;

	if (output && (!*output || strlen(output) >= PATH_MAX))
		return err_set(e, "usage", "--output needs the name of a directory");
	snprintf(target, PATH_MAX, "%s", output ? output : PACK_OUT);
	for (n = strlen(target); n > 1 && target[n - 1] == '/'; n--)
		target[n - 1] = '\0';
	memset(x, 0, sizeof(*x));
	x->target = target;
	x->replace = !output || opt_get(&r->cli->opts, "--force");
	x->copy = copy;
	x->refused = left_out;
	x->arg = r;
	return 0;
}

/* *where: the words for the last line, "" when nothing was collected. */
static int fetch_artifacts(struct run *r, char *where, size_t n, struct err *e)
{
	char target[PATH_MAX];
	struct err why = { 0 };
	struct extract x;
	json_t *manifest = NULL;
	int rc;

	where[0] = '\0';
	if (builddir_json(r->dirfd, "manifest.json", &manifest, &why) < 0) {
		if (strcmp(why.code, "not_found") == 0)
			return 0;
		*e = why;
		return -1;
	}
	rc = set_target(r, &x, target, e);
	if (rc == 0)
		rc = extract_manifest(&x, manifest, e);
	json_decref(manifest);
	if (rc == 0 && (x.files > 0 || outcome_status(r->result) == 0))
		snprintf(where, n, ", %zu artifact%s in %s%s", x.files, x.files == 1 ? "" : "s",
			 strcmp(target, PACK_OUT) == 0 ? "./" : "", target);
	return rc;
}

static int conclude(struct run *r, uint64_t started_ms, struct err *e)
{
	char text[1400], took[32], where[PATH_MAX + 64], advice[OUTCOME_ADVICE_BYTES];
	struct term *t = &r->cli->term;
	int status = outcome_status(r->result);
	const struct opt_set *o = &r->cli->opts;
	struct outcome_command again = { "run", opt_get(o, "--no-source") ? "--no-source" :
						o->args_count > 0 ? o->args[0] : NULL };

	if (r->view->json) {
		json_object_set_new(r->result, "type", json_string("result"));
		term_json(t, r->result, JSON_COMPACT);
	}
	if (fetch_artifacts(r, where, sizeof(where), e) < 0)
		return -1;
	if (status == 0) {
		term_duration(clock_mono_ms() - started_ms, took, sizeof(took));
		term_say(t, TERM_GOOD, "ok in %s%s", took, where);
		return 0;
	}
	if (*where)
		term_say(t, TERM_PLAIN, "%s", where + 2);
	if (*outcome_advice(r->result, &again, r->id, advice, sizeof(advice)))
		term_say(t, TERM_PLAIN, "try: %s", advice);
	term_say(t, TERM_BAD, "failed: %s", outcome_text(r->result, text, sizeof(text)));
	return status;
}

static int build(struct run *r, struct err *e)
{
	struct supervise s = { .pidfd = -1, .log_fd = -1 };
	uint64_t started_ms = clock_mono_ms();
	char target[PATH_MAX];
	struct extract x;
	sigset_t set;
	int rc;

	/* A build of minutes should not end with a directory that was in the way all along. */
	if (set_target(r, &x, target, e) < 0 || extract_check(&x, e) < 0 || make_job(r, e) < 0)
		return -1;
	term_say(&r->cli->term, TERM_DIM, "image %s, %d vCPUs, %d MiB memory, user %s",
		 json_string_value(json_object_get(r->job, "image")),
		 (int)json_integer_value(json_object_get(r->job, "vcpus")),
		 (int)json_integer_value(json_object_get(r->job, "memory_mib")),
		 json_string_value(json_object_get(r->job, "user")));
	/* From here on an interrupt is for the build, not for this process. */
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	if (run_start(r, &s, e) < 0)
		return -1;
	term_say(&r->cli->term, TERM_DIM, "%s", r->id);
	rc = run_follow(r, &s, e);
	supervise_close(&s);
	return rc < 0 ? -1 : conclude(r, started_ms, e);
}

static int run(struct cli *c)
{
	struct logview view;
	struct run r = { .cli = c, .view = &view, .source_fd = -1, .dirfd = -1 };
	struct err e = { 0 };
	int rc;

	logview_init(&view, &c->term);
	view.live = 1;
	view.json = opt_get(&c->opts, "--json") != NULL;
	view.timestamps = opt_get(&c->opts, "--timestamps") != NULL;
	rc = build(&r, &e);
	if (rc < 0 && strcmp(e.code, "usage") == 0)
		rc = cli_usage(c, "%s", e.text);
	if (rc < 0)
		rc = cli_fail(c, &e);
	logview_fini(&view);
	cleanup_fd(&r.source_fd);
	cleanup_fd(&r.dirfd);
	json_decref(r.job);
	json_decref(r.log_lines);
	json_decref(r.result);
	return rc;
}

const struct command cmd_run = {
	.name = "run",
	.usage = "<repository or directory> [options] [-- command…]",
	.summary = "Build without a daemon: boot a VM, show the log, bring the artifacts back",
	.details = "\n"
		"The build's output goes to stdout, everything that kiln says to stderr. The exit status\n"
		"is the step's (128+n for a signal), 1 when the source could not be had, 125 for what is\n"
		"not the build's own fault, a wrong command line too. The last line names the class.\n"
		"A directory goes in with what git tracks or does not ignore, and .git.\n"
		"One word after -- is shell text; several are one command, each word as it stands.\n",
	.options = options,
	.min_args = 0, .max_args = 1,
	.run = run,
};
