/* SPDX-License-Identifier: Apache-2.0 */
/* tarout_test.c - a tree that somebody hostile made, walked and sent as a tar of artifacts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "select.h"
#include "tarout.h"
#include "walk.h"
#include "wire.h"

static const uint8_t secret[WIRE_MAX_SECRET];

struct rig {
	char path[64];
	int fd, host;
	struct bulk *bulk;
	struct tarout *tar;
	char seen[4096], odd[4096]; /* "path note|" of what was taken, what could not be read */
};

static int setup(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));
	struct bulk_want want = { .kind = WIRE_KIND_ARTIFACTS, .secret = secret };
	struct wire_msg msg = { .type = WIRE_OPENED };
	struct fail f;
	uint8_t out[64];
	size_t n;
	int sp[2], size = 4 << 20;

	snprintf(r->path, sizeof(r->path), "/tmp/tarout_test.XXXXXX");
	assert_non_null(mkdtemp(r->path));
	r->fd = open(r->path, O_PATH | O_DIRECTORY);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sp), 0);
	setsockopt(sp[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	r->host = sp[0];
	assert_int_equal(wire_encode(&msg, out, sizeof(out), &n), WIRE_OK);
	assert_int_equal(send(r->host, out, n, 0), n);
	assert_int_equal(bulk_open(sp[1], &want, &r->bulk, NULL, &f), 0);
	assert_int_equal(tarout_new(r->bulk, &r->tar, &f), 0);
	*state = r;
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	(void)st;
	(void)kind;
	(void)ftw;
	return remove(path);
}

static int teardown(void **state)
{
	struct rig *r = *state;

	tarout_free(r->tar);
	bulk_free(r->bulk);
	close(r->host);
	close(r->fd);
	nftw(r->path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(r);
	return 0;
}

static void make(const struct rig *r, const char *name, const char *text, mode_t mode)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", r->path, name);
	fd = open(path, O_CREAT | O_WRONLY | O_EXCL, mode);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static void make_dir(const struct rig *r, const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", r->path, name);
	assert_int_equal(mkdir(path, 0755), 0);
}

static void make_link(const struct rig *r, const char *target, const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", r->path, name);
	assert_int_equal(symlink(target, path), 0);
}

static unsigned on_judge(void *ctx, const char *path, const struct stat *st, int inside)
{
	(void)ctx;
	(void)inside;
	if (strcmp(path, "pruned") == 0)
		return 0;
	return S_ISDIR(st->st_mode) ? SELECT_TAKE | SELECT_DESCEND : SELECT_TAKE;
}

static int on_take(void *ctx, const char *path, const struct stat *st, struct fail *f)
{
	struct rig *r = ctx;
	uint64_t bytes;
	size_t at = strlen(r->seen);
	int note = tarout_add(r->tar, r->fd, path, st, &bytes, f);

	snprintf(r->seen + at, sizeof(r->seen) - at, "%s %d %llu|", path, note,
		 (unsigned long long)bytes);
	return note < 0 ? -1 : 0;
}

static void on_unreadable(void *ctx, const char *path, int err)
{
	struct rig *r = ctx;
	size_t at = strlen(r->odd);

	snprintf(r->odd + at, sizeof(r->odd) - at, "%.40s %d|", path, err);
}

static const struct walk_ops ops = { on_judge, on_take, on_unreadable };

/* End the stream and open the tar that came out of it. *tar is to be freed. */
static struct archive *read_back(struct rig *r, uint8_t **tar)
{
	static uint8_t buf[4 << 20];
	struct archive *a = archive_read_new();
	size_t n = 0, at = 0, bytes = 0;
	struct wire_msg msg = { 0 };
	struct fail f;
	size_t used;

	assert_int_equal(tarout_finish(r->tar, &f), 0);
	assert_int_equal(bulk_end(r->bulk, &f), 0);
	*tar = malloc(sizeof(buf));
	while (msg.type != WIRE_END) {
		enum wire_status st = wire_decode(WIRE_FROM_GUEST, buf + at, n - at, &msg, &used);

		if (st == WIRE_MORE) {
			ssize_t got = recv(r->host, buf + n, sizeof(buf) - n, 0);

			assert_true(got > 0);
			n += (size_t)got;
			msg.type = 0;
			continue;
		}
		assert_int_equal(st, WIRE_OK);
		at += used;
		if (msg.type == WIRE_DATA) {
			memcpy(*tar + bytes, msg.u.data.data.p, msg.u.data.data.n);
			bytes += msg.u.data.data.n;
		}
	}
	assert_int_equal(archive_read_support_format_tar(a), ARCHIVE_OK);
	assert_int_equal(archive_read_open_memory(a, *tar, bytes), ARCHIVE_OK);
	return a;
}

static void test_tree(void **state)
{
	struct rig *r = *state;
	static const char *const expected[] = { "b", "d/x", "empty/", "hard", "link", "run" };
	struct archive_entry *e;
	struct archive *a;
	struct fail f = { 0 };
	uint8_t *tar;
	char path[256], text[32];

	make(r, "run", "#!", 0755);
	make(r, "b", "hello", 0640);
	make_dir(r, "empty");
	make_dir(r, "d");
	make(r, "d/x", "", 0644);
	make_dir(r, "pruned");
	make(r, "pruned/x", "x", 0644);
	make_link(r, "/etc/passwd", "link");
	snprintf(path, sizeof(path), "%s/fifo", r->path);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(linkat(r->fd, "b", r->fd, "hard", 0), 0);
	if (walk_run(r->fd, &ops, r, &f) < 0)
		fail_msg("%s", f.text);
	/* in order; the directory d is not empty, so its entry is not needed */
	assert_string_equal(r->seen, "b 0 5|d/x 0 0|empty 0 0|fifo 4 0|hard 0 0|link 0 0|run 0 2|");
	assert_string_equal(r->odd, "");
	a = read_back(r, &tar);
	for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
		assert_int_equal(archive_read_next_header(a, &e), ARCHIVE_OK);
		assert_string_equal(archive_entry_pathname(e), expected[i]);
		if (i == 0) {
			assert_int_equal(archive_entry_mode(e), S_IFREG | 0640);
			assert_int_equal(archive_read_data(a, text, sizeof(text)), 5);
			assert_memory_equal(text, "hello", 5);
		} else if (i == 3) {
			assert_string_equal(archive_entry_hardlink(e), "b");
		} else if (i == 4) {
			assert_string_equal(archive_entry_symlink(e), "/etc/passwd");
		}
	}
	assert_int_equal(archive_read_next_header(a, &e), ARCHIVE_EOF);
	archive_read_free(a);
	free(tar);
}

/* What a path leads to can be changed between the look and the opening. */
static void test_links_are_not_followed(void **state)
{
	struct rig *r = *state;
	struct stat regular = { .st_mode = S_IFREG | 0644, .st_size = 5 };
	struct fail f;
	uint64_t bytes;

	make_link(r, "/etc/passwd", "file");
	make_link(r, "/etc", "dir");
	assert_int_equal(tarout_add(r->tar, r->fd, "file", &regular, &bytes, &f), TAROUT_UNREADABLE);
	assert_int_equal(tarout_add(r->tar, r->fd, "dir/passwd", &regular, &bytes, &f),
			 TAROUT_UNREADABLE);
	assert_int_equal(tarout_add(r->tar, r->fd, "../etc/passwd", &regular, &bytes, &f),
			 TAROUT_UNREADABLE);
	make_dir(r, "now-a-directory");
	assert_int_equal(tarout_add(r->tar, r->fd, "now-a-directory", &regular, &bytes, &f),
			 TAROUT_NO_FILE);
}

/* A file in /proc says 0 bytes and has some, one in /sys says 4096 and has less. */
static void test_a_file_that_is_shorter_than_it_says(void **state)
{
	struct rig *r = *state;
	int sys = open("/sys/kernel", O_PATH | O_DIRECTORY);
	struct stat st;
	struct archive_entry *e;
	struct archive *a;
	struct fail f;
	uint64_t bytes;
	uint8_t *tar, content[8192];

	assert_true(sys >= 0 && fstatat(sys, "uevent_seqnum", &st, 0) == 0);
	assert_int_equal(st.st_size, 4096);
	assert_int_equal(tarout_add(r->tar, sys, "uevent_seqnum", &st, &bytes, &f), TAROUT_SHRANK);
	close(sys);
	make(r, "after", "tail", 0644);
	assert_int_equal(walk_run(r->fd, &ops, r, &f), 0);
	a = read_back(r, &tar);
	assert_int_equal(archive_read_next_header(a, &e), ARCHIVE_OK);
	assert_int_equal(archive_read_data(a, content, sizeof(content)), 4096);
	assert_int_equal(content[4095], 0);
	assert_int_equal(archive_read_next_header(a, &e), ARCHIVE_OK);
	assert_string_equal(archive_entry_pathname(e), "after");
	archive_read_free(a);
	free(tar);
}

static void test_depth_and_length(void **state)
{
	struct rig *r = *state;
	char name[201];
	struct fail f = { 0 };
	int fd = open(r->path, O_RDONLY | O_DIRECTORY);

	memset(name, 'd', 200);
	name[200] = '\0';
	for (int i = 0; i < 25; i++) { /* 5000 bytes of path */
		int next;

		assert_int_equal(mkdirat(fd, name, 0755), 0);
		next = openat(fd, name, O_RDONLY | O_DIRECTORY);
		assert_true(next >= 0);
		close(fd);
		fd = next;
	}
	close(fd);
	assert_int_equal(walk_run(r->fd, &ops, r, &f), 0);
	assert_string_equal(r->seen, "");
	assert_non_null(strstr(r->odd, " 36|")); /* ENAMETOOLONG, once */
	assert_null(strstr(strstr(r->odd, " 36|") + 1, " 36|"));
}

static void test_the_stream_breaks(void **state)
{
	struct rig *r = *state;
	struct fail f = { 0 };
	static char big[1 << 20];

	memset(big, 'x', sizeof(big) - 1);
	make(r, "big", big, 0644);
	close(r->host);
	assert_int_equal(walk_run(r->fd, &ops, r, &f), -1);
	assert_non_null(strstr(f.text, "the stream to the host broke"));
	assert_string_equal(r->seen, "big -1 1048575|");
	r->host = open("/dev/null", O_RDONLY);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_tree, setup, teardown),
		cmocka_unit_test_setup_teardown(test_links_are_not_followed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_file_that_is_shorter_than_it_says, setup, teardown),
		cmocka_unit_test_setup_teardown(test_depth_and_length, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_stream_breaks, setup, teardown),
	};

	return cmocka_run_group_tests_name("agent/tarout", tests, NULL, NULL);
}
