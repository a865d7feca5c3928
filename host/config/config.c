/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.c - puts default, file, environment and flags together and keeps where each value came
 * from. Owns the values; nothing changes them after config_load.
 */
#include "config.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "config_value.h"
#include "config_yaml.h"
#include "fileio.h"
#include "siblings.h"

#define SECRET_MAX 4096u

struct config {
	char *file;
	struct config_value value[CONFIG_KEY_COUNT];
};

void config_free(struct config *c)
{
	if (!c)
		return;
	for (int i = 0; i < CONFIG_KEY_COUNT; i++)
		config_value_clear(&c->value[i]);
	free(c->file);
	free(c);
}

static int set_origin(struct config_value *v, int set, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static int set_origin(struct config_value *v, int set, const char *fmt, ...)
{
	char *text = NULL;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0)
		return -1;
	free(v->origin);
	v->origin = text;
	v->set = set;
	return 0;
}

/* The default's text with ${…} at its front expanded. */
static int expand(const struct config *c, const char *text, char *buf, size_t n, struct err *e)
{
	const char *rest = strchr(text, '}');
	int rc;

	if (strncmp(text, "${", 2) != 0 || !rest)
		rc = snprintf(buf, n, "%s", text) >= (int)n ? -1 : 0;
	else if (strncmp(text, "${home}", 7) == 0)
		rc = snprintf(buf, n, "%s", geteuid() == 0 ? "/var/lib/kiln" : "~/.kiln") < 0 ? -1 : 0;
	else if (strncmp(text, "${dir}", 6) == 0)
		rc = snprintf(buf, n, "%s%s", c->value[CONFIG_DIR].text, rest + 1) >= (int)n ? -1 : 0;
	else if (strncmp(text, "${bin}", 6) == 0)
		rc = siblings_program(rest + 2, buf, n);
	else
		rc = siblings_share(rest + 2, buf, n);
	return rc < 0 ? err_set(e, "config", "the default path %s is too long here", text) : 0;
}

/* "a|b": the first that exists, else a. */
static int choose(const struct config *c, const struct config_setting *s, char *buf, size_t n,
		  struct err *e)
{
	const char *bar = s->type == CONFIG_TYPE_PATH ? strchr(s->fallback, '|') : NULL;
	char first[128], other[PATH_MAX + 64];

	if (!bar)
		return expand(c, s->fallback, buf, n, e);
	snprintf(first, sizeof(first), "%.*s", (int)(bar - s->fallback), s->fallback);
	if (expand(c, first, buf, n, e) < 0 || expand(c, bar + 1, other, sizeof(other), e) < 0)
		return -1;
	if (access(buf, F_OK) < 0 && access(other, F_OK) == 0)
		snprintf(buf, n, "%s", other);
	return 0;
}

static int load_default(struct config *c, int k, struct err *e)
{
	char text[PATH_MAX + 64];

	if (choose(c, &config_settings[k], text, sizeof(text), e) < 0 ||
	    config_value_parse(&config_settings[k], text, 0, &c->value[k], e) < 0)
		return -1;
	if (set_origin(&c->value[k], 0, "default") < 0)
		return err_set(e, "io", "no memory for the configuration");
	return 0;
}

static int load_file(struct config *c, int k, const struct config_raw *raw, struct err *e)
{
	const struct config_setting *s = &config_settings[k];
	int rc;

	if (!raw[k].line)
		return 0;
	rc = raw[k].list ? config_value_list(s, raw[k].list, &c->value[k], e)
			 : config_value_parse(s, raw[k].text, 0, &c->value[k], e);
	if (rc < 0)
		return err_prefix(e, "%s:%d", c->file, raw[k].line);
	if (set_origin(&c->value[k], 1, "%s:%d", c->file, raw[k].line) < 0)
		return err_set(e, "io", "no memory for the configuration");
	return 0;
}

static int load_env(struct config *c, int k, struct err *e)
{
	const struct config_setting *s = &config_settings[k];

	for (size_t i = 0; i < sizeof(s->env) / sizeof(s->env[0]) && s->env[i]; i++) {
		const char *text = getenv(s->env[i]);

		if (!text || !*text)
			continue;
		if (config_value_parse(s, text, 1, &c->value[k], e) < 0)
			return err_prefix(e, "environment %s", s->env[i]);
		if (set_origin(&c->value[k], 1, "environment %s", s->env[i]) < 0)
			return err_set(e, "io", "no memory for the configuration");
		return 0;
	}
	return 0;
}

static int load_flags(struct config *c, int k, const struct config_flags *f, struct err *e)
{
	const struct config_setting *s = &config_settings[k];
	const char *flag = s->flag ? s->flag : "--set";

	for (size_t i = 0; f && i < f->count; i++) {
		if ((int)f->set[i].key != k)
			continue;
		if (config_value_parse(s, f->set[i].value, 1, &c->value[k], e) < 0)
			return err_prefix(e, "flag %s", flag);
		if (set_origin(&c->value[k], 1, "flag %s", flag) < 0)
			return err_set(e, "io", "no memory for the configuration");
	}
	return 0;
}

/* A default file that is missing is none; a named one must be there. */
static int read_file(struct config *c, const struct config_flags *f, struct config_raw *raw,
		     struct err *e)
{
	const char *named = f && f->file ? f->file : getenv("KILN_CONFIG");
	const char *path = named && *named ? named : CONFIG_FILE_DEFAULT;
	_cleanup_free_ char *text = NULL;
	_cleanup_free_ char *real = realpath(path, NULL);
	struct err why = { 0 };
	size_t n;

	if (fileio_read(AT_FDCWD, real ? real : path, CONFIG_FILE_MAX, &text, &n, &why) < 0) {
		if (strcmp(why.code, "not_found") == 0 && path != named)
			return 0;
		*e = why;
		return -1;
	}
	c->file = strdup(path);
	if (!c->file)
		return err_set(e, "io", "no memory for the configuration");
	return config_yaml_parse(path, text, n, raw, e);
}

static int load_all(struct config *c, const struct config_flags *flags, struct config_raw *raw,
		    struct err *e)
{
	if (read_file(c, flags, raw, e) < 0)
		return -1;
	for (int k = 0; k < CONFIG_KEY_COUNT; k++)
		if (load_default(c, k, e) < 0 || load_file(c, k, raw, e) < 0 ||
		    load_env(c, k, e) < 0 || load_flags(c, k, flags, e) < 0)
			return -1;
	return 0;
}

int config_load(const struct config_flags *flags, struct config **out, struct err *e)
{
	struct config_raw raw[CONFIG_KEY_COUNT];
	struct config *c = calloc(1, sizeof(*c));
	int rc;

	if (!c)
		return err_set(e, "io", "no memory for the configuration");
	memset(raw, 0, sizeof(raw));
	rc = load_all(c, flags, raw, e);
	config_raw_clear(raw);
	if (rc < 0) {
		config_free(c);
		return -1;
	}
	*out = c;
	return 0;
}

static const struct config_value *value_of(const struct config *c, enum config_key key)
{
	if ((unsigned)key >= CONFIG_KEY_COUNT)
		abort();
	return &c->value[key];
}

const char *config_str(const struct config *c, enum config_key key)
{
	const struct config_value *v = value_of(c, key);

	if (!v->text)
		abort();
	return v->text;
}

int64_t config_int(const struct config *c, enum config_key key)
{
	const struct config_value *v = value_of(c, key);

	if (v->text || v->list)
		abort();
	return v->number;
}

const json_t *config_list(const struct config *c, enum config_key key)
{
	const struct config_value *v = value_of(c, key);

	if (!v->list)
		abort();
	return v->list;
}

const char *config_origin(const struct config *c, enum config_key key)
{
	return value_of(c, key)->origin;
}

int config_is_set(const struct config *c, enum config_key key)
{
	return value_of(c, key)->set;
}

const char *config_file(const struct config *c)
{
	return c->file ? c->file : "";
}

char *config_text(const struct config *c, enum config_key key)
{
	const struct config_value *v = value_of(c, key);
	char *out = NULL;
	size_t n = 0, i;
	const json_t *item;
	FILE *f;

	if (v->text)
		return strdup(v->text);
	f = open_memstream(&out, &n);
	if (!f)
		return NULL;
	if (v->list) {
		fputc('[', f);
		json_array_foreach(v->list, i, item)
			fprintf(f, "%s%s", i ? ", " : "", json_string_value(item));
		fputc(']', f);
	} else {
		fprintf(f, "%" PRId64, v->number);
	}
	if (fclose(f) != 0) {
		free(out);
		return NULL;
	}
	return out;
}

int config_secret(const struct config *c, enum config_key key, char **out, struct err *e)
{
	const char *path = config_str(c, key);
	_cleanup_free_ char *text = NULL;
	struct stat st;
	size_t n;

	if (fileio_read(AT_FDCWD, path, SECRET_MAX, &text, &n, e) < 0)
		return err_prefix(e, "%s", config_settings[key].name);
	if (stat(path, &st) == 0 && (st.st_mode & 0007))
		return err_set(e, "config", "%s: others can read %s: chmod 0600 it",
			       config_settings[key].name, path);
	while (n > 0 && strchr("\r\n", text[n - 1]))
		text[--n] = '\0';
	if (n == 0 || strlen(text) != n || strpbrk(text, "\r\n"))
		return err_set(e, "config", "%s: %s must hold one line", config_settings[key].name,
			       path);
	*out = take_ptr(&text);
	return 0;
}

int config_below(const struct config *c, char *buf, size_t n, const char *fmt, ...)
{
	int head = snprintf(buf, n, "%s/", config_str(c, CONFIG_DIR));
	va_list ap;
	int rest;

	if (head < 0 || (size_t)head >= n)
		return -1;
	va_start(ap, fmt);
	rest = vsnprintf(buf + head, n - (size_t)head, fmt, ap);
	va_end(ap);
	return rest < 0 || (size_t)(head + rest) >= n ? -1 : 0;
}
