/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_yaml.c - reads the configuration file with libyaml's event parser. Knows names and the
 * shapes of values, not their limits (config_value.c).
 */
#include "config_yaml.h"

#include <string.h>
#include <yaml.h>

#include "config_value.h"
#include "jsonx.h"

#define KEY_BYTES 128u

struct reader {
	const char *name;
	yaml_parser_t parser;
	yaml_event_t event;
	int have_event;
	struct config_raw *raw;
	struct err *e;
};

static int fail(struct reader *r, int line, const char *code_text)
{
	return err_set(r->e, "config", "%s:%d: %s", r->name, line, code_text);
}

static int line_of(const struct reader *r)
{
	return (int)r->event.start_mark.line + 1;
}

static int next(struct reader *r)
{
	if (r->have_event)
		yaml_event_delete(&r->event);
	r->have_event = 0;
	if (!yaml_parser_parse(&r->parser, &r->event))
		return err_set(r->e, "config", "%s:%zu: not valid YAML: %s", r->name,
			       r->parser.problem_mark.line + 1,
			       r->parser.problem ? r->parser.problem : "no memory");
	r->have_event = 1;
	if (r->event.type == YAML_ALIAS_EVENT)
		return fail(r, line_of(r), "aliases (*name) are not understood here");
	return 0;
}

/* The setting of this name, or -1. */
static int setting_of(const char *key)
{
	for (int i = 0; i < CONFIG_KEY_COUNT; i++)
		if (strcmp(config_settings[i].name, key) == 0)
			return i;
	return -1;
}

static int is_section(const char *key)
{
	size_t n = strlen(key);

	for (int i = 0; i < CONFIG_KEY_COUNT; i++)
		if (strncmp(config_settings[i].name, key, n) == 0 &&
		    config_settings[i].name[n] == '.')
			return 1;
	return 0;
}

static int unknown(struct reader *r, const char *key, int line)
{
	const char *names[CONFIG_KEY_COUNT * 2];
	char sections[CONFIG_KEY_COUNT][32], as_file[KEY_BYTES + 8];
	const char *near;
	size_t n = 0;

	snprintf(as_file, sizeof(as_file), "%s_file", key);
	if (setting_of(as_file) >= 0)
		return err_set(r->e, "config", "%s:%d: '%s' is a secret: put it into a file and give "
			       "its path as '%s'", r->name, line, key, as_file);
	for (int i = 0; i < CONFIG_KEY_COUNT; i++) {
		const char *name = config_settings[i].name, *dot = strchr(name, '.');

		names[n++] = name;
		if (dot && (size_t)(dot - name) < sizeof(sections[i])) {
			snprintf(sections[i], sizeof(sections[i]), "%.*s", (int)(dot - name), name);
			names[n++] = sections[i];
		}
	}
	near = jsonx_nearest(key, names, n);
	return err_set(r->e, "config", "%s:%d: unknown setting '%.100s'%s%s%s", r->name, line, key,
		       near ? ", did you mean '" : "", near ? near : "", near ? "'?" : "");
}

static const char *scalar(const struct reader *r)
{
	return (const char *)r->event.data.scalar.value;
}

/* Plain nothing, ~ or null: as if the key were not there. */
static int is_null(const struct reader *r)
{
	const char *v = scalar(r);

	return r->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
	       (!*v || strcmp(v, "~") == 0 || strcmp(v, "null") == 0);
}

static int scalar_text_ok(struct reader *r)
{
	if (strlen(scalar(r)) == r->event.data.scalar.length)
		return 0;
	return fail(r, line_of(r), "a NUL byte in a value");
}

static int read_scalar(struct reader *r, int key)
{
	const struct config_setting *s = &config_settings[key];
	int number = s->type == CONFIG_TYPE_INT || s->type == CONFIG_TYPE_BYTES;

	if (is_null(r))
		return 0;
	if (scalar_text_ok(r) < 0)
		return -1;
	if (s->type == CONFIG_TYPE_LIST)
		return err_set(r->e, "config", "%s:%d: %s must be a list ([a, b] or lines with -)",
			       r->name, line_of(r), s->name);
	if (number && r->event.data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
		return err_set(r->e, "config", "%s:%d: %s must be a number, not a text in quotes",
			       r->name, line_of(r), s->name);
	r->raw[key].text = strdup(scalar(r));
	r->raw[key].line = line_of(r);
	return r->raw[key].text ? 0 : err_set(r->e, "io", "no memory for the configuration");
}

static int read_list(struct reader *r, int key)
{
	const struct config_setting *s = &config_settings[key];
	json_t *list;

	if (s->type != CONFIG_TYPE_LIST)
		return err_set(r->e, "config", "%s:%d: %s takes one value, not a list", r->name,
			       line_of(r), s->name);
	r->raw[key].line = line_of(r);
	r->raw[key].list = list = json_array();
	for (;;) {
		if (next(r) < 0)
			return -1;
		if (r->event.type == YAML_SEQUENCE_END_EVENT)
			return 0;
		if (r->event.type != YAML_SCALAR_EVENT)
			return err_set(r->e, "config", "%s:%d: %s is a list of texts", r->name,
				       line_of(r), s->name);
		if (scalar_text_ok(r) < 0)
			return -1;
		if (json_array_size(list) >= CONFIG_LIST_MAX)
			return err_set(r->e, "config", "%s:%d: %s has more than %u items", r->name,
				       line_of(r), s->name, CONFIG_LIST_MAX);
		if (json_array_append_new(list, json_string(scalar(r))) < 0)
			return fail(r, line_of(r), "not valid UTF-8");
	}
}

static int read_mapping(struct reader *r, const char *section, int depth);

static int read_value(struct reader *r, const char *key, int line, int depth)
{
	int k = setting_of(key);

	if (k < 0 && !is_section(key))
		return unknown(r, key, line);
	if (k >= 0 && r->raw[k].line)
		return err_set(r->e, "config", "%s:%d: %s stands here and on line %d", r->name, line,
			       key, r->raw[k].line);
	if (next(r) < 0)
		return -1;
	switch (r->event.type) {
	case YAML_SCALAR_EVENT:
		if (k >= 0)
			return read_scalar(r, k);
		if (is_null(r))
			return 0;
		break;
	case YAML_SEQUENCE_START_EVENT:
		if (k >= 0)
			return read_list(r, k);
		break;
	case YAML_MAPPING_START_EVENT:
		if (k < 0)
			return read_mapping(r, key, depth + 1);
		return err_set(r->e, "config", "%s:%d: %s takes a value, not settings of its own",
			       r->name, line_of(r), key);
	default:
		break;
	}
	return err_set(r->e, "config", "%s:%d: '%s' is a section: its settings stand below it, "
		       "indented", r->name, line_of(r), key);
}

/* The event is the mapping's start. Depth is bounded: no setting has more than one dot. */
static int read_mapping(struct reader *r, const char *section, int depth)
{
	char key[KEY_BYTES];
	int line, n;

	for (;;) {
		if (next(r) < 0)
			return -1;
		if (r->event.type == YAML_MAPPING_END_EVENT)
			return 0;
		line = line_of(r);
		if (r->event.type != YAML_SCALAR_EVENT)
			return fail(r, line, "a setting's name must be a plain word");
		n = snprintf(key, sizeof(key), "%s%s%s", section, *section ? "." : "", scalar(r));
		if (n >= (int)sizeof(key))
			return fail(r, line, "a setting's name is too long");
		if (read_value(r, key, line, depth) < 0)
			return -1;
	}
}

static int read_document(struct reader *r)
{
	if (next(r) < 0) /* stream start */
		return -1;
	if (next(r) < 0)
		return -1;
	if (r->event.type == YAML_STREAM_END_EVENT)
		return 0;
	if (next(r) < 0) /* inside the document */
		return -1;
	if (r->event.type == YAML_MAPPING_START_EVENT) {
		if (read_mapping(r, "", 0) < 0)
			return -1;
	} else if (r->event.type != YAML_SCALAR_EVENT || !is_null(r)) {
		return fail(r, line_of(r), "the file must hold settings, one `name: value` a line");
	}
	if (next(r) < 0 || next(r) < 0) /* document end, stream end */
		return -1;
	if (r->event.type != YAML_STREAM_END_EVENT)
		return fail(r, line_of(r), "more than one document (a line ---)");
	return 0;
}

int config_yaml_parse(const char *name, const char *text, size_t n, struct config_raw *raw,
		      struct err *e)
{
	struct reader r = { .name = name, .raw = raw, .e = e };
	int rc;

	if (!yaml_parser_initialize(&r.parser))
		return err_set(e, "io", "no memory for the configuration");
	yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, n);
	rc = read_document(&r);
	if (r.have_event)
		yaml_event_delete(&r.event);
	yaml_parser_delete(&r.parser);
	return rc;
}

void config_raw_clear(struct config_raw *raw)
{
	for (int i = 0; i < CONFIG_KEY_COUNT; i++) {
		free(raw[i].text);
		json_decref(raw[i].list);
	}
	memset(raw, 0, sizeof(*raw) * CONFIG_KEY_COUNT);
}
