/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bulk_dial.h - a vsock connection to the host for a bulk stream (PROTOCOL.md, sections 1 and 5).
 */
#ifndef KILN_AGENT_BULK_DIAL_H
#define KILN_AGENT_BULK_DIAL_H

#include <stdint.h>

#include "fail.h"

#define BULK_HOST_CID 2u
#define BULK_BUFFER_BYTES (4u << 20) /* the receive window of section 1 */

/*
 * Connect to the host's port (0: WIRE_PORT). nonblock: the socket is non-blocking and may still
 * be connecting when the call returns; it is writable when that is over and SO_ERROR tells how.
 * Returns the descriptor, which the caller owns, or -1 with f. vsock(7).
 */
int bulk_dial(uint32_t port, int nonblock, struct fail *f);

#endif
