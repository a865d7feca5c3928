/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_ps.c - `kiln ps`: what runs, read from the build directories, so that it works without kilnd;
 * what waits is asked of kilnd if there is one.
 */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "api.h"
#include "builddir.h"
#include "cleanup.h"
#include "cli.h"
#include "clock.h"
#include "proc.h"

#define WATCH_MS 1000
#define TAIL_BYTES 65536
#define QUEUED_MAX 100

static const struct opt options[] = {
	{ "--watch", 'w', NULL, "again every second, until interrupted" },
	{ "--json", 0, NULL, "one JSON object a line" },
	{ 0 },
};

static const char *text_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

/* The last state event in the end of events.jsonl. */
static void last_state(int dirfd, char *state, size_t n)
{
	_cleanup_fd_ int fd = openat(dirfd, "events.jsonl", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	static char tail[TAIL_BYTES + 1];
	off_t end = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
	ssize_t got = end <= 0 ? 0 : pread(fd, tail, TAIL_BYTES, end > TAIL_BYTES ? end - TAIL_BYTES : 0);
	char *line, *end_of_line;

	snprintf(state, n, "starting_vm");
	tail[got > 0 ? got : 0] = '\0';
	for (line = tail; (end_of_line = strchr(line, '\n')); line = end_of_line + 1) {
		json_t *o;

		*end_of_line = '\0';
		o = strstr(line, "\"state\"") ? json_loads(line, 0, NULL) : NULL;
		if (o && strcmp(text_of(o, "type"), "state") == 0)
			filter_line(text_of(o, "state"), state, n);
		json_decref(o);
	}
}

/* One row of a running build, or NULL when it does not run. */
static json_t *row_of(const struct config *cfg, const char *id)
{
	_cleanup_fd_ int dirfd = -1;
	json_t *run = NULL, *local = NULL, *row = NULL;
	const char *what;
	char state[32];
	pid_t pid = 0;

	if (builddir_open(cfg, id, &dirfd, NULL) < 0 || builddir_process(dirfd, &run, &pid, NULL) < 0)
		return NULL;
	/* With the verdict written the build is over, though its process may still be ending. */
	if (pid > 0 && faccessat(dirfd, "result.json", F_OK, 0) < 0) {
		pid_t vmm = (pid_t)json_integer_value(json_object_get(run, "vmm_pid"));

		last_state(dirfd, state, sizeof(state));
		if (builddir_json(dirfd, BUILDDIR_LOCAL, &local, NULL) < 0)
			local = NULL;
		what = json_string_value(json_object_get(local, "repo_url"));
		row = json_pack("{s:s, s:i, s:i, s:s, s:O, s:O, s:I, s:I, s:s, s:s}", "build", id, "pid",
				(int)pid, "vmm_pid", (int)vmm, "state", state, "vcpus",
				json_object_get(run, "vcpus"), "memory_mib",
				json_object_get(run, "memory_mib"), "resident_bytes",
				(json_int_t)(proc_memory(pid) + proc_memory(vmm)), "started_at_ms",
				json_integer_value(json_object_get(run, "started_at_ms")), "by",
				local ? "kiln run" : "kilnd", "repo_url", what ? what : "");
	}
	json_decref(local);
	json_decref(run);
	return row;
}

/* Builds that wait in kilnd's queue. Without a daemon there are none. */
static void add_queued(struct cli *c, json_t *rows)
{
	struct api *api = NULL;
	json_t *answer = NULL, *item;
	char path[64];
	size_t i;

	if (api_open(c->cfg, &api, NULL) < 0)
		return;
	snprintf(path, sizeof(path), "/builds?status=queued&limit=%d", QUEUED_MAX);
	if (api_call(api, "GET", path, NULL, &answer, NULL) == 0) {
		json_array_foreach(answer, i, item)
			json_array_append_new(rows, json_pack(
				"{s:O, s:i, s:s, s:s, s:O}", "build", json_object_get(item, "id"), "pid", 0,
				"state", "queued", "by", "kilnd", "repo_url",
				json_object_get(item, "repo_url")));
		json_decref(answer);
	}
	api_close(api);
}

static json_t *collect(struct cli *c)
{
	json_t *ids = builddir_all(c->cfg), *rows = json_array(), *item;
	size_t i;

	json_array_foreach(ids, i, item) {
		json_t *row = row_of(c->cfg, json_string_value(item));

		if (row)
			json_array_append_new(rows, row);
	}
	json_decref(ids);
	add_queued(c, rows);
	return rows;
}

static void print_row(struct cli *c, const json_t *row)
{
	json_int_t pid = json_integer_value(json_object_get(row, "pid"));
	json_int_t started = json_integer_value(json_object_get(row, "started_at_ms"));
	const char *url = json_string_value(json_object_get(row, "repo_url"));
	char line[700], memory[64] = "-", age[32] = "-", used[32], number[24] = "-", vcpus[24] = "-", what[300];
	int n;

	if (pid > 0) {
		term_size((unsigned long long)json_integer_value(json_object_get(row, "resident_bytes")),
			  used, sizeof(used));
		snprintf(memory, sizeof(memory), "%s of %lld MiB", used,
			 (long long)json_integer_value(json_object_get(row, "memory_mib")));
		term_duration(clock_wall_ms() - (unsigned long long)started, age, sizeof(age));
		snprintf(number, sizeof(number), "%lld", (long long)pid);
		snprintf(vcpus, sizeof(vcpus), "%lld",
			 (long long)json_integer_value(json_object_get(row, "vcpus")));
	}
	filter_line(url ? url : "", what, sizeof(what));
	n = snprintf(line, sizeof(line), "%-42s  %7s  %-20s  %4s  %-23s  %-12s  %-8s  %s\n",
		     json_string_value(json_object_get(row, "build")), number,
		     json_string_value(json_object_get(row, "state")), vcpus, memory, age,
		     json_string_value(json_object_get(row, "by")), what);
	term_raw(&c->term, line, (size_t)n < sizeof(line) ? (size_t)n : sizeof(line) - 1);
}

static void print_all(struct cli *c, const json_t *rows)
{
	static const char head[] = "BUILD                                           PID  STATE                 "
				   "VCPU  MEMORY                   AGE           BY        SOURCE\n";
	const json_t *row;
	size_t i;

	if (!opt_get(&c->opts, "--json"))
		term_raw(&c->term, head, sizeof(head) - 1);
	json_array_foreach(rows, i, row) {
		if (opt_get(&c->opts, "--json"))
			term_json(&c->term, row, JSON_COMPACT);
		else
			print_row(c, row);
	}
}

static int run(struct cli *c)
{
	int watch = opt_get(&c->opts, "--watch") != NULL;

	do {
		json_t *rows = collect(c);

		if (watch && c->term.out_tty)
			term_raw(&c->term, "\x1b[H\x1b[2J", 7);
		print_all(c, rows);
		json_decref(rows);
		/* A display, not a wait for something: it is drawn anew when its second is over. */
		if (watch)
			poll(NULL, 0, WATCH_MS);
	} while (watch && !c->term.out_gone);
	return CLI_OK;
}

const struct command cmd_ps = {
	.name = "ps", .usage = "[--watch] [--json]",
	.summary = "List the builds that run or wait: pid, state, vCPUs, memory, age",
	.details = "", .options = options, .min_args = 0, .max_args = 0, .run = run,
};
