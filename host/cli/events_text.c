/* SPDX-License-Identifier: Apache-2.0 */
/* events_text.c - puts events into words. Owns nothing; texts of the guest are made harmless by term.c. */
#include "events_text.h"

#include <stdio.h>
#include <string.h>

static const char *text(const json_t *event, const char *key)
{
	const char *s = json_string_value(json_object_get(event, key));

	return s ? s : "";
}

static long long number(const json_t *event, const char *key)
{
	return (long long)json_integer_value(json_object_get(event, key));
}

void events_text_step(const json_t *event, char *name, size_t n, struct term *term)
{
	long long index = number(event, "index") + 1, signal = number(event, "signal");
	char took[32], peak[32], how[48];

	if (strcmp(text(event, "type"), "step_begin") == 0) {
		snprintf(name, n, "%s", text(event, "name"));
		if (term)
			term_heading(term, TERM_BOLD, "==> step %lld: %s", index, name);
		return;
	}
	if (!term)
		return;
	if (json_is_true(json_object_get(event, "oom")))
		snprintf(how, sizeof(how), "out of memory");
	else if (signal > 0)
		snprintf(how, sizeof(how), "ended by signal %lld", signal);
	else
		snprintf(how, sizeof(how), "exit code %lld", number(event, "exit_code"));
	term_duration((unsigned long long)number(event, "wall_ms"), took, sizeof(took));
	term_size((unsigned long long)number(event, "peak_bytes"), peak, sizeof(peak));
	term_heading(term, signal > 0 || number(event, "exit_code") != 0 ? TERM_BAD : TERM_DIM,
		     "<== step %lld: %s after %s, peak memory %s", index, how, took, peak);
}

static void state(const json_t *ev, struct term *term)
{
	static const struct { const char *state, *words; } known[] = {
		{ "starting_vm", "starting the VM" },
		{ "cloning_repo", "getting the source" },
		{ "running_build", "running the build" },
		{ "collecting_artifacts", "collecting the artifacts" },
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strcmp(text(ev, "state"), known[i].state) == 0)
			term_say(term, TERM_DIM, "%s", known[i].words);
}

static void hello(const json_t *ev, struct term *term)
{
	char took[32];

	term_duration((unsigned long long)number(ev, "boot_ms"), took, sizeof(took));
	term_say(term, TERM_DIM, "the VM is up after %s: Linux %s, %s", took, text(ev, "kernel"),
		 text(ev, "agent"));
}

static void source(const json_t *ev, struct term *term)
{
	if (*text(ev, "commit"))
		term_say(term, TERM_DIM, "commit %s%s%s", text(ev, "commit"), *text(ev, "ref") ? " of " : "",
			 text(ev, "ref"));
}

static void refused(const json_t *ev, struct term *term)
{
	term_say(term, TERM_PLAIN, "artifact refused: %s: %s", text(ev, "path"), text(ev, "reason"));
}

static void truncated(const json_t *ev, struct term *term)
{
	char size[32];

	term_size((unsigned long long)number(ev, "kept_bytes"), size, sizeof(size));
	term_say(term, TERM_PLAIN, "the log is cut off at %s (limits.log_bytes); the build goes on", size);
}

static void cancel(const json_t *ev, struct term *term)
{
	term_say(term, TERM_PLAIN, "the build is being stopped (%s)", text(ev, "reason"));
}

void events_text_progress(const json_t *event, struct term *term)
{
	static const struct {
		const char *type;
		void (*show)(const json_t *, struct term *);
	} shown[] = {
		/* VM and artifacts are in the log already, in the host's and the agent's words. */
		{ "state", state }, { "hello", hello }, { "source", source },
		{ "artifact_refused", refused },
		{ "log_truncated", truncated }, { "cancel", cancel },
	};

	for (size_t i = 0; i < sizeof(shown) / sizeof(shown[0]); i++)
		if (strcmp(text(event, "type"), shown[i].type) == 0)
			shown[i].show(event, term);
}
