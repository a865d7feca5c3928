/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gitcred.h - the credentials of the job, and to which server they may be said. Pure.
 */
#ifndef KILN_AGENT_GITCRED_H
#define KILN_AGENT_GITCRED_H

struct gitcred {
	const char *username, *password; /* password "": there are none */
	const char *url;                 /* the repository they were given for */
};

/*
 * Whether there are credentials and url has the scheme, host and port of their repository. A port
 * written out and the same one left out count as different: that says too little, never too much.
 */
int gitcred_fits(const struct gitcred *c, const char *url);

#endif
