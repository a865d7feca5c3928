/* SPDX-License-Identifier: Apache-2.0 */
/* job_steps.c - the part of a request that says how to build: command or steps. Pure. */
#include <stdio.h>
#include <string.h>

#include "job_parts.h"
#include "jsonx.h"

#define HEADING_BYTES 64u

static int blank(const char *text)
{
	return text[strspn(text, " \t\r\n")] == '\0';
}

/* A step without a name is called after its first line. Cuts at a whole UTF-8 character. */
static json_t *heading(const char *run)
{
	size_t n;

	run += strspn(run, " \t\r\n");
	n = strcspn(run, "\r\n");
	if (n > HEADING_BYTES) {
		n = HEADING_BYTES;
		while (n > 0 && ((unsigned char)run[n] & 0xc0) == 0x80)
			n--;
	}
	return json_stringn(run, n);
}

static int add(json_t *steps, const char *name, const char *run, int64_t timeout_s, struct err *e)
{
	json_t *title = name ? json_string(name) : heading(run);
	json_t *step = json_pack("{s:o, s:s, s:I}", "name", title, "run", run, "timeout_s",
				 (json_int_t)timeout_s);

	/* A heading may hold a tab; what must not be in a heading is made harmless by who shows it. */
	if (!step || json_array_append_new(steps, step) < 0)
		return err_set(e, "io", "no memory for the job");
	return 0;
}

static int add_item(json_t *steps, const json_t *item, struct err *e)
{
	static const char *const known[] = { "name", "run", "timeout_s" };
	const char *name = NULL, *run = NULL;
	int64_t timeout_s = 0;

	if (json_is_string(item)) {
		run = json_string_value(item);
		if (strlen(run) != json_string_length(item) || strlen(run) > JOB_RUN_MAX)
			return err_set(e, "out_of_range", "a step has at most %u bytes and no NUL",
				       JOB_RUN_MAX);
	} else if (!json_is_object(item)) {
		return err_set(e, "bad_type", "a step is a text or an object {name, run, timeout_s}");
	} else if (jsonx_only(item, known, 3, e) < 0 ||
		   jsonx_str(item, "name", JOB_NAME_MAX, &name, e) < 0 ||
		   jsonx_str(item, "run", JOB_RUN_MAX, &run, e) < 0 ||
		   jsonx_int(item, "timeout_s", 1, JOB_TIMEOUT_MAX_S, &timeout_s, e) < 0) {
		return -1;
	}
	if (!run || blank(run))
		return err_field(e, "missing_field", "run", "a step needs a command in 'run'");
	if (name && (blank(name) || !job_plain(name)))
		return err_field(e, "bad_value", "name", "a step's name must not be empty or hold "
				 "control characters");
	return add(steps, name, run, timeout_s, e);
}

static int put_array(struct job_ctx *c, const json_t *given, struct err *e)
{
	json_t *steps = json_array();
	const json_t *item;
	char parent[32];
	size_t i;

	json_array_foreach(given, i, item) {
		if (add_item(steps, item, e) == 0)
			continue;
		json_decref(steps);
		if (e) {
			snprintf(parent, sizeof(parent), "steps[%zu]", i);
			job_inside(e, parent);
		}
		return -1;
	}
	return job_put(c, "steps", steps, e);
}

static int put_command(struct job_ctx *c, const char *command, struct err *e)
{
	json_t *steps = json_array();

	if (blank(command)) {
		json_decref(steps);
		return err_field(e, "bad_value", "command", "command is empty");
	}
	if (add(steps, NULL, command, 0, e) < 0) {
		json_decref(steps);
		return -1;
	}
	return job_put(c, "steps", steps, e);
}

int job_part_steps(struct job_ctx *c, struct err *e)
{
	const json_t *steps = json_object_get(c->body, "steps");
	const char *command = NULL;

	if (jsonx_str(c->body, "command", JOB_RUN_MAX, &command, e) < 0)
		return -1;
	if (steps && json_is_null(steps))
		steps = NULL;
	if (command && steps)
		return err_field(e, "bad_value", "command", "give command or steps, not both");
	if (command)
		return put_command(c, command, e);
	if (!steps) {
		if (strcmp(json_string_value(json_object_get(c->job, "source")), "none") == 0)
			return err_field(e, "missing_field", "command",
					 "without a source there must be a command or steps");
		return job_put(c, "steps", json_null(), e);
	}
	if (!json_is_array(steps))
		return err_field(e, "bad_type", "steps", "steps must be an array");
	if (json_array_size(steps) == 0 || json_array_size(steps) > JOB_STEPS_MAX)
		return err_field(e, "out_of_range", "steps", "steps has %zu items, it must be between 1 "
				 "and %u", json_array_size(steps), JOB_STEPS_MAX);
	return put_array(c, steps, e);
}
