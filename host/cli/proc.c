/* SPDX-License-Identifier: Apache-2.0 */
/* proc.c - reads /proc. Owns nothing. */
#include "proc.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"

#define STAT_BYTES 1024u
#define START_FIELD 22

static ssize_t read_small(const char *path, char *buf, size_t n)
{
	_cleanup_fd_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got = fd < 0 ? -1 : read(fd, buf, n - 1);

	buf[got > 0 ? got : 0] = '\0';
	return got;
}

int proc_start_ticks(pid_t pid, unsigned long long *ticks)
{
	char path[64], buf[STAT_BYTES], *p;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	if (read_small(path, buf, sizeof(buf)) <= 0)
		return -1;
	p = strrchr(buf, ')'); /* the name, field 2, may hold anything */
	for (int field = 2; p && field < START_FIELD; field++) {
		p = strchr(p, ' ');
		if (p)
			p++;
	}
	return p && sscanf(p, "%llu", ticks) == 1 ? 0 : -1;
}

int proc_boot_id(char out[PROC_BOOT_ID_BYTES])
{
	char buf[64];

	if (read_small("/proc/sys/kernel/random/boot_id", buf, sizeof(buf)) <= 0)
		return -1;
	buf[strcspn(buf, "\n")] = '\0';
	return snprintf(out, PROC_BOOT_ID_BYTES, "%s", buf) < PROC_BOOT_ID_BYTES ? 0 : -1;
}

uint64_t proc_memory(pid_t pid)
{
	char path[64], buf[256];
	unsigned long long size, resident;

	snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
	if (pid <= 0 || read_small(path, buf, sizeof(buf)) <= 0 ||
	    sscanf(buf, "%llu %llu", &size, &resident) != 2)
		return 0;
	return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}
