/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load.c - what the measured guests do: print lines, write files. Static, runs in kiln's guest
 * as a step and below floor.c, so that both sides of a comparison do the same work.
 *
 *   load lines BYTES [CHUNK]      lines of 80 bytes to standard output, CHUNK bytes a write
 *   load files DIR COUNT BYTES    COUNT files of BYTES bytes each that do not compress
 *
 * One buffer is made before and written again and again: the writes are measured, not the
 * making of text.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINE_BYTES	80u
#define LINES_CHUNK	(16u * 1024)
#define FILES_CHUNK	(1024u * 1024)
#define FILES_PER_DIR	1000u

static uint8_t buffer[FILES_CHUNK];

static int fail(const char *what)
{
	fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
	return 1;
}

static int write_all(int fd, const uint8_t *p, size_t n)
{
	while (n > 0) {
		ssize_t done = write(fd, p, n);

		if (done < 0)
			return -1;
		p += done;
		n -= (size_t)done;
	}
	return 0;
}

static int write_many(int fd, uint64_t bytes, size_t chunk)
{
	while (bytes > 0) {
		size_t n = bytes < chunk ? (size_t)bytes : chunk;

		if (write_all(fd, buffer, n) < 0)
			return -1;
		bytes -= n;
	}
	return 0;
}

static int lines(uint64_t bytes, size_t chunk)
{
	for (size_t i = 0; i < chunk; i++)
		buffer[i] = i % LINE_BYTES == LINE_BYTES - 1 ? '\n' : (uint8_t)('!' + i % 89);
	return write_many(STDOUT_FILENO, bytes, chunk) < 0 ? fail("standard output") : 0;
}

/* A block of its own for each file (xorshift64): nothing on the way may find two alike. */
static void fill(uint64_t seed, size_t n)
{
	uint64_t x = seed * 0x9e3779b97f4a7c15u + 1;

	for (size_t i = 0; i + 8 <= n; i += 8) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		memcpy(buffer + i, &x, 8);
	}
}

static int files(const char *dir, uint64_t count, uint64_t bytes)
{
	char path[4096];

	for (uint64_t i = 0; i < count; i++) {
		int fd;

		if (i % FILES_PER_DIR == 0) {
			snprintf(path, sizeof(path), "%s/%03u", dir, (unsigned)(i / FILES_PER_DIR));
			if (mkdir(path, 0755) < 0)
				return fail(path);
		}
		snprintf(path, sizeof(path), "%s/%03u/file-%06u", dir, (unsigned)(i / FILES_PER_DIR),
			 (unsigned)i);
		fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0644);
		if (fd < 0)
			return fail(path);
		fill(i, bytes < FILES_CHUNK ? (size_t)bytes : FILES_CHUNK);
		if (write_many(fd, bytes, FILES_CHUNK) < 0)
			return fail(path);
		close(fd);
	}
	return 0;
}

int main(int argc, char **argv)
{
	if (argc >= 3 && strcmp(argv[1], "lines") == 0) {
		uint64_t chunk = argc > 3 ? strtoull(argv[3], NULL, 10) : LINES_CHUNK;

		if (chunk >= 1 && chunk <= sizeof(buffer))
			return lines(strtoull(argv[2], NULL, 10), (size_t)chunk);
	}
	if (argc == 5 && strcmp(argv[1], "files") == 0)
		return files(argv[2], strtoull(argv[3], NULL, 10), strtoull(argv[4], NULL, 10));
	fprintf(stderr, "usage: load lines BYTES [CHUNK] | load files DIR COUNT BYTES\n");
	return 2;
}
