/* SPDX-License-Identifier: Apache-2.0 */
/*
 * egress.h - what the guest may connect to. Pure: rules in, a verdict with words out.
 *
 * Order of judgement: the address check beats every allow rule and only `private` lifts it; then
 * deny; then allow. A name is judged before it is resolved (a refused name costs no query, so
 * names cannot carry data out), its addresses after. Either refusal is final, so the order in
 * time changes no verdict.
 */
#ifndef KILN_EGRESS_H
#define KILN_EGRESS_H

#include <stdint.h>

#include "egress_addr.h"
#include "err.h"
#include "supjob.h"

#define EGRESS_HOST_BYTES 256

struct egress; /* the parsed rules of one build */

struct egress_judgement { /* the members of struct dial_reply */
	int audited;      /* mode audit let it pass, the rules would not have */
	char rule[128];   /* what decided: "allow pypi.org:443", "repository", "private 10.0.0.0/8", … */
	char text[320];   /* when refused: host:port, why, and what would allow it */
};

/* Parse. Caller frees with egress_free. Code "bad_value": text names the rule. */
int egress_new(struct egress **out, const struct supjob_egress *rules,
	       const struct supjob_repo *repo, struct err *e);
void egress_free(struct egress *g); /* accepts NULL */

/*
 * The one form of a host as a guest may name it: lower case, no dot at the end, literals as inet_ntop
 * writes them. Only letters, digits, '-', '_' and '.', or a literal address; no name that ends in a
 * number ("127.1", "0x7f000001"), which resolvers read in ways of their own. -1: not a host.
 */
int egress_host(const char *in, char out[EGRESS_HOST_BYTES]);

/*
 * Judge a name (or literal) in the form of egress_host. cloning: the repository is allowed by
 * itself. Returns 1 allowed, 0 refused; j is filled either way.
 */
int egress_judge_name(const struct egress *g, const char *host, uint16_t port, int cloning,
		      struct egress_judgement *j);

/* Judge an address of an allowed host. Same results; j->rule is left alone unless it decides. */
int egress_judge_address(const struct egress *g, const char *host, const struct in6_addr *a,
			 uint16_t port, struct egress_judgement *j);

#endif
