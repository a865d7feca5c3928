/* SPDX-License-Identifier: Apache-2.0 */
/* outcome.c - reads a verdict. Pure. */
#include "outcome.h"

#include <stdio.h>
#include <string.h>

#include "cli.h"

static const char *text(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

int outcome_status(const json_t *result)
{
	json_int_t code = json_integer_value(json_object_get(result, "exit_code"));
	json_int_t signal = json_integer_value(json_object_get(result, "signal"));

	if (strcmp(text(result, "class"), "ok") == 0)
		return CLI_OK;
	if (strcmp(text(result, "class"), "user") != 0)
		return CLI_NOT_USER;
	if (signal > 0 && signal < 128)
		return (int)(128 + signal);
	return code > 0 && code < 256 ? (int)code : CLI_FAILED;
}

char *outcome_text(const json_t *result, char *buf, size_t n)
{
	const char *cls = text(result, "class"), *message = text(result, "message");

	snprintf(buf, n, "%s%s%s", *cls ? cls : "host", *message ? ": " : "", message);
	return buf;
}

char *outcome_advice(const json_t *result, const char *id, char *buf, size_t n)
{
	static const struct { const char *cls, *advice; } known[] = {
		{ "timeout", "more time: --timeout S (timeout_s in the job)" },
		{ "oom", "more memory: --memory MIB (memory_mib in the job)" },
		{ "disk_full", "a larger disk: --disk MIB (disk_mib in the job)" },
		{ "kernel_panic", "`kiln logs %s --console` shows the VM's console" },
		{ "agent_lost", "`kiln logs %s --console` shows the VM's console" },
		{ "vmm", "`kiln logs %s --console` shows the VM's console, `kiln paths` the files in use" },
		{ "host", "`kiln paths` shows the files in use, `kiln config check` the settings" },
	};
	json_t *step = json_object_get(result, "step");

	buf[0] = '\0';
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		const char *mark;

		if (strcmp(text(result, "class"), known[i].cls) != 0)
			continue;
		mark = strstr(known[i].advice, "%s");
		if (mark)
			snprintf(buf, n, "%.*s%s%s", (int)(mark - known[i].advice), known[i].advice, id,
				 mark + 2);
		else
			snprintf(buf, n, "%s", known[i].advice);
	}
	if (strcmp(text(result, "class"), "user") == 0 && json_is_integer(step))
		snprintf(buf, n, "`kiln logs %s --step %d` shows only that step", id,
			 (int)json_integer_value(step) + 1);
	return buf;
}
