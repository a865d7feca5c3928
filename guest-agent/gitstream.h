/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gitstream.h - makes libgit2 reach every server through the agent's HTTP proxy.
 *
 * libgit2 asks a proxy for https only and connects to http servers itself; there is no network
 * card to do that with. So its plain socket stream is replaced: connect() dials the proxy and
 * says CONNECT. TLS is libgit2's own, on top of it. git2/sys/stream.h, RFC 9110 section 9.3.6.
 */
#ifndef KILN_AGENT_GITSTREAM_H
#define KILN_AGENT_GITSTREAM_H

#include <stdint.h>

#define GITSTREAM_TEXT_BYTES 513

/* Why the last connect failed. */
struct gitstream_refusal {
	int status; /* of the proxy's answer; 0: none came, or the connect did not fail */
	char text[GITSTREAM_TEXT_BYTES]; /* the proxy's sentence */
};

/*
 * Register the stream with libgit2 (after git_libgit2_init). proxy_port is on 127.0.0.1.
 * libgit2's callbacks carry no context: the port and the last refusal are this module's.
 * Returns 0 or -1 (git_error_last).
 */
int gitstream_register(uint16_t proxy_port);

/*
 * stay: from now on only the server that is connected to next may be connected to, so that a redirect
 * takes nobody's credentials elsewhere; any other is refused in words. 0: no such limit.
 */
void gitstream_stay(int stay);

/* The refusal of the last connect; status 0 when it was not refused. */
const struct gitstream_refusal *gitstream_refusal(void);

#endif
