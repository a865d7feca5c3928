/* SPDX-License-Identifier: Apache-2.0 */
/* pack_test.c - which files of a directory go into the source tar. Uses git. */
#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "cleanup.h"
#include "fileio.h"
#include "pack.h"

static char dir[64];

static int setup(void **state)
{
	(void)state;
	setenv("GIT_CONFIG_GLOBAL", "/dev/null", 1);
	setenv("GIT_CONFIG_SYSTEM", "/dev/null", 1);
	snprintf(dir, sizeof(dir), "/tmp/kiln-pack-test-XXXXXX");
	return mkdtemp(dir) && chdir(dir) == 0 ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	return chdir("/") == 0 ? fileio_remove_tree(AT_FDCWD, dir, NULL) : -1;
}

static void put(const char *path, const char *text)
{
	char parent[256];
	char *slash;
	struct err e;

	snprintf(parent, sizeof(parent), "%s", path);
	slash = strrchr(parent, '/');
	if (slash) {
		*slash = '\0';
		fileio_mkdirs(parent, 0755, &e);
	}
	if (fileio_replace(AT_FDCWD, path, text, strlen(text), 0644, &e) < 0)
		fail_msg("%s", e.text);
}

/* Run a program with words; its failure fails the test. */
static void sh(const char *script)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		execl("/bin/sh", "sh", "-ec", script, (char *)NULL);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (status != 0)
		fail_msg("%s: %d", script, status);
}

#define GIT "git -c user.name=t -c user.email=t@example.org -c init.defaultBranch=main -c protocol.file.allow=always "

struct packed {
	char names[8192]; /* "|a|b|" */
	char lines[2048]; /* log lines, one a line */
	char last[256];   /* content of the file asked for */
	struct err e;
	int rc;
};

static struct packed pack(const char *top, int all, const char *const *skip, const char *want)
{
	static struct packed p;
	struct pack_result r = { 0 };
	struct archive *a = archive_read_new();
	struct archive_entry *entry;
	_cleanup_fd_ int fd = memfd_create("tar", MFD_CLOEXEC);
	json_t *line;
	size_t i;

	memset(&p, 0, sizeof(p));
	p.rc = pack_directory(top, all, skip, fd, &r, &p.e);
	snprintf(p.names, sizeof(p.names), "|");
	json_array_foreach(r.log_lines, i, line)
		snprintf(p.lines + strlen(p.lines), sizeof(p.lines) - strlen(p.lines), "%s\n",
			 json_string_value(line));
	json_decref(r.log_lines);
	/* Like every line of the log that is not the build's own. */
	for (const char *l = p.lines; *l; l = strchr(l, '\n') + 1)
		if (strncmp(l, "kiln: source: ", 14) != 0)
			fail_msg("a line of the log is '%.*s'", (int)strcspn(l, "\n"), l);
	if (p.rc == 0) {
		archive_read_support_format_tar(a);
		assert_int_equal(archive_read_open_fd(a, fd, 10240), ARCHIVE_OK);
		while (archive_read_next_header(a, &entry) == ARCHIVE_OK) {
			const char *name = archive_entry_pathname(entry);

			snprintf(p.names + strlen(p.names), sizeof(p.names) - strlen(p.names), "%s|", name);
			if (want && strcmp(name, want) == 0) {
				if (archive_entry_symlink(entry))
					snprintf(p.last, sizeof(p.last), "-> %s", archive_entry_symlink(entry));
				else
					archive_read_data(a, p.last, sizeof(p.last) - 1);
			}
		}
	}
	archive_read_free(a);
	return p;
}

static void has(const struct packed *p, const char *name, int want)
{
	char with[512];

	if (p->rc < 0)
		fail_msg("%s", p->e.text);
	snprintf(with, sizeof(with), "|%s|", name);
	if ((strstr(p->names, with) != NULL) != want)
		fail_msg("%s is %s in %s", name, want ? "not" : "there", p->names);
}

static void without_git_every_file_goes_in(void **state)
{
	struct packed p;

	(void)state;
	put("a/b/c", "x");
	put(".hidden", "x");
	put("kiln-out/old", "x");
	put("sub/kiln-out/kept", "x");
	assert_int_equal(symlink("/etc/passwd", "link"), 0);
	assert_int_equal(mkfifo("pipe", 0600), 0);
	p = pack(".", 0, NULL, "link");
	has(&p, "a/b/c", 1);
	has(&p, ".hidden", 1);
	has(&p, "link", 1);
	has(&p, "sub/kiln-out/kept", 1);
	has(&p, "kiln-out/old", 0);
	has(&p, "kiln-out/", 0);
	has(&p, "pipe", 0);
	assert_string_equal(p.last, "-> /etc/passwd");
	assert_non_null(strstr(p.lines, "1 devices, sockets or pipes are left out"));
}

static void with_git_what_it_tracks_or_does_not_ignore(void **state)
{
	struct packed p;

	(void)state;
	put(".gitignore", "*.o\nbuild/\n");
	put("main.c", "committed");
	put("gone.c", "x");
	sh(GIT "init -q . && " GIT "add . && " GIT "commit -qm x");
	put("main.c", "changed");
	put("new.c", "x");
	put("x.o", "x");
	put("build/out", "x");
	put("kiln-out/old", "x");
	put("umlaut \xc3\xbc\n.c", "x");
	assert_int_equal(unlink("gone.c"), 0);
	p = pack(".", 0, NULL, "main.c");
	has(&p, "main.c", 1);
	has(&p, "new.c", 1);
	has(&p, ".git/HEAD", 1);
	has(&p, ".git/refs/", 1);
	has(&p, "umlaut \xc3\xbc\n.c", 1);
	has(&p, "x.o", 0);
	has(&p, "build/out", 0);
	has(&p, "gone.c", 0);
	has(&p, "kiln-out/old", 0);
	assert_string_equal(p.last, "changed");
	assert_non_null(strstr(p.lines, " of main, 4 uncommitted changes are in the build"));
	p = pack(".", 1, NULL, NULL);
	has(&p, "x.o", 1);
	has(&p, "build/out", 1);
	has(&p, "kiln-out/old", 0);
	assert_non_null(strstr(p.lines, "ignored files are in the build too"));
}

static void submodules_and_nested_clones(void **state)
{
	struct packed p;

	(void)state;
	put("lib/l.c", "x");
	put("lib/.gitignore", "*.o\n");
	sh("cd lib && " GIT "init -q . && " GIT "add . && " GIT "commit -qm x");
	put("top/main.c", "x");
	sh("cd top && " GIT "init -q . && " GIT "submodule --quiet add ../lib sub && " GIT "add . && "
	   GIT "commit -qm x");
	put("top/sub/untracked.c", "x");
	put("top/sub/x.o", "x");
	put("top/nested/n.c", "x");
	sh("cd top/nested && " GIT "init -q .");
	p = pack("top", 0, NULL, "sub/.git");
	has(&p, "sub/l.c", 1);
	has(&p, "sub/untracked.c", 1);
	has(&p, "sub/x.o", 0);
	has(&p, "sub/.git", 1);
	has(&p, ".git/modules/sub/HEAD", 1);
	has(&p, "nested/n.c", 1);
	has(&p, "nested/.git/HEAD", 1);
	assert_string_equal(p.last, "gitdir: ../.git/modules/sub\n");
}

/* The guest must be able to use it: unpack it elsewhere and ask git. */
static void a_linked_work_tree_becomes_a_plain_one(void **state)
{
	struct pack_result r = { 0 };
	struct err e;
	int fd;

	(void)state;
	put("main/a.c", "x");
	sh("cd main && " GIT "init -q . && " GIT "add . && " GIT "commit -qm x && " GIT
	   "worktree add -q -b side ../tree");
	put("tree/b.c", "x");
	fd = open("tar", O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (pack_directory("tree", 0, NULL, fd, &r, &e) < 0)
		fail_msg("%s", e.text);
	json_decref(r.log_lines);
	close(fd);
	sh("rm -rf main tree && mkdir x && tar -xf tar -C x && cd x && "
	   "test \"$(git rev-parse --abbrev-ref HEAD)\" = side && "
	   "test \"$(git status --porcelain)\" = '?? b.c'");
}

static void a_part_of_a_work_tree_has_no_git(void **state)
{
	struct packed p;

	(void)state;
	put("top/part/a.c", "x");
	put("top/.gitignore", "*.o\n");
	sh("cd top && " GIT "init -q . && " GIT "add . && " GIT "commit -qm x");
	put("top/part/x.o", "x");
	p = pack("top/part", 0, NULL, NULL);
	has(&p, "a.c", 1);
	has(&p, "x.o", 0);
	assert_non_null(strstr(p.lines, "only a part of a work tree, without .git"));
}

static void what_is_to_be_skipped_is(void **state)
{
	char a[128];
	const char *skip[] = { a, NULL };
	struct packed p;

	(void)state;
	put("state/builds/log", "x");
	put("statement", "x");
	snprintf(a, sizeof(a), "%s/state", dir);
	p = pack(".", 0, skip, NULL);
	has(&p, "state/builds/log", 0);
	has(&p, "state/", 0);
	has(&p, "statement", 1);
}

static void more_than_2_gib_is_refused_before_it_is_packed(void **state)
{
	struct packed p;
	int fd = open("big", O_WRONLY | O_CREAT, 0600);

	(void)state;
	assert_int_equal(ftruncate(fd, (off_t)PACK_BYTES_MAX + 1), 0);
	close(fd);
	p = pack(".", 0, NULL, NULL);
	assert_int_equal(p.rc, -1);
	assert_string_equal(p.e.code, "too_large");
	assert_non_null(strstr(p.e.text, "2 GiB"));
}

static void the_configuration_of_a_repository_runs_nothing(void **state)
{
	struct packed p;

	(void)state;
	put("a.c", "x");
	sh(GIT "init -q . && " GIT "add . && " GIT "commit -qm x && printf '#!/bin/sh\\ntouch \"$0.ran\"\\n' "
	   "> /tmp/kiln-pack-hook && chmod +x /tmp/kiln-pack-hook && rm -f /tmp/kiln-pack-hook.ran && "
	   "git config core.fsmonitor /tmp/kiln-pack-hook");
	p = pack(".", 0, NULL, NULL);
	has(&p, "a.c", 1);
	assert_int_equal(access("/tmp/kiln-pack-hook.ran", F_OK), -1);
	unlink("/tmp/kiln-pack-hook");
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(without_git_every_file_goes_in),
		T(with_git_what_it_tracks_or_does_not_ignore),
		T(submodules_and_nested_clones),
		T(a_linked_work_tree_becomes_a_plain_one),
		T(a_part_of_a_work_tree_has_no_git),
		T(what_is_to_be_skipped_is),
		T(more_than_2_gib_is_refused_before_it_is_packed),
		T(the_configuration_of_a_repository_runs_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
