/* SPDX-License-Identifier: Apache-2.0 */
/* vmm.c - what all backends share: which there are, and the end of one. */
#include "vmm.h"

#include <unistd.h>

const struct vmm_ops *vmm_backend(const struct supjob *job)
{
	(void)job; /* supjob_parse lets only "qemu" through */
	return &vmm_qemu;
}

void vmm_init(struct vmm *v, const struct supjob *job, const struct uid_lease *ids)
{
	*v = (struct vmm){ .ops = vmm_backend(job), .job = job, .ids = ids, .dir_fd = -1,
			   .kernel_fd = -1, .initramfs_fd = -1, .image_fd = -1, .listen_fd = -1,
			   .vhost_fd = -1, .watch_fd = -1, .helper = CHILD_NONE, .vm = CHILD_NONE };
}

void vmm_fini(struct vmm *v)
{
	const int fds[] = { v->dir_fd, v->kernel_fd, v->initramfs_fd, v->image_fd, v->listen_fd,
			    v->vhost_fd, v->watch_fd };

	for (unsigned i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		if (fds[i] >= 0)
			close(fds[i]);
}
