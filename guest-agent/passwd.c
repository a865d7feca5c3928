/* SPDX-License-Identifier: Apache-2.0 */
/*
 * passwd.c - parses the text of the user database. Owns nothing, opens nothing.
 *
 *	passwd = *(name ":" password ":" uid ":" gid ":" gecos ":" home ":" shell "\n")
 *	group  = *(name ":" password ":" gid ":" [user *("," user)] "\n")
 */
#include "passwd.h"

#include <string.h>

#define FIELDS_MAX 7

struct field {
	const char *p;
	size_t n;
};

/* Split the line at *text into fields; moves *text behind it. Returns how many there are. */
static size_t next_line(const char **text, struct field *field)
{
	const char *p = *text, *end = strchrnul(p, '\n');
	size_t count = 0;

	*text = *end ? end + 1 : end;
	while (count < FIELDS_MAX) {
		const char *colon = memchr(p, ':', (size_t)(end - p));
		const char *stop = colon ? colon : end;

		field[count].p = p;
		field[count++].n = (size_t)(stop - p);
		if (!colon)
			return count;
		p = colon + 1;
	}
	return FIELDS_MAX + 1;
}

static int number(const struct field *f, uint32_t *out)
{
	uint64_t v = 0;

	if (f->n == 0 || f->n > 10)
		return -1;
	for (size_t i = 0; i < f->n; i++) {
		if (f->p[i] < '0' || f->p[i] > '9')
			return -1;
		v = v * 10 + (uint64_t)(f->p[i] - '0');
	}
	if (v >= UINT32_MAX) /* -1 means "no such id" to the kernel */
		return -1;
	*out = (uint32_t)v;
	return 0;
}

static int copy(const struct field *f, char *dst, size_t cap)
{
	if (f->n >= cap)
		return -1;
	memcpy(dst, f->p, f->n);
	dst[f->n] = '\0';
	return 0;
}

static int equals(const struct field *f, const char *s)
{
	return f->n == strlen(s) && memcmp(f->p, s, f->n) == 0;
}

static int parse_user(const struct field *f, size_t count, struct passwd_user *u)
{
	uint32_t uid, gid;

	if (count != 7 || f[0].n == 0 || number(&f[2], &uid) < 0 || number(&f[3], &gid) < 0 ||
	    copy(&f[0], u->name, sizeof(u->name)) < 0 ||
	    copy(&f[5], u->home, sizeof(u->home)) < 0 ||
	    copy(&f[6], u->shell, sizeof(u->shell)) < 0)
		return -1;
	u->uid = uid;
	u->gid = gid;
	return 0;
}

/* name NULL: any name. */
static int find_user(const char *text, const char *name, uid_t uid, struct passwd_user *out)
{
	struct field f[FIELDS_MAX];
	struct passwd_user u;

	while (*text) {
		size_t count = next_line(&text, f);

		if (parse_user(f, count, &u) < 0)
			continue;
		if (name ? strcmp(u.name, name) == 0 : u.uid == uid) {
			*out = u;
			return 0;
		}
	}
	return -1;
}

int passwd_by_uid(const char *text, uid_t uid, struct passwd_user *out)
{
	return find_user(text, NULL, uid, out);
}

int passwd_by_name(const char *text, const char *name, struct passwd_user *out)
{
	return find_user(text, name, 0, out);
}

/* The next line that is a group: its fields in f, its number in *gid. -1 at the end. */
static int next_group(const char **text, struct field *f, uint32_t *gid)
{
	while (**text) {
		size_t count = next_line(text, f);

		if (count == 4 && f[0].n && number(&f[2], gid) == 0)
			return 0;
	}
	return -1;
}

int passwd_has_group(const char *text, const char *name)
{
	struct field f[FIELDS_MAX];
	uint32_t gid;

	while (next_group(&text, f, &gid) == 0)
		if (equals(&f[0], name))
			return 1;
	return 0;
}

int passwd_has_gid(const char *text, gid_t gid)
{
	struct field f[FIELDS_MAX];
	uint32_t have;

	while (next_group(&text, f, &have) == 0)
		if (have == gid)
			return 1;
	return 0;
}

static int lists(const struct field *members, const char *user)
{
	const char *p = members->p, *end = members->p + members->n;

	while (p < end) {
		const char *comma = memchr(p, ',', (size_t)(end - p));
		struct field one = { p, (size_t)((comma ? comma : end) - p) };

		if (equals(&one, user))
			return 1;
		p = comma ? comma + 1 : end;
	}
	return 0;
}

size_t passwd_groups_of(const char *text, const char *user, gid_t gid, gid_t *out, size_t cap)
{
	struct field f[FIELDS_MAX];
	uint32_t have;
	size_t n = 0;

	while (n < cap && next_group(&text, f, &have) == 0)
		if (have != gid && lists(&f[3], user))
			out[n++] = have;
	return n;
}
