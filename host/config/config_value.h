/* SPDX-License-Identifier: Apache-2.0 */
/* config_value.h - one value of a setting: from text, checked against its record. Internal. */
#ifndef KILN_CONFIG_VALUE_H
#define KILN_CONFIG_VALUE_H

#include "config.h"

#define CONFIG_LIST_MAX 1024u
#define CONFIG_TEXT_MAX 4096u

struct config_value {
	char *text;   /* STR, PATH, NAME */
	int64_t number; /* INT, BYTES */
	json_t *list; /* LIST */
	char *origin; /* "default", … */
	int set;      /* not the default */
};

/* Free what v holds and leave it empty. */
void config_value_clear(struct config_value *v);

/*
 * Parse text for this setting; lists are separated by commas. relative: nonzero when a relative
 * path is taken from the current directory, else it is refused. The error has no origin in it.
 * Codes: "config", "io". v->origin and v->set are not touched.
 */
int config_value_parse(const struct config_setting *s, const char *text, int relative,
		       struct config_value *v, struct err *e);

/* The same for a list that is one already: items are strings. */
int config_value_list(const struct config_setting *s, const json_t *items, struct config_value *v,
		      struct err *e);

#endif
