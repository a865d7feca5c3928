/* SPDX-License-Identifier: Apache-2.0 */
/*
 * supjob.h - the supervisor document (docs/build-directory.md) as control, conduit and
 * dialer read it. Control fills it before it forks them; afterwards nobody changes it.
 */
#ifndef KILN_SUPJOB_H
#define KILN_SUPJOB_H

#include <stdint.h>
#include <sys/types.h>

#include "err.h"

#define SUPJOB_DOCUMENT_BYTES (2u * 1024u * 1024u)
#define SUPJOB_SPEC_BYTES     (256u * 1024u)  /* of JOB.spec, PROTOCOL.md section 9 */
#define SUPJOB_CA_BYTES       (1024u * 1024u) /* of JOB.ca_bundle */
#define SUPJOB_RULES_MAX      1024            /* entries of one egress list */
#define SUPJOB_RULE_BYTES     320             /* of one entry */

enum supjob_accel { SUPJOB_ACCEL_AUTO, SUPJOB_ACCEL_KVM, SUPJOB_ACCEL_TCG };
enum supjob_vsock { SUPJOB_VSOCK_AUTO, SUPJOB_VSOCK_KERNEL, SUPJOB_VSOCK_USER };
enum supjob_egress_mode { SUPJOB_EGRESS_NONE, SUPJOB_EGRESS_ALLOW, SUPJOB_EGRESS_AUDIT,
			  SUPJOB_EGRESS_ALL };

struct supjob_strings {
	char **item;
	size_t count;
};

struct supjob_vmm {
	char *kind;
	enum supjob_accel accel;
	enum supjob_vsock vsock;
	char *qemu, *vhost_device_vsock;            /* programs */
	char *kernel, *initramfs, *probe_initramfs; /* files */
	char *cmdline_append, *cache_dir;
};

struct supjob_machine {
	char *image, *image_name, *image_format;
	uint32_t vcpus, memory_mib, disk_mib;
};

struct supjob_deadlines { /* in ms, 0: none; after supjob_scale as they are to be held */
	uint64_t boot, clone, steps, upload, job, heartbeat, grace;
};

struct supjob_limits {
	uint64_t log_bytes; /* 0: no limit */
	uint64_t artifact_bytes, console_bytes;
	uint32_t artifact_files, events;
};

struct supjob_egress {
	enum supjob_egress_mode mode;
	struct supjob_strings allow, deny, private_;
};

struct supjob_repo { /* host is NULL when there is none */
	char *scheme, *host;
	uint16_t port;
};

struct supjob {
	char build_id[64];
	uint32_t attempt;
	struct supjob_vmm vmm;
	struct supjob_machine machine;
	uint32_t uid_first, uid_count; /* count 0: no range */
	char *uid_dir;
	struct supjob_deadlines deadlines_ms;
	uint32_t emulation_factor;
	struct supjob_limits limits;
	struct supjob_egress egress;
	struct supjob_repo repo;
	char *ca_file;

	/* For JOB. Only the conduit keeps them: they are wiped in every other process. */
	char *spec;        /* compact JSON, with a NUL behind it; may hold secrets */
	size_t spec_bytes;
	char *ca_bundle;   /* PEM, empty when the document names no ca_file */
	size_t ca_bundle_bytes;

	/* Set by control before the fork. */
	uint32_t factor;       /* what the deadlines were multiplied with: 1, or emulation_factor */
	int source_fd;         /* seekable, at offset 0; -1 when there is none */
	uint64_t source_bytes;
	uint32_t guest_cid;    /* 0: the listener is a Unix socket; else it is AF_VSOCK, shared by all
				* VMs of the host, and only peers with this CID may be believed */
};

/*
 * Parse the document. job: zeroed by this call; the caller frees it with supjob_fini, after
 * failure too. The ca_file is not read yet. Codes: those of jsonx, and "bad_value".
 */
int supjob_parse(struct supjob *job, const char *text, size_t n, struct err *e);

/* Parse only the member `vmm`, as --probe gets it. The rest of job stays empty. */
int supjob_parse_vmm(struct supjob *job, const char *text, size_t n, struct err *e);

/* Read ca_file into ca_bundle. Codes: "not_found", "too_large", "io". */
int supjob_load_ca(struct supjob *job, struct err *e);

/*
 * Multiply the deadlines (not grace) and the guest's own timeouts in the spec (timeout_ms and
 * the timeout_s of the steps) with factor; remembered in job->factor. Called once.
 */
int supjob_scale(struct supjob *job, uint32_t factor, struct err *e);

/* Overwrite and free spec and ca_bundle. */
void supjob_wipe(struct supjob *job);

/* Free everything; accepts a zeroed struct. source_fd is not closed. */
void supjob_fini(struct supjob *job);

#endif
