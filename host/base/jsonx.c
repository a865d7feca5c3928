/* SPDX-License-Identifier: Apache-2.0 */
/* jsonx.c - strict access to JSON objects. Owns nothing; never keeps a reference. */
#include "jsonx.h"

#include <inttypes.h>
#include <string.h>

int jsonx_parse_object(const char *text, size_t n, size_t max_bytes, json_t **out, struct err *e)
{
	json_error_t je;
	json_t *v;

	if (n > max_bytes)
		return err_set(e, "too_large", "the JSON has %zu bytes, at most %zu are allowed", n,
			       max_bytes);
	v = json_loadb(text, n, JSON_REJECT_DUPLICATES, &je);
	if (!v)
		return err_set(e, "bad_json", "not valid JSON, line %d column %d: %s", je.line,
			       je.column, je.text);
	if (!json_is_object(v)) {
		json_decref(v);
		return err_set(e, "bad_json", "a JSON object is expected");
	}
	*out = v;
	return 0;
}

static const char *type_word(const json_t *v)
{
	switch (json_typeof(v)) {
	case JSON_OBJECT: return "an object";
	case JSON_ARRAY: return "an array";
	case JSON_STRING: return "a string";
	case JSON_INTEGER: return "an integer";
	case JSON_REAL: return "a fraction";
	case JSON_TRUE:
	case JSON_FALSE: return "true or false";
	default: return "null";
	}
}

static int bad_type(struct err *e, const char *key, const char *want, const json_t *v)
{
	return err_field(e, "bad_type", key, "%s must be %s, not %s", key, want, type_word(v));
}

static const json_t *member(const json_t *o, const char *key)
{
	const json_t *v = json_object_get(o, key);

	return v && json_is_null(v) ? NULL : v;
}

static int check_str(const json_t *v, const char *key, size_t max_bytes, struct err *e)
{
	size_t n = json_string_length(v);

	if (n > max_bytes)
		return err_field(e, "out_of_range", key,
				 "%s has %zu bytes, at most %zu are allowed", key, n, max_bytes);
	if (memchr(json_string_value(v), '\0', n))
		return err_field(e, "bad_value", key, "%s holds a NUL byte", key);
	return 0;
}

int jsonx_str(const json_t *o, const char *key, size_t max_bytes, const char **out, struct err *e)
{
	const json_t *v = member(o, key);

	if (!v)
		return 0;
	if (!json_is_string(v))
		return bad_type(e, key, "a string", v);
	if (check_str(v, key, max_bytes, e) < 0)
		return -1;
	*out = json_string_value(v);
	return 0;
}

int jsonx_int(const json_t *o, const char *key, int64_t min, int64_t max, int64_t *out,
	      struct err *e)
{
	const json_t *v = member(o, key);
	int64_t n;

	if (!v)
		return 0;
	if (!json_is_integer(v))
		return bad_type(e, key, "an integer", v);
	n = json_integer_value(v);
	if (n < min || n > max)
		return err_field(e, "out_of_range", key,
				 "%s is %" PRId64 ", it must be between %" PRId64 " and %" PRId64,
				 key, n, min, max);
	*out = n;
	return 0;
}

int jsonx_bool(const json_t *o, const char *key, int *out, struct err *e)
{
	const json_t *v = member(o, key);

	if (!v)
		return 0;
	if (!json_is_boolean(v))
		return bad_type(e, key, "true or false", v);
	*out = json_is_true(v);
	return 0;
}

int jsonx_object(const json_t *o, const char *key, json_t **out, struct err *e)
{
	const json_t *v = member(o, key);

	if (!v)
		return 0;
	if (!json_is_object(v))
		return bad_type(e, key, "an object", v);
	*out = json_object_get(o, key);
	return 0;
}

int jsonx_str_array(const json_t *o, const char *key, size_t max_items, size_t max_bytes,
		    json_t **out, struct err *e)
{
	const json_t *v = member(o, key);
	const json_t *item;
	size_t i;

	if (!v)
		return 0;
	if (!json_is_array(v))
		return bad_type(e, key, "an array of strings", v);
	if (json_array_size(v) > max_items)
		return err_field(e, "out_of_range", key, "%s has %zu items, at most %zu are allowed",
				 key, json_array_size(v), max_items);
	json_array_foreach(v, i, item) {
		if (!json_is_string(item))
			return bad_type(e, key, "an array of strings only", item);
		if (check_str(item, key, max_bytes, e) < 0)
			return -1;
	}
	*out = json_object_get(o, key);
	return 0;
}

/* Levenshtein distance; words longer than the row are never near. */
static unsigned distance(const char *a, const char *b)
{
	unsigned row[64];
	size_t na = strlen(a), nb = strlen(b);

	if (na >= 64 || nb >= 64)
		return 64;
	for (size_t j = 0; j <= nb; j++)
		row[j] = (unsigned)j;
	for (size_t i = 1; i <= na; i++) {
		unsigned diag = row[0];

		row[0] = (unsigned)i;
		for (size_t j = 1; j <= nb; j++) {
			unsigned subst = diag + (a[i - 1] != b[j - 1]);
			unsigned best = row[j] < row[j - 1] ? row[j] + 1 : row[j - 1] + 1;

			diag = row[j];
			row[j] = subst < best ? subst : best;
		}
	}
	return row[nb];
}

const char *jsonx_nearest(const char *word, const char *const *known, size_t n)
{
	const char *best = NULL;
	size_t bytes = strlen(word);
	unsigned least = bytes < 6 ? 3 : (unsigned)(bytes / 3 + 1);

	/* All of it changed: nothing is alike. */
	if (least > bytes)
		least = (unsigned)bytes;
	for (size_t i = 0; i < n; i++) {
		unsigned d = distance(word, known[i]);

		if (d < least) {
			least = d;
			best = known[i];
		}
	}
	return best;
}

int jsonx_only(const json_t *o, const char *const *known, size_t n, struct err *e)
{
	const char *key;
	json_t *v;

	json_object_foreach((json_t *)o, key, v) {
		const char *near;
		size_t i;

		for (i = 0; i < n && strcmp(key, known[i]) != 0; i++)
			;
		if (i < n)
			continue;
		near = jsonx_nearest(key, known, n);
		return err_field(e, "unknown_field", key, "unknown field '%.80s'%s%s%s", key,
				 near ? ", did you mean '" : "", near ? near : "", near ? "'?" : "");
	}
	return 0;
}
