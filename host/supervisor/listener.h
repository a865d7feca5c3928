/* SPDX-License-Identifier: Apache-2.0 */
/* listener.h - the socket where the guest will dial, made before the VM starts. */
#ifndef KILN_LISTENER_H
#define KILN_LISTENER_H

#include <stdint.h>

#include "child.h"
#include "err.h"

#define LISTENER_BACKLOG 128 /* a full backlog stalls the vsock device of the whole VM */

/* A Unix socket `name` below dir_fd, owned by id. Returns the descriptor, non-blocking. Code "host". */
int listener_unix(int dir_fd, const char *name, struct child_id id, struct err *e);

/* An AF_VSOCK socket on a free port, for every CID. *port gets it. Code "vmm". vsock(7). */
int listener_vsock(uint32_t *port, struct err *e);

/*
 * Claim a CID that no VM of the host has, on an open /dev/vhost-vsock. The claim belongs to
 * the descriptor: the VMM gets it and sets the same CID again. Code "vmm".
 */
int listener_claim_cid(int vhost_fd, uint32_t *cid, struct err *e);

#endif
