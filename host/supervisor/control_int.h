/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control_int.h - what control.c (states, deadlines, events) and procs.c (the processes' start
 * and end) share. Nobody else includes it.
 */
#ifndef KILN_CONTROL_INT_H
#define KILN_CONTROL_INT_H

#include "console.h"
#include "control.h"
#include "ctl.h"
#include "link.h"
#include "linkio.h"
#include "verdict.h"
#include "vmm.h"

enum control_state {
	CONTROL_PREPARING,  /* the build's processes start */
	CONTROL_BOOTING,    /* the VMM runs, no HELLO yet */
	CONTROL_GREETED,    /* HELLO, nothing begun */
	CONTROL_CLONING,
	CONTROL_RUNNING,
	CONTROL_COLLECTING,
	CONTROL_STOPPING,   /* CANCEL is on its way, RESULT is awaited */
	CONTROL_KILLING,    /* VMM and vsock got SIGKILL, their ends are awaited */
	CONTROL_FINISHING,  /* LINK_FINISH is on its way, LINK_FINISHED is awaited */
	CONTROL_DONE,
	CONTROL_STATE_COUNT
};

struct control {
	struct supjob *job;
	struct rundir *dir;
	struct uid_lease ids;
	struct vmm vmm;
	struct ctl ctl;
	struct child init, conduit, dialer, console;
	int init_hold_fd;     /* closing it ends all */
	int link_fd;          /* to the conduit */
	int signal_fd;
	int console_fd;       /* where the VMM's processes print, until they run */
	bool conduit_ready;

	enum control_state state;
	unsigned word;                     /* of rundir_words */
	uint64_t word_since_ms, word_ms[RUNDIR_WORDS];
	uint64_t state_until_ms, job_until_ms; /* monotonic */
	uint64_t alive_ms;                 /* when the guest was heard last */
	bool stalled;

	struct verdict_facts facts;        /* texts point into the fields below */
	char text[LINK_TEXT_BYTES], host_text[LINK_TEXT_BYTES], result_text[LINK_TEXT_BYTES];
	char step_name[129], commit[65], console_tail[CONSOLE_TAIL_TEXT + 1];
	struct link_totals totals;
};

/* Start everything but the VMM. On failure what runs is left to procs_end. Code: "vmm", "host". */
int procs_start(struct control *c, struct err *e);

/* Start the VMM and note it in run.json. Code: "vmm", "host", "io". */
int procs_start_vm(struct control *c, struct err *e);

/* End what still runs; nothing of the build is left when it returns. Bounded. */
void procs_end(struct control *c);

/* Put a line into the build's log, an event into events.jsonl. Lost when the conduit is gone. */
void procs_line(struct control *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void procs_event(struct control *c, json_t *members);

#endif
