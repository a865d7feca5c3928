/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pack.c - decides which files of a directory go into the source tar. Asks git for the list, never
 * changes the directory.
 */
#include "pack.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "fileio.h"
#include "gitrun.h"
#include "pack_tar.h"

#define LIST_BYTES_MAX (256u << 20)
#define WORD_BYTES_MAX 65536u
#define NESTED_MAX 32
#define NOTE_PREFIX "kiln: source: "

struct pack {
	struct pack_tar *tar;
	const char *top;      /* absolute, links resolved */
	int all;              /* every file, git or not */
	struct pack_result *r;
};

static int note(struct pack *p, struct err *e, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* One line for the log, marked as not the build's own. */
static int note(struct pack *p, struct err *e, const char *fmt, ...)
{
	char text[1024] = NOTE_PREFIX;
	size_t n = sizeof(NOTE_PREFIX) - 1;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text + n, sizeof(text) - n, fmt, ap);
	va_end(ap);
	for (char *c = text; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = '?';
	/* A name that is no UTF-8 is not worth failing for. */
	if (json_array_append_new(p->r->log_lines, json_string(text)) < 0 &&
	    json_array_append_new(p->r->log_lines, json_string(NOTE_PREFIX "(its name is no UTF-8)")) < 0)
		return err_set(e, "io", "no memory");
	return 0;
}

static int join(char out[PATH_MAX], const char *dir, const char *name, struct err *e)
{
	if (snprintf(out, PATH_MAX, "%s%s%s", dir, *dir && *name ? "/" : "", name) >= PATH_MAX)
		return err_set(e, "io", "the path is too long: %.200s…", out);
	return 0;
}

/* Somebody else's tree: git refuses it unless told otherwise, and its configuration is not ours. */
static int is_foreign(const char *dir)
{
	struct stat st;

	return stat(dir, &st) == 0 && st.st_uid != geteuid();
}

/* One word or line that git says, or "" when it fails. */
static void git_word(const char *dir, char *out, size_t n, const char *a, const char *b, const char *c)
{
	const char *args[] = { a, b, c, NULL };
	_cleanup_free_ char *text = NULL;
	size_t len;

	out[0] = '\0';
	if (gitrun(dir, is_foreign(dir), args, WORD_BYTES_MAX, &text, &len, NULL) == 0)
		snprintf(out, n, "%.*s", (int)strcspn(text, "\n"), text);
}

/* How many paths differ from the commit, or -1 when that is not asked here. */
static long count_changes(const char *dir)
{
	static const char *const args[] = { "status", "--porcelain", "-z", "--no-renames", NULL };
	_cleanup_free_ char *text = NULL;
	size_t len;
	long count = 0;

	if (is_foreign(dir) || gitrun(dir, 0, args, LIST_BYTES_MAX, &text, &len, NULL) < 0)
		return -1;
	/* "XY path", each with a NUL behind it. */
	for (const char *p = text; p < text + len; p += strlen(p) + 1)
		count += strlen(p) > 3 && strncmp(p + 3, PACK_OUT "/", sizeof(PACK_OUT)) != 0;
	return count;
}

static int note_git(struct pack *p, struct err *e)
{
	const char *name = strrchr(p->top, '/') + 1;
	char commit[80], branch[256], state[64];
	long changes = count_changes(p->top);

	git_word(p->top, commit, sizeof(commit), "rev-parse", "--verify", "HEAD");
	git_word(p->top, branch, sizeof(branch), "rev-parse", "--abbrev-ref", "HEAD");
	if (changes < 0)
		snprintf(state, sizeof(state), "uncommitted changes, if any, are in the build");
	else if (changes == 0)
		snprintf(state, sizeof(state), "nothing uncommitted");
	else
		snprintf(state, sizeof(state), "%ld uncommitted change%s in the build", changes,
			 changes == 1 ? " is" : "s are");
	if (!*commit)
		return note(p, e, "directory %s, no commit yet, all files are in the build", name);
	return note(p, e, "directory %s, commit %.12s%s%s, %s", name, commit,
		    strcmp(branch, "HEAD") != 0 && *branch ? " of " : "",
		    strcmp(branch, "HEAD") != 0 ? branch : "", state);
}

/* A linked work tree: what all trees share, with this one's HEAD and index, as a plain .git. */
static int add_linked(struct pack *p, const char *gitdir, const char *common, struct err *e)
{
	static const char *const own[] = { "HEAD", "index", "worktrees" };
	_cleanup_dir_ DIR *d = opendir(common);
	struct dirent *ent;
	char as[PATH_MAX];

	if (!d)
		return err_errno(e, "io", "cannot read %s", common);
	while ((ent = readdir(d))) {
		int skip = strcmp(ent->d_name, ".") == 0 || strcmp(ent->d_name, "..") == 0;

		for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
			skip |= strcmp(ent->d_name, own[i]) == 0;
		if (skip)
			continue;
		if (join(as, ".git", ent->d_name, e) < 0 ||
		    pack_tar_walk(p->tar, common, ent->d_name, as, e) < 0)
			return -1;
	}
	if (pack_tar_add(p->tar, gitdir, "HEAD", ".git/HEAD", e) < 0)
		return -1;
	return pack_tar_add(p->tar, gitdir, "index", ".git/index", e);
}

/* .git is a file, "gitdir: PATH". prefix: "" or where the nested tree lies. */
static int add_gitfile(struct pack *p, const char *dir, const char *prefix, struct err *e)
{
	char path[PATH_MAX], as[PATH_MAX], gitdir[PATH_MAX], common[PATH_MAX], *real;
	_cleanup_free_ char *text = NULL;
	size_t n = strlen(p->top);

	if (join(path, dir, ".git", e) < 0 || join(as, prefix, ".git", e) < 0 ||
	    fileio_read(AT_FDCWD, path, WORD_BYTES_MAX, &text, NULL, e) < 0)
		return -1;
	git_word(dir, gitdir, sizeof(gitdir), "rev-parse", "--absolute-git-dir", NULL);
	git_word(dir, common, sizeof(common), "rev-parse", "--path-format=absolute",
		 "--git-common-dir");
	real = *gitdir ? realpath(gitdir, path) : NULL;
	/* A submodule's, relative and inside what goes along: works in the guest as it is. */
	if (strncmp(text, "gitdir: /", 9) != 0 && real && strncmp(real, p->top, n) == 0 &&
	    real[n] == '/')
		return pack_tar_add(p->tar, dir, ".git", as, e);
	if (!*prefix && *common && strcmp(common, gitdir) != 0)
		return add_linked(p, gitdir, common, e);
	return note(p, e, "%s is left out, it points to a git directory elsewhere", as);
}

static int add_gitdir(struct pack *p, const char *dir, const char *prefix, struct err *e)
{
	char path[PATH_MAX], as[PATH_MAX];
	struct stat st;

	if (join(path, dir, ".git", e) < 0 || join(as, prefix, ".git", e) < 0)
		return -1;
	if (lstat(path, &st) < 0)
		return *prefix ? 0 : note(p, e, "only a part of a work tree, without .git");
	if (S_ISREG(st.st_mode))
		return add_gitfile(p, dir, prefix, e);
	if (pack_tar_walk(p->tar, dir, ".git", as, e) < 0 ||
	    join(path, dir, ".git/objects/info/alternates", e) < 0)
		return -1;
	if (access(path, F_OK) == 0)
		return note(p, e, "%s borrows objects from another repository, which are not "
			    "in the build", as);
	return 0;
}

static int add_tree(struct pack *p, const char *prefix, int depth, struct err *e);

/* One path that git listed, relative to prefix. A directory is a submodule or a nested clone. */
static int add_listed(struct pack *p, const char *dir, const char *prefix, char *name, int depth,
		      struct err *e)
{
	char as[PATH_MAX], path[PATH_MAX];
	size_t n = strlen(name);
	struct stat st;

	if (n > 1 && name[n - 1] == '/')
		name[n - 1] = '\0';
	if (join(as, prefix, name, e) < 0 || join(path, dir, name, e) < 0)
		return -1;
	if (lstat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
		if (!*prefix && strcmp(name, PACK_OUT) == 0)
			return 0;
		if (pack_tar_add(p->tar, dir, name, as, e) < 0)
			return -1;
		return add_tree(p, as, depth + 1, e);
	}
	return pack_tar_add(p->tar, dir, name, as, e);
}

static int add_git(struct pack *p, const char *dir, const char *prefix, int depth, struct err *e)
{
	static const char *const args[] = { "ls-files", "-z", "--cached", "--others",
					    "--exclude-standard", NULL };
	_cleanup_free_ char *list = NULL;
	const char *last = "";
	size_t len;

	if (gitrun(dir, is_foreign(dir), args, LIST_BYTES_MAX, &list, &len, e) < 0) {
		if (e && strcmp(e->code, "no_git") == 0)
			err_prefix(e, "%s has a .git, but its files cannot be listed (or give "
				   "--include-ignored)", dir);
		return -1;
	}
	for (char *name = list; name < list + len;) {
		size_t n = strlen(name);

		/* A path with conflicts is listed once for each side. */
		if (strcmp(name, last) != 0 && add_listed(p, dir, prefix, name, depth, e) < 0)
			return -1;
		last = name;
		name += n + 1;
	}
	return add_gitdir(p, dir, prefix, e);
}

/* prefix "" is the top, else a nested tree. */
static int add_tree(struct pack *p, const char *prefix, int depth, struct err *e)
{
	char dir[PATH_MAX], path[PATH_MAX], inside[16] = "";

	if (join(dir, p->top, prefix, e) < 0 || join(path, dir, ".git", e) < 0)
		return -1;
	if (depth > NESTED_MAX)
		return err_set(e, "io", "repositories lie in repositories more than %d deep", NESTED_MAX);
	if (!p->all && access(path, F_OK) == 0)
		return add_git(p, dir, prefix, depth, e);
	if (!p->all && !*prefix)
		git_word(dir, inside, sizeof(inside), "rev-parse", "--is-inside-work-tree", NULL);
	if (strcmp(inside, "true") == 0)
		return add_git(p, dir, prefix, depth, e);
	return pack_tar_walk(p->tar, dir, "", prefix, e);
}

static int note_source(struct pack *p, struct err *e)
{
	char path[PATH_MAX], inside[16];

	if (join(path, p->top, ".git", e) < 0)
		return -1;
	git_word(p->top, inside, sizeof(inside), "rev-parse", "--is-inside-work-tree", NULL);
	if (strcmp(inside, "true") == 0) {
		if (note_git(p, e) < 0)
			return -1;
	} else if (note(p, e, "directory %s, all its files", strrchr(p->top, '/') + 1) < 0) {
		return -1;
	}
	if (p->all && strcmp(inside, "true") == 0)
		return note(p, e, "ignored files are in the build too");
	return 0;
}

static int pack_all(struct pack *p, struct err *e)
{
	if (note_source(p, e) < 0 || add_tree(p, "", 0, e) < 0 || pack_tar_finish(p->tar, e) < 0)
		return -1;
	if (p->r->skipped > 0)
		return note(p, e, "%llu devices, sockets or pipes are left out",
			    (unsigned long long)p->r->skipped);
	return 0;
}

int pack_directory(const char *dir, int include_ignored, const char *const *skip, int fd,
		   struct pack_result *r, struct err *e)
{
	_cleanup_free_ char *top = realpath(dir, NULL);
	const char *skips[8] = { NULL };
	struct pack p = { .top = top, .all = include_ignored, .r = r };
	char out_dir[PATH_MAX];
	size_t n = 0;
	int rc;

	if (!top)
		return err_errno(e, "io", "cannot open %s", dir);
	if (strcmp(top, "/") == 0)
		return err_set(e, "io", "/ is not a source directory");
	if (join(out_dir, top, PACK_OUT, e) < 0)
		return -1;
	skips[n++] = out_dir;
	for (; skip && *skip && n < 7; skip++)
		if (strcmp(*skip, top) != 0)
			skips[n++] = *skip;
	r->log_lines = json_array();
	if (pack_tar_open(fd, r, &p.tar, e) < 0)
		return -1;
	pack_tar_skip(p.tar, skips);
	rc = pack_all(&p, e);
	pack_tar_free(p.tar);
	if (rc == 0 && lseek(fd, 0, SEEK_SET) < 0)
		rc = err_errno(e, "io", "cannot rewind the source tar");
	return rc;
}
