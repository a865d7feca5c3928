/* SPDX-License-Identifier: Apache-2.0 */
/*
 * setup.c - makes the guest ready for the job that came. Runs once; the last of the agent's
 * code in PID 1 that allocates.
 */
#include "setup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

#include <linux/random.h>

#include "agent.h"
#include "file.h"
#include "proxyctl.h"

/* Without a clock of its own the guest began in 1970, and no certificate is valid then. */
static void set_clock(uint64_t time_ns)
{
	struct timespec t = { (time_t)(time_ns / 1000000000u), (long)(time_ns % 1000000000u) };

	if (time_ns && clock_settime(CLOCK_REALTIME, &t) < 0)
		errno = 0; /* the build goes on with the clock it has */
}

/* random(4): credits the entropy, which writing to the device does not. */
static void add_entropy(const struct wire_bytes *bytes)
{
	struct {
		struct rand_pool_info info;
		uint8_t data[WIRE_MAX_ENTROPY];
	} pool;
	int fd = open("/dev/random", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	pool.info.entropy_count = (int)bytes->n * 8;
	pool.info.buf_size = (int)bytes->n;
	memcpy(pool.info.buf, bytes->p, bytes->n);
	ioctl(fd, RNDADDENTROPY, &pool);
	explicit_bzero(&pool, sizeof(pool));
	close(fd);
}

static int make_workspace(struct agent *a, struct fail *f)
{
	if (mkdirat(a->boot.scratch_fd, "workspace", 0755) < 0 && errno != EEXIST)
		return fail_errno(f, WIRE_CLASS_AGENT, "cannot make the workspace");
	if (file_mkdirs(a->job->workspace, f) < 0)
		return -1;
	return boot_bind_scratch(&a->boot, "workspace", a->job->workspace, f);
}

static int make_cgroups(struct agent *a, struct fail *f)
{
	struct sysinfo info;

	if (sysinfo(&info) < 0)
		return fail_errno(f, WIRE_CLASS_AGENT, "cannot tell the memory's size");
	return cgroup_init(&a->cgroups, (uint64_t)info.totalram * info.mem_unit, f);
}

int setup_job(struct agent *a, const struct wire_job *msg, struct fail *f)
{
	set_clock(msg->time_ns);
	add_entropy(&msg->entropy);
	if (a->boot_failed) {
		*f = a->boot_fail;
		return -1;
	}
	if (job_parse((const char *)msg->spec.p, msg->spec.n, &a->job, f) < 0 ||
	    make_cgroups(a, f) < 0 || make_workspace(a, f) < 0 ||
	    world_make(&a->world, a->job, msg->ca_bundle.p, msg->ca_bundle.n, f) < 0)
		return -1;
	output_give(&a->output, a->world.user.entry.uid, a->world.user.entry.gid);
	if (proxyctl_start(a, f) < 0)
		return -1;
	/* what is used from here on stays in memory, whatever the build does to the rest */
	mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT);
	return 0;
}
