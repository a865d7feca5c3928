/* SPDX-License-Identifier: Apache-2.0 */
/*
 * job_size.c - the parts of a request that the operator bounds: sizes, user, image, egress. A job
 * narrows, never widens: what is above a ceiling is refused, not cut.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "egress_rule.h"
#include "image.h"
#include "job_parts.h"
#include "jsonx.h"

struct bound {
	const char *field;
	enum config_key fallback, ceiling;
	int64_t min, max; /* beyond these it is absurd, whatever the ceiling */
};

static const struct bound bounds[] = {
	{ "vcpus", CONFIG_DEFAULTS_VCPUS, CONFIG_CEILINGS_VCPUS, 1, 255 },
	{ "memory_mib", CONFIG_DEFAULTS_MEMORY_MIB, CONFIG_CEILINGS_MEMORY_MIB, 256, 16777216 },
	{ "disk_mib", CONFIG_DEFAULTS_DISK_MIB, CONFIG_CEILINGS_DISK_MIB, 64, 16777216 },
	{ "timeout_s", CONFIG_DEFAULTS_TIMEOUT_S, CONFIG_CEILINGS_TIMEOUT_S, 1, JOB_TIMEOUT_MAX_S },
};

/* Name what would have been allowed to an error that is there; takes top. Returns -1. */
static int over(struct err *e, json_t *top)
{
	char *text = json_dumps(top, JSON_COMPACT | JSON_ENCODE_ANY);

	/* A long list is left out rather than cut: the sentence names its setting. */
	if (e && text && strlen(text) < sizeof(e->ceiling))
		memcpy(e->ceiling, text, strlen(text) + 1);
	free(text);
	json_decref(top);
	return -1;
}

static int put_bounded(struct job_ctx *c, const struct bound *b, struct err *e)
{
	int64_t top = config_int(c->cfg, b->ceiling), n = config_int(c->cfg, b->fallback);

	if (n > top)
		n = top;
	if (jsonx_int(c->body, b->field, b->min, b->max, &n, e) < 0)
		return -1;
	if (n > top) {
		err_field(e, "over_ceiling", b->field, "%s is %" PRId64 ", this host allows at most %" PRId64
			  " (%s)", b->field, n, top, config_settings[b->ceiling].name);
		return over(e, json_integer(top));
	}
	return job_put(c, b->field, json_integer(n), e);
}

static int in_list(const json_t *list, const char *word)
{
	const json_t *item;
	size_t i;

	json_array_foreach(list, i, item)
		if (strcmp(json_string_value(item), word) == 0)
			return 1;
	return 0;
}

static int put_user(struct job_ctx *c, struct err *e)
{
	const json_t *allowed = config_list(c->cfg, CONFIG_CEILINGS_USERS);
	const char *user = config_str(c->cfg, CONFIG_DEFAULTS_USER);

	if (jsonx_str(c->body, "user", 64, &user, e) < 0)
		return -1;
	if (strcmp(user, "build") != 0 && strcmp(user, "root") != 0)
		return err_field(e, "bad_value", "user", "user must be build or root");
	if (!in_list(allowed, user)) {
		err_field(e, "over_ceiling", "user", "user %s is not allowed on this host (ceilings.users)",
			  user);
		return over(e, json_deep_copy(allowed));
	}
	return job_put(c, "user", json_string(user), e);
}

static int put_image(struct job_ctx *c, struct err *e)
{
	const json_t *allowed = config_list(c->cfg, CONFIG_CEILINGS_IMAGES);
	const char *name = "";
	struct image image;

	if (jsonx_str(c->body, "image", IMAGE_NAME_MAX, &name, e) < 0)
		return -1;
	if (*name && json_array_size(allowed) > 0 && !in_list(allowed, name)) {
		err_field(e, "over_ceiling", "image", "image %.64s is not allowed on this host "
			  "(ceilings.images)", job_plain(name) ? name : "?");
		return over(e, json_deep_copy(allowed));
	}
	if (image_find(c->cfg, name, &image, e) < 0)
		return -1;
	return job_put(c, "image", json_string(image.name), e);
}

int job_part_size(struct job_ctx *c, struct err *e)
{
	for (size_t i = 0; i < sizeof(bounds) / sizeof(bounds[0]); i++)
		if (put_bounded(c, &bounds[i], e) < 0)
			return -1;
	if (put_user(c, e) < 0)
		return -1;
	return put_image(c, e);
}

/* none < allow < audit < all; -1 for another word. */
static int mode_rank(const char *mode)
{
	static const char *const modes[] = { "none", "allow", "audit", "all" };

	for (int i = 0; i < 4; i++)
		if (strcmp(mode, modes[i]) == 0)
			return i;
	return -1;
}

static int check_mode(struct job_ctx *c, const char **mode, int asked, struct err *e)
{
	const char *top = config_str(c->cfg, CONFIG_CEILINGS_EGRESS);

	if (mode_rank(*mode) < 0)
		return err_field(e, "bad_value", "egress.mode",
				 "egress.mode must be none, allow, audit or all");
	if (mode_rank(*mode) <= mode_rank(top))
		return 0;
	if (!asked) {
		*mode = top;
		return 0;
	}
	err_field(e, "over_ceiling", "egress.mode", "egress %s is not allowed on this host, %s is the "
		  "widest (ceilings.egress)", *mode, top);
	return over(e, json_string(top));
}

static int check_rules(struct job_ctx *c, const json_t *rules, struct err *e)
{
	const json_t *ceiling = config_list(c->cfg, CONFIG_CEILINGS_EGRESS_ALLOW);
	const json_t *item, *outer;
	size_t i, k;

	json_array_foreach(rules, i, item) {
		const char *rule = json_string_value(item);
		int covered = json_array_size(ceiling) == 0;

		if (egress_rule_check(rule, NULL) < 0)
			return err_field(e, "bad_value", "egress.allow", "egress.allow[%zu]: '%.100s' is "
					 "not host, host:port, *.domain, *.domain:port or host:*", i,
					 job_plain(rule) ? rule : "?");
		json_array_foreach(ceiling, k, outer)
			if (egress_rule_covers(json_string_value(outer), rule))
				covered = 1;
		if (!covered) {
			err_field(e, "over_ceiling", "egress.allow", "egress to %.100s is not allowed on "
				  "this host (ceilings.egress_allow)", rule);
			return over(e, json_deep_copy(ceiling));
		}
	}
	return 0;
}

int job_part_egress(struct job_ctx *c, struct err *e)
{
	static const char *const known[] = { "mode", "allow" };
	const json_t *given = json_object_get(c->body, "egress");
	const char *mode = config_str(c->cfg, CONFIG_DEFAULTS_EGRESS), *asked = NULL;
	json_t *rules = NULL;

	if (given && json_is_string(given)) {
		if (jsonx_str(c->body, "egress", 16, &asked, e) < 0)
			return -1;
	} else if (given && json_is_object(given)) {
		if (jsonx_only(given, known, 2, e) < 0 || jsonx_str(given, "mode", 16, &asked, e) < 0 ||
		    jsonx_str_array(given, "allow", JOB_RULES_MAX, 300, &rules, e) < 0)
			return job_inside(e, "egress");
	} else if (given && !json_is_null(given)) {
		return err_field(e, "bad_type", "egress",
				 "egress must be a mode or an object {mode, allow}");
	}
	if (asked)
		mode = asked;
	if (check_mode(c, &mode, asked != NULL, e) < 0 || check_rules(c, rules, e) < 0)
		return -1;
	return job_put(c, "egress", json_pack("{s:s, s:o}", "mode", mode, "allow",
					      rules ? json_deep_copy(rules) : json_array()), e);
}
