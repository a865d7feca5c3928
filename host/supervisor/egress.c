/* SPDX-License-Identifier: Apache-2.0 */
/*
 * egress.c - parses and applies egress rules. Owns the parsed lists; no I/O, no clock.
 *
 *	rule    = host [":" port]           without a port: 80 and 443
 *	host    = name | "*." name | IPv4 | "[" IPv6 "]"
 *	private = (IPv4 | "[" IPv6 "]" | IPv6) ["/" bits] [":" port]   without a port: every port
 *	port    = 1..65535 | "*"
 */
#include "egress.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PORT_WEB 0u       /* 80 and 443 */
#define PORT_ANY 0x10000u

struct rule {
	const char *text; /* as it was written, the supjob's */
	int below;        /* "*.name": only what lies below the name */
	char host[EGRESS_HOST_BYTES];
	uint32_t port;
};

struct net {
	const char *text;
	struct in6_addr addr;
	unsigned bits;
	uint32_t port;
};

struct egress {
	enum supjob_egress_mode mode;
	struct rule *allow, *deny;
	struct net *private_;
	size_t allows, denies, privates;
	char repo_host[EGRESS_HOST_BYTES];
	uint16_t repo_port; /* 0: no repository */
};

void egress_free(struct egress *g)
{
	if (!g)
		return;
	free(g->allow);
	free(g->deny);
	free(g->private_);
	free(g);
}

static int is_number(const char *s)
{
	if (s[0] == '0' && (s[1] == 'x' || s[1] == 'X'))
		return s[2 + strspn(s + 2, "0123456789abcdefABCDEF")] == '\0';
	return *s && s[strspn(s, "0123456789")] == '\0';
}

int egress_host(const char *in, char out[EGRESS_HOST_BYTES])
{
	char text[EGRESS_ADDR_TEXT];
	struct in6_addr a;
	size_t n = strlen(in);
	const char *last;

	if (egress_addr_parse(in, &a) == 0) {
		egress_addr_text(&a, text);
		snprintf(out, EGRESS_HOST_BYTES, "%s", text);
		return 0;
	}
	if (n > 1 && in[n - 1] == '.')
		n--;
	if (n == 0 || n > 253 || in[0] == '.' || in[0] == '-')
		return -1;
	for (size_t i = 0; i < n; i++) {
		char c = in[i];

		if (c >= 'A' && c <= 'Z')
			c = (char)(c - 'A' + 'a');
		else if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
			   (c == '.' && in[i - 1] != '.')))
			return -1;
		out[i] = c;
	}
	out[n] = '\0';
	last = strrchr(out, '.');
	return is_number(last ? last + 1 : out) || out[n - 1] == '.' ? -1 : 0;
}

static int parse_number(const char *s, unsigned long max, unsigned long *out)
{
	char *end;

	if (*s < '0' || *s > '9' || strlen(s) > 5)
		return -1;
	*out = strtoul(s, &end, 10);
	return *end || *out > max ? -1 : 0;
}

/* ":443", ":*" or nothing. */
static int parse_port(const char *s, uint32_t none, uint32_t *out)
{
	unsigned long n;

	*out = none;
	if (*s == '\0')
		return 0;
	if (*s++ != ':')
		return -1;
	if (strcmp(s, "*") == 0) {
		*out = PORT_ANY;
		return 0;
	}
	if (parse_number(s, 65535, &n) < 0 || n == 0)
		return -1;
	*out = (uint32_t)n;
	return 0;
}

/* The host of "host…" or "[host]…" into out; returns what follows it, or NULL. */
static const char *split_host(const char *s, const char *stop, char out[EGRESS_HOST_BYTES])
{
	int bracket = *s == '[';
	size_t n = bracket ? strcspn(s + 1, "]") : strcspn(s, stop);

	if (n >= EGRESS_HOST_BYTES || (bracket && s[n + 1] != ']'))
		return NULL;
	memcpy(out, s + bracket, n);
	out[n] = '\0';
	return s + n + 2 * bracket;
}

static int bad_rule(struct err *e, const char *list, const char *text, const char *why)
{
	return err_set(e, "bad_value", "egress.%s: '%.100s' %s", list, text, why);
}

static int parse_rule(struct rule *r, const char *list, const char *text, struct err *e)
{
	char host[EGRESS_HOST_BYTES];
	const char *rest;

	r->text = text;
	r->below = strncmp(text, "*.", 2) == 0;
	rest = split_host(text + (r->below ? 2 : 0), ":", host);
	if (!rest || egress_host(host, r->host) < 0)
		return bad_rule(e, list, text, "is not a host name, '*.name' or an address");
	if (parse_port(rest, PORT_WEB, &r->port) < 0)
		return bad_rule(e, list, text, "has a port that is neither 1 to 65535 nor '*'");
	return 0;
}

static int parse_net(struct net *net, const char *text, struct err *e)
{
	char host[EGRESS_HOST_BYTES], bits[8] = "";
	/* Without brackets an IPv6 address has no port. */
	int plain6 = *text != '[' && strchr(text, ':') != strrchr(text, ':');
	const char *rest = split_host(text, plain6 ? "/" : "/:", host);
	unsigned long n = 128, most;
	size_t len;

	net->text = text;
	if (!rest || egress_addr_parse(host, &net->addr) < 0)
		return bad_rule(e, "private", text, "is not an address or a range of them");
	most = IN6_IS_ADDR_V4MAPPED(&net->addr) && !strchr(host, ':') ? 32 : 128;
	n = most;
	if (*rest == '/') {
		len = strcspn(rest + 1, ":");
		snprintf(bits, sizeof(bits), "%.*s", (int)(len < 7 ? len : 7), rest + 1);
		rest += len + 1;
		if (parse_number(bits, most, &n) < 0)
			return bad_rule(e, "private", text, "has a bad number of bits");
	}
	net->bits = (unsigned)(n + 128 - most);
	if (parse_port(rest, PORT_ANY, &net->port) < 0)
		return bad_rule(e, "private", text, "has a port that is neither 1 to 65535 nor '*'");
	return 0;
}

static int parse_rules(struct rule **out, size_t *count, const char *list,
		       const struct supjob_strings *from, struct err *e)
{
	*out = calloc(from->count + 1, sizeof(**out));
	if (!*out)
		return err_set(e, "internal", "no memory for egress rules");
	for (size_t i = 0; i < from->count; i++)
		if (parse_rule(&(*out)[i], list, from->item[i], e) < 0)
			return -1;
	*count = from->count;
	return 0;
}

static int parse_all(struct egress *g, const struct supjob_egress *rules,
		     const struct supjob_repo *repo, struct err *e)
{
	g->mode = rules->mode;
	g->private_ = calloc(rules->private_.count + 1, sizeof(*g->private_));
	if (!g->private_)
		return err_set(e, "internal", "no memory for egress rules");
	for (; g->privates < rules->private_.count; g->privates++)
		if (parse_net(&g->private_[g->privates], rules->private_.item[g->privates], e) < 0)
			return -1;
	if (parse_rules(&g->allow, &g->allows, "allow", &rules->allow, e) < 0 ||
	    parse_rules(&g->deny, &g->denies, "deny", &rules->deny, e) < 0)
		return -1;
	if (!repo->host)
		return 0;
	if (egress_host(repo->host, g->repo_host) < 0)
		return err_set(e, "bad_value", "repo.host: '%.100s' is not a host", repo->host);
	g->repo_port = repo->port;
	return 0;
}

int egress_new(struct egress **out, const struct supjob_egress *rules,
	       const struct supjob_repo *repo, struct err *e)
{
	struct egress *g = calloc(1, sizeof(*g));

	if (!g)
		return err_set(e, "internal", "no memory for egress rules");
	if (parse_all(g, rules, repo, e) < 0) {
		egress_free(g);
		return -1;
	}
	*out = g;
	return 0;
}

static int port_matches(uint32_t rule, uint16_t port)
{
	if (rule == PORT_WEB)
		return port == 80 || port == 443;
	return rule == PORT_ANY || rule == port;
}

static const struct rule *match(const struct rule *list, size_t n, const char *host, uint16_t port)
{
	size_t len = strlen(host);

	for (size_t i = 0; i < n; i++) {
		const struct rule *r = &list[i];
		size_t tail = strlen(r->host);

		if (!port_matches(r->port, port))
			continue;
		if (!r->below && strcmp(r->host, host) == 0)
			return r;
		if (r->below && len > tail + 1 && host[len - tail - 1] == '.' &&
		    strcmp(host + len - tail, r->host) == 0)
			return r;
	}
	return NULL;
}

/* "host:port", with brackets around IPv6. */
static void where(const char *host, uint16_t port, char out[EGRESS_HOST_BYTES + 16])
{
	snprintf(out, EGRESS_HOST_BYTES + 16, strchr(host, ':') ? "[%s]:%u" : "%s:%u", host, port);
}

static void say_not_allowed(const struct egress *g, const char *at, struct egress_judgement *j)
{
	if (g->mode == SUPJOB_EGRESS_NONE) {
		snprintf(j->rule, sizeof(j->rule), "mode none");
		snprintf(j->text, sizeof(j->text), "%.250s (this build has egress none)", at);
		return;
	}
	snprintf(j->rule, sizeof(j->rule), "not in the allow list");
	snprintf(j->text, sizeof(j->text), "%.110s (not in the allow list); allow it with "
		 "egress.allow: [\"%.110s\"]", at, at);
}

static void say_denied(const char *at, const struct rule *r, struct egress_judgement *j)
{
	snprintf(j->rule, sizeof(j->rule), "deny %.110s", r->text);
	snprintf(j->text, sizeof(j->text), "%.100s (denied); egress.deny has \"%.100s\", which no "
		 "allow rule lifts", at, r->text);
}

int egress_judge_name(const struct egress *g, const char *host, uint16_t port, int cloning,
		      struct egress_judgement *j)
{
	char at[EGRESS_HOST_BYTES + 16];
	const struct rule *r = match(g->deny, g->denies, host, port);

	memset(j, 0, sizeof(*j));
	where(host, port, at);
	if (r) {
		say_denied(at, r, j);
		return 0;
	}
	if (cloning && g->repo_port == port && g->repo_port && strcmp(host, g->repo_host) == 0) {
		snprintf(j->rule, sizeof(j->rule), "repository");
		return 1;
	}
	r = g->mode == SUPJOB_EGRESS_NONE ? NULL : match(g->allow, g->allows, host, port);
	if (r) {
		snprintf(j->rule, sizeof(j->rule), "allow %.110s", r->text);
		return 1;
	}
	if (g->mode == SUPJOB_EGRESS_ALL || g->mode == SUPJOB_EGRESS_AUDIT) {
		j->audited = g->mode == SUPJOB_EGRESS_AUDIT;
		snprintf(j->rule, sizeof(j->rule), j->audited ? "audit: not in the allow list"
							      : "mode all");
		return 1;
	}
	say_not_allowed(g, at, j);
	return 0;
}

int egress_judge_address(const struct egress *g, const char *host, const struct in6_addr *a,
			 uint16_t port, struct egress_judgement *j)
{
	const char *word = egress_addr_special(a);
	char at[EGRESS_HOST_BYTES + 16], address[EGRESS_ADDR_TEXT], need[EGRESS_HOST_BYTES + 16];
	const struct rule *r;

	where(host, port, at);
	egress_addr_text(a, address);
	r = match(g->deny, g->denies, address, port);
	if (r) {
		say_denied(at, r, j);
		return 0;
	}
	if (!word)
		return 1;
	for (size_t i = 0; i < g->privates; i++) {
		const struct net *net = &g->private_[i];

		if (!egress_addr_within(a, &net->addr, net->bits) || !port_matches(net->port, port))
			continue;
		snprintf(j->rule + strlen(j->rule), sizeof(j->rule) - strlen(j->rule),
			 ", private %.40s", net->text);
		return 1;
	}
	where(address, port, need);
	snprintf(j->rule, sizeof(j->rule), "address check");
	snprintf(j->text, sizeof(j->text), "%.90s (%s is %s); only the operator can allow it, with "
		 "egress.private: [\"%.70s\"]", at, address, word, need);
	return 0;
}
