/* SPDX-License-Identifier: Apache-2.0 */
/* outcome.c - reads a verdict. Pure. */
#include "outcome.h"

#include <stdio.h>
#include <string.h>

#include "cli.h"

#define WORD_BYTES (OUTCOME_ADVICE_BYTES - 200)

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

/* One word as a shell takes it; "…" for none, or one that does not fit. */
static void quote(const char *word, char *buf, size_t n)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:@%+,=";
	size_t at = 0;

	if (word && *word && !word[strspn(word, plain)] && strlen(word) < n) {
		memcpy(buf, word, strlen(word) + 1);
		return;
	}
	/* The longest piece has four bytes; a quote and a NUL end it. */
	for (const char *c = word; c && *c && at + 7 < n; c++) {
		if (c == word)
			buf[at++] = '\'';
		at += (size_t)snprintf(buf + at, n - at, *c == '\'' ? "'\\''" : "%c", *c);
		if (!c[1]) {
			snprintf(buf + at, n - at, "'");
			return;
		}
	}
	snprintf(buf, n, "…");
}

static char *advise_user(const json_t *result, const char *what, const char *id, char *buf, size_t n)
{
	json_t *step = json_object_get(result, "step");
	char word[WORD_BYTES];

	quote(what, word, sizeof(word));
	if (json_is_integer(step))
		snprintf(buf, n, "`kiln logs %s --step %d` shows only that step", id,
			 (int)json_integer_value(step) + 1);
	else if (what && strstr(what, "://") && !json_is_string(json_object_get(result, "commit")))
		snprintf(buf, n, "`git ls-remote %s` shows whether it can be had from here", word);
	else
		snprintf(buf, n, "`kiln logs %s` shows how far it came", id);
	return buf;
}

char *outcome_advice(const json_t *result, const struct outcome_command *again, const char *id, char *buf,
		     size_t n)
{
	/* The command with more of what was not enough. */
	static const struct { const char *cls, *before, *after; } more[] = {
		{ "timeout", " --timeout S", " gives it more time (timeout_s in the job)" },
		{ "oom", " --memory MIB", " gives it more memory (memory_mib in the job)" },
		{ "disk_full", " --disk MIB", " gives it a larger disk (disk_mib in the job)" },
		{ "cancelled", "", ", with the same options, builds it again" },
	};
	static const struct { const char *cls, *rest; } look[] = {
		{ "kernel_panic", "" },
		{ "agent_lost", "" },
		{ "vmm", ", `kiln paths` the files in use" },
	};
	const char *cls = text(result, "class");
	char word[WORD_BYTES];

	buf[0] = '\0';
	if (strcmp(cls, "user") == 0)
		return advise_user(result, again->what, id, buf, n);
	quote(again->what, word, sizeof(word));
	for (size_t i = 0; i < sizeof(more) / sizeof(more[0]); i++)
		if (strcmp(cls, more[i].cls) == 0)
			snprintf(buf, n, "`kiln %s %s%s`%s", again->verb, word, more[i].before, more[i].after);
	for (size_t i = 0; i < sizeof(look) / sizeof(look[0]); i++)
		if (strcmp(cls, look[i].cls) == 0)
			snprintf(buf, n, "`kiln logs %s --console` shows the VM's console%s", id, look[i].rest);
	if (strcmp(cls, "host") == 0)
		snprintf(buf, n, "`kiln paths` shows the files in use, `kiln config check` the settings");
	return buf;
}
