/* SPDX-License-Identifier: Apache-2.0 */
/*
 * egress_addr.h - which addresses are not the public Internet. Pure functions.
 *
 * Every address is an in6_addr; IPv4 is written as ::ffff:a.b.c.d. Sources: the IANA registries of
 * special-purpose addresses (RFC 6890 and its updates).
 */
#ifndef KILN_EGRESS_ADDR_H
#define KILN_EGRESS_ADDR_H

#include <netinet/in.h>
#include <stddef.h>
#include <sys/socket.h>

#define EGRESS_ADDR_TEXT 64

/* A literal ("192.0.2.1", "2001:db8::1", no brackets) to an address. 0, or -1 when it is none. */
int egress_addr_parse(const char *text, struct in6_addr *out);

/* The usual text of it: dotted for IPv4. */
void egress_addr_text(const struct in6_addr *a, char out[EGRESS_ADDR_TEXT]);

/* For connect(2): AF_INET or AF_INET6. Returns the length. */
socklen_t egress_addr_sockaddr(const struct in6_addr *a, uint16_t port,
			       struct sockaddr_storage *out);

/*
 * What an address is when it is not a public unicast one: "a loopback address", "a private
 * address", …; NULL when it is public. Addresses that carry an IPv4 one (mapped, compatible, 6to4,
 * NAT64) are judged by that as well.
 */
const char *egress_addr_special(const struct in6_addr *a);

/* Whether the first bits (0 to 128) of both are the same. */
int egress_addr_within(const struct in6_addr *a, const struct in6_addr *net, unsigned bits);

#endif
