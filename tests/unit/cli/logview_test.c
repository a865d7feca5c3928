/* SPDX-License-Identifier: Apache-2.0 */
/* logview_test.c - log and events come out in one order, however they arrive. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "logview.h"
#include "sse_read.h"
#include "outcome.h"

/* stdout and stderr of this process, while a test looks, are one file. */
static int saved_out, saved_err, file;

static void capture(void)
{
	fflush(stdout);
	file = memfd_create("out", 0);
	saved_out = dup(1);
	saved_err = dup(2);
	dup2(file, 1);
	dup2(file, 2);
}

static const char *captured(void)
{
	static char text[4096];
	ssize_t n = pread(file, text, sizeof(text) - 1, 0);

	dup2(saved_out, 1);
	dup2(saved_err, 2);
	close(saved_out);
	close(saved_err);
	close(file);
	text[n > 0 ? n : 0] = '\0';
	return text;
}

static void event(struct logview *v, const char *text)
{
	json_t *o = json_loads(text, 0, NULL);

	logview_event(v, o);
	json_decref(o);
}

#define BEGIN(i, off) "{\"type\":\"step_begin\",\"index\":" #i ",\"name\":\"s" #i "\",\"log_offset\":" #off \
	",\"at_ms\":1000}"
#define END(i, off, code) "{\"type\":\"step_end\",\"index\":" #i ",\"exit_code\":" #code ",\"signal\":0," \
	"\"wall_ms\":1500,\"peak_bytes\":2048,\"log_offset\":" #off ",\"at_ms\":2000}"

static const char merged[] = "head\n==> step 1: s0\none\n<== step 1: exit code 0 after 1.5 s, peak memory 2.0 KiB\n"
			     "==> step 2: s1\ntwo\n<== step 2: exit code 3 after 1.5 s, peak memory 2.0 KiB\n";

static void headings_stand_where_they_belong_when_events_come_first(void **state)
{
	struct term t;
	struct logview v;

	(void)state;
	capture();
	term_init(&t, 1);
	logview_init(&v, &t);
	event(&v, BEGIN(0, 5));
	event(&v, END(0, 9, 0));
	event(&v, BEGIN(1, 9));
	event(&v, END(1, 13, 3));
	logview_log(&v, "head\none\ntwo\n", 13);
	logview_end(&v);
	logview_fini(&v);
	assert_string_equal(captured(), merged);
}

static void headings_stand_where_they_belong_when_all_comes_bit_by_bit(void **state)
{
	static const char log[] = "head\none\ntwo\n";
	struct term t;
	struct logview v;

	(void)state;
	capture();
	term_init(&t, 1);
	logview_init(&v, &t);
	for (size_t i = 0; i < 13; i++) {
		if (i == 5)
			event(&v, BEGIN(0, 5));
		if (i == 9) {
			event(&v, END(0, 9, 0));
			event(&v, BEGIN(1, 9));
		}
		logview_log(&v, log + i, 1);
	}
	event(&v, END(1, 13, 3));
	logview_end(&v);
	logview_fini(&v);
	assert_string_equal(captured(), merged);
}

static void events_behind_a_log_that_was_cut_off_are_shown_at_the_end(void **state)
{
	struct term t;
	struct logview v;

	(void)state;
	capture();
	term_init(&t, 1);
	logview_init(&v, &t);
	event(&v, BEGIN(0, 0));
	event(&v, END(0, 1000, 0));
	logview_log(&v, "x\n", 2);
	logview_end(&v);
	logview_fini(&v);
	assert_string_equal(captured(), "==> step 1: s0\nx\n<== step 1: exit code 0 after 1.5 s, peak memory 2.0 KiB\n");
}

static void one_step_alone(void **state)
{
	struct term t;
	struct logview v;

	(void)state;
	capture();
	term_init(&t, 1);
	logview_init(&v, &t);
	v.only_step = 2;
	event(&v, "{\"type\":\"state\",\"state\":\"starting_vm\"}");
	event(&v, BEGIN(0, 5));
	event(&v, END(0, 9, 0));
	event(&v, BEGIN(1, 9));
	event(&v, END(1, 13, 3));
	logview_log(&v, "head\none\ntwo\nlast\n", 18);
	logview_end(&v);
	logview_fini(&v);
	assert_string_equal(captured(), "==> step 2: s1\ntwo\n<== step 2: exit code 3 after 1.5 s, peak memory 2.0 KiB\n");
}

static void as_json(void **state)
{
	struct term t;
	struct logview v;

	(void)state;
	capture();
	term_init(&t, 1);
	logview_init(&v, &t);
	v.json = 1;
	logview_log(&v, "a\xff\nb", 4);
	event(&v, "{\"type\":\"note\",\"key\":\"k\"}");
	logview_log(&v, "c", 1);
	logview_end(&v);
	logview_fini(&v);
	assert_string_equal(captured(), "{\"type\":\"log\",\"offset\":0,\"text\":\"a?\\n\"}\n"
			    "{\"type\":\"log\",\"offset\":3,\"text\":\"b\"}\n"
			    "{\"type\":\"note\",\"key\":\"k\"}\n"
			    "{\"type\":\"log\",\"offset\":4,\"text\":\"c\"}\n");
}

static void with_timestamps(void **state)
{
	struct term t;
	struct logview v;

	(void)state;
	capture();
	term_init(&t, 1);
	logview_init(&v, &t);
	v.timestamps = 1;
	event(&v, BEGIN(0, 0));
	logview_log(&v, "a", 1);
	logview_log(&v, "b\nc\n", 4);
	logview_end(&v);
	logview_fini(&v);
	assert_string_equal(captured(), "==> step 1: s0\n1970-01-01T00:00:01.000Z ab\n1970-01-01T00:00:01.000Z c\n");
}

static void a_hostile_name_does_not_reach_the_terminal(void **state)
{
	struct term t;
	struct logview v;

	(void)state;
	capture();
	term_init(&t, 1);
	logview_init(&v, &t);
	event(&v, "{\"type\":\"step_begin\",\"index\":0,\"name\":\"a\\u001b]0;x\\u0007\\nkiln: ok\",\"log_offset\":0}");
	logview_end(&v);
	logview_fini(&v);
	assert_string_equal(captured(), "==> step 1: a?]0;x??kiln: ok\n");
}

/* ---- server-sent events ---- */

static char seen[1024];

static int on_event(void *arg, const char *name, const char *data, size_t n)
{
	size_t at = strlen(seen);

	(void)arg;
	snprintf(seen + at, sizeof(seen) - at, "[%s:%.*s]", name, (int)n, data);
	return strcmp(name, "end") == 0;
}

static void events_are_read_however_they_are_cut(void **state)
{
	static const char text[] = ": hello\n\nid: 3\ndata: YWJj\n\nid: 5\r\ndata: ZGU=\r\n\r\nid:6\ndata:Zg==\n\n"
				   "event: end\nid: 6\ndata: {\"a\":1}\n\nignored";

	(void)state;
	for (size_t cut = 0; cut < sizeof(text) - 1; cut++) {
		struct sse_read r = { 0 };
		int stop;

		seen[0] = '\0';
		stop = sse_read_push(&r, text, cut, on_event, NULL);
		if (!stop)
			stop = sse_read_push(&r, text + cut, sizeof(text) - 1 - cut, on_event, NULL);
		assert_int_equal(stop, 1);
		assert_string_equal(seen, "[:abc][:de][:f][end:{\"a\":1}]");
		assert_int_equal(r.id, 6);
		assert_false(r.broken);
		sse_read_fini(&r);
	}
}

static void a_broken_stream_is_noticed_and_resumes_whole(void **state)
{
	struct sse_read r = { 0 };

	(void)state;
	seen[0] = '\0';
	assert_int_equal(sse_read_push(&r, "id: 3\ndata: YWJj\n\nid: 9\ndata: ZG", 32, on_event, NULL), 0);
	sse_read_restart(&r);
	assert_int_equal(r.id, 3);
	assert_int_equal(sse_read_push(&r, "id: 4\ndata: ZA==\n\n", 18, on_event, NULL), 0);
	assert_string_equal(seen, "[:abc][:d]");
	assert_true(sse_read_push(&r, "data: !!!!\n\n", 12, on_event, NULL));
	assert_true(r.broken);
	sse_read_fini(&r);
}

/* ---- the verdict ---- */

static int status_of(const char *text)
{
	json_t *o = json_loads(text, 0, NULL);
	int s = outcome_status(o);

	json_decref(o);
	return s;
}

static void exit_statuses(void **state)
{
	char buf[256];
	json_t *o;

	(void)state;
	assert_int_equal(status_of("{\"class\":\"ok\",\"exit_code\":0}"), 0);
	assert_int_equal(status_of("{\"class\":\"user\",\"exit_code\":7}"), 7);
	assert_int_equal(status_of("{\"class\":\"user\",\"exit_code\":-1,\"signal\":9}"), 137);
	assert_int_equal(status_of("{\"class\":\"user\",\"exit_code\":null}"), 1);
	assert_int_equal(status_of("{\"class\":\"user\",\"exit_code\":0}"), 1);
	assert_int_equal(status_of("{\"class\":\"user\",\"exit_code\":256}"), 1);
	assert_int_equal(status_of("{\"class\":\"user\",\"signal\":4000}"), 1);
	for (size_t i = 0; i < 8; i++) {
		static const char *const classes[] = { "timeout", "oom", "disk_full", "cancelled",
						       "kernel_panic", "agent_lost", "vmm", "host" };

		snprintf(buf, sizeof(buf), "{\"class\":\"%s\",\"exit_code\":7}", classes[i]);
		assert_int_equal(status_of(buf), 125);
	}
	assert_int_equal(status_of("{}"), 125);
	o = json_loads("{\"class\":\"user\",\"message\":\"why\",\"step\":1}", 0, NULL);
	assert_string_equal(outcome_text(o, buf, sizeof(buf)), "user: why");
	json_decref(o);
}

static void every_failure_is_answered_with_a_command(void **state)
{
	static const struct { const char *result, *verb, *what, *want; } cases[] = {
		{ "{\"class\":\"ok\"}", "run", "https://h/r", "" },
		{ "{\"class\":\"user\",\"step\":1}", "run", "https://h/r",
		  "`kiln logs ID --step 2` shows only that step" },
		{ "{\"class\":\"user\"}", "run", "https://h/r",
		  "`git ls-remote https://h/r` shows whether it can be had from here" },
		{ "{\"class\":\"user\",\"step\":null}", "build", "http://h/a?b&c'd",
		  "`git ls-remote 'http://h/a?b&c'\\''d'` shows whether it can be had from here" },
		{ "{\"class\":\"user\",\"commit\":\"c0ffee\"}", "run", "https://h/r",
		  "`kiln logs ID` shows how far it came" },
		{ "{\"class\":\"user\"}", "run", ".", "`kiln logs ID` shows how far it came" },
		{ "{\"class\":\"user\"}", "run", NULL, "`kiln logs ID` shows how far it came" },
		{ "{\"class\":\"cancelled\"}", "build", "https://h/r",
		  "`kiln build https://h/r`, with the same options, builds it again" },
		{ "{\"class\":\"cancelled\"}", "run", NULL,
		  "`kiln run …`, with the same options, builds it again" },
		{ "{\"class\":\"timeout\"}", "run", "my dir",
		  "`kiln run 'my dir' --timeout S` gives it more time (timeout_s in the job)" },
		{ "{\"class\":\"oom\"}", "run", ".",
		  "`kiln run . --memory MIB` gives it more memory (memory_mib in the job)" },
		{ "{\"class\":\"disk_full\"}", "build", "https://h/r",
		  "`kiln build https://h/r --disk MIB` gives it a larger disk (disk_mib in the job)" },
		{ "{\"class\":\"vmm\"}", "run", ".",
		  "`kiln logs ID --console` shows the VM's console, `kiln paths` the files in use" },
	};
	char buf[OUTCOME_ADVICE_BYTES];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		json_t *o = json_loads(cases[i].result, 0, NULL);
		struct outcome_command again = { .verb = cases[i].verb, .what = cases[i].what };

		assert_string_equal(outcome_advice(o, &again, "ID", buf, sizeof(buf)), cases[i].want);
		json_decref(o);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(headings_stand_where_they_belong_when_events_come_first),
		cmocka_unit_test(headings_stand_where_they_belong_when_all_comes_bit_by_bit),
		cmocka_unit_test(events_behind_a_log_that_was_cut_off_are_shown_at_the_end),
		cmocka_unit_test(one_step_alone),
		cmocka_unit_test(as_json),
		cmocka_unit_test(with_timestamps),
		cmocka_unit_test(a_hostile_name_does_not_reach_the_terminal),
		cmocka_unit_test(events_are_read_however_they_are_cut),
		cmocka_unit_test(a_broken_stream_is_noticed_and_resumes_whole),
		cmocka_unit_test(exit_statuses),
		cmocka_unit_test(every_failure_is_answered_with_a_command),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
