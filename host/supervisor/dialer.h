/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dialer.h - the process of a supervisor that makes connections for the guest.
 *
 * It sees a host name and a port for each, never a byte of what is sent. It judges them by the
 * egress rules (egress.h), resolves, judges the addresses, connects to exactly those, and
 * passes the connected descriptor back (link.h).
 */
#ifndef KILN_DIALER_H
#define KILN_DIALER_H

#include "supjob.h"

#define DIALER_REQUESTS_MAX 64u
#define DIALER_ADDRESSES_MAX 8u   /* tried for one name, in the resolver's order */
#define DIALER_STAGGER_MS   250u  /* before the next address is tried beside the first */
#define DIALER_DEADLINE_MS  10000u /* for one request, resolving included */

/*
 * Body of the process; returns its exit status when the conduit has closed its end. conduit_fd:
 * a SOCK_SEQPACKET end, taken over. Reads /etc/hosts and /etc/resolv.conf at start, locks itself
 * down, and opens no file afterwards.
 */
int dialer_run(const struct supjob *job, int conduit_fd);

#endif
