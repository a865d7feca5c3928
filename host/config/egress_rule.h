/* SPDX-License-Identifier: Apache-2.0 */
/*
 * egress_rule.h - the words in which egress is allowed (docs/build-directory.md): syntax, and
 * whether one rule lies inside another. Nothing is resolved or connected here.
 *
 *   rule    = ( name | "*." name | "*" | address ) [ ":" ( port | "*" ) ]
 *   private = ( address | address "/" bits | "[" v6 "]" ) [ ":" port ]
 *
 * Without a port 80 and 443 are meant. An IPv6 address stands in brackets.
 */
#ifndef KILN_EGRESS_RULE_H
#define KILN_EGRESS_RULE_H

#include "err.h"

/* Code "bad_value"; the sentence names the rule. */
int egress_rule_check(const char *text, struct err *e);
int egress_rule_check_private(const char *text, struct err *e);

/* Nonzero when everything that inner allows is allowed by outer too. Both were checked. */
int egress_rule_covers(const char *outer, const char *inner);

#endif
