/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dialer_hosts.h - /etc/hosts (hosts(5)), read once at start, as the dialer opens no file later.
 */
#ifndef KILN_DIALER_HOSTS_H
#define KILN_DIALER_HOSTS_H

#include <netinet/in.h>

#include "err.h"

#define HOSTS_BYTES_MAX 1048576u

struct hosts;

/* Read path; a file that is not there is an empty one. Caller frees. Codes "io", "too_large". */
int hosts_load(struct hosts **out, const char *path, struct err *e);

/* Parse text (NUL-terminated; it is changed and kept). For tests and hosts_load. */
struct hosts *hosts_parse(char *text);
void hosts_free(struct hosts *h); /* accepts NULL */

/*
 * The addresses of a name in the form of egress_host: at most max, in the file's order. `localhost` and all
 * below it are loopback even when the file does not say so (RFC 6761). Returns how many.
 */
unsigned hosts_find(const struct hosts *h, const char *name, struct in6_addr *out, unsigned max);

#endif
