/* SPDX-License-Identifier: Apache-2.0 */
/*
 * selftest.c - proves that the libraries of kiln-agent work together in one static program.
 *
 * Owns: nothing that lasts. Links every library the agent links. `selftest versions` prints what is
 * linked; `selftest clone URL DIR TAR [CA]` clones URL with depth 1 into DIR, writes DIR's files as a
 * pax tar into TAR and prints the commit and the XXH3-64 of the tar as JSON. Not part of the agent.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <linux/vm_sockets.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <archive.h>
#include <archive_entry.h>
#include <git2.h>
#include <jansson.h>
#include <mbedtls/version.h>
#include <xxhash.h>
#include <zlib.h>

#define PATH_CAP_BYTES 4096

static int fail_git(const char *what)
{
	const git_error *g = git_error_last();

	fprintf(stderr, "%s: %s\n", what, g ? g->message : "no reason given");
	return -1;
}

static int clone_shallow(const char *url, const char *dir, char *commit, size_t cap)
{
	git_clone_options opts;
	git_repository *repo = NULL;
	git_oid oid;

	if (git_clone_options_init(&opts, GIT_CLONE_OPTIONS_VERSION) < 0)
		return fail_git("options");
	opts.fetch_opts.depth = 1;
	if (git_clone(&repo, url, dir, &opts) < 0)
		return fail_git("clone");
	if (git_reference_name_to_id(&oid, repo, "HEAD") < 0)
		return fail_git("HEAD");
	git_oid_tostr(commit, cap, &oid);
	if (!git_repository_is_shallow(repo)) {
		fprintf(stderr, "the clone is not shallow: depth was ignored\n");
		return -1;
	}
	git_repository_free(repo);
	return 0;
}

static int tar_file(struct archive *a, const char *path, const char *name, const struct stat *st)
{
	struct archive_entry *entry = archive_entry_new();
	unsigned char buf[65536];
	ssize_t n;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0 || !entry)
		return -1;
	archive_entry_copy_stat(entry, st);
	archive_entry_set_pathname(entry, name);
	if (archive_write_header(a, entry) != ARCHIVE_OK) {
		fprintf(stderr, "tar: %s\n", archive_error_string(a));
		return -1;
	}
	while ((n = read(fd, buf, sizeof(buf))) > 0) {
		if (archive_write_data(a, buf, (size_t)n) != n)
			return -1;
	}
	close(fd);
	archive_entry_free(entry);
	return n < 0 ? -1 : 0;
}

static int tar_directory(const char *dir, const char *tar)
{
	struct archive *a = archive_write_new();
	DIR *d = opendir(dir);
	struct dirent *e;
	int rc = 0;

	if (!a || !d || archive_write_set_format_pax_restricted(a) != ARCHIVE_OK ||
	    archive_write_open_filename(a, tar) != ARCHIVE_OK)
		return -1;
	while (rc == 0 && (e = readdir(d))) {
		char path[PATH_CAP_BYTES];
		struct stat st;
		int n = snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);

		if (n < 0 || (size_t)n >= sizeof(path) || lstat(path, &st) < 0)
			return -1;
		if (S_ISREG(st.st_mode))
			rc = tar_file(a, path, e->d_name, &st);
	}
	closedir(d);
	if (archive_write_close(a) != ARCHIVE_OK)
		rc = -1;
	archive_write_free(a);
	return rc;
}

static int hash_file(const char *path, char *hex, size_t cap)
{
	XXH3_state_t state;
	unsigned char buf[65536];
	ssize_t n;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -1;
	XXH3_64bits_reset(&state);
	while ((n = read(fd, buf, sizeof(buf))) > 0)
		XXH3_64bits_update(&state, buf, (size_t)n);
	close(fd);
	snprintf(hex, cap, "%016llx", (unsigned long long)XXH3_64bits_digest(&state));
	return n < 0 ? -1 : 0;
}

static void print_versions(void)
{
	int major, minor, rev;
	char tls[16];

	git_libgit2_version(&major, &minor, &rev);
	mbedtls_version_get_string(tls);
	printf("libgit2 %d.%d.%d, mbedTLS %s, %s, zlib %s, jansson %s, vsock family %d, landlock %u\n", major,
	       minor, rev, tls, archive_version_string(), zlibVersion(), jansson_version_str(), AF_VSOCK,
	       (unsigned)LANDLOCK_CREATE_RULESET_VERSION);
}

static int run_clone(const char *url, const char *dir, const char *tar, const char *ca)
{
	char commit[GIT_OID_MAX_HEXSIZE + 1];
	char hex[17];
	json_t *out;

	if (ca && git_libgit2_opts(GIT_OPT_SET_SSL_CERT_LOCATIONS, ca, NULL) < 0)
		return fail_git("CA bundle");
	if (clone_shallow(url, dir, commit, sizeof(commit)) < 0 || tar_directory(dir, tar) < 0 ||
	    hash_file(tar, hex, sizeof(hex)) < 0)
		return -1;
	out = json_pack("{s:s, s:s}", "commit", commit, "xxh3_64", hex);
	if (!out || json_dumpf(out, stdout, JSON_SORT_KEYS) < 0)
		return -1;
	json_decref(out);
	putchar('\n');
	return 0;
}

int main(int argc, char **argv)
{
	int rc = 2;

	signal(SIGPIPE, SIG_IGN); /* libgit2 sends without MSG_NOSIGNAL */
	if (git_libgit2_init() < 0) {
		fail_git("git_libgit2_init");
		return 1;
	}
	if (argc == 2 && strcmp(argv[1], "versions") == 0) {
		print_versions();
		rc = 0;
	} else if ((argc == 5 || argc == 6) && strcmp(argv[1], "clone") == 0) {
		rc = run_clone(argv[2], argv[3], argv[4], argc == 6 ? argv[5] : NULL) < 0;
	} else {
		fprintf(stderr, "usage: selftest versions | selftest clone URL DIR TAR [CA]\n");
	}
	git_libgit2_shutdown();
	return rc;
}
