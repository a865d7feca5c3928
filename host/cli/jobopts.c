/* SPDX-License-Identifier: Apache-2.0 */
/* jobopts.c - from options to a request. Checks only what options add; the job checks the rest. */
#include "jobopts.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "fileio.h"

#define SECRET_FILE_MAX 32768u

static int put(json_t *o, const char *key, json_t *v, struct err *e)
{
	if (!v)
		return err_set(e, "usage", "%s is not valid UTF-8", key);
	if (json_object_set_new(o, key, v) < 0)
		return err_set(e, "io", "no memory");
	return 0;
}

static int put_numbers(const struct opt_set *s, json_t *o, struct err *e)
{
	static const struct { const char *option, *key; } map[] = {
		{ "--vcpus", "vcpus" }, { "--memory", "memory_mib" }, { "--disk", "disk_mib" },
		{ "--timeout", "timeout_s" }, { "--depth", "depth" },
	};

	for (size_t i = 0; i < sizeof(map) / sizeof(map[0]); i++) {
		long n = 0;

		if (!opt_get(s, map[i].option))
			continue;
		if (opt_number(s, map[i].option, 0, 1000000000, &n, e) < 0 ||
		    put(o, map[i].key, json_integer(n), e) < 0)
			return -1;
	}
	return 0;
}

static int put_texts(const struct opt_set *s, json_t *o, struct err *e)
{
	static const struct { const char *option, *key; } map[] = {
		{ "--image", "image" }, { "--branch", "branch" }, { "--tag", "tag" },
		{ "--commit", "commit" }, { "--submodules", "submodules" },
		{ "--workspace", "workspace" }, { "--user", "user" },
	};

	for (size_t i = 0; i < sizeof(map) / sizeof(map[0]); i++) {
		const char *text = opt_get(s, map[i].option);

		if (text && put(o, map[i].key, json_string(text), e) < 0)
			return -1;
	}
	return 0;
}

/* An option's values as an array, or NULL when it was not given. */
static json_t *values(const struct opt_set *s, const char *option)
{
	json_t *a = NULL;
	const char *v;

	for (size_t i = 0; (v = opt_nth(s, option, i)); i++) {
		if (!a)
			a = json_array();
		json_array_append_new(a, json_string(v));
	}
	return a;
}

static int put_lists(const struct opt_set *s, json_t *o, struct err *e)
{
	const char *mode = opt_get(s, "--egress");
	json_t *allow = values(s, "--allow"), *tags = values(s, "--label");
	json_t *paths = values(s, "--artifacts"), *exclude = values(s, "--exclude");

	if ((mode || allow) && put(o, "egress", json_pack("{s:s*, s:o*}", "mode", mode, "allow", allow),
				   e) < 0)
		return -1;
	if ((paths || exclude) && put(o, "artifacts", json_pack("{s:o*, s:o*}", "paths", paths,
								"exclude", exclude), e) < 0)
		return -1;
	return tags ? put(o, "tags", tags, e) : 0;
}

/* "K=V" into name and the rest; a name alone has value NULL. Caller frees *name. */
static int split(const char *option, const char *text, char **name, const char **value, struct err *e)
{
	const char *eq = strchr(text, '=');

	if (eq == text || !*text)
		return err_set(e, "usage", "%s needs a name before '='", option);
	*value = eq ? eq + 1 : NULL;
	*name = eq ? strndup(text, (size_t)(eq - text)) : strdup(text);
	return *name ? 0 : err_set(e, "io", "no memory");
}

static int put_env(const struct opt_set *s, json_t *o, struct err *e)
{
	json_t *env = json_object();
	const char *text, *value;

	if (put(o, "env", env, e) < 0)
		return -1;
	for (size_t i = 0; (text = opt_nth(s, "--env", i)); i++) {
		_cleanup_free_ char *name = NULL;

		if (split("--env", text, &name, &value, e) < 0)
			return -1;
		if (!value)
			value = getenv(name);
		if (!value)
			return err_set(e, "usage", "--env %s: there is no such variable here", name);
		if (put(env, name, json_string(value), e) < 0)
			return -1;
	}
	return 0;
}

static int put_secrets(const struct opt_set *s, json_t *o, struct err *e)
{
	json_t *secrets = json_object();
	const char *text, *path;

	if (put(o, "secrets", secrets, e) < 0)
		return -1;
	for (size_t i = 0; (text = opt_nth(s, "--secret-file", i)); i++) {
		_cleanup_free_ char *name = NULL, *value = NULL;
		size_t n;

		if (split("--secret-file", text, &name, &path, e) < 0)
			return -1;
		if (!path)
			return err_set(e, "usage", "--secret-file takes NAME=FILE");
		if (fileio_read(AT_FDCWD, path, SECRET_FILE_MAX, &value, &n, e) < 0)
			return -1;
		if (n > 0 && value[n - 1] == '\n')
			value[--n] = '\0';
		if (put(secrets, name, json_stringn(value, n), e) < 0)
			return -1;
	}
	return 0;
}

static int is_plain_word(const char *w)
{
	return *w && strspn(w, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
			       "_-+=./:,@%") == strlen(w);
}

char *jobopts_shell(char *const *words, int count)
{
	char *out = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&out, &n);

	if (!f)
		return NULL;
	for (int i = 0; i < count; i++) {
		if (i)
			fputc(' ', f);
		if (is_plain_word(words[i])) {
			fputs(words[i], f);
			continue;
		}
		fputc('\'', f);
		for (const char *p = words[i]; *p; p++) {
			if (*p == '\'')
				fputs("'\\''", f);
			else
				fputc(*p, f);
		}
		fputc('\'', f);
	}
	if (fclose(f) != 0) {
		free(out);
		return NULL;
	}
	return out;
}

static int put_command(const struct opt_set *s, json_t *o, struct err *e)
{
	_cleanup_free_ char *text = NULL;
	json_t *steps = values(s, "--step");

	if (steps && s->rest_count > 0) {
		json_decref(steps);
		return err_set(e, "usage", "give --step or a command after --, not both");
	}
	if (steps)
		return put(o, "steps", steps, e);
	if (s->rest_count == 0)
		return 0;
	if (s->rest_count == 1)
		return put(o, "command", json_string(s->rest[0]), e);
	text = jobopts_shell(s->rest, s->rest_count);
	if (!text)
		return err_set(e, "io", "no memory");
	return put(o, "command", json_string(text), e);
}

int jobopts_request(const struct opt_set *s, json_t **request, struct err *e)
{
	json_t *o = json_object();

	if (!o)
		return err_set(e, "io", "no memory");
	if (put_numbers(s, o, e) < 0 || put_texts(s, o, e) < 0 || put_lists(s, o, e) < 0 ||
	    put_env(s, o, e) < 0 || put_secrets(s, o, e) < 0 || put_command(s, o, e) < 0) {
		json_decref(o);
		return -1;
	}
	*request = o;
	return 0;
}
