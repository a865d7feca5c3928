/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cgroup.c - reads and writes the files of cgroup v2. Owns nothing but the descriptors in
 * struct cgroups; allocates nothing. All through directory descriptors: what a root step
 * mounts over /sys does not matter.
 */
#include "cgroup.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "wire_msg.h"

uint64_t cgroup_job_memory(uint64_t ram_bytes)
{
	uint64_t keep = ram_bytes / 100 * CGROUP_RESERVE_PERCENT;

	if (keep < CGROUP_RESERVE_MIN_BYTES)
		keep = CGROUP_RESERVE_MIN_BYTES;
	return ram_bytes > 2 * keep ? ram_bytes - keep : ram_bytes / 2;
}

/* A process costs the kernel some 100 to 200 KiB: the limit must come before the memory's. */
uint32_t cgroup_step_pids(uint64_t ram_bytes)
{
	uint64_t pids = (ram_bytes >> 20) * 2;

	if (pids < CGROUP_PIDS_MIN)
		return CGROUP_PIDS_MIN;
	return pids > CGROUP_PIDS_MAX ? CGROUP_PIDS_MAX : (uint32_t)pids;
}

static int put(int dir, const char *file, const char *value)
{
	int fd = openat(dir, file, O_WRONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -1;
	n = write(fd, value, strlen(value));
	close(fd);
	return n < 0 ? -1 : 0;
}

static int put_number(int dir, const char *file, uint64_t v)
{
	char text[24];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)v);
	return put(dir, file, text);
}

/* The front of a file as a string; "" when it cannot be read. */
static void get(int dir, const char *file, char *buf, size_t cap)
{
	int fd = openat(dir, file, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, buf, cap - 1) : 0;

	buf[n > 0 ? n : 0] = '\0';
	if (fd >= 0)
		close(fd);
}

/* The number behind `key ` at the start of a line. */
static uint64_t value_of(const char *text, const char *key)
{
	size_t n = strlen(key);

	for (const char *p = text; p; p = strchr(p, '\n')) {
		p += *p == '\n';
		if (strncmp(p, key, n) == 0 && p[n] == ' ')
			return strtoull(p + n + 1, NULL, 10);
	}
	return 0;
}

static int open_group(int parent, const char *name)
{
	mkdirat(parent, name, 0755);
	return openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

int cgroup_init(struct cgroups *c, uint64_t ram_bytes, struct fail *f)
{
	c->job_memory_bytes = cgroup_job_memory(ram_bytes);
	c->step_pids = cgroup_step_pids(ram_bytes);
	c->job_fd = -1;
	c->root_fd = open("/sys/fs/cgroup", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (c->root_fd < 0 || put(c->root_fd, "cgroup.subtree_control", "+memory +pids +cpu") < 0)
		return fail_errno(f, WIRE_CLASS_AGENT, "cannot use cgroups");
	c->job_fd = open_group(c->root_fd, "job");
	if (c->job_fd < 0 || put_number(c->job_fd, "memory.max", c->job_memory_bytes) < 0 ||
	    put_number(c->job_fd, "pids.max", 2ull * c->step_pids) < 0 ||
	    put(c->job_fd, "cgroup.subtree_control", "+memory +pids") < 0)
		return fail_errno(f, WIRE_CLASS_AGENT, "cannot limit the job's cgroup");
	return 0;
}

int cgroup_make(int parent_fd, const char *name, uint32_t pids_max, int *fd, struct fail *f)
{
	int dir = open_group(parent_fd, name);

	if (dir < 0)
		return fail_errno(f, WIRE_CLASS_AGENT, "cannot make the cgroup %s", name);
	if (put(dir, "memory.oom.group", "1") < 0 || put_number(dir, "pids.max", pids_max) < 0) {
		fail_errno(f, WIRE_CLASS_AGENT, "cannot limit the cgroup %s", name);
		close(dir);
		return -1;
	}
	*fd = dir;
	return 0;
}

int cgroup_enter(int fd)
{
	return put(fd, "cgroup.procs", "0");
}

void cgroup_usage(int fd, struct cgroup_usage *u)
{
	char text[1024];

	get(fd, "cpu.stat", text, sizeof(text));
	u->cpu_us = value_of(text, "usage_usec");
	get(fd, "memory.events", text, sizeof(text));
	u->oom_kills = value_of(text, "oom_kill");
	get(fd, "memory.peak", text, sizeof(text));
	u->peak_bytes = strtoull(text, NULL, 10);
}

uint64_t cgroup_memory_now(int fd)
{
	char text[32];

	get(fd, "memory.current", text, sizeof(text));
	return strtoull(text, NULL, 10);
}

/* One signal to each process listed; the list is read in pieces, so it may be long. */
static void signal_each(int dir, int sig)
{
	int fd = openat(dir, "cgroup.procs", O_RDONLY | O_CLOEXEC);
	char buf[4096];
	uint64_t pid = 0;
	ssize_t n;

	if (fd < 0)
		return;
	while ((n = read(fd, buf, sizeof(buf))) > 0)
		for (ssize_t i = 0; i < n; i++) {
			if (buf[i] >= '0' && buf[i] <= '9') {
				pid = pid * 10 + (uint64_t)(buf[i] - '0');
				continue;
			}
			if (pid > 1)
				kill((pid_t)pid, sig);
			pid = 0;
		}
	close(fd);
}

void cgroup_signal(int fd, int sig)
{
	if (sig == SIGKILL)
		put(fd, "cgroup.kill", "1");
	else
		signal_each(fd, sig);
}

int cgroup_populated(int fd)
{
	char text[128];

	get(fd, "cgroup.events", text, sizeof(text));
	return value_of(text, "populated") != 0;
}
