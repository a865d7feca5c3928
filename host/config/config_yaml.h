/* SPDX-License-Identifier: Apache-2.0 */
/* config_yaml.h - the configuration file as raw text per setting, with lines. Internal. */
#ifndef KILN_CONFIG_YAML_H
#define KILN_CONFIG_YAML_H

#include "config.h"

#define CONFIG_FILE_MAX (1u << 20)

/* What the file says of one setting; line 0: nothing. */
struct config_raw {
	char *text;   /* a scalar */
	json_t *list; /* or a sequence of strings */
	int line;
};

/*
 * Parse text (n bytes) as YAML 1.1: one document, mappings whose paths are settings, scalars and
 * sequences of scalars; no aliases, no tags. raw has CONFIG_KEY_COUNT zeroed records; free with
 * config_raw_clear, also after an error. name is the file's name for messages, which begin
 * "name:line: ". Code "config".
 */
int config_yaml_parse(const char *name, const char *text, size_t n, struct config_raw *raw,
		      struct err *e);

void config_raw_clear(struct config_raw *raw);

#endif
