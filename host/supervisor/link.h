/* SPDX-License-Identifier: Apache-2.0 */
/*
 * link.h - what control, conduit and dialer of one supervisor say to each other.
 *
 * Control and conduit share a SOCK_SEQPACKET pair, one struct link_msg a packet. The conduit
 * has seen guest bytes: control treats it as a sandboxed process that may have been taken
 * over, so every packet is of fixed size, every number is range-checked, and texts are
 * plain UTF-8 that is only ever put into result.json. Conduit and dialer share another pair
 * (struct dial_request one way, struct dial_reply with at most one descriptor the other way).
 */
#ifndef KILN_LINK_H
#define KILN_LINK_H

#include <stdint.h>

#define LINK_TEXT_BYTES 1025 /* WIRE_MAX_TEXT and a NUL */

enum link_kind {
	/* conduit -> control */
	LINK_READY = 1,  /* locked down, about to accept: the VMM may start */
	LINK_HELLO,      /* the first HELLO was accepted */
	LINK_STATE,      /* number = enum wire_state: the guest entered it */
	LINK_ALIVE,      /* bytes came from the guest; at most one a second */
	LINK_STALLED,    /* number 1: the conduit stopped reading the guest (disk, back-pressure); 0: it reads again */
	LINK_RESULT,     /* RESULT came; everything is on disk; RESULT_ACK goes out next (result, text filled) */
	LINK_BROKEN,     /* the agent broke the protocol or refused the version: text says how */
	LINK_HOST,       /* the conduit's own failure (disk full, …): text says what; class host */
	LINK_FINISHED,   /* answer to LINK_FINISH: files are synced, the conduit exits now */
	/* control -> conduit */
	LINK_CANCEL,     /* number = enum wire_reason, grace_ms, text: send CANCEL to the guest */
	LINK_LINE,       /* text: a host line for the log, without "kiln: " and newline */
	LINK_EVENT,      /* text: members of an event as JSON object text {"type":…}: stamp and append it */
	LINK_FINISH,     /* the VM is gone: drain, sync log, events, manifest, answer FINISHED */
	LINK_KIND_COUNT
};

struct link_result {
	uint8_t class_;      /* enum wire_class */
	uint32_t step;       /* WIRE_NO_STEP when none */
	int32_t exit_code;
	uint32_t signal;
	uint64_t peak_bytes, cpu_us;
};

struct link_totals { /* with RESULT and FINISHED: what the conduit itself counted */
	uint64_t log_bytes, artifact_bytes;
	uint32_t artifacts, refused;
};

struct link_msg {
	uint32_t kind;
	uint32_t grace_ms;
	uint64_t number;
	struct link_result result;
	struct link_totals totals;
	char commit[65];
	char step_name[129];
	char text[LINK_TEXT_BYTES];
};

/* Conduit -> dialer. */
struct dial_request {
	uint32_t id;          /* of the stream, echoed */
	uint16_t port;
	uint8_t cloning;      /* 1 while the build is in its first state (the repository is allowed by itself) */
	char host[256];       /* as the guest sent it, checked for length and NUL only */
};

enum dial_verdict { DIAL_OK, DIAL_POLICY, DIAL_RESOLVE, DIAL_CONNECT };

/* Dialer -> conduit; with DIAL_OK the connected descriptor rides along (SCM_RIGHTS). */
struct dial_reply {
	uint32_t id;
	uint8_t verdict;      /* enum dial_verdict */
	uint8_t audited;      /* 1: mode audit let it pass, the allow list would not have */
	char rule[128];       /* the rule that decided, e.g. "allow pypi.org:443", "repository", "private 127.0.0.1:8080" */
	char address[64];     /* numeric address that was judged, or "" */
	char text[320];       /* for people: why not, and the option that would allow it */
};

#endif
