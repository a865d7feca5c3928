/* SPDX-License-Identifier: Apache-2.0 */
/* egress_addr.c - the table of special addresses. Owns nothing, calls nothing that resolves. */
#include "egress_addr.h"

#include <arpa/inet.h>
#include <string.h>

struct special {
	const char *net;
	unsigned bits;
	const char *word;
};

static const struct special special4[] = {
	{ "0.0.0.0", 8, "an unspecified address" },
	{ "10.0.0.0", 8, "a private address" },
	{ "100.64.0.0", 10, "a private address (shared by a carrier)" },
	{ "127.0.0.0", 8, "a loopback address" },
	{ "169.254.169.254", 32, "the address of cloud metadata" },
	{ "169.254.0.0", 16, "a link-local address" },
	{ "172.16.0.0", 12, "a private address" },
	{ "192.0.0.0", 24, "a special address" },
	{ "192.0.2.0", 24, "an address for documentation" },
	{ "192.88.99.0", 24, "a 6to4 relay" },
	{ "192.168.0.0", 16, "a private address" },
	{ "198.18.0.0", 15, "an address for benchmarks" },
	{ "198.51.100.0", 24, "an address for documentation" },
	{ "203.0.113.0", 24, "an address for documentation" },
	{ "224.0.0.0", 4, "a multicast address" },
	{ "240.0.0.0", 4, "a reserved address" },
};

/* What lies outside 2000::/3 is not public anyway; the words are for people. */
static const struct special special6[] = {
	{ "::", 128, "an unspecified address" },
	{ "::1", 128, "a loopback address" },
	{ "64:ff9b:1::", 48, "a private address (local NAT64)" },
	{ "100::", 64, "an address that is discarded" },
	{ "2001::", 23, "a special address" },
	{ "2001:db8::", 32, "an address for documentation" },
	{ "3fff::", 20, "an address for documentation" },
	{ "fd00:ec2::254", 128, "the address of cloud metadata" },
	{ "fc00::", 7, "a private address" },
	{ "fe80::", 10, "a link-local address" },
	{ "fec0::", 10, "a private address" },
	{ "ff00::", 8, "a multicast address" },
};

/* Nets whose addresses carry an IPv4 address, and at which byte. */
static const struct {
	const char *net;
	unsigned bits, at;
} carriers[] = {
	{ "::ffff:0:0", 96, 12 },
	{ "::", 96, 12 },
	{ "64:ff9b::", 96, 12 },
	{ "2002::", 16, 2 },
};

static struct in6_addr map4(const void *four)
{
	struct in6_addr a = { .s6_addr = { [10] = 0xff, [11] = 0xff } };

	memcpy(a.s6_addr + 12, four, 4);
	return a;
}

int egress_addr_parse(const char *text, struct in6_addr *out)
{
	struct in_addr four;

	if (inet_pton(AF_INET, text, &four) == 1) {
		*out = map4(&four);
		return 0;
	}
	return inet_pton(AF_INET6, text, out) == 1 ? 0 : -1;
}

void egress_addr_text(const struct in6_addr *a, char out[EGRESS_ADDR_TEXT])
{
	if (IN6_IS_ADDR_V4MAPPED(a))
		inet_ntop(AF_INET, a->s6_addr + 12, out, EGRESS_ADDR_TEXT);
	else
		inet_ntop(AF_INET6, a, out, EGRESS_ADDR_TEXT);
}

socklen_t egress_addr_sockaddr(const struct in6_addr *a, uint16_t port,
			       struct sockaddr_storage *out)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(port),
				   .sin6_addr = *a };

	memset(out, 0, sizeof(*out));
	if (IN6_IS_ADDR_V4MAPPED(a)) {
		memcpy(&v4.sin_addr, a->s6_addr + 12, 4);
		memcpy(out, &v4, sizeof(v4));
		return sizeof(v4);
	}
	memcpy(out, &v6, sizeof(v6));
	return sizeof(v6);
}

int egress_addr_within(const struct in6_addr *a, const struct in6_addr *net, unsigned bits)
{
	unsigned whole = bits / 8, rest = bits % 8;

	if (memcmp(a->s6_addr, net->s6_addr, whole) != 0)
		return 0;
	return rest == 0 || (a->s6_addr[whole] ^ net->s6_addr[whole]) >> (8 - rest) == 0;
}

static const char *find(const struct in6_addr *a, const struct special *table, size_t n,
			unsigned more_bits)
{
	struct in6_addr net;

	for (size_t i = 0; i < n; i++)
		if (egress_addr_parse(table[i].net, &net) == 0 &&
		    egress_addr_within(a, &net, table[i].bits + more_bits))
			return table[i].word;
	return NULL;
}

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

const char *egress_addr_special(const struct in6_addr *a)
{
	const char *word;
	struct in6_addr net, four;

	if (IN6_IS_ADDR_V4MAPPED(a))
		return find(a, special4, COUNT(special4), 96);
	word = find(a, special6, COUNT(special6), 0);
	for (size_t i = 0; i < COUNT(carriers) && !word; i++) {
		egress_addr_parse(carriers[i].net, &net);
		if (!egress_addr_within(a, &net, carriers[i].bits))
			continue;
		four = map4(a->s6_addr + carriers[i].at);
		word = find(&four, special4, COUNT(special4), 96);
		if (!word && carriers[i].at == 12 && a->s6_addr[1] == 0)
			word = "a special address"; /* IPv4-compatible: has no meaning any more */
		return word;
	}
	if (!word && (a->s6_addr[0] & 0xe0) != 0x20)
		word = "not a public address";
	return word;
}
