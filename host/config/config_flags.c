/* SPDX-License-Identifier: Apache-2.0 */
/* config_flags.c - takes the flags that set settings off a command line. Keeps views only. */
#include "config.h"

#include <string.h>

#include "jsonx.h"

/* Does arg equal flag ("--dir") or begin with "--dir="? *value gets what is behind it, or NULL. */
static int matches(const char *arg, const char *flag, const char **value)
{
	size_t n = strlen(flag);

	if (strncmp(arg, flag, n) != 0 || (arg[n] != '\0' && arg[n] != '='))
		return 0;
	*value = arg[n] == '=' ? arg + n + 1 : NULL;
	return 1;
}

static int add(struct config_flags *f, int key, const char *value, struct err *e)
{
	if (f->count >= CONFIG_FLAGS_MAX)
		return err_set(e, "usage", "too many flags");
	f->set[f->count].key = (enum config_key)key;
	f->set[f->count].value = value;
	f->count++;
	return 0;
}

/* --set name=value */
static int add_named(struct config_flags *f, const char *text, struct err *e)
{
	const char *names[CONFIG_KEY_COUNT], *near, *eq = strchr(text, '=');
	char name[64];

	if (!eq || (size_t)(eq - text) >= sizeof(name))
		return err_set(e, "usage", "--set takes name=value, not '%.100s'", text);
	memcpy(name, text, (size_t)(eq - text));
	name[eq - text] = '\0';
	for (int k = 0; k < CONFIG_KEY_COUNT; k++) {
		names[k] = config_settings[k].name;
		if (strcmp(name, names[k]) == 0)
			return add(f, k, eq + 1, e);
	}
	near = jsonx_nearest(name, names, CONFIG_KEY_COUNT);
	return err_set(e, "usage", "--set: unknown setting '%s'%s%s%s", name,
		       near ? ", did you mean '" : "", near ? near : "", near ? "'?" : "");
}

/* Take argv[i] when it is ours. Returns how many words were used, or -1. */
static int take_one(struct config_flags *f, int left, char **argv, struct err *e)
{
	const char *value = NULL, *flag = NULL;
	int key = -1, used;

	if (matches(argv[0], "--config", &value))
		flag = "--config";
	else if (matches(argv[0], "--set", &value))
		flag = "--set";
	for (int k = 0; k < CONFIG_KEY_COUNT && !flag; k++) {
		if (config_settings[k].flag && matches(argv[0], config_settings[k].flag, &value)) {
			flag = config_settings[k].flag;
			key = k;
		}
	}
	if (!flag)
		return 0;
	used = value ? 1 : 2;
	if (!value && left < 2)
		return err_set(e, "usage", "%s needs a value", flag);
	if (!value)
		value = argv[1];
	if (key >= 0)
		return add(f, key, value, e) < 0 ? -1 : used;
	if (strcmp(flag, "--set") == 0)
		return add_named(f, value, e) < 0 ? -1 : used;
	f->file = value;
	return used;
}

int config_take_flags(struct config_flags *f, int *argc, char **argv, struct err *e)
{
	int out = 1, i = 1;

	while (i < *argc) {
		int used = 0;

		if (strcmp(argv[i], "--") == 0)
			break;
		used = take_one(f, *argc - i, argv + i, e);
		if (used < 0)
			return -1;
		i += used;
		if (!used)
			argv[out++] = argv[i++];
	}
	while (i < *argc)
		argv[out++] = argv[i++];
	argv[out] = NULL;
	*argc = out;
	return 0;
}
