/* SPDX-License-Identifier: Apache-2.0 */
/*
 * jsonx.h - strict access to JSON objects: wrong types and unknown members are errors that
 * name the field. Getters leave *out alone when the member is absent or null, so that the
 * caller sets the default first. Error codes: "bad_type", "out_of_range", "unknown_field".
 */
#ifndef KILN_JSONX_H
#define KILN_JSONX_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"

/* Parse text of at most max_bytes into an object; duplicate keys are refused. Caller json_decrefs. */
int jsonx_parse_object(const char *text, size_t n, size_t max_bytes, json_t **out, struct err *e);

/* *out points into o and lives as long as it. Embedded NULs are refused; longer than max_bytes too. */
int jsonx_str(const json_t *o, const char *key, size_t max_bytes, const char **out, struct err *e);
int jsonx_int(const json_t *o, const char *key, int64_t min, int64_t max, int64_t *out,
	      struct err *e);
int jsonx_bool(const json_t *o, const char *key, int *out, struct err *e);
int jsonx_object(const json_t *o, const char *key, json_t **out, struct err *e);
/* An array of at most max_items strings, each at most max_bytes. */
int jsonx_str_array(const json_t *o, const char *key, size_t max_items, size_t max_bytes,
		    json_t **out, struct err *e);

/* Every key of o must be in known[0..n); the error names the nearest known one. */
int jsonx_only(const json_t *o, const char *const *known, size_t n, struct err *e);

/*
 * The word of known[0..n) with the least edit distance to word, or NULL when none is near: a third
 * of its letters may be wrong, two in a short one.
 */
const char *jsonx_nearest(const char *word, const char *const *known, size_t n);

#endif
