/* SPDX-License-Identifier: Apache-2.0 */
/*
 * glob.c - compiles a pattern to a list of tokens and runs it as a nondeterministic automaton.
 *
 * Owns nothing. State i means "the tokens before i have matched"; the set of states is a bit
 * set, so that matching takes at most pattern length times path length steps whatever the
 * pattern, and tells on the way whether something below the path could match.
 */
#include "glob.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define WORD_BITS 64u
#define WORDS_MAX ((GLOB_MAX_BYTES + WORD_BITS) / WORD_BITS)

enum token_kind {
	TOKEN_CHAR,
	TOKEN_ANY,   /* ? */
	TOKEN_SET,   /* […]: ranges[first..first+count) */
	TOKEN_STAR,  /* * */
	TOKEN_DEEP,  /* ** inside a segment, or the last segment */
	TOKEN_DIRS   /* a segment ** with its slash: nothing, or anything that ends in a slash */
};

struct token {
	enum token_kind kind;
	uint32_t cp;            /* TOKEN_CHAR */
	uint16_t first, count;  /* TOKEN_SET */
	uint8_t negated;
};

struct range {
	uint32_t low, high;
};

struct glob {
	int names_git;
	unsigned tokens_count, ranges_count, words;
	size_t prefix_bytes; /* literal bytes that every match begins with */
	char prefix[GLOB_MAX_BYTES];
	struct token tokens[GLOB_MAX_BYTES];
	struct range ranges[GLOB_MAX_BYTES];
};

/* The character at p[0..n), n > 0, into *cp; returns its bytes. Not UTF-8: one byte, as itself. */
static size_t take_char(const char *p, size_t n, uint32_t *cp)
{
	const uint8_t *u = (const uint8_t *)p;
	size_t more = u[0] >= 0xf0 ? 3 : u[0] >= 0xe0 ? 2 : u[0] >= 0xc2 ? 1 : 0;
	uint32_t v = u[0];

	if (more > 0 && more < n && u[0] <= 0xf4) {
		v = u[0] & (0x3fu >> more);
		for (size_t i = 1; i <= more; i++) {
			if ((u[i] & 0xc0) != 0x80) {
				*cp = 0x110000u + u[0];
				return 1;
			}
			v = v << 6 | (u[i] & 0x3fu);
		}
		*cp = v;
		return more + 1;
	}
	*cp = v < 0x80 ? v : 0x110000u + v; /* beyond Unicode: equal to no character */
	return 1;
}

static struct token *add(struct glob *g, enum token_kind kind)
{
	struct token *t = &g->tokens[g->tokens_count++];

	*t = (struct token){ .kind = kind };
	return t;
}

/* One character of a set, a backslash taken off. */
static size_t take_member(const char *p, size_t n, uint32_t *cp)
{
	if (p[0] == '\\' && n > 1)
		return 1 + take_char(p + 1, n - 1, cp);
	return take_char(p, n, cp);
}

/*
 * A set at p[0] == '['. Returns its bytes, or 0 when it has no end: then it is a plain
 * bracket, as in sh(1). A ] that comes first is a member.
 */
static size_t compile_set(struct glob *g, const char *p, size_t n)
{
	struct token t = { .kind = TOKEN_SET, .first = (uint16_t)g->ranges_count };
	size_t i = 1, begin;

	if (i < n && (p[i] == '!' || p[i] == '^')) {
		t.negated = 1;
		i++;
	}
	begin = i;
	while (i < n && (p[i] != ']' || i == begin) && p[i] != '/') {
		struct range *r = &g->ranges[t.first + t.count];

		i += take_member(p + i, n - i, &r->low);
		r->high = r->low;
		if (i + 1 < n && p[i] == '-' && p[i + 1] != ']' && p[i + 1] != '/')
			i += 1 + take_member(p + i + 1, n - i - 1, &r->high);
		t.count++;
	}
	if (i >= n || p[i] != ']')
		return 0;
	g->ranges_count += t.count;
	*add(g, TOKEN_SET) = t;
	return i + 1;
}

/* Two or more stars at p[0]; at_segment: p is the start of a segment. Returns the bytes used. */
static size_t compile_stars(struct glob *g, const char *p, size_t n, int at_segment)
{
	size_t i = 0;

	while (i < n && p[i] == '*')
		i++;
	if (at_segment && i < n && p[i] == '/') {
		add(g, TOKEN_DIRS);
		return i + 1;
	}
	add(g, TOKEN_DEEP);
	return i;
}

static void compile_tokens(struct glob *g, const char *p, size_t n)
{
	size_t i = 0, used;

	while (i < n) {
		int at_segment = i == 0 || p[i - 1] == '/';

		if (p[i] == '*' && i + 1 < n && p[i + 1] == '*') {
			i += compile_stars(g, p + i, n - i, at_segment);
		} else if (p[i] == '*') {
			add(g, TOKEN_STAR);
			i++;
		} else if (p[i] == '?') {
			add(g, TOKEN_ANY);
			i++;
		} else if (p[i] == '[' && (used = compile_set(g, p + i, n - i)) > 0) {
			i += used;
		} else {
			uint32_t cp;

			i += take_member(p + i, n - i, &cp);
			add(g, TOKEN_CHAR)->cp = cp;
		}
	}
}

/* The bytes before the first special character: most paths differ there already. */
static void find_prefix(struct glob *g, const char *p, size_t n)
{
	g->prefix_bytes = 0;
	while (g->prefix_bytes < n && !strchr("*?[\\", p[g->prefix_bytes]))
		g->prefix_bytes++;
	memcpy(g->prefix, p, g->prefix_bytes);
}

static int has_git_segment(const char *p, size_t n)
{
	for (size_t i = 0; i + 4 <= n; i++) {
		if ((i == 0 || p[i - 1] == '/') && memcmp(p + i, ".git", 4) == 0 &&
		    (i + 4 == n || p[i + 4] == '/'))
			return 1;
	}
	return 0;
}

int glob_compile(const char *pattern, struct glob **out, const char **why)
{
	size_t n = strlen(pattern);
	struct glob *g;

	while (n >= 2 && pattern[0] == '.' && pattern[1] == '/') {
		pattern += 2;
		n -= 2;
	}
	while (n > 1 && pattern[n - 1] == '/')
		n--;
	if (n == 1 && pattern[0] == '.') { /* the workspace itself: all of it */
		pattern = "**";
		n = 2;
	}
	*why = n == 0 ? "is empty" : n > GLOB_MAX_BYTES ? "is too long" :
	       pattern[0] == '/' ? "is absolute, but paths are relative to the workspace" : NULL;
	if (*why)
		return -1;
	g = calloc(1, sizeof(*g));
	if (!g) {
		*why = "found no memory";
		return -1;
	}
	compile_tokens(g, pattern, n);
	g->words = (g->tokens_count + WORD_BITS) / WORD_BITS; /* states 0..tokens_count */
	find_prefix(g, pattern, n);
	g->names_git = has_git_segment(pattern, n);
	*out = g;
	return 0;
}

static void put(uint64_t *set, unsigned i)
{
	set[i / WORD_BITS] |= 1ull << (i % WORD_BITS);
}

/* Enter state i, and those behind tokens that may match nothing. */
static void enter(const struct glob *g, uint64_t *set, unsigned i)
{
	put(set, i);
	while (i < g->tokens_count && g->tokens[i].kind >= TOKEN_STAR)
		put(set, ++i);
}

static int in_set(const struct glob *g, const struct token *t, uint32_t cp)
{
	const struct range *r = &g->ranges[t->first];

	for (unsigned i = 0; i < t->count; i++) {
		if (cp >= r[i].low && cp <= r[i].high)
			return !t->negated;
	}
	return t->negated;
}

/* State i reads cp: add the states it leads to. */
static void step(const struct glob *g, unsigned i, uint32_t cp, uint64_t *next)
{
	const struct token *t = &g->tokens[i];
	int slash = cp == '/';

	switch (t->kind) {
	case TOKEN_CHAR:
		if (t->cp == cp)
			enter(g, next, i + 1);
		break;
	case TOKEN_ANY:
		if (!slash)
			enter(g, next, i + 1);
		break;
	case TOKEN_SET:
		if (!slash && in_set(g, t, cp))
			enter(g, next, i + 1);
		break;
	case TOKEN_STAR:
		if (!slash)
			enter(g, next, i);
		break;
	case TOKEN_DEEP:
		enter(g, next, i);
		break;
	case TOKEN_DIRS: /* what follows may begin only behind a slash */
		if (slash)
			enter(g, next, i);
		else
			put(next, i);
		break;
	}
}

/* One character; returns 0 when no state is left. */
static int advance(const struct glob *g, uint64_t *set, uint32_t cp)
{
	uint64_t next[WORDS_MAX] = { 0 };
	uint64_t any = 0;

	for (unsigned w = 0; w < g->words; w++) {
		for (uint64_t bits = set[w]; bits; bits &= bits - 1) {
			unsigned i = w * WORD_BITS + (unsigned)__builtin_ctzll(bits);

			if (i < g->tokens_count)
				step(g, i, cp, next);
		}
	}
	for (unsigned w = 0; w < g->words; w++) {
		set[w] = next[w];
		any |= next[w];
	}
	return any != 0;
}

unsigned glob_match(const struct glob *g, const char *path, size_t n)
{
	uint64_t set[WORDS_MAX] = { 0 };
	size_t common = n < g->prefix_bytes ? n : g->prefix_bytes;
	unsigned verdict = 0;

	if (memcmp(path, g->prefix, common) != 0)
		return 0;
	enter(g, set, 0);
	for (size_t i = 0; i < n;) {
		uint32_t cp;

		i += take_char(path + i, n - i, &cp);
		if (!advance(g, set, cp))
			return 0;
	}
	if (set[g->tokens_count / WORD_BITS] >> (g->tokens_count % WORD_BITS) & 1)
		verdict |= GLOB_MATCH;
	if (advance(g, set, '/')) {
		/* Only the final state left: that would match "path/", which nothing is called. */
		put(set, g->tokens_count);
		set[g->tokens_count / WORD_BITS] ^= 1ull << (g->tokens_count % WORD_BITS);
		for (unsigned w = 0; w < g->words; w++) {
			if (set[w])
				verdict |= GLOB_BELOW;
		}
	}
	return verdict;
}

int glob_names_git(const struct glob *g)
{
	return g->names_git;
}

void glob_free(struct glob *g)
{
	free(g);
}
