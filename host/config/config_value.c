/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_value.c - turns text into a checked value. Knows types and limits, not where the text
 * came from.
 */
#include "config_value.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <pwd.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "egress_rule.h"

void config_value_clear(struct config_value *v)
{
	free(v->text);
	free(v->origin);
	json_decref(v->list);
	memset(v, 0, sizeof(*v));
}

static int set_text(struct config_value *v, const char *text, struct err *e)
{
	char *copy = strdup(text);

	if (!copy)
		return err_set(e, "io", "no memory for the configuration");
	free(v->text);
	v->text = copy;
	return 0;
}

static const char *home(void)
{
	const char *h = getenv("HOME");
	struct passwd *pw;

	if (h && h[0] == '/')
		return h;
	pw = getpwuid(getuid());
	return pw ? pw->pw_dir : "/";
}

static int parse_path(const struct config_setting *s, const char *text, int relative,
		      struct config_value *v, struct err *e)
{
	char path[PATH_MAX * 2], cwd[PATH_MAX];
	int n;

	if (text[0] == '\0' || text[0] == '/')
		return set_text(v, text, e);
	if (strcmp(text, "~") == 0 || strncmp(text, "~/", 2) == 0) {
		n = snprintf(path, sizeof(path), "%s%s", home(), text + 1);
	} else if (!relative) {
		return err_field(e, "config", s->name,
				 "%s must be an absolute path (or begin with ~/), not '%.200s'",
				 s->name, text);
	} else {
		if (!getcwd(cwd, sizeof(cwd)))
			return err_errno(e, "io", "cannot tell the current directory");
		n = snprintf(path, sizeof(path), "%s/%s", cwd, text);
	}
	if (n >= PATH_MAX)
		return err_field(e, "config", s->name, "%s is too long", s->name);
	return set_text(v, path, e);
}

static int64_t unit_of(const char *text)
{
	static const struct { const char *word; int64_t bytes; } units[] = {
		{ "KiB", 1 << 10 }, { "MiB", 1 << 20 }, { "GiB", 1 << 30 },
	};

	while (*text == ' ')
		text++;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		if (strcmp(text, units[i].word) == 0)
			return units[i].bytes;
	return 0;
}

static int parse_number(const struct config_setting *s, const char *text, struct config_value *v,
			struct err *e)
{
	const char *what = s->type == CONFIG_TYPE_BYTES ?
			   "a number of bytes (64MiB, 4GiB or plain)" : "an integer";
	char *end = NULL;
	int64_t n, unit = 1;

	errno = 0;
	n = strtoll(text, &end, 10);
	if (s->type == CONFIG_TYPE_BYTES && end != text && *end)
		unit = unit_of(end);
	else if (*end)
		unit = 0;
	if (end == text || unit == 0 || !strchr("-0123456789", text[0]))
		return err_field(e, "config", s->name, "%s must be %s, not '%.80s'", s->name, what,
				 text);
	if (errno || n > s->max / unit || n < s->min / unit || n * unit < s->min ||
	    n * unit > s->max)
		return err_field(e, "config", s->name,
				 "%s is %.80s, it must be between %" PRId64 " and %" PRId64,
				 s->name, text, s->min, s->max);
	v->number = n * unit;
	return 0;
}

/* Is word one of "a|b|c"? */
static int is_choice(const char *choices, const char *word)
{
	size_t n = strlen(word);

	for (const char *p = choices; p; p = strchr(p, '|')) {
		if (*p == '|')
			p++;
		if (strncmp(p, word, n) == 0 && (p[n] == '|' || p[n] == '\0') && n > 0)
			return 1;
	}
	return 0;
}

static int parse_text(const struct config_setting *s, const char *text, struct config_value *v,
		      struct err *e)
{
	for (const char *p = text; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			return err_field(e, "config", s->name, "%s holds a control character",
					 s->name);
	if (s->choices && !is_choice(s->choices, text))
		return err_field(e, "config", s->name, "%s must be one of %s, not '%.80s'", s->name,
				 s->choices, text);
	return set_text(v, text, e);
}

static int check_item(const struct config_setting *s, const char *item, struct err *e)
{
	int rc = 0;

	if (strcmp(s->name, "egress.private") == 0)
		rc = egress_rule_check_private(item, e);
	else if (strncmp(s->name, "egress.", 7) == 0 ||
		 strcmp(s->name, "ceilings.egress_allow") == 0)
		rc = egress_rule_check(item, e);
	else if (strcmp(s->name, "ceilings.users") == 0 && !is_choice("build|root", item))
		rc = err_set(e, "config", "'%.80s' is neither build nor root", item);
	if (rc < 0) {
		err_prefix(e, "%s", s->name);
		e->code = "config";
	}
	return rc;
}

int config_value_list(const struct config_setting *s, const json_t *items, struct config_value *v,
		      struct err *e)
{
	const json_t *item;
	json_t *copy;
	size_t i;

	if (json_array_size(items) > CONFIG_LIST_MAX)
		return err_field(e, "config", s->name, "%s has more than %u items", s->name,
				 CONFIG_LIST_MAX);
	json_array_foreach(items, i, item)
		if (check_item(s, json_string_value(item), e) < 0)
			return -1;
	copy = json_deep_copy(items);
	if (!copy)
		return err_set(e, "io", "no memory for the configuration");
	json_decref(v->list);
	v->list = copy;
	return 0;
}

static int parse_list(const struct config_setting *s, const char *text, struct config_value *v,
		      struct err *e)
{
	json_t *items = json_array();
	const char *p = text;
	int rc;

	while (items && *p) {
		size_t n = strcspn(p, ",");
		const char *next = p[n] ? p + n + 1 : p + n;

		while (n > 0 && *p == ' ')
			p++, n--;
		while (n > 0 && p[n - 1] == ' ')
			n--;
		if (n > 0)
			json_array_append_new(items, json_stringn(p, n));
		p = next;
	}
	rc = config_value_list(s, items, v, e);
	json_decref(items);
	return rc;
}

int config_value_parse(const struct config_setting *s, const char *text, int relative,
		       struct config_value *v, struct err *e)
{
	if (strlen(text) > CONFIG_TEXT_MAX)
		return err_field(e, "config", s->name, "%s is longer than %u bytes", s->name,
				 CONFIG_TEXT_MAX);
	switch (s->type) {
	case CONFIG_TYPE_STR: return parse_text(s, text, v, e);
	case CONFIG_TYPE_NAME:
		if (!strchr(text, '/'))
			return parse_text(s, text, v, e);
		return parse_path(s, text, relative, v, e);
	case CONFIG_TYPE_PATH: return parse_path(s, text, relative, v, e);
	case CONFIG_TYPE_INT:
	case CONFIG_TYPE_BYTES: return parse_number(s, text, v, e);
	case CONFIG_TYPE_LIST: return parse_list(s, text, v, e);
	}
	return err_set(e, "config", "%s has no type", s->name);
}
